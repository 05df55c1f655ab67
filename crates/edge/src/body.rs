//! Response bodies: chunks that carry their own five-byte prefix, whole bodies, and streams.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::IoSlice;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use firn_model::status::{GrpcCode, Status};
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use http::HeaderMap;
use http_body::{Body as HttpBody, Frame, SizeHint};

/// The length of the prefix of a gRPC message: one byte of flags, four of length.
pub(crate) const PREFIX_BYTES: usize = 5;

/// Bytes to send, and in front of them a gRPC prefix if there is one.
///
/// The prefix travels beside the message instead of being copied together with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Chunk {
    prefix: [u8; PREFIX_BYTES],
    /// How much of the prefix was sent; all of it if there is none.
    sent: usize,
    rest: Bytes,
}

impl Chunk {
    /// Bytes alone.
    pub(crate) fn plain(rest: Bytes) -> Self {
        Self {
            prefix: [0; PREFIX_BYTES],
            sent: PREFIX_BYTES,
            rest,
        }
    }

    /// A gRPC frame. `None` if the message is longer than the format can say.
    pub(crate) fn framed(flags: u8, message: Bytes) -> Option<Self> {
        let length = u32::try_from(message.len()).ok()?.to_be_bytes();
        Some(Self {
            prefix: [flags, length[0], length[1], length[2], length[3]],
            sent: 0,
            rest: message,
        })
    }
}

impl Buf for Chunk {
    fn remaining(&self) -> usize {
        PREFIX_BYTES - self.sent + self.rest.len()
    }

    fn chunk(&self) -> &[u8] {
        if self.sent < PREFIX_BYTES {
            &self.prefix[self.sent..]
        } else {
            &self.rest
        }
    }

    fn advance(&mut self, count: usize) {
        let of_prefix = count.min(PREFIX_BYTES - self.sent);
        self.sent += of_prefix;
        self.rest.advance(count - of_prefix);
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let parts = [&self.prefix[self.sent..], &self.rest[..]];
        let parts = parts.into_iter().filter(|part| !part.is_empty());
        let mut filled = 0;
        for (slice, part) in slices.iter_mut().zip(parts) {
            *slice = IoSlice::new(part);
            filled += 1;
        }
        filled
    }
}

/// The response cannot be completed: its stream is reset, its connection closed.
#[derive(Debug, thiserror::Error)]
#[error("the response was cut off")]
pub(crate) struct CutOff;

/// One step of a streamed body.
pub(crate) type BodyFrame = Result<Frame<Chunk>, CutOff>;

/// The body of a response.
pub(crate) enum Body {
    /// All of it is known.
    Fixed(VecDeque<Frame<Chunk>>),
    /// It comes as the backend replies.
    Streamed(BoxStream<'static, BodyFrame>),
}

impl Body {
    pub(crate) fn empty() -> Self {
        Self::Fixed(VecDeque::new())
    }

    pub(crate) fn whole(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        if bytes.is_empty() {
            return Self::empty();
        }
        Self::Fixed(VecDeque::from([Frame::data(Chunk::plain(bytes))]))
    }

    /// A chunk, then trailers.
    pub(crate) fn with_trailers(chunk: Chunk, trailers: HeaderMap) -> Self {
        Self::Fixed(VecDeque::from([
            Frame::data(chunk),
            Frame::trailers(trailers),
        ]))
    }
}

impl HttpBody for Body {
    type Data = Chunk;
    type Error = CutOff;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Chunk>, CutOff>>> {
        match self.get_mut() {
            Self::Fixed(frames) => Poll::Ready(frames.pop_front().map(Ok)),
            Self::Streamed(frames) => frames.poll_next_unpin(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Fixed(frames) if frames.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Fixed(frames) if frames.iter().all(Frame::is_data) => {
                let bytes = frames.iter().filter_map(Frame::data_ref);
                SizeHint::with_exact(bytes.map(|chunk| chunk.remaining() as u64).sum())
            }
            Self::Fixed(_) | Self::Streamed(_) => SizeHint::default(),
        }
    }
}

/// The next bytes of a request's body; `None` at its end.
///
/// # Errors
/// CANCELLED if the client broke it off.
pub(crate) async fn next_data<B>(body: &mut B) -> Result<Option<Bytes>, Status>
where
    B: HttpBody<Data = Bytes> + Unpin,
{
    loop {
        match poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await {
            None => return Ok(None),
            // Trailers say nothing that Firn needs.
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => return Ok(Some(data)),
                Err(_) => continue,
            },
            Some(Err(_)) => {
                let text = "the client broke off its request";
                return Err(Status::chosen(GrpcCode::Cancelled, text));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn framed_chunk_reads_as_prefix_and_message_however_it_is_taken() {
        let expected = [0, 0, 0, 0, 3, b'a', b'b', b'c'];
        for step in 1..=expected.len() {
            let mut chunk = Chunk::framed(0, Bytes::from_static(b"abc")).unwrap();
            let mut read = Vec::new();
            while chunk.has_remaining() {
                let taken = chunk.chunk().len().min(step);
                read.extend_from_slice(&chunk.chunk()[..taken]);
                chunk.advance(taken);
            }
            assert_eq!(read, expected, "in steps of {step}");
        }
        let mut chunk = Chunk::framed(0, Bytes::from_static(b"abc")).unwrap();
        chunk.advance(6);
        assert_eq!((chunk.chunk(), chunk.remaining()), (&b"bc"[..], 2));
    }

    #[test]
    fn vectored_chunks_hold_all_that_remains() {
        for taken in 0..=8 {
            let mut chunk = Chunk::framed(1, Bytes::from_static(b"abc")).unwrap();
            chunk.advance(taken);
            let mut slices = [IoSlice::new(&[]), IoSlice::new(&[]), IoSlice::new(&[])];
            let filled = chunk.chunks_vectored(&mut slices);
            let total: usize = slices[..filled].iter().map(|slice| slice.len()).sum();
            assert_eq!(total, chunk.remaining());
            assert!(slices[..filled].iter().all(|slice| !slice.is_empty()));
        }
    }
}
