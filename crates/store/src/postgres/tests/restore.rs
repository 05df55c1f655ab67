//! Filling a database with what another store held.

use firn_model::code::Code;

use super::*;
use crate::archive::{Restore, RestoreError, Row};
use crate::embedded::{self, Embedded};
use crate::memory::Memory;
use crate::suite::contents;

const A: &str = "a:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
const B: &str = "b:AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";

/// A clock at which no reply record has expired.
fn clock() -> Clock {
    Clock::new(|| Timestamp(1_700_000_000_000))
}

fn sealed(keys: Option<&str>) -> Option<Arc<Keys>> {
    keys.map(|text| Arc::new(Keys::parse(text).expect("keys")))
}

fn config(text: &str, keys: Option<&str>) -> Config {
    Config {
        clock: clock(),
        keys: sealed(keys),
        ..patient(text)
    }
}

async fn begin(config: &Config) -> Box<dyn Restore> {
    let begun = restore(config).await;
    begun.unwrap_or_else(|error| panic!("{error}"))
}

async fn refused(config: &Config) -> OpenError {
    match restore(config).await {
        Ok(_) => panic!("it was begun"),
        Err(error) => error,
    }
}

async fn opened(config: Config) -> Result<Postgres, OpenError> {
    Postgres::open(config, |_| {}).await
}

async fn dumped(seed: u64) -> (Arc<Memory>, Vec<Row>) {
    let store = Arc::new(Memory::with_clock(clock()));
    contents::fill(&*store, seed).await;
    let rows = contents::rows(&*store).await;
    (store, rows)
}

fn folder(path: &std::path::Path, keys: Option<&str>) -> Embedded {
    let opened = Embedded::open(path, embedded_config(keys), |fatal| panic!("{fatal}"));
    opened.expect("the folder can be opened")
}

fn embedded_config(keys: Option<&str>) -> embedded::Config {
    embedded::Config {
        clock: clock(),
        keys: sealed(keys),
        ..embedded::Config::default()
    }
}

/// From a folder to a database and back, each sealed with a key of its own, or not at all.
#[tokio::test(flavor = "multi_thread")]
async fn stores_are_moved_to_a_database_and_back() {
    let server = server();
    let cases = [
        (0, None, None),
        (1, Some(A), None),
        (2, Some(A), Some(B)),
        (3, None, Some(B)),
    ];
    for (seed, ours, theirs) in cases {
        let folders = tempfile::tempdir().expect("a folder");
        let from = folder(&folders.path().join("from"), ours);
        contents::fill(&from, seed).await;
        let expected = contents::answers(&from).await;

        let config = config(&server.fresh(), theirs);
        let rows = contents::rows(&from).await;
        contents::restore(begin(&config).await, rows).await;
        let store = opened(config.clone()).await.expect("it is whole");
        assert_eq!(contents::answers(&store).await, expected, "seed {seed}");

        let path = folders.path().join("to");
        let to = embedded::restore(&path, &embedded_config(ours)).expect("a new folder");
        contents::restore(to, contents::rows(&store).await).await;
        let back = folder(&path, ours);
        assert_eq!(contents::answers(&back).await, expected, "seed {seed}");
        assert!(contents::goes_on(&store).await);
        assert!(contents::goes_on(&back).await);
    }
}

/// What a database dumps and takes again is the same, row by row.
#[tokio::test(flavor = "multi_thread")]
async fn a_dump_of_what_was_restored_is_the_dump() {
    let server = server();
    for seed in 0..3 {
        let from = fresh(&server).await;
        contents::fill(&from, seed).await;
        let rows = contents::rows(&from).await;
        let config = config(&server.fresh(), None);
        contents::restore(begin(&config).await, rows.clone()).await;
        let to = opened(config).await.expect("it is whole");
        assert_eq!(contents::rows(&to).await, rows);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_was_not_filled_to_the_end_is_opened_by_nobody() {
    let server = server();
    let config = config(&server.fresh(), Some(A));
    let (from, rows) = dumped(1).await;
    let mut unfinished = begin(&config).await;
    let first = unfinished.write(rows[..rows.len() / 2].to_vec()).await;
    first.expect("rows can be written");
    drop(unfinished);
    let owner = Owner {
        name: "somebody".to_owned(),
        lease: Duration::from_secs(1),
    };
    for owner in [None, Some(owner)] {
        let config = Config {
            owner,
            ..config.clone()
        };
        let error = opened(config).await.err().expect("it is refused");
        assert!(matches!(error, OpenError::Unfinished), "{error}");
        assert_eq!(error.code(), Code::RestoreUnfinished);
    }
    // From the beginning, with another key.
    let config = Config {
        keys: sealed(Some(B)),
        ..config
    };
    contents::restore(begin(&config).await, rows).await;
    let store = opened(config).await.expect("it is whole");
    let expected = contents::answers(&*from).await;
    assert_eq!(contents::answers(&store).await, expected);
}

/// It has looked for an import before it could take a slot, and there was none then.
#[tokio::test(flavor = "multi_thread")]
async fn a_firn_that_waits_while_an_import_begins_does_not_serve() {
    let server = server();
    let text = server.fresh();
    let owned = |name: &str| Config {
        owner: Some(Owner {
            name: name.to_owned(),
            lease: Duration::from_secs(60),
        }),
        ..config(&text, None)
    };
    let first = opened(owned("first")).await.expect("a store");
    let waiting = tokio::spawn(opened(owned("late")));
    let session = Session::connect(&url(&text)).await.expect("a session");
    has_begun(&session, "late").await;
    let import = "firn store import/0";
    let begun =
        format!("INSERT INTO firn_owners VALUES ('{import}', now(), now() + interval '1 hour')");
    session.client().batch_execute(&begun).await.expect("a row");
    first.close().await;
    let late = waiting.await.expect("it ends");
    let error = late.err().expect("it is refused");
    assert!(matches!(error, OpenError::Unfinished), "{error}");
    assert_eq!(owners(&session).await, [import]);
}

/// The one that began later goes on.
#[tokio::test(flavor = "multi_thread")]
async fn of_two_that_fill_a_database_one_does() {
    let server = server();
    let config = config(&server.fresh(), None);
    let (_, rows) = dumped(2).await;
    let mut first = begin(&config).await;
    first.write(rows[..10].to_vec()).await.expect("rows");
    let second = begin(&config).await;
    let mut late = first.write(rows[10..20].to_vec()).await;
    if late.is_ok() {
        late = first.write(rows[20..30].to_vec()).await;
    }
    let late = late.expect_err("the first is out");
    assert!(matches!(late, RestoreError::Unavailable { .. }), "{late}");
    assert!(late.to_string().contains("another import"), "{late}");
    contents::restore(second, rows.clone()).await;
    let late = first.finish().await.expect_err("the first is out");
    assert!(late.to_string().contains("another import"), "{late}");
    let store = opened(config).await.expect("it is whole");
    // A database has no rows that say which receipts were dropped.
    let kept = rows
        .iter()
        .filter(|row| !matches!(row, Row::Trimmed { .. }));
    assert_eq!(contents::rows(&store).await.len(), kept.count());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_somebody_has_used_is_not_filled() {
    let server = server();
    let used = config(&server.fresh(), None);
    let store = opened(used.clone()).await.expect("a store");
    // Tables alone are nothing.
    drop(begin(&used).await);
    contents::restore(begin(&used).await, Vec::new()).await;
    let outcome = commit_one(&store, append(&key("a"), Head::default())).await;
    assert_eq!(outcome, Outcome::Landed);
    let error = refused(&used).await;
    assert!(matches!(error, OpenError::NotEmpty), "{error}");
    assert_eq!(error.code(), Code::StoreNotEmpty);
    assert_eq!(numbers(&store, &key("a")).await, [1]);

    // A Firn that has taken its slots and written nothing yet.
    let taken = Config {
        owner: Some(Owner {
            name: "somebody".to_owned(),
            lease: Duration::from_secs(60),
        }),
        ..config(&server.fresh(), None)
    };
    let firn = opened(taken.clone()).await.expect("a store");
    assert!(matches!(refused(&taken).await, OpenError::NotEmpty));
    firn.close().await;
    assert!(matches!(refused(&taken).await, OpenError::NotEmpty));
}
