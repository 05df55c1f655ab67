//! What is said before a database is used that cannot be.

use firn_testkit::postgres::{PASSWORD, USER};
use firn_testkit::process::free_port;

use super::*;

async fn fault(config: Config) -> OpenError {
    match Postgres::open(config, |_| {}).await {
        Ok(_) => panic!("it was opened"),
        Err(error) => error,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_that_start_at_once_make_one_schema() {
    let server = server();
    let url = server.fresh();
    let opened = join_all((0..4).map(|_| open(&url))).await;
    for (store, id) in opened.iter().zip(["a", "b", "c", "d"]) {
        assert_eq!(
            commit_one(store, append(&key(id), Head::default())).await,
            Outcome::Landed
        );
    }
    let again = Config {
        migrate: Migrate::Check,
        ..patient(&url)
    };
    let again = Postgres::open(again, |_| {})
        .await
        .expect("it has its schema");
    assert_eq!(again.heads().await.map(|heads| heads.len()), Ok(4));
}

#[tokio::test(flavor = "multi_thread")]
async fn schemas_of_other_versions_are_left_alone() {
    let server = server();
    let url = server.fresh();
    let check = Config {
        migrate: Migrate::Check,
        ..patient(&url)
    };
    let older = fault(check).await;
    assert!(
        matches!(older, OpenError::SchemaOlder { found: 0, .. }),
        "{older}"
    );
    let schema = url.rsplit("%3D").next().expect("a schema");
    let tables =
        format!("SELECT count(*) FROM information_schema.tables WHERE table_schema = '{schema}'");
    assert_eq!(server.sql(&tables), "0");
    drop(open(&url).await);
    server.sql(&format!("UPDATE {schema}.firn_schema SET version = 99"));
    let newer = fault(patient(&url)).await;
    assert!(
        matches!(newer, OpenError::SchemaNewer { found: 99, .. }),
        "{newer}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_make_tables_is_told() {
    let server = server();
    let url = server.fresh();
    let schema = url.rsplit("%3D").next().expect("a schema");
    server.sql(&format!(
        "CREATE ROLE weak LOGIN PASSWORD 'weak'; GRANT USAGE ON SCHEMA {schema} TO weak"
    ));
    let weak = url.replace("firn:not%20a%20secret", "weak:weak");
    let failed = fault(patient(&weak)).await;
    assert!(
        matches!(failed, OpenError::MigrationFailed { .. }),
        "{failed}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn log_ins_are_refused_in_words() {
    let server = server();
    let url = server.fresh();
    let password = PASSWORD.replace(' ', "%20");
    let wrong = url.replace(&format!("{USER}:{password}"), &format!("{USER}:wrong"));
    let refused = fault(patient(&wrong)).await;
    assert!(
        matches!(refused, OpenError::LoginRefused { .. }),
        "{refused}"
    );
    assert!(!refused.to_string().contains("wrong"), "{refused}");
    let missing = url.replace("/postgres?", "/nowhere?");
    let refused = fault(patient(&missing)).await;
    assert!(
        matches!(refused, OpenError::LoginRefused { .. }),
        "{refused}"
    );
    let nobody = format!("postgres://{USER}@127.0.0.1:{}/postgres", free_port());
    let unreachable = fault(patient(&nobody)).await;
    assert!(
        matches!(unreachable, OpenError::Unreachable { .. }),
        "{unreachable}"
    );
    let encrypted = format!("{url}&sslmode=require");
    let insecure = fault(patient(&encrypted)).await;
    assert!(matches!(insecure, OpenError::Insecure { .. }), "{insecure}");
    let untrusted = format!("{url}&sslmode=verify-full&sslrootcert=/nowhere.pem");
    let insecure = fault(patient(&untrusted)).await;
    assert!(matches!(insecure, OpenError::Insecure { .. }), "{insecure}");
}

#[tokio::test(flavor = "multi_thread")]
async fn databases_that_cannot_hold_a_store_are_refused() {
    let server = server();
    server.sql("CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0");
    let latin = server.fresh().replace("/postgres?", "/latin?");
    let unfit = fault(patient(&latin)).await;
    assert!(matches!(unfit, OpenError::Unfit { .. }), "{unfit}");
    let read_only = server.fresh().replace(
        "?options=",
        "?options=-cdefault_transaction_read_only%3Don%20",
    );
    let refused = fault(patient(&read_only)).await;
    assert!(matches!(refused, OpenError::ReadOnly { .. }), "{refused}");
}

/// As a standby is: nothing is wrong with what is there, and nothing can be written.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_takes_no_writes_is_read_and_not_owned() {
    let server = server();
    let text = server.fresh();
    open(&text).await;
    let read_only = text.replace(
        "?options=",
        "?options=-cdefault_transaction_read_only%3Don%20",
    );
    let reads = open(&read_only).await;
    assert!(numbers(&reads, &key("a")).await.is_empty());
    let owner = Owner {
        name: "nobody".to_owned(),
        lease: Duration::from_secs(60),
    };
    let owned = Config {
        owner: Some(owner),
        ..patient(&read_only)
    };
    let refused = Postgres::open(owned, |_| {}).await.err();
    let refused = refused.expect("it is refused");
    assert!(matches!(refused, OpenError::ReadOnly { .. }), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn sealed_stores_want_their_keys() {
    let server = server();
    let url = server.fresh();
    let keys = |text| Some(Arc::new(Keys::parse(text).expect("a key")));
    let with = |keys| Config {
        keys,
        ..patient(&url)
    };
    let one = "one:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    let other = "one:AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=";
    let store = Postgres::open(with(keys(one)), |_| {})
        .await
        .expect("a store");
    assert_eq!(
        commit_one(&store, append(&key("a"), Head::default())).await,
        Outcome::Landed
    );
    drop(store);
    for wrong in [None, keys(other)] {
        let refused = fault(with(wrong)).await;
        assert!(matches!(refused, OpenError::Keys(_)), "{refused}");
    }
    let store = Postgres::open(with(keys(one)), |_| {})
        .await
        .expect("a store");
    assert_eq!(numbers(&store, &key("a")).await, [1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_secure_if_they_are_to_be() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../firn/tests/own/tls");
    let certificate = folder.join("certificate.pem");
    let server = Server::secured(&certificate, &folder.join("key.pem"));
    let url = server.fresh();
    let by_name = url.replace("127.0.0.1", "localhost");
    let trusted = format!("sslmode=verify-full&sslrootcert={}", certificate.display());
    for secure in [
        format!("{url}&sslmode=require"),
        format!("{by_name}&{trusted}"),
    ] {
        let store = open(&secure).await;
        let secured = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
        let rows = store.run(store.inner.rows(("secured", secured), &[])).await;
        assert!(rows.expect("an answer")[0].get::<_, bool>(0));
        assert!(store.load(&key("a"), Replay::AllEvents).await.is_ok());
    }
    // Signed by nobody whom the system trusts.
    let untrusted = format!("{by_name}&sslmode=verify-full");
    let insecure = fault(patient(&untrusted)).await;
    assert!(matches!(insecure, OpenError::Insecure { .. }), "{insecure}");
}
