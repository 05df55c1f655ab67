//! The sample that every language has: the same contract, the same behaviour.

use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use firn_testkit::client::{Answer, Client, json};
use firn_testkit::firn::{Firn, Setup};
use firn_testkit::function::within;
use firn_testkit::process::Process;
use http::Method;
use prost::Message;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::language::{Language, firn};

/// `board.ShowRequest`.
#[derive(Clone, PartialEq, Message)]
struct ShowRequest {
    #[prost(string, tag = "1")]
    board_id: String,
}

/// `board.Standings`.
#[derive(Clone, PartialEq, Message)]
struct Standings {
    #[prost(message, repeated, tag = "1")]
    places: Vec<Place>,
}

/// `board.Place`.
#[derive(Clone, PartialEq, Message)]
struct Place {
    #[prost(string, tag = "1")]
    player: String,
    #[prost(sint64, tag = "2")]
    points: i64,
}

/// A Firn, and the sample beside it.
struct World {
    language: Language,
    firn: Firn,
    sample: Process,
    folder: TempDir,
}

impl World {
    fn of(language: Language) -> Self {
        let setup = Setup {
            binary: firn().into(),
            function: ([127, 0, 0, 1], 1).into(),
            args: ["--family", "firn"].map(str::to_owned).to_vec(),
        };
        let mut firn = Firn::start(setup);
        let folder = tempfile::tempdir().expect("a folder");
        let sample = start(language, &firn, &folder);
        firn.wait_until_serving();
        Self {
            language,
            firn,
            sample,
            folder,
        }
    }

    /// Kills Firn and the sample, and starts both again.
    fn kill_and_start_again(&mut self) {
        self.sample.kill();
        self.firn.kill();
        self.firn.start_again();
        self.sample = start(self.language, &self.firn, &self.folder);
        self.firn.wait_until_serving();
    }

    async fn ask(&self, method: Method, path: &str, body: Option<Value>) -> Answer {
        within("an answer", json(self.firn.clients, method, path, body)).await
    }

    async fn get(&self, path: &str) -> Value {
        let answer = self.ask(Method::GET, path, None).await;
        assert_eq!(answer.status(), 200, "{}", answer.text());
        answer.json()
    }

    async fn post(&self, path: &str, body: Value) -> Value {
        let answer = self.ask(Method::POST, path, Some(body)).await;
        assert_eq!(answer.status(), 200, "{}", answer.text());
        answer.json()
    }

    /// What is refused, and how.
    async fn refused(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
        expected: (u16, &str),
    ) {
        let answer = self.ask(method, path, body).await;
        let (status, message) = expected;
        assert_eq!(answer.status(), status, "{}", answer.text());
        assert_eq!(answer.json()["message"], message);
    }
}

static RUNS: AtomicU32 = AtomicU32::new(0);

fn start(language: Language, firn: &Firn, folder: &TempDir) -> Process {
    let run = RUNS.fetch_add(1, Ordering::Relaxed);
    let mut command: Command = language.command("sample");
    command.env("FIRN_ADDRESS", format!("http://{}", firn.functions));
    let log = folder.path().join(format!("sample-{run}.log"));
    Process::start("the sample", &mut command, &log)
}

fn tea(quantity: i32) -> Value {
    json!({"productId": "tea", "name": "Tea", "quantity": quantity})
}

async fn cart_is_as_its_contract_says(language: Language) {
    let mut world = World::of(language);
    let items = "/carts/alice/items";
    let changed = (400, "the cart is checked out already");
    world.post(items, tea(2)).await;
    world.post(items, tea(1)).await;
    world
        .post(
            items,
            json!({"productId": "socks", "name": "Socks", "quantity": 1}),
        )
        .await;
    let quantity = "the quantity must be positive, not -1";
    world
        .refused(Method::POST, items, Some(tea(-1)), (400, quantity))
        .await;
    let gone = world
        .ask(Method::DELETE, "/carts/alice/items/socks", None)
        .await;
    assert_eq!(gone.status(), 200, "{}", gone.text());
    let missing = "product \"socks\" is not in the cart";
    world
        .refused(
            Method::DELETE,
            "/carts/alice/items/socks",
            None,
            (404, missing),
        )
        .await;
    let one = json!([{"productId": "tea", "name": "Tea", "quantity": 3}]);
    assert_eq!(world.get(items).await, one);
    world
        .refused(
            Method::POST,
            "/carts/bob/checkout",
            None,
            (400, "the cart is empty"),
        )
        .await;

    world.kill_and_start_again();
    let closed = world.post("/carts/alice/checkout", json!({})).await;
    assert_eq!(closed, json!({"items": one, "checkedOut": true}));
    world
        .refused(Method::POST, items, Some(tea(1)), changed)
        .await;
    world
        .refused(Method::DELETE, "/carts/alice/items/tea", None, changed)
        .await;
    world
        .refused(Method::POST, "/carts/alice/checkout", None, changed)
        .await;
    let empty = json!({"items": [], "checkedOut": false});
    assert_eq!(world.get("/carts/bob").await, empty);
}

/// A snapshot is taken on the way: what it stands for is not replayed.
async fn long_cart_comes_back(language: Language) {
    let mut world = World::of(language);
    for _ in 0..120 {
        world.post("/carts/long/items", tea(1)).await;
    }
    world.kill_and_start_again();
    world.post("/carts/long/items", tea(1)).await;
    let items = json!([{"productId": "tea", "name": "Tea", "quantity": 121}]);
    assert_eq!(world.get("/carts/long/items").await, items);
}

async fn leaderboard_is_as_its_contract_says(language: Language) {
    let world = World::of(language);
    let client = Client::connect(world.firn.clients).await;
    let board_id = "chess".to_owned();
    let show = Bytes::from(ShowRequest { board_id }.encode_to_vec());
    let request = tonic::Request::new(tokio_stream::once(show));
    let watching = within(
        "a stream",
        client.stream("/board.Leaderboard/Watch", request),
    )
    .await;
    let mut standings = watching.expect("a stream").into_inner();
    let mut next = async || {
        let message = within("standings", standings.message())
            .await
            .expect("no failure");
        let standings = Standings::decode(message.expect("a message")).expect("standings");
        let places = standings.places.into_iter();
        places
            .map(|place| (place.player, place.points))
            .collect::<Vec<_>>()
    };
    let places = |expected: &[(&str, i64)]| -> Vec<(String, i64)> {
        let expected = expected.iter();
        expected
            .map(|(player, points)| ((*player).to_owned(), *points))
            .collect()
    };
    assert_eq!(next().await, []);
    let score = |player: &str, points: i64| json!({"player": player, "points": points});
    let scores = "/boards/chess/scores";
    world.post(scores, score("ann", 3)).await;
    assert_eq!(next().await, places(&[("ann", 3)]));
    world.post(scores, score("bob", 3)).await;
    assert_eq!(next().await, places(&[("ann", 3), ("bob", 3)]));
    world.post(scores, score("bob", 2)).await;
    assert_eq!(next().await, places(&[("bob", 5), ("ann", 3)]));
    world.post(scores, score("bob", -4)).await;
    assert_eq!(next().await, places(&[("ann", 3), ("bob", 1)]));
    let nameless = "the player has no name";
    world
        .refused(Method::POST, scores, Some(score("", 1)), (400, nameless))
        .await;
    let shown = json!({"places": [
        {"player": "ann", "points": "3"},
        {"player": "bob", "points": "1"},
    ]});
    assert_eq!(world.get("/boards/chess").await, shown);
}

#[tokio::test]
async fn rust_cart() {
    cart_is_as_its_contract_says(Language::Rust).await;
}

#[tokio::test]
async fn typescript_cart() {
    cart_is_as_its_contract_says(Language::TypeScript).await;
}

#[tokio::test]
async fn python_cart() {
    cart_is_as_its_contract_says(Language::Python).await;
}

#[tokio::test]
async fn rust_long_cart() {
    long_cart_comes_back(Language::Rust).await;
}

#[tokio::test]
async fn typescript_long_cart() {
    long_cart_comes_back(Language::TypeScript).await;
}

#[tokio::test]
async fn python_long_cart() {
    long_cart_comes_back(Language::Python).await;
}

#[tokio::test]
async fn rust_leaderboard() {
    leaderboard_is_as_its_contract_says(Language::Rust).await;
}

#[tokio::test]
async fn typescript_leaderboard() {
    leaderboard_is_as_its_contract_says(Language::TypeScript).await;
}

#[tokio::test]
async fn python_leaderboard() {
    leaderboard_is_as_its_contract_says(Language::Python).await;
}
