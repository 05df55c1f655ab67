//! Timers and delayed effects (R29).

use std::time::{Duration, Instant};

use firn_testkit::caller::{Request, request};
use firn_testkit::own::message::{close, closed, decided, delayed, empty, holding, target};
use firn_wire::v1::message::Timer;
use firn_wire::v1::message::timer::{Action, Schedule, Unset};
use prost::Message;
use tonic::Code;

use crate::world::{DOING, REGISTER, World, command, kept, opening, whole};

/// Long enough to kill Firn and start it again in between.
const LATER: Duration = Duration::from_secs(2);

fn timer(name: &str, after: Duration, repeat: bool, request: &Request) -> Timer {
    let schedule = Schedule {
        after: after.try_into().ok(),
        method: "Process".to_owned(),
        message: request.encode_to_vec().into(),
        repeat,
    };
    Timer {
        name: name.to_owned(),
        action: Some(Action::Set(schedule)),
    }
}

fn cancel(name: &str) -> Timer {
    Timer {
        name: name.to_owned(),
        action: Some(Action::Cancel(Unset {})),
    }
}

#[tokio::test]
async fn timer_calls_its_entity_once_in_its_time_across_a_kill() {
    let (mut world, mut function) = World::serving().await;
    let begun = Instant::now();
    let caller = world.call("Register/Process", "a", "x");
    let first = opening(1, REGISTER, 1, &request("a", "x"), empty("a"));
    function.expect(first).await;
    let mut decision = decided(1).set(kept("one")).saying("set").leaving(1);
    decision.0.timers = vec![
        timer("replaced", LATER, false, &request("a", "never")),
        timer("cancelled", LATER, false, &request("a", "never")),
        timer("replaced", LATER, false, &request("a", "tick")),
        cancel("cancelled"),
        cancel("unknown"),
    ];
    function.send(decision);
    caller.replies("set").await;

    let mut function = world.kill_and_start_again(&whole()).await;
    let held = holding("a", kept("one"));
    let tick = opening(1, REGISTER, 1, &request("a", "tick"), held);
    function.expect(tick).await;
    assert!(begun.elapsed() >= LATER);
    function.send(decided(1).saying("nobody hears it"));
    let caller = world.call("Register/Process", "a", "y");
    function
        .expect(command(2, REGISTER, 1, &request("a", "y")))
        .await;
    function.send(decided(2).saying("once"));
    caller.replies("once").await;

    let mut function = world.kill_and_start_again(&whole()).await;
    let caller = world.call("Register/Process", "b", "z");
    let next = function.command().await;
    assert_eq!(next.message, request("b", "z").encode_to_vec());
    function.send(decided(next.id).saying("nothing came before"));
    caller.replies("nothing came before").await;
}

#[tokio::test]
async fn timer_that_repeats_calls_until_it_is_cancelled() {
    let (world, mut function) = World::serving().await;
    let caller = world.call("Register/Process", "a", "x");
    let first = opening(1, REGISTER, 1, &request("a", "x"), empty("a"));
    function.expect(first).await;
    let tick = request("a", "tick");
    let mut decision = decided(1).saying("set");
    decision.0.timers = vec![timer("t", Duration::from_millis(20), true, &tick)];
    function.send(decision);
    caller.replies("set").await;
    // More often than hops are allowed.
    for number in 2..20 {
        function.expect(command(number, REGISTER, 1, &tick)).await;
        let mut decision = decided(number);
        if number == 19 {
            // A delete alone would leave it.
            let after = request("a", "after");
            let after = timer("after", Duration::from_millis(300), false, &after);
            decision.0.timers = vec![cancel("t"), after];
        }
        function.send(decision);
    }
    // What had fired before may still come; fifteen more would have by then.
    let mut late = 0;
    loop {
        let next = function.command().await;
        function.send(decided(next.id));
        if next.message != tick.encode_to_vec() {
            assert_eq!(next.message, request("a", "after").encode_to_vec());
            break;
        }
        late += 1;
    }
    assert!(late < 5, "{late} more");
}

#[tokio::test]
async fn delayed_effect_of_an_action_is_durable_when_the_caller_is_answered() {
    let (mut world, mut function) = World::serving().await;
    let caller = world.call("Doing/Unary", "", "x");
    function
        .expect(command(1, DOING, 0, &request("", "x")))
        .await;
    let later = target("model.Register", "Process", &request("a", "later"));
    function.send(decided(1).saying("done").causing(delayed(later, LATER)));
    caller.replies("done").await;
    let mut function = world.kill_and_start_again(&whole()).await;
    let effect = opening(1, REGISTER, 1, &request("a", "later"), empty("a"));
    function.expect(effect).await;
}

/// R25: nothing of the decision counts.
#[tokio::test]
async fn timer_of_another_entity_is_refused() {
    let (world, mut function) = World::serving().await;
    let caller = world.call("Register/Process", "a", "x");
    let first = opening(1, REGISTER, 1, &request("a", "x"), empty("a"));
    function.expect(first).await;
    let mut decision = decided(1).set(kept("one")).leaving(1);
    decision.0.timers = vec![timer("t", LATER, false, &request("b", "tick"))];
    function.send(decision);
    function.notice("FIRN-3034", 1).await;
    function.expect(close(1)).await;
    function.send(closed(1));
    caller.is_refused(Code::Internal, "FIRN-3034").await;
    let caller = world.call("Register/Process", "a", "y");
    let again = opening(2, REGISTER, 2, &request("a", "y"), empty("a"));
    function.expect(again).await;
    function.send(decided(2).saying("nothing was set"));
    caller.replies("nothing was set").await;
}
