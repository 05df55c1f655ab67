//! The function port: listens, checks tokens, and carries connections.
//!
//! | task | started by | on cancel | on error |
//! |---|---|---|---|
//! | HTTP connection | the accept loop | ends with its calls, within `END_WAIT` | logged at debug |
//! | session | its call | ends with the call, and everything that is open on it | the call's status |

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use firn_model::code::Code;
use firn_model::contract::Finding;
use firn_wire::v1::message::firn_frame::Frame as Out;
use firn_wire::v1::message::function_frame::Frame as In;
use firn_wire::v1::message::notice::Severity;
use firn_wire::v1::message::{FirnBatch, FirnFrame, FunctionBatch, Hello, Refusal, Welcome};
use futures_util::Stream;
use http::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_util::sync::CancellationToken;
use tokio_util::task::task_tracker::TaskTrackerToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};
use tonic::body::Body;
use tonic::{Status, Streaming};
use tonic_prost::ProstCodec;
use tracing::{Instrument, debug, info_span, warn};

use super::hub::{Connection, Hub, Joined};
use super::session::{Broken, Limits, Todo, shown};

/// The minor version of the protocol that is spoken here.
const MINOR: u32 = 0;

/// Frames above this many bytes travel in pieces: large enough that few do, small enough that a
/// piece is written in well under a millisecond.
const CHUNK_BYTES: u32 = 64 * 1024;

/// The largest batch that is read, in bytes: eight times what the other side may send, so that a
/// frame that should have come in pieces can still be told from rubbish.
const BATCH_BYTES_READ_MAX: usize = 8 << 20;

/// How many commands may be open on a connection unless the function says otherwise.
const COMMANDS_DEFAULT: u32 = 1024;

/// How many messages of a streamed call may be under way, each way, unless the function says
/// otherwise.
const CALL_MESSAGES_DEFAULT: u32 = 16;

/// The largest frame that a function takes unless it says otherwise, in bytes.
const FRAME_BYTES_DEFAULT: usize = 16 << 20;

/// How many calls a function may have open on a connection.
const CALLS_MAX: u32 = 1024;

/// How much a function may send ahead: everything of a connection goes over one stream.
const WINDOW_BYTES: u32 = 4 << 20;

/// How long a new connection may take until its Hello has come.
const HELLO_WAIT: Duration = Duration::from_secs(10);

/// How long connections may take to end when Firn does: enough for what is under way to arrive.
const END_WAIT: Duration = Duration::from_secs(1);

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

enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
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
        let (listener, address) = match &config.listen {
            Address::Tcp(address) => {
                let listener = TcpListener::bind(address).await.map_err(refused)?;
                let address = listener.local_addr().map_err(refused)?;
                (Listener::Tcp(listener), Address::Tcp(address))
            }
            Address::Unix(path) => {
                remove_left_behind(path).await;
                let listener = UnixListener::bind(path).map_err(refused)?;
                (Listener::Unix(listener), config.listen.clone())
            }
        };
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
                accepted = accept(&self.listener) => match accepted {
                    Ok((socket, peer)) => {
                        let task =
                            serve(socket, self.tls.clone(), shared.clone(), stop.clone());
                        connections.spawn(task.instrument(info_span!("function", %peer)));
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

/// Removes a socket that an earlier run left, if nobody answers there.
async fn remove_left_behind(path: &Path) {
    // Anything else that is there belongs to somebody.
    let is_socket = std::fs::metadata(path).is_ok_and(|found| found.file_type().is_socket());
    if is_socket
        && let Err(error) = UnixStream::connect(path).await
        && error.kind() == io::ErrorKind::ConnectionRefused
    {
        // If it cannot be removed, binding says so.
        let _ = std::fs::remove_file(path);
    }
}

fn acceptor((certificate, key): &(PathBuf, PathBuf)) -> Result<TlsAcceptor, BindError> {
    let fault = |path: &Path, cause: String| BindError::Tls {
        path: path.to_owned(),
        cause,
    };
    let chain: Vec<_> = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect)
        .map_err(|error| fault(certificate, error.to_string()))?;
    let secret =
        PrivateKeyDer::from_pem_file(key).map_err(|error| fault(key, error.to_string()))?;
    let mut config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain, secret)
        .map_err(|error| fault(certificate, error.to_string()))?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Socket for T {}

async fn accept(listener: &Listener) -> io::Result<(Box<dyn Socket>, String)> {
    match listener {
        Listener::Tcp(listener) => {
            let (socket, peer) = listener.accept().await?;
            socket.set_nodelay(true)?;
            Ok((Box::new(socket), peer.to_string()))
        }
        Listener::Unix(listener) => {
            let (socket, _) = listener.accept().await?;
            Ok((Box::new(socket), "unix".to_owned()))
        }
    }
}

/// What all connections share.
struct Shared {
    hub: Arc<Hub>,
    config: Config,
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
    let calls = TaskTracker::new();
    let counted = calls.clone();
    let service =
        hyper::service::service_fn(move |request| answer(shared.clone(), counted.clone(), request));
    let mut http = auto::Builder::new(TokioExecutor::new()).http2_only();
    http.http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES);
    let connection = http.serve_connection(TokioIo::new(socket), service);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        biased;
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
        ended = connection.as_mut() => ended,
        () = unused(&calls) => {
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
    calls: TaskTracker,
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
    Ok(grpc.streaming(Connect { shared, calls }, request).await)
}

/// The protocol's one method.
struct Connect {
    shared: Arc<Shared>,
    /// The calls of its connection.
    calls: TaskTracker,
}

type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

impl tonic::server::StreamingService<FunctionBatch> for Connect {
    type Response = FirnBatch;
    type ResponseStream = Outgoing;
    type Future = BoxFuture<Result<tonic::Response<Outgoing>, Status>>;

    fn call(&mut self, request: tonic::Request<Streaming<FunctionBatch>>) -> Self::Future {
        let (shared, call) = (self.shared.clone(), self.calls.token());
        Box::pin(async move {
            check_token(shared.config.token.as_deref(), &request)?;
            let batches = request.into_inner();
            // The headers go at once; neither side may wait for the other's (R2).
            Ok(tonic::Response::new(Outgoing::new(shared, batches, call)))
        })
    }
}

/// Whether the call has the token, if one is needed (R3).
fn check_token<T>(token: Option<&str>, request: &tonic::Request<T>) -> Result<(), Status> {
    let Some(token) = token else {
        return Ok(());
    };
    let sent = request.metadata().get("authorization");
    let sent = sent.and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
    match sent {
        Some(sent) if is_equal(sent, token.as_bytes()) => Ok(()),
        _ => {
            let mut status = Status::unauthenticated("the token is missing or wrong");
            add_code(&mut status, Code::TokenRefused);
            Err(status)
        }
    }
}

/// Compares in a time that does not depend on where two texts of one length differ.
fn is_equal(left: &[u8], right: &[u8]) -> bool {
    left.len() == right.len()
        && left
            .iter()
            .zip(right)
            .fold(0, |differs, (a, b)| differs | (a ^ b))
            == 0
}

fn add_code(status: &mut Status, code: Code) {
    if let Ok(value) = code.to_string().parse() {
        status.metadata_mut().insert("firn-code", value);
    }
}

/// What is sent on a call; driving it drives the session.
struct Outgoing {
    state: Sending,
    _call: TaskTrackerToken,
}

enum Sending {
    /// The first frame has not come.
    Beginning(BoxFuture<Begun>),
    /// The session runs.
    Running(Running),
    /// Only this is left to be said.
    Last(Option<Status>),
}

/// What comes of a Hello.
enum Begun {
    Serving(Box<FirnBatch>, Running),
    Refused(Box<FirnBatch>, Status),
    Failed(Status),
}

/// A session and its reader. Dropping it ends both.
struct Running {
    connection: Arc<Connection>,
    reader: AbortOnDropHandle<Option<Status>>,
    _end: EndOnDrop,
}

impl Outgoing {
    fn new(shared: Arc<Shared>, batches: Streaming<FunctionBatch>, call: TaskTrackerToken) -> Self {
        Self {
            state: Sending::Beginning(Box::pin(begin(shared, batches))),
            _call: call,
        }
    }
}

impl Stream for Outgoing {
    type Item = Result<FirnBatch, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            match &mut self.state {
                Sending::Beginning(begin) => match std::task::ready!(begin.as_mut().poll(cx)) {
                    Begun::Serving(first, running) => {
                        self.state = Sending::Running(running);
                        return Poll::Ready(Some(Ok(*first)));
                    }
                    Begun::Refused(last, status) => {
                        self.state = Sending::Last(Some(status));
                        return Poll::Ready(Some(Ok(*last)));
                    }
                    Begun::Failed(status) => self.state = Sending::Last(Some(status)),
                },
                Sending::Running(running) => {
                    // What was to be sent goes out before the end does.
                    let batch = running.connection.lock().out.poll_batch(cx);
                    match batch {
                        Poll::Ready(Some(batch)) => return Poll::Ready(Some(Ok(batch))),
                        Poll::Ready(None) if !running.reader.is_finished() => {
                            self.state = Sending::Last(None);
                        }
                        Poll::Ready(None) | Poll::Pending => {
                            let ended = std::task::ready!(Pin::new(&mut running.reader).poll(cx));
                            self.state = Sending::Last(ended.ok().flatten());
                        }
                    }
                }
                Sending::Last(status) => return Poll::Ready(status.take().map(Err)),
            }
        }
    }
}

/// Waits for the Hello and joins.
async fn begin(shared: Arc<Shared>, mut batches: Streaming<FunctionBatch>) -> Begun {
    let first = tokio::time::timeout(HELLO_WAIT, next_batch(&mut batches)).await;
    let mut frames = match first {
        Ok(Ok(Some(batch))) => batch.frames.into_iter(),
        Ok(Ok(None)) => return Begun::Failed(illegal("the call ended before a Hello")),
        Ok(Err(status)) => return Begun::Failed(status),
        Err(_) => return Begun::Failed(illegal("no Hello came in time")),
    };
    let Some(In::Hello(hello)) = frames.next().and_then(|frame| frame.frame) else {
        return Begun::Failed(illegal("the first frame is no Hello"));
    };
    let limits = limits(&hello, &shared.config);
    let welcome = welcome(&shared.config);
    let Joined { connection, served } = match shared.hub.join(hello, limits) {
        Ok(joined) => joined,
        Err(findings) => return refusal(&findings),
    };
    for warning in shared.hub.warnings() {
        connection.lock().tell(&warning, Severity::Warning, 0);
    }
    let end = EndOnDrop {
        hub: shared.hub.clone(),
        connection: connection.clone(),
    };
    if let Some(served) = served {
        // Whoever serves may have stopped; then the end of the port is near.
        let _ = served.await;
    }
    let reader = Reader {
        hub: shared.hub.clone(),
        connection: connection.clone(),
    };
    let rest: Vec<_> = frames.collect();
    let reader = AbortOnDropHandle::new(shared.hub.tasks.spawn(async move {
        let ended = reader.run(FunctionBatch { frames: rest }, batches).await;
        ended.err()
    }));
    Begun::Serving(
        Box::new(batch(Out::Welcome(welcome))),
        Running {
            connection,
            reader,
            _end: end,
        },
    )
}

fn limits(hello: &Hello, config: &Config) -> Limits {
    let or = |value: u32, default: u32| if value == 0 { default } else { value };
    Limits {
        chunk_bytes: CHUNK_BYTES as usize,
        frame_bytes: config.frame_bytes_max,
        frame_bytes_theirs: match hello.frame_bytes {
            0 => FRAME_BYTES_DEFAULT,
            said => usize::try_from(said).unwrap_or(usize::MAX),
        },
        commands: or(hello.commands, COMMANDS_DEFAULT).into(),
        request_messages: or(hello.call_messages, CALL_MESSAGES_DEFAULT) as usize,
        reply_messages: CALL_MESSAGES_DEFAULT,
        calls: CALLS_MAX,
    }
}

fn welcome(config: &Config) -> Welcome {
    Welcome {
        // No function can speak less than the lowest (R5).
        minor: MINOR,
        firn: config.version.to_owned(),
        calls: CALLS_MAX,
        call_messages: CALL_MESSAGES_DEFAULT,
        frame_bytes: config.frame_bytes_max as u64,
        chunk_bytes: CHUNK_BYTES,
        client_address: config.client_address.clone(),
    }
}

fn refusal(findings: &[Finding]) -> Begun {
    let texts: Vec<String> = findings.iter().map(ToString::to_string).collect();
    let mut status = Status::failed_precondition(texts.join("; "));
    if let Some(first) = findings.first() {
        add_code(&mut status, first.code);
    }
    let refusal = Refusal {
        findings: findings.iter().map(shown).collect(),
    };
    Begun::Refused(Box::new(batch(Out::Refusal(refusal))), status)
}

fn batch(frame: Out) -> FirnBatch {
    FirnBatch {
        frames: vec![FirnFrame { frame: Some(frame) }],
    }
}

fn illegal(text: &str) -> Status {
    broken(&Broken {
        code: Code::FrameIllegal,
        text: text.to_owned(),
    })
}

fn broken(broken: &Broken) -> Status {
    let mut status = Status::invalid_argument(&broken.text);
    add_code(&mut status, broken.code);
    status
}

/// The next batch; one that cannot be decoded is the function's fault, not ours.
async fn next_batch(
    batches: &mut Streaming<FunctionBatch>,
) -> Result<Option<FunctionBatch>, Status> {
    batches
        .message()
        .await
        .map_err(|status| match status.code() {
            tonic::Code::Internal => illegal(status.message()),
            tonic::Code::OutOfRange | tonic::Code::ResourceExhausted => broken(&Broken {
                code: Code::FrameTooLarge,
                text: status.message().to_owned(),
            }),
            _ => status,
        })
}

/// Ends the session with its call, however that ends.
struct EndOnDrop {
    hub: Arc<Hub>,
    connection: Arc<Connection>,
}

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        self.hub.leave(&self.connection);
        self.connection.calls.end();
        self.connection
            .lock()
            .end("the connection to the function ended");
    }
}

/// Reads what a function sends, at all times (R84).
struct Reader {
    hub: Arc<Hub>,
    connection: Arc<Connection>,
}

impl Reader {
    async fn run(
        self,
        first: FunctionBatch,
        mut batches: Streaming<FunctionBatch>,
    ) -> Result<(), Status> {
        self.take(first)?;
        while let Some(batch) = next_batch(&mut batches).await? {
            self.take(batch)?;
        }
        Ok(())
    }

    fn take(&self, batch: FunctionBatch) -> Result<(), Status> {
        let mut todo = Vec::new();
        let result = {
            let mut session = self.connection.lock();
            let mut frames = batch.frames.into_iter();
            frames.try_for_each(|frame| session.take(frame, &mut todo))
        };
        for todo in todo {
            match todo {
                Todo::Call(call) => self.connection.begin_call(call),
                Todo::CancelCall(id) => self.connection.cancel_call(id),
                Todo::Leave => self.hub.retire(&self.connection),
            }
        }
        result.map_err(|error| {
            warn!(code = %error.code, "a function's connection is ended: {}", error.text);
            broken(&error)
        })
    }
}

#[cfg(test)]
mod tests {
    use firn_model::call::Reply;
    use firn_runtime::calls::{Calls, OwnCall};
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

    /// Whoever connects and says nothing keeps no connection: the token was not asked for yet.
    #[tokio::test(start_paused = true)]
    async fn connection_without_a_call_is_ended() {
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
}
