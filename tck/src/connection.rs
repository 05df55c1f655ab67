//! One connection as Firn sees it, and the referee over everything that comes on it, in `referee`.
//!
//! [`Connection`] is a machine without I/O: [`Connection::take`] is given each batch of the function
//! and holds it against the requirements that are about any frame at any time; what is left goes to
//! the check as [`Event`]s. So every check also checks order, versions, credit and chunks. The frames
//! that the machine wants to send collect in [`Connection::outbox`].
//!
//! # How it works
//! A command is known by its *ticket*, the number it was first sent with: when the function lets go of
//! an incarnation while commands of it are on their way (R42), they are sent again under new numbers.

mod referee;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use prost::Message as _;

use crate::fault::Fault;
use crate::oracle::Asked;
use crate::proto::model::{Called, Reply};
use crate::proto::text_of;
use crate::proto::v1::firn_frame::Frame as Sent;
use crate::proto::v1::{self, Call, CallResult, Chunk, Decision, FirnFrame, Metadata, call_result};
use crate::record::Record;
use crate::service::{Plan, Service, streams};
use crate::show;

/// The largest batch of several frames (R8).
pub(crate) const BATCH_BYTES_MAX: usize = 1 << 20;

/// A number that no frame has had, which languages with numbers of 53 bits have too.
pub(crate) const NUMBER_MAX: u64 = (1 << 53) - 1;

/// An entity of a model service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Entity {
    pub(crate) service: Service,
    pub(crate) id: String,
}

/// How a decision is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Judge {
    /// By what the steps mean, on the record; the record takes the mutation.
    Steps,
    /// By the check. The record takes the mutation.
    Check,
    /// By the check, since nothing that the kit knows is behind it. No record is touched.
    Raw,
}

/// A command that is open.
pub(crate) struct Open {
    pub(crate) ticket: u64,
    pub(crate) service: Service,
    pub(crate) method: &'static str,
    pub(crate) incarnation: u64,
    pub(crate) asked: Asked,
    pub(crate) headers: Metadata,
    pub(crate) judge: Judge,
    pub(crate) called: Vec<Called>,
    /// Calls that were made, also those without an answer yet.
    calls: usize,
    /// The function has shown that it received it.
    seen: bool,
    pub(crate) cancelled: bool,
    /// Replies that the function may send.
    pub(crate) replies_left: u64,
    /// Messages that the kit may send.
    pub(crate) messages_left: u64,
}

/// A command that is to be sent.
pub(crate) struct NewCommand {
    pub(crate) service: Service,
    pub(crate) method: &'static str,
    pub(crate) asked: Asked,
    pub(crate) headers: Metadata,
    pub(crate) judge: Judge,
}

struct Incarnation {
    entity: Entity,
    /// Open commands, in order.
    open: VecDeque<u64>,
    /// Close was sent.
    closing: bool,
}

/// What a check hears of.
#[derive(Debug)]
pub(crate) enum Event {
    Decision {
        ticket: u64,
        decision: Decision,
    },
    Reply {
        ticket: u64,
        reply: v1::Reply,
    },
    /// Its incarnation was closed by the kit before there was a decision.
    Void,
    Call(Call),
    MessageCredit {
        ticket: u64,
    },
    Closed {
        incarnation: u64,
        entity: Entity,
        asked: bool,
    },
    Goodbye,
    Ended(String),
}

/// A frame that comes in pieces.
#[derive(Default)]
struct Transfer {
    bytes: Vec<u8>,
    subject: u64,
    /// What came whole since its beginning.
    passed: Vec<About>,
}

/// What a frame is about, for the order between frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum About {
    Incarnation(u64),
    Command(u64),
    Call(u64),
}

/// See the module.
pub(crate) struct Connection {
    pub(crate) hello: v1::Hello,
    pub(crate) plan: Plan,
    pub(crate) welcome: v1::Welcome,
    pub(crate) outbox: Vec<FirnFrame>,
    pub(crate) events: VecDeque<Event>,
    pub(crate) open: BTreeMap<u64, Open>,
    /// Whether calls are answered at once, or left to the check.
    pub(crate) answers_calls: bool,
    /// Whether each reply gives leave for another one.
    pub(crate) grants_replies: bool,
    /// Commands that the kit may open yet.
    pub(crate) commands_left: u64,
    incarnations: BTreeMap<u64, Incarnation>,
    by_entity: BTreeMap<Entity, u64>,
    /// Closed from both sides at once: a second Closed may come, or not.
    crossed: BTreeSet<u64>,
    pub(crate) calls: BTreeMap<u64, Call>,
    calls_left: u64,
    last_call: u64,
    transfers: BTreeMap<u64, Transfer>,
    last_command: u64,
    last_incarnation: u64,
    last_transfer: u64,
    /// The most commands that were open at once.
    pub(crate) open_max: usize,
}

/// The kit's store.
pub(crate) type Store = BTreeMap<Entity, Record>;

impl Connection {
    pub(crate) fn new(hello: v1::Hello, welcome: v1::Welcome, numbers: Numbers) -> Self {
        let plan = Plan::of(hello.contract.as_ref().unwrap_or(&v1::Contract::default()));
        let mut connection = Self {
            plan,
            outbox: Vec::new(),
            events: VecDeque::new(),
            open: BTreeMap::new(),
            answers_calls: true,
            grants_replies: true,
            commands_left: 0,
            incarnations: BTreeMap::new(),
            by_entity: BTreeMap::new(),
            crossed: BTreeSet::new(),
            calls: BTreeMap::new(),
            calls_left: welcome.calls.into(),
            last_call: 0,
            transfers: BTreeMap::new(),
            last_command: 0,
            last_incarnation: numbers.last_incarnation,
            last_transfer: 0,
            open_max: 0,
            hello,
            welcome,
        };
        connection.commands_left = connection.hello_commands();
        connection
    }

    pub(crate) fn numbers(&self) -> Numbers {
        Numbers {
            last_incarnation: self.last_incarnation,
        }
    }

    /// A command of an action.
    pub(crate) fn action(&mut self, new: NewCommand) -> Result<u64, Fault> {
        self.command(new, 0, None, None)
    }

    /// A command of an entity, with the opening of its record if it has no incarnation.
    pub(crate) fn process(
        &mut self,
        entity: &Entity,
        new: NewCommand,
        store: &Store,
    ) -> Result<u64, Fault> {
        self.process_again(entity, new, store, None)
    }

    fn process_again(
        &mut self,
        entity: &Entity,
        new: NewCommand,
        store: &Store,
        ticket: Option<u64>,
    ) -> Result<u64, Fault> {
        if let Some(&incarnation) = self.by_entity.get(entity) {
            return self.command(new, incarnation, None, ticket);
        }
        let record = store.get(entity).cloned();
        let record = record.unwrap_or_else(|| Record::new(entity.service));
        self.open_with(entity, new, record.opening(&entity.id), ticket)
    }

    /// The first command of a new incarnation, with any opening.
    pub(crate) fn open_with(
        &mut self,
        entity: &Entity,
        new: NewCommand,
        opening: v1::Opening,
        ticket: Option<u64>,
    ) -> Result<u64, Fault> {
        self.last_incarnation += 1;
        let incarnation = self.last_incarnation;
        self.by_entity.insert(entity.clone(), incarnation);
        self.incarnations.insert(
            incarnation,
            Incarnation {
                entity: entity.clone(),
                open: VecDeque::new(),
                closing: false,
            },
        );
        self.command(new, incarnation, Some(opening), ticket)
    }

    fn command(
        &mut self,
        new: NewCommand,
        incarnation: u64,
        opening: Option<v1::Opening>,
        ticket: Option<u64>,
    ) -> Result<u64, Fault> {
        let (component, method) = self.plan.place(new.service, new.method)?;
        self.last_command += 1;
        let id = self.last_command;
        let (streams_requests, _) = streams(new.method);
        let message = if streams_requests {
            Vec::new()
        } else {
            new.asked.encode()
        };
        self.outbox.push(frame(Sent::Command(v1::Command {
            id,
            component,
            method,
            incarnation,
            opening,
            message: message.into(),
            metadata: (!new.headers.entries.is_empty()).then(|| new.headers.clone()),
            timeout_ms: 60_000,
        })));
        if let Some(one) = self.incarnations.get_mut(&incarnation) {
            one.open.push_back(id);
        }
        let messages = self.hello.call_messages;
        self.open.insert(
            id,
            Open {
                ticket: ticket.unwrap_or(id),
                service: new.service,
                method: new.method,
                incarnation,
                asked: new.asked,
                headers: new.headers,
                judge: new.judge,
                called: Vec::new(),
                calls: 0,
                seen: false,
                cancelled: false,
                replies_left: self.welcome.call_messages.into(),
                messages_left: if messages == 0 { 16 } else { messages.into() },
            },
        );
        self.open_max = self.open_max.max(self.open.len());
        Ok(ticket.unwrap_or(id))
    }

    /// How many commands the function granted to begin with.
    pub(crate) fn hello_commands(&self) -> u64 {
        match self.hello.commands {
            0 => 1_024,
            commands => commands.into(),
        }
    }

    /// Whether a command of an entity is open, or its incarnation is being closed.
    pub(crate) fn is_busy(&self, entity: &Entity) -> bool {
        let mut incarnations = self.incarnations.values();
        incarnations.any(|one| one.entity == *entity && (one.closing || !one.open.is_empty()))
    }

    /// Forgets what was judged already.
    pub(crate) fn forget_decisions(&mut self) {
        self.events.retain(|event| matches!(event, Event::Ended(_)));
    }

    /// Uses up a number, for a command that the machine shall not know of.
    pub(crate) fn skip_command(&mut self) -> u64 {
        self.last_command += 1;
        self.last_command
    }

    /// Uses up a number of an incarnation that never was. The function may say Closed of it.
    pub(crate) fn unknown_incarnation(&mut self) -> u64 {
        self.last_incarnation += 1;
        self.crossed.insert(self.last_incarnation);
        self.last_incarnation
    }

    /// Closes the incarnation of an entity, if it has one.
    pub(crate) fn close(&mut self, entity: &Entity) -> Option<u64> {
        let incarnation = self.by_entity.remove(entity)?;
        if self.take_back(incarnation) {
            self.incarnations.remove(&incarnation);
            return None;
        }
        if let Some(one) = self.incarnations.get_mut(&incarnation) {
            one.closing = true;
        }
        self.outbox
            .push(frame(Sent::Close(v1::Close { incarnation })));
        Some(incarnation)
    }

    /// Takes back the commands of an incarnation that wait for credit. Whether the one that opens it
    /// was among them, so that the function never hears of it.
    fn take_back(&mut self, incarnation: u64) -> bool {
        if self.commands_left > 0 {
            return false;
        }
        let mut opens = false;
        let mut gone = Vec::new();
        self.outbox.retain(|one| match &one.frame {
            Some(Sent::Command(command)) if command.incarnation == incarnation => {
                opens |= command.opening.is_some();
                gone.push(command.id);
                false
            }
            _ => true,
        });
        for id in &gone {
            self.open.remove(id);
        }
        if let Some(one) = self.incarnations.get_mut(&incarnation) {
            one.open.retain(|id| !gone.contains(id));
        }
        opens
    }

    /// The incarnation that an entity has.
    pub(crate) fn incarnation(&self, entity: &Entity) -> Option<u64> {
        self.by_entity.get(entity).copied()
    }

    /// Closes all incarnations and cancels all that streams or hangs.
    pub(crate) fn close_all(&mut self) {
        for entity in self.by_entity.keys().cloned().collect::<Vec<_>>() {
            self.close(&entity);
        }
        let actions: Vec<u64> = self
            .open
            .iter()
            .filter(|(_, open)| open.incarnation == 0 && !open.cancelled)
            .map(|(id, _)| *id)
            .collect();
        for id in actions {
            self.cancel(id);
        }
        for call in self.calls.keys().copied().collect::<Vec<_>>() {
            self.answer_call(call, Ok(Reply::default()));
        }
    }

    /// Says that a command's caller has gone.
    pub(crate) fn cancel(&mut self, ticket: u64) {
        if let Some((id, open)) = self.open.iter_mut().find(|(_, open)| open.ticket == ticket) {
            open.cancelled = true;
            self.outbox
                .push(frame(Sent::Cancel(v1::Cancel { id: *id })));
        }
    }

    /// Whether a frame of the function is on its way in pieces.
    pub(crate) fn is_transferring(&self) -> bool {
        !self.transfers.is_empty()
    }

    /// Whether nothing is open.
    pub(crate) fn is_idle(&self) -> bool {
        self.open.is_empty() && self.incarnations.is_empty()
    }

    /// What is open, for people.
    pub(crate) fn open_things(&self) -> String {
        let commands: Vec<u64> = self.open.keys().copied().collect();
        let incarnations: Vec<u64> = self.incarnations.keys().copied().collect();
        show::short(&format!(
            "commands {commands:?}, incarnations {incarnations:?}"
        ))
    }

    /// Tells a replicated entity of a change elsewhere.
    pub(crate) fn change(&mut self, entity: &Entity, change: v1::change::Change) {
        if let Some(&incarnation) = self.by_entity.get(entity) {
            let change = Some(change);
            self.outbox.push(frame(Sent::Change(v1::Change {
                incarnation,
                change,
            })));
        }
    }

    /// Answers a call, with a reply or with a failure's code and text.
    pub(crate) fn answer_call(&mut self, id: u64, result: Result<Reply, v1::Failure>) {
        let Some(call) = self.calls.remove(&id) else {
            return;
        };
        self.calls_left += 1;
        let called = match &result {
            Ok(reply) => Called {
                reply: Some(reply.clone()),
                ..Called::default()
            },
            Err(failure) => Called {
                reply: None,
                code: failure.code,
                message: failure.message.clone(),
                details: failure.details.iter().filter_map(text_of).collect(),
            },
        };
        if let Some(open) = self.open.get_mut(&call.command) {
            open.called.push(called);
        }
        let result = match result {
            Ok(reply) => call_result::Result::Reply(reply.encode_to_vec().into()),
            Err(failure) => call_result::Result::Failure(failure),
        };
        self.outbox.push(frame(Sent::CallResult(CallResult {
            id,
            result: Some(result),
            metadata: None,
        })));
    }

    /// The batches in which frames travel, in order.
    pub(crate) fn batches(&mut self, frames: Vec<FirnFrame>) -> Vec<v1::FirnBatch> {
        let mut batches = Vec::new();
        let mut batch = v1::FirnBatch::default();
        let mut bytes = 0;
        let mut held = false;
        for one in frames {
            // Without credit a command waits (R80), and what must not overtake it; answers go on.
            let waits = !matches!(one.frame, Some(Sent::CallResult(_) | Sent::Credit(_)));
            let is_command = matches!(one.frame, Some(Sent::Command(_)));
            held |= is_command && self.commands_left == 0;
            if held && waits {
                self.outbox.push(one);
                continue;
            }
            if is_command {
                self.commands_left -= 1;
            }
            let length = one.encoded_len();
            let is_chunk = matches!(one.frame, Some(Sent::Chunk(_)));
            let chunks = if length > self.welcome.chunk_bytes as usize && !is_chunk {
                self.chunks(&one)
            } else {
                vec![one]
            };
            for one in chunks {
                let length = one.encoded_len() + 8;
                if bytes + length > BATCH_BYTES_MAX && !batch.frames.is_empty() {
                    batches.push(std::mem::take(&mut batch));
                    bytes = 0;
                }
                bytes += length;
                batch.frames.push(one);
            }
        }
        if !batch.frames.is_empty() {
            batches.push(batch);
        }
        batches
    }

    /// A frame in pieces.
    pub(crate) fn chunks(&mut self, whole: &FirnFrame) -> Vec<FirnFrame> {
        self.last_transfer += 1;
        let transfer = self.last_transfer;
        let bytes = bytes::Bytes::from(whole.encode_to_vec());
        let size = self.welcome.chunk_bytes as usize;
        let mut chunks = Vec::new();
        let mut at = 0;
        while at < bytes.len() {
            let end = (at + size).min(bytes.len());
            chunks.push(frame(Sent::Chunk(Chunk {
                transfer,
                data: bytes.slice(at..end),
                last: end == bytes.len(),
                subject: 0,
            })));
            at = end;
        }
        chunks
    }
}

/// Incarnations are never numbered twice, whatever the connection.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Numbers {
    last_incarnation: u64,
}

/// A frame of the kit.
pub(crate) fn frame(frame: Sent) -> FirnFrame {
    FirnFrame { frame: Some(frame) }
}
