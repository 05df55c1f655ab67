//! Replicated entities (R52, R53), as one Firn alone has them: nothing changes elsewhere.

use firn_testkit::caller::request;
use firn_testkit::own::message::{
    Framed, cancel, close, closed, credit, decided, empty, replica, reply,
};
use firn_wire::v1::message::delta::Delta as Value;
use firn_wire::v1::message::{Command, Delta};
use tonic::Code;

use crate::world::{COUNT, World, command, opening, whole};

/// The place of the method that streams replies.
const WATCH: u32 = 1;

fn counter(value: i64) -> Delta {
    Delta {
        delta: Some(Value::Counter(value)),
    }
}

#[tokio::test]
async fn value_is_there_again_after_a_kill() {
    let (mut world, mut function) = World::serving().await;
    let asked = request("a", "");
    let caller = world.call("Count/Process", "a", "");
    function
        .expect(opening(1, COUNT, 1, &asked, empty("a")))
        .await;
    function.send(decided(1).update(Value::Counter(7)).saying("7"));
    caller.replies("7").await;
    // A change of its own never comes back.
    let caller = world.call("Count/Process", "a", "");
    function.expect(command(2, COUNT, 1, &asked)).await;
    let mut changing = decided(2).update(Value::Counter(-10)).saying("-3");
    if let Some(firn_wire::v1::message::mutation::Mutation::Update(update)) = changing
        .0
        .mutation
        .as_mut()
        .and_then(|it| it.mutation.as_mut())
    {
        // Durable before it is answered.
        update.consistency = firn_wire::v1::message::Consistency::All.into();
    }
    function.send(changing);
    caller.replies("-3").await;

    let mut function = world.kill_and_start_again(&whole()).await;
    let caller = world.call("Count/Process", "a", "");
    let held = replica("a", counter(-3));
    function.expect(opening(1, COUNT, 1, &asked, held)).await;
    function.send(decided(1).saying("-3"));
    caller.replies("-3").await;
}

/// R21, R52: several commands may be open, and are answered in any order.
#[tokio::test]
async fn commands_are_answered_in_any_order() {
    let (world, mut function) = World::serving().await;
    let one = world.call("Count/Process", "a", "1");
    function
        .expect(opening(1, COUNT, 1, &request("a", "1"), empty("a")))
        .await;
    let two = world.call("Count/Process", "a", "2");
    function
        .expect(command(2, COUNT, 1, &request("a", "2")))
        .await;
    function.send(decided(2).update(Value::Counter(1)).saying("two"));
    two.replies("two").await;
    function.send(decided(1).update(Value::Counter(1)).saying("one"));
    one.replies("one").await;
}

/// R42: what crosses the eviction is sent again, with the value.
#[tokio::test]
async fn evicted_incarnation_begins_again_with_what_crossed() {
    let (world, mut function) = World::serving().await;
    let asked = |text: &str| request("a", text);
    let caller = world.call("Count/Process", "a", "1");
    function.command().await;
    function.send(decided(1).update(Value::Counter(7)).saying("7"));
    caller.replies("7").await;
    // A command and a watch are on their way when the function lets go.
    let caller = world.call("Count/Process", "a", "2");
    function.expect(command(2, COUNT, 1, &asked("2"))).await;
    let mut talk = world.talk("Count/Watch");
    talk.say(asked("3")).await;
    talk.half_close();
    assert_eq!(function.command().await.id, 3);
    function.send(closed(1));
    let held = replica("a", counter(7));
    function
        .expect(opening(4, COUNT, 2, &asked("2"), held))
        .await;
    assert_eq!(function.command().await.id, 5);
    function.send(decided(4).update(Value::Counter(1)).saying("8"));
    function.send(reply(5, "8"));
    caller.replies("8").await;
    talk.hears("8").await;
}

/// R27, R92: what was sent on a connection that ends is sent again to another process, once.
#[tokio::test]
async fn commands_move_to_another_process() {
    let (mut world, mut first) = World::serving().await;
    let caller = world.call("Count/Process", "a", "1");
    first.command().await;
    first.send(decided(1).update(Value::Counter(7)).saying("7"));
    caller.replies("7").await;
    let mut second = world.join(&whole()).await;
    let mut third = world.join(&whole()).await;
    let asked = request("a", "2");
    let caller = world.call("Count/Process", "a", "2");
    first.expect(command(2, COUNT, 1, &asked)).await;
    drop(first);
    let held = || replica("a", counter(7));
    second.expect(opening(1, COUNT, 1, &asked, held())).await;
    second.send(decided(1).update(Value::Counter(1)).saying("8"));
    caller.replies("8").await;

    let caller = world.call("Count/Process", "a", "3");
    second.command().await;
    drop(second);
    third.command().await;
    drop(third);
    caller.is_refused(Code::Unavailable, "FIRN-3025").await;
}

/// R53: replies as things happen, and the decision at the end.
#[tokio::test]
async fn watch_has_replies_until_its_decision() {
    let (world, mut function) = World::serving().await;
    let mut talk = world.talk("Count/Watch");
    talk.say(request("a", "")).await;
    talk.half_close();
    let watch = Command {
        method: WATCH,
        ..opening(1, COUNT, 1, &request("a", ""), empty("a"))
    };
    function.expect(watch).await;
    function.send(reply(1, "0"));
    talk.hears("0").await;
    function.expect(credit(1, 1)).await;
    // Another command of the same entity goes on meanwhile.
    let caller = world.call("Count/Process", "a", "");
    function
        .expect(command(2, COUNT, 1, &request("a", "")))
        .await;
    let changed = decided(2).update(Value::Counter(1)).saying("1");
    function.send_all([changed.framed(), reply(1, "1").framed()]);
    caller.replies("1").await;
    talk.hears("1").await;
    function.expect(credit(1, 1)).await;
    function.send(decided(1));
    talk.ends().await;
    // A failure ends it too.
    let mut talk = world.talk("Count/Watch");
    talk.say(request("a", "")).await;
    talk.half_close();
    assert_eq!(function.command().await.id, 3);
    function.send(reply(3, "again"));
    talk.hears("again").await;
    function.expect(credit(3, 1)).await;
    function.send(decided(3).failing(Code::Aborted, "enough", &[]));
    talk.fails(Code::Aborted, "enough").await;
}

/// R62: of a replicated entity a change at the end of a cancelled stream counts.
#[tokio::test]
async fn watch_whose_caller_goes_away_may_change_the_value() {
    let (world, mut function) = World::serving().await;
    let mut talk = world.talk("Count/Watch");
    talk.say(request("a", "")).await;
    talk.half_close();
    function.command().await;
    function.send(reply(1, "0"));
    talk.hears("0").await;
    function.expect(credit(1, 1)).await;
    talk.cancel();
    function.expect(cancel(1)).await;
    function.send_all([
        reply(1, "crosses").framed(),
        decided(1).update(Value::Counter(5)).framed(),
        closed(1).framed(),
        // The notice of this comes when all of it was taken.
        decided(99).framed(),
    ]);
    function.notice("FIRN-3031", 99).await;
    let caller = world.call("Count/Process", "a", "");
    let held = replica("a", counter(5));
    function
        .expect(opening(2, COUNT, 2, &request("a", ""), held))
        .await;
    function.send(decided(2).saying("5"));
    caller.replies("5").await;
}

/// R62: otherwise a stream has no mutation: FIRN-3034.
#[tokio::test]
async fn stream_does_not_end_with_a_change() {
    let (world, mut function) = World::serving().await;
    let mut talk = world.talk("Count/Watch");
    talk.say(request("a", "")).await;
    talk.half_close();
    function.command().await;
    function.send(reply(1, "0"));
    talk.hears("0").await;
    function.expect(credit(1, 1)).await;
    function.send(decided(1).update(Value::Counter(5)));
    function.notice("FIRN-3034", 1).await;
    function.expect(close(1)).await;
    talk.is_refused(Code::Internal, "FIRN-3034").await;
}

/// A delta that cannot be understood fails its command: FIRN-3028.
#[tokio::test]
async fn delta_that_says_nothing_is_refused() {
    let (world, mut function) = World::serving().await;
    let caller = world.call("Count/Process", "a", "");
    function.command().await;
    let mut decision = decided(1).update(Value::Counter(5)).saying("never");
    if let Some(firn_wire::v1::message::mutation::Mutation::Update(update)) = decision
        .0
        .mutation
        .as_mut()
        .and_then(|it| it.mutation.as_mut())
    {
        update.delta = None;
    }
    function.send(decision);
    let status = caller.outcome().await.expect_err("a failure");
    assert_eq!(status.metadata().get("firn-code").unwrap(), "FIRN-3028");
}

/// What is deleted is gone for ever.
#[tokio::test]
async fn deleted_replica_accepts_nothing() {
    let (world, mut function) = World::serving().await;
    let caller = world.call("Count/Process", "a", "");
    function.command().await;
    function.send(decided(1).update(Value::Counter(5)).saying("5"));
    caller.replies("5").await;
    let caller = world.call("Count/Process", "a", "");
    assert_eq!(function.command().await.id, 2);
    function.send(decided(2).delete().saying("gone"));
    caller.replies("gone").await;
    let caller = world.call("Count/Process", "a", "");
    let status = caller.outcome().await.expect_err("a failure");
    assert_eq!(status.metadata().get("firn-code").unwrap(), "FIRN-3023");
}
