//! Several nodes with their stores, functions and a network, all driven by hand.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use firn_crdt::State;
use firn_model::call::Reply;
use firn_model::contract::{Contract, Kind};
use firn_model::decision::Answer;
use firn_model::id::{EntityId, EntityKey, Incarnation, NodeId, Replica, StorageName};
use firn_model::payload::Payload;
use firn_model::policy::{OpenCommands, Policies};
use firn_model::replicated::{
    self as words, Change, Consistency, Delta, SetDelta, StateAction, Votes,
};
use firn_store::Timestamp;
use firn_testkit::contract::{Declared, contract};
use firn_testkit::policies;

use super::super::network::{Membership, Message};
use super::super::{CallId, Command, Config, Input, Output, Page, Replicas};
use crate::lane::{Now, Settled, Ticket};
use crate::link::{End, ReplicaEvent};
use crate::refusal::Refusal;

const PROTO: &str = r#"
    syntax = "proto3";
    package t;
    message Request { string id = 1; string text = 2; }
    service Data {
        rpc Do(Request) returns (Request);
        rpc Watch(Request) returns (stream Request);
    }
"#;

/// What the function knows of one entity: a plain value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Nothing,
    Counter(i64),
    Set(BTreeSet<String>),
    Vote(Votes),
}

impl Value {
    /// Makes a change of its own, as an SDK does: of a vote it knows what it does to the count.
    fn change(&mut self, delta: &Delta) {
        let before = match self {
            Self::Vote(votes) => *votes,
            _ => Votes {
                members: 1,
                ..Votes::default()
            },
        };
        match delta {
            Delta::Vote(Votes { own, .. }) => {
                *self = Self::Vote(Votes {
                    own: *own,
                    yes: before.yes + u32::from(*own) - u32::from(before.own),
                    members: before.members,
                });
            }
            delta => self.take(delta),
        }
    }

    /// Takes a change, as an SDK does.
    pub(super) fn take(&mut self, delta: &Delta) {
        match (&mut *self, delta) {
            (Self::Nothing, Delta::Counter(_)) => *self = Self::Counter(0),
            (Self::Nothing, Delta::Set(_)) => *self = Self::Set(BTreeSet::new()),
            (Self::Nothing, Delta::Vote(votes)) => *self = Self::Vote(*votes),
            _ => {}
        }
        match (self, delta) {
            (Self::Counter(value), Delta::Counter(change)) => *value += change,
            (Self::Set(elements), Delta::Set(delta)) => {
                if delta.cleared {
                    elements.clear();
                }
                elements.retain(|it| !delta.removed.contains(&element(it)));
                elements.extend(delta.added.iter().map(text_of));
            }
            (Self::Vote(value), Delta::Vote(votes)) => *value = *votes,
            (value, delta) => panic!("{delta:?} for {value:?}"),
        }
    }
}

fn element(text: &str) -> Payload {
    Payload::new("type.googleapis.com/t.E", text.to_owned())
}

fn text_of(payload: &Payload) -> String {
    String::from_utf8(payload.bytes.to_vec()).expect("the texts of these tests")
}

pub(super) fn added(text: &str) -> Delta {
    Delta::Set(SetDelta {
        added: vec![element(text)],
        ..SetDelta::default()
    })
}

pub(super) fn removed(text: &str) -> Delta {
    Delta::Set(SetDelta {
        removed: vec![element(text)],
        ..SetDelta::default()
    })
}

/// What the function is to answer to a command.
#[derive(Debug, Clone)]
pub(super) struct Answering {
    pub(super) change: Option<Change>,
    pub(super) streamed: bool,
}

impl Answering {
    pub(super) fn nothing() -> Self {
        Self {
            change: None,
            streamed: false,
        }
    }

    pub(super) fn update(delta: Delta, consistency: Consistency) -> Self {
        let action = StateAction::Update(Ok(delta));
        Self {
            change: Some(Change {
                action,
                consistency,
            }),
            streamed: false,
        }
    }

    pub(super) fn delete() -> Self {
        Self {
            change: Some(Change {
                action: StateAction::Delete,
                consistency: Consistency::Local,
            }),
            streamed: false,
        }
    }
}

/// A stream as the function sees it.
#[derive(Debug)]
pub(super) struct Instance {
    pub(super) value: Value,
    pub(super) key: String,
    /// Commands it has not answered yet.
    pub(super) asked: VecDeque<(i64, Answering)>,
    pub(super) cancelled: Vec<i64>,
    pub(super) deleted: bool,
}

/// What a caller heard: answers, and the last word.
#[derive(Debug, Default)]
pub(super) struct Heard {
    pub(super) answers: Vec<Settled>,
    pub(super) end: Option<Result<(), Refusal>>,
}

/// A node: its machine, its disk and its function.
pub(super) struct Node {
    pub(super) machine: Replicas,
    pub(super) me: Replica,
    pub(super) disk: HashMap<EntityKey, Bytes>,
    saving: Option<Vec<(EntityKey, Bytes)>>,
    pub(super) function: HashMap<Ticket, Instance>,
    loads: Vec<(Ticket, EntityKey)>,
    grants: Vec<Ticket>,
    ends: Vec<Ticket>,
    lists: Vec<NodeId>,
    pub(super) heard: HashMap<CallId, Heard>,
    pub(super) reports: Vec<String>,
    /// Whether its function ends the streams that are half-closed.
    pub(super) ends_streams: bool,
}

pub(super) struct World {
    pub(super) nodes: Vec<Node>,
    pub(super) wire: VecDeque<(Replica, NodeId, Message)>,
    pub(super) membership: Arc<Membership>,
    pub(super) contract: Arc<Contract>,
    answers: HashMap<CallId, Answering>,
    brought: HashMap<(NodeId, NodeId), Replica>,
    now: Instant,
    wall: u64,
    calls: u64,
}

impl World {
    pub(super) fn new(nodes: usize, open_commands: OpenCommands) -> Self {
        Self::with(
            nodes,
            Policies {
                open_commands,
                ..policies::careful()
            },
        )
    }

    pub(super) fn with(nodes: usize, policies: Policies) -> Self {
        let declared = Declared {
            service: "t.Data",
            kind: Kind::Replicated,
            policies,
        };
        let members = (0..nodes).map(|index| NodeId(index as u64 + 1));
        let membership = Arc::new(Membership {
            version: 1,
            members: members.clone().collect(),
            left: BTreeSet::new(),
        });
        let start = |node| Node::start(node, Incarnation::FIRST, HashMap::new(), &membership);
        Self {
            nodes: members.map(start).collect(),
            wire: VecDeque::new(),
            contract: Arc::new(contract(PROTO, vec![declared])),
            membership,
            answers: HashMap::new(),
            brought: HashMap::new(),
            now: Instant::now(),
            wall: 1_000_000,
            calls: 0,
        }
    }

    /// Sends a command to a node; the function will answer it like this.
    pub(super) fn command(&mut self, node: usize, id: &str, answering: Answering) -> CallId {
        self.command_within(node, id, answering, Duration::from_secs(60))
    }

    /// The same, from a caller who has so much time.
    pub(super) fn command_within(
        &mut self,
        node: usize,
        id: &str,
        answering: Answering,
        time: Duration,
    ) -> CallId {
        let streamed = answering.streamed;
        self.calls += 1;
        let call = CallId(self.calls);
        self.answers.insert(call, answering);
        let path = if streamed {
            "/t.Data/Watch"
        } else {
            "/t.Data/Do"
        };
        let command = Command {
            call,
            id: EntityId::single(id),
            method: self.contract.method(path).expect("declared").clone(),
            message: Bytes::from(call.0.to_string()),
            metadata: None,
            deadline: self.now + time,
            streamed,
            origin: None,
            hops: 0,
        };
        self.feed(node, Input::Command(command));
        call
    }

    pub(super) fn feed(&mut self, node: usize, input: Input) {
        let now = Now {
            instant: self.now,
            wall: Timestamp(self.wall),
        };
        let outputs: Vec<Output> = self.nodes[node].machine.on(now, input).collect();
        for output in outputs {
            self.carry_out(node, output);
        }
    }

    fn carry_out(&mut self, index: usize, output: Output) {
        let node = &mut self.nodes[index];
        match output {
            Output::Load(ticket, key) => node.loads.push((ticket, key)),
            Output::AcquireStream(ticket) => node.grants.push(ticket),
            Output::ReleaseStream | Output::NoRoom | Output::Orphaned(_) => {}
            Output::Open(ticket, opening) => {
                let mut value = Value::Nothing;
                if let Some(delta) = &opening.value {
                    value.take(delta);
                }
                let instance = Instance {
                    value,
                    key: opening.id.to_string(),
                    asked: VecDeque::new(),
                    cancelled: Vec::new(),
                    deleted: false,
                };
                assert!(node.function.insert(ticket, instance).is_none());
            }
            Output::Send(ticket, command) => {
                let call = String::from_utf8(command.command.message.to_vec()).expect("a number");
                let call = CallId(call.parse().expect("a number"));
                let answering = self.answers[&call].clone();
                let instance = node.function.get_mut(&ticket).expect("open");
                instance.asked.push_back((command.number, answering));
            }
            Output::Delta(ticket, delta) => {
                let instance = node.function.get_mut(&ticket).expect("open");
                assert!(instance.asked.is_empty(), "a delta while a command is open");
                instance.value.take(&delta);
            }
            Output::Cancel(ticket, number) => {
                let instance = node.function.get_mut(&ticket).expect("open");
                instance.cancelled.push(number);
            }
            Output::Delete(ticket) => {
                node.function.get_mut(&ticket).expect("open").deleted = true;
            }
            Output::HalfClose(ticket) => node.ends.push(ticket),
            Output::Reset(ticket) => {
                node.function.remove(&ticket);
                node.ends.retain(|it| *it != ticket);
            }
            Output::Save(writes) => {
                assert!(node.saving.is_none(), "one write at a time");
                let writes = writes.into_iter().map(|write| (write.key, write.state));
                node.saving = Some(writes.collect());
            }
            Output::Next(call, settled) => {
                node.heard.entry(call).or_default().answers.push(settled)
            }
            Output::End(call, result) => {
                let heard = &mut node.heard.entry(call).or_default().end;
                assert!(heard.is_none(), "two last words for {call:?}");
                *heard = Some(result);
            }
            Output::Peer(to, message) => {
                let from = node.me;
                self.wire.push_back((from, to, message));
            }
            Output::List(member, _) => node.lists.push(member),
            Output::Report { text, .. } => node.reports.push(text),
        }
    }

    /// Lets everything local to a node happen that can: loads, grants, ends and listings.
    pub(super) fn settle_local(&mut self, index: usize) {
        loop {
            let node = &mut self.nodes[index];
            let input = if let Some((ticket, key)) = node.loads.pop() {
                Input::Loaded(ticket, Ok(node.disk.get(&key).cloned()))
            } else if let Some(ticket) = node.grants.pop() {
                Input::Granted(ticket)
            } else if node.ends_streams
                && let Some(ticket) = node.ends.pop()
            {
                node.function.remove(&ticket);
                Input::Stream(ticket, ReplicaEvent::Ended(End::Completed))
            } else if let Some(member) = node.lists.pop() {
                let keys = node.disk.keys().cloned().collect();
                Input::Listed(member, Ok(Page { keys, next: None }))
            } else {
                return;
            };
            self.feed(index, input);
        }
    }

    /// The function of a node answers the oldest command that waits, of any entity.
    pub(super) fn answer(&mut self, index: usize) -> bool {
        let node = &mut self.nodes[index];
        let mut tickets: Vec<Ticket> = node.function.keys().copied().collect();
        tickets.sort_by_key(|ticket| (ticket.index, ticket.life));
        for ticket in tickets {
            let instance = node.function.get_mut(&ticket).expect("just listed");
            if node.ends.contains(&ticket) {
                continue;
            }
            if let Some((number, answering)) = instance.asked.pop_front() {
                if let Some(Change {
                    action: StateAction::Update(Ok(delta)),
                    ..
                }) = &answering.change
                {
                    instance.value.change(delta);
                }
                let reply = words::Reply {
                    command: number,
                    answer: Answer::Reply(Reply::default()),
                    effects: Vec::new(),
                    change: answering.change,
                    streamed: answering.streamed,
                };
                self.feed(index, Input::Stream(ticket, ReplicaEvent::Replied(reply)));
                self.settle_local(index);
                return true;
            }
        }
        false
    }

    /// The write under way becomes durable.
    pub(super) fn save(&mut self, index: usize) -> bool {
        let node = &mut self.nodes[index];
        let Some(writes) = node.saving.take() else {
            return false;
        };
        node.disk.extend(writes);
        self.feed(index, Input::Saved(Ok(())));
        self.settle_local(index);
        true
    }

    /// One message arrives, if its receiver is who it was for.
    pub(super) fn deliver(&mut self, message: (Replica, NodeId, Message)) {
        let (from, to, message) = message;
        let index = to.0 as usize - 1;
        // A network lets nothing of an earlier run through once it has brought something of a later.
        let newest = self.brought.entry((from.node, to)).or_insert(from);
        *newest = from.max(*newest);
        if index < self.nodes.len() && *newest == from {
            self.feed(index, Input::Peer(from, message));
            self.settle_local(index);
        }
    }

    /// A node ends without a word and starts again from its disk.
    pub(super) fn kill(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        let disk = std::mem::take(&mut node.disk);
        let next = NonZeroU32::new(node.me.incarnation.0.get() + 1).expect("above one");
        *node = Node::start(node.me.node, Incarnation(next), disk, &self.membership);
        self.feed(index, Input::Wake);
    }

    /// Time passes, for everybody.
    pub(super) fn pass(&mut self, time: Duration) {
        self.now += time;
        self.wall += time.as_millis() as u64;
        for index in 0..self.nodes.len() {
            self.feed(index, Input::Wake);
            self.settle_local(index);
        }
    }

    /// Everything happens, in order and without loss, until nothing is left to do.
    pub(super) fn settle(&mut self) {
        for _ in 0..400 {
            let mut busy = false;
            while let Some(message) = self.wire.pop_front() {
                self.deliver(message);
            }
            for index in 0..self.nodes.len() {
                self.settle_local(index);
                busy |= self.answer(index);
                busy |= self.save(index);
            }
            if !busy && self.wire.is_empty() {
                return;
            }
        }
        panic!("it never settles");
    }

    /// All of it, with as much time as retries need.
    pub(super) fn heal(&mut self) {
        for _ in 0..40 {
            self.settle();
            self.pass(Duration::from_millis(700));
        }
        self.settle();
    }

    pub(super) fn change_members(&mut self, change: impl FnOnce(&mut Membership)) {
        let membership = Arc::make_mut(&mut self.membership);
        membership.version += 1;
        change(membership);
        let membership = self.membership.clone();
        for index in 0..self.nodes.len() {
            self.feed(index, Input::Members(membership.clone()));
            self.settle_local(index);
        }
    }

    /// What a node's disk holds of an entity.
    pub(super) fn stored(&self, node: usize, id: &str) -> Option<State> {
        let bytes = self.nodes[node].disk.get(&key(id))?;
        Some(State::decode(bytes).expect("what was written"))
    }

    /// The value on a node's disk.
    pub(super) fn value(&self, node: usize, id: &str) -> Value {
        let state = self.stored(node, id).unwrap_or_default();
        let me = self.nodes[node].me.node;
        let mut value = Value::Nothing;
        if let Some(delta) = state.value(me, &self.membership.members) {
            value.take(&delta);
        }
        value
    }

    /// The stream of an entity ends, if it is open.
    pub(super) fn end(&mut self, index: usize, id: &str, end: End) {
        if let Some((ticket, _)) = self.instance(index, id) {
            self.nodes[index].function.remove(&ticket);
            self.feed(index, Input::Stream(ticket, ReplicaEvent::Ended(end)));
            self.settle_local(index);
        }
    }

    /// How a call ended; `None` if it has not.
    pub(super) fn outcome(&self, node: usize, call: CallId) -> Option<&Result<(), Refusal>> {
        self.nodes[node].heard.get(&call)?.end.as_ref()
    }

    /// The stream of an entity, if it is open.
    pub(super) fn instance(&mut self, node: usize, id: &str) -> Option<(Ticket, &mut Instance)> {
        let Node { function, ends, .. } = &mut self.nodes[node];
        let mut instances = function.iter_mut();
        let (ticket, instance) =
            instances.find(|(ticket, instance)| instance.key == id && !ends.contains(ticket))?;
        Some((*ticket, instance))
    }
}

impl Node {
    fn start(
        node: NodeId,
        incarnation: Incarnation,
        disk: HashMap<EntityKey, Bytes>,
        membership: &Arc<Membership>,
    ) -> Self {
        let me = Replica { node, incarnation };
        Self {
            machine: Replicas::new(Config::default(), me, membership.clone(), true),
            me,
            disk,
            saving: None,
            function: HashMap::new(),
            loads: Vec::new(),
            grants: Vec::new(),
            ends: Vec::new(),
            lists: Vec::new(),
            heard: HashMap::new(),
            reports: Vec::new(),
            ends_streams: true,
        }
    }
}

pub(super) fn key(id: &str) -> EntityKey {
    EntityKey::new(StorageName::new("t.Data"), id)
}
