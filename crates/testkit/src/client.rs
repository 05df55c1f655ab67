//! Clients of the public port: HTTP/JSON and gRPC, with nothing of Firn's own in them.

use std::net::SocketAddr;

use bytes::{Buf, BufMut, Bytes};
use http::Method;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use prost_reflect::prost::Message;
use prost_reflect::{DynamicMessage, MethodDescriptor, SerializeOptions};
use serde_json::Value;
use tokio::net::TcpStream;
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::metadata::MetadataMap;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Response, Status, Streaming};

/// A whole HTTP response.
#[derive(Debug)]
pub struct Answer {
    /// Status line and headers.
    pub head: http::response::Parts,
    /// The body.
    pub body: Bytes,
}

impl Answer {
    /// The status as a number.
    pub fn status(&self) -> u16 {
        self.head.status.as_u16()
    }

    /// The body as text.
    ///
    /// # Panics
    /// If it is none.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("text")
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// If it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error} in {:?}", self.text()))
    }

    /// A header as text; empty if there is none.
    pub fn header(&self, name: &str) -> &str {
        self.head
            .headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }
}

/// Sends one HTTP/1.1 request, with its `Host`, on a connection of its own.
///
/// # Errors
/// Whatever ends the connection before the answer is whole.
pub async fn http(
    server: SocketAddr,
    mut request: http::Request<Bytes>,
) -> Result<Answer, Box<dyn std::error::Error + Send + Sync>> {
    let host = server.to_string().parse()?;
    request
        .headers_mut()
        .entry(http::header::HOST)
        .or_insert(host);
    let stream = TcpStream::connect(server).await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let exchange = async move {
        let response = sender.send_request(request.map(Full::new)).await?;
        let (head, body) = response.into_parts();
        let body = body.collect().await?.to_bytes();
        Ok(Answer { head, body })
    };
    tokio::pin!(exchange);
    tokio::select! {
        answer = &mut exchange => answer,
        ended = connection => {
            ended?;
            exchange.await
        }
    }
}

/// Sends JSON, or nothing, and takes the answer.
///
/// # Panics
/// If the request cannot be made or the connection fails.
pub async fn json(server: SocketAddr, method: Method, path: &str, body: Option<Value>) -> Answer {
    let mut request = http::Request::builder().method(method).uri(path);
    let body = match body {
        Some(body) => {
            request = request.header(http::header::CONTENT_TYPE, "application/json");
            Bytes::from(body.to_string())
        }
        None => Bytes::new(),
    };
    let request = request.body(body).expect("a request");
    http(server, request).await.expect("an answer")
}

/// A gRPC client that knows methods by their descriptors.
#[derive(Clone)]
pub struct Client {
    channel: Channel,
}

impl Client {
    /// Connects to the client port.
    ///
    /// # Panics
    /// If nobody answers.
    pub async fn connect(server: SocketAddr) -> Self {
        let endpoint = Endpoint::from_shared(format!("http://{server}")).expect("a URI");
        Self {
            channel: endpoint.connect().await.expect("a connection"),
        }
    }

    /// A client on an open channel.
    pub fn over(channel: Channel) -> Self {
        Self { channel }
    }

    /// Calls a method with these messages; the answers come as bytes.
    ///
    /// # Errors
    /// The status of a call that fails before its first answer.
    pub async fn stream(
        &self,
        path: &str,
        request: Request<impl futures_util::Stream<Item = Bytes> + Send + 'static>,
    ) -> Result<Response<Streaming<Bytes>>, Status> {
        let mut grpc = Grpc::new(self.channel.clone()).max_decoding_message_size(usize::MAX);
        grpc.ready()
            .await
            .map_err(|error| Status::unavailable(error.to_string()))?;
        grpc.streaming(request, path.parse().expect("a path"), Raw)
            .await
    }

    /// Calls a unary method with JSON for JSON.
    ///
    /// # Errors
    /// The status of a call that fails.
    ///
    /// # Panics
    /// If the JSON is not of the method's input type.
    pub async fn call(&self, method: &MethodDescriptor, request: Value) -> Result<Value, Status> {
        let answer = self.call_with(method, request, MetadataMap::new()).await?;
        Ok(answer.into_inner())
    }

    /// The same with metadata in both directions.
    ///
    /// # Errors
    /// The status of a call that fails.
    ///
    /// # Panics
    /// If the JSON is not of the method's input type.
    pub async fn call_with(
        &self,
        method: &MethodDescriptor,
        request: Value,
        metadata: MetadataMap,
    ) -> Result<Response<Value>, Status> {
        let message = encode(method, request);
        let mut request = Request::new(futures_util::stream::iter([message]));
        *request.metadata_mut() = metadata;
        let response = self.stream(&path(method), request).await?;
        let (metadata, mut answers, extensions) = response.into_parts();
        let answer = answers
            .message()
            .await?
            .ok_or_else(|| Status::internal("no answer"))?;
        // The status comes after the message.
        while answers.message().await?.is_some() {}
        Ok(Response::from_parts(
            metadata,
            decode(method, answer),
            extensions,
        ))
    }
}

/// The gRPC path of a method.
pub fn path(method: &MethodDescriptor) -> String {
    format!("/{}/{}", method.parent_service().full_name(), method.name())
}

/// A request from JSON.
///
/// # Panics
/// If it is not of the method's input type.
pub fn encode(method: &MethodDescriptor, request: Value) -> Bytes {
    let message = DynamicMessage::deserialize(method.input(), request).expect("a request");
    message.encode_to_vec().into()
}

/// An answer as JSON, default values included.
///
/// # Panics
/// If it is not of the method's output type.
pub fn decode(method: &MethodDescriptor, answer: Bytes) -> Value {
    let message = DynamicMessage::decode(method.output(), answer).expect("an answer");
    let options = SerializeOptions::new().skip_default_fields(false);
    message
        .serialize_with_options(serde_json::value::Serializer, &options)
        .expect("JSON")
}

/// Messages as the bytes they are.
#[derive(Debug, Clone, Copy)]
struct Raw;

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
    type Error = Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}
