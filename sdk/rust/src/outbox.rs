//! What is there to be sent: small frames in order, large ones in chunks (R81).
//!
//! Small frames go first. At most [`TRANSFERS`] large ones are under way and take turns, a chunk each.
//! While a large frame is under way, later frames about the same subject wait behind it.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;
use prost::Message;

use crate::wire::function_frame::Frame;
use crate::wire::{Chunk, FunctionBatch, FunctionFrame};

/// How many large frames are under way at once (R81).
const TRANSFERS: usize = 4;

/// How large a batch may become (R8), with room for the tag and length of one more frame.
const BATCH_BYTES: usize = 1024 * 1024 - 16;

/// What a frame is about: frames about the same thing keep their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum About {
    Nothing,
    Incarnation(u64),
    Command(u64),
    Call(u64),
}

/// A large frame on its way.
struct Transfer {
    number: u64,
    about: About,
    /// For the receiver, should it refuse the frame.
    subject: u64,
    left: Bytes,
}

/// Frames that wait to be sent.
pub(crate) struct Outbox {
    small: VecDeque<(FunctionFrame, usize)>,
    transfers: VecDeque<Transfer>,
    /// Large frames that wait for their turn.
    large: VecDeque<Transfer>,
    /// Frames that wait behind a large one about the same thing.
    behind: HashMap<About, VecDeque<(FunctionFrame, usize, u64)>>,
    chunk_bytes: usize,
    frame_bytes: usize,
    last_transfer: u64,
}

impl Outbox {
    /// One whose peer takes chunks and frames of so many bytes.
    pub(crate) fn new(chunk_bytes: usize, frame_bytes: usize) -> Self {
        Self {
            small: VecDeque::new(),
            transfers: VecDeque::new(),
            large: VecDeque::new(),
            behind: HashMap::new(),
            chunk_bytes: chunk_bytes.max(1),
            frame_bytes,
            last_transfer: 0,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.small.is_empty() && self.transfers.is_empty() && self.large.is_empty()
    }

    /// Adds a frame, or tells that it is too large for the peer (R82). `subject` is the command or
    /// call that fails if the receiver refuses it.
    #[must_use = "a frame may be too large"]
    pub(crate) fn push(&mut self, about: About, subject: u64, frame: Frame) -> bool {
        let frame = FunctionFrame { frame: Some(frame) };
        let length = frame.encoded_len();
        if length > self.frame_bytes {
            return false;
        }
        self.place(about, subject, frame, length);
        true
    }

    fn place(&mut self, about: About, subject: u64, frame: FunctionFrame, length: usize) {
        if !self.behind.is_empty()
            && let Some(behind) = self.behind.get_mut(&about)
        {
            behind.push_back((frame, length, subject));
            return;
        }
        if length <= self.chunk_bytes {
            self.small.push_back((frame, length));
            return;
        }
        self.last_transfer += 1;
        if about != About::Nothing {
            self.behind.insert(about, VecDeque::new());
        }
        self.large.push_back(Transfer {
            number: self.last_transfer,
            about,
            subject,
            left: frame.encode_to_vec().into(),
        });
    }

    /// Takes what fits into one batch. Not empty unless the outbox is.
    pub(crate) fn batch(&mut self) -> FunctionBatch {
        let mut frames = Vec::with_capacity(self.small.len().min(1024));
        let mut room = BATCH_BYTES;
        loop {
            while let Some((_, length)) = self.small.front() {
                // A tag and a length go with each frame.
                let cost = length + 6;
                if cost > room && !frames.is_empty() {
                    return FunctionBatch { frames };
                }
                room = room.saturating_sub(cost);
                frames.extend(self.small.pop_front().map(|(frame, _)| frame));
            }
            while self.transfers.len() < TRANSFERS
                && let Some(transfer) = self.large.pop_front()
            {
                self.transfers.push_back(transfer);
            }
            let Some(transfer) = self.transfers.front() else {
                break;
            };
            let cost = transfer.left.len().min(self.chunk_bytes) + 48;
            if cost > room && !frames.is_empty() {
                break;
            }
            room = room.saturating_sub(cost);
            frames.extend(self.chunk());
        }
        FunctionBatch { frames }
    }

    /// The next chunk of the transfer whose turn it is.
    fn chunk(&mut self) -> Option<FunctionFrame> {
        let mut transfer = self.transfers.pop_front()?;
        let data = transfer
            .left
            .split_to(transfer.left.len().min(self.chunk_bytes));
        let chunk = Chunk {
            transfer: transfer.number,
            data,
            last: transfer.left.is_empty(),
            subject: transfer.subject,
        };
        if chunk.last {
            self.release(transfer.about);
        } else {
            self.transfers.push_back(transfer);
        }
        Some(FunctionFrame {
            frame: Some(Frame::Chunk(chunk)),
        })
    }

    /// Lets go what waited behind a large frame.
    fn release(&mut self, about: About) {
        for (frame, length, subject) in self.behind.remove(&about).into_iter().flatten() {
            self.place(about, subject, frame, length);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wire::Reply;

    fn reply(command: u64, number: u64, size: usize) -> Frame {
        let mut message = number.to_be_bytes().to_vec();
        message.resize(size.max(8), 7);
        Frame::Reply(Reply {
            command,
            message: message.into(),
            ..Reply::default()
        })
    }

    /// What a receiver makes of batches: commands with the numbers of their replies, in order.
    fn received(outbox: &mut Outbox, chunk_bytes: usize) -> Vec<(u64, u64)> {
        let mut parts: HashMap<u64, Vec<u8>> = HashMap::new();
        let mut received = Vec::new();
        while !outbox.is_empty() {
            let batch = outbox.batch();
            assert!(!batch.frames.is_empty());
            assert!(batch.encoded_len() <= 1024 * 1024 || batch.frames.len() == 1);
            for frame in batch.frames {
                let frame = match frame.frame.unwrap() {
                    Frame::Chunk(chunk) => {
                        assert!(chunk.data.len() <= chunk_bytes);
                        let part = parts.entry(chunk.transfer).or_default();
                        part.extend_from_slice(&chunk.data);
                        assert!(parts.len() <= TRANSFERS);
                        if !chunk.last {
                            continue;
                        }
                        let whole = parts.remove(&chunk.transfer).unwrap();
                        FunctionFrame::decode(&*whole).unwrap().frame.unwrap()
                    }
                    frame => frame,
                };
                let Frame::Reply(reply) = frame else {
                    panic!("{frame:?}");
                };
                let number = reply.message[..8].try_into().unwrap();
                received.push((reply.command, u64::from_be_bytes(number)));
            }
        }
        assert!(parts.is_empty());
        received
    }

    proptest! {
        #[test]
        fn frames_about_one_thing_keep_their_order(
            frames in proptest::collection::vec((0..4_u64, 0..900_usize), 0..80),
            chunk_bytes in 50..400_usize,
        ) {
            let mut outbox = Outbox::new(chunk_bytes, 10_000);
            for (number, (command, size)) in (0..).zip(&frames) {
                assert!(outbox.push(About::Command(*command), *command, reply(*command, number, *size)));
            }
            let received = received(&mut outbox, chunk_bytes);
            prop_assert_eq!(received.len(), frames.len());
            for command in 0..4 {
                let of = |all: &[(u64, u64)]| -> Vec<u64> {
                    all.iter().filter(|it| it.0 == command).map(|it| it.1).collect()
                };
                let sent: Vec<u64> = of(&received);
                prop_assert!(sent.is_sorted());
            }
        }
    }

    #[test]
    fn small_frames_overtake_large_ones_about_other_things() {
        let mut outbox = Outbox::new(100, 10_000);
        assert!(outbox.push(About::Command(1), 1, reply(1, 0, 1000)));
        assert!(outbox.push(About::Command(1), 1, reply(1, 1, 8)));
        assert!(outbox.push(About::Command(2), 2, reply(2, 2, 8)));
        assert_eq!(received(&mut outbox, 100), [(2, 2), (1, 0), (1, 1)]);
    }

    #[test]
    fn batches_are_bounded() {
        let mut outbox = Outbox::new(300_000, 1_000_000);
        for number in 0..20 {
            assert!(outbox.push(About::Nothing, 0, reply(number, number, 200_000)));
        }
        for number in 20..30 {
            assert!(outbox.push(About::Nothing, 0, reply(number, number, 700_000)));
        }
        assert_eq!(received(&mut outbox, 300_000).len(), 30);
    }
}
