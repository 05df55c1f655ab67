//! The store under test, and a writer that numbers commits.

use std::collections::HashMap;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use firn_model::id::{EntityKey, Epoch, Slot, SlotSequence, StorageName};
use firn_model::payload::Payload;
use firn_model::policy::Replay;

use super::Backend;
use crate::Store;
use crate::clock::Clock;
use crate::commit::{Change, Commit, Outcome};
use crate::entity::{Entity, Timestamp};

/// When every case begins.
pub(super) const START: Timestamp = Timestamp(1_700_000_000_000);

/// Long enough for what expires.
pub(super) const HOUR: Duration = Duration::from_secs(60 * 60);

/// The store under test.
pub(super) struct Subject {
    /// Before the backend, whose folder must not go first.
    store: Option<Box<dyn Store>>,
    backend: Box<dyn Backend>,
    now: Arc<AtomicU64>,
    sequences: HashMap<Slot, u64>,
}

impl Subject {
    pub(super) async fn open(fresh: impl Fn(Clock) -> Box<dyn Backend>) -> Self {
        let now = Arc::new(AtomicU64::new(START.0));
        let clock = now.clone();
        let backend = fresh(Clock::new(move || Timestamp(clock.load(Ordering::Relaxed))));
        let store = backend.open().await;
        Self {
            backend,
            store: Some(store),
            now,
            sequences: HashMap::new(),
        }
    }

    pub(super) fn store(&self) -> &dyn Store {
        &**self.store.as_ref().expect("it is open between calls")
    }

    pub(super) fn now(&self) -> Timestamp {
        Timestamp(self.now.load(Ordering::Relaxed))
    }

    pub(super) fn advance(&self, time: Duration) {
        self.now.store(self.now().plus(time).0, Ordering::Relaxed);
    }

    /// Closes the store and opens it again, if its contents outlive it.
    pub(super) async fn reopen(&mut self) {
        if self.backend.keeps() {
            self.store = None;
            self.store = Some(self.backend.open().await);
        }
    }

    /// The next commit of a slot, without contents.
    pub(super) fn next(&mut self, slot: Slot) -> Commit {
        let sequence = self.sequences.entry(slot).or_default();
        *sequence += 1;
        Commit::empty(slot, Epoch(0), SlotSequence(*sequence), self.now())
    }

    /// The last commit of a slot was not written.
    pub(super) fn take_back(&mut self, slot: Slot) {
        *self.sequences.entry(slot).or_default() -= 1;
    }

    /// The next commit of an entity's slot, with contents for the entity.
    pub(super) fn change(&mut self, key: &EntityKey, change: Change) -> Commit {
        let mut commit = self.next(key.slot());
        commit.key = Some(key.clone());
        commit.change = Some(change);
        commit
    }

    /// Writes a batch that must land.
    pub(super) async fn land(&self, batch: Vec<Commit>) {
        for outcome in self.store().commit(batch).await {
            assert_eq!(outcome.outcome, Outcome::Landed, "slot {}", outcome.slot);
        }
    }

    /// Writes one change that must land.
    pub(super) async fn apply(&mut self, key: &EntityKey, change: Change) {
        let commit = self.change(key, change);
        self.land(vec![commit]).await;
    }

    /// The entity, without when it changed.
    pub(super) async fn load(&self, key: &EntityKey) -> Entity {
        let loaded = self.store().load(key, Replay::FromSnapshot).await;
        Entity {
            changed_at: None,
            ..loaded.expect("the entity can be loaded")
        }
    }
}

pub(super) fn key(storage: &str, id: &str) -> EntityKey {
    EntityKey::new(StorageName::new(storage), id)
}

pub(super) fn payload(text: &str) -> Payload {
    Payload::new(
        "type.googleapis.com/test.Text",
        text.to_owned().into_bytes(),
    )
}

pub(super) fn payloads(texts: &[&str]) -> Vec<Payload> {
    texts.iter().copied().map(payload).collect()
}

/// Events that were appended, without more.
pub(super) fn append(first: u64, texts: &[&str]) -> Change {
    Change::Append {
        first,
        events: payloads(texts),
        snapshot: None,
        deleted_until: None,
    }
}

/// The numbers and texts of an entity's events.
pub(super) fn texts(entity: &Entity) -> Vec<(u64, Payload)> {
    let text = |event: &crate::Event| (event.sequence, event.payload.clone());
    entity.events.iter().map(text).collect()
}

/// Numbered payloads, as [`texts`] gives them.
pub(super) fn numbered(first: u64, texts: &[&str]) -> Vec<(u64, Payload)> {
    (first..).zip(payloads(texts)).collect()
}

pub(super) fn slot(number: u16) -> Slot {
    Slot::new(number).expect("the cases use numbers of slots")
}

pub(super) fn later(time: Timestamp) -> Timestamp {
    time.plus(HOUR)
}

/// What became of each slot of a batch, by number.
pub(super) async fn outcomes(store: &dyn Store, batch: Vec<Commit>) -> Vec<(u16, Outcome)> {
    let outcomes = store.commit(batch).await.into_iter();
    let mut outcomes: Vec<_> = outcomes
        .map(|outcome| (outcome.slot.number(), outcome.outcome))
        .collect();
    outcomes.sort_by_key(|(slot, _)| *slot);
    outcomes
}

/// Ids and storage names that are easily taken for one another, or for something else.
pub(super) fn odd_names() -> Vec<String> {
    let long = "long".repeat(20_000);
    let longer = format!("{long}er");
    let short = [
        "",
        "\0",
        "\0\0",
        "\u{1}",
        "\u{1}\u{1}",
        "\u{1}\u{2}",
        "A",
        "a",
        "a\0",
        "a/b",
        "a-b",
        "a\\-b",
        "a%",
        "a'b",
        "ÿ",
        "日本語",
        "\u{10FFFF}",
    ];
    let short = short.into_iter().map(str::to_owned);
    short.chain([long, longer]).collect()
}

/// Every one of these as an id under every one of them as a storage name.
pub(super) fn keys_of(names: &[String]) -> Vec<EntityKey> {
    let all = names
        .iter()
        .flat_map(|storage| names.iter().map(move |id| key(storage, id)));
    all.collect()
}

/// Lets others run, also over a store that never waits.
pub(super) async fn yield_once() {
    let mut has_yielded = false;
    poll_fn(|context| {
        if has_yielded {
            return Poll::Ready(());
        }
        has_yielded = true;
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
