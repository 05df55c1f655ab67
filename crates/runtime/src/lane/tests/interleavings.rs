//! Random interleavings of everything that can happen to a lane.
//!
//! A small world stands around one lane: a store that checks the fence and sometimes cannot tell an
//! outcome, a function that decides when it likes, streams that end when they like, callers with
//! idempotency keys, effects that are delivered until they are answered, other owners, crashes.
//! Whatever happens: an acknowledged command is in the store, nothing is in the store twice, nobody
//! hears of a commit that has not landed, no entity has two commands with the function at once, an
//! effect and a keyed command run once, every place for a stream is given back, and everybody gets
//! an answer in the end.

mod store;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use firn_model::contract::{Contract, Kind};
use firn_model::decision::{Answer, Append, Decision, Mutation};
use firn_model::id::{EffectId, EntityId, EntityKey, Slot, SlotSequence, StorageName};
use firn_model::payload::Payload;
use firn_model::policy::{Delete, FailureMutation, Policies};
use firn_store::{Commit, Head, Outcome, Timestamp};
use firn_testkit::contract::{Declared, contract};
use firn_testkit::policies;
use proptest::prelude::*;

use super::bench::{effect, failure, of_one_slot, payload, read};
use crate::lane::{Caused, Command, Config, Idempotency, Input, Lane, Now, Origin, Output, Ticket};
use crate::link::{End, StreamEvent};
use crate::refusal::Refusal;
use store::Store;

const PROTO: &str = r#"
    syntax = "proto3";
    package t;
    message Request { string id = 1; }
    service Cart { rpc Do(Request) returns (Request); }
    service Note { rpc Do(Request) returns (Request); }
"#;

/// How many carts there are, in one slot: its instances meet at every turn.
const CARTS: usize = 3;

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
    grants: VecDeque<Ticket>,
    commits: BTreeMap<Slot, VecDeque<Commit>>,
    resolves: VecDeque<Slot>,
    /// Open streams: their entity, and what the function has.
    streams: BTreeMap<u64, Open>,
    closing: Vec<Ticket>,
    /// Places for streams that the lane holds.
    held: usize,
    // Whom the callers are.
    asked: BTreeSet<u32>,
    answered: HashMap<u32, Answered>,
    /// Commands whose decision holds a mutation that is kept.
    wrote: BTreeSet<u32>,
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
    command: Option<u32>,
    snapshot: bool,
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
            grants: VecDeque::new(),
            commits: BTreeMap::new(),
            resolves: VecDeque::new(),
            streams: BTreeMap::new(),
            closing: Vec::new(),
            held: 0,
            asked: BTreeSet::new(),
            answered: HashMap::new(),
            wrote: BTreeSet::new(),
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

    fn on(&mut self, input: Input<u32>) {
        let now = Now {
            instant: self.start + self.now,
            wall: Timestamp(1_000_000).plus(self.now),
        };
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
                    key,
                    command: None,
                    snapshot: false,
                };
                self.streams.insert(ticket.life, open);
            }
            Output::Send(ticket, command) => {
                let text = std::str::from_utf8(&command.message).expect("text");
                let id = text.parse().expect("a number");
                // A stream may have ended before the lane has heard of it.
                if let Some(open) = self.streams.get_mut(&ticket.life) {
                    assert_eq!(open.command.replace(id), None, "two commands at once");
                    assert!(!open.snapshot, "a command beside a request for a snapshot");
                }
            }
            Output::RequestSnapshot(ticket) => {
                if let Some(open) = self.streams.get_mut(&ticket.life) {
                    assert_eq!(open.command, None, "a request beside a command");
                    open.snapshot = true;
                }
            }
            Output::HalfClose(ticket) => self.closing.push(ticket),
            Output::Reset(ticket) => {
                self.streams.remove(&ticket.life);
            }
            Output::Commit(commit) => {
                let own = self.begun.get(&commit.slot).copied().unwrap_or_default();
                assert_eq!(commit.epoch, own.epoch, "written as somebody else");
                let under_way = self.commits.entry(commit.slot).or_default();
                under_way.push_back(*commit);
            }
            Output::Resolve(slot) => {
                let under_way = self.commits.get(&slot).map_or(0, VecDeque::len);
                assert_eq!(under_way, 0, "a commit could land behind the question");
                self.resolves.push_back(slot);
            }
            Output::Answer(id, result) => self.answered(id, result.map(|settled| settled.effects)),
            Output::Orphaned { effects, .. } => self.deliver(effects),
            Output::NoRoom | Output::Report { .. } => {}
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
        match answered {
            Answered::Acknowledged => {
                assert_eq!(self.wrote.contains(&id), is_written, "{id}: an open gate");
            }
            Answered::Refused => assert!(!is_written, "{id} was refused and is stored"),
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
        self.asked.insert(id);
        let (service, entity) = &self.entities[entity as usize % self.entities.len()];
        let path = format!("/{service}/Do");
        let command = Command {
            id: EntityId::single(entity.as_str()),
            method: self.contract.method(&path).expect("a method").clone(),
            message: Bytes::from(id.to_string()),
            metadata: None,
            deadline: None,
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

    fn grant(&mut self) {
        if let Some(ticket) = self.grants.pop_front() {
            self.held += 1;
            self.on(Input::Granted(ticket));
        }
    }

    /// The function answers one of its commands, or a request for a snapshot.
    fn decide(&mut self, which: u32, how: u32) {
        let is_busy = |open: &Open| open.command.is_some() || open.snapshot;
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
        let Some(id) = open.command.take() else {
            open.snapshot = false;
            let snapshot = how.is_multiple_of(2).then(|| payload("snapshot"));
            return self.on(Input::Stream(ticket, StreamEvent::Snapshot(snapshot)));
        };
        let is_cart = open.key.storage.as_str() == "t.Cart";
        let decision = self.decision(id, is_cart, how);
        self.on(Input::Stream(ticket, StreamEvent::Decided(decision)));
    }

    fn decision(&mut self, id: u32, is_cart: bool, how: u32) -> Decision {
        let text = Payload::new("n", Bytes::from(id.to_string()));
        let mutation = match how % 8 {
            0 | 1 => Mutation::Nothing,
            2 if !is_cart => Mutation::Delete { grace: None },
            _ if is_cart => Mutation::Append(Append {
                events: vec![text],
                ..Append::default()
            }),
            _ => Mutation::Set(text),
        };
        let answer = match (how / 8) % 8 {
            0 => failure(false),
            1 => failure(true),
            _ => read().answer,
        };
        let keeps = match &answer {
            Answer::Failure(failure) => {
                !failure.restart && self.policies.failure_mutation == FailureMutation::Keep
            }
            _ => true,
        };
        if keeps && mutation.writes() {
            self.wrote.insert(id);
        }
        let count = if is_cart { (how / 64) % 3 } else { 0 };
        let effects = (0..count).map(|_| effect("t.Note", "Do")).collect();
        Decision {
            answer,
            mutation,
            effects,
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
        let end = match (badly, which % 3) {
            (false, _) => End::Completed,
            (true, 0) => End::Unreachable { cause },
            (true, _) => End::Terminated { cause },
        };
        self.on(Input::Stream(ticket, StreamEvent::Ended(end)));
    }

    /// The store decides about the oldest commit of a slot, and may not be able to tell.
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
        let commit = under_way.pop_front().expect("just found");
        let last = commit.sequence;
        let unknown = || Outcome::Unknown {
            cause: "chance".to_owned(),
        };
        let outcome = match how % 8 {
            0 => unknown(),
            other => match self.store.write(&commit) {
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
        for id in &self.asked {
            self.answered.entry(*id).or_insert(Answered::Unknown);
        }
        self.loads.clear();
        self.looks.clear();
        self.grants.clear();
        self.commits.clear();
        self.resolves.clear();
        self.streams.clear();
        self.closing.clear();
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
        match action % 24 {
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
            19 => self.end(a, b % 4 == 0),
            20 => self.pass(Duration::from_secs(u64::from(a % 40))),
            21 => self.expired(a),
            22 if b % 2 == 0 => self.on(Input::MakeRoom),
            22 => self.on(Input::RoomEnough),
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
        for round in 0..20_000 {
            let is_done = self.deliveries.is_empty()
                && self.commits.values().all(VecDeque::is_empty)
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
            .iter()
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
}
