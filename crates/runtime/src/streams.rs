//! The cap on open entity streams, shared by all lanes.
//!
//! SDKs hold a thread or memory for each open stream, and so does Firn. A lane asks before it opens
//! one; when none is free it waits in order, and an idle instance somewhere is asked to give way.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc::UnboundedSender;

use crate::driver::Message;
use crate::lane::{Input, Ticket};

/// The cap and who waits for it.
#[derive(Debug)]
pub(crate) struct Streams {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    cap: usize,
    open: usize,
    waiting: VecDeque<(usize, Ticket)>,
}

impl Streams {
    /// At most `cap` streams at once.
    pub(crate) fn new(cap: usize) -> Self {
        Self {
            state: Mutex::new(State {
                cap,
                open: 0,
                waiting: VecDeque::new(),
            }),
        }
    }

    /// Takes a place, or stands in line for one. Gives whether it was taken.
    pub(crate) fn acquire(&self, lane: usize, ticket: Ticket) -> bool {
        let mut state = self.state();
        if state.open < state.cap {
            state.open += 1;
            return true;
        }
        state.waiting.push_back((lane, ticket));
        false
    }

    /// Gives a place back; the first in line has it.
    pub(crate) fn release(&self, lanes: &[UnboundedSender<Message>]) {
        let mut state = self.state();
        state.open -= 1;
        state.grant(lanes);
    }

    /// Changes the cap. A lower one is reached as streams end.
    pub(crate) fn set_cap(&self, cap: usize, lanes: &[UnboundedSender<Message>]) {
        let mut state = self.state();
        state.cap = cap;
        state.grant(lanes);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing in here panics between two writes, so a poisoned state is still whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn grant(&mut self, lanes: &[UnboundedSender<Message>]) {
        while self.open < self.cap
            && let Some((lane, ticket)) = self.waiting.pop_front()
        {
            self.open += 1;
            // A lane that is gone takes its streams with it.
            let _ = lanes[lane].send(Message::Input(Input::Granted(ticket)));
        }
    }
}
