//! What the engine asks of a connection: incarnations and commands.

use bytes::Bytes;
use firn_model::code::Code;
use firn_model::contract::{Component, Method};
use firn_model::id::EntityId;
use firn_model::replicated::Delta;
use firn_runtime::few::Few;
use firn_runtime::link::{End, EventSink, ReplicaSink};
use firn_wire::v1::convert;
use firn_wire::v1::message as wire;
use firn_wire::v1::message::firn_frame::Frame as Out;

use super::{Instance, Life, Open, Phase, Sent, Session, Sink, Watch};
use crate::v1::action::Replies;
use crate::v1::outbox::Subject;

impl Session {
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

    pub(super) fn open(
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
        let Some(place) = self.places.component(component) else {
            sink.end(unreachable(&no_longer(&component.service)));
            return self.last_incarnation;
        };
        let instance = Instance {
            life: Life::Serving(sink),
            shape: place.shape.clone(),
            id: id.stored().clone(),
            open: Few::default(),
            version: opening.version,
            opening: Some(Box::new(opening)),
        };
        let instance = Box::new(instance);
        self.instances.insert(self.last_incarnation, instance);
        self.last_incarnation
    }

    /// Sends a command to a value or event sourced entity.
    pub(crate) fn command(&mut self, incarnation: u64, sent: Sent) {
        let (method, handler) = (sent.method.clone(), sent.handler);
        self.send(incarnation, sent, |incarnation| Open::Entity {
            incarnation,
            method,
            handler,
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
        let (method, handler) = (sent.method.clone(), sent.handler);
        self.send(incarnation, sent, |incarnation| Open::Replica {
            incarnation,
            method,
            number,
            stream,
            handler,
        });
    }

    pub(super) fn send(&mut self, incarnation: u64, sent: Sent, open: impl FnOnce(u64) -> Open) {
        let instance = self.instances.get_mut(&incarnation);
        let Some(instance) = instance.filter(|instance| instance.is_serving()) else {
            // The end of the incarnation is on its way to the engine, and answers it.
            return;
        };
        let Some(method) = self.places.method(&sent.method).cloned() else {
            let end = unreachable(&no_longer(&sent.method.path()));
            return self.end_instance(incarnation, end);
        };
        let opening = instance.opening.take().map(|opening| *opening);
        self.last_command += 1;
        let id = self.last_command;
        let frame = command(id, incarnation, &method, sent, opening);
        if let Err(cause) = self.fits(&frame) {
            return self.end_too_large(incarnation, frame, cause);
        }
        self.commands.insert(id, open(incarnation));
        if let Some(instance) = self.instances.get_mut(&incarnation) {
            instance.open.push_back(id);
        }
        self.send_command(Subject::Incarnation(incarnation), id, frame);
    }

    /// An entity, or what is asked of it, is too large for the function.
    fn end_too_large(&mut self, incarnation: u64, frame: Out, cause: String) {
        if let (Some(instance), Out::Command(command)) =
            (self.instances.get_mut(&incarnation), frame)
        {
            // The function may not have heard of it yet.
            instance.opening = command.opening.map(Box::new);
        }
        let code = Code::FrameTooLarge;
        let cause = format!("the entity, or the command, is not sent: {cause}");
        self.end_instance(incarnation, End::Unfit { code, cause });
    }

    /// Sends a command of an action; gives its number, or the replies back if nothing may begin.
    pub(crate) fn act(&mut self, sent: Sent, replies: Replies) -> Result<u64, Replies> {
        if self.phase != Phase::Serving {
            return Err(replies);
        }
        let Some(method) = self.places.method(&sent.method).cloned() else {
            return Err(replies);
        };
        self.last_command += 1;
        let id = self.last_command;
        let handler = sent.handler;
        let frame = command(id, 0, &method, sent, None);
        if let Err(cause) = self.fits(&frame) {
            replies.too_large(&cause);
            return Ok(id);
        }
        self.commands.insert(
            id,
            Open::Action {
                method,
                replies,
                handler,
                granted: self.limits.reply_messages,
            },
        );
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
        if let Err(cause) = self.fits(&frame) {
            let open = self.commands.insert(command, Open::Cancelled);
            if let Some(Open::Action { replies, .. }) = open {
                replies.too_large(&cause);
            }
            return self.cancel(Subject::Command(command), command);
        }
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

    /// The caller of an action has gone. What still waits for credit is not sent any more.
    pub(crate) fn cancel_action(&mut self, command: u64) {
        if self.is_waiting(command) {
            let subject = Subject::Command(command);
            self.waiting.retain(|it| it.subject != subject);
            self.commands.remove(&command);
            self.send_waiting();
            return self.end_if_left();
        }
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
        let is_it = |id: &&u64| match self.commands.get(id) {
            Some(Open::Replica { number, .. }) => *number == asked,
            _ => false,
        };
        let Some(&id) = instance.open.iter().find(is_it) else {
            return;
        };
        if let Some(Open::Replica { stream, .. }) = self.commands.get_mut(&id) {
            let accepted = *stream == Watch::Accepted;
            *stream = Watch::Cancelled { accepted };
        }
        self.cancel(Subject::Incarnation(incarnation), id);
    }

    pub(super) fn cancel(&mut self, subject: Subject, command: u64) {
        self.push(subject, command, Out::Cancel(wire::Cancel { id: command }));
    }

    /// Tells the function what others did to a replicated entity.
    pub(crate) fn change(&mut self, incarnation: u64, change: wire::change::Change) {
        let Some(instance) = self.instances.get_mut(&incarnation) else {
            return;
        };
        if !instance.is_serving() {
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
        if let Some(sink) = instance.stop_serving() {
            instance.life = Life::Closing(sink);
            self.close(incarnation);
        }
    }

    /// The engine wants to hear nothing of an incarnation any more.
    pub(crate) fn reset(&mut self, incarnation: u64) {
        let Some(instance) = self.instances.get_mut(&incarnation) else {
            return;
        };
        match instance.stop_serving() {
            Some(_) => self.close(incarnation),
            None => instance.life = Life::Over,
        }
    }

    /// Sends Close, unless the function never heard of the incarnation.
    pub(super) fn close(&mut self, incarnation: u64) {
        self.refuse_gated(incarnation);
        self.forget_waiting(incarnation);
        let Some(instance) = self.instances.get(&incarnation) else {
            return;
        };
        if instance.opening.is_some() {
            return self.closed(incarnation);
        }
        self.forget_closed();
        self.closing.push_back((self.looks, incarnation));
        self.out.push(
            Subject::Incarnation(incarnation),
            Out::Close(wire::Close { incarnation }),
        );
    }

    /// Takes back the commands of an incarnation that wait for credit. If the first is among them,
    /// the function never heard of it.
    pub(super) fn forget_waiting(&mut self, incarnation: u64) {
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
                let opening = command.opening.take().map(Box::new);
                instance.opening = opening.or(instance.opening.take());
            }
            instance.open.remove(&it.command);
            commands.remove(&it.command);
            false
        });
        self.send_waiting();
    }
}

/// A command of a method as the function declares it.
fn command(
    id: u64,
    incarnation: u64,
    method: &Method,
    sent: Sent,
    opening: Option<wire::Opening>,
) -> Out {
    Out::Command(wire::Command {
        id,
        component: method.component.place,
        method: method.place,
        incarnation,
        opening,
        message: sent.message,
        metadata: sent.metadata,
        timeout_ms: sent.timeout_ms,
    })
}

/// Why nothing is sent to a function that took the place of another.
fn no_longer(what: &str) -> String {
    format!("it came back without {what}, or with another one of that name")
}

fn unreachable(cause: &str) -> End {
    End::Unreachable {
        cause: cause.to_owned(),
    }
}
