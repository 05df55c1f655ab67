//! What the function says: decisions, replies, credit, and that it has let go.

use firn_model::code::Code;
use firn_model::contract::Method;
use firn_model::decision::{Answer, Effect};
use firn_model::replicated::{CancelAnswer, Reply, StreamedMessage};
use firn_model::status::{GrpcCode, Status};
use firn_runtime::link::{ActionAnswer, End, ReplicaEvent, StreamEvent};
use firn_wire::v1::chunk::Taken;
use firn_wire::v1::convert::{self, Unfit};
use firn_wire::v1::message::firn_frame::Frame as Out;
use firn_wire::v1::message::function_frame::Frame as In;
use firn_wire::v1::message::{self as wire, FunctionFrame};
use prost::Message as _;

use super::{Broken, CREDITS_WAITING_MAX, Life, Open, Session, Sink, Todo, Watch};
use crate::v1::action::Replies;
use crate::v1::outbox::Subject;

/// What a frame that is too large is.
#[derive(Debug, Clone, Copy)]
enum TooLarge {
    /// The decision on a command.
    Decision(u64),
    /// A reply to a command.
    Reply(u64),
    /// A call of the function.
    Call(u64),
    /// Something else.
    Other,
}

/// The first byte of a frame in its encoding: the number of its field, and the wire type of messages.
const REPLY: u8 = 3 << 3 | 2;
const CALL: u8 = 7 << 3 | 2;

impl Session {
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
        let size = frame.encoded_len();
        let Some(frame) = frame.frame else {
            return Ok(());
        };
        if size > self.limits.frame_bytes {
            self.too_large(match &frame {
                In::Decision(decision) => TooLarge::Decision(decision.command),
                In::Reply(reply) => TooLarge::Reply(reply.command),
                In::Call(call) => TooLarge::Call(call.id),
                _ => TooLarge::Other,
            });
            return self.check_reading();
        }
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
        self.check_reading()
    }

    /// Whether the function reads what it causes (R84). Whoever asks without end and does not would
    /// let it pile up here.
    fn check_reading(&self) -> Result<(), Broken> {
        let waiting = self.out.waiting();
        let results_max = 2 * self.limits.calls as usize;
        let (count, what) = if waiting.results > results_max {
            (waiting.results, "answers to its calls")
        } else if waiting.credits > CREDITS_WAITING_MAX {
            (waiting.credits, "grants")
        } else {
            return Ok(());
        };
        let text = format!("the function does not read: {count} {what} wait to be sent to it");
        Err(illegal(text))
    }

    pub(super) fn chunk(&mut self, chunk: wire::Chunk, todo: &mut Vec<Todo>) -> Result<(), Broken> {
        let taken = self.assembler.take(chunk);
        match taken.map_err(|error| illegal(error.to_string()))? {
            Taken::Part => Ok(()),
            Taken::TooLarge { subject, first } => {
                self.too_large(match (subject, first) {
                    (0, _) => TooLarge::Other,
                    (call, CALL) => TooLarge::Call(call),
                    (command, REPLY) => TooLarge::Reply(command),
                    (command, _) => TooLarge::Decision(command),
                });
                self.check_reading()
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

    /// A frame was thrown away, and what it was about fails (R82).
    fn too_large(&mut self, frame: TooLarge) {
        let code = Code::FrameTooLarge;
        let text = format!(
            "a frame is above the limit of {} bytes and was thrown away",
            self.limits.frame_bytes
        );
        match frame {
            TooLarge::Decision(command) => {
                self.notice(code, text.clone(), command);
                self.decided_too_large(command, &text);
            }
            TooLarge::Reply(command) => {
                self.notice(code, text.clone(), command);
                self.replied_too_large(command, text);
            }
            TooLarge::Call(id) => {
                self.notice(code, text.clone(), 0);
                self.refuse_call(id, Status::refused(GrpcCode::ResourceExhausted, code, text));
            }
            TooLarge::Other => self.notice(code, text, 0),
        }
    }

    /// Nothing else comes about the command.
    fn decided_too_large(&mut self, command: u64, text: &str) {
        let Some(open) = self.commands.remove(&command) else {
            return;
        };
        self.give_back_for(command);
        match open {
            Open::Entity { incarnation, .. } | Open::Replica { incarnation, .. } => {
                self.end_broken(incarnation, Code::FrameTooLarge, text.to_owned());
            }
            Open::Action { replies, .. } => replies.refuse(Code::FrameTooLarge, text),
            Open::Cancelled => {}
        }
        self.end_if_left();
    }

    /// The decision is still to come, or the word that the incarnation is closed.
    fn replied_too_large(&mut self, command: u64, text: String) {
        match self.commands.get(&command) {
            Some(Open::Entity { incarnation, .. } | Open::Replica { incarnation, .. }) => {
                self.end_broken(*incarnation, Code::FrameTooLarge, text);
            }
            Some(Open::Action { .. }) => self.stop_action(command, Code::FrameTooLarge, &text),
            Some(Open::Cancelled) | None => {}
        }
    }

    pub(super) fn decided(&mut self, decision: wire::Decision) {
        let id = decision.command;
        if self.is_waiting(id) {
            let text = format!("command {id} was never sent");
            return self.notice(Code::DecisionUnexpected, text, id);
        }
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
        self.give_back_for(id);
        self.end_if_left();
    }

    pub(super) fn decided_entity(
        &mut self,
        incarnation: u64,
        method: &Method,
        decision: wire::Decision,
    ) {
        let Some(instance) = self.instances.get_mut(&incarnation) else {
            return;
        };
        let id = decision.command;
        let first = instance.open.front().copied();
        instance.open.remove(&id);
        let Some(Sink::Entity(sink)) = instance.life.sink() else {
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
        let known = convert::Known {
            id: &instance.id,
            version: instance.version,
        };
        match convert::read_decision(decision, method, &instance.shape, known) {
            Ok((decision, version)) => {
                instance.version = version;
                sink(StreamEvent::Decided(decision));
                self.release_if_leaving(incarnation);
            }
            Err(unfit) => self.broke(incarnation, id, unfit.code(), unfit.to_string()),
        }
    }

    pub(super) fn decided_replica(
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
        instance.open.remove(&id);
        let Some(Sink::Replica(sink)) = instance.life.sink() else {
            return;
        };
        let read = convert::read_replicated(decision, method, &instance.shape);
        let read = read.and_then(|read| match (&read.change, stream) {
            (Some(_), Watch::Silent | Watch::Accepted) => Err(Unfit::Model {
                kind: method.component.kind,
                mutation: "a mutation at the end of a stream",
            }),
            _ => Ok(read),
        });
        let read = match read {
            Ok(read) => read,
            Err(unfit) => return self.broke(incarnation, id, unfit.code(), unfit.to_string()),
        };
        for event in last_words(number, stream, read) {
            sink(event);
        }
        self.release_if_leaving(incarnation);
    }

    pub(super) fn decided_action(
        &mut self,
        method: &Method,
        replies: Replies,
        decision: wire::Decision,
    ) {
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

    pub(super) fn replied(&mut self, reply: wire::Reply) {
        let id = reply.command;
        if self.is_waiting(id) {
            let text = format!("command {id} was never sent");
            return self.notice(Code::DecisionUnexpected, text, id);
        }
        self.begins_to_stream(id);
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

    /// The function broke the rules of a call, and is told so.
    pub(super) fn fail_action(&mut self, id: u64, code: Code, text: &str) {
        self.stop_action(id, code, text);
        self.notice(code, text.to_owned(), id);
    }

    /// The caller is told that the function broke the rules; of the call only the end is missing.
    fn stop_action(&mut self, id: u64, code: Code, text: &str) {
        if let Some(Open::Action { replies, .. }) = self.commands.insert(id, Open::Cancelled) {
            replies.refuse(code, text);
        }
        self.cancel(Subject::Command(id), id);
    }

    /// A message of a streamed command of a replicated entity.
    pub(super) fn watched(&mut self, reply: wire::Reply) {
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
        if let Some(Sink::Replica(sink)) = instance.and_then(|it| it.life.sink()) {
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

    pub(super) fn granted(&mut self, credit: wire::Credit) {
        let wire::Credit { command, amount } = credit;
        if command == 0 {
            return self.give_back(u64::from(amount));
        }
        if let Some(Open::Action { replies, .. }) = self.commands.get(&command) {
            replies.grant_requests(amount);
        }
    }

    /// The function has let go of an incarnation.
    pub(super) fn closed(&mut self, incarnation: u64) {
        self.refuse_gated(incarnation);
        self.forget_waiting(incarnation);
        let Some(instance) = self.instances.remove(&incarnation) else {
            return;
        };
        for command in instance.open.iter() {
            if self.commands.remove(command).is_some() {
                self.give_back_for(*command);
            }
        }
        match instance.life {
            // Unasked, it has answered everything that it knew of (R42).
            Life::Serving(sink) => sink.end(End::Released),
            Life::Closing(sink) => sink.end(End::Completed),
            Life::Over => {}
        }
        self.end_if_left();
    }
}

/// The first message of a streamed command.
fn accepted(command: i64, answer: Answer, effects: Vec<Effect>) -> ReplicaEvent {
    ReplicaEvent::Replied(Reply {
        command,
        answer,
        effects,
        change: None,
        streamed: true,
    })
}

/// What the decision on a command of a replicated entity is to the engine.
fn last_words(
    command: i64,
    stream: Watch,
    decision: convert::ReplicaDecision,
) -> impl Iterator<Item = ReplicaEvent> {
    let convert::ReplicaDecision {
        answer,
        effects,
        change,
    } = decision;
    // A stream without messages ends as soon as it has begun.
    let begins = match stream {
        Watch::Silent => !matches!(answer, Answer::Failure(_)),
        Watch::Cancelled { accepted } => !accepted,
        Watch::Unary | Watch::Accepted => false,
    };
    let last = match stream {
        Watch::Silent if begins => streamed_end(command, answer, effects),
        Watch::Accepted => streamed_end(command, answer, effects),
        Watch::Unary | Watch::Silent => ReplicaEvent::Replied(Reply {
            command,
            answer,
            effects,
            change,
            streamed: false,
        }),
        Watch::Cancelled { .. } => ReplicaEvent::CancelAnswered(CancelAnswer {
            command,
            effects,
            change,
        }),
    };
    let first = begins.then(|| accepted(command, Answer::Nothing, Vec::new()));
    first.into_iter().chain([last])
}

fn streamed_end(command: i64, answer: Answer, effects: Vec<Effect>) -> ReplicaEvent {
    ReplicaEvent::Streamed(StreamedMessage {
        command,
        answer,
        effects,
        ends: true,
    })
}

pub(super) fn illegal(text: String) -> Broken {
    Broken {
        code: Code::FrameIllegal,
        text,
    }
}
