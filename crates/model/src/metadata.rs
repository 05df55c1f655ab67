//! Headers of a call: an ordered list in which keys may repeat and compare without case.

use bytes::Bytes;
use bytestring::ByteString;

/// The value of one header: text, or bytes for gRPC's `-bin` headers.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Value {
    /// A text header.
    Text(ByteString),
    /// A binary header, decoded.
    Binary(Bytes),
}

/// One header.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Entry {
    /// The key as it came; compared without case.
    pub key: ByteString,
    /// Its value.
    pub value: Value,
}

/// Headers in the order they came.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Metadata {
    /// The headers, duplicates kept.
    pub entries: Vec<Entry>,
}

impl Metadata {
    /// Adds a text header at the end.
    pub fn push_text(&mut self, key: impl Into<ByteString>, value: impl Into<ByteString>) {
        self.entries.push(Entry {
            key: key.into(),
            value: Value::Text(value.into()),
        });
    }

    /// The first text value of `key`, compared without case.
    pub fn text(&self, key: &str) -> Option<&str> {
        self.entries.iter().find_map(|entry| match &entry.value {
            Value::Text(text) if entry.key.eq_ignore_ascii_case(key) => Some(&**text),
            _ => None,
        })
    }

    /// The headers whose keys are in `allowed`, compared without case.
    pub fn only(&self, allowed: &[String]) -> Self {
        let entries = self
            .entries
            .iter()
            .filter(|entry| {
                allowed
                    .iter()
                    .any(|key| entry.key.eq_ignore_ascii_case(key))
            })
            .cloned()
            .collect();
        Self { entries }
    }

    /// Whether there are no headers.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_compare_without_case_and_keep_their_order() {
        let mut metadata = Metadata::default();
        metadata.push_text("X-One", "1");
        metadata.push_text("other", "2");
        metadata.push_text("x-one", "3");
        assert_eq!(metadata.text("x-ONE"), Some("1"));
        let only = metadata.only(&["x-one".into()]);
        assert_eq!(only.entries.len(), 2);
        assert_eq!(only.text("other"), None);
    }
}
