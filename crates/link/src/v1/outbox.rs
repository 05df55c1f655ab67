//! What is to be sent on a connection: frames in order, and large ones in pieces between them.
//!
//! # How it works
//! A frame that is small waits in `ready`. One that is too large for one piece becomes a transfer;
//! frames about the same subject wait behind it, so that none overtakes it (R81). A batch takes the
//! ready frames first and then one piece of each transfer in turn, up to [`TRANSFERS_AT_ONCE`].

use std::collections::VecDeque;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use firn_wire::v1::chunk::Transfer;
use firn_wire::v1::message::{Chunk, FirnBatch, FirnFrame, firn_frame::Frame};
use prost::Message as _;

/// How many transfers take turns; others wait for their turn to begin (R81).
const TRANSFERS_AT_ONCE: usize = 4;

/// How large a batch may become, in bytes (R8).
const BATCH_BYTES_MAX: usize = 1 << 20;

/// How many notices may wait to be sent: what a person can still read. A function that gets more has
/// one fault many times, or does not read; it is not told of the others.
pub(crate) const NOTICES_MAX: usize = 1024;

/// What a frame is about: frames about one subject stay in order, those about nothing too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Subject {
    /// An entity in one of its incarnations.
    Incarnation(u64),
    /// A command of an action.
    Command(u64),
    /// A call of the function.
    Call(u64),
    /// The connection.
    Connection,
}

/// Frames that are to be sent.
#[derive(Debug)]
pub(crate) struct Outbox {
    chunk_bytes: usize,
    ready: VecDeque<FirnFrame>,
    transfers: VecDeque<InPieces>,
    next_transfer: u64,
    waiting: Waiting,
    waker: Option<Waker>,
    ended: bool,
}

/// How many frames wait that a function can cause as often as it likes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Waiting {
    pub(crate) notices: usize,
    /// Answers to its calls.
    pub(crate) results: usize,
    /// Leave to send more of a streamed call.
    pub(crate) credits: usize,
}

/// A kind of frame that is counted while it waits.
#[derive(Debug, Clone, Copy)]
enum Counted {
    Notice,
    Result,
    Credit,
}

impl Counted {
    fn of(frame: &FirnFrame) -> Option<Self> {
        match &frame.frame {
            Some(Frame::Notice(_)) => Some(Self::Notice),
            Some(Frame::CallResult(_)) => Some(Self::Result),
            Some(Frame::Credit(_)) => Some(Self::Credit),
            _ => None,
        }
    }
}

impl Waiting {
    fn add(&mut self, kind: Option<Counted>) {
        if let Some(count) = kind.map(|kind| self.count(kind)) {
            *count += 1;
        }
    }

    fn remove(&mut self, kind: Option<Counted>) {
        if let Some(count) = kind.map(|kind| self.count(kind)) {
            *count -= 1;
        }
    }

    fn count(&mut self, kind: Counted) -> &mut usize {
        match kind {
            Counted::Notice => &mut self.notices,
            Counted::Result => &mut self.results,
            Counted::Credit => &mut self.credits,
        }
    }
}

/// A frame that goes in pieces, with those that must not overtake it.
#[derive(Debug)]
struct InPieces {
    subject: Subject,
    kind: Option<Counted>,
    transfer: Transfer,
    behind: VecDeque<FirnFrame>,
}

impl Outbox {
    pub(crate) fn new(chunk_bytes: usize) -> Self {
        Self {
            chunk_bytes,
            ready: VecDeque::new(),
            transfers: VecDeque::new(),
            next_transfer: 1,
            waiting: Waiting::default(),
            waker: None,
            ended: false,
        }
    }

    /// Sends a frame as soon as it can go; no notice beyond [`NOTICES_MAX`].
    pub(crate) fn push(&mut self, subject: Subject, frame: Frame) {
        if matches!(frame, Frame::Notice(_)) && self.waiting.notices == NOTICES_MAX {
            return;
        }
        let frame = FirnFrame { frame: Some(frame) };
        self.waiting.add(Counted::of(&frame));
        self.place(subject, frame);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    fn place(&mut self, subject: Subject, frame: FirnFrame) {
        let mut transfers = self.transfers.iter_mut();
        if let Some(before) = transfers.find(|it| it.subject == subject) {
            return before.behind.push_back(frame);
        }
        if frame.encoded_len() <= self.chunk_bytes {
            return self.ready.push_back(frame);
        }
        let encoded = Bytes::from(frame.encode_to_vec());
        let number = self.next_transfer;
        self.next_transfer += 1;
        self.transfers.push_back(InPieces {
            subject,
            kind: Counted::of(&frame),
            transfer: Transfer::new(number, 0, encoded, self.chunk_bytes),
            behind: VecDeque::new(),
        });
    }

    /// What waits to be sent, as far as it is counted.
    pub(crate) fn waiting(&self) -> Waiting {
        self.waiting
    }

    /// Sends what is there and nothing after it.
    pub(crate) fn end(&mut self) {
        self.ended = true;
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// The next batch; `None` once everything was sent and nothing follows.
    pub(crate) fn poll_batch(&mut self, cx: &mut Context<'_>) -> Poll<Option<FirnBatch>> {
        let frames = self.take();
        if !frames.is_empty() {
            return Poll::Ready(Some(FirnBatch { frames }));
        }
        if self.ended {
            return Poll::Ready(None);
        }
        self.waker = Some(cx.waker().clone());
        Poll::Pending
    }

    /// What goes next, up to the size of a batch.
    fn take(&mut self) -> Vec<FirnFrame> {
        let mut frames = Vec::with_capacity(self.ready.len().min(64));
        let mut bytes = 0;
        while let Some(frame) = self.ready.pop_front() {
            bytes += frame.encoded_len();
            if bytes > BATCH_BYTES_MAX && !frames.is_empty() {
                self.ready.push_front(frame);
                return frames;
            }
            self.waiting.remove(Counted::of(&frame));
            frames.push(frame);
        }
        // The first few take a turn each; then the others may.
        for _ in 0..self.transfers.len().min(TRANSFERS_AT_ONCE) {
            if bytes + self.chunk_bytes > BATCH_BYTES_MAX {
                break;
            }
            let Some(chunk) = self.next_chunk() else {
                break;
            };
            bytes += chunk.data.len();
            frames.push(FirnFrame {
                frame: Some(Frame::Chunk(chunk)),
            });
        }
        frames
    }

    /// A piece of the transfer whose turn it is. One that is complete lets those behind it go; the
    /// others go to the end of those that take turns.
    fn next_chunk(&mut self) -> Option<Chunk> {
        let mut first = self.transfers.pop_front()?;
        let chunk = first.transfer.next_chunk();
        if chunk.last {
            self.waiting.remove(first.kind);
            let subject = first.subject;
            for frame in first.behind {
                self.place(subject, frame);
            }
        } else {
            let turns = self.transfers.len().min(TRANSFERS_AT_ONCE - 1);
            self.transfers.insert(turns, first);
        }
        Some(chunk)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use firn_wire::v1::chunk::{Assembler, Taken};
    use firn_wire::v1::message::{Close, Command};

    use super::*;

    fn close(incarnation: u64) -> Frame {
        Frame::Close(Close { incarnation })
    }

    fn command(incarnation: u64, bytes: usize) -> Frame {
        Frame::Command(Command {
            incarnation,
            message: vec![0; bytes].into(),
            ..Command::default()
        })
    }

    /// Everything that is sent, put together; with how many pieces came before each frame.
    fn drain(outbox: &mut Outbox) -> Vec<(Frame, usize)> {
        let (mut assembler, mut frames, mut pieces) = (Assembler::new(1 << 24), Vec::new(), 0);
        loop {
            let batch = outbox.take();
            if batch.is_empty() {
                return frames;
            }
            for frame in batch {
                match frame.frame.unwrap() {
                    Frame::Chunk(chunk) => {
                        pieces += 1;
                        if let Taken::Frame(bytes) = assembler.take(chunk).unwrap() {
                            let frame = FirnFrame::decode(bytes).unwrap();
                            frames.push((frame.frame.unwrap(), pieces));
                        }
                    }
                    frame => frames.push((frame, pieces)),
                }
            }
        }
    }

    #[test]
    fn small_frames_pass_a_large_one_of_another_entity() {
        let mut outbox = Outbox::new(100);
        let large = Subject::Incarnation(1);
        outbox.push(large, command(1, 1000));
        outbox.push(Subject::Incarnation(2), close(2));
        outbox.push(large, close(1));
        let order: Vec<Frame> = drain(&mut outbox).into_iter().map(|it| it.0).collect();
        assert_eq!(order, [close(2), command(1, 1000), close(1)]);
    }

    #[test]
    fn large_frames_take_turns() {
        let mut outbox = Outbox::new(100);
        for incarnation in 1..=6 {
            outbox.push(
                Subject::Incarnation(incarnation),
                command(incarnation, 1000),
            );
        }
        let ends: HashMap<u64, usize> = drain(&mut outbox)
            .into_iter()
            .map(|(frame, pieces)| match frame {
                Frame::Command(command) => (command.incarnation, pieces),
                other => panic!("{other:?}"),
            })
            .collect();
        // Eleven pieces each: four take turns and end together, then the last two.
        assert!((41..=44).contains(&ends[&1]), "{ends:?}");
        assert!((41..=44).contains(&ends[&4]), "{ends:?}");
        assert!(ends[&5] > 60 && ends[&6] > 60, "{ends:?}");
    }

    #[test]
    fn batch_is_bounded() {
        let mut outbox = Outbox::new(65_536);
        for _ in 0..40 {
            outbox.push(Subject::Connection, command(1, 60_000));
        }
        let first = FirnBatch {
            frames: outbox.take(),
        };
        assert!(first.encoded_len() <= BATCH_BYTES_MAX + 1024);
        assert!(!outbox.take().is_empty());
    }
}
