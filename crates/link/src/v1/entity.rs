//! What the engine holds of an entity on a connection: one incarnation, without a stream of its own.

use std::sync::Arc;

use firn_model::contract::Kind;
use firn_model::replicated::Delta;
use firn_runtime::link::{
    Entity, EntityCommand, EntityStream, EventSink, Opening, ReplicaCommand, ReplicaOpening,
    ReplicaSink, ReplicaStream,
};
use firn_wire::v1::convert::{self, State};
use firn_wire::v1::data;
use firn_wire::v1::message::{Delete, change};

use super::deadline::left_ms;
use super::hub::Connection;
use super::session::{Handled, Handler, Sent};

/// Opens an incarnation of a value or event sourced entity.
pub(crate) fn open(
    connection: Arc<Connection>,
    opening: Opening,
    events: EventSink,
) -> Box<dyn EntityStream> {
    let Opening {
        component,
        id,
        entity,
    } = opening;
    let state = state(component.kind, entity);
    let incarnation = connection
        .lock()
        .open_entity(&component, &id, state, events);
    Box::new(Held {
        connection,
        incarnation,
    })
}

/// Opens an incarnation of a replicated entity.
pub(crate) fn open_replica(
    connection: Arc<Connection>,
    opening: ReplicaOpening,
    events: ReplicaSink,
) -> Box<dyn ReplicaStream> {
    let ReplicaOpening {
        component,
        id,
        value,
    } = opening;
    let incarnation = connection
        .lock()
        .open_replica(&component, &id, value, events);
    Box::new(Held {
        connection,
        incarnation,
    })
}

/// What the function lacks of an entity that was loaded.
fn state(kind: Kind, entity: Entity) -> State {
    match kind {
        Kind::EventSourced => {}
        Kind::Actor => return State::Actor(entity.state, entity.tags),
        _ => return State::Value(entity.state),
    }
    State::History {
        snapshot: entity
            .snapshot
            .map(|snapshot| (snapshot.sequence, snapshot.payload)),
        events: entity
            .events
            .into_iter()
            .map(|event| event.payload)
            .collect(),
        version: entity.last_event,
    }
}

/// An incarnation. Dropping it ends it without a word to the engine.
struct Held {
    connection: Arc<Connection>,
    incarnation: u64,
}

impl EntityStream for Held {
    fn command(&mut self, command: EntityCommand) {
        let sent = sent(command);
        self.connection.lock().command(self.incarnation, sent);
    }

    fn request_snapshot(&mut self) {
        // The policy of the family never asks: snapshots come with decisions (R51).
    }

    fn pass(&mut self, number: u64) {
        self.connection.pass(number);
    }

    fn half_close(&mut self) {
        self.connection.lock().half_close(self.incarnation);
    }
}

impl ReplicaStream for Held {
    fn command(&mut self, command: ReplicaCommand) {
        let ReplicaCommand {
            number,
            command,
            streamed,
        } = command;
        self.connection
            .lock()
            .replica_command(self.incarnation, sent(command), number, streamed);
    }

    fn delta(&mut self, delta: Delta) {
        let change = change::Change::Delta(data::write(delta));
        self.connection.lock().change(self.incarnation, change);
    }

    fn cancel(&mut self, command: i64) {
        self.connection
            .lock()
            .cancel_watch(self.incarnation, command);
    }

    fn delete(&mut self) {
        let change = change::Change::Deleted(Delete {});
        self.connection.lock().change(self.incarnation, change);
    }

    fn half_close(&mut self) {
        self.connection.lock().half_close(self.incarnation);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.connection.lock().reset(self.incarnation);
    }
}

fn sent(command: EntityCommand) -> Sent {
    Sent {
        method: command.method,
        message: command.message,
        metadata: command.metadata.and_then(convert::metadata),
        timeout_ms: left_ms(Some(command.deadline)),
        handler: Handler {
            of: Handled::Entity,
            hops: command.hops,
        },
    }
}

/// What the engine holds where nobody could be reached; its end was told.
pub(crate) struct Nothing;

impl EntityStream for Nothing {
    fn command(&mut self, _command: EntityCommand) {}

    fn request_snapshot(&mut self) {}

    fn pass(&mut self, _number: u64) {}

    fn half_close(&mut self) {}
}

impl ReplicaStream for Nothing {
    fn command(&mut self, _command: ReplicaCommand) {}

    fn delta(&mut self, _delta: Delta) {}

    fn cancel(&mut self, _command: i64) {}

    fn delete(&mut self) {}

    fn half_close(&mut self) {}
}
