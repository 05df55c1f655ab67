//! The whole engine on a store in memory, with a function that decides in place.

mod fake;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use firn_model::code::Code;
use firn_model::decision::{Answer, Append, Decision, Mutation};
use firn_model::id::{EffectId, EntityKey, Epoch, SlotSequence, StorageName};
use firn_model::policy::{ActionEffects, EmptyAnswer, Policies};
use firn_model::status::GrpcCode;
use firn_store::memory::Memory;
use firn_store::{Change, Commit, Store, Timestamp};
use firn_testkit::policies;
use futures_util::FutureExt;

use fake::{Bench, effect, failure, forward, nothing, payload, reply};

/// A deadline that a test waits for: long enough that on a busy machine everything before the point
/// of the test has happened by then.
const IN_TIME: Duration = Duration::from_secs(1);

fn append(event: &str) -> Mutation {
    Mutation::Append(Append {
        events: vec![payload(event)],
        ..Append::default()
    })
}

/// A cart that remembers what it is told.
fn remembering() -> Bench {
    Bench::new(|asked| match asked.method.as_str() {
        "Add" => Decision {
            mutation: append(&asked.text),
            ..reply("added")
        },
        "Events" => reply(&asked.events.join(",")),
        other => panic!("nobody calls {other}"),
    })
}

#[tokio::test]
async fn what_is_acknowledged_is_there_after_a_restart() {
    let bench = remembering();
    let store = Arc::new(Memory::new());
    let engine = bench.engine(store.clone()).await;
    for event in ["a", "b"] {
        engine.ask("/t.Cart/Add", "1", event).await.expect("added");
    }
    assert!(engine.drain().await);
    let engine = bench.engine(store).await;
    assert_eq!(
        engine.ask("/t.Cart/Events", "1", "").await.expect("events"),
        "a,b"
    );
}

#[tokio::test]
async fn many_entities_at_once_are_all_served() {
    let bench = remembering();
    let engine = Arc::new(bench.engine(Arc::new(Memory::new())).await);
    let mut calls = tokio::task::JoinSet::new();
    for call in 0..500 {
        let engine = engine.clone();
        calls.spawn(async move {
            let id = (call % 50).to_string();
            engine
                .ask("/t.Cart/Add", &id, &call.to_string())
                .await
                .expect("added");
        });
    }
    calls.join_all().await;
    for entity in 0..50 {
        let events = engine
            .ask("/t.Cart/Events", &entity.to_string(), "")
            .await
            .expect("events");
        assert_eq!(events.split(',').count(), 10);
    }
}

#[tokio::test]
async fn pipelined_commands_of_one_entity_are_served_in_order() {
    const CALLS: usize = 90;
    let decide = |asked: &fake::Asked| match asked.method.as_str() {
        "Add" => Decision {
            mutation: append(&asked.text),
            ..reply(&asked.events.len().to_string())
        },
        _ => reply(&asked.events.len().to_string()),
    };
    let bench = Bench::with(policies::pipelined(), decide);
    let store = Arc::new(Memory::new());
    let engine = bench.engine(store.clone()).await;
    let calls = (0..CALLS).map(|call| {
        let path = if call % 3 == 0 {
            "/t.Cart/Events"
        } else {
            "/t.Cart/Add"
        };
        engine.ask(path, "1", "x")
    });
    let answers = futures_util::future::join_all(calls).await;
    let seen: Vec<usize> = answers
        .into_iter()
        .filter_map(|answer| answer.ok())
        .map(|answer| answer.parse().expect("a number"))
        .collect();
    assert!(!seen.is_empty() && seen.is_sorted(), "{seen:?}");
    let key = EntityKey::new(StorageName::new("t.Cart"), "1");
    let stored = store.events(&key, 0, CALLS).await.expect("events");
    assert!(stored.len() >= *seen.last().expect("some"));
    assert!(engine.drain().await);
}

#[tokio::test]
async fn entity_that_the_function_let_go_of_is_loaded_again_for_what_it_did_not_look_at() {
    let went = AtomicBool::new(false);
    let bench = Bench::with(policies::pipelined(), move |asked| {
        if asked.text == "b" && !went.swap(true, Ordering::SeqCst) {
            return fake::let_go();
        }
        Decision {
            mutation: append(&asked.text),
            ..reply(&asked.events.join(","))
        }
    });
    let engine = bench.engine(Arc::new(Memory::new())).await;
    let calls = ["a", "b", "c"].map(|text| engine.ask("/t.Cart/Add", "1", text));
    let answers = futures_util::future::join_all(calls).await;
    let answers: Vec<String> = answers.into_iter().map(|it| it.expect("a reply")).collect();
    assert_eq!(answers, ["", "a", "a,b"]);
}

#[tokio::test]
async fn forward_is_answered_by_its_target() {
    let bench = Bench::new(|asked| match asked.method.as_str() {
        "Start" => forward("t.Note", "Target", &asked.id, "hello"),
        "Target" => reply(&format!("{} from {}", asked.text, asked.service)),
        other => panic!("nobody calls {other}"),
    });
    let engine = bench.engine(Arc::new(Memory::new())).await;
    let answer = engine.ask("/t.Cart/Start", "1", "").await;
    assert_eq!(answer.expect("a reply"), "hello from t.Note");
}

#[tokio::test]
async fn forward_back_to_the_same_entity_does_not_wait_for_itself() {
    let bench = Bench::new(|asked| match asked.method.as_str() {
        "Start" => Decision {
            mutation: append("x"),
            ..forward("t.Cart", "Events", &asked.id, "")
        },
        "Events" => reply(&asked.events.join(",")),
        other => panic!("nobody calls {other}"),
    });
    let engine = bench.engine(Arc::new(Memory::new())).await;
    assert_eq!(
        engine.ask("/t.Cart/Start", "1", "").await.expect("a reply"),
        "x"
    );
}

#[tokio::test]
async fn cycle_of_forwards_ends_at_the_hop_limit() {
    let bench = Bench::new(|asked| forward("t.Cart", "Start", &asked.id, ""));
    let engine = bench.engine(Arc::new(Memory::new())).await;
    let refused = engine
        .ask("/t.Cart/Start", "1", "")
        .await
        .expect_err("a cycle");
    assert_eq!(refused.firn, Some(Code::HopLimit));
    assert_eq!(bench.calls("Start"), 17);
}

#[tokio::test]
async fn unknown_target_of_a_forward_fails_the_call_and_is_reported() {
    let bench = Bench::new(|asked| forward("no", "Such", &asked.id, ""));
    let engine = bench.engine(Arc::new(Memory::new())).await;
    let refused = engine
        .ask("/t.Cart/Start", "1", "")
        .await
        .expect_err("no target");
    assert_eq!(
        (refused.code, refused.firn),
        (GrpcCode::Internal, Some(Code::TargetUnknown))
    );
    assert!(
        bench
            .reports()
            .iter()
            .any(|report| report.contains("/no/Such"))
    );
}

#[tokio::test]
async fn synchronous_effects_have_ended_in_order_when_the_reply_comes() {
    let bench = Bench::new(|asked| match asked.method.as_str() {
        "Start" => Decision {
            effects: vec![
                effect("t.Act", "Do", "1", "first", true),
                effect("t.Note", "Target", "1", "second", true),
            ],
            ..reply("done")
        },
        _ => reply(""),
    });
    let engine = bench.engine(Arc::new(Memory::new())).await;
    engine.ask("/t.Cart/Start", "1", "").await.expect("a reply");
    assert_eq!(bench.texts(), ["", "first", "second"]);
}

#[tokio::test]
async fn effects_run_also_beside_a_failure_and_change_nothing_of_it() {
    let bench = Bench::new(|asked| match asked.method.as_str() {
        "Start" => Decision {
            effects: vec![effect("t.Note", "Target", "1", "ran", true)],
            ..failure("refused")
        },
        _ => failure("also refused"),
    });
    let engine = bench.engine(Arc::new(Memory::new())).await;
    let refused = engine
        .ask("/t.Cart/Start", "1", "")
        .await
        .expect_err("a failure");
    assert_eq!((refused.message.as_str(), refused.firn), ("refused", None));
    assert_eq!(bench.calls("Target"), 1);
}

#[tokio::test]
async fn effect_left_by_an_earlier_run_is_delivered_once_by_the_next() {
    let bench = Bench::new(|asked| match asked.method.as_str() {
        "Start" => Decision {
            effects: vec![effect("t.Note", "Target", "1", "late", false)],
            ..reply("done")
        },
        _ => reply(""),
    });
    let store = Arc::new(Memory::new());
    let engine = bench.engine(store.clone()).await;
    bench.refuse_streams_of("t.Note");
    engine.ask("/t.Cart/Start", "1", "").await.expect("a reply");
    // The run ends with the effect still to be delivered.
    drop(engine);
    assert_eq!(bench.calls("Target"), 0);
    bench.accept_streams();
    let engine = bench.engine(store.clone()).await;
    bench.wait_for("Target", 1).await;
    assert!(engine.drain().await);
    let engine = bench.engine(store).await;
    engine.ask("/t.Cart/Start", "2", "").await.expect("a reply");
    bench.wait_for("Target", 2).await;
    assert!(engine.drain().await);
    assert_eq!(
        bench.calls("Target"),
        2,
        "the first effect was delivered once"
    );
}

#[tokio::test]
async fn repeated_idempotency_key_gets_the_first_answer_and_runs_once() {
    let bench = Bench::new(|asked| Decision {
        mutation: append(&asked.text),
        ..reply(&format!("answer {}", asked.events.len()))
    });
    let engine = bench.engine(Arc::new(Memory::new())).await;
    let ask =
        |key: &'static str, text: &'static str| engine.ask_with_key("/t.Cart/Add", "1", text, key);
    let (first, second) = tokio::join!(ask("k", "x"), ask("k", "x"));
    assert_eq!(first.expect("a reply"), "answer 0");
    assert_eq!(second.expect("a reply"), "answer 0");
    assert_eq!(bench.calls("Add"), 1);
    assert_eq!(ask("other", "x").await.expect("a reply"), "answer 1");
    let reused = ask("k", "y").await.expect_err("another request");
    assert_eq!(
        (reused.code, reused.firn),
        (GrpcCode::InvalidArgument, Some(Code::IdempotencyKeyReused))
    );
}

#[tokio::test]
async fn repeated_idempotency_key_of_a_failure_fails_again_without_a_second_run() {
    let bench = Bench::new(|_| failure("no"));
    let engine = bench.engine(Arc::new(Memory::new())).await;
    for _ in 0..2 {
        let refused = engine
            .ask_with_key("/t.Cart/Add", "1", "x", "k")
            .await
            .expect_err("no");
        assert_eq!(refused.message, "no");
    }
    assert_eq!(bench.calls("Add"), 1);
}

#[tokio::test]
async fn forward_under_an_idempotency_key_reaches_its_target_once() {
    let bench = Bench::new(|asked| match asked.method.as_str() {
        "Start" => forward("t.Note", "Target", "n", "hello"),
        _ => reply("target"),
    });
    let engine = bench.engine(Arc::new(Memory::new())).await;
    for _ in 0..2 {
        let answer = engine.ask_with_key("/t.Cart/Start", "1", "x", "k").await;
        assert_eq!(answer.expect("a reply"), "target");
    }
    assert_eq!((bench.calls("Start"), bench.calls("Target")), (1, 1));
}

#[tokio::test]
async fn actions_refuse_an_idempotency_key() {
    let bench = Bench::new(|_| reply(""));
    let engine = bench.engine(Arc::new(Memory::new())).await;
    let refused = engine
        .ask_with_key("/t.Act/Do", "1", "x", "k")
        .await
        .expect_err("no key");
    assert_eq!(refused.firn, Some(Code::IdempotencyKeyRefused));
}

#[tokio::test]
async fn silence_of_the_function_means_what_the_policy_says() {
    let check = async |empty_answer, expected: Option<GrpcCode>| {
        let policies = Policies {
            empty_answer,
            ..policies::careful()
        };
        let bench = Bench::with(policies, |_| nothing());
        let engine = bench.engine(Arc::new(Memory::new())).await;
        let answer = engine.ask("/t.Cart/Add", "1", "").await;
        assert_eq!(answer.err().map(|status| status.code), expected);
    };
    check(EmptyAnswer::EmptyMessage, None).await;
    check(EmptyAnswer::Failure, Some(GrpcCode::Unknown)).await;
    check(EmptyAnswer::NotFound, Some(GrpcCode::NotFound)).await;
}

#[tokio::test]
async fn disconnected_function_refuses_at_once() {
    let bench = remembering();
    let engine = bench.engine(Arc::new(Memory::new())).await;
    bench.is_up.store(false, Ordering::Relaxed);
    let refused = engine
        .ask("/t.Cart/Add", "1", "x")
        .await
        .expect_err("it is away");
    assert_eq!(
        (refused.code, refused.firn),
        (GrpcCode::Unavailable, Some(Code::FunctionUnavailable))
    );
}

#[tokio::test]
async fn request_that_names_no_entity_is_refused_with_the_field() {
    let bench = remembering();
    let engine = bench.engine(Arc::new(Memory::new())).await;
    let empty = engine.ask("/t.Cart/Add", "", "x").await.expect_err("no id");
    assert_eq!(
        (empty.code, empty.firn),
        (GrpcCode::InvalidArgument, Some(Code::IdEmpty))
    );
    assert!(empty.message.contains("field id"), "{}", empty.message);
    let garbled = engine
        .ask_bytes("/t.Cart/Add", b"\x0a\xff")
        .await
        .expect_err("no message");
    assert_eq!(garbled.firn, Some(Code::PayloadMalformed));
}

#[tokio::test]
async fn caller_of_a_silent_function_is_told_in_time_and_the_next_command_runs() {
    let bench = Bench::new(|asked| match asked.text.as_str() {
        "hang" => fake::hang(),
        _ => reply("awake"),
    });
    let engine = bench.engine(Arc::new(Memory::new())).await;
    let deadline = Some(Instant::now() + IN_TIME);
    let refused = engine.ask_until("/t.Cart/Add", "1", "hang", deadline).await;
    let refused = refused.expect_err("it hangs");
    assert_eq!(
        (refused.code, refused.firn),
        (GrpcCode::DeadlineExceeded, Some(Code::CommandTimeout))
    );
    assert_eq!(
        engine.ask("/t.Cart/Add", "1", "x").await.expect("a reply"),
        "awake"
    );
}

#[tokio::test]
async fn more_entities_than_streams_are_served_in_turn() {
    let bench = remembering();
    let engine = bench.engine_with_streams(Arc::new(Memory::new()), 2).await;
    for round in 0..3 {
        for entity in 0..10 {
            let (entity, round) = (format!("e{entity}"), round.to_string());
            engine
                .ask("/t.Cart/Add", &entity, &round)
                .await
                .expect("added");
        }
    }
    assert!(
        bench.streams_max() <= 2,
        "{} streams were open",
        bench.streams_max()
    );
    assert_eq!(
        engine
            .ask("/t.Cart/Events", "e7", "")
            .await
            .expect("events"),
        "0,1,2"
    );
}

#[tokio::test]
async fn command_that_finds_no_stream_in_time_is_refused() {
    let bench = Bench::new(|asked| match asked.text.as_str() {
        "hang" => fake::hang(),
        _ => reply(""),
    });
    let engine = Arc::new(bench.engine_with_streams(Arc::new(Memory::new()), 1).await);
    let hanging = tokio::spawn({
        let engine = engine.clone();
        async move { engine.ask("/t.Cart/Add", "1", "hang").await }
    });
    bench.wait_for("Add", 1).await;
    let deadline = Some(Instant::now() + IN_TIME);
    let refused = engine.ask_until("/t.Cart/Add", "2", "x", deadline).await;
    let refused = refused.expect_err("no stream");
    assert_eq!(
        (refused.code, refused.firn),
        (GrpcCode::ResourceExhausted, Some(Code::StreamsExhausted))
    );
    hanging.abort();
}

#[tokio::test]
async fn drained_engine_refuses_and_answers_what_it_accepted() {
    let bench = remembering();
    let engine = bench.engine(Arc::new(Memory::new())).await;
    engine.ask("/t.Cart/Add", "1", "x").await.expect("added");
    let dispatcher = engine.dispatcher();
    assert!(engine.drain().await);
    let refused = fake::ask(&bench.contract, dispatcher, "/t.Cart/Add", "1", "y").await;
    assert_eq!(
        refused.expect_err("it has stopped").firn,
        Some(Code::ShuttingDown)
    );
}

#[tokio::test]
async fn typed_value_as_output_is_the_message_itself() {
    let bench = Bench::new(|_| reply("inner"));
    let engine = bench.engine(Arc::new(Memory::new())).await;
    let any = engine.ask("/t.Act/Typed", "1", "").await.expect("a reply");
    assert!(
        any.contains("type.googleapis.com/t.Text") && any.ends_with("inner"),
        "{any:?}"
    );
}

#[tokio::test]
async fn answer_without_a_mutation_is_nothing_to_write() {
    let bench = Bench::new(|_| Decision {
        answer: Answer::Nothing,
        ..nothing()
    });
    let store = Arc::new(Memory::new());
    let engine = bench.engine(store.clone()).await;
    engine
        .ask("/t.Cart/Add", "1", "")
        .await
        .expect("an empty message");
    assert!(
        firn_store::Store::heads(&*store)
            .await
            .expect("heads")
            .is_empty()
    );
}

/// Commands whose effects go to another entity, on an engine that ends at any moment without a
/// word. Whatever was acknowledged has its effect in the end, and nothing has it twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn effects_arrive_once_across_crashes() {
    /// How often the engine ends.
    const CRASHES: u32 = 40;
    /// Commands in each life.
    const COMMANDS: u32 = 30;
    let bench = Bench::new(|asked| match asked.method.as_str() {
        "Start" => Decision {
            mutation: append(&asked.text),
            effects: vec![effect("t.Cart", "Add", "target", &asked.text, false)],
            ..reply("done")
        },
        "Add" => Decision {
            mutation: append(&asked.text),
            ..reply("added")
        },
        "Events" => reply(&asked.events.join(",")),
        other => panic!("nobody calls {other}"),
    });
    let store = Arc::new(Memory::new());
    let mut acknowledged = Vec::new();
    for life in 0..CRASHES {
        let engine = Arc::new(bench.engine(store.clone()).await);
        let mut calls = tokio::task::JoinSet::new();
        for command in 0..COMMANDS {
            let engine = Arc::downgrade(&engine);
            calls.spawn(async move {
                let text = format!("{life}-{command}");
                let dispatcher = engine.upgrade()?.dispatcher();
                let contract = engine.upgrade()?.contract();
                let id = (command % 4).to_string();
                let answer = fake::ask(&contract, dispatcher, "/t.Cart/Start", &id, &text).await;
                answer.is_ok().then_some(text)
            });
        }
        // Ends after a few answers, a different number in each life.
        for _ in 0..life % COMMANDS {
            let Some(answer) = calls.join_next().await else {
                break;
            };
            acknowledged.extend(answer.expect("no panic"));
        }
        drop(engine);
        while let Some(answer) = calls.join_next().await {
            acknowledged.extend(answer.expect("no panic"));
        }
        // A process that ends writes nothing more; here its committer must have ended too.
        while Arc::strong_count(&store) > 1 {
            tokio::task::yield_now().await;
        }
    }
    let engine = bench.engine(store.clone()).await;
    let outbox_is_empty = async {
        while !firn_store::Store::outbox(&*store, None, 1)
            .await
            .expect("a page")
            .is_empty()
        {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), outbox_is_empty)
        .await
        .expect("delivered");
    let arrived = engine
        .ask("/t.Cart/Events", "target", "")
        .await
        .expect("events");
    let mut arrived: Vec<&str> = arrived.split(',').collect();
    arrived.sort_unstable();
    let all = arrived.len();
    arrived.dedup();
    assert_eq!(arrived.len(), all, "an effect arrived twice");
    assert!(!acknowledged.is_empty());
    for text in &acknowledged {
        assert!(
            arrived.contains(&text.as_str()),
            "the effect of {text} is lost"
        );
    }
}

#[tokio::test]
async fn caller_that_goes_away_leaves_its_effects_behind() {
    let bench = Bench::new(|asked| match asked.method.as_str() {
        "Start" => Decision {
            mutation: append("x"),
            effects: vec![
                effect("t.Act", "Do", "1", "first", true),
                effect("t.Note", "Target", "1", "second", true),
            ],
            ..reply("done")
        },
        _ => reply(""),
    });
    let engine = bench.engine(Arc::new(Memory::new())).await;
    let answer = engine.ask("/t.Cart/Start", "1", "").now_or_never();
    assert!(answer.is_none(), "it goes at once");
    bench.wait_for("Target", 1).await;
    assert_eq!(bench.texts(), ["", "first", "second"]);
    assert!(engine.drain().await);
}

#[tokio::test]
async fn effect_that_the_function_died_of_is_delivered_to_the_next() {
    let died = AtomicBool::new(false);
    let bench = Bench::new(move |asked| match asked.method.as_str() {
        "Start" => Decision {
            effects: vec![effect("t.Note", "Target", "1", "", false)],
            ..reply("done")
        },
        _ if died.swap(true, Ordering::Relaxed) => reply(""),
        _ => fake::die(),
    });
    let engine = bench.engine(Arc::new(Memory::new())).await;
    engine.ask("/t.Cart/Start", "1", "").await.expect("a reply");
    bench.wait_for("Target", 1).await;
    bench.is_up.store(true, Ordering::Relaxed);
    bench.wait_for("Target", 2).await;
    assert!(engine.drain().await);
    assert_eq!(bench.calls("Target"), 2);
}

fn at_least_once() -> Policies {
    Policies {
        action_effects: ActionEffects::AtLeastOnce,
        ..policies::pipelined()
    }
}

#[tokio::test]
async fn effect_on_an_action_is_delivered_until_it_is_answered() {
    let died = AtomicBool::new(false);
    let bench = Bench::with(at_least_once(), move |asked| match asked.method.as_str() {
        "Start" => Decision {
            effects: vec![effect("t.Act", "Do", "1", "", true)],
            ..reply("done")
        },
        _ if died.swap(true, Ordering::Relaxed) => failure("an answer like any other"),
        _ => fake::die(),
    });
    let engine = bench.engine(Arc::new(Memory::new())).await;
    let start = engine.ask("/t.Cart/Start", "1", "");
    let revive = async {
        bench.wait_for("Do", 1).await;
        bench.is_up.store(true, Ordering::Relaxed);
    };
    let (started, ()) = tokio::join!(start, revive);
    started.expect("a reply");
    assert!(engine.drain().await);
    assert_eq!(bench.calls("Do"), 2);
}

#[tokio::test]
async fn effect_on_an_action_survives_the_process() {
    let ended = Arc::new(AtomicBool::new(false));
    let has_ended = ended.clone();
    let bench = Bench::with(at_least_once(), move |asked| match asked.method.as_str() {
        "Start" => Decision {
            effects: vec![effect("t.Act", "Do", "1", "", false)],
            ..reply("done")
        },
        _ if has_ended.load(Ordering::Relaxed) => reply(""),
        _ => fake::hang(),
    });
    let store = Arc::new(Memory::new());
    let engine = bench.engine(store.clone()).await;
    engine.ask("/t.Cart/Start", "1", "").await.expect("a reply");
    bench.wait_for("Do", 1).await;
    drop(engine);
    ended.store(true, Ordering::Relaxed);
    let engine = bench.engine(store.clone()).await;
    bench.wait_for("Do", 2).await;
    assert!(engine.drain().await);
    assert_eq!(store.outbox(None, 1).await, Ok(Vec::new()));
}

#[tokio::test]
async fn receipt_is_kept_while_its_effect_is_in_the_outbox() {
    let bench = Bench::new(|_| reply(""));
    let store = Arc::new(Memory::new());
    let key = |service, id: &str| EntityKey::new(StorageName::new(service), id);
    let (sender, receiver) = (key("t.Cart", "sender"), key("t.Note", "receiver"));
    let empty = |key: &EntityKey, sequence| Commit {
        key: Some(key.clone()),
        ..Commit::empty(
            key.slot(),
            Epoch(0),
            SlotSequence(sequence),
            Timestamp::default(),
        )
    };
    let caused = |sequence, text| Commit {
        effects: vec![effect("t.Note", "Target", "receiver", text, false)],
        ..empty(&sender, sequence)
    };
    let first = EffectId {
        slot: sender.slot(),
        sequence: SlotSequence(1),
        index: 0,
    };
    let received = Commit {
        received: Some(first),
        ..empty(&receiver, 1)
    };
    // The run before ended when the first effect was received and still in the outbox.
    let left = vec![caused(1, "first"), caused(2, "second"), received];
    Store::commit(&*store, left).await;
    let engine = bench.engine(store.clone()).await;
    bench.wait_for("Target", 1).await;
    assert!(engine.drain().await);
    assert_eq!(bench.texts(), ["second"]);
    let receipt = store.was_received(receiver.slot(), first).await;
    assert_eq!(receipt, Ok(true), "a third run could deliver it again");
}

#[tokio::test(start_paused = true)]
async fn call_has_one_deadline_with_all_that_it_leads_to() {
    let bench = Bench::new(|asked| match asked.method.as_str() {
        "Start" => Decision {
            effects: vec![effect("t.Act", "Do", "1", "", true)],
            ..forward("t.Note", "Target", "1", "")
        },
        _ => fake::hang(),
    });
    let engine = bench.engine(Arc::new(Memory::new())).await;
    let begun = tokio::time::Instant::now();
    let refused = engine.ask("/t.Cart/Start", "1", "").await;
    assert_eq!(
        refused.expect_err("it hangs").code,
        GrpcCode::DeadlineExceeded
    );
    assert!(
        begun.elapsed() < Duration::from_secs(61),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test]
async fn repeated_silence_is_the_same_silence() {
    let policies = Policies {
        empty_answer: EmptyAnswer::NotFound,
        ..policies::careful()
    };
    let bench = Bench::with(policies, |_| nothing());
    let engine = bench.engine(Arc::new(Memory::new())).await;
    for _ in 0..2 {
        let answer = engine.ask_with_key("/t.Cart/Add", "1", "x", "k").await;
        assert_eq!(answer.expect_err("silence").code, GrpcCode::NotFound);
    }
    assert_eq!(bench.calls("Add"), 1);
}

#[tokio::test]
async fn expired_tombstone_that_nobody_touches_goes() {
    let bench = Bench::new(|_| reply(""));
    let store = Arc::new(Memory::new());
    let key = EntityKey::new(StorageName::new("t.Note"), "gone");
    let mut deleted = Commit::empty(key.slot(), Epoch(0), SlotSequence(1), Timestamp(1));
    deleted.change = Some(Change::Delete {
        until: Some(Timestamp(2)),
    });
    deleted.key = Some(key);
    Store::commit(&*store, vec![deleted]).await;
    let engine = bench.engine(store.clone()).await;
    let cleaned = async {
        while !store
            .tombstones(Timestamp(2), None, 1)
            .await
            .expect("a page")
            .is_empty()
        {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), cleaned)
        .await
        .expect("it is cleaned");
    assert!(engine.drain().await);
}
