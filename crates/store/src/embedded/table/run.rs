//! A run: rows in memory, in the order of their keys, that no longer change.
//!
//! Every write makes a run. [`gathered`] makes one run of several now and then, so that a lookup has
//! few of them to search, and each row is moved a few times on its way into a file instead of being
//! put into its place among all others: what is next to each other in a run lies next to each other in
//! memory, and a processor's cache has it.
//!
//! # Invariants
//! - A run has each key once; of runs that have the same one, the newer's row counts.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::hash::Hasher as _;
use std::sync::Arc;

use rustc_hash::FxHasher;

use crate::rows::overlay::Changes;

/// How many runs of the same rank become one.
const GATHERED: usize = 8;

/// The most that becomes one run, in bytes: few milliseconds of copying.
const GATHERED_BYTES_MAX: usize = 2 * 1024 * 1024;

/// The length of a value that is not there: its row is removed.
const REMOVED: u32 = u32::MAX;

/// Bits of a filter for each row: about one in a hundred lookups of what is not there searches.
const FILTER_BITS: usize = 10;

/// A row that is there, or is removed, in memory of somebody else.
pub(super) type Fresh<'a> = (&'a [u8], Option<&'a [u8]>);

/// Rows in the order of their keys.
pub(super) struct Run {
    /// Keys and values, one row behind the other.
    bytes: Vec<u8>,
    places: Vec<Place>,
    filter: Filter,
    /// How often its rows became part of a larger run.
    rank: u8,
}

/// Where a row is.
struct Place {
    at: usize,
    key: u32,
    value: u32,
    hash: u32,
}

impl Run {
    /// The run of one write.
    pub(super) fn of(changes: &Changes) -> Self {
        let rows = changes
            .iter()
            .map(|(key, value)| (&key[..], value.as_deref(), hash(key)));
        let bytes = changes
            .iter()
            .map(|(key, value)| key.len() + value.as_ref().map_or(0, |value| value.len()));
        Self::filled(rows, (changes.len(), bytes.sum()), 0)
    }

    /// One run of several that follow each other, the oldest first.
    fn merged(runs: &[Arc<Self>]) -> Self {
        let count = runs.iter().map(|run| run.places.len()).sum();
        let bytes = runs.iter().map(|run| run.bytes.len()).sum();
        let rank = runs.iter().map(|run| run.rank + 1).max();
        let rows = Newest::of(runs, &[], None).with_hashes();
        Self::filled(rows, (count, bytes), rank.unwrap_or(0))
    }

    fn filled<'a>(
        rows: impl Iterator<Item = (&'a [u8], Option<&'a [u8]>, u32)>,
        (count, bytes): (usize, usize),
        rank: u8,
    ) -> Self {
        let mut run = Self {
            bytes: Vec::with_capacity(bytes),
            places: Vec::with_capacity(count),
            filter: Filter::for_rows(count),
            rank,
        };
        for (key, value, hash) in rows {
            run.places.push(Place {
                at: run.bytes.len(),
                key: length(key),
                value: value.map_or(REMOVED, length),
                hash,
            });
            run.filter.add(hash);
            run.bytes.extend_from_slice(key);
            run.bytes.extend_from_slice(value.unwrap_or_default());
        }
        // Of rows that were written over and over little is left.
        if run.bytes.len() < bytes / 8 * 7 {
            run.bytes.shrink_to_fit();
            run.places.shrink_to_fit();
        }
        run
    }

    pub(super) fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// How much memory it takes, in bytes.
    pub(super) fn size(&self) -> usize {
        let places = self.places.capacity() * size_of::<Place>();
        self.bytes.capacity() + places + size_of_val(&self.filter.bits[..])
    }

    /// What it says of a key: nothing, or that it is removed, or its value.
    pub(super) fn get(&self, key: &[u8], hash: u32) -> Option<Option<&[u8]>> {
        if !self.filter.may_have(hash) {
            return None;
        }
        let found = self
            .places
            .binary_search_by(|place| self.key(place).cmp(key));
        found.ok().map(|index| self.value(&self.places[index]))
    }

    fn key(&self, place: &Place) -> &[u8] {
        &self.bytes[place.at..][..place.key as usize]
    }

    fn value(&self, place: &Place) -> Option<&[u8]> {
        let at = place.at + place.key as usize;
        (place.value != REMOVED).then(|| &self.bytes[at..][..place.value as usize])
    }
}

/// The hash by which [`Run::get`] looks for a key.
pub(super) fn hash(key: &[u8]) -> u32 {
    let mut hasher = FxHasher::default();
    hasher.write(key);
    (hasher.finish() >> 32) as u32
}

/// # Panics
/// Keys are shorter by far, and no commit has as much.
fn length(bytes: &[u8]) -> u32 {
    match u32::try_from(bytes.len()) {
        Ok(length) if length < REMOVED => length,
        _ => panic!("a row has less than 4 GiB"),
    }
}

/// Makes one run of the last ones as often as there are enough of the same rank.
pub(super) fn gathered(mut runs: Vec<Arc<Run>>) -> Vec<Arc<Run>> {
    while let Some(from) = runs.len().checked_sub(GATHERED) {
        let last = &runs[from..];
        let is_alike = last.iter().all(|run| run.rank == last[0].rank);
        let bytes: usize = last.iter().map(|run| run.bytes.len()).sum();
        if !is_alike || bytes > GATHERED_BYTES_MAX {
            break;
        }
        let merged = Run::merged(last);
        runs.truncate(from);
        runs.push(Arc::new(merged));
    }
    runs
}

/// Which keys a run may have (a Bloom filter with two bits for a key).
struct Filter {
    /// A power of two of them.
    bits: Vec<u64>,
}

impl Filter {
    fn for_rows(count: usize) -> Self {
        let words = (count * FILTER_BITS).div_ceil(64).next_power_of_two();
        Self {
            bits: vec![0; words],
        }
    }

    fn add(&mut self, hash: u32) {
        for bit in self.bits_of(hash) {
            self.bits[bit / 64] |= 1 << (bit % 64);
        }
    }

    fn may_have(&self, hash: u32) -> bool {
        self.bits_of(hash)
            .iter()
            .all(|bit| self.bits[bit / 64] & (1 << (bit % 64)) != 0)
    }

    fn bits_of(&self, hash: u32) -> [usize; 2] {
        let mask = self.bits.len() * 64 - 1;
        // Another one that is as good, by Fibonacci hashing.
        let other = hash.wrapping_mul(0x9E37_79B9).rotate_left(15);
        [hash as usize & mask, other as usize & mask]
    }
}

/// The rows of several runs in the order of their keys, of each key the newest.
pub(super) struct Newest<'a> {
    heads: BinaryHeap<Head<'a>>,
}

/// What is left of one run.
struct Head<'a> {
    /// The key of the first place.
    key: &'a [u8],
    /// The higher the newer.
    age: usize,
    run: &'a Run,
    places: &'a [Place],
}

impl<'a> Newest<'a> {
    /// The rows from `from` up to but without `to`, of runs of which the oldest is the first.
    pub(super) fn of(runs: &'a [Arc<Run>], from: &[u8], to: Option<&[u8]>) -> Self {
        let heads = runs.iter().enumerate().filter_map(|(age, run)| {
            let below = |bound| run.places.partition_point(|place| run.key(place) < bound);
            let end = to.map_or(run.places.len(), below);
            let places = run.places.get(below(from)..end)?;
            Some(Head {
                key: run.key(places.first()?),
                age,
                run,
                places,
            })
        });
        Self {
            heads: heads.collect(),
        }
    }

    fn with_hashes(mut self) -> impl Iterator<Item = (&'a [u8], Option<&'a [u8]>, u32)> {
        std::iter::from_fn(move || {
            let (run, place) = self.next_place()?;
            Some((run.key(place), run.value(place), place.hash))
        })
    }

    fn next_place(&mut self) -> Option<(&'a Run, &'a Place)> {
        let head = self.heads.peek_mut()?;
        let (key, run, place) = (head.key, head.run, head.places.first()?);
        advance(head);
        while let Some(older) = self.heads.peek_mut()
            && older.key == key
        {
            advance(older);
        }
        Some((run, place))
    }
}

impl<'a> Iterator for Newest<'a> {
    type Item = Fresh<'a>;

    fn next(&mut self) -> Option<Fresh<'a>> {
        let (run, place) = self.next_place()?;
        Some((run.key(place), run.value(place)))
    }
}

/// Goes on to the next row of a run.
fn advance(mut head: PeekMut<'_, Head<'_>>) {
    let places = head.places.get(1..).unwrap_or_default();
    match places.first() {
        Some(first) => {
            head.key = head.run.key(first);
            head.places = places;
        }
        None => drop(PeekMut::pop(head)),
    }
}

impl Ord for Head<'_> {
    /// The greatest is the next one: of the lowest key the newest.
    fn cmp(&self, other: &Self) -> Ordering {
        let keys = other.key.cmp(self.key);
        keys.then_with(|| self.age.cmp(&other.age))
    }
}

impl PartialOrd for Head<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Head<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Head<'_> {}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use bytes::Bytes;
    use proptest::collection::{btree_map, vec};
    use proptest::option;
    use proptest::prelude::*;

    use super::*;

    fn key() -> impl Strategy<Value = Vec<u8>> {
        vec(0u8..4, 0..4)
    }

    fn writes() -> impl Strategy<Value = Vec<Changes>> {
        let value = option::of(vec(any::<u8>(), 0..5).prop_map(Bytes::from));
        vec(btree_map(key(), value, 0..20), 0..40)
    }

    proptest! {
        /// However runs were gathered, they are the writes, one over the other.
        #[test]
        fn runs_are_what_was_written(writes in writes(), from in key(), to in option::of(key())) {
            let mut runs = Vec::new();
            let mut expected = BTreeMap::new();
            for changes in writes {
                runs.push(Arc::new(Run::of(&changes)));
                runs = gathered(runs);
                expected.extend(changes);
            }
            for (key, value) in &expected {
                let hash = hash(key);
                let found = runs.iter().rev().find_map(|run| run.get(key, hash));
                prop_assert_eq!(found, Some(value.as_deref()));
            }
            let found: Vec<Fresh<'_>> = Newest::of(&runs, &from, to.as_deref()).collect();
            let expected: Vec<_> = expected
                .iter()
                .filter(|(key, _)| **key >= from && to.as_ref().is_none_or(|to| *key < to))
                .map(|(key, value)| (&key[..], value.as_deref()))
                .collect();
            prop_assert_eq!(found, expected);
        }
    }

    fn numbered(numbers: impl Iterator<Item = u32>, value_bytes: usize) -> Arc<Run> {
        let row = |number: u32| {
            (
                number.to_be_bytes().to_vec(),
                Some(vec![0; value_bytes].into()),
            )
        };
        Arc::new(Run::of(&numbers.map(row).collect()))
    }

    #[test]
    fn few_runs_are_left_of_many_writes() {
        let mut runs = Vec::new();
        for number in 0..1_000 {
            runs.push(numbered(std::iter::once(number), 10));
            runs = gathered(runs);
        }
        // 1,000 is 1750 in the octal system.
        assert_eq!(runs.len(), 1 + 7 + 5);
        assert_eq!(Newest::of(&runs, &[], None).count(), 1_000);
    }

    #[test]
    fn rows_that_were_written_over_take_no_memory() {
        let mut runs = Vec::new();
        for _ in 0..1_000 {
            runs.push(numbered(0..20, 500));
            runs = gathered(runs);
        }
        let sizes: Vec<usize> = runs.iter().map(|run| run.size()).collect();
        assert!(sizes.iter().all(|size| *size <= 2 * sizes[sizes.len() - 1]));
    }

    #[test]
    fn large_runs_are_left_alone() {
        let mut runs = Vec::new();
        for number in 0..20 {
            runs.push(numbered(std::iter::once(number), GATHERED_BYTES_MAX));
            runs = gathered(runs);
        }
        assert_eq!(runs.len(), 20);
    }

    #[test]
    fn a_run_is_rarely_searched_for_what_it_has_not() {
        let run = numbered(0..10_000, 1);
        let others = 10_000u32..20_000;
        let searched = others.filter(|number| {
            let key = number.to_be_bytes();
            assert_eq!(run.get(&key, hash(&key)), None);
            run.filter.may_have(hash(&key))
        });
        assert!(searched.count() < 600, "about three in a hundred");
    }
}
