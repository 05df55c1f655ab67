//! A store for one lane: checks the fence, and every rule of what may be written.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use firn_model::id::{EffectId, EntityKey, Slot, SlotSequence};
use firn_store::{Change, Commit, Entity, Head, ReplyRecord, Timestamp};

use crate::lane::Known;

/// What is durable.
#[derive(Default)]
pub(super) struct Store {
    pub(super) heads: BTreeMap<Slot, Head>,
    entities: HashMap<EntityKey, Row>,
    records: HashMap<(EntityKey, String), ReplyRecord>,
    receipts: BTreeSet<(Slot, EffectId)>,
    pub(super) outbox: BTreeSet<EffectId>,
    /// The commands whose mutation is stored or was.
    pub(super) written: HashSet<u32>,
    /// The effects that were ever received, trimmed receipts too.
    pub(super) received: HashSet<EffectId>,
    /// The effects that were ever caused.
    pub(super) caused: HashSet<EffectId>,
}

#[derive(Default, Clone, Copy)]
struct Row {
    last_event: u64,
    deleted_until: Option<Timestamp>,
}

impl Store {
    pub(super) fn load(&self, key: &EntityKey) -> Entity {
        let row = self.entities.get(key).copied().unwrap_or_default();
        Entity {
            last_event: row.last_event,
            deleted_until: row.deleted_until,
            ..Entity::default()
        }
    }

    pub(super) fn known(
        &self,
        key: &EntityKey,
        idempotency_key: Option<&str>,
        effect: Option<EffectId>,
    ) -> Known {
        let record = idempotency_key.map(|asked| (key.clone(), asked.to_owned()));
        Known {
            record: record.and_then(|record| self.records.get(&record).cloned()),
            received: effect.is_some_and(|effect| self.receipts.contains(&(key.slot(), effect))),
        }
    }

    /// Writes a commit if the fence lets it pass.
    pub(super) fn write(&mut self, commit: &Commit) -> Result<(), Head> {
        let head = self.heads.entry(commit.slot).or_default();
        if head.epoch != commit.epoch || head.sequence.next() != commit.sequence {
            return Err(*head);
        }
        head.sequence = commit.sequence;
        if let (Some(key), Some(change)) = (&commit.key, &commit.change) {
            self.change(key, change, commit.at);
        }
        if let (Some(key), Some(record)) = (&commit.key, &commit.reply_record) {
            let name = (key.clone(), record.idempotency_key.clone());
            let earlier = self.records.insert(name, record.clone());
            assert!(earlier.is_none(), "a keyed command was run twice");
        }
        if let Some(effect) = commit.received {
            assert!(self.received.insert(effect), "{effect:?} was run twice");
            self.receipts.insert((commit.slot, effect));
        }
        if let Some((sender, below)) = commit.receipts_below {
            self.trim(commit.slot, sender, below);
        }
        for (index, _) in (0..).zip(&commit.effects) {
            let (slot, sequence) = (commit.slot, commit.sequence);
            let effect = EffectId {
                slot,
                sequence,
                index,
            };
            self.outbox.insert(effect);
            self.caused.insert(effect);
        }
        for effect in &commit.delivered {
            self.outbox.remove(effect);
        }
        Ok(())
    }

    fn trim(&mut self, receiver: Slot, sender: Slot, below: SlotSequence) {
        self.receipts.retain(|(slot, effect)| {
            *slot != receiver || effect.slot != sender || effect.sequence >= below
        });
    }

    fn change(&mut self, key: &EntityKey, change: &Change, at: Timestamp) {
        let row = self.entities.entry(key.clone()).or_default();
        let number = |bytes: &[u8]| -> u32 {
            let text = std::str::from_utf8(bytes).expect("text");
            text.parse().expect("a number")
        };
        match change {
            Change::Append { first, events, .. } => {
                assert_eq!(*first, row.last_event + 1, "a gap in an entity");
                row.last_event += events.len() as u64;
                for event in events {
                    let id = number(&event.bytes);
                    assert!(self.written.insert(id), "{id} was applied twice");
                }
            }
            Change::Set(state) => {
                assert_eq!(row.deleted_until, None, "a deleted entity has changed");
                let id = number(&state.bytes);
                assert!(self.written.insert(id), "{id} was applied twice");
            }
            Change::Delete { until } => {
                row.deleted_until = *until;
                if until.is_none() {
                    row.last_event = 0;
                }
            }
            Change::Snapshot { sequence, .. } => {
                assert_eq!(*sequence, row.last_event, "a snapshot of another state");
            }
            Change::Clean => {
                let is_expired = row.deleted_until.is_some_and(|until| until <= at);
                assert!(is_expired, "a living entity was cleaned");
                *row = Row::default();
                self.records.retain(|(of, _), _| of != key);
            }
        }
    }
}
