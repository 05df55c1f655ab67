//! The cases of entities: states, events, snapshots, lists, sizes and ids. Their names are the promises.

use firn_model::decision::Tags;
use firn_model::id::{EntityKey, StorageName};
use firn_model::payload::Payload;
use firn_model::policy::Replay;

use super::replies::{record, reply, stored};
use super::subject::{
    HOUR, START, Subject, append, key, keys_of, later, numbered, odd_names, outcomes, payload,
    payloads, texts,
};
use crate::Store;
use crate::commit::{Change, Outcome};
use crate::entity::{Entity, Snapshot};

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
    let names = odd_names();
    let keys = keys_of(&names);
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
    for storage in &names {
        let ids = list_all(subject.store(), storage).await;
        let mut expected = names.clone();
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
