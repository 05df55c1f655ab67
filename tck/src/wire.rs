//! The function port: gRPC over HTTP/2, one call at a time.
//!
//! Written on `h2` itself, since the kit has to do what a gRPC library would not: to end a call with
//! any status, to send bytes that are no message, to cut a connection in the middle.
//!
//! [`Port`] owns a task for each connection; each call that comes in is an [`Incoming`], and becomes
//! a [`Link`] when the kit takes it. Dropping the port ends everything.

use std::future::poll_fn;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use h2::server::SendResponse;
use h2::{RecvStream, SendStream};
use http::{HeaderMap, HeaderValue, Response};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

/// How much a function may send ahead, of a call and of a connection: more than the largest frames
/// of the checks, so that only the function's own mistakes make it wait.
const WINDOW_BYTES: u32 = 64 << 20;
/// The largest message that is taken from a function.
const MESSAGE_BYTES_MAX: usize = 64 << 20;
/// Calls that wait to be taken; later ones wait in their connection.
const INCOMING_MAX: usize = 4_096;
/// Batches that are read ahead of the check that looks at them.
const BATCHES_MAX: usize = 65_536;

/// Where functions dial in.
pub(crate) struct Port {
    calls: mpsc::Receiver<Incoming>,
    /// Ends all connections when it is dropped.
    tasks: JoinSet<()>,
}

/// A call that nobody has taken yet.
pub(crate) struct Incoming {
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    body: RecvStream,
    respond: SendResponse<Bytes>,
    cut: Arc<watch::Sender<bool>>,
}

/// What comes of the function's side of a call.
#[derive(Debug)]
pub(crate) enum Read {
    Message(Bytes),
    /// The function has ended its side.
    End,
    /// The call or the connection broke.
    Broken(String),
}

/// A call that was taken.
pub(crate) struct Link {
    messages: mpsc::Receiver<Read>,
    out: Out,
    cut: Arc<watch::Sender<bool>>,
    _reader: JoinSet<()>,
}

/// The answering side: headers go with the first message.
enum Out {
    Fresh(SendResponse<Bytes>),
    Open(SendStream<Bytes>),
    Ended,
}

impl Port {
    /// Listens at `host:port` or `unix:path`.
    pub(crate) async fn listen(address: &str) -> io::Result<Self> {
        let (sender, calls) = mpsc::channel(INCOMING_MAX);
        let mut tasks = JoinSet::new();
        if let Some(path) = address.strip_prefix("unix:") {
            let path = PathBuf::from(path);
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let listener = UnixListener::bind(path)?;
            tasks.spawn(async move {
                let mut connections = JoinSet::new();
                while let Ok((stream, _)) = listener.accept().await {
                    connections.spawn(serve(stream, sender.clone()));
                }
            });
        } else {
            let listener = TcpListener::bind(address).await?;
            tasks.spawn(async move {
                let mut connections = JoinSet::new();
                while let Ok((stream, _)) = listener.accept().await {
                    if stream.set_nodelay(true).is_ok() {
                        connections.spawn(serve(stream, sender.clone()));
                    }
                }
            });
        }
        Ok(Self { calls, tasks })
    }

    /// The next call. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Option<Incoming> {
        self.calls.recv().await
    }

    /// Listens no more: the address is free when this returns.
    pub(crate) async fn close(mut self) {
        self.tasks.shutdown().await;
    }

    /// A call that is there already.
    pub(crate) fn waiting(&mut self) -> Option<Incoming> {
        self.calls.try_recv().ok()
    }
}

/// Serves one connection until it ends, or is cut.
async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin, calls: mpsc::Sender<Incoming>) {
    let mut builder = h2::server::Builder::new();
    builder
        .initial_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES);
    let Ok(mut connection) = builder.handshake::<_, Bytes>(stream).await else {
        return;
    };
    let (cut, mut is_cut) = watch::channel(false);
    let cut = Arc::new(cut);
    loop {
        let accepted = tokio::select! {
            biased;
            _ = is_cut.wait_for(|cut| *cut) => return,
            accepted = connection.accept() => accepted,
        };
        let Some(Ok((request, respond))) = accepted else {
            return;
        };
        let incoming = Incoming {
            path: request.uri().path().to_owned(),
            headers: request.headers().clone(),
            body: request.into_body(),
            respond,
            cut: Arc::clone(&cut),
        };
        // When too many wait, the newest is refused by being dropped.
        if calls.try_send(incoming).is_err() && calls.is_closed() {
            return;
        }
    }
}

impl Incoming {
    /// Takes the call and begins to read what it sends.
    pub(crate) fn take(self) -> Link {
        let (sender, messages) = mpsc::channel(BATCHES_MAX);
        let mut reader = JoinSet::new();
        reader.spawn(read(self.body, sender));
        Link {
            messages,
            out: Out::Fresh(self.respond),
            cut: self.cut,
            _reader: reader,
        }
    }
}

/// Reads messages until the call ends.
async fn read(mut body: RecvStream, sender: mpsc::Sender<Read>) {
    let mut buffer = BytesMut::new();
    let end = loop {
        match body.data().await {
            None if buffer.is_empty() => break Read::End,
            None => break Read::Broken("the call ended in the middle of a message".to_owned()),
            Some(Err(error)) => break Read::Broken(error.to_string()),
            Some(Ok(data)) => {
                buffer.put_slice(&data);
                if body.flow_control().release_capacity(data.len()).is_err() {
                    break Read::Broken("the call has no window".to_owned());
                }
            }
        }
        loop {
            match split(&mut buffer) {
                Ok(None) => break,
                Ok(Some(message)) => {
                    if sender.send(Read::Message(message)).await.is_err() {
                        return;
                    }
                }
                Err(fault) => {
                    // Nobody to tell when the kit has dropped the link.
                    let _ = sender.send(Read::Broken(fault)).await;
                    return;
                }
            }
        }
    };
    // As above.
    let _ = sender.send(end).await;
}

/// The next whole message of what was read.
pub(crate) fn split(buffer: &mut BytesMut) -> Result<Option<Bytes>, String> {
    let Some((&compressed, rest)) = buffer.split_first() else {
        return Ok(None);
    };
    if compressed != 0 {
        return Err(format!("a gRPC message that begins with byte {compressed}"));
    }
    let Some(length) = rest.first_chunk::<4>() else {
        return Ok(None);
    };
    let length = u32::from_be_bytes(*length) as usize;
    if length > MESSAGE_BYTES_MAX {
        return Err(format!("a gRPC message of {length} bytes"));
    }
    if rest.len() < 4 + length {
        return Ok(None);
    }
    buffer.advance(5);
    Ok(Some(buffer.split_to(length).freeze()))
}

/// Writes one message.
pub(crate) async fn put(stream: &mut SendStream<Bytes>, message: &[u8]) -> Result<(), h2::Error> {
    let mut bytes = BytesMut::with_capacity(5 + message.len());
    bytes.put_u8(0);
    bytes.put_u32(u32::try_from(message.len()).expect("messages are below 4 GiB"));
    bytes.put_slice(message);
    let mut bytes = bytes.freeze();
    while !bytes.is_empty() {
        stream.reserve_capacity(bytes.len());
        let capacity = poll_fn(|context| stream.poll_capacity(context)).await;
        let capacity = capacity.unwrap_or_else(|| Err(h2::Reason::STREAM_CLOSED.into()))?;
        let part = bytes.split_to(capacity.min(bytes.len()));
        stream.send_data(part, false)?;
    }
    Ok(())
}

impl Link {
    /// What comes next. Cancel-safe.
    pub(crate) async fn read(&mut self) -> Read {
        let broken = || Read::Broken("the call is over".to_owned());
        self.messages.recv().await.unwrap_or_else(broken)
    }

    /// What is there already.
    pub(crate) fn waiting(&mut self) -> Option<Read> {
        self.messages.try_recv().ok()
    }

    fn open(&mut self) -> Result<&mut SendStream<Bytes>, h2::Error> {
        if let Out::Fresh(respond) = &mut self.out {
            let mut response = Response::new(());
            let kind = HeaderValue::from_static("application/grpc");
            response.headers_mut().insert("content-type", kind);
            self.out = Out::Open(respond.send_response(response, false)?);
        }
        match &mut self.out {
            Out::Open(stream) => Ok(stream),
            _ => Err(h2::Reason::STREAM_CLOSED.into()),
        }
    }

    /// Sends the response's headers before any message.
    pub(crate) fn send_headers(&mut self) -> Result<(), h2::Error> {
        self.open().map(|_| ())
    }

    /// Sends one message.
    pub(crate) async fn send(&mut self, message: &[u8]) -> Result<(), h2::Error> {
        put(self.open()?, message).await
    }

    /// Ends the call with a status, and a Firn code in the trailer `firn-code` unless it is empty.
    pub(crate) fn end(&mut self, status: u16, message: &'static str, code: &'static str) {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from(status));
        if status != 0 {
            trailers.insert("grpc-message", HeaderValue::from_static(message));
        }
        if !code.is_empty() {
            trailers.insert("firn-code", HeaderValue::from_static(code));
        }
        // A function that is gone already needs no end.
        match std::mem::replace(&mut self.out, Out::Ended) {
            Out::Fresh(mut respond) => {
                let mut response = Response::new(());
                trailers.insert("content-type", HeaderValue::from_static("application/grpc"));
                *response.headers_mut() = trailers;
                let _ = respond.send_response(response, true);
            }
            Out::Open(mut stream) => {
                let _ = stream.send_trailers(trailers);
            }
            Out::Ended => {}
        }
    }

    /// Cuts the connection below the call, without any goodbye.
    pub(crate) fn cut(self) {
        self.cut.send_replace(true);
    }
}
