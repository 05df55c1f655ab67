//! Several Firns on one database, one after the other and at once.

use firn_testkit::client::Client;
use firn_testkit::postgres::{Cut, Postgres, Rule};
use rustix::process::Signal;
use serde_json::json;
use tonic::Code;

use crate::shop::{Function, Writer, contents, firn, item, method};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_firn_that_is_killed_under_load_loses_nothing() {
    let server = Postgres::start();
    let url = server.fresh();
    let function = Function::start();
    let mut firn = firn(&function, &url, &["--lease", "1s"]);
    for round in 0..5 {
        let mut writers = Vec::new();
        for writer in 0..4 {
            let cart = format!("{round}-{writer}");
            writers.push(Writer::start(firn.clients, &cart).await);
        }
        for writer in &writers {
            writer.goes_on(10).await;
        }
        firn.kill();
        // The next one waits until the lease of the killed one has run out.
        firn.start_again();
        firn.wait_until_serving();
        for writer in writers {
            writer.finish(firn.clients).await;
        }
    }
    assert!(firn.stop().success(), "the last one stops in order");
    let owners = server.sql("SELECT count(*) FROM space_0.firn_owners");
    assert_eq!(owners, "0", "slots are given up in order");
}

/// The second is refused while the first lives, and takes over when it stands still. The first then
/// answers nothing that may be out of date, and ends.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_firn_that_stood_still_is_deposed() {
    let server = Postgres::start();
    let url = server.fresh();
    let function = Function::start();
    let mut first = firn(&function, &url, &["--lease", "2s"]);
    let client = Client::connect(first.clients).await;
    let get = method("GetCart");
    add_item(&client, "one").await;

    let refused = std::process::Command::new(env!("CARGO_BIN_EXE_firn"))
        .current_dir(first.folder())
        .args(["proxy", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"])
        .args([
            "--function-listen",
            "127.0.0.1:0",
            "--lease",
            "1s",
            "--store",
            &url,
        ])
        .output()
        .expect("the binary runs");
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains("FIRN-5019"), "{said}");

    first.signal(Signal::STOP);
    let second = firn(&function, &url, &["--lease", "2s"]);
    let other = Client::connect(second.clients).await;
    add_item(&other, "two").await;
    // It is in the first one's memory, which knows nothing of the second item.
    let read = tokio::spawn(async move { client.call(&get, json!({ "cartId": "a" })).await });
    first.signal(Signal::CONT);
    if let Ok(stale) = read.await.expect("it is done") {
        panic!("a deposed Firn answered {stale}");
    }
    let status = first.wait();
    assert_eq!(status.code(), Some(1));
    assert!(first.log().contains("FIRN-5020"), "{}", first.log());
    assert_eq!(contents(&other, "a").await, ["one", "two"]);
    add_item(&other, "three").await;
}

/// Two Firns take everything from one another, again and again. Whatever a Firn answers that was deposed
/// and does not know it yet, nobody is told what is out of date, and no entity gets a second history.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_firns_that_depose_one_another_none_is_out_of_date() {
    let server = Postgres::start();
    let url = server.fresh();
    let function = Function::start();
    let mut serving = firn(&function, &url, &["--lease", "1s"]);
    let (mut acknowledged, mut refused) = (Vec::new(), Vec::new());
    for round in 0..3 {
        let client = Client::connect(serving.clients).await;
        for number in 0..5 {
            let product = format!("{round} before {number}");
            add_item(&client, &product).await;
            acknowledged.push(product);
        }
        serving.signal(Signal::STOP);
        let next = firn(&function, &url, &["--lease", "1s"]);
        let other = Client::connect(next.clients).await;
        let after = format!("{round} after");
        add_item(&other, &after).await;
        acknowledged.push(after);
        // What waits for it when it goes on: reads, and changes that build on what it knows.
        let asked = (0..20).map(|number| {
            let client = client.clone();
            tokio::spawn(async move {
                let product = format!("{round} late {number}");
                match number % 2 {
                    0 => (
                        None,
                        client
                            .call(&method("GetCart"), json!({ "cartId": "a" }))
                            .await,
                    ),
                    _ => {
                        let added = client.call(&method("AddItem"), item("a", &product)).await;
                        (Some(product), added)
                    }
                }
            })
        });
        let asked: Vec<_> = asked.collect();
        serving.signal(Signal::CONT);
        for asked in asked {
            match asked.await.expect("it is done") {
                (None, Ok(cart)) => panic!("a deposed Firn answered {cart}"),
                (Some(product), Ok(_)) => acknowledged.push(product),
                (Some(product), Err(_)) => refused.push(product),
                (None, Err(_)) => {}
            }
        }
        assert_eq!(serving.wait().code(), Some(1));
        serving = next;
    }
    let stored = contents(&Client::connect(serving.clients).await, "a").await;
    for product in &acknowledged {
        assert!(stored.contains(product), "{product} is lost");
    }
    for product in &refused {
        assert!(!stored.contains(product), "{product} was refused");
    }
    assert_eq!(stored.len(), acknowledged.len());
    let check = std::process::Command::new(env!("CARGO_BIN_EXE_firn"))
        .current_dir(serving.folder())
        .args(["store", "check", "--store", &url])
        .output()
        .expect("the binary runs");
    assert!(check.status.success(), "{check:?}");
}

/// The first is alive and well, but does not reach the database: it cannot know that it was deposed,
/// so it answers nothing from its memory.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_firn_that_cannot_ask_answers_no_reads_from_memory() {
    let server = Postgres::start();
    let url = server.fresh();
    let schema = url.rsplit("%3D").next().expect("a schema");
    let cut = Cut::before(server.address());
    let function = Function::start();
    let by_proxy = server.url_of(cut.address, schema);
    let mut first = firn(&function, &by_proxy, &["--lease", "2s"]);
    let client = Client::connect(first.clients).await;
    add_item(&client, "one").await;
    cut.rule(Rule::Refuse);
    cut.cut();
    let second = firn(&function, &url, &["--lease", "30s"]);
    let other = Client::connect(second.clients).await;
    add_item(&other, "two").await;
    let refused = client
        .call(&method("GetCart"), json!({ "cartId": "a" }))
        .await;
    let refused = refused.expect_err("it may not answer");
    let code = refused
        .metadata()
        .get("firn-code")
        .and_then(|code| code.to_str().ok());
    assert_eq!(
        (refused.code(), code),
        (Code::Unavailable, Some("FIRN-5022")),
        "{refused:?}"
    );
    cut.rule(Rule::Pass);
    assert_eq!(first.wait().code(), Some(1));
    assert!(first.log().contains("FIRN-5020"), "{}", first.log());
    assert_eq!(contents(&other, "a").await, ["one", "two"]);
}

async fn add_item(client: &Client, product: &str) {
    let added = client.call(&method("AddItem"), item("a", product)).await;
    added.unwrap_or_else(|refused| panic!("{refused:?}"));
}
