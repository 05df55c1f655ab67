//! Replicated data as a function sees it: plain values and changes of them.
//!
//! How replicas agree is not visible here; that is `firn-crdt`. A [`Delta`] says how a value changes,
//! in both directions: from the function, which changed its value, and to it, when another replica
//! did. A whole value is the delta that leads to it from the empty value of its type.
//!
//! Sources: Cloudstate's specification, section 7.6; Akka Serverless' and Kalix', section 11.

use std::fmt;

use crate::decision::{Answer, Effect};
use crate::payload::Payload;

/// The types of replicated data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DataType {
    /// A counter that only grows.
    GrowCounter,
    /// A counter that goes both ways.
    Counter,
    /// A set that only grows.
    GrowSet,
    /// An observed-remove set: an addition wins over a removal that did not see it.
    Set,
    /// A flag that can only be switched on.
    Flag,
    /// A last-writer-wins register.
    Register,
    /// An observed-remove map to values of any type.
    Map,
    /// One vote for each node.
    Vote,
    /// A map to counters.
    CounterMap,
    /// A map to registers.
    RegisterMap,
    /// A map to sets.
    MultiMap,
}

impl fmt::Display for DataType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::GrowCounter => "grow-only counter",
            Self::Counter => "counter",
            Self::GrowSet => "grow-only set",
            Self::Set => "set",
            Self::Flag => "flag",
            Self::Register => "register",
            Self::Map => "map",
            Self::Vote => "vote",
            Self::CounterMap => "counter map",
            Self::RegisterMap => "register map",
            Self::MultiMap => "multi-map",
        })
    }
}

/// A change of a replicated value.
///
/// Elements and keys are compared as they are, type URL and bytes; an element without a type URL is
/// not valid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delta {
    /// By how much a grow-only counter grew.
    GrowCounter(u64),
    /// By how much a counter changed.
    Counter(i64),
    /// What was added to a grow-only set.
    GrowSet(Vec<Payload>),
    /// How a set changed.
    Set(SetDelta),
    /// Whether the flag is on; `false` changes nothing.
    Flag(bool),
    /// A write to a register.
    Register(Write),
    /// How a map changed.
    Map(MapDelta),
    /// The votes.
    Vote(Votes),
    /// How a counter map changed; values are changes of the counters.
    CounterMap(EntriesDelta<i64>),
    /// How a register map changed.
    RegisterMap(EntriesDelta<Write>),
    /// How a multi-map changed.
    MultiMap(EntriesDelta<SetDelta>),
}

impl Delta {
    /// Which type of data it changes.
    pub fn data_type(&self) -> DataType {
        match self {
            Self::GrowCounter(_) => DataType::GrowCounter,
            Self::Counter(_) => DataType::Counter,
            Self::GrowSet(_) => DataType::GrowSet,
            Self::Set(_) => DataType::Set,
            Self::Flag(_) => DataType::Flag,
            Self::Register(_) => DataType::Register,
            Self::Map(_) => DataType::Map,
            Self::Vote(_) => DataType::Vote,
            Self::CounterMap(_) => DataType::CounterMap,
            Self::RegisterMap(_) => DataType::RegisterMap,
            Self::MultiMap(_) => DataType::MultiMap,
        }
    }
}

/// A change of a set: first `cleared`, then `removed`, then `added`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SetDelta {
    /// Everything the replica has seen is removed.
    pub cleared: bool,
    /// Elements removed.
    pub removed: Vec<Payload>,
    /// Elements added.
    pub added: Vec<Payload>,
}

/// A write to a register.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    /// The value written.
    pub value: Payload,
    /// How the write is stamped; towards a function always [`Clock::Default`].
    pub clock: Clock,
}

/// How a write to a register is stamped. The greatest stamp wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Clock {
    /// The wall clock in milliseconds, or one more than the current stamp if that is later.
    #[default]
    Default,
    /// The wall clock negated, or one less than the current stamp: the first write wins.
    Reverse,
    /// This number; a write with a smaller one than the current loses.
    Custom(i64),
    /// This number, or one more than the current stamp if it is not greater.
    CustomAutoIncrement(i64),
}

/// A change of a map: first `cleared`, then `removed`, then `updated`, then `added`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MapDelta {
    /// Everything the replica has seen is removed.
    pub cleared: bool,
    /// Keys removed.
    pub removed: Vec<Payload>,
    /// Changes of values; one of a key that is gone, or of another type, is ignored.
    pub updated: Vec<(Payload, Delta)>,
    /// New entries, each a change from the empty value of its type.
    pub added: Vec<(Payload, Delta)>,
}

/// A change of a map whose values are all of one type: first `cleared`, then `removed`, then
/// `updated`, which also adds what is missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntriesDelta<T> {
    /// Everything the replica has seen is removed.
    pub cleared: bool,
    /// Keys removed.
    pub removed: Vec<Payload>,
    /// Changes of values.
    pub updated: Vec<(Payload, T)>,
}

impl<T> Default for EntriesDelta<T> {
    fn default() -> Self {
        Self {
            cleared: false,
            removed: Vec::new(),
            updated: Vec::new(),
        }
    }
}

/// The votes as one node sees them. From a function only `own` counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Votes {
    /// This node's vote.
    pub own: bool,
    /// How many members vote yes.
    pub yes: u32,
    /// How many members there are.
    pub members: u32,
}

/// How many replicas must hold a change durably before it is confirmed; more is greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum Consistency {
    /// This node, in memory: the change is written behind.
    #[default]
    Local,
    /// More than half of the members, this one included.
    Majority,
    /// All members.
    All,
}

/// How a function changes a replicated entity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// What changes.
    pub action: StateAction,
    /// How many replicas must hold it before the caller is answered; a family without this choice
    /// in its replies leaves it at [`Consistency::Local`], and the component's policy decides.
    pub consistency: Consistency,
}

/// What changes in a replicated entity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StateAction {
    /// Its value changes; also creates it. One that cannot be understood fails its command only.
    Update(Result<Delta, InvalidDelta>),
    /// It is deleted, for ever.
    Delete,
}

/// Why a delta of a function cannot be understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidDelta {
    /// It, or a delta inside of it, does not say which type of data it changes.
    #[error("the delta is of no type of data")]
    NoType,
    /// An element, key or value has no type URL.
    #[error("an element, key or value is no valid Any: it has no type URL")]
    NoTypeUrl,
    /// A type URL is not text.
    #[error("an element, key or value is no valid Any: its type URL is not UTF-8")]
    TypeUrl,
    /// A map entry has no key.
    #[error("a map entry has no key")]
    NoKey,
    /// A map entry has no delta.
    #[error("a map entry has no delta")]
    NoEntryDelta,
    /// A write to a register has no value.
    #[error("a write to a register has no value")]
    NoValue,
    /// A write to a register names a clock that does not exist.
    #[error("a write to a register names clock {0}, which does not exist")]
    Clock(i32),
    /// Maps are nested too deeply.
    #[error("maps are nested more than {0} deep")]
    TooDeep(usize),
}

/// What a function answers to a command of a replicated entity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The command, as it was numbered on its stream.
    pub command: i64,
    /// What the caller gets.
    pub answer: Answer,
    /// What else is to be done.
    pub effects: Vec<Effect>,
    /// What changes.
    pub change: Option<Change>,
    /// Whether the function accepts a streamed command: more messages may follow.
    pub streamed: bool,
}

/// A further message for the caller of a streamed command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamedMessage {
    /// The command, as it was numbered on its stream.
    pub command: i64,
    /// What the caller gets; [`Answer::Nothing`] sends nothing.
    pub answer: Answer,
    /// What else is to be done.
    pub effects: Vec<Effect>,
    /// Whether it is the last.
    pub ends: bool,
}

/// What a function does after the caller of a streamed command has gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CancelAnswer {
    /// The command, as it was numbered on its stream.
    pub command: i64,
    /// What else is to be done.
    pub effects: Vec<Effect>,
    /// What changes.
    pub change: Option<Change>,
}
