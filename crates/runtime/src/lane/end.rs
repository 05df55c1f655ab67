//! What comes on a stream, and how an instance ends: well, badly, or to begin again.

use firn_model::policy::{FailedQueue, StreamFailure};

use super::instance::{Phase, Stream};
use super::{Lane, Now, Output, Ticket};
use crate::link::{End, StreamEvent};
use crate::refusal::{Fault, Refusal};

impl<R> Lane<R> {
    /// Something came on an instance's stream.
    pub(super) fn streamed(&mut self, ticket: Ticket, event: StreamEvent, now: Now) {
        let index = ticket.index;
        let Some(instance) = self.alive(ticket) else {
            return;
        };
        if instance.stream == Stream::None {
            return;
        }
        instance.active_at = now.instant;
        match (std::mem::replace(&mut instance.phase, Phase::Ready), event) {
            (phase, StreamEvent::Ended(end)) => {
                instance.phase = phase;
                self.ended(index, end, now);
            }
            (Phase::Running(running), StreamEvent::Decided(decision)) => {
                self.decided(index, *running, decision, now);
            }
            (Phase::Running(running), StreamEvent::CommandFailed(failure)) => {
                let policy = instance.component.policies.stream_failure;
                if policy == StreamFailure::EndsInstance {
                    instance.phase = Phase::Running(running);
                    return self.failed(index, Fault::Failure(failure), now);
                }
                self.report(index, &failure.text);
                self.refuse(running.reply, Refusal::Failed(Fault::Command(failure)));
                // Some SDKs end the stream after such a failure and some do not. Beginning again
                // keeps the next command from being sent into an end that is already under way.
                self.restart(index, now);
            }
            (Phase::Snapshotting { .. }, StreamEvent::Snapshot(payload)) => {
                self.snapshotted(index, payload, now);
            }
            (phase, StreamEvent::Decided(_) | StreamEvent::CommandFailed(_)) => {
                instance.phase = phase;
                self.failed(index, Fault::Reply, now);
            }
            (phase, StreamEvent::Snapshot(_)) => instance.phase = phase,
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
            End::Unreachable { cause } => self.unreachable(index, &cause, now),
            End::Terminated { cause } => {
                self.report_busy(index, &format!("the function ended the stream: {cause}"));
                self.failed(index, Fault::Termination, now);
            }
            End::Failed(failure) => {
                self.report(index, &failure.text);
                self.failed(index, Fault::Failure(failure), now);
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

    /// The function could not be reached. Nothing was sent, so nobody needs to wait.
    fn unreachable(&mut self, index: usize, cause: &str, now: Now) {
        self.report_busy(index, &format!("the function cannot be reached: {cause}"));
        let instance = &mut self.instances[index];
        match std::mem::replace(&mut instance.phase, Phase::Ready) {
            Phase::Running(running) => self.refuse(running.reply, Refusal::FunctionUnavailable),
            phase @ (Phase::Committing(_) | Phase::Looking(_)) => {
                instance.phase = phase;
                return;
            }
            _ => {}
        }
        let waiting: Vec<_> = self.instances[index].queue.drain(..).collect();
        for queued in waiting {
            self.refuse(queued.reply, Refusal::FunctionUnavailable);
        }
        self.start_or_forget(index, now);
    }

    /// An instance failed: the open command is refused, the queue goes by policy, and what the
    /// function holds of it is dropped.
    pub(super) fn failed(&mut self, index: usize, fault: Fault, now: Now) {
        self.reset_stream(index);
        let instance = &mut self.instances[index];
        match std::mem::replace(&mut instance.phase, Phase::Ready) {
            Phase::Running(running) => self.refuse(running.reply, Refusal::Failed(fault)),
            // The commit and the look-up go on; they find the stream gone and start over.
            phase @ (Phase::Committing(_) | Phase::Looking(_)) => {
                instance.phase = phase;
                return;
            }
            _ => {}
        }
        let instance = &mut self.instances[index];
        if instance.component.policies.failed_queue == FailedQueue::Fail {
            let waiting: Vec<_> = instance.queue.drain(..).collect();
            for queued in waiting {
                self.refuse(queued.reply, Refusal::QueuedBehindFailure);
            }
        }
        self.start_or_forget(index, now);
    }

    /// Refuses everything that waits for an instance and forgets it.
    pub(super) fn give_up(&mut self, index: usize, refusal: &Refusal) {
        let waiting: Vec<_> = self.instances[index].queue.drain(..).collect();
        for queued in waiting {
            self.refuse(queued.reply, refusal.clone());
        }
        self.forget(index);
    }

    /// Half-closes the stream so that the instance begins again, or is forgotten, when the
    /// function has completed it.
    pub(super) fn restart(&mut self, index: usize, now: Now) {
        let until = now.instant + self.config.stream_grace;
        let instance = &mut self.instances[index];
        if instance.stream == Stream::None {
            return self.start_or_forget(index, now);
        }
        instance.phase = Phase::Closing { until };
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
        let key = self.instances[index].key.clone();
        self.out.push(Output::Report {
            key,
            text: text.to_owned(),
        });
    }

    /// Reports what is of no interest when nobody was waiting.
    fn report_busy(&mut self, index: usize, text: &str) {
        let instance = &self.instances[index];
        if !matches!(instance.phase, Phase::Ready | Phase::Closing { .. }) {
            self.report(index, text);
        }
    }
}
