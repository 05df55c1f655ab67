//! The admin port: probes, the contract, and refusals that say what there is.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use firn_testkit::client::{Answer, json};
use firn_testkit::firn::{Firn, Setup};
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
