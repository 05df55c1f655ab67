//! Random interleavings of everything that can happen to a lane.
//!
//! A small world stands around one lane: a store that checks the fence and sometimes cannot tell an
//! outcome, a function that decides when it likes, also when nobody listens any more, streams that
//! end when they like, callers with idempotency keys, effects that are delivered until they are
//! answered, other owners, crashes.
//!
//! Whatever happens: an acknowledged command is in the store, nothing is in the store twice, nobody
//! hears of a state that has not landed, every change is written on the very state that it was decided
//! on, answers and changes of an entity keep the order of its commands, no entity has two commands
//! with the function at once unless it pipelines, an effect and a keyed command run once, a timer fires
//! once each time that it is due and only as it stands, every place for a stream is given back, and everybody gets one answer in the end.

mod function;
mod store;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use firn_model::contract::{Contract, Kind};
use firn_model::decision::Mutation;
use firn_model::id::{EffectId, EntityId, EntityKey, Slot, SlotSequence, StorageName};
use firn_model::limit::PIPELINED_COMMANDS_MAX;
use firn_model::policy::{Delete, Pipelining, Policies, StreamFailure};
use firn_store::{Change, Commit, Head, Outcome, ReadError, Timer, TimerId, Timestamp};
use firn_testkit::contract::{Declared, contract};
use firn_testkit::policies;
use proptest::prelude::*;

use super::bench::{broken, of_one_slot, payload};
use crate::lane::{Caused, Command, Config, Idempotency, Input, Lane, Now, Origin, Output, Ticket};
use crate::link::{End, StreamEvent};
use crate::refusal::Refusal;
use function::{arms, decision, keeps};
use store::{Cause, State, Store};

const PROTO: &str = r#"
    syntax = "proto3";
    package t;
    message Request { string id = 1; }
    service Cart { rpc Do(Request) returns (Request); }
    service Note { rpc Do(Request) returns (Request); }
"#;

/// How many carts there are, in one slot: its instances meet at every turn.
const CARTS: usize = 3;

/// No timer is due later than that, unless it repeats.
const TIMER_MAX: Duration = Duration::from_secs(60);

/// How long a tombstone stays; a few steps of time.
const GRACE: Duration = Duration::from_secs(60);

struct World {
    lane: Lane<u32>,
    contract: Arc<Contract>,
    policies: Policies,
    /// Few entities, so that they meet; the carts are of one slot.
    entities: Vec<(&'static str, String)>,
    start: Instant,
    now: Duration,
    next: u32,
    store: Store,
    /// Under which heads the lane has begun.
    begun: BTreeMap<Slot, Head>,
    /// Whether another owner has taken a slot.
    usurped: bool,
    // What is under way.
    loads: VecDeque<(Ticket, EntityKey)>,
    looks: VecDeque<Look>,
    /// Look-ups of timers, with what the store held when they began.
    timer_looks: VecDeque<(TimerId, u64, Option<Timer>)>,
    /// Timers that the lane was told of and is not done with.
    in_hand: HashSet<TimerId>,
    grants: VecDeque<Ticket>,
    commits: BTreeMap<Slot, VecDeque<Commit>>,
    resolves: VecDeque<Slot>,
    /// Open streams: their entity, and what the function has.
    streams: BTreeMap<u64, Open>,
    closing: Vec<Ticket>,
    /// Streams that were reset while the function had something to answer on them.
    ghosts: Vec<Ticket>,
    /// What is being decided, while the lane hears of it.
    deciding: Option<Cause>,
    causes: HashMap<(Slot, SlotSequence), Cause>,
    /// Places for streams that the lane holds.
    held: usize,
    // Whom the callers are.
    asked: BTreeMap<u32, EntityKey>,
    answered: HashMap<u32, Answered>,
    /// The last command of an entity that was acknowledged.
    acknowledged: HashMap<EntityKey, u32>,
    /// The state after each decision.
    decided: HashMap<u32, State>,
    /// Commands whose decision holds a mutation that is kept.
    wrote: BTreeSet<u32>,
    /// Commands whose decision sets a timer and is kept.
    armed: BTreeSet<u32>,
    /// Deliveries that are to be tried, and those that wait for an answer.
    deliveries: VecDeque<Origin>,
    delivering: HashMap<u32, Origin>,
    /// Effects whose delivery was answered.
    delivered: HashSet<EffectId>,
}

struct Look {
    ticket: Ticket,
    key: EntityKey,
    idempotency_key: Option<String>,
    effect: Option<EffectId>,
}

struct Open {
    ticket: Ticket,
    key: EntityKey,
    commands: VecDeque<u32>,
    snapshot: bool,
    /// The entity as the function has it.
    state: State,
    is_deleted: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answered {
    Acknowledged,
    Refused,
    /// It may have been applied.
    Unknown,
}

impl World {
    fn new(base: Policies) -> Self {
        let policies = Policies {
            snapshot_every: Some(3),
            delete: match base.delete {
                Delete::Plain => Delete::Plain,
                Delete::Tombstone(_) => Delete::Tombstone(GRACE),
            },
            ..base
        };
        let declare = |service, kind| Declared {
            service,
            kind,
            policies: policies.clone(),
        };
        let declared = vec![
            declare("t.Cart", Kind::EventSourced),
            declare("t.Note", Kind::Value),
        ];
        let carts = of_one_slot::<CARTS>().map(|id| ("t.Cart", id));
        let notes = ["a", "b"].map(|id| ("t.Note", id.to_owned()));
        let mut world = Self {
            lane: Lane::new(Config::default(), []),
            contract: Arc::new(contract(PROTO, declared)),
            policies,
            entities: carts.into_iter().chain(notes).collect(),
            start: Instant::now(),
            now: Duration::ZERO,
            next: 0,
            store: Store::default(),
            begun: BTreeMap::new(),
            usurped: false,
            loads: VecDeque::new(),
            looks: VecDeque::new(),
            timer_looks: VecDeque::new(),
            in_hand: HashSet::new(),
            grants: VecDeque::new(),
            commits: BTreeMap::new(),
            resolves: VecDeque::new(),
            streams: BTreeMap::new(),
            closing: Vec::new(),
            ghosts: Vec::new(),
            deciding: None,
            causes: HashMap::new(),
            held: 0,
            asked: BTreeMap::new(),
            answered: HashMap::new(),
            acknowledged: HashMap::new(),
            decided: HashMap::new(),
            wrote: BTreeSet::new(),
            armed: BTreeSet::new(),
            deliveries: VecDeque::new(),
            delivering: HashMap::new(),
            delivered: HashSet::new(),
        };
        world.begin();
        world
    }

    /// A lane begins with what is stored.
    fn begin(&mut self) {
        self.begun = self.store.heads.clone();
        self.lane = Lane::new(Config::default(), self.begun.clone());
        self.on(Input::Contract(self.contract.clone()));
        let mut lowest: HashMap<Slot, SlotSequence> = HashMap::new();
        for effect in self.store.outbox.clone() {
            let lowest_open = *lowest.entry(effect.slot).or_insert(effect.sequence);
            self.on(Input::Recovered(effect));
            self.deliveries.push_back(Origin {
                effect,
                lowest_open,
                redelivered: true,
            });
        }
    }

    fn now(&self) -> Now {
        Now {
            instant: self.start + self.now,
            wall: Timestamp(1_000_000).plus(self.now),
        }
    }

    fn on(&mut self, input: Input<u32>) {
        let now = self.now();
        let outputs: Vec<_> = self.lane.on(now, input).collect();
        for output in outputs {
            self.carry_out(output);
        }
    }

    fn carry_out(&mut self, output: Output<u32>) {
        match output {
            Output::Load(ticket, key, _) => self.loads.push_back((ticket, key)),
            Output::Look {
                ticket,
                key,
                record,
                received,
            } => self.looks.push_back(Look {
                ticket,
                key,
                idempotency_key: record.map(|(_, key)| key.to_string()),
                effect: received,
            }),
            Output::AcquireStream(ticket) => self.grants.push_back(ticket),
            Output::ReleaseStream => self.held -= 1,
            Output::Open(ticket, opening) => {
                let storage = opening.component.storage.clone();
                let key = EntityKey::new(storage, opening.id.stored().clone());
                assert_eq!(opening.entity, self.store.load(&key), "the state is stale");
                let other = self.streams.values().find(|open| open.key == key);
                assert!(other.is_none(), "two streams of one entity");
                let open = Open {
                    ticket,
                    commands: VecDeque::new(),
                    snapshot: false,
                    state: self.store.state(&key),
                    is_deleted: opening.entity.deleted_until.is_some(),
                    key,
                };
                self.streams.insert(ticket.life, open);
            }
            Output::Send(ticket, command) => {
                let text = std::str::from_utf8(&command.message).expect("text");
                let id = text.parse().expect("a number");
                // A stream may have ended before the lane has heard of it.
                let max = match self.policies.pipelining {
                    Pipelining::Off => 1,
                    Pipelining::On => PIPELINED_COMMANDS_MAX,
                };
                if let Some(open) = self.streams.get_mut(&ticket.life) {
                    open.commands.push_back(id);
                    assert!(open.commands.len() <= max, "too many commands at once");
                    assert!(!open.snapshot, "a command beside a request for a snapshot");
                }
            }
            Output::RequestSnapshot(ticket) => {
                if let Some(open) = self.streams.get_mut(&ticket.life) {
                    assert!(open.commands.is_empty(), "a request beside a command");
                    open.snapshot = true;
                }
            }
            Output::HalfClose(ticket) => {
                let open = self.streams.get(&ticket.life);
                let has_none = open.is_none_or(|open| open.commands.is_empty());
                assert!(has_none, "the function still has a command");
                self.closing.push(ticket);
            }
            Output::Reset(ticket) => {
                let open = self.streams.remove(&ticket.life);
                if open.is_some_and(|open| !open.commands.is_empty()) {
                    self.ghosts.push(ticket);
                }
            }
            Output::Commit(commit) => {
                let own = self.begun.get(&commit.slot).copied().unwrap_or_default();
                assert_eq!(commit.epoch, own.epoch, "written as somebody else");
                let place = (commit.slot, commit.sequence);
                self.causes.remove(&place);
                if is_decided(&commit) {
                    let cause = self
                        .deciding
                        .take()
                        .expect("nothing else changes an entity");
                    self.causes.insert(place, cause);
                }
                let under_way = self.commits.entry(commit.slot).or_default();
                under_way.push_back(*commit);
            }
            Output::LookTimer { id, turn } => {
                let stands = self.store.timers.get(&id).cloned();
                self.timer_looks.push_back((id, turn, stands));
            }
            Output::TimerDone { id, .. } => {
                assert!(self.in_hand.remove(&id), "nobody asked for {id:?}");
            }
            Output::Armed(due) => assert!(due >= Timestamp(1_000_000)),
            Output::Resolve(slot) => {
                let under_way = self.commits.get(&slot).map_or(0, VecDeque::len);
                assert_eq!(under_way, 0, "a commit could land behind the question");
                self.resolves.push_back(slot);
            }
            Output::Answer(id, result) => self.answered(id, result.map(|settled| settled.effects)),
            Output::Orphaned { effects, .. } => self.deliver(effects),
            Output::Pass(..) | Output::NoRoom | Output::Report { .. } => {}
        }
    }

    fn answered(&mut self, id: u32, result: Result<Vec<Caused>, Refusal>) {
        let answered = match &result {
            Ok(_) => Answered::Acknowledged,
            Err(Refusal::CommitUnknown) => Answered::Unknown,
            Err(_) => Answered::Refused,
        };
        let earlier = self.answered.insert(id, answered);
        assert_eq!(earlier, None, "{id} was answered twice");
        let is_written = self.store.written.contains(&id);
        let is_armed = self.store.armed.contains(&id);
        match answered {
            Answered::Acknowledged => {
                assert_eq!(self.wrote.contains(&id), is_written, "{id}: an open gate");
                assert_eq!(self.armed.contains(&id), is_armed, "{id}: an open gate");
                self.acknowledged(id);
            }
            Answered::Refused => {
                assert!(!is_written && !is_armed, "{id} was refused and is stored");
            }
            Answered::Unknown => {}
        }
        if let Some(origin) = self.delivering.remove(&id) {
            match &result {
                Err(refusal) if refusal.delays_delivery() => self.deliveries.push_back(Origin {
                    redelivered: true,
                    ..origin
                }),
                _ => {
                    self.delivered.insert(origin.effect);
                    self.on(Input::Delivered(origin.effect));
                }
            }
        }
        self.deliver(result.unwrap_or_default());
    }

    /// An acknowledged command comes after those before it, and has seen nothing that is not stored.
    fn acknowledged(&mut self, id: u32) {
        let key = &self.asked[&id];
        let before = self.acknowledged.insert(key.clone(), id);
        assert!(before.is_none_or(|before| before < id), "out of order");
        if let Some(state) = self.decided.get(&id) {
            let was_there = self.store.was_in(key, *state);
            assert!(
                was_there,
                "{id} was answered from a state that is not stored"
            );
        }
    }

    fn deliver(&mut self, effects: Vec<Caused>) {
        let origins = effects.into_iter().filter_map(|caused| caused.origin);
        self.deliveries.extend(origins);
    }

    fn command(
        &mut self,
        entity: u32,
        idempotency_key: Option<u32>,
        origin: Option<Origin>,
    ) -> u32 {
        let id = self.next;
        self.next += 1;
        let (service, entity) = &self.entities[entity as usize % self.entities.len()];
        let key = EntityKey::new(StorageName::new(*service), entity.as_str());
        self.asked.insert(id, key);
        let own = self.now + Duration::from_secs(u64::from(id % 50) + 1);
        let deadline = id.is_multiple_of(3).then(|| self.start + own);
        let path = format!("/{service}/Do");
        let command = Command {
            id: EntityId::single(entity.as_str()),
            method: self.contract.method(&path).expect("a method").clone(),
            message: Bytes::from(id.to_string()),
            metadata: None,
            deadline,
            idempotency: idempotency_key.map(|key| Idempotency {
                key: format!("k{key}").into(),
                request_hash: 7,
            }),
            origin,
            hops: 0,
            reply: id,
        };
        if let Some(origin) = origin {
            self.delivering.insert(id, origin);
        }
        self.on(Input::Command(command));
        id
    }

    /// Tries to deliver an effect; its target follows from its identity.
    fn try_delivery(&mut self) {
        if let Some(origin) = self.deliveries.pop_front() {
            let place = origin.effect.sequence.0 as u32 + origin.effect.index;
            self.command(CARTS as u32 + place % 2, None, Some(origin));
        }
    }

    fn finish_load(&mut self) {
        if let Some((ticket, key)) = self.loads.pop_front() {
            let entity = self.store.load(&key);
            self.on(Input::Loaded(ticket, Ok(entity)));
        }
    }

    fn finish_look(&mut self) {
        if let Some(look) = self.looks.pop_front() {
            let key = look.idempotency_key.as_deref();
            let known = self.store.known(&look.key, key, look.effect);
            self.on(Input::Looked(look.ticket, Ok(known)));
        }
    }

    /// Somebody thinks that a timer is due.
    fn timer_due(&mut self, which: u32) {
        let timers: Vec<&TimerId> = self.store.timers.keys().collect();
        if let Some(id) = pick(&timers, which).cloned() {
            self.in_hand.insert(id.clone());
            self.on(Input::Due(id));
        }
    }

    /// Tells the lane of every timer that is due.
    fn timers_due(&mut self) {
        let now = self.now().wall;
        let due = self.store.timers.iter();
        let due = due.filter(|(id, timer)| timer.due <= now && !self.in_hand.contains(id));
        let due: Vec<TimerId> = due.map(|(id, _)| id.clone()).collect();
        for id in due {
            self.in_hand.insert(id.clone());
            self.on(Input::Due(id));
        }
    }

    /// The store tells how a timer stands, or stood when it was asked.
    fn finish_timer_look(&mut self, how: u32) {
        let Some((id, turn, stood)) = self.timer_looks.pop_front() else {
            return;
        };
        let result = match how % 8 {
            0 => Err(ReadError::Unavailable {
                cause: "chance".to_owned(),
            }),
            1..4 => Ok(stood),
            _ => Ok(self.store.timers.get(&id).cloned()),
        };
        self.on(Input::TimerLooked { id, turn, result });
    }

    fn grant(&mut self) {
        if let Some(ticket) = self.grants.pop_front() {
            self.held += 1;
            self.on(Input::Granted(ticket));
        }
    }

    /// The function answers one of its commands, or a request for a snapshot.
    fn decide(&mut self, which: u32, how: u32) {
        let is_busy = |open: &Open| !open.commands.is_empty() || open.snapshot;
        let busy: Vec<u64> = self
            .streams
            .iter()
            .filter(|(_, open)| is_busy(open))
            .map(|(life, _)| *life)
            .collect();
        let Some(life) = pick(&busy, which) else {
            return;
        };
        let open = self.streams.get_mut(&life).expect("just found");
        let ticket = open.ticket;
        let Some(id) = open.commands.pop_front() else {
            open.snapshot = false;
            let snapshot = how.is_multiple_of(2).then(|| payload("snapshot"));
            return self.on(Input::Stream(ticket, StreamEvent::Snapshot(snapshot)));
        };
        if (how / 512).is_multiple_of(16)
            && self.policies.stream_failure == StreamFailure::FailsCommand
        {
            let failed = StreamEvent::CommandFailed(broken());
            return self.on(Input::Stream(ticket, failed));
        }
        let is_cart = open.key.storage.as_str() == "t.Cart";
        let decision = decision(id, is_cart, how);
        let before = open.state;
        let is_kept = keeps(&self.policies, &decision);
        let fits = !is_kept || !open.is_deleted || !decision.mutation.writes();
        match arms(&self.policies, &decision) && fits {
            true => self.armed.insert(id),
            false => self.armed.remove(&id),
        };
        let changes = is_kept
            && decision.mutation != Mutation::Nothing
            && (decision.mutation.writes() || !open.is_deleted);
        if changes {
            open.state = before.after(id);
            let delete = matches!(decision.mutation, Mutation::Delete { .. });
            open.is_deleted |= delete && self.policies.delete != Delete::Plain;
            let after = open.state;
            self.deciding = Some(Cause { id, before, after });
            if !delete {
                self.wrote.insert(id);
            }
        }
        self.decided.insert(id, open.state);
        self.on(Input::Stream(ticket, StreamEvent::Decided(decision)));
        self.deciding = None;
    }

    /// The function answers on a stream that was reset.
    fn haunt(&mut self, how: u32) {
        if let Some(ticket) = self.ghosts.pop() {
            let event = match how % 4 {
                0 => StreamEvent::CommandFailed(broken()),
                1 => StreamEvent::Ended(End::Released),
                _ => StreamEvent::Decided(decision(u32::MAX, true, how)),
            };
            self.on(Input::Stream(ticket, event));
        }
    }

    /// A stream ends: because it was half-closed, or for no reason at all.
    fn end(&mut self, which: u32, badly: bool) {
        let ticket = if badly {
            let open: Vec<u64> = self.streams.keys().copied().collect();
            pick(&open, which).map(|life| self.streams[&life].ticket)
        } else {
            self.closing.pop()
        };
        let Some(ticket) = ticket else { return };
        if self.streams.remove(&ticket.life).is_none() {
            return;
        }
        let cause = "chance".to_owned();
        let end = match (badly, which % 8) {
            (false, _) => End::Completed,
            (true, 0) => End::Unreachable { cause },
            (true, 1..4) => End::Terminated { cause },
            (true, 4) => End::Failed(broken()),
            (true, _) => End::Released,
        };
        self.on(Input::Stream(ticket, StreamEvent::Ended(end)));
    }

    /// The store decides about the oldest commits of a slot, and may not be able to tell.
    fn write(&mut self, which: u32, how: u32) {
        let slots: Vec<Slot> = self
            .commits
            .iter()
            .filter(|(_, under_way)| !under_way.is_empty())
            .map(|(slot, _)| *slot)
            .collect();
        let Some(slot) = pick(&slots, which) else {
            return;
        };
        let under_way = self.commits.get_mut(&slot).expect("just found");
        let count = under_way.len().min(1 + (how / 8) as usize % 3);
        let batch: Vec<Commit> = under_way.drain(..count).collect();
        let last = batch.last().expect("just found").sequence;
        let unknown = || Outcome::Unknown {
            cause: "chance".to_owned(),
        };
        let first = &batch[0];
        let before = Head {
            epoch: first.epoch,
            sequence: SlotSequence(first.sequence.0 - 1),
        };
        let outcome = match how % 8 {
            0 => unknown(),
            7 => Outcome::NotWritten {
                head: before,
                cause: "chance".to_owned(),
            },
            other => match self.store.write(&batch, &self.causes) {
                _ if other == 1 => unknown(),
                Ok(()) => Outcome::Landed,
                Err(head) => Outcome::Refused { head },
            },
        };
        self.on(Input::Committed {
            slot,
            last,
            outcome,
        });
    }

    fn resolve(&mut self) {
        if let Some(slot) = self.resolves.pop_front() {
            let head = self.store.heads.get(&slot).copied().unwrap_or_default();
            self.on(Input::Resolved(slot, head));
        }
    }

    /// Another owner takes a slot.
    fn usurp(&mut self, which: u32) {
        let slots: Vec<Slot> = self.store.heads.keys().copied().collect();
        if let Some(slot) = pick(&slots, which) {
            let head = self.store.heads.get_mut(&slot).expect("just found");
            head.epoch.0 += 1;
            self.usurped = true;
        }
    }

    /// The process ends and begins again: callers and the function's memory are gone.
    fn crash(&mut self) {
        for id in self.asked.keys() {
            self.answered.entry(*id).or_insert(Answered::Unknown);
        }
        self.loads.clear();
        self.looks.clear();
        self.timer_looks.clear();
        self.in_hand.clear();
        self.grants.clear();
        self.commits.clear();
        self.resolves.clear();
        self.streams.clear();
        self.closing.clear();
        self.ghosts.clear();
        self.causes.clear();
        self.deliveries.clear();
        self.delivering.clear();
        self.held = 0;
        self.usurped = false;
        self.begin();
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.on(Input::Wake);
    }

    /// The store was asked for expired tombstones a while ago.
    fn expired(&mut self, which: u32) {
        let (service, id) = &self.entities[CARTS + which as usize % 2];
        let key = EntityKey::new(StorageName::new(*service), id.as_str());
        self.on(Input::Expired(key));
    }

    fn step(&mut self, (action, a, b): (u32, u32, u32)) {
        match action % 27 {
            0..=2 => drop(self.command(a, None, None)),
            3 => drop(self.command(a, Some(b % 2), None)),
            4 | 5 => self.try_delivery(),
            6 | 7 => self.finish_load(),
            8 => self.finish_look(),
            9 | 10 => self.grant(),
            11..=14 => self.decide(a, b),
            15 | 16 => self.write(a, b),
            17 => self.resolve(),
            18 => self.end(a, false),
            19 if b % 4 == 3 => self.haunt(a),
            19 => self.end(a, b % 4 == 0),
            20 => self.pass(Duration::from_secs(u64::from(a % 40))),
            21 => self.expired(a),
            22 if b % 2 == 0 => self.on(Input::MakeRoom),
            22 => self.on(Input::RoomEnough),
            23 => self.timer_due(a),
            24 | 25 => self.finish_timer_look(b),
            _ if b % 8 < 3 => self.usurp(a),
            _ if b % 8 == 3 => self.crash(),
            _ => self.write(a, b),
        }
    }

    /// Lets everything end: first what was asked, then every delivery, then the lane.
    fn settle(&mut self) {
        // Also who asked for what another owner has is answered.
        for round in 0..20_000 {
            if self.asked.len() == self.answered.len() {
                break;
            }
            self.go_on(round);
        }
        self.check_answers();
        if self.usurped {
            self.crash();
        }
        let mut draining = false;
        self.pass(TIMER_MAX);
        for round in 0..20_000 {
            let is_done = self.deliveries.is_empty()
                && self.store.timers.values().all(|it| it.repeat.is_some())
                && self.commits.values().all(VecDeque::is_empty)
                && self.resolves.is_empty()
                && self.asked.len() == self.answered.len();
            if is_done && !draining {
                draining = true;
                self.on(Input::Drain);
            }
            if draining && self.lane.is_empty() {
                return;
            }
            self.try_delivery();
            self.go_on(round);
        }
        panic!("it never ends: {:?}", self.lane);
    }

    /// Everybody does what the lane waits for.
    fn go_on(&mut self, round: u32) {
        self.finish_load();
        self.finish_look();
        self.timers_due();
        self.finish_timer_look(round);
        self.grant();
        self.decide(round, 3 + 8 * 2);
        self.write(round, 2);
        self.resolve();
        self.end(0, false);
        self.pass(Duration::from_millis(5));
    }

    fn check_answers(&self) {
        let unanswered: Vec<_> = self
            .asked
            .keys()
            .filter(|id| !self.answered.contains_key(id))
            .collect();
        assert!(unanswered.is_empty(), "nobody answered {unanswered:?}");
    }

    fn check(&self) {
        self.check_answers();
        for (id, answered) in &self.answered {
            let is_written = self.store.written.contains(id);
            assert!(
                *answered != Answered::Refused || !is_written,
                "{id} was refused and is stored"
            );
        }
        assert_eq!(self.held, 0, "places for streams are lost");
        assert_eq!(
            self.store.outbox,
            BTreeSet::new(),
            "effects are left behind"
        );
        for effect in &self.store.caused {
            let arrived = self.store.received.contains(effect) || self.delivered.contains(effect);
            assert!(arrived, "{effect:?} never arrived");
        }
    }
}

/// Whether a commit changes an entity as its function decided.
fn is_decided(commit: &Commit) -> bool {
    matches!(
        commit.change,
        Some(Change::Append { .. } | Change::Set(_) | Change::Delete { .. })
    )
}

fn pick<T: Copy>(of: &[T], which: u32) -> Option<T> {
    of.get(which as usize % of.len().max(1)).copied()
}

fn live(policies: Policies, steps: Vec<(u32, u32, u32)>) {
    let mut world = World::new(policies);
    for step in steps {
        world.step(step);
    }
    world.settle();
    world.check();
}

fn steps() -> impl Strategy<Value = Vec<(u32, u32, u32)>> {
    proptest::collection::vec((any::<u32>(), any::<u32>(), any::<u32>()), 0..400)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(80))]

    #[test]
    fn nothing_acknowledged_is_lost_by_careful_functions(steps in steps()) {
        live(policies::careful(), steps);
    }

    #[test]
    fn nothing_acknowledged_is_lost_by_plain_functions(steps in steps()) {
        live(policies::plain(), steps);
    }

    #[test]
    fn nothing_acknowledged_is_lost_by_pipelined_functions(steps in steps()) {
        live(policies::pipelined(), steps);
    }

    #[test]
    fn nothing_acknowledged_is_lost_where_tombstones_are_pipelined(steps in steps()) {
        let delete = policies::careful().delete;
        live(Policies { delete, ..policies::pipelined() }, steps);
    }

    #[test]
    fn nothing_acknowledged_is_lost_where_lost_commands_of_a_pipeline_fail(steps in steps()) {
        let pipelining = Pipelining::On;
        live(Policies { pipelining, ..policies::plain() }, steps);
    }
}
