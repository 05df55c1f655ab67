//! How incarnations begin and end, and connections under them (R40 to R45, R27, R92).

use firn_testkit::caller::request;
use firn_testkit::own::message::{Framed, close, closed, decided, empty, history, holding};
use firn_wire::v1::message::Component;
use tonic::Code;

use crate::world::{JOURNAL, REGISTER, World, command, kept, of, opening, register, whole};

/// R42: what crosses the eviction is sent again, with the state.
#[tokio::test]
async fn evicted_incarnation_begins_again_with_what_crossed() {
    let (world, mut function) = World::serving().await;
    let asked = |text: &str| request("a", text);
    let caller = world.call("Journal/Process", "a", "1");
    function.command().await;
    function.send(decided(1).append(&[kept("A")], None).saying("1").leaving(1));
    caller.replies("1").await;
    // Two commands are on their way when the function lets go.
    let one = world.call("Journal/Process", "a", "2");
    function.expect(command(2, JOURNAL, 1, &asked("2"))).await;
    let two = world.call("Journal/Process", "a", "3");
    function.expect(command(3, JOURNAL, 1, &asked("3"))).await;
    function.send(closed(1));
    let events = history("a", None, &[kept("A")]);
    function
        .expect(opening(4, JOURNAL, 2, &asked("2"), events))
        .await;
    function.expect(command(5, JOURNAL, 2, &asked("3"))).await;
    function.send(decided(4).append(&[kept("B")], None).saying("2").leaving(2));
    function.send(decided(5).saying("3").leaving(2));
    one.replies("2").await;
    two.replies("3").await;
    // R20: their old numbers are no longer open.
    function.send(decided(2).saying("late").leaving(1));
    function.notice("FIRN-3031", 2).await;
}

/// R42: an idle one is let go of without a word of Firn's.
#[tokio::test]
async fn idle_incarnation_may_be_evicted() {
    let (world, mut function) = World::serving().await;
    for number in 1..=3 {
        let caller = world.call("Register/Process", "a", "");
        let held = match number {
            1 => empty("a"),
            _ => holding("a", kept("one")),
        };
        let asked = request("a", "");
        function
            .expect(opening(number, REGISTER, number, &asked, held))
            .await;
        let decision = decided(number).set(kept("one")).saying("ok").leaving(1);
        function.send_all([decision.framed(), closed(number).framed()]);
        caller.replies("ok").await;
    }
    // Of what Firn does not know nothing follows.
    function.send(closed(3));
    function.send(closed(99));
    let caller = world.call("Register/Process", "a", "");
    assert_eq!(function.command().await.incarnation, 4);
    function.send(decided(4).saying("ok"));
    caller.replies("ok").await;
}

/// R43: a function that cannot read a state says so and lets go.
#[tokio::test]
async fn function_that_cannot_read_the_state_fails_the_command() {
    let (world, mut function) = World::serving().await;
    let caller = world.call("Register/Process", "a", "");
    function.command().await;
    let failing = decided(1).failing(Code::Internal, "cannot read it", &[]);
    function.send_all([failing.framed(), closed(1).framed()]);
    caller.fails(Code::Internal, "cannot read it").await;
    let caller = world.call("Register/Process", "a", "");
    function
        .expect(opening(2, REGISTER, 2, &request("a", ""), empty("a")))
        .await;
    function.send(decided(2).saying("ok"));
    caller.replies("ok").await;
}

/// R41: a command for an entity that is being closed opens its next incarnation, which does not wait
/// for the function to forget the old one.
#[tokio::test]
async fn command_after_close_opens_the_next_incarnation() {
    let fleeting = Component {
        passivate_after: Some(prost_types::Duration {
            seconds: 0,
            nanos: 20_000_000,
        }),
        ..register()
    };
    let (world, mut function) = World::serving_with(&of(vec![fleeting]), &[]).await;
    let asked = request("a", "");
    let caller = world.call("Register/Process", "a", "");
    function
        .expect(opening(1, REGISTER, 1, &asked, empty("a")))
        .await;
    function.send(decided(1).set(kept("one")).saying("1").leaving(1));
    caller.replies("1").await;
    function.expect(close(1)).await;
    let caller = world.call("Register/Process", "a", "");
    function.send(closed(1));
    function
        .expect(opening(2, REGISTER, 2, &asked, holding("a", kept("one"))))
        .await;
    function.send(decided(2).saying("2"));
    caller.replies("2").await;
}

/// R27, R92: what was sent on a connection that ends is sent again to another process, and of its
/// runs one counts.
#[tokio::test]
async fn entities_move_to_another_process() {
    let (mut world, mut first) = World::serving().await;
    let caller = world.call("Register/Process", "a", "1");
    first.command().await;
    first.send(decided(1).set(kept("one")).saying("1").leaving(1));
    caller.replies("1").await;
    let mut second = world.join(&whole()).await;
    let open = world.call("Register/Process", "a", "2");
    first
        .expect(command(2, REGISTER, 1, &request("a", "2")))
        .await;
    drop(first);
    let held = holding("a", kept("one"));
    second
        .expect(opening(1, REGISTER, 1, &request("a", "2"), held))
        .await;
    second.send(decided(1).set(kept("two")).saying("2").leaving(1));
    open.replies("2").await;
}

/// R27: sent again once at most.
#[tokio::test]
async fn command_that_was_lost_twice_fails() {
    let (mut world, mut first) = World::serving().await;
    let mut second = world.join(&whole()).await;
    let mut third = world.join(&whole()).await;
    let caller = world.call("Register/Process", "a", "1");
    first.command().await;
    drop(first);
    second.command().await;
    drop(second);
    caller.is_refused(Code::Unavailable, "FIRN-3025").await;
    let caller = world.call("Register/Process", "a", "2");
    third
        .expect(opening(1, REGISTER, 1, &request("a", "2"), empty("a")))
        .await;
    third.send(decided(1).saying("ok"));
    caller.replies("ok").await;
}

/// R92: nobody is there any more.
#[tokio::test]
async fn command_without_another_process_fails() {
    let (world, mut function) = World::serving().await;
    let entity = world.call("Register/Process", "a", "");
    function.command().await;
    let action = world.call("Doing/Unary", "", "");
    function.command().await;
    drop(function);
    let status = entity.outcome().await.expect_err("a failure");
    assert_eq!(status.code(), Code::Unavailable);
    // R92: it may have run.
    action.is_refused(Code::Unavailable, "FIRN-3025").await;
    world
        .call("Register/Process", "a", "")
        .is_refused(Code::Unavailable, "FIRN-3018")
        .await;
}

/// R7, R17: a function that dials again goes on with what is stored.
#[tokio::test]
async fn function_that_dials_again_is_served() {
    let (mut world, mut function) = World::serving().await;
    let caller = world.call("Register/Process", "a", "");
    function.command().await;
    function.send(decided(1).set(kept("one")).saying("1").leaving(1));
    caller.replies("1").await;
    // An orderly end, without Goodbye.
    function.half_close();
    function.ends().await;
    let mut function = world.join(&whole()).await;
    let caller = world.call("Register/Process", "a", "");
    let held = holding("a", kept("one"));
    function
        .expect(opening(1, REGISTER, 1, &request("a", ""), held))
        .await;
    function.send(decided(1).saying("2"));
    caller.replies("2").await;
    assert!(
        !world.firn.log().contains("FIRN-2019"),
        "{}",
        world.firn.log()
    );
}
