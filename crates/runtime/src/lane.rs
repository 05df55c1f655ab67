//! A lane: the pure machine that owns the entities of its slots.
//!
//! [`Lane::on`] takes one input and the time, and gives outputs for its driver to carry out. It has
//! no I/O, no clock, no randomness and no tokio, so unit tests, property tests and simulations run
//! exactly the code that serves.
//!
//! # How it works
//! An entity with something to do has an *instance*: loaded from the store, connected by a stream,
//! then fed its commands, one at a time or, where its component pipelines, several. A decision that
//! changes anything becomes a commit of the entity's slot and is answered once the commit has
//! landed; one that changes nothing is answered as soon as the commits before it have. An idle
//! instance half-closes its stream and is forgotten.
//!
//! Everything asynchronous carries a [`Ticket`], which names one life of one instance. What comes
//! back for an earlier life finds nobody and is dropped. A life begins with a load, when no commit
//! of the last one is under way any more.
//!
//! # Invariants
//! - At most one command of an entity is with the function or being committed, where its component
//!   does not pipeline; the function gets the commands of an entity in the order they came.
//! - No answer leaves before every commit has landed whose state it has seen (the output gate).
//! - Commits of a slot carry contiguous sequences; after a refused one nothing of the slot is
//!   written until its head is known again.
//! - Every queue has a bound, and every command ends: by an answer, a refusal or its deadline.
//!
//! # Not here
//! Forwards and effects run in the request's context: see [`super::dispatch`].

mod decide;
mod due;
mod end;
mod flow;
mod instance;
mod instances;
mod pipeline;
mod room;
mod slot;
mod timers;
mod trouble;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use bytestring::ByteString;
use firn_model::contract::{Contract, Method};
use firn_model::decision::{Answer, Effect};
use firn_model::id::{EffectId, EntityId, EntityKey, Slot, SlotSequence};
use firn_model::limit;
use firn_model::metadata::Metadata;
use firn_model::policy::Replay;
use firn_store::{
    Commit, Entity, Head, Outcome, ReadError, ReplyRecord, Timer, TimerId, Timestamp,
};
use rustc_hash::FxHashMap;

use crate::link::{EntityCommand, Opening, StreamEvent};
use crate::refusal::Refusal;
use crate::retention::Retention;
use due::Due;
use instances::Instances;
use slot::SlotState;
use timers::Timers;

pub use timers::Keep;

/// The time of an input, on both clocks.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// The monotonic clock: deadlines and idle times.
    pub instant: Instant,
    /// The wall clock: what is stored.
    pub wall: Timestamp,
}

impl Now {
    /// The wall clock in milliseconds, as the clocks of registers count.
    pub(crate) fn wall_millis(self) -> i64 {
        i64::try_from(self.wall.0).unwrap_or(i64::MAX)
    }
}

/// Bounds of a lane.
#[derive(Debug, Clone)]
pub struct Config {
    /// Commands that may wait for one entity.
    pub mailbox_commands_max: usize,
    /// How long a command may take when its caller says nothing shorter.
    pub command_timeout: Duration,
    /// How long an entity may be idle, unless its component says otherwise.
    pub passivate_after: Duration,
    /// How long a half-closed stream may stay open before it is reset.
    pub stream_grace: Duration,
    /// How long the answer to an idempotency key is kept.
    pub reply_record_ttl: Duration,
    /// What is kept of what is stored.
    pub retention: Arc<Retention>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            mailbox_commands_max: limit::MAILBOX_COMMANDS_MAX,
            command_timeout: limit::COMMAND_TIMEOUT,
            passivate_after: limit::PASSIVATE_AFTER,
            stream_grace: limit::STREAM_GRACE,
            reply_record_ttl: Duration::from_secs(24 * 60 * 60),
            retention: Arc::default(),
        }
    }
}

/// One life of one instance: what comes back for another life is not for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ticket {
    pub(crate) index: usize,
    pub(crate) life: u64,
}

#[cfg(test)]
impl Ticket {
    /// A ticket of this life, of some instance.
    pub(crate) fn of(life: u64) -> Self {
        Self { index: 0, life }
    }
}

/// A command for an entity. `R` is the driver's way to answer it.
#[derive(Debug)]
pub struct Command<R> {
    /// The entity.
    pub id: EntityId,
    /// The method called.
    pub method: Arc<Method>,
    /// The request message.
    pub message: Bytes,
    /// Headers the function may see; `None` leaves the field unset.
    pub metadata: Option<Metadata>,
    /// When the caller stops waiting.
    pub deadline: Option<Instant>,
    /// The caller's idempotency key and the hash of its request.
    pub idempotency: Option<Idempotency>,
    /// The effect that caused it, if one did.
    pub origin: Option<Origin>,
    /// How many forwards and effects led to it.
    pub hops: u32,
    /// Where the answer goes.
    pub reply: R,
}

/// An idempotency key with the request it stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Idempotency {
    /// The caller's key.
    pub key: ByteString,
    /// XXH3-128 of the request message.
    pub request_hash: u128,
}

/// Which effect caused a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    /// The effect.
    pub effect: EffectId,
    /// The lowest sequence of the sender's slot that still has an open effect: receipts below it
    /// are of no use any more.
    pub lowest_open: SlotSequence,
    /// Whether it may have been delivered before.
    pub redelivered: bool,
}

/// A decision whose mutation, if any, is durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settled {
    /// What the caller gets.
    pub answer: Answer,
    /// What else is to be done.
    pub effects: Vec<Caused>,
    /// What makes the answer true. Nobody asks it of what has no slot.
    pub rests: Rests,
}

/// What an answer rests on, and so how long it is true.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rests {
    /// On what this node has in memory: nothing was to be committed, whatever it waited for, and the
    /// answer is true as long as nobody else has gone on with the slot.
    Memory,
    /// On a commit that is still under way, as its component is written behind. It may land yet.
    UnderWay,
    /// On a commit that has landed, which the fence let through: the answer was true at that moment,
    /// whoever owns the slot now.
    Landed,
}

impl Settled {
    /// A decision that rests on memory.
    pub(crate) fn new(answer: Answer, effects: Vec<Caused>) -> Self {
        Self {
            answer,
            effects,
            rests: Rests::Memory,
        }
    }

    /// The same, once its own commit has landed. That of what it has seen does not count: the fence
    /// let that one through, and others may have gone on with the slot before the outcome came.
    pub(crate) fn landed(self) -> Self {
        let rests = Rests::Landed;
        Self { rests, ..self }
    }
}

/// An effect that may run now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caused {
    /// What to do.
    pub effect: Effect,
    /// Its identity, if it is in the outbox.
    pub origin: Option<Origin>,
}

/// What the store knows of a command that may have been served before.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Known {
    /// The record under its idempotency key.
    pub record: Option<ReplyRecord>,
    /// Whether the effect that caused it was received before.
    pub received: bool,
}

/// What happens to a lane.
#[derive(Debug)]
pub enum Input<R> {
    /// A command came in.
    Command(Command<R>),
    /// The contract changed; effects are told apart by it.
    Contract(Arc<Contract>),
    /// [`Output::Load`] ended.
    Loaded(Ticket, Result<Entity, ReadError>),
    /// [`Output::Look`] ended.
    Looked(Ticket, Result<Known, ReadError>),
    /// [`Output::AcquireStream`] was granted.
    Granted(Ticket),
    /// Something came on an instance's stream.
    Stream(Ticket, StreamEvent),
    /// The commits of a slot up to this sequence have this outcome.
    Committed {
        /// The slot.
        slot: Slot,
        /// The last sequence the outcome is about.
        last: SlotSequence,
        /// What became of them.
        outcome: Outcome,
    },
    /// [`Output::Resolve`] ended: the head of the slot in the store.
    Resolved(Slot, Head),
    /// An effect of this lane was delivered.
    Delivered(EffectId),
    /// An effect found in the outbox at start.
    Recovered(EffectId),
    /// The store holds a tombstone of this entity whose grace is over, or nobody has written it for as
    /// long as its component says.
    Expired(EntityKey),
    /// A timer's time has come.
    Due(TimerId),
    /// [`Output::LookTimer`] ended.
    TimerLooked {
        /// Which timer.
        id: TimerId,
        /// The number of the look-up.
        turn: u64,
        /// How it stands.
        result: Result<Option<Timer>, ReadError>,
    },
    /// Effects with a delay of what is no entity are to be made durable.
    Keep(Keep<R>),
    /// Somebody waits for a stream: an idle one is to give way.
    MakeRoom,
    /// Nobody waits for a stream any more.
    RoomEnough,
    /// Time has passed.
    Wake,
    /// Take no new commands, finish the accepted ones, leave memory.
    Drain,
}

/// What a lane wants done.
#[derive(Debug)]
pub enum Output<R> {
    /// Load an entity.
    Load(Ticket, EntityKey, Replay),
    /// Ask the store what it knows of a command.
    Look {
        /// For whom.
        ticket: Ticket,
        /// The entity.
        key: EntityKey,
        /// The method and idempotency key, if the command has one.
        record: Option<(Arc<str>, ByteString)>,
        /// The effect, if it may have been delivered before.
        received: Option<EffectId>,
    },
    /// Ask for leave to open a stream.
    AcquireStream(Ticket),
    /// A stream is over: others may have its place.
    ReleaseStream,
    /// Open a stream.
    Open(Ticket, Box<Opening>),
    /// Send a command on an open stream.
    Send(Ticket, EntityCommand),
    /// Ask for a snapshot on an open stream.
    RequestSnapshot(Ticket),
    /// Everything that the function may have seen when it asked with this number is durable.
    Pass(Ticket, u64),
    /// Half-close a stream.
    HalfClose(Ticket),
    /// Reset a stream.
    Reset(Ticket),
    /// Write a commit.
    Commit(Box<Commit>),
    /// Find out the head of a slot whose last commits have no known outcome.
    Resolve(Slot),
    /// Answer a command.
    Answer(R, Result<Settled, Refusal>),
    /// Run the effects of a command whose caller was answered before its commit had landed.
    Orphaned {
        /// The effects.
        effects: Vec<Caused>,
        /// How many forwards and effects led to the command.
        hops: u32,
    },
    /// Ask the store how a timer stands.
    LookTimer {
        /// Which timer.
        id: TimerId,
        /// The number of the look-up.
        turn: u64,
    },
    /// A timer that was due is no longer: it has fired, or was cancelled or set again.
    TimerDone {
        /// Which timer.
        id: TimerId,
        /// Whether the store could tell how it stands; if not, it is due as it was.
        told: bool,
    },
    /// Timers were set of which the first is due then.
    Armed(Timestamp),
    /// Nobody is idle: the request for room goes to the next lane.
    NoRoom,
    /// Tell the operator that an instance failed.
    Report {
        /// The entity.
        key: EntityKey,
        /// What happened.
        text: String,
    },
}

/// A lane. See the [module](self).
#[derive(Debug)]
pub struct Lane<R> {
    config: Config,
    contract: Option<Arc<Contract>>,
    instances: Instances<R>,
    slots: FxHashMap<Slot, SlotState>,
    due: Due,
    /// Slots whose deliveries may wait for a commit.
    to_housekeep: BTreeSet<Slot>,
    timers: Timers<R>,
    lives: u64,
    room_wanted: usize,
    draining: bool,
    out: Vec<Output<R>>,
}

impl<R> Lane<R> {
    /// A lane with these bounds and the heads of the slots it owns; slots that are not named begin
    /// at [`Head::default`].
    pub fn new(config: Config, heads: impl IntoIterator<Item = (Slot, Head)>) -> Self {
        Self {
            config,
            contract: None,
            instances: Instances::default(),
            slots: heads
                .into_iter()
                .map(|(slot, head)| (slot, SlotState::new(head)))
                .collect(),
            due: Due::default(),
            to_housekeep: BTreeSet::new(),
            timers: Timers::default(),
            lives: 0,
            room_wanted: 0,
            draining: false,
            out: Vec::new(),
        }
    }

    /// Takes one input; gives what is to be done about it, in order.
    pub fn on(&mut self, now: Now, input: Input<R>) -> std::vec::Drain<'_, Output<R>> {
        self.due.begin(now.instant);
        match input {
            Input::Command(command) => self.accept(command, now),
            Input::Contract(contract) => self.contract = Some(contract),
            Input::Loaded(ticket, result) => self.loaded(ticket, result, now),
            Input::Looked(ticket, result) => self.looked(ticket, result, now),
            Input::Granted(ticket) => self.granted(ticket, now),
            Input::Stream(ticket, event) => self.streamed(ticket, event, now),
            Input::Committed {
                slot,
                last,
                outcome,
            } => self.committed(slot, last, outcome, now),
            Input::Resolved(slot, head) => self.resolved(slot, head, now),
            Input::Delivered(effect) => self.delivered(effect, now),
            Input::Recovered(effect) => self.slot(effect.slot).open(effect),
            Input::Expired(key) => self.expired(key, now),
            Input::Due(id) => self.timer_due(id),
            Input::TimerLooked { id, turn, result } => self.timer_looked(id, turn, result, now),
            Input::Keep(keep) => self.keep(keep, now),
            Input::MakeRoom => self.make_room(now),
            Input::RoomEnough => self.room_wanted = 0,
            Input::Wake => {}
            Input::Drain => self.drain(now),
        }
        self.wake(now);
        self.out.drain(..)
    }

    /// When [`Input::Wake`] is next needed; `None` if nothing waits for time to pass.
    pub fn next_wake(&self) -> Option<Instant> {
        self.due.next()
    }

    /// Whether nothing is in memory and nothing is under way: a drained lane may stop.
    pub fn is_empty(&self) -> bool {
        self.instances.is_empty() && self.slots.values().all(SlotState::is_settled)
    }

    /// How many instances are in memory.
    pub fn active(&self) -> usize {
        self.instances.len()
    }

    fn slot(&mut self, slot: Slot) -> &mut SlotState {
        self.slots
            .entry(slot)
            .or_insert_with(|| SlotState::new(Head::default()))
    }
}

#[cfg(test)]
mod tests;
