//! What the caller of a streamed command is told, on its way to one who may take it slowly.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use firn_model::decision::Answer;
use tokio::sync::mpsc;

use crate::lane::Settled;
use crate::refusal::Refusal;

/// Answers that may wait for a caller. Who takes them more slowly is cut off, so that nothing grows
/// without bound.
const ANSWERS_MAX: usize = 1024;

/// From so many bytes on that wait no more may: a bound in memory, since each answer may be as large as
/// a message may.
const BYTES_MAX: usize = 4 << 20;

/// What the caller of a streamed command is told.
#[derive(Debug)]
pub(crate) enum Told {
    /// An answer.
    Next(Settled),
    /// The last word. A stream that ends without one was cut off.
    End(Result<(), Refusal>),
}

/// The end at which somebody is told.
#[derive(Debug)]
pub(crate) struct Teller {
    answers: mpsc::Sender<Told>,
    waiting_bytes: Arc<AtomicUsize>,
}

/// The end of the caller.
#[derive(Debug)]
pub(crate) struct Listener {
    answers: mpsc::Receiver<Told>,
    waiting_bytes: Arc<AtomicUsize>,
}

/// A way to a caller.
pub(crate) fn way() -> (Teller, Listener) {
    let (sender, receiver) = mpsc::channel(ANSWERS_MAX);
    let waiting_bytes = Arc::new(AtomicUsize::new(0));
    let teller = Teller {
        answers: sender,
        waiting_bytes: waiting_bytes.clone(),
    };
    let listener = Listener {
        answers: receiver,
        waiting_bytes,
    };
    (teller, listener)
}

impl Teller {
    /// Tells an answer; gives it back if the caller has gone, or takes answers too slowly.
    pub(super) fn tell(&self, settled: Settled) -> Option<Settled> {
        let bytes = bytes(&settled);
        let waiting = self.waiting_bytes.load(Ordering::Relaxed);
        if waiting >= BYTES_MAX {
            return Some(settled);
        }
        let Ok(room) = self.answers.try_reserve() else {
            return Some(settled);
        };
        self.waiting_bytes.fetch_add(bytes, Ordering::Relaxed);
        room.send(Told::Next(settled));
        None
    }

    /// Says the last word.
    pub(super) fn end(self, result: Result<(), Refusal>) {
        // Gone, or so slow that there is no room for it.
        let _ = self.answers.try_send(Told::End(result));
    }
}

impl Listener {
    /// What the caller is told next; nothing more when it was cut off.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub(crate) async fn next(&mut self) -> Option<Told> {
        let told = self.answers.recv().await?;
        if let Told::Next(settled) = &told {
            self.waiting_bytes
                .fetch_sub(bytes(settled), Ordering::Relaxed);
        }
        Some(told)
    }
}

fn bytes(settled: &Settled) -> usize {
    match &settled.answer {
        Answer::Reply(reply) => reply.payload.bytes.len(),
        _ => 0,
    }
}
