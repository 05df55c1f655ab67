//! The cap on open entity streams, shared by everything that opens them.
//!
//! SDKs hold a thread or memory for each open stream, and so does Firn. An owner of streams (a lane,
//! or a machine of replicas) asks before it opens one; when none is free it waits in order, and an
//! idle instance somewhere is asked to give way.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::lane::Ticket;
use crate::metrics::EntityMetrics;

/// What an owner of streams is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Word {
    /// A stream may be opened.
    Granted(Ticket),
    /// Nobody waits any more.
    RoomEnough,
    /// Somebody waits: an idle stream is to give way, else so many owners are asked after this one.
    MakeRoom { others: usize },
}

/// How an owner is told; gives whether it is still there. Never blocks.
pub(crate) type Owner = Box<dyn Fn(Word) -> bool + Send + Sync>;

/// The cap and who waits for it.
pub(crate) struct Streams {
    owners: Vec<Owner>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    cap: usize,
    open: usize,
    waiting: VecDeque<(usize, Ticket)>,
    /// Whether owners may still be making room.
    asked: bool,
}

impl Streams {
    /// At most `cap` streams at once, for these owners.
    pub(crate) fn new(cap: usize, owners: Vec<Owner>) -> Self {
        Self {
            owners,
            state: Mutex::new(State {
                cap,
                open: 0,
                waiting: VecDeque::new(),
                asked: false,
            }),
        }
    }

    /// Takes a place, or stands in line for one and has idle ones asked. Gives whether it was taken.
    pub(crate) fn acquire(&self, owner: usize, ticket: Ticket) -> bool {
        let mut state = self.state();
        if state.open < state.cap {
            state.open += 1;
            return true;
        }
        state.waiting.push_back((owner, ticket));
        state.asked = true;
        drop(state);
        let others = self.owners.len() - 1;
        (self.owners[owner])(Word::MakeRoom { others });
        false
    }

    /// Asks the owner after this one to make room, and as many others after it.
    pub(crate) fn ask_next(&self, owner: usize, others: usize) {
        let next = (owner + 1) % self.owners.len();
        (self.owners[next])(Word::MakeRoom { others });
    }

    /// Gives a place back; the first in line has it.
    pub(crate) fn release(&self) {
        let mut state = self.state();
        state.open -= 1;
        state.grant(&self.owners);
    }

    /// Changes the cap. A lower one is reached as streams end.
    pub(crate) fn set_cap(&self, cap: usize) {
        let mut state = self.state();
        state.cap = cap;
        state.grant(&self.owners);
    }

    /// How many are open, may be open and are waited for.
    pub(crate) fn count(&self) -> EntityMetrics {
        let state = self.state();
        EntityMetrics {
            open: state.open,
            max: state.cap,
            waiting: state.waiting.len(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing in here panics between two writes, so a poisoned state is still whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn grant(&mut self, owners: &[Owner]) {
        while self.open < self.cap
            && let Some((owner, ticket)) = self.waiting.pop_front()
        {
            // An owner that has ended wants no stream any more.
            let granted = owners[owner](Word::Granted(ticket));
            self.open += usize::from(granted);
        }
        if self.asked && self.waiting.is_empty() {
            self.asked = false;
            for owner in owners {
                owner(Word::RoomEnough);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn place_of_an_owner_that_has_ended_goes_to_the_next_in_line() {
        let heard: Arc<Mutex<Vec<Word>>> = Arc::default();
        let hears = heard.clone();
        let alive = move |word| {
            hears.lock().expect("no panic").push(word);
            true
        };
        let streams = Streams::new(1, vec![Box::new(|_| false), Box::new(alive)]);
        assert!(streams.acquire(1, Ticket::of(1)));
        assert!(!streams.acquire(0, Ticket::of(2)));
        assert!(!streams.acquire(1, Ticket::of(3)));
        streams.release();
        let expected = [
            Word::MakeRoom { others: 1 },
            Word::Granted(Ticket::of(3)),
            Word::RoomEnough,
        ];
        assert_eq!(*heard.lock().expect("no panic"), expected);
    }
}
