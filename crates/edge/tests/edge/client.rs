//! Clients: plain HTTP/1.1 and HTTP/2, and gRPC with messages as bytes.

use std::convert::Infallible;
use std::net::SocketAddr;

use bytes::{Buf as _, BufMut as _, Bytes};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::{Channel, Endpoint};

use crate::backend::Server;

/// A response that has ended.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) trailers: HeaderMap,
}

impl Answer {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// A header's text, or nothing.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |v| v.to_str().unwrap())
    }

    /// A trailer's text, or nothing.
    pub(crate) fn trailer(&self, name: &str) -> &str {
        self.trailers.get(name).map_or("", |v| v.to_str().unwrap())
    }

    async fn read(response: Response<Incoming>) -> Self {
        let (parts, body) = response.into_parts();
        let collected = body.collect().await.unwrap();
        let trailers = collected.trailers().cloned().unwrap_or_default();
        Self {
            status: parts.status,
            headers: parts.headers,
            body: collected.to_bytes(),
            trailers,
        }
    }
}

/// A request from its verb, path, headers and body.
pub(crate) fn request(
    verb: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
) -> Request<Full<Bytes>> {
    let verb = Method::from_bytes(verb.as_bytes()).unwrap();
    let mut request = Request::builder().method(verb).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Full::new(body.into())).unwrap()
}

/// Sends one request on an HTTP/1.1 connection of its own; the body of the response is still open.
pub(crate) async fn open(
    address: SocketAddr,
    mut request: Request<Full<Bytes>>,
) -> Response<Incoming> {
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut sender, connection) = conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let host = address.to_string().parse().unwrap();
    request.headers_mut().insert("host", host);
    sender.send_request(request).await.unwrap()
}

/// Sends one request over HTTP/1.1 and reads all of the answer.
pub(crate) async fn send(address: SocketAddr, request: Request<Full<Bytes>>) -> Answer {
    Answer::read(open(address, request).await).await
}

/// Sends one request over HTTP/2 and reads all of the answer.
pub(crate) async fn send_h2<B>(address: SocketAddr, mut request: Request<B>) -> Answer
where
    B: http_body::Body<Data = Bytes, Error = Infallible> + Send + Unpin + 'static,
{
    let stream = TcpStream::connect(address).await.unwrap();
    let handshake = conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
    let (mut sender, connection) = handshake.await.unwrap();
    tokio::spawn(connection);
    let uri = format!("http://{address}{}", request.uri());
    *request.uri_mut() = uri.parse().unwrap();
    Answer::read(sender.send_request(request).await.unwrap()).await
}

impl Server {
    pub(crate) async fn get(&self, path: &str) -> Answer {
        send(self.address, request("GET", path, &[], "")).await
    }

    pub(crate) async fn send(
        &self,
        verb: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Answer {
        send(self.address, request(verb, path, headers, body)).await
    }

    pub(crate) async fn post_json(&self, path: &str, body: &str) -> Answer {
        let headers = [("content-type", "application/json")];
        self.send("POST", path, &headers, body.to_owned()).await
    }

    /// One gRPC call with a frame as it is, over bare HTTP/2.
    pub(crate) async fn post_grpc(
        &self,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Answer {
        let mut all = vec![("content-type", "application/grpc"), ("te", "trailers")];
        all.extend_from_slice(headers);
        send_h2(self.address, request("POST", path, &all, body)).await
    }

    pub(crate) async fn grpc(&self) -> tonic::client::Grpc<Channel> {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.address)).unwrap();
        let mut client = tonic::client::Grpc::new(endpoint.connect().await.unwrap());
        client.ready().await.unwrap();
        client
    }
}

/// A message in its gRPC frame.
pub(crate) fn frame(flags: u8, message: &[u8]) -> Bytes {
    let mut frame = vec![flags];
    frame.put_u32(u32::try_from(message.len()).unwrap());
    frame.extend_from_slice(message);
    Bytes::from(frame)
}

/// Messages as they are.
#[derive(Clone, Copy, Default)]
pub(crate) struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = tonic::Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), tonic::Status> {
        buffer.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = tonic::Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, tonic::Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}

/// Firn's code on a gRPC status.
pub(crate) fn firn_code(status: &tonic::Status) -> &str {
    let code = status.metadata().get("firn-code");
    code.map_or("", |code| code.to_str().unwrap())
}
