//! Messages out of a request's body: five bytes of prefix, then the message, again and again.
//!
//! A message that arrives in one piece is handed on as a part of it, without a copy; one that
//! arrives in several is copied once. Memory is taken as bytes arrive, not as the prefix promises.

use bytes::{Buf as _, Bytes, BytesMut};
use firn_model::code::Code;
use firn_model::status::{GrpcCode, Status};
use futures_util::stream::{self, Stream};
use http_body::Body as HttpBody;

use super::Wire;
use super::encoding::{Encoding, too_large};
use super::web::TextDecoder;
use crate::body::{PREFIX_BYTES, next_data};

/// The flag of a compressed message.
const COMPRESSED: u8 = 1;

/// Reads messages from a body.
pub(crate) struct Frames<B> {
    body: B,
    /// What was received and not yet used.
    received: Bytes,
    encoding: Encoding,
    /// Set if the body is base64.
    text: Option<TextDecoder>,
    bytes_max: usize,
}

impl<B> Frames<B>
where
    B: HttpBody<Data = Bytes> + Unpin,
{
    pub(crate) fn new(body: B, wire: Wire, encoding: Encoding, bytes_max: usize) -> Self {
        Self {
            body,
            received: Bytes::new(),
            encoding,
            text: (wire == Wire::WebText).then(TextDecoder::default),
            bytes_max,
        }
    }

    /// The next message; `None` after the last.
    ///
    /// # Errors
    /// The client broke off, or sent what is no message or too large a one.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, Status> {
        let Some((flags, length)) = self.prefix().await? else {
            return Ok(None);
        };
        if length > self.bytes_max {
            return Err(too_large(self.bytes_max));
        }
        let message = self.take(length).await?;
        match flags {
            0 => Ok(Some(message)),
            COMPRESSED => self.encoding.decompress(&message, self.bytes_max).map(Some),
            _ => Err(malformed(&format!(
                "a message has the unknown flags {flags:#04x}"
            ))),
        }
    }

    /// The one message of a method that does not stream.
    ///
    /// # Errors
    /// As [`Self::next`], and INVALID_ARGUMENT if there is none or more than one.
    pub(crate) async fn only(&mut self) -> Result<Bytes, Status> {
        let message = self.next().await?;
        let message = message.ok_or_else(|| malformed("the request holds no message"))?;
        match self.prefix().await? {
            None => Ok(message),
            Some(_) => Err(malformed("the request holds more than one message")),
        }
    }

    /// The messages as a stream that ends after the first error.
    pub(crate) fn into_stream(self) -> impl Stream<Item = Result<Bytes, Status>> + use<B> {
        stream::unfold(Some(self), |frames| async {
            let mut frames = frames?;
            match frames.next().await {
                Ok(Some(message)) => Some((Ok(message), Some(frames))),
                Ok(None) => None,
                Err(status) => Some((Err(status), None)),
            }
        })
    }

    /// The flags and the length of the next message.
    async fn prefix(&mut self) -> Result<Option<(u8, usize)>, Status> {
        while self.received.is_empty() {
            if !self.receive().await? {
                return Ok(None);
            }
        }
        let mut prefix = self.take(PREFIX_BYTES).await?;
        let flags = prefix.get_u8();
        // Fits: `usize` has at least 32 bits on every platform that tokio runs on.
        Ok(Some((flags, prefix.get_u32() as usize)))
    }

    /// Takes exactly `length` bytes.
    async fn take(&mut self, length: usize) -> Result<Bytes, Status> {
        if self.received.len() >= length {
            return Ok(self.received.split_to(length));
        }
        let mut parts = Vec::new();
        let mut missing = length;
        loop {
            let part = self.received.split_to(missing.min(self.received.len()));
            missing -= part.len();
            parts.push(part);
            if missing == 0 {
                break;
            }
            if !self.receive().await? {
                return Err(malformed("the body ends inside a message"));
            }
        }
        let mut whole = BytesMut::with_capacity(length);
        for part in parts {
            whole.extend_from_slice(&part);
        }
        Ok(whole.freeze())
    }

    /// Receives more bytes once all were used; `false` at the end of the body.
    async fn receive(&mut self) -> Result<bool, Status> {
        match (next_data(&mut self.body).await?, &mut self.text) {
            (Some(data), None) => self.received = data,
            (Some(data), Some(text)) => self.received = text.push(&data)?,
            (None, None) => return Ok(false),
            (None, Some(text)) => return text.finish().map(|()| false),
        }
        Ok(true)
    }
}

fn malformed(text: &str) -> Status {
    Status::refused(GrpcCode::InvalidArgument, Code::PayloadMalformed, text)
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::convert::Infallible;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use futures_util::FutureExt as _;
    use http_body::Frame;
    use proptest::prelude::*;

    use super::*;

    struct Parts(VecDeque<Bytes>);

    impl HttpBody for Parts {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            Poll::Ready(self.0.pop_front().map(|part| Ok(Frame::data(part))))
        }
    }

    fn frame(flags: u8, message: &[u8]) -> Vec<u8> {
        let mut frame = vec![flags];
        frame.extend((message.len() as u32).to_be_bytes());
        frame.extend(message);
        frame
    }

    fn frames(bytes: &[u8], part_bytes: usize) -> Frames<Parts> {
        let parts = bytes.chunks(part_bytes.max(1));
        let parts = parts.map(Bytes::copy_from_slice).collect();
        Frames::new(Parts(parts), Wire::Grpc, Encoding::Gzip, 100)
    }

    fn only(bytes: &[u8]) -> Result<Bytes, Option<Code>> {
        let result = frames(bytes, bytes.len()).only().now_or_never().unwrap();
        result.map_err(|status| status.firn)
    }

    #[test]
    fn one_message_is_read_and_everything_else_refused() {
        let check = |bytes: &[u8], expected: Result<&'static [u8], Code>| {
            let expected = expected.map(Bytes::from_static).map_err(Some);
            assert_eq!(only(bytes), expected, "{bytes:?}");
        };
        check(&frame(0, b"abc"), Ok(b"abc"));
        check(&frame(0, b""), Ok(b""));
        check(b"", Err(Code::PayloadMalformed));
        check(&[0, 0], Err(Code::PayloadMalformed));
        check(&frame(0, b"abc")[..7], Err(Code::PayloadMalformed));
        check(&frame(2, b"abc"), Err(Code::PayloadMalformed));
        check(&frame(1, b"abc"), Err(Code::PayloadMalformed));
        check(
            &[frame(0, b"a"), frame(0, b"b")].concat(),
            Err(Code::PayloadMalformed),
        );
        check(&frame(0, &[0; 101]), Err(Code::MessageTooLarge));
        check(&[0, 255, 255, 255, 255], Err(Code::MessageTooLarge));
    }

    #[test]
    fn message_in_one_piece_is_not_copied() {
        let bytes = Bytes::from(frame(0, b"abc"));
        let parts = VecDeque::from([bytes.clone()]);
        let mut frames = Frames::new(Parts(parts), Wire::Grpc, Encoding::Identity, 100);
        let message = frames.only().now_or_never().unwrap().unwrap();
        assert_eq!(message.as_ptr(), bytes[PREFIX_BYTES..].as_ptr());
    }

    proptest! {
        #[test]
        fn messages_are_the_same_however_they_are_cut(
            messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..6),
            part_bytes in 1..60usize,
        ) {
            let bytes: Vec<u8> = messages.iter().flat_map(|message| frame(0, message)).collect();
            let mut frames = frames(&bytes, part_bytes);
            let mut read = Vec::new();
            while let Some(message) = frames.next().now_or_never().unwrap().unwrap() {
                read.push(message.to_vec());
            }
            prop_assert_eq!(read, messages);
        }

        #[test]
        fn any_bytes_are_read_or_refused(
            bytes in prop::collection::vec(any::<u8>(), 0..200),
            part_bytes in 1..60usize,
        ) {
            let mut frames = frames(&bytes, part_bytes);
            while let Ok(Some(_)) = frames.next().now_or_never().unwrap() {}
        }
    }
}
