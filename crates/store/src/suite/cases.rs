//! The cases. Their names are the promises.

use std::collections::HashSet;
use std::time::Duration;

use bytes::Bytes;
use firn_model::call::Reply;
use firn_model::code::Code;
use firn_model::decision::{Effect, Forward, Tags};
use firn_model::id::{EffectId, EntityKey, Epoch, SLOTS, Slot, SlotSequence, StorageName};
use firn_model::metadata::{Entry, Metadata, Value};
use firn_model::payload::Payload;
use firn_model::policy::Replay;
use firn_model::status::{GrpcCode, Status};
use futures_util::future::join;

use super::subject::{START, Subject, append, key, numbered, payload, payloads, texts, yield_once};
use crate::commit::{Change, Commit, Head, Outcome, ReplyRecord, StoredAnswer};
use crate::entity::{Entity, Snapshot, Timestamp};
use crate::{Store, Tailed, Tombstone};

const HOUR: Duration = Duration::from_secs(60 * 60);

fn slot(number: u16) -> Slot {
    Slot::new(number).expect("the cases use numbers of slots")
}

fn later(time: Timestamp) -> Timestamp {
    time.plus(HOUR)
}

async fn outcomes(store: &dyn Store, batch: Vec<Commit>) -> Vec<(u16, Outcome)> {
    let outcomes = store.commit(batch).await.into_iter();
    let mut outcomes: Vec<_> = outcomes
        .map(|outcome| (outcome.slot.number(), outcome.outcome))
        .collect();
    outcomes.sort_by_key(|(slot, _)| *slot);
    outcomes
}

async fn heads(store: &dyn Store) -> Vec<(u16, u64)> {
    let heads = store.heads().await.expect("heads can be read").into_iter();
    let mut heads: Vec<_> = heads
        .map(|(slot, head)| (slot.number(), head.sequence.0))
        .collect();
    heads.sort_unstable();
    heads
}

pub(super) async fn sequences_are_contiguous(mut subject: Subject) {
    assert_eq!(heads(subject.store()).await, []);
    let batch = vec![
        subject.next(slot(3)),
        subject.next(slot(3)),
        subject.next(slot(7)),
    ];
    assert_eq!(
        outcomes(subject.store(), batch).await,
        [(3, Outcome::Landed), (7, Outcome::Landed)]
    );
    let third = subject.next(slot(3));
    subject.land(vec![third]).await;
    assert_eq!(heads(subject.store()).await, [(3, 3), (7, 1)]);
    subject.reopen().await;
    assert_eq!(heads(subject.store()).await, [(3, 3), (7, 1)]);
    let fourth = subject.next(slot(3));
    subject.land(vec![fourth]).await;
    assert_eq!(outcomes(subject.store(), Vec::new()).await, []);
}

pub(super) async fn refused_slots_leave_others_alone(mut subject: Subject) {
    let cart = key("cart", "a");
    subject.apply(&cart, Change::Set(payload("old"))).await;
    let slot_of_cart = cart.slot().number();
    let refused = |sequence| Outcome::Refused {
        head: Head {
            epoch: Epoch(0),
            sequence: SlotSequence(sequence),
        },
    };
    let at = subject.now();
    let mut wrong_epoch = Commit::empty(cart.slot(), Epoch(1), SlotSequence(2), at);
    wrong_epoch.key = Some(cart.clone());
    wrong_epoch.change = Some(Change::Set(payload("new")));
    let mut wrong_sequence = wrong_epoch.clone();
    (wrong_sequence.epoch, wrong_sequence.sequence) = (Epoch(0), SlotSequence(3));
    let mut repeated = wrong_sequence.clone();
    repeated.sequence = SlotSequence(1);
    for wrong in [wrong_epoch, wrong_sequence.clone(), repeated] {
        let other = subject.next(slot(1));
        let outcomes = outcomes(subject.store(), vec![wrong, other]).await;
        assert_eq!(outcomes, [(1, Outcome::Landed), (slot_of_cart, refused(1))]);
    }
    // A gap inside of a batch: the slot stands or falls as a whole.
    let mut fits = wrong_sequence.clone();
    fits.sequence = SlotSequence(2);
    let mut gap = wrong_sequence;
    gap.sequence = SlotSequence(4);
    let outcomes = outcomes(subject.store(), vec![fits, gap]).await;
    assert_eq!(outcomes, [(slot_of_cart, refused(1))]);
    subject.reopen().await;
    assert_eq!(subject.load(&cart).await.state, Some(payload("old")));
    assert_eq!(heads(subject.store()).await, [(1, 3), (slot_of_cart, 1)]);
}

pub(super) async fn broken_commits_are_refused(mut subject: Subject) {
    let cart = key("cart", "a");
    subject.apply(&cart, append(1, &["one", "two"])).await;
    let next = subject.next(cart.slot());
    let broken = [
        (Some(cart.clone()), append(2, &["again"])),
        (Some(cart.clone()), append(4, &["too early"])),
        (
            Some(cart.clone()),
            Change::Snapshot {
                sequence: 3,
                payload: payload("of the future"),
            },
        ),
        (None, Change::Set(payload("of nobody"))),
    ];
    for (key, change) in broken {
        let mut commit = next.clone();
        (commit.key, commit.change) = (key, Some(change));
        let outcomes = outcomes(subject.store(), vec![commit]).await;
        assert!(matches!(outcomes[..], [(_, Outcome::Refused { .. })]));
    }
    let mut misplaced = subject.next(neighbour_slot(cart.slot()));
    misplaced.key = Some(cart.clone());
    misplaced.change = Some(Change::Set(payload("elsewhere")));
    let refused = outcomes(subject.store(), vec![misplaced]).await;
    assert!(matches!(refused[..], [(_, Outcome::Refused { .. })]));
    let mut foreign = next.clone();
    foreign.delivered = vec![effect_id(neighbour_slot(cart.slot()), 1, 0)];
    let outcomes = outcomes(subject.store(), vec![foreign]).await;
    assert!(matches!(outcomes[..], [(_, Outcome::Refused { .. })]));
    subject.land(vec![next]).await;
    subject.reopen().await;
    let entity = subject.load(&cart).await;
    assert_eq!(texts(&entity), numbered(1, &["one", "two"]));
}

fn neighbour_slot(of: Slot) -> Slot {
    slot((of.number() + 1) % SLOTS)
}

pub(super) async fn many_slots_land_in_one_batch(mut subject: Subject) {
    const COUNT: usize = 2000;
    let keys: Vec<EntityKey> = (0..COUNT)
        .map(|number| key("many", &number.to_string()))
        .collect();
    let batch: Vec<Commit> = keys
        .iter()
        .map(|key| subject.change(key, append(1, &[&key.id])))
        .collect();
    let slots: HashSet<Slot> = batch.iter().map(|commit| commit.slot).collect();
    let outcomes = outcomes(subject.store(), batch).await;
    assert_eq!(outcomes.len(), slots.len());
    assert!(
        outcomes
            .iter()
            .all(|(_, outcome)| *outcome == Outcome::Landed)
    );
    subject.reopen().await;
    for key in &keys {
        assert_eq!(texts(&subject.load(key).await), numbered(1, &[&key.id]));
    }
}

pub(super) async fn values_are_the_newest(mut subject: Subject) {
    let cart = key("cart", "a");
    assert_eq!(subject.load(&cart).await, Entity::default());
    subject.apply(&cart, Change::Set(payload("one"))).await;
    assert_eq!(subject.load(&cart).await.state, Some(payload("one")));
    let batch = vec![
        subject.change(&cart, Change::Set(payload("two"))),
        subject.change(&cart, Change::Set(Payload::default())),
    ];
    subject.land(batch).await;
    subject.reopen().await;
    let empty = Entity {
        state: Some(Payload::default()),
        ..Entity::default()
    };
    assert_eq!(subject.load(&cart).await, empty);
    subject.apply(&cart, Change::Delete { until: None }).await;
    subject.reopen().await;
    assert_eq!(subject.load(&cart).await, Entity::default());
    subject.apply(&cart, Change::Set(payload("again"))).await;
    assert_eq!(subject.load(&cart).await.state, Some(payload("again")));
}

pub(super) async fn tags_are_those_of_the_state(mut subject: Subject) {
    let actor = key("actor", "a");
    let tags: Tags = [("colour".to_owned(), "blue".to_owned())].into();
    let mut commit = subject.change(&actor, Change::Set(payload("one")));
    commit.tags = tags.clone();
    subject.land(vec![commit]).await;
    subject.reopen().await;
    let entity = subject.load(&actor).await;
    assert_eq!(
        (entity.state, entity.tags),
        (Some(payload("one")), tags.clone())
    );
    let mut alone = subject.next(actor.slot());
    alone.key = Some(actor.clone());
    alone.tags = tags.clone();
    let refused = outcomes(subject.store(), vec![alone]).await;
    assert!(matches!(refused[..], [(_, Outcome::Refused { .. })]));
    subject.take_back(actor.slot());
    subject.apply(&actor, Change::Set(payload("two"))).await;
    subject.reopen().await;
    assert_eq!(subject.load(&actor).await.tags, Tags::new());
    let mut commit = subject.change(&actor, Change::Set(payload("three")));
    commit.tags = tags;
    subject.land(vec![commit]).await;
    subject.apply(&actor, Change::Delete { until: None }).await;
    subject.reopen().await;
    assert_eq!(subject.load(&actor).await, Entity::default());
}

pub(super) async fn events_replay_in_order(mut subject: Subject) {
    let cart = key("cart", "a");
    let many: Vec<String> = (1..=300).map(|number| format!("event {number}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    subject.apply(&cart, append(1, &many[..2])).await;
    subject.advance(HOUR);
    let batch = vec![
        subject.change(&cart, append(3, &many[2..3])),
        subject.change(&cart, append(4, &many[3..])),
    ];
    subject.land(batch).await;
    subject.reopen().await;
    let entity = subject.load(&cart).await;
    assert_eq!(texts(&entity), numbered(1, &many));
    assert_eq!((entity.last_event, &entity.state), (300, &None));
    assert_eq!(entity.events[1].at, START);
    assert_eq!(entity.events[2].at, later(START));

    let page = async |after, limit| {
        let events = subject.store().events(&cart, after, limit).await;
        let events = events.expect("events can be read");
        events
            .iter()
            .map(|event| event.sequence)
            .collect::<Vec<_>>()
    };
    assert_eq!(page(0, 2).await, [1, 2]);
    assert_eq!(page(298, 10).await, [299, 300]);
    assert_eq!(page(300, 10).await, [0; 0]);
    assert_eq!(page(u64::MAX, 10).await, [0; 0]);
    assert_eq!(page(0, 0).await, [0; 0]);
    assert_eq!(page(0, usize::MAX).await.len(), 300);
}

pub(super) async fn snapshots_shorten_the_replay(mut subject: Subject) {
    let cart = key("cart", "a");
    let with_snapshot = Change::Append {
        first: 1,
        events: payloads(&["1", "2"]),
        snapshot: Some(payload("after 2")),
        deleted_until: None,
    };
    subject.apply(&cart, with_snapshot).await;
    subject.apply(&cart, append(3, &["3", "4"])).await;
    let check = async |subject: &Subject, sequence: u64, rest: &[&str]| {
        let entity = subject.load(&cart).await;
        let snapshot = Snapshot {
            sequence,
            payload: payload(&format!("after {sequence}")),
        };
        assert_eq!(entity.snapshot, Some(snapshot));
        assert_eq!(texts(&entity), numbered(sequence + 1, rest));
        let all = subject.store().load(&cart, Replay::AllEvents).await;
        let all = all.expect("the entity can be loaded");
        assert_eq!(all.snapshot, None);
        assert_eq!(texts(&all), numbered(1, &["1", "2", "3", "4"]));
    };
    check(&subject, 2, &["3", "4"]).await;
    let snapshot = |sequence: u64| Change::Snapshot {
        sequence,
        payload: payload(&format!("after {sequence}")),
    };
    subject.apply(&cart, snapshot(3)).await;
    check(&subject, 3, &["4"]).await;
    // One that comes late changes nothing.
    subject.apply(&cart, snapshot(1)).await;
    check(&subject, 3, &["4"]).await;
    subject.apply(&cart, snapshot(4)).await;
    subject.reopen().await;
    check(&subject, 4, &[]).await;
}

pub(super) async fn tombstones_stay_until_cleaned(mut subject: Subject) {
    let (value, sourced) = (key("cart", "value"), key("cart", "sourced"));
    let until = later(START);
    subject.apply(&value, Change::Set(payload("one"))).await;
    subject
        .apply(&value, Change::Delete { until: Some(until) })
        .await;
    let deleted = Change::Append {
        first: 1,
        events: payloads(&["last"]),
        snapshot: None,
        deleted_until: Some(until),
    };
    subject.apply(&sourced, deleted).await;
    subject.advance(2 * HOUR);
    subject.reopen().await;
    let tombstone = Entity {
        deleted_until: Some(until),
        ..Entity::default()
    };
    assert_eq!(subject.load(&value).await, tombstone);
    let entity = subject.load(&sourced).await;
    assert_eq!(entity.deleted_until, Some(until));
    assert_eq!(texts(&entity), numbered(1, &["last"]));
    // Without an event of its own.
    let marked = Change::Append {
        first: 2,
        events: Vec::new(),
        snapshot: None,
        deleted_until: Some(later(until)),
    };
    subject.apply(&sourced, marked).await;
    assert_eq!(
        subject.load(&sourced).await.deleted_until,
        Some(later(until))
    );
    for key in [value, sourced] {
        subject.apply(&key, Change::Clean).await;
        assert_eq!(subject.load(&key).await, Entity::default());
    }
}

pub(super) async fn cleaned_entities_begin_again(mut subject: Subject) {
    let cart = key("cart", "a");
    let before = Change::Append {
        first: 1,
        events: payloads(&["old 1", "old 2", "old 3"]),
        snapshot: Some(payload("old")),
        deleted_until: None,
    };
    subject.apply(&cart, before).await;
    subject.apply(&cart, Change::Set(payload("old"))).await;
    let again = append(1, &["new 1"]);
    let batch = vec![
        subject.change(&cart, Change::Clean),
        subject.change(&cart, again),
    ];
    subject.land(batch).await;
    subject.reopen().await;
    let entity = subject.load(&cart).await;
    assert_eq!(texts(&entity), numbered(1, &["new 1"]));
    assert_eq!((entity.state, entity.snapshot), (None, None));
    assert_eq!(entity.last_event, 1);
    let events = subject.store().events(&cart, 0, 10).await;
    assert_eq!(events.map(|events| events.len()), Ok(1));
    subject.apply(&cart, append(2, &["new 2"])).await;
    assert_eq!(subject.load(&cart).await.last_event, 2);
}

pub(super) async fn deleted_events_leave_nothing(mut subject: Subject) {
    const GONE: Change = Change::Delete { until: None };
    let cart = key("cart", "a");
    let before = Change::Append {
        first: 1,
        events: payloads(&["old 1", "old 2"]),
        snapshot: Some(payload("old")),
        deleted_until: None,
    };
    subject.apply(&cart, before).await;
    subject.apply(&cart, append(3, &["old 3"])).await;
    subject.apply(&cart, GONE).await;
    let nothing = async |subject: &Subject| {
        assert_eq!(subject.load(&cart).await, Entity::default());
        assert_eq!(subject.store().events(&cart, 0, 9).await, Ok(Vec::new()));
        let listed = subject.store().list(&cart.storage, None, 9).await;
        assert_eq!(listed, Ok(Vec::new()));
    };
    nothing(&subject).await;
    subject.reopen().await;
    nothing(&subject).await;
    // What went on from the old events is refused, also behind the delete in its batch.
    for first in [2, 4] {
        let mut commit = subject.next(cart.slot());
        let sequence = commit.sequence;
        (commit.key, commit.change) = (Some(cart.clone()), Some(GONE));
        let mut stale = commit.clone();
        stale.sequence = sequence.next();
        stale.change = Some(append(first, &["stale"]));
        let outcomes = outcomes(subject.store(), vec![commit, stale]).await;
        assert!(matches!(outcomes[..], [(_, Outcome::Refused { .. })]));
        subject.take_back(cart.slot());
    }
    // Begun, deleted and begun again at once.
    let batch = vec![
        subject.change(&cart, append(1, &["again 1", "again 2"])),
        subject.change(&cart, GONE),
        subject.change(&cart, GONE),
        subject.change(&cart, append(1, &["new 1"])),
    ];
    subject.land(batch).await;
    subject.apply(&cart, append(2, &["new 2"])).await;
    subject.reopen().await;
    let entity = subject.load(&cart).await;
    assert_eq!(texts(&entity), numbered(1, &["new 1", "new 2"]));
    assert_eq!((entity.snapshot, entity.deleted_until), (None, None));
    let changes = tail(subject.store(), cart.slot()).await.into_iter();
    let changes: Vec<Change> = changes.map(|tailed| tailed.change).collect();
    assert_eq!(
        changes,
        [GONE, append(1, &["new 1"]), append(2, &["new 2"])]
    );
}

pub(super) async fn deletes_keep_reply_records(mut subject: Subject) {
    let (cart, note) = (key("cart", "a"), key("note", "a"));
    let kept = record("one", later(START), reply("one"));
    for (key, change) in [
        (&cart, append(1, &["1"])),
        (&note, Change::Set(payload("1"))),
    ] {
        let mut commit = subject.change(key, change);
        commit.reply_record = Some(kept.clone());
        subject.land(vec![commit]).await;
        let with_delete = record("two", later(START), reply("two"));
        let mut commit = subject.change(key, Change::Delete { until: None });
        commit.reply_record = Some(with_delete.clone());
        subject.land(vec![commit]).await;
        subject.reopen().await;
        assert_eq!(stored(&subject, key, "one").await, Some(kept.clone()));
        assert_eq!(stored(&subject, key, "two").await, Some(with_delete));
        subject.apply(key, Change::Clean).await;
        assert_eq!(stored(&subject, key, "one").await, None);
        let fresh = record("three", later(START), reply("three"));
        remember(&mut subject, key, &fresh).await;
        assert_eq!(stored(&subject, key, "three").await, Some(fresh));
    }
}

pub(super) async fn tombstones_are_found_by_the_end_of_their_grace(mut subject: Subject) {
    let found = async |subject: &Subject, after: Option<&Tombstone>, limit: usize| {
        let found = subject.store().tombstones(subject.now(), after, limit);
        found.await.expect("tombstones can be read")
    };
    let tombstone = |key: &EntityKey, until| Tombstone {
        until,
        key: key.clone(),
    };
    let until = later(START);
    let deleted = |until| Change::Delete { until: Some(until) };
    let appended = Change::Append {
        first: 1,
        events: payloads(&["gone"]),
        snapshot: None,
        deleted_until: Some(until),
    };
    let (a, b) = (key("note", "a"), key("note", "b"));
    let (again, plain) = (key("note", "again"), key("note", "plain"));
    let (long, cart) = (key("note", &"long".repeat(20_000)), key("cart", "c"));
    subject.apply(&a, deleted(until)).await;
    subject.apply(&b, deleted(later(until))).await;
    subject.apply(&again, deleted(until)).await;
    subject.apply(&again, Change::Set(payload("alive"))).await;
    subject.apply(&plain, Change::Delete { until: None }).await;
    subject.apply(&long, deleted(until)).await;
    subject.apply(&cart, appended).await;
    assert_eq!(found(&subject, None, 9).await, []);
    subject.advance(HOUR);
    subject.reopen().await;
    let all = found(&subject, None, 9).await;
    let mut keys: Vec<_> = all.iter().map(|tombstone| &tombstone.key).collect();
    keys.sort();
    assert_eq!(keys, [&cart, &a, &long]);
    assert!(all.iter().all(|tombstone| tombstone.until == until));
    assert_eq!(found(&subject, None, 2).await, all[..2]);
    assert_eq!(found(&subject, all.get(1), 9).await, all[2..]);
    for key in keys {
        subject.apply(key, Change::Clean).await;
    }
    assert_eq!(found(&subject, None, 9).await, []);
    subject.advance(HOUR);
    assert_eq!(
        found(&subject, None, 9).await,
        [tombstone(&b, later(until))]
    );
    subject.apply(&b, deleted(later(later(until)))).await;
    subject.reopen().await;
    assert_eq!(found(&subject, None, 9).await, []);
}

pub(super) async fn large_generations_are_cleaned_in_parts(mut subject: Subject) {
    const EVENTS: usize = 2000;
    let cart = key("cart", "a");
    let many = vec!["x"; EVENTS];
    subject.apply(&cart, append(1, &many)).await;
    subject.apply(&cart, Change::Clean).await;
    for number in 1..=20 {
        subject.apply(&cart, append(number, &["new"])).await;
        assert_eq!(subject.load(&cart).await.last_event, number);
    }
    subject.reopen().await;
    let entity = subject.load(&cart).await;
    assert_eq!(texts(&entity), numbered(1, &["new"; 20]));
    let changes = tail(subject.store(), cart.slot()).await;
    assert_eq!(changes.len(), 21);
    assert_eq!(changes[0].change, Change::Clean);
}

async fn tail(store: &dyn Store, slot: Slot) -> Vec<Tailed> {
    tail_from(store, slot, SlotSequence(0)).await
}

/// Page by page, to the end.
async fn tail_from(store: &dyn Store, slot: Slot, mut after: SlotSequence) -> Vec<Tailed> {
    let mut changes = Vec::new();
    loop {
        let page = store.tail(slot, after, 3).await;
        let page = page.expect("the slot can be tailed");
        let Some(last) = page.last() else {
            return changes;
        };
        after = last.sequence;
        changes.extend(page);
    }
}

/// A second entity in the slot of the first.
fn neighbour(of: &EntityKey, storage: &str) -> EntityKey {
    (0..)
        .map(|number: u32| key(storage, &number.to_string()))
        .find(|key| key.slot() == of.slot() && key != of)
        .expect("slots are finite")
}

pub(super) async fn tails_show_every_change_once(mut subject: Subject) {
    let sourced = key("log", "a");
    let value = neighbour(&sourced, "value");
    let deleted = Change::Append {
        first: 4,
        events: payloads(&["4"]),
        snapshot: None,
        deleted_until: Some(later(START)),
    };
    let with_snapshot = Change::Append {
        first: 2,
        events: payloads(&["2", "3"]),
        snapshot: Some(payload("after 3")),
        deleted_until: None,
    };
    let batch = vec![
        subject.change(&sourced, append(1, &["1"])),
        subject.change(&value, Change::Set(payload("old"))),
        subject.change(&sourced, with_snapshot),
        subject.next(sourced.slot()),
        subject.change(&value, Change::Set(payload("new"))),
        subject.change(&sourced, deleted.clone()),
    ];
    subject.land(batch).await;
    subject.reopen().await;
    let seen = |changes: Vec<Tailed>| -> Vec<(u64, EntityKey, Change)> {
        let change = |tailed: Tailed| (tailed.sequence.0, tailed.key, tailed.change);
        changes.into_iter().map(change).collect()
    };
    let expected = vec![
        (1, sourced.clone(), append(1, &["1"])),
        (3, sourced.clone(), append(2, &["2", "3"])),
        (5, value.clone(), Change::Set(payload("new"))),
        (6, sourced.clone(), deleted),
    ];
    let changes = tail(subject.store(), sourced.slot()).await;
    assert!(changes.iter().all(|tailed| tailed.at == START));
    assert_eq!(seen(changes), expected);
    let rest = tail_from(subject.store(), sourced.slot(), SlotSequence(5)).await;
    assert_eq!(seen(rest), expected[3..]);

    subject.apply(&value, Change::Delete { until: None }).await;
    subject.apply(&sourced, Change::Clean).await;
    subject.reopen().await;
    let changes = tail(subject.store(), sourced.slot()).await;
    assert_eq!(
        seen(changes),
        [
            (7, value, Change::Delete { until: None }),
            (8, sourced, Change::Clean)
        ]
    );
    let nothing = tail(subject.store(), slot(0)).await;
    assert_eq!(nothing, []);
}

pub(super) async fn tails_show_marks_without_events(mut subject: Subject) {
    let sourced = key("log", "a");
    let mark = Change::Append {
        first: 3,
        events: Vec::new(),
        snapshot: None,
        deleted_until: Some(later(START)),
    };
    subject.apply(&sourced, append(1, &["1", "2"])).await;
    subject.apply(&sourced, mark.clone()).await;
    // A later grace is not that of the mark.
    let again = Change::Append {
        first: 3,
        events: payloads(&["3"]),
        snapshot: None,
        deleted_until: Some(later(later(START))),
    };
    subject.apply(&sourced, again.clone()).await;
    subject.reopen().await;
    let changes = tail(subject.store(), sourced.slot()).await.into_iter();
    let changes: Vec<(u64, Change)> = changes
        .map(|tailed| (tailed.sequence.0, tailed.change))
        .collect();
    let expected = [(1, append(1, &["1", "2"])), (2, mark), (3, again)];
    assert_eq!(changes, expected);
}

pub(super) async fn tails_have_no_gap_while_others_write(mut subject: Subject) {
    const COMMITS: u64 = 200;
    let sourced = key("log", "a");
    let value = neighbour(&sourced, "value");
    let batches: Vec<Vec<Commit>> = (1..=COMMITS)
        .map(|number| {
            vec![
                subject.change(&sourced, append(number, &["event"])),
                subject.change(&value, Change::Set(payload(&number.to_string()))),
            ]
        })
        .collect();
    let write = async {
        for batch in batches {
            subject.land(batch).await;
            yield_once().await;
        }
    };
    let mut last_event = 0;
    let follow = async {
        let mut after = SlotSequence(0);
        while last_event < COMMITS {
            yield_once().await;
            for tailed in tail_from(subject.store(), sourced.slot(), after).await {
                assert!(tailed.sequence > after, "in order, and once");
                after = tailed.sequence;
                if let Change::Append { first, .. } = tailed.change {
                    assert_eq!(first, last_event + 1, "without a gap");
                    last_event = first;
                }
            }
        }
    };
    join(follow, write).await;
    let changes = tail(subject.store(), sourced.slot()).await;
    assert_eq!(changes.len() as u64, COMMITS + 1);
}

fn effect(number: u32) -> Effect {
    let mut metadata = Metadata::default();
    metadata.push_text("key", "value");
    metadata.entries.push(Entry {
        key: "key-bin".into(),
        value: Value::Binary(Bytes::from_static(&[0, 255])),
    });
    Effect {
        delay: None,
        call: Forward {
            service: "test.Service".into(),
            method: format!("Method{number}"),
            payload: payload(&number.to_string()),
            metadata,
        },
        synchronous: number.is_multiple_of(2),
    }
}

fn effect_id(slot: Slot, sequence: u64, index: u32) -> EffectId {
    EffectId {
        slot,
        sequence: SlotSequence(sequence),
        index,
    }
}

pub(super) async fn outbox_holds_what_is_not_delivered(mut subject: Subject) {
    let cart = key("cart", "a");
    let other = key("other", "b");
    let mut both = subject.change(&cart, Change::Set(payload("one")));
    both.effects = vec![effect(0), effect(1)];
    both.hops = 3;
    let mut without_change = subject.next(other.slot());
    without_change.key = Some(other.clone());
    without_change.effects = vec![effect(2)];
    subject.land(vec![both, without_change]).await;
    subject.reopen().await;
    let outbox = async |subject: &Subject, after, limit| {
        let pending = subject.store().outbox(after, limit).await;
        pending.expect("the outbox can be read")
    };
    let all = outbox(&subject, None, 10).await;
    let mut expected = vec![
        (effect_id(cart.slot(), 1, 0), cart.clone(), effect(0), 3),
        (effect_id(cart.slot(), 1, 1), cart.clone(), effect(1), 3),
        (effect_id(other.slot(), 1, 0), other.clone(), effect(2), 0),
    ];
    expected.sort_by_key(|(id, ..)| *id);
    let seen: Vec<_> = all
        .iter()
        .cloned()
        .map(|pending| (pending.id, pending.sender, pending.effect, pending.hops))
        .collect();
    assert_eq!(seen, expected);
    assert_eq!(outbox(&subject, None, 1).await, all[..1]);
    assert_eq!(outbox(&subject, Some(all[0].id), 1).await, all[1..2]);
    assert_eq!(outbox(&subject, Some(all[2].id), 1).await, []);

    let mut delivered = subject.next(cart.slot());
    delivered.delivered = vec![effect_id(cart.slot(), 1, 0)];
    subject.land(vec![delivered.clone()]).await;
    // Twice does no harm.
    delivered.sequence = delivered.sequence.next();
    let _ = subject.next(cart.slot());
    subject.land(vec![delivered]).await;
    subject.reopen().await;
    let left: Vec<EffectId> = outbox(&subject, None, 10)
        .await
        .iter()
        .map(|pending| pending.id)
        .collect();
    let mut expected = [effect_id(cart.slot(), 1, 1), effect_id(other.slot(), 1, 0)];
    expected.sort();
    assert_eq!(left, expected);
}

pub(super) async fn receipts_stay_until_trimmed(mut subject: Subject) {
    let (receiver, sender, other) = (slot(1), slot(2), slot(16_383));
    let effects = [
        effect_id(sender, 5, 0),
        effect_id(sender, 5, 1),
        effect_id(sender, 7, 0),
        effect_id(other, 1, 0),
    ];
    for effect in effects {
        let mut commit = subject.next(receiver);
        commit.received = Some(effect);
        subject.land(vec![commit]).await;
    }
    let received = async |subject: &Subject, receiver: Slot| {
        let mut received = Vec::new();
        for effect in effects {
            let was_received = subject.store().was_received(receiver, effect).await;
            received.push(was_received.expect("receipts can be read"));
        }
        received
    };
    subject.reopen().await;
    assert_eq!(received(&subject, receiver).await, [true; 4]);
    assert_eq!(received(&subject, sender).await, [false; 4]);
    let trim = async |subject: &mut Subject, below: u64| {
        let mut commit = subject.next(receiver);
        commit.receipts_below = Some((sender, SlotSequence(below)));
        subject.land(vec![commit]).await;
        received(subject, receiver).await
    };
    assert_eq!(trim(&mut subject, 5).await, [true; 4]);
    assert_eq!(trim(&mut subject, 7).await, [false, false, true, true]);
    // Going back changes nothing.
    assert_eq!(trim(&mut subject, 6).await, [false, false, true, true]);
    subject.reopen().await;
    assert_eq!(trim(&mut subject, 8).await, [false, false, false, true]);
}

fn record(idempotency_key: &str, expires: Timestamp, answer: StoredAnswer) -> ReplyRecord {
    ReplyRecord {
        method: "test.Service/Method".into(),
        idempotency_key: idempotency_key.into(),
        request_hash: u128::MAX - 1,
        expires,
        answer,
    }
}

fn reply(text: &str) -> StoredAnswer {
    StoredAnswer::Reply(Reply {
        payload: payload(text),
        metadata: effect(0).call.metadata,
    })
}

async fn stored(subject: &Subject, key: &EntityKey, name: &str) -> Option<ReplyRecord> {
    let store = subject.store();
    let record = store.reply_record(key, "test.Service/Method", name).await;
    record.expect("records can be read")
}

async fn remember(subject: &mut Subject, key: &EntityKey, record: &ReplyRecord) {
    let mut commit = subject.next(key.slot());
    commit.key = Some(key.clone());
    commit.reply_record = Some(record.clone());
    subject.land(vec![commit]).await;
}

pub(super) async fn reply_records_expire(mut subject: Subject) {
    let cart = key("cart", "a");
    let first = record("one", later(START), reply("one"));
    remember(&mut subject, &cart, &first).await;
    subject.reopen().await;
    assert_eq!(stored(&subject, &cart, "one").await, Some(first.clone()));
    assert_eq!(stored(&subject, &cart, "two").await, None);
    assert_eq!(stored(&subject, &key("cart", "b"), "one").await, None);
    let other_method = subject.store().reply_record(&cart, "other", "one").await;
    assert_eq!(other_method, Ok(None));

    let longer = record("one", later(later(START)), reply("again"));
    remember(&mut subject, &cart, &longer).await;
    subject.advance(HOUR);
    // Commits sweep what has expired; the newer record stays.
    let sweeping = subject.next(cart.slot());
    subject.land(vec![sweeping]).await;
    assert_eq!(stored(&subject, &cart, "one").await, Some(longer));
    subject.advance(HOUR);
    assert_eq!(stored(&subject, &cart, "one").await, None);
    let sweeping = subject.next(cart.slot());
    subject.land(vec![sweeping]).await;
    subject.reopen().await;
    assert_eq!(stored(&subject, &cart, "one").await, None);

    let fresh = record("three", later(subject.now()), reply("three"));
    remember(&mut subject, &cart, &fresh).await;
    assert_eq!(stored(&subject, &cart, "three").await, Some(fresh));
    subject.apply(&cart, Change::Clean).await;
    assert_eq!(stored(&subject, &cart, "three").await, None);
}

pub(super) async fn reply_records_hold_any_answer(mut subject: Subject) {
    let cart = key("cart", "a");
    let answers = [
        StoredAnswer::Reply(Reply::default()),
        reply("text"),
        StoredAnswer::Forward(effect(1).call),
        StoredAnswer::Failure(Status::chosen(GrpcCode::NotFound, "no such thing")),
        StoredAnswer::Failure(Status::refused(GrpcCode::Internal, Code::NoReply, "")),
    ];
    for (number, answer) in answers.iter().enumerate() {
        let record = record(&number.to_string(), later(START), answer.clone());
        remember(&mut subject, &cart, &record).await;
    }
    subject.reopen().await;
    for (number, answer) in answers.into_iter().enumerate() {
        let name = number.to_string();
        let expected = record(&name, later(START), answer);
        assert_eq!(stored(&subject, &cart, &name).await, Some(expected));
    }
}

pub(super) async fn lists_page_through_the_living(mut subject: Subject) {
    let ids = ["", "a", "a\0b", "ab", "b", "deleted", "plain", "z"];
    for id in ids {
        let key = key("cart", id);
        subject.apply(&key, Change::Set(payload(id))).await;
    }
    subject
        .apply(&key("cart", "sourced"), append(1, &["one"]))
        .await;
    for storage in ["car", "cart2", "cas", "", "carta"] {
        let key = key(storage, "other");
        subject.apply(&key, Change::Set(payload("other"))).await;
    }
    let until = Some(later(START));
    subject
        .apply(&key("cart", "deleted"), Change::Delete { until })
        .await;
    subject
        .apply(&key("cart", "plain"), Change::Delete { until: None })
        .await;
    subject.reopen().await;
    let storage = StorageName::new("cart");
    let page = async |after: Option<&str>, limit| {
        let ids = subject.store().list(&storage, after, limit).await;
        ids.expect("entities can be listed")
    };
    let living = ["", "a", "a\0b", "ab", "b", "sourced", "z"];
    assert_eq!(page(None, 100).await, living);
    assert_eq!(page(None, 2).await, living[..2]);
    assert_eq!(page(Some(""), 2).await, living[1..3]);
    assert_eq!(page(Some("b"), 100).await, living[5..]);
    assert_eq!(page(Some("aa"), 1).await, living[3..4]);
    assert_eq!(page(Some("z"), 1).await, [""; 0]);
    let nothing = subject
        .store()
        .list(&StorageName::new("none"), None, 1)
        .await;
    assert_eq!(nothing, Ok(Vec::new()));
}

pub(super) async fn large_states_come_back(mut subject: Subject) {
    const BYTES: usize = 10 * 1024 * 1024;
    let large: Vec<u8> = (0..BYTES).map(|number| (number / 7) as u8).collect();
    let large = Payload::new("large", large);
    let (value, sourced) = (key("large", "value"), key("large", "sourced"));
    subject.apply(&value, Change::Set(large.clone())).await;
    let change = Change::Append {
        first: 1,
        events: vec![large.clone()],
        snapshot: Some(large.clone()),
        deleted_until: None,
    };
    subject.apply(&sourced, change).await;
    subject.reopen().await;
    assert!(subject.load(&value).await.state == Some(large.clone()));
    let entity = subject.load(&sourced).await;
    assert!(
        entity
            .snapshot
            .is_some_and(|snapshot| snapshot.payload == large)
    );
    let listed = subject
        .store()
        .list(&StorageName::new("large"), None, 9)
        .await;
    assert_eq!(listed, Ok(vec!["sourced".into(), "value".into()]));
}

pub(super) async fn odd_ids_keep_apart(mut subject: Subject) {
    let long = "long".repeat(20_000);
    let longer = format!("{long}er");
    let names = [
        "",
        "\0",
        "\0\0",
        "a",
        "a\0",
        "a/b",
        "a-b",
        "a\\-b",
        "ÿ",
        "日本語",
        "\u{10FFFF}",
        &long,
        &longer,
    ];
    let keys: Vec<EntityKey> = names
        .iter()
        .flat_map(|storage| names.map(|id| key(storage, id)))
        .collect();
    let text = |key: &EntityKey| format!("{:?}", (key.storage.as_str(), &key.id));
    let mut batch = Vec::new();
    for key in &keys {
        let mut commit = subject.change(key, append(1, &[&text(key)]));
        commit.reply_record = Some(record(&text(key), later(START), reply(&text(key))));
        batch.push(commit);
    }
    subject.land(batch).await;
    subject.reopen().await;
    for key in &keys {
        let entity = subject.load(key).await;
        assert_eq!(texts(&entity), numbered(1, &[&text(key)]));
        let found = stored(&subject, key, &text(key)).await;
        assert!(found.is_some_and(|found| found.answer == reply(&text(key))));
    }
    for storage in names {
        let ids = list_all(subject.store(), storage).await;
        let mut expected = names.map(str::to_owned).to_vec();
        let mut sorted = ids.clone();
        expected.sort();
        sorted.sort();
        assert_eq!(sorted, expected);
        let short = |ids: &[String]| -> Vec<String> {
            ids.iter().filter(|id| id.len() < 1000).cloned().collect()
        };
        assert_eq!(short(&ids), short(&expected), "in byte order");
    }
}

/// In pages of one.
async fn list_all(store: &dyn Store, storage: &str) -> Vec<String> {
    let storage = StorageName::new(storage);
    let mut ids: Vec<String> = Vec::new();
    loop {
        let after = ids.last().map(String::as_str);
        let page = store.list(&storage, after, 1).await;
        let page = page.expect("entities can be listed");
        if page.is_empty() {
            return ids;
        }
        ids.extend(page);
    }
}
