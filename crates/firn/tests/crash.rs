//! A real Firn, killed at random moments under load: nothing that was acknowledged is lost.
//!
//! Writers add items to carts as fast as they are answered. In the middle Firn is killed without a
//! word and started again on the same folder. Each cart then holds every acknowledged item, once,
//! and nothing that nobody asked for. `kill -9` keeps the page cache, so a missing flush is not
//! found here: that is what the store's own simulation is for.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use firn_testkit::client::Client;
use firn_testkit::firn::{Firn, Setup};
use firn_testkit::process::free_port;
use prost_reflect::{DescriptorPool, MethodDescriptor};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// How often Firn is killed.
const KILLS: u32 = 50;

/// Writers at once, each on a cart of its own but for the first, whose cart lives through all
/// rounds.
const WRITERS: u32 = 8;

/// Firn is killed within that time after the first acknowledgement of a round, in microseconds.
const LOAD_MICROS_MAX: u64 = 60_000;

struct Methods {
    add: MethodDescriptor,
    get: MethodDescriptor,
}

impl Methods {
    fn new() -> Self {
        let pool = DescriptorPool::decode(cart::DESCRIPTORS).expect("descriptors");
        let service = pool.get_service_by_name("shop.Cart").expect("the cart");
        let method = |name| service.methods().find(|method| method.name() == name);
        Self {
            add: method("AddItem").expect("AddItem"),
            get: method("GetCart").expect("GetCart"),
        }
    }
}

/// What became of a writer's items.
struct Written {
    cart: String,
    acknowledged: BTreeSet<String>,
    /// The last item may or may not have been stored: its answer never came.
    unknown: Option<String>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledged_items_survive_fifty_kills_under_load() {
    let function = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
    let _serving = AbortOnDrop(tokio::spawn(async move {
        let _ = cart::serve(function).await;
    }));
    let mut firn = Firn::serving(Setup {
        binary: PathBuf::from(env!("CARGO_BIN_EXE_firn")),
        function,
        args: Vec::new(),
    });
    let mut random = Random::new();
    println!("seed {}", random.0);
    let mut history = Vec::new();
    for round in 0..KILLS {
        let written = load_and_kill(&mut firn, round, &mut random).await;
        firn.start_again();
        firn.wait_until_serving();
        check(&firn, &written).await;
        history.extend(written);
    }
    // Later kills took nothing of earlier rounds.
    check(&firn, &history).await;
    let acknowledged: usize = history.iter().map(|w| w.acknowledged.len()).sum();
    println!("{acknowledged} acknowledged items survived {KILLS} kills");
    assert!(
        acknowledged > KILLS as usize,
        "there was no load to speak of"
    );
    assert!(firn.stop().success(), "the last one stops in order");
}

/// Loads Firn until it is killed.
async fn load_and_kill(firn: &mut Firn, round: u32, random: &mut Random) -> Vec<Written> {
    let (first, mut acknowledged) = watch::channel(false);
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let cart = match writer {
            0 => LONG_LIVED.to_owned(),
            _ => format!("{round}-{writer}"),
        };
        let prefix = format!("{round}-{writer}");
        // Connected before the load begins, so that nobody comes to a Firn that is dead already.
        let client = Client::connect(firn.clients).await;
        writers.spawn(write(client, cart, prefix, first.clone()));
    }
    acknowledged
        .wait_for(|first| *first)
        .await
        .expect("an acknowledgement");
    tokio::time::sleep(Duration::from_micros(random.below(LOAD_MICROS_MAX))).await;
    firn.kill();
    writers.join_all().await
}

/// The cart of the first writer of every round.
const LONG_LIVED: &str = "long-lived";

/// Adds items one after the other until Firn does not answer any more.
async fn write(
    client: Client,
    cart: String,
    prefix: String,
    first: watch::Sender<bool>,
) -> Written {
    let methods = Methods::new();
    let mut written = Written {
        cart,
        acknowledged: BTreeSet::new(),
        unknown: None,
    };
    for number in 0.. {
        let product = format!("{prefix}-{number}");
        let item = json!({
            "cartId": written.cart, "productId": product, "name": "n", "quantity": 1
        });
        match client.call(&methods.add, item).await {
            Ok(_) => {
                written.acknowledged.insert(product);
                first.send_replace(true);
            }
            Err(_) => {
                written.unknown = Some(product);
                break;
            }
        }
    }
    written
}

/// Holds what is stored against what was acknowledged.
async fn check(firn: &Firn, all: &[Written]) {
    let methods = Methods::new();
    let client = Client::connect(firn.clients).await;
    for written in all {
        let request = json!({ "cartId": written.cart });
        let contents = client.call(&methods.get, request).await.expect("an answer");
        let items = contents["items"].as_array().cloned().unwrap_or_default();
        let product = |item: &Value| item["productId"].as_str().map(str::to_owned);
        let stored: BTreeSet<String> = items.iter().filter_map(product).collect();
        assert_eq!(
            stored.len(),
            items.len(),
            "an item twice in {}",
            written.cart
        );
        let lost: Vec<_> = written.acknowledged.difference(&stored).collect();
        assert!(lost.is_empty(), "lost of {}: {lost:?}", written.cart);
        for item in &items {
            assert_eq!(item["quantity"], 1, "an item was added twice: {item}");
        }
        if written.cart != LONG_LIVED {
            let invented: Vec<_> = stored
                .iter()
                .filter(|product| !written.acknowledged.contains(*product))
                .filter(|product| Some(*product) != written.unknown.as_ref())
                .collect();
            assert!(
                invented.is_empty(),
                "nobody asked for {invented:?} in {}",
                written.cart
            );
        }
    }
}

/// A generator for moments; another seed in each run, printed for a failure.
struct Random(u64);

impl Random {
    fn new() -> Self {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .expect("a time after 1970");
        Self(now.as_nanos() as u64 | 1)
    }

    /// Xorshift64 (Marsaglia 2003).
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// A task that ends with its owner.
struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}
