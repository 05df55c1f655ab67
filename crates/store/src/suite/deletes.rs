//! The cases of deletes, tombstones and new beginnings. Their names are the promises.

use firn_model::id::EntityKey;

use super::replies::{record, remember, reply, stored};
use super::subject::{
    HOUR, START, Subject, append, key, later, numbered, outcomes, payload, payloads, texts,
};
use super::tails::tail;
use crate::Tombstone;
use crate::commit::{Change, Outcome};
use crate::entity::Entity;

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
