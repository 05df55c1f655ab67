//! What cached entities cost beside their state. In a program of its own, since it counts all memory.
#![cfg(target_os = "linux")]

mod support;

use support::contract::*;
use support::*;

/// How many entities a connection keeps unless said otherwise.
const ENTITIES: u64 = 100_000;

/// What they may cost, all together, beside their states (which are empty here).
const COST_MAX: u64 = 100_000_000;

/// The memory that this process holds, in bytes.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kilobytes = line.unwrap().split_whitespace().nth(1).unwrap();
    kilobytes.parse::<u64>().unwrap() * 1024
}

#[tokio::test]
async fn a_hundred_thousand_entities_cost_less_than_a_hundred_megabytes() {
    let mut firn = FakeFirn::listen().await;
    let (_running, mut connection) = firn.serve(contract::function()).await;
    let mut before = 0;
    for number in 1..=ENTITIES {
        if number == 1000 {
            // The buffers of the connection have their size.
            before = resident();
        }
        let get = command(number, AT_APPEND, number, &ask(""));
        let id = format!("entity-{number:09}");
        connection
            .send([In::Command(opening(get, &id, None))])
            .await;
        if number % 100 == 0 {
            for _ in 0..100 {
                connection.decision().await;
            }
        }
    }
    let cost = resident().saturating_sub(before);
    println!("{} bytes for each entity", cost / ENTITIES);
    assert!(cost < COST_MAX, "{cost} bytes for {ENTITIES} entities");
}
