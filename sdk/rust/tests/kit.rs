//! The unit-test kit, on the contract of the tests.

mod support;

use std::time::Duration;

use firn_sdk::kit::{Caused, Unit};
use firn_sdk::{Any, Code, Metadata};
use support::contract::*;

#[tokio::test]
async fn a_value_begins_with_a_state_and_keeps_what_was_set() {
    let mut unit = Unit::entity(value(), "a").with_state(&text("old"), 3);
    assert_eq!(unit.send(SET, ask("new")).await.reply(), text("old"));
    assert_eq!(unit.version(), 4);
    let failed = unit.send(SET, ask("fail")).await;
    assert!(!failed.changed);
    let failure = failed.failure();
    assert_eq!(failure.code, Code::FailedPrecondition);
    assert_eq!(failure.details, [Any::pack(&text("detail"))]);
    unit.read_again();
    assert_eq!(unit.send(GET, ask("")).await.reply(), text("new"));
    unit.send(SET, ask("delete")).await.reply();
    assert_eq!(unit.state::<Text>(), None);
}

#[tokio::test]
async fn an_entity_that_was_let_go_is_read_again_by_itself() {
    let event = Appended { text: "a".into() };
    let mut unit = Unit::entity(journal(), "a").with_event(&event);
    assert_eq!(
        unit.send(APPEND, ask("b!")).await.failure().code,
        Code::FailedPrecondition
    );
    assert_eq!(
        unit.send(APPEND, ask("?")).await.failure().code,
        Code::Internal
    );
    let decided = unit.send(APPEND, ask("b")).await;
    assert_eq!(
        decided.events_of::<Appended>(),
        [Appended { text: "b".into() }]
    );
    assert_eq!(decided.reply(), text("ab"));
    assert_eq!(unit.version(), 2);
}

#[tokio::test]
async fn calls_are_answered_by_the_test() {
    let mut unit = Unit::entity(value(), "a").answers(ECHO, |asked| Ok(text(&asked.text)));
    assert_eq!(unit.send(SLOW, ask("hello")).await.reply(), text("hello"));
    let mut unit = Unit::action(plain());
    let failure = unit.send(CALL, ask("")).await.failure();
    assert_eq!(failure.code, Code::Unimplemented);
}

#[tokio::test]
async fn effects_forwards_headers_and_timers_are_seen() {
    let mut unit = Unit::action(plain());
    let decided = unit.send(ECHO, ask("effects")).await;
    let [one, two, three, news] = &decided.caused[..] else {
        panic!("{:?}", decided.caused)
    };
    assert!(matches!(
        one,
        Caused::Call {
            wait: false,
            after: None,
            ..
        }
    ));
    assert!(matches!(two, Caused::Call { wait: true, .. }));
    let later = Some(Duration::from_secs(3));
    assert!(matches!(three, Caused::Call { after, .. } if *after == later));
    assert!(matches!(news, Caused::Publish { topic, .. } if topic == "topic"));
    let forward = unit.send(ECHO, ask("forward")).await.forward.unwrap();
    assert_eq!((&*forward.0, &*forward.1), ("t.Value", "Get"));
    let mut headers = Metadata::default();
    headers.add("X-In", "here");
    unit.metadata(headers);
    let decided = unit.send(ECHO, ask("headers")).await;
    assert_eq!(decided.metadata.get("x-out"), Some("here"));

    let mut unit = Unit::entity(ticker(), "a");
    unit.send(TICK, ask("x")).await.reply();
    assert_eq!(unit.tags()["last"], "x");
    let timer = &unit.timers()["next"];
    assert_eq!(
        (&*timer.method, timer.after),
        ("Tick", Duration::from_millis(1500))
    );
}

#[tokio::test]
async fn streams_of_replies_are_read_one_by_one() {
    let mut unit = Unit::action(plain());
    let two = Ask {
        number: 2,
        ..ask("")
    };
    let watching = unit.watch(COUNT, two);
    assert_eq!(unit.next(watching).await, Some(text("0")));
    assert_eq!(unit.next(watching).await, Some(text("1")));
    assert_eq!(unit.next::<Text>(watching).await, None);
    let requests = || ["a", "b"].map(ask);
    assert_eq!(unit.send_all(JOIN, requests()).await.reply(), text("ab"));
    let both = unit.converse(EACH, requests());
    assert_eq!(unit.next(both).await, Some(text("a")));
    assert_eq!(unit.next(both).await, Some(text("b")));
    assert_eq!(unit.next::<Text>(both).await, None);
}

#[tokio::test]
async fn replicas_tell_each_other() {
    let score = |number| Ask {
        number,
        ..ask("tea")
    };
    let (mut one, mut two) = (Unit::entity(board(), "a"), Unit::entity(board(), "a"));
    for _ in 0..2 {
        one.send(SCORE, score(1)).await.reply();
    }
    one.tell(&mut two);
    assert_eq!(two.send(SCORE, score(5)).await.reply(), text("tea=7"));
    two.tell(&mut one);
    one.read_again();
    assert_eq!(one.send(SCORE, score(0)).await.reply(), text("tea=7"));
}
