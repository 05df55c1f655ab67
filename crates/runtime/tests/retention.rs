//! The service that removes what need not be kept, beside a store that hinders it.

mod fake;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use firn_model::id::{EntityKey, Epoch, SlotSequence, StorageName};
use firn_runtime::retention::{Events, Retention, Rule};
use firn_store::{Change, Commit, Keep, Outcome, ReadError, Store, Timestamp};

use fake::unsure::Unsure;
use fake::{Bench, Running, payload, reply};

/// An engine on a store with a cart, of which two events are covered and which nobody has written for
/// long.
async fn serving(store: &Arc<Unsure>, ttl: Option<Duration>) -> Running {
    let key = EntityKey::new(StorageName::new("t.Cart"), "1");
    let mut commit = Commit::empty(key.slot(), Epoch(0), SlotSequence(1), Timestamp(1));
    commit.key = Some(key);
    commit.change = Some(Change::Append {
        first: 1,
        events: vec![payload("event"); 3],
        snapshot: Some(payload("snapshot")),
        deleted_until: None,
    });
    let outcomes = store.commit(vec![commit]).await;
    assert_eq!(outcomes[0].outcome, Outcome::Landed);
    let rule = Rule { events: None, ttl };
    let mut bench = Bench::new(|_| reply("nothing"));
    bench.lane.retention = Arc::new(Retention {
        events: Events::Last(0),
        components: BTreeMap::from([("t.Cart".to_owned(), rule)]),
        every: Duration::from_millis(1),
    });
    bench.engine(store.clone()).await
}

#[tokio::test]
async fn entities_go_after_their_time_also_if_events_cannot_be_looked_for() {
    let store = Arc::new(Unsure::new());
    store.cover(Err(ReadError::Damaged {
        place: "row 1".to_owned(),
        fault: "it does not parse".to_owned(),
    }));
    let engine = serving(&store, Some(Duration::from_secs(1))).await;
    let storage = StorageName::new("t.Cart");
    let gone = async {
        while !store.list(&storage, None, 1).await.expect("ids").is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let gone = tokio::time::timeout(Duration::from_secs(30), gone).await;
    gone.expect("it goes in the end");
    assert!(engine.drain().await);
}

#[tokio::test]
async fn engine_is_not_drained_before_a_trim_has_ended() {
    let store = Arc::new(Unsure::new());
    let engine = serving(&store, None).await;
    store.trimming.notified().await;
    let mut draining = tokio::spawn(engine.drain());
    let early = tokio::time::timeout(Duration::from_millis(100), &mut draining).await;
    store.trims.add_permits(1);
    assert!(early.is_err(), "the trim was not over");
    assert!(draining.await.expect("it ends"));
    let storage = StorageName::new("t.Cart");
    let left = store.covered(&storage, Keep::Last(0), None, 1).await;
    assert_eq!(left.expect("a page").found, []);
}
