//! Elements: the members of sets, the keys of maps and the values of registers.

use std::fmt;

use bytestring::ByteString;
use firn_model::payload::Payload;

/// A payload in one allocation, compared bytewise: the length of its type URL (a varint), the type
/// URL, the value.
///
/// Sets of a million elements are why: a [`Payload`] is 64 bytes before its own.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Element(Box<[u8]>);

impl Element {
    pub(crate) fn new(type_url: &str, value: &[u8]) -> Self {
        let mut bytes =
            Vec::with_capacity(varint_len(type_url.len()) + type_url.len() + value.len());
        let mut rest = type_url.len();
        while rest >= 0x80 {
            bytes.push(rest as u8 | 0x80);
            rest >>= 7;
        }
        bytes.push(rest as u8);
        bytes.extend_from_slice(type_url.as_bytes());
        bytes.extend_from_slice(value);
        Self(bytes.into())
    }

    pub(crate) fn type_url(&self) -> &str {
        let (start, end) = self.type_url_range();
        std::str::from_utf8(&self.0[start..end]).expect("it was made of text")
    }

    pub(crate) fn value(&self) -> &[u8] {
        &self.0[self.type_url_range().1..]
    }

    pub(crate) fn payload(&self) -> Payload {
        Payload::new(ByteString::from(self.type_url()), self.value().to_vec())
    }

    fn type_url_range(&self) -> (usize, usize) {
        let (mut length, mut start) = (0, 0);
        loop {
            let byte = self.0[start];
            length |= usize::from(byte & 0x7f) << (7 * start);
            start += 1;
            if byte < 0x80 {
                return (start, start + length);
            }
        }
    }
}

impl From<&Payload> for Element {
    fn from(payload: &Payload) -> Self {
        Self::new(&payload.type_url, &payload.bytes)
    }
}

impl fmt::Debug for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{:02x?}", self.type_url(), self.value())
    }
}

/// How many bytes a number takes, seven bits in each.
fn varint_len(number: usize) -> usize {
    (number | 1).ilog2() as usize / 7 + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_keep_their_parts() {
        for url_len in [0, 1, 127, 128, 300, 20_000] {
            let (url, value) = ("u".repeat(url_len), b"value");
            let element = Element::new(&url, value);
            assert_eq!(element.type_url(), url);
            assert_eq!(element.value(), value);
            assert_eq!(Element::from(&element.payload()), element);
            assert_eq!(element.0.len(), varint_len(url_len) + url_len + value.len());
        }
    }
}
