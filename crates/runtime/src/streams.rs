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
    /// Whether lanes may still be making room.
    asked: bool,
}

impl Streams {
    /// At most `cap` streams at once.
    pub(crate) fn new(cap: usize) -> Self {
        Self {
            state: Mutex::new(State {
                cap,
                open: 0,
                waiting: VecDeque::new(),
                asked: false,
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
        state.asked = true;
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
            // A lane that has ended wants no stream any more.
            let granted = lanes[lane].send(Message::Input(Input::Granted(ticket)));
            self.open += usize::from(granted.is_ok());
        }
        if self.asked && self.waiting.is_empty() {
            self.asked = false;
            for lane in lanes {
                let _ = lane.send(Message::Input(Input::RoomEnough));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc::unbounded_channel;

    use super::*;

    #[test]
    fn place_of_a_lane_that_has_ended_goes_to_the_next_in_line() {
        let (gone, _) = unbounded_channel();
        let (alive, mut inbox) = unbounded_channel();
        let lanes = [gone, alive];
        let streams = Streams::new(1);
        assert!(streams.acquire(1, Ticket::of(1)));
        assert!(!streams.acquire(0, Ticket::of(2)));
        assert!(!streams.acquire(1, Ticket::of(3)));
        streams.release(&lanes);
        let granted = inbox.try_recv().expect("a grant");
        let third = Ticket::of(3);
        assert!(
            matches!(granted, Message::Input(Input::Granted(ticket)) if ticket == third),
            "{granted:?}"
        );
        let enough = inbox.try_recv().expect("word that nobody waits");
        assert!(
            matches!(enough, Message::Input(Input::RoomEnough)),
            "{enough:?}"
        );
    }
}
