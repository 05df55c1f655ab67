//! What is kept of one entity in memory.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use firn_crdt::{Patch, State};
use firn_model::contract::{Component, Method};
use firn_model::id::{EffectId, EntityId, EntityKey, NodeId, Replica};
use firn_model::replicated::Consistency;

use super::network::{Membership, Message};
use super::{CallId, Command, OPEN_COMMANDS_MAX};
use crate::lane::{Origin, Settled};
use crate::refusal::Refusal;

/// An entity in memory.
#[derive(Debug)]
pub(super) struct Entity {
    /// Changes whenever its stream ends, so that what comes late finds nobody.
    pub(super) life: u64,
    pub(super) key: EntityKey,
    /// How the function knows it; `None` while only other nodes have asked for it.
    pub(super) face: Option<Face>,
    pub(super) data: Data,
    pub(super) stream: Stream,
    pub(super) queue: VecDeque<Waiting>,
    /// Commands with the function, by their number on the stream.
    pub(super) open: BTreeMap<i64, Open>,
    pub(super) confirming: Vec<Confirming>,
    pub(super) record: Record,
    /// Members that were found to have all that is here, and nothing else, under this version of
    /// the membership.
    pub(super) settled_with: BTreeMap<NodeId, u64>,
    pub(super) alarm: Option<Instant>,
    /// When a caller or the function last had to do with it.
    pub(super) used_at: Instant,
    /// When anybody had, also other nodes.
    pub(super) touched_at: Instant,
}

/// How the function knows an entity.
#[derive(Debug, Clone)]
pub(super) struct Face {
    pub(super) component: Arc<Component>,
    pub(super) id: EntityId,
}

/// The replica itself.
#[derive(Debug)]
pub(super) enum Data {
    /// It is being read; messages about it wait.
    Loading(Vec<(Replica, Message)>, BTreeSet<NodeId>),
    /// It is here.
    Ready(Box<State>),
}

/// The stream to the function.
#[derive(Debug)]
pub(super) enum Stream {
    None,
    /// Leave to open one was asked for.
    Waiting,
    Open(Live),
    /// It was half-closed, and is reset then.
    Closing(Instant),
}

/// An open stream.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) last_number: i64,
    /// What the function's value is, as far as it differs from the replica's.
    pub(super) view: View,
    /// The members that the function's votes were counted over.
    pub(super) membership: Arc<Membership>,
    /// The function's value is not known any more: a new stream is to begin as soon as this one
    /// has nothing open.
    pub(super) stale: bool,
    /// Streamed commands whose callers have gone and whose cancellation is not waited for, with
    /// their methods; an answer counts all the same.
    pub(super) left: BTreeMap<i64, Arc<Method>>,
    /// Methods whose last cancellation was not answered in time, by their names: some SDKs never
    /// answer where a handler has no interest in it, and nothing is to wait for that again and again.
    pub(super) silent: BTreeSet<Arc<str>>,
}

/// The value that the function holds.
#[derive(Debug)]
pub(super) enum View {
    /// That of the replica.
    InStep,
    /// That of this older replica, with the function's own changes since.
    Behind(Box<State>),
    /// Another one, by its own change; it is to be replaced.
    Diverged,
}

impl Live {
    /// Waits no longer for the answer to a cancellation.
    pub(super) fn leave(&mut self, number: i64, method: Arc<Method>) {
        self.left.insert(number, method);
        while self.left.len() > OPEN_COMMANDS_MAX {
            self.left.pop_first();
        }
    }
}

impl View {
    /// Notes a change that the function made: what it sees takes the same change. Only what it
    /// could not know makes a difference, and that is sent to it later.
    pub(super) fn follow(&mut self, diverged: bool, apply: impl FnOnce(&mut State) -> bool) {
        let follows = match self {
            _ if diverged => false,
            Self::InStep => true,
            Self::Behind(old) => apply(old),
            Self::Diverged => false,
        };
        if !follows {
            *self = Self::Diverged;
        }
    }
}

/// A command that is to be sent.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) command: Command,
    /// Whether the function was lost while it had the command: it gets it a second time, and alone,
    /// so that one that ends the function ends no other.
    pub(super) lost: bool,
}

/// A command with the function.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) call: CallId,
    pub(super) method: Arc<Method>,
    pub(super) phase: Phase,
    pub(super) origin: Option<Origin>,
    /// Whether the last message has come already, before the reply.
    pub(super) ended: bool,
    /// Whether the caller had the last word already: it waits no longer.
    pub(super) told: bool,
    /// What is sent again if the function is lost, or lets go of the entity: there until the first
    /// answer, where the component's policy sends again.
    pub(super) again: Option<Box<Command>>,
    /// Whether the function was lost with it before.
    pub(super) lost: bool,
}

impl Open {
    /// Whether somebody waits for its first answer.
    pub(super) fn is_awaited(&self) -> bool {
        matches!(self.phase, Phase::Asked { gone: false, .. }) && !self.told
    }
}

/// How far an open command is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// No answer yet.
    Asked {
        until: Instant,
        streamed: bool,
        /// The caller has gone.
        gone: bool,
        /// How long the function has, also if its caller has less time.
        patience: Instant,
    },
    /// Accepted as a stream: more messages may follow.
    Streaming,
    /// The caller has gone; the function may still change the value.
    Cancelling { until: Instant },
}

impl Phase {
    /// Until when the function may still change the value because of it.
    pub(super) fn mutates_until(self) -> Option<Instant> {
        match self {
            Self::Asked { until, .. } | Self::Cancelling { until } => Some(until),
            Self::Streaming => None,
        }
    }
}

/// An answer that waits for its change to be durable, here or on members.
#[derive(Debug)]
pub(super) struct Confirming {
    pub(super) call: CallId,
    /// What the caller gets then, in order.
    pub(super) answers: Vec<Settled>,
    /// The last word, if it is said already.
    pub(super) end: Option<Result<(), Refusal>>,
    /// The version that is to be written here.
    pub(super) version: u64,
    pub(super) needed: Consistency,
    /// The number of the change that members confirm.
    pub(super) number: u64,
    /// What is sent again to members that do not confirm.
    pub(super) patch: Patch,
    pub(super) confirmed: BTreeSet<NodeId>,
    pub(super) until: Instant,
}

/// What is written of an entity, and what is not yet.
#[derive(Debug, Default)]
pub(super) struct Record {
    /// Grows with every change.
    pub(super) version: u64,
    /// The version that the store holds.
    pub(super) saved: u64,
    /// When the next write is due.
    pub(super) due: Option<Instant>,
    /// The size of the last write in bytes.
    pub(super) bytes: usize,
    /// Effects that were received with changes not written yet.
    pub(super) receipts: Vec<Origin>,
    /// The last effects whose changes are written.
    pub(super) received: VecDeque<EffectId>,
    /// Members that wait for a version to be written, and under which number.
    pub(super) acknowledge: Vec<(NodeId, u64, u64)>,
}

impl Record {
    pub(super) fn is_written(&self) -> bool {
        self.saved == self.version
    }
}

impl Entity {
    pub(super) fn new(key: EntityKey, life: u64, now: Instant) -> Self {
        Self {
            life,
            key,
            face: None,
            data: Data::Loading(Vec::new(), BTreeSet::new()),
            stream: Stream::None,
            queue: VecDeque::new(),
            open: BTreeMap::new(),
            confirming: Vec::new(),
            record: Record::default(),
            settled_with: BTreeMap::new(),
            alarm: None,
            used_at: now,
            touched_at: now,
        }
    }

    /// Whether the function may change the value now.
    pub(super) fn is_mutating(&self) -> bool {
        self.open
            .values()
            .any(|open| open.phase.mutates_until().is_some())
    }

    /// How many commands the function has not answered.
    pub(super) fn asked(&self) -> usize {
        let asked = |open: &&Open| matches!(open.phase, Phase::Asked { .. });
        self.open.values().filter(asked).count()
    }

    /// Whether the function has a command that it was lost with before.
    pub(super) fn has_lost(&self) -> bool {
        let is_lost = |open: &Open| open.lost && matches!(open.phase, Phase::Asked { .. });
        self.open.values().any(is_lost)
    }

    /// Whether nobody waits for anything of it.
    pub(super) fn is_idle(&self) -> bool {
        self.open.is_empty() && self.queue.is_empty()
    }

    /// Whether it may leave memory.
    pub(super) fn may_leave(&self) -> bool {
        self.is_idle()
            && self.confirming.is_empty()
            && self.record.is_written()
            && self.record.acknowledge.is_empty()
            && matches!(self.stream, Stream::None)
            && matches!(self.data, Data::Ready(_))
    }

    pub(super) fn state(&self) -> Option<&State> {
        match &self.data {
            Data::Ready(state) => Some(state),
            Data::Loading(..) => None,
        }
    }

    pub(super) fn live(&mut self) -> Option<&mut Live> {
        match &mut self.stream {
            Stream::Open(live) => Some(live),
            _ => None,
        }
    }

    /// The next time something of it is due, beside writing.
    pub(super) fn next_due(&self, passivate_at: Option<Instant>) -> Option<Instant> {
        let queued = self.queue.iter().map(|waiting| waiting.command.deadline);
        let open = self
            .open
            .values()
            .filter_map(|open| open.phase.mutates_until());
        let confirming = self.confirming.iter().map(|confirming| confirming.until);
        let closing = match self.stream {
            Stream::Closing(until) => Some(until),
            _ => None,
        };
        queued
            .chain(open)
            .chain(confirming)
            .chain(closing)
            .chain(passivate_at)
            .min()
    }
}
