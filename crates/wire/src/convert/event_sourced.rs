//! The stream of an event sourced entity.

use firn_model::decision::{Append, Decision, Mutation};
use firn_model::payload::Payload;

use super::Violation;
use super::instance::{Command, Instance, Out, Reply, Snapshot, stream_failure};
use super::parts;
use crate::superset::{
    self, EventSourcedEvent, EventSourcedInit, EventSourcedReply, EventSourcedSnapshot,
    EventSourcedSnapshotReply, EventSourcedSnapshotRequest, EventSourcedStreamIn,
    EventSourcedStreamOut, event_sourced_stream_in as stream_in,
    event_sourced_stream_out as stream_out,
};

/// The first message of a stream; `snapshot` is the newest, with the sequence of its last event.
pub fn init(instance: Instance<'_>, snapshot: Option<(u64, Payload)>) -> EventSourcedStreamIn {
    let snapshot = snapshot.map(|(sequence, state)| EventSourcedSnapshot {
        snapshot_sequence: signed(sequence),
        snapshot: Some(parts::any(state)),
    });
    message(stream_in::Message::Init(EventSourcedInit {
        service_name: instance.service.to_owned(),
        entity_id: instance.entity_id.to_owned(),
        snapshot,
    }))
}

/// One event of the replay; the first of an entity is number 1.
pub fn event(sequence: u64, event: Payload) -> EventSourcedStreamIn {
    message(stream_in::Message::Event(EventSourcedEvent {
        sequence: signed(sequence),
        payload: Some(parts::any(event)),
    }))
}

/// A command.
pub fn command(command: Command<'_>) -> EventSourcedStreamIn {
    message(stream_in::Message::Command(command.message()))
}

/// Asks for a snapshot; only for dialects that have [`crate::dialect::Dialect::snapshot_requests`].
pub fn snapshot_request(request_id: i64) -> EventSourcedStreamIn {
    message(stream_in::Message::SnapshotRequest(
        EventSourcedSnapshotRequest { request_id },
    ))
}

/// Reads one message of the function.
///
/// # Errors
/// Any [`Violation`] that concerns events.
pub fn read(out: EventSourcedStreamOut) -> Result<Out, Violation> {
    match out.message.ok_or(Violation::NoContent)? {
        stream_out::Message::Reply(it) => reply(it).map(Out::Reply),
        stream_out::Message::Failure(it) => Ok(Out::Failure(stream_failure(it))),
        stream_out::Message::SnapshotReply(it) => snapshot_reply(it).map(Out::Snapshot),
    }
}

fn reply(reply: EventSourcedReply) -> Result<Reply, Violation> {
    let events = payloads(reply.events)?;
    let delete = reply.delete.map(parts::duration);
    let snapshot = reply.snapshot.map(parts::payload).transpose()?;
    let snapshot_dropped = snapshot.is_some() && events.is_empty();
    let mutation = if events.is_empty() && delete.is_none() {
        Mutation::Nothing
    } else {
        Mutation::Append(Append {
            snapshot: snapshot.filter(|_| !snapshot_dropped),
            events,
            delete,
        })
    };
    Ok(Reply {
        command_id: reply.command_id,
        decision: Decision {
            answer: parts::answer(reply.client_action)?,
            mutation,
            effects: parts::effects(reply.side_effects)?,
            timers: Vec::new(),
        },
        snapshot_dropped,
    })
}

fn payloads(events: Vec<superset::Any>) -> Result<Vec<Payload>, Violation> {
    events.into_iter().map(parts::payload).collect()
}

fn snapshot_reply(reply: EventSourcedSnapshotReply) -> Result<Snapshot, Violation> {
    Ok(Snapshot {
        request_id: reply.request_id,
        snapshot: reply.snapshot.map(parts::payload).transpose()?,
    })
}

fn message(message: stream_in::Message) -> EventSourcedStreamIn {
    EventSourcedStreamIn {
        message: Some(message),
    }
}

/// Sequences are signed on the wire; no entity lives long enough to reach the limit.
fn signed(sequence: u64) -> i64 {
    i64::try_from(sequence).unwrap_or(i64::MAX)
}
