//! Entity streams: one gRPC stream for each active entity.
//!
//! Sending is done in place by whoever holds the [`Stream`]; receiving is a task of its own, which
//! ends with the stream. Dropping the [`Stream`] ends the task, and with it the call (reset).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use firn_model::contract::Kind;
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
use prost::Message;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::connection::Connection;
use crate::session::Session;

/// Messages to the function that may wait in a stream: a command and a request for a snapshot, with
/// room to spare, since at most one of them is open.
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

/// Where an entity stream goes.
pub(crate) struct Route {
    pub(crate) connection: Connection,
    /// The gRPC path of the stream.
    pub(crate) path: &'static str,
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
    /// `None` once half-closed.
    outbound: Option<mpsc::Sender<P::In>>,
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
        let requests = futures_util::stream::iter(first).chain(ReceiverStream::new(later));
        let session = Arc::new(Mutex::new(Session::default()));
        let reset = CancellationToken::new();
        let (receiving, asked) = (session.clone(), reset.clone());
        route.tasks.clone().spawn(async move {
            tokio::select! {
                biased;
                () = asked.cancelled() => {}
                end = receive::<P>(&route, requests, &receiving, &events) => {
                    events(StreamEvent::Ended(end));
                }
            }
        });
        Self {
            id,
            session,
            outbound: Some(outbound),
            _task: reset.drop_guard(),
        }
    }

    fn send(&mut self, message: P::In) {
        if let Some(outbound) = &self.outbound {
            // Full or closed only if the stream is over, which its end has told or will tell.
            let _ = outbound.try_send(message);
        }
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
        self.send(message);
    }

    fn request_snapshot(&mut self) {
        let request_id = lock(&self.session).begin_snapshot();
        if let Some(message) = P::snapshot_request(request_id) {
            self.send(message);
        }
    }

    fn half_close(&mut self) {
        self.outbound = None;
    }
}

/// Receives until the stream is over.
async fn receive<P: Protocol>(
    route: &Route,
    requests: impl futures_util::Stream<Item = P::In> + Send + 'static,
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
        match lock(session).receive(P::read(out)) {
            StreamEvent::Ended(end) => return end,
            event => events(event),
        }
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
