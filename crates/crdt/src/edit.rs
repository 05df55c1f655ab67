//! Edits: how a change that a function made becomes a patch.
//!
//! # How it works
//! An edit never touches the state. It reads the state as it is, collects the dots that the change
//! kills, and builds the tree of what is new: a patch, which the state then joins like any other. So
//! an error half-way leaves no trace, and what the peers get is what happened here.
//!
//! A change can touch one place several times (remove a key, add it again). So every place is read
//! as the state shows it without the dots killed so far, and with what the patch has already.
//!
//! # What a change kills
//! Only dots that its replica has seen: what others do at the same time stays. Every change mints a
//! dot, one that lives nowhere if there is nothing to hold it, so that contexts alone tell who lacks
//! what.

mod counter;
mod map;
mod register;
mod set;

use std::collections::BTreeSet;

use firn_model::id::Replica;
use firn_model::limit::MAP_DEPTH_MAX;
use firn_model::replicated::{DataType, Delta};

use crate::context::Context;
use crate::dot::{Dot, Dots};
use crate::dotted::Dotted;
use crate::entry::{Entry, Kind, Slot, Store};
use crate::state::{Patch, Presence, State};

/// What a change did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// The change, for the other replicas.
    pub patch: Patch,
    /// Whether the function's value is now another than the replica's, so that it has to be told: a
    /// write to a register lost against the present one, an update named a map entry that is not
    /// there or is of another type, or a counter is beyond its range.
    pub diverged: bool,
}

/// Why a change was refused; the state is as it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ApplyError {
    /// The entity holds data of another type.
    #[error("the entity is a {have}, the change is one of a {got}")]
    WrongType {
        /// What it holds.
        have: DataType,
        /// What the change is for.
        got: DataType,
    },
    /// The entity was deleted.
    #[error("the entity was deleted")]
    Deleted,
    /// A counter would leave the range of its values.
    #[error("the {0} would leave the range of its values")]
    Overflow(DataType),
    /// A grow-only counter was to shrink: the increment is negative in the signed types of SDKs.
    #[error(
        "a grow-only counter cannot shrink: an increment of {0} is negative as a signed number"
    )]
    NegativeIncrement(u64),
    /// A flag that is on was to be switched off.
    #[error("a flag that is on cannot be switched off")]
    FlagOff,
    /// Maps would be nested too deeply.
    #[error("maps would be nested more than {MAP_DEPTH_MAX} deep")]
    TooDeep,
    /// The replica's incarnation is closed, so it makes no changes any more.
    #[error("{0} is closed and makes no more changes")]
    Closed(Replica),
}

impl State {
    /// Makes a change of this replica's function, at this wall clock in milliseconds.
    ///
    /// # Errors
    /// See [`ApplyError`]; the state is left as it was.
    pub fn apply(
        &mut self,
        me: Replica,
        now_ms: i64,
        delta: &Delta,
    ) -> Result<Applied, ApplyError> {
        let mut edit = Edit::new(self, me, now_ms)?;
        let mut root = Entry::default();
        edit.root(&self.0.root, &mut root, delta)?;
        let applied = Applied {
            diverged: edit.diverged,
            patch: edit.finish(root),
        };
        self.take(applied.patch.clone());
        Ok(applied)
    }
}

/// A change that is being made.
pub(crate) struct Edit<'a> {
    me: Replica,
    now_ms: i64,
    context: &'a Context,
    /// The numbers of the first dot minted and of the next one to mint.
    first: u64,
    next: u64,
    killed: BTreeSet<Dot>,
    diverged: bool,
    /// How many maps the edit is in.
    depth: usize,
}

/// An entry of the state, and of the patch that is being made.
struct Place<'a> {
    old: Option<&'a Entry>,
    new: &'a mut Entry,
}

/// A slot of the state, and of the patch that is being made.
struct Data<'a> {
    old: Option<&'a Store>,
    new: &'a mut Store,
    data_type: DataType,
    /// The patch's mark that all of the entry is named.
    whole: &'a mut bool,
}

impl<'a> Edit<'a> {
    pub(crate) fn new(state: &'a State, me: Replica, now_ms: i64) -> Result<Self, ApplyError> {
        if state.presence() == Presence::Deleted {
            return Err(ApplyError::Deleted);
        }
        let context = state.context();
        let next = context.next(me).ok_or(ApplyError::Closed(me))?;
        Ok(Self {
            me,
            now_ms,
            context,
            first: next,
            next,
            killed: BTreeSet::new(),
            diverged: false,
            depth: 0,
        })
    }

    /// The patch: what is new, and which dots were minted and killed.
    pub(crate) fn finish(mut self, mut root: Entry) -> Patch {
        if self.next == self.first {
            self.mint();
        }
        let replica = self.me;
        let minted = (self.first..self.next).map(|seq| Dot { replica, seq });
        let killed = self.killed.iter().copied();
        let known = killed.clone().filter(|dot| self.context.contains(*dot));
        root.settle();
        Patch {
            root,
            context: killed.chain(minted).collect(),
            killed: known.collect(),
            kept: Context::default(),
        }
    }

    fn root(&mut self, old: &Entry, new: &mut Entry, delta: &Delta) -> Result<(), ApplyError> {
        let got = delta.data_type();
        if let Some(have) = self.shown(Some(old), new).filter(|have| *have != got) {
            return Err(ApplyError::WrongType { have, got });
        }
        let presence = old.slot(got).map(|slot| &slot.presence);
        if presence.is_none_or(Dots::is_empty) {
            new.slot_mut(got).presence = Dots::from(self.mint());
        }
        let mut place = Place {
            old: Some(old),
            new,
        };
        self.data(place.data(got), delta)
    }

    /// Changes data of the type of the delta.
    fn data(&mut self, data: Data<'_>, delta: &Delta) -> Result<(), ApplyError> {
        match delta {
            Delta::GrowCounter(increment) => self.grow(data, *increment),
            Delta::Counter(change) => self.count(data, *change),
            Delta::GrowSet(added) => self.add_all(data, added),
            Delta::Set(change) => self.set(data, change),
            Delta::Flag(on) => self.flag(data, *on),
            Delta::Register(write) => self.write(data, write),
            Delta::Map(change) => self.map(data, change),
            Delta::Vote(votes) => self.vote(data, votes.own),
            Delta::CounterMap(change) => {
                let count = |edit: &mut Self, data: Data<'_>, by: &i64| edit.count(data, *by);
                self.uniform_map(data, change, DataType::Counter, count)
            }
            Delta::RegisterMap(change) => {
                self.uniform_map(data, change, DataType::Register, Self::write)
            }
            Delta::MultiMap(change) => self.uniform_map(data, change, DataType::Set, Self::set),
        }
    }

    fn flag(&mut self, mut data: Data<'_>, on: bool) -> Result<(), ApplyError> {
        let (old, new) = data.parts();
        let seen = self.living(old, new);
        if on {
            self.kill_all(seen.iter());
            *new = Dots::from(self.mint());
        } else if !seen.is_empty() {
            return Err(ApplyError::FlagOff);
        }
        Ok(())
    }

    fn vote(&mut self, mut data: Data<'_>, own: bool) -> Result<(), ApplyError> {
        let (old, new) = data.parts();
        let seen: Dotted<bool> = self.values(old, new);
        let own_dots = seen.dots().filter(|dot| dot.replica.node == self.me.node);
        self.kill_all(own_dots.collect::<Vec<_>>());
        *new = [(self.mint(), own)].into_iter().collect();
        Ok(())
    }

    pub(crate) fn me(&self) -> Replica {
        self.me
    }

    pub(crate) fn mint(&mut self) -> Dot {
        let seq = self.next;
        self.next += 1;
        Dot {
            replica: self.me,
            seq,
        }
    }

    pub(crate) fn kill_all(&mut self, dots: impl IntoIterator<Item = Dot>) {
        self.killed.extend(dots);
    }

    fn is_alive(&self, dot: Dot) -> bool {
        !self.killed.contains(&dot)
    }

    /// The dots at a place: those of the state that were not killed, and those of the patch.
    fn living(&self, old: Option<&Dots>, new: &Dots) -> Dots {
        let old = old.into_iter().flat_map(Dots::iter);
        old.filter(|dot| self.is_alive(*dot))
            .chain(new.iter())
            .collect()
    }

    /// The values at a place, as [`Edit::living`] gives dots.
    fn values<T: Clone>(&self, old: Option<&Dotted<T>>, new: &Dotted<T>) -> Dotted<T> {
        let old = old.into_iter().flat_map(Dotted::iter);
        old.filter(|(dot, _)| self.is_alive(*dot))
            .chain(new.iter())
            .cloned()
            .collect()
    }

    /// The type that an entry shows.
    fn shown(&self, old: Option<&Entry>, new: &Entry) -> Option<DataType> {
        let alive = |dot| self.is_alive(dot);
        let old = old.into_iter().flat_map(|entry| &entry.slots);
        old.chain(&new.slots)
            .filter(|slot| slot.is_shown(alive))
            .map(|slot| slot.data_type)
            .min()
    }
}

impl<'a> Place<'a> {
    fn data(&mut self, data_type: DataType) -> Data<'_> {
        let old = self.old.and_then(|entry| entry.slot(data_type));
        self.new.slot_mut(data_type);
        let slots = &mut self.new.slots;
        let slot = slots.iter_mut().find(|slot| slot.data_type == data_type);
        Data {
            old: old.map(|slot: &Slot| &slot.store),
            new: &mut slot.expect("it was made above").store,
            data_type,
            whole: &mut self.new.whole,
        }
    }
}

impl<'a> Data<'a> {
    /// The state's and the patch's data.
    fn parts<K: Kind>(&mut self) -> (Option<&'a K>, &mut K) {
        (self.old.map(K::of), K::of_mut(self.new))
    }
}
