//! The straight way of a command: accepted, its entity loaded and connected, sent in its turn.

use std::sync::Arc;

use firn_model::contract::Component;
use firn_model::id::{EntityId, EntityKey, Slot};
use firn_store::{Change, Commit, Entity, ReadError, Timestamp};

use super::instance::{Accepted, Instance, Phase, Stream, Then, Verdict};
use super::{Command, Known, Lane, Now, Output, Ticket};
use crate::link::{EntityCommand, Opening};
use crate::refusal::Refusal;

impl<R> Lane<R> {
    /// Takes a command in, or refuses it at once.
    pub(super) fn accept(&mut self, command: Command<R>, now: Now) {
        let longest = now.instant + self.config.command_timeout;
        let deadline = command.deadline.map_or(longest, |asked| asked.min(longest));
        if self.draining {
            return self.refuse(command.reply, Refusal::ShuttingDown);
        }
        if deadline <= now.instant {
            return self.refuse(command.reply, Refusal::DeadlineQueued);
        }
        let index = self.find_or_create(&command, now);
        let instance = &mut self.instances[index];
        if instance.queue.len() >= self.config.mailbox_commands_max {
            let capacity = self.config.mailbox_commands_max;
            return self.refuse(command.reply, Refusal::MailboxFull { capacity });
        }
        let (id, accepted) = Accepted::new(command, deadline);
        if instance.id != id {
            // What was brought into memory for another reason does not know the form that is shown.
            instance.id = id;
        }
        instance.queue.push_back(Box::new(accepted));
        self.arm(index, deadline);
        self.advance(index, now);
    }

    fn find_or_create(&mut self, command: &Command<R>, now: Now) -> usize {
        let component = &command.method.component;
        let found = self.instances.find(&component.storage, command.id.stored());
        found.unwrap_or_else(|| self.create(command.id.clone(), component.clone(), now))
    }

    fn create(&mut self, id: EntityId, component: Arc<Component>, now: Now) -> usize {
        let now_short = self.due.moment(now.instant);
        let index = self
            .instances
            .insert(Instance::new(id, component, now_short));
        self.start(index, now);
        index
    }

    /// A tombstone that nobody touches is to go, or an entity that nobody writes. An instance that is
    /// active sees to it itself; else one is loaded, finds out whether that is still so, and is
    /// forgotten again.
    pub(super) fn expired(&mut self, key: EntityKey, now: Now) {
        if self.draining || self.instances.find(&key.storage, &key.id).is_some() {
            return;
        }
        let contract = self.contract.as_ref();
        let component = contract.and_then(|contract| {
            let components = &contract.components;
            components
                .iter()
                .find(|component| component.kind.is_entity() && component.storage == key.storage)
        });
        // What no component of the function owns is left as it is.
        if let Some(component) = component.cloned() {
            self.create(EntityId::single(key.id), component, now);
        }
    }

    /// Begins a life of an instance: loads its entity, unless its slot is in trouble. Nothing of the
    /// life before may be under way, or what is loaded would miss it.
    pub(super) fn start(&mut self, index: usize, now: Now) {
        self.lives += 1;
        let life = self.lives;
        let instance = &mut self.instances[index];
        debug_assert!(instance.pipeline.is_empty());
        instance.life = life;
        instance.stream = Stream::None;
        instance.active_at = self.due.moment(now.instant);
        if let Some(next) = instance.queue.front() {
            // The component of a command that came after a change of contract is the newer one.
            instance.component = next.method.component.clone();
        }
        instance.set_ttl(self.config.retention.ttl_of(&instance.component));
        let (key, replay) = (instance.key(), instance.component.policies.replay);
        if self.is_in_trouble(index) {
            return self.suspend(index);
        }
        self.instances[index].phase = Phase::Loading;
        self.out
            .push(Output::Load(Ticket { index, life }, key, replay));
    }

    /// The store has been read.
    pub(super) fn loaded(&mut self, ticket: Ticket, result: Result<Entity, ReadError>, now: Now) {
        let Some(instance) = self.alive(ticket) else {
            return;
        };
        let Phase::Loading = instance.phase else {
            return;
        };
        let entity = match result {
            Ok(entity) => entity,
            Err(error) => {
                let cause = error.to_string();
                let key = instance.key();
                self.out.push(Output::Report {
                    key,
                    text: format!("load failed: {cause}"),
                });
                return self.give_up(ticket.index, &Refusal::LoadFailed { cause });
            }
        };
        if entity.deleted_until.is_some_and(|until| until <= now.wall) {
            return self.remove(ticket.index, Change::Clean, now);
        }
        let instance = &mut self.instances[ticket.index];
        instance.set_deleted_until(entity.deleted_until);
        instance.set_changed_at(entity.changed_at.filter(|_| entity.is_alive()));
        if instance.is_expired(now.wall) {
            return self.remove(ticket.index, Change::Delete { until: None }, now);
        }
        if instance.queue.is_empty() {
            // Those it was loaded for have stopped waiting.
            return self.forget(ticket.index);
        }
        instance.last_event = entity.last_event;
        instance.last_snapshot = entity
            .snapshot
            .as_ref()
            .map_or(0, |snapshot| snapshot.sequence);
        instance.phase = Phase::Connecting(Box::new(entity));
        self.out.push(Output::AcquireStream(ticket));
    }

    /// An entity's time is over, or its tombstone's: removes what is left of it, then loads again.
    fn remove(&mut self, index: usize, change: Change, now: Now) {
        if self.is_in_trouble(index) {
            return self.suspend(index);
        }
        self.instances[index].phase = Phase::Settling(Then::BeginAgain);
        self.commit_own(index, change, now);
    }

    /// A stream may be opened.
    pub(super) fn granted(&mut self, ticket: Ticket, now: Now) {
        let waiting = self
            .alive(ticket)
            .filter(|instance| matches!(instance.phase, Phase::Connecting(_)));
        let Some(instance) = waiting else {
            // It was forgotten or suspended meanwhile.
            return self.out.push(Output::ReleaseStream);
        };
        let Phase::Connecting(entity) = std::mem::replace(&mut instance.phase, Phase::Serving)
        else {
            unreachable!("checked above")
        };
        instance.stream = Stream::Open;
        let opening = Opening {
            component: instance.component.clone(),
            id: instance.id.clone(),
            entity: *entity,
        };
        self.out.push(Output::Open(ticket, Box::new(opening)));
        self.advance(ticket.index, now);
    }

    /// Takes the next commands, as far as the instance is free for them.
    pub(super) fn advance(&mut self, index: usize, now: Now) {
        loop {
            let instance = &self.instances[index];
            let pipelining = instance.component.policies.pipelining;
            let is_serving = matches!(instance.phase, Phase::Serving);
            if !is_serving || !instance.pipeline.has_room(pipelining) {
                return;
            }
            if self.is_in_trouble(index) {
                // What was not sent stays in the queue.
                return self.suspend(index);
            }
            if !self.take_next(index, now) {
                return;
            }
        }
    }

    /// Takes the next command of an instance that has room for one; gives whether there may be more
    /// to take.
    fn take_next(&mut self, index: usize, now: Now) -> bool {
        let instance = &mut self.instances[index];
        let is_idle = instance.pipeline.is_empty();
        let is_expired = instance.is_expired(now.wall);
        let Some(next) = instance.queue.front() else {
            if is_idle {
                self.rest(index, now);
            }
            return false;
        };
        if is_expired {
            // The entity begins again, and so does its instance.
            if is_idle {
                self.restart(index, now);
            }
            return false;
        }
        let is_late = next.deadline <= now.instant;
        if !is_late && !instance.pipeline.admits(next) {
            return false;
        }
        let Some(next) = instance.queue.pop_front() else {
            return false;
        };
        if is_late {
            self.refuse(next.reply, Refusal::DeadlineQueued);
            return true;
        }
        instance.active_at = self.due.moment(now.instant);
        if next.needs_look() {
            self.look(index, next);
        } else {
            self.send(index, next);
        }
        true
    }

    /// Asks the store whether the command was served before.
    fn look(&mut self, index: usize, next: Box<Accepted<R>>) {
        let instance = &mut self.instances[index];
        let ticket = Ticket {
            index,
            life: instance.life,
        };
        self.out.push(Output::Look {
            ticket,
            key: instance.key(),
            record: next
                .idempotency
                .as_ref()
                .map(|idempotency| (next.method.name.clone(), idempotency.key.clone())),
            received: next
                .origin
                .filter(|origin| origin.redelivered)
                .map(|origin| origin.effect),
        });
        let deadline = next.deadline;
        instance.phase = Phase::Looking(Some(next));
        self.arm(index, deadline);
    }

    /// The store has told.
    pub(super) fn looked(&mut self, ticket: Ticket, result: Result<Known, ReadError>, now: Now) {
        let Some(instance) = self.alive(ticket) else {
            return;
        };
        if !matches!(instance.phase, Phase::Looking(_)) {
            return;
        }
        let Phase::Looking(next) = std::mem::replace(&mut instance.phase, Phase::Serving) else {
            unreachable!("checked above")
        };
        let Some(mut next) = next else {
            return self.carry_on(ticket.index, now);
        };
        let verdict = match result {
            Ok(known) => next.verdict(known),
            Err(error) => Verdict::Answer(Err(Refusal::LoadFailed {
                cause: error.to_string(),
            })),
        };
        match verdict {
            Verdict::Answer(answer) => self.out.push(Output::Answer(next.reply, answer)),
            Verdict::Send => {
                next.is_new = true;
                self.instances[ticket.index].queue.push_front(next);
            }
        }
        self.carry_on(ticket.index, now);
    }

    /// Sends a command to the function, and keeps it until the decision comes: it may have to be
    /// sent again.
    fn send(&mut self, index: usize, next: Box<Accepted<R>>) {
        let instance = &mut self.instances[index];
        let ticket = Ticket {
            index,
            life: instance.life,
        };
        let command = EntityCommand {
            method: next.method.clone(),
            message: next.message.clone(),
            metadata: next.metadata.clone(),
            deadline: next.deadline,
            hops: next.hops,
        };
        let deadline = next.deadline;
        instance.pipeline.send(next);
        self.out.push(Output::Send(ticket, command));
        self.arm(index, deadline);
    }

    /// Goes on after a look-up or a snapshot: with the next command, or with a new life if the stream
    /// is gone.
    pub(super) fn carry_on(&mut self, index: usize, now: Now) {
        let instance = &mut self.instances[index];
        instance.phase = Phase::Serving;
        if instance.stream == Stream::Open {
            return self.advance(index, now);
        }
        self.begin_again(index, now);
    }

    /// Begins a new life, or forgets the instance, once all commits of this one have an outcome.
    pub(super) fn begin_again(&mut self, index: usize, now: Now) {
        let instance = &mut self.instances[index];
        if instance.pipeline.is_committing() {
            instance.phase = Phase::Settling(Then::BeginAgain);
            return;
        }
        self.start_or_forget(index, now);
    }

    /// Begins a new life if commands wait, else forgets the instance.
    pub(super) fn start_or_forget(&mut self, index: usize, now: Now) {
        if self.instances[index].queue.is_empty() {
            self.forget(index);
        } else {
            self.start(index, now);
        }
    }

    /// Removes an instance from memory. Nothing of it may be under way.
    pub(super) fn forget(&mut self, index: usize) {
        let instance = self.instances.remove(index);
        debug_assert!(instance.pipeline.is_empty());
    }

    /// The instance of a ticket, if it still lives that life.
    pub(super) fn alive(&mut self, ticket: Ticket) -> Option<&mut Instance<R>> {
        self.instances
            .get_mut(ticket.index)
            .filter(|instance| instance.life == ticket.life)
    }

    pub(super) fn refuse(&mut self, reply: R, refusal: Refusal) {
        self.out.push(Output::Answer(reply, Err(refusal)));
    }

    /// An empty commit of the instance's slot, with its sequence given out.
    pub(super) fn begin_commit(&mut self, index: usize, now: Now) -> Commit {
        let instance = &self.instances[index];
        let ticket = Ticket {
            index,
            life: instance.life,
        };
        let key = instance.key();
        let mut commit = self.begin_slot_commit(instance.slot, Some(ticket), now.wall);
        commit.key = Some(key);
        commit
    }

    /// An empty commit of a slot, which also carries what was delivered since the last one.
    pub(super) fn begin_slot_commit(
        &mut self,
        slot: Slot,
        ticket: Option<Ticket>,
        wall: Timestamp,
    ) -> Commit {
        let state = self.slot(slot);
        let delivered = std::mem::take(&mut state.delivered);
        let (epoch, sequence) = state.begin(ticket, delivered.clone());
        Commit {
            delivered,
            ..Commit::empty(slot, epoch, sequence, wall)
        }
    }
}
