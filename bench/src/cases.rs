//! What is measured: a module for each case, in the order they run.

mod binary;
mod discovery;
mod encryption;
mod export;
mod group_commit;
mod idle;
mod loading;
mod own;
mod own_cache;
mod own_sdks;
mod postgres;
mod replicated;
mod sets;
mod start;
mod stored;
mod throughput;

use anyhow::Result;
use futures_util::future::BoxFuture;
use prost::Message;

use crate::figure::Figure;
use crate::rig::Programs;

/// Something to measure.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    /// Whether it can be run in brief.
    pub(crate) has_brief: bool,
    run: fn(&Programs) -> BoxFuture<'_, Result<Vec<Figure>>>,
}

impl Case {
    /// Measures it.
    pub(crate) async fn run(&self, programs: &Programs) -> Result<Vec<Figure>> {
        (self.run)(programs).await
    }
}

/// All cases; those that disturb the disk least come first.
pub(crate) const ALL: &[Case] = &[
    Case {
        name: "binary",
        about: "the size of the program",
        has_brief: false,
        run: |programs| Box::pin(binary::run(programs)),
    },
    Case {
        name: "idle",
        about: "the memory of a Firn that has nothing to do",
        has_brief: false,
        run: |programs| Box::pin(idle::run(programs)),
    },
    Case {
        name: "start",
        about: "from the start of the process to the first reply",
        has_brief: false,
        run: |programs| Box::pin(start::run(programs)),
    },
    Case {
        name: "discovery",
        about: "from the function's answer, with a large contract, to the first reply",
        has_brief: false,
        run: |programs| Box::pin(discovery::run(programs)),
    },
    Case {
        name: "throughput",
        about: "durable commands beside a bare echo",
        has_brief: false,
        run: |programs| Box::pin(throughput::run(programs)),
    },
    Case {
        name: "own",
        about: "commands over firn.v1 beside a bare echo",
        has_brief: true,
        run: |programs| Box::pin(own::run(programs)),
    },
    Case {
        name: "own-cache",
        about: "what a function on firn.v1 keeps of its entities",
        has_brief: true,
        run: |programs| Box::pin(own_cache::run(programs)),
    },
    Case {
        name: "replicated",
        about: "updates of replicated entities beside those of value entities",
        has_brief: false,
        run: |programs| Box::pin(replicated::run(programs)),
    },
    Case {
        name: "sets",
        about: "large replicated sets: merging, memory, and what removed elements leave",
        has_brief: false,
        run: |programs| Box::pin(sets::run(programs)),
    },
    Case {
        name: "stored",
        about: "a million stored entities: opening, and what those leave that were active",
        has_brief: false,
        run: |programs| Box::pin(stored::run(programs)),
    },
    Case {
        name: "group-commit",
        about: "commits of 64 writers to the embedded store beside bare appends to fjall",
        has_brief: true,
        run: |programs| Box::pin(group_commit::run(programs)),
    },
    Case {
        name: "postgres",
        about: "durable commands on PostgreSQL beside bare inserts; needs PostgreSQL",
        has_brief: true,
        run: |programs| Box::pin(postgres::run(programs)),
    },
    Case {
        name: "load",
        about: "loading an entity with 100 events beside bare queries; needs PostgreSQL",
        has_brief: true,
        run: |programs| Box::pin(loading::run(programs)),
    },
    Case {
        name: "export",
        about: "exports and imports beside bare scans and inserts; needs PostgreSQL",
        has_brief: true,
        run: |programs| Box::pin(export::run(programs)),
    },
    Case {
        name: "encryption",
        about: "durable commands, sealed and plain",
        has_brief: true,
        run: |programs| Box::pin(encryption::run(programs)),
    },
    Case {
        name: "own-sdks",
        about: "functions in TypeScript and Python beside bare echoes; needs node and python3",
        has_brief: true,
        run: |programs| Box::pin(own_sdks::run(programs)),
    },
];

/// The case with this name.
pub(crate) fn named(name: &str) -> Option<&'static Case> {
    ALL.iter().find(|case| case.name == name)
}

/// The cart's method that stores one event.
pub(crate) const ADD_ITEM: &str = "/shop.Cart/AddItem";

/// Its request; the echo takes the same.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct AddItem {
    #[prost(string, tag = "1")]
    cart_id: String,
    #[prost(string, tag = "2")]
    product_id: String,
    #[prost(string, tag = "3")]
    name: String,
    #[prost(int32, tag = "4")]
    quantity: i32,
}

impl AddItem {
    /// One more of the only product in a cart.
    pub(crate) fn to(cart: u64) -> Self {
        Self {
            cart_id: format!("cart-{cart:06}"),
            product_id: "tea".to_owned(),
            name: "Tea, green".to_owned(),
            quantity: 1,
        }
    }
}

/// Bytes as megabytes: a million each.
fn megabytes(bytes: f64) -> f64 {
    bytes / 1e6
}
