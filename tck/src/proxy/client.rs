//! gRPC calls as a client makes them, message by message.
//!
//! [`Client`] owns a connection; each [`Call`] runs in a task of its own, and dropping it cancels it,
//! as a client does that goes away. The function's side of the protocol is such a call, too.

use std::io;

use bytes::{BufMut as _, Bytes, BytesMut};
use h2::client::SendRequest;
use http::{HeaderMap, Request};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::wire::{put, split};

/// How much may come ahead: more than the largest frames, so that only mistakes make anybody wait.
const WINDOW_BYTES: u32 = 64 << 20;
/// Messages in each direction that are not taken yet.
const MESSAGES_MAX: usize = 65_536;

/// A connection to a gRPC server.
pub(crate) struct Client {
    send: SendRequest<Bytes>,
    _connection: JoinSet<()>,
}

/// How a call ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct End {
    /// The gRPC status.
    pub(crate) status: u16,
    pub(crate) message: String,
    /// The code of Firn; empty if there is none.
    pub(crate) code: String,
    /// The whole status, if it was sent.
    pub(crate) details: Option<Bytes>,
}

/// What comes of a call.
#[derive(Debug)]
pub(crate) enum Came {
    Headers(HeaderMap),
    Message(Bytes),
    End(End),
}

/// A call under way.
pub(crate) struct Call {
    // Dropped before the requests, which have not ended then.
    _task: JoinSet<()>,
    requests: Option<mpsc::Sender<Bytes>>,
    came: mpsc::Receiver<Came>,
}

/// All that came of a call.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) headers: HeaderMap,
    pub(crate) messages: Vec<Bytes>,
    pub(crate) end: End,
}

trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Socket for T {}

impl Client {
    /// Connects to `host:port` or `unix:path`.
    pub(crate) async fn connect(address: &str) -> io::Result<Self> {
        let socket: Box<dyn Socket> = match address.strip_prefix("unix:") {
            Some(path) => Box::new(UnixStream::connect(path).await?),
            None => {
                let stream = TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                Box::new(stream)
            }
        };
        let mut builder = h2::client::Builder::new();
        builder
            .initial_window_size(WINDOW_BYTES)
            .initial_connection_window_size(WINDOW_BYTES);
        let (send, connection) = builder.handshake(socket).await.map_err(io::Error::other)?;
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            // Its calls say how it ended.
            let _ = connection.await;
        });
        Ok(Self {
            send,
            _connection: tasks,
        })
    }

    /// Begins a call of `/service/method`.
    pub(crate) fn begin(&self, path: &str, headers: &[(String, String)]) -> Call {
        let mut request = Request::post(format!("http://localhost{path}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let (requests, to_send) = mpsc::channel(MESSAGES_MAX);
        let (sender, came) = mpsc::channel(MESSAGES_MAX);
        let mut task = JoinSet::new();
        let send = self.send.clone();
        let request = request.body(()).expect("the kit's own headers");
        task.spawn(async move {
            let end = run(send, request, to_send, &sender).await;
            let end = end.unwrap_or_else(|error| broken(&error.to_string()));
            // Nobody to tell when the call was dropped.
            let _ = sender.send(Came::End(end)).await;
        });
        Call {
            _task: task,
            requests: Some(requests),
            came,
        }
    }
}

/// The end of a call that has none of its own.
fn broken(why: &str) -> End {
    End {
        status: 14,
        message: format!("the connection broke: {why}"),
        code: String::new(),
        details: None,
    }
}

async fn run(
    send: SendRequest<Bytes>,
    request: Request<()>,
    mut requests: mpsc::Receiver<Bytes>,
    came: &mpsc::Sender<Came>,
) -> Result<End, h2::Error> {
    let (response, mut out) = send.ready().await?.send_request(request, false)?;
    let write = async {
        while let Some(message) = requests.recv().await {
            if put(&mut out, &message).await.is_err() {
                break;
            }
        }
        // What has ended already needs no end.
        let _ = out.send_data(Bytes::new(), true);
        std::future::pending::<()>().await;
    };
    let read = async {
        let (head, mut body) = response.await?.into_parts();
        if head.headers.contains_key("grpc-status") {
            return Ok(end_of(&head.headers));
        }
        let told = came.send(Came::Headers(head.headers)).await;
        let mut buffer = BytesMut::new();
        while let Some(data) = body.data().await {
            let data = data?;
            buffer.put_slice(&data);
            body.flow_control().release_capacity(data.len())?;
            while let Some(message) = match split(&mut buffer) {
                Ok(message) => message,
                Err(fault) => return Ok(broken(&fault)),
            } {
                if told.is_err() || came.send(Came::Message(message)).await.is_err() {
                    return Ok(broken("nobody listens"));
                }
            }
        }
        let trailers = body.trailers().await?;
        Ok(trailers.map_or_else(|| broken("no trailers"), |trailers| end_of(&trailers)))
    };
    tokio::select! {
        biased;
        end = read => end,
        () = write => unreachable!("it waits for ever"),
    }
}

fn end_of(trailers: &HeaderMap) -> End {
    let text = |name: &str| {
        let value = trailers.get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_default().to_owned()
    };
    End {
        status: text("grpc-status").parse().unwrap_or(2),
        message: percent_decoded(&text("grpc-message")),
        code: text("firn-code"),
        details: base64(&text("grpc-status-details-bin")),
    }
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        let hex = |digits: &[u8]| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok();
        match after.split_at_checked(2) {
            Some((digits, after)) if first == b'%' => match hex(digits) {
                Some(byte) => {
                    bytes.push(byte);
                    rest = after;
                }
                None => bytes.push(first),
            },
            _ => bytes.push(first),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The bytes of a text in base64, with or without padding; none if it is empty or none.
fn base64(text: &str) -> Option<Bytes> {
    let mut bytes = Vec::new();
    let (mut bits, mut count) = (0_u32, 0);
    for character in text.trim_end_matches('=').bytes() {
        let value = match character {
            b'A'..=b'Z' => character - b'A',
            b'a'..=b'z' => character - b'a' + 26,
            b'0'..=b'9' => character - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push(u8::try_from(bits >> count & 0xff).expect("eight bits"));
        }
    }
    (!text.is_empty()).then(|| bytes.into())
}

impl Call {
    /// Sends a message. What has ended already takes none, which is seen in what comes.
    pub(crate) async fn send(&mut self, message: Bytes) {
        if let Some(requests) = &self.requests {
            let _ = requests.send(message).await;
        }
    }

    /// Sends nothing any more.
    pub(crate) fn half_close(&mut self) {
        self.requests = None;
    }

    /// What comes next. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Came {
        let over = || Came::End(broken("the call is over"));
        self.came.recv().await.unwrap_or_else(over)
    }

    /// What is there already.
    pub(crate) fn waiting(&mut self) -> Option<Came> {
        self.came.try_recv().ok()
    }

    /// All that comes until the end.
    pub(crate) async fn answer(mut self) -> Answer {
        let (mut headers, mut messages) = (HeaderMap::new(), Vec::new());
        loop {
            match self.next().await {
                Came::Headers(came) => headers = came,
                Came::Message(message) => messages.push(message),
                Came::End(end) => {
                    return Answer {
                        headers,
                        messages,
                        end,
                    };
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_trailers_are_read() {
        assert_eq!(percent_decoded("a%20b%"), "a b%");
        assert_eq!(base64("CAgSBw==").as_deref(), Some(&[8, 8, 0x12, 7][..]));
        assert_eq!(base64("CAgSBw").as_deref(), Some(&[8, 8, 0x12, 7][..]));
        assert_eq!(base64(""), None);
    }
}
