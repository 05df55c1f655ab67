//! The overlay: rows as they will be once a batch is written, over the rows as they are.

use std::collections::BTreeMap;
use std::iter::Peekable;
use std::ops::Deref;

use bytes::Bytes;

use super::key::Key;
use crate::ReadError;

/// One row of a scan: its key and its value.
pub(crate) type Entry = Result<(Bytes, Bytes), ReadError>;

/// Who is shown rows: each row's key and its value.
pub(crate) type See<'a> = dyn FnMut(&[u8], &[u8]) -> Result<(), ReadError> + 'a;

/// Rows to read from; one view shows one state of them, whoever writes meanwhile.
pub(crate) trait View {
    /// The value of one row.
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, ReadError>;

    /// The rows from `from` up to but without `to`, in order.
    fn scan<'a>(&'a self, from: Key, to: Key) -> Box<dyn Iterator<Item = Entry> + 'a>;

    /// Shows the rows of a scan where they stand, for those who keep only parts of them; ends at
    /// the first that is refused.
    fn each(&self, from: Key, to: Key, see: &mut See<'_>) -> Result<(), ReadError> {
        for row in self.scan(from, to) {
            let (key, value) = row?;
            see(&key, &value)?;
        }
        Ok(())
    }
}

impl<P: Deref<Target: View>> View for P {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, ReadError> {
        (**self).get(key)
    }

    fn scan<'a>(&'a self, from: Key, to: Key) -> Box<dyn Iterator<Item = Entry> + 'a> {
        (**self).scan(from, to)
    }

    fn each(&self, from: Key, to: Key, see: &mut See<'_>) -> Result<(), ReadError> {
        (**self).each(from, to, see)
    }
}

/// Puts and deletes that are not written yet; a deleted row is `None`.
pub(crate) type Changes = BTreeMap<Key, Option<Bytes>>;

/// Changes over the rows that they will be written to. Reading sees both.
pub(crate) struct Overlay<'a> {
    base: &'a dyn View,
    changes: Changes,
}

impl<'a> Overlay<'a> {
    /// No changes yet.
    pub(crate) fn over(base: &'a dyn View) -> Self {
        Self {
            base,
            changes: Changes::new(),
        }
    }

    /// Sets a row.
    pub(crate) fn put(&mut self, key: Key, value: impl Into<Bytes>) {
        self.changes.insert(key, Some(value.into()));
    }

    /// Removes a row.
    pub(crate) fn delete(&mut self, key: Key) {
        self.changes.insert(key, None);
    }

    /// What is to be written.
    pub(crate) fn into_changes(self) -> Changes {
        self.changes
    }
}

impl View for Overlay<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, ReadError> {
        match self.changes.get(key) {
            Some(change) => Ok(change.clone()),
            None => self.base.get(key),
        }
    }

    fn scan<'a>(&'a self, from: Key, to: Key) -> Box<dyn Iterator<Item = Entry> + 'a> {
        let changes: Vec<_> = self
            .changes
            .range(from.clone()..to.clone())
            .map(|(key, change)| (Bytes::copy_from_slice(key), change.clone()))
            .collect();
        Box::new(Merged {
            changes: changes.into_iter().peekable(),
            base: self.base.scan(from, to).peekable(),
        })
    }
}

/// Two sorted runs as one; where both have a key, the change wins.
struct Merged<Changed: Iterator, Base: Iterator> {
    changes: Peekable<Changed>,
    base: Peekable<Base>,
}

impl<Changed, Base> Iterator for Merged<Changed, Base>
where
    Changed: Iterator<Item = (Bytes, Option<Bytes>)>,
    Base: Iterator<Item = Entry>,
{
    type Item = Entry;

    fn next(&mut self) -> Option<Entry> {
        loop {
            let Some((changed, _)) = self.changes.peek() else {
                return self.base.next();
            };
            match self.base.peek() {
                Some(Ok((key, _))) if key < changed => return self.base.next(),
                Some(Ok((key, _))) if key == changed => drop(self.base.next()),
                Some(Err(_)) => return self.base.next(),
                _ => {}
            }
            if let Some((key, Some(value))) = self.changes.next() {
                return Some(Ok((key, value)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::Table;

    #[test]
    fn a_scan_shows_the_rows_as_they_will_be() {
        let mut table = Table::default();
        table.write([1u8, 3, 5, 7].map(|key| (vec![key], Some(Bytes::from(vec![key])))));
        let mut overlay = Overlay::over(&table);
        overlay.put(vec![2], vec![20]);
        overlay.put(vec![3], vec![30]);
        overlay.delete(vec![5]);
        overlay.delete(vec![6]);
        overlay.put(vec![8], vec![80]);
        let rows: Vec<(u8, u8)> = overlay
            .scan(vec![1], vec![9])
            .map(|row| row.map(|(key, value)| (key[0], value[0])).unwrap())
            .collect();
        assert_eq!(rows, [(1, 1), (2, 20), (3, 30), (7, 7), (8, 80)]);
        assert_eq!(overlay.get(&[5]), Ok(None));
        assert_eq!(overlay.get(&[7]), Ok(Some(Bytes::from(vec![7]))));
    }
}
