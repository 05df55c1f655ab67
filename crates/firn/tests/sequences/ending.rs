//! The end of Firn: what is open is finished, and the function hears of it last.

use firn_testkit::function::entity::Stream;
use firn_testkit::function::journal::Record;
use firn_testkit::function::message::reply;
use firn_wire::dialect::{AKKA_SERVERLESS_B, CLOUDSTATE, Dialect, KALIX};
use rustix::process::Signal;

use crate::world::{Call, World, request, said, whole};

async fn open(world: &World, id: &str) -> (Call, Stream) {
    let call = world.call("Journal/Process", request(id, ""));
    let mut stream = world.function.entity().await;
    stream.expect_some_init().await;
    stream.expect_some_command().await;
    (call, stream)
}

/// The last things that a function was asked, short.
fn last(world: &World, count: usize) -> Vec<String> {
    let journal = world.function.journal();
    let from = journal.len() - count;
    let short = journal[from..].iter().map(|record| match record {
        Record::HalfClosed(_) => "half-closed".to_owned(),
        Record::ProxyTerminated => "terminated".to_owned(),
        other => format!("{other:?}"),
    });
    short.collect()
}

async fn ends_in_order(dialect: &'static Dialect, expected: &[&str]) {
    let mut world = World::of(&whole(dialect)).await;
    let (call, idle) = open(&world, "idle").await;
    idle.reply(reply(1).with(said("ok")));
    call.replies("ok").await;
    let (call, busy) = open(&world, "busy").await;
    world.firn.signal(Signal::TERM);
    world.firn.wait_for_log("told to stop");
    assert!(!call.is_over());
    busy.reply(reply(1).with(said("in time")));
    call.replies("in time").await;
    idle.expect_end().await;
    busy.expect_end().await;
    let status = world.firn.wait();
    assert_eq!(status.code(), Some(0), "{}", world.firn.log());
    assert_eq!(last(&world, expected.len()), expected);
}

#[tokio::test]
async fn cloudstate_sees_its_streams_half_closed() {
    ends_in_order(&CLOUDSTATE, &["half-closed", "half-closed"]).await;
}

#[tokio::test]
async fn others_are_told_after_their_streams_were_closed() {
    for dialect in [&AKKA_SERVERLESS_B, &KALIX] {
        let expected = ["half-closed", "half-closed", "terminated"];
        ends_in_order(dialect, &expected).await;
    }
}

#[tokio::test]
async fn function_that_completes_nothing_does_not_hold_firn() {
    let mut world = World::of(&whole(&KALIX)).await;
    let (call, mut stream) = open(&world, "a").await;
    stream.reply(reply(1).with(said("ok")));
    call.replies("ok").await;
    world.firn.signal(Signal::TERM);
    stream.expect_half_close().await;
    stream.expect_reset().await;
    assert_eq!(world.firn.wait().code(), Some(0));
    assert_eq!(last(&world, 1), ["terminated"]);
}

#[tokio::test]
async fn open_command_is_cut_off_when_the_grace_is_over() {
    let mut world = World::with(&whole(&CLOUDSTATE), &["--drain-grace", "200ms"]).await;
    let (call, _stream) = open(&world, "a").await;
    world.firn.signal(Signal::TERM);
    call.outcome().await.expect_err("no answer");
    assert_eq!(world.firn.wait().code(), Some(0));
}
