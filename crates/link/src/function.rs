//! One connected function with its contract: what the engine calls a link.

use std::sync::Arc;

use bytes::Bytes;
use firn_model::contract::{Contract, Finding, Kind, Weight};
use firn_model::status::Status;
use firn_runtime::link::{
    ActionAnswer, ActionCall, AnswerStream, EntityStream, EventSink, Link, MessageStream, Opening,
    ReplicaOpening, ReplicaSink, ReplicaStream,
};
use firn_wire::dialect::{Dialect, Streaming};
use futures_util::future::BoxFuture;
use tokio_util::task::TaskTracker;
use tracing::debug;

use crate::connection::Connection;
use crate::report::{COURTESY, Reporter};
use crate::stream::{Route, cause};
use crate::{action, entity, replica};

/// A function that was discovered. Cheap to clone.
#[derive(Clone)]
pub struct Function {
    pub(crate) connection: Connection,
    pub(crate) dialect: &'static Dialect,
    pub(crate) contract: Arc<Contract>,
    pub(crate) streams_max: Option<usize>,
    pub(crate) reporter: Reporter,
    /// Its entity streams, until nothing is sent on them any more.
    pub(crate) streams: TaskTracker,
}

impl Function {
    /// What it declares.
    pub fn contract(&self) -> &Arc<Contract> {
        &self.contract
    }

    /// How many entity streams its SDK bears, if it has a limit.
    pub fn streams_max(&self) -> Option<usize> {
        self.streams_max
    }

    /// Tells the function that Firn ends, when all of its streams are over; always the last call.
    /// Some SDKs wait for it before they end themselves, and some end before they have answered.
    pub async fn terminate(&self) {
        let Some(path) = self.dialect.discovery.proxy_terminated else {
            return;
        };
        if !self.connection.is_open() {
            return;
        }
        // Nothing that was broken off may come after it.
        self.streams.close();
        if tokio::time::timeout(COURTESY, self.streams.wait())
            .await
            .is_err()
        {
            debug!("some streams of the function do not end");
        }
        let told = self.connection.unary::<(), ()>(path, ());
        match tokio::time::timeout(COURTESY, told).await {
            Ok(Ok(_)) => {}
            Ok(Err(status)) => debug!("the function ended before it answered: {}", cause(&status)),
            Err(_) => debug!("the function did not answer the word that Firn ends"),
        }
    }

    fn route(&self, kind: Kind) -> Route {
        Route {
            connection: self.connection.clone(),
            path: self.entity_path(kind),
            reporter: self.reporter.clone(),
            streams: self.streams.clone(),
        }
    }

    fn entity_path(&self, kind: Kind) -> &'static str {
        match (kind, self.dialect.value) {
            (Kind::Value, Some(value)) => value.handle,
            (Kind::Replicated, _) => self.dialect.replicated.handle,
            _ => self.dialect.event_sourced.handle,
        }
    }

    fn action_path(&self, call: &ActionCall) -> &'static str {
        let requests = call.method.streams_in();
        let replies = call.method.streams_out();
        self.dialect.action.path(Streaming { requests, replies })
    }
}

impl Link for Function {
    fn is_up(&self) -> bool {
        self.connection.is_open()
    }

    fn open(&self, opening: Opening, events: EventSink) -> Box<dyn EntityStream> {
        entity::open(self.route(opening.component.kind), opening, events)
    }

    fn open_replica(&self, opening: ReplicaOpening, events: ReplicaSink) -> Box<dyn ReplicaStream> {
        let route = self.route(Kind::Replicated);
        replica::open(route, self.dialect, opening, events)
    }

    fn act(
        &self,
        call: ActionCall,
        message: Bytes,
    ) -> BoxFuture<'static, Result<ActionAnswer, Status>> {
        let path = self.action_path(&call);
        let connection = self.connection.clone();
        if call.method.streams_in() || call.method.streams_out() {
            return Box::pin(action::stream_of_one(connection, path, call, message));
        }
        Box::pin(action::unary(connection, path, call, message))
    }

    fn act_streamed(&self, call: ActionCall, messages: MessageStream) -> AnswerStream {
        let path = self.action_path(&call);
        action::streamed(self.connection.clone(), path, call, messages)
    }

    fn report(&self, weight: Weight, finding: Finding) {
        self.reporter.report_once(weight, &finding);
    }
}
