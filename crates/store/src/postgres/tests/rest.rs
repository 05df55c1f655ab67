//! Sweeping, dumping, and what people read.

use super::*;
use crate::commit::{ReplyRecord, StoredAnswer};
use crate::memory::Memory;
use crate::suite::contents;

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_sees_is_swept() {
    let server = server();
    let url = server.fresh();
    let store = open(&url).await;
    let a = key("a");
    let mut first = append(&a, Head::default());
    first.reply_record = Some(ReplyRecord {
        method: "m".into(),
        idempotency_key: "k".into(),
        request_hash: 1,
        expires: Timestamp(2),
        answer: StoredAnswer::Reply(Default::default()),
    });
    let mut ended = Commit::empty(a.slot(), Default::default(), SlotSequence(2), Timestamp(1));
    ended.key = Some(a.clone());
    ended.change = Some(Change::Delete { until: None });
    let mut again = append(&a, Head::default());
    again.sequence = SlotSequence(3);
    for commit in [first, ended, again] {
        assert_eq!(commit_one(&store, commit).await, Outcome::Landed);
    }
    let schema = url.rsplit("%3D").next().expect("a schema");
    let rows = || {
        server.sql(&format!(
            "SELECT (SELECT count(*) FROM {schema}.firn_events), \
             (SELECT count(*) FROM {schema}.firn_replies), \
             (SELECT count(*) FROM {schema}.firn_entities WHERE swept < generation)"
        ))
    };
    assert_eq!(rows(), "2|1|1");
    assert_eq!(store.run(store.inner.sweep()).await, Ok(3));
    assert_eq!(rows(), "1|0|0");
    assert_eq!(store.run(store.inner.sweep()).await, Ok(0));
    assert_eq!(numbers(&store, &a).await, [1]);
}

/// What `docs/stores/postgres.md` shows.
#[tokio::test(flavor = "multi_thread")]
async fn people_read_states_and_events() {
    let server = server();
    let url = server.fresh();
    let store = open(&url).await;
    let a = key("a");
    assert_eq!(
        commit_one(&store, append(&a, Head::default())).await,
        Outcome::Landed
    );
    let cart = EntityKey::new(StorageName::new("cart"), "user-1");
    let mut set = Commit::empty(
        cart.slot(),
        Default::default(),
        SlotSequence(1),
        Timestamp(1),
    );
    set.key = Some(cart.clone());
    set.change = Some(Change::Set(Payload::new("test.Cart", "items")));
    set.tags = [("region".to_owned(), "eu".to_owned())].into();
    assert_eq!(commit_one(&store, set).await, Outcome::Landed);
    let schema = url.rsplit("%3D").next().expect("a schema");
    let told = server.sql(&format!(
        "SET search_path = {schema}; \
         SELECT type, convert_from(value, 'UTF8'), tags::json->>'region' FROM firn_states \
         WHERE storage = 'cart' AND id = 'user-1' AND kind = 'state'"
    ));
    assert_eq!(told, "test.Cart|items|eu");
    let told = server.sql(&format!(
        "SET search_path = {schema}; \
         SELECT v.number, v.type, convert_from(v.value, 'UTF8') \
         FROM firn_events v JOIN firn_entities e USING (storage, id, generation) \
         WHERE storage = 'log' AND id = 'a' ORDER BY v.number"
    ));
    assert_eq!(told, "1|test.Text|1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_answers_as_the_store_does_also_if_it_is_sealed() {
    let server = server();
    let keys = Keys::parse("one:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=");
    let keys = Arc::new(keys.expect("a key"));
    for (seed, keys) in [(0, None), (1, None), (2, Some(keys))] {
        let clock = Clock::new(|| Timestamp(1_700_000_000_000));
        let config = Config {
            clock: clock.clone(),
            keys,
            ..Config::new(url(&server.fresh()))
        };
        let store = Postgres::open(config, |_| {}).await.expect("a store");
        contents::fill(&store, seed).await;
        let rows = contents::rows(&store).await;
        let memory = Arc::new(Memory::with_clock(clock));
        let restored = memory.restore().expect("it is empty");
        contents::restore(restored, rows).await;
        assert_eq!(
            contents::answers(&store).await,
            contents::answers(&*memory).await
        );
        assert!(contents::goes_on(&*memory).await);
    }
}

/// Also if nothing else was ever written of the entity, whose name no column holds.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_dumped_with_the_whole_name_of_its_entity() {
    let server = server();
    let store = fresh(&server).await;
    let entity = EntityKey::new(StorageName::new("name".repeat(200)), "a");
    let mut commit = Commit::empty(
        entity.slot(),
        Default::default(),
        SlotSequence(1),
        Timestamp(1),
    );
    commit.key = Some(entity.clone());
    commit.reply_record = Some(ReplyRecord {
        method: "m".into(),
        idempotency_key: "k".into(),
        request_hash: 1,
        expires: Timestamp(u64::MAX),
        answer: StoredAnswer::Reply(Default::default()),
    });
    assert_eq!(commit_one(&store, commit).await, Outcome::Landed);
    let rows = contents::rows(&store).await;
    let answers = rows.iter().filter_map(|row| match row {
        crate::archive::Row::Reply { key, .. } => Some(key),
        _ => None,
    });
    assert_eq!(answers.collect::<Vec<_>>(), [&entity]);
}

/// Those who ask at once share an answer, which is never older than their question.
#[tokio::test(flavor = "multi_thread")]
async fn heads_are_never_older_than_the_question() {
    let server = server();
    let store = fresh(&server).await;
    let a = key("a");
    for number in 0..20 {
        let head = Head {
            sequence: SlotSequence(number),
            ..Head::default()
        };
        let asking = join_all((0..8).map(|_| store.heads()));
        let (before, outcome) = tokio::join!(asking, commit_one(&store, append(&a, head)));
        assert_eq!(outcome, Outcome::Landed);
        assert!(before.iter().all(Result::is_ok));
        let after = store.heads().await.expect("heads can be read");
        assert_eq!(after[0].1.sequence.0, number + 1);
    }
}
