//! A bench for one lane: gives inputs, remembers outputs, and stands in for store and function.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use firn_model::contract::{Contract, Kind};
use firn_model::decision::{Answer, Append, Decision, Effect, Failure, Forward, Mutation};
use firn_model::id::{EntityId, EntityKey, Epoch, SlotSequence, StorageName};
use firn_model::metadata::Metadata;
use firn_model::payload::Payload;
use firn_model::policy::Policies;
use firn_store::{Commit, Entity, Head, Outcome, Timestamp};
use firn_testkit::contract::{Declared, contract};
use firn_testkit::policies;

use crate::lane::{
    Command, Config, Idempotency, Input, Lane, Now, Origin, Output, Settled, Ticket,
};
use crate::link::{End, StreamEvent};
use crate::refusal::Refusal;

const PROTO: &str = r#"
    syntax = "proto3";
    package t;
    message Request { string id = 1; }
    message Reply {}
    service Cart { rpc Do(Request) returns (Reply); rpc Other(Request) returns (Reply); }
    service Note { rpc Do(Request) returns (Reply); }
    service Robot { rpc Do(Request) returns (Reply); }
    service Act { rpc Do(Request) returns (Reply); }
"#;

/// A lane on a bench.
pub(super) struct Bench {
    pub(super) lane: Lane<u32>,
    pub(super) contract: Arc<Contract>,
    start: Instant,
    now: Duration,
    /// Everything the lane wanted since it was last looked at.
    pub(super) out: Vec<Output<u32>>,
}

impl Bench {
    pub(super) fn new() -> Self {
        Self::with(policies::careful(), Config::default())
    }

    pub(super) fn with(policies: Policies, config: Config) -> Self {
        let declare = |service, kind| Declared {
            service,
            kind,
            policies: policies.clone(),
        };
        let contract = Arc::new(contract(
            PROTO,
            vec![
                declare("t.Cart", Kind::EventSourced),
                declare("t.Note", Kind::Value),
                declare("t.Robot", Kind::Actor),
                declare("t.Act", Kind::Action),
            ],
        ));
        let mut bench = Self {
            lane: Lane::new(config, []),
            contract: contract.clone(),
            start: Instant::now(),
            now: Duration::ZERO,
            out: Vec::new(),
        };
        bench.on(Input::Contract(contract));
        bench
    }

    pub(super) fn now(&self) -> Now {
        let wall = Timestamp(1_000_000).plus(self.now);
        Now {
            instant: self.start + self.now,
            wall,
        }
    }

    pub(super) fn on(&mut self, input: Input<u32>) {
        let now = self.now();
        let outputs: Vec<_> = self.lane.on(now, input).collect();
        self.out.extend(outputs);
    }

    /// Lets time pass.
    pub(super) fn pass(&mut self, time: Duration) {
        self.now += time;
        self.on(Input::Wake);
    }

    pub(super) fn command(&self, path: &str, id: &str, reply: u32) -> Command<u32> {
        Command {
            id: EntityId::single(id),
            method: self.contract.method(path).expect("a method").clone(),
            message: Bytes::from(reply.to_string()),
            metadata: None::<Metadata>,
            deadline: None,
            idempotency: None,
            origin: None::<Origin>,
            hops: 0,
            reply,
        }
    }

    /// A command to the event sourced entity `id`.
    pub(super) fn cart(&mut self, id: &str, reply: u32) {
        let command = self.command("/t.Cart/Do", id, reply);
        self.on(Input::Command(command));
    }

    /// A command to the value entity `id`.
    pub(super) fn note(&mut self, id: &str, reply: u32) {
        let command = self.command("/t.Note/Do", id, reply);
        self.on(Input::Command(command));
    }

    /// A command to the actor `id`.
    pub(super) fn robot(&mut self, id: &str, reply: u32) {
        let command = self.command("/t.Robot/Do", id, reply);
        self.on(Input::Command(command));
    }

    /// Answers the one load that is asked for, and grants the stream.
    pub(super) fn load(&mut self, entity: Entity) -> Ticket {
        let ticket = self.take(|output| match output {
            Output::Load(ticket, ..) => Some(*ticket),
            _ => None,
        });
        self.on(Input::Loaded(ticket, Ok(entity)));
        self.grant();
        ticket
    }

    /// Grants the one stream that is asked for.
    pub(super) fn grant(&mut self) -> Ticket {
        let ticket = self.take(|output| match output {
            Output::AcquireStream(ticket) => Some(*ticket),
            _ => None,
        });
        self.on(Input::Granted(ticket));
        ticket
    }

    /// Takes the first output of a kind.
    #[track_caller]
    pub(super) fn take<T>(&mut self, pick: impl Fn(&Output<u32>) -> Option<T>) -> T {
        let found = self.out.iter().position(|output| pick(output).is_some());
        let found = found.unwrap_or_else(|| panic!("not among {:?}", self.out));
        let output = self.out.remove(found);
        pick(&output).expect("just found")
    }

    pub(super) fn has(&self, pick: impl Fn(&Output<u32>) -> bool) -> bool {
        self.out.iter().any(pick)
    }

    /// Takes the command that was sent.
    #[track_caller]
    pub(super) fn sent(&mut self) -> Ticket {
        self.take(|output| match output {
            Output::Send(ticket, _) => Some(*ticket),
            _ => None,
        })
    }

    /// Takes all commands that were sent: which they are, in order.
    pub(super) fn sent_all(&mut self) -> Vec<u32> {
        let mut sent = Vec::new();
        self.out.retain(|output| match output {
            Output::Send(_, command) => {
                let text = std::str::from_utf8(&command.message).expect("text");
                sent.push(text.parse().expect("a number"));
                false
            }
            _ => true,
        });
        sent
    }

    /// The life of the one instance that is in memory.
    pub(super) fn ticket(&self) -> Ticket {
        let (index, instance) = self.lane.instances.iter().next().expect("an instance");
        let life = instance.life;
        Ticket { index, life }
    }

    /// The stream of this ticket ends.
    pub(super) fn end(&mut self, ticket: Ticket, end: End) {
        self.on(Input::Stream(ticket, StreamEvent::Ended(end)));
    }

    /// Takes all answers: to whom, and whether they are good.
    pub(super) fn answers(&mut self) -> Vec<(u32, bool)> {
        let mut answers = Vec::new();
        self.out.retain(|output| match output {
            Output::Answer(to, answer) => {
                answers.push((*to, answer.is_ok()));
                false
            }
            _ => true,
        });
        answers
    }

    pub(super) fn has_load(&self) -> bool {
        self.has(|output| matches!(output, Output::Load(..)))
    }

    pub(super) fn was_reset(&self, ticket: Ticket) -> bool {
        self.has(|output| matches!(output, Output::Reset(it) if *it == ticket))
    }

    pub(super) fn has_sent(&self) -> bool {
        self.has(|output| matches!(output, Output::Send(..)))
    }

    /// Takes the commit that was asked for.
    #[track_caller]
    pub(super) fn commit(&mut self) -> Commit {
        let found = self
            .out
            .iter()
            .position(|output| matches!(output, Output::Commit(_)));
        let found = found.unwrap_or_else(|| panic!("no commit among {:?}", self.out));
        match self.out.remove(found) {
            Output::Commit(commit) => *commit,
            _ => unreachable!("just found"),
        }
    }

    pub(super) fn land(&mut self, commit: &Commit) {
        let (slot, last) = (commit.slot, commit.sequence);
        self.on(Input::Committed {
            slot,
            last,
            outcome: Outcome::Landed,
        });
    }

    /// Nobody knows what became of a commit.
    pub(super) fn lose(&mut self, commit: &Commit) {
        let (slot, last) = (commit.slot, commit.sequence);
        let cause = "lost".into();
        let outcome = Outcome::Unknown { cause };
        self.on(Input::Committed {
            slot,
            last,
            outcome,
        });
    }

    /// The store tells the head of the slot that was asked about.
    #[track_caller]
    pub(super) fn resolve(&mut self, epoch: u64, sequence: u64) {
        let slot = self.take(|output| match output {
            Output::Resolve(slot) => Some(*slot),
            _ => None,
        });
        let head = Head {
            epoch: Epoch(epoch),
            sequence: SlotSequence(sequence),
        };
        self.on(Input::Resolved(slot, head));
    }

    pub(super) fn refuse(&mut self, commit: &Commit, head: u64) {
        let (slot, last) = (commit.slot, commit.sequence);
        let head = Head {
            epoch: Epoch(0),
            sequence: SlotSequence(head),
        };
        self.on(Input::Committed {
            slot,
            last,
            outcome: Outcome::Refused { head },
        });
    }

    /// The store did not write commits that were to follow upon this head.
    pub(super) fn not_written(&mut self, commit: &Commit, head: u64) {
        let (slot, last) = (commit.slot, commit.sequence);
        let head = Head {
            epoch: Epoch(0),
            sequence: SlotSequence(head),
        };
        let cause = "full".into();
        self.on(Input::Committed {
            slot,
            last,
            outcome: Outcome::NotWritten { head, cause },
        });
    }

    /// The function decides.
    pub(super) fn decide(&mut self, ticket: Ticket, decision: Decision) {
        self.on(Input::Stream(ticket, StreamEvent::Decided(decision)));
    }

    /// Takes the answer for a caller.
    #[track_caller]
    pub(super) fn answer(&mut self, reply: u32) -> Result<Settled, Refusal> {
        let found = self
            .out
            .iter()
            .position(|output| matches!(output, Output::Answer(to, _) if *to == reply));
        let found = found.unwrap_or_else(|| panic!("no answer to {reply} among {:?}", self.out));
        match self.out.remove(found) {
            Output::Answer(_, answer) => answer,
            _ => unreachable!("just found"),
        }
    }

    pub(super) fn has_answer(&self, reply: u32) -> bool {
        self.has(|output| matches!(output, Output::Answer(to, _) if *to == reply))
    }

    /// Sends the first command of a new entity and gives its ticket.
    pub(super) fn running_cart(&mut self, id: &str, reply: u32) -> Ticket {
        self.cart(id, reply);
        self.load(Entity::default());
        self.sent()
    }
}

pub(super) fn payload(text: &'static str) -> Payload {
    Payload::new("type.googleapis.com/t.Text", text.as_bytes())
}

pub(super) fn reply() -> Answer {
    crate::link::plain_reply(payload("reply"))
}

pub(super) fn failure(restart: bool) -> Answer {
    Answer::Failure(Failure {
        text: "no".into(),
        code: None,
        details: Vec::new(),
        restart,
    })
}

/// A failure outside of a reply.
pub(super) fn broken() -> Failure {
    Failure {
        text: "broken".into(),
        code: None,
        details: Vec::new(),
        restart: false,
    }
}

/// A decision that only answers.
pub(super) fn read() -> Decision {
    Decision {
        answer: reply(),
        mutation: Mutation::Nothing,
        effects: Vec::new(),
        timers: Vec::new(),
    }
}

/// A decision that appends events.
pub(super) fn append(events: &[&'static str]) -> Decision {
    let events = events.iter().map(|event| payload(event)).collect();
    let append = Append {
        events,
        ..Append::default()
    };
    Decision {
        mutation: Mutation::Append(append),
        ..read()
    }
}

/// An effect on a method.
pub(super) fn effect(service: &str, method: &str) -> Effect {
    Effect {
        call: Forward {
            service: service.into(),
            method: method.into(),
            payload: payload("effect"),
            metadata: Metadata::default(),
        },
        synchronous: false,
        delay: None,
    }
}

pub(super) fn key(id: &str) -> EntityKey {
    EntityKey::new(StorageName::new("t.Cart"), id)
}

/// Ids of carts that share a slot.
pub(super) fn of_one_slot<const COUNT: usize>() -> [String; COUNT] {
    let slot = key("0").slot();
    let mut ids = (0_u32..).map(|id| id.to_string());
    std::array::from_fn(|_| {
        ids.find(|id| key(id).slot() == slot)
            .expect("ids do not end")
    })
}

pub(super) fn idempotency(key: &'static str, request_hash: u128) -> Option<Idempotency> {
    Some(Idempotency {
        key: key.into(),
        request_hash,
    })
}
