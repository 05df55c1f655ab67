//! What a check of a database finds, and what it repairs.

use firn_model::code::Code;
use firn_model::id::Epoch;

use super::*;
use crate::check::{Checked, Finding, Repair, Told};
use crate::suite::contents;

const A: &str = "a:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
const OTHER_A: &str = "a:AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=";

fn config(text: &str, keys: Option<&str>) -> Config {
    Config {
        keys: keys.map(|text| Arc::new(Keys::parse(text).expect("keys"))),
        ..patient(text)
    }
}

fn repairing(config: &Config) -> Config {
    Config {
        owner: Some(Owner {
            name: "repair".to_owned(),
            lease: Duration::from_secs(1),
        }),
        ..config.clone()
    }
}

async fn checked(config: Config) -> (Checked, Vec<Finding>) {
    let mut findings = Vec::new();
    let mut rows = 0;
    let mut tell = |told| match told {
        Told::Finding(finding) => findings.push(finding),
        Told::Rows(count) => rows = count,
    };
    let checked = check(config, &mut tell).await;
    let checked = checked.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(rows, checked.rows, "it is told how far it has come");
    assert_eq!(checked.findings, findings.len() as u64);
    (checked, findings)
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_was_committed_fits_together() {
    let server = server();
    for (seed, keys) in [(0, None), (1, Some(A)), (2, None)] {
        let config = config(&server.fresh(), keys);
        let store = Postgres::open(config.clone(), |_| {})
            .await
            .expect("a store");
        contents::fill(&store, seed).await;
        // Also while the store is open.
        let (looked, findings) = checked(config.clone()).await;
        assert_eq!(findings, [], "seed {seed}");
        assert!(looked.rows > 16_384 + 200, "{looked:?}");
        store.run(store.inner.sweep()).await.expect("it is swept");
        let (_, findings) = checked(config).await;
        assert_eq!(findings, [], "seed {seed}");
    }
}

/// Entities with events, a state, an answer and a timer, and a generation that has ended.
async fn filled(store: &Postgres) {
    let entity = key("a");
    let mut first = append(&entity, Head::default());
    first.reply_record = Some(crate::ReplyRecord {
        method: "m".into(),
        idempotency_key: "k".into(),
        request_hash: 1,
        expires: Timestamp(u64::MAX),
        answer: crate::StoredAnswer::Reply(Default::default()),
    });
    first.timers = vec![crate::TimerWrite {
        name: crate::TimerName::Own("t".into()),
        timer: Some(crate::Timer {
            due: Timestamp(77),
            call: firn_model::decision::Forward {
                service: "s".into(),
                method: "m".into(),
                payload: payload("call"),
                metadata: Default::default(),
            },
            repeat: None,
            hops: 0,
        }),
    }];
    let mut third = append(
        &entity,
        Head {
            epoch: Epoch(0),
            sequence: SlotSequence(2),
        },
    );
    let second = append(
        &entity,
        Head {
            epoch: Epoch(0),
            sequence: SlotSequence(1),
        },
    );
    third.effects = vec![firn_model::decision::Effect {
        call: first.timers[0]
            .timer
            .as_ref()
            .expect("a timer")
            .call
            .clone(),
        synchronous: false,
        delay: None,
    }];
    let other = EntityKey::new(StorageName::new("value"), "v");
    let mut set = Commit::empty(other.slot(), Epoch(0), SlotSequence(1), Timestamp(1));
    set.key = Some(other.clone());
    set.change = Some(Change::Set(payload("state")));
    for commit in [first, second, third, set] {
        assert_eq!(commit_one(store, commit).await, Outcome::Landed);
    }
}

/// What could not be written was not repaired, whatever was found before and after it.
#[tokio::test(flavor = "multi_thread")]
async fn repairs_are_told_once_they_are_written() {
    let server = server();
    let text = server.fresh();
    let config = config(&text, None);
    filled(&open(&text).await).await;
    let schema = text.rsplit("%3D").next().expect("a schema");
    server.sql(&format!(
        "SET search_path = {schema}; \
         UPDATE firn_replies SET expires = 5; UPDATE firn_timers SET due = 5; \
         CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql \
           AS 'BEGIN RAISE EXCEPTION ''no more''; END'; \
         CREATE TRIGGER fail BEFORE UPDATE ON firn_timers FOR EACH ROW EXECUTE FUNCTION fail()"
    ));
    let mut found = Vec::new();
    let mut tell = |told| {
        if let Told::Finding(finding) = told {
            found.push(finding.repair);
        }
    };
    let failed = check(repairing(&config), &mut tell).await;
    let failed = failed.expect_err("it cannot be written");
    assert!(failed.to_string().contains("no more"), "{failed}");
    assert_eq!(found, [Repair::Possible; 2]);
    let (again, _) = checked(config).await;
    assert_eq!((again.findings, again.repaired), (2, 0));
}

/// Breaks the tables with SQL; what is found must begin like this.
async fn finds(server: &Server, sql: &str, expected: &[(&str, Repair)]) {
    let text = server.fresh();
    let config = config(&text, None);
    filled(&open(&text).await).await;
    let schema = text.rsplit("%3D").next().expect("a schema");
    server.sql(&format!("SET search_path = {schema}; {sql}"));
    let told = |findings: &[Finding]| -> Vec<(String, Repair)> {
        let told = findings.iter();
        told.map(|finding| {
            (
                format!("{}: {}", finding.place, finding.fault),
                finding.repair,
            )
        })
        .collect()
    };
    let given = |done: Repair| -> Vec<(String, Repair)> {
        let given = expected.iter();
        given
            .map(|(text, repair)| match repair {
                Repair::Impossible => ((*text).to_owned(), Repair::Impossible),
                _ => ((*text).to_owned(), done),
            })
            .collect()
    };
    let (_, found) = checked(config.clone()).await;
    assert_eq!(told(&found), given(Repair::Possible), "{sql}");
    let (repaired, found) = checked(repairing(&config)).await;
    assert_eq!(told(&found), given(Repair::Done), "{sql}");
    let (after, _) = checked(config).await;
    assert_eq!(
        after.findings,
        repaired.findings - repaired.repaired,
        "{sql}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_together_is_found_and_repaired_if_it_is_safe() {
    use Repair::{Impossible, Possible};
    let server = server();
    let server = &*server;
    let a = key("a").slot();
    finds(
        server,
        "DELETE FROM firn_events WHERE number = 2",
        &[(
            "firn_events \"log\" \"a\" 0 3: event 2 before it is missing",
            Impossible,
        )],
    )
    .await;
    finds(
        server,
        "DELETE FROM firn_events",
        &[(
            "firn_entities \"log\" \"a\": its events are missing",
            Impossible,
        )],
    )
    .await;
    finds(
        server,
        "DELETE FROM firn_states",
        &[(
            "firn_entities \"value\" \"v\": its state is missing",
            Impossible,
        )],
    )
    .await;
    finds(
        server,
        "DELETE FROM firn_entities WHERE storage = 'value'",
        &[(
            "firn_states \"value\" \"v\" \"state\": its entity is missing",
            Impossible,
        )],
    )
    .await;
    finds(
        server,
        "UPDATE firn_states SET tags = '{'",
        &[(
            "firn_states \"value\" \"v\" \"state\": its tags are no JSON",
            Impossible,
        )],
    )
    .await;
    finds(
        server,
        &format!(
            "UPDATE firn_slots SET last_seq = 2 WHERE slot = {}",
            a.number()
        ),
        &[
            (
                "firn_events \"log\" \"a\" 0 3: it is of commit 3, and its slot ends with 2",
                Impossible,
            ),
            (
                &format!(
                    "firn_outbox {} 3 0: it is of commit 3, and its slot ends with 2",
                    a.number()
                ),
                Impossible,
            ),
        ],
    )
    .await;
    finds(
        server,
        "UPDATE firn_outbox SET effect = 'x'",
        &[(
            &format!(
                "firn_outbox {} 3 0: failed to decode Protobuf message: invalid varint",
                a.number()
            ),
            Impossible,
        )],
    )
    .await;
    finds(
        server,
        "UPDATE firn_events SET slot = 1 WHERE number = 1",
        &[
            (
                &format!("firn_events \"log\" \"a\" 0 1: its entity is of slot {a}, not 1"),
                Impossible,
            ),
            (
                "firn_events \"log\" \"a\" 0 1: it is of commit 1, and its slot ends with 0",
                Impossible,
            ),
        ],
    )
    .await;
    finds(
        server,
        "UPDATE firn_timers SET due = 1",
        &[(
            "firn_timers \"log\" \"a\" \"=t\": nothing leads to it when it is due",
            Possible,
        )],
    )
    .await;
    let text = server.fresh();
    filled(&open(&text).await).await;
    let schema = text.rsplit("%3D").next().expect("a schema");
    let command = server.sql(&format!(
        "SELECT encode(command, 'hex') FROM {schema}.firn_replies"
    ));
    finds(
        server,
        "UPDATE firn_replies SET expires = 1",
        &[(
            &format!("firn_replies \"log\" \"a\" 0 {command}: nothing leads to its expiry"),
            Possible,
        )],
    )
    .await;
    finds(
        server,
        "UPDATE firn_entities SET generation = 1, swept = 1, has_events = false WHERE storage = 'log'; \
         DELETE FROM firn_events WHERE number > 1",
        &[("firn_events \"log\" \"a\" 0 1: it is of no living generation, and nothing removes it", Possible)],
    )
    .await;
    finds(
        server,
        "UPDATE firn_events SET generation = 4 WHERE number = 3",
        &[(
            "firn_events \"log\" \"a\" 4 3: it is of a later generation than its entity",
            Impossible,
        )],
    )
    .await;
    finds(
        server,
        "INSERT INTO firn_states SELECT 'log', 'a', 'snapshot', -1, 1, type, value, tags FROM firn_states",
        &[("firn_states \"log\" \"a\" \"snapshot\": it is of no living generation", Possible)],
    )
    .await;
    let snapshot = "INSERT INTO firn_states SELECT 'log', 'a', 'snapshot', 0, 3, type, value, tags FROM firn_states";
    for (deleted, last) in [("", 0), (" WHERE number = 3", 2)] {
        finds(
            server,
            &format!("{snapshot}; DELETE FROM firn_events{deleted}"),
            &[(
                &format!(
                    "firn_states \"log\" \"a\" \"snapshot\": it is of event 3, and the last one is {last}"
                ),
                Impossible,
            )],
        )
        .await;
    }
    finds(server, snapshot, &[]).await;
}

/// Without its row a slot can be taken by nobody, so this is only looked at.
#[tokio::test(flavor = "multi_thread")]
async fn a_slot_without_its_row_is_found() {
    let server = server();
    let text = server.fresh();
    drop(open(&text).await);
    let schema = text.rsplit("%3D").next().expect("a schema");
    server.sql(&format!("DELETE FROM {schema}.firn_slots WHERE slot = 7"));
    let (_, found) = checked(config(&text, None)).await;
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(
        found[0].to_string(),
        "firn_slots 7: it is missing (cannot be repaired)"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_swapped_under_a_seal_is_found() {
    let server = server();
    let text = server.fresh();
    let config = config(&text, Some(A));
    let store = Postgres::open(config.clone(), |_| {})
        .await
        .expect("a store");
    filled(&store).await;
    let schema = text.rsplit("%3D").next().expect("a schema");
    server.sql(&format!(
        "SET search_path = {schema}; UPDATE firn_events v SET value = o.value \
         FROM firn_events o WHERE v.number = 1 AND o.number = 2"
    ));
    let (_, found) = checked(config).await;
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].place, "firn_events \"log\" \"a\" 0 1");
    assert!(found[0].fault.contains("key a"), "{found:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_that_cannot_be_made_says_why() {
    let server = server();
    let text = server.fresh();
    let config_of = |keys| config(&text, keys);
    let store = Postgres::open(config_of(Some(A)), |_| {})
        .await
        .expect("a store");
    filled(&store).await;
    for (keys, code) in [(None, Code::KeyNotGiven), (Some(OTHER_A), Code::KeyWrong)] {
        let refused = check(config_of(keys), &mut |_| {}).await;
        assert_eq!(refused.expect_err("it is refused").code(), code);
    }
    // Repairs need the slots.
    let firn = Config {
        owner: Some(Owner {
            name: "firn".to_owned(),
            lease: Duration::from_secs(60),
        }),
        ..config_of(Some(A))
    };
    let firn = Postgres::open(firn, |_| {}).await.expect("a store");
    let refused = check(repairing(&config_of(Some(A))), &mut |_| {}).await;
    let refused = refused.expect_err("it is refused");
    assert_eq!(refused.code(), Code::SlotsTaken, "{refused}");
    assert_eq!(checked(config_of(Some(A))).await.1, []);
    firn.close().await;
}
