//! The function port: listens, checks tokens, and carries connections.
//!
//! # Reading order
//! Here is how HTTP connections are taken; `listener` is what they are made of, `hello` how a call on
//! one begins, `reader` what comes on it, `outgoing` what is sent, `ending` and `status` how it ends.
//!
//! | task | started by | on cancel | on error |
//! |---|---|---|---|
//! | HTTP connection | the accept loop | ends with its calls, within `END_WAIT` | logged at debug |
//! | reader of a call | the call's body | ends the session, and everything that is open on it | the call's status, or the end of the HTTP connection if nobody takes that within `END_WAIT` |

mod ending;
mod hello;
mod listener;
mod outgoing;
mod reader;
mod status;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use firn_wire::v1::message::{FirnBatch, FunctionBatch};
use http::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::body::Body;
use tonic::{Status, Streaming};
use tonic_prost::ProstCodec;
use tracing::{Instrument, debug, debug_span, warn};

use self::hello::check_token;
use self::listener::{Listener, Socket, acceptor};
use self::outgoing::Outgoing;
use super::hub::Hub;

/// The largest batch that is read, in bytes: eight times what the other side may send, so that a
/// frame that should have come in pieces can still be told from rubbish.
const BATCH_BYTES_READ_MAX: usize = 8 << 20;

/// How much a function may send ahead: everything of a connection goes over one stream.
const WINDOW_BYTES: u32 = 4 << 20;

/// The same for the connection, which is larger for the sake of small batches. h2 ends a connection for
/// what its unread frames cost beside their bytes: each that is shorter than 256 bytes is counted with
/// what it lacks, up to half of this. A window full of the smallest batches, of five bytes, is counted
/// with fifty times its size; so no honest function is ever ended, however long Firn stood still, and one
/// that means harm can make Firn hold 256 MiB. It has shown its token by then.
const CONNECTION_WINDOW_BYTES: u32 = 128 * WINDOW_BYTES;

/// How long a new connection may take until its Hello has come.
const HELLO_WAIT: Duration = Duration::from_secs(10);

/// How long connections and calls may take to end when Firn ends them: enough for what is under way to
/// arrive.
const END_WAIT: Duration = Duration::from_secs(1);

/// How many HTTP connections there may be. Each is a process of a function, or one that is about to
/// ask for its token; more wait until one ends.
const CONNECTIONS_MAX: usize = 10_000;

/// How many calls an HTTP connection may carry. Functions need one.
const CALLS_PER_CONNECTION_MAX: u32 = 100;

/// How often a quiet peer is asked whether it still lives, and how long it may take to answer.
const PING_INTERVAL: Duration = Duration::from_secs(10);
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// How long the accept loop rests when the system has no file descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The path of the protocol's one method.
const CONNECT: &str = "/firn.v1.Functions/Connect";

/// Where functions dial in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A TCP address.
    Tcp(SocketAddr),
    /// A socket in the file system.
    Unix(PathBuf),
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// How the function port is set up.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where it listens.
    pub listen: Address,
    /// What a function must send to be taken; `None` takes anybody who reaches the port.
    pub token: Option<String>,
    /// Files with the certificate chain and its key, in PEM; `None` for plain text.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// The largest frame taken from a function, in bytes.
    pub frame_bytes_max: usize,
    /// Where clients come in, as functions are told.
    pub client_address: String,
    /// The version of this Firn, as functions are told.
    pub version: &'static str,
}

/// Why the function port could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address} for functions: {source}")]
    Listen {
        /// The address of the setting.
        address: Address,
        /// What the system said.
        source: io::Error,
    },
    /// The certificate or its key cannot be used.
    #[error("cannot use {path} for TLS: {cause}")]
    Tls {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        cause: String,
    },
}

/// The function port, taken but not answering yet.
pub struct Port {
    listener: Listener,
    address: Address,
    tls: Option<TlsAcceptor>,
    config: Config,
}

impl Port {
    /// Takes the port.
    ///
    /// # Errors
    /// [`BindError`] if it cannot be listened on, or the files for TLS are not good.
    pub async fn bind(config: Config) -> Result<Self, BindError> {
        let tls = config.tls.as_ref().map(acceptor).transpose()?;
        let refused = |source| BindError::Listen {
            address: config.listen.clone(),
            source,
        };
        let listening = Listener::bind(&config.listen).await;
        let (listener, address) = listening.map_err(refused)?;
        Ok(Self {
            listener,
            address,
            tls,
            config,
        })
    }

    /// Where it listens, with the port that was found if 0 was asked for.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Serves functions until `stop`; by then they have been told.
    pub async fn serve(self, hub: Arc<Hub>, stop: CancellationToken) {
        let shared = Arc::new(Shared {
            hub,
            config: self.config,
        });
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(ended) = connections.join_next() => {
                    if let Err(error) = ended {
                        warn!(%error, "a function's connection failed");
                    }
                }
                accepted = self.listener.accept(), if connections.len() < CONNECTIONS_MAX => match accepted {
                    Ok((socket, peer)) => {
                        let task =
                            serve(socket, self.tls.clone(), shared.clone(), stop.clone());
                        connections.spawn(task.instrument(debug_span!("function", %peer)));
                    }
                    Err(error) => {
                        warn!(%error, "accept failed");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                }
            }
        }
        if let Address::Unix(path) = &self.address {
            // Nobody dials it any more.
            let _ = std::fs::remove_file(path);
        }
        // The last words are to arrive (R91); whoever does not read them keeps nobody waiting.
        let all = async { while connections.join_next().await.is_some() {} };
        if tokio::time::timeout(END_WAIT, all).await.is_err() {
            debug!("a function did not take its connection's end");
        }
        connections.shutdown().await;
    }
}

/// What all connections share.
struct Shared {
    hub: Arc<Hub>,
    config: Config,
}

/// What the calls of an HTTP connection have in common.
#[derive(Debug, Clone, Default)]
struct Carrier {
    /// Counts them.
    calls: TaskTracker,
    /// Cancelled when the function does not take the end of one of them: nothing less than the end of
    /// the HTTP connection reaches it.
    overdue: CancellationToken,
}

/// Carries one HTTP/2 connection. After `stop` it ends with what is open on it.
async fn serve(
    socket: Box<dyn Socket>,
    tls: Option<TlsAcceptor>,
    shared: Arc<Shared>,
    stop: CancellationToken,
) {
    let socket: Box<dyn Socket> = match tls {
        None => socket,
        Some(tls) => match tokio::time::timeout(HELLO_WAIT, tls.accept(socket)).await {
            Ok(Ok(socket)) => Box::new(socket),
            Ok(Err(error)) => return debug!(%error, "no TLS"),
            Err(_) => return debug!("TLS takes too long"),
        },
    };
    let carrier = Carrier::default();
    let carried = carrier.clone();
    let service =
        hyper::service::service_fn(move |request| answer(shared.clone(), carried.clone(), request));
    let mut http = auto::Builder::new(TokioExecutor::new()).http2_only();
    http.http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .max_concurrent_streams(CALLS_PER_CONNECTION_MAX)
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES);
    let connection = http.serve_connection(TokioIo::new(socket), service);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        biased;
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
        ended = connection.as_mut() => ended,
        () = carrier.overdue.cancelled() => {
            return debug!("a function does not take the end of its call; its connection is ended");
        }
        () = unused(&carrier.calls) => {
            connection.as_mut().graceful_shutdown();
            let _ = tokio::time::timeout(END_WAIT, connection).await;
            return debug!("a connection that carried no call was ended");
        }
    };
    if let Err(error) = ended {
        debug!(%error, "a function's connection ended");
    }
}

/// Waits until a connection is found without a call. One that nobody uses takes up room, and was
/// not asked for a token yet.
async fn unused(calls: &TaskTracker) {
    loop {
        tokio::time::sleep(HELLO_WAIT).await;
        if calls.is_empty() {
            return;
        }
    }
}

/// Answers one request: the protocol's one method, or UNIMPLEMENTED.
async fn answer(
    shared: Arc<Shared>,
    carrier: Carrier,
    request: Request<hyper::body::Incoming>,
) -> Result<Response<Body>, std::convert::Infallible> {
    let mut grpc = tonic::server::Grpc::new(ProstCodec::<FirnBatch, FunctionBatch>::default())
        .max_decoding_message_size(BATCH_BYTES_READ_MAX)
        .max_encoding_message_size(usize::MAX);
    if request.uri().path() != CONNECT {
        let text = format!(
            "{} is not served on the function port",
            request.uri().path()
        );
        return Ok(Status::unimplemented(text).into_http());
    }
    Ok(grpc.streaming(Connect { shared, carrier }, request).await)
}

/// The protocol's one method.
struct Connect {
    shared: Arc<Shared>,
    carrier: Carrier,
}

type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

impl tonic::server::StreamingService<FunctionBatch> for Connect {
    type Response = FirnBatch;
    type ResponseStream = Outgoing;
    type Future = BoxFuture<Result<tonic::Response<Outgoing>, Status>>;

    fn call(&mut self, request: tonic::Request<Streaming<FunctionBatch>>) -> Self::Future {
        let (shared, carrier) = (self.shared.clone(), self.carrier.clone());
        Box::pin(async move {
            check_token(shared.config.token.as_deref(), &request)?;
            let batches = request.into_inner();
            // The headers go at once; neither side may wait for the other's (R2).
            Ok(tonic::Response::new(Outgoing::new(
                shared, carrier, batches,
            )))
        })
    }
}

#[cfg(test)]
mod tests {
    use firn_model::call::Reply;
    use firn_runtime::calls::{Calls, OwnCall};
    use firn_testkit::http2::Client;
    use firn_testkit::own::declare::{action, contract};
    use firn_testkit::own::message::hello;
    use firn_wire::v1::message::{FunctionFrame, function_frame};
    use prost::Message;
    use tokio::io::AsyncReadExt;
    use tokio::net::TcpStream;

    use super::*;

    struct NoCalls;

    impl Calls for NoCalls {
        fn call(&self, _: OwnCall) -> futures_util::future::BoxFuture<'static, ReplyOrStatus> {
            Box::pin(std::future::pending())
        }
    }

    type ReplyOrStatus = Result<Reply, firn_model::status::Status>;

    /// A port that is served until the token is cancelled.
    async fn served() -> (SocketAddr, CancellationToken, tokio::task::JoinHandle<()>) {
        let config = Config {
            listen: Address::Tcp(([127, 0, 0, 1], 0).into()),
            token: None,
            tls: None,
            frame_bytes_max: 1 << 20,
            client_address: String::new(),
            version: "0",
        };
        let port = Port::bind(config).await.unwrap();
        let Address::Tcp(address) = *port.address() else {
            panic!("asked for TCP");
        };
        let (hub, _events) = Hub::new(
            Arc::new(|_| Vec::new()),
            Arc::new(NoCalls),
            TaskTracker::new(),
        );
        let stop = CancellationToken::new();
        let serving = tokio::spawn(port.serve(hub, stop.clone()));
        (address, stop, serving)
    }

    /// Whoever connects and says nothing keeps no connection: the token was not asked for yet.
    #[tokio::test(start_paused = true)]
    async fn connection_without_a_call_is_ended() {
        let (address, stop, serving) = served().await;
        let mut socket = TcpStream::connect(address).await.unwrap();
        let mut sent = Vec::new();
        let end = socket.read_to_end(&mut sent);
        tokio::time::timeout(3 * HELLO_WAIT, end)
            .await
            .expect("an end")
            .expect("no failure");
        stop.cancel();
        serving.await.unwrap();
    }

    /// A Firn that stood still finds what its functions have sent meanwhile, all at once. Here its one
    /// thread reads what is in the socket before it comes to the session.
    #[tokio::test]
    async fn many_small_batches_may_come_before_the_first_is_taken() {
        let (address, stop, serving) = served().await;
        let proto =
            "syntax = \"proto3\"; package t; message R {} service S { rpc Do(R) returns (R); }";
        let contract = contract(&[("t.proto", proto)], vec![action("t.S", &["Do"])]);
        let hello = FunctionFrame {
            frame: Some(function_frame::Frame::Hello(hello(&contract))),
        };
        let batch = |frame| FunctionBatch {
            frames: vec![frame],
        };
        let mut function = Client::connect(address).await;
        function.call(1, CONNECT);
        function.message(1, &batch(hello).encode_to_vec());
        let of_no_kind = batch(FunctionFrame { frame: None }).encode_to_vec();
        for _ in 0..30_000 {
            function.message(1, &of_no_kind);
        }
        function.taken().await;
        function.end(1);
        assert!(!function.answer(1).await.is_empty(), "no Welcome");
        stop.cancel();
        serving.await.unwrap();
    }
}
