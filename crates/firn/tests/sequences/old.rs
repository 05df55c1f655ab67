//! Functions of the oldest dialect, Cloudstate 0.1.

use firn_testkit::function::entity::Stream;
use firn_testkit::function::message::{command, event, events_init, reply};
use firn_wire::dialect::CLOUDSTATE_01;
use tonic::Code;

use crate::world::{Call, World, asked, kept, request, said, whole};

async fn open(world: &World, id: &str) -> (Call, Stream) {
    let call = world.call("Journal/Process", request(id, ""));
    let mut stream = world.function.entity().await;
    stream.expect(events_init("model.Journal", id, None)).await;
    stream
        .expect(command(id, 1, "Process", asked(id, "")))
        .await;
    (call, stream)
}

#[tokio::test]
async fn journal_is_replayed_from_its_snapshot() {
    let mut world = World::of(&whole(&CLOUDSTATE_01)).await;
    let (call, stream) = open(&world, "a").await;
    stream.reply(
        reply(1)
            .events([kept("A"), kept("B")])
            .snapshot(kept("AB"))
            .with(said("AB")),
    );
    call.replies("AB").await;
    world.kill_and_start_again().await;
    let call = world.call("Journal/Process", request("a", ""));
    let mut stream = world.function.entity().await;
    let snapshot = Some((2, kept("AB")));
    stream
        .expect(events_init("model.Journal", "a", snapshot))
        .await;
    stream
        .expect(command("a", 1, "Process", asked("a", "")))
        .await;
    stream.reply(reply(1).failing("no"));
    call.fails(Code::Unknown, "no").await;
}

#[tokio::test]
async fn sdk_that_cannot_read_snapshots_gets_all_events() {
    let mut declaration = whole(&CLOUDSTATE_01);
    declaration.info.service_runtime = "Python 3.8.5".to_owned();
    declaration.fails_reports = true;
    let mut world = World::of(&declaration).await;
    let (call, stream) = open(&world, "a").await;
    stream.reply(
        reply(1)
            .events([kept("A"), kept("B")])
            .snapshot(kept("AB"))
            .with(said("AB")),
    );
    call.replies("AB").await;
    world.kill_and_start_again().await;
    let _call = world.call("Journal/Process", request("a", ""));
    let mut stream = world.function.entity().await;
    stream.expect(events_init("model.Journal", "a", None)).await;
    stream.expect(event(1, kept("A"))).await;
    stream.expect(event(2, kept("B"))).await;
    stream
        .expect(command("a", 1, "Process", asked("a", "")))
        .await;
}

#[tokio::test]
async fn sdk_with_a_thread_for_each_stream_keeps_one_free() {
    let mut declaration = whole(&CLOUDSTATE_01);
    declaration.info.service_runtime = "Python 3.8.5".to_owned();
    let world = World::of(&declaration).await;
    let mut busy = Vec::new();
    for number in 0..9 {
        busy.push(open(&world, &number.to_string()).await);
    }
    let waiting = world.call("Journal/Process", request("tenth", ""));
    // The first that has nothing to do gives way.
    let (call, stream) = busy.remove(4);
    stream.reply(reply(1).with(said("done")));
    call.replies("done").await;
    stream.expect_end().await;
    let mut stream = world.function.entity().await;
    assert_eq!(stream.expect_some_init().await, "tenth");
    stream.expect_some_command().await;
    stream.reply(reply(1).with(said("served")));
    waiting.replies("served").await;
}
