//! Who owns what: several stores on one database.

use std::collections::HashMap;
use std::sync::atomic::AtomicBool;

use firn_testkit::postgres::{Cut, Rule};

use super::*;

/// Long enough for a busy machine to renew in time.
const LONG: Duration = Duration::from_secs(30);

/// Short enough to wait for its end.
const SHORT: Duration = Duration::from_millis(1500);

fn owned(text: &str, name: &str, lease: Duration) -> Config {
    Config {
        owner: Some(Owner {
            name: name.to_owned(),
            lease,
        }),
        ..patient(text)
    }
}

async fn own(text: &str, name: &str, lease: Duration) -> Postgres {
    let store = Postgres::open(owned(text, name, lease), |_| {}).await;
    store.unwrap_or_else(|error| panic!("{error}"))
}

async fn head(store: &Postgres, slot: Slot) -> Head {
    let heads = store.heads().await.expect("heads can be read");
    let head = heads.into_iter().find(|(other, _)| *other == slot);
    head.map(|(_, head)| head).unwrap_or_default()
}

/// Waits until something is so; nothing else moves it on.
async fn until(mut is_so: impl FnMut() -> bool) {
    while !is_so() {
        sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn slots_have_one_owner_at_a_time() {
    let server = server();
    let url = server.fresh();
    let first = own(&url, "first", LONG).await;
    assert!(first.is_sure());
    let a = key("a");
    let before = head(&first, a.slot()).await;
    assert_eq!(before.epoch.0, 1, "every slot has been taken once");
    assert_eq!(first.heads().await.map(|heads| heads.len()), Ok(16_384));
    assert_eq!(
        commit_one(&first, append(&a, before)).await,
        Outcome::Landed
    );
    let waiting = Postgres::open(owned(&url, "second", Duration::from_millis(300)), |_| {});
    match waiting.await {
        Err(OpenError::Taken { owner, slots }) => {
            assert_eq!((owner.as_str(), slots), ("first", 16_384));
        }
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("slots were taken from a living owner"),
    }
    first.close().await;
    assert!(!first.is_sure());
    assert_eq!(first.holds(a.slot()).await, Ok(false));
    let second = own(&url, "third", LONG).await;
    let after = head(&second, a.slot()).await;
    assert_eq!((after.epoch.0, after.sequence.0), (2, 1));
    let stale = Head {
        epoch: before.epoch,
        sequence: after.sequence,
    };
    assert_eq!(
        commit_one(&first, append(&a, stale)).await,
        Outcome::Refused { head: after }
    );
    assert_eq!(
        commit_one(&second, append(&a, after)).await,
        Outcome::Landed
    );
    assert_eq!(numbers(&second, &a).await, [1, 2]);
}

/// The first hears nothing of the second: its connections are cut.
#[tokio::test(flavor = "multi_thread")]
async fn a_deposed_owner_is_sure_of_nothing() {
    let server = server();
    let url = server.fresh();
    let schema = url.rsplit("%3D").next().expect("a schema");
    let cut = Cut::before(server.address());
    let by_proxy = server.url_of(cut.address, schema);
    let was_deposed = Arc::new(AtomicBool::new(false));
    let told = was_deposed.clone();
    let tell = move |_| told.store(true, Ordering::SeqCst);
    let config = Config {
        // One of its reads fails below, and is waited for.
        read_time: Config::READ_TIME,
        ..owned(&by_proxy, "first", SHORT)
    };
    let first = Postgres::open(config, tell).await;
    let first = first.unwrap_or_else(|error| panic!("{error}"));
    let a = key("a");
    let before = head(&first, a.slot()).await;
    assert_eq!(
        commit_one(&first, append(&a, before)).await,
        Outcome::Landed
    );
    cut.rule(Rule::Refuse);
    cut.cut();
    until(|| !first.is_sure()).await;
    let second = own(&url, "second", LONG).await;
    let taken = head(&second, a.slot()).await;
    assert_eq!(
        commit_one(&second, append(&a, taken)).await,
        Outcome::Landed
    );
    // While it cannot ask, it does not know; when it can, it is told.
    assert!(matches!(
        first.holds(a.slot()).await,
        Err(ReadError::Unavailable { .. })
    ));
    cut.rule(Rule::Pass);
    assert_eq!(first.holds(a.slot()).await, Ok(false));
    assert_eq!(second.holds(a.slot()).await, Ok(true));
    until(|| was_deposed.load(Ordering::SeqCst)).await;
    assert!(!first.is_sure());
    let stale = Head {
        epoch: before.epoch,
        sequence: SlotSequence(2),
    };
    let refused = commit_one(&first, append(&a, stale)).await;
    assert!(matches!(refused, Outcome::Refused { head } if head.epoch == taken.epoch));
    assert!(
        first.acquire(&[a.slot()]).await.is_err(),
        "its name is used up"
    );
    assert_eq!(numbers(&second, &a).await, [1, 2]);
}

/// A lease that has run out while nobody else was there goes on.
#[tokio::test(flavor = "multi_thread")]
async fn an_owner_that_nobody_deposed_goes_on() {
    let server = server();
    let url = server.fresh();
    let schema = url.rsplit("%3D").next().expect("a schema");
    let cut = Cut::before(server.address());
    let store = own(&server.url_of(cut.address, schema), "alone", SHORT).await;
    cut.rule(Rule::Refuse);
    cut.cut();
    until(|| !store.is_sure()).await;
    cut.rule(Rule::Pass);
    until(|| store.is_sure()).await;
    let a = key("a");
    assert_eq!(store.holds(a.slot()).await, Ok(true));
    let head = head(&store, a.slot()).await;
    assert_eq!(commit_one(&store, append(&a, head)).await, Outcome::Landed);
}

/// Stores take slots from one another as fast as they can and write what they believe to be next.
/// Whatever was acknowledged is there, once, in one order.
#[tokio::test(flavor = "multi_thread")]
async fn no_entity_gets_two_histories() {
    const ROUNDS: usize = 25;
    let server = server();
    let url = server.fresh();
    let keys: Vec<EntityKey> = (0..40).map(|number| key(&number.to_string())).collect();
    let slots: Vec<Slot> = keys.iter().map(EntityKey::slot).collect();
    let (url, keys, slots) = (&url, &keys, &slots);
    let fighting = (0..3).map(|fighter| async move {
        let name = format!("fighter {fighter}");
        let store = Postgres::join(owned(url, &name, LONG), |_| {}).await;
        let store = store.unwrap_or_else(|error| panic!("{error}"));
        let mut acknowledged: Vec<(EntityKey, u64, u64)> = Vec::new();
        let mut known: HashMap<Slot, Head> = HashMap::new();
        for _ in 0..ROUNDS {
            let taken = store.acquire(slots).await.expect("slots can be taken");
            known.extend(taken);
            // Also slots that it has given up long ago, under the epoch of then.
            let batch = keys.iter().filter_map(|key| {
                let head = *known.get(&key.slot())?;
                Some(append(key, head))
            });
            let batch: Vec<Commit> = batch.collect();
            let sent: HashMap<Slot, Commit> = batch
                .iter()
                .map(|commit| (commit.slot, commit.clone()))
                .collect();
            for outcome in store.commit(batch).await {
                let commit = &sent[&outcome.slot];
                match outcome.outcome {
                    Outcome::Landed => {
                        let head = known.get_mut(&outcome.slot).expect("it was known");
                        head.sequence = commit.sequence;
                        let key = commit.key.clone().expect("a key");
                        acknowledged.push((key, commit.sequence.0, commit.epoch.0));
                    }
                    Outcome::Refused { .. } => {}
                    Outcome::NotWritten { cause, .. } | Outcome::Unknown { cause } => {
                        panic!("{cause}")
                    }
                }
            }
            let half: Vec<Slot> = slots.iter().copied().step_by(2).collect();
            store.release(&half).await.expect("slots can be given up");
        }
        store.close().await;
        acknowledged
    });
    let acknowledged: Vec<(EntityKey, u64, u64)> =
        join_all(fighting).await.into_iter().flatten().collect();
    let store = open(url).await;
    for key in keys {
        let mut expected: Vec<(u64, u64)> = acknowledged
            .iter()
            .filter(|(other, ..)| other == key)
            .map(|(_, number, epoch)| (*number, *epoch))
            .collect();
        expected.sort_unstable();
        assert!(!expected.is_empty());
        assert!(
            expected.is_sorted_by_key(|(_, epoch)| *epoch),
            "owners follow one another"
        );
        let expected: Vec<u64> = expected.into_iter().map(|(number, _)| number).collect();
        assert_eq!(numbers(&store, key).await, expected, "{key}");
        assert_eq!(expected, Vec::from_iter(1..=expected.len() as u64), "{key}");
    }
}
