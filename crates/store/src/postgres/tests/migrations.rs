//! Schemas that older Firns have made, and newer ones will.

use super::schema::{MIGRATIONS, bring};
use super::*;
use crate::suite::contents;

async fn session(text: &str) -> Session {
    let session = Session::connect(&url(text)).await;
    session.unwrap_or_else(|error| panic!("{error}"))
}

fn schema_of(text: &str) -> &str {
    text.rsplit("%3D").next().expect("a schema")
}

/// What the first version of the schema holds is there in every later one, whoever migrates first.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_first_schema_holds_is_kept() {
    let server = server();
    let text = server.fresh();
    let first = bring(&session(&text).await, Migrate::Auto, &MIGRATIONS[..1]).await;
    first.unwrap_or_else(|error| panic!("{error}"));
    let (a, gone) = (key("a"), EntityKey::new(StorageName::new("value"), "gone"));
    let (of_a, of_gone) = (a.slot().number(), gone.slot().number());
    let schema = schema_of(&text);
    server.sql(&format!(
        "SET search_path = {schema}; \
         UPDATE firn_slots SET last_seq = 1 WHERE slot IN ({of_a}, {of_gone}); \
         INSERT INTO firn_entities (storage, id, slot, generation, life, has_state, has_events, \
           deleted_until, changed_seq, changed_at, change) VALUES \
           ('log', 'a', {of_a}, 0, 0, false, true, NULL, NULL, NULL, NULL), \
           ('value', 'gone', {of_gone}, 0, 0, false, false, 5, 1, 2, 'delete'); \
         INSERT INTO firn_events (storage, id, generation, number, slot, seq, at, type, value) \
           VALUES ('log', 'a', 0, 1, {of_a}, 1, 2, 'test.Text', '1')"
    ));
    let check = Config {
        migrate: Migrate::Check,
        ..patient(&text)
    };
    if MIGRATIONS.len() > 1 {
        let older = Postgres::open(check, |_| {})
            .await
            .err()
            .expect("it is refused");
        assert!(
            matches!(older, OpenError::SchemaOlder { found: 1, .. }),
            "{older}"
        );
    }
    let opened = join_all((0..4).map(|_| open(&text))).await;
    for store in &opened {
        assert_eq!(numbers(store, &a).await, [1]);
        let tail = store.tail(gone.slot(), SlotSequence(0), 10).await;
        let tail = tail.expect("the slot can be tailed");
        let until = Some(Timestamp(5));
        assert_eq!(tail[0].change, Change::Delete { until });
        assert_eq!(tail.len(), 1);
    }
    let head = Head {
        sequence: SlotSequence(1),
        ..Head::default()
    };
    assert_eq!(
        commit_one(&opened[0], append(&a, head)).await,
        Outcome::Landed
    );
    assert_eq!(numbers(&opened[3], &a).await, [1, 2]);
}

/// The next version, which does not exist yet: several processes bring it, one of them does, and a
/// store that is open meanwhile goes on.
#[tokio::test(flavor = "multi_thread")]
async fn of_several_that_migrate_one_does() {
    let server = server();
    let text = server.fresh();
    let schema = schema_of(&text);
    let store = open(&text).await;
    contents::fill(&store, 4).await;
    let before = contents::answers(&store).await;
    let mut next = MIGRATIONS.to_vec();
    // It would fail the second time.
    next.push(
        "ALTER TABLE firn_entities ADD COLUMN extra int8; \
         UPDATE firn_entities SET extra = coalesce(extra, 0) + 1",
    );
    let sessions = join_all((0..4).map(|_| session(&text))).await;
    let brought = sessions
        .iter()
        .map(|session| bring(session, Migrate::Auto, &next));
    for brought in join_all(brought).await {
        brought.unwrap_or_else(|error| panic!("{error}"));
    }
    let told = server.sql(&format!(
        "SELECT (SELECT version FROM {schema}.firn_schema), min(extra), max(extra) \
         FROM {schema}.firn_entities"
    ));
    assert_eq!(told, format!("{}|1|1", next.len()));
    assert_eq!(contents::answers(&store).await, before);
    assert!(contents::goes_on(&store).await);
    let newer = Postgres::open(patient(&text), |_| {}).await;
    let newer = newer.err().expect("it is refused");
    assert!(matches!(newer, OpenError::SchemaNewer { .. }), "{newer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_migration_that_fails_leaves_nothing() {
    let server = server();
    let text = server.fresh();
    let schema = schema_of(&text);
    drop(open(&text).await);
    let mut next = MIGRATIONS.to_vec();
    next.extend(["CREATE TABLE firn_half (one int4)", "SELECT 1 / 0"]);
    let failed = bring(&session(&text).await, Migrate::Auto, &next).await;
    let failed = failed.expect_err("it fails");
    assert!(
        matches!(failed, OpenError::MigrationFailed { .. }),
        "{failed}"
    );
    let told = server.sql(&format!(
        "SELECT version, to_regclass('{schema}.firn_half') IS NULL FROM {schema}.firn_schema"
    ));
    assert_eq!(told, format!("{}|t", MIGRATIONS.len()));
    drop(open(&text).await);
}
