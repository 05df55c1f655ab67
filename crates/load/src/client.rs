//! A client of unary calls over HTTP/2, gRPC or JSON. It stands on `h2` itself, so that it costs
//! little beside what it measures; answers are counted, not read.

use std::fmt::Display;
use std::future::Future;

use bytes::{BufMut, Bytes, BytesMut};
use h2::client::SendRequest;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use percent_encoding::percent_decode;
use prost::Message;
use tokio::net::TcpStream;

/// The shape of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    Grpc,
    Json,
}

/// One call: where to, and what.
#[derive(Debug, Clone)]
pub struct Request {
    path: PathAndQuery,
    shape: Shape,
    body: Bytes,
    headers: HeaderMap,
}

impl Request {
    /// A unary gRPC call.
    #[must_use]
    pub fn grpc(path: &PathAndQuery, message: &impl Message) -> Self {
        let length = message.encoded_len();
        let mut frame = framed(length);
        message
            .encode(&mut frame)
            .expect("a buffer that grows takes every message");
        Self::new(path, Shape::Grpc, frame.freeze())
    }

    /// The same, of a message that is encoded.
    #[must_use]
    pub fn grpc_encoded(path: &PathAndQuery, message: &[u8]) -> Self {
        let mut frame = framed(message.len());
        frame.put_slice(message);
        Self::new(path, Shape::Grpc, frame.freeze())
    }

    /// A POST of JSON.
    #[must_use]
    pub fn json(path: &PathAndQuery, body: impl Into<Bytes>) -> Self {
        Self::new(path, Shape::Json, body.into())
    }

    fn new(path: &PathAndQuery, shape: Shape, body: Bytes) -> Self {
        Self {
            path: path.clone(),
            shape,
            body,
            headers: HeaderMap::new(),
        }
    }

    /// The same, with headers of its own.
    #[must_use]
    pub fn headers(mut self, headers: HeaderMap) -> Self {
        self.headers = headers;
        self
    }
}

/// A buffer that begins with the length of a message.
fn framed(length: usize) -> BytesMut {
    let mut frame = BytesMut::with_capacity(length + 5);
    frame.put_u8(0);
    frame.put_u32(u32::try_from(length).expect("a message below 4 GiB"));
    frame
}

/// Why a call gave no reply.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The server answered that it failed.
    #[error("{status}: {message}")]
    Refused {
        /// The name of the gRPC status, or the HTTP status.
        status: String,
        /// The code that came with it, as `FIRN-0123`.
        code: Option<String>,
        /// What the server says.
        message: String,
    },
    /// The request could not be made, so nothing was sent.
    #[error("the request could not be made: {0}")]
    Unmade(String),
    /// The connection is gone; no call on it will succeed. This one may have run.
    #[error("the connection was lost: {0}")]
    Lost(String),
}

fn lost(error: impl Display) -> Fault {
    Fault::Lost(error.to_string())
}

/// How much may come on a connection before it was read: more than what there may be under way.
const WINDOW_BYTES: u32 = 64 << 20;

/// `h2` ends a connection on which many small frames were not read yet, against peers that mean harm.
/// The server is the one that is measured, and a load that cannot keep up is told by its times.
const UNREAD_MAX: usize = usize::MAX;

/// How many calls a connection may have under way before the server has said how many it takes. Without
/// a bound a burst right after the connect would have its end refused; this is the least that HTTP/2
/// wants a server to take.
const STREAMS_FIRST: usize = 100;

/// A connection on which calls are made.
#[derive(Clone)]
pub struct Client {
    sender: SendRequest<Bytes>,
    authority: Authority,
}

impl Client {
    /// Connects to `host:port`; the connection lives as long as the client and its clones.
    ///
    /// # Errors
    /// Nobody answers there.
    pub async fn connect(server: impl Display) -> Result<Self, Fault> {
        let server = server.to_string();
        let authority = server.parse().map_err(lost)?;
        let socket = TcpStream::connect(&server).await.map_err(lost)?;
        socket.set_nodelay(true).map_err(lost)?;
        let handshake = h2::client::Builder::new()
            .initial_connection_window_size(WINDOW_BYTES)
            .data_frame_budget(UNREAD_MAX)
            .initial_max_send_streams(STREAMS_FIRST)
            .handshake(socket);
        let (sender, connection) = handshake.await.map_err(lost)?;
        // It ends with the last sender.
        tokio::spawn(connection);
        Ok(Self { sender, authority })
    }

    /// Makes a call.
    ///
    /// # Errors
    /// The call gave no reply.
    pub fn send(&self, request: Request) -> impl Future<Output = Result<(), Fault>> + Send + use<> {
        let (sender, authority) = (self.sender.clone(), self.authority.clone());
        async move {
            let shape = request.shape;
            let (head, body) = request.parts(authority);
            let mut sender = sender.ready().await.map_err(lost)?;
            let (response, mut stream) = sender.send_request(head, false).map_err(lost)?;
            stream.send_data(body, true).map_err(lost)?;
            let (head, mut body) = response.await.map_err(lost)?.into_parts();
            while let Some(data) = body.data().await {
                let _ = body
                    .flow_control()
                    .release_capacity(data.map_err(lost)?.len());
            }
            match shape {
                Shape::Json => json_succeeded(head.status, &head.headers),
                Shape::Grpc if head.status != StatusCode::OK => {
                    Err(refused(head.status.to_string(), &head.headers))
                }
                Shape::Grpc if head.headers.contains_key("grpc-status") => {
                    grpc_succeeded(&head.headers)
                }
                Shape::Grpc => {
                    let trailers = body.trailers().await.map_err(lost)?;
                    grpc_succeeded(&trailers.unwrap_or_default())
                }
            }
        }
    }
}

impl Request {
    fn parts(self, authority: Authority) -> (http::Request<()>, Bytes) {
        let mut uri = http::uri::Parts::default();
        uri.scheme = Some(Scheme::HTTP);
        uri.authority = Some(authority);
        uri.path_and_query = Some(self.path);
        let mut head = http::Request::new(());
        *head.method_mut() = Method::POST;
        *head.uri_mut() = Uri::from_parts(uri).expect("all three parts make a URI");
        let mut headers = self.headers;
        let kind = match self.shape {
            Shape::Grpc => {
                headers.insert("te", HeaderValue::from_static("trailers"));
                "application/grpc"
            }
            Shape::Json => "application/json",
        };
        headers.insert("content-type", HeaderValue::from_static(kind));
        *head.headers_mut() = headers;
        (head, self.body)
    }
}

fn grpc_succeeded(headers: &HeaderMap) -> Result<(), Fault> {
    match headers.get("grpc-status").map(HeaderValue::as_bytes) {
        Some(b"0") => Ok(()),
        Some(number) => {
            let status = str::from_utf8(number).ok().and_then(|it| it.parse().ok());
            Err(refused(status_name(status).to_owned(), headers))
        }
        None => Err(lost("an answer without a status")),
    }
}

fn json_succeeded(status: StatusCode, headers: &HeaderMap) -> Result<(), Fault> {
    match status.is_success() {
        true => Ok(()),
        false => Err(refused(status.to_string(), headers)),
    }
}

fn refused(status: String, headers: &HeaderMap) -> Fault {
    let text = |name: &str| {
        let value = headers.get(name).map(HeaderValue::as_bytes)?;
        Some(percent_decode(value).decode_utf8_lossy().into_owned())
    };
    Fault::Refused {
        status,
        code: text("firn-code"),
        message: text("grpc-message").unwrap_or_default(),
    }
}

/// The name of a gRPC status by its number.
fn status_name(number: Option<usize>) -> &'static str {
    const NAMES: [&str; 17] = [
        "OK",
        "CANCELLED",
        "UNKNOWN",
        "INVALID_ARGUMENT",
        "DEADLINE_EXCEEDED",
        "NOT_FOUND",
        "ALREADY_EXISTS",
        "PERMISSION_DENIED",
        "RESOURCE_EXHAUSTED",
        "FAILED_PRECONDITION",
        "ABORTED",
        "OUT_OF_RANGE",
        "UNIMPLEMENTED",
        "INTERNAL",
        "UNAVAILABLE",
        "DATA_LOSS",
        "UNAUTHENTICATED",
    ];
    number
        .and_then(|it| NAMES.get(it))
        .copied()
        .unwrap_or("UNKNOWN")
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;
    use tokio::task::JoinSet;

    use super::*;

    #[test]
    fn a_refusal_says_what_the_server_said() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("grpc-status", "8"),
            ("grpc-message", "full: 100%25"),
            ("firn-code", "FIRN-3013"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        let expected = Fault::Refused {
            status: "RESOURCE_EXHAUSTED".to_owned(),
            code: Some("FIRN-3013".to_owned()),
            message: "full: 100%".to_owned(),
        };
        assert_eq!(grpc_succeeded(&headers), Err(expected));
        headers.insert("grpc-status", HeaderValue::from_static("0"));
        assert_eq!(grpc_succeeded(&headers), Ok(()));
        headers.remove("grpc-status");
        assert!(matches!(grpc_succeeded(&headers), Err(Fault::Lost(_))));
        assert!(json_succeeded(StatusCode::ACCEPTED, &headers).is_ok());
        assert!(json_succeeded(StatusCode::CONFLICT, &headers).is_err());
    }

    #[test]
    fn a_message_has_its_length_in_front() {
        let path = PathAndQuery::from_static("/a.B/C");
        let request = Request::grpc_encoded(&path, b"abc");
        assert_eq!(&request.body[..], b"\0\0\0\0\x03abc");
        let authority = Authority::from_static("localhost:9000");
        let (head, _) = request.parts(authority);
        assert_eq!(head.uri(), "http://localhost:9000/a.B/C");
        assert_eq!(head.headers()["content-type"], "application/grpc");
    }

    /// Many calls before the server has said how many it takes at once.
    #[tokio::test]
    async fn a_burst_right_after_the_connect_is_not_more_than_a_server_takes() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let client = Client::connect(address).await.unwrap();
        let path = PathAndQuery::from_static("/all");
        let mut calls = JoinSet::new();
        for _ in 0..3 * STREAMS_FIRST {
            calls.spawn(client.send(Request::json(&path, "{}")));
        }
        // All that the client does before it hears of the server.
        for _ in 0..10 * STREAMS_FIRST {
            tokio::task::yield_now().await;
        }
        let server = tokio::spawn(async move {
            let (socket, _) = listener.accept().await.unwrap();
            let mut connection = h2::server::Builder::new()
                .max_concurrent_streams(STREAMS_FIRST as u32)
                .handshake::<_, Bytes>(socket)
                .await
                .unwrap();
            while let Some(request) = connection.accept().await {
                let (_, mut answer) = request.unwrap();
                answer.send_response(http::Response::new(()), true).unwrap();
            }
        });
        while let Some(answered) = calls.join_next().await {
            answered.unwrap().unwrap();
        }
        drop(client);
        server.await.unwrap();
    }
}
