//! Replicated entities in running engines, alone and on a network.

mod fake;

use std::sync::Arc;
use std::time::Duration;

use fake::{Bench, Running, effect, nothing, reply};
use firn_model::code::Code;
use firn_model::decision::{Append, Decision, Mutation};
use firn_runtime::replicated::network::InProcess;
use firn_store::memory::Memory;
use futures_util::StreamExt;

const ADD: &str = "/t.Tally/Add";
const GET: &str = "/t.Tally/Get";
const WATCH: &str = "/t.Tally/Watch";

fn tallies() -> Bench {
    Bench::new(|_| nothing())
}

/// Asks until the answer is this.
async fn becomes(engine: &Running, id: &str, expected: &str) {
    let mut last = engine.ask(GET, id, "").await;
    let asking = async {
        while last.as_deref() != Ok(expected) {
            tokio::time::sleep(Duration::from_millis(5)).await;
            last = engine.ask(GET, id, "").await;
        }
    };
    let became = tokio::time::timeout(Duration::from_secs(30), asking).await;
    assert!(
        became.is_ok(),
        "{id} never becomes {expected}, it is {last:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn value_survives_a_stop_in_order() {
    let (bench, store) = (tallies(), Arc::new(Memory::new()));
    let engine = bench.engine(store.clone()).await;
    assert_eq!(engine.ask(ADD, "a", "2").await.as_deref(), Ok("2"));
    assert!(engine.drain().await);
    let engine = bench.engine(store).await;
    assert_eq!(engine.ask(ADD, "a", "3").await.as_deref(), Ok("5"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn durable_change_survives_an_end_without_a_word() {
    let (bench, store) = (tallies(), Arc::new(Memory::new()));
    let engine = bench.engine(store.clone()).await;
    assert_eq!(engine.ask(ADD, "a", "2!").await.as_deref(), Ok("2"));
    drop(engine);
    let engine = bench.engine(store).await;
    assert_eq!(engine.ask(GET, "a", "").await.as_deref(), Ok("2"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_nodes_agree_over_a_network_that_loses_messages() {
    let bench = tallies();
    let network = InProcess::default();
    let mut engines = Vec::new();
    for _ in 0..3 {
        let store = Arc::new(Memory::new());
        engines.push(bench.engine_on(store, network.clone()).await);
    }
    network.disturb(Some(7));
    for round in 0..20 {
        let id = format!("c{}", round % 4);
        for engine in &engines {
            engine.ask(ADD, &id, "1").await.expect("an answer");
        }
    }
    // What only the third had would stay there once it is cut off.
    for engine in &engines {
        becomes(engine, "c0", "15").await;
    }
    let nodes: Vec<_> = engines.iter().map(Running::node).collect();
    network.cut(nodes[0], nodes[2]);
    network.cut(nodes[1], nodes[2]);
    engines[0].ask(ADD, "c0", "100").await.expect("an answer");
    engines[2].ask(ADD, "c0", "1000").await.expect("an answer");
    becomes(&engines[1], "c0", "115").await;
    network.heal();
    network.disturb(None);
    for engine in &engines {
        becomes(engine, "c0", "1115").await;
        for id in ["c1", "c2", "c3"] {
            becomes(engine, id, "15").await;
        }
    }
    assert!(network.sent() > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watcher_hears_of_changes_on_other_nodes() {
    let bench = tallies();
    let network = InProcess::default();
    let one = bench
        .engine_on(Arc::new(Memory::new()), network.clone())
        .await;
    let other = bench
        .engine_on(Arc::new(Memory::new()), network.clone())
        .await;
    let mut watching = one.watch(WATCH, "a", "");
    assert_eq!(watching.next().await, Some(Ok("0".to_owned())));
    other.ask(ADD, "a", "5").await.expect("an answer");
    assert_eq!(watching.next().await, Some(Ok("5".to_owned())));
    // Going away is a change too, by this function.
    drop(watching);
    becomes(&other, "a", "1005").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watcher_that_does_not_read_is_cut_off() {
    // Many small answers, and few large ones.
    for (answers, fewer_than) in [("5000", 5000), ("100x100000", 100)] {
        let bench = tallies();
        let engine = bench.engine(Arc::new(Memory::new())).await;
        let mut watching = engine.watch(WATCH, "a", answers);
        assert_eq!(watching.next().await, Some(Ok("0".to_owned())));
        // The engine is far ahead by the time somebody else was answered.
        becomes(&engine, "a", "1000").await;
        let rest: Vec<_> = watching.collect().await;
        let last = rest.last().expect("an end").as_ref().expect_err("cut off");
        assert_eq!(last.firn, Some(Code::CallerTooSlow));
        assert!(rest.len() < fewer_than, "{}", rest.len());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watcher_that_reads_gets_answers_of_any_size() {
    let bench = tallies();
    let engine = bench.engine(Arc::new(Memory::new())).await;
    let mut watching = engine.watch(WATCH, "a", "1x10000000");
    assert_eq!(watching.next().await, Some(Ok("0".to_owned())));
    let large = watching.next().await.expect("an answer").expect("whole");
    assert_eq!(large.len(), 10_000_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stop_in_order_completes_streams() {
    let bench = tallies();
    let engine = bench.engine(Arc::new(Memory::new())).await;
    let mut watching = engine.watch(WATCH, "a", "");
    assert_eq!(watching.next().await, Some(Ok("0".to_owned())));
    assert!(engine.drain().await);
    assert_eq!(watching.next().await, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idempotency_key_is_refused() {
    let bench = tallies();
    let engine = bench.engine(Arc::new(Memory::new())).await;
    let refused = engine.ask_with_key(ADD, "a", "1", "key").await;
    let refused = refused.expect_err("no records are kept");
    assert_eq!(refused.firn, Some(Code::IdempotencyKeyRefused));
    assert_eq!(engine.ask(GET, "a", "").await.as_deref(), Ok("0"));
}

/// Carts cause an effect on a tally with each command.
fn causing() -> Bench {
    Bench::new(|asked| Decision {
        mutation: Mutation::Append(Append {
            events: vec![fake::payload("e")],
            ..Append::default()
        }),
        effects: vec![effect("t.Tally", "Add", "a", "1", asked.text == "wait")],
        ..reply("done")
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn effect_on_a_replicated_entity_counts_once_whenever_the_process_ends() {
    let (bench, store) = (causing(), Arc::new(Memory::new()));
    let mut caused = 0;
    for round in 0..12 {
        let engine = bench.engine(store.clone()).await;
        for _ in 0..round % 4 {
            engine.ask("/t.Cart/Add", "c", "").await.expect("an answer");
            caused += 1;
        }
        if round % 3 == 0 {
            becomes(&engine, "a", &caused.to_string()).await;
        }
        // Without a word, with effects under way.
        drop(engine);
        // A process that ends writes nothing more; here all that writes must have ended too.
        while Arc::strong_count(&store) > 1 {
            tokio::task::yield_now().await;
        }
    }
    let engine = bench.engine(store).await;
    becomes(&engine, "a", &caused.to_string()).await;
    assert!(engine.drain().await);
}
