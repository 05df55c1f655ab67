//! What is said about a database that cannot be used: before anything is served, with a code.

use std::process::Command;

use firn_testkit::postgres::{PASSWORD, Postgres, USER};
use firn_testkit::process::free_port;

use crate::shop::{Function, firn};

/// The exit code of a proxy that is refused, and what it says.
fn refused(args: &[&str]) -> (Option<i32>, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let output = Command::new(env!("CARGO_BIN_EXE_firn"))
        .current_dir(folder.path())
        .env_clear()
        .args(["proxy", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"])
        .args(["--function-listen", "127.0.0.1:0"])
        .args(args)
        .output()
        .expect("the binary runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code(), said)
}

fn check(args: &[&str], exit: i32, code: &str) -> String {
    let (status, said) = refused(args);
    assert_eq!(status, Some(exit), "{said}");
    assert!(said.contains(code), "{said}");
    assert_eq!(
        said.lines()
            .filter(|line| line.starts_with("error"))
            .count(),
        1,
        "{said}"
    );
    assert_eq!(
        said.lines()
            .filter(|line| line.starts_with("  try: "))
            .count(),
        1,
        "{said}"
    );
    assert!(!said.contains("secret"), "{said}");
    said
}

#[test]
fn settings_of_a_database_are_read_strictly() {
    let said = check(&["--store", "postgres://u:secret@/d"], 2, "FIRN-5010");
    assert!(said.contains("postgres://u:…@/d"), "{said}");
    for url in [
        "postgres://u:secret@h/d?sslmode=perhaps",
        "postgres://u@h/d?sslmode=perhaps&password=secret",
    ] {
        let said = check(&["--store", url], 2, "FIRN-5010");
        assert!(said.contains("try: write sslmode=disable"), "{said}");
    }
    let said = check(&["--store", "postgres://u:se@secret@h/d"], 2, "FIRN-5010");
    assert!(said.contains("try: write @ as %40"), "{said}");
    let said = check(&["--store", "postgres:/h"], 2, "FIRN-5010");
    assert!(said.contains("a URL begins with postgres://"), "{said}");
    let said = check(&["--encryption-keys", "k:c2VjcmV0"], 2, "FIRN-1001");
    assert!(said.contains("try: write each key as ID:BASE64"), "{said}");
    check(&["--migrate", "perhaps"], 2, "FIRN-1001");
    check(&["--lease", "10ms"], 2, "FIRN-1001");
    check(&["--store-connections", "0"], 2, "FIRN-1001");
}

#[test]
fn databases_that_cannot_be_used_are_told_before_serving() {
    let server = Postgres::start();
    let url = server.fresh();
    let schema = url.rsplit("%3D").next().expect("a schema").to_owned();
    let password = PASSWORD.replace(' ', "%20");

    let nobody = format!("postgres://{USER}:secret@127.0.0.1:{}/d", free_port());
    check(&["--store", &nobody], 1, "FIRN-5011");
    let wrong = url.replace(&password, "secret");
    check(&["--store", &wrong], 1, "FIRN-5012");
    let nowhere = url.replace("/postgres?", "/nowhere?");
    check(&["--store", &nowhere], 1, "FIRN-5012");
    let encrypted = format!("{url}&sslmode=require");
    check(&["--store", &encrypted], 1, "FIRN-5013");
    server.sql("CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0");
    let latin = url.replace("/postgres?", "/latin?");
    check(&["--store", &latin], 1, "FIRN-5014");
    check(&["--store", &url, "--migrate", "check"], 1, "FIRN-5016");
    server.sql(&format!(
        "CREATE ROLE weak LOGIN PASSWORD 'weak'; GRANT USAGE ON SCHEMA {schema} TO weak"
    ));
    let weak = url.replace(&format!("{USER}:{password}"), "weak:weak");
    check(&["--store", &weak], 1, "FIRN-5017");
    let read_only = url.replace(
        "?options=",
        "?options=-cdefault_transaction_read_only%3Don%20",
    );
    check(&["--store", &read_only], 1, "FIRN-5018");
    server.sql(&format!(
        "CREATE TABLE {schema}.firn_schema (one int4 PRIMARY KEY, version int4 NOT NULL); \
         INSERT INTO {schema}.firn_schema VALUES (1, 99)"
    ));
    check(&["--store", &url], 1, "FIRN-5015");
}

/// A server that says of itself that it is older than it is.
#[test]
fn a_server_that_is_too_old_is_told_before_serving() {
    let server = Postgres::start();
    let url = server.fresh();
    let schema = url.rsplit("%3D").next().expect("a schema").to_owned();
    server.sql(&format!(
        "CREATE FUNCTION {schema}.current_setting(name text) RETURNS text LANGUAGE sql AS $$ \
         SELECT CASE name WHEN 'server_version_num' THEN '120022' \
         WHEN 'server_version' THEN '12.22' ELSE pg_catalog.current_setting(name) END $$"
    ));
    // Found before the one of the server's own catalog.
    let first = format!("{url},pg_catalog");
    let said = check(&["--store", &first], 1, "FIRN-5014");
    assert!(said.contains("the server has version 12.22"), "{said}");
    let tables = format!("SELECT count(*) FROM pg_tables WHERE schemaname = '{schema}'");
    assert_eq!(server.sql(&tables), "0", "nothing was made");
}

/// Keys that do not fit to what is there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn databases_that_are_sealed_otherwise_are_told_before_serving() {
    const A: &str = "a:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    const B: &str = "b:AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";
    let server = Postgres::start();
    let [sealed, plain] = [server.fresh(), server.fresh()];
    let function = Function::start();
    for (url, keys) in [(&sealed, &["--encryption-keys", A][..]), (&plain, &[])] {
        assert!(firn(&function, url, keys).stop().success());
    }
    let schema = plain.rsplit("%3D").next().expect("a schema");
    server.sql(&format!(
        "UPDATE {schema}.firn_slots SET last_seq = 1 WHERE slot = 1"
    ));

    check(&["--store", &sealed], 1, "FIRN-5030");
    check(
        &["--store", &sealed, "--encryption-keys", B],
        1,
        "FIRN-5030",
    );
    let wrong = B.replacen('b', "a", 1);
    check(
        &["--store", &sealed, "--encryption-keys", &wrong],
        1,
        "FIRN-5031",
    );
    check(&["--store", &plain, "--encryption-keys", A], 1, "FIRN-5032");
    // Nothing else is wrong with it.
    let read_only = plain.replace(
        "?options=",
        "?options=-cdefault_transaction_read_only%3Don%20",
    );
    check(&["--store", &read_only], 1, "FIRN-5018");
}
