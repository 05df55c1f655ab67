//! Sweeping: removing rows that no reader can see any more, a little with each batch.
//!
//! Two kinds of rows go that way: reply records that have expired, and the events (with their
//! changes) of generations that have ended. Neither is worth a pause, so each batch of commits
//! takes at most [`SWEEP_ROWS_MAX`] of them with it.

use super::key::{self, Space};
use super::overlay::{Overlay, View};
use super::value::{EventRow, GarbageRow, ReplyRow, decode_row};
use crate::ReadError;
use crate::encoding::encode;
use crate::encoding::parts::slot;
use crate::entity::Timestamp;

use std::time::Duration;

use firn_model::id::SlotSequence;

/// How many records and how many events one batch removes at most: enough to keep up with batches
/// that each add fewer, few enough to cost well under a millisecond.
pub(crate) const SWEEP_ROWS_MAX: usize = 256;

/// How much time must have passed before expired records are looked for again.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// Where sweeping stands.
pub(crate) struct Sweeper {
    /// Records up to this time were removed; the next look begins there instead of walking over
    /// removed rows. A record that comes later with an earlier time stays until the next start.
    expired_until: Timestamp,
    /// When to look for expired records again.
    next_look: Timestamp,
    /// Whether a generation that has ended may have left events behind.
    has_garbage: bool,
}

impl Sweeper {
    /// A sweeper that knows nothing of the rows yet.
    pub(crate) fn new() -> Self {
        Self {
            expired_until: Timestamp(0),
            next_look: Timestamp(0),
            has_garbage: true,
        }
    }

    /// Tells that a generation of an entity may have ended.
    pub(crate) fn saw_an_end(&mut self) {
        self.has_garbage = true;
    }

    /// Removes some of what is no longer visible at `now`.
    pub(crate) fn sweep(
        &mut self,
        rows: &mut Overlay<'_>,
        now: Timestamp,
    ) -> Result<(), ReadError> {
        if now >= self.next_look {
            self.sweep_expired(rows, now)?;
        }
        if self.has_garbage {
            self.has_garbage = sweep_garbage(rows)?;
        }
        Ok(())
    }

    fn sweep_expired(&mut self, rows: &mut Overlay<'_>, now: Timestamp) -> Result<(), ReadError> {
        let from = key::expiry(self.expired_until, &[]);
        let to = key::expiry(Timestamp(now.0.saturating_add(1)), &[]);
        if from >= to {
            return Ok(());
        }
        let expired: Vec<_> = rows
            .scan(from, to)
            .take(SWEEP_ROWS_MAX)
            .map(|row| row.map(|(key, _)| key))
            .collect::<Result<_, _>>()?;
        if expired.len() < SWEEP_ROWS_MAX {
            self.expired_until = now;
            self.next_look = now.plus(SWEEP_EVERY);
        }
        for key in expired {
            let Some((expires, reply)) = key::expiring(&key) else {
                continue;
            };
            self.expired_until = self.expired_until.max(expires);
            remove_reply(rows, reply, now)?;
            rows.delete(key.to_vec());
        }
        Ok(())
    }
}

/// Removes a record, unless a newer one has taken its place meanwhile.
fn remove_reply(rows: &mut Overlay<'_>, key: &[u8], now: Timestamp) -> Result<(), ReadError> {
    let Some(value) = rows.get(key)? else {
        return Ok(());
    };
    let row: ReplyRow = decode_row(key, value)?;
    if row.record.is_none_or(|record| record.expires <= now.0) {
        rows.delete(key.to_vec());
    }
    Ok(())
}

/// Removes some events of a generation that has ended; tells whether there may be more.
fn sweep_garbage(rows: &mut Overlay<'_>) -> Result<bool, ReadError> {
    let (from, to) = key::whole(Space::Garbage);
    let first = rows.scan(from, to).next().transpose()?;
    let Some((garbage_key, value)) = first else {
        return Ok(false);
    };
    let garbage: GarbageRow = decode_row(&garbage_key, value)?;
    let next = (garbage.last + 1).min(garbage.next + SWEEP_ROWS_MAX as u64);
    for number in garbage.next..next {
        remove_event(rows, key::garbage_event(&garbage_key, number))?;
    }
    if next > garbage.last {
        rows.delete(garbage_key.to_vec());
    } else {
        rows.put(
            garbage_key.to_vec(),
            encode(&GarbageRow { next, ..garbage }),
        );
    }
    Ok(true)
}

fn remove_event(rows: &mut Overlay<'_>, event_key: Vec<u8>) -> Result<(), ReadError> {
    if let Some(value) = rows.get(&event_key)? {
        let event: EventRow = decode_row(&event_key, value)?;
        if let Ok(slot) = slot(event.slot) {
            rows.delete(key::change(slot, SlotSequence(event.sequence)));
        }
        rows.delete(event_key);
    }
    Ok(())
}
