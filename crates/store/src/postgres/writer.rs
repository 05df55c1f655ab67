//! A writer: one connection, the slots that are pinned to it, and what becomes of a batch.
//!
//! # How it works
//! A batch goes out under a number that no other has. While it is out, its slots are *in doubt*. An
//! answer ends the doubt, also an error of the database, which has then written nothing. If the
//! connection is lost, the slots are *settled* on the next one: their rows are locked, which waits for
//! whatever the old connection has begun, and get another fence, so that what the old connection may
//! still have in its buffers is refused. Whether the row carries the batch's number tells the outcome.
//! What has not landed is sent again; what has is not.
//!
//! # Cancel safety
//! A future that is dropped leaves its slots in doubt, and the next use of the writer settles them.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use firn_model::id::{Epoch, Slot, SlotSequence};
use tokio::time::{Instant, sleep, timeout_at};
use tokio_postgres::Error;

use super::batch::{Batch, SlotCommits};
use super::connection::{ConnectError, Session};
use super::error::Meaning;
use super::lasts::Lasts;
use super::metrics::{Counts, Use};
use super::url::{Url, told};
use super::value::{Values, number};
use super::write::{self, Answer, Failed};
use crate::ReadError;
use crate::commit::{Commit, Head, Outcome, SlotOutcome};

/// How long a batch is tried before its outcome is given as it is then known. Callers have their own
/// deadlines and do not wait for this.
pub(super) const COMMIT_TIME_MAX: Duration = Duration::from_secs(15);

/// How long to wait before something is tried again, at first and at most.
pub(super) const PAUSE_MIN: Duration = Duration::from_millis(10);
pub(super) const PAUSE_MAX: Duration = Duration::from_millis(500);

/// Settles slots: locks their rows in order, fences off what was sent before, and tells how they
/// stand.
const SETTLE: (&str, &str) = (
    "settle",
    "UPDATE firn_slots s SET fence = s.fence + 1 \
     FROM (SELECT slot FROM firn_slots WHERE slot = ANY($1::int4[]) ORDER BY slot FOR UPDATE) l \
     WHERE s.slot = l.slot RETURNING s.slot, s.epoch, s.last_seq, s.fence, s.batch",
);

const HEADS: (&str, &str) = (
    "heads",
    "SELECT slot, epoch, last_seq FROM firn_slots \
     WHERE (epoch > 0 OR last_seq > 0) AND slot % $1::int4 = $2::int4",
);

/// Writes the slots whose number modulo `of` is `index`.
pub(super) struct Writer {
    pub(super) index: usize,
    pub(super) of: usize,
    session: Option<Session>,
    /// What the rows of slots are guarded by, where it is not 0.
    fences: HashMap<Slot, i64>,
    /// Slots of which something may be under way on a connection that is gone.
    in_doubt: HashSet<Slot>,
    lasts: Lasts,
    counts: Arc<Counts>,
}

/// A settled slot.
struct Settled {
    head: Head,
    batch: i64,
}

/// What is left of a batch, and what is known of the rest.
struct Work {
    slots: Vec<SlotCommits>,
    outcomes: Vec<SlotOutcome>,
    number: i64,
    until: Instant,
    pause: Duration,
    /// Why it is not written yet.
    cause: String,
}

impl Writer {
    pub(super) fn new(index: usize, of: usize, counts: Arc<Counts>) -> Self {
        Self {
            index,
            of,
            session: None,
            fences: HashMap::new(),
            in_doubt: HashSet::new(),
            lasts: Lasts::default(),
            counts,
        }
    }

    /// Writes commits of pinned slots; gives an outcome for each slot.
    pub(super) async fn commit(
        &mut self,
        url: &Url,
        values: &Values,
        slots: Vec<SlotCommits>,
    ) -> Vec<SlotOutcome> {
        let until = Instant::now() + COMMIT_TIME_MAX;
        self.commit_until(url, values, slots, until, String::new())
            .await
    }

    /// Writes them, or tells at this time why they are not written, for this cause unless another
    /// comes up.
    async fn commit_until(
        &mut self,
        url: &Url,
        values: &Values,
        slots: Vec<SlotCommits>,
        until: Instant,
        cause: String,
    ) -> Vec<SlotOutcome> {
        // Never 0, which no batch has.
        let number = match getrandom::u64() {
            Ok(random) => (random >> 1) as i64 | 1,
            Err(error) => {
                let cause = format!("the system gives no random number: {error}");
                return slots.iter().map(|slot| not_written(slot, &cause)).collect();
            }
        };
        let mut work = Work {
            outcomes: Vec::with_capacity(slots.len()),
            slots,
            number,
            until,
            pause: PAUSE_MIN,
            cause,
        };
        while !work.slots.is_empty() && Instant::now() < work.until {
            self.attempt(url, values, &mut work).await;
        }
        self.give_up(&mut work);
        work.outcomes
    }

    /// The heads of the pinned slots that have one; nothing that was sent before lands after it.
    pub(super) async fn heads(&mut self, url: &Url) -> Result<Vec<(Slot, Head)>, ReadError> {
        let until = Instant::now() + COMMIT_TIME_MAX;
        let unavailable = |cause| ReadError::Unavailable { cause };
        self.connect(url, until)
            .await
            .map_err(|error| unavailable(told(&error)))?;
        let in_doubt: Vec<Slot> = self.in_doubt.iter().copied().collect();
        self.settle(&in_doubt, until).await.map_err(unavailable)?;
        let session = self.session.as_ref().expect("it was connected just now");
        let (of, index) = (self.of as i32, self.index as i32);
        let rows = timeout_at(until, session.query(HEADS, &[&of, &index])).await;
        let rows = match rows {
            Ok(Ok(rows)) => rows,
            Ok(Err(error)) => return Err(unavailable(told(&error))),
            Err(_) => {
                self.session = None;
                return Err(unavailable("no answer in time".to_owned()));
            }
        };
        let head = |row: &tokio_postgres::Row| {
            let slot = slot_of(row.try_get(0).ok()?)?;
            Some((slot, head(row.try_get(1).ok()?, row.try_get(2).ok()?)))
        };
        Ok(rows.iter().filter_map(head).collect())
    }

    /// Tries once to write what is left.
    async fn attempt(&mut self, url: &Url, values: &Values, work: &mut Work) {
        if let Err(error) = self.connect(url, work.until).await {
            work.cause = told(&error);
            return work.wait().await;
        }
        let slots: Vec<Slot> = work.slots.iter().map(|slot| slot.slot).collect();
        let in_doubt: Vec<Slot> = slots
            .iter()
            .copied()
            .filter(|slot| self.in_doubt.contains(slot))
            .collect();
        if !in_doubt.is_empty() {
            match self.settle(&in_doubt, work.until).await {
                Ok(settled) => work.settled(&settled),
                Err(cause) => {
                    work.cause = cause;
                    return work.wait().await;
                }
            }
        }
        if work.slots.is_empty() {
            return;
        }
        let fences = &self.fences;
        let fence = |slot: Slot| fences.get(&slot).copied().unwrap_or_default();
        let batch = Batch::of(&work.slots, values, &self.lasts, fence);
        let session = self.session.as_ref().expect("it was connected just now");
        self.in_doubt.extend(&slots);
        let busy = session.busy();
        let began = Instant::now();
        let written = timeout_at(work.until, write::commit(session, &batch, work.number)).await;
        drop((busy, batch));
        match written {
            Ok(Ok(answer)) => {
                self.counts.flushes.observe_time(began.elapsed());
                self.forget_doubt(&slots);
                self.told(&answer, work);
            }
            Ok(Err(failed)) => self.failed(url, values, &failed, &slots, work).await,
            Err(_) => {
                self.session = None;
                work.cause = "no answer in time".to_owned();
            }
        }
    }

    async fn failed(
        &mut self,
        url: &Url,
        values: &Values,
        failed: &Failed,
        slots: &[Slot],
        work: &mut Work,
    ) {
        work.cause = told(&failed.error);
        let meaning = match failed.nothing_begun {
            true => Meaning::Lost,
            false => Meaning::of(&failed.error),
        };
        if meaning == Meaning::Lost {
            self.session = None;
            return work.wait().await;
        }
        self.forget_doubt(slots);
        match meaning {
            Meaning::Never if work.slots.len() > 1 => {
                // One of them is to blame, and the others are not to suffer for it.
                for slot in std::mem::take(&mut work.slots) {
                    let (slots, cause) = (vec![slot], work.cause.clone());
                    let alone = self.commit_until(url, values, slots, work.until, cause);
                    let alone = Box::pin(alone).await;
                    work.outcomes.extend(alone);
                }
            }
            Meaning::Never => {
                for slot in std::mem::take(&mut work.slots) {
                    tracing::error!(slot = %slot.slot, cause = %work.cause, "a commit cannot be stored");
                    work.outcomes.push(not_written(&slot, &work.cause));
                }
            }
            Meaning::Repeat | Meaning::Later | Meaning::Lost => work.wait().await,
        }
    }

    /// Takes what the statement told. A slot that only has another fence than was thought goes out
    /// once more.
    fn told(&mut self, answer: &Answer, work: &mut Work) {
        for slot in std::mem::take(&mut work.slots) {
            let Some(row) = answer.slots.get(&slot.slot) else {
                work.outcomes
                    .push(not_written(&slot, "there is no such slot"));
                continue;
            };
            let known = self.fences.insert(slot.slot, row.fence).unwrap_or_default();
            let outcome = if row.has_landed {
                self.lasts.landed(&slot, &answer.generations);
                Outcome::Landed
            } else if known != row.fence {
                work.slots.push(slot);
                continue;
            } else {
                Outcome::Refused {
                    head: head(row.epoch, row.last_seq),
                }
            };
            work.outcomes.push(SlotOutcome {
                slot: slot.slot,
                outcome,
            });
        }
    }

    /// Notes a slot as if its connection had been lost.
    #[cfg(test)]
    pub(super) fn doubt(&mut self, slot: Slot) {
        self.in_doubt.insert(slot);
    }

    fn forget_doubt(&mut self, slots: &[Slot]) {
        for slot in slots {
            self.in_doubt.remove(slot);
        }
    }

    /// Gives what is known of what is left.
    fn give_up(&self, work: &mut Work) {
        let slots = std::mem::take(&mut work.slots);
        if !slots.is_empty() {
            let (slots, cause) = (slots.len(), &work.cause);
            tracing::warn!(slots, %cause, "commits could not be written in time");
        }
        for slot in slots {
            let is_known = !self.in_doubt.contains(&slot.slot);
            work.outcomes.push(match is_known {
                true => not_written(&slot, &work.cause),
                false => SlotOutcome {
                    slot: slot.slot,
                    outcome: Outcome::Unknown {
                        cause: work.cause.clone(),
                    },
                },
            });
        }
    }

    async fn connect(&mut self, url: &Url, until: Instant) -> Result<(), ConnectError> {
        if self
            .session
            .as_ref()
            .is_some_and(|session| !session.is_lost())
        {
            return Ok(());
        }
        self.session = None;
        let session = timeout_at(until, self.counts.connect(url, Use::Commits)).await;
        self.session = Some(session.unwrap_or(Err(ConnectError::Silent))?);
        Ok(())
    }

    /// Finds out how slots stand that are in doubt; nothing sent before is written after.
    async fn settle(
        &mut self,
        slots: &[Slot],
        until: Instant,
    ) -> Result<HashMap<Slot, Settled>, String> {
        if slots.is_empty() {
            return Ok(HashMap::new());
        }
        let numbers: Vec<i32> = slots.iter().map(|slot| slot.number().into()).collect();
        let session = self
            .session
            .as_ref()
            .expect("only connected writers settle");
        let rows = match timeout_at(until, session.query(SETTLE, &[&numbers])).await {
            Ok(Ok(rows)) => rows,
            Ok(Err(error)) => {
                if Meaning::of(&error) == Meaning::Lost {
                    self.session = None;
                }
                return Err(told(&error));
            }
            Err(_) => {
                self.session = None;
                return Err("no answer in time".to_owned());
            }
        };
        let mut settled = HashMap::new();
        for row in rows {
            let unreadable = |error: Error| told(&error);
            let slot = slot_of(row.try_get(0).map_err(unreadable)?);
            let slot = slot.ok_or_else(|| "a slot that does not exist".to_owned())?;
            let (epoch, last_seq) = (
                row.try_get(1).map_err(unreadable)?,
                row.try_get(2).map_err(unreadable)?,
            );
            self.fences
                .insert(slot, row.try_get(3).map_err(unreadable)?);
            let settled_slot = Settled {
                head: head(epoch, last_seq),
                batch: row.try_get(4).map_err(unreadable)?,
            };
            settled.insert(slot, settled_slot);
        }
        self.forget_doubt(slots);
        Ok(settled)
    }
}

impl Work {
    /// Takes the outcomes of slots that were settled: those that carry the batch's number landed,
    /// those at the sequence before it go out again.
    fn settled(&mut self, settled: &HashMap<Slot, Settled>) {
        for slot in std::mem::take(&mut self.slots) {
            let Some(found) = settled.get(&slot.slot) else {
                self.slots.push(slot);
                continue;
            };
            let outcome = if found.batch == self.number {
                Outcome::Landed
            } else if found.head.epoch == slot.epoch() && found.head.sequence == slot.before() {
                self.slots.push(slot);
                continue;
            } else if found.head.sequence < slot.last() {
                Outcome::Refused { head: found.head }
            } else {
                // Another owner went on from there: whether from our commits nobody can tell.
                Outcome::Unknown {
                    cause: format!("{} while another owner took the slot", self.cause),
                }
            };
            self.outcomes.push(SlotOutcome {
                slot: slot.slot,
                outcome,
            });
        }
    }

    /// Waits a little before the next attempt, longer each time.
    async fn wait(&mut self) {
        let left = self.until.saturating_duration_since(Instant::now());
        sleep(self.pause.min(left)).await;
        self.pause = (self.pause * 2).min(PAUSE_MAX);
    }
}

/// The slot was not written: it stands where it stood.
fn not_written(slot: &SlotCommits, cause: &str) -> SlotOutcome {
    SlotOutcome {
        slot: slot.slot,
        outcome: Outcome::NotWritten {
            head: Head {
                epoch: slot.epoch(),
                sequence: slot.before(),
            },
            cause: cause.to_owned(),
        },
    }
}

/// The commits of a batch by slot, in parts that are not too large for one statement. A slot is never
/// divided.
pub(super) fn divide(batch: Vec<Commit>, bytes_max: usize) -> Vec<Vec<SlotCommits>> {
    let mut places: HashMap<Slot, usize> = HashMap::new();
    let mut slots: Vec<(SlotCommits, usize)> = Vec::new();
    for commit in batch {
        let place = *places.entry(commit.slot).or_insert(slots.len());
        if place == slots.len() {
            let none = SlotCommits {
                slot: commit.slot,
                commits: Vec::new(),
            };
            slots.push((none, 0));
        }
        slots[place].1 += commit.size();
        slots[place].0.commits.push(commit);
    }
    let mut parts: Vec<Vec<SlotCommits>> = Vec::new();
    let mut room = 0;
    for (slot, bytes) in slots {
        match parts.last_mut() {
            Some(part) if bytes <= room => part.push(slot),
            _ => {
                parts.push(vec![slot]);
                room = bytes_max;
            }
        }
        room = room.saturating_sub(bytes);
    }
    parts
}

fn head(epoch: i64, last_seq: i64) -> Head {
    Head {
        epoch: Epoch(number(epoch)),
        sequence: SlotSequence(number(last_seq)),
    }
}

/// The slot with a stored number.
pub(super) fn slot_of(number: i32) -> Option<Slot> {
    u16::try_from(number).ok().and_then(Slot::new)
}

#[cfg(test)]
mod tests {
    use super::super::value::count;
    use super::*;
    use firn_model::id::{EntityKey, StorageName};
    use firn_model::payload::Payload;

    use crate::commit::Change;
    use crate::entity::Timestamp;

    fn commit(slot: u16, sequence: u64, bytes: usize) -> Commit {
        let slot = Slot::new(slot).unwrap();
        let mut commit = Commit::empty(slot, Epoch(0), SlotSequence(sequence), Timestamp(0));
        commit.key = Some(EntityKey::new(StorageName::new("s"), "a"));
        commit.change = Some(Change::Set(Payload::new("t", vec![0; bytes])));
        commit
    }

    #[test]
    fn batches_are_divided_between_slots() {
        let batch = vec![
            commit(1, 1, 900),
            commit(2, 1, 10),
            commit(1, 2, 900),
            commit(3, 1, 5000),
        ];
        let parts = divide(batch, 3000);
        let seen: Vec<Vec<(u16, usize)>> = parts
            .iter()
            .map(|part| {
                let slot = |slot: &SlotCommits| (slot.slot.number(), slot.commits.len());
                part.iter().map(slot).collect()
            })
            .collect();
        assert_eq!(seen, [vec![(1, 2), (2, 1)], vec![(3, 1)]]);
        assert!(divide(Vec::new(), 1).is_empty());
    }

    #[test]
    fn a_settled_slot_has_one_outcome() {
        let check = |head: (u64, u64), batch: i64, expected: Option<&str>| {
            let mut work = Work {
                slots: vec![SlotCommits {
                    slot: Slot::new(1).unwrap(),
                    commits: vec![commit(1, 5, 1), commit(1, 6, 1)],
                }],
                outcomes: Vec::new(),
                number: 7,
                until: Instant::now(),
                pause: PAUSE_MIN,
                cause: String::new(),
            };
            let head = Head {
                epoch: Epoch(head.0),
                sequence: SlotSequence(head.1),
            };
            let settled = Settled { head, batch };
            work.settled(&HashMap::from([(Slot::new(1).unwrap(), settled)]));
            let outcome = work.outcomes.first().map(|outcome| match outcome.outcome {
                Outcome::Landed => "landed",
                Outcome::Refused { .. } | Outcome::NotWritten { .. } => "refused",
                Outcome::Unknown { .. } => "unknown",
            });
            assert_eq!(outcome, expected, "{head:?} {batch}");
            assert_eq!(work.slots.len(), usize::from(expected.is_none()));
        };
        check((0, 4), 3, None);
        check((0, 6), 7, Some("landed"));
        check((1, 6), 7, Some("landed"));
        check((1, 4), 3, Some("refused"));
        check((1, 9), 3, Some("unknown"));
        check((0, 6), 3, Some("unknown"));
    }

    #[test]
    fn counts_fit_columns() {
        assert_eq!(count(u64::MAX), i64::MAX);
        assert_eq!(slot_of(16_384), None);
        assert_eq!(slot_of(-1), None);
    }
}
