//! One HTTP/2 connection to a function, and the moment it ends.
//!
//! tonic's channels connect again by themselves. A function that comes back may be another one, so
//! here a connection that is gone stays gone: a new one begins with discovery. The end is noticed
//! when hyper lets go of the socket, without a call that the protocol does not name.

use std::io;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use http::uri::PathAndQuery;
use hyper_util::rt::TokioIo;
use prost::Message;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;

use crate::preface::Preface;

/// A connection that was made once and is never made again.
#[derive(Debug, Clone)]
pub(crate) struct Connection {
    channel: Channel,
    over: CancellationToken,
    message_bytes_max: usize,
    streams_max: Arc<OnceLock<u32>>,
}

impl Connection {
    /// Connects to `address`, which is `host:port`.
    ///
    /// # Errors
    /// What the operating system says.
    pub(crate) async fn open(address: &str, message_bytes_max: usize) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let over = CancellationToken::new();
        let streams_max = Arc::new(OnceLock::new());
        let mut first = Some(Watched {
            stream,
            preface: Preface::default(),
            streams_max: streams_max.clone(),
            _end: over.clone().drop_guard(),
        });
        let connector = tower::service_fn(move |_: http::Uri| {
            let stream = first.take().map(TokioIo::new);
            async move { stream.ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected)) }
        });
        let endpoint = Endpoint::from_shared(format!("http://{address}"))
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW);
        let channel = endpoint
            .connect_with_connector(connector)
            .await
            .map_err(io::Error::other)?;
        Ok(Self {
            channel,
            over,
            message_bytes_max,
            streams_max,
        })
    }

    /// How many streams the other side bears at once, if it has said so.
    pub(crate) fn streams_max(&self) -> Option<usize> {
        let limit = self.streams_max.get().copied()?;
        usize::try_from(limit).ok()
    }

    /// Whether it is still there.
    pub(crate) fn is_open(&self) -> bool {
        !self.over.is_cancelled()
    }

    /// Waits for its end. Cancel-safe.
    pub(crate) async fn closed(&self) {
        self.over.cancelled().await;
    }

    /// Calls a unary method.
    pub(crate) async fn unary<Q, A>(&self, path: &'static str, request: Q) -> Result<A, Status>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        let mut grpc = self.grpc().await?;
        let codec = ProstCodec::<Q, A>::default();
        let path = PathAndQuery::from_static(path);
        Ok(grpc
            .unary(Request::new(request), path, codec)
            .await?
            .into_inner())
    }

    /// Calls a unary method and gives the answer as it came, for who reads several dialects.
    pub(crate) async fn unary_raw<Q>(&self, path: &'static str, request: Q) -> Result<Bytes, Status>
    where
        Q: Message + 'static,
    {
        let mut grpc = self.grpc().await?;
        let path = PathAndQuery::from_static(path);
        let codec = RawAnswer::<Q>(PhantomData);
        Ok(grpc
            .unary(Request::new(request), path, codec)
            .await?
            .into_inner())
    }

    /// Calls a method that streams in both directions; either may hold one message only. A request
    /// that is [`Cut`] resets the call, whatever was sent before it.
    pub(crate) async fn streaming<Q, A>(
        &self,
        path: &'static str,
        requests: impl futures_util::Stream<Item = Result<Q, Cut>> + Send + 'static,
    ) -> Result<Response<Streaming<A>>, Status>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        let mut grpc = self.grpc().await?;
        let codec = CutCodec::<Q, A>(PhantomData);
        grpc.streaming(
            Request::new(requests),
            PathAndQuery::from_static(path),
            codec,
        )
        .await
    }

    async fn grpc(&self) -> Result<Grpc<Channel>, Status> {
        let mut grpc = Grpc::new(self.channel.clone())
            .max_decoding_message_size(self.message_bytes_max)
            .max_encoding_message_size(usize::MAX);
        grpc.ready()
            .await
            .map_err(|error| Status::unavailable(error.to_string()))?;
        Ok(grpc)
    }
}

/// The requests of a call end in the middle: the function must not take what it has for all of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cut;

/// Encodes messages, and fails at a [`Cut`], which makes the transport reset the call.
struct CutCodec<Q, A>(PhantomData<(Q, A)>);

impl<Q, A> Codec for CutCodec<Q, A>
where
    Q: Message + 'static,
    A: Message + Default + 'static,
{
    type Encode = Result<Q, Cut>;
    type Decode = A;
    type Encoder = CutEncoder<Q>;
    type Decoder = <ProstCodec<Q, A> as Codec>::Decoder;

    fn encoder(&mut self) -> CutEncoder<Q> {
        CutEncoder(PhantomData)
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstCodec::<Q, A>::default().decoder()
    }
}

struct CutEncoder<Q>(PhantomData<Q>);

impl<Q: Message> Encoder for CutEncoder<Q> {
    type Item = Result<Q, Cut>;
    type Error = Status;

    fn encode(&mut self, item: Self::Item, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        match item {
            Ok(message) => message
                .encode(buffer)
                .map_err(|error| Status::internal(error.to_string())),
            Err(Cut) => {
                let mut status = Status::cancelled("the requests were cut off");
                // hyper looks for the reason of the reset in here.
                status.set_source(Arc::new(h2::Error::from(h2::Reason::CANCEL)));
                Err(status)
            }
        }
    }
}

/// Encodes a message, leaves the answer as bytes.
struct RawAnswer<Q>(PhantomData<Q>);

impl<Q: Message + 'static> Codec for RawAnswer<Q> {
    type Encode = Q;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = RawDecoder;

    fn encoder(&mut self) -> Self {
        Self(PhantomData)
    }

    fn decoder(&mut self) -> RawDecoder {
        RawDecoder
    }
}

impl<Q: Message> Encoder for RawAnswer<Q> {
    type Item = Q;
    type Error = Status;

    fn encode(&mut self, item: Q, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        item.encode(buffer)
            .map_err(|error| Status::internal(error.to_string()))
    }
}

struct RawDecoder;

impl Decoder for RawDecoder {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}

/// How much a function may send on one stream before Firn has read it, in bytes. Replies are small
/// and come one at a time, so the HTTP/2 default is enough.
const STREAM_WINDOW: u32 = 65_535;

/// The same for all streams together. It has to hold every stream whose caller is slow, or those would
/// stop the answers of all others: ten thousand take 625 MiB.
///
/// It is larger than that for the sake of small messages. h2 ends a connection, and with it whatever goes
/// on with the function, for what its unread frames cost beside their bytes: each that is shorter than 256
/// bytes is counted with what it lacks, up to half of this. A stream that waits with its window full of
/// messages of 40 bytes is counted with 300 KiB; so 1,700 of them may wait, and two million single messages
/// where Firn stood still for a moment.
///
/// A function that means harm can make Firn hold 512 MiB of such frames. It is the user's own, beside Firn,
/// and its streams are as many as Firn opens.
const CONNECTION_WINDOW: u32 = 1 << 30;

/// A socket that tells when it is let go, and how many streams the other side bears.
struct Watched {
    stream: TcpStream,
    preface: Preface,
    streams_max: Arc<OnceLock<u32>>,
    _end: DropGuard,
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let result = Pin::new(&mut self.stream).poll_read(cx, buf);
        if let Some(limit) = self.preface.push(&buf.filled()[before..]) {
            // Set once: there is one first frame.
            let _ = self.streams_max.set(limit);
        }
        result
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
