//! Streams of event sourced and value entities: one command is open at a time.

use std::marker::PhantomData;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use firn_model::code::Code;
use firn_model::contract::{Finding, Kind, Weight};
use firn_model::id::EntityId;
use firn_model::metadata::Metadata;
use firn_model::payload::Payload;
use firn_model::policy::Headers;
use firn_runtime::link::{
    End, Entity, EntityCommand, EntityStream, EventSink, Opening, StreamEvent,
};
use firn_wire::convert::instance::{Command, Instance, Out};
use firn_wire::convert::{Violation, event_sourced, value};
use firn_wire::superset::{
    EventSourcedStreamIn, EventSourcedStreamOut, ValueEntityStreamIn, ValueEntityStreamOut,
};
use prost::Message;

use crate::report::Reporter;
use crate::session::Session;
use crate::stream::{self, Receiver, Route, Sender};

/// What may wait in a stream to be sent: a command, a request for a snapshot and the end, with room
/// to spare, since at most one of them is open.
const OUTBOUND: usize = 4;

/// In which words a kind of entity speaks.
trait Protocol: 'static {
    type In: Message + Default + 'static;
    type Out: Message + Default + 'static;

    /// The messages that bring an instance up to date.
    fn opening(instance: Instance<'_>, entity: Entity) -> Vec<Self::In>;
    fn command(command: Command<'_>) -> Self::In;
    fn snapshot_request(request_id: i64) -> Option<Self::In>;
    fn read(out: Self::Out) -> Result<Out, Violation>;
}

struct Value;

impl Protocol for Value {
    type In = ValueEntityStreamIn;
    type Out = ValueEntityStreamOut;

    fn opening(instance: Instance<'_>, entity: Entity) -> Vec<Self::In> {
        vec![value::init(instance, entity.state)]
    }

    fn command(command: Command<'_>) -> Self::In {
        value::command(command)
    }

    fn snapshot_request(_request_id: i64) -> Option<Self::In> {
        None
    }

    fn read(out: Self::Out) -> Result<Out, Violation> {
        value::read(out)
    }
}

struct EventSourced;

impl Protocol for EventSourced {
    type In = EventSourcedStreamIn;
    type Out = EventSourcedStreamOut;

    fn opening(instance: Instance<'_>, entity: Entity) -> Vec<Self::In> {
        let snapshot = entity
            .snapshot
            .map(|snapshot| (snapshot.sequence, snapshot.payload));
        let events = entity.events.into_iter();
        std::iter::once(event_sourced::init(instance, snapshot))
            .chain(events.map(|event| event_sourced::event(event.sequence, event.payload)))
            .collect()
    }

    fn command(command: Command<'_>) -> Self::In {
        event_sourced::command(command)
    }

    fn snapshot_request(request_id: i64) -> Option<Self::In> {
        Some(event_sourced::snapshot_request(request_id))
    }

    fn read(out: Self::Out) -> Result<Out, Violation> {
        event_sourced::read(out)
    }
}

/// Opens a stream for an entity.
pub(crate) fn open(route: Route, opening: Opening, events: EventSink) -> Box<dyn EntityStream> {
    match opening.component.kind {
        Kind::EventSourced => Box::new(Stream::<EventSourced>::open(route, opening, events)),
        Kind::Value | Kind::Action | Kind::Replicated | Kind::Actor => {
            Box::new(Stream::<Value>::open(route, opening, events))
        }
    }
}

/// The sending half of an entity stream.
struct Stream<P: Protocol> {
    id: EntityId,
    session: Arc<Mutex<Session>>,
    sender: Sender<P::In>,
}

impl<P: Protocol> Stream<P> {
    fn open(route: Route, opening: Opening, events: EventSink) -> Self {
        let Opening {
            component,
            id,
            entity,
        } = opening;
        let instance = Instance {
            service: &component.service,
            entity_id: id.shown(),
        };
        let first = P::opening(instance, entity);
        let session = Arc::new(Mutex::new(Session::default()));
        let inbox = Inbox::<P> {
            service: component.service.clone(),
            session: session.clone(),
            reporter: route.reporter.clone(),
            events,
            protocol: PhantomData,
        };
        let sender = stream::open(route, Ok(first), OUTBOUND, inbox);
        Self {
            id,
            session,
            sender,
        }
    }
}

impl<P: Protocol> EntityStream for Stream<P> {
    fn command(&mut self, command: EntityCommand) {
        let number = lock(&self.session).begin_command();
        let command = self::command(&command, self.id.shown(), number);
        self.sender.send(P::command(command));
    }

    fn request_snapshot(&mut self) {
        let request_id = lock(&self.session).begin_snapshot();
        if let Some(message) = P::snapshot_request(request_id) {
            self.sender.send(message);
        }
    }

    fn pass(&mut self, _number: u64) {
        // These protocols never ask: their functions make no calls through Firn.
    }

    fn half_close(&mut self) {
        self.sender.half_close();
    }
}

/// A command in the words of the wire.
pub(crate) fn command<'a>(command: &'a EntityCommand, entity_id: &'a str, id: i64) -> Command<'a> {
    static NONE: Metadata = Metadata {
        entries: Vec::new(),
    };
    let (metadata, headers) = match &command.metadata {
        Some(metadata) => (metadata, &Headers::All),
        None => (&NONE, &Headers::None),
    };
    Command {
        entity_id,
        id,
        name: &command.method.name,
        payload: Payload {
            type_url: command.method.input_url.clone(),
            bytes: command.message.clone(),
        },
        metadata,
        headers,
    }
}

/// The receiving half of an entity stream.
struct Inbox<P> {
    service: Arc<str>,
    session: Arc<Mutex<Session>>,
    reporter: Reporter,
    events: EventSink,
    protocol: PhantomData<fn(P)>,
}

impl<P: Protocol> Receiver<P::Out> for Inbox<P> {
    fn receive(&mut self, message: P::Out) -> Option<End> {
        let out = P::read(message);
        if let Ok(Out::Reply(reply)) = &out
            && reply.snapshot_dropped
        {
            let finding = snapshot_dropped(&self.service);
            self.reporter.report_once(Weight::Warning, &finding);
        }
        match lock(&self.session).receive(out) {
            StreamEvent::Ended(end) => return Some(end),
            event => (self.events)(event),
        }
        None
    }

    fn end(self, end: End) {
        (self.events)(StreamEvent::Ended(end));
    }
}

/// A snapshot is of the events before it, so one without any stands for nothing new.
fn snapshot_dropped(service: &str) -> Finding {
    Finding {
        code: Code::ProtocolViolated,
        text: format!("a reply of {service} held a snapshot without events, which is ignored"),
        service: Some(service.to_owned()),
        location: None,
    }
}

fn lock(session: &Mutex<Session>) -> MutexGuard<'_, Session> {
    // Nothing panics between two writes of a session, so a poisoned one is still whole.
    session.lock().unwrap_or_else(PoisonError::into_inner)
}
