//! How ordered rows and records of a log are sealed.
//!
//! The values of rows that hold what functions have said are sealed, each bound to its whole key;
//! rows that only lead to others are not, and no key is. A record of the log is sealed as a whole.

use bytes::Bytes;

use super::{Keys, is_sealed};
use crate::ReadError;
use crate::embedded::table::{SealedTable, Table};
use crate::encoding::Fault;
use crate::rows::key::{Key, Space};
use crate::rows::value::damaged;
use crate::rows::{Entry, See, View};

use std::sync::Arc;

/// What rows are bound to, besides their key; part of the stored format.
const ROW: &[u8] = b"row";

/// What records of the log are bound to, besides number and kind; part of the stored format.
const RECORD: &[u8] = b"log";

/// Whether and how a store seals.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seals {
    keys: Option<Arc<Keys>>,
    takes_plain: bool,
}

impl Seals {
    /// A store that seals everything, or nothing.
    pub(crate) fn new(keys: Option<Arc<Keys>>) -> Self {
        Self {
            keys,
            takes_plain: false,
        }
    }

    /// A store on the way from plain to sealed: reads both.
    pub(crate) fn beginning(keys: Arc<Keys>) -> Self {
        Self {
            keys: Some(keys),
            takes_plain: true,
        }
    }

    /// A table that seals what is written into another.
    pub(crate) fn table(&self, stored: Arc<dyn Table>) -> Arc<dyn Table> {
        match &self.keys {
            Some(_) => Arc::new(SealedTable {
                stored,
                seals: self.clone(),
            }),
            None => stored,
        }
    }

    /// The stored value of a row.
    pub(crate) fn seal_row(&self, key: &[u8], value: Bytes) -> Bytes {
        match &self.keys {
            Some(keys) if has_contents(key) => keys.seal(&[ROW, key].concat(), &value),
            _ => value,
        }
    }

    /// The value of a row as it was before it was stored.
    pub(crate) fn open_row(&self, key: &[u8], value: Bytes) -> Result<Bytes, ReadError> {
        let Some(keys) = self.keys_of(key, &value) else {
            return Ok(value);
        };
        keys.open(&[ROW, key].concat(), &value)
            .map_err(|error| damaged(key, &error))
    }

    /// Shows the values of rows as they were before they were stored.
    fn see<'a>(
        &'a self,
        see: &'a mut See<'_>,
    ) -> impl FnMut(&[u8], &[u8]) -> Result<(), ReadError> + 'a {
        // Of one row after the other.
        let (mut bound_to, mut plain) = (Vec::new(), Vec::new());
        move |key, value| {
            let Some(keys) = self.keys_of(key, value) else {
                return see(key, value);
            };
            bound_to.clear();
            bound_to.extend_from_slice(ROW);
            bound_to.extend_from_slice(key);
            keys.open_into(&bound_to, value, &mut plain)
                .map_err(|error| damaged(key, &error))?;
            see(key, &plain)
        }
    }

    /// The keys, if the value of this row is sealed with one of them.
    fn keys_of(&self, key: &[u8], value: &[u8]) -> Option<&Keys> {
        let keys = self.keys.as_ref().filter(|_| has_contents(key))?;
        (!self.takes_plain || is_sealed(value)).then_some(keys)
    }

    /// Appends the stored form of a record that `write` appends.
    pub(crate) fn seal_record(
        &self,
        (number, kind): (u64, u8),
        bytes: &mut Vec<u8>,
        write: impl FnOnce(&mut Vec<u8>),
    ) {
        match &self.keys {
            Some(keys) => keys.seal_into(&record(number, kind), bytes, write),
            None => write(bytes),
        }
    }

    /// A record as it was before it was stored.
    pub(crate) fn open_record(
        &self,
        (number, kind): (u64, u8),
        payload: Bytes,
    ) -> Result<Bytes, Fault> {
        let Some(keys) = &self.keys else {
            return Ok(payload);
        };
        if self.takes_plain && !is_sealed(&payload) {
            return Ok(payload);
        }
        keys.open(&record(number, kind), &payload)
            .map_err(Fault::Sealed)
    }
}

/// Rows as they were before they were stored.
pub(crate) struct Opened<V> {
    pub(crate) stored: V,
    pub(crate) seals: Seals,
}

impl<V: View> View for Opened<V> {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, ReadError> {
        let value = self.stored.get(key)?;
        value
            .map(|value| self.seals.open_row(key, value))
            .transpose()
    }

    fn scan<'a>(&'a self, from: Key, to: Key) -> Box<dyn Iterator<Item = Entry> + 'a> {
        Box::new(self.stored.scan(from, to).map(|row| {
            let (key, value) = row?;
            let value = self.seals.open_row(&key, value)?;
            Ok((key, value))
        }))
    }

    fn each(&self, from: Key, to: Key, see: &mut See<'_>) -> Result<(), ReadError> {
        self.stored.each(from, to, &mut self.seals.see(see))
    }
}

/// Whether the row with this key holds what functions have said.
fn has_contents(key: &[u8]) -> bool {
    const SPACES: [Space; 7] = [
        Space::State,
        Space::Snapshot,
        Space::Event,
        Space::Reply,
        Space::Outbox,
        Space::ReplicaState,
        Space::Timer,
    ];
    let is_of = |space: Space| key.first() == Some(&(space as u8));
    SPACES.into_iter().any(is_of)
}

fn record(number: u64, kind: u8) -> Vec<u8> {
    [RECORD, &number.to_be_bytes(), &[kind]].concat()
}
