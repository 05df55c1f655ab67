//! Policies as two families have them, for tests that need some.

use std::time::Duration;

use firn_model::policy::{
    ActionEffects, Delete, Durability, EmptyAnswer, FailedQueue, FailureMutation, Headers,
    HttpErrors, LostCommands, OpenCommands, Pipelining, Policies, Replay, ReplyType, StreamFailure,
    Texts, UnnamedFailure,
};
use firn_model::replicated::Consistency;
use firn_model::status::GrpcCode;

/// A failure drops its mutation, the queue of a failed instance stays, deletes leave a tombstone.
pub fn careful() -> Policies {
    Policies {
        failure_mutation: FailureMutation::Drop,
        stream_failure: StreamFailure::FailsCommand,
        unnamed_failure: UnnamedFailure::EndsInstance,
        failed_queue: FailedQueue::Keep,
        delete: Delete::Tombstone(Duration::from_secs(3600)),
        passivate_after: None,
        headers: Headers::Listed(Vec::new()),
        pipelining: Pipelining::Off,
        lost_commands: LostCommands::Fail,
        action_effects: ActionEffects::AtMostOnce,
        replay: Replay::FromSnapshot,
        snapshot_every: None,
        empty_answer: EmptyAnswer::EmptyMessage,
        reply_type: ReplyType::Refuse,
        texts: Texts {
            code: GrpcCode::Unknown,
            failure: "failure",
            reply: "reply",
            message: "message",
            termination: "termination",
            queued: "queued",
            pass_on: false,
        },
        http_errors: HttpErrors::PlainText,
        durability: Durability::Commit,
        open_commands: OpenCommands::One,
        write_consistency: Consistency::Local,
    }
}

/// The entity's next commands are sent before the last is durable, those that are lost are sent
/// again, deletes leave nothing.
pub fn pipelined() -> Policies {
    Policies {
        pipelining: Pipelining::On,
        lost_commands: LostCommands::SendAgain,
        delete: Delete::Plain,
        ..careful()
    }
}

/// A failure keeps its mutation unless it restarts, the queue of a failed instance fails, deletes
/// leave nothing.
pub fn plain() -> Policies {
    Policies {
        failure_mutation: FailureMutation::Keep,
        stream_failure: StreamFailure::EndsInstance,
        failed_queue: FailedQueue::Fail,
        delete: Delete::Plain,
        headers: Headers::None,
        empty_answer: EmptyAnswer::Failure,
        reply_type: ReplyType::Warn,
        http_errors: HttpErrors::PlainText500,
        ..careful()
    }
}
