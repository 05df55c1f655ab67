//! Policies: in which behaviour the families differ, as named choices.

use firn_model::contract::{FunctionInfo, Kind};
use firn_model::limit::DELETE_GRACE;
use firn_model::policy::{
    ActionEffects, Delete, Durability, EmptyAnswer, FailedQueue, FailureMutation, Headers,
    HttpErrors, LostCommands, OpenCommands, Pipelining, Policies, Replay, ReplyType, StreamFailure,
    Texts, UnnamedFailure,
};
use firn_model::replicated::Consistency;
use firn_model::status::GrpcCode;

use super::declaration::Component;
use super::is_python;
use crate::dialect::{Deltas, Dialect, Family};

/// How many events after the last snapshot make Firn ask for one.
///
/// The SDKs' own default: one that takes snapshots by itself is asked only if it missed one.
const SNAPSHOT_EVERY: u64 = 100;

/// The policies of a component of this kind.
pub(super) fn of(
    dialect: &Dialect,
    info: &FunctionInfo,
    kind: Kind,
    declared: &Component,
) -> Policies {
    match dialect.family {
        Family::Cloudstate => cloudstate(dialect, info, kind, declared),
        Family::AkkaServerless => Policies {
            passivate_after: declared.passivate_after,
            delete: Delete::Plain,
            replay: replay(dialect, info),
            snapshot_every: None,
            empty_answer: EmptyAnswer::EmptyMessage,
            ..kalix(info, kind, declared)
        },
        Family::Kalix => kalix(info, kind, declared),
    }
}

fn cloudstate(
    dialect: &Dialect,
    info: &FunctionInfo,
    kind: Kind,
    declared: &Component,
) -> Policies {
    Policies {
        failure_mutation: FailureMutation::Keep,
        stream_failure: match kind {
            Kind::Replicated => StreamFailure::FailsCommand,
            Kind::Value | Kind::EventSourced | Kind::Actor | Kind::Action => {
                StreamFailure::EndsInstance
            }
        },
        unnamed_failure: match kind {
            Kind::Replicated => UnnamedFailure::Ignored,
            Kind::Value | Kind::EventSourced | Kind::Actor | Kind::Action => {
                UnnamedFailure::EndsInstance
            }
        },
        failed_queue: FailedQueue::Fail,
        delete: Delete::Plain,
        passivate_after: declared.passivate_after,
        headers: if kind.is_entity() {
            Headers::None
        } else {
            Headers::All
        },
        pipelining: Pipelining::Off,
        lost_commands: LostCommands::Fail,
        action_effects: ActionEffects::AtMostOnce,
        replay: replay(dialect, info),
        snapshot_every: None,
        empty_answer: EmptyAnswer::Failure,
        reply_type: ReplyType::Warn,
        texts: match kind {
            Kind::Value => CLOUDSTATE_VALUE_TEXTS,
            Kind::Replicated => CLOUDSTATE_REPLICATED_TEXTS,
            Kind::EventSourced | Kind::Actor | Kind::Action => CLOUDSTATE_TEXTS,
        },
        http_errors: HttpErrors::PlainText500,
        durability: Durability::Commit,
        open_commands: OpenCommands::Many,
        // Each reply says it.
        write_consistency: Consistency::Local,
    }
}

fn kalix(info: &FunctionInfo, kind: Kind, declared: &Component) -> Policies {
    Policies {
        failure_mutation: FailureMutation::Drop,
        stream_failure: StreamFailure::FailsCommand,
        unnamed_failure: UnnamedFailure::EndsInstance,
        failed_queue: FailedQueue::Keep,
        delete: Delete::Tombstone(DELETE_GRACE),
        // Kalix honours the function's own time for replicated entities only.
        passivate_after: declared
            .passivate_after
            .filter(|_| kind == Kind::Replicated),
        headers: Headers::Listed(declared.forward_headers.clone()),
        pipelining: Pipelining::Off,
        lost_commands: LostCommands::Fail,
        action_effects: ActionEffects::AtMostOnce,
        replay: Replay::FromSnapshot,
        snapshot_every: (kind == Kind::EventSourced).then_some(SNAPSHOT_EVERY),
        empty_answer: match kind {
            Kind::Action => EmptyAnswer::NotFound,
            _ => EmptyAnswer::EmptyMessage,
        },
        reply_type: ReplyType::Refuse,
        texts: Texts {
            pass_on: hides_detail(info),
            ..KALIX_TEXTS
        },
        http_errors: HttpErrors::PlainText,
        durability: Durability::Commit,
        open_commands: OpenCommands::One,
        write_consistency: declared.write_consistency,
    }
}

/// The Python SDKs of the oldest Cloudstate and of Akka Serverless break a stream that begins with a
/// snapshot.
fn replay(dialect: &Dialect, info: &FunctionInfo) -> Replay {
    let is_broken = match dialect.family {
        Family::Cloudstate => dialect.deltas == Deltas::States,
        Family::AkkaServerless => true,
        Family::Kalix => false,
    };
    if is_broken && is_python(info) {
        Replay::AllEvents
    } else {
        Replay::FromSnapshot
    }
}

/// Whether the SDK hides the detail of an unexpected error behind a correlation id, so that its text
/// may be shown: those of the JVM do.
fn hides_detail(info: &FunctionInfo) -> bool {
    let runtime = info.runtime.to_ascii_lowercase();
    runtime.contains("jvm") || runtime.contains("jre") || runtime.contains("jdk")
}

/// The reference proxy's texts, which its conformance test knows.
const CLOUDSTATE_TEXTS: Texts = Texts {
    code: GrpcCode::Unknown,
    failure: "Unexpected entity failure",
    reply: "Unexpected entity reply",
    message: "Unexpected entity message",
    termination: "Unexpected entity termination",
    queued: "Entity terminated",
    pass_on: false,
};

/// The same for value entities.
const CLOUDSTATE_VALUE_TEXTS: Texts = Texts {
    failure: "Unexpected Value entity failure",
    reply: "Unexpected Value entity reply",
    message: "Unexpected Value entity failure",
    termination: "Unexpected Value entity termination",
    queued: "Value entity terminated",
    ..CLOUDSTATE_TEXTS
};

/// The same for replicated entities: one text for whatever ends an instance.
const CLOUDSTATE_REPLICATED_TEXTS: Texts = Texts {
    failure: "Entity terminating",
    reply: "Entity terminating",
    message: "Entity terminating",
    termination: "Entity terminating",
    queued: "Entity terminating",
    ..CLOUDSTATE_TEXTS
};

/// Akka Serverless and Kalix fix no texts; these are ours.
const KALIX_TEXTS: Texts = Texts {
    code: GrpcCode::Unknown,
    failure: "the function failed the entity",
    reply: "the function answered something that was not asked",
    message: "the function sent an illegal message",
    termination: "the function ended the entity's stream",
    queued: "the entity ended before the command was sent",
    pass_on: false,
};
