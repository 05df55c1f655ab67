//! Stores with everything in them, and comparing what two stores answer.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use firn_model::call::Reply;
use firn_model::decision::{Effect, Forward};
use firn_model::id::{EffectId, EntityKey, Epoch, NodeId, Slot, SlotSequence};
use firn_model::metadata::{Entry, Metadata, Value};
use firn_model::policy::Replay;
use firn_model::status::{GrpcCode, Status};

use super::subject::{START, key, payload};
use crate::archive::{ChangeKind, Restore, Row};
use crate::commit::{Change, Commit, Outcome, ReplyRecord, StoredAnswer};
use crate::embedded::faults::Chance;
use crate::entity::Timestamp;
use crate::timer::{Timer, TimerName, TimerWrite};
use crate::{Covered, Keep, ReplicaWrite, Store};

/// How many commits [`fill`] makes.
const COMMITS: u64 = 120;

/// The entities that are written, some of them with names that no key holds.
fn entities() -> Vec<EntityKey> {
    let mut entities: Vec<EntityKey> = (0..8)
        .map(|number| key("cart", &number.to_string()))
        .collect();
    entities.push(key("cart", &"long".repeat(9 * 1024)));
    entities.push(key(&"name".repeat(300), "1"));
    entities.push(key("", "\0/ü"));
    entities
}

/// Writes commits of all kinds, trims, and replicas, the same for a seed but for the nodes' own ids.
pub async fn fill(store: &dyn Store, seed: u64) {
    let mut random = Chance::new(seed);
    let entities = entities();
    for number in 0..COMMITS {
        let place = random.below(entities.len() as u64) as usize;
        let commit = commit(store, &mut random, &entities[place], number).await;
        let outcomes = store.commit(vec![commit]).await;
        assert!(matches!(outcomes[0].outcome, Outcome::Landed));
    }
    for storage in store.storages().await.expect("names can be read") {
        let covered = store.covered(&storage, Keep::Last(1), None, 1000).await;
        let covered = covered.expect("events can be looked for").found;
        let trimmed = store
            .trim(covered.iter().map(Covered::trim).collect())
            .await;
        trimmed.expect("events can be trimmed");
    }
    for node in 1..=2 {
        let writes = entities.iter().map(|entity| {
            let mut write = ReplicaWrite::new(entity.clone(), START, format!("replica {node}"));
            write.deleted = random.once_in(4);
            write.received = vec![effect_id(3, node, 0)];
            write
        });
        let saved = store.save_replicas(NodeId(node), writes.collect()).await;
        saved.expect("replicas can be saved");
    }
    for name in ["a", "b", "a"] {
        store.incarnate(name).await.expect("a run can begin");
    }
}

async fn commit(store: &dyn Store, random: &mut Chance, key: &EntityKey, number: u64) -> Commit {
    let heads = store.heads().await.expect("heads can be read");
    let head = heads.iter().find(|(slot, _)| *slot == key.slot());
    let head = head.map(|(_, head)| *head).unwrap_or_default();
    let at = START.plus(Duration::from_millis(number));
    let mut commit = Commit::empty(key.slot(), head.epoch, head.sequence.next(), at);
    commit.key = Some(key.clone());
    let entity = store.load(key, Replay::FromSnapshot).await;
    let last = entity.expect("the entity can be loaded").last_event;
    commit.change = change(random, last, number, at);
    if let Some(Change::Set(_)) = commit.change {
        commit.tags = [("tag".to_owned(), number.to_string())].into();
    }
    if random.once_in(3) {
        commit.effects = vec![effect(number), effect(number + 1)];
        commit.hops = 2;
    }
    if random.once_in(4) {
        commit.delivered = vec![EffectId {
            slot: key.slot(),
            sequence: SlotSequence(random.below(head.sequence.0 + 1)),
            index: 0,
        }];
    }
    if random.once_in(3) {
        commit.reply_record = Some(record(random, number, at));
    }
    if random.once_in(3) {
        commit.received = Some(effect_id(7, number, 1));
    }
    if random.once_in(8) {
        let below = SlotSequence(random.below(number + 1));
        commit.receipts_below = Some((slot(7), below));
    }
    if random.once_in(3) {
        commit.timers = vec![timer(random, number, at)];
    }
    commit
}

fn change(random: &mut Chance, last: u64, number: u64, at: Timestamp) -> Option<Change> {
    let text = |what: &str| payload(&format!("{what} {number}"));
    let until = |random: &mut Chance| {
        let hour = Duration::from_secs(3600);
        random.once_in(2).then(|| at.plus(hour))
    };
    Some(match random.below(12) {
        0 => return None,
        1..=3 => Change::Set(text("state")),
        4 => Change::Delete {
            until: until(random),
        },
        5 => Change::Clean,
        6 if last > 0 => Change::Snapshot {
            sequence: last,
            payload: text("late snapshot"),
        },
        _ => Change::Append {
            first: last + 1,
            events: vec![text("event"), text("another event")],
            snapshot: random.once_in(3).then(|| text("snapshot")),
            deleted_until: random.once_in(6).then_some(at),
        },
    })
}

fn effect(number: u64) -> Effect {
    Effect {
        call: forward(number),
        synchronous: number.is_multiple_of(2),
        delay: None,
    }
}

fn forward(number: u64) -> Forward {
    Forward {
        service: "shop.Cart".to_owned(),
        method: "Add".to_owned(),
        payload: payload(&format!("call {number}")),
        metadata: Metadata {
            entries: vec![
                Entry {
                    key: "text".into(),
                    value: Value::Text("value".into()),
                },
                Entry {
                    key: "bytes-bin".into(),
                    value: Value::Binary(Bytes::from_static(b"\0\xff")),
                },
            ],
        },
    }
}

fn record(random: &mut Chance, number: u64, at: Timestamp) -> ReplyRecord {
    let answer = match random.below(3) {
        0 => StoredAnswer::Reply(Reply {
            payload: payload("answer"),
            metadata: Metadata::default(),
        }),
        1 => StoredAnswer::Forward(forward(number)),
        _ => StoredAnswer::Failure(Status::chosen(GrpcCode::NotFound, "nothing there")),
    };
    ReplyRecord {
        method: "shop.Cart/Add".to_owned(),
        idempotency_key: format!("key {}", number % 5),
        request_hash: number.into(),
        expires: at.plus(Duration::from_secs(60 * 60 * 24)),
        answer,
    }
}

fn timer(random: &mut Chance, number: u64, at: Timestamp) -> TimerWrite {
    let name = match random.below(3) {
        0 => TimerName::Delayed(effect_id(9, number, 0)),
        other => TimerName::Own(format!("timer {other}").into()),
    };
    let timer = Timer {
        due: at.plus(Duration::from_secs(random.below(100))),
        call: forward(number),
        repeat: random.once_in(2).then(|| Duration::from_secs(5)),
        hops: 1,
    };
    TimerWrite {
        name,
        timer: (!random.once_in(4)).then_some(timer),
    }
}

fn slot(number: u16) -> Slot {
    Slot::new(number).expect("the contents use numbers of slots")
}

fn effect_id(slot_number: u16, sequence: u64, index: u32) -> EffectId {
    EffectId {
        slot: slot(slot_number),
        sequence: SlotSequence(sequence),
        index,
    }
}

/// All rows of a store.
pub async fn rows(store: &dyn Store) -> Vec<Row> {
    let mut dump = store.dump().await.expect("the store can be dumped");
    let mut rows = Vec::new();
    loop {
        let batch = dump.next().await.expect("rows can be read");
        if batch.is_empty() {
            return rows;
        }
        rows.extend(batch);
    }
}

/// Fills a store with rows, a few at a time.
pub async fn restore(mut to: Box<dyn Restore>, rows: Vec<Row>) {
    for batch in rows.chunks(17) {
        to.write(batch.to_vec()).await.expect("rows can be written");
    }
    to.finish().await.expect("the store can be finished");
}

/// What a store answers to every question about what [`fill`] wrote, as text.
pub async fn answers(store: &dyn Store) -> Vec<String> {
    let mut answers = Vec::new();
    let mut add = |answer: String| answers.push(answer);
    let mut heads = store.heads().await.expect("heads can be read");
    heads.sort_by_key(|(slot, _)| *slot);
    add(format!("{heads:?}"));
    let never = Timestamp(u64::MAX);
    add(format!("{:?}", store.outbox(None, 1000).await));
    add(format!("{:?}", store.tombstones(never, None, 1000).await));
    let due = store.due_timers(never, None, 1000).await;
    for due in due.iter().flatten() {
        add(format!("{:?}", store.timer(&due.id).await));
    }
    add(format!("{due:?}"));
    let entities = entities();
    let storages: BTreeSet<_> = entities.iter().map(|key| key.storage.clone()).collect();
    for storage in storages {
        add(format!("{:?}", store.list(&storage, None, 1000).await));
    }
    for key in &entities {
        for replay in [Replay::FromSnapshot, Replay::AllEvents] {
            add(format!("{:?}", store.load(key, replay).await));
        }
        let start = SlotSequence(0);
        add(format!("{:?}", store.tail(key.slot(), start, 1000).await));
        for number in 0..5 {
            let id = format!("key {number}");
            let record = store.reply_record(key, "shop.Cart/Add", &id).await;
            add(format!("{record:?}"));
        }
        for number in 0..COMMITS {
            let effect = effect_id(7, number, 1);
            add(format!(
                "{:?}",
                store.was_received(key.slot(), effect).await
            ));
        }
        for node in 1..=2 {
            add(format!("{:?}", store.load_replica(NodeId(node), key).await));
        }
    }
    for node in 1..=2 {
        let replicas = store.list_replicas(NodeId(node), None, 1000).await;
        add(format!("{replicas:?}"));
    }
    answers
}

/// The kinds of rows and of changes that there are.
pub fn kinds(rows: &[Row]) -> BTreeSet<&'static str> {
    let change = |row: &Row| match row {
        Row::Change { kind, .. } => Some(match kind {
            ChangeKind::Set => "set",
            ChangeKind::Delete { .. } => "delete",
            ChangeKind::Append { .. } => "append",
            ChangeKind::Clean => "clean",
        }),
        _ => None,
    };
    let kinds = rows.iter().map(Row::kind);
    kinds.chain(rows.iter().filter_map(change)).collect()
}

/// The next run of a node, and whether the next commit of every slot is taken and no other.
pub async fn goes_on(store: &dyn Store) -> bool {
    let run = store.incarnate("a").await.expect("a run can begin");
    let mut goes_on = run.incarnation.0.get() == 3;
    for (slot, head) in store.heads().await.expect("heads can be read") {
        let next = Commit::empty(slot, head.epoch, head.sequence.next(), START);
        let mut wrong = next.clone();
        wrong.epoch = Epoch(head.epoch.0 + 1);
        let refused = store.commit(vec![wrong]).await;
        let landed = store.commit(vec![next]).await;
        goes_on &= matches!(refused[0].outcome, Outcome::Refused { .. });
        goes_on &= matches!(landed[0].outcome, Outcome::Landed);
    }
    goes_on
}
