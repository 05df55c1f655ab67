//! Events: many of them read for one answer.
//!
//! An entity is loaded with all events after its snapshot, often hundreds, sometimes many thousands.
//! They are read where they stand in the rows. Their payloads are copied into a few buffers, which
//! they share, and one whose type is that of the event before shares its type URL: so an event
//! costs no allocation of its own.

use bytes::{Bytes, BytesMut};
use bytestring::ByteString;
use firn_model::payload::Payload;

use super::key;
use super::value::damaged;
use crate::ReadError;
use crate::encoding::Fault;
use crate::encoding::fields::{Field, Fields, wrong_kind};
use crate::entity::{Event, Timestamp};

/// How large a buffer is that payloads share, in bytes. An event that is kept keeps all of it.
const BUFFER_BYTES: usize = 64 * 1024;

/// Payloads that are larger, in bytes, get a buffer of their own, so that little of one is wasted.
const SHARED_BYTES_MAX: usize = BUFFER_BYTES / 8;

/// For how many events there is room at once: how many there are is known from another row, which
/// is not to be believed without a limit.
const RESERVED_MAX: u64 = 16 * 1024;

/// Events of an entity, as far as they were read.
pub(crate) struct Events {
    events: Vec<Event>,
    /// The number of the next.
    next: u64,
    /// How many are still to come.
    left: u64,
    /// The type of the last.
    type_url: ByteString,
    /// Where the next payloads go.
    buffer: BytesMut,
}

/// An [`EventRow`](super::value::EventRow) where it stands.
#[derive(Debug, Default, PartialEq, Eq)]
struct Row<'a> {
    at: u64,
    /// The type URL and the bytes.
    payload: Option<(&'a [u8], &'a [u8])>,
}

impl Events {
    /// None yet of `count` that begin with this number.
    pub(crate) fn expect(first: u64, count: u64) -> Self {
        Self {
            events: Vec::with_capacity(count.min(RESERVED_MAX) as usize),
            next: first,
            left: count,
            type_url: ByteString::new(),
            buffer: BytesMut::new(),
        }
    }

    /// Takes the row of the next.
    pub(crate) fn add(&mut self, key: &[u8], value: &[u8]) -> Result<(), ReadError> {
        let number = self.next;
        if key::event_number(key) != Some(number) {
            let fault = format!("event {number} before it is missing");
            return Err(damaged(key, &fault));
        }
        let event = self.event(value).map_err(|fault| damaged(key, &fault))?;
        self.events.push(event);
        self.next += 1;
        self.left = self.left.saturating_sub(1);
        Ok(())
    }

    /// What was read, or the number of the first that was not.
    pub(crate) fn all(self) -> Result<Vec<Event>, u64> {
        match self.left {
            0 => Ok(self.events),
            _ => Err(self.next),
        }
    }

    fn event(&mut self, value: &[u8]) -> Result<Event, Fault> {
        let row = Row::read(value)?;
        let (type_url, bytes) = row.payload.ok_or(Fault::Field("the event"))?;
        Ok(Event {
            sequence: self.next,
            at: Timestamp(row.at),
            payload: Payload {
                type_url: self.type_url(type_url)?,
                bytes: self.share(bytes),
            },
        })
    }

    fn type_url(&mut self, type_url: &[u8]) -> Result<ByteString, Fault> {
        if self.type_url.as_bytes() != type_url {
            self.type_url =
                ByteString::try_from(type_url).map_err(|_| Fault::Field("a type URL"))?;
        }
        Ok(self.type_url.clone())
    }

    fn share(&mut self, bytes: &[u8]) -> Bytes {
        if bytes.is_empty() || bytes.len() > SHARED_BYTES_MAX {
            return Bytes::copy_from_slice(bytes);
        }
        if self.buffer.capacity() < bytes.len() {
            let count = usize::try_from(self.left).unwrap_or(usize::MAX).max(1);
            let wanted = bytes.len().saturating_mul(count);
            self.buffer = BytesMut::with_capacity(wanted.min(BUFFER_BYTES));
        }
        self.buffer.extend_from_slice(bytes);
        self.buffer.split().freeze()
    }
}

impl<'a> Row<'a> {
    fn read(value: &'a [u8]) -> Result<Self, Fault> {
        let mut row = Self::default();
        let mut fields = Fields::of_stored(value)?;
        while let Some(field) = fields.next()? {
            match field {
                (1, Field::Varint(at)) => row.at = at,
                (2 | 3, Field::Varint(_)) => {}
                (4, Field::Bytes(message)) => row.add_payload(message)?,
                (tag @ 1..=4, _) => return Err(wrong_kind(tag)),
                _ => {}
            }
        }
        Ok(row)
    }

    /// A payload may come in pieces, as any message may.
    fn add_payload(&mut self, message: &'a [u8]) -> Result<(), Fault> {
        let (type_url, bytes) = self.payload.get_or_insert_default();
        let mut fields = Fields::of(message);
        while let Some(field) = fields.next()? {
            match field {
                (1, Field::Bytes(found)) => *type_url = found,
                (2, Field::Bytes(found)) => *bytes = found,
                (tag @ 1..=2, _) => return Err(wrong_kind(tag)),
                _ => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::encoding::parts::PayloadPart;
    use crate::encoding::{decode, encode};
    use crate::rows::value::EventRow;

    fn row(type_url: &str, bytes: &[u8]) -> EventRow {
        EventRow {
            at: 7,
            slot: 258,
            sequence: 3,
            payload: Some(PayloadPart {
                type_url: Bytes::copy_from_slice(type_url.as_bytes()),
                bytes: Bytes::copy_from_slice(bytes),
            }),
        }
    }

    fn read(rows: &[EventRow]) -> Result<Vec<Event>, ReadError> {
        let mut events = Events::expect(1, rows.len() as u64);
        for (number, row) in (1u64..).zip(rows) {
            events.add(&number.to_be_bytes(), &encode(row))?;
        }
        Ok(events.all().unwrap())
    }

    #[test]
    fn events_of_all_sizes_are_what_was_stored() {
        let sizes = [
            0,
            1,
            100,
            SHARED_BYTES_MAX,
            SHARED_BYTES_MAX + 1,
            1 << 20,
            3,
        ];
        let stored: Vec<(String, Vec<u8>)> = (0..400)
            .map(|number| {
                let byte = number as u8;
                (
                    format!("t/{}", number / 3),
                    vec![byte; sizes[number % sizes.len()]],
                )
            })
            .collect();
        let rows: Vec<EventRow> = stored.iter().map(|(url, bytes)| row(url, bytes)).collect();
        let events = read(&rows).unwrap();
        assert_eq!(events.len(), stored.len());
        for ((number, event), (type_url, bytes)) in (1u64..).zip(&events).zip(&stored) {
            assert_eq!((event.sequence, event.at), (number, Timestamp(7)));
            assert_eq!(event.payload, Payload::new(type_url.clone(), bytes.clone()));
        }
    }

    #[test]
    fn events_share_types_and_buffers() {
        let rows = vec![row("t/a", &[1; 100]); 1000];
        let events = read(&rows).unwrap();
        let places = |place: fn(&Event) -> *const u8| {
            let mut places: Vec<usize> = events.iter().map(|it| place(it) as usize).collect();
            places.dedup();
            places
        };
        assert_eq!(places(|event| event.payload.type_url.as_ptr()).len(), 1);
        let payloads = places(|event| event.payload.bytes.as_ptr());
        let buffers = 1 + payloads
            .windows(2)
            .filter(|it| it[1] != it[0] + 100)
            .count();
        assert!(buffers <= 2, "{buffers} for 100,000 bytes");
    }

    #[test]
    fn gaps_and_damage_are_told() {
        let check = |key: u64, value: &[u8], expected: &str| {
            let mut events = Events::expect(5, 2);
            let error = events.add(&key.to_be_bytes(), value).unwrap_err();
            assert!(error.to_string().contains(expected), "{error}: {expected}");
            assert_eq!(events.all(), Err(5));
        };
        let stored = encode(&row("t/a", &[1; 300]));
        check(6, &stored, "event 5 before it is missing");
        check(5, b"", "the value is empty");
        check(5, b"\x02", "the value has version 2");
        check(5, b"\x01", "the event is missing or not valid");
        check(5, &stored[..stored.len() - 1], "it ends early");
        check(5, b"\x01\x08\xff", "it ends early");
        check(5, b"\x01\x09\x01", "it ends early");
        check(
            5,
            b"\x01\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02",
            "too long",
        );
        check(5, b"\x01\x0a\x00", "field 1 is of the wrong kind");
        check(5, b"\x01\x22\x02\x08\x01", "field 1 is of the wrong kind");
        check(5, b"\x01\x0b", "a field is of kind 3");
        check(5, b"\x01\x00\x00", "a field has the tag 0");
        check(5, b"\x01\x80\x80\x80\x80\x10\x00", "a key is too large");
        check(
            5,
            b"\x01\x22\x03\x0a\x01\xff",
            "a type URL is missing or not valid",
        );
    }

    #[test]
    fn fields_of_a_later_version_are_skipped() {
        let mut stored = encode(&row("t/a", b"milk")).to_vec();
        stored
            .extend(b"\x28\x01\x32\x02ab\x39\x01\x02\x03\x04\x05\x06\x07\x08\x45\x01\x02\x03\x04");
        let read = Row::read(&stored).unwrap();
        assert_eq!(read.payload, Some((&b"t/a"[..], &b"milk"[..])));
    }

    fn as_prost_reads(value: &[u8]) -> Option<(u64, Option<(Bytes, Bytes)>)> {
        let row: EventRow = decode(Bytes::copy_from_slice(value)).ok()?;
        let payload = row.payload.map(|it| (it.type_url, it.bytes));
        Some((row.at, payload))
    }

    fn as_we_read(value: &[u8]) -> Option<(u64, Option<(Bytes, Bytes)>)> {
        let row = Row::read(value).ok()?;
        let copied = |(url, bytes)| (Bytes::copy_from_slice(url), Bytes::copy_from_slice(bytes));
        Some((row.at, row.payload.map(copied)))
    }

    proptest! {
        #[test]
        fn a_row_is_what_prost_reads(
            (at, slot, sequence) in (any::<u64>(), any::<u32>(), any::<u64>()),
            (type_url, bytes) in (".{0,8}", vec(any::<u8>(), 0..300)),
            has_payload in any::<bool>(),
        ) {
            let payload = PayloadPart { type_url: type_url.into(), bytes: bytes.into() };
            let payload = has_payload.then_some(payload);
            let stored = encode(&EventRow { at, slot, sequence, payload });
            prop_assert!(as_we_read(&stored).is_some());
            prop_assert_eq!(as_we_read(&stored), as_prost_reads(&stored));
        }

        /// Prost takes groups, which nobody writes; otherwise both take and refuse the same.
        #[test]
        fn a_damaged_row_is_refused_where_prost_refuses_it(
            bytes in vec(any::<u8>(), 0..40),
            damage in vec((any::<u16>(), any::<u8>()), 0..4),
        ) {
            let mut stored = encode(&row("t/a", &bytes)).to_vec();
            for (at, value) in damage {
                let at = usize::from(at) % stored.len();
                stored[at] = value;
            }
            if let Some(read) = as_we_read(&stored) {
                prop_assert_eq!(Some(read), as_prost_reads(&stored));
            }
        }
    }
}
