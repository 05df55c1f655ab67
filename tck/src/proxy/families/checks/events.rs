//! Event sourced entities: events, snapshots, replay.

use prost_types::Any;

use super::{ALL, CLOUDSTATE, Check, KALIX, Result, check, only, restarts};
use crate::families::dialect::Family;
use crate::families::stream::Out;
use crate::families::wire;
use crate::fault::Fault;
use crate::proxy::families::contract::{kept, said};
use crate::proxy::families::message::{Begins, In, Reply, failure};
use crate::proxy::families::stream::Stream;
use crate::proxy::families::world::{Key, World};

pub(super) const CHECKS: &[Check] = &[
    check(
        "events/are_numbered_from_one_and_replayed_in_order",
        &["F132", "F133"],
        |world| Box::pin(replayed(world)),
    ),
    check("events/own_events_do_not_come_back", &["F132"], |world| {
        Box::pin(silent(world))
    }),
    check(
        "events/replay_begins_with_the_newest_snapshot",
        &["F133"],
        |world| Box::pin(snapshots(world)),
    ),
    check(
        "events/snapshot_without_events_is_not_stored",
        &["F134"],
        |world| Box::pin(early(world)),
    ),
    check("events/are_kept_byte_for_byte", &["F132"], |world| {
        Box::pin(bytes(world))
    }),
    check(
        "events/long_history_is_replayed_whole",
        &["F132"],
        |world| Box::pin(long(world)),
    ),
    only(
        CLOUDSTATE,
        check(
            "events/restart_drops_events_and_replays",
            &["F121"],
            |world| Box::pin(again(world)),
        ),
    ),
    only(
        KALIX,
        check(
            "events/delete_refuses_events_until_it_is_over",
            &["F135"],
            |world| Box::pin(deleted(world)),
        ),
    ),
    only(
        KALIX,
        check(
            "events/entity_that_was_cleaned_up_is_new",
            &["F135"],
            |world| Box::pin(cleaned(world)),
        ),
    ),
    only(
        ALL,
        check(
            "events/only_kalix_is_asked_for_snapshots",
            &["F136"],
            |world| Box::pin(asked_for(world)),
        ),
    ),
    restarts(check(
        "events/outlive_the_proxy",
        &["F116", "F117", "F132", "F133"],
        |world| Box::pin(outlive(world)),
    )),
];

/// The next command of an entity, with the number of this reply, which has everything but a message.
async fn store(world: &mut World, key: &Key, stream: &mut Stream, reply: Reply) -> Result {
    let call = world.next(key, stream, reply.command).await?;
    stream.reply(reply.with(said("ok"))).await;
    call.replies("F117", "ok").await?;
    Ok(())
}

/// The next command of an entity, answered with these events.
pub(super) async fn append(
    world: &mut World,
    key: &Key,
    stream: &mut Stream,
    number: i64,
    events: &[&str],
) -> Result {
    let events = events.iter().map(|event| kept(event));
    store(world, key, stream, Reply::to(number).events(events)).await
}

/// A new entity with these events.
pub(super) async fn with(world: &mut World, key: &Key, events: &[&str]) -> Result<Stream> {
    let (call, mut stream) = world.open(key).await?;
    let events = events.iter().map(|event| kept(event));
    stream
        .reply(Reply::to(1).events(events).with(said("ok")))
        .await;
    call.replies("F117", "ok").await?;
    Ok(stream)
}

fn numbered(first: i64, events: &[&str]) -> Vec<(i64, Any)> {
    let numbers = first..;
    numbers
        .zip(events.iter().map(|event| kept(event)))
        .collect()
}

async fn replayed(world: &mut World) -> Result {
    let key = world.key("Events");
    let mut stream = with(world, &key, &["A", "B", "C"]).await?;
    append(world, &key, &mut stream, 2, &[]).await?;
    append(world, &key, &mut stream, 3, &["D"]).await?;
    stream.let_go("F122").await?;
    let all = numbered(1, &["A", "B", "C", "D"]);
    let mut stream = world.replayed(&key, Begins::Absent, &all).await?;
    append(world, &key, &mut stream, 2, &["E"]).await?;
    stream.let_go("F122").await?;
    let all = numbered(1, &["A", "B", "C", "D", "E"]);
    world.replayed(&key, Begins::Absent, &all).await?;
    Ok(())
}

async fn silent(world: &mut World) -> Result {
    let key = world.key("Events");
    let mut stream = with(world, &key, &["A"]).await?;
    for number in 2..6 {
        // The command comes next, with nothing before it.
        append(world, &key, &mut stream, number, &["x", "y"]).await?;
    }
    Ok(())
}

async fn snapshots(world: &mut World) -> Result {
    let key = world.key("Events");
    let mut stream = with(world, &key, &["A", "B", "C"]).await?;
    let first = Reply::to(2).events([kept("D"), kept("E")]);
    store(world, &key, &mut stream, first.snapshot(kept("ABCDE"))).await?;
    append(world, &key, &mut stream, 3, &["F", "G"]).await?;
    stream.let_go("F122").await?;
    let begins = Begins::Snapshot(5, kept("ABCDE"));
    let after = numbered(6, &["F", "G"]);
    let mut stream = world.replayed(&key, begins, &after).await?;
    let second = Reply::to(2).events([kept("H"), kept("I")]);
    store(world, &key, &mut stream, second.snapshot(kept("A..I"))).await?;
    append(world, &key, &mut stream, 3, &["J"]).await?;
    stream.let_go("F122").await?;
    let begins = Begins::Snapshot(9, kept("A..I"));
    let after = numbered(10, &["J"]);
    world.replayed(&key, begins, &after).await?;
    Ok(())
}

async fn early(world: &mut World) -> Result {
    let key = world.key("Events");
    let mut stream = with(world, &key, &["A"]).await?;
    let call = world.next(&key, &mut stream, 2).await?;
    let reply = Reply::to(2).snapshot(kept("early")).with(said("ok"));
    stream.reply(reply).await;
    call.replies("F134", "ok").await?;
    stream.let_go("F122").await?;
    let all = numbered(1, &["A"]);
    world.replayed(&key, Begins::Absent, &all).await?;
    Ok(())
}

async fn bytes(world: &mut World) -> Result {
    let key = world.key("Events");
    let events: Vec<Any> = [
        ("anything at all", vec![0xff, 0]),
        ("", vec![]),
        ("type.googleapis.com/large", vec![0x5a; 300_000]),
    ]
    .into_iter()
    .map(|(type_url, value)| Any {
        type_url: type_url.to_owned(),
        value,
    })
    .collect();
    let (call, mut stream) = world.open(&key).await?;
    let reply = Reply::to(1).events(events.clone()).with(said("ok"));
    stream.reply(reply).await;
    call.replies("F117", "ok").await?;
    stream.let_go("F122").await?;
    let all: Vec<_> = (1..).zip(events).collect();
    world.replayed(&key, Begins::Absent, &all).await?;
    Ok(())
}

/// How many events the long history has: more than anybody replays at once.
const LONG: i64 = 3_000;

async fn long(world: &mut World) -> Result {
    let key = world.key("Events");
    let (call, mut stream) = world.open(&key).await?;
    let all: Vec<_> = (1..=LONG)
        .map(|number| (number, kept(&number.to_string())))
        .collect();
    let events = all.iter().map(|(_, event)| event.clone());
    stream
        .reply(Reply::to(1).events(events).with(said("ok")))
        .await;
    call.replies("F117", "ok").await?;
    stream.let_go("F122").await?;
    if world.is(Family::Kalix) {
        return replayed_or_snapshot(world, &key, &all).await;
    }
    world.replayed(&key, Begins::Absent, &all).await?;
    Ok(())
}

/// A proxy of Kalix may have asked for a snapshot; here it was not answered, so it has none.
async fn replayed_or_snapshot(world: &mut World, key: &Key, all: &[(i64, Any)]) -> Result {
    let call = world.ask(key, "again").await?;
    let mut stream = world.opened(key, Begins::Absent).await?;
    for (number, event) in all {
        stream
            .expect("F132", In::Event(*number, event.clone()))
            .await?;
    }
    loop {
        match stream.next().await? {
            In::SnapshotRequest(_) => {}
            In::Command(command) => {
                stream.reply(Reply::to(command.id).with(said("on"))).await;
                call.replies("F117", "on").await?;
                return Ok(());
            }
            came => return Err(Fault::new("F136", "the command", came.show())),
        }
    }
}

async fn again(world: &mut World) -> Result {
    let key = world.key("Events");
    let mut stream = with(world, &key, &["A", "B"]).await?;
    let call = world.next(&key, &mut stream, 2).await?;
    let waiting = world.ask(&key, "waits").await?;
    world.pass().await?;
    let restart = wire::Failure {
        restart: true,
        ..failure(0, "once more")
    };
    let reply = Reply::to(2)
        .events([kept("never")])
        .snapshot(kept("nor this"))
        .failing_with(restart);
    stream.reply(reply).await;
    call.fails("F121", 2, "once more").await?;
    stream.ends("F121").await?;
    let mut stream = world.opened(&key, Begins::Absent).await?;
    for (number, event) in numbered(1, &["A", "B"]) {
        stream.expect("F121", In::Event(number, event)).await?;
    }
    stream.expect("F121", key.command(1, "waits")).await?;
    stream.reply(Reply::to(1).with(said("AB"))).await;
    waiting.replies("F121", "AB").await?;
    Ok(())
}

async fn deleted(world: &mut World) -> Result {
    let key = world.key("Events");
    let (call, mut stream) = world.open(&key).await?;
    let mut reply = Reply::to(1).events([kept("A")]).with(said("gone"));
    reply.delete_after = Some(3_600);
    stream.reply(reply).await;
    call.replies("F135", "gone").await?;
    // Commands still run.
    let call = world.next(&key, &mut stream, 2).await?;
    stream.reply(Reply::to(2).with(said("still"))).await;
    call.replies("F135", "still").await?;
    let call = world.next(&key, &mut stream, 3).await?;
    stream
        .reply(Reply::to(3).events([kept("B")]).with(said("no")))
        .await;
    call.refused("F135").await?;
    drop(stream);
    let all = numbered(1, &["A"]);
    world.replayed(&key, Begins::Absent, &all).await?;
    Ok(())
}

async fn cleaned(world: &mut World) -> Result {
    let key = world.key("Events");
    let (call, mut stream) = world.open(&key).await?;
    let mut reply = Reply::to(1).events([kept("A")]).with(said("gone"));
    reply.delete_after = Some(0);
    stream.reply(reply).await;
    call.replies("F135", "gone").await?;
    stream.let_go("F122").await?;
    let mut stream = world.again(&key, Begins::Absent).await?;
    append(world, &key, &mut stream, 2, &["first"]).await?;
    stream.let_go("F122").await?;
    let all = numbered(1, &["first"]);
    world.replayed(&key, Begins::Absent, &all).await?;
    Ok(())
}

async fn asked_for(world: &mut World) -> Result {
    let key = world.key("Events");
    let (call, mut stream) = world.open(&key).await?;
    let events = (1..=150).map(|number| kept(&number.to_string()));
    stream
        .reply(Reply::to(1).events(events).with(said("ok")))
        .await;
    call.replies("F117", "ok").await?;
    let call = world.ask(&key, "next").await?;
    let mut begins = Begins::Absent;
    let command = loop {
        match stream.next().await? {
            In::Command(command) => break command,
            In::SnapshotRequest(request_id) if world.is(Family::Kalix) => {
                let snapshot = Some(kept("all"));
                stream
                    .say(&Out::Snapshot(wire::SnapshotReply {
                        request_id,
                        snapshot,
                    }))
                    .await;
                begins = Begins::Snapshot(150, kept("all"));
            }
            came => return Err(Fault::new("F136", "the command", came.show())),
        }
    };
    stream.reply(Reply::to(command.id).with(said("on"))).await;
    call.replies("F117", "on").await?;
    stream.let_go("F122").await?;
    let call = world.ask(&key, "after").await?;
    let has_snapshot = begins != Begins::Absent;
    let mut stream = world.opened(&key, begins).await?;
    let after = if has_snapshot { 151 } else { 1 };
    for number in after..=150 {
        let event = kept(&number.to_string());
        stream.expect("F133", In::Event(number, event)).await?;
    }
    let command = loop {
        match stream.next().await? {
            In::Command(command) => break command,
            In::SnapshotRequest(_) if world.is(Family::Kalix) => {}
            came => return Err(Fault::new("F136", "the command", came.show())),
        }
    };
    stream
        .reply(Reply::to(command.id).with(said("there")))
        .await;
    call.replies("F117", "there").await?;
    Ok(())
}

async fn outlive(world: &mut World) -> Result {
    world.ready().await?;
    let key = world.key("Events");
    let mut stream = with(world, &key, &["A", "B"]).await?;
    append(world, &key, &mut stream, 2, &["C"]).await?;
    world.restart().await?;
    let all = numbered(1, &["A", "B", "C"]);
    let mut stream = world.replayed(&key, Begins::Absent, &all).await?;
    let call = world.next(&key, &mut stream, 2).await?;
    let reply = Reply::to(2)
        .events([kept("D"), kept("E")])
        .snapshot(kept("ABCDE"))
        .with(said("ok"));
    stream.reply(reply).await;
    call.replies("F117", "ok").await?;
    append(world, &key, &mut stream, 3, &["F"]).await?;
    world.restart().await?;
    let begins = Begins::Snapshot(5, kept("ABCDE"));
    let after = numbered(6, &["F"]);
    world.replayed(&key, begins, &after).await?;
    Ok(())
}
