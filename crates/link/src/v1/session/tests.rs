//! Sessions as machines: random frames, and what one example each is enough for.

use std::collections::HashSet;
use std::sync::{Arc, LazyLock, Mutex};
use std::task::{Context, Poll, Waker};

use firn_model::call::Reply;
use firn_model::contract::{Component, Contract, Kind};
use firn_model::id::EntityId;
use firn_model::payload::Payload;
use firn_model::replicated::DataType;
use firn_model::status::{GrpcCode, Status};
use firn_runtime::link::ActionAnswer;
use firn_testkit::contract::{Declared, contract};
use firn_testkit::function::message::any_bytes;
use firn_testkit::own::message::{Framed, closed, credit, decided, reply};
use firn_testkit::policies;
use firn_wire::v1::chunk::Transfer;
use firn_wire::v1::contract::{Place, Shape};
use firn_wire::v1::convert::State;
use firn_wire::v1::message::function_frame::Frame as In;
use firn_wire::v1::message::{Chunk, FunctionFrame, Goodbye};
use proptest::prelude::*;
use prost::Message as _;
use tokio::sync::oneshot;

use super::*;

const PROTO: &str = r#"syntax = "proto3";
package t;
message Request { string id = 1; }
service Value { rpc One(Request) returns (Request); }
service Journal { rpc One(Request) returns (Request); }
service Data { rpc One(Request) returns (Request); rpc Watch(Request) returns (stream Request); }
service Doing { rpc One(Request) returns (Request); }
"#;

/// Compiled once for all cases.
static CONTRACT: LazyLock<Contract> = LazyLock::new(|| {
    let declared = |service, kind| Declared {
        service,
        kind,
        policies: policies::pipelined(),
    };
    contract(
        PROTO,
        vec![
            declared("t.Value", Kind::Value),
            declared("t.Journal", Kind::EventSourced),
            declared("t.Data", Kind::Replicated),
            declared("t.Doing", Kind::Action),
        ],
    )
});

const VALUE: usize = 0;
const DATA: usize = 2;
const DOING: usize = 3;

/// What came of an incarnation, for the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seen {
    Decided,
    /// A call waits at the gate.
    Gate,
    Ended,
}

/// An incarnation as the engine holds it.
struct Held {
    component: usize,
    incarnation: u64,
    seen: Arc<Mutex<Vec<Seen>>>,
    commands: usize,
    /// The engine wants to hear no more.
    is_reset: bool,
    /// The engine waits for its end.
    is_closing: bool,
}

impl Held {
    fn count(&self, what: Seen) -> usize {
        let seen = self.seen.lock().unwrap();
        seen.iter().filter(|seen| **seen == what).count()
    }

    /// Whether the engine may half-close it: nothing is open, and it has not ended.
    fn may_close(&self) -> bool {
        let is_idle = match self.component {
            // Of its streams some have several answers.
            DATA => self.commands == 0,
            _ => self.commands == self.count(Seen::Decided),
        };
        is_idle && self.count(Seen::Ended) == 0 && !self.is_reset && !self.is_closing
    }
}

struct Called {
    command: u64,
    reply: oneshot::Receiver<Result<ActionAnswer, Status>>,
    is_cancelled: bool,
}

/// A session with its engine.
struct World {
    session: Session,
    methods: Vec<Arc<Method>>,
    held: Vec<Held>,
    called: Vec<Called>,
    last_command: u64,
    opened: HashSet<u64>,
    closed: HashSet<u64>,
}

/// What a function declares.
fn places(contract: &Contract) -> Places {
    let place = |component: &Arc<Component>| {
        let methods = contract.methods();
        let mut methods: Vec<_> = methods
            .filter(|method| method.component.place == component.place)
            .cloned()
            .collect();
        methods.sort_by_key(|method| method.place);
        Place {
            component: component.clone(),
            methods,
            shape: Arc::new(Shape {
                state: "type.googleapis.com/t.Request".into(),
                events: ["type.googleapis.com/t.Request".into()].into(),
                data: Some(DataType::Counter),
                ..Shape::default()
            }),
        }
    };
    contract.components.iter().map(place).collect()
}

fn limits(commands: u64) -> Limits {
    Limits {
        chunk_bytes: 200,
        frame_bytes: 1000,
        frame_bytes_theirs: 2000,
        commands,
        request_messages: 4,
        reply_messages: 2,
        calls: 3,
    }
}

impl World {
    fn new(commands: u64) -> Self {
        Self::of(&CONTRACT, commands)
    }

    /// A function that declares another contract than the engine serves.
    fn of(contract: &Contract, commands: u64) -> Self {
        Self {
            session: Session::new(limits(commands), places(contract)),
            methods: CONTRACT.methods().cloned().collect(),
            held: Vec::new(),
            called: Vec::new(),
            last_command: 0,
            opened: HashSet::new(),
            closed: HashSet::new(),
        }
    }

    fn method(&self, component: usize, name: &str) -> Arc<Method> {
        let mut methods = self.methods.iter();
        let found = methods
            .find(|it| it.component.place as usize == component && *it.name == *name)
            .expect("a method");
        found.clone()
    }

    fn sent(&self, component: usize, name: &str) -> Sent {
        Sent {
            method: self.method(component, name),
            message: Bytes::from_static(b"\x0a\x01a"),
            metadata: None,
            timeout_ms: 1,
            handler: Handler {
                of: Handled::Action(1),
                hops: 0,
            },
        }
    }

    fn open(&mut self, component: usize) {
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let note = seen.clone();
        let id = EntityId::single("a");
        let declared = self.method(component, "One").component.clone();
        let incarnation = match declared.kind {
            Kind::Replicated => {
                let sink: ReplicaSink = Box::new(move |event| {
                    note.lock().unwrap().push(match event {
                        ReplicaEvent::Ended(_) => Seen::Ended,
                        _ => Seen::Decided,
                    });
                });
                self.session.open_replica(&declared, &id, None, sink)
            }
            kind => {
                let sink: EventSink = Box::new(move |event| {
                    note.lock().unwrap().push(match event {
                        StreamEvent::Ended(_) => Seen::Ended,
                        StreamEvent::Gate(_) => Seen::Gate,
                        _ => Seen::Decided,
                    });
                });
                let state = match kind {
                    Kind::Value => State::Value(None),
                    _ => State::History {
                        snapshot: None,
                        events: Vec::new(),
                        version: 0,
                    },
                };
                self.session.open_entity(&declared, &id, state, sink)
            }
        };
        self.held.push(Held {
            component,
            incarnation,
            seen,
            commands: 0,
            is_reset: false,
            is_closing: false,
        });
    }

    fn command(&mut self, which: usize, streamed: bool) {
        if self.held.is_empty() {
            return;
        }
        let which = which % self.held.len();
        if self.held[which].is_closing {
            return;
        }
        let (component, incarnation) = (self.held[which].component, self.held[which].incarnation);
        self.held[which].commands += 1;
        let number = self.held[which].commands as i64;
        match component {
            DATA if streamed => {
                let sent = self.sent(component, "Watch");
                self.session
                    .replica_command(incarnation, sent, number, true);
            }
            DATA => {
                let sent = self.sent(component, "One");
                self.session
                    .replica_command(incarnation, sent, number, false);
            }
            _ => {
                let sent = self.sent(component, "One");
                self.session.command(incarnation, sent);
            }
        }
    }

    fn act(&mut self) {
        let (sender, reply) = oneshot::channel();
        let sent = self.sent(DOING, "One");
        if let Ok(command) = self.session.act(sent, Replies::One(sender)) {
            self.called.push(Called {
                command,
                reply,
                is_cancelled: false,
            });
        }
    }

    fn take(&mut self, frame: impl Framed<In>) -> Result<Vec<Todo>, Broken> {
        let mut todo = Vec::new();
        let frame = FunctionFrame {
            frame: Some(frame.framed()),
        };
        // Of one that it has never heard of, its word means nothing.
        if let Some(In::Closed(closed)) = &frame.frame
            && self.opened.contains(&closed.incarnation)
        {
            self.closed.insert(closed.incarnation);
        }
        self.session.take(frame, &mut todo)?;
        Ok(todo)
    }

    /// What is sent, after a look at its order.
    fn drain(&mut self) -> Vec<Out> {
        let mut frames = Vec::new();
        let mut cx = Context::from_waker(Waker::noop());
        while let Poll::Ready(Some(batch)) = self.session.out.poll_batch(&mut cx) {
            frames.extend(batch.frames.into_iter().filter_map(|it| it.frame));
        }
        for frame in &frames {
            match frame {
                Out::Command(command) => {
                    assert!(command.id > self.last_command, "{frames:?}");
                    self.last_command = command.id;
                    let incarnation = command.incarnation;
                    assert!(!self.closed.contains(&incarnation), "{frames:?}");
                    let is_first = incarnation != 0 && self.opened.insert(incarnation);
                    assert_eq!(command.opening.is_some(), is_first, "R40: {frames:?}");
                }
                Out::Close(close) => {
                    assert!(self.opened.contains(&close.incarnation), "{frames:?}");
                    self.closed.insert(close.incarnation);
                }
                _ => {}
            }
        }
        frames
    }

    /// Everything has ended once, and nothing came after an end.
    fn finish(mut self) {
        self.session.end("over");
        for held in &self.held {
            let seen = held.seen.lock().unwrap();
            let first_end = seen.iter().position(|it| *it == Seen::Ended);
            match first_end {
                Some(at) => assert_eq!(at + 1, seen.len(), "{seen:?}"),
                None => assert!(held.is_reset, "no end of {}", held.incarnation),
            }
            if held.component != DATA {
                let decided = seen.iter().filter(|it| **it == Seen::Decided).count();
                assert!(decided <= held.commands, "{seen:?}");
            }
        }
        for mut called in self.called {
            let answer = called.reply.try_recv();
            assert!(answer.is_ok() || called.is_cancelled, "{answer:?}");
        }
    }
}

/// What may happen to a session.
#[derive(Debug, Clone)]
enum Op {
    Open(usize),
    Command(usize, bool),
    Act,
    CancelAction(usize),
    CancelWatch(usize, i64),
    HalfClose(usize),
    Reset(usize),
    Request(u64),
    Pass(u64),
    Frame(Box<In>),
    Goodbye,
    Finish,
}

fn frames() -> impl Strategy<Value = In> {
    let known = || any_bytes("t.Request", "");
    let other = || any_bytes("t.Other", "");
    let decision = (0..12_u64, 0..3_u64, 0..9).prop_map(move |(command, version, what)| {
        let decision = decided(command).leaving(version);
        match what {
            0 => decision.set(known()),
            1 => decision.append(&[known()], None),
            2 => decision.append(&[other()], Some(known())),
            3 => decision.delete(),
            4 => decision.update(wire::delta::Delta::Counter(1)),
            5 => decision.update(wire::delta::Delta::Flag(true)),
            6 => decision.failing(tonic::Code::Aborted, "no", &[]),
            7 => decision.saying(&"x".repeat(2000)),
            _ => decision.saying("ok"),
        }
        .framed()
    });
    let chunk = (
        0..3_u64,
        prop::collection::vec(any::<u8>(), 0..400),
        any::<bool>(),
        0..6_u64,
    );
    let chunk = chunk.prop_map(|(transfer, data, last, subject)| {
        In::Chunk(Chunk {
            transfer,
            data: data.into(),
            last,
            subject,
        })
    });
    prop_oneof![
        8 => decision,
        3 => (0..12_u64).prop_map(|command| reply(command, "r").framed()),
        2 => (0..12_u64, 0..3_u32).prop_map(|(command, more)| credit(command, more).framed()),
        1 => chunk,
        3 => (0..8_u64).prop_map(|incarnation| closed(incarnation).framed()),
        3 => (0..9_u64, 0..12_u64).prop_map(|(id, command)| In::Call(wire::Call {
            id,
            command,
            ..wire::Call::default()
        })),
        1 => (0..9_u64).prop_map(|id| In::Cancel(wire::Cancel { id })),
        1 => Just(In::Goodbye(Goodbye {})),
    ]
}

fn ops() -> impl Strategy<Value = Op> {
    prop_oneof![
        3 => (0..3_usize).prop_map(Op::Open),
        6 => (0..8_usize, any::<bool>()).prop_map(|(which, streamed)| Op::Command(which, streamed)),
        2 => Just(Op::Act),
        1 => (0..4_usize).prop_map(Op::CancelAction),
        1 => (0..8_usize, 1..4_i64).prop_map(|(which, number)| Op::CancelWatch(which, number)),
        1 => (0..8_usize).prop_map(Op::HalfClose),
        1 => (0..8_usize).prop_map(Op::Reset),
        1 => (0..12_u64).prop_map(Op::Request),
        1 => (0..9_u64).prop_map(Op::Pass),
        12 => frames().prop_map(|frame| Op::Frame(Box::new(frame))),
        1 => Just(Op::Goodbye),
        1 => Just(Op::Finish),
    ]
}

proptest! {
    #[test]
    fn whatever_comes_every_command_ends_once(
        credit in 1..4_u64,
        ops in prop::collection::vec(ops(), 0..80),
    ) {
        let mut world = World::new(credit);
        for op in ops {
            let count = world.held.len().max(1);
            match op {
                Op::Open(component) => world.open(component),
                Op::Command(which, streamed) => world.command(which, streamed),
                Op::Act => world.act(),
                Op::CancelAction(which) => {
                    if let Some(called) = world.called.get_mut(which) {
                        called.is_cancelled = true;
                        world.session.cancel_action(called.command);
                    }
                }
                Op::CancelWatch(which, number) => {
                    if let Some(held) = world.held.get(which % count) {
                        world.session.cancel_watch(held.incarnation, number);
                    }
                }
                Op::HalfClose(which) => {
                    if let Some(held) = world.held.get_mut(which % count)
                        && held.may_close()
                    {
                        held.is_closing = true;
                        world.session.half_close(held.incarnation);
                    }
                }
                Op::Reset(which) => {
                    if let Some(held) = world.held.get_mut(which % count) {
                        held.is_reset = true;
                        world.session.reset(held.incarnation);
                    }
                }
                Op::Request(command) => world.session.request(command, None),
                Op::Pass(number) => {
                    world.session.pass(number);
                }
                Op::Frame(frame) => {
                    if world.take(*frame).is_err() {
                        break;
                    }
                }
                Op::Goodbye => world.session.goodbye(),
                Op::Finish => world.session.finish(),
            }
            world.drain();
        }
        world.finish();
    }
}

/// The frames of these kinds, in few words.
fn kinds(frames: &[Out]) -> Vec<String> {
    let kind = |frame: &Out| match frame {
        Out::Command(command) => format!("command {} of {}", command.id, command.incarnation),
        Out::Close(close) => format!("close {}", close.incarnation),
        Out::Cancel(cancel) => format!("cancel {}", cancel.id),
        Out::Notice(notice) => {
            let code = notice.finding.as_ref().map(|it| it.code.clone());
            format!("{} {}", code.unwrap_or_default(), notice.command)
        }
        Out::CallResult(result) => format!("result {}", result.id),
        Out::Credit(credit) => format!("credit {}", credit.command),
        other => format!("{other:?}"),
    };
    frames.iter().map(kind).collect()
}

/// Each active entity costs this. It had 225 bytes in a table with room for twice as many when what the
/// first command carries, and a queue, were in it.
#[test]
fn incarnation_is_small() {
    assert!(size_of::<Instance>() <= 88);
}

/// R41, R80: of an incarnation whose first command waits for credit the function never hears.
#[test]
fn incarnation_that_still_waits_ends_without_a_word() {
    let mut world = World::new(1);
    world.act();
    world.open(VALUE);
    world.command(0, false);
    assert_eq!(kinds(&world.drain()), ["command 1 of 0"]);
    world.session.half_close(1);
    assert_eq!(world.held[0].count(Seen::Ended), 1);
    world.open(VALUE);
    world.command(1, false);
    world.take(decided(1).saying("ok")).unwrap();
    assert_eq!(kinds(&world.drain()), ["command 3 of 2"]);
    world.finish();
}

/// R80: a call of an action whose caller has gone before it was sent leaves nothing behind.
#[test]
fn cancelled_call_that_waits_is_never_sent() {
    let mut world = World::new(1);
    world.act();
    for command in 2..100 {
        world.act();
        world.called[command as usize - 1].is_cancelled = true;
        world.session.cancel_action(command);
    }
    assert!(world.session.waiting.is_empty());
    world.take(decided(1).saying("ok")).unwrap();
    assert_eq!(kinds(&world.drain()), ["command 1 of 0"]);
    world.act();
    assert_eq!(kinds(&world.drain()), ["command 100 of 0"]);
    world.finish();
}

/// What waits behind a command that was taken back goes out with the credit that there is.
#[test]
fn frames_behind_a_command_that_is_taken_back_go_out() {
    let mut world = World::new(1);
    world.act();
    world.act();
    world.open(VALUE);
    world.command(0, false);
    world.session.request(2, None);
    world.take(decided(1).saying("ok")).unwrap();
    assert_eq!(kinds(&world.drain()), ["command 1 of 0", "command 2 of 0"]);
    world.session.half_close(1);
    assert!(matches!(world.drain()[..], [Out::Message(_)]));
    world.take(decided(2).saying("ok")).unwrap();
    assert!(world.drain().is_empty());
    assert!(world.called[1].reply.try_recv().is_ok());
    world.called.clear();
    world.finish();
}

/// A function that does not read is not told without end what it did wrong.
#[test]
fn notices_that_wait_are_bounded() {
    let mut world = World::new(1);
    for command in 0..5000 {
        world.take(decided(command)).unwrap();
    }
    assert_eq!(world.drain().len(), crate::v1::outbox::NOTICES_MAX);
    world.take(decided(9)).unwrap();
    assert_eq!(kinds(&world.drain()), ["FIRN-3031 9"]);
    world.finish();
}

/// R20: a command that was never sent cannot be answered: FIRN-3031.
#[test]
fn command_that_waits_for_credit_is_not_open_to_the_function() {
    let mut world = World::new(1);
    world.act();
    world.act();
    world.take(decided(2).saying("early")).unwrap();
    world.take(reply(2, "early")).unwrap();
    let sent = kinds(&world.drain());
    assert_eq!(sent, ["command 1 of 0", "FIRN-3031 2", "FIRN-3031 2"]);
    world.take(decided(1).saying("ok")).unwrap();
    assert_eq!(kinds(&world.drain()), ["command 2 of 0"]);
    world.take(decided(2).saying("ok")).unwrap();
    world.finish();
}

/// R21: FIRN-3032.
#[test]
fn answers_of_an_entity_come_in_order() {
    let mut world = World::new(9);
    world.open(VALUE);
    world.command(0, false);
    world.command(0, false);
    world.take(decided(2).saying("early")).unwrap();
    let sent = kinds(&world.drain());
    assert_eq!(
        sent,
        ["command 1 of 1", "command 2 of 1", "FIRN-3032 2", "close 1"]
    );
    // What crosses the end is void, and no fault (R41).
    world.take(decided(1).saying("late")).unwrap();
    world.take(closed(1)).unwrap();
    assert!(world.drain().is_empty());
    world.finish();
}

/// R71: a call of an entity's handler waits at the gate; with the incarnation it is refused.
#[test]
fn calls_at_the_gate_end_with_their_incarnation() {
    let mut world = World::new(9);
    world.open(VALUE);
    world.command(0, false);
    let call = |id| {
        In::Call(wire::Call {
            id,
            command: 1,
            ..wire::Call::default()
        })
    };
    assert!(world.take(call(1)).unwrap().is_empty());
    assert!(world.take(call(2)).unwrap().is_empty());
    assert_eq!(*world.held[0].seen.lock().unwrap(), [Seen::Gate; 2]);
    assert_eq!(world.session.pass(1).map(|call| call.id), Some(1));
    world.drain();
    world.session.reset(1);
    world.held[0].is_reset = true;
    let frames = world.drain();
    assert_eq!(kinds(&frames), ["result 2", "close 1"]);
    let Out::CallResult(wire::CallResult {
        result: Some(wire::call_result::Result::Failure(failure)),
        ..
    }) = &frames[0]
    else {
        panic!("{:?}", frames[0]);
    };
    // A session does not know why the engine lets an incarnation go, so it blames nobody.
    assert_eq!(failure.code, GrpcCode::Unavailable as i32);
    let told = "its incarnation has ended before all that the handler may have seen was durable";
    assert!(failure.message.contains(told), "{}", failure.message);
    assert!(world.session.pass(2).is_none());
    world.finish();
}

/// R73: FIRN-3038; numbers ascend.
#[test]
fn calls_have_credit_and_ascending_numbers() {
    let mut world = World::new(9);
    let call = |id| {
        In::Call(wire::Call {
            id,
            ..wire::Call::default()
        })
    };
    for id in 1..=3 {
        assert_eq!(world.take(call(id)).unwrap().len(), 1);
    }
    assert!(world.take(call(4)).unwrap().is_empty());
    let failed = Status::chosen(GrpcCode::NotFound, "no");
    world.session.call_result(1, Err(failed));
    assert_eq!(kinds(&world.drain()), ["result 4", "result 1"]);
    assert!(world.take(call(2)).unwrap().is_empty());
    assert_eq!(kinds(&world.drain()), ["result 2"]);
    assert_eq!(world.take(call(5)).unwrap().len(), 1);
    world.finish();
}

/// R82: FIRN-3039 to whoever asked; the function hears nothing, and the others go on.
#[test]
fn what_the_function_does_not_take_is_not_sent() {
    let mut world = World::new(9);
    world.open(VALUE);
    let sent = Sent {
        message: vec![0; 3000].into(),
        ..world.sent(VALUE, "One")
    };
    world.session.command(1, sent);
    world.held[0].is_reset = true;
    assert!(world.drain().is_empty());
    assert!(matches!(
        world.held[0].seen.lock().unwrap()[..],
        [Seen::Ended]
    ));
    world.held[0].commands = 1;
    world.open(VALUE);
    world.command(1, false);
    assert_eq!(kinds(&world.drain()), ["command 2 of 2"]);
    let large = Reply {
        payload: Payload::new("t", vec![0; 3000]),
        ..Reply::default()
    };
    world.session.call_result(1, Ok(large));
    assert_eq!(kinds(&world.drain()), ["result 1"]);
    world.finish();
}

/// R80: whoever streams holds up nobody else.
#[test]
fn stream_that_has_begun_gives_its_credit_back_once() {
    let mut world = World::new(1);
    world.open(DATA);
    world.command(0, true);
    world.open(VALUE);
    world.command(1, false);
    assert_eq!(kinds(&world.drain()), ["command 1 of 1"]);
    world.take(reply(1, "now")).unwrap();
    assert_eq!(kinds(&world.drain()), ["command 2 of 2", "credit 1"]);
    world.command(1, false);
    world.take(decided(1)).unwrap();
    assert!(world.drain().is_empty(), "the end gives nothing back");
    world.take(decided(2)).unwrap();
    assert_eq!(kinds(&world.drain()), ["command 3 of 2"]);
    world.finish();
}

/// R82: FIRN-3039. A reply is not the end of its call.
#[test]
fn action_with_a_reply_that_is_too_large_is_cancelled() {
    let large = || reply(1, &"x".repeat(2000));
    for frames in [vec![large().framed()], in_pieces(large(), 1)] {
        let mut world = World::new(9);
        world.act();
        world.drain();
        for frame in frames {
            world.take(frame).unwrap();
        }
        let failed = world.called[0].reply.try_recv().unwrap().unwrap_err();
        assert_eq!(failed.firn, Some(Code::FrameTooLarge));
        assert_eq!(kinds(&world.drain()), ["FIRN-3039 1", "cancel 1"]);
        world.called.clear();
        // Its end is expected still.
        world.take(decided(1)).unwrap();
        assert!(world.drain().is_empty());
        world.finish();
    }
}

/// R82: the end of a call that is too large is its end all the same.
#[test]
fn action_with_a_decision_that_is_too_large_is_over() {
    let mut world = World::new(1);
    world.act();
    world.drain();
    world.take(decided(1).saying(&"x".repeat(2000))).unwrap();
    let failed = world.called[0].reply.try_recv().unwrap().unwrap_err();
    assert_eq!(failed.firn, Some(Code::FrameTooLarge));
    world.called.clear();
    world.act();
    assert_eq!(kinds(&world.drain()), ["FIRN-3039 1", "command 2 of 0"]);
    world.finish();
}

/// R82: with a message of a stream that is too large its incarnation ends.
#[test]
fn watched_entity_with_a_reply_that_is_too_large_is_closed() {
    let mut world = World::new(1);
    world.open(DATA);
    world.command(0, true);
    world.act();
    world.drain();
    world.take(reply(1, &"x".repeat(2000))).unwrap();
    assert_eq!(world.held[0].count(Seen::Ended), 1);
    assert_eq!(kinds(&world.drain()), ["FIRN-3039 1", "close 1"]);
    world.take(closed(1)).unwrap();
    assert_eq!(kinds(&world.drain()), ["command 2 of 0"]);
    world.finish();
}

/// A frame in pieces.
fn in_pieces(frame: impl Framed<In>, subject: u64) -> Vec<In> {
    let frame = FunctionFrame {
        frame: Some(frame.framed()),
    };
    let mut transfer = Transfer::new(1, subject, frame.encode_to_vec().into(), 200);
    let mut pieces = Vec::new();
    loop {
        let piece = transfer.next_chunk();
        let is_last = piece.last;
        pieces.push(In::Chunk(piece));
        if is_last {
            return pieces;
        }
    }
}

/// R84: FIRN-3040. Whoever calls without end and does not read is cut off.
#[test]
fn answers_that_nobody_reads_are_bounded() {
    let mut world = World::new(9);
    let call = |id| {
        In::Call(wire::Call {
            id,
            ..wire::Call::default()
        })
    };
    // Also of calls that are answered at once.
    for id in 1..=3 {
        world.take(call(id)).unwrap();
        let reply = Err(Status::chosen(GrpcCode::NotFound, "no"));
        world.session.call_result(id, reply);
    }
    for id in 4..=6 {
        assert!(world.take(call(id)).unwrap().is_empty(), "no credit");
    }
    let broken = world.take(call(7)).unwrap_err();
    assert_eq!(broken.code, Code::FrameIllegal);
    assert_eq!(world.drain().len(), 7);
    // Whoever reads may go on.
    assert_eq!(world.take(call(8)).unwrap().len(), 1);
    world.finish();
}

/// R84: FIRN-3040.
#[test]
fn grants_that_nobody_reads_are_bounded() {
    let mut world = World::new(9);
    world.open(DATA);
    world.command(0, true);
    let mut replies = 0..2 * CREDITS_WAITING_MAX;
    let broken = replies.find_map(|_| world.take(reply(1, "now")).err());
    assert_eq!(broken.unwrap().code, Code::FrameIllegal);
    assert_eq!(replies.start, CREDITS_WAITING_MAX + 1);
    world.finish();
}

/// R41: FIRN-3040. Whoever never lets go of what was closed is cut off.
#[test]
fn incarnation_that_is_never_let_go_of_breaks_the_connection() {
    let mut world = World::new(9);
    for which in 0..3 {
        world.open(VALUE);
        world.command(which, false);
        world.take(decided(which as u64 + 1)).unwrap();
        world.session.half_close(which as u64 + 1);
    }
    world.drain();
    for _ in 0..LOOKS_UNTIL_CLOSED {
        world.session.look().unwrap();
    }
    for incarnation in [1, 3] {
        world.take(closed(incarnation)).unwrap();
    }
    let broken = world.session.look().unwrap_err();
    assert_eq!(broken.code, Code::FrameIllegal);
    assert!(broken.text.contains("incarnation 2 "), "{}", broken.text);
    world.take(closed(2)).unwrap();
    world.session.look().unwrap();
    assert!(world.session.closing.is_empty());
    world.finish();
}

/// R41: of one incarnation the end is said once.
#[test]
fn incarnation_that_has_ended_is_closed_once() {
    let mut world = World::new(9);
    world.open(VALUE);
    world.command(0, false);
    world.take(decided(1).leaving(7)).unwrap();
    assert_eq!(world.held[0].count(Seen::Ended), 1);
    // The engine has not heard of it yet.
    world.session.half_close(1);
    world.session.reset(1);
    let sent = kinds(&world.drain());
    assert_eq!(sent, ["command 1 of 1", "FIRN-3033 1", "close 1"]);
    world.finish();
}

/// What a function declares that took the place of the one of [`CONTRACT`]: in another order, without
/// some methods, and with others that only share a name.
fn replacement() -> Contract {
    let proto = r#"syntax = "proto3";
package t;
message Request { string id = 1; }
message Other { string id = 1; }
service Value { rpc First(Request) returns (Request); rpc One(Request) returns (Request); }
service Journal { rpc One(Request) returns (Request); }
service Data { rpc One(Request) returns (Other); rpc Watch(Request) returns (Request); }
service Doing { rpc Other(Request) returns (Request); }
"#;
    let declared = |service, kind| Declared {
        service,
        kind,
        policies: policies::pipelined(),
    };
    contract(
        proto,
        vec![
            declared("t.Doing", Kind::Action),
            declared("t.Data", Kind::Replicated),
            declared("t.Journal", Kind::Value),
            declared("t.Value", Kind::Value),
        ],
    )
}

/// R17: what the engine still asks by an older contract goes to the method of that name.
#[test]
fn places_are_those_of_the_function() {
    let mut world = World::of(&replacement(), 9);
    world.open(VALUE);
    world.command(0, false);
    let [Out::Command(command)] = &world.drain()[..] else {
        panic!("no command")
    };
    assert_eq!((command.component, command.method), (3, 1));
    world.take(decided(1).saying("ok")).unwrap();
    assert_eq!(world.held[0].count(Seen::Decided), 1);
    world.finish();
}

/// R17: what the function does not declare any more, or only by name, is not sent.
#[test]
fn what_a_function_came_back_without_is_not_sent() {
    let mut world = World::of(&replacement(), 9);
    const JOURNAL: usize = 1;
    // Another model; methods with another reply, or another shape.
    for (which, component, streamed) in [(0, JOURNAL, false), (1, DATA, false), (2, DATA, true)] {
        world.open(component);
        world.command(which, streamed);
        assert_eq!(world.held[which].count(Seen::Ended), 1, "{which}");
    }
    world.act();
    assert!(world.called.is_empty(), "the action is handed back");
    assert!(world.drain().is_empty());
    world.finish();
}
