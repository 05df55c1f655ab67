//! Event sourced entities: events, snapshots, replay and restart.

use std::time::Duration;

use firn_testkit::function::entity::Stream;
use firn_testkit::function::message::{command, event, events_init, failure, reply};
use firn_wire::dialect::CLOUDSTATE;
use firn_wire::superset::{Any, Failure};
use tonic::Code;

use crate::world::{ONE_WAITS, World, asked, kept, request, said, whole};

/// Lets entity `a` append these events in one reply.
async fn append(world: &World, events: &[&str]) -> Stream {
    let call = world.call("Journal/Process", request("a", ""));
    let mut stream = world.function.entity().await;
    stream.expect_some_init().await;
    stream.expect_some_command().await;
    let events: Vec<Any> = events.iter().map(|event| kept(event)).collect();
    stream.reply(reply(1).events(events).with(said("stored")));
    call.replies("stored").await;
    stream
}

#[tokio::test]
async fn activation_replays_the_snapshot_and_what_came_after_it() {
    let declaration = whole(&CLOUDSTATE).event_sourced("model.Configured", "configured");
    let declaration = declaration.last(|it| it.passivate_after = Some(Duration::from_millis(100)));
    let world = World::of(&declaration).await;
    let call = world.call("Configured/Process", request("a", "1"));
    let mut stream = world.function.entity().await;
    stream
        .expect(events_init("model.Configured", "a", None))
        .await;
    stream
        .expect(command("a", 1, "Process", asked("a", "1")))
        .await;
    let next = world.call("Configured/Process", request("a", "2"));
    stream.reply(reply(1).events(["A", "B", "C"].map(kept)).with(said("ABC")));
    call.replies("ABC").await;
    stream
        .expect(command("a", 2, "Process", asked("a", "2")))
        .await;
    let last = world.call("Configured/Process", request("a", "3"));
    stream.reply(
        reply(2)
            .events(["D", "E"].map(kept))
            .snapshot(kept("ABCDE"))
            .with(said("ABCDE")),
    );
    next.replies("ABCDE").await;
    stream
        .expect(command("a", 3, "Process", asked("a", "3")))
        .await;
    stream.reply(reply(3).events(["F", "G"].map(kept)).with(said("ABCDEFG")));
    last.replies("ABCDEFG").await;
    stream.expect_end().await;

    let call = world.call("Configured/Process", request("a", "4"));
    let mut stream = world.function.entity().await;
    let snapshot = Some((5, kept("ABCDE")));
    stream
        .expect(events_init("model.Configured", "a", snapshot))
        .await;
    stream.expect(event(6, kept("F"))).await;
    stream.expect(event(7, kept("G"))).await;
    stream
        .expect(command("a", 1, "Process", asked("a", "4")))
        .await;
    stream.reply(reply(1).with(said("ABCDEFG")));
    call.replies("ABCDEFG").await;
    stream.expect_end().await;
}

#[tokio::test]
async fn events_are_there_again_after_a_kill() {
    let mut world = World::of(&whole(&CLOUDSTATE)).await;
    append(&world, &["A", "B"]).await;
    world.kill_and_start_again().await;
    let call = world.call("Journal/Process", request("a", "x"));
    let mut stream = world.function.entity().await;
    stream.expect(events_init("model.Journal", "a", None)).await;
    stream.expect(event(1, kept("A"))).await;
    stream.expect(event(2, kept("B"))).await;
    stream
        .expect(command("a", 1, "Process", asked("a", "x")))
        .await;
    stream.reply(reply(1).events([kept("C")]).with(said("ABC")));
    call.replies("ABC").await;
}

#[tokio::test]
async fn restart_replays_and_keeps_what_waits() {
    let world = World::with(&whole(&CLOUDSTATE), ONE_WAITS).await;
    let mut stream = append(&world, &["A", "B"]).await;
    let call = world.call("Journal/Process", request("a", "x"));
    stream
        .expect(command("a", 2, "Process", asked("a", "x")))
        .await;
    let waiting = world.queue("Journal/Process", request("a", "y")).await;
    let again = Failure {
        restart: true,
        ..failure(0, "once more")
    };
    stream.reply(
        reply(2)
            .events([kept("never stored")])
            .snapshot(kept("nor this"))
            .failing_with(again),
    );
    call.fails(Code::Unknown, "once more").await;
    stream.expect_end().await;

    let mut stream = world.function.entity().await;
    stream.expect(events_init("model.Journal", "a", None)).await;
    stream.expect(event(1, kept("A"))).await;
    stream.expect(event(2, kept("B"))).await;
    stream
        .expect(command("a", 1, "Process", asked("a", "y")))
        .await;
    stream.reply(reply(1).with(said("AB")));
    waiting.replies("AB").await;
}

#[tokio::test]
async fn failure_keeps_the_events_that_came_with_it() {
    let mut world = World::of(&whole(&CLOUDSTATE)).await;
    let call = world.call("Journal/Process", request("a", ""));
    let mut stream = world.function.entity().await;
    stream.expect_some_init().await;
    stream.expect_some_command().await;
    stream.reply(reply(1).events([kept("A")]).failing("no"));
    call.fails(Code::Unknown, "no").await;
    world.kill_and_start_again().await;
    let _call = world.call("Journal/Process", request("a", ""));
    let mut stream = world.function.entity().await;
    stream.expect(events_init("model.Journal", "a", None)).await;
    stream.expect(event(1, kept("A"))).await;
}

#[tokio::test]
async fn failed_instance_replays_without_what_was_not_stored() {
    let world = World::of(&whole(&CLOUDSTATE)).await;
    let mut stream = append(&world, &["A"]).await;
    let call = world.call("Journal/Process", request("a", ""));
    stream.expect_some_command().await;
    stream.reply(reply(7).events([kept("never stored")]).with(said("x")));
    call.fails(Code::Unknown, "Unexpected entity reply").await;
    let _call = world.call("Journal/Process", request("a", "y"));
    let mut stream = world.function.entity().await;
    stream.expect(events_init("model.Journal", "a", None)).await;
    stream.expect(event(1, kept("A"))).await;
    stream
        .expect(command("a", 1, "Process", asked("a", "y")))
        .await;
}

#[tokio::test]
async fn snapshot_without_events_is_dropped_and_reported_once() {
    let mut world = World::of(&whole(&CLOUDSTATE)).await;
    let mut stream = append(&world, &["A"]).await;
    for number in 2..4 {
        let call = world.call("Journal/Process", request("a", ""));
        stream.expect_some_command().await;
        stream.reply(reply(number).snapshot(kept("early")).with(said("ok")));
        call.replies("ok").await;
    }
    let report = world.function.report("snapshot").await;
    assert!(report.message.contains("model.Journal"), "{report:?}");
    world.firn.wait_for_log("snapshot");
    world.kill_and_start_again().await;
    let _call = world.call("Journal/Process", request("a", ""));
    let mut stream = world.function.entity().await;
    stream.expect(events_init("model.Journal", "a", None)).await;
    stream.expect(event(1, kept("A"))).await;
    stream.expect_some_command().await;
    let reports = world.function.reports_with("snapshot");
    assert_eq!(reports.len(), 1, "{reports:?}");
}

#[tokio::test]
async fn long_history_is_replayed_in_order() {
    let mut world = World::of(&whole(&CLOUDSTATE)).await;
    let call = world.call("Journal/Process", request("a", ""));
    let mut stream = world.function.entity().await;
    stream.expect_some_init().await;
    stream.expect_some_command().await;
    let events = (1..=3000).map(|number| kept(&number.to_string()));
    stream.reply(reply(1).events(events).with(said("ok")));
    call.replies("ok").await;
    world.kill_and_start_again().await;
    let _call = world.call("Journal/Process", request("a", "x"));
    let mut stream = world.function.entity().await;
    stream.expect(events_init("model.Journal", "a", None)).await;
    for number in 1..=3000 {
        stream
            .expect(event(number, kept(&number.to_string())))
            .await;
    }
    stream
        .expect(command("a", 1, "Process", asked("a", "x")))
        .await;
}
