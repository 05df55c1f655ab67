//! Entities of the model function.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use prost::Message as _;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, spawn_local};

use super::function::{Conn, failure, hang};
use super::quirk::Quirk;
use super::steps::{Turn, target};
use crate::data::Data;
use crate::proto::model::data_step::Step as DataStep;
use crate::proto::model::{Appended, DataRequest, Request, State};
use crate::proto::v1::delta::Delta as Kind;
use crate::proto::v1::function_frame::Frame;
use crate::proto::v1::{
    self, Actor, Append, Change, Closed, Command, Decision, Delete, Delta, Mutation, Opening,
    Update, change, decision, mutation, opening,
};
use crate::proto::{any, unpack};
use crate::service::{SNAPSHOT_EVERY, Service};

/// Where the commands of an entity go.
pub(super) type Inbox = mpsc::UnboundedSender<Command>;

/// One that is held.
pub(super) struct Incarnation {
    pub(super) inbox: Inbox,
    pub(super) used: Rc<Cell<u64>>,
    /// Commands that were received and not answered.
    pub(super) open: Rc<Cell<usize>>,
    tasks: Rc<RefCell<BTreeMap<u64, JoinHandle<()>>>>,
    main: JoinHandle<()>,
    data: Option<Rc<Shared>>,
}

impl Incarnation {
    pub(super) fn abort(&self) {
        self.main.abort();
        for task in self.tasks.borrow().values() {
            task.abort();
        }
    }
}

/// A value of replicated data, with those who watch it.
struct Shared {
    data: RefCell<Data>,
    deleted: Cell<bool>,
    changes: watch::Sender<u64>,
}

impl Shared {
    fn changed(&self) {
        self.changes.send_modify(|count| *count += 1);
    }
}

/// The state of the other models.
#[derive(Clone, Default)]
pub(super) struct Text {
    state: State,
    exists: bool,
    tags: BTreeMap<String, String>,
    version: u64,
}

pub(super) fn take(conn: &Rc<Conn>, mut command: Command) {
    let incarnation = command.incarnation;
    let mut opening = command.opening.take();
    if opening.is_none() && conn.quirk == Quirk::DeadAnswered && conn.inbox(incarnation).is_none() {
        opening = Some(Opening::default());
    }
    if let Some(opening) = opening {
        let service = conn.services[command.component as usize];
        let (inbox, commands) = mpsc::unbounded_channel();
        let (open, tasks) = (
            Rc::new(Cell::new(0)),
            Rc::new(RefCell::new(BTreeMap::new())),
        );
        let mut data = None;
        let life = Life {
            conn: Rc::clone(conn),
            incarnation,
            service,
            open: Rc::clone(&open),
        };
        let main = if let Service::Data(data_type) = service {
            let mut value = Data::empty(data_type);
            let reads = conn.quirk != Quirk::OpeningIgnored;
            if let Some(opening::State::Data(delta)) = opening.state.as_ref().filter(|_| reads) {
                let _ = value.apply(delta);
            }
            let shared = Rc::new(Shared {
                data: RefCell::new(value),
                deleted: Cell::new(false),
                changes: watch::channel(0).0,
            });
            data = Some(Rc::clone(&shared));
            spawn_local(life.run_data(commands, shared, Rc::clone(&tasks)))
        } else {
            spawn_local(life.run_text(commands, opening))
        };
        conn.incarnations.borrow_mut().insert(
            incarnation,
            Incarnation {
                inbox,
                used: Rc::new(Cell::new(conn.tick())),
                open,
                tasks,
                main,
                data,
            },
        );
    }
    let Some(inbox) = conn.inbox(incarnation) else {
        return;
    };
    if let Some(one) = conn.incarnations.borrow().get(&incarnation) {
        one.open.set(one.open.get() + 1);
    }
    let cancel = (command.id, Rc::default());
    conn.cancels.borrow_mut().extend([cancel]);
    let _ = inbox.send(command);
    conn.evict();
}

pub(super) fn close(conn: &Rc<Conn>, incarnation: u64) {
    if let Some(one) = conn.incarnations.borrow_mut().remove(&incarnation)
        && conn.quirk != Quirk::DecisionAfterClosed
    {
        one.abort();
    }
    if conn.quirk != Quirk::NoClosed {
        conn.send(Frame::Closed(Closed { incarnation }));
    }
}

pub(super) fn change(conn: &Rc<Conn>, change: Change) {
    let incarnations = conn.incarnations.borrow();
    let shared = incarnations
        .get(&change.incarnation)
        .and_then(|one| one.data.clone());
    let Some(shared) = shared.filter(|_| conn.quirk != Quirk::ChangesIgnored) else {
        return;
    };
    match change.change {
        Some(change::Change::Delta(delta)) => {
            let _ = shared.data.borrow_mut().apply(&delta);
        }
        Some(change::Change::Deleted(_)) => shared.deleted.set(true),
        None => {}
    }
    shared.changed();
}

/// Ends a watch or another command of a replicated entity. Whether there was one.
pub(super) fn cancel(conn: &Conn, command: u64) -> bool {
    for one in conn.incarnations.borrow().values() {
        if let Some(task) = one.tasks.borrow_mut().remove(&command) {
            task.abort();
            one.open.set(one.open.get() - 1);
            return true;
        }
    }
    false
}

struct Life {
    conn: Rc<Conn>,
    incarnation: u64,
    service: Service,
    open: Rc<Cell<usize>>,
}

impl Life {
    fn let_go(&self) {
        self.conn
            .incarnations
            .borrow_mut()
            .remove(&self.incarnation);
        self.conn.send(Frame::Closed(Closed {
            incarnation: self.incarnation,
        }));
    }

    fn fold(&self, mut opening: Opening) -> Option<Text> {
        let skips = self.conn.quirk == Quirk::EventsSkipped;
        if self.conn.quirk == Quirk::OpeningIgnored {
            opening.state = None;
        }
        let mut text = Text {
            version: opening.version,
            ..Text::default()
        };
        let mut state = None;
        match opening.state {
            Some(opening::State::Value(any)) => match unpack(&any, "State") {
                None if skips => {}
                read => state = Some(read?),
            },
            Some(opening::State::Actor(actor)) => {
                text.tags = actor.tags;
                if let Some(any) = actor.state {
                    state = Some(unpack(&any, "State")?);
                }
            }
            Some(opening::State::History(history)) => {
                let mut folded = State::default();
                if let Some(snapshot) = history.snapshot {
                    folded = unpack(&snapshot, "State")?;
                }
                for event in &history.events {
                    match unpack::<Appended>(event, "Appended") {
                        Some(event) => {
                            folded.text += &event.text;
                            folded.count += 1;
                        }
                        None if skips => {}
                        None => return None,
                    }
                }
                state = Some(folded);
            }
            _ => {}
        }
        text.exists = state.is_some();
        text.state = state.unwrap_or_default();
        Some(text)
    }

    async fn run_text(self, mut commands: mpsc::UnboundedReceiver<Command>, opening: Opening) {
        let key = (self.service, opening.entity_id.clone());
        let remembers = self.conn.quirk == Quirk::StateRemembered;
        let remembered = self.conn.remembered.borrow().get(&key).cloned();
        let folded = match remembered {
            Some(text) if remembers => Some(text),
            _ => self.fold(opening),
        };
        let mut text = folded;
        while let Some(command) = commands.recv().await {
            let _turn = match self.conn.quirk {
                Quirk::OneAtATime => Some(self.conn.one_at_a_time.lock().await),
                _ => None,
            };
            let Some(before) = &mut text else {
                self.conn.send(Frame::Decision(Decision {
                    command: command.id,
                    answer: Some(failure(13, "the state cannot be read")),
                    ..Decision::default()
                }));
                self.let_go();
                return;
            };
            let cancelled = self.conn.cancels.borrow().get(&command.id).cloned();
            let cancelled = cancelled.unwrap_or_default();
            let (decision, after) = tokio::select! {
                handled = self.handle(&command, before.clone()) => handled,
                () = cancelled.notified() => {
                    let answer = Some(failure(1, "cancelled"));
                    let command = command.id;
                    let version = before.version;
                    (Decision { command, answer, version, ..Decision::default() }, None)
                }
            };
            self.conn.cancels.borrow_mut().remove(&command.id);
            let sent = self.conn.decide(decision);
            if sent && let Some(after) = after {
                *before = after;
            }
            if remembers {
                self.conn
                    .remembered
                    .borrow_mut()
                    .insert(key.clone(), before.clone());
            }
            self.open.set(self.open.get() - 1);
            self.conn.evict();
        }
    }

    /// The decision, and the state after it unless it failed.
    async fn handle(&self, command: &Command, mut text: Text) -> (Decision, Option<Text>) {
        let quirk = self.conn.quirk;
        let request = Request::decode(command.message.clone()).unwrap_or_default();
        let mut turn = Turn::new(command, None);
        turn.state = text.state.clone();
        turn.tags.clone_from(&text.tags);
        if let Err(stop) = turn.run(&self.conn, &request).await {
            text.state = turn.state;
            let kept = (quirk == Quirk::FailedStateKept).then_some(text);
            return (stop.decision(command.id, quirk), kept);
        }
        let before = text.version;
        text.state = turn.state.clone();
        text.tags.clone_from(&turn.tags);
        let mutation = self.mutation(&turn, &mut text, before);
        let mut decision = turn.decision(command, quirk);
        decision.mutation = mutation.map(|mutation| Mutation {
            mutation: Some(mutation),
        });
        if quirk == Quirk::VersionStays {
            text.version = before;
        }
        decision.version = text.version;
        (decision, Some(text))
    }

    fn mutation(&self, turn: &Turn, text: &mut Text, before: u64) -> Option<mutation::Mutation> {
        let quirk = self.conn.quirk;
        if turn.deleted {
            let restarts = self.service == Service::Events && quirk != Quirk::DeletedVersionGoesOn;
            text.version = if restarts { 0 } else { before + 1 };
            text.exists = false;
            return Some(mutation::Mutation::Delete(Delete {}));
        }
        if !turn.changed {
            return None;
        }
        if self.service == Service::Events {
            let after = before + turn.events.len() as u64;
            text.version = after;
            let every = u64::from(SNAPSHOT_EVERY);
            let due = after / every > before / every;
            let due = (due && quirk != Quirk::SnapshotMissing) || quirk == Quirk::SnapshotEachTime;
            let events = turn.events.iter().map(|event| {
                any(
                    "Appended",
                    &Appended {
                        text: event.clone(),
                    },
                )
            });
            return Some(mutation::Mutation::Append(Append {
                events: events.collect(),
                snapshot: due.then(|| any("State", &text.state)),
            }));
        }
        text.version = before + 1;
        text.exists |= text.state != State::default();
        let state = any("State", &text.state);
        if self.service == Service::Actor {
            let tags = if quirk == Quirk::TagsLost {
                BTreeMap::new()
            } else {
                text.tags.clone()
            };
            return Some(mutation::Mutation::Actor(Actor {
                state: text.exists.then_some(state),
                tags,
            }));
        }
        Some(mutation::Mutation::Set(state))
    }

    async fn run_data(
        self,
        mut commands: mpsc::UnboundedReceiver<Command>,
        shared: Rc<Shared>,
        tasks: Rc<RefCell<BTreeMap<u64, JoinHandle<()>>>>,
    ) {
        let life = Rc::new(self);
        while let Some(command) = commands.recv().await {
            let (life, shared, own) = (Rc::clone(&life), Rc::clone(&shared), Rc::clone(&tasks));
            let id = command.id;
            let alone = life.conn.quirk == Quirk::DataOneAtATime;
            let run = async move {
                if command.method == 1 {
                    life.watch(&command, &shared).await;
                } else {
                    life.process(&command, &shared).await;
                }
                own.borrow_mut().remove(&id);
                life.open.set(life.open.get() - 1);
                life.conn.evict();
            };
            if alone {
                run.await;
            } else {
                // A task runs when this one waits, so it is listed before it can end.
                tasks.borrow_mut().insert(id, spawn_local(run));
            }
        }
    }

    async fn process(&self, command: &Command, shared: &Shared) {
        let quirk = self.conn.quirk;
        let request = DataRequest::decode(command.message.clone()).unwrap_or_default();
        let mut done = Vec::new();
        let mut deleted = false;
        for step in request.steps.iter().filter_map(|one| one.step.as_ref()) {
            let stop = match step {
                DataStep::Fail(fail) => super::steps::Stop::Fail(fail.clone()),
                DataStep::Crash(message) => super::steps::Stop::Crash(message.clone()),
                DataStep::Hang(_) => hang().await,
                DataStep::Call(to) => {
                    self.conn.call(command.id, target(to)).await;
                    continue;
                }
                DataStep::Delete(_) => {
                    deleted = true;
                    continue;
                }
                step => {
                    done.push(step.clone());
                    continue;
                }
            };
            if quirk == Quirk::DataFailureKept {
                done.iter()
                    .for_each(|step| shared.data.borrow_mut().step(step));
            }
            self.conn.decide(stop.decision(command.id, quirk));
            return;
        }
        let before = shared.data.borrow().clone();
        let mut after = before.clone();
        done.iter().for_each(|step| after.step(step));
        let mutation = if deleted {
            if let Service::Data(data_type) = self.service {
                after = Data::empty(data_type);
            }
            shared.deleted.set(true);
            let deletes = quirk != Quirk::UpdatesForgotten;
            deletes.then_some(mutation::Mutation::Delete(Delete {}))
        } else if done.is_empty() || quirk == Quirk::UpdatesForgotten {
            None
        } else {
            let delta = match quirk {
                Quirk::WholeValueAsDelta => after.delta(),
                Quirk::ClocksForgotten => before.change(&done[0]),
                _ => delta(&before, &after, &done),
            };
            let consistency = request.consistency.cast_signed();
            Some(mutation::Mutation::Update(Update {
                delta: Some(delta),
                consistency: if quirk == Quirk::ConsistencyForgotten {
                    0
                } else {
                    consistency
                },
            }))
        };
        shared.data.replace(after.clone());
        self.conn.decide(Decision {
            command: command.id,
            answer: Some(decision::Answer::Reply(
                after.value().encode_to_vec().into(),
            )),
            mutation: mutation.map(|mutation| Mutation {
                mutation: Some(mutation),
            }),
            ..Decision::default()
        });
        if before != after || deleted {
            shared.changed();
        }
    }

    async fn watch(&self, command: &Command, shared: &Shared) {
        let (stream, _messages) = self.conn.stream(command.id);
        let mut changes = shared.changes.subscribe();
        loop {
            let ends = self.conn.quirk != Quirk::WatchOutlivesDelete;
            if shared.deleted.get() && ends {
                break;
            }
            let Ok(permit) = stream.credit.acquire().await else {
                break;
            };
            permit.forget();
            changes.borrow_and_update();
            self.conn.send(Frame::Reply(v1::Reply {
                command: command.id,
                message: shared.data.borrow().value().encode_to_vec().into(),
                ..v1::Reply::default()
            }));
            if self.conn.quirk == Quirk::WatchSilent {
                hang().await;
            }
            if changes.changed().await.is_err() {
                break;
            }
        }
        self.conn.end_stream(command.id);
        self.conn.send(Frame::Decision(Decision {
            command: command.id,
            ..Decision::default()
        }));
    }
}

/// What steps have changed. One step is said exactly; several as what leads there.
fn delta(before: &Data, after: &Data, steps: &[DataStep]) -> Delta {
    if let [step] = steps {
        return exactly(before, step);
    }
    let mut delta = after.delta();
    match (&mut delta.delta, before) {
        (Some(Kind::GrowCounter(number)), Data::GrowCounter(before)) => *number -= before,
        (Some(Kind::Counter(number)), Data::Counter(before)) => *number -= before,
        (Some(Kind::Set(set)), _) => set.cleared = true,
        (Some(Kind::Map(map)), _) => map.cleared = true,
        (Some(Kind::CounterMap(map)), _) => map.cleared = true,
        (Some(Kind::RegisterMap(map)), _) => map.cleared = true,
        (Some(Kind::MultiMap(map)), _) => map.cleared = true,
        _ => {}
    }
    delta
}

fn exactly(before: &Data, step: &DataStep) -> Delta {
    let mut delta = before.change(step);
    match (&mut delta.delta, step) {
        (Some(Kind::Register(written)), DataStep::Write(wanted)) => {
            *written = crate::oracle::write(wanted);
        }
        (Some(Kind::RegisterMap(map)), DataStep::At(at)) => {
            let inner = at.step.as_ref().and_then(|one| one.step.as_ref());
            if let (Some(entry), Some(DataStep::Write(wanted))) = (map.updated.first_mut(), inner) {
                entry.write = Some(crate::oracle::write(wanted));
            }
        }
        _ => {}
    }
    delta
}
