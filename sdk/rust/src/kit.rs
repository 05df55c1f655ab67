//! Unit tests of components, in memory and without Firn.
//!
//! [`Unit`] plays Firn to one entity or action: it sends commands, keeps what is stored, and can read
//! the entity again from that. The code that runs is the one that runs behind Firn.
//!
//! ```
//! # use firn_sdk::{Context, Failure, Method, Service, ValueEntity, kit::Unit};
//! # const SERVICE: Service = Service::new("t.Number", b"");
//! # const ADD: Method<i64, i64> = Method::new("t.Number", "Add");
//! fn add(by: i64, number: &mut Context<ValueEntity<i64>>) -> Result<i64, Failure> {
//!     let sum = number.state().copied().unwrap_or_default() + by;
//!     number.set(sum);
//!     Ok(sum)
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let component = ValueEntity::<i64>::component(SERVICE).id("id").on(ADD, add);
//! let mut unit = Unit::entity(component, "a");
//! assert_eq!(unit.send(ADD, 2).await.reply(), 2);
//! unit.read_again();
//! assert_eq!(unit.send(ADD, 3).await.reply(), 5);
//! assert_eq!(unit.state::<i64>(), Some(5));
//! # }
//! ```

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use prost::Message;
use tokio::time::Instant;

use crate::component::Component;
use crate::data::ReplicatedData;
use crate::hook::Log;
use crate::method::{Method, StreamBoth, StreamIn, StreamOut};
use crate::session::{Session, Setup};
use crate::wire::{
    self, call_result, decision::Answer, effect, firn_frame::Frame as In,
    function_frame::Frame as Out, mutation::Mutation, opening, timer,
};
use crate::{Any, Failure, Metadata, Storable};

/// What the unit grants: as much as Firn does.
const CALLS: u32 = 1024;
const CALL_MESSAGES: u32 = 1024;
const FRAME_BYTES: u64 = 16 * 1024 * 1024;
const CHUNK_BYTES: u32 = 16 * 1024 * 1024;

type Callee = Box<dyn FnMut(Bytes) -> Result<Bytes, Failure> + Send>;

/// An entity or action under test, with what is stored of it.
pub struct Unit {
    session: Session,
    component: Component,
    entity_id: Option<String>,
    incarnation: u64,
    is_open: bool,
    last_command: u64,
    stored: Stored,
    callees: HashMap<(String, String), Callee>,
    shown: HashMap<u64, VecDeque<Bytes>>,
    decided: HashMap<u64, wire::Decision>,
    metadata: Metadata,
}

/// What Firn would have stored.
#[derive(Debug, Clone, Default)]
struct Stored {
    version: u64,
    value: Option<Any>,
    actor: wire::Actor,
    snapshot: Option<(Any, u64)>,
    events: Vec<Any>,
    data: Option<wire::Delta>,
    /// Replicated: what changed here and nobody was told yet.
    untold: Vec<wire::Delta>,
    timers: BTreeMap<String, SetTimer>,
}

/// A timer that is set.
#[derive(Debug, Clone, PartialEq)]
pub struct SetTimer {
    /// After how long.
    pub after: std::time::Duration,
    /// The method that it calls.
    pub method: String,
    /// The request, encoded.
    pub message: Bytes,
    /// Whether it is set again each time.
    pub repeat: bool,
}

/// Something that is to be done once the decision is durable.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Caused {
    /// A call.
    Call {
        /// The full name of the service.
        service: String,
        /// The method.
        method: String,
        /// The request, encoded.
        message: Bytes,
        /// Whether the caller waits.
        wait: bool,
        /// How much later.
        after: Option<std::time::Duration>,
    },
    /// A message to a topic.
    Publish {
        /// The topic.
        topic: String,
        /// The message.
        message: Any,
    },
}

/// What came of a command.
#[derive(Debug, Clone)]
pub struct Decided<Res> {
    /// The reply, or the failure. None of it if it was forwarded.
    pub answer: Result<Option<Res>, Failure>,
    /// Where it was forwarded to: service, method and request.
    pub forward: Option<(String, String, Bytes)>,
    /// The headers of the reply.
    pub metadata: Metadata,
    /// The events that happened.
    pub events: Vec<Any>,
    /// Whether the state was set, deleted or changed.
    pub changed: bool,
    /// Effects and messages to topics, in order.
    pub caused: Vec<Caused>,
    /// The names of the timers that were set or cancelled, in order.
    pub timers: Vec<String>,
}

impl<Res: std::fmt::Debug> Decided<Res> {
    /// The reply.
    ///
    /// # Panics
    /// If there is none.
    pub fn reply(self) -> Res {
        match self.answer {
            Ok(Some(reply)) => reply,
            other => panic!("no reply but {other:?}, forwarded to {:?}", self.forward),
        }
    }

    /// The failure.
    ///
    /// # Panics
    /// If there is none.
    pub fn failure(self) -> Failure {
        match self.answer {
            Err(failure) => failure,
            Ok(other) => panic!("no failure but {other:?}"),
        }
    }

    /// The events, decoded.
    ///
    /// # Panics
    /// If one is of another type.
    pub fn events_of<E: Storable>(&self) -> Vec<E> {
        let events = self.events.iter();
        let events = events.map(|event| event.unpack().unwrap_or_else(|error| panic!("{error}")));
        events.collect()
    }
}

/// A call that streams replies and is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Watching(u64);

impl Unit {
    /// An entity that does not exist yet.
    pub fn entity(component: impl Into<Component>, entity_id: &str) -> Self {
        Self::new(component.into(), Some(entity_id.to_owned()))
    }

    /// An action.
    pub fn action(component: impl Into<Component>) -> Self {
        Self::new(component.into(), None)
    }

    fn new(component: Component, entity_id: Option<String>) -> Self {
        Self {
            session: session(&component),
            component,
            entity_id,
            incarnation: 1,
            is_open: false,
            last_command: 0,
            stored: Stored::default(),
            callees: HashMap::new(),
            shown: HashMap::new(),
            decided: HashMap::new(),
            metadata: Metadata::default(),
        }
    }

    /// Begins with this state; of an event sourced entity, with this snapshot after so many events.
    #[must_use]
    pub fn with_state(mut self, state: &impl Storable, version: u64) -> Self {
        let state = Any::pack(state);
        self.stored.value = Some(state.clone());
        self.stored.actor.state = Some(state.clone());
        self.stored.snapshot = Some((state, version));
        self.stored.version = version;
        self
    }

    /// Begins with this event after those before.
    #[must_use]
    pub fn with_event(mut self, event: &impl Storable) -> Self {
        self.stored.events.push(Any::pack(event));
        self.stored.version += 1;
        self
    }

    /// Answers calls of the handlers through Firn to this method.
    #[must_use]
    pub fn answers<Req, Res>(
        mut self,
        method: Method<Req, Res>,
        mut answer: impl FnMut(Req) -> Result<Res, Failure> + Send + 'static,
    ) -> Self
    where
        Req: Message + Default,
        Res: Message,
    {
        let callee: Callee = Box::new(move |request| {
            let request = Req::decode(request).map_err(Failure::invalid_argument)?;
            Ok(answer(request)?.encode_to_vec().into())
        });
        let name = (method.service().to_owned(), method.name().to_owned());
        self.callees.insert(name, callee);
        self
    }

    /// The headers of the requests from here on.
    pub fn metadata(&mut self, metadata: Metadata) {
        self.metadata = metadata;
    }

    /// Sends a command and waits for what comes of it.
    ///
    /// # Panics
    /// If the component does not handle the method.
    pub async fn send<Req: Message, Res: Message + Default>(
        &mut self,
        method: Method<Req, Res>,
        request: Req,
    ) -> Decided<Res> {
        let id = self.begin(method.name(), method.with(request).message);
        self.decision(id).await
    }

    /// Sends all requests of a call that streams them, and waits for what comes of it.
    ///
    /// # Panics
    /// If the component does not handle the method.
    pub async fn send_all<Req: Message, Res: Message + Default>(
        &mut self,
        method: Method<Req, Res, StreamIn>,
        requests: impl IntoIterator<Item = Req>,
    ) -> Decided<Res> {
        let id = self.begin(method.name(), Bytes::new());
        self.requests(id, requests);
        self.decision(id).await
    }

    async fn decision<Res: Message + Default>(&mut self, id: u64) -> Decided<Res> {
        loop {
            self.pump();
            if let Some(decision) = self.decided.remove(&id) {
                return self.decided(decision);
            }
            self.session.run_handlers().await;
        }
    }

    fn requests<Req: Message>(&mut self, command: u64, requests: impl IntoIterator<Item = Req>) {
        for request in requests {
            self.frame(In::Message(wire::Message {
                command,
                message: Some(request.encode_to_vec().into()),
                end: false,
            }));
        }
        self.frame(In::Message(wire::Message {
            command,
            message: None,
            end: true,
        }));
    }

    /// Begins a call that streams replies.
    ///
    /// # Panics
    /// If the component does not handle the method.
    pub fn watch<Req: Message, Res: Message + Default>(
        &mut self,
        method: Method<Req, Res, StreamOut>,
        request: Req,
    ) -> Watching {
        let id = self.begin(method.name(), request.encode_to_vec().into());
        self.pump();
        Watching(id)
    }

    /// Sends all requests of a call that streams both; its replies are read with [`Unit::next`].
    ///
    /// # Panics
    /// If the component does not handle the method.
    pub fn converse<Req: Message, Res: Message + Default>(
        &mut self,
        method: Method<Req, Res, StreamBoth>,
        requests: impl IntoIterator<Item = Req>,
    ) -> Watching {
        let id = self.begin(method.name(), Bytes::new());
        self.requests(id, requests);
        self.pump();
        Watching(id)
    }

    /// The next reply of a call that streams them; none at its end.
    ///
    /// # Panics
    /// If it cannot be decoded.
    pub async fn next<Res: Message + Default>(&mut self, watching: Watching) -> Option<Res> {
        loop {
            self.pump();
            let shown = self.shown.get_mut(&watching.0);
            if let Some(reply) = shown.and_then(VecDeque::pop_front) {
                return Some(Res::decode(reply).expect("a reply of the method's type"));
            }
            if self.decided.contains_key(&watching.0) {
                return None;
            }
            self.session.run_handlers().await;
        }
    }

    /// Tells a call that streams replies that its caller has gone.
    pub fn cancel(&mut self, watching: Watching) {
        self.frame(In::Cancel(wire::Cancel { id: watching.0 }));
    }

    /// Has the entity read again, from what is stored.
    pub fn read_again(&mut self) {
        let incarnation = self.incarnation;
        if self.is_open {
            self.stored.data = self.session.whole(incarnation);
            self.frame(In::Close(wire::Close { incarnation }));
            self.pump();
        }
    }

    /// The state, or of an event sourced entity the newest snapshot, that is stored.
    ///
    /// # Panics
    /// If it is of another type.
    pub fn state<S: Storable>(&self) -> Option<S> {
        let snapshot = self.stored.snapshot.as_ref().map(|(snapshot, _)| snapshot);
        let state = self
            .stored
            .value
            .as_ref()
            .or(self.stored.actor.state.as_ref());
        let state = state.or(snapshot)?;
        Some(state.unpack().unwrap_or_else(|error| panic!("{error}")))
    }

    /// The number of changes, or of events, that are stored.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.stored.version
    }

    /// An actor's tags.
    #[must_use]
    pub fn tags(&self) -> &BTreeMap<String, String> {
        &self.stored.actor.tags
    }

    /// The timers that are set, by their names.
    #[must_use]
    pub fn timers(&self) -> &BTreeMap<String, SetTimer> {
        &self.stored.timers
    }

    /// Lets another replica of the same entity know what this one has changed since the last time,
    /// or since it began.
    pub fn tell(&mut self, other: &mut Self) {
        if !std::mem::replace(&mut other.is_open, true) {
            let opening = other.opening();
            other.session.open_idle(other.incarnation, opening);
        }
        for delta in std::mem::take(&mut self.stored.untold) {
            let change = wire::Change {
                incarnation: other.incarnation,
                change: Some(wire::change::Change::Delta(delta)),
            };
            other.frame(In::Change(change));
        }
        other.pump();
    }

    fn begin(&mut self, name: &str, message: Bytes) -> u64 {
        self.last_command += 1;
        let id = self.last_command;
        let methods = &self.component.serve.declared().methods;
        let method = methods.iter().position(|method| method.name == name);
        let method = method.unwrap_or_else(|| panic!("{name} has no handler"));
        let incarnation = if self.entity_id.is_some() {
            self.incarnation
        } else {
            0
        };
        let needs_opening = incarnation != 0 && !std::mem::replace(&mut self.is_open, true);
        let command = wire::Command {
            id,
            component: 0,
            method: u32::try_from(method).unwrap_or(u32::MAX),
            incarnation,
            opening: needs_opening.then(|| self.opening()),
            message,
            metadata: self.metadata.clone().into_wire(),
            timeout_ms: 0,
        };
        self.frame(In::Command(command));
        id
    }

    fn opening(&mut self) -> wire::Opening {
        let model = self.component.serve.declared().model();
        let state = match model {
            wire::Model::Value => self.stored.value.clone().map(opening::State::Value),
            wire::Model::Actor => Some(opening::State::Actor(self.stored.actor.clone())),
            wire::Model::EventSourced => {
                let (snapshot, snapshot_version) = self.stored.snapshot.clone().unzip();
                Some(opening::State::History(wire::History {
                    snapshot,
                    snapshot_version: snapshot_version.unwrap_or_default(),
                    events: self.stored.events.clone(),
                }))
            }
            wire::Model::Replicated => self.stored.data.clone().map(opening::State::Data),
            _ => None,
        };
        wire::Opening {
            entity_id: self.entity_id.clone().unwrap_or_default(),
            version: self.stored.version,
            state,
        }
    }

    fn frame(&mut self, frame: In) {
        let taken = self.session.on_frame(frame, Instant::now());
        debug_assert!(taken.is_ok(), "the unit keeps to the protocol");
        self.session.run_ready_handlers();
    }

    /// Takes what the component has sent.
    fn pump(&mut self) {
        while self.session.has_output() {
            for frame in self.session.batch().frames {
                match frame.frame {
                    Some(Out::Decision(decision)) => self.store(decision),
                    Some(Out::Reply(reply)) => {
                        let shown = self.shown.entry(reply.command).or_default();
                        shown.push_back(reply.message);
                    }
                    Some(Out::Closed(closed)) if closed.incarnation == self.incarnation => {
                        self.is_open = false;
                        self.incarnation += 1;
                    }
                    Some(Out::Call(call)) => self.call(call),
                    _ => {}
                }
            }
        }
    }

    fn call(&mut self, call: wire::Call) {
        let target = call.target.unwrap_or_default();
        let name = (target.service, target.method);
        let answer = match self.callees.get_mut(&name) {
            Some(callee) => callee(target.message),
            None => Err(Failure::unimplemented(format!(
                "the test answers no {}/{}: use answers",
                name.0, name.1
            ))),
        };
        let result = match answer {
            Ok(reply) => call_result::Result::Reply(reply),
            Err(failure) => call_result::Result::Failure(failure.into_wire()),
        };
        self.frame(In::CallResult(wire::CallResult {
            id: call.id,
            result: Some(result),
            metadata: None,
        }));
    }

    /// Keeps what a decision changes.
    fn store(&mut self, decision: wire::Decision) {
        let stored = &mut self.stored;
        match decision.mutation.clone().and_then(|it| it.mutation) {
            Some(Mutation::Set(state)) => stored.value = Some(state),
            Some(Mutation::Actor(actor)) => stored.actor = actor,
            Some(Mutation::Delete(_)) => {
                let timers = std::mem::take(&mut stored.timers);
                *stored = Stored {
                    timers,
                    ..Stored::default()
                };
            }
            Some(Mutation::Append(append)) => {
                stored.events.extend(append.events);
                if let Some(snapshot) = append.snapshot {
                    stored.snapshot = Some((snapshot, decision.version));
                    stored.events.clear();
                }
            }
            Some(Mutation::Update(update)) => stored.untold.extend(update.delta),
            None => {}
        }
        stored.version = decision.version;
        for timer in &decision.timers {
            match &timer.action {
                Some(timer::Action::Set(set)) => {
                    let after = set.after.and_then(|after| after.try_into().ok());
                    let set = SetTimer {
                        after: after.unwrap_or_default(),
                        method: set.method.clone(),
                        message: set.message.clone(),
                        repeat: set.repeat,
                    };
                    stored.timers.insert(timer.name.clone(), set);
                }
                Some(timer::Action::Cancel(_)) => {
                    stored.timers.remove(&timer.name);
                }
                None => {}
            }
        }
        self.decided.insert(decision.command, decision);
    }

    fn decided<Res: Message + Default>(&self, decision: wire::Decision) -> Decided<Res> {
        let mutation = decision.mutation.and_then(|mutation| mutation.mutation);
        let changed = mutation.is_some();
        let events = match mutation {
            Some(Mutation::Append(append)) => append.events,
            _ => Vec::new(),
        };
        let mut forward = None;
        let answer = match decision.answer {
            Some(Answer::Reply(reply)) => match Res::decode(reply) {
                Ok(reply) => Ok(Some(reply)),
                Err(error) => Err(Failure::internal(error)),
            },
            Some(Answer::Failure(failure)) => Err(Failure::from_wire(failure)),
            Some(Answer::Forward(to)) => {
                forward = Some((to.service, to.method, to.message));
                Ok(None)
            }
            None => Ok(Some(Res::default())),
        };
        Decided {
            answer,
            forward,
            metadata: Metadata::from_wire(decision.metadata),
            events,
            changed,
            caused: decision.effects.into_iter().filter_map(caused).collect(),
            timers: decision.timers.into_iter().map(|it| it.name).collect(),
        }
    }
}

impl std::fmt::Debug for Unit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Unit")
            .field("component", &self.component)
            .field("entity_id", &self.entity_id)
            .field("version", &self.stored.version)
            .finish_non_exhaustive()
    }
}

fn session(component: &Component) -> Session {
    let setup = Setup {
        components: [component.clone()].into(),
        hook: Arc::new(Log),
        incarnations: 1,
    };
    let welcome = wire::Welcome {
        calls: CALLS,
        call_messages: CALL_MESSAGES,
        frame_bytes: FRAME_BYTES,
        chunk_bytes: CHUNK_BYTES,
        ..wire::Welcome::default()
    };
    Session::new(setup, &welcome)
}

fn caused(effect: wire::Effect) -> Option<Caused> {
    Some(match effect.effect? {
        effect::Effect::Call(call) => {
            let target = call.target.unwrap_or_default();
            Caused::Call {
                service: target.service,
                method: target.method,
                message: target.message,
                wait: call.wait,
                after: call.delay.and_then(|delay| delay.try_into().ok()),
            }
        }
        effect::Effect::Publish(publish) => Caused::Publish {
            topic: publish.topic,
            message: publish.message.unwrap_or_default(),
        },
    })
}

/// Two replicas of the same data, without an entity around them: for tests of data alone.
#[derive(Debug, Clone, Default)]
pub struct Replicas<D> {
    /// The one.
    pub one: D,
    /// The other.
    pub other: D,
}

impl<D: ReplicatedData> Replicas<D> {
    /// Tells each what the other has changed.
    ///
    /// # Panics
    /// Never: both are of one type.
    pub fn exchange(&mut self) {
        let (from_one, from_other) = (self.one.take_delta(), self.other.take_delta());
        if let Some(delta) = from_one {
            self.other.apply(delta).expect("a change of the same type");
        }
        if let Some(delta) = from_other {
            self.one.apply(delta).expect("a change of the same type");
        }
    }
}
