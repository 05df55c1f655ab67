//! One connection of a function, as a machine: which frame is allowed when, and what it means.
//!
//! # How it works
//! The engine's side ([`super::entity`], [`super::action`]) calls in to open incarnations and to send
//! commands; what the function sends comes through [`Session::take`] and leaves through the sinks of
//! those who wait for it. What must be done outside of the machine is given back as [`Todo`]s. All
//! frames that are to be sent are in the [`Outbox`].
//!
//! # Invariants
//! - Every command that was opened is answered once: by its decision, by the end of its incarnation,
//!   or by the end of the connection.
//! - Nothing that comes for an incarnation after its end reaches the engine.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use firn_model::code::Code;
use firn_model::contract::{Component, Finding, Method};
use firn_model::decision::Answer;
use firn_model::id::EntityId;
use firn_model::replicated::{CancelAnswer, Delta, Reply, StreamedMessage};
use firn_model::status::{GrpcCode, Status};
use firn_runtime::calls::Within;
use firn_runtime::link::{ActionAnswer, End, EventSink, ReplicaEvent, ReplicaSink, StreamEvent};
use firn_wire::v1::chunk::{Assembler, Taken};
use firn_wire::v1::contract::Place;
use firn_wire::v1::convert::{self, Unfit};
use firn_wire::v1::message::firn_frame::Frame as Out;
use firn_wire::v1::message::function_frame::Frame as In;
use firn_wire::v1::message::{self as wire, FunctionFrame};
use prost::Message as _;

use super::action::Replies;
use super::outbox::{Outbox, Subject};
use super::remedy::remedy;

/// What a session is bounded by.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Frames above this many bytes travel in pieces of at most as many.
    pub(crate) chunk_bytes: usize,
    /// The largest frame that is taken, in bytes.
    pub(crate) frame_bytes: usize,
    /// How many commands may be open to begin with: the function says.
    pub(crate) commands: u64,
    /// How many messages of a streamed call may be sent to begin with: the function says.
    pub(crate) request_messages: usize,
    /// How many replies of a streamed call the function may send to begin with.
    pub(crate) reply_messages: u32,
    /// How many calls the function may have open.
    pub(crate) calls: u32,
}

/// The components of a function by their places; `None` for one that is not served.
pub(crate) type Components = Arc<[Place]>;

/// A connection.
pub(crate) struct Session {
    limits: Limits,
    components: Components,
    pub(crate) out: Outbox,
    assembler: Assembler,
    commands: HashMap<u64, Open>,
    instances: HashMap<u64, Instance>,
    last_command: u64,
    last_incarnation: u64,
    /// How many more commands may be opened.
    credit: u64,
    /// Commands that wait for credit, in order.
    waiting: VecDeque<Waiting>,
    last_call: u64,
    /// Calls that wait until what their handlers saw is durable, with their incarnations.
    gated: HashMap<u64, (u64, Calling)>,
    calls_open: u32,
    phase: Phase,
}

/// Where a connection is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// It serves.
    Serving,
    /// The function wants to go: nothing new begins.
    Leaving,
    /// It is over.
    Over,
}

/// A command that was opened.
enum Open {
    Entity {
        incarnation: u64,
        method: Arc<Method>,
        within: Within,
    },
    Replica {
        incarnation: u64,
        method: Arc<Method>,
        number: i64,
        stream: Watch,
        within: Within,
    },
    Action {
        method: Arc<Method>,
        replies: Replies,
        /// How many more replies the function may send.
        granted: u32,
        within: Within,
    },
    /// Nobody waits for it any more; its decision is still to come.
    Cancelled,
}

/// What is known of a streamed command of a replicated entity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Watch {
    /// It has one answer.
    Unary,
    /// No message of it has come yet.
    Silent,
    /// Messages have come.
    Accepted,
    /// The caller has gone, and whether messages had come before.
    Cancelled { accepted: bool },
}

/// An entity in an incarnation.
struct Instance {
    component: usize,
    /// `None` once the incarnation is over and only the function's word is missing.
    sink: Option<Sink>,
    /// The commands that are open, in order.
    open: VecDeque<u64>,
    /// The version that the last decision has left.
    version: u64,
    /// What the first command is to carry.
    opening: Option<wire::Opening>,
    /// Whether the function is to complete the end for the engine.
    completes: bool,
}

enum Sink {
    Entity(EventSink),
    Replica(ReplicaSink),
}

impl Sink {
    fn end(self, end: End) {
        match self {
            Self::Entity(sink) => sink(StreamEvent::Ended(end)),
            Self::Replica(sink) => sink(ReplicaEvent::Ended(end)),
        }
    }
}

struct Waiting {
    subject: Subject,
    command: u64,
    frame: Out,
}

/// What is to be done outside of the machine.
#[derive(Debug)]
pub(crate) enum Todo {
    /// Carry out a call of the function.
    Call(Calling),
    /// The function does not wait for a call any more.
    CancelCall(u64),
    /// Nothing new may be sent here; others take over.
    Leave,
}

/// A call of the function.
#[derive(Debug)]
pub(crate) struct Calling {
    pub(crate) id: u64,
    pub(crate) within: Option<Within>,
    pub(crate) target: wire::Target,
    pub(crate) timeout_ms: u64,
}

/// Why a connection cannot go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Broken {
    pub(crate) code: Code,
    pub(crate) text: String,
}

/// A command as it is sent.
pub(crate) struct Sent {
    pub(crate) method: Arc<Method>,
    pub(crate) message: Bytes,
    pub(crate) metadata: Option<wire::Metadata>,
    pub(crate) timeout_ms: u64,
    /// In whose name its handler makes calls.
    pub(crate) within: Within,
}

impl Session {
    pub(crate) fn new(limits: Limits, components: Components) -> Self {
        Self {
            limits,
            components,
            out: Outbox::new(limits.chunk_bytes),
            assembler: Assembler::new(limits.frame_bytes),
            commands: HashMap::new(),
            instances: HashMap::new(),
            last_command: 0,
            last_incarnation: 0,
            credit: limits.commands,
            waiting: VecDeque::new(),
            last_call: 0,
            gated: HashMap::new(),
            calls_open: 0,
            phase: Phase::Serving,
        }
    }

    /// How busy it is: fewer is better for the next.
    pub(crate) fn load(&self) -> usize {
        self.commands.len() + self.instances.len()
    }

    // What the engine does.

    /// Begins an incarnation of a value or event sourced entity.
    pub(crate) fn open_entity(
        &mut self,
        component: &Component,
        id: &EntityId,
        state: convert::State,
        sink: EventSink,
    ) -> u64 {
        self.open(component, id, state, Sink::Entity(sink))
    }

    /// Begins an incarnation of a replicated entity.
    pub(crate) fn open_replica(
        &mut self,
        component: &Component,
        id: &EntityId,
        value: Option<Delta>,
        sink: ReplicaSink,
    ) -> u64 {
        self.open(
            component,
            id,
            convert::State::Replicated(value),
            Sink::Replica(sink),
        )
    }

    fn open(
        &mut self,
        component: &Component,
        id: &EntityId,
        state: convert::State,
        sink: Sink,
    ) -> u64 {
        self.last_incarnation += 1;
        let opening = convert::opening(component.kind, id.shown(), state);
        if self.phase != Phase::Serving {
            sink.end(unreachable("the connection ended"));
            return self.last_incarnation;
        }
        let instance = Instance {
            component: component.place as usize,
            sink: Some(sink),
            open: VecDeque::new(),
            version: opening.version,
            opening: Some(opening),
            completes: false,
        };
        self.instances.insert(self.last_incarnation, instance);
        self.last_incarnation
    }

    /// Sends a command to a value or event sourced entity.
    pub(crate) fn command(&mut self, incarnation: u64, sent: Sent) {
        let (method, within) = (sent.method.clone(), sent.within.clone());
        self.send(incarnation, sent, |incarnation| Open::Entity {
            incarnation,
            method,
            within,
        });
    }

    /// Sends a command to a replicated entity.
    pub(crate) fn replica_command(
        &mut self,
        incarnation: u64,
        sent: Sent,
        number: i64,
        streamed: bool,
    ) {
        let stream = match streamed {
            true => Watch::Silent,
            false => Watch::Unary,
        };
        let (method, within) = (sent.method.clone(), sent.within.clone());
        self.send(incarnation, sent, |incarnation| Open::Replica {
            incarnation,
            method,
            number,
            stream,
            within,
        });
    }

    fn send(&mut self, incarnation: u64, sent: Sent, open: impl FnOnce(u64) -> Open) {
        let instance = self.instances.get_mut(&incarnation);
        let Some(instance) = instance.filter(|instance| instance.sink.is_some()) else {
            // The end of the incarnation is on its way to the engine, and answers it.
            return;
        };
        let opening = instance.opening.take();
        self.last_command += 1;
        let id = self.last_command;
        instance.open.push_back(id);
        self.commands.insert(id, open(incarnation));
        let frame = command(id, incarnation, sent, opening);
        self.send_command(Subject::Incarnation(incarnation), id, frame);
    }

    /// Sends a command of an action; gives its number, or the replies back if nothing may begin.
    pub(crate) fn act(&mut self, sent: Sent, replies: Replies) -> Result<u64, Replies> {
        if self.phase != Phase::Serving {
            return Err(replies);
        }
        self.last_command += 1;
        let id = self.last_command;
        let method = sent.method.clone();
        self.commands.insert(
            id,
            Open::Action {
                method,
                replies,
                within: sent.within.clone(),
                granted: self.limits.reply_messages,
            },
        );
        let frame = command(id, 0, sent, None);
        self.send_command(Subject::Command(id), id, frame);
        Ok(id)
    }

    /// How many requests of a streamed call may be sent to begin with.
    pub(crate) fn request_messages(&self) -> usize {
        self.limits.request_messages
    }

    /// Sends a further request of an action's call, or their end.
    pub(crate) fn request(&mut self, command: u64, message: Option<Bytes>) {
        if !matches!(self.commands.get(&command), Some(Open::Action { .. })) {
            return;
        }
        let end = message.is_none();
        let frame = Out::Message(wire::Message {
            command,
            message,
            end,
        });
        self.push(Subject::Command(command), command, frame);
    }

    /// Lets the function send more replies of an action's call.
    pub(crate) fn grant(&mut self, command: u64, amount: u32) {
        if let Some(Open::Action { granted, .. }) = self.commands.get_mut(&command) {
            *granted = granted.saturating_add(amount);
            self.out.push(
                Subject::Command(command),
                Out::Credit(wire::Credit { command, amount }),
            );
        }
    }

    /// The caller of an action has gone.
    pub(crate) fn cancel_action(&mut self, command: u64) {
        if let Some(open @ Open::Action { .. }) = self.commands.get_mut(&command) {
            *open = Open::Cancelled;
            self.cancel(Subject::Command(command), command);
        }
    }

    /// The caller of a streamed command of a replicated entity has gone.
    pub(crate) fn cancel_watch(&mut self, incarnation: u64, asked: i64) {
        let Some(instance) = self.instances.get(&incarnation) else {
            return;
        };
        for id in &instance.open {
            if let Some(Open::Replica { number, stream, .. }) = self.commands.get_mut(id)
                && *number == asked
            {
                let accepted = *stream == Watch::Accepted;
                *stream = Watch::Cancelled { accepted };
                let id = *id;
                return self.cancel(Subject::Incarnation(incarnation), id);
            }
        }
    }

    fn cancel(&mut self, subject: Subject, command: u64) {
        self.push(subject, command, Out::Cancel(wire::Cancel { id: command }));
    }

    /// Tells the function what others did to a replicated entity.
    pub(crate) fn change(&mut self, incarnation: u64, change: wire::change::Change) {
        let Some(instance) = self.instances.get_mut(&incarnation) else {
            return;
        };
        if instance.sink.is_none() {
            return;
        }
        if instance.opening.is_some() {
            // Nothing was sent yet. What the first command brings would be older than this.
            return self.end_instance(incarnation, End::Completed);
        }
        let frame = Out::Change(wire::Change {
            incarnation,
            change: Some(change),
        });
        let last = instance.open.back().copied();
        self.push(Subject::Incarnation(incarnation), last.unwrap_or(0), frame);
    }

    /// The engine is done with an incarnation, and is told when the function is.
    pub(crate) fn half_close(&mut self, incarnation: u64) {
        let Some(instance) = self.instances.get_mut(&incarnation) else {
            return;
        };
        instance.completes = true;
        self.close(incarnation);
    }

    /// The engine wants to hear nothing of an incarnation any more.
    pub(crate) fn reset(&mut self, incarnation: u64) {
        if let Some(instance) = self.instances.get_mut(&incarnation) {
            let was_closing = instance.completes;
            instance.completes = false;
            if was_closing {
                instance.sink = None;
            } else if instance.sink.take().is_some() {
                self.close(incarnation);
            }
        }
    }

    /// Sends Close, unless the function never heard of the incarnation.
    fn close(&mut self, incarnation: u64) {
        self.refuse_gated(incarnation);
        self.forget_waiting(incarnation);
        let Some(instance) = self.instances.get(&incarnation) else {
            return;
        };
        if instance.opening.is_some() {
            return self.closed(incarnation);
        }
        self.out.push(
            Subject::Incarnation(incarnation),
            Out::Close(wire::Close { incarnation }),
        );
    }

    /// Takes back the commands of an incarnation that wait for credit. If the first is among them,
    /// the function never heard of it.
    fn forget_waiting(&mut self, incarnation: u64) {
        let Self {
            waiting,
            commands,
            instances,
            ..
        } = self;
        let Some(instance) = instances.get_mut(&incarnation) else {
            return;
        };
        waiting.retain_mut(|it| {
            if it.subject != Subject::Incarnation(incarnation) {
                return true;
            }
            if let Out::Command(command) = &mut it.frame {
                instance.opening = command.opening.take().or(instance.opening.take());
            }
            instance.open.retain(|open| *open != it.command);
            commands.remove(&it.command);
            false
        });
    }

    // What the function does.

    /// Takes a frame of the function.
    ///
    /// # Errors
    /// [`Broken`] if the connection cannot go on (R83).
    pub(crate) fn take(
        &mut self,
        frame: FunctionFrame,
        todo: &mut Vec<Todo>,
    ) -> Result<(), Broken> {
        // A kind of a later version (R6).
        let Some(frame) = frame.frame else {
            return Ok(());
        };
        match frame {
            In::Hello(_) => return Err(illegal("a second Hello".to_owned())),
            In::Decision(decision) => self.decided(decision),
            In::Reply(reply) => self.replied(reply),
            In::Credit(credit) => self.granted(credit),
            In::Chunk(chunk) => return self.chunk(chunk, todo),
            In::Closed(wire::Closed { incarnation }) => self.closed(incarnation),
            In::Call(call) => self.called(call, todo),
            In::Cancel(wire::Cancel { id }) => todo.push(Todo::CancelCall(id)),
            In::Goodbye(wire::Goodbye {}) => self.leave(todo),
        }
        Ok(())
    }

    fn chunk(&mut self, chunk: wire::Chunk, todo: &mut Vec<Todo>) -> Result<(), Broken> {
        let taken = self.assembler.take(chunk);
        match taken.map_err(|error| illegal(error.to_string()))? {
            Taken::Part => Ok(()),
            Taken::TooLarge { subject } => {
                self.too_large(subject);
                Ok(())
            }
            Taken::Frame(bytes) => {
                let frame = FunctionFrame::decode(bytes)
                    .map_err(|error| illegal(format!("a frame in chunks is not legal: {error}")))?;
                if let Some(In::Chunk(_)) = frame.frame {
                    return Err(illegal("a chunk inside of chunks".to_owned()));
                }
                self.take(frame, todo)
            }
        }
    }

    /// A frame about this command, or call, was thrown away (R82).
    fn too_large(&mut self, subject: u64) {
        let text = format!(
            "a frame is above the limit of {} bytes and was thrown away",
            self.limits.frame_bytes
        );
        self.notice(Code::FrameTooLarge, text.clone(), subject);
        match self.commands.remove(&subject) {
            Some(Open::Entity { incarnation, .. } | Open::Replica { incarnation, .. }) => {
                self.give_back(1);
                self.end_broken(incarnation, Code::FrameTooLarge, text);
            }
            Some(Open::Action { replies, .. }) => {
                self.give_back(1);
                replies.refuse(Code::FrameTooLarge, &text);
            }
            Some(Open::Cancelled) => self.give_back(1),
            None => {}
        }
    }

    fn decided(&mut self, decision: wire::Decision) {
        let id = decision.command;
        match self.commands.remove(&id) {
            None => {
                let text = format!("command {id} is not open");
                return self.notice(Code::DecisionUnexpected, text, id);
            }
            Some(Open::Cancelled) => {}
            Some(Open::Entity {
                incarnation,
                method,
                ..
            }) => self.decided_entity(incarnation, &method, decision),
            Some(Open::Replica {
                incarnation,
                method,
                number,
                stream,
                ..
            }) => self.decided_replica(incarnation, &method, (number, stream), decision),
            Some(Open::Action {
                method, replies, ..
            }) => self.decided_action(&method, replies, decision),
        }
        self.give_back(1);
    }

    fn decided_entity(&mut self, incarnation: u64, method: &Method, decision: wire::Decision) {
        let Some(instance) = self.instances.get_mut(&incarnation) else {
            return;
        };
        let id = decision.command;
        let first = instance.open.front().copied();
        instance.open.retain(|open| *open != id);
        let Some(Sink::Entity(sink)) = &instance.sink else {
            // The incarnation is over, and its decisions are void (R41).
            return;
        };
        if first != Some(id) {
            let text = format!(
                "command {id} is answered before command {}",
                first.unwrap_or(0)
            );
            return self.broke(incarnation, id, Code::DecisionOutOfOrder, text);
        }
        let shape = &self.components[instance.component];
        let shape = shape.as_ref().map(|(_, shape)| shape);
        let shape = shape.expect("an instance is of a component that is served");
        match convert::read_decision(decision, method, shape, instance.version) {
            Ok((decision, version)) => {
                instance.version = version;
                sink(StreamEvent::Decided(decision));
                self.release_if_leaving(incarnation);
            }
            Err(unfit) => self.broke(incarnation, id, unfit.code(), unfit.to_string()),
        }
    }

    fn decided_replica(
        &mut self,
        incarnation: u64,
        method: &Method,
        (number, stream): (i64, Watch),
        decision: wire::Decision,
    ) {
        let Some(instance) = self.instances.get_mut(&incarnation) else {
            return;
        };
        let id = decision.command;
        instance.open.retain(|open| *open != id);
        let Some(Sink::Replica(sink)) = &instance.sink else {
            return;
        };
        let shape = &self.components[instance.component];
        let shape = shape.as_ref().map(|(_, shape)| shape);
        let shape = shape.expect("an instance is of a component that is served");
        let read = convert::read_replicated(decision, method, shape);
        let read = read.and_then(|read| match (&read.change, stream) {
            (Some(_), Watch::Silent | Watch::Accepted) => Err(Unfit::Model {
                kind: method.component.kind,
                mutation: "a mutation at the end of a stream",
            }),
            _ => Ok(read),
        });
        let convert::ReplicaDecision {
            answer,
            effects,
            change,
        } = match read {
            Ok(read) => read,
            Err(unfit) => return self.broke(incarnation, id, unfit.code(), unfit.to_string()),
        };
        sink(match stream {
            Watch::Unary => ReplicaEvent::Replied(Reply {
                command: number,
                answer,
                effects,
                change,
                streamed: false,
            }),
            // A stream without messages ends as soon as it has begun.
            Watch::Silent => match answer {
                Answer::Failure(_) => ReplicaEvent::Replied(Reply {
                    command: number,
                    answer,
                    effects,
                    change,
                    streamed: false,
                }),
                answer => {
                    sink(accepted(number, Answer::Nothing, Vec::new()));
                    ReplicaEvent::Streamed(StreamedMessage {
                        command: number,
                        answer,
                        effects,
                        ends: true,
                    })
                }
            },
            Watch::Accepted => ReplicaEvent::Streamed(StreamedMessage {
                command: number,
                answer,
                effects,
                ends: true,
            }),
            Watch::Cancelled { accepted } => {
                if !accepted {
                    sink(self::accepted(number, Answer::Nothing, Vec::new()));
                }
                ReplicaEvent::CancelAnswered(CancelAnswer {
                    command: number,
                    effects,
                    change,
                })
            }
        });
        self.release_if_leaving(incarnation);
    }

    fn decided_action(&mut self, method: &Method, replies: Replies, decision: wire::Decision) {
        let id = decision.command;
        match convert::read_action(decision, method) {
            Ok((answer, effects)) => replies.end(ActionAnswer { answer, effects }),
            Err(unfit) => {
                let text = unfit.to_string();
                replies.refuse(unfit.code(), &text);
                self.notice(unfit.code(), text, id);
            }
        }
    }

    fn replied(&mut self, reply: wire::Reply) {
        let id = reply.command;
        match self.commands.get_mut(&id) {
            None => {
                let text = format!("command {id} is not open");
                self.notice(Code::DecisionUnexpected, text, id);
            }
            Some(Open::Cancelled) => {}
            Some(Open::Entity { incarnation, .. }) => {
                let incarnation = *incarnation;
                let text = "its replies are not streamed".to_owned();
                self.broke(incarnation, id, Code::DecisionUnexpected, text);
            }
            Some(Open::Replica { .. }) => self.watched(reply),
            Some(Open::Action {
                granted: granted @ 1..,
                method,
                replies,
                ..
            }) if method.streams_out() => {
                *granted -= 1;
                let effects = convert::read_effects(reply.effects);
                let answer = convert::read_reply(method, reply.message, reply.metadata);
                match effects {
                    Ok(effects) => replies.reply(ActionAnswer {
                        answer: Answer::Reply(answer),
                        effects,
                    }),
                    Err(unfit) => self.fail_action(id, unfit.code(), &unfit.to_string()),
                }
            }
            Some(Open::Action { method, .. }) => {
                let (code, text) = match method.streams_out() {
                    true => (Code::CreditExceeded, "more replies than were granted"),
                    false => (Code::DecisionUnexpected, "its replies are not streamed"),
                };
                self.fail_action(id, code, text);
            }
        }
    }

    fn fail_action(&mut self, id: u64, code: Code, text: &str) {
        if let Some(Open::Action { replies, .. }) = self.commands.insert(id, Open::Cancelled) {
            replies.refuse(code, text);
        }
        self.cancel(Subject::Command(id), id);
        self.notice(code, text.to_owned(), id);
    }

    /// A message of a streamed command of a replicated entity.
    fn watched(&mut self, reply: wire::Reply) {
        let id = reply.command;
        let Some(Open::Replica {
            incarnation,
            method,
            number,
            stream,
            ..
        }) = self.commands.get_mut(&id)
        else {
            return;
        };
        let (incarnation, number) = (*incarnation, *number);
        let is_first = match *stream {
            Watch::Silent => true,
            Watch::Accepted => false,
            // What crosses the word that the caller has gone.
            Watch::Cancelled { .. } => return,
            Watch::Unary => {
                let text = "its replies are not streamed".to_owned();
                return self.broke(incarnation, id, Code::DecisionUnexpected, text);
            }
        };
        *stream = Watch::Accepted;
        let answer = Answer::Reply(convert::read_reply(method, reply.message, reply.metadata));
        let effects = match convert::read_effects(reply.effects) {
            Ok(effects) => effects,
            Err(unfit) => return self.broke(incarnation, id, unfit.code(), unfit.to_string()),
        };
        let instance = self.instances.get(&incarnation);
        if let Some(Sink::Replica(sink)) = instance.and_then(|it| it.sink.as_ref()) {
            sink(match is_first {
                true => accepted(number, answer, effects),
                false => ReplicaEvent::Streamed(StreamedMessage {
                    command: number,
                    answer,
                    effects,
                    ends: false,
                }),
            });
            // The engine bounds what a slow caller may leave waiting, so the next may come.
            let credit = wire::Credit {
                command: id,
                amount: 1,
            };
            self.out
                .push(Subject::Incarnation(incarnation), Out::Credit(credit));
        }
    }

    fn granted(&mut self, credit: wire::Credit) {
        let wire::Credit { command, amount } = credit;
        if command == 0 {
            return self.give_back(u64::from(amount));
        }
        if let Some(Open::Action { replies, .. }) = self.commands.get(&command) {
            replies.grant_requests(amount);
        }
    }

    /// The function has let go of an incarnation.
    fn closed(&mut self, incarnation: u64) {
        self.refuse_gated(incarnation);
        self.forget_waiting(incarnation);
        let Some(instance) = self.instances.remove(&incarnation) else {
            return;
        };
        let mut given_back = 0;
        for command in &instance.open {
            given_back += u64::from(self.commands.remove(command).is_some());
        }
        if let Some(sink) = instance.sink {
            // Unasked, it has answered everything that it knew of (R42).
            sink.end(match instance.completes {
                true => End::Completed,
                false => End::Released,
            });
        }
        self.give_back(given_back);
        self.end_if_left();
    }

    fn called(&mut self, call: wire::Call, todo: &mut Vec<Todo>) {
        let wire::Call {
            id,
            command,
            target,
            timeout_ms,
        } = call;
        let within = self.within(command);
        let refusal = if id <= self.last_call {
            Some((
                Code::FrameIllegal,
                format!("call {id} is not above {}", self.last_call),
            ))
        } else if self.calls_open >= self.limits.calls {
            Some((
                Code::CallsExceeded,
                format!("{} calls are open already", self.limits.calls),
            ))
        } else {
            None
        };
        self.last_call = self.last_call.max(id);
        self.calls_open += 1;
        match refusal {
            Some((code, text)) => {
                let status = Status::refused(GrpcCode::ResourceExhausted, code, text);
                self.call_result(id, Err(status));
            }
            None => {
                let call = Calling {
                    id,
                    within,
                    target: target.unwrap_or_default(),
                    timeout_ms,
                };
                if let Some(call) = self.ask_gate(command, call) {
                    todo.push(Todo::Call(call));
                }
            }
        }
    }

    /// Lets a call of an entity's handler wait until everything is durable that it may have seen
    /// (R71); gives back one that need not.
    fn ask_gate(&mut self, command: u64, call: Calling) -> Option<Calling> {
        let Some(Open::Entity { incarnation, .. }) = self.commands.get(&command) else {
            return Some(call);
        };
        let incarnation = *incarnation;
        let instance = self.instances.get(&incarnation);
        match instance.and_then(|instance| instance.sink.as_ref()) {
            Some(Sink::Entity(sink)) => {
                sink(StreamEvent::Gate(call.id));
                self.gated.insert(call.id, (incarnation, call));
            }
            _ => self.call_result(call.id, Err(void())),
        }
        None
    }

    /// The call that waited at the gate with this number may go out.
    pub(crate) fn pass(&mut self, number: u64) -> Option<Calling> {
        self.gated.remove(&number).map(|(_, call)| call)
    }

    /// Refuses the calls of an incarnation that wait at the gate.
    fn refuse_gated(&mut self, incarnation: u64) {
        let mut of_it: Vec<u64> = Vec::new();
        self.gated.retain(|id, (whose, _)| {
            let stays = *whose != incarnation;
            if !stays {
                of_it.push(*id);
            }
            stays
        });
        for id in of_it {
            self.call_result(id, Err(void()));
        }
    }

    /// In whose name a handler of this command makes calls.
    fn within(&self, command: u64) -> Option<Within> {
        match self.commands.get(&command)? {
            Open::Entity { within, .. }
            | Open::Replica { within, .. }
            | Open::Action { within, .. } => Some(within.clone()),
            Open::Cancelled => None,
        }
    }

    /// Answers a call of the function.
    pub(crate) fn call_result(&mut self, id: u64, result: Result<firn_model::call::Reply, Status>) {
        self.calls_open = self.calls_open.saturating_sub(1);
        let (result, metadata) = match result {
            Ok(reply) => (
                wire::call_result::Result::Reply(reply.payload.bytes),
                convert::metadata(reply.metadata),
            ),
            Err(status) => (
                wire::call_result::Result::Failure(convert::failure(&status)),
                None,
            ),
        };
        let frame = Out::CallResult(wire::CallResult {
            id,
            result: Some(result),
            metadata,
        });
        self.out.push(Subject::Call(id), frame);
    }

    // How it ends.

    /// The function wants to go (R90).
    fn leave(&mut self, todo: &mut Vec<Todo>) {
        if self.phase != Phase::Serving {
            return;
        }
        self.phase = Phase::Leaving;
        todo.push(Todo::Leave);
        let all: Vec<u64> = self.instances.keys().copied().collect();
        for incarnation in all {
            self.release_if_leaving(incarnation);
        }
        self.end_if_left();
    }

    /// Lets go of an incarnation that has nothing to do, on a connection that is to end.
    fn release_if_leaving(&mut self, incarnation: u64) {
        if self.phase != Phase::Leaving {
            return;
        }
        let Some(instance) = self.instances.get_mut(&incarnation) else {
            return;
        };
        if !instance.open.is_empty() || instance.completes {
            return;
        }
        if let Some(sink) = instance.sink.take() {
            sink.end(End::Released);
            self.close(incarnation);
        }
    }

    fn end_if_left(&mut self) {
        if self.phase == Phase::Leaving && self.instances.is_empty() && self.commands.is_empty() {
            self.phase = Phase::Over;
            self.out.end();
        }
    }

    /// The connection ended: everything that is open ends with it.
    pub(crate) fn end(&mut self, cause: &str) {
        self.phase = Phase::Over;
        self.out.end();
        for (_, instance) in self.instances.drain() {
            if let Some(sink) = instance.sink {
                sink.end(match instance.completes {
                    true => End::Completed,
                    false => End::Terminated {
                        cause: cause.to_owned(),
                    },
                });
            }
        }
        self.waiting.clear();
        for (_, open) in self.commands.drain() {
            if let Open::Action { replies, .. } = open {
                replies.lost();
            }
        }
    }

    /// Says that Firn is to end (R91), and sends nothing after it.
    pub(crate) fn goodbye(&mut self) {
        self.phase = Phase::Over;
        self.out
            .push(Subject::Connection, Out::Goodbye(wire::Goodbye {}));
        self.out.end();
    }

    /// Tells the function what it did.
    pub(crate) fn tell(
        &mut self,
        finding: &Finding,
        severity: wire::notice::Severity,
        command: u64,
    ) {
        self.out.push(
            Subject::Connection,
            Out::Notice(wire::Notice {
                finding: Some(shown(finding)),
                severity: severity.into(),
                command,
            }),
        );
    }

    fn notice(&mut self, code: Code, text: String, command: u64) {
        let finding = Finding {
            code,
            text,
            service: None,
            location: None,
        };
        self.tell(&finding, wire::notice::Severity::Error, command);
    }

    /// The function broke the rules for one entity: its incarnation ends.
    fn broke(&mut self, incarnation: u64, command: u64, code: Code, text: String) {
        self.notice(code, text.clone(), command);
        self.end_broken(incarnation, code, text);
    }

    fn end_broken(&mut self, incarnation: u64, code: Code, cause: String) {
        self.end_instance(incarnation, End::Unfit { code, cause });
    }

    fn end_instance(&mut self, incarnation: u64, end: End) {
        if let Some(instance) = self.instances.get_mut(&incarnation)
            && let Some(sink) = instance.sink.take()
        {
            sink.end(end);
            self.close(incarnation);
        }
    }

    // Credit.

    /// Commands may be opened again.
    fn give_back(&mut self, amount: u64) {
        self.credit = self.credit.saturating_add(amount);
        while let Some(next) = self.waiting.pop_front() {
            if let Out::Command(_) = next.frame {
                if self.credit == 0 {
                    self.waiting.push_front(next);
                    return;
                }
                self.credit -= 1;
            }
            self.out.push(next.subject, next.frame);
        }
    }

    fn send_command(&mut self, subject: Subject, command: u64, frame: Out) {
        if self.credit > 0 && self.waiting.is_empty() {
            self.credit -= 1;
            return self.out.push(subject, frame);
        }
        self.waiting.push_back(Waiting {
            subject,
            command,
            frame,
        });
    }

    /// Sends a frame about a command, behind it if it still waits.
    fn push(&mut self, subject: Subject, command: u64, frame: Out) {
        if self.waiting.iter().any(|it| it.subject == subject) {
            return self.waiting.push_back(Waiting {
                subject,
                command,
                frame,
            });
        }
        self.out.push(subject, frame);
    }
}

fn accepted(
    command: i64,
    answer: Answer,
    effects: Vec<firn_model::decision::Effect>,
) -> ReplicaEvent {
    ReplicaEvent::Replied(Reply {
        command,
        answer,
        effects,
        change: None,
        streamed: true,
    })
}

fn command(id: u64, incarnation: u64, sent: Sent, opening: Option<wire::Opening>) -> Out {
    Out::Command(wire::Command {
        id,
        component: sent.method.component.place,
        method: sent.method.place,
        incarnation,
        opening,
        message: sent.message,
        metadata: sent.metadata,
        timeout_ms: sent.timeout_ms,
    })
}

fn unreachable(cause: &str) -> End {
    End::Unreachable {
        cause: cause.to_owned(),
    }
}

/// Why a call is refused whose handler saw what never became durable.
fn void() -> Status {
    Status::refused(
        GrpcCode::Unavailable,
        Code::CommitRefused,
        "what the handler saw was not written; the call was not made",
    )
}

fn illegal(text: String) -> Broken {
    Broken {
        code: Code::FrameIllegal,
        text,
    }
}

/// A finding as the function sees it.
pub(crate) fn shown(finding: &Finding) -> wire::Finding {
    wire::Finding {
        code: finding.code.to_string(),
        text: finding.text.clone(),
        remedy: remedy(finding.code).to_owned(),
        service: finding.service.clone().unwrap_or_default(),
        location: finding
            .location
            .as_ref()
            .map(|at| format!("{}:{}:{}", at.file, at.line + 1, at.column + 1))
            .unwrap_or_default(),
    }
}
