//! The calls of a session, through Firn (section 7 of the protocol).

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::calls::{Question, Ticket};
use crate::outbox::{About, Outbox};
use crate::wire::{self, call_result, function_frame::Frame};
use crate::{Failure, Metadata};

type Answer = oneshot::Sender<Result<(Bytes, Metadata), Failure>>;

pub(super) struct Calls {
    /// How many more may be opened (R73).
    credit: u64,
    /// Those that wait for credit; each belongs to a future that somebody awaits.
    waiting: VecDeque<Question>,
    open: HashMap<u64, (Ticket, Answer)>,
    numbers: HashMap<Ticket, u64>,
    last: u64,
}

impl Calls {
    pub(super) fn new(credit: u64) -> Self {
        Self {
            credit,
            waiting: VecDeque::new(),
            open: HashMap::new(),
            numbers: HashMap::new(),
            last: 0,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty() && self.waiting.is_empty()
    }

    pub(super) fn ask(&mut self, question: Question, outbox: &mut Outbox) {
        self.waiting.push_back(question);
        self.open_more(outbox);
    }

    pub(super) fn grant(&mut self, amount: u64, outbox: &mut Outbox) {
        self.credit = self.credit.saturating_add(amount);
        self.open_more(outbox);
    }

    pub(super) fn answered(&mut self, result: wire::CallResult, outbox: &mut Outbox) {
        let Some((ticket, answer)) = self.open.remove(&result.id) else {
            return;
        };
        self.numbers.remove(&ticket);
        let metadata = Metadata::from_wire(result.metadata);
        let result = match result.result {
            Some(call_result::Result::Reply(reply)) => Ok((reply, metadata)),
            Some(call_result::Result::Failure(failure)) => Err(Failure::from_wire(failure)),
            None => Ok((Bytes::new(), metadata)),
        };
        // It may have been forgotten.
        let _ = answer.send(result);
        self.grant(1, outbox);
    }

    /// R74
    pub(super) fn forget(&mut self, ticket: Ticket, outbox: &mut Outbox) {
        if let Some(id) = self.numbers.remove(&ticket) {
            let cancel = Frame::Cancel(wire::Cancel { id });
            // A cancel is never too large.
            let _ = outbox.push(About::Call(id), id, cancel);
        }
    }

    fn open_more(&mut self, outbox: &mut Outbox) {
        while self.credit > 0
            && let Some(question) = self.waiting.pop_front()
        {
            if question.answer.is_closed() {
                continue;
            }
            self.last += 1;
            let id = self.last;
            let call = Frame::Call(wire::Call {
                id,
                command: question.command,
                target: Some(question.target),
                timeout_ms: question.timeout_ms,
            });
            if outbox.push(About::Call(id), id, call) {
                self.credit -= 1;
                self.numbers.insert(question.ticket, id);
                self.open.insert(id, (question.ticket, question.answer));
            } else {
                let failure = Failure::resource_exhausted("the request is larger than Firn takes");
                let _ = question.answer.send(Err(failure));
            }
        }
    }
}
