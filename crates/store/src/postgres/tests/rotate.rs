//! Changing keys.

use firn_model::code::Code;

use super::*;
use crate::archive::Row;
use crate::memory::Memory;
use crate::suite::contents;

const A: &str = "a:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
const OTHER_A: &str = "a:AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=";
const B: &str = "b:AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";
const BOTH: &str =
    "b:AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=,a:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

/// A clock at which no reply record has expired.
fn clock() -> Clock {
    Clock::new(|| Timestamp(1_700_000_000_000))
}

fn config(text: &str, keys: Option<&str>) -> Config {
    Config {
        clock: clock(),
        keys: keys.map(|text| Arc::new(Keys::parse(text).expect("keys"))),
        ..patient(text)
    }
}

async fn opened(text: &str, keys: Option<&str>) -> Result<Postgres, OpenError> {
    Postgres::open(config(text, keys), |_| {}).await
}

async fn refused(text: &str, keys: Option<&str>) -> Code {
    match opened(text, keys).await {
        Ok(_) => panic!("it was opened"),
        Err(error) => error.code(),
    }
}

async fn rotate(text: &str, keys: &str) -> Result<u64, OpenError> {
    let config = Config {
        owner: Some(Owner {
            name: "rotate".to_owned(),
            lease: Duration::from_secs(1),
        }),
        ..config(text, Some(keys))
    };
    rotate_keys(config, |_| {}).await
}

/// A database with contents, and its rows.
async fn filled(text: &str, keys: Option<&str>) -> Vec<Row> {
    let from = Memory::with_clock(clock());
    contents::fill(&from, 5).await;
    let to = restore(&config(text, keys)).await.expect("a new database");
    contents::restore(to, contents::rows(&from).await).await;
    rows(text, keys).await
}

/// All but heads, whose epochs go on each time that slots are taken.
async fn rows(text: &str, keys: Option<&str>) -> Vec<Row> {
    let store = opened(text, keys).await.expect("a store");
    let mut rows = contents::rows(&store).await;
    rows.retain(|row| !matches!(row, Row::Head { .. }));
    rows
}

/// How many columns hold something that a key has sealed.
fn sealed_with(server: &Server, text: &str, id: &str) -> u32 {
    let schema = text.rsplit("%3D").next().expect("a schema");
    let columns = [
        ("states", "value"),
        ("events", "value"),
        ("replies", "record"),
        ("outbox", "effect"),
        ("timers", "timer"),
        ("replicas", "state"),
    ];
    let count = |(table, column): &(&str, &str)| {
        format!(
            "(SELECT count(*) FROM {schema}.firn_{table} \
             WHERE substring({column} FROM 3 FOR 1) = '{id}')"
        )
    };
    let sums: Vec<String> = columns.iter().map(count).collect();
    let sum = server.sql(&format!("SELECT {}", sums.join(" + ")));
    sum.parse().expect("a number")
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_sealed_anew() {
    let server = server();
    let text = server.fresh();
    let before = filled(&text, Some(A)).await;
    let sealed = sealed_with(&server, &text, "a");
    assert!(sealed > 200, "{sealed}");
    assert_eq!(
        rotate(&text, BOTH).await.expect("it is done"),
        u64::from(sealed)
    );
    assert_eq!(sealed_with(&server, &text, "a"), 0);
    assert_eq!(sealed_with(&server, &text, "b"), sealed);
    assert_eq!(rows(&text, Some(B)).await, before);
    assert_eq!(refused(&text, Some(A)).await, Code::KeyNotGiven);
    // Once more changes nothing.
    let schema = text.rsplit("%3D").next().expect("a schema");
    let versions = || {
        server.sql(&format!(
            "SELECT sum(xmin::text::int8) FROM {schema}.firn_events"
        ))
    };
    let written = versions();
    assert_eq!(
        rotate(&text, B).await.expect("it is done"),
        u64::from(sealed)
    );
    assert_eq!(versions(), written);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_sealed_is() {
    let server = server();
    let text = server.fresh();
    let before = filled(&text, None).await;
    assert_eq!(refused(&text, Some(A)).await, Code::StoreUnsealed);
    rotate(&text, A).await.expect("it is done");
    assert_eq!(refused(&text, None).await, Code::KeyNotGiven);
    assert_eq!(rows(&text, Some(A)).await, before);
}

/// At every table: what was begun needs all keys until it is done, and is then done.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_cut_off_in_the_middle_is_done_by_the_next() {
    let server = server();
    for (place, table) in [
        "states", "events", "replies", "outbox", "timers", "replicas",
    ]
    .iter()
    .enumerate()
    {
        // Sealed before, or not, in turns.
        let keys = (place % 2 == 0).then_some(A);
        let text = server.fresh();
        let before = filled(&text, keys).await;
        let schema = text.rsplit("%3D").next().expect("a schema");
        server.sql(&format!(
            "SET search_path = {schema}; \
             CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql \
               AS 'BEGIN RAISE EXCEPTION ''no more''; END'; \
             CREATE TRIGGER fail BEFORE UPDATE ON firn_{table} \
               FOR EACH ROW EXECUTE FUNCTION fail()"
        ));
        let cut = rotate(&text, BOTH).await.expect_err("it fails");
        assert!(cut.to_string().contains("no more"), "{cut}");
        let sealed = sealed_with(&server, &text, "b");
        assert_eq!(sealed > 0, place > 0, "{table}: {sealed}");
        // Nobody serves what is sealed in part, unless with all keys.
        match keys {
            None => {
                assert_eq!(refused(&text, Some(BOTH)).await, Code::StoreUnsealed);
                assert_eq!(refused(&text, None).await, Code::KeyNotGiven);
            }
            Some(_) => {
                assert_eq!(refused(&text, Some(B)).await, Code::KeyNotGiven);
                assert_eq!(rows(&text, Some(BOTH)).await, before);
            }
        }
        server.sql(&format!("DROP TRIGGER fail ON {schema}.firn_{table}"));
        rotate(&text, BOTH).await.expect("it is done");
        assert_eq!(rows(&text, Some(B)).await, before, "{table}");
        assert_eq!(sealed_with(&server, &text, "a"), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_keys_and_running_firns_are_refused_before_anything_is_changed() {
    let server = server();
    let text = server.fresh();
    filled(&text, Some(A)).await;
    for (keys, code) in [(B, Code::KeyNotGiven), (OTHER_A, Code::KeyWrong)] {
        let error = rotate(&text, keys).await.expect_err("it is refused");
        assert_eq!(error.code(), code, "{error}");
    }
    let firn = Config {
        owner: Some(Owner {
            name: "firn".to_owned(),
            lease: Duration::from_secs(60),
        }),
        ..config(&text, Some(A))
    };
    let firn = Postgres::open(firn, |_| {}).await.expect("a store");
    let error = rotate(&text, BOTH).await.expect_err("it is refused");
    assert_eq!(error.code(), Code::SlotsTaken, "{error}");
    firn.close().await;
    assert_eq!(sealed_with(&server, &text, "b"), 0);
    assert!(
        opened(&text, Some(A)).await.is_ok(),
        "the new key is not in use"
    );
}

/// It has compared its keys before it could take a slot, and they were the right ones then.
#[tokio::test(flavor = "multi_thread")]
async fn a_firn_that_waits_while_keys_change_does_not_serve_with_the_old_one() {
    let server = server();
    let text = server.fresh();
    filled(&text, Some(A)).await;
    let owned = |name: &str, keys| Config {
        owner: Some(Owner {
            name: name.to_owned(),
            lease: Duration::from_secs(60),
        }),
        ..config(&text, keys)
    };
    let rotating = Postgres::open(owned("rotate", Some(A)), |_| {}).await;
    let rotating = rotating.expect("a store");
    let waiting = tokio::spawn(Postgres::open(owned("late", Some(A)), |_| {}));
    let session = Session::connect(&url(&text)).await.expect("a session");
    has_begun(&session, "late").await;
    let owner = "rotate".to_owned();
    let hold = hold::Hold { session, owner };
    let keys = Arc::new(Keys::parse(BOTH).expect("keys"));
    let rotated = rotating.inner.rotate(&hold, keys, |_| {}).await;
    rotated.expect("it is done");
    rotating.close().await;
    let late = waiting.await.expect("it ends");
    let error = late.err().expect("it is refused");
    assert_eq!(error.code(), Code::KeyNotGiven, "{error}");
    // Nobody need wait for its lease to run out.
    assert_eq!(owners(&hold.session).await, Vec::<String>::new());
}

/// It joined with the right keys, and takes its slots only now.
#[tokio::test(flavor = "multi_thread")]
async fn a_firn_that_joined_before_keys_change_takes_no_slots_with_the_old_one() {
    let server = server();
    let text = server.fresh();
    filled(&text, Some(A)).await;
    let firn = |keys| Config {
        owner: Some(Owner {
            name: "firn".to_owned(),
            lease: Duration::from_secs(60),
        }),
        ..config(&text, keys)
    };
    for (keys, code) in [
        (None, Code::KeyNotGiven),
        (Some(B), Code::KeyNotGiven),
        (Some(OTHER_A), Code::KeyWrong),
    ] {
        let joined = Postgres::join(firn(keys), |_| {}).await;
        assert_eq!(joined.err().expect("it is refused").code(), code);
    }
    let joined = Postgres::join(firn(Some(A)), |_| {}).await;
    let joined = joined.expect("a store");
    rotate(&text, BOTH).await.expect("it is done");
    let slots: Vec<Slot> = Slot::all().take(3).collect();
    let error = joined.acquire(&slots).await.expect_err("it is refused");
    assert_eq!(error.code(), Code::KeyNotGiven, "{error}");
    assert_eq!(joined.release(&slots).await, Ok(0), "none is left with it");
}

/// As a Firn may that has lost its slots and not yet noticed.
#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_is_written_meanwhile_stays_and_is_sealed_anew() {
    let server = server();
    let text = server.fresh();
    let writing = opened(&text, Some(A)).await.expect("a store");
    let node = writing.incarnate("n").await.expect("a run").node;
    let save = async |state: &str| {
        let write = ReplicaWrite::new(key("r"), Timestamp(1), state.to_owned());
        let saved = writing.save_replicas(node, vec![write]).await;
        saved.expect("it is written");
    };
    save("older").await;
    let rotating = Config {
        owner: Some(Owner {
            name: "rotate".to_owned(),
            lease: Duration::from_secs(60),
        }),
        ..config(&text, Some(BOTH))
    };
    let mut is_read = false;
    // It has read the replica, and not yet written it.
    let progress = |_| {
        if !std::mem::replace(&mut is_read, true) {
            tokio::task::block_in_place(|| Handle::current().block_on(save("newer")));
        }
    };
    assert_eq!(
        rotate_keys(rotating, progress).await.expect("it is done"),
        1
    );
    assert!(is_read);
    assert_eq!(sealed_with(&server, &text, "b"), 1);
    let store = opened(&text, Some(B)).await.expect("a store");
    let state = store.load_replica(node, &key("r")).await;
    assert_eq!(state, Ok(Some(Bytes::from_static(b"newer"))));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_row_is_told() {
    let server = server();
    let text = server.fresh();
    filled(&text, Some(A)).await;
    let schema = text.rsplit("%3D").next().expect("a schema");
    server.sql(&format!(
        "UPDATE {schema}.firn_events SET number = number + 1000"
    ));
    let error = rotate(&text, BOTH).await.expect_err("it fails");
    assert_eq!(error.code(), Code::RecordDamaged, "{error}");
}
