//! What is known of another member, and what it may lack.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use firn_model::id::{EntityKey, Incarnation};

/// More entities than this are not remembered one by one for a member that is away: once it is back
/// all of them are gone through.
const BEHIND_MAX: usize = 100_000;

/// Changes of one entity that a member may have to confirm one by one.
const NUMBERS_MAX: usize = 64;

/// Entities that are settled with one member at a time.
pub(super) const AT_ONCE: usize = 64;

/// What is known of another member.
#[derive(Debug)]
pub(super) struct Peer {
    /// Its newest run that was heard of.
    pub(super) incarnation: Option<Incarnation>,
    /// Whether it knows of this run of this node.
    pub(super) welcomed: bool,
    /// How far the store was gone through for it.
    pub(super) listing: Listing,
    /// Which time it is gone through.
    pub(super) round: u64,
    /// Whether entities in memory alone may have been forgotten.
    pub(super) forgot: bool,
    /// Entities that it may not be up to date with, and what it has to confirm.
    pub(super) behind: BTreeMap<EntityKey, BTreeSet<u64>>,
    /// Where in `behind` to go on.
    pub(super) cursor: Option<EntityKey>,
    /// Questions of the last round that were not answered yet.
    pub(super) asked: BTreeSet<u64>,
    /// Whether the last round was full, so that another one waits for it.
    pub(super) more: bool,
    pub(super) pause: Duration,
    pub(super) look_at: Option<Instant>,
}

/// How far the store was gone through.
#[derive(Debug)]
pub(super) enum Listing {
    /// What comes after this key is still to be read.
    From(Option<EntityKey>),
    /// All was read.
    Done,
}

impl Peer {
    /// A member of which nothing is known yet; it is looked after once it is hurried.
    pub(super) fn new(pause: Duration) -> Self {
        Self {
            incarnation: None,
            welcomed: false,
            listing: Listing::From(None),
            round: 0,
            forgot: false,
            behind: BTreeMap::new(),
            cursor: None,
            asked: BTreeSet::new(),
            more: false,
            pause,
            look_at: None,
        }
    }

    pub(super) fn awaits(&mut self, key: &EntityKey, number: u64) {
        let numbers = self.may_lack(key);
        numbers.insert(number);
        if numbers.len() > NUMBERS_MAX {
            // It is settled by digests then.
            numbers.pop_first();
        }
    }

    /// Notes that it may not be up to date with an entity; gives what it has to confirm of it.
    pub(super) fn may_lack(&mut self, key: &EntityKey) -> &mut BTreeSet<u64> {
        if self.behind.len() >= BEHIND_MAX {
            self.behind.clear();
            self.list_anew();
            self.forgot = true;
        }
        self.behind.entry(key.clone()).or_default()
    }

    fn list_anew(&mut self) {
        self.listing = Listing::From(None);
        self.round += 1;
    }

    /// Whether this is the number of a question that waits for its answer.
    pub(super) fn was_asked(&self, key: &EntityKey, number: u64) -> bool {
        self.behind
            .get(key)
            .is_some_and(|numbers| numbers.contains(&number))
    }

    /// Takes a confirmation.
    pub(super) fn confirms(&mut self, key: &EntityKey, number: u64) {
        if let Some(numbers) = self.behind.get_mut(key) {
            numbers.remove(&number);
            if numbers.is_empty() {
                self.behind.remove(key);
            }
        }
    }

    /// The entities to settle next, going round.
    pub(super) fn next_behind(&mut self) -> Vec<EntityKey> {
        let after = self.cursor.take();
        let later = self.behind.keys().filter(|key| Some(*key) > after.as_ref());
        let first = self
            .behind
            .keys()
            .filter(|key| Some(*key) <= after.as_ref());
        let keys: Vec<EntityKey> = later.chain(first).take(AT_ONCE).cloned().collect();
        self.cursor = keys.last().cloned();
        keys
    }

    /// How many entities it may not be up to date with.
    pub(super) fn behind(&self) -> usize {
        self.behind.len()
    }

    pub(super) fn has_work(&self) -> bool {
        !self.behind.is_empty() || matches!(self.listing, Listing::From(_)) || !self.welcomed
    }

    pub(super) fn hurry(&mut self, at: Instant) {
        self.look_at = Some(self.look_at.map_or(at, |set| set.min(at)));
    }

    /// Everything has to be settled with it anew.
    pub(super) fn start_over(&mut self, keys: &[EntityKey], at: Instant) {
        self.list_anew();
        for key in keys {
            self.behind.entry(key.clone()).or_default();
        }
        self.hurry(at);
    }
}
