//! What is measured: a module for each case, in the order they run.

mod active;
mod actors;
mod binary;
mod curve;
mod discovery;
mod encryption;
mod export;
mod filled;
mod flush;
mod group_commit;
mod highest;
mod idle;
mod json;
mod kalix_node;
mod known;
mod lanes;
mod loading;
mod overhead;
mod own;
mod own_cache;
mod own_sdks;
mod postgres;
mod replay;
mod replicated;
mod restate;
mod served;
mod sets;
mod stages;
mod start;
mod stored;
mod storm;
mod tails;
mod throughput;
mod turns;

use anyhow::Result;
use futures_util::future::BoxFuture;
use prost::Message;

use crate::figure::Figure;
use crate::peers;
use crate::rig::Programs;

/// The case that rate against latency is drawn of.
pub(crate) const CURVE: &str = "curve";

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
        about: "durable commands to a function in Rust over the protocol of Kalix, beside a bare echo",
        has_brief: true,
        run: |programs| Box::pin(throughput::run(programs)),
    },
    Case {
        name: "kalix-node",
        about: "the same to a function on the SDK of Kalix for JavaScript; needs node",
        has_brief: true,
        run: |programs| Box::pin(kalix_node::run(programs)),
    },
    Case {
        name: "own",
        about: "commands over firn.v1 beside a bare echo",
        has_brief: true,
        run: |programs| Box::pin(own::run(programs)),
    },
    Case {
        name: "json",
        about: "commands that come in as JSON beside the same over gRPC",
        has_brief: true,
        run: |programs| Box::pin(json::run(programs)),
    },
    Case {
        name: "overhead",
        about: "what Firn adds to an action at a steady 1,000 in a second",
        has_brief: true,
        run: |programs| Box::pin(overhead::run(programs)),
    },
    Case {
        name: "tails",
        about: "the slowest calls at 70 % of the highest rate",
        has_brief: true,
        run: |programs| Box::pin(tails::run(programs)),
    },
    Case {
        name: CURVE,
        about: "latency at 10 to 90 % of the highest rate, of the echo and of durable commands",
        has_brief: true,
        run: |programs| Box::pin(curve::run(programs)),
    },
    Case {
        name: "lanes",
        about: "durable commands with two lanes beside a single one",
        has_brief: true,
        run: |programs| Box::pin(lanes::run(programs)),
    },
    Case {
        name: "active",
        about: "what active and passivated entities take of memory on firn.v1",
        has_brief: true,
        run: |programs| Box::pin(active::run(programs)),
    },
    Case {
        name: "own-cache",
        about: "what a function on firn.v1 keeps of its entities",
        has_brief: true,
        run: |programs| Box::pin(own_cache::run(programs)),
    },
    Case {
        name: "storm",
        about: "10,000 cold entities at once beside warm ones",
        has_brief: true,
        run: |programs| Box::pin(storm::run(programs)),
    },
    Case {
        name: "replay",
        about: "an entity of 10,000 events beside a bare read of them",
        has_brief: true,
        run: |programs| Box::pin(replay::run(programs)),
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
        name: "known",
        about: "the cost of a command with a million entities known beside a thousand",
        has_brief: true,
        run: |programs| Box::pin(known::run(programs)),
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
        name: peers::RESTATE,
        about: "durable commands beside Restate; needs npm, and the network the first time",
        has_brief: true,
        run: |programs| Box::pin(restate::run(programs)),
    },
    Case {
        name: peers::ACTORS,
        about: "durable commands beside actors in one process; needs the network the first time",
        has_brief: true,
        run: |programs| Box::pin(actors::run(programs)),
    },
    Case {
        name: "own-sdks",
        about: "functions in TypeScript and Python beside bare echoes; needs node and python3",
        has_brief: true,
        run: |programs| Box::pin(own_sdks::run(programs)),
    },
];

/// Cases that run only when they are named: they take long, or need more than others.
pub(crate) const LONG: &[Case] = &[
    Case {
        name: "steady",
        about: "durable commands for 10 minutes at 70 % of the highest rate",
        has_brief: true,
        run: |programs| Box::pin(tails::steady(programs)),
    },
    Case {
        name: "stages",
        about: "where the time of a durable command goes, stage by stage; needs valgrind",
        has_brief: false,
        run: |programs| Box::pin(stages::run(programs)),
    },
];

/// The name of [`PROMISED`].
pub(crate) const PROMISES: &str = "promises";

/// The cases of what Firn promises beside an echo, a bare store and Restate: one name for all, so that
/// their figures come from one run.
pub(crate) const PROMISED: [&str; 10] = [
    "own",
    "throughput",
    "overhead",
    "active",
    "replay",
    "lanes",
    "known",
    "restate",
    "tails",
    "steady",
];

/// The names of all cases, in their order.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    ALL.iter().chain(LONG).map(|case| case.name)
}

/// The cases with this name: one, or those of [`PROMISES`].
pub(crate) fn named(name: &str) -> Vec<&'static Case> {
    let names = match name {
        PROMISES => &PROMISED[..],
        _ => &[name],
    };
    let case = |name: &&str| ALL.iter().chain(LONG).find(|case| case.name == *name);
    names.iter().filter_map(case).collect()
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
            cart_id: id(cart),
            product_id: "tea".to_owned(),
            name: "Tea, green".to_owned(),
            quantity: 1,
        }
    }
}

/// The id of the cart with this number; other entities have the same.
fn id(number: u64) -> String {
    format!("cart-{number:06}")
}

/// Bytes as megabytes: a million each.
fn megabytes(bytes: f64) -> f64 {
    bytes / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cases_are_found_by_name() {
        let names = |name| named(name).iter().map(|case| case.name).collect::<Vec<_>>();
        assert_eq!(names("own"), ["own"]);
        assert_eq!(names(PROMISES), PROMISED, "each is one");
        assert!(names("none").is_empty());
    }
}
