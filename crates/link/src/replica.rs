//! Streams of replicated entities: several commands may be open, and changes go both ways.
//!
//! Which answer belongs to which command is the engine's to check. What the function knows of the
//! value is known to its [`Layout`], which both halves of the stream share.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use firn_model::id::EntityId;
use firn_model::replicated::Delta;
use firn_runtime::link::{
    End, ReplicaCommand, ReplicaEvent, ReplicaOpening, ReplicaSink, ReplicaStream,
};
use firn_wire::convert::instance::Instance;
use firn_wire::convert::replicated::{
    Layout, New, NoCounterpart, Old, OldUnary, Out, States, Streaming,
};
use firn_wire::dialect::{Deltas, Dialect};

use crate::entity;
use crate::stream::{self, Receiver, Route, Sender};

/// What may wait in a stream to be sent. The engine bounds the commands of an entity that are not
/// answered at a quarter of it, and those that stream, each of which is cancelled once at most, at a
/// half; changes go out between them. A function that leaves more waiting has stopped reading.
const OUTBOUND: usize = 4096;

/// Opens a stream for a replicated entity, laid out as its function's dialect has it.
pub(crate) fn open(
    route: Route,
    dialect: &Dialect,
    opening: ReplicaOpening,
    events: ReplicaSink,
) -> Box<dyn ReplicaStream> {
    match (dialect.deltas, dialect.streamed_commands) {
        (Deltas::States, _) => Box::new(Stream::<States>::open(route, opening, events)),
        (Deltas::Old, true) => Box::new(Stream::<Old>::open(route, opening, events)),
        (Deltas::Old, false) => Box::new(Stream::<OldUnary>::open(route, opening, events)),
        (Deltas::New, _) => Box::new(Stream::<New>::open(route, opening, events)),
    }
}

/// The sending half of a stream.
struct Stream<L: Layout> {
    id: EntityId,
    layout: Arc<Mutex<L>>,
    sender: Sender<L::In>,
}

impl<L: Layout> Stream<L> {
    fn open(route: Route, opening: ReplicaOpening, events: ReplicaSink) -> Self {
        let ReplicaOpening {
            component,
            id,
            value,
        } = opening;
        let instance = Instance {
            service: &component.service,
            entity_id: id.shown(),
        };
        let mut layout = L::default();
        let first = layout.init(instance, value);
        let first = first.map(|init| vec![init]).map_err(unsayable);
        let layout = Arc::new(Mutex::new(layout));
        let inbox = Inbox {
            layout: layout.clone(),
            events,
        };
        let sender = stream::open(route, first, OUTBOUND, inbox);
        Self { id, layout, sender }
    }

    fn send(&mut self, message: Result<L::In, NoCounterpart>) {
        match message {
            Ok(message) => self.sender.send(message),
            Err(error) => self.sender.break_off(unsayable(error)),
        }
    }
}

impl<L: Layout> ReplicaStream for Stream<L> {
    fn command(&mut self, command: ReplicaCommand) {
        let ReplicaCommand {
            number,
            command,
            streamed,
        } = command;
        let streaming = match streamed {
            true => Streaming::Streamed,
            false => Streaming::Unary,
        };
        let command = entity::command(&command, self.id.shown(), number);
        let message = lock(&self.layout).command(command, streaming);
        self.sender.send(message);
    }

    fn delta(&mut self, delta: Delta) {
        let message = lock(&self.layout).delta(delta);
        self.send(message);
    }

    fn cancel(&mut self, command: i64) {
        let message = lock(&self.layout).stream_cancelled(self.id.shown(), command);
        if let Some(message) = message {
            self.sender.send(message);
        }
    }

    fn delete(&mut self) {
        let message = lock(&self.layout).delete();
        self.sender.send(message);
    }

    fn half_close(&mut self) {
        self.sender.half_close();
    }
}

/// The receiving half of a stream.
struct Inbox<L> {
    layout: Arc<Mutex<L>>,
    events: ReplicaSink,
}

impl<L: Layout> Receiver<L::Out> for Inbox<L> {
    fn receive(&mut self, message: L::Out) -> Option<End> {
        let read = lock(&self.layout).read(message);
        (self.events)(match read {
            Ok(Out::Reply(reply)) => ReplicaEvent::Replied(reply),
            Ok(Out::Streamed(message)) => ReplicaEvent::Streamed(message),
            Ok(Out::CancelAnswer(answer)) => ReplicaEvent::CancelAnswered(answer),
            Ok(Out::Failure(it)) => ReplicaEvent::Failed {
                command: it.command_id,
                failure: it.failure,
            },
            Err(violation) => {
                return Some(End::WrongMessage {
                    cause: violation.to_string(),
                });
            }
        });
        None
    }

    fn end(self, end: End) {
        (self.events)(ReplicaEvent::Ended(end));
    }
}

/// The function cannot be told the value it is to work on.
fn unsayable(error: NoCounterpart) -> End {
    End::Terminated {
        cause: error.to_string(),
    }
}

fn lock<L>(layout: &Mutex<L>) -> MutexGuard<'_, L> {
    // Nothing panics between two writes of a layout, so a poisoned one is still whole.
    layout.lock().unwrap_or_else(PoisonError::into_inner)
}
