//! One connection of a function, as a machine: which frame is allowed when, and what it means.
//!
//! # How it works
//! The engine's side ([`super::entity`], [`super::action`]) calls in to open incarnations and to send
//! commands; what the function sends comes through [`Session::take`] and leaves through the sinks of
//! those who wait for it. What must be done outside of the machine is given back as [`Todo`]s. All
//! frames that are to be sent are in the [`Outbox`].
//!
//! # Reading order
//! Here is what a session holds, and credit; `asked` is what the engine does, `said` what the function
//! does, `calls` its calls through Firn, `end` how incarnations and connections end.
//!
//! # Invariants
//! - Every command that was opened is answered once: by its decision, by the end of its incarnation,
//!   or by the end of the connection.
//! - Nothing that comes for an incarnation after its end reaches the engine.

mod asked;
mod calls;
mod end;
mod said;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use firn_model::code::Code;
use firn_model::contract::{Finding, Method};
use firn_runtime::calls::Within;
use firn_runtime::few::Few;
use firn_runtime::link::{End, EventSink, ReplicaEvent, ReplicaSink, StreamEvent};
use firn_wire::v1::chunk::Assembler;
use firn_wire::v1::contract::Shape;
use firn_wire::v1::message as wire;
use firn_wire::v1::message::firn_frame::Frame as Out;
use rustc_hash::{FxHashMap, FxHashSet};

use super::action::Replies;
use super::outbox::{Outbox, Subject};
use super::places::Places;
use super::remedy::remedy;

/// What a session is bounded by.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Frames above this many bytes travel in pieces of at most as many.
    pub(crate) chunk_bytes: usize,
    /// The largest frame that is taken, in bytes.
    pub(crate) frame_bytes: usize,
    /// The largest frame that the function takes, in bytes: it says.
    pub(crate) frame_bytes_theirs: usize,
    /// How many commands may be open to begin with: the function says.
    pub(crate) commands: u64,
    /// How many messages of a streamed call may be sent to begin with: the function says.
    pub(crate) request_messages: usize,
    /// How many replies of a streamed call the function may send to begin with.
    pub(crate) reply_messages: u32,
    /// How many calls the function may have open.
    pub(crate) calls: u32,
}

/// A connection. Tables that hash cheaply are by numbers that Firn has given, so that a function cannot
/// choose what falls together there.
pub(crate) struct Session {
    limits: Limits,
    places: Places,
    pub(crate) out: Outbox,
    assembler: Assembler,
    commands: FxHashMap<u64, Open>,
    /// Each in a box: a table has room for twice as many as it holds, or more.
    instances: FxHashMap<u64, Box<Instance>>,
    last_command: u64,
    last_incarnation: u64,
    /// How many more commands may be opened.
    credit: u64,
    /// Commands that have given their credit back already: streams that have begun.
    streaming: FxHashSet<u64>,
    /// Commands that wait for credit, in order.
    waiting: VecDeque<Uncredited>,
    last_call: u64,
    /// Calls that wait until what their handlers saw is durable, with their incarnations.
    gated: HashMap<u64, (u64, Calling)>,
    calls_open: u32,
    /// Incarnations that were closed, with the look before, in order. Some have ended since.
    closing: VecDeque<(u32, u64)>,
    /// How often was looked at what the function owes.
    looks: u32,
    phase: Phase,
}

/// How often [`Session::look`] is to be called.
pub(crate) const LOOK_EVERY: Duration = Duration::from_secs(10);

/// After how many looks an incarnation must have been let go of that was closed: a minute. What the
/// function's own code does keeps no SDK from saying so (R41, R84).
const LOOKS_UNTIL_CLOSED: u32 = 6;

/// How many grants for streams of replies may wait to be sent. One answers each reply, so whoever has
/// more waiting sends and does not read.
const CREDITS_WAITING_MAX: usize = 64 * 1024;

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
        handler: Handler,
    },
    Replica {
        incarnation: u64,
        method: Arc<Method>,
        number: i64,
        stream: Watch,
        handler: Handler,
    },
    Action {
        method: Arc<Method>,
        replies: Replies,
        /// How many more replies the function may send.
        granted: u32,
        handler: Handler,
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

/// An entity in an incarnation. There are as many as entities are active, so each byte counts.
struct Instance {
    life: Life,
    /// What its decisions may hold.
    shape: Arc<Shape>,
    /// The stored form of the entity's id.
    id: Arc<str>,
    /// The commands that are open, in order.
    open: Few<u64>,
    /// The version that the last decision has left.
    version: u64,
    /// What the first command is to carry; as long as it is here, the function has heard nothing.
    opening: Option<Box<wire::Opening>>,
}

/// Where an incarnation is in its life.
enum Life {
    /// The engine uses it.
    Serving(Sink),
    /// The engine is done with it, and waits for the function's word.
    Closing(Sink),
    /// It is over for the engine, and only the function's word is missing.
    Over,
}

/// Who is told what becomes of an incarnation.
enum Sink {
    Entity(EventSink),
    Replica(ReplicaSink),
}

impl Life {
    /// Who listens, until it is over.
    fn sink(&self) -> Option<&Sink> {
        match self {
            Self::Serving(sink) | Self::Closing(sink) => Some(sink),
            Self::Over => None,
        }
    }
}

impl Instance {
    fn is_serving(&self) -> bool {
        matches!(self.life, Life::Serving(_))
    }

    /// It is over from here on; gives who listened, if it served.
    fn stop_serving(&mut self) -> Option<Sink> {
        match std::mem::replace(&mut self.life, Life::Over) {
            Life::Serving(sink) => Some(sink),
            other => {
                self.life = other;
                None
            }
        }
    }
}

impl Sink {
    fn end(self, end: End) {
        match self {
            Self::Entity(sink) => sink(StreamEvent::Ended(end)),
            Self::Replica(sink) => sink(ReplicaEvent::Ended(end)),
        }
    }
}

/// A frame that is not sent yet: a command that waits for credit, or what is behind one.
struct Uncredited {
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
    pub(crate) handler: Handler,
}

/// The handler of a command: what it calls through Firn is called in its name.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Handler {
    pub(crate) of: Handled,
    /// How many forwards, effects and calls led to it.
    pub(crate) hops: u32,
}

/// What a handler handles.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Handled {
    /// A command of the entity of its incarnation.
    Entity,
    /// The call of an action that has this number.
    Action(u64),
}

impl Session {
    pub(crate) fn new(limits: Limits, places: Places) -> Self {
        Self {
            limits,
            places,
            out: Outbox::new(limits.chunk_bytes),
            assembler: Assembler::new(limits.frame_bytes),
            commands: FxHashMap::default(),
            instances: FxHashMap::default(),
            last_command: 0,
            last_incarnation: 0,
            credit: limits.commands,
            streaming: FxHashSet::default(),
            waiting: VecDeque::new(),
            last_call: 0,
            gated: HashMap::new(),
            calls_open: 0,
            closing: VecDeque::new(),
            looks: 0,
            phase: Phase::Serving,
        }
    }

    /// How busy it is: fewer is better for the next.
    pub(crate) fn load(&self) -> usize {
        self.commands.len() + self.instances.len()
    }

    /// Whether more than one command is open, so that more frames may be about to come.
    pub(crate) fn is_busy(&self) -> bool {
        self.commands.len() > 1
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

    /// Commands may be opened again.
    fn give_back(&mut self, amount: u64) {
        self.credit = self.credit.saturating_add(amount);
        self.send_waiting();
    }

    /// A stream has begun: it may last, and others must not wait for its end (R80).
    fn begins_to_stream(&mut self, command: u64) {
        let streams = match self.commands.get(&command) {
            Some(Open::Action { method, .. } | Open::Replica { method, .. }) => {
                method.streams_out()
            }
            Some(Open::Entity { .. } | Open::Cancelled) | None => false,
        };
        if streams && self.streaming.insert(command) {
            self.give_back(1);
        }
    }

    /// A command has ended.
    fn give_back_for(&mut self, command: u64) {
        if !self.streaming.remove(&command) {
            self.give_back(1);
        }
    }

    /// Sends what waits, as far as credit goes.
    fn send_waiting(&mut self) {
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
        self.waiting.push_back(Uncredited {
            subject,
            command,
            frame,
        });
    }

    /// Whether a command still waits for credit, so that the function cannot know it. Those that
    /// wait are the newest, in order; what else waits may be about one that was sent.
    fn is_waiting(&self, command: u64) -> bool {
        let mut commands = self.waiting.iter();
        let first = commands.find(|it| matches!(it.frame, Out::Command(_)));
        first.is_some_and(|first| command >= first.command)
    }

    /// Whether the function takes a frame of that size, or what it is told instead of it (R82).
    fn fits(&self, frame: &Out) -> Result<(), String> {
        let size = frame.encoded_len();
        match size <= self.limits.frame_bytes_theirs {
            true => Ok(()),
            false => Err(format!(
                "{size} bytes are more than the {} that the function takes at once",
                self.limits.frame_bytes_theirs
            )),
        }
    }

    /// Sends a frame about a command, behind it if it still waits.
    fn push(&mut self, subject: Subject, command: u64, frame: Out) {
        if self.waiting.iter().any(|it| it.subject == subject) {
            return self.waiting.push_back(Uncredited {
                subject,
                command,
                frame,
            });
        }
        self.out.push(subject, frame);
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

#[cfg(test)]
mod tests;
