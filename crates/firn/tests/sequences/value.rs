//! Value entities.

use firn_testkit::function::message::{command, reply, value_init};
use firn_wire::dialect::CLOUDSTATE;

use crate::world::{World, asked, kept, request, said, whole};

#[tokio::test]
async fn state_is_stored_before_the_caller_is_answered() {
    let mut world = World::of(&whole(&CLOUDSTATE)).await;
    let first = world.call("Register/Process", request("a", "one"));
    let mut stream = world.function.entity().await;
    stream.expect(value_init("model.Register", "a", None)).await;
    stream
        .expect(command("a", 1, "Process", asked("a", "one")))
        .await;
    stream.reply(reply(1).update(kept("one")).with(said("done")));
    first.replies("done").await;
    let second = world.call("Register/Process", request("a", "two"));
    stream
        .expect(command("a", 2, "Process", asked("a", "two")))
        .await;
    stream.reply(reply(2).with(said("still")));
    second.replies("still").await;
    world.kill_and_start_again().await;
    let third = world.call("Register/Process", request("a", "three"));
    let mut stream = world.function.entity().await;
    stream
        .expect(value_init("model.Register", "a", Some(kept("one"))))
        .await;
    stream
        .expect(command("a", 1, "Process", asked("a", "three")))
        .await;
    stream.reply(reply(1).remove().with(said("gone")));
    third.replies("gone").await;
}
