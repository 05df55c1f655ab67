//! How many streams the other side of an HTTP/2 connection bears, read from its first frame.
//!
//! A server must begin with its settings. HTTP libraries keep to the limit in there by letting calls
//! wait, silently and without end; whoever gives streams away must know it to give fewer.

/// The length of a frame's head.
const HEAD_BYTES: usize = 9;

/// The type of a settings frame.
const SETTINGS: u8 = 4;

/// The number of the setting that bounds the streams.
const MAX_CONCURRENT_STREAMS: u16 = 3;

/// More settings than exist: a longer first frame is not read.
const FRAME_BYTES_MAX: usize = 1024;

/// The beginning of what a server sends.
#[derive(Debug, Default)]
pub(crate) struct Preface {
    received: Vec<u8>,
    over: bool,
}

impl Preface {
    /// Takes the next bytes; gives the limit once it has come. Does nothing more after the first
    /// frame.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Option<u32> {
        if self.over {
            return None;
        }
        let room = FRAME_BYTES_MAX.saturating_sub(self.received.len());
        self.received
            .extend_from_slice(&bytes[..bytes.len().min(room)]);
        let frame = self.received.as_slice();
        let (head, rest) = frame.split_at_checked(HEAD_BYTES)?;
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        if head[3] != SETTINGS || length + HEAD_BYTES > FRAME_BYTES_MAX {
            self.end();
            return None;
        }
        let limit = rest.get(..length).map(limit)?;
        self.end();
        limit
    }

    fn end(&mut self) {
        self.over = true;
        self.received = Vec::new();
    }
}

/// The limit in the payload of a settings frame; the last one counts.
fn limit(settings: &[u8]) -> Option<u32> {
    let entries = settings.chunks_exact(6).rev();
    let mut limits = entries.filter_map(|entry| match entry {
        [a, b, value @ ..] if u16::from_be_bytes([*a, *b]) == MAX_CONCURRENT_STREAMS => {
            value.try_into().ok().map(u32::from_be_bytes)
        }
        _ => None,
    });
    limits.next()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A settings frame with a window size and this limit.
    const WITH_LIMIT: &[u8] = &[
        0, 0, 12, 4, 0, 0, 0, 0, 0, 0, 4, 0, 0, 255, 255, 0, 3, 0, 0, 1, 0,
    ];

    fn pushed(pieces: &[&[u8]]) -> Vec<Option<u32>> {
        let mut preface = Preface::default();
        pieces.iter().map(|piece| preface.push(piece)).collect()
    }

    #[test]
    fn limit_is_found_however_the_bytes_are_cut() {
        assert_eq!(pushed(&[WITH_LIMIT]), [Some(256)]);
        for cut in 1..WITH_LIMIT.len() {
            let (one, two) = WITH_LIMIT.split_at(cut);
            assert_eq!(pushed(&[one, two, b"more"]), [None, Some(256), None]);
        }
    }

    #[test]
    fn whoever_sends_no_limit_has_none() {
        let no_settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
        let long = [255, 255, 255, 4, 0, 0, 0, 0, 0];
        for first in [&no_settings[..], &long, b"HTTP/1.1 400 Bad Request\r\n"] {
            assert_eq!(pushed(&[first, WITH_LIMIT]), [None, None], "{first:?}");
        }
    }
}
