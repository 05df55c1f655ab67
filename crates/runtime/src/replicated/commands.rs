//! Commands and what the function answers to them.

use firn_crdt::{ApplyError, Patch};
use firn_model::decision::{Answer, Effect};
use firn_model::id::EntityKey;
use firn_model::policy::{FailureMutation, LostCommands, OpenCommands};
use firn_model::replicated::{self, Change, Consistency, StateAction};

use super::entity::{Confirming, Data, Face, Open, Phase, Stream, View, Waiting};
use super::{CallId, Command, OPEN_COMMANDS_MAX, Output, Replicas, WATCHERS_MAX};
use crate::lane::{Caused, Now, Origin, Settled};
use crate::link::{EntityCommand, ReplicaCommand, ReplicaEvent};
use crate::refusal::{Fault, Refusal};

/// What became of a change that the function asked for.
enum Changed {
    No,
    Yes {
        needed: Consistency,
        number: u64,
        patch: Patch,
    },
}

impl Replicas {
    /// Takes a command: it waits until the function can have it.
    pub(super) fn accept(&mut self, command: Command, now: Now) {
        if self.draining {
            return self.refuse(command.call, Refusal::ShuttingDown);
        }
        let index = self.find(command.key(), now);
        let entity = &mut self.entities[index];
        entity.used_at = now.instant;
        let capacity = match command.streamed {
            true if entity.open.len() >= WATCHERS_MAX => Some(WATCHERS_MAX),
            _ => {
                let capacity = self.config.lane.mailbox_commands_max;
                let waiting = entity.queue.len() + entity.confirming.len();
                (waiting >= capacity).then_some(capacity)
            }
        };
        if let Some(capacity) = capacity {
            return self.refuse(command.call, Refusal::MailboxFull { capacity });
        }
        entity.face = Some(Face {
            component: command.method.component.clone(),
            id: command.id.clone(),
        });
        let received = command.origin.is_some_and(|origin| {
            let mut receipts = entity.record.receipts.iter();
            receipts.any(|receipt| receipt.effect == origin.effect)
                || entity.record.received.contains(&origin.effect)
        });
        if received {
            // Its change is here, if not written yet: the answer is the same, only later.
            let version = entity.record.version;
            self.wait_for_write(index, command.call, version, now);
        } else {
            entity.queue.push_back(Waiting {
                command,
                lost: false,
            });
        }
        self.tend(index, now);
    }

    fn wait_for_write(&mut self, index: usize, call: CallId, version: u64, now: Now) {
        let answers = vec![Settled::new(Answer::Nothing, Vec::new())];
        self.entities[index].confirming.push(Confirming {
            call,
            answers,
            end: Some(Ok(())),
            version,
            needed: Consistency::Local,
            number: 0,
            patch: Patch::default(),
            confirmed: Default::default(),
            until: now.instant + self.config.lane.command_timeout,
        });
    }

    /// Sends what waits, as far as the function may have it.
    pub(super) fn send_waiting(&mut self, index: usize, now: Now) {
        while self.may_send(index) {
            let ticket = self.ticket(index);
            let entity = &mut self.entities[index];
            let Stream::Open(live) = &mut entity.stream else {
                return;
            };
            let Some(Waiting { command, lost }) = entity.queue.pop_front() else {
                return;
            };
            if command.deadline <= now.instant {
                self.refuse(command.call, Refusal::DeadlineQueued);
                continue;
            }
            let policy = command.method.component.policies.lost_commands;
            let again = match policy {
                LostCommands::SendAgain => Some(Box::new(command.clone())),
                LostCommands::Fail => None,
            };
            live.last_number += 1;
            let number = live.last_number;
            let phase = Phase::Asked {
                until: command.deadline,
                streamed: command.streamed,
                gone: false,
                patience: now.instant + self.config.lane.command_timeout,
            };
            entity.open.insert(
                number,
                Open {
                    call: command.call,
                    method: command.method.clone(),
                    phase,
                    origin: command.origin,
                    ended: false,
                    told: false,
                    again,
                    lost,
                },
            );
            let message = ReplicaCommand {
                number,
                command: EntityCommand {
                    method: command.method,
                    message: command.message,
                    metadata: command.metadata,
                    deadline: command.deadline,
                    hops: command.hops,
                },
                streamed: command.streamed,
            };
            self.out.push(Output::Send(ticket, Box::new(message)));
        }
    }

    fn may_send(&mut self, index: usize) -> bool {
        let entity = &self.entities[index];
        let Stream::Open(live) = &entity.stream else {
            return false;
        };
        let Some(face) = &entity.face else {
            return false;
        };
        let open_max = match face.component.policies.open_commands {
            OpenCommands::One => 1,
            OpenCommands::Many => OPEN_COMMANDS_MAX,
        };
        // Whoever is behind is brought up to date before it takes anything new, so that a steady
        // flow of commands never keeps what other nodes did from the function.
        let waits = !matches!(live.view, View::InStep) || live.stale;
        let asked = entity.asked();
        let Some(next) = entity.queue.front() else {
            return false;
        };
        let alone = waits || next.lost || entity.has_lost();
        asked < open_max && !(alone && asked > 0)
    }

    /// Takes what came on a stream.
    pub(super) fn streamed(&mut self, ticket: super::Ticket, event: ReplicaEvent, now: Now) {
        let Some(index) = self.of(ticket) else {
            return;
        };
        self.entities[index].used_at = now.instant;
        match event {
            ReplicaEvent::Ended(end) => self.ended(index, end),
            // What crosses a half-close is of no interest any more.
            _ if !matches!(self.entities[index].stream, Stream::Open(_)) => {}
            ReplicaEvent::Replied(reply) => self.replied(index, reply, now),
            ReplicaEvent::Streamed(message) => self.more(index, message),
            ReplicaEvent::CancelAnswered(answer) => self.cancel_answered(index, answer, now),
            ReplicaEvent::Failed { command, failure } => self.failed(index, command, failure),
        }
        self.tend(index, now);
    }

    fn replied(&mut self, index: usize, reply: replicated::Reply, now: Now) {
        let number = reply.command;
        let open = self.entities[index].open.get(&number);
        let Some(Open {
            call,
            phase: Phase::Asked { streamed, gone, .. },
            origin,
            ended,
            told,
            ..
        }) = open
        else {
            return self.crash(index, Fault::Reply, "a reply to no open command");
        };
        let (call, streamed, gone, origin) = (*call, *streamed, *gone, *origin);
        let (ended, told) = (*ended, *told);
        let goes_on = reply.streamed && !ended;
        if reply.streamed && !streamed {
            let text = "a reply that streams to a command that does not";
            return self.crash(index, Fault::Reply, text);
        }
        let failed = matches!(reply.answer, Answer::Failure(_));
        let settled = Settled::new(reply.answer, caused(reply.effects));
        let deletes = deletes(reply.change.as_ref());
        match self.change(index, reply.change, failed, origin, now) {
            Err(refusal) => {
                if !told {
                    self.end_call(index, call, Err(refusal));
                }
                // The function has made a change that the entity has not.
                self.mark_stale(index);
                self.set_phase(index, number, goes_on, true, now);
            }
            Ok(_) if told => {
                self.set_phase(index, number, goes_on, true, now);
                self.orphan(settled.effects);
            }
            Ok(changed) => {
                self.set_phase(index, number, goes_on, gone, now);
                let answer = FirstAnswer {
                    call,
                    settled,
                    last: !goes_on,
                    changed,
                    must_last: origin.is_some(),
                };
                self.confirm(index, answer, now);
            }
        }
        if deletes {
            self.deleted_by_function(index, now);
        }
    }

    /// What becomes of a command after its first answer.
    fn set_phase(&mut self, index: usize, number: i64, streams: bool, gone: bool, now: Now) {
        if !streams {
            self.entities[index].open.remove(&number);
        } else if gone {
            self.cancel(index, number, now);
        } else if let Some(open) = self.entities[index].open.get_mut(&number) {
            open.phase = Phase::Streaming;
            open.again = None;
        }
    }

    /// Tells the function that the caller of a streamed command has gone. What it changes because of
    /// that is waited for, though not for long, and not at all where it did not answer the last time.
    pub(super) fn cancel(&mut self, index: usize, number: i64, now: Now) {
        let ticket = self.ticket(index);
        let until = now.instant + self.config.lane.stream_grace;
        let entity = &mut self.entities[index];
        let (Some(open), Stream::Open(live)) = (entity.open.get_mut(&number), &mut entity.stream)
        else {
            return;
        };
        open.phase = Phase::Cancelling { until };
        if live.silent.contains(&open.method.name) {
            live.leave(number, open.method.clone());
            entity.open.remove(&number);
        }
        self.out.push(Output::Cancel(ticket, number));
    }

    /// Carries out a change of the function.
    fn change(
        &mut self,
        index: usize,
        change: Option<Change>,
        failed: bool,
        origin: Option<Origin>,
        now: Now,
    ) -> Result<Changed, Refusal> {
        let Some(Change {
            action,
            consistency,
        }) = change
        else {
            return Ok(Changed::No);
        };
        let me = self.me;
        let entity = &mut self.entities[index];
        let (Data::Ready(state), Some(face)) = (&mut entity.data, &entity.face) else {
            return Ok(Changed::No);
        };
        let policies = &face.component.policies;
        if failed && policies.failure_mutation == FailureMutation::Drop {
            // The function has made the change all the same.
            self.mark_stale(index);
            return Ok(Changed::No);
        }
        let needed = consistency.max(policies.write_consistency);
        let patch = match action {
            StateAction::Delete if state.is_deleted() => return Err(Refusal::Deleted),
            StateAction::Delete => state.delete(),
            StateAction::Update(Err(invalid)) => return Err(invalid_change(invalid)),
            StateAction::Update(Ok(delta)) => {
                let applied = match state.apply(me, now.wall_millis(), &delta) {
                    Ok(applied) => applied,
                    Err(ApplyError::Deleted) => return Err(Refusal::Deleted),
                    Err(error) => return Err(invalid_change(error)),
                };
                if let Stream::Open(live) = &mut entity.stream {
                    live.view.follow(applied.diverged, |old| {
                        old.apply(me, now.wall_millis(), &delta).is_ok()
                    });
                }
                applied.patch
            }
        };
        entity.record.receipts.extend(origin);
        let number = self.spread(index, &patch, needed > Consistency::Local, now);
        self.changed(index, now);
        Ok(Changed::Yes {
            needed,
            number,
            patch,
        })
    }

    /// Answers a caller, at once or when the change is as durable as it has to be.
    fn confirm(&mut self, index: usize, answer: FirstAnswer, now: Now) {
        let FirstAnswer {
            call,
            settled,
            last,
            changed,
            must_last,
        } = answer;
        let entity = &self.entities[index];
        let deleted = entity.state().is_some_and(firn_crdt::State::is_deleted);
        match changed {
            Changed::Yes {
                needed,
                number,
                patch,
            } if needed > Consistency::Local || deleted || must_last => {
                let confirming = Confirming {
                    call,
                    answers: vec![settled],
                    end: last.then_some(Ok(())),
                    version: entity.record.version,
                    needed,
                    number,
                    patch,
                    confirmed: Default::default(),
                    until: now.instant + self.config.confirm_within,
                };
                self.entities[index].confirming.push(confirming);
                self.write_soon(index, now);
            }
            _ => {
                self.out.push(Output::Next(call, settled));
                if last {
                    self.out.push(Output::End(call, Ok(())));
                }
            }
        }
    }

    /// A further message of a streamed command.
    fn more(&mut self, index: usize, message: replicated::StreamedMessage) {
        let number = message.command;
        let entity = &mut self.entities[index];
        let mut ends = message.ends;
        let call = match entity.open.get_mut(&number) {
            // Some SDKs send what a command caused before its reply.
            Some(open) if matches!(open.phase, Phase::Asked { streamed: true, .. }) => {
                open.ended |= std::mem::take(&mut ends);
                open.call
            }
            Some(open) if open.phase == Phase::Streaming => open.call,
            // It crossed the cancellation.
            Some(_) => return,
            None => {
                let text = format!("a streamed message to command {number} is dropped: not open");
                let key = entity.key.clone();
                return self.out.push(Output::Report { key, text });
            }
        };
        if ends {
            entity.open.remove(&number);
        }
        let settled = Settled::new(message.answer, caused(message.effects));
        // Nothing overtakes the first answer.
        let waiting = entity.confirming.iter_mut().find(|it| it.call == call);
        if let Some(waiting) = waiting {
            waiting.answers.push(settled);
        } else {
            self.out.push(Output::Next(call, settled));
        }
        if ends {
            self.end_call(index, call, Ok(()));
        }
    }

    /// Says the last word to a caller, after the answers that it waits for.
    pub(super) fn end_call(&mut self, index: usize, call: CallId, result: Result<(), Refusal>) {
        let confirming = &mut self.entities[index].confirming;
        match confirming.iter_mut().find(|it| it.call == call) {
            Some(waiting) => waiting.end = Some(result),
            None => self.out.push(Output::End(call, result)),
        }
    }

    fn orphan(&mut self, effects: Vec<Caused>) {
        if !effects.is_empty() {
            self.out.push(Output::Orphaned(effects));
        }
    }

    fn cancel_answered(&mut self, index: usize, answer: replicated::CancelAnswer, now: Now) {
        let entity = &mut self.entities[index];
        let open = entity.open.get(&answer.command);
        let in_time = open.is_some_and(|open| matches!(open.phase, Phase::Cancelling { .. }));
        let late = entity
            .live()
            .and_then(|live| Some((live.left.remove(&answer.command)?, live)));
        if in_time {
            entity.open.remove(&answer.command);
        } else if let Some((method, live)) = late {
            live.silent.remove(&method.name);
        } else {
            let text = "an answer to a cancellation that was not sent";
            return self.crash(index, Fault::Reply, text);
        }
        let deletes = deletes(answer.change.as_ref());
        if let Err(refusal) = self.change(index, answer.change, false, None, now) {
            self.mark_stale(index);
            let key = self.entities[index].key.clone();
            let text = format!("a change after a cancellation was refused: {refusal:?}");
            self.out.push(Output::Report { key, text });
        }
        if deletes {
            self.deleted_by_function(index, now);
        }
        self.orphan(caused(answer.effects));
    }

    /// The caller of a streamed command has gone.
    pub(super) fn caller_gone(&mut self, key: &EntityKey, call: CallId, now: Now) {
        let Some(&index) = self.by_key.get(key) else {
            return;
        };
        let entity = &mut self.entities[index];
        entity.queue.retain(|waiting| waiting.command.call != call);
        let open = entity.open.iter_mut().find(|(_, open)| open.call == call);
        if let Some((&number, open)) = open {
            match &mut open.phase {
                Phase::Asked { gone, .. } => *gone = true,
                Phase::Streaming => self.cancel(index, number, now),
                Phase::Cancelling { .. } => {}
            }
        }
        self.tend(index, now);
    }

    pub(super) fn mark_stale(&mut self, index: usize) {
        if let Some(live) = self.entities[index].live() {
            live.stale = true;
        }
    }

    pub(super) fn refuse(&mut self, call: CallId, refusal: Refusal) {
        self.out.push(Output::End(call, Err(refusal)));
    }
}

/// The first answer of the function to a command, and what it waits for.
struct FirstAnswer {
    call: CallId,
    settled: Settled,
    /// Whether it is the only one.
    last: bool,
    changed: Changed,
    /// Whether it has to be durable, whatever the consistency.
    must_last: bool,
}

fn deletes(change: Option<&Change>) -> bool {
    change.is_some_and(|change| change.action == StateAction::Delete)
}

fn invalid_change(error: impl std::fmt::Display) -> Refusal {
    Refusal::InvalidChange {
        reason: error.to_string(),
    }
}

/// Effects of a replicated entity belong to no commit, so they run once at most.
fn caused(effects: Vec<Effect>) -> Vec<Caused> {
    effects
        .into_iter()
        .map(|effect| Caused {
            effect,
            origin: None,
        })
        .collect()
}
