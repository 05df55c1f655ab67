//! What gRPC-Web has otherwise: trailers in the body, and base64 for browsers that need text.

use std::collections::VecDeque;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::{Buf as _, Bytes, BytesMut};
use firn_model::code::Code;
use firn_model::status::{GrpcCode, Status};
use futures_util::StreamExt as _;
use http::HeaderMap;
use http_body::Frame;

use super::Wire;
use crate::body::{Body, Chunk};

/// The flag of a frame that holds trailers.
const TRAILERS: u8 = 0x80;

/// Puts a gRPC response's body into the wrapping of `wire`.
pub(super) fn wrap(body: Body, wire: Wire) -> Body {
    if wire == Wire::Grpc {
        return body;
    }
    match body {
        Body::Fixed(frames) => {
            let frames: VecDeque<_> = frames.into_iter().map(|f| wrap_frame(f, wire)).collect();
            Body::Fixed(frames)
        }
        Body::Streamed(frames) => {
            let frames = frames.map(move |frame| frame.map(|frame| wrap_frame(frame, wire)));
            Body::Streamed(frames.boxed())
        }
    }
}

fn wrap_frame(frame: Frame<Chunk>, wire: Wire) -> Frame<Chunk> {
    let chunk = match frame.into_data() {
        Ok(chunk) => chunk,
        Err(frame) => match frame.into_trailers() {
            Ok(trailers) => trailers_chunk(&trailers),
            Err(other) => return other,
        },
    };
    Frame::data(match wire {
        Wire::WebText => encoded(chunk),
        Wire::Grpc | Wire::Web => chunk,
    })
}

fn trailers_chunk(trailers: &HeaderMap) -> Chunk {
    let mut text = Vec::new();
    for (name, value) in trailers {
        text.extend_from_slice(name.as_str().as_bytes());
        text.push(b':');
        text.extend_from_slice(value.as_bytes());
        text.extend_from_slice(b"\r\n");
    }
    // Trailers are a status with a bounded text: far below the 4 GiB that a frame can hold.
    Chunk::framed(TRAILERS, Bytes::from(text)).unwrap_or_else(|| Chunk::plain(Bytes::new()))
}

/// Each frame is encoded by itself, so that the browser can read it before the next one comes.
fn encoded(mut chunk: Chunk) -> Chunk {
    let bytes = chunk.copy_to_bytes(chunk.remaining());
    Chunk::plain(Bytes::from(BASE64_STANDARD.encode(bytes)))
}

/// Decodes base64 that arrives in pieces, and that may be padded at the end of any of them.
#[derive(Debug, Default)]
pub(super) struct TextDecoder {
    /// Fewer than four characters that wait for their group.
    waiting: BytesMut,
}

impl TextDecoder {
    /// The bytes of all groups that are complete.
    ///
    /// # Errors
    /// INVALID_ARGUMENT if it is not base64.
    pub(super) fn push(&mut self, text: &[u8]) -> Result<Bytes, Status> {
        self.waiting.extend_from_slice(text);
        let complete = self.waiting.len() / 4 * 4;
        let mut text = &self.waiting.split_to(complete)[..];
        let mut bytes = Vec::with_capacity(complete / 4 * 3);
        while !text.is_empty() {
            // Up to and with the next group that is padded.
            let padded = text.iter().position(|byte| *byte == b'=');
            let end = padded.map_or(text.len(), |at| at / 4 * 4 + 4);
            let (run, rest) = text.split_at(end);
            BASE64_STANDARD
                .decode_vec(run, &mut bytes)
                .map_err(|_| malformed("the body is not base64"))?;
            text = rest;
        }
        Ok(Bytes::from(bytes))
    }

    /// Checks that the end of the body is the end of a group.
    ///
    /// # Errors
    /// INVALID_ARGUMENT if characters are left.
    pub(super) fn finish(&self) -> Result<(), Status> {
        match self.waiting.is_empty() {
            true => Ok(()),
            false => Err(malformed("the base64 of the body ends inside a group")),
        }
    }
}

fn malformed(text: &str) -> Status {
    Status::refused(GrpcCode::InvalidArgument, Code::PayloadMalformed, text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decode(text: &[u8], step: usize) -> Result<Vec<u8>, Status> {
        let mut decoder = TextDecoder::default();
        let mut bytes = Vec::new();
        for part in text.chunks(step.max(1)) {
            bytes.extend_from_slice(&decoder.push(part)?);
        }
        decoder.finish()?;
        Ok(bytes)
    }

    #[test]
    fn broken_base64_is_refused() {
        for text in ["A", "AAA", "A===", "AA=A", "@@@@", "AAAA=AAA"] {
            for step in 1..=text.len() {
                assert!(decode(text.as_bytes(), step).is_err(), "{text} by {step}");
            }
        }
    }

    proptest! {
        #[test]
        fn pieces_encoded_apart_are_read_as_one(
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 0..6),
            step in 1..30usize,
        ) {
            let text: String = pieces.iter().map(|piece| BASE64_STANDARD.encode(piece)).collect();
            prop_assert_eq!(decode(text.as_bytes(), step).unwrap(), pieces.concat());
        }

        #[test]
        fn any_text_is_read_or_refused(text in prop::collection::vec(any::<u8>(), 0..40), step in 1..9usize) {
            let _ = decode(&text, step);
        }
    }
}
