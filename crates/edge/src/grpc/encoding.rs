//! Compression of single messages: gzip or none.

use std::io::{Read as _, Write as _};

use bytes::Bytes;
use firn_model::code::Code;
use firn_model::status::{GrpcCode, Status};
use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use http::{HeaderMap, HeaderValue};

/// What both sides may use, as the header that names it.
pub(crate) const SUPPORTED: HeaderValue = HeaderValue::from_static("identity,gzip");

/// Replies below this size are not compressed, in bytes: they fit into one packet either way.
const COMPRESS_BYTES_MIN: usize = 1024;

/// How messages are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    Identity,
    Gzip,
}

impl Encoding {
    /// The compression of a request's messages.
    ///
    /// # Errors
    /// UNIMPLEMENTED if it is not supported.
    pub(crate) fn of_request(headers: &HeaderMap) -> Result<Self, Status> {
        match headers.get("grpc-encoding").map(HeaderValue::as_bytes) {
            None | Some(b"identity") => Ok(Self::Identity),
            Some(b"gzip") => Ok(Self::Gzip),
            Some(other) => Err(Status::refused(
                GrpcCode::Unimplemented,
                Code::EncodingUnsupported,
                format!(
                    "compression {:?} is not supported: send gzip or identity",
                    String::from_utf8_lossy(other)
                ),
            )),
        }
    }

    /// The best compression of replies that the client accepts.
    pub(crate) fn accepted(headers: &HeaderMap) -> Self {
        let values = headers.get_all("grpc-accept-encoding");
        let accepts_gzip = values
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .any(|name| name.trim() == "gzip");
        match accepts_gzip {
            true => Self::Gzip,
            false => Self::Identity,
        }
    }

    /// The message of a frame whose flag says that it is compressed.
    ///
    /// # Errors
    /// INTERNAL if no compression was agreed on (the gRPC specification's choice),
    /// INVALID_ARGUMENT if it is damaged, RESOURCE_EXHAUSTED if it is larger than `bytes_max`.
    pub(crate) fn decompress(self, compressed: &[u8], bytes_max: usize) -> Result<Bytes, Status> {
        if self == Self::Identity {
            return Err(Status::refused(
                GrpcCode::Internal,
                Code::EncodingUnsupported,
                "a message is compressed, but no header grpc-encoding says how",
            ));
        }
        let mut message = Vec::new();
        // One byte more than allowed tells too large from just fitting.
        let limit = bytes_max as u64 + 1;
        let read = MultiGzDecoder::new(compressed)
            .take(limit)
            .read_to_end(&mut message);
        if read.is_err() {
            return Err(Status::refused(
                GrpcCode::InvalidArgument,
                Code::PayloadMalformed,
                "a compressed message is not valid gzip",
            ));
        }
        if message.len() > bytes_max {
            return Err(too_large(bytes_max));
        }
        Ok(Bytes::from(message))
    }

    /// The compressed form of a reply; `None` if it should be sent as it is.
    pub(crate) fn compress(self, message: &[u8]) -> Option<Bytes> {
        if self == Self::Identity || message.len() < COMPRESS_BYTES_MIN {
            return None;
        }
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(message).ok()?;
        let compressed = encoder.finish().ok()?;
        (compressed.len() < message.len()).then(|| Bytes::from(compressed))
    }
}

/// A message is above the limit of the settings.
pub(crate) fn too_large(bytes_max: usize) -> Status {
    Status::refused(
        GrpcCode::ResourceExhausted,
        Code::MessageTooLarge,
        format!("the message is larger than {bytes_max} bytes, the limit of --max-message-bytes"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_replies_survive_compression() {
        let message = b"firn ".repeat(1000);
        let compressed = Encoding::Gzip.compress(&message).unwrap();
        assert!(compressed.len() < message.len());
        let back = Encoding::Gzip.decompress(&compressed, message.len());
        assert_eq!(back.unwrap(), message);
    }

    #[test]
    fn small_and_dense_replies_are_sent_as_they_are() {
        assert_eq!(Encoding::Gzip.compress(b"short"), None);
        assert_eq!(Encoding::Identity.compress(&[0; 5000]), None);
    }

    #[test]
    fn decompression_is_bounded_and_checked() {
        let bomb = Encoding::Gzip.compress(&[0; 1 << 20]).unwrap();
        let code = |status: Status| status.firn.unwrap();
        let check = |result: Result<Bytes, Status>, expected| {
            assert_eq!(code(result.unwrap_err()), expected);
        };
        check(
            Encoding::Gzip.decompress(&bomb, 1000),
            Code::MessageTooLarge,
        );
        check(
            Encoding::Gzip.decompress(b"junk", 1000),
            Code::PayloadMalformed,
        );
        check(
            Encoding::Identity.decompress(&bomb, 1000),
            Code::EncodingUnsupported,
        );
    }
}
