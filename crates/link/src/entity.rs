//! Entity streams: one gRPC stream for each active entity.
//!
//! Sending is done in place by whoever holds the [`Stream`]; receiving is a task of its own, which
//! ends with the stream. Dropping the [`Stream`] cuts its requests off and ends the task, which
//! resets the call: the function never takes a reset for a half-close.

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
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use prost::Message;
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::connection::{Connection, Cut};
use crate::report::Reporter;
use crate::session::Session;

/// What may wait in a stream to be sent: a command, a request for a snapshot and the end, with room
/// to spare, since at most one of them is open.
const OUTBOUND: usize = 4;

/// What is still to be sent on a stream.
enum Outbound<M> {
    Message(M),
    HalfClose,
}

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

/// Where an entity stream goes.
pub(crate) struct Route {
    pub(crate) connection: Connection,
    /// The gRPC path of the stream.
    pub(crate) path: &'static str,
    pub(crate) reporter: Reporter,
    pub(crate) tasks: TaskTracker,
}

/// Opens a stream for an entity.
pub(crate) fn open(route: Route, opening: Opening, events: EventSink) -> Box<dyn EntityStream> {
    match opening.component.kind {
        Kind::EventSourced => Box::new(Stream::<EventSourced>::open(route, opening, events)),
        Kind::Value | Kind::Action => Box::new(Stream::<Value>::open(route, opening, events)),
    }
}

/// The sending half of an entity stream.
struct Stream<P: Protocol> {
    id: EntityId,
    session: Arc<Mutex<Session>>,
    outbound: mpsc::Sender<Outbound<P::In>>,
    _task: DropGuard,
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
        let (outbound, later) = mpsc::channel(OUTBOUND);
        let requests = requests(first, later);
        let session = Arc::new(Mutex::new(Session::default()));
        let reset = CancellationToken::new();
        let (receiving, asked) = (session.clone(), reset.clone());
        let service = component.service.clone();
        route.tasks.clone().spawn(async move {
            tokio::select! {
                biased;
                () = asked.cancelled() => {}
                end = receive::<P>(&route, &service, requests, &receiving, &events) => {
                    events(StreamEvent::Ended(end));
                }
            }
        });
        Self {
            id,
            session,
            outbound,
            _task: reset.drop_guard(),
        }
    }

    fn send(&self, outbound: Outbound<P::In>) {
        // Full or closed only if the stream is over, which its end has told or will tell.
        let _ = self.outbound.try_send(outbound);
    }
}

impl<P: Protocol> EntityStream for Stream<P> {
    fn command(&mut self, command: EntityCommand) {
        let EntityCommand {
            method,
            message,
            metadata,
        } = command;
        let headers = if metadata.is_some() {
            Headers::All
        } else {
            Headers::None
        };
        let message = P::command(Command {
            entity_id: self.id.shown(),
            id: lock(&self.session).begin_command(),
            name: &method.name,
            payload: Payload {
                type_url: method.input_url.clone(),
                bytes: message,
            },
            metadata: &metadata.unwrap_or_else(Metadata::default),
            headers: &headers,
        });
        self.send(Outbound::Message(message));
    }

    fn request_snapshot(&mut self) {
        let request_id = lock(&self.session).begin_snapshot();
        if let Some(message) = P::snapshot_request(request_id) {
            self.send(Outbound::Message(message));
        }
    }

    fn half_close(&mut self) {
        self.send(Outbound::HalfClose);
    }
}

/// Everything that is sent on a stream: it ends with a half-close, or is cut off when the sender is
/// dropped.
fn requests<M: Send + 'static>(
    first: Vec<M>,
    later: mpsc::Receiver<Outbound<M>>,
) -> BoxStream<'static, Result<M, Cut>> {
    let later = stream::unfold(Some(later), |later| async {
        let mut later = later?;
        match later.recv().await {
            Some(Outbound::Message(message)) => Some((Ok(message), Some(later))),
            Some(Outbound::HalfClose) => None,
            None => Some((Err(Cut), None)),
        }
    });
    stream::iter(first.into_iter().map(Ok)).chain(later).boxed()
}

/// Receives until the stream is over.
async fn receive<P: Protocol>(
    route: &Route,
    service: &str,
    requests: BoxStream<'static, Result<P::In, Cut>>,
    session: &Mutex<Session>,
    events: &EventSink,
) -> End {
    if !route.connection.is_open() {
        return End::Unreachable {
            cause: "the connection is closed".to_owned(),
        };
    }
    let mut replies = match route
        .connection
        .streaming::<P::In, P::Out>(route.path, requests)
        .await
    {
        Ok(response) => response.into_inner(),
        Err(status) => {
            return End::Terminated {
                cause: cause(&status),
            };
        }
    };
    loop {
        let out = match replies.message().await {
            Ok(Some(out)) => out,
            Ok(None) => return End::Completed,
            Err(status) => {
                return End::Terminated {
                    cause: cause(&status),
                };
            }
        };
        let out = P::read(out);
        if let Ok(Out::Reply(reply)) = &out
            && reply.snapshot_dropped
        {
            route
                .reporter
                .report_once(Weight::Warning, &snapshot_dropped(service));
        }
        match lock(session).receive(out) {
            StreamEvent::Ended(end) => return end,
            event => events(event),
        }
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

/// A gRPC status in words for the log.
pub(crate) fn cause(status: &tonic::Status) -> String {
    format!("{:?}: {}", status.code(), status.message())
}

fn lock(session: &Mutex<Session>) -> MutexGuard<'_, Session> {
    // Nothing panics between two writes of a session, so a poisoned one is still whole.
    session.lock().unwrap_or_else(PoisonError::into_inner)
}
