//! The join: how two replicas' knowledge becomes one.
//!
//! # How it works
//! Take a state or a patch for what it says: a set `S` of dots that are alive, each with its place
//! and value, and a set `C` of dots that it judges, `S` among them. A dot is never given twice and
//! what it names never changes, so two such pairs join to
//!
//! ```text
//! alive:  (S1 ∩ S2) ∪ (S1 \ C2) ∪ (S2 \ C1)        judged:  C1 ∪ C2
//! ```
//!
//! What one judges and does not hold, it knows to be dead. For every single dot this is the greater
//! of "not judged" < "alive" < "dead", so the join is commutative, associative and idempotent,
//! whatever the types of the data are; they only decide which dots a change kills and how the living
//! are read. A deleted entity is the greatest pair of all: nothing alive, everything judged.
//!
//! # What contexts tell
//! The join alone would not do to find out by comparing contexts who lacks what. Say that of three
//! changes the second killed the dot of the first, and the third that of the second. Whoever has the
//! first and hears of the third counts all three as seen, and holds the dot of the first for ever.
//! So a patch also says which dots it mentions without carrying their changes, and a state that has
//! not seen them does not take it in. A state is therefore what all changes in its context add up
//! to: alive are those of their dots that none of them killed. Patches join in this too: for every
//! single dot to the greater of "not mentioned" < "kept" < "killed" < "carried".
//!
//! # Places named and not named
//! Looking at all of a large state for each small patch would be slow. So a patch *names* places
//! (elements of sets, keys of maps, slots), and only what is at named places is judged; below an
//! entry marked `whole` everything is. The result is that of the formula as long as a patch names
//! every place where a dot may be alive somewhere that the patch knows to be dead. Those are:
//!
//! - dots that its own change killed: [`edit`](crate::edit) names the place of each, or marks an
//!   entry above it as whole;
//! - dots that live nowhere and never did, which its change used up;
//! - for [`State::since`](crate::State::since) and for states: anything, and they are whole.
//!
//! Looking at more places than needed changes nothing. So two patches join to one that names what
//! either names, and is whole where either is; what such a patch knows to be dead one of the two
//! knew, and named.
//!
//! # Invariants
//! - Every dot alive in a state or patch is in its context.

use std::collections::BTreeMap;

use crate::dot::{Dot, Dots};
use crate::dotted::Dotted;
use crate::element::Element;
use crate::entry::{Entry, Slot, Store};
use crate::state::Seen;

/// Below this share of new entries in a map, they are inserted one by one; from it on, the tree is
/// built anew from both in one pass.
const APPEND_FROM: usize = 16;

/// The contexts of both sides of a join, and what it found.
pub(crate) struct Join<'a> {
    pub(crate) mine: Seen<'a>,
    pub(crate) theirs: Seen<'a>,
    /// Whether places without a live dot stay named: in patches, not in states.
    pub(crate) keep: bool,
    /// Whether anything alive came or went.
    pub(crate) changed: bool,
}

/// A part of the tree.
trait Part: Sized {
    /// Joins what both sides name. With `whole`, their side names everything in it.
    fn join(&mut self, theirs: Self, join: &mut Join<'_>, whole: bool);

    /// Drops the dots that `seen` has, because it does not hold them; unless `keep`, also places
    /// where nothing lives. Tells whether any dot went.
    fn forget(&mut self, seen: Seen<'_>, keep: bool) -> bool;

    /// Whether nothing lives in it, after [`Part::forget`] or [`Part::join`] that did not keep.
    fn is_dead(&self) -> bool;
}

impl Join<'_> {
    /// Joins two trees.
    pub(crate) fn roots(&mut self, mine: &mut Entry, theirs: Entry) {
        mine.join(theirs, self, false);
    }

    /// What remains of a part that only they name; none if nothing of it stays.
    fn adopt<P: Part>(&mut self, mut theirs: P) -> Option<P> {
        theirs.forget(self.mine, self.keep);
        self.changed |= !theirs.is_dead();
        (self.keep || !theirs.is_dead()).then_some(theirs)
    }

    /// Judges a part that only I name and they name with all else; tells whether it stays.
    fn review<P: Part>(&mut self, mine: &mut P) -> bool {
        self.changed |= mine.forget(self.theirs, self.keep);
        self.keep || !mine.is_dead()
    }

    /// Joins a part that both name; tells whether it stays.
    fn both<P: Part>(&mut self, mine: &mut P, theirs: P, whole: bool) -> bool {
        mine.join(theirs, self, whole);
        self.keep || !mine.is_dead()
    }

    /// Joins two maps from elements to parts.
    fn trees<P: Part>(
        &mut self,
        mine: &mut BTreeMap<Element, P>,
        theirs: BTreeMap<Element, P>,
        whole: bool,
    ) {
        let new = if whole {
            self.walk(mine, theirs)
        } else {
            self.visit(mine, theirs)
        };
        if new.len() * APPEND_FROM < mine.len() {
            mine.extend(new);
        } else {
            mine.append(&mut new.into_iter().collect());
        }
    }

    /// Goes along both maps and gives what only they have.
    fn walk<P: Part>(
        &mut self,
        mine: &mut BTreeMap<Element, P>,
        theirs: BTreeMap<Element, P>,
    ) -> Vec<(Element, P)> {
        let mut new = Vec::new();
        let mut theirs = theirs.into_iter().peekable();
        mine.retain(|element, part| {
            while let Some((other, their)) = theirs.next_if(|(other, _)| other < element) {
                new.extend(self.adopt(their).map(|part| (other, part)));
            }
            match theirs.next_if(|(other, _)| other == element) {
                Some((_, their)) => self.both(part, their, true),
                None => self.review(part),
            }
        });
        for (other, their) in theirs {
            new.extend(self.adopt(their).map(|part| (other, part)));
        }
        new
    }

    /// Looks at what they name only, and gives what only they have.
    fn visit<P: Part>(
        &mut self,
        mine: &mut BTreeMap<Element, P>,
        theirs: BTreeMap<Element, P>,
    ) -> Vec<(Element, P)> {
        let mut new = Vec::new();
        for (element, their) in theirs {
            match mine.get_mut(&element) {
                None => new.extend(self.adopt(their).map(|part| (element, part))),
                Some(part) => {
                    if !self.both(part, their, false) {
                        mine.remove(&element);
                    }
                }
            }
        }
        new
    }
}

impl Part for Entry {
    fn join(&mut self, theirs: Self, join: &mut Join<'_>, whole: bool) {
        let whole = whole || theirs.whole;
        self.whole |= join.keep && theirs.whole;
        let mut new = Vec::new();
        let mut theirs = theirs.slots.into_iter().peekable();
        self.slots.retain_mut(|slot| {
            while let Some(their) = theirs.next_if(|their| their.data_type < slot.data_type) {
                new.extend(join.adopt(their));
            }
            match theirs.next_if(|their| their.data_type == slot.data_type) {
                Some(their) => join.both(slot, their, whole),
                None if whole => join.review(slot),
                None => true,
            }
        });
        new.extend(theirs.filter_map(|their| join.adopt(their)));
        if !new.is_empty() {
            self.slots.extend(new);
            self.slots.sort_unstable_by_key(|slot| slot.data_type);
        }
    }

    fn forget(&mut self, seen: Seen<'_>, keep: bool) -> bool {
        let mut gone = false;
        self.whole &= keep;
        self.slots.retain_mut(|slot| {
            gone |= slot.forget(seen, keep);
            keep || !slot.is_dead()
        });
        gone
    }

    fn is_dead(&self) -> bool {
        self.slots.is_empty()
    }
}

impl Part for Slot {
    fn join(&mut self, theirs: Self, join: &mut Join<'_>, whole: bool) {
        self.presence.join(theirs.presence, join, whole);
        match (&mut self.store, theirs.store) {
            (Store::Counter(mine), Store::Counter(theirs)) => mine.join(theirs, join, whole),
            (Store::Set(mine), Store::Set(theirs)) => join.trees(mine, theirs, whole),
            (Store::Flag(mine), Store::Flag(theirs)) => mine.join(theirs, join, whole),
            (Store::Register(mine), Store::Register(theirs)) => mine.join(theirs, join, whole),
            (Store::Vote(mine), Store::Vote(theirs)) => mine.join(theirs, join, whole),
            (Store::Map(mine), Store::Map(theirs)) => join.trees(mine, theirs, whole),
            _ => unreachable!("slots of one type have stores of one kind"),
        }
    }

    fn forget(&mut self, seen: Seen<'_>, keep: bool) -> bool {
        let gone = self.presence.forget(seen, keep);
        gone | match &mut self.store {
            Store::Counter(shares) => shares.forget(seen, keep),
            Store::Set(elements) => forget_tree(elements, seen, keep),
            Store::Flag(dots) => dots.forget(seen, keep),
            Store::Register(writes) => writes.forget(seen, keep),
            Store::Vote(votes) => votes.forget(seen, keep),
            Store::Map(entries) => forget_tree(entries, seen, keep),
        }
    }

    fn is_dead(&self) -> bool {
        self.presence.is_empty() && self.store.is_empty()
    }
}

fn forget_tree<P: Part>(tree: &mut BTreeMap<Element, P>, seen: Seen<'_>, keep: bool) -> bool {
    let mut gone = false;
    tree.retain(|_, part| {
        gone |= part.forget(seen, keep);
        keep || !part.is_dead()
    });
    gone
}

impl Part for Dots {
    fn join(&mut self, theirs: Self, join: &mut Join<'_>, _: bool) {
        if *self == theirs {
            return;
        }
        let stays = |dot: &Dot| theirs.contains(*dot) || !join.theirs.contains(*dot);
        let comes = |dot: &Dot| !self.contains(*dot) && !join.mine.contains(*dot);
        let joined: Self = self
            .iter()
            .filter(stays)
            .chain(theirs.iter().filter(comes))
            .collect();
        join.changed |= joined != *self;
        *self = joined;
    }

    fn forget(&mut self, seen: Seen<'_>, _: bool) -> bool {
        self.retain(|dot| !seen.contains(dot))
    }

    fn is_dead(&self) -> bool {
        self.is_empty()
    }
}

impl<T> Part for Dotted<T> {
    fn join(&mut self, theirs: Self, join: &mut Join<'_>, _: bool) {
        let gone = self.retain(|dot| theirs.contains(dot) || !join.theirs.contains(dot));
        join.changed |= gone;
        for (dot, value) in theirs {
            if !self.contains(dot) && !join.mine.contains(dot) {
                self.insert(dot, value);
                join.changed = true;
            }
        }
    }

    fn forget(&mut self, seen: Seen<'_>, _: bool) -> bool {
        self.retain(|dot| !seen.contains(dot))
    }

    fn is_dead(&self) -> bool {
        self.is_empty()
    }
}

impl Entry {
    /// Names nothing below a whole entry that it need not name.
    pub(crate) fn settle(&mut self) {
        if self.whole {
            self.forget(Seen::NOTHING, false);
            self.whole = true;
            return;
        }
        for slot in &mut self.slots {
            if let Store::Map(entries) = &mut slot.store {
                entries.values_mut().for_each(Self::settle);
            }
        }
    }
}
