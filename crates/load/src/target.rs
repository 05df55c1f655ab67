//! A server that is loaded, and with what.

use std::fmt::{self, Debug, Display};
use std::sync::Arc;

use http::uri::PathAndQuery;
use prost::Message;

use crate::client::{Client, Fault, Request};
use crate::load::{self, Error, Load, Outcome, Pace};
use crate::usage::Watched;

/// Makes the request of a call by its number.
type Requests = Arc<dyn Fn(u64) -> Result<Request, Fault> + Send + Sync>;

/// Over how many connections a server is loaded unless said otherwise: enough that none of them is
/// what is measured.
pub const CONNECTIONS: usize = 4;

/// How many calls in a row of an open loop go over the same connection: those that begin together are
/// then written together. In a closed loop they begin as answers come, which are together anyway.
const IN_A_ROW: u64 = 8;

/// A server and the requests made to it.
#[derive(Clone)]
pub struct Target {
    server: String,
    connections: usize,
    requests: Requests,
}

impl Target {
    /// A server at `host:port`; `request` makes each request by the number of its call.
    pub fn new(
        server: impl Display,
        request: impl Fn(u64) -> Request + Send + Sync + 'static,
    ) -> Self {
        Self::trying(server, move |number| Ok(request(number)))
    }

    /// The same where a request may be impossible, which ends the load.
    pub fn trying(
        server: impl Display,
        request: impl Fn(u64) -> Result<Request, Fault> + Send + Sync + 'static,
    ) -> Self {
        Self {
            server: server.to_string(),
            connections: CONNECTIONS,
            requests: Arc::new(request),
        }
    }

    /// The same over so many connections, at least one.
    #[must_use]
    pub fn connections(mut self, connections: usize) -> Self {
        self.connections = connections.max(1);
        self
    }

    /// Over how many connections it is loaded.
    #[must_use]
    pub fn connection_count(&self) -> usize {
        self.connections
    }

    /// A server that is asked one gRPC method; `message` makes each message.
    ///
    /// # Panics
    /// If `path` is none.
    pub fn grpc<M: Message>(
        server: impl Display,
        path: &str,
        message: impl Fn(u64) -> M + Send + Sync + 'static,
    ) -> Self {
        let path: PathAndQuery = path.parse().expect("a path");
        Self::new(server, move |number| Request::grpc(&path, &message(number)))
    }

    /// A server that gets JSON by POST; `request` makes path and body.
    ///
    /// # Panics
    /// While it is loaded, if what is made is no path.
    pub fn json(
        server: impl Display,
        request: impl Fn(u64) -> (String, String) + Send + Sync + 'static,
    ) -> Self {
        Self::new(server, move |number| {
            let (path, body) = request(number);
            Request::json(&path.parse().expect("a path"), body)
        })
    }

    /// Loads the server; its connections take turns.
    ///
    /// # Errors
    /// A connection failed, or a process could not be looked at.
    pub async fn run(&self, load: &Load, watched: &[Watched]) -> Result<Outcome, Error> {
        let mut clients = Vec::new();
        for _ in 0..self.connections {
            let client = Client::connect(&self.server).await;
            clients.push(client.map_err(Error::Ended)?);
        }
        let requests = self.requests.clone();
        let in_a_row = match load.pace {
            Pace::Closed { .. } => 1,
            Pace::Open { .. } => IN_A_ROW,
        };
        let calls = move |number: u64| {
            let client = &clients[(number / in_a_row % clients.len() as u64) as usize];
            let call = requests(number).map(|request| client.send(request));
            async move { call?.await }
        };
        load::run(load, calls, watched).await
    }
}

impl Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Target").field(&self.server).finish()
    }
}
