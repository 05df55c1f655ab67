//! Sweeping, dumping, and what people read.

use std::collections::BTreeSet;

use firn_model::id::Epoch;

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

const PAGE: &str = include_str!("../../../../../docs/stores/postgres.md");

/// Every table has its row on the page, with all its columns; and no row is of a table that there is
/// not, or names a column that none of its tables has.
#[tokio::test(flavor = "multi_thread")]
async fn the_tables_are_those_of_their_page() {
    let server = server();
    let text = server.fresh();
    open(&text).await;
    let schema = text.rsplit("%3D").next().expect("a schema");
    let told = server.sql(&format!(
        "SELECT tablename FROM pg_tables WHERE schemaname = '{schema}' ORDER BY 1"
    ));
    let columns = server.sql(&format!(
        "SELECT table_name || '.' || column_name FROM information_schema.columns \
         WHERE table_schema = '{schema}'"
    ));
    let columns: BTreeSet<&str> = columns.lines().collect();
    let mut tables = Vec::new();
    let mut named = BTreeSet::new();
    for row in PAGE.lines().filter(|line| line.starts_with("| `firn_")) {
        let cells: Vec<&str> = row.split(" | ").collect();
        let of_row = quoted(cells[0]);
        let is_name = |text: &&str| text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'_'));
        for name in quoted(cells[2]).into_iter().filter(is_name) {
            let of = of_row.iter().map(|table| format!("{table}.{name}"));
            let known: Vec<String> = of.filter(|it| columns.contains(it.as_str())).collect();
            assert!(!known.is_empty(), "no column {name} in {of_row:?}");
            named.extend(known);
        }
        tables.extend(of_row);
    }
    tables.sort_unstable();
    assert_eq!(told.lines().collect::<Vec<_>>(), tables);
    // What names an entity, or the whole of a name that was too long, is told below the table.
    let is_told = |column: &&&str| {
        let name = column.split('.').nth(1).unwrap_or_default();
        !["storage", "id", "full_key", "full_id", "full_name"].contains(&name)
            && !named.contains(**column)
    };
    let missing: Vec<_> = columns.iter().filter(is_told).collect();
    assert_eq!(missing, Vec::<&&str>::new(), "not on the page");
}

/// What stands between backquotes.
fn quoted(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

/// The SQL of the page, statement by statement.
fn shown() -> impl Iterator<Item = &'static str> {
    let blocks = PAGE.split("```sql\n").skip(1);
    blocks
        .filter_map(|block| block.split("```").next())
        .flat_map(|block| block.split(";\n"))
        .filter(|statement| !statement.trim().is_empty())
}

/// The statements of the page do what it says: a database is set up with them, and people see in it who
/// has the slots, states, events, and what there is.
#[tokio::test(flavor = "multi_thread")]
async fn people_set_up_and_read_a_database_with_the_sql_of_its_page() {
    let server = server();
    let mut shown = shown();
    let mut next = || shown.next().expect("a statement");
    for _ in 0..2 {
        let made = next().replace(" firn", " shop").replace('…', "secret");
        server.sql(&made);
    }
    let text = format!("postgres://shop:secret@{}/shop", server.address());
    let owner = Owner {
        name: "somebody".to_owned(),
        lease: Duration::from_secs(60),
    };
    let config = Config {
        owner: Some(owner),
        ..patient(&text)
    };
    let store = Postgres::open(config, |_| {}).await;
    let store = store.unwrap_or_else(|error| panic!("{error}"));
    let a = key("a");
    let epoch = Epoch(1);
    let head = Head {
        epoch,
        ..Head::default()
    };
    assert_eq!(commit_one(&store, append(&a, head)).await, Outcome::Landed);
    let cart = EntityKey::new(StorageName::new("cart"), "user-1");
    let mut set = Commit::empty(cart.slot(), epoch, SlotSequence(1), Timestamp(1));
    set.key = Some(cart.clone());
    set.change = Some(Change::Set(Payload::new("test.Cart", "items")));
    set.tags = [("region".to_owned(), "eu".to_owned())].into();
    assert_eq!(commit_one(&store, set).await, Outcome::Landed);

    let session = Session::connect(&url(&text)).await.expect("a session");
    let mut rows = async || {
        let rows = session.client().query(next(), &[]).await;
        rows.unwrap_or_else(|error| panic!("{error}"))
    };
    let owners = rows().await;
    let of: (&str, i64) = (owners[0].get(0), owners[0].get(2));
    assert_eq!((owners.len(), of), (1, ("somebody", 16_384)));
    let states = rows().await;
    let state: [&str; 3] = [0, 1, 2].map(|column| states[0].get(column));
    assert_eq!((states.len(), state), (1, ["test.Cart", "items", "eu"]));
    let events = rows().await;
    let event: (i64, &str, &[u8]) = (events[0].get(0), events[0].get(2), events[0].get(3));
    assert_eq!((events.len(), event), (1, (1, "test.Text", &b"1"[..])));
    let living = rows().await;
    let living: Vec<&str> = living.iter().map(|row| row.get(0)).collect();
    assert_eq!(living, ["user-1"]);
    assert_eq!(shown.next(), None, "a statement that is not tried here");
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
            ..patient(&server.fresh())
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

/// What a writer remembers of histories, and so does not ask for, is what the database has.
#[tokio::test(flavor = "multi_thread")]
async fn what_follows_upon_what_was_written_is_what_a_model_says() {
    let server = server();
    for seed in 0..6 {
        let (store, model) = (fresh(&server).await, Memory::new());
        contents::fill(&store, seed).await;
        contents::fill(&model, seed).await;
        let expected = contents::answers(&model).await;
        assert_eq!(contents::answers(&store).await, expected, "seed {seed}");
    }
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
