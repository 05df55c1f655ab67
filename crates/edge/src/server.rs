//! The port: accepts connections, owns them, and drains them at the end.
//!
//! | task | started by | owner | on cancel | on error |
//! |---|---|---|---|---|
//! | connection | the accept loop | `JoinSet` of the loop | open requests finish, then it closes | logged at debug, the loop goes on |
//! | HTTP/2 stream | its connection | `TaskTracker` of the loop | ends with its connection | the stream is reset |
//!
//! # Shutdown
//! Stop accepting, say so on every connection (HTTP/2 GOAWAY, HTTP/1.1 no keep-alive), wait for
//! open requests up to the grace, then drop what is left.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use firn_model::code::Code;
use hyper::rt::Executor;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{Instrument, debug, debug_span, error, warn};

use crate::backend::Backend;
use crate::config::{Config, STREAMS_MAX};
use crate::route;
use crate::state::State;

/// How long a new connection may take until its first byte, and an HTTP/1.1 request until the end of
/// its headers: long enough for a browser that connects ahead, short enough to shed dead peers.
const FIRST_BYTE_WAIT: Duration = Duration::from_secs(30);

/// How often a quiet HTTP/2 peer is asked whether it still lives.
const PING_INTERVAL: Duration = Duration::from_secs(30);

/// How long it may take to answer that.
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// Bytes that a client may send ahead on one stream before the backend takes them: large messages move
/// without a round trip for each 64 KiB, and a stream that nobody reads holds no more than this.
const STREAM_WINDOW_BYTES: u32 = 256 << 10;

/// Bytes that a client may send ahead on one connection. It has to hold every stream that nobody reads,
/// or such streams would stop all others.
///
/// It is larger than that for the sake of small messages. h2 ends a connection for what its unread frames
/// cost beside their bytes: each that is shorter than 256 bytes is counted with what it lacks, up to half
/// of this window, which is all that hyper lets anybody say about it. A stream that waits with its window
/// full of messages of 20 bytes is counted with 2.3 MiB, with empty ones 12.6 MiB; so 220 or 40 of them
/// may wait on one connection. The streams themselves bound what can be sent: more than `streams_max`
/// windows do not come.
///
/// A client that means harm can make Firn hold 512 MiB of such frames where there were 2 MiB with a window
/// of 4 MiB. It gains nothing by it: with one message begun on each of 1,024 streams it holds 12 GiB.
const CONNECTION_WINDOW_BYTES: u32 = 1 << 30;

const _: () = assert!(CONNECTION_WINDOW_BYTES / STREAM_WINDOW_BYTES >= STREAMS_MAX);

/// How long streams may take to notice that their connection is gone: they are woken by it, so this
/// passes only if that is broken.
const STREAM_END_WAIT: Duration = Duration::from_secs(1);

/// How long the accept loop rests when the system has no file descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The client port.
#[derive(Debug)]
pub struct Edge;

/// A client port that is taken but does not answer yet.
#[derive(Debug)]
pub struct Bound {
    listener: TcpListener,
    address: SocketAddr,
    config: Config,
}

/// Why the client port could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another process listens there.
    #[error("cannot listen on {address}: the address is already in use")]
    Taken {
        /// The address of the setting.
        address: SocketAddr,
    },
    /// The system refused for another reason.
    #[error("cannot listen on {address}: {source}")]
    Failed {
        /// The address of the setting.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
}

impl BindError {
    /// The stable code.
    pub fn code(&self) -> Code {
        match self {
            Self::Taken { .. } => Code::PortTaken,
            Self::Failed { .. } => Code::ListenFailed,
        }
    }
}

impl Edge {
    /// Takes the port of `config.listen`. Clients that connect now wait until it is served.
    ///
    /// # Errors
    /// [`BindError`] if the address cannot be listened on.
    pub async fn bind(config: Config) -> Result<Bound, BindError> {
        let address = config.listen;
        let refused = |source: io::Error| match source.kind() {
            io::ErrorKind::AddrInUse => BindError::Taken { address },
            _ => BindError::Failed { address, source },
        };
        let listener = TcpListener::bind(address).await.map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        Ok(Bound {
            listener,
            address,
            config,
        })
    }
}

impl Bound {
    /// The address that was taken, with the port that was found if 0 was asked for.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Answers clients until `shutdown` is ready, then drains and returns.
    ///
    /// # Cancel safety
    /// Dropping the future closes every connection at once.
    pub async fn serve(self, backend: Arc<dyn Backend>, shutdown: impl Future<Output = ()>) {
        let grace = self.config.shutdown_grace;
        let connections_max = self.config.connections_max;
        let mut server = Server::new(State::new(self.config, backend));
        let mut shutdown = std::pin::pin!(shutdown);
        loop {
            tokio::select! {
                biased;
                () = &mut shutdown => break,
                Some(ended) = server.connections.join_next() => {
                    if let Err(error) = ended {
                        warn!(%error, "connection task failed");
                    }
                }
                accepted = self.listener.accept(), if server.connections.len() < connections_max => {
                    match accepted {
                        Ok((stream, peer)) => server.start(stream, peer),
                        Err(error) => {
                            warn!(%error, "accept failed");
                            time::sleep(ACCEPT_PAUSE).await;
                        }
                    }
                }
            }
        }
        drop(self.listener);
        server.drain(grace).await;
    }
}

/// The connections and what they share.
struct Server {
    state: Arc<State>,
    http: auto::Builder<Tracked>,
    connections: JoinSet<()>,
    streams: TaskTracker,
}

impl Server {
    fn new(state: State) -> Self {
        let streams = TaskTracker::new();
        let mut http = auto::Builder::new(Tracked(streams.clone()));
        let header_bytes_max = state.config.header_bytes_max.max(8192);
        http.http1()
            .timer(TokioTimer::new())
            .header_read_timeout(FIRST_BYTE_WAIT)
            .max_buf_size(header_bytes_max as usize);
        http.http2()
            .timer(TokioTimer::new())
            .keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_concurrent_streams(state.config.streams_max)
            .max_header_list_size(header_bytes_max);
        Self {
            state: Arc::new(state),
            http,
            connections: JoinSet::new(),
            streams,
        }
    }

    fn start(&mut self, stream: TcpStream, peer: SocketAddr) {
        let task = connection(self.http.clone(), Arc::clone(&self.state), stream);
        self.connections
            .spawn(task.instrument(debug_span!("client", %peer)));
    }

    /// Lets open requests finish within `grace`, then drops the others.
    async fn drain(mut self, grace: Duration) {
        self.state.draining.cancel();
        self.streams.close();
        let all_done = async {
            while self.connections.join_next().await.is_some() {}
            self.streams.wait().await;
        };
        if time::timeout(grace, all_done).await.is_err() {
            let open = self.connections.len();
            warn!(
                open,
                "closing connections whose requests outlasted the grace"
            );
            self.connections.shutdown().await;
            // The streams end by themselves when their connection is gone.
            if time::timeout(STREAM_END_WAIT, self.streams.wait())
                .await
                .is_err()
            {
                error!(
                    streams = self.streams.len(),
                    "streams outlived their connection"
                );
            }
        }
    }
}

/// Serves one connection until it closes, or until it has drained.
async fn connection(http: auto::Builder<Tracked>, state: Arc<State>, stream: TcpStream) {
    let draining: CancellationToken = state.draining.clone();
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%error, "cannot set TCP_NODELAY");
    }
    tokio::select! {
        biased;
        () = draining.cancelled() => return,
        first = time::timeout(FIRST_BYTE_WAIT, stream.readable()) => {
            if !matches!(first, Ok(Ok(()))) {
                return;
            }
        }
    }
    let open = Open::default();
    let opened = open.clone();
    let service = service_fn(move |request| {
        let (state, open) = (Arc::clone(&state), opened.clone());
        // In a box, since hyper and tokio move the future several times.
        Box::pin(async move {
            let response = route::serve(state, request).await;
            drop(open);
            Ok::<_, Infallible>(response)
        })
    });
    let mut connection = std::pin::pin!(http.serve_connection(TokioIo::new(stream), service));
    let ended = tokio::select! {
        biased;
        ended = open.gathered(connection.as_mut()) => ended,
        () = draining.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        debug!(error, "connection broke");
    }
}

/// Counts the requests of a connection that are not answered yet: each holds a clone.
#[derive(Clone, Default)]
struct Open(Arc<()>);

impl Open {
    /// Clones of a connection without requests: its own, and that of its service.
    const NONE: usize = 2;

    /// Drives a connection. While several of its requests are open, the tasks that are ready run
    /// first each time: what they answer goes out in one write.
    async fn gathered<C: Future>(&self, mut connection: Pin<&mut C>) -> C::Output {
        let mut let_others = false;
        poll_fn(|context| {
            if !let_others && Arc::strong_count(&self.0) > Self::NONE + 1 {
                let_others = true;
                // A task that wakes itself goes behind those that are ready.
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            let_others = false;
            connection.as_mut().poll(context)
        })
        .await
    }
}

/// Starts the tasks of HTTP/2 streams where the server can wait for them.
#[derive(Clone)]
struct Tracked(TaskTracker);

impl<F> Executor<F> for Tracked
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, future: F) {
        self.0.spawn(future);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::pin::pin;
    use std::task::{Context, Waker};

    use super::*;

    #[test]
    fn others_run_first_while_several_requests_are_open() {
        let polls = Cell::new(0);
        let mut connection = pin!(poll_fn(|_| {
            polls.set(polls.get() + 1);
            Poll::<()>::Pending
        }));
        let open = Open::default();
        let _service = open.clone();
        let mut gathered = pin!(open.gathered(connection.as_mut()));
        let mut poll = || {
            let mut context = Context::from_waker(Waker::noop());
            assert!(gathered.as_mut().poll(&mut context).is_pending());
            polls.get()
        };
        let _one = open.clone();
        assert_eq!((poll(), poll()), (1, 2));
        let another = open.clone();
        assert_eq!((poll(), poll(), poll(), poll()), (2, 3, 3, 4));
        drop(another);
        assert_eq!(poll(), 5);
    }
}
