//! Writing replicas down: behind, in batches, or at once where somebody waits for it.

use bytes::Bytes;
use firn_crdt::State;
use firn_model::id::{EntityKey, Slot, SlotSequence};
use firn_store::{ReadError, ReplicaWrite};

use super::entity::{Data, Entity};
use super::{LARGE_BYTES, Output, Replicas, SAVE_BYTES_MAX, Ticket};
use crate::lane::{Now, Origin};
use crate::refusal::Refusal;

/// After a failed write the next one waits that long.
const SAVE_AGAIN: std::time::Duration = std::time::Duration::from_secs(1);

/// Effects of an entity in memory that are known to be written without asking the store.
const RECEIVED_MAX: usize = 1024;

/// What a write holds of an entity.
#[derive(Debug)]
pub(super) struct Saving {
    index: usize,
    version: u64,
    /// How many of its receipts.
    receipts: usize,
}

impl Replicas {
    /// The entity with this key; it is read if it is not in memory.
    pub(super) fn find(&mut self, key: EntityKey, now: Now) -> usize {
        if let Some(&index) = self.by_key.get(&key) {
            return index;
        }
        self.lives += 1;
        let entity = Entity::new(key.clone(), self.lives, now.instant);
        let index = self.entities.insert(entity);
        self.by_key.insert(key.clone(), index);
        let ticket = self.ticket(index);
        self.out.push(Output::Load(ticket, key));
        index
    }

    /// A replica was read.
    pub(super) fn loaded(
        &mut self,
        ticket: Ticket,
        result: Result<Option<Bytes>, ReadError>,
        now: Now,
    ) {
        let Some(index) = self.of(ticket) else {
            return;
        };
        let read = match result {
            Ok(None) => Ok(State::default()),
            Ok(Some(bytes)) => State::decode(&bytes).map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        match read {
            Ok(state) => {
                let ready = Data::Ready(Box::new(state));
                let before = std::mem::replace(&mut self.entities[index].data, ready);
                self.prune(index, now);
                if let Data::Loading(messages, asking) = before {
                    for member in asking {
                        self.ask(index, member, now);
                    }
                    for (from, message) in messages {
                        self.told_of_entity(index, from.node, message, now);
                    }
                }
                self.tend(index, now);
            }
            Err(cause) => self.not_loaded(index, cause),
        }
    }

    fn not_loaded(&mut self, index: usize, cause: String) {
        let entity = self.remove(index);
        for waiting in entity.queue {
            let cause = cause.clone();
            self.refuse(waiting.command.call, Refusal::LoadFailed { cause });
        }
        self.out.push(Output::Report {
            key: entity.key,
            text: format!("a replica could not be read: {cause}"),
        });
    }

    /// Takes an entity out of memory.
    pub(super) fn remove(&mut self, index: usize) -> Entity {
        let entity = self.entities.remove(index);
        self.by_key.remove(&entity.key);
        if let Some(at) = entity.alarm {
            self.alarms.remove(&(at, index));
        }
        if let Some(due) = entity.record.due {
            self.dirty.remove(&(due, index));
        }
        entity
    }

    /// Notes a change that is to be written.
    pub(super) fn changed(&mut self, index: usize, now: Now) {
        let entity = &mut self.entities[index];
        entity.record.version += 1;
        entity.settled_with.clear();
        let delay = match entity.record.bytes {
            0..LARGE_BYTES => self.config.write_behind,
            _ => 10 * self.config.write_behind,
        };
        if entity.record.due.is_none() {
            let due = now.instant + delay;
            entity.record.due = Some(due);
            self.dirty.insert((due, index));
        }
    }

    /// Has an entity written as soon as the store is free: somebody waits.
    pub(super) fn write_soon(&mut self, index: usize, now: Now) {
        let record = &mut self.entities[index].record;
        if let Some(due) = record.due {
            self.dirty.remove(&(due, index));
            record.due = Some(now.instant);
            self.dirty.insert((now.instant, index));
        }
    }

    /// Writes what is due, one batch at a time.
    pub(super) fn save_due(&mut self, now: Now) {
        let waits = self.save_again_at.is_some_and(|at| at > now.instant);
        if self.saving.is_some() || waits {
            return;
        }
        let mut writes = Vec::new();
        let mut saving = Vec::new();
        let mut size = 0;
        while let Some(&(due, index)) = self.dirty.first() {
            if size >= SAVE_BYTES_MAX || (due > now.instant && !self.draining) {
                break;
            }
            self.dirty.pop_first();
            let entity = &mut self.entities[index];
            entity.record.due = None;
            let Data::Ready(state) = &entity.data else {
                continue;
            };
            let bytes = state.encode();
            entity.record.bytes = bytes.len();
            size += bytes.len();
            saving.push(Saving {
                index,
                version: entity.record.version,
                receipts: entity.record.receipts.len(),
            });
            writes.push(ReplicaWrite {
                key: entity.key.clone(),
                at: now.wall,
                deleted: state.is_deleted(),
                state: bytes,
                received: entity.record.receipts.iter().map(|it| it.effect).collect(),
                receipts_below: entity.record.receipts.iter().map(below).collect(),
            });
        }
        if !writes.is_empty() {
            self.saving = Some(saving);
            self.out.push(Output::Save(writes));
        }
    }

    /// A batch was written, or could not be.
    pub(super) fn saved(&mut self, result: Result<(), String>, now: Now) {
        let batch = self.saving.take().unwrap_or_default();
        self.save_again_at = None;
        if let Err(cause) = &result {
            self.save_again_at = Some(now.instant + SAVE_AGAIN);
            if let Some(first) = batch.first() {
                let key = self.entities[first.index].key.clone();
                let text = format!("replicas could not be written: {cause}");
                self.out.push(Output::Report { key, text });
            }
        }
        for saving in batch {
            let index = saving.index;
            let entity = &mut self.entities[index];
            if result.is_ok() {
                entity.record.saved = saving.version;
                let written = entity.record.receipts.drain(..saving.receipts);
                entity.record.received.extend(written.map(|it| it.effect));
                let surplus = entity.record.received.len().saturating_sub(RECEIVED_MAX);
                entity.record.received.drain(..surplus);
                self.acknowledge(index);
            } else if entity.record.due.is_none() {
                entity.record.due = self.save_again_at;
                self.dirty.extend(self.save_again_at.map(|at| (at, index)));
            }
            self.tend(index, now);
        }
    }

    /// Tells members that what they sent is durable.
    fn acknowledge(&mut self, index: usize) {
        let entity = &mut self.entities[index];
        let saved = entity.record.saved;
        let (done, waiting) = std::mem::take(&mut entity.record.acknowledge)
            .into_iter()
            .partition(|(_, _, version)| *version <= saved);
        entity.record.acknowledge = waiting;
        let done: Vec<_> = done;
        for (member, number, _) in done {
            self.confirm_to(index, member, number);
        }
    }
}

/// Receipts of the sender that are of no use any more.
fn below(origin: &Origin) -> (Slot, SlotSequence) {
    (origin.effect.slot, origin.lowest_open)
}
