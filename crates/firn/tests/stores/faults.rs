//! The database stops, stands still, is full, or takes no writes. Commands wait or fail with a code,
//! Firn recovers by itself, and what was acknowledged is there, once.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use firn_testkit::client::Client;
use firn_testkit::postgres::{Cut, Postgres, Rule};
use tonic::{Code, Status};

use crate::shop::{Function, Writer, contents, firn, item, method};

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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_takes_no_writes_refuses_changes_and_answers_reads() {
    let server = Postgres::start();
    let url = server.fresh();
    let function = Function::start();
    let firn = firn(
        &function,
        &url,
        &["--lease", "30s", "--command-timeout", "2s"],
    );
    let client = Client::connect(firn.clients).await;
    let add = method("AddItem");
    client
        .call(&add, item("a", "one"))
        .await
        .expect("it is added");
    server.sql("ALTER SYSTEM SET default_transaction_read_only = on");
    server.sql("SELECT pg_reload_conf()");
    let refused = client.call(&add, item("a", "two")).await;
    check_refusal(&refused.expect_err("it takes no writes"));
    assert_eq!(
        contents(&client, "b").await,
        Vec::<String>::new(),
        "reads are answered"
    );
    server.sql("ALTER SYSTEM RESET default_transaction_read_only");
    server.sql("SELECT pg_reload_conf()");
    // By itself, and without what was refused turning up twice.
    goes_on_again(&client, "a", "three").await;
    let stored = contents(&client, "a").await;
    assert!(stored.contains(&"one".to_owned()) && stored.contains(&"three".to_owned()));
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

/// A file system of a few megabytes, gone with this value.
struct Small(tempfile::TempDir);

impl Small {
    fn mount() -> Option<Self> {
        let folder = tempfile::tempdir().expect("a folder");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=160m", "tmpfs"])
            .arg(folder.path())
            .output();
        mounted
            .is_ok_and(|mounted| mounted.status.success())
            .then_some(Self(folder))
    }

    fn folder(&self) -> tempfile::TempDir {
        tempfile::tempdir_in(self.0.path()).expect("a folder")
    }

    /// Takes all the room there is.
    fn fill(&self) -> PathBuf {
        let path = self.0.path().join("filler");
        let mut file = std::fs::File::create(&path).expect("a file");
        while file.write_all(&[0; 16 * 1024]).is_ok() {}
        path
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount")
            .arg("--lazy")
            .arg(self.0.path())
            .status();
    }
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
