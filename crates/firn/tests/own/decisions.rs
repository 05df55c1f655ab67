//! What a decision may say, and what becomes of one that may not (R20 to R25, R28, R30).

use bytes::Bytes;
use firn_testkit::caller::{headers, request};
use firn_testkit::function::message::any;
use firn_testkit::own::Connection;
use firn_testkit::own::message::{
    Decided, Framed, call_effect, close, closed, decided, empty, history, publish, reply, target,
    text_headers,
};
use firn_wire::v1::message::delta::Delta;
use firn_wire::v1::message::{Command, Component, Metadata, metadata};
use prost::Message;
use tonic::Code;
use tonic::metadata::MetadataValue;

use crate::world::{
    COUNT, DOING, JOURNAL, REGISTER, World, command, kept, of, opening, register, whole,
};

/// R20: FIRN-3031. Everything else goes on.
#[tokio::test]
async fn answers_that_nobody_waits_for_are_noticed() {
    let (world, mut function) = World::serving().await;
    function.send(decided(7).saying("early"));
    function.notice("FIRN-3031", 7).await;
    let asked = request("a", "");
    let caller = world.call("Register/Process", "a", "");
    function
        .expect(opening(1, REGISTER, 1, &asked, empty("a")))
        .await;
    function.send_all([
        decided(1)
            .set(kept("one"))
            .saying("once")
            .leaving(1)
            .framed(),
        decided(1)
            .set(kept("two"))
            .saying("twice")
            .leaving(2)
            .framed(),
        reply(1, "late").framed(),
    ]);
    caller.replies("once").await;
    function.notice("FIRN-3031", 1).await;
    function.notice("FIRN-3031", 1).await;
    let caller = world.call("Register/Process", "a", "");
    function.expect(command(2, REGISTER, 1, &asked)).await;
    function.send(decided(2).saying("on").leaving(1));
    caller.replies("on").await;
}

/// R20, R60: an entity's method has one answer: FIRN-3031.
#[tokio::test]
async fn streamed_reply_of_a_method_with_one_answer_ends_the_incarnation() {
    let (world, mut function) = World::serving().await;
    let caller = world.call("Register/Process", "a", "");
    function.command().await;
    function.send(reply(1, "part"));
    function.notice("FIRN-3031", 1).await;
    function.expect(close(1)).await;
    caller.is_refused(Code::Internal, "FIRN-3031").await;
    let caller = world.call("Doing/Unary", "", "");
    assert_eq!(function.command().await.id, 2);
    function.send(reply(2, "part"));
    function.expect(firn_testkit::own::message::cancel(2)).await;
    function.notice("FIRN-3031", 2).await;
    caller.is_refused(Code::Internal, "FIRN-3031").await;
    // R62: its decision is still to come, and nobody sees it.
    function.send(decided(2).saying("nobody"));
    serves(&world, &mut function, 3, 2).await;
}

/// Entity `other` is served, with its first command under this number.
async fn serves(world: &World, function: &mut Connection, number: u64, incarnation: u64) {
    let caller = world.call("Register/Process", "other", "");
    let asked = request("other", "");
    function
        .expect(opening(
            number,
            REGISTER,
            incarnation,
            &asked,
            empty("other"),
        ))
        .await;
    function.send(decided(number).saying("served"));
    caller.replies("served").await;
}

/// R21: FIRN-3032. Who was to be first fails; the others are sent again.
#[tokio::test]
async fn decision_out_of_order_ends_the_incarnation() {
    let (world, mut function) = World::serving().await;
    let first = world.call("Register/Process", "a", "1");
    let asked = |text: &str| request("a", text);
    function
        .expect(opening(1, REGISTER, 1, &asked("1"), empty("a")))
        .await;
    let second = world.call("Register/Process", "a", "2");
    function.expect(command(2, REGISTER, 1, &asked("2"))).await;
    function.send(decided(2).set(kept("never")).saying("2").leaving(1));
    let notice = function.notice("FIRN-3032", 2).await;
    let text = notice.finding.expect("a finding").text;
    assert_eq!(text, "command 2 is answered before command 1");
    function.expect(close(1)).await;
    first.is_refused(Code::Internal, "FIRN-3032").await;
    function
        .expect(opening(3, REGISTER, 2, &asked("2"), empty("a")))
        .await;
    function.send(decided(3).saying("again"));
    second.replies("again").await;
}

/// R23: a failure reaches the caller as it is, changes nothing and causes nothing; others go on.
#[tokio::test]
async fn failure_reaches_the_caller_with_its_details() {
    let (world, mut function) = World::serving().await;
    let caller = world.call("Register/Process", "a", "");
    function.command().await;
    let effect = call_effect(target("model.Doing", "Unary", &request("", "never")), false);
    let details = [kept("why"), any("model.Request", &request("a", "which"))];
    function.send(decided(1).set(kept("never")).causing(effect).failing(
        Code::ResourceExhausted,
        "no room",
        &details,
    ));
    let status = caller.fails(Code::ResourceExhausted, "no room").await;
    assert_eq!(status.metadata().get("firn-code"), None);
    // google.rpc.Status: code, message, details.
    let mut expected = vec![8, 8, 0x12, 7];
    expected.extend(b"no room");
    for detail in &details {
        let detail = detail.encode_to_vec();
        expected.extend([0x1a, u8::try_from(detail.len()).expect("a short one")]);
        expected.extend(detail);
    }
    assert_eq!(status.details(), &expected);
    // The incarnation goes on, with nothing changed.
    let caller = world.call("Register/Process", "a", "");
    function
        .expect(command(2, REGISTER, 1, &request("a", "")))
        .await;
    function.send(decided(2).saying("still"));
    caller.replies("still").await;
    // A code that gRPC does not know.
    let caller = world.call("Register/Process", "a", "");
    assert_eq!(function.command().await.id, 3);
    let mut odd = decided(3).failing(Code::Ok, "odd", &[]);
    if let Some(firn_wire::v1::message::decision::Answer::Failure(it)) = &mut odd.0.answer {
        it.code = 99;
    }
    function.send(odd);
    caller.fails(Code::Unknown, "odd").await;
}

/// R24: FIRN-3033, of values and event sourced entities.
#[tokio::test]
async fn another_version_ends_the_incarnation() {
    let (world, mut function) = World::serving().await;
    let [one, two] = ["A", "B"].map(kept);
    let wrong: [(&str, Decided); 7] = [
        ("Register/Process", decided(0).leaving(1)),
        ("Register/Process", decided(0).set(one.clone())),
        ("Register/Process", decided(0).set(one.clone()).leaving(2)),
        ("Register/Process", decided(0).delete()),
        ("Journal/Process", decided(0).leaving(1)),
        (
            "Journal/Process",
            decided(0).append(&[one.clone(), two], None).leaving(1),
        ),
        ("Journal/Process", decided(0).delete().leaving(1)),
    ];
    for (number, (method, mut decision)) in (1..).zip(wrong) {
        let caller = world.call(method, "a", "");
        let command = function.command().await;
        assert_eq!((command.id, command.incarnation), (number, number));
        let opening = command.opening.expect("an opening: nothing was stored");
        assert_eq!(opening.version, 0);
        decision.0.command = number;
        function.send(decision.saying("never"));
        function.notice("FIRN-3033", number).await;
        function.expect(close(number)).await;
        function.send(closed(number));
        caller.is_refused(Code::Internal, "FIRN-3033").await;
    }
    serves(&world, &mut function, 8, 8).await;
}

/// R25: FIRN-3034, each way not to fit.
#[tokio::test]
async fn unfit_mutation_ends_the_incarnation() {
    let (world, mut function) = World::serving().await;
    let foreign = any("model.Request", &request("a", ""));
    let nonsense = firn_wire::superset::Any {
        type_url: Bytes::from_static(b"\xff"),
        value: Bytes::new(),
    };
    let append =
        |event: &firn_wire::superset::Any| decided(0).append(std::slice::from_ref(event), None);
    let wrong = [
        ("Register/Process", append(&kept("A")).leaving(1)),
        ("Register/Process", decided(0).update(Delta::Counter(1))),
        ("Register/Process", decided(0).actor(kept("A")).leaving(1)),
        (
            "Register/Process",
            decided(0).set(foreign.clone()).leaving(1),
        ),
        ("Register/Process", decided(0).set(nonsense).leaving(1)),
        ("Journal/Process", decided(0).set(kept("A")).leaving(1)),
        ("Journal/Process", append(&foreign).leaving(1)),
        ("Journal/Process", decided(0).append(&[], None)),
        (
            "Journal/Process",
            decided(0)
                .append(&[kept("A")], Some(foreign.clone()))
                .leaving(1),
        ),
        ("Count/Process", decided(0).set(kept("A")).leaving(1)),
        ("Count/Process", decided(0).update(Delta::GrowCounter(1))),
    ];
    let count = wrong.len() as u64;
    for (number, (method, mut decision)) in (1..).zip(wrong) {
        let caller = world.call(method, "a", "");
        let command = function.command().await;
        assert_eq!((command.id, command.incarnation), (number, number));
        decision.0.command = number;
        function.send(decision.saying("never"));
        function.notice("FIRN-3034", number).await;
        function.expect(close(number)).await;
        function.send(closed(number));
        caller.is_refused(Code::Internal, "FIRN-3034").await;
    }
    serves(&world, &mut function, count + 1, count + 1).await;
    // An action has nothing to change.
    let caller = world.call("Doing/Unary", "", "");
    let number = function.command().await.id;
    function.send(decided(number).set(kept("A")).saying("never"));
    function.notice("FIRN-3034", number).await;
    caller.is_refused(Code::Internal, "FIRN-3034").await;
}

/// R30: FIRN-3035, and nothing is changed.
#[tokio::test]
async fn message_for_a_topic_needs_a_broker() {
    let (world, mut function) = World::serving().await;
    let caller = world.call("Register/Process", "a", "");
    function.command().await;
    let publish = || publish("orders", kept("one"));
    function.send(
        decided(1)
            .set(kept("never"))
            .causing(publish())
            .saying("never")
            .leaving(1),
    );
    function.notice("FIRN-3035", 1).await;
    function.expect(close(1)).await;
    caller.is_refused(Code::Internal, "FIRN-3035").await;
    let caller = world.call("Register/Process", "a", "");
    let asked = request("a", "");
    function
        .expect(opening(2, REGISTER, 2, &asked, empty("a")))
        .await;
    function.send(decided(2).saying("empty"));
    caller.replies("empty").await;
    let caller = world.call("Doing/Unary", "", "");
    assert_eq!(function.command().await.id, 3);
    function.send(decided(3).causing(publish()).saying("never"));
    function.notice("FIRN-3035", 3).await;
    caller.is_refused(Code::Internal, "FIRN-3035").await;
}

/// R28: a forward answers the caller, with headers of the function's choice.
#[tokio::test]
async fn forward_runs_in_the_callers_request() {
    let (world, mut function) = World::serving().await;
    let caller = world.call("Register/Process", "a", "first");
    function.command().await;
    let mut target = target("model.Journal", "Process", &request("b", "second"));
    target.metadata = Some(text_headers(&[("x-any", "1")]));
    function.send(decided(1).set(kept("one")).forward(target).leaving(1));
    let asked = request("b", "second");
    let mut forwarded = opening(2, JOURNAL, 2, &asked, history("b", None, &[]));
    forwarded.metadata = Some(text_headers(&[("x-any", "1")]));
    function.expect(forwarded).await;
    function.send(
        decided(2)
            .append(&[kept("A")], None)
            .saying("forwarded")
            .leaving(1),
    );
    caller.replies("forwarded").await;
}

/// R28: what a forward or effect names must be there: FIRN-3020.
#[tokio::test]
async fn forward_to_nowhere_fails() {
    let (world, mut function) = World::serving().await;
    let caller = world.call("Doing/Unary", "", "");
    function.command().await;
    function.send(decided(1).forward(target("model.Doing", "Missing", &request("", ""))));
    caller.is_refused(Code::Internal, "FIRN-3020").await;
    function.notice("FIRN-3020", 0).await;
}

/// R28: effects run in order, after the decision is durable; the caller waits for those with `wait`.
#[tokio::test]
async fn effects_run_in_order() {
    let (world, mut function) = World::serving().await;
    let caller = world.call("Register/Process", "a", "");
    function.command().await;
    let effect =
        |id: &str, wait| call_effect(target("model.Journal", "Process", &request(id, "")), wait);
    function.send(
        decided(1)
            .set(kept("one"))
            .causing(effect("b", true))
            .causing(effect("c", true))
            .saying("done")
            .leaving(1),
    );
    for (number, id) in [(2, "b"), (3, "c")] {
        let asked = request(id, "");
        let nothing = history(id, None, &[]);
        function
            .expect(opening(number, JOURNAL, number, &asked, nothing))
            .await;
        assert!(!caller.is_over());
        function.send(decided(number));
    }
    caller.replies("done").await;
    // Without `wait` nobody waits.
    let caller = world.call("Register/Process", "a", "");
    function
        .expect(command(4, REGISTER, 1, &request("a", "")))
        .await;
    function.send(
        decided(4)
            .causing(effect("d", false))
            .saying("at once")
            .leaving(1),
    );
    caller.replies("at once").await;
    let asked = request("d", "");
    function
        .expect(opening(5, JOURNAL, 4, &asked, history("d", None, &[])))
        .await;
}

/// R28: FIRN-3013.
#[tokio::test]
async fn forwards_are_bounded() {
    let (world, mut function) = World::serving().await;
    let caller = world.call("Doing/Unary", "", "");
    for number in 1..=17 {
        assert_eq!(function.command().await.id, number);
        function.send(decided(number).forward(target("model.Doing", "Unary", &request("", ""))));
    }
    caller
        .is_refused(Code::FailedPrecondition, "FIRN-3013")
        .await;
}

/// Headers reach the function as its component says, and the caller gets those of the reply.
#[tokio::test]
async fn headers_are_passed_on() {
    let listed = Component {
        headers: vec!["x-one".to_owned(), "x-two-bin".to_owned()],
        ..register()
    };
    let (world, mut function) = World::serving_with(&of(vec![listed]), &[]).await;
    let mut sent = headers(&[("x-one", "1"), ("x-other", "2")]);
    sent.append_bin("x-two-bin", MetadataValue::from_bytes(b"\x00\xff"));
    let caller = world.call_with("Register/Process", "a", "", sent);
    let mut asked = opening(1, REGISTER, 1, &request("a", ""), empty("a"));
    asked.metadata = Some(Metadata {
        entries: vec![
            metadata::Entry {
                key: "x-one".to_owned(),
                value: Some(metadata::entry::Value::Text("1".to_owned())),
            },
            metadata::Entry {
                key: "x-two-bin".to_owned(),
                value: Some(metadata::entry::Value::Binary(Bytes::from_static(
                    b"\x00\xff",
                ))),
            },
        ],
    });
    function.expect(asked).await;
    function.send(decided(1).saying("ok").with_headers(&[("x-reply", "3")]));
    let answered = caller.answered().await;
    assert_eq!(answered.headers.get("x-reply").expect("a header"), "3");
}

/// R31: what the caller has left goes with the command.
#[tokio::test]
async fn command_says_how_long_its_caller_waits() {
    let (world, mut function) = World::serving().await;
    for method in ["Register/Process", "Doing/Unary", "Count/Process"] {
        let timeout = headers(&[("grpc-timeout", "30S")]);
        let _caller = world.call_with(method, "a", "", timeout);
        let Command { timeout_ms, .. } = function.command().await;
        assert!(
            (10_000..=30_000).contains(&timeout_ms),
            "{method}: {timeout_ms}"
        );
    }
}

/// R31: the outcome is not known, and the entity goes on.
#[tokio::test]
async fn caller_is_told_that_the_time_is_over() {
    let (world, mut function) = World::serving_with(&whole(), &["--command-timeout", "2s"]).await;
    let caller = world.call("Register/Process", "a", "");
    function.command().await;
    caller.is_refused(Code::DeadlineExceeded, "FIRN-3016").await;
    function.expect(close(1)).await;
    // Decisions that are under way meanwhile are void (R41).
    function.send(decided(1).set(kept("never")).saying("late").leaving(1));
    function.send(closed(1));
    let caller = world.call("Register/Process", "a", "");
    let asked = request("a", "");
    function
        .expect(opening(2, REGISTER, 2, &asked, empty("a")))
        .await;
    function.send(decided(2).saying("next"));
    caller.replies("next").await;
    let caller = world.call("Doing/Unary", "", "");
    assert_eq!(function.command().await.id, 3);
    caller.is_refused(Code::DeadlineExceeded, "FIRN-3016").await;
    function.expect(firn_testkit::own::message::cancel(3)).await;
}

/// R22: an entity whose handler hangs keeps no other waiting.
#[tokio::test]
async fn entities_and_actions_do_not_wait_for_each_other() {
    let (world, mut function) = World::serving().await;
    let hangs = world.call("Register/Process", "a", "");
    function.command().await;
    let waits = world.call("Journal/Process", "a", "");
    assert_eq!(function.command().await.component, JOURNAL);
    let acts = world.call("Doing/Unary", "a", "");
    assert_eq!(function.command().await.component, DOING);
    let counts = world.call("Count/Process", "a", "");
    assert_eq!(function.command().await.component, COUNT);
    for (number, caller) in [(4, counts), (3, acts), (2, waits), (1, hangs)] {
        function.send(decided(number).saying("ok"));
        caller.replies("ok").await;
    }
}
