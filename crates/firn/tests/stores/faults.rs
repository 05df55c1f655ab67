//! The database stops, stands still, is full, or takes no writes. Commands wait or fail with a code,
//! Firn recovers by itself, and what was acknowledged is there, once.

use std::net::SocketAddr;
use std::time::Duration;

use firn_testkit::client::{Client, http};
use firn_testkit::metrics::Metrics;
use firn_testkit::postgres::{Cut, Postgres, Rule};
use tonic::{Code, Status};

use crate::metrics;
use crate::shop::{Function, Writer, contents, firn, item, method};
use crate::small::Small;

async fn writers(clients: SocketAddr, count: usize) -> Vec<Writer> {
    let mut writers = Vec::new();
    for writer in 0..count {
        writers.push(Writer::start(clients, &format!("cart {writer}")).await);
    }
    writers
}

async fn all_go_on(writers: &[Writer]) {
    for writer in writers {
        writer.goes_on(5).await;
    }
}

async fn finish(writers: Vec<Writer>, clients: SocketAddr) -> Vec<Status> {
    let mut refusals = Vec::new();
    for writer in writers {
        refusals.extend(writer.finish(clients).await);
    }
    refusals
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_ends_or_stands_still_loses_nothing() {
    let mut server = Postgres::start();
    let url = server.fresh();
    let function = Function::start();
    let mut firn = firn(&function, &url, &["--lease", "30s"]);
    let writers = writers(firn.clients, 4).await;
    for round in 0..6 {
        all_go_on(&writers).await;
        match round % 3 {
            0 => {
                server.kill();
                server.start_again();
            }
            1 => {
                server.freeze();
                tokio::time::sleep(Duration::from_millis(700)).await;
                server.thaw();
            }
            _ => {
                server.shut_down();
                server.start_again();
            }
        }
    }
    all_go_on(&writers).await;
    for refusal in finish(writers, firn.clients).await {
        check_refusal(&refusal);
    }
    assert!(firn.stop().success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_are_cut_lose_nothing() {
    let server = Postgres::start();
    let cut = Cut::before(server.address());
    let fresh = server.fresh();
    let schema = fresh.rsplit("%3D").next().expect("a schema");
    let url = server.url_of(cut.address, schema);
    let function = Function::start();
    let firn = firn(&function, &url, &["--lease", "30s"]);
    let writers = writers(firn.clients, 4).await;
    for round in 0..30 {
        writers[round % 4].goes_on(3).await;
        match round % 3 {
            0 => cut.rule(Rule::LoseAnswer),
            1 => cut.rule(Rule::CutRequestAfter(round * 150)),
            _ => cut.cut(),
        }
    }
    cut.rule(Rule::Pass);
    all_go_on(&writers).await;
    // Nobody was refused anything: each time the outcome was found out.
    let refusals = finish(writers, firn.clients).await;
    assert!(refusals.is_empty(), "{refusals:?}");
    assert!(cut.cut_count() > 10, "{} were cut", cut.cut_count());
}

/// A call that the caller waits for only so long; gives its status and code.
async fn add_within(clients: SocketAddr, product: &str, deadline: &str) -> (u16, String) {
    add_to("a", clients, product, deadline).await
}

async fn add_to(cart: &str, clients: SocketAddr, product: &str, deadline: &str) -> (u16, String) {
    let body = item(cart, product).to_string();
    let request = http::Request::post("/shop.Cart/AddItem")
        .header("content-type", "application/json")
        .header("grpc-timeout", deadline)
        .body(body.into())
        .expect("a request");
    let answer = http(clients, request).await.expect("an answer");
    (answer.status(), answer.header("firn-code").to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_database_is_waited_for_within_the_callers_deadline() {
    let server = Postgres::start();
    let cut = Cut::before(server.address());
    let fresh = server.fresh();
    let schema = fresh.rsplit("%3D").next().expect("a schema");
    let url = server.url_of(cut.address, schema);
    let function = Function::start();
    let firn = firn(&function, &url, &["--lease", "60s"]);
    let client = Client::connect(firn.clients).await;
    assert_eq!(add_within(firn.clients, "one", "30S").await.0, 200);
    cut.rule(Rule::Delay(Duration::from_millis(300)));
    assert_eq!(add_within(firn.clients, "slow", "30S").await.0, 200);
    // The answer waits until the caller has been told that nobody knows.
    cut.rule(Rule::Hold);
    let late = add_within(firn.clients, "late", "500m").await;
    assert_eq!(late, (503, "FIRN-5007".to_owned()));
    // What was sent to the database is there; what waited for it is not sent any more.
    let queued = add_within(firn.clients, "queued", "300m").await;
    assert_eq!(queued, (504, "FIRN-3015".to_owned()));
    cut.rule(Rule::Pass);
    assert_eq!(add_within(firn.clients, "last", "30S").await.0, 200);
    let stored = contents(&client, "a").await;
    assert_eq!(stored, ["one", "slow", "late", "last"]);
}

/// What the page of the store says of a database that is down.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_down_is_told_with_codes_by_what_a_command_needs_of_it() {
    let mut server = Postgres::start();
    let function = Function::start();
    let firn = firn(&function, &server.fresh(), &["--lease", "60s"]);
    for cart in ["a", "b"] {
        let added = add_to(cart, firn.clients, "one", "30S").await;
        assert_eq!(added, (200, String::new()));
    }
    server.shut_down();
    let gone = |it: &Metrics| {
        let open = |used| it.value(&format!("firn_store_connections{{use=\"{used}\"}}"));
        ["commits", "reads", "replicas"].map(open) == [0.0; 3]
    };
    metrics::until(firn.admin, "without connections", gone).await;
    let soon = add_to("b", firn.clients, "soon", "500m");
    let (patient, soon, unread) = tokio::join!(
        add_within(firn.clients, "patient", "50S"),
        async {
            (
                soon.await,
                add_to("b", firn.clients, "queued", "500m").await,
            )
        },
        add_to("c", firn.clients, "unread", "50S"),
    );
    assert_eq!(patient, (503, "FIRN-5021".to_owned()));
    assert_eq!(soon.0, (503, "FIRN-5007".to_owned()));
    assert_eq!(soon.1, (504, "FIRN-3015".to_owned()));
    assert_eq!(unread, (503, "FIRN-5008".to_owned()));
    server.start_again();
    assert_eq!(add_within(firn.clients, "last", "30S").await.0, 200);
    let client = Client::connect(firn.clients).await;
    assert_eq!(contents(&client, "a").await, ["one", "last"]);
    assert_eq!(contents(&client, "c").await, Vec::<String>::new());
}

/// The server is killed while it has a commit: once before it is durable, once after it, when only the
/// answer is missing. Either way its caller waits, and it is there once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_restarted_in_mid_commit_has_it_once() {
    let mut server = Postgres::start();
    let cut = Cut::before(server.address());
    let fresh = server.fresh();
    let schema = fresh.rsplit("%3D").next().expect("a schema");
    let url = server.url_of(cut.address, schema);
    let function = Function::start();
    let firn = firn(&function, &url, &["--lease", "60s"]);
    let client = Client::connect(firn.clients).await;
    let adding = |product: &'static str| {
        let client = client.clone();
        tokio::spawn(async move { client.call(&method("AddItem"), item("a", product)).await })
    };
    adding("one").await.expect("done").expect("it is added");

    // Commits stand still within the server until it is another.
    let stand_still = "\
        CREATE FUNCTION stand_still() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
        IF pg_postmaster_start_time() = TG_ARGV[0]::timestamptz THEN PERFORM pg_sleep(600); END IF; \
        RETURN NEW; END $$; \
        DO $$ BEGIN EXECUTE format('CREATE TRIGGER still BEFORE UPDATE ON firn_slots FOR EACH ROW \
        EXECUTE FUNCTION stand_still(%L)', pg_postmaster_start_time()); END $$";
    server.sql(&format!("SET search_path = {schema}; {stand_still}"));
    let before = adding("before");
    let asleep = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
    until(&server, asleep, "1").await;
    server.kill();
    server.start_again();
    before.await.expect("done").expect("it is repeated");

    cut.rule(Rule::Hold);
    let after = adding("after");
    let landed = format!("SELECT sum(last_seq) FROM {schema}.firn_slots");
    until(&server, &landed, "3").await;
    server.kill();
    cut.cut();
    cut.rule(Rule::Pass);
    server.start_again();
    after.await.expect("done").expect("it has landed");
    assert_eq!(contents(&client, "a").await, ["one", "before", "after"]);
}

/// A row that stands still within the server keeps the slots of its own connection waiting, and no
/// others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slot_that_stands_still_holds_up_its_connection_only() {
    let server = Postgres::start();
    let url = server.fresh();
    let schema = url.rsplit("%3D").next().expect("a schema").to_owned();
    let function = Function::start();
    let firn = firn(
        &function,
        &url,
        &["--lease", "60s", "--store-connections", "2"],
    );
    let client = Client::connect(firn.clients).await;
    let add = |cart: String, product: &'static str| {
        let client = client.clone();
        async move { client.call(&method("AddItem"), item(&cart, product)).await }
    };
    for cart in 0..16 {
        add(format!("cart {cart}"), "one")
            .await
            .expect("it is added");
    }
    let of = |connection: u8| {
        server.sql(&format!(
            "SELECT id FROM {schema}.firn_entities WHERE slot % 2 = {connection} ORDER BY id LIMIT 1"
        ))
    };
    let (still, other) = (of(0), of(1));
    server.sql(&format!(
        "SET search_path = {schema}; CREATE TABLE go (); \
         CREATE FUNCTION stand_still() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
         WHILE NOT EXISTS (SELECT FROM {schema}.go) LOOP PERFORM pg_sleep(0.02); END LOOP; \
         RETURN NEW; END $$; \
         DO $$ BEGIN EXECUTE format('CREATE TRIGGER still BEFORE UPDATE ON firn_slots FOR EACH ROW \
         WHEN (OLD.slot = %s) EXECUTE FUNCTION stand_still()', \
         (SELECT slot FROM firn_entities WHERE id = '{still}')); END $$"
    ));
    let waits = tokio::spawn(add(still.clone(), "two"));
    let asleep = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
    until(&server, asleep, "1").await;
    add(other.clone(), "two")
        .await
        .expect("it is added meanwhile");
    assert!(!waits.is_finished());
    server.sql(&format!("INSERT INTO {schema}.go DEFAULT VALUES"));
    waits.await.expect("done").expect("it is added in the end");
    for cart in [still, other] {
        assert_eq!(contents(&client, &cart).await, ["one", "two"], "{cart}");
    }
}

/// Asks the server until it says so.
async fn until(server: &Postgres, question: &str, answer: &str) {
    let asking = async {
        while server.sql(question) != answer {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let asked = tokio::time::timeout(Duration::from_secs(60), asking).await;
    asked.unwrap_or_else(|_| panic!("{question} is never {answer}"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_takes_no_writes_refuses_changes_and_answers_reads() {
    let server = Postgres::start();
    let url = server.fresh();
    let function = Function::start();
    let firn = firn(&function, &url, &["--lease", "60s"]);
    let client = Client::connect(firn.clients).await;
    let add = method("AddItem");
    client
        .call(&add, item("a", "one"))
        .await
        .expect("it is added");
    server.sql("ALTER SYSTEM SET default_transaction_read_only = on");
    server.sql("SELECT pg_reload_conf()");
    let refused = add_within(firn.clients, "two", "50S").await;
    assert_eq!(refused, (503, "FIRN-5021".to_owned()), "not applied");
    assert_eq!(
        contents(&client, "b").await,
        Vec::<String>::new(),
        "reads are answered"
    );
    server.sql("ALTER SYSTEM RESET default_transaction_read_only");
    server.sql("SELECT pg_reload_conf()");
    // By itself, and without what was refused turning up twice.
    goes_on_again(&client, "a", "three").await;
    assert_eq!(contents(&client, "a").await, ["one", "three"]);
}

/// The disk of an embedded store is full: what cannot be made durable is acknowledged to nobody, and Firn
/// ends with a code. With room again it starts with all that it has acknowledged.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_without_room_ends_firn_and_loses_nothing() {
    let Some(small) = Small::mount() else {
        println!("no small file system can be mounted here");
        return;
    };
    let place = small.folder();
    let store = format!("embedded:{}", place.path().join("data").display());
    let function = Function::start();
    let mut firn = firn(&function, &store, &[]);
    let writers = writers(firn.clients, 4).await;
    all_go_on(&writers).await;
    let filler = small.fill();
    let client = Client::connect(firn.clients).await;
    let mut large = item("a", "large");
    large["name"] = "n".repeat(200_000).into();
    let add = method("AddItem");
    // Until what was kept for the log is used up too.
    while client.call(&add, large.clone()).await.is_ok() {}
    assert_eq!(firn.wait().code(), Some(1));
    assert!(firn.log().contains("FIRN-5004"), "{}", firn.log());
    std::fs::remove_file(filler).expect("the filler can go");
    firn.start_again();
    firn.wait_until_serving();
    finish(writers, firn.clients).await;
    assert!(firn.stop().success());
    drop(place);
}

/// The disk of the database is full for a while.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_without_room_refuses_and_goes_on_when_there_is_some() {
    let Some(small) = Small::mount() else {
        // Who may not mount cannot fill a file system without filling the machine's own.
        println!("no small file system can be mounted here");
        return;
    };
    let server = Postgres::within(small.folder(), &["max_wal_size=64MB"]);
    let url = server.fresh();
    let function = Function::start();
    let firn = firn(
        &function,
        &url,
        &["--lease", "60s", "--command-timeout", "2s"],
    );
    let client = Client::connect(firn.clients).await;
    let add = method("AddItem");
    client
        .call(&add, item("a", "one"))
        .await
        .expect("it is added");
    let filler = small.fill();
    let mut number = 0;
    let refused = loop {
        let mut large = item("a", &format!("large {number}"));
        large["name"] = "n".repeat(200_000).into();
        number += 1;
        if let Err(refused) = client.call(&add, large).await {
            break refused;
        }
        assert!(number < 1000, "the disk does not fill up");
    };
    check_refusal(&refused);
    std::fs::remove_file(filler).expect("the filler can go");
    goes_on_again(&client, "a", "last").await;
    let stored = contents(&client, "a").await;
    assert!(stored.contains(&"one".to_owned()) && stored.contains(&"last".to_owned()));
    for earlier in 0..number - 1 {
        assert!(
            stored.contains(&format!("large {earlier}")),
            "large {earlier} is lost"
        );
    }
    drop(server);
}

/// The server stands still for good, and a standby that had all of its commits becomes the one that takes
/// writes. Firn finds it by itself: the first host says nothing, the other takes no writes for a while.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_to_a_synchronous_standby_loses_nothing() {
    let primary = Postgres::start();
    let standby = primary.standby();
    let function = Function::start();
    let (one, other) = (primary.address().to_string(), standby.address());
    let both = primary.fresh().replace(&one, &format!("{one},{other}"));
    let url = format!("{both}&target_session_attrs=read-write");
    let mut firn = firn(&function, &url, &["--lease", "60s"]);
    let writers = writers(firn.clients, 4).await;
    all_go_on(&writers).await;
    primary.freeze();
    let (status, code) = add_within(firn.clients, "while there is none", "1S").await;
    assert!(matches!(status, 503 | 504), "{status} {code}");
    standby.promote();
    all_go_on(&writers).await;
    for refusal in finish(writers, firn.clients).await {
        check_refusal(&refusal);
    }
    assert!(firn.stop().success());
}

/// Refused as it should be: not before the deadline, and with a code.
fn check_refusal(refused: &Status) {
    let code = refused
        .metadata()
        .get("firn-code")
        .and_then(|code| code.to_str().ok());
    assert_eq!(refused.code(), Code::Unavailable, "{refused:?}");
    assert!(
        matches!(code, Some("FIRN-5007" | "FIRN-5008" | "FIRN-5021")),
        "{refused:?}"
    );
}

/// Changes land again, without anybody doing anything.
async fn goes_on_again(client: &Client, cart: &str, product: &str) {
    while let Err(refused) = client.call(&method("AddItem"), item(cart, product)).await {
        check_refusal(&refused);
        tokio::time::sleep(Duration::from_millis(50)).await;
        if contents(client, cart).await.contains(&product.to_owned()) {
            return;
        }
    }
}
