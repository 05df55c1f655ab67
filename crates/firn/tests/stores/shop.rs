//! A shop on a database: the cart behind a Firn, and writers that remember what was acknowledged.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use firn_testkit::client::Client;
use firn_testkit::firn::{Firn, Setup};
use firn_testkit::process::free_port;
use prost_reflect::{DescriptorPool, MethodDescriptor};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tonic::Status;

/// The cart, which many Firns may use.
pub(crate) struct Function {
    pub(crate) address: SocketAddr,
    serving: JoinHandle<()>,
}

impl Function {
    pub(crate) fn start() -> Self {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let serving = tokio::spawn(async move {
            let _ = cart::serve(address).await;
        });
        Self { address, serving }
    }
}

impl Drop for Function {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// A Firn on this database that serves.
pub(crate) fn firn(function: &Function, url: &str, args: &[&str]) -> Firn {
    let mut all = vec!["--store".to_owned(), url.to_owned()];
    all.extend(args.iter().map(ToString::to_string));
    Firn::serving(Setup {
        binary: PathBuf::from(env!("CARGO_BIN_EXE_firn")),
        function: function.address,
        args: all,
    })
}

pub(crate) fn method(name: &str) -> MethodDescriptor {
    let pool = DescriptorPool::decode(cart::DESCRIPTORS).expect("descriptors");
    let service = pool.get_service_by_name("shop.Cart").expect("the cart");
    let method = service.methods().find(|method| method.name() == name);
    method.expect("a method of the cart")
}

pub(crate) fn item(cart: &str, product: &str) -> Value {
    json!({ "cartId": cart, "productId": product, "name": "n", "quantity": 1 })
}

/// The products in a cart.
pub(crate) async fn contents(client: &Client, cart: &str) -> Vec<String> {
    let request = json!({ "cartId": cart });
    let cart = client
        .call(&method("GetCart"), request)
        .await
        .expect("an answer");
    let items = cart["items"].as_array().cloned().unwrap_or_default();
    for item in &items {
        assert_eq!(item["quantity"], 1, "an item was added twice: {item}");
    }
    let products = items.iter().filter_map(|item| item["productId"].as_str());
    products.map(str::to_owned).collect()
}

/// Adds items one after the other until it is told to stop, whatever it is answered.
pub(crate) struct Writer {
    cart: String,
    stop: Arc<AtomicBool>,
    /// How many items were acknowledged so far.
    acknowledged: Arc<AtomicU64>,
    writing: JoinHandle<Written>,
}

#[derive(Default)]
struct Written {
    acknowledged: BTreeSet<String>,
    unknown: BTreeSet<String>,
    refusals: Vec<Status>,
}

impl Writer {
    pub(crate) async fn start(clients: SocketAddr, cart: &str) -> Self {
        let client = Client::connect(clients).await;
        let stop = Arc::new(AtomicBool::new(false));
        let acknowledged = Arc::new(AtomicU64::new(0));
        let (stopped, counted, cart) = (stop.clone(), acknowledged.clone(), cart.to_owned());
        let into = cart.clone();
        let writing = tokio::spawn(async move {
            let add = method("AddItem");
            let mut written = Written::default();
            for number in 0.. {
                if stopped.load(Ordering::SeqCst) {
                    break;
                }
                let product = number.to_string();
                match client.call(&add, item(&into, &product)).await {
                    Ok(_) => {
                        written.acknowledged.insert(product);
                        counted.fetch_add(1, Ordering::SeqCst);
                    }
                    Err(error) => {
                        written.unknown.insert(product);
                        written.refusals.push(error);
                        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                    }
                }
            }
            written
        });
        Self {
            cart,
            stop,
            acknowledged,
            writing,
        }
    }

    /// Waits until so many more items were acknowledged.
    pub(crate) async fn goes_on(&self, more: u64) {
        let until = self.acknowledged.load(Ordering::SeqCst) + more;
        while self.acknowledged.load(Ordering::SeqCst) < until {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    }

    /// Stops, and holds what is stored against what was acknowledged; gives what it was refused with.
    pub(crate) async fn finish(self, clients: SocketAddr) -> Vec<Status> {
        self.stop.store(true, Ordering::SeqCst);
        let written = self.writing.await.expect("it ends");
        let stored = contents(&Client::connect(clients).await, &self.cart).await;
        let stored: BTreeSet<String> = stored.into_iter().collect();
        let lost: Vec<_> = written.acknowledged.difference(&stored).collect();
        assert!(lost.is_empty(), "lost of {}: {lost:?}", self.cart);
        let invented: Vec<_> = stored
            .iter()
            .filter(|item| !written.acknowledged.contains(*item))
            .filter(|item| !written.unknown.contains(*item))
            .collect();
        assert!(invented.is_empty(), "nobody asked for {invented:?}");
        written.refusals
    }
}
