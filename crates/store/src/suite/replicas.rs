//! The cases about replicas and the runs of nodes. Their names are the promises.

use std::collections::HashSet;

use bytes::Bytes;
use firn_model::id::{EffectId, EntityKey, NodeId, Replica, Slot, SlotSequence, StorageName};
use futures_util::future::join;

use super::subject::{Subject, append, key, keys_of, odd_names, payload, yield_once};
use crate::ReplicaWrite;
use crate::commit::Change;

const NODE: NodeId = NodeId(7);

impl Subject {
    async fn incarnate(&self, name: &str) -> Replica {
        let replica = self.store().incarnate(name).await;
        replica.expect("the node can begin a run")
    }

    async fn save(&self, node: NodeId, writes: Vec<ReplicaWrite>) {
        let saved = self.store().save_replicas(node, writes).await;
        saved.expect("replicas can be saved");
    }

    /// The write of a state.
    fn state(&self, key: &EntityKey, state: &str) -> ReplicaWrite {
        ReplicaWrite::new(key.clone(), self.now(), state.to_owned())
    }

    /// The write of the state of a deleted entity.
    fn gone(&self, key: &EntityKey, state: &str) -> ReplicaWrite {
        ReplicaWrite {
            deleted: true,
            ..self.state(key, state)
        }
    }

    async fn replica(&self, node: NodeId, key: &EntityKey) -> Option<Bytes> {
        let state = self.store().load_replica(node, key).await;
        state.expect("the replica can be loaded")
    }

    /// All entities that a node has replicas of, page by page.
    async fn replicas(&self, node: NodeId, limit: usize) -> Vec<EntityKey> {
        let mut keys: Vec<EntityKey> = Vec::new();
        loop {
            let page = self.store().list_replicas(node, keys.last(), limit).await;
            let page = page.expect("replicas can be listed");
            assert!(page.len() <= limit);
            if page.is_empty() {
                return keys;
            }
            keys.extend(page);
        }
    }

    async fn ids(&self, storage: &str, after: Option<&str>, limit: usize) -> Vec<String> {
        let storage = StorageName::new(storage);
        let ids = self.store().list(&storage, after, limit).await;
        ids.expect("entities can be listed")
    }
}

pub(super) async fn runs_of_a_node_never_repeat(mut subject: Subject) {
    let long = "long".repeat(20_000);
    let longer = format!("{long}er");
    let names = ["", "a", "a\0", "b", "ÿ", &long, &longer];
    let mut given = HashSet::new();
    let mut nodes: Vec<HashSet<NodeId>> = vec![HashSet::new(); names.len()];
    for run in 1..=4 {
        for (name, nodes) in names.iter().zip(&mut nodes) {
            let replica = subject.incarnate(name).await;
            assert_eq!(replica.incarnation.0.get(), run, "the next");
            assert!(given.insert(replica), "{replica} was given twice");
            nodes.insert(replica.node);
        }
        if run % 2 == 0 {
            subject.reopen().await;
        }
    }
    assert!(nodes.iter().all(|nodes| nodes.len() == 1), "a node stays");
    let nodes: HashSet<NodeId> = nodes.into_iter().flatten().collect();
    assert_eq!(nodes.len(), names.len(), "each name has a node of its own");
}

pub(super) async fn a_new_store_is_a_new_node(subject: Subject, other: Subject) {
    let replica = subject.incarnate("node").await;
    let other = other.incarnate("node").await;
    assert_ne!(replica.node, other.node);
    assert_eq!(replica.incarnation, other.incarnation);
}

pub(super) async fn replicas_are_the_newest(mut subject: Subject) {
    let (a, b) = (key("likes", "a"), key("likes", "b"));
    assert_eq!(subject.replica(NODE, &a).await, None);
    subject.save(NODE, Vec::new()).await;
    subject.save(NODE, vec![subject.state(&a, "one")]).await;
    assert_eq!(subject.replica(NODE, &a).await, Some("one".into()));
    let writes = vec![
        subject.state(&a, "two"),
        subject.state(&b, "other"),
        subject.state(&a, "three"),
    ];
    subject.save(NODE, writes).await;
    assert_eq!(subject.replica(NODE, &a).await, Some("three".into()));
    subject.reopen().await;
    assert_eq!(subject.replica(NODE, &a).await, Some("three".into()));
    assert_eq!(subject.replica(NODE, &b).await, Some("other".into()));
    // A state may be empty.
    subject.save(NODE, vec![subject.state(&a, "")]).await;
    subject.reopen().await;
    assert_eq!(subject.replica(NODE, &a).await, Some(Bytes::new()));
}

pub(super) async fn each_node_has_replicas_of_its_own(mut subject: Subject) {
    let nodes = [0, 1, 255, 256, u64::MAX - 1, u64::MAX].map(NodeId);
    let all = key("likes", "all");
    for node in nodes {
        let own = key("likes", &node.to_string());
        let writes = [&all, &own].map(|key| subject.state(key, &node.to_string()));
        subject.save(node, writes.to_vec()).await;
    }
    subject.reopen().await;
    for node in nodes {
        let state = Some(Bytes::from(node.to_string()));
        assert_eq!(subject.replica(node, &all).await, state);
        let own = key("likes", &node.to_string());
        assert_eq!(subject.replica(node, &own).await, state);
        let mut keys = [own, all.clone()];
        keys.sort();
        assert_eq!(subject.replicas(node, 9).await, keys);
    }
    assert_eq!(subject.replica(NODE, &all).await, None);
    assert_eq!(subject.replicas(NODE, 9).await, []);
    let mut ids: Vec<String> = nodes.iter().map(ToString::to_string).collect();
    ids.push("all".into());
    ids.sort();
    assert_eq!(subject.ids("likes", None, 99).await, ids, "of all, once");
}

pub(super) async fn deleted_replicas_are_shown_to_nodes_only(mut subject: Subject) {
    let (a, b) = (key("likes", "a"), key("likes", "b"));
    let writes = [&a, &b].map(|key| subject.state(key, "alive"));
    subject.save(NODE, writes.to_vec()).await;
    subject.save(NODE, vec![subject.gone(&a, "gone")]).await;
    subject.reopen().await;
    assert_eq!(subject.replica(NODE, &a).await, Some("gone".into()));
    assert_eq!(subject.replicas(NODE, 1).await, [a.clone(), b.clone()]);
    assert_eq!(subject.ids("likes", None, 9).await, ["b"]);
    // One that another node has not heard of yet.
    let other = NodeId(8);
    subject.save(other, vec![subject.state(&a, "alive")]).await;
    assert_eq!(subject.ids("likes", None, 9).await, ["a", "b"]);
    subject.save(other, vec![subject.gone(&a, "gone")]).await;
    subject.save(NODE, vec![subject.gone(&b, "gone")]).await;
    subject.reopen().await;
    assert_eq!(subject.ids("likes", None, 9).await, [""; 0]);
}

pub(super) async fn lists_page_through_replicas_and_entities(mut subject: Subject) {
    for id in ["", "b", "d", "f"] {
        let key = key("mixed", id);
        subject.apply(&key, Change::Set(payload(id))).await;
    }
    for (node, ids) in [
        (NODE, ["a", "b", "e", "g"]),
        (NodeId(8), ["", "b", "c", "h"]),
    ] {
        let writes = ids.map(|id| subject.state(&key("mixed", id), id));
        subject.save(node, writes.to_vec()).await;
    }
    for storage in ["mixe", "mixed2", ""] {
        let write = subject.state(&key(storage, "other"), "other");
        subject.save(NODE, vec![write]).await;
    }
    let deleted = ["b", "g"].map(|id| subject.gone(&key("mixed", id), ""));
    subject.save(NODE, deleted.to_vec()).await;
    let delete = Change::Delete { until: None };
    subject.apply(&key("mixed", "d"), delete).await;
    subject.reopen().await;
    let ids = ["", "a", "b", "c", "e", "f", "h"];
    assert_eq!(subject.ids("mixed", None, 99).await, ids);
    for (place, after) in ids.iter().enumerate() {
        let rest = &ids[place + 1..];
        assert_eq!(subject.ids("mixed", Some(after), 99).await, rest);
        let next = &rest[..rest.len().min(2)];
        assert_eq!(subject.ids("mixed", Some(after), 2).await, next);
    }
    assert_eq!(subject.ids("mixed", Some("dd"), 1).await, ["e"]);
    assert_eq!(subject.ids("mixed", None, 0).await, [""; 0]);
    assert_eq!(subject.ids("", None, 9).await, ["other"]);
}

fn effect(sender: u16, sequence: u64) -> EffectId {
    EffectId {
        slot: Slot::new(sender).expect("the cases use numbers of slots"),
        sequence: SlotSequence(sequence),
        index: 0,
    }
}

pub(super) async fn receipts_of_replicas_are_found(mut subject: Subject) {
    let likes = key("likes", "a");
    let effects = [effect(2, 5), effect(2, 7), effect(3, 1), effect(3, 2)];
    let received = async |subject: &Subject, slot: Slot| {
        let mut received = Vec::new();
        for effect in effects {
            let was_received = subject.store().was_received(slot, effect).await;
            received.push(was_received.expect("receipts can be read"));
        }
        received
    };
    let mut write = subject.state(&likes, "one");
    write.received = effects[..3].to_vec();
    subject.save(NODE, vec![write]).await;
    let [most, all] = [[true, true, true, false], [true; 4]];
    assert_eq!(received(&subject, likes.slot()).await, most);
    let mut commit = subject.next(likes.slot());
    commit.received = Some(effects[3]);
    subject.land(vec![commit]).await;
    subject.reopen().await;
    assert_eq!(received(&subject, likes.slot()).await, all);
    let elsewhere = received(&subject, effects[0].slot).await;
    assert_eq!(elsewhere, [false; 4]);
    // Of several senders at once, also what a commit received.
    let mut write = subject.state(&likes, "two");
    write.receipts_below = [effects[1], effects[3]]
        .map(|effect| (effect.slot, effect.sequence))
        .to_vec();
    subject.save(NODE, vec![write]).await;
    subject.reopen().await;
    let left = received(&subject, likes.slot()).await;
    assert_eq!(left, [false, true, false, true]);
}

pub(super) async fn large_replicas_come_back(mut subject: Subject) {
    const BYTES: usize = 10 * 1024 * 1024;
    let state: Vec<u8> = (0..BYTES).map(|number| (number / 7) as u8).collect();
    let state = Bytes::from(state);
    let (large, small) = (key("likes", "large"), key("likes", "small"));
    let write = ReplicaWrite::new(large.clone(), subject.now(), state.clone());
    let writes = vec![write, subject.state(&small, "small")];
    subject.save(NODE, writes).await;
    assert!(subject.replica(NODE, &large).await == Some(state.clone()));
    subject.reopen().await;
    assert!(subject.replica(NODE, &large).await == Some(state));
    assert_eq!(subject.replica(NODE, &small).await, Some("small".into()));
    assert_eq!(subject.replicas(NODE, 9).await, [large, small]);
}

pub(super) async fn odd_ids_of_replicas_keep_apart(mut subject: Subject) {
    let names = odd_names();
    let keys = keys_of(&names);
    let text = |key: &EntityKey| format!("{:?}", (key.storage.as_str(), &key.id));
    let writes = keys.iter().map(|key| subject.state(key, &text(key)));
    subject.save(NODE, writes.collect()).await;
    subject.reopen().await;
    for key in &keys {
        let state = Some(Bytes::from(text(key)));
        assert!(subject.replica(NODE, key).await == state);
    }
    let listed = subject.replicas(NODE, 1).await;
    assert!(
        listed == subject.replicas(NODE, 99).await,
        "always the order"
    );
    assert_eq!(listed.len(), keys.len(), "each once");
    let listed: HashSet<EntityKey> = listed.into_iter().collect();
    assert!(keys.iter().all(|key| listed.contains(key)));
    let is_short = |id: &&str| id.len() < 1000;
    let mut sorted = names.clone();
    sorted.sort_unstable();
    for storage in &names {
        let mut ids: Vec<String> = Vec::new();
        while let [id] = &subject
            .ids(storage, ids.last().map(String::as_str), 1)
            .await[..]
        {
            ids.push(id.clone());
        }
        let short: Vec<&str> = ids.iter().map(String::as_str).filter(is_short).collect();
        assert!(short.is_sorted(), "in byte order");
        ids.sort();
        assert!(ids == sorted, "each once");
    }
}

pub(super) async fn replicas_are_saved_while_others_commit(mut subject: Subject) {
    const WRITES: u64 = 100;
    let (sourced, likes) = (key("log", "a"), key("likes", "a"));
    let batches: Vec<_> = (1..=WRITES)
        .map(|number| vec![subject.change(&sourced, append(number, &["event"]))])
        .collect();
    let commit = async {
        for batch in batches {
            subject.land(batch).await;
            yield_once().await;
        }
    };
    let save = async {
        for number in 1..=WRITES {
            let mut write = subject.state(&likes, &number.to_string());
            write.received = vec![effect(9, number)];
            subject.save(NODE, vec![write]).await;
            yield_once().await;
            let state = subject.replica(NODE, &likes).await;
            assert_eq!(state, Some(number.to_string().into()));
        }
    };
    join(commit, save).await;
    subject.reopen().await;
    assert_eq!(subject.load(&sourced).await.last_event, WRITES);
    let state = subject.replica(NODE, &likes).await;
    assert_eq!(state, Some(WRITES.to_string().into()));
    for number in 1..=WRITES {
        let received = subject
            .store()
            .was_received(likes.slot(), effect(9, number));
        assert_eq!(received.await, Ok(true));
    }
}
