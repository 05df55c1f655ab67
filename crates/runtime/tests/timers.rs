//! Timers and delayed effects, through the whole engine on a store in memory.

mod fake;

use std::sync::Arc;
use std::time::Duration;

use firn_model::decision::{Append, Decision, Effect, Mutation, Schedule, TimerChange};
use firn_model::id::{EntityKey, Epoch, SlotSequence, StorageName};
use firn_store::memory::Memory;
use firn_store::{Clock, Commit, Outcome, Store, Timer, TimerName, TimerWrite, Timestamp};

use fake::{Asked, Bench, effect, payload, reply, target};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// How long a timer waits for which a test waits too.
const SOON: Duration = Duration::from_millis(30);

fn set(name: &str, after: Duration, repeats: bool) -> TimerChange {
    let schedule = Schedule {
        after,
        call: target("t.Cart", "Add", "1", name),
        repeats,
    };
    TimerChange::Set {
        name: name.into(),
        schedule,
    }
}

fn with_timers(timers: Vec<TimerChange>) -> Decision {
    Decision {
        timers,
        ..reply("set")
    }
}

fn delayed(delay: Duration) -> Effect {
    Effect {
        delay: Some(delay),
        ..effect("t.Cart", "Add", "1", "delayed", false)
    }
}

/// A cart that sets and cancels timers, and an action that delays an effect.
fn decide(asked: &Asked) -> Decision {
    match (asked.method.as_str(), asked.text.as_str()) {
        ("Start", "soon") => with_timers(vec![set("soon", SOON, false)]),
        ("Start", "often") => with_timers(vec![set("often", SOON, true)]),
        ("Start", "late") => with_timers(vec![set("late", DAY, false)]),
        ("Start", "cancel") => with_timers(vec![
            TimerChange::Cancel {
                name: "late".into(),
            },
            TimerChange::Cancel {
                name: "often".into(),
            },
        ]),
        ("Start", "effect") | ("Do", "late") => Decision {
            effects: vec![delayed(DAY)],
            ..reply("delayed")
        },
        ("Do", _) => Decision {
            effects: vec![delayed(SOON)],
            ..reply("delayed")
        },
        ("Add", event) => Decision {
            mutation: Mutation::Append(Append {
                events: vec![payload(event)],
                ..Append::default()
            }),
            ..reply("added")
        },
        _ => reply(&asked.events.join(",")),
    }
}

/// How many timers are set.
async fn standing(store: &dyn Store) -> usize {
    let timers = store
        .due_timers(Timestamp(u64::MAX), None, usize::MAX)
        .await;
    timers.expect("timers").len()
}

#[tokio::test]
async fn timer_calls_its_entity_once_in_its_time() {
    let bench = Bench::new(decide);
    let store = Arc::new(Memory::new());
    let engine = bench.engine(store.clone()).await;
    let begun = std::time::Instant::now();
    engine.ask("/t.Cart/Start", "1", "soon").await.expect("set");
    bench.wait_for("Add", 1).await;
    assert!(begun.elapsed() >= SOON);
    let events = engine.ask("/t.Cart/Events", "1", "").await;
    assert_eq!(events.expect("events"), "soon");
    assert_eq!(standing(&*store).await, 0);
    assert!(engine.drain().await);
    assert_eq!(bench.calls("Add"), 1);
}

#[tokio::test]
async fn timer_that_repeats_calls_until_it_is_cancelled() {
    let bench = Bench::new(decide);
    let store = Arc::new(Memory::new());
    let engine = bench.engine(store.clone()).await;
    engine
        .ask("/t.Cart/Start", "1", "often")
        .await
        .expect("set");
    // More often than hops are allowed: each time begins anew.
    bench.wait_for("Add", 20).await;
    engine
        .ask("/t.Cart/Start", "1", "cancel")
        .await
        .expect("cancelled");
    assert_eq!(standing(&*store).await, 0);
    assert!(engine.drain().await);
    let calls = bench.calls("Add");
    bench.pass(DAY);
    let engine = bench.engine(store).await;
    engine.ask("/t.Cart/Start", "1", "soon").await.expect("set");
    bench.wait_for("Add", calls + 1).await;
    assert!(engine.drain().await);
    assert_eq!(bench.calls("Add"), calls + 1);
}

#[tokio::test]
async fn timers_and_delayed_effects_are_there_when_they_are_acknowledged_and_survive_the_process() {
    let bench = Bench::new(decide);
    let store = Arc::new(Memory::new());
    let engine = bench.engine(store.clone()).await;
    for (path, text) in [
        ("/t.Cart/Start", "late"),
        ("/t.Cart/Start", "effect"),
        ("/t.Act/Do", "late"),
    ] {
        engine.ask(path, "1", text).await.expect("set");
    }
    assert_eq!(standing(&*store).await, 3);
    drop(engine);
    let engine = bench.engine(store.clone()).await;
    engine.ask("/t.Cart/Start", "1", "soon").await.expect("set");
    bench.wait_for("Add", 1).await;
    assert_eq!(standing(&*store).await, 3, "they are not due");
    drop(engine);
    bench.pass(DAY);
    let engine = bench.engine(store.clone()).await;
    bench.wait_for("Add", 4).await;
    let events = engine.ask("/t.Cart/Events", "1", "").await.expect("events");
    let mut events: Vec<&str> = events.split(',').collect();
    events.sort_unstable();
    assert_eq!(events, ["delayed", "delayed", "late", "soon"]);
    assert!(engine.drain().await);
    assert_eq!(standing(&*store).await, 0);
    assert_eq!(bench.calls("Add"), 4);
}

#[tokio::test]
async fn cancelled_timer_does_not_fire() {
    let bench = Bench::new(decide);
    let store = Arc::new(Memory::new());
    let engine = bench.engine(store.clone()).await;
    for text in ["late", "cancel"] {
        engine.ask("/t.Cart/Start", "1", text).await.expect("done");
    }
    drop(engine);
    bench.pass(DAY);
    let engine = bench.engine(store).await;
    engine.ask("/t.Cart/Start", "1", "soon").await.expect("set");
    bench.wait_for("Add", 1).await;
    assert!(engine.drain().await);
    assert_eq!(
        bench.texts().iter().filter(|text| *text == "late").count(),
        1
    );
}

#[tokio::test]
async fn delayed_effect_of_an_action_runs_in_its_time() {
    let bench = Bench::new(decide);
    let engine = bench.engine(Arc::new(Memory::new())).await;
    engine.ask("/t.Act/Do", "1", "").await.expect("delayed");
    bench.wait_for("Add", 1).await;
    assert!(engine.drain().await);
}

#[tokio::test]
async fn call_of_a_timer_waits_for_a_function_that_is_away() {
    let bench = Bench::new(decide);
    let store = Arc::new(Memory::new());
    let engine = bench.engine(store.clone()).await;
    bench.refuse_streams_of("t.Cart");
    engine.ask("/t.Act/Do", "1", "").await.expect("delayed");
    let fired = async {
        while standing(&*store).await > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), fired)
        .await
        .expect("it fires");
    assert_eq!(store.outbox(None, 2).await.expect("an outbox").len(), 1);
    bench.accept_streams();
    bench.wait_for("Add", 1).await;
    assert!(engine.drain().await);
}

/// Far more than are in memory at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_timers_that_are_due_at_once_all_fire_once() {
    const TIMERS: usize = 5000;
    const ENTITIES: usize = 50;
    let bench = Bench::new(decide);
    let store = Arc::new(Memory::new());
    let now = Clock::system().now();
    for entity in 0..ENTITIES {
        let id = entity.to_string();
        let key = EntityKey::new(StorageName::new("t.Cart"), id.as_str());
        let mut commit = Commit::empty(key.slot(), Epoch(0), SlotSequence(1), now);
        commit.timers = (0..TIMERS / ENTITIES)
            .map(|number| TimerWrite {
                name: TimerName::Own(number.to_string().into()),
                timer: Some(Timer {
                    due: now,
                    call: target("t.Cart", "Add", &id, &number.to_string()),
                    repeat: None,
                    hops: 0,
                }),
            })
            .collect();
        commit.key = Some(key);
        let outcomes = store.commit(vec![commit]).await;
        assert_eq!(outcomes[0].outcome, Outcome::Landed);
    }
    let engine = bench.engine(store.clone()).await;
    bench.wait_for("Add", TIMERS).await;
    for entity in 0..ENTITIES {
        let events = engine.ask("/t.Cart/Events", &entity.to_string(), "").await;
        let events = events.expect("events");
        let mut events: Vec<&str> = events.split(',').collect();
        events.sort_unstable();
        events.dedup();
        assert_eq!(events.len(), TIMERS / ENTITIES);
    }
    assert!(engine.drain().await);
    assert_eq!(bench.calls("Add"), TIMERS);
    assert_eq!(standing(&*store).await, 0);
}
