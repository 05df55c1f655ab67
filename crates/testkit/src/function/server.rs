//! The function's port: tells the calls apart, and gives those that a test plays to the test.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use firn_wire::dialect::{ALL, Dialect};
use firn_wire::superset::{ProxyInfo, UserFunctionError};
use h2::RecvStream;
use h2::server::SendResponse;
use http::Request;
use prost::Message;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::call::{Call, answer, not_found, request};
use super::declare::{Answer, Declaration};
use super::journal::{Journal, Record};

/// gRPC's number for a method that is not there.
const UNIMPLEMENTED: i32 = 12;

/// gRPC's number for a server that broke.
const INTERNAL: i32 = 13;

/// What a connection may have under way. h2 ends one whose small messages take more room than half of
/// it, which the usual 64 KiB are for a hundred of them.
const WINDOW_BYTES: u32 = 4 << 20;

pub(super) struct Server {
    pub(super) journal: Arc<Journal>,
    dialect: &'static Dialect,
    fails_reports: bool,
    answers_404: bool,
    streams_max: Option<u32>,
    answer: Mutex<Answer>,
    stop: Mutex<CancellationToken>,
    entities: mpsc::UnboundedSender<Call>,
    actions: mpsc::UnboundedSender<Call>,
}

impl Server {
    pub(super) fn new(
        declaration: &Declaration,
        entities: mpsc::UnboundedSender<Call>,
        actions: mpsc::UnboundedSender<Call>,
    ) -> Self {
        Self {
            journal: Arc::new(Journal::new()),
            dialect: declaration.dialect,
            fails_reports: declaration.fails_reports,
            answers_404: declaration.answers_404,
            streams_max: declaration.streams_max,
            answer: Mutex::new(declaration.answer()),
            stop: Mutex::default(),
            entities,
            actions,
        }
    }

    pub(super) fn dialect(&self) -> &'static Dialect {
        self.dialect
    }

    pub(super) fn answer_with(&self, answer: Answer) {
        *lock(&self.answer) = answer;
    }

    /// Begins a life of the port; gives the token that ends it.
    pub(super) fn start(&self) -> CancellationToken {
        let token = CancellationToken::new();
        *lock(&self.stop) = token.clone();
        token
    }

    /// Ends the port and every connection.
    pub(super) fn stop(&self) {
        lock(&self.stop).cancel();
    }

    pub(super) async fn listen(
        self: Arc<Self>,
        listener: std::net::TcpListener,
        stop: CancellationToken,
    ) {
        let listener = TcpListener::from_std(listener).expect("a listener");
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            if let Ok((socket, _)) = accepted {
                let (server, stop) = (self.clone(), stop.clone());
                tokio::spawn(async move {
                    tokio::select! {
                        () = stop.cancelled() => {}
                        () = server.connection(socket) => {}
                    }
                });
            }
        }
    }

    async fn connection(self: Arc<Self>, socket: TcpStream) {
        let mut builder = h2::server::Builder::new();
        builder.initial_connection_window_size(WINDOW_BYTES);
        if let Some(streams_max) = self.streams_max {
            builder.max_concurrent_streams(streams_max);
        }
        let Ok(mut connection) = builder.handshake(socket).await else {
            return;
        };
        while let Some(Ok((request, respond))) = connection.accept().await {
            tokio::spawn(self.clone().serve(request, respond));
        }
    }

    async fn serve(self: Arc<Self>, request: Request<RecvStream>, respond: SendResponse<Bytes>) {
        let path = request.uri().path().to_owned();
        let discovery = &self.dialect.discovery;
        if path == discovery.discover {
            self.discover(request, respond).await;
        } else if path == discovery.report_error {
            self.report(request, respond).await;
        } else if Some(path.as_str()) == discovery.health_check {
            self.journal.add(Record::HealthChecked);
            answer(respond, Err((UNIMPLEMENTED, "no health check")));
        } else if Some(path.as_str()) == discovery.proxy_terminated {
            self.journal.add(Record::ProxyTerminated);
            answer(respond, Ok(Bytes::new()));
        } else if self.is_entity(&path) {
            self.play(&self.entities, request, respond).await;
        } else if self.is_action(&path) {
            self.play(&self.actions, request, respond).await;
        } else {
            let probe = ALL.iter().any(|dialect| dialect.discovery.discover == path);
            self.journal.add(match probe {
                true => Record::Probed(path),
                false => Record::Unknown(path),
            });
            match self.answers_404 {
                true => not_found(respond),
                false => answer(respond, Err((UNIMPLEMENTED, "unknown method"))),
            }
        }
    }

    /// Gives a call to the test and carries it.
    async fn play(
        &self,
        players: &mpsc::UnboundedSender<Call>,
        request: Request<RecvStream>,
        respond: SendResponse<Bytes>,
    ) {
        let (call, carrier) = Call::new(request);
        // The test may have ended; then the call ends with it.
        let _ = players.send(call);
        carrier.run(respond, self.journal.clone()).await;
    }

    async fn discover(&self, call: Request<RecvStream>, respond: SendResponse<Bytes>) {
        let (headers, message) = request(call).await;
        let info = ProxyInfo::decode(message.unwrap_or_default()).expect("proxy info");
        self.journal.add(Record::Discovered { info, headers });
        let wanted = lock(&self.answer).clone();
        match wanted {
            Answer::Message(message) => answer(respond, Ok(message)),
            Answer::Failure { code, text } => answer(respond, Err((code, &text))),
            Answer::Never => std::future::pending().await,
        }
    }

    async fn report(&self, call: Request<RecvStream>, respond: SendResponse<Bytes>) {
        let (_, message) = request(call).await;
        let error = UserFunctionError::decode(message.unwrap_or_default()).expect("an error");
        self.journal.add(Record::Reported(error));
        answer(
            respond,
            match self.fails_reports {
                true => Err((INTERNAL, "it was printed all the same")),
                false => Ok(Bytes::new()),
            },
        );
    }

    fn is_entity(&self, path: &str) -> bool {
        let value = self.dialect.value.map(|value| value.handle);
        let entities = [
            self.dialect.event_sourced.handle,
            self.dialect.replicated.handle,
        ];
        entities.contains(&path) || value == Some(path)
    }

    fn is_action(&self, path: &str) -> bool {
        let action = &self.dialect.action;
        [
            action.unary,
            action.streamed_in,
            action.streamed_out,
            action.streamed,
        ]
        .contains(&path)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
