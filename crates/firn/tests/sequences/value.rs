//! Value entities: what they keep.

use bytes::Bytes;
use firn_testkit::function::message::{command, reply, value_init};
use firn_wire::dialect::{CLOUDSTATE, KALIX};
use firn_wire::superset::{Any, ValueEntityAction, ValueEntityUpdate, value_entity_action::Action};
use tonic::Code;

use crate::world::{World, asked, headers, kept, request, said, whole};

#[tokio::test]
async fn state_is_there_again_after_a_kill() {
    let mut world = World::of(&whole(&CLOUDSTATE)).await;
    let call = world.call("Register/Process", request("a", "one"));
    let mut stream = world.function.entity().await;
    stream.expect(value_init("model.Register", "a", None)).await;
    stream
        .expect(command("a", 1, "Process", asked("a", "one")))
        .await;
    stream.reply(reply(1).update(kept("one")).with(said("done")));
    call.replies("done").await;
    world.kill_and_start_again().await;
    let call = world.call("Register/Process", request("a", "two"));
    let mut stream = world.function.entity().await;
    stream
        .expect(value_init("model.Register", "a", Some(kept("one"))))
        .await;
    stream
        .expect(command("a", 1, "Process", asked("a", "two")))
        .await;
    stream.reply(reply(1).with(said("still")));
    call.replies("still").await;
}

#[tokio::test]
async fn deleted_entity_stays_active_and_may_be_written_again() {
    let mut world = World::of(&whole(&CLOUDSTATE)).await;
    let call = world.call("Register/Process", request("a", ""));
    let mut stream = world.function.entity().await;
    stream.expect_some_init().await;
    stream.expect_some_command().await;
    stream.reply(reply(1).update(kept("one")).with(said("1")));
    call.replies("1").await;
    let call = world.call("Register/Process", request("a", ""));
    stream.expect_some_command().await;
    stream.reply(reply(2).remove().with(said("2")));
    call.replies("2").await;

    // Deleted, and nothing else: it begins empty.
    world.kill_and_start_again().await;
    let call = world.call("Register/Process", request("a", ""));
    let mut stream = world.function.entity().await;
    stream.expect(value_init("model.Register", "a", None)).await;
    stream.expect_some_command().await;
    stream.reply(reply(1).remove().with(said("3")));
    call.replies("3").await;
    let call = world.call("Register/Process", request("a", ""));
    stream.expect_some_command().await;
    stream.reply(reply(2).update(kept("two")).with(said("4")));
    call.replies("4").await;

    world.kill_and_start_again().await;
    let _call = world.call("Register/Process", request("a", ""));
    let mut stream = world.function.entity().await;
    stream
        .expect(value_init("model.Register", "a", Some(kept("two"))))
        .await;
}

#[tokio::test]
async fn failure_keeps_the_state_that_came_with_it() {
    let mut world = World::of(&whole(&CLOUDSTATE)).await;
    let call = world.call("Register/Process", request("a", ""));
    let mut stream = world.function.entity().await;
    stream.expect_some_init().await;
    stream.expect_some_command().await;
    stream.reply(reply(1).update(kept("one")).failing("no"));
    call.fails(Code::Unknown, "no").await;
    world.kill_and_start_again().await;
    let _call = world.call("Register/Process", request("a", ""));
    let mut stream = world.function.entity().await;
    stream
        .expect(value_init("model.Register", "a", Some(kept("one"))))
        .await;
}

#[tokio::test]
async fn state_of_any_type_is_kept_byte_for_byte() {
    let mut world = World::of(&whole(&CLOUDSTATE)).await;
    let states = [
        ("p.cloudstate.io/string", &b""[..]),
        ("json.cloudstate.io/thing", b"\x0a\x02{}"),
        ("anything at all", b"\xff\x00\xff"),
    ]
    .map(|(url, value)| Any {
        type_url: Bytes::from_static(url.as_bytes()),
        value: Bytes::copy_from_slice(value),
    });
    for (id, state) in states.iter().enumerate() {
        let call = world.call("Register/Process", request(&id.to_string(), ""));
        let mut stream = world.function.entity().await;
        stream.expect_some_init().await;
        stream.expect_some_command().await;
        stream.reply(reply(1).update(state.clone()).with(said("ok")));
        call.replies("ok").await;
    }
    world.kill_and_start_again().await;
    for (id, state) in states.into_iter().enumerate() {
        let id = id.to_string();
        let _call = world.call("Register/Process", request(&id, ""));
        let mut stream = world.function.entity().await;
        stream
            .expect(value_init("model.Register", &id, Some(state)))
            .await;
    }
}

#[tokio::test]
async fn change_that_says_nothing_breaks_the_protocol() {
    let world = World::of(&whole(&CLOUDSTATE)).await;
    let nothing = [
        None,
        Some(Action::Update(ValueEntityUpdate { value: None })),
    ];
    for action in nothing {
        let call = world.call("Register/Process", request("a", ""));
        let mut stream = world.function.entity().await;
        stream.expect(value_init("model.Register", "a", None)).await;
        stream.expect_some_command().await;
        let mut answer = reply(1).with(said("x"));
        answer.state_action = Some(ValueEntityAction { action });
        stream.reply(answer);
        call.fails(Code::Unknown, "Unexpected Value entity failure")
            .await;
        stream.expect_reset().await;
    }
}

#[tokio::test]
async fn command_with_a_key_runs_once() {
    for dialect in [&CLOUDSTATE, &KALIX] {
        let mut world = World::of(&whole(dialect)).await;
        let key = || headers(&[("idempotency-key", "k")]);
        let call = world.call_with("Register/Process", request("a", "x"), key());
        let mut stream = world.function.entity().await;
        stream.expect_some_init().await;
        stream.expect_some_command().await;
        stream.reply(reply(1).update(kept("one")).with(said("first")));
        call.replies("first").await;
        world
            .call_with("Register/Process", request("a", "x"), key())
            .replies("first")
            .await;
        // Also after a kill, and only for the same request.
        world.kill_and_start_again().await;
        let again = world.call_with("Register/Process", request("a", "x"), key());
        let mut stream = world.function.entity().await;
        stream.expect_some_init().await;
        again.replies("first").await;
        let other = world.call_with("Register/Process", request("a", "other"), key());
        let status = other.outcome().await.expect_err("a refusal");
        assert_eq!(status.metadata().get("firn-code").unwrap(), "FIRN-3012");
        let call = world.call("Register/Process", request("a", "new"));
        let command = stream.expect_some_command().await;
        assert_eq!(command.payload, Some(asked("a", "new")));
        stream.reply(reply(command.id).with(said("new")));
        call.replies("new").await;
    }
}
