//! Puts frames together that come in chunks.

use std::collections::HashMap;

use bytes::{Bytes, BytesMut};
use prost::Message;

use crate::wire::{Chunk, FirnFrame};

/// How many transfers may be under way; a sender should have 4 (R81), so this is far from it.
const TRANSFERS: usize = 256;

/// How many refused transfers are remembered, to ignore the rest of their chunks.
const REFUSED: usize = 256;

/// The parts that have come.
pub(crate) struct Assembly {
    parts: HashMap<u64, BytesMut>,
    refused: Vec<u64>,
    frame_bytes: usize,
}

/// What comes of a chunk.
#[derive(Debug, PartialEq)]
pub(crate) enum Assembled {
    /// More chunks follow.
    Part,
    /// The frame is whole.
    Whole(Box<FirnFrame>),
    /// It is too large and was thrown away (R82).
    TooLarge,
    /// It is no frame (R83).
    Broken,
}

impl Assembly {
    /// For frames of so many bytes at most.
    pub(crate) fn new(frame_bytes: usize) -> Self {
        Self {
            parts: HashMap::new(),
            refused: Vec::new(),
            frame_bytes,
        }
    }

    pub(crate) fn add(&mut self, chunk: Chunk) -> Assembled {
        if let Some(at) = self.refused.iter().position(|it| *it == chunk.transfer) {
            if chunk.last {
                self.refused.swap_remove(at);
            }
            return Assembled::Part;
        }
        if !self.parts.contains_key(&chunk.transfer) && self.parts.len() == TRANSFERS {
            return Assembled::Broken;
        }
        let part = self.parts.entry(chunk.transfer).or_default();
        if part.len() + chunk.data.len() > self.frame_bytes {
            self.parts.remove(&chunk.transfer);
            if !chunk.last {
                if self.refused.len() == REFUSED {
                    return Assembled::Broken;
                }
                self.refused.push(chunk.transfer);
            }
            return Assembled::TooLarge;
        }
        part.extend_from_slice(&chunk.data);
        if !chunk.last {
            return Assembled::Part;
        }
        let whole: Bytes = self
            .parts
            .remove(&chunk.transfer)
            .unwrap_or_default()
            .freeze();
        FirnFrame::decode(whole)
            .map_or(Assembled::Broken, |frame| Assembled::Whole(Box::new(frame)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Message as Request, firn_frame::Frame};

    fn chunks(transfer: u64, size: usize) -> Vec<Chunk> {
        let message = Request {
            command: transfer,
            message: Some(vec![1; size].into()),
            end: false,
        };
        let frame = FirnFrame {
            frame: Some(Frame::Message(message)),
        };
        let bytes = frame.encode_to_vec();
        let pieces: Vec<&[u8]> = bytes.chunks(10).collect();
        let chunk = |(at, piece): (usize, &&[u8])| Chunk {
            transfer,
            data: Bytes::copy_from_slice(piece),
            last: at + 1 == pieces.len(),
            subject: 0,
        };
        pieces.iter().enumerate().map(chunk).collect()
    }

    #[test]
    fn transfers_may_be_mixed() {
        let mut assembly = Assembly::new(1000);
        let (a, b) = (chunks(1, 100), chunks(2, 100));
        let mut whole = Vec::new();
        for (a, b) in a.into_iter().zip(b) {
            for chunk in [a, b] {
                match assembly.add(chunk) {
                    Assembled::Part => {}
                    Assembled::Whole(frame) => whole.push(frame),
                    other => panic!("{other:?}"),
                }
            }
        }
        assert_eq!(whole.len(), 2);
    }

    #[test]
    fn too_large_a_frame_is_thrown_away_once() {
        let mut assembly = Assembly::new(50);
        let results: Vec<_> = chunks(1, 100)
            .into_iter()
            .map(|it| assembly.add(it))
            .collect();
        let told = results
            .iter()
            .filter(|it| **it == Assembled::TooLarge)
            .count();
        assert_eq!(told, 1);
        assert!(results.iter().all(|it| !matches!(it, Assembled::Whole(_))));
        assert!(assembly.parts.is_empty() && assembly.refused.is_empty());
    }

    #[test]
    fn damaged_bytes_are_no_frame() {
        let mut assembly = Assembly::new(50);
        let chunk = Chunk {
            transfer: 1,
            data: Bytes::from_static(b"\xff\xff"),
            last: true,
            subject: 0,
        };
        assert_eq!(assembly.add(chunk), Assembled::Broken);
    }
}
