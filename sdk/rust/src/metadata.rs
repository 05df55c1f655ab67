//! Headers of requests and replies.

use bytes::Bytes;

use crate::wire;
use crate::wire::metadata::{Entry, entry::Value};

/// Headers of a request or reply, in order. Names are in lower case; those that end with `-bin`
/// have bytes.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Metadata {
    entries: Vec<Entry>,
}

impl Metadata {
    /// The first text under a name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.get_all(name).next()
    }

    /// Every text under a name, in order.
    pub fn get_all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.values(name).filter_map(|value| match value {
            Value::Text(text) => Some(text.as_str()),
            Value::Binary(_) => None,
        })
    }

    /// All bytes under a name, in order.
    pub fn get_all_bytes(&self, name: &str) -> impl Iterator<Item = &Bytes> {
        self.values(name).filter_map(|value| match value {
            Value::Binary(bytes) => Some(bytes),
            Value::Text(_) => None,
        })
    }

    /// The names, in order, as often as they are there.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|entry| entry.key.as_str())
    }

    /// Adds a text.
    pub fn add(&mut self, name: &str, text: impl Into<String>) {
        self.push(name, Value::Text(text.into()));
    }

    /// Adds bytes, under a name that ends with `-bin`.
    pub fn add_bytes(&mut self, name: &str, bytes: impl Into<Bytes>) {
        self.push(name, Value::Binary(bytes.into()));
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn push(&mut self, name: &str, value: Value) {
        self.entries.push(Entry {
            key: name.to_ascii_lowercase(),
            value: Some(value),
        });
    }

    fn values(&self, name: &str) -> impl Iterator<Item = &Value> {
        self.entries
            .iter()
            .filter(move |entry| entry.key.eq_ignore_ascii_case(name))
            .filter_map(|entry| entry.value.as_ref())
    }

    /// The message; none if there is nothing to say.
    pub(crate) fn into_wire(self) -> Option<wire::Metadata> {
        let entries = self.entries;
        (!entries.is_empty()).then_some(wire::Metadata { entries })
    }

    pub(crate) fn from_wire(metadata: Option<wire::Metadata>) -> Self {
        Self {
            entries: metadata.unwrap_or_default().entries,
        }
    }
}
