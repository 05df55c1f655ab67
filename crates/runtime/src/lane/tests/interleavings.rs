//! Random interleavings of commands, decisions, commit failures, ends and restarts.
//!
//! A small world stands around one lane: a store that checks the fence, a function that decides
//! when it likes, streams that end when they like. Whatever happens: an acknowledged command is in
//! the store exactly once, nobody hears of a commit that has not landed, no entity has two commands
//! with the function at once, and everybody gets an answer in the end.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use firn_model::contract::{Contract, Kind};
use firn_model::decision::{Append, Decision, Mutation};
use firn_model::id::{EntityId, EntityKey, Slot};
use firn_model::payload::Payload;
use firn_store::{Change, Commit, Entity, Head, Outcome, Timestamp};
use firn_testkit::contract::{Declared, contract};
use firn_testkit::policies;
use proptest::prelude::*;

use super::bench::{failure, read};
use crate::lane::{Command, Config, Input, Lane, Now, Output, Ticket};
use crate::link::{End, StreamEvent};

const PROTO: &str = r#"
    syntax = "proto3";
    package t;
    message Request { string id = 1; }
    service Cart { rpc Do(Request) returns (Request); }
"#;

/// Few entities, so that they meet.
const ENTITIES: u32 = 3;

struct World {
    lane: Lane<u32>,
    contract: Arc<Contract>,
    start: Instant,
    now: Duration,
    next: u32,
    // The store.
    events: HashMap<EntityKey, Vec<u32>>,
    heads: BTreeMap<Slot, Head>,
    // What is under way.
    loads: VecDeque<(Ticket, EntityKey)>,
    grants: VecDeque<Ticket>,
    commits: BTreeMap<Slot, VecDeque<Commit>>,
    /// Open streams: their entity, and the command that the function has.
    streams: BTreeMap<u64, Open>,
    closing: Vec<Ticket>,
    // Whom the callers are.
    asked: BTreeSet<u32>,
    acknowledged: BTreeSet<u32>,
    refused: BTreeSet<u32>,
    /// Commands that the function decided to write an event for.
    wrote: BTreeSet<u32>,
}

struct Open {
    ticket: Ticket,
    key: EntityKey,
    command: Option<u32>,
}

impl World {
    fn new() -> Self {
        let declared = Declared {
            service: "t.Cart",
            kind: Kind::EventSourced,
            policies: policies::careful(),
        };
        Self {
            lane: Lane::new(Config::default(), []),
            contract: Arc::new(contract(PROTO, vec![declared])),
            start: Instant::now(),
            now: Duration::ZERO,
            next: 0,
            events: HashMap::new(),
            heads: BTreeMap::new(),
            loads: VecDeque::new(),
            grants: VecDeque::new(),
            commits: BTreeMap::new(),
            streams: BTreeMap::new(),
            closing: Vec::new(),
            asked: BTreeSet::new(),
            acknowledged: BTreeSet::new(),
            refused: BTreeSet::new(),
            wrote: BTreeSet::new(),
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
            Output::AcquireStream(ticket) => self.grants.push_back(ticket),
            Output::Open(ticket, opening) => {
                let key = EntityKey::new(
                    opening.component.storage.clone(),
                    opening.id.stored().clone(),
                );
                assert_eq!(
                    opening.entity.last_event,
                    self.stored(&key),
                    "the state is stale"
                );
                let other = self.streams.values().find(|open| open.key == key);
                assert!(other.is_none(), "two streams of one entity");
                self.streams.insert(
                    ticket.life,
                    Open {
                        ticket,
                        key,
                        command: None,
                    },
                );
            }
            Output::Send(ticket, command) => {
                let id: u32 = std::str::from_utf8(&command.message)
                    .expect("a number")
                    .parse()
                    .expect("a number");
                let open = self.streams.get_mut(&ticket.life).expect("an open stream");
                assert_eq!(open.command.replace(id), None, "two commands at once");
            }
            Output::HalfClose(ticket) => self.closing.push(ticket),
            Output::Reset(ticket) => {
                self.streams.remove(&ticket.life);
            }
            Output::Commit(commit) => {
                self.commits
                    .entry(commit.slot)
                    .or_default()
                    .push_back(*commit);
            }
            Output::Answer(id, Ok(_)) => {
                assert!(
                    self.acknowledged.insert(id) && !self.refused.contains(&id),
                    "twice"
                );
                assert_eq!(
                    self.wrote.contains(&id),
                    self.is_stored(id),
                    "{id} left the gate early"
                );
            }
            Output::Answer(id, Err(_)) => {
                assert!(
                    self.refused.insert(id) && !self.acknowledged.contains(&id),
                    "twice"
                );
                assert!(!self.is_stored(id), "{id} was refused and is stored");
            }
            Output::Look { .. }
            | Output::ReleaseStream
            | Output::RequestSnapshot(_)
            | Output::Resolve(_)
            | Output::Orphaned { .. }
            | Output::NoRoom
            | Output::Report { .. } => {}
        }
    }

    fn stored(&self, key: &EntityKey) -> u64 {
        self.events.get(key).map_or(0, |events| events.len() as u64)
    }

    fn is_stored(&self, id: u32) -> bool {
        self.events.values().flatten().any(|stored| *stored == id)
    }

    fn command(&mut self, entity: u32) {
        let id = self.next;
        self.next += 1;
        self.asked.insert(id);
        let method = self
            .contract
            .method("/t.Cart/Do")
            .expect("a method")
            .clone();
        self.on(Input::Command(Command {
            id: EntityId::single(entity.to_string()),
            method,
            message: Bytes::from(id.to_string()),
            metadata: None,
            deadline: None,
            idempotency: None,
            origin: None,
            hops: 0,
            reply: id,
        }));
    }

    fn finish_load(&mut self) {
        let Some((ticket, key)) = self.loads.pop_front() else {
            return;
        };
        let entity = Entity {
            last_event: self.stored(&key),
            ..Entity::default()
        };
        self.on(Input::Loaded(ticket, Ok(entity)));
    }

    fn grant(&mut self) {
        if let Some(ticket) = self.grants.pop_front() {
            self.on(Input::Granted(ticket));
        }
    }

    /// The function answers one of its commands.
    fn decide(&mut self, which: u32, how: u32) {
        let busy: Vec<u64> = self
            .streams
            .iter()
            .filter(|(_, o)| o.command.is_some())
            .map(|(k, _)| *k)
            .collect();
        let Some(life) = pick(&busy, which) else {
            return;
        };
        let open = self.streams.get_mut(&life).expect("just found");
        let id = open.command.take().expect("just found");
        let ticket = open.ticket;
        let decision = match how % 4 {
            0 => read(),
            1 => Decision {
                answer: failure(false),
                ..read()
            },
            _ => {
                self.wrote.insert(id);
                let event = Payload::new("n", Bytes::from(id.to_string()));
                let append = Append {
                    events: vec![event],
                    ..Append::default()
                };
                Decision {
                    mutation: Mutation::Append(append),
                    ..read()
                }
            }
        };
        self.on(Input::Stream(ticket, StreamEvent::Decided(decision)));
    }

    /// A stream ends: because it was half-closed, or for no reason at all.
    fn end(&mut self, which: u32, badly: bool) {
        let ticket = if badly {
            let open: Vec<u64> = self.streams.keys().copied().collect();
            let Some(life) = pick(&open, which) else {
                return;
            };
            self.streams[&life].ticket
        } else {
            let Some(ticket) = self.closing.pop() else {
                return;
            };
            ticket
        };
        if self.streams.remove(&ticket.life).is_none() {
            return;
        }
        let end = if badly {
            End::Terminated {
                cause: "chance".into(),
            }
        } else {
            End::Completed
        };
        self.on(Input::Stream(ticket, StreamEvent::Ended(end)));
    }

    /// The store decides about the oldest commit of a slot.
    fn write(&mut self, which: u32) {
        let slots: Vec<Slot> = self
            .commits
            .iter()
            .filter(|(_, q)| !q.is_empty())
            .map(|(slot, _)| *slot)
            .collect();
        let Some(slot) = pick(&slots, which) else {
            return;
        };
        let commit = self
            .commits
            .get_mut(&slot)
            .and_then(VecDeque::pop_front)
            .expect("found");
        let head = self.heads.entry(slot).or_default();
        let fits = head.epoch == commit.epoch && head.sequence.next() == commit.sequence;
        let outcome = if fits {
            head.sequence = commit.sequence;
            if let (Some(key), Some(Change::Append { first, events, .. })) =
                (&commit.key, &commit.change)
            {
                let stored = self.events.entry(key.clone()).or_default();
                assert_eq!(*first, stored.len() as u64 + 1, "a gap in an entity");
                let ids = events.iter().map(|event| std::str::from_utf8(&event.bytes));
                stored.extend(ids.map(|id| id.expect("text").parse::<u32>().expect("a number")));
            }
            Outcome::Landed
        } else {
            Outcome::Refused { head: *head }
        };
        self.on(Input::Committed {
            slot,
            last: commit.sequence,
            outcome,
        });
    }

    /// Another owner writes to a slot.
    fn usurp(&mut self, which: u32) {
        let slots: Vec<Slot> = self.heads.keys().copied().collect();
        if let Some(slot) = pick(&slots, which) {
            let head = self.heads.get_mut(&slot).expect("just found");
            head.sequence.0 += 10;
        }
    }

    /// The process ends and begins again: callers and the function's memory are gone.
    fn crash(&mut self) {
        self.lane = Lane::new(Config::default(), self.heads.clone());
        for id in self
            .asked
            .difference(&self.acknowledged.clone())
            .copied()
            .collect::<Vec<_>>()
        {
            self.refused.insert(id);
        }
        self.loads.clear();
        self.grants.clear();
        self.commits.clear();
        self.streams.clear();
        self.closing.clear();
    }

    fn pass(&mut self, seconds: u32) {
        self.now += Duration::from_secs(u64::from(seconds));
        self.on(Input::Wake);
    }

    fn step(&mut self, (action, a, b): (u32, u32, u32)) {
        match action % 16 {
            0..=3 => self.command(a % ENTITIES),
            4 | 5 => self.finish_load(),
            6 => self.grant(),
            7..=9 => self.decide(a, b),
            10 | 11 => self.write(a),
            12 => self.end(a, false),
            13 => self.end(a, b % 4 == 0),
            14 => self.pass(a % 40),
            _ if b % 4 == 0 => self.usurp(a),
            _ if b % 16 == 1 => self.crash(),
            _ => self.grant(),
        }
    }

    /// Lets everything end well.
    fn settle(&mut self) {
        self.on(Input::Drain);
        for round in 0..10_000 {
            if self.lane.is_empty() {
                return;
            }
            self.finish_load();
            self.grant();
            self.decide(0, 2);
            self.write(round);
            self.end(0, false);
        }
        panic!("it never ends: {:?}", self.lane);
    }

    fn check(&self) {
        let unanswered: Vec<_> = self
            .asked
            .iter()
            .filter(|id| !self.acknowledged.contains(id) && !self.refused.contains(id))
            .collect();
        assert!(unanswered.is_empty(), "nobody answered {unanswered:?}");
        let mut seen = BTreeSet::new();
        for id in self.events.values().flatten() {
            assert!(seen.insert(*id), "{id} was applied twice");
        }
    }
}

fn pick<T: Copy>(of: &[T], which: u32) -> Option<T> {
    of.get(which as usize % of.len().max(1)).copied()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn nothing_acknowledged_is_lost(
        steps in proptest::collection::vec((any::<u32>(), any::<u32>(), any::<u32>()), 0..300)
    ) {
        let mut world = World::new();
        for step in steps {
            world.step(step);
        }
        world.settle();
        world.check();
    }
}
