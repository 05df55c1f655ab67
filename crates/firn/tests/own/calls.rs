//! Calls of the function through Firn (R70 to R74).

use firn_testkit::caller::request;
use firn_testkit::own::Connection;
use firn_testkit::own::message::{
    call, call_effect, called, cancel, decided, empty, hello, target,
};
use firn_wire::v1::message::call_result::Result as Outcome;
use firn_wire::v1::message::firn_frame::Frame;
use firn_wire::v1::message::{CallResult, Failure, Hello, Target};
use tonic::Code;

use crate::world::{REGISTER, World, command, kept, opening, other, whole};

fn on(service: &str, method: &str, id: &str) -> Target {
    target(service, method, &request(id, ""))
}

/// The failure that a call ended with.
fn failure(result: CallResult) -> Failure {
    match result.result {
        Some(Outcome::Failure(failure)) => failure,
        other => panic!("expected a failure, got {other:?}"),
    }
}

/// R70: at any time, and while a command is handled.
#[tokio::test]
async fn function_calls_what_is_connected() {
    let (world, mut function) = World::serving().await;
    function.send(call(1, 0, on("model.Register", "Process", "a")));
    function
        .expect(opening(1, REGISTER, 1, &request("a", ""), empty("a")))
        .await;
    function.send(decided(1).set(kept("one")).saying("called").leaving(1));
    function.expect(called(1, "called")).await;
    // On behalf of a command of another entity.
    let caller = world.call("Journal/Process", "b", "");
    assert_eq!(function.command().await.id, 2);
    function.send(call(2, 2, on("model.Register", "Process", "a")));
    function
        .expect(command(3, REGISTER, 1, &request("a", "")))
        .await;
    function.send(decided(3).saying("for b").leaving(1));
    function.expect(called(2, "for b")).await;
    function.send(decided(2).saying("done"));
    caller.replies("done").await;
}

/// R70: of any connected contract.
#[tokio::test]
async fn functions_call_each_other() {
    let (world, mut first) = World::serving().await;
    let mut second = Connection::joined(&world.dial(), &other()).await;
    let mut world = world;
    world.firn.wait_for_log("other.Register (value entity)");
    first.send(call(1, 0, on("other.Register", "Process", "x")));
    assert_eq!(second.command().await.id, 1);
    second.send(decided(1).saying("second"));
    first.expect(called(1, "second")).await;
}

/// A failure of the callee, and of Firn, with its code in the text.
#[tokio::test]
async fn failures_come_as_results() {
    let (_world, mut function) = World::serving().await;
    function.send(call(1, 0, on("model.Doing", "Unary", "")));
    function.command().await;
    let details = [kept("why")];
    function.send(decided(1).failing(Code::NotFound, "nobody", &details));
    let expected = Failure {
        code: Code::NotFound as i32,
        message: "nobody".to_owned(),
        details: details.to_vec(),
    };
    assert_eq!(failure(function.call_result().await), expected);
    function.send(call(2, 0, on("model.Missing", "Unary", "")));
    let unknown = failure(function.call_result().await);
    assert!(unknown.message.contains("FIRN-3020"), "{unknown:?}");
}

/// R72: FIRN-3037, also by way of others.
#[tokio::test]
async fn call_that_would_wait_for_itself_is_refused() {
    let (world, mut function) = World::serving().await;
    let caller = world.call("Register/Process", "a", "");
    function.command().await;
    function.send(call(1, 1, on("model.Register", "Process", "a")));
    let refused = failure(function.call_result().await);
    assert_eq!(refused.code, Code::FailedPrecondition as i32);
    assert!(refused.message.contains("FIRN-3037"), "{refused:?}");
    assert!(refused.message.contains("model.Register"), "{refused:?}");
    // a calls an action, which calls b, which calls a.
    function.send(call(2, 1, on("model.Doing", "Unary", "")));
    assert_eq!(function.command().await.id, 2);
    function.send(call(3, 2, on("model.Register", "Process", "b")));
    assert_eq!(function.command().await.id, 3);
    function.send(call(4, 3, on("model.Register", "Process", "a")));
    let refused = function.call_result().await;
    assert_eq!(refused.id, 4);
    assert!(failure(refused).message.contains("FIRN-3037"));
    // Everybody may go on.
    function.send(decided(3).saying("b"));
    function.expect(called(3, "b")).await;
    function.send(decided(2).saying("action"));
    function.expect(called(2, "action")).await;
    function.send(decided(1).saying("a"));
    caller.replies("a").await;
}

/// R72: an effect back onto whoever waits for it runs, and is not waited for.
#[tokio::test]
async fn effect_on_its_own_waiter_holds_nobody_up() {
    let (world, mut function) = World::serving().await;
    let caller = world.call("Register/Process", "a", "");
    assert_eq!(function.command().await.id, 1);
    function.send(call(1, 1, on("model.Register", "Process", "b")));
    assert_eq!(function.command().await.id, 2);
    let back = call_effect(on("model.Register", "Process", "a"), true);
    function.send(decided(2).causing(back).saying("b"));
    let (mut result, mut effect) = (false, false);
    while !(result && effect) {
        match function.next().await {
            Frame::CallResult(it) => {
                assert_eq!(it, called(1, "b"));
                result = true;
            }
            Frame::Command(command) => {
                assert_eq!(command.id, 3);
                effect = true;
            }
            other => panic!("{other:?}"),
        }
    }
    function.send(decided(1).saying("a"));
    function.send(decided(3).saying("effect"));
    caller.replies("a").await;
}

/// R73: FIRN-3038, and each result gives one back.
#[tokio::test]
async fn calls_are_bounded() {
    let world = World::alone().await;
    // One command at a time, so that all the others wait.
    let one_at_once = Hello {
        commands: 1,
        ..hello(&whole())
    };
    let mut function = Connection::joined_with(&world.dial(), one_at_once).await;
    let mut world = world;
    world.firn.wait_until_serving();
    let calls = u64::from(function.welcome.calls);
    for id in 1..=calls + 1 {
        function.send(call(id, 0, on("model.Doing", "Unary", "")));
    }
    let mut refused = None;
    while refused.is_none() {
        use firn_wire::v1::message::firn_frame::Frame;
        match function.next().await {
            Frame::Command(first) => assert_eq!(first.id, 1),
            Frame::CallResult(result) => refused = Some(result),
            other => panic!("{other:?}"),
        }
    }
    let refused = refused.expect("a result");
    assert_eq!(refused.id, calls + 1);
    let refused = failure(refused);
    assert_eq!(refused.code, Code::ResourceExhausted as i32);
    assert!(refused.message.contains("FIRN-3038"), "{refused:?}");
}

/// R74: nobody waits any more, and a result still comes.
#[tokio::test]
async fn calls_can_be_cancelled() {
    let (_world, mut function) = World::serving().await;
    function.send(call(1, 0, on("model.Doing", "Unary", "")));
    function.command().await;
    function.send(cancel(1));
    let mut frames = Vec::new();
    for _ in 0..2 {
        frames.push(function.next().await);
    }
    use firn_wire::v1::message::firn_frame::Frame;
    let results: Vec<&Frame> = frames
        .iter()
        .filter(|frame| matches!(frame, Frame::CallResult(_)))
        .collect();
    let [Frame::CallResult(result)] = results.as_slice() else {
        panic!("{frames:?}");
    };
    assert_eq!(failure(result.clone()).code, Code::Cancelled as i32);
    // The action is told as well.
    assert!(frames.contains(&Frame::Cancel(cancel(1))), "{frames:?}");
    // One that has ended, or never began, is passed over.
    function.send(cancel(1));
    function.send(cancel(77));
    function.send(call(2, 0, on("model.Register", "Process", "a")));
    assert_eq!(function.command().await.id, 2);
    function.send(decided(2).saying("ok"));
    function.expect(called(2, "ok")).await;
}
