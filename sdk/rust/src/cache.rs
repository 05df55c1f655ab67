//! The incarnations that a session holds (R44).
//!
//! Idle ones form a list in the order in which they became idle; when there are too many, the head of
//! the list is let go. Busy ones are not in the list: those that Firn may keep busy are bounded by
//! the credit it was given.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use crate::component::Held;
use crate::wire;

const NONE: u32 = u32::MAX;

/// One entity in memory.
pub(crate) struct Incarnation {
    pub(crate) component: u32,
    pub(crate) entity_id: Arc<str>,
    /// None while a handler has it.
    pub(crate) held: Option<Held>,
    /// Commands that wait for the one that has it (R21).
    pub(crate) queue: VecDeque<wire::Command>,
    /// Commands that run later.
    pub(crate) running: Vec<u64>,
}

struct Slot {
    number: u64,
    incarnation: Option<Incarnation>,
    listed: bool,
    before: u32,
    after: u32,
}

/// Incarnations by their numbers.
pub(crate) struct Cache {
    slots: Vec<Slot>,
    free: Vec<u32>,
    places: HashMap<u64, u32, BuildHasherDefault<Spread>>,
    first: u32,
    last: u32,
    limit: usize,
}

impl Cache {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            places: HashMap::default(),
            first: NONE,
            last: NONE,
            limit: limit.max(1),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    /// Adds one, which counts as busy.
    pub(crate) fn insert(&mut self, number: u64, incarnation: Incarnation) {
        self.remove(number);
        let slot = Slot {
            number,
            incarnation: Some(incarnation),
            listed: false,
            before: NONE,
            after: NONE,
        };
        let place = match self.free.pop() {
            Some(place) => {
                self.slots[place as usize] = slot;
                place
            }
            None => {
                self.slots.push(slot);
                u32::try_from(self.slots.len() - 1).expect("fewer incarnations than that")
            }
        };
        self.places.insert(number, place);
    }

    pub(crate) fn get(&mut self, number: u64) -> Option<&mut Incarnation> {
        let place = *self.places.get(&number)?;
        self.slots[place as usize].incarnation.as_mut()
    }

    pub(crate) fn remove(&mut self, number: u64) -> Option<Incarnation> {
        let place = self.places.remove(&number)?;
        self.unlist(place);
        self.free.push(place);
        self.slots[place as usize].incarnation.take()
    }

    /// A command has come for it.
    pub(crate) fn busy(&mut self, number: u64) {
        if let Some(place) = self.places.get(&number).copied() {
            self.unlist(place);
        }
    }

    /// It has answered all of its commands.
    pub(crate) fn idle(&mut self, number: u64) {
        let Some(place) = self.places.get(&number).copied() else {
            return;
        };
        self.unlist(place);
        let last = self.last;
        let slot = &mut self.slots[place as usize];
        (slot.listed, slot.before, slot.after) = (true, last, NONE);
        match last {
            NONE => self.first = place,
            last => self.slots[last as usize].after = place,
        }
        self.last = place;
    }

    /// Takes out the one that has been idle longest, if there are too many.
    pub(crate) fn evict(&mut self) -> Option<u64> {
        if self.places.len() <= self.limit || self.first == NONE {
            return None;
        }
        let number = self.slots[self.first as usize].number;
        self.remove(number);
        Some(number)
    }

    fn unlist(&mut self, place: u32) {
        let slot = &mut self.slots[place as usize];
        if !std::mem::take(&mut slot.listed) {
            return;
        }
        let (before, after) = (slot.before, slot.after);
        match before {
            NONE => self.first = after,
            before => self.slots[before as usize].after = after,
        }
        match after {
            NONE => self.last = before,
            after => self.slots[after as usize].before = before,
        }
    }
}

/// A hash for numbers that Firn counts up: nobody chooses them to collide.
#[derive(Default)]
pub(crate) struct Spread(u64);

impl Hasher for Spread {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(self.0 ^ u64::from(*byte));
        }
    }

    fn write_u64(&mut self, number: u64) {
        // Fibonacci hashing: the high bits, which the table uses too, differ for neighbours.
        let spread = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        self.0 = spread ^ (spread >> 32);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn incarnation() -> Incarnation {
        Incarnation {
            component: 0,
            entity_id: "a".into(),
            held: None,
            queue: VecDeque::new(),
            running: Vec::new(),
        }
    }

    #[derive(Debug, Clone)]
    enum Op {
        Insert(u64),
        Busy(u64),
        Idle(u64),
        Remove(u64),
        Evict,
    }

    fn op() -> impl Strategy<Value = Op> {
        let number = 0..8_u64;
        prop_oneof![
            number.clone().prop_map(Op::Insert),
            number.clone().prop_map(Op::Busy),
            number.clone().prop_map(Op::Idle),
            number.prop_map(Op::Remove),
            Just(Op::Evict),
        ]
    }

    proptest! {
        /// Against a plain list of all and a plain list of the idle.
        #[test]
        fn those_idle_longest_go_first(ops in proptest::collection::vec(op(), 0..200)) {
            let mut cache = Cache::new(3);
            let (mut all, mut idle) = (Vec::new(), Vec::new());
            for op in ops {
                match op {
                    Op::Insert(number) => {
                        all.retain(|it| *it != number);
                        idle.retain(|it| *it != number);
                        all.push(number);
                        cache.insert(number, incarnation());
                    }
                    Op::Busy(number) => {
                        idle.retain(|it| *it != number);
                        cache.busy(number);
                    }
                    Op::Idle(number) => {
                        if all.contains(&number) {
                            idle.retain(|it| *it != number);
                            idle.push(number);
                        }
                        cache.idle(number);
                    }
                    Op::Remove(number) => {
                        let known = all.contains(&number);
                        all.retain(|it| *it != number);
                        idle.retain(|it| *it != number);
                        prop_assert_eq!(cache.remove(number).is_some(), known);
                    }
                    Op::Evict => {
                        let due = all.len() > 3 && !idle.is_empty();
                        let expected = due.then(|| idle.remove(0));
                        all.retain(|it| Some(*it) != expected);
                        prop_assert_eq!(cache.evict(), expected);
                    }
                }
                prop_assert_eq!(cache.len(), all.len());
            }
        }
    }
}
