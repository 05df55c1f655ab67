//! What callers are told when it is not sure who owns a slot, or the store writes nothing: each time
//! what became of their command.

mod fake;

use std::sync::Arc;

use firn_model::code::Code;
use firn_model::decision::{Append, Decision, Mutation};
use firn_model::policy::{Durability, Policies};
use firn_model::status::{GrpcCode, Status};
use firn_store::ReadError;
use firn_testkit::policies;

use fake::unsure::Unsure;
use fake::{Bench, Running, payload, reply};

/// A cart that remembers what it is told.
fn remembering(policies: Policies) -> Bench {
    Bench::with(policies, |asked| match asked.method.as_str() {
        "Add" => Decision {
            mutation: Mutation::Append(Append {
                events: vec![payload(&asked.text)],
                ..Append::default()
            }),
            ..reply("added")
        },
        _ => reply(&asked.events.join(",")),
    })
}

async fn served(policies: Policies) -> (Running, Arc<Unsure>) {
    let store = Arc::new(Unsure::new());
    let engine = remembering(policies).engine(store.clone()).await;
    (engine, store)
}

fn silent() -> Result<bool, ReadError> {
    Err(ReadError::Unavailable {
        cause: "no answer".to_owned(),
    })
}

/// Refused with this code, and told that nothing was applied, or that it may have been.
fn check(refused: Result<String, Status>, code: Code, text: &str) {
    let status = refused.expect_err("it is refused");
    assert_eq!(
        (status.code, status.firn),
        (GrpcCode::Unavailable, Some(code)),
        "{status}"
    );
    assert!(status.message.contains(text), "{status}");
}

#[tokio::test]
async fn what_has_landed_is_answered_whoever_owns_the_slot_now() {
    for holds in [silent(), Ok(false)] {
        let (engine, store) = served(policies::careful()).await;
        store.say(holds);
        let added = engine.ask("/t.Cart/Add", "1", "a").await;
        assert_eq!(added.expect("it has landed"), "added");
        let kept = engine.ask_with_key("/t.Cart/Events", "1", "", "k").await;
        assert_eq!(kept.expect("its record has landed"), "a");
        let again = engine.ask_with_key("/t.Cart/Events", "1", "", "k").await;
        assert_eq!(again.expect("it is remembered"), "a");
    }
}

#[tokio::test]
async fn what_only_memory_tells_is_not_answered_unless_the_slot_is_held() {
    let (engine, store) = served(policies::careful()).await;
    engine.ask("/t.Cart/Add", "1", "a").await.expect("added");
    let events = || engine.ask("/t.Cart/Events", "1", "");
    assert_eq!(events().await.expect("it is held"), "a");
    store.say(silent());
    check(events().await, Code::OwnerUnsure, "not applied");
    store.say(Ok(false));
    check(events().await, Code::CommitRefused, "not applied");
}

#[tokio::test]
async fn what_is_written_behind_may_have_been_applied() {
    let behind = Policies {
        durability: Durability::WriteBehind,
        ..policies::careful()
    };
    let (engine, store) = served(behind).await;
    store.say(Ok(false));
    let added = engine.ask("/t.Cart/Add", "1", "a").await;
    check(added, Code::CommitUnknown, "may have been applied");
}

#[tokio::test]
async fn commit_that_the_store_did_not_write_is_told_as_such_and_repeated_with_success() {
    let (engine, store) = served(policies::careful()).await;
    engine.ask("/t.Cart/Add", "1", "a").await.expect("added");
    store.write(Err("it is full".to_owned()));
    let refused = engine.ask("/t.Cart/Add", "1", "b").await;
    check(refused, Code::CommitNotWritten, "not applied");
    store.write(Ok(()));
    let events = engine.ask("/t.Cart/Events", "1", "").await;
    assert_eq!(events.expect("it is loaded again"), "a");
    let again = engine.ask("/t.Cart/Add", "1", "b").await;
    assert_eq!(again.expect("there is room"), "added");
}
