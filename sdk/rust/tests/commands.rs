//! Commands of every model over a connection, frame by frame.

mod support;

use std::time::Duration;

use firn_sdk::Code;
use firn_sdk::prost::Message;
use firn_sdk::protocol::{
    Actor, Cancel, Change, Close, Closed, Credit, Delta, History, Message as Request, Metadata,
    change, counter_map_delta, decision::Answer, delta, effect, metadata, mutation::Mutation,
    timer,
};
use support::contract::*;
use support::*;

fn reply(decision: &firn_sdk::protocol::Decision) -> String {
    match &decision.answer {
        Some(Answer::Reply(reply)) => Text::decode(reply.clone()).unwrap().text,
        other => panic!("{other:?} is no reply"),
    }
}

fn failure(decision: &firn_sdk::protocol::Decision) -> (Code, String) {
    match &decision.answer {
        Some(Answer::Failure(failure)) => {
            (Code::from_number(failure.code), failure.message.clone())
        }
        other => panic!("{other:?} is no failure"),
    }
}

fn mutation(decision: firn_sdk::protocol::Decision) -> Option<Mutation> {
    decision.mutation.and_then(|mutation| mutation.mutation)
}

#[tokio::test]
async fn a_value_is_set_read_and_deleted() {
    let mut firn = FakeFirn::listen().await;
    let (_running, mut connection) = firn.serve(function()).await;
    let state = State::Value(any(&text("stored")));
    let first = opening(command(1, AT_SET, 7, &ask("new")), "a", Some((3, state)));
    let decision = connection.decide(first).await;
    assert_eq!((decision.command, decision.version), (1, 4)); // R24
    assert_eq!(reply(&decision), "stored");
    assert_eq!(mutation(decision), Some(Mutation::Set(any(&text("new")))));

    let decision = connection.decide(command(2, AT_GET, 7, &ask(""))).await;
    assert_eq!((reply(&decision).as_str(), decision.version), ("new", 4));
    assert_eq!(mutation(decision), None);

    let decision = connection
        .decide(command(3, AT_SET, 7, &ask("delete")))
        .await;
    assert_eq!(decision.version, 5);
    assert!(matches!(mutation(decision), Some(Mutation::Delete(_))));
}

#[tokio::test]
async fn a_failed_or_crashed_handler_changes_nothing() {
    let mut firn = FakeFirn::listen().await;
    let (_running, mut connection) = firn.serve(function()).await;
    let first = opening(command(1, AT_SET, 7, &ask("kept")), "a", None);
    connection.decide(first).await;
    let decision = connection.decide(command(2, AT_SET, 7, &ask("fail"))).await;
    assert_eq!(
        failure(&decision),
        (Code::FailedPrecondition, "as asked".into())
    );
    assert_eq!(decision.version, 1);
    let Some(Answer::Failure(failed)) = &decision.answer else {
        unreachable!()
    };
    assert_eq!(failed.details, [any(&text("detail"))]);

    let decision = connection
        .decide(command(3, AT_SET, 7, &ask("panic")))
        .await;
    let (code, message) = failure(&decision);
    assert_eq!(code, Code::Internal);
    assert!(!message.contains("secret"));
    assert_eq!(mutation(decision), None); // R23

    let decision = connection.decide(command(4, AT_GET, 7, &ask(""))).await;
    assert_eq!(reply(&decision), "kept");
}

#[tokio::test]
async fn events_are_folded_emitted_and_snapshotted() {
    let mut firn = FakeFirn::listen().await;
    let (_running, mut connection) = firn.serve(function()).await;
    let event = |text: &str| any(&Appended { text: text.into() });
    let history = History {
        snapshot: Some(any(&text("ab"))),
        snapshot_version: 2,
        events: vec![event("c")],
    };
    let first = command(1, AT_APPEND, 7, &ask("d"));
    let first = opening(first, "a", Some((3, State::History(history))));
    let decision = connection.decide(first).await;
    assert_eq!((reply(&decision).as_str(), decision.version), ("abcd", 4));
    let Some(Mutation::Append(append)) = mutation(decision) else {
        panic!("no append")
    };
    assert_eq!((append.events, append.snapshot), (vec![event("d")], None));

    // R51: the events pass 5.
    let decision = connection
        .decide(command(2, AT_APPEND, 7, &ask("ef")))
        .await;
    assert_eq!(decision.version, 6);
    let Some(Mutation::Append(append)) = mutation(decision) else {
        panic!("no append")
    };
    assert_eq!(append.snapshot, Some(any(&text("abcdef"))));

    let decision = connection
        .decide(command(3, AT_APPEND, 7, &ask("delete")))
        .await;
    assert_eq!(decision.version, 0); // R24
}

#[tokio::test]
async fn an_entity_that_is_ahead_is_let_go_with_what_waits() {
    let mut firn = FakeFirn::listen().await;
    let (_running, mut connection) = firn.serve(function()).await;
    let first = opening(command(1, AT_APPEND, 7, &ask("a")), "a", None);
    connection.decide(first).await;
    for bad in ["b!", "b?"] {
        let decision = connection.decide(command(2, AT_APPEND, 7, &ask(bad))).await;
        assert_eq!(decision.version, 1);
        assert_eq!(
            connection.next().await,
            Out::Closed(Closed { incarnation: 7 })
        ); // R43
        // R42: without an opening it is nobody's, so the next answer is that of the other.
        connection
            .send([
                In::Command(command(3, AT_APPEND, 7, &ask("c"))),
                In::Command(opening(
                    command(4, AT_APPEND, 7, &ask("d")),
                    "a",
                    Some((
                        1,
                        State::History(History {
                            events: vec![any(&Appended { text: "a".into() })],
                            ..History::default()
                        }),
                    )),
                )),
            ])
            .await;
        let decision = connection.decision().await;
        assert_eq!((decision.command, reply(&decision).as_str()), (4, "ad"));
        connection.send([In::Close(Close { incarnation: 7 })]).await;
        assert_eq!(
            connection.next().await,
            Out::Closed(Closed { incarnation: 7 })
        );
        let again = command(5, AT_APPEND, 7, &ask(""));
        let state = State::History(History {
            snapshot: Some(any(&text("a"))),
            snapshot_version: 1,
            ..History::default()
        });
        connection
            .decide(opening(again, "a", Some((1, state))))
            .await;
    }
}

#[tokio::test]
async fn state_that_cannot_be_read_fails_its_command_only() {
    let mut firn = FakeFirn::listen().await;
    let (_running, mut connection) = firn.serve(function()).await;
    let history = |event| {
        State::History(History {
            events: vec![event],
            ..History::default()
        })
    };
    let bad = [
        history(any(&text("no event"))),
        history(any(&Appended { text: "x".into() })),
        State::Value(any(&text("of another model"))),
    ];
    for (number, state) in (1..).zip(bad) {
        let first = command(number, AT_APPEND, number, &ask("a"));
        let decision = connection
            .decide(opening(first, "a", Some((1, state))))
            .await;
        assert_eq!(failure(&decision).0, Code::Internal);
        let closed = Closed {
            incarnation: number,
        };
        assert_eq!(connection.next().await, Out::Closed(closed)); // R43
    }
    let fine = opening(command(9, AT_APPEND, 9, &ask("a")), "a", None);
    assert_eq!(reply(&connection.decide(fine).await), "a");
}

#[tokio::test]
async fn commands_wait_for_their_entity_and_for_no_other() {
    let mut firn = FakeFirn::listen().await;
    let (_running, mut connection) = firn.serve(function()).await;
    connection
        .send([
            In::Command(opening(command(1, AT_SLOW, 7, &ask("slow")), "a", None)),
            In::Command(command(2, AT_GET, 7, &ask(""))),
            In::Command(opening(command(3, AT_GET, 8, &ask("")), "b", None)),
        ])
        .await;
    // R22: the other entity does not wait. The call is there as well.
    let mut call = None;
    let mut decided = None;
    for _ in 0..2 {
        match connection.next().await {
            Out::Call(it) => call = Some(it),
            Out::Decision(it) => decided = Some(it.command),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(decided, Some(3));
    let call = call.unwrap();
    assert_eq!((call.id, call.command), (1, 1)); // R70
    let target = call.target.unwrap();
    assert_eq!((&*target.service, &*target.method), ("t.Plain", "Echo"));
    connection
        .send([In::CallResult(firn_sdk::protocol::CallResult {
            id: 1,
            result: Some(firn_sdk::protocol::call_result::Result::Reply(
                text("called").encode_to_vec().into(),
            )),
            metadata: None,
        })])
        .await;
    // R21: in order, each on what its predecessor left.
    let first = connection.decision().await;
    let second = connection.decision().await;
    assert_eq!((first.command, second.command), (1, 2));
    assert_eq!(reply(&second), "called");
}

#[tokio::test]
async fn a_close_forgets_what_runs_and_what_waits() {
    let mut firn = FakeFirn::listen().await;
    let (_running, mut connection) = firn.serve(function()).await;
    connection
        .send([
            In::Command(opening(command(1, AT_SLOW, 7, &ask("slow")), "a", None)),
            In::Command(command(2, AT_GET, 7, &ask(""))),
        ])
        .await;
    assert!(matches!(connection.next().await, Out::Call(_)));
    connection.send([In::Close(Close { incarnation: 7 })]).await;
    // R41: no decision follows. R74: nobody waits for the call any more.
    let mut seen = vec![connection.next().await, connection.next().await];
    seen.sort_by_key(|frame| matches!(frame, Out::Cancel(_)));
    assert_eq!(
        seen,
        [
            Out::Closed(Closed { incarnation: 7 }),
            Out::Cancel(Cancel { id: 1 })
        ]
    );
    let next = opening(command(3, AT_GET, 8, &ask("")), "a", None);
    assert_eq!(connection.decide(next).await.command, 3);
}

#[tokio::test]
async fn those_idle_longest_are_let_go() {
    let mut firn = FakeFirn::listen().await;
    let (_running, mut connection) = firn.serve(function().incarnations(2)).await;
    for number in 1..=2 {
        let first = opening(command(number, AT_GET, number, &ask("")), "a", None);
        connection.decide(first).await;
    }
    connection.decide(command(3, AT_GET, 1, &ask(""))).await;
    let third = opening(command(4, AT_GET, 3, &ask("")), "c", None);
    connection.decide(third).await;
    assert_eq!(
        connection.next().await,
        Out::Closed(Closed { incarnation: 2 })
    ); // R44
}

#[tokio::test]
async fn an_actor_has_tags_and_timers() {
    let mut firn = FakeFirn::listen().await;
    let (_running, mut connection) = firn.serve(function()).await;
    let state = State::Actor(Actor {
        state: None,
        tags: [("kept".to_owned(), "1".to_owned())].into(),
    });
    let first = opening(
        command(1, AT_TICK, 7, &ask("x")),
        "the id",
        Some((2, state)),
    );
    let decision = connection.decide(first).await;
    assert_eq!(reply(&decision), "the id");
    assert_eq!(decision.version, 3);
    let [set, cancel] = &decision.timers[..] else {
        panic!("{:?}", decision.timers)
    };
    let Some(timer::Action::Set(schedule)) = &set.action else {
        panic!("{set:?}")
    };
    assert_eq!((&*set.name, &*schedule.method), ("next", "Tick"));
    let after = schedule.after.unwrap();
    assert_eq!((after.seconds, after.nanos), (1, 500_000_000));
    assert!(matches!(cancel.action, Some(timer::Action::Cancel(_))));
    let Some(Mutation::Actor(actor)) = mutation(decision) else {
        panic!("no actor")
    };
    assert_eq!(actor.state, Some(any(&text("x"))));
    assert_eq!(actor.tags.len(), 2);
}

fn scored(name: &str, change: i64) -> Delta {
    Delta {
        delta: Some(delta::Delta::CounterMap(
            firn_sdk::protocol::CounterMapDelta {
                updated: vec![counter_map_delta::Entry {
                    key: Some(any(&name.to_owned())),
                    change,
                }],
                ..Default::default()
            },
        )),
    }
}

fn points(text: &str, number: i64) -> Ask {
    Ask {
        number,
        ..ask(text)
    }
}

#[tokio::test]
async fn replicated_data_is_changed_here_and_elsewhere() {
    let mut firn = FakeFirn::listen().await;
    let (_running, mut connection) = firn.serve(function()).await;
    let first = command(1, AT_SCORE, 7, &points("tea", 2));
    let state = State::Data(scored("tea", 40));
    let decision = connection
        .decide(opening(first, "a", Some((0, state))))
        .await;
    assert_eq!(reply(&decision), "tea=42");
    let Some(Mutation::Update(update)) = mutation(decision) else {
        panic!("no update")
    };
    assert_eq!(update.delta, Some(scored("tea", 2)));

    // A failed one leaves no trace, and the entity stays.
    let decision = connection
        .decide(command(2, AT_SCORE, 7, &points("tea", 13)))
        .await;
    assert_eq!(failure(&decision).0, Code::InvalidArgument);
    connection
        .send([
            In::Change(Change {
                incarnation: 7,
                change: Some(change::Change::Delta(scored("oil", 1))),
            }),
            In::Command(command(3, AT_SCORE, 7, &points("tea", 0))),
        ])
        .await;
    let decision = connection.decision().await;
    assert!(reply(&decision).contains("tea=42") && reply(&decision).contains("oil=1"));
    assert_eq!(mutation(decision), None);
}

#[tokio::test]
async fn a_handler_that_waits_keeps_no_other_from_replicated_data() {
    let mut firn = FakeFirn::listen().await;
    let (_running, mut connection) = firn.serve(function()).await;
    let first = command(1, AT_SCORE_LATER, 7, &points("tea", 1));
    connection
        .send([In::Command(opening(first, "a", None))])
        .await;
    assert!(matches!(connection.next().await, Out::Call(_)));
    let decision = connection
        .decide(command(2, AT_SCORE, 7, &points("tea", 5)))
        .await;
    assert_eq!((decision.command, reply(&decision).as_str()), (2, "tea=5"));
    let result = firn_sdk::protocol::CallResult {
        id: 1,
        ..Default::default()
    };
    connection.send([In::CallResult(result)]).await;
    let decision = connection.decision().await;
    assert_eq!(decision.command, 1);
    let Some(Mutation::Update(update)) = mutation(decision) else {
        panic!("no update")
    };
    assert_eq!(update.delta, Some(scored("tea", 1)));
    let decision = connection
        .decide(command(3, AT_SCORE, 7, &points("tea", 0)))
        .await;
    assert_eq!(reply(&decision), "tea=6");
}

#[tokio::test]
async fn a_watch_shows_what_changed_until_it_is_cancelled() {
    let mut firn = FakeFirn::listen().await;
    let (_running, mut connection) = firn.serve(function()).await;
    let shown = |frame| match frame {
        Out::Reply(reply) => (reply.command, Text::decode(reply.message).unwrap().text),
        other => panic!("{other:?}"),
    };
    let first = opening(command(1, AT_WATCH, 7, &ask("")), "a", None);
    connection.send([In::Command(first)]).await;
    assert_eq!(shown(connection.next().await), (1, String::new()));
    // Its own process changes it.
    let score = In::Command(command(2, AT_SCORE, 7, &points("tea", 5)));
    connection.send([score]).await;
    assert_eq!(connection.decision().await.command, 2);
    assert_eq!(shown(connection.next().await), (1, "tea=5".into()));
    // Others change it (R53).
    let change = Change {
        incarnation: 7,
        change: Some(change::Change::Delta(scored("tea", 1))),
    };
    connection.send([In::Change(change)]).await;
    assert_eq!(shown(connection.next().await), (1, "tea=6".into()));
    connection.send([In::Cancel(Cancel { id: 1 })]).await;
    assert_eq!(connection.decision().await.command, 1); // R62
}

#[tokio::test]
async fn a_watch_leaves_out_what_there_is_no_credit_for() {
    let mut firn = FakeFirn::listen().await;
    let running = function().address(&firn.address).start().unwrap();
    let mut grants = welcome();
    grants.call_messages = 1;
    let (mut connection, _) = firn.welcome_with(grants).await;
    let first = opening(command(1, AT_WATCH, 7, &ask("")), "a", None);
    connection.send([In::Command(first)]).await;
    assert!(matches!(connection.next().await, Out::Reply(_)));
    for id in 2..5 {
        connection
            .decide(command(id, AT_SCORE, 7, &points("tea", 1)))
            .await;
    }
    let credit = Credit {
        command: 1,
        amount: 1,
    };
    connection.send([In::Credit(credit)]).await;
    let Out::Reply(reply) = connection.next().await else {
        panic!("no reply")
    };
    assert_eq!(Text::decode(reply.message).unwrap().text, "tea=3");
    // A delete ends it.
    let delete = command(9, AT_SCORE, 7, &ask("delete"));
    assert!(matches!(
        mutation(connection.decide(delete).await),
        Some(Mutation::Delete(_))
    ));
    connection.send([In::Credit(credit)]).await;
    assert_eq!(connection.decision().await.command, 1);
    running.stop();
}

#[tokio::test]
async fn an_action_forwards_and_has_effects_and_headers() {
    let mut firn = FakeFirn::listen().await;
    let (_running, mut connection) = firn.serve(function()).await;
    let decision = connection
        .decide(command(1, AT_ECHO, 0, &ask("forward")))
        .await;
    let Some(Answer::Forward(target)) = decision.answer else {
        panic!("{decision:?}")
    };
    assert_eq!((&*target.service, &*target.method), ("t.Value", "Get"));

    let decision = connection
        .decide(command(2, AT_ECHO, 0, &ask("effects")))
        .await;
    let effects: Vec<_> = decision
        .effects
        .into_iter()
        .map(|it| it.effect.unwrap())
        .collect();
    let [
        effect::Effect::Call(one),
        effect::Effect::Call(two),
        effect::Effect::Call(three),
        effect::Effect::Publish(news),
    ] = &effects[..]
    else {
        panic!("{effects:?}")
    };
    assert_eq!((one.wait, one.delay), (false, None));
    assert!(two.wait);
    assert_eq!(three.delay.unwrap().seconds, 3);
    assert_eq!(
        (&*news.topic, &news.message),
        ("topic", &Some(any(&text("news"))))
    );

    let mut third = command(3, AT_ECHO, 0, &ask("headers"));
    let entry = metadata::Entry {
        key: "x-in".into(),
        value: Some(metadata::entry::Value::Text("here".into())),
    };
    third.metadata = Some(Metadata {
        entries: vec![entry],
    });
    let decision = connection.decide(third).await;
    let headers = decision.metadata.unwrap().entries;
    assert_eq!(headers[0].key, "x-out");
    assert_eq!(
        headers[0].value,
        Some(metadata::entry::Value::Text("here".into()))
    );
}

#[tokio::test]
async fn a_cancelled_action_still_answers_with_its_effects() {
    let mut firn = FakeFirn::listen().await;
    let (_running, mut connection) = firn.serve(function()).await;
    let both = [
        In::Command(command(1, AT_WAIT, 0, &ask(""))),
        In::Cancel(Cancel { id: 1 }),
    ];
    connection.send(both).await;
    let decision = connection.decision().await;
    assert_eq!((decision.command, decision.effects.len()), (1, 1)); // R62
}

#[tokio::test]
async fn streams_keep_to_their_credit() {
    let mut firn = FakeFirn::listen().await;
    let running = function().address(&firn.address).start().unwrap();
    let mut grants = welcome();
    grants.call_messages = 2;
    let (mut connection, hello) = firn.welcome_with(grants).await;
    assert_eq!(hello.call_messages, 16);
    connection
        .send([In::Command(command(1, AT_COUNT, 0, &points("", 3)))])
        .await;
    for number in 0..2 {
        let Out::Reply(reply) = connection.next().await else {
            panic!("no reply")
        };
        assert_eq!(reply.metadata.is_some(), number == 0);
    }
    // R61: the third waits. Another command does not.
    connection.decide(command(2, AT_ECHO, 0, &ask("x"))).await;
    let credit = Credit {
        command: 1,
        amount: 1,
    };
    connection.send([In::Credit(credit)]).await;
    assert!(matches!(connection.next().await, Out::Reply(_)));
    let decision = connection.decision().await;
    assert_eq!((decision.command, decision.answer), (1, None)); // R60

    // Requests: half of those granted taken, as many more are granted.
    let message = |end: bool| {
        In::Message(Request {
            command: 3,
            message: (!end).then(|| ask("x").encode_to_vec().into()),
            end,
        })
    };
    connection
        .send([In::Command(command(3, AT_JOIN, 0, &()))])
        .await;
    connection.send((0..8).map(|_| message(false))).await;
    let granted = connection.next().await;
    let expected = Credit {
        command: 3,
        amount: 8,
    };
    assert_eq!(granted, Out::Credit(expected));
    connection.send([message(true)]).await;
    assert_eq!(reply(&connection.decision().await), "xxxxxxxx");
    running.stop();
}

#[tokio::test]
async fn a_duplex_call_answers_each_request() {
    let mut firn = FakeFirn::listen().await;
    let (_running, mut connection) = firn.serve(function()).await;
    connection
        .send([In::Command(command(1, AT_EACH, 0, &()))])
        .await;
    for text in ["a", "b"] {
        let message = Request {
            command: 1,
            message: Some(ask(text).encode_to_vec().into()),
            end: text == "b",
        };
        connection.send([In::Message(message)]).await;
        let Out::Reply(reply) = connection.next().await else {
            panic!("no reply")
        };
        assert_eq!(Text::decode(reply.message).unwrap().text, text);
    }
    assert_eq!(connection.decision().await.answer, None);
}

#[tokio::test]
async fn odd_commands_are_answered_with_a_code() {
    let mut firn = FakeFirn::listen().await;
    let (_running, mut connection) = firn.serve(function()).await;
    for (place, code) in [
        ((99, 0), Code::Unimplemented),
        ((4, 99), Code::Unimplemented),
        (AT_ECHO, Code::InvalidArgument),
    ] {
        let mut odd = command(1, place, 0, &());
        odd.message = vec![0xff].into();
        let decision = connection.decide(odd).await;
        assert_eq!(failure(&decision).0, code);
    }
}

#[tokio::test]
async fn a_call_outside_of_commands_names_none_and_has_a_bound() {
    let mut firn = FakeFirn::listen().await;
    let (running, mut connection) = firn.serve(function()).await;
    running.connected().await;
    let client = running.client().timeout(Duration::from_millis(700));
    let called = tokio::spawn(async move { client.call(GET.with(ask(""))).await });
    let Out::Call(call) = connection.next().await else {
        panic!("no call")
    };
    assert_eq!((call.command, call.timeout_ms), (0, 700));
    let failure = soon(called).await.unwrap().unwrap_err();
    assert_eq!(failure.code, Code::DeadlineExceeded);
    assert_eq!(connection.next().await, Out::Cancel(Cancel { id: 1 })); // R74
}

#[tokio::test]
async fn calls_wait_for_their_credit() {
    let mut firn = FakeFirn::listen().await;
    let running = function().address(&firn.address).start().unwrap();
    let mut grants = welcome();
    grants.calls = 1;
    let (mut connection, _) = firn.welcome_with(grants).await;
    running.connected().await;
    let calls = (0..3).map(|_| {
        let client = running.client();
        tokio::spawn(async move { client.call(GET.with(ask(""))).await })
    });
    let calls: Vec<_> = calls.collect();
    for id in 1..=3 {
        let Out::Call(call) = connection.next().await else {
            panic!("no call")
        };
        assert_eq!(call.id, id); // R73: one after another
        let result = firn_sdk::protocol::CallResult {
            id,
            ..Default::default()
        };
        connection.send([In::CallResult(result)]).await;
    }
    for call in calls {
        assert_eq!(call.await.unwrap().unwrap(), Text::default());
    }
}
