//! A small fake Firn, which takes what the function sends and sends what a test says, and a small
//! contract.
#![expect(dead_code, reason = "each test program uses a part")]

pub(crate) mod contract;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use firn_sdk::prost::Message;
use firn_sdk::protocol::{
    Command, Decision, FirnBatch, FirnFrame, FunctionBatch, Hello, Opening, Welcome, firn_frame,
    function_frame,
};
use firn_sdk::{Any, Function, Running, Storable};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::body::Body;
use tonic::metadata::MetadataMap;
use tonic::server::{Grpc, StreamingService};
use tonic::{Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;
use tower::service_fn;

pub(crate) use firn_frame::Frame as In;
pub(crate) use function_frame::Frame as Out;

/// Far longer than anything takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// Waits for something, but not for ever.
pub(crate) async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what)
        .await
        .expect("it happens soon")
}

/// A listening fake.
pub(crate) struct FakeFirn {
    pub(crate) address: String,
    connections: mpsc::Receiver<Connection>,
    server: JoinHandle<()>,
}

impl Drop for FakeFirn {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// One connection of the function.
pub(crate) struct Connection {
    pub(crate) headers: MetadataMap,
    frames: Streaming<FunctionBatch>,
    ready: VecDeque<Out>,
    /// How many frames the batches had, in order.
    pub(crate) batches: Vec<usize>,
    sender: mpsc::Sender<Result<FirnBatch, Status>>,
    next: u64,
}

#[derive(Clone)]
struct Accept {
    connections: mpsc::Sender<Connection>,
}

impl StreamingService<FunctionBatch> for Accept {
    type Response = FirnBatch;
    type ResponseStream = ReceiverStream<Result<FirnBatch, Status>>;
    type Future = std::future::Ready<Result<Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: Request<Streaming<FunctionBatch>>) -> Self::Future {
        let (sender, receiver) = mpsc::channel(1024);
        let (headers, _, frames) = request.into_parts();
        let connection = Connection {
            headers,
            frames,
            ready: VecDeque::new(),
            batches: Vec::new(),
            sender,
            next: 0,
        };
        let accepted = self.connections.try_send(connection);
        std::future::ready(match accepted {
            Ok(()) => Ok(Response::new(ReceiverStream::new(receiver))),
            Err(_) => Err(Status::unavailable("too many connections for a test")),
        })
    }
}

impl FakeFirn {
    pub(crate) async fn listen() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let (sender, connections) = mpsc::channel(16);
        let accept = Accept {
            connections: sender,
        };
        let service = service_fn(move |call: http::Request<Body>| {
            let accept = accept.clone();
            async move {
                assert_eq!(call.uri().path(), "/firn.v1.Functions/Connect");
                let mut grpc =
                    Grpc::new(ProstCodec::default()).max_decoding_message_size(8 * 1024 * 1024);
                Ok::<_, Infallible>(grpc.streaming(accept, call).await)
            }
        });
        let server = tokio::spawn(async move {
            let incoming = TcpListenerStream::new(listener);
            let server = tonic::transport::Server::builder();
            server.serve_with_incoming(service, incoming).await.unwrap();
        });
        Self {
            address,
            connections,
            server,
        }
    }

    /// The next connection.
    pub(crate) async fn accept(&mut self) -> Connection {
        soon(self.connections.recv()).await.expect("a connection")
    }

    /// The next connection, once it was told Welcome.
    pub(crate) async fn welcome(&mut self) -> Connection {
        self.welcome_with(welcome()).await.0
    }

    pub(crate) async fn welcome_with(&mut self, welcome: Welcome) -> (Connection, Hello) {
        let mut connection = self.accept().await;
        let Out::Hello(hello) = connection.next().await else {
            panic!("the first frame is no Hello");
        };
        connection.send([In::Welcome(welcome)]).await;
        (connection, hello)
    }

    /// A function that dials this fake, and its connection.
    pub(crate) async fn serve(&mut self, function: Function) -> (Running, Connection) {
        let running = function.address(&self.address).start().unwrap();
        let connection = self.welcome().await;
        (running, connection)
    }
}

/// What the fake grants.
pub(crate) fn welcome() -> Welcome {
    Welcome {
        minor: 0,
        firn: "fake".into(),
        calls: 16,
        call_messages: 16,
        frame_bytes: 16 << 20,
        chunk_bytes: 64 << 10,
        client_address: "127.0.0.1:9000".into(),
    }
}

impl Connection {
    /// Sends frames in one batch.
    pub(crate) async fn send(&self, frames: impl IntoIterator<Item = In>) {
        let frame = |frame| FirnFrame { frame: Some(frame) };
        let frames = frames.into_iter().map(frame).collect();
        self.sender.send(Ok(FirnBatch { frames })).await.unwrap();
    }

    pub(crate) async fn send_batch(&self, batch: FirnBatch) {
        self.sender.send(Ok(batch)).await.unwrap();
    }

    /// The next frame.
    pub(crate) async fn next(&mut self) -> Out {
        self.next_or_end().await.expect("a frame")
    }

    /// The next frame; none when the function ended its side.
    pub(crate) async fn next_or_end(&mut self) -> Option<Out> {
        loop {
            if let Some(frame) = self.ready.pop_front() {
                return Some(frame);
            }
            let batch = soon(self.frames.message()).await.ok()??;
            self.batches.push(batch.frames.len());
            let frames = batch.frames.into_iter();
            self.ready
                .extend(frames.map(|frame| frame.frame.expect("a known kind")));
        }
    }

    /// Waits for decisions and takes all that came together.
    pub(crate) async fn ready_decisions(&mut self) -> usize {
        let first = self.next().await;
        assert!(matches!(first, Out::Decision(_)), "{first:?}");
        1 + self.ready.drain(..).count()
    }

    pub(crate) async fn decision(&mut self) -> Decision {
        match self.next().await {
            Out::Decision(decision) => decision,
            other => panic!("{other:?} is no decision"),
        }
    }

    /// Sends a command and takes its decision.
    pub(crate) async fn decide(&mut self, command: Command) -> Decision {
        self.send([In::Command(command)]).await;
        self.decision().await
    }

    /// The number of the next command.
    pub(crate) fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Ends the stream.
    pub(crate) async fn end(self, status: Option<Status>) {
        if let Some(status) = status {
            self.sender.send(Err(status)).await.unwrap();
        }
    }
}

/// A command.
pub(crate) fn command(
    id: u64,
    place: (u32, u32),
    incarnation: u64,
    message: &impl Message,
) -> Command {
    Command {
        id,
        component: place.0,
        method: place.1,
        incarnation,
        message: message.encode_to_vec().into(),
        ..Command::default()
    }
}

/// The same with an opening.
pub(crate) fn opening(
    mut command: Command,
    entity_id: &str,
    state: Option<(u64, State)>,
) -> Command {
    let (version, state) = state.map_or((0, None), |(version, state)| (version, Some(state)));
    command.opening = Some(Opening {
        entity_id: entity_id.into(),
        version,
        state,
    });
    command
}

pub(crate) use firn_sdk::protocol::opening::State;

pub(crate) fn any(message: &impl Storable) -> Any {
    Any::pack(message)
}
