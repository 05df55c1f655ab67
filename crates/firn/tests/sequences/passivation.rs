//! Entities that leave memory.

use std::time::Duration;

use firn_testkit::function::action;
use firn_testkit::function::declare::Declaration;
use firn_testkit::function::entity::{In, Stream};
use firn_testkit::function::message::{command, reply};
use firn_wire::dialect::{AKKA_SERVERLESS_B, CLOUDSTATE, Dialect, KALIX};

use crate::world::{World, asked, request, said, whole};

/// The model with entities that want to leave memory after that time.
fn leaving(dialect: &'static Dialect, after: Duration) -> Declaration {
    whole(dialect)
        .event_sourced("model.Configured", "configured")
        .last(|it| it.passivate_after = Some(after))
}

async fn used(world: &World) -> Stream {
    let call = world.call("Configured/Process", request("a", "x"));
    let mut stream = world.function.entity().await;
    stream.expect_some_init().await;
    let came = stream.expect_some_command().await;
    assert_eq!(came.id, 1);
    stream.reply(reply(1).with(said("ok")));
    call.replies("ok").await;
    stream
}

#[tokio::test]
async fn time_of_the_component_is_kept() {
    for dialect in [&CLOUDSTATE, &AKKA_SERVERLESS_B] {
        let world = World::of(&leaving(dialect, Duration::from_millis(100))).await;
        for _ in 0..2 {
            let mut stream = used(&world).await;
            let closed = tokio::time::timeout(Duration::from_secs(2), stream.expect_half_close());
            closed.await.expect("closed within two seconds");
            stream.complete();
        }
    }
}

#[tokio::test]
async fn kalix_leaves_the_time_to_the_setting() {
    let declaration = leaving(&KALIX, Duration::from_secs(3600));
    let world = World::with(&declaration, &["--passivate-after", "100ms"]).await;
    used(&world).await.expect_end().await;
}

#[tokio::test]
async fn open_command_keeps_an_entity_in_memory() {
    let world = World::of(&leaving(&CLOUDSTATE, Duration::from_millis(100))).await;
    let first = used(&world).await;
    // Another entity's whole idle time passes while this one has a command open.
    let call = world.call("Configured/Process", request("b", "x"));
    let mut busy = world.function.entity().await;
    busy.expect_some_init().await;
    busy.expect_some_command().await;
    first.expect_end().await;
    for _ in 0..2 {
        used(&world).await.expect_end().await;
    }
    busy.reply(reply(1).with(said("late")));
    call.replies("late").await;
    busy.expect_end().await;
}

#[tokio::test]
async fn stream_that_is_never_completed_is_reset_before_the_next_begins() {
    let world = World::of(&leaving(&CLOUDSTATE, Duration::from_millis(100))).await;
    let mut stream = used(&world).await;
    stream.expect_half_close().await;
    let call = world.call("Configured/Process", request("a", "y"));
    stream.expect(In::Reset).await;
    let mut stream = world.function.entity().await;
    stream.expect_some_init().await;
    stream
        .expect(command("a", 1, "Process", asked("a", "y")))
        .await;
    stream.reply(reply(1).with(said("ok")));
    call.replies("ok").await;
}

#[tokio::test]
async fn idle_entity_gives_way_when_streams_are_scarce() {
    let world = World::with(&whole(&CLOUDSTATE), &["--max-streams", "1"]).await;
    for id in ["a", "b", "a"] {
        let call = world.call("Register/Process", request(id, "x"));
        let mut stream = world.function.entity().await;
        assert_eq!(stream.expect_some_init().await, id);
        stream.expect_some_command().await;
        stream.reply(reply(1).with(said("ok")));
        call.replies("ok").await;
        let next = world.call("Register/Process", request("other", "x"));
        stream.expect_end().await;
        let mut stream = world.function.entity().await;
        assert_eq!(stream.expect_some_init().await, "other");
        stream.expect_some_command().await;
        stream.reply(reply(1).with(said("other")));
        next.replies("other").await;
        // The next round asks it to give way; completing it is enough.
        tokio::spawn(stream.expect_end());
    }
}

#[tokio::test]
async fn command_waits_for_a_stream_until_its_deadline() {
    let world = World::with(&whole(&CLOUDSTATE), &["--max-streams", "1"]).await;
    let call = world.call("Register/Process", request("a", "x"));
    let mut stream = world.function.entity().await;
    stream.expect_some_init().await;
    stream.expect_some_command().await;
    let refused = world
        .http(
            "POST",
            "/model.Register/Process",
            &[("content-type", "application/json"), ("grpc-timeout", "1S")],
            r#"{"id":"b"}"#,
        )
        .await;
    assert_eq!(refused.header("firn-code"), "FIRN-3017", "{refused:?}");
    assert_eq!(refused.status(), 429);
    stream.reply(reply(1).with(said("ok")));
    call.replies("ok").await;
}

#[tokio::test]
async fn function_that_bears_few_streams_is_not_given_more() {
    let mut declaration = whole(&CLOUDSTATE);
    declaration.streams_max = Some(4);
    let world = World::of(&declaration).await;
    let mut busy = Vec::new();
    for id in ["a", "b", "c"] {
        let call = world.call("Register/Process", request(id, "x"));
        let mut stream = world.function.entity().await;
        stream.expect_some_init().await;
        stream.expect_some_command().await;
        busy.push((call, stream));
    }
    let waiting = world.call("Register/Process", request("d", "x"));
    // The fourth stream is left for calls.
    let call = world.call("Doing/Unary", request("e", ""));
    world
        .function
        .action()
        .await
        .answer(&action::reply(said("free")));
    call.replies("free").await;
    let (call, stream) = busy.remove(1);
    stream.reply(reply(1).with(said("ok")));
    call.replies("ok").await;
    stream.expect_end().await;
    let mut stream = world.function.entity().await;
    assert_eq!(stream.expect_some_init().await, "d");
    stream.expect_some_command().await;
    stream.reply(reply(1).with(said("late")));
    waiting.replies("late").await;
}
