//! Random sequences of frames: whatever Firn sends, in whatever order handlers end.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use prost::Message as _;

use super::*;
use crate::data::Counter;
use crate::hook::ConnectionEvent;
use crate::{Context, EventSourced, Method, Replicated, Replies, Service, StreamOut, ValueEntity};

const VALUE: Service = Service::new("t.Value", b"");
const NOW: Method<i64, i64> = Method::new("t.Value", "Now");
const LATER: Method<i64, i64> = Method::new("t.Value", "Later");
const EVENTS: Service = Service::new("t.Events", b"");
const EMIT: Method<i64, i64> = Method::new("t.Events", "Emit");
const DATA: Service = Service::new("t.Data", b"");
const CHANGE: Method<i64, i64> = Method::new("t.Data", "Change");
const CHANGE_LATER: Method<i64, i64> = Method::new("t.Data", "ChangeLater");
const WATCH: Method<i64, i64, StreamOut> = Method::new("t.Data", "Watch");

type Value = Context<ValueEntity<i64>>;
type Data = Context<Replicated<Counter>>;

async fn later(by: i64, value: &mut Value) -> Result<i64, Failure> {
    let called = value.call(NOW.with(by)).await?;
    value.set(called);
    Ok(called)
}

fn change(by: i64, data: &mut Data) -> Result<i64, Failure> {
    data.data_mut().change(by);
    if by == 3 {
        return Err(Failure::invalid_argument("three"));
    }
    Ok(data.data().value())
}

async fn change_later(by: i64, data: &mut Data) -> Result<i64, Failure> {
    data.call(NOW.with(by)).await?;
    change(by, data)
}

async fn watch(_: i64, data: &mut Data, replies: Replies<i64>) -> Result<(), Failure> {
    loop {
        replies.send(data.data().value()).await?;
        if !data.changed().await {
            return Ok(());
        }
    }
}

fn components() -> Arc<[Component]> {
    let value = ValueEntity::<i64>::component(VALUE)
        .on(NOW, |by, value: &mut Value| {
            value.set(by);
            Ok::<_, Failure>(by)
        })
        .on_async(LATER, later);
    let events = EventSourced::<i64>::component(EVENTS)
        .event(|state: &mut i64, by: u32| *state += i64::from(by))
        .on(EMIT, |by, events: &mut Context<EventSourced<i64>>| {
            events.emit(1_u32);
            assert!(by != 2, "two");
            if by == 3 {
                return Err(Failure::invalid_argument("three"));
            }
            Ok(*events.state())
        });
    let data = Replicated::<Counter>::component(DATA)
        .on(CHANGE, change)
        .on_async(CHANGE_LATER, change_later)
        .on_stream_out(WATCH, watch);
    [value.into(), events.into(), data.into()].into()
}

/// Says nothing of the crashes that these handlers make.
struct Quiet;

impl Hook for Quiet {
    fn finding(&self, _: &Finding, _: Severity) {}
    fn connection(&self, _: ConnectionEvent<'_>) {}
    fn crashed(&self, _: Handler<'_>, _: &str) {}
}

#[derive(Debug, Clone)]
enum Step {
    /// A command of an entity; the first of an incarnation opens it.
    Command {
        entity: usize,
        method: u32,
        by: i64,
    },
    Close(usize),
    Cancel(u64),
    Change(usize, i64),
    /// Answers the oldest call that is open.
    Answer,
    Credit(u64),
    Run,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..6_usize, 0..3_u32, 0..5_i64)
            .prop_map(|(entity, method, by)| Step::Command { entity, method, by }),
        1 => (0..6_usize).prop_map(Step::Close),
        2 => (0..40_u64).prop_map(Step::Cancel),
        2 => (0..6_usize, -5..5_i64).prop_map(|(entity, by)| Step::Change(entity, by)),
        4 => Just(Step::Answer),
        1 => (0..40_u64).prop_map(Step::Credit),
        2 => Just(Step::Run),
    ]
}

/// Firn, as far as it has to remember.
struct Firn {
    session: Session,
    last_command: u64,
    last_incarnation: u64,
    /// Of each entity: its incarnation, and whether it is open.
    entities: [(u64, bool); 6],
    /// Open commands with their incarnations.
    open: BTreeMap<u64, u64>,
    closed: BTreeSet<u64>,
    calls: VecDeque<u64>,
    /// The last command decided of each incarnation that is not replicated.
    decided: BTreeMap<u64, u64>,
}

impl Firn {
    fn new() -> Self {
        let setup = Setup {
            components: components(),
            hook: Arc::new(Quiet),
            incarnations: 4,
        };
        let welcome = wire::Welcome {
            calls: 2,
            call_messages: 2,
            frame_bytes: 1 << 20,
            chunk_bytes: 1 << 16,
            ..wire::Welcome::default()
        };
        Self {
            session: Session::new(setup, &welcome),
            last_command: 0,
            last_incarnation: 0,
            entities: [(0, false); 6],
            open: BTreeMap::new(),
            closed: BTreeSet::new(),
            calls: VecDeque::new(),
            decided: BTreeMap::new(),
        }
    }

    fn send(&mut self, frame: firn_frame::Frame) {
        self.session.on_frame(frame, Instant::now()).unwrap();
    }

    fn step(&mut self, step: &Step) {
        use firn_frame::Frame as In;
        match *step {
            Step::Command { entity, method, by } => self.command(entity, method, by),
            Step::Close(entity) => {
                let (incarnation, is_open) = self.entities[entity];
                if is_open {
                    self.send(In::Close(wire::Close { incarnation }));
                }
            }
            Step::Cancel(id) => self.send(In::Cancel(wire::Cancel { id })),
            Step::Change(entity, by) => {
                let (incarnation, is_open) = self.entities[entity];
                if is_open {
                    let delta = Some(wire::delta::Delta::Counter(by));
                    let change = wire::change::Change::Delta(wire::Delta { delta });
                    self.send(In::Change(wire::Change {
                        incarnation,
                        change: (entity % 3 == 2).then_some(change),
                    }));
                }
            }
            Step::Answer => {
                if let Some(id) = self.calls.pop_front() {
                    self.send(In::CallResult(wire::CallResult {
                        id,
                        ..wire::CallResult::default()
                    }));
                }
            }
            Step::Credit(command) => self.send(In::Credit(wire::Credit { command, amount: 1 })),
            Step::Run => self.session.run_ready_handlers(),
        }
        self.take();
    }

    fn command(&mut self, entity: usize, method: u32, by: i64) {
        let (mut incarnation, is_open) = self.entities[entity];
        let mut opening = None;
        if !is_open {
            self.last_incarnation += 1;
            incarnation = self.last_incarnation;
            self.entities[entity] = (incarnation, true);
            opening = Some(wire::Opening {
                entity_id: entity.to_string(),
                ..wire::Opening::default()
            });
        }
        self.last_command += 1;
        self.open.insert(self.last_command, incarnation);
        self.send(firn_frame::Frame::Command(wire::Command {
            id: self.last_command,
            component: u32::try_from(entity % 3).unwrap(),
            method,
            incarnation,
            opening,
            message: by.encode_to_vec().into(),
            ..wire::Command::default()
        }));
    }

    fn take(&mut self) {
        while self.session.has_output() {
            for frame in self.session.batch().frames {
                match frame.frame.unwrap() {
                    Frame::Decision(decision) => self.on_decision(decision.command),
                    Frame::Reply(reply) => assert!(self.open.contains_key(&reply.command)),
                    Frame::Closed(closed) => self.on_closed(closed.incarnation),
                    Frame::Call(call) => self.calls.push_back(call.id),
                    _ => {}
                }
            }
        }
    }

    fn on_decision(&mut self, command: u64) {
        let incarnation = self.open.remove(&command);
        let incarnation = incarnation.expect("one decision for each command");
        assert!(!self.closed.contains(&incarnation), "R41");
        let at = self.entities.iter().position(|it| it.0 == incarnation);
        if at.is_some_and(|at| at % 3 != 2) {
            let before = self.decided.insert(incarnation, command);
            assert!(before < Some(command), "R21");
        }
    }

    fn on_closed(&mut self, incarnation: u64) {
        self.closed.insert(incarnation);
        self.open.retain(|_, of| *of != incarnation);
        for entity in &mut self.entities {
            if entity.0 == incarnation {
                entity.1 = false;
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn every_command_is_answered_once_and_in_order(steps in proptest::collection::vec(step(), 0..80)) {
        let mut firn = Firn::new();
        for step in &steps {
            firn.step(step);
        }
        // In the end everybody goes, and every call is answered.
        for id in 1..=firn.last_command {
            firn.step(&Step::Cancel(id));
            firn.step(&Step::Credit(id));
        }
        firn.step(&Step::Run);
        while !firn.calls.is_empty() {
            firn.step(&Step::Answer);
            firn.step(&Step::Run);
        }
        prop_assert!(firn.open.is_empty(), "left open: {:?}", firn.open);
        for entity in 0..6 {
            firn.step(&Step::Close(entity));
        }
        prop_assert!(firn.session.is_over());
    }
}
