//! A store for one lane: checks the fence, and every rule of what may be written.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use firn_model::decision::Effect;
use firn_model::id::{EffectId, EntityKey, Slot, SlotSequence};
use firn_store::{Change, Commit, Entity, Head, ReplyRecord, Timer, TimerId, Timestamp};

use super::function::TICK;
use crate::lane::Known;

/// The state of an entity, as a name for the whole way to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) struct State(u64);

impl State {
    /// The state after the change of this command.
    pub(super) fn after(self, id: u32) -> Self {
        let mut hasher = DefaultHasher::new();
        (self.0, id).hash(&mut hasher);
        Self(hasher.finish())
    }
}

/// Where a change comes from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cause {
    /// The command.
    pub(super) id: u32,
    /// The state in which it was decided.
    pub(super) before: State,
    /// The state that it leads to.
    pub(super) after: State,
}

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
    /// The states that each entity ever had.
    states: HashSet<(EntityKey, State)>,
    /// The last command that changed each entity.
    changed: HashMap<EntityKey, u32>,
    /// The effects that were ever received, trimmed receipts too.
    pub(super) received: HashSet<EffectId>,
    /// The effects that were ever caused.
    pub(super) caused: HashSet<EffectId>,
    pub(super) timers: BTreeMap<TimerId, Timer>,
    /// The commands that have set a timer.
    pub(super) armed: HashSet<u32>,
}

/// The command that a message names.
fn number(bytes: &[u8]) -> u32 {
    let text = std::str::from_utf8(bytes).expect("text");
    text.parse().expect("a number")
}

#[derive(Default, Clone, Copy)]
struct Row {
    last_event: u64,
    deleted_until: Option<Timestamp>,
    state: State,
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

    pub(super) fn state(&self, key: &EntityKey) -> State {
        self.entities.get(key).copied().unwrap_or_default().state
    }

    /// Whether the entity ever had this state.
    pub(super) fn was_in(&self, key: &EntityKey, state: State) -> bool {
        state == State::default() || self.states.contains(&(key.clone(), state))
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

    /// Writes commits of one slot if the fence lets all of them pass.
    pub(super) fn write(
        &mut self,
        batch: &[Commit],
        causes: &HashMap<(Slot, SlotSequence), Cause>,
    ) -> Result<(), Head> {
        let head = *self.heads.entry(batch[0].slot).or_default();
        let mut sequence = head.sequence;
        for commit in batch {
            sequence = sequence.next();
            if head.epoch != commit.epoch || sequence != commit.sequence {
                return Err(head);
            }
        }
        for commit in batch {
            let cause = causes.get(&(commit.slot, commit.sequence)).copied();
            self.write_one(commit, cause);
        }
        Ok(())
    }

    fn write_one(&mut self, commit: &Commit, cause: Option<Cause>) {
        let head = self.heads.entry(commit.slot).or_default();
        head.sequence = commit.sequence;
        if let (Some(key), Some(change)) = (&commit.key, &commit.change) {
            self.change(key, change, commit.at);
            if let Some(cause) = cause {
                self.follow(key, cause);
            }
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
        self.write_timers(commit);
        for effect in &commit.delivered {
            self.outbox.remove(effect);
        }
    }

    /// A timer fires only as it stands, in its time, and is gone or set again with that.
    fn write_timers(&mut self, commit: &Commit) {
        let Some(key) = &commit.key else {
            assert!(commit.timers.is_empty(), "timers of nobody");
            return;
        };
        let is_tick = |effect: &&Effect| effect.call.payload.type_url == TICK;
        let fired = commit.effects.iter().find(is_tick);
        for write in &commit.timers {
            let id = TimerId {
                key: key.clone(),
                name: write.name.clone(),
            };
            if let Some(fired) = fired {
                let stood = self.timers.get(&id).expect("it fired and does not stand");
                assert_eq!(stood.call, fired.call, "it fired and was set again");
                assert!(stood.due <= commit.at, "it fired before its time");
                let again = stood.repeat.map(|repeat| commit.at.plus(repeat));
                assert_eq!(write.timer.as_ref().map(|timer| timer.due), again);
            } else if let Some(timer) = &write.timer {
                self.armed.insert(number(&timer.call.payload.bytes));
            }
            match &write.timer {
                Some(timer) => self.timers.insert(id, timer.clone()),
                None => self.timers.remove(&id),
            };
        }
    }

    /// A change follows the state that it was decided in, and the command before it.
    fn follow(&mut self, key: &EntityKey, cause: Cause) {
        let row = self.entities.entry(key.clone()).or_default();
        assert_eq!(row.state, cause.before, "{} saw another state", cause.id);
        row.state = cause.after;
        self.states.insert((key.clone(), cause.after));
        let before = self.changed.insert(key.clone(), cause.id);
        assert!(
            before.is_none_or(|before| before < cause.id),
            "out of order"
        );
    }

    fn trim(&mut self, receiver: Slot, sender: Slot, below: SlotSequence) {
        self.receipts.retain(|(slot, effect)| {
            *slot != receiver || effect.slot != sender || effect.sequence >= below
        });
    }

    fn change(&mut self, key: &EntityKey, change: &Change, at: Timestamp) {
        let row = self.entities.entry(key.clone()).or_default();
        match change {
            Change::Append { first, events, .. } => {
                assert_eq!(*first, row.last_event + 1, "a gap in an entity");
                assert_eq!(row.deleted_until, None, "a deleted entity has changed");
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
