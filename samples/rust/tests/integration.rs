//! The samples behind the real Firn: `FIRN_BIN=… cargo test -p samples-rust --features integration
//! --test integration`.

use std::time::Duration;

use firn_sdk::testing::Firn;
use firn_sdk::{Code, Function, RunError, Running};
use http::Method;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use samples::board::{ScoreRequest, ShowRequest, Standings, leaderboard};
use samples::shop::{AddItemRequest, Contents, GetCartRequest, LineItem, cart};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tonic::Request;
use tonic::client::Grpc;
use tonic::transport::Endpoint;
use tonic_prost::ProstCodec;

/// Far longer than anything takes.
const PATIENCE: Duration = Duration::from_secs(20);

struct World {
    running: Running,
    clients: String,
    firn: Firn,
}

async fn start() -> World {
    start_with(&[], |function| function).await
}

/// With further arguments of Firn, and a function that knows more.
async fn start_with(arguments: &[&str], more: impl FnOnce(Function) -> Function) -> World {
    assert!(
        std::env::var_os("FIRN_BIN").is_some(),
        "FIRN_BIN does not name the firn binary: build it and set it"
    );
    let firn = Firn::start_with(arguments).await.unwrap();
    // The certificate of the tests is for this name.
    let address = firn
        .functions()
        .replace("https://127.0.0.1", "https://localhost");
    let running = more(samples::function()).address(address).start().unwrap();
    tokio::time::timeout(PATIENCE, firn.serving())
        .await
        .expect("Firn takes the function");
    World {
        running,
        clients: firn.clients().to_owned(),
        firn,
    }
}

impl World {
    async fn http(&self, method: Method, path: &str, body: Option<Value>) -> (u16, Value) {
        let stream = TcpStream::connect(&self.clients).await.unwrap();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .unwrap();
        let body = body.map_or_else(String::new, |body| body.to_string());
        let body = std::io::Cursor::new(body.into_bytes());
        let request = http::Request::builder()
            .method(method)
            .uri(path)
            .header("host", &self.clients)
            .header("content-type", "application/json")
            .body(Full::new(body))
            .unwrap();
        let connection = tokio::spawn(connection);
        let answer = sender.send_request(request).await.unwrap();
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        drop(sender);
        connection.await.unwrap().unwrap();
        (status, serde_json::from_slice(&body).unwrap())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cart_is_filled_and_checked_out_over_http() {
    let world = start().await;
    let item = json!({"productId": "tea", "name": "Tea", "quantity": 2});
    for _ in 0..12 {
        let (status, said) = world
            .http(Method::POST, "/carts/a/items", Some(item.clone()))
            .await;
        assert_eq!(status, 200, "{said}");
    }
    let (_, contents) = world.http(Method::GET, "/carts/a", None).await;
    assert_eq!(contents["items"][0]["quantity"], 24);
    let bad = json!({"productId": "tea", "quantity": -1});
    let (status, error) = world.http(Method::POST, "/carts/a/items", Some(bad)).await;
    assert_eq!(status, 400, "{error}");
    let text = "the quantity must be positive, not -1";
    assert_eq!(error, json!({"code": 3, "message": text, "details": []}));
    let (status, error) = world
        .http(Method::DELETE, "/carts/a/items/socks", None)
        .await;
    assert_eq!(status, 404, "{error}");
    let (_, contents) = world
        .http(Method::POST, "/carts/a/checkout", Some(json!({})))
        .await;
    assert_eq!(contents["checkedOut"], true);
    let (status, error) = world.http(Method::POST, "/carts/a/items", Some(item)).await;
    assert_eq!(status, 400, "{error}");
    assert_eq!(error["message"], "the cart is checked out already");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watcher_of_the_leaderboard_sees_what_changes() {
    let world = start().await;
    let endpoint = Endpoint::from_shared(format!("http://{}", world.clients));
    let mut client = Grpc::new(endpoint.unwrap().connect().await.unwrap());
    client.ready().await.unwrap();
    let board_id = String::from("b");
    let show = ShowRequest {
        board_id: board_id.clone(),
    };
    let path = http::uri::PathAndQuery::from_static("/board.Leaderboard/Watch");
    let requests = Request::new(futures_util::stream::iter([show]));
    let watch = client
        .streaming(requests, path, ProstCodec::default())
        .await;
    let mut watch = watch.unwrap().into_inner();
    let first: Standings = watch.message().await.unwrap().unwrap();
    assert_eq!(first, Standings::default());
    for (player, points) in [("ann", 3), ("bob", 5), ("ann", 4)] {
        let score = ScoreRequest {
            board_id: board_id.clone(),
            player: player.into(),
            points,
        };
        let called = world
            .running
            .client()
            .call(leaderboard::SCORE.with(score))
            .await;
        called.unwrap();
    }
    let last = async {
        loop {
            let shown = watch.message().await.unwrap().expect("the watch goes on");
            let places: Vec<_> = shown
                .places
                .into_iter()
                .map(|it| (it.player, it.points))
                .collect();
            if places == [("ann".to_owned(), 7), ("bob".to_owned(), 5)] {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, last)
        .await
        .expect("the last standings");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_typed_client_calls_through_firn() {
    let world = start().await;
    let client = world.running.client();
    let cart_id = String::from("c");
    let add = AddItemRequest {
        cart_id: cart_id.clone(),
        product_id: "tea".into(),
        name: "Tea".into(),
        quantity: 1,
    };
    client.call(cart::ADD_ITEM.with(add.clone())).await.unwrap();
    let get = GetCartRequest { cart_id };
    let contents: Contents = client.call(cart::GET_CART.with(get)).await.unwrap();
    let line = LineItem {
        product_id: "tea".into(),
        name: "Tea".into(),
        quantity: 1,
    };
    assert_eq!(contents.items, [line]);
    let nothing = AddItemRequest { quantity: 0, ..add };
    let failure = client.call(cart::ADD_ITEM.with(nothing)).await.unwrap_err();
    assert_eq!(failure.code, Code::InvalidArgument);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_that_stops_ends_in_order() {
    let mut world = start().await;
    world.running.stop();
    let ended = tokio::time::timeout(PATIENCE, world.running.ended()).await;
    ended.expect("it ends").unwrap();
}

/// Calls from the function's side, which shows that it is served.
async fn cart_of(world: &World, cart_id: &str) -> Contents {
    let get = GetCartRequest {
        cart_id: cart_id.to_owned(),
    };
    let client = world.running.client();
    let called = client.call(cart::GET_CART.with(get));
    let called = tokio::time::timeout(PATIENCE, called).await;
    called.expect("an answer").unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_is_spoken() {
    let folder = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../crates/firn/tests/own/tls"
    );
    let (certificate, key) = (
        format!("{folder}/certificate.pem"),
        format!("{folder}/key.pem"),
    );
    let arguments = [
        "--function-tls-cert",
        &*certificate,
        "--function-tls-key",
        &*key,
    ];
    let world = start_with(&arguments, |function| function.authority(&certificate)).await;
    assert!(world.firn.functions().starts_with("https://"));
    assert_eq!(cart_of(&world, "a").await, Contents::default());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_needed_where_firn_says_so() {
    let arguments = ["--function-token", "secret"];
    let world = start_with(&arguments, |function| function.token("secret")).await;
    assert_eq!(cart_of(&world, "a").await, Contents::default());
    let wrong = samples::function().token("wrong").fail_when_refused();
    let mut wrong = wrong.address(world.firn.functions()).start().unwrap();
    let ended = tokio::time::timeout(PATIENCE, wrong.ended()).await;
    let error = ended.expect("it is refused").unwrap_err();
    assert!(error.to_string().contains("FIRN-2025"), "{error}");
    assert!(matches!(error, RunError::Refused { .. }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_outlives_its_firn() {
    let folder = tempfile::tempdir().unwrap();
    let socket = format!("unix:{}", folder.path().join("firn.sock").display());
    let arguments = ["--function-listen", &*socket];
    let world = start_with(&arguments, |function| function).await;
    assert_eq!(cart_of(&world, "a").await, Contents::default());
    let World { running, firn, .. } = world;
    firn.kill().await.unwrap();
    let firn = Firn::start_with(&arguments).await.unwrap();
    tokio::time::timeout(PATIENCE, firn.serving())
        .await
        .expect("it dials again");
    let clients = firn.clients().to_owned();
    let world = World {
        running,
        clients,
        firn,
    };
    assert_eq!(cart_of(&world, "a").await, Contents::default());
}
