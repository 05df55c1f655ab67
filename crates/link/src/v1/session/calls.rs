//! Calls of the function through Firn: accepted, held at the gate, answered (R70 to R73).

use firn_model::call::Reply;
use firn_model::code::Code;
use firn_model::contract::Method;
use firn_model::id::EntityKey;
use firn_model::status::{GrpcCode, Status};
use firn_runtime::calls::Within;
use firn_runtime::link::StreamEvent;
use firn_runtime::waits::Waiter;
use firn_wire::v1::convert;
use firn_wire::v1::message as wire;
use firn_wire::v1::message::firn_frame::Frame as Out;

use super::{Calling, Handled, Open, Session, Sink, Todo};
use crate::v1::outbox::Subject;

impl Session {
    pub(super) fn called(&mut self, call: wire::Call, todo: &mut Vec<Todo>) {
        let wire::Call {
            id,
            command,
            target,
            timeout_ms,
        } = call;
        let within = self.within(command);
        // A result gives its credit back when it is sent, as the function cannot know it before.
        let open = self.calls_open as usize + self.out.waiting().results;
        let refusal = if id <= self.last_call {
            let text = format!("call {id} is not above {}", self.last_call);
            Status::refused(GrpcCode::InvalidArgument, Code::FrameIllegal, text)
        } else if open >= self.limits.calls as usize {
            let text = format!("{open} calls are open already");
            Status::refused(GrpcCode::ResourceExhausted, Code::CallsExceeded, text)
        } else {
            self.last_call = id;
            self.calls_open += 1;
            let call = Calling {
                id,
                within,
                target: target.unwrap_or_default(),
                timeout_ms,
            };
            if let Some(call) = self.ask_gate(command, call) {
                todo.push(Todo::Call(call));
            }
            return;
        };
        self.refuse_call(id, refusal);
    }

    /// Answers a call of which nothing was begun.
    pub(super) fn refuse_call(&mut self, id: u64, status: Status) {
        self.last_call = self.last_call.max(id);
        self.answer_call(id, Err(status));
    }

    /// Lets a call of an entity's handler wait until everything is durable that it may have seen
    /// (R71); gives back one that need not.
    pub(super) fn ask_gate(&mut self, command: u64, call: Calling) -> Option<Calling> {
        let Some(Open::Entity { incarnation, .. }) = self.commands.get(&command) else {
            return Some(call);
        };
        let incarnation = *incarnation;
        let instance = self.instances.get(&incarnation);
        match instance.and_then(|it| it.life.sink()) {
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
    pub(super) fn refuse_gated(&mut self, incarnation: u64) {
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
    pub(super) fn within(&self, command: u64) -> Option<Within> {
        let (method, incarnation, handler) = match self.commands.get(&command)? {
            Open::Entity {
                incarnation,
                method,
                handler,
            }
            | Open::Replica {
                incarnation,
                method,
                handler,
                ..
            } => (method, *incarnation, handler),
            Open::Action {
                method, handler, ..
            } => (method, 0, handler),
            Open::Cancelled => return None,
        };
        let waiter = match handler.of {
            Handled::Entity => Waiter::Entity(self.key_of(incarnation, method)?),
            Handled::Action(number) => Waiter::Action {
                number,
                path: method.path().into(),
            },
        };
        Some(Within {
            waiter,
            hops: handler.hops,
        })
    }

    /// The key of the entity in an incarnation that has an open command of this method.
    fn key_of(&self, incarnation: u64, method: &Method) -> Option<EntityKey> {
        let instance = self.instances.get(&incarnation)?;
        let storage = method.component.storage.clone();
        Some(EntityKey::new(storage, instance.id.clone()))
    }

    /// Answers a call of the function that was begun.
    pub(crate) fn call_result(&mut self, id: u64, result: Result<Reply, Status>) {
        self.calls_open = self.calls_open.saturating_sub(1);
        self.answer_call(id, result);
        self.end_if_left();
    }

    fn answer_call(&mut self, id: u64, result: Result<Reply, Status>) {
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
        let mut frame = Out::CallResult(wire::CallResult {
            id,
            result: Some(result),
            metadata,
        });
        if let Err(cause) = self.fits(&frame) {
            let status = Status::refused(GrpcCode::ResourceExhausted, Code::FrameTooLarge, cause);
            frame = Out::CallResult(wire::CallResult {
                id,
                result: Some(wire::call_result::Result::Failure(convert::failure(
                    &status,
                ))),
                metadata: None,
            });
        }
        self.out.push(Subject::Call(id), frame);
    }
}

/// Why a call is refused whose incarnation has ended while it waited, for whatever reason: only the
/// engine knows it.
fn void() -> Status {
    Status::refused(
        GrpcCode::Unavailable,
        Code::CommitRefused,
        "the call was not made: its incarnation has ended before all that the handler may have seen was \
         durable",
    )
}
