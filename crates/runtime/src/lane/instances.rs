//! The instances in memory: where each is, which entity it is of, and which has been idle longest.
//!
//! # How it works
//! Instances lie in one slab. The table that finds them by their entity holds places in it and
//! nothing else, as an instance knows its own key. Those that became idle stand in a line, whose links
//! are in the instances: one that becomes idle again goes to the end. One that is busy meanwhile keeps
//! its place until it is at the head, and leaves the line then.

use std::hash::{BuildHasher, RandomState};
use std::ops::{Index, IndexMut};

use firn_model::id::StorageName;
use hashbrown::HashTable;
use slab::Slab;

use super::instance::Instance;

/// Instances, by place and by entity.
#[derive(Debug)]
pub(super) struct Instances<R> {
    all: Slab<Instance<R>>,
    by_key: HashTable<u32>,
    /// Ids are chosen by clients, so what falls together in the table is not for them to choose.
    hasher: RandomState,
    /// The instance that became idle first, and the one that did last.
    first: u32,
    last: u32,
}

/// The neighbours of an instance in the line of those that became idle.
#[derive(Debug, Clone, Copy)]
pub(super) struct Line {
    before: u32,
    after: u32,
}

/// The place of nobody.
const NOBODY: u32 = u32::MAX;

impl Default for Line {
    fn default() -> Self {
        Self {
            before: NOBODY,
            after: NOBODY,
        }
    }
}

impl<R> Default for Instances<R> {
    fn default() -> Self {
        Self {
            all: Slab::new(),
            by_key: HashTable::new(),
            hasher: RandomState::new(),
            first: NOBODY,
            last: NOBODY,
        }
    }
}

impl<R> Instances<R> {
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    pub(super) fn get(&self, index: usize) -> Option<&Instance<R>> {
        self.all.get(index)
    }

    pub(super) fn get_mut(&mut self, index: usize) -> Option<&mut Instance<R>> {
        self.all.get_mut(index)
    }

    /// All of them, with their places.
    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, &Instance<R>)> {
        self.all.iter()
    }

    /// The place of the instance of this entity, if there is one.
    pub(super) fn find(&self, storage: &StorageName, id: &str) -> Option<usize> {
        let hash = hash(&self.hasher, storage, id);
        let is_it = |place: &u32| self.all[*place as usize].is_of(storage, id);
        self.by_key.find(hash, is_it).map(|place| *place as usize)
    }

    /// Takes in the instance of an entity that has none yet; gives its place.
    pub(super) fn insert(&mut self, instance: Instance<R>) -> usize {
        let hash = hash_of(&self.hasher, &instance);
        let index = self.all.insert(instance);
        let place = u32::try_from(index).expect("more instances than any memory holds");
        let (all, hasher) = (&self.all, &self.hasher);
        self.by_key
            .insert_unique(hash, place, |place| hash_of(hasher, &all[*place as usize]));
        index
    }

    /// Takes an instance out.
    pub(super) fn remove(&mut self, index: usize) -> Instance<R> {
        self.leave_line(index as u32);
        let instance = self.all.remove(index);
        let hash = hash_of(&self.hasher, &instance);
        let found = self
            .by_key
            .find_entry(hash, |place| *place as usize == index);
        debug_assert!(found.is_ok(), "every instance is in the table");
        if let Ok(found) = found {
            found.remove();
        }
        instance
    }

    /// Notes that an instance became idle just now.
    pub(super) fn became_idle(&mut self, index: usize) {
        let place = index as u32;
        if self.last == place {
            return;
        }
        self.leave_line(place);
        let before = std::mem::replace(&mut self.last, place);
        match before {
            NOBODY => self.first = place,
            _ => self.line(before).after = place,
        }
        self.line(place).before = before;
    }

    /// Takes the one out of the line that has been idle longest; `is_idle` tells who still is.
    pub(super) fn longest_idle(&mut self, is_idle: impl Fn(&Instance<R>) -> bool) -> Option<usize> {
        while self.first != NOBODY {
            let place = self.first;
            self.leave_line(place);
            if is_idle(&self.all[place as usize]) {
                return Some(place as usize);
            }
        }
        None
    }

    /// Takes an instance out of the line, if it is there.
    fn leave_line(&mut self, place: u32) {
        let Line { before, after } = *self.line(place);
        match before {
            NOBODY if self.first != place => return,
            NOBODY => self.first = after,
            _ => self.line(before).after = after,
        }
        match after {
            NOBODY => self.last = before,
            _ => self.line(after).before = before,
        }
        *self.line(place) = Line::default();
    }

    fn line(&mut self, place: u32) -> &mut Line {
        &mut self.all[place as usize].line
    }
}

impl<R> Index<usize> for Instances<R> {
    type Output = Instance<R>;

    fn index(&self, index: usize) -> &Instance<R> {
        &self.all[index]
    }
}

impl<R> IndexMut<usize> for Instances<R> {
    fn index_mut(&mut self, index: usize) -> &mut Instance<R> {
        &mut self.all[index]
    }
}

fn hash(hasher: &RandomState, storage: &StorageName, id: &str) -> u64 {
    hasher.hash_one((storage.as_str(), id))
}

fn hash_of<R>(hasher: &RandomState, instance: &Instance<R>) -> u64 {
    hash(hasher, &instance.component.storage, instance.id.stored())
}
