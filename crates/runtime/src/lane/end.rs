//! What comes on a stream, and how an instance ends: well, badly, or to begin again.

use std::collections::VecDeque;

use firn_model::policy::{FailedQueue, LostCommands, StreamFailure};

use super::instance::{Accepted, Phase, Stream, Then};
use super::{Lane, Now, Output, Ticket};
use crate::link::{End, StreamEvent};
use crate::refusal::{Fault, Refusal};

impl<R> Lane<R> {
    /// Something came on an instance's stream.
    pub(super) fn streamed(&mut self, ticket: Ticket, event: StreamEvent, now: Now) {
        let index = ticket.index;
        let moment = self.due.moment(now.instant);
        let Some(instance) = self.alive(ticket) else {
            return;
        };
        if instance.stream == Stream::None {
            return;
        }
        instance.active_at = moment;
        match event {
            StreamEvent::Ended(end) => self.ended(index, end, now),
            StreamEvent::Decided(decision) => match instance.pipeline.decided() {
                Some(command) => self.decided(index, *command, decision, now),
                None => self.failed(index, Fault::Reply, now),
            },
            StreamEvent::CommandFailed(failure) => {
                let policy = instance.component.policies.stream_failure;
                if !instance.pipeline.is_running() {
                    self.failed(index, Fault::Reply, now);
                } else if policy == StreamFailure::EndsInstance {
                    self.failed(index, Fault::Failure(failure), now);
                } else {
                    self.report(index, &failure.text);
                    self.refuse_first(index, Fault::Command(failure));
                    // Some SDKs end the stream after such a failure and some do not. Beginning again
                    // keeps the next command from being sent into an end that is already under way.
                    self.restart(index, now);
                }
            }
            StreamEvent::Gate(number) => self.gate(index, number),
            StreamEvent::Snapshot(payload) => {
                if matches!(instance.phase, Phase::Snapshotting { .. }) {
                    self.snapshotted(index, payload, now);
                }
            }
        }
    }

    /// The stream is over.
    fn ended(&mut self, index: usize, end: End, now: Now) {
        self.instances[index].stream = Stream::None;
        self.out.push(Output::ReleaseStream);
        if let Phase::Closing { .. } = self.instances[index].phase {
            return self.start_or_forget(index, now);
        }
        match end {
            End::Completed => {
                self.report_busy(index, "the function completed the stream");
                self.failed(index, Fault::Termination, now);
            }
            End::Released => self.released(index, now),
            End::Unreachable { cause } => self.unreachable(index, &cause, now),
            End::Terminated { cause } => {
                self.report_busy(index, &format!("the function ended the stream: {cause}"));
                self.failed(index, Fault::Termination, now);
            }
            End::Failed(failure) => {
                self.report(index, &failure.text);
                self.failed(index, Fault::Failure(failure), now);
            }
            End::Unfit { code, cause } => {
                self.report(index, &cause);
                self.failed(index, Fault::Unfit { code, cause }, now);
            }
            End::WrongReply { cause } => {
                self.report(index, &cause);
                self.failed(index, Fault::Reply, now);
            }
            End::WrongMessage { cause } => {
                self.report(index, &cause);
                self.failed(index, Fault::Message, now);
            }
        }
    }

    /// The function has let go of the instance, and has not looked at what it did not answer.
    fn released(&mut self, index: usize, now: Now) {
        if self.waits_for_store(index) {
            return;
        }
        let running = self.instances[index].pipeline.take_running();
        self.put_back(index, running);
        self.begin_again(index, now);
    }

    /// The function could not be reached. Nothing was sent, so nobody needs to wait, but for those
    /// who are sent again.
    fn unreachable(&mut self, index: usize, cause: &str, now: Now) {
        self.report_busy(index, &format!("the function cannot be reached: {cause}"));
        if self.waits_for_store(index) {
            return;
        }
        let running = self.instances[index].pipeline.take_running();
        let again = self.judge_lost(index, running, &Refusal::FunctionUnavailable);
        if again.is_empty() {
            self.refuse_queue(index, &Refusal::FunctionUnavailable);
        }
        self.put_back(index, again);
        self.begin_again(index, now);
    }

    /// An instance failed: the command that it failed with is refused, what else the function had
    /// is lost, the queue goes by policy, and what the function holds of it is dropped.
    pub(super) fn failed(&mut self, index: usize, fault: Fault, now: Now) {
        self.reset_stream(index);
        if self.waits_for_store(index) {
            return;
        }
        let instance = &mut self.instances[index];
        let failed_queue = instance.component.policies.failed_queue;
        let refusal = match fault {
            // Nobody says which command it was.
            Fault::Termination => Refusal::Failed(fault),
            _ => {
                self.refuse_first(index, fault);
                Refusal::QueuedBehindFailure
            }
        };
        let running = self.instances[index].pipeline.take_running();
        let again = self.judge_lost(index, running, &refusal);
        if failed_queue == FailedQueue::Fail {
            self.refuse_queue(index, &Refusal::QueuedBehindFailure);
        }
        self.put_back(index, again);
        self.begin_again(index, now);
    }

    /// Whether an instance whose stream has ended only waits for the store, so that its end is
    /// nobody's failure. A look-up finds the stream gone and starts over; so do commits.
    fn waits_for_store(&mut self, index: usize) -> bool {
        let instance = &mut self.instances[index];
        if matches!(instance.phase, Phase::Looking(_)) {
            return true;
        }
        let pipeline = &instance.pipeline;
        let is_storing = pipeline.is_committing() && !pipeline.is_running();
        if is_storing {
            instance.phase = Phase::Settling(Then::BeginAgain);
        }
        is_storing
    }

    /// Refuses the command that the function has had longest, if it has one.
    fn refuse_first(&mut self, index: usize, fault: Fault) {
        if let Some(command) = self.instances[index].pipeline.decided() {
            self.settle(index, *command, Err(Refusal::Failed(fault)));
        }
    }

    /// Commands were lost with what the function held of the instance: they are sent again by the
    /// next life, or refused.
    pub(super) fn lose(
        &mut self,
        index: usize,
        lost: VecDeque<Box<Accepted<R>>>,
        refusal: &Refusal,
    ) {
        let again = self.judge_lost(index, lost, refusal);
        self.put_back(index, again);
    }

    /// Refuses those of the lost commands that are not to be sent again; gives the others.
    fn judge_lost(
        &mut self,
        index: usize,
        lost: VecDeque<Box<Accepted<R>>>,
        refusal: &Refusal,
    ) -> VecDeque<Box<Accepted<R>>> {
        let policy = self.instances[index].component.policies.lost_commands;
        let mut again = VecDeque::new();
        for mut command in lost {
            if policy == LostCommands::SendAgain && command.lose() {
                again.push_back(command);
            } else {
                self.settle(index, *command, Err(refusal.clone()));
            }
        }
        again
    }

    /// Puts commands back where they came from, in their order.
    fn put_back(&mut self, index: usize, commands: VecDeque<Box<Accepted<R>>>) {
        for command in commands.into_iter().rev() {
            self.instances[index].queue.push_front(command);
        }
    }

    fn refuse_queue(&mut self, index: usize, refusal: &Refusal) {
        for queued in self.instances[index].queue.take_all() {
            self.refuse(queued.reply, refusal.clone());
        }
    }

    /// Refuses everything that waits for an instance and forgets it.
    pub(super) fn give_up(&mut self, index: usize, refusal: &Refusal) {
        self.refuse_queue(index, refusal);
        self.forget(index);
    }

    /// Half-closes the stream, as soon as all commits have an outcome, so that the instance begins
    /// again, or is forgotten, when the function has completed it. What the function has until then
    /// is built on what it is to drop, so it is lost at once.
    pub(super) fn restart(&mut self, index: usize, now: Now) {
        let until = now.instant + self.config.stream_grace;
        let instance = &mut self.instances[index];
        if instance.pipeline.is_running() {
            self.reset_stream(index);
            let running = self.instances[index].pipeline.take_running();
            self.lose(index, running, &Refusal::QueuedBehindFailure);
            return self.begin_again(index, now);
        }
        if instance.stream == Stream::None {
            return self.begin_again(index, now);
        }
        if instance.pipeline.is_committing() {
            instance.phase = Phase::Settling(Then::Restart);
            return;
        }
        instance.phase = Phase::Closing {
            until: self.due.moment(until),
        };
        let ticket = Ticket {
            index,
            life: instance.life,
        };
        self.out.push(Output::HalfClose(ticket));
        self.arm(index, until);
    }

    /// Resets the stream, if it is open.
    pub(super) fn reset_stream(&mut self, index: usize) {
        let instance = &mut self.instances[index];
        if instance.stream == Stream::Open {
            instance.stream = Stream::None;
            let ticket = Ticket {
                index,
                life: instance.life,
            };
            self.out.push(Output::Reset(ticket));
            self.out.push(Output::ReleaseStream);
        }
    }

    fn report(&mut self, index: usize, text: &str) {
        let key = self.instances[index].key();
        self.out.push(Output::Report {
            key,
            text: text.to_owned(),
        });
    }

    /// Reports what is of no interest when nobody was waiting.
    fn report_busy(&mut self, index: usize, text: &str) {
        let instance = &self.instances[index];
        let is_busy = match instance.phase {
            Phase::Serving => !instance.pipeline.is_empty(),
            Phase::Closing { .. } => false,
            _ => true,
        };
        if is_busy {
            self.report(index, text);
        }
    }
}
