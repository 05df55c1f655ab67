//! Chunks: frames that are too large for one piece, cut and put together again (R81, R82).
//!
//! Pure. Sizes are checked before anything is kept, and no bytes make it panic.

use std::collections::HashMap;

use bytes::{Buf, Bytes, BytesMut};

use super::message::Chunk;

/// A frame on its way in pieces.
#[derive(Debug)]
pub struct Transfer {
    number: u64,
    subject: u64,
    rest: Bytes,
    size: usize,
}

impl Transfer {
    /// Cuts an encoded frame into pieces of at most `size` bytes. `number` is new on the
    /// connection; `subject` is what the frame is about.
    pub fn new(number: u64, subject: u64, frame: Bytes, size: usize) -> Self {
        Self {
            number,
            subject,
            rest: frame,
            size: size.max(1),
        }
    }

    /// The next piece; after the one that says so there is none.
    pub fn next_chunk(&mut self) -> Chunk {
        let data = self.rest.split_to(self.size.min(self.rest.len()));
        Chunk {
            transfer: self.number,
            data,
            last: !self.rest.has_remaining(),
            subject: self.subject,
        }
    }
}

/// What a piece completes.
#[derive(Debug, PartialEq, Eq)]
pub enum Taken {
    /// Nothing yet.
    Part,
    /// This encoded frame.
    Frame(Bytes),
    /// Nothing, ever: the frame is above the limit and was thrown away. What else comes of it is
    /// passed over.
    TooLarge {
        /// What the frame is about.
        subject: u64,
        /// Its first byte, which tells its kind; 0 if it has none yet.
        first: u8,
    },
}

/// Why a piece cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChunkError {
    /// More transfers are under way than anybody may have.
    #[error("more than {TRANSFERS_MAX} transfers are under way")]
    TooMany,
}

/// How many transfers may be under way in one direction. The specification asks for four at most;
/// some room is left, and what is kept of them is bounded by the frame limit of each.
pub const TRANSFERS_MAX: usize = 16;

/// Puts frames together.
#[derive(Debug)]
pub struct Assembler {
    frame_bytes_max: usize,
    /// `None` for a transfer that was thrown away.
    under_way: HashMap<u64, Option<BytesMut>>,
}

impl Assembler {
    /// Takes frames up to this size.
    pub fn new(frame_bytes_max: usize) -> Self {
        Self {
            frame_bytes_max,
            under_way: HashMap::new(),
        }
    }

    /// Takes a piece.
    ///
    /// # Errors
    /// [`ChunkError::TooMany`] if it begins one transfer too many.
    pub fn take(&mut self, chunk: Chunk) -> Result<Taken, ChunkError> {
        let Chunk {
            transfer,
            data,
            last,
            subject,
        } = chunk;
        if !self.under_way.contains_key(&transfer) && self.under_way.len() >= TRANSFERS_MAX {
            return Err(ChunkError::TooMany);
        }
        let buffer = self
            .under_way
            .entry(transfer)
            .or_insert_with(|| Some(BytesMut::new()));
        let taken = match buffer {
            Some(parts) if parts.len() + data.len() > self.frame_bytes_max => {
                let first = parts.first().or(data.first()).copied().unwrap_or(0);
                *buffer = None;
                Taken::TooLarge { subject, first }
            }
            Some(parts) => {
                parts.extend_from_slice(&data);
                match last {
                    true => Taken::Frame(std::mem::take(parts).freeze()),
                    false => Taken::Part,
                }
            }
            None => Taken::Part,
        };
        if last {
            self.under_way.remove(&transfer);
        }
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pieces(number: u64, frame: &[u8], size: usize) -> Vec<Chunk> {
        let mut transfer = Transfer::new(number, 7, Bytes::copy_from_slice(frame), size);
        let mut chunks = Vec::new();
        loop {
            chunks.push(transfer.next_chunk());
            if chunks.last().is_some_and(|chunk| chunk.last) {
                return chunks;
            }
        }
    }

    proptest! {
        #[test]
        fn interleaved_transfers_come_out_whole(
            left in proptest::collection::vec(any::<u8>(), 0..200),
            right in proptest::collection::vec(any::<u8>(), 0..200),
            size in 1..60_usize,
            turns in proptest::collection::vec(any::<bool>(), 0..400),
        ) {
            let mut waiting = [pieces(1, &left, size), pieces(2, &right, size)];
            for chunks in &mut waiting {
                prop_assert!(chunks.iter().all(|chunk| chunk.data.len() <= size));
                chunks.reverse();
            }
            let mut assembler = Assembler::new(200);
            let mut whole = [None, None];
            let mut turns = turns.into_iter();
            while waiting.iter().any(|chunks| !chunks.is_empty()) {
                let index = usize::from(turns.next().unwrap_or(waiting[0].is_empty()));
                let Some(chunk) = waiting[index].pop() else { continue };
                if let Taken::Frame(frame) = assembler.take(chunk).unwrap() {
                    whole[index] = Some(frame);
                }
            }
            prop_assert_eq!(whole[0].as_deref(), Some(left.as_slice()));
            prop_assert_eq!(whole[1].as_deref(), Some(right.as_slice()));
            prop_assert!(assembler.under_way.is_empty());
        }
    }

    #[test]
    fn frame_above_the_limit_is_thrown_away_and_the_next_is_taken() {
        let mut assembler = Assembler::new(10);
        let results: Vec<Taken> = pieces(1, &[9; 15], 4)
            .into_iter()
            .map(|chunk| assembler.take(chunk).unwrap())
            .collect();
        let expected = [
            Taken::Part,
            Taken::Part,
            Taken::TooLarge {
                subject: 7,
                first: 9,
            },
            Taken::Part,
        ];
        assert_eq!(results, expected);
        let next = pieces(2, &[1; 10], 10).remove(0);
        assert_eq!(
            assembler.take(next),
            Ok(Taken::Frame(Bytes::from_static(&[1; 10])))
        );
    }

    #[test]
    fn transfers_are_bounded() {
        let mut assembler = Assembler::new(10);
        for number in 0..TRANSFERS_MAX as u64 {
            let first = pieces(number, &[0; 2], 1).remove(0);
            assert_eq!(assembler.take(first), Ok(Taken::Part));
        }
        let one_more = pieces(99, &[0; 2], 1).remove(0);
        assert_eq!(assembler.take(one_more), Err(ChunkError::TooMany));
    }
}
