//! Replicated entities on one node: the pure machine that holds their replicas.
//!
//! [`Replicas::on`] takes one input and the time, and gives outputs for its driver to carry out, in
//! the manner of a [`lane`]. Unlike there, every node that is asked has a replica of its
//! own, so nothing here waits for an owner: a replica takes commands, writes itself down and agrees
//! with the others afterwards.
//!
//! # How it works
//! An entity in memory is a replica ([`firn_crdt::State`]) and perhaps a stream to the function,
//! which holds a plain value. The function's changes are applied to the replica and go to the
//! members; changes of members are merged at once, and what they mean for the function's value is
//! sent to it as one difference when no command is open: both sides never change the value at the
//! same time. Until then the replica as the function knows it is kept beside.
//!
//! A change is written behind, within [`Config::write_behind`], unless its write consistency asks
//! for more: then the caller is answered once the change is durable here and on as many members as
//! that says.
//!
//! Members are told of every change and confirm it. What is not confirmed in time is settled by
//! digests: each says what it has seen of the entity and gets what it lacks. The same brings a node
//! up to date that was away or is new.
//!
//! # Reading order
//! [`network`] is the seam to other nodes; `entity` what is kept of an entity; `commands`
//! what the function answers; `stream` the life of its stream; `spread` the other replicas and `peer`
//! what is known of them;
//! `save` the store; `care` time, room and the end.
//!
//! # Invariants
//! - A dot is given once: the node's incarnation is durable before the first command.
//! - No delta goes to the function while a command is open, and never its own change.
//! - A change that cannot be understood fails its command and nothing else; nothing is stored.
//! - Every command ends: by an answer, a refusal or its deadline.

mod care;
mod commands;
pub(crate) mod driver;
mod entity;
pub mod network;
mod peer;
mod save;
mod spread;
mod stream;
pub(crate) mod told;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use firn_model::contract::Method;
use firn_model::id::{EntityId, EntityKey, NodeId, Replica};
use firn_model::metadata::Metadata;
use firn_model::replicated::Delta;
use firn_store::{ReadError, ReplicaWrite};
use slab::Slab;

use crate::lane::{self, Caused, Now, Origin, Settled, Ticket};
use crate::link::{ReplicaCommand, ReplicaEvent, ReplicaOpening};
use crate::refusal::Refusal;
use entity::Entity;
use network::{Membership, Message};
use peer::Peer;
use save::Saving;

/// Bounds of replicated entities.
#[derive(Debug, Clone)]
pub struct Config {
    /// What they share with other entities.
    pub lane: lane::Config,
    /// How long a change that was acknowledged may be in memory only; ten times that for an entity
    /// above [`LARGE_BYTES`].
    pub write_behind: Duration,
    /// How long members have to confirm a change whose consistency asks for it.
    pub confirm_within: Duration,
    /// After how long a change that a member did not confirm is settled by digests; doubles while
    /// nothing is heard of the member.
    pub retry_after: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            lane: lane::Config::default(),
            write_behind: Duration::from_millis(100),
            confirm_within: Duration::from_secs(5),
            retry_after: Duration::from_millis(500),
        }
    }
}

/// From this encoded size on an entity is written behind ten times as slowly: each write holds the
/// whole of it.
pub const LARGE_BYTES: usize = 256 * 1024;

/// Commands of one entity that may be with the function at once.
pub const OPEN_COMMANDS_MAX: usize = 1024;

/// Streamed commands of one entity that may go on at once: each has a caller who listens.
pub const WATCHERS_MAX: usize = 2048;

/// A write holds about this many bytes at most, unless a single replica is larger.
const SAVE_BYTES_MAX: usize = 8 * 1024 * 1024;

/// How long a half-closed stream may last from when a command waits for the next one. Nothing that
/// comes on it counts any more, and some SDKs never end it; those that do need far less.
const CLOSING_WAIT: Duration = Duration::from_millis(100);

/// How long an entity that nobody uses stays in memory.
const LINGER: Duration = Duration::from_secs(2);

/// One call, as the dispatcher numbers them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallId(pub u64);

/// A command for a replicated entity.
#[derive(Debug, Clone)]
pub struct Command {
    /// Where the answers go.
    pub call: CallId,
    /// The entity.
    pub id: EntityId,
    /// The method called.
    pub method: Arc<Method>,
    /// The request message.
    pub message: Bytes,
    /// Headers the function may see; `None` leaves the field unset.
    pub metadata: Option<Metadata>,
    /// When the caller stops waiting for the first answer.
    pub deadline: Instant,
    /// Whether the caller takes a stream of replies.
    pub streamed: bool,
    /// The effect that caused it, if one did.
    pub origin: Option<Origin>,
    /// How many forwards, effects and calls led to it.
    pub hops: u32,
}

impl Command {
    fn key(&self) -> EntityKey {
        EntityKey::new(
            self.method.component.storage.clone(),
            self.id.stored().clone(),
        )
    }
}

/// What happens to the replicas of a node.
#[derive(Debug)]
pub enum Input {
    /// A command came in.
    Command(Command),
    /// The caller of a streamed command has gone.
    CallerGone(EntityKey, CallId),
    /// [`Output::Load`] ended.
    Loaded(Ticket, Result<Option<Bytes>, ReadError>),
    /// [`Output::AcquireStream`] was granted.
    Granted(Ticket),
    /// Something came on an entity's stream.
    Stream(Ticket, ReplicaEvent),
    /// [`Output::Save`] ended.
    Saved(Result<(), String>),
    /// The membership is now this.
    Members(Arc<Membership>),
    /// A message of another node.
    Peer(Replica, Message),
    /// [`Output::List`] ended: keys of this machine, and where to go on.
    Listed(NodeId, Result<Page, ReadError>),
    /// Somebody waits for a stream: an idle one is to give way.
    MakeRoom,
    /// Nobody waits for a stream any more.
    RoomEnough,
    /// Time has passed.
    Wake,
    /// Complete the answers of streamed commands, now and from now on: callers are to go.
    CompleteStreams,
    /// Take no new commands, finish the accepted ones, write all down.
    Drain,
}

/// Some of the keys that the store has.
#[derive(Debug)]
pub struct Page {
    /// Those that belong to this machine.
    pub keys: Vec<EntityKey>,
    /// The last key read, if there may be more.
    pub next: Option<EntityKey>,
}

/// What the replicas of a node want done.
#[derive(Debug)]
pub enum Output {
    /// Load a replica.
    Load(Ticket, EntityKey),
    /// Ask for leave to open a stream.
    AcquireStream(Ticket),
    /// A stream is over: others may have its place.
    ReleaseStream,
    /// Open a stream.
    Open(Ticket, Box<ReplicaOpening>),
    /// Send a command on an open stream.
    Send(Ticket, Box<ReplicaCommand>),
    /// Send a change that came from elsewhere.
    Delta(Ticket, Box<Delta>),
    /// Say that the caller of a streamed command has gone.
    Cancel(Ticket, i64),
    /// Say that the entity was deleted elsewhere.
    Delete(Ticket),
    /// Half-close a stream.
    HalfClose(Ticket),
    /// Reset a stream.
    Reset(Ticket),
    /// Write replicas down, all of them in one durable write.
    Save(Vec<ReplicaWrite>),
    /// An answer for a caller; of a streamed command one of several.
    Next(CallId, Settled),
    /// Run effects that no caller waits for.
    Orphaned(Vec<Caused>),
    /// The last word for a caller.
    End(CallId, Result<(), Refusal>),
    /// Send a message to another node.
    Peer(NodeId, Message),
    /// Read keys from the store, after this one, for this member.
    List(NodeId, Option<EntityKey>),
    /// Nobody is idle: the request for room goes on.
    NoRoom,
    /// Tell the operator that something failed.
    Report {
        /// The entity.
        key: EntityKey,
        /// What happened.
        text: String,
    },
}

/// The replicas of a node, or of a part of its slots. See the [module](self).
#[derive(Debug)]
pub struct Replicas {
    config: Config,
    me: Replica,
    /// Whether this machine speaks for the node as a whole.
    speaks: bool,
    membership: Arc<Membership>,
    peers: BTreeMap<NodeId, Peer>,
    entities: Slab<Entity>,
    by_key: HashMap<EntityKey, usize>,
    alarms: BTreeSet<(Instant, usize)>,
    /// Numbers of changes and digests.
    numbers: u64,
    lives: u64,
    /// Entities that are to be written, by when.
    dirty: BTreeSet<(Instant, usize)>,
    /// What the write under way holds.
    saving: Option<Vec<Saving>>,
    /// No save before then: the last one failed.
    save_again_at: Option<Instant>,
    /// The listing under way: for which member, and which of its rounds.
    listing: Option<(NodeId, u64)>,
    room_wanted: usize,
    /// Whether the members were greeted.
    begun: bool,
    /// Whether streams of answers are completed as soon as they begin.
    completing: bool,
    draining: bool,
    out: Vec<Output>,
}

impl Replicas {
    /// The replicas of this node; of several machines of a node the first speaks for it.
    pub fn new(config: Config, me: Replica, membership: Arc<Membership>, speaks: bool) -> Self {
        let mut replicas = Self {
            config,
            me,
            speaks,
            membership: Arc::new(Membership::alone(me.node)),
            peers: BTreeMap::new(),
            entities: Slab::new(),
            by_key: HashMap::new(),
            alarms: BTreeSet::new(),
            // What was numbered by an earlier run is never taken for an answer to this one.
            numbers: u64::from(me.incarnation.0.get()) << 32,
            lives: 0,
            dirty: BTreeSet::new(),
            saving: None,
            save_again_at: None,
            listing: None,
            room_wanted: 0,
            begun: false,
            completing: false,
            draining: false,
            out: Vec::new(),
        };
        replicas.meet(membership);
        replicas
    }

    /// Takes one input; gives what is to be done about it, in order.
    pub fn on(&mut self, now: Now, input: Input) -> std::vec::Drain<'_, Output> {
        if !std::mem::replace(&mut self.begun, true) {
            self.greet(now);
        }
        match input {
            Input::Command(command) => self.accept(command, now),
            Input::CallerGone(key, call) => self.caller_gone(&key, call, now),
            Input::Loaded(ticket, result) => self.loaded(ticket, result, now),
            Input::Granted(ticket) => self.granted(ticket, now),
            Input::Stream(ticket, event) => self.streamed(ticket, event, now),
            Input::Saved(result) => self.saved(result, now),
            Input::Members(membership) => self.members(membership, now),
            Input::Peer(from, message) => self.told(from, message, now),
            Input::Listed(member, page) => self.listed(member, page, now),
            Input::MakeRoom => self.make_room(now),
            Input::RoomEnough => self.room_wanted = 0,
            Input::Wake => {}
            Input::CompleteStreams => self.complete_streams(now),
            Input::Drain => self.drain(now),
        }
        self.wake(now);
        self.out.drain(..)
    }

    /// Whether nothing is in memory and nothing is under way: a drained machine may stop.
    pub fn is_empty(&self) -> bool {
        self.entities.is_empty() && self.saving.is_none()
    }

    /// How many entities are in memory.
    pub fn active(&self) -> usize {
        self.entities.len()
    }

    fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    /// The entity of a ticket, if it still lives that life.
    fn of(&self, ticket: Ticket) -> Option<usize> {
        let entity = self.entities.get(ticket.index)?;
        (entity.life == ticket.life).then_some(ticket.index)
    }

    fn ticket(&self, index: usize) -> Ticket {
        Ticket {
            index,
            life: self.entities[index].life,
        }
    }
}

#[cfg(test)]
mod tests;
