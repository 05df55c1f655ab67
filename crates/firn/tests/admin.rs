//! The admin port: probes, the contract, and refusals that say what there is.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use firn_testkit::client::{Answer, json};
use firn_testkit::firn::{Firn, Setup};
use firn_testkit::metrics;
use firn_testkit::process::free_port;
use http::Method;

fn setup(function: SocketAddr) -> Setup {
    let binary = PathBuf::from(env!("CARGO_BIN_EXE_firn"));
    Setup {
        binary,
        function,
        args: Vec::new(),
    }
}

async fn get(firn: &Firn, path: &str) -> Answer {
    json(firn.admin, Method::GET, path, None).await
}

/// Asks until the answer has this status.
async fn until(firn: &Firn, path: &str, status: u16) {
    let asking = async {
        while get(firn, path).await.status() != status {
            tokio::task::yield_now().await;
        }
    };
    let patience = Duration::from_secs(30);
    tokio::time::timeout(patience, asking)
        .await
        .expect("the status comes in the end");
}

#[tokio::test(flavor = "multi_thread")]
async fn readiness_follows_the_function_and_health_does_not() {
    let function = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
    let firn = Firn::start(setup(function));
    assert_eq!(get(&firn, "/healthz").await.status(), 200);
    assert_eq!(get(&firn, "/readyz").await.status(), 503);
    assert_eq!(get(&firn, "/v1/contract").await.status(), 503);
    let cart = tokio::spawn(cart::serve(function));
    until(&firn, "/readyz", 200).await;
    cart.abort();
    // The server's connections are its own tasks; they end with the runtime that serves them.
    assert_eq!(get(&firn, "/healthz").await.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_are_those_of_their_page() {
    let function = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
    let cart = tokio::spawn(cart::serve(function));
    let stores: [(&[&str], &[&str]); 2] = [
        (&[], &["Every store", "The embedded store"]),
        (&["--store", "memory:"], &["Every store"]),
    ];
    for (args, sections) in stores {
        let args = args.iter().map(ToString::to_string).collect();
        let firn = Firn::serving(Setup {
            args,
            ..setup(function)
        });
        let listed = metrics::documented(sections);
        let before = metrics::served(firn.admin).await;
        assert_eq!(before.described, listed);
        let item = serde_json::json!({ "productId": "p", "name": "n", "quantity": 1 });
        for cart in ["a", "b"] {
            let path = "/shop.Cart/AddItem";
            let mut item = item.clone();
            item["cartId"] = cart.into();
            let added = json(firn.clients, Method::POST, path, Some(item)).await;
            assert_eq!(added.status(), 200, "{}", added.text());
        }
        let after = metrics::served(firn.admin).await;
        assert_eq!(after.described, listed);
        let more = |name: &str| after.value(name) - before.value(name);
        assert_eq!(more("firn_store_commits_total{outcome=\"landed\"}"), 2.0);
        assert_eq!(more("firn_store_batch_commits_sum"), 2.0);
        assert!(more("firn_store_batch_bytes_sum") > 0.0);
        assert!(more("firn_store_commit_seconds_count") > 0.0);
        assert_eq!(more("firn_entities_open"), 2.0);
        assert_eq!(after.value("firn_ready"), 1.0);
        if sections.len() > 1 {
            assert!(more("firn_store_flush_seconds_sum") > 0.0);
            assert!(after.value("firn_store_log_segments") >= 1.0);
            assert!(after.value("firn_store_log_bytes") > 1e6);
            let sizes = ["firn_store_size_bytes", "firn_store_log_bytes"];
            let [all, log] = sizes.map(|name| after.value(name));
            assert!(all >= log);
        }
    }
    cart.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_say_what_there_is() {
    let function = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
    let cart = tokio::spawn(cart::serve(function));
    let firn = Firn::serving(setup(function));
    let contract = get(&firn, "/v1/contract").await.json();
    assert_eq!(contract["components"][0]["service"], "shop.Cart");
    let unknown = get(&firn, "/v1/entities/shop.Basket").await;
    assert_eq!(unknown.status(), 404);
    assert!(unknown.text().contains("shop.Cart"), "{}", unknown.text());
    let nobody = get(&firn, "/v1/entities/shop.Cart/state?id=nobody").await;
    assert_eq!(nobody.status(), 404);
    let no_id = get(&firn, "/v1/entities/shop.Cart/state").await;
    assert_eq!(no_id.status(), 400);
    let empty = get(&firn, "/v1/entities/shop.Cart?limit=3").await.json();
    assert_eq!(empty, serde_json::json!({ "ids": [], "more": false }));
    cart.abort();
}
