//! Leases: which process has which slots, until when.
//!
//! # How it works
//! A process is an *owner* with a row of its own, whose expiry it moves on while it lives; slots name
//! their owner. So renewing the lease of all slots writes one row. Slots are taken from an owner only
//! after its lease has run out by the database's clock, and whoever does so removes the owner's row
//! first: from then on it cannot renew, and finds out that it was deposed. Each slot that is taken
//! gets the next epoch, under the lock of its row, so commits that the old owner has begun are done
//! with by then and later ones are refused.
//!
//! # Reads
//! [`Lease::runs`] says whether the lease runs by this process's own clock, counted from before the
//! last renewal was sent, less a margin. While it does, nobody else can have taken a slot. Otherwise
//! only the database can tell, see [`Inner::holds`].

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use firn_model::id::{Epoch, Slot, SlotSequence};
use tokio::time::{Instant, sleep};

use super::Inner;
use super::error::{Deposed, OpenError};
use super::value;
use super::writer::slot_of;
use crate::ReadError;
use crate::commit::Head;

/// A lease is renewed this many times before it would run out.
const RENEWALS: u32 = 3;

/// The part of a lease that is left out of the count, for clocks that do not run alike.
const MARGIN: u32 = 10;

/// How often a start looks whether slots have become free.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// How many leases a start waits for slots that another process owns: longer than one that ended
/// without a word can keep them.
const WAIT_LEASES: u32 = 2;

const TAKES_NO_WRITES: (&str, &str) = ("takes no writes", "SHOW transaction_read_only");

/// Makes the row of an owner, which nobody has had before.
const BEGIN: (&str, &str) = (
    "begin",
    "\
INSERT INTO firn_owners (owner, since, expires)
VALUES ($1, clock_timestamp(), clock_timestamp() + $2::int8 * interval '1 millisecond')
ON CONFLICT (owner) DO NOTHING",
);

const RENEW: (&str, &str) = (
    "renew",
    "\
UPDATE firn_owners SET expires = clock_timestamp() + $2::int8 * interval '1 millisecond'
WHERE owner = $1 RETURNING owner",
);

/// Removes owners whose leases have run out. They cannot renew any more, and their slots are free.
const DEPOSE: (&str, &str) = (
    "depose",
    "DELETE FROM firn_owners WHERE owner <> $1 AND expires <= clock_timestamp() RETURNING owner",
);

/// Owners that have no row any more, and slots all the same. None of them ever comes back.
const GONE: (&str, &str) = (
    "gone",
    "\
SELECT DISTINCT owner FROM firn_slots
WHERE owner IS NOT NULL AND owner NOT IN (SELECT owner FROM firn_owners)",
);

/// Takes slots that have no owner, or one of those that are gone. The lock of each row waits for
/// commits that are under way; the owner is compared once more under it.
const TAKE: (&str, &str) = (
    "take",
    "\
UPDATE firn_slots s SET owner = $1, epoch = s.epoch + 1
FROM (SELECT slot FROM firn_slots WHERE slot = ANY($2::int4[])
  AND (owner IS NULL OR owner = ANY($3::text[])) ORDER BY slot FOR UPDATE) f
WHERE s.slot = f.slot AND (s.owner IS NULL OR s.owner = ANY($3::text[]))",
);

/// The slots of an owner. Asked after they were taken, since the answer to that may have been lost.
const MINE: (&str, &str) = (
    "mine",
    "SELECT slot, epoch, last_seq FROM firn_slots WHERE slot = ANY($2::int4[]) AND owner = $1",
);

const GIVE_UP: (&str, &str) = (
    "give up",
    "\
UPDATE firn_slots s SET owner = NULL
FROM (SELECT slot FROM firn_slots WHERE slot = ANY($2::int4[]) AND owner = $1
  ORDER BY slot FOR UPDATE) f
WHERE s.slot = f.slot AND s.owner = $1 RETURNING s.slot",
);

const END: (&str, &str) = ("end", "DELETE FROM firn_owners WHERE owner = $1");

const OTHERS: (&str, &str) = (
    "others",
    "\
SELECT owner, count(*) FROM firn_slots WHERE slot = ANY($2::int4[]) AND owner <> $1
GROUP BY owner ORDER BY owner",
);

const EPOCH: (&str, &str) = ("epoch", "SELECT epoch FROM firn_slots WHERE slot = $1");

/// Under which name slots are taken, and for how long without a renewal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// Of this process and this run alone: two that have the same name would share slots.
    pub name: String,
    /// How long the slots are kept without a word.
    pub lease: Duration,
}

/// What is known of this process's own lease.
pub(super) struct Lease {
    pub(super) owner: Owner,
    began: Instant,
    /// Until when it runs by this process's clock, in milliseconds since `began`; 0 if it does not.
    runs_until: AtomicU64,
    /// The epochs of the slots that were taken, by number; 0 for others.
    epochs: Vec<AtomicU64>,
}

/// What became of a renewal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Renewal {
    Renewed,
    /// Another process has taken the slots, or may.
    Deposed,
}

impl Lease {
    pub(super) fn new(owner: Owner) -> Self {
        Self {
            owner,
            began: Instant::now(),
            runs_until: AtomicU64::new(0),
            epochs: Slot::all().map(|_| AtomicU64::new(0)).collect(),
        }
    }

    /// Whether the lease runs for sure.
    pub(super) fn runs(&self) -> bool {
        self.now() < self.runs_until.load(Ordering::Acquire)
    }

    pub(super) fn renew_every(&self) -> Duration {
        self.owner.lease / RENEWALS
    }

    /// How many slots were taken under it.
    pub(super) fn slots(&self) -> u64 {
        let taken = |epoch: &&AtomicU64| epoch.load(Ordering::Relaxed) > 0;
        self.epochs.iter().filter(taken).count() as u64
    }

    fn epoch(&self, slot: Slot) -> &AtomicU64 {
        &self.epochs[usize::from(slot.number())]
    }

    fn millis(&self) -> i64 {
        i64::try_from(self.owner.lease.as_millis()).unwrap_or(i64::MAX)
    }

    /// Notes that a renewal that was sent at `sent` has reached the database.
    fn renewed(&self, sent: u64) {
        let sure = self.owner.lease - self.owner.lease / MARGIN;
        let until = sent + u64::try_from(sure.as_millis()).unwrap_or(u64::MAX / 2);
        self.runs_until.store(until, Ordering::Release);
    }

    /// Notes that nothing is sure any more.
    fn ended(&self) {
        self.runs_until.store(0, Ordering::Release);
    }

    fn now(&self) -> u64 {
        let since = Instant::now().saturating_duration_since(self.began);
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }
}

impl Inner {
    /// Begins the lease: from now on slots can be taken under it.
    pub(super) async fn begin(&self, lease: &Lease) -> Result<(), OpenError> {
        let failed = |error: ReadError| OpenError::Failed {
            cause: error.to_string(),
        };
        let told = self.rows(TAKES_NO_WRITES, &[]).await.map_err(failed)?;
        if told.first().and_then(|row| row.try_get(0).ok()) == Some("on") {
            let cause = "transaction_read_only is on".to_owned();
            return Err(OpenError::ReadOnly { cause });
        }
        let sent = lease.now();
        self.rows(BEGIN, &[&lease.owner.name, &lease.millis()])
            .await
            .map_err(failed)?;
        lease.renewed(sent);
        Ok(())
    }

    /// Takes all slots, waiting for those of a process that has ended without a word.
    pub(super) async fn take_all(&self, lease: &Lease) -> Result<(), OpenError> {
        let failed = |error: ReadError| OpenError::Failed {
            cause: error.to_string(),
        };
        let slots: Vec<Slot> = Slot::all().collect();
        let until = Instant::now() + lease.owner.lease * WAIT_LEASES;
        let mut missing;
        let mut is_waiting = false;
        loop {
            missing = slots.len() - self.acquire(lease, &slots).await.map_err(failed)?.len();
            if missing == 0 {
                return Ok(());
            }
            let others = self.others(lease, &slots).await.map_err(failed)?;
            if let Some((owner, _)) = others.first().filter(|_| !is_waiting) {
                is_waiting = true;
                tracing::info!(%owner, slots = missing, "waiting for slots of another Firn");
            }
            if Instant::now() >= until {
                self.release_all(lease).await.map_err(failed)?;
                let owner = others
                    .into_iter()
                    .next()
                    .map_or_else(String::new, |other| other.0);
                let slots = missing;
                return Err(OpenError::Taken { owner, slots });
            }
            sleep(LOOK_AGAIN).await;
        }
    }

    /// Takes those of the slots that nobody has; gives the heads of those that this process has then.
    pub(super) async fn acquire(
        &self,
        lease: &Lease,
        slots: &[Slot],
    ) -> Result<Vec<(Slot, Head)>, ReadError> {
        let name = &lease.owner.name;
        if self.renew(lease).await? == Renewal::Deposed {
            let cause = Deposed.to_string();
            return Err(ReadError::Unavailable { cause });
        }
        let deposed = self.rows(DEPOSE, &[name]).await?;
        for row in &deposed {
            let owner: &str = row.try_get(0).unwrap_or_default();
            tracing::warn!(%owner, "the lease of another Firn has run out, its slots are free");
        }
        let gone = self.rows(GONE, &[]).await?;
        let gone: Vec<&str> = gone.iter().filter_map(|row| row.try_get(0).ok()).collect();
        let numbers = numbers(slots);
        self.rows(TAKE, &[name, &numbers, &gone]).await?;
        let mine = self.rows(MINE, &[name, &numbers]).await?;
        let head = |row: &tokio_postgres::Row| {
            let head = Head {
                epoch: Epoch(value::number(row.try_get(1).ok()?)),
                sequence: SlotSequence(value::number(row.try_get(2).ok()?)),
            };
            Some((slot_of(row.try_get(0).ok()?)?, head))
        };
        let mine: Vec<(Slot, Head)> = mine.iter().filter_map(head).collect();
        for (slot, head) in &mine {
            lease.epoch(*slot).store(head.epoch.0, Ordering::Release);
        }
        Ok(mine)
    }

    /// Moves the expiry of the lease on. Nothing is lost as long as nobody else has taken a slot,
    /// also if the lease had run out.
    pub(super) async fn renew(&self, lease: &Lease) -> Result<Renewal, ReadError> {
        let sent = lease.now();
        let rows = self
            .rows(RENEW, &[&lease.owner.name, &lease.millis()])
            .await?;
        if rows.is_empty() {
            lease.ended();
            return Ok(Renewal::Deposed);
        }
        lease.renewed(sent);
        Ok(Renewal::Renewed)
    }

    /// Gives slots up. Their epochs stay: whoever takes them next goes on from there.
    pub(super) async fn release(&self, lease: &Lease, slots: &[Slot]) -> Result<usize, ReadError> {
        let given = self
            .rows(GIVE_UP, &[&lease.owner.name, &numbers(slots)])
            .await?;
        Ok(given.len())
    }

    /// Gives all slots up, and the lease with them.
    pub(super) async fn release_all(&self, lease: &Lease) -> Result<(), ReadError> {
        lease.ended();
        for epoch in &lease.epochs {
            epoch.store(0, Ordering::Release);
        }
        self.rows(END, &[&lease.owner.name]).await?;
        Ok(())
    }

    async fn others(&self, lease: &Lease, slots: &[Slot]) -> Result<Vec<(String, i64)>, ReadError> {
        let rows = self
            .rows(OTHERS, &[&lease.owner.name, &numbers(slots)])
            .await?;
        let other = |row: &tokio_postgres::Row| Some((row.try_get(0).ok()?, row.try_get(1).ok()?));
        Ok(rows.iter().filter_map(other).collect())
    }

    /// Whether nobody has taken the slot since this process did: what was known of it before is then
    /// still true.
    pub(super) async fn holds(&self, lease: &Lease, slot: Slot) -> Result<bool, ReadError> {
        let epoch = lease.epoch(slot).load(Ordering::Acquire);
        if epoch == 0 {
            return Ok(false);
        }
        let number = i32::from(slot.number());
        let rows = self.rows(EPOCH, &[&number]).await?;
        let stored: Option<i64> = rows.first().and_then(|row| row.try_get(0).ok());
        Ok(stored == Some(value::count(epoch)))
    }
}

fn numbers(slots: &[Slot]) -> Vec<i32> {
    slots.iter().map(|slot| slot.number().into()).collect()
}
