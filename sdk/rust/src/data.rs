//! Replicated data: types that change in several places at once and agree in the end.
//!
//! A handler changes the data; the SDK derives from it what is told to Firn (R52). Until the handler
//! has replied, each type remembers how to take its changes back.

mod entries;
mod map;
mod register;
mod set;

pub use entries::{CounterMap, Entries, MultiMap, RegisterMap};
pub use map::{Map, MapValue};
pub use register::{Clock, Register};
pub use set::{GrowSet, Set};

use crate::context::OpenError;
use crate::wire::{self, delta::Delta};
use crate::{Any, Storable, UnpackError};

/// A type of replicated data. Sealed: the types are those of the protocol.
pub trait ReplicatedData: Piece<Delta = Delta> {
    /// Which type it is.
    const TYPE: DataType;
}

/// The types of replicated data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DataType {
    /// A number that only grows.
    GrowCounter,
    /// A number.
    Counter,
    /// A set that only grows.
    GrowSet,
    /// A set.
    Set,
    /// A switch that can only be turned on.
    Flag,
    /// A value; the last write wins.
    Register,
    /// Keys with data of any type.
    Map,
    /// A vote of the nodes.
    Vote,
    /// Keys with numbers.
    CounterMap,
    /// Keys with values.
    RegisterMap,
    /// Keys with sets.
    MultiMap,
}

impl DataType {
    pub(crate) fn wire(self) -> wire::DataType {
        match self {
            Self::GrowCounter => wire::DataType::GrowCounter,
            Self::Counter => wire::DataType::Counter,
            Self::GrowSet => wire::DataType::GrowSet,
            Self::Set => wire::DataType::Set,
            Self::Flag => wire::DataType::Flag,
            Self::Register => wire::DataType::Register,
            Self::Map => wire::DataType::Map,
            Self::Vote => wire::DataType::Vote,
            Self::CounterMap => wire::DataType::CounterMap,
            Self::RegisterMap => wire::DataType::RegisterMap,
            Self::MultiMap => wire::DataType::MultiMap,
        }
    }
}

/// Data that tells what changed in it: replicated data, and the values of maps.
pub trait Piece: Default + Clone + Send + Sync + 'static {
    /// What a change of it looks like.
    type Delta;

    /// Takes a change that was made elsewhere, or made here and decided already.
    #[doc(hidden)]
    fn apply(&mut self, delta: Self::Delta) -> Result<(), OpenError>;

    /// What was changed since the last time; it counts as decided from here on.
    #[doc(hidden)]
    fn take_delta(&mut self) -> Option<Self::Delta>;

    /// The change that makes this, decided, out of nothing.
    #[doc(hidden)]
    fn whole(&self) -> Self::Delta;

    /// Takes back what was changed since [`Piece::take_delta`].
    #[doc(hidden)]
    fn undo(&mut self);

    /// Makes a change here that was made in an older copy.
    #[doc(hidden)]
    fn redo(&mut self, delta: &Self::Delta);
}

/// What sets, registers and maps can hold: messages, text, numbers, bytes, and [`Any`] for elements
/// of different types. Two are the same if their encodings are.
pub trait Element: Clone + Send + 'static {
    /// As it is stored.
    fn to_any(&self) -> Any;

    /// As it was before.
    ///
    /// # Errors
    /// If it is another message, or damaged.
    fn from_any(any: &Any) -> Result<Self, UnpackError>;
}

impl<T: Storable + Clone> Element for T {
    fn to_any(&self) -> Any {
        Any::pack(self)
    }

    fn from_any(any: &Any) -> Result<Self, UnpackError> {
        any.unpack()
    }
}

impl Element for Any {
    fn to_any(&self) -> Any {
        self.clone()
    }

    fn from_any(any: &Any) -> Result<Self, UnpackError> {
        Ok(any.clone())
    }
}

/// Checks that it can be read back, and makes it independent of what it was read from.
fn taken<T: Element>(any: &Any) -> Result<Any, OpenError> {
    T::from_any(any)?;
    Ok(any.detached())
}

/// Reads what was checked when it came.
fn known<T: Element>(any: &Any) -> T {
    T::from_any(any).expect("elements are checked when they come")
}

fn other(expected: DataType, found: &Delta) -> OpenError {
    let found = match found {
        Delta::GrowCounter(_) => "grow counter",
        Delta::Counter(_) => "counter",
        Delta::GrowSet(_) => "grow set",
        Delta::Set(_) => "set",
        Delta::Flag(_) => "flag",
        Delta::Register(_) => "register",
        Delta::Map(_) => "map",
        Delta::Vote(_) => "vote",
        Delta::CounterMap(_) => "counter map",
        Delta::RegisterMap(_) => "register map",
        Delta::MultiMap(_) => "multi map",
    };
    OpenError::OtherData { expected, found }
}

/// A number that only grows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct GrowCounter {
    value: u64,
    pending: u64,
}

impl GrowCounter {
    /// The number.
    #[must_use]
    pub fn value(&self) -> u64 {
        self.value
    }

    /// Lets it grow; at the largest number it stays.
    pub fn increase(&mut self, by: u64) {
        let by = by.min(u64::MAX - self.value);
        self.value += by;
        self.pending += by;
    }
}

impl ReplicatedData for GrowCounter {
    const TYPE: DataType = DataType::GrowCounter;
}

impl Piece for GrowCounter {
    type Delta = Delta;

    fn apply(&mut self, delta: Delta) -> Result<(), OpenError> {
        match delta {
            Delta::GrowCounter(by) => self.value = self.value.saturating_add(by),
            found => return Err(other(Self::TYPE, &found)),
        }
        Ok(())
    }

    fn take_delta(&mut self) -> Option<Delta> {
        let by = std::mem::take(&mut self.pending);
        (by != 0).then_some(Delta::GrowCounter(by))
    }

    fn whole(&self) -> Delta {
        Delta::GrowCounter(self.value)
    }

    fn undo(&mut self) {
        self.value -= std::mem::take(&mut self.pending);
    }

    fn redo(&mut self, delta: &Delta) {
        if let Delta::GrowCounter(by) = delta {
            self.increase(*by);
        }
    }
}

/// A number.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counter {
    value: i64,
    pending: i64,
}

impl Counter {
    /// The number.
    #[must_use]
    pub fn value(&self) -> i64 {
        self.value
    }

    /// Changes it by so much. As everywhere, what exceeds the range wraps around.
    pub fn change(&mut self, by: i64) {
        self.value = self.value.wrapping_add(by);
        self.pending = self.pending.wrapping_add(by);
    }

    fn take(&mut self) -> Option<i64> {
        let by = std::mem::take(&mut self.pending);
        (by != 0).then_some(by)
    }

    fn take_back(&mut self) {
        self.value = self.value.wrapping_sub(std::mem::take(&mut self.pending));
    }
}

impl ReplicatedData for Counter {
    const TYPE: DataType = DataType::Counter;
}

impl Piece for Counter {
    type Delta = Delta;

    fn apply(&mut self, delta: Delta) -> Result<(), OpenError> {
        match delta {
            Delta::Counter(by) => self.value = self.value.wrapping_add(by),
            found => return Err(other(Self::TYPE, &found)),
        }
        Ok(())
    }

    fn take_delta(&mut self) -> Option<Delta> {
        self.take().map(Delta::Counter)
    }

    fn whole(&self) -> Delta {
        Delta::Counter(self.value)
    }

    fn undo(&mut self) {
        self.take_back();
    }

    fn redo(&mut self, delta: &Delta) {
        if let Delta::Counter(by) = delta {
            self.change(*by);
        }
    }
}

/// A switch that can only be turned on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Flag {
    on: bool,
    pending: bool,
}

impl Flag {
    /// Whether it is on.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.on
    }

    /// Turns it on.
    pub fn turn_on(&mut self) {
        self.pending |= !self.on;
        self.on = true;
    }
}

impl ReplicatedData for Flag {
    const TYPE: DataType = DataType::Flag;
}

impl Piece for Flag {
    type Delta = Delta;

    fn apply(&mut self, delta: Delta) -> Result<(), OpenError> {
        match delta {
            Delta::Flag(on) => self.on |= on,
            found => return Err(other(Self::TYPE, &found)),
        }
        Ok(())
    }

    fn take_delta(&mut self) -> Option<Delta> {
        std::mem::take(&mut self.pending).then_some(Delta::Flag(true))
    }

    fn whole(&self) -> Delta {
        Delta::Flag(self.on)
    }

    fn undo(&mut self) {
        if std::mem::take(&mut self.pending) {
            self.on = false;
        }
    }

    fn redo(&mut self, delta: &Delta) {
        if let Delta::Flag(true) = delta {
            self.turn_on();
        }
    }
}

/// A vote of the nodes, each for or against.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Vote {
    own: bool,
    yes: u32,
    members: u32,
    /// The own vote before this handler changed it.
    before: Option<bool>,
}

impl Vote {
    /// The vote of this node.
    #[must_use]
    pub fn own(&self) -> bool {
        self.own
    }

    /// How many are for it.
    #[must_use]
    pub fn yes(&self) -> u32 {
        self.yes
    }

    /// How many vote.
    #[must_use]
    pub fn members(&self) -> u32 {
        self.members
    }

    /// Votes for this node.
    pub fn vote(&mut self, own: bool) {
        self.before.get_or_insert(self.own);
        self.put(own);
    }

    fn put(&mut self, own: bool) {
        let others = self.yes.saturating_sub(u32::from(self.own));
        self.yes = others + u32::from(own);
        self.own = own;
    }
}

impl ReplicatedData for Vote {
    const TYPE: DataType = DataType::Vote;
}

impl Piece for Vote {
    type Delta = Delta;

    fn apply(&mut self, delta: Delta) -> Result<(), OpenError> {
        match delta {
            Delta::Vote(votes) => {
                (self.own, self.yes, self.members) = (votes.own, votes.yes, votes.members);
            }
            found => return Err(other(Self::TYPE, &found)),
        }
        Ok(())
    }

    fn take_delta(&mut self) -> Option<Delta> {
        let before = self.before.take()?;
        (before != self.own).then(|| self.whole())
    }

    fn whole(&self) -> Delta {
        Delta::Vote(wire::Votes {
            own: self.own,
            yes: self.yes,
            members: self.members,
        })
    }

    fn undo(&mut self) {
        if let Some(before) = self.before.take() {
            self.put(before);
        }
    }

    fn redo(&mut self, delta: &Delta) {
        if let Delta::Vote(votes) = delta {
            self.vote(votes.own);
        }
    }
}
