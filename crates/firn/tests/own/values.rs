//! Value entities (R50).

use firn_testkit::caller::request;
use firn_testkit::own::message::{close, decided, empty, holding};
use tonic::Code;

use crate::world::{REGISTER, World, command, kept, of, opening, register, whole};

/// R40, R50: the first command of an incarnation brings the state, and no other does.
#[tokio::test]
async fn state_is_set_and_there_again_after_a_kill() {
    let (mut world, mut function) = World::serving().await;
    let asked = request("a", "x");
    let caller = world.call("Register/Process", "a", "x");
    function
        .expect(opening(1, REGISTER, 1, &asked, empty("a")))
        .await;
    function.send(decided(1).set(kept("one")).saying("done").leaving(1));
    caller.replies("done").await;
    let caller = world.call("Register/Process", "a", "x");
    function.expect(command(2, REGISTER, 1, &asked)).await;
    function.send(decided(2).set(kept("two")).leaving(2));
    // R23: without reply, forward or failure the caller gets an empty message.
    caller.replies("").await;
    for number in 0..2 {
        let mut function = world.kill_and_start_again(&whole()).await;
        let caller = world.call("Register/Process", "a", "x");
        // A version counts within an incarnation.
        let held = holding("a", kept("two"));
        function.expect(opening(1, REGISTER, 1, &asked, held)).await;
        function.send(decided(1).saying(&number.to_string()));
        caller.replies(&number.to_string()).await;
    }
}

#[tokio::test]
async fn deleted_value_begins_empty() {
    let (mut world, mut function) = World::serving().await;
    let asked = request("a", "");
    let caller = world.call("Register/Process", "a", "");
    function
        .expect(opening(1, REGISTER, 1, &asked, empty("a")))
        .await;
    function.send(decided(1).set(kept("one")).saying("1").leaving(1));
    caller.replies("1").await;
    let caller = world.call("Register/Process", "a", "");
    function.expect(command(2, REGISTER, 1, &asked)).await;
    function.send(decided(2).delete().saying("2").leaving(2));
    caller.replies("2").await;
    // The incarnation goes on.
    let caller = world.call("Register/Process", "a", "");
    function.expect(command(3, REGISTER, 1, &asked)).await;
    function.send(decided(3).saying("3").leaving(2));
    caller.replies("3").await;

    let mut function = world.kill_and_start_again(&whole()).await;
    let caller = world.call("Register/Process", "a", "");
    function
        .expect(opening(1, REGISTER, 1, &asked, empty("a")))
        .await;
    function.send(decided(1).set(kept("again")).saying("4").leaving(1));
    caller.replies("4").await;
    let mut function = world.kill_and_start_again(&whole()).await;
    let _caller = world.call("Register/Process", "a", "");
    let held = holding("a", kept("again"));
    function.expect(opening(1, REGISTER, 1, &asked, held)).await;
}

/// R41: an idle incarnation is closed, and the next one has a number of its own.
#[tokio::test]
async fn idle_value_is_closed_and_comes_back_as_it_was() {
    let fleeting = firn_wire::v1::message::Component {
        passivate_after: Some(prost_types::Duration {
            seconds: 0,
            nanos: 20_000_000,
        }),
        ..register()
    };
    let (world, mut function) = World::serving_with(&of(vec![fleeting]), &[]).await;
    let asked = request("a", "");
    let mut state = empty("a");
    for incarnation in 1..=3_u64 {
        let caller = world.call("Register/Process", "a", "");
        function
            .expect(opening(incarnation, REGISTER, incarnation, &asked, state))
            .await;
        let next = kept(&incarnation.to_string());
        function.send(
            decided(incarnation)
                .set(next.clone())
                .saying("ok")
                .leaving(1),
        );
        caller.replies("ok").await;
        function.expect(close(incarnation)).await;
        function.send(firn_testkit::own::message::closed(incarnation));
        state = holding("a", next);
    }
}

/// An idempotency key of a caller works as with every other family.
#[tokio::test]
async fn command_with_a_key_runs_once() {
    let (mut world, mut function) = World::serving().await;
    let key = || firn_testkit::caller::headers(&[("idempotency-key", "k")]);
    let caller = world.call_with("Register/Process", "a", "x", key());
    let command = function.command().await;
    function.send(
        decided(command.id)
            .set(kept("one"))
            .saying("first")
            .leaving(1),
    );
    caller.replies("first").await;
    world
        .call_with("Register/Process", "a", "x", key())
        .replies("first")
        .await;
    let mut function = world.kill_and_start_again(&whole()).await;
    world
        .call_with("Register/Process", "a", "x", key())
        .replies("first")
        .await;
    world
        .call_with("Register/Process", "a", "other", key())
        .is_refused(Code::InvalidArgument, "FIRN-3012")
        .await;
    let caller = world.call("Register/Process", "a", "x");
    assert_eq!(function.command().await.id, 1);
    function.send(decided(1).saying("second"));
    caller.replies("second").await;
}
