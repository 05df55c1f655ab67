//! Why a command got no answer of its function, and what the caller is told.

use firn_model::code::Code;
use firn_model::contract::{Component, Kind};
use firn_model::decision::Failure;
use firn_model::status::{GrpcCode, Status};

/// Why a command got no answer. Each says whether the command may have been applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The entity's queue is full. Not applied.
    MailboxFull {
        /// How many commands wait.
        capacity: usize,
    },
    /// The deadline passed while the command waited. Not applied.
    DeadlineQueued,
    /// The deadline passed while the command waited for a stream to the function. Not applied.
    StreamsExhausted,
    /// The function did not answer in time. May have been applied.
    Timeout,
    /// The function is not connected, or went away before the command was sent. Not applied.
    FunctionUnavailable,
    /// Firn is shutting down. Not applied.
    ShuttingDown,
    /// The entity could not be loaded. Not applied.
    LoadFailed {
        /// The store's words.
        cause: String,
    },
    /// Another owner has the slot. Not applied.
    CommitRefused,
    /// The store did not write the commit, or one that it would have followed upon. Not applied.
    CommitNotWritten,
    /// The store does not tell whether somebody else has gone on with the slot, on which an answer
    /// without a commit rests. Not applied.
    OwnerUnsure,
    /// The store could not tell the outcome. May have been applied.
    CommitUnknown,
    /// The entity was deleted and its tombstone accepts no change. Not applied.
    Deleted,
    /// The idempotency key was used with another request. Not applied.
    IdempotencyKeyReused,
    /// The function failed the instance. May have run, nothing was stored.
    Failed(Fault),
    /// An instance failed while the command waited behind it, or behind the one that it failed with.
    /// Not applied.
    QueuedBehindFailure,
    /// The function answered with a change of a replicated entity that cannot be made. Not applied.
    InvalidChange {
        /// Why not.
        reason: String,
    },
    /// Too few members confirmed a change of a replicated entity in time. Applied here, and spread
    /// to the others as they can be reached.
    NotConfirmed,
    /// The caller of a streamed command took its messages too slowly.
    CallerTooSlow,
}

/// How a function failed an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// It said so, of the command alone.
    Command(Failure),
    /// It said so, of the instance as a whole.
    Failure(Failure),
    /// It answered something that was not asked.
    Reply,
    /// It sent a message without content.
    Message,
    /// It answered something that its contract, or the state of the entity, does not allow.
    Unfit {
        /// The stable code.
        code: Code,
        /// What was wrong.
        cause: String,
    },
    /// It ended the stream.
    Termination,
}

impl Refusal {
    /// What the caller is told, in the words that the component's family fixes.
    pub fn status(&self, component: &Component) -> Status {
        let texts = &component.policies.texts;
        let fixed = |text: &str, code| Status::refused(texts.code, code, text);
        match self {
            Self::MailboxFull { capacity } => Status::refused(
                GrpcCode::ResourceExhausted,
                Code::MailboxFull,
                format!("{capacity} commands wait for this entity already; not applied"),
            ),
            Self::DeadlineQueued => Status::refused(
                GrpcCode::DeadlineExceeded,
                Code::DeadlinePassedQueued,
                "the deadline passed before the command was sent; not applied",
            ),
            Self::StreamsExhausted => Status::refused(
                GrpcCode::ResourceExhausted,
                Code::StreamsExhausted,
                "no stream to the function became free in time; not applied",
            ),
            Self::Timeout => Status::refused(
                GrpcCode::DeadlineExceeded,
                Code::CommandTimeout,
                "the function did not answer in time; the command may have been applied",
            ),
            Self::FunctionUnavailable => Status::refused(
                GrpcCode::Unavailable,
                Code::FunctionUnavailable,
                "the function is not connected; not applied",
            ),
            Self::ShuttingDown => Status::refused(
                GrpcCode::Unavailable,
                Code::ShuttingDown,
                "Firn is shutting down; not applied",
            ),
            Self::LoadFailed { cause } => Status::refused(
                GrpcCode::Unavailable,
                Code::LoadFailed,
                format!("the entity could not be loaded: {cause}"),
            ),
            Self::CommitRefused => Status::refused(
                GrpcCode::Unavailable,
                Code::CommitRefused,
                "another owner has the entity; not applied",
            ),
            Self::CommitNotWritten => Status::refused(
                GrpcCode::Unavailable,
                Code::CommitNotWritten,
                "the store did not write the commit; not applied",
            ),
            Self::OwnerUnsure => Status::refused(
                GrpcCode::Unavailable,
                Code::OwnerUnsure,
                "the store does not tell who owns the entity now; not applied",
            ),
            Self::CommitUnknown => Status::refused(
                GrpcCode::Unavailable,
                Code::CommitUnknown,
                "the store did not confirm the commit; the command may have been applied",
            ),
            Self::Deleted if component.kind == Kind::Replicated => {
                fixed("Entity deleted", Code::EntityDeleted)
            }
            Self::Deleted => Status::refused(
                GrpcCode::FailedPrecondition,
                Code::EntityDeleted,
                "the entity was deleted and accepts no changes",
            ),
            Self::IdempotencyKeyReused => Status::refused(
                GrpcCode::InvalidArgument,
                Code::IdempotencyKeyReused,
                "the idempotency key was used with another request",
            ),
            Self::Failed(Fault::Command(failure)) => Status {
                details: failure.details.clone(),
                ..Status::refused(
                    failure.code.unwrap_or(texts.code),
                    Code::FunctionFailed,
                    &failure.text,
                )
            },
            Self::Failed(Fault::Failure(failure)) => Status::refused(
                failure.code.unwrap_or(texts.code),
                Code::FunctionFailed,
                if texts.pass_on {
                    &failure.text
                } else {
                    texts.failure
                },
            ),
            Self::Failed(Fault::Reply) => fixed(texts.reply, Code::ProtocolViolated),
            Self::Failed(Fault::Message) => fixed(texts.message, Code::ProtocolViolated),
            Self::Failed(Fault::Unfit { code, cause }) => {
                let text = format!("{cause}; not applied");
                Status::refused(GrpcCode::Internal, *code, text)
            }
            Self::Failed(Fault::Termination) => fixed(texts.termination, Code::FunctionFailed),
            Self::QueuedBehindFailure => fixed(texts.queued, Code::FunctionFailed),
            Self::InvalidChange { reason } => Status::refused(
                texts.code,
                Code::ChangeInvalid,
                format!("the function changed the entity in a way that cannot be: {reason}"),
            ),
            Self::NotConfirmed => fixed(
                "Failed to update CRDT at requested write consistency",
                Code::ChangeNotConfirmed,
            ),
            Self::CallerTooSlow => Status::refused(
                GrpcCode::ResourceExhausted,
                Code::CallerTooSlow,
                "the stream ended because its messages were taken too slowly",
            ),
        }
    }

    /// Whether an effect that met this refusal is still to be delivered.
    ///
    /// What the function itself said is an answer, and so is a refusal that the entity's state
    /// makes for good; everything else is a delay.
    pub fn delays_delivery(&self) -> bool {
        !matches!(
            self,
            Self::Deleted
                | Self::IdempotencyKeyReused
                | Self::Failed(_)
                | Self::InvalidChange { .. }
                | Self::NotConfirmed
        )
    }
}

#[cfg(test)]
mod tests {
    use firn_testkit::contract::{Declared, contract};
    use firn_testkit::policies;

    use super::*;

    fn failure(code: Option<GrpcCode>) -> Failure {
        Failure {
            text: "its own text".into(),
            code,
            details: Vec::new(),
            restart: false,
        }
    }

    /// Status, code and text of a refusal, for a component with the fixed texts of the test kit.
    fn told(refusal: &Refusal, pass_on: bool) -> (GrpcCode, Option<Code>, String) {
        let mut policies = policies::careful();
        policies.texts.pass_on = pass_on;
        let declared = Declared {
            service: "t.A",
            kind: Kind::Value,
            policies,
        };
        let proto = "syntax = \"proto3\"; package t; service A {}";
        let contract = contract(proto, vec![declared]);
        let status = refusal.status(&contract.components[0]);
        (status.code, status.firn, status.message)
    }

    #[test]
    fn each_refusal_has_its_status_and_code() {
        use GrpcCode::{
            DeadlineExceeded, FailedPrecondition, InvalidArgument, ResourceExhausted, Unavailable,
            Unknown,
        };
        let check = |refusal: Refusal, status: GrpcCode, expected: Code, text: &str| {
            let (code, firn, message) = told(&refusal, false);
            assert_eq!((code, firn), (status, Some(expected)), "{refusal:?}");
            assert!(message.contains(text), "{message:?} does not say {text:?}");
        };
        let full = Refusal::MailboxFull { capacity: 7 };
        check(full, ResourceExhausted, Code::MailboxFull, "7 commands");
        check(
            Refusal::DeadlineQueued,
            DeadlineExceeded,
            Code::DeadlinePassedQueued,
            "not applied",
        );
        check(
            Refusal::StreamsExhausted,
            ResourceExhausted,
            Code::StreamsExhausted,
            "not applied",
        );
        check(
            Refusal::Timeout,
            DeadlineExceeded,
            Code::CommandTimeout,
            "may have been applied",
        );
        check(
            Refusal::FunctionUnavailable,
            Unavailable,
            Code::FunctionUnavailable,
            "not applied",
        );
        check(
            Refusal::ShuttingDown,
            Unavailable,
            Code::ShuttingDown,
            "not applied",
        );
        let cause = "the disk".to_owned();
        check(
            Refusal::LoadFailed { cause },
            Unavailable,
            Code::LoadFailed,
            "the disk",
        );
        check(
            Refusal::CommitRefused,
            Unavailable,
            Code::CommitRefused,
            "not applied",
        );
        check(
            Refusal::CommitNotWritten,
            Unavailable,
            Code::CommitNotWritten,
            "not applied",
        );
        check(
            Refusal::OwnerUnsure,
            Unavailable,
            Code::OwnerUnsure,
            "not applied",
        );
        check(
            Refusal::CommitUnknown,
            Unavailable,
            Code::CommitUnknown,
            "may have been applied",
        );
        check(
            Refusal::Deleted,
            FailedPrecondition,
            Code::EntityDeleted,
            "deleted",
        );
        check(
            Refusal::IdempotencyKeyReused,
            InvalidArgument,
            Code::IdempotencyKeyReused,
            "another request",
        );
        check(
            Refusal::QueuedBehindFailure,
            Unknown,
            Code::FunctionFailed,
            "queued",
        );
        let reason = "no type of data".to_owned();
        check(
            Refusal::InvalidChange { reason },
            Unknown,
            Code::ChangeInvalid,
            "no type of data",
        );
        check(
            Refusal::NotConfirmed,
            Unknown,
            Code::ChangeNotConfirmed,
            "write consistency",
        );
        check(
            Refusal::CallerTooSlow,
            ResourceExhausted,
            Code::CallerTooSlow,
            "too slowly",
        );
        check(
            Refusal::Failed(Fault::Reply),
            Unknown,
            Code::ProtocolViolated,
            "reply",
        );
        check(
            Refusal::Failed(Fault::Message),
            Unknown,
            Code::ProtocolViolated,
            "message",
        );
        check(
            Refusal::Failed(Fault::Termination),
            Unknown,
            Code::FunctionFailed,
            "termination",
        );
        let instance = Refusal::Failed(Fault::Failure(failure(None)));
        check(instance, Unknown, Code::FunctionFailed, "failure");
        let command = Refusal::Failed(Fault::Command(failure(Some(InvalidArgument))));
        check(
            command,
            InvalidArgument,
            Code::FunctionFailed,
            "its own text",
        );
    }

    #[test]
    fn own_text_of_an_instance_failure_passes_only_where_the_policy_says_so() {
        let refusal = Refusal::Failed(Fault::Failure(failure(None)));
        assert_eq!(told(&refusal, true).2, "its own text");
        assert_eq!(told(&refusal, false).2, "failure");
    }

    #[test]
    fn only_answers_of_the_function_end_a_delivery() {
        assert!(!Refusal::Failed(Fault::Termination).delays_delivery());
        assert!(!Refusal::Deleted.delays_delivery());
        assert!(Refusal::MailboxFull { capacity: 1 }.delays_delivery());
        assert!(Refusal::FunctionUnavailable.delays_delivery());
        assert!(Refusal::Timeout.delays_delivery());
    }
}
