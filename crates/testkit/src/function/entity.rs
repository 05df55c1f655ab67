//! The stream of one entity, in the hands of a test.

use std::fmt::Debug;

use bytes::Bytes;
use firn_wire::dialect::Dialect;
use firn_wire::superset::crdt_stream_in::Message as OldIn;
use firn_wire::superset::crdt_stream_in01::Message as StatesIn;
use firn_wire::superset::event_sourced_stream_in::Message as EventsIn;
use firn_wire::superset::replicated_entity_stream_in::Message as NewIn;
use firn_wire::superset::value_entity_stream_in::Message as ValueIn;
use firn_wire::superset::{
    Any, Command, EventSourcedEvent, EventSourcedInit, EventSourcedSnapshotReply,
    EventSourcedStreamIn, EventSourcedStreamOut, Failure, ValueEntityInit, ValueEntityStreamIn,
    ValueEntityStreamOut, event_sourced_stream_out, value_entity_stream_out,
};
use prost::Message;

use super::call::{Call, Inbound};
use super::message::Reply;
use super::replica::{self, Layout};

/// What the proxy does on the stream.
#[derive(Debug, Clone, PartialEq)]
pub enum In {
    /// Opens a value entity.
    ValueInit(ValueEntityInit),
    /// Opens an event sourced entity.
    EventsInit(EventSourcedInit),
    /// Replays an event.
    Event(EventSourcedEvent),
    /// Sends a command.
    Command(Command),
    /// Says something else to a replicated entity, in the new layout.
    New(NewIn),
    /// The same in the old layout.
    Old(OldIn),
    /// The same in the layout with whole values.
    States(StatesIn),
    /// Asks for a snapshot.
    SnapshotRequest(i64),
    /// Sends a message that holds nothing.
    Empty,
    /// Half-closes the stream.
    HalfClose,
    /// Resets the stream.
    Reset,
    /// Loses or closes the connection.
    Gone,
}

impl From<Command> for In {
    fn from(command: Command) -> Self {
        Self::Command(command)
    }
}

/// Which kind of entity a stream is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Value,
    EventSourced,
    Replicated(Layout),
}

/// The stream of an entity. Dropping it breaks the stream.
#[derive(Debug)]
pub struct Stream {
    kind: Kind,
    call: Call,
}

impl Stream {
    pub(super) fn new(call: Call, dialect: &Dialect) -> Self {
        let kind = if call.path == dialect.event_sourced.handle {
            Kind::EventSourced
        } else if call.path == dialect.replicated.handle {
            Kind::Replicated(Layout::of(dialect))
        } else {
            Kind::Value
        };
        Self { kind, call }
    }

    /// What the proxy does next.
    ///
    /// # Panics
    /// If it does nothing in time, or what it sends is not of its protocol.
    pub async fn next(&mut self) -> In {
        let message = match self.call.next().await {
            Inbound::Message(message) => message,
            Inbound::HalfClose => return In::HalfClose,
            Inbound::Reset => return In::Reset,
            Inbound::Gone => return In::Gone,
        };
        match self.kind {
            Kind::Value => match decode::<ValueEntityStreamIn>(message).message {
                Some(ValueIn::Init(it)) => In::ValueInit(it),
                Some(ValueIn::Command(it)) => In::Command(it),
                None => In::Empty,
            },
            Kind::EventSourced => match decode::<EventSourcedStreamIn>(message).message {
                Some(EventsIn::Init(it)) => In::EventsInit(it),
                Some(EventsIn::Event(it)) => In::Event(it),
                Some(EventsIn::Command(it)) => In::Command(it),
                Some(EventsIn::SnapshotRequest(it)) => In::SnapshotRequest(it.request_id),
                None => In::Empty,
            },
            Kind::Replicated(layout) => layout.read(message),
        }
    }

    /// Expects exactly this next.
    ///
    /// # Panics
    /// If something else comes, or nothing in time.
    pub async fn expect(&mut self, expected: impl Into<In>) {
        let expected = expected.into();
        let came = self.next().await;
        assert_eq!(came, expected, "(what came, what was expected)");
    }

    /// Expects the opening, whatever is in it, and gives the entity's id.
    ///
    /// # Panics
    /// If something else comes, or nothing in time.
    pub async fn expect_some_init(&mut self) -> String {
        match self.next().await {
            In::ValueInit(init) => init.entity_id,
            In::EventsInit(init) => init.entity_id,
            other => match replica::opened(&other) {
                Some(entity_id) => entity_id.to_owned(),
                None => panic!("expected an opening, but there came {other:?}"),
            },
        }
    }

    /// Expects a command, whatever is in it.
    ///
    /// # Panics
    /// If something else comes, or nothing in time.
    pub async fn expect_some_command(&mut self) -> Command {
        match self.next().await {
            In::Command(command) => command,
            other => panic!("expected a command, but there came {other:?}"),
        }
    }

    /// Expects the proxy to half-close the stream, which is not the same as a reset.
    ///
    /// # Panics
    /// If something else comes, or nothing in time.
    pub async fn expect_half_close(&mut self) {
        self.expect(In::HalfClose).await;
    }

    /// Expects the proxy to half-close the stream and completes it.
    ///
    /// # Panics
    /// If something else comes, or nothing in time.
    pub async fn expect_end(mut self) {
        self.expect_half_close().await;
        self.complete();
    }

    /// Expects the proxy to reset the stream.
    ///
    /// # Panics
    /// If something else comes, or nothing in time.
    pub async fn expect_reset(&mut self) {
        self.expect(In::Reset).await;
    }

    /// Answers a command.
    pub fn reply(&self, reply: Reply) {
        match self.kind {
            Kind::Value => self.send(&reply.value()),
            Kind::EventSourced => self.send(&reply.event_sourced()),
            Kind::Replicated(layout) => self.send_bytes(layout.reply(reply)),
        }
    }

    /// Sends a further message of a streamed command of a replicated entity.
    ///
    /// # Panics
    /// If there is no such thing in its dialect.
    pub fn stream(&self, message: Reply) {
        self.send_bytes(self.layout().streamed_message(message));
    }

    /// Answers that the caller of a streamed command has gone.
    ///
    /// # Panics
    /// If there is no such thing in its dialect.
    pub fn answer_cancel(&self, answer: Reply) {
        self.send_bytes(self.layout().cancel_answer(answer));
    }

    fn layout(&self) -> Layout {
        match self.kind {
            Kind::Replicated(layout) => layout,
            Kind::Value | Kind::EventSourced => panic!("the stream of a {:?} entity", self.kind),
        }
    }

    /// Sends a failure beside the replies.
    pub fn fail(&self, failure: Failure) {
        match self.kind {
            Kind::Value => self.send(&ValueEntityStreamOut {
                message: Some(value_entity_stream_out::Message::Failure(failure)),
            }),
            Kind::EventSourced => self.send(&EventSourcedStreamOut {
                message: Some(event_sourced_stream_out::Message::Failure(failure)),
            }),
            Kind::Replicated(layout) => self.send_bytes(layout.failure(failure)),
        }
    }

    /// Answers a request for a snapshot.
    pub fn snapshot(&self, request_id: i64, snapshot: Option<Any>) {
        let reply = EventSourcedSnapshotReply {
            request_id,
            snapshot,
        };
        self.send(&EventSourcedStreamOut {
            message: Some(event_sourced_stream_out::Message::SnapshotReply(reply)),
        });
    }

    /// Sends any message.
    pub fn send(&self, message: &impl Message) {
        self.send_bytes(message.encode_to_vec());
    }

    /// Sends bytes as a message, right or wrong.
    pub fn send_bytes(&self, message: impl Into<Bytes>) {
        self.call.send(message.into());
    }

    /// Completes the function's side.
    pub fn complete(&self) {
        self.call.end(0, "");
    }

    /// Ends the stream with a gRPC status.
    pub fn end(&self, code: i32, text: &str) {
        self.call.end(code, text);
    }

    /// Breaks the stream without a word.
    pub fn break_off(self) {}
}

/// A message; one with fields that the protocol does not name is refused.
pub(super) fn decode<M: Message + Default + Debug>(bytes: Bytes) -> M {
    let message = M::decode(bytes.clone()).expect("a message of the protocol");
    assert_eq!(
        message.encode_to_vec(),
        bytes,
        "the message holds what its protocol does not name: {message:?}"
    );
    message
}
