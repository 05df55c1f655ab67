//! Streams of entities: what event sourced and value entities have in common.

use firn_model::decision::{Decision, Failure};
use firn_model::metadata::Metadata;
use firn_model::payload::Payload;
use firn_model::policy::Headers;

use super::parts;
use crate::superset;

/// Which entity a stream is for.
#[derive(Debug, Clone, Copy)]
pub struct Instance<'a> {
    /// The full name of the component's gRPC service.
    pub service: &'a str,
    /// The id as the function sees it.
    pub entity_id: &'a str,
}

/// A command for the entity of a stream.
#[derive(Debug)]
pub struct Command<'a> {
    /// The id as the function sees it.
    pub entity_id: &'a str,
    /// The number of the command on its stream: 1, 2, 3… on each.
    pub id: i64,
    /// The method's name without its service.
    pub name: &'a str,
    /// The request.
    pub payload: Payload,
    /// The client's headers.
    pub metadata: &'a Metadata,
    /// Which of them reach the function.
    pub headers: &'a Headers,
}

impl Command<'_> {
    pub(super) fn message(self) -> superset::Command {
        superset::Command {
            entity_id: self.entity_id.to_owned(),
            id: self.id,
            name: self.name.to_owned(),
            payload: Some(parts::any(self.payload)),
            streamed: false,
            metadata: parts::headers(self.headers, self.metadata),
        }
    }
}

/// One message from the stream of an entity.
#[derive(Debug, Clone, PartialEq)]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly every message is a reply, and none is kept"
)]
pub enum Out {
    /// The answer to a command.
    Reply(Reply),
    /// The answer to a request for a snapshot.
    Snapshot(Snapshot),
    /// A failure beside the replies.
    Failure(StreamFailure),
}

/// The answer to a command.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    /// The command that is answered; whether it is the open one is the link's to check.
    pub command_id: i64,
    /// What the function decided.
    pub decision: Decision,
    /// The reply held a snapshot without events, which is not legal: it was dropped.
    pub snapshot_dropped: bool,
}

/// The answer to a request for a snapshot.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    /// The request that is answered.
    pub request_id: i64,
    /// The state after everything that was replied before; `None` if there is none.
    pub snapshot: Option<Payload>,
}

/// A failure beside the replies.
#[derive(Debug, Clone, PartialEq)]
pub struct StreamFailure {
    /// The command that failed; `None` if the instance as a whole did.
    pub command_id: Option<i64>,
    /// What the function says about it.
    pub failure: Failure,
}

pub(super) fn stream_failure(failure: superset::Failure) -> StreamFailure {
    StreamFailure {
        command_id: (failure.command_id != 0).then_some(failure.command_id),
        failure: parts::failure(failure),
    }
}
