//! Entities that leave memory, functions that go, proxies that end.

use super::{Check, KALIX, Result, check, only, restarts};
use crate::families::dialect::Family;
use crate::fault::Fault;
use crate::proxy::families::contract::{kept, said};
use crate::proxy::families::host::Heard;
use crate::proxy::families::message::{Begins, In, Reply};
use crate::proxy::families::stream::Stream;
use crate::proxy::families::world::{Key, World};

pub(super) const CHECKS: &[Check] = &[
    check(
        "passivation/idle_entity_leaves_and_comes_again",
        &["F115", "F110"],
        |world| Box::pin(leaves(world)),
    ),
    check(
        "passivation/open_command_keeps_an_entity",
        &["F115"],
        |world| Box::pin(stays(world)),
    ),
    check("passivation/commands_keep_an_entity", &["F115"], |world| {
        Box::pin(busy(world))
    }),
    only(
        KALIX,
        check(
            "passivation/time_is_of_replicated_entities_only",
            &["F115"],
            |world| Box::pin(replicated_only(world)),
        ),
    ),
    check(
        "passivation/stream_that_is_not_ended_gives_way",
        &["F110", "F115"],
        |world| Box::pin(gives_way(world)),
    ),
    check(
        "restart/function_that_went_finds_what_was_stored",
        &["F101", "F116"],
        |world| Box::pin(function_goes(world)),
    ),
    check(
        "restart/commands_of_a_function_that_went_fail",
        &["F122"],
        |world| Box::pin(function_breaks(world)),
    ),
    restarts(check(
        "restart/what_was_not_answered_is_whole_or_not_there",
        &["F116", "F132"],
        |world| Box::pin(killed(world)),
    )),
    restarts(check(
        "ending/open_commands_are_finished",
        &["F104", "F115"],
        |world| Box::pin(ends(world)),
    )),
    restarts(check(
        "ending/function_hears_of_it_last",
        &["F104"],
        |world| Box::pin(last_word(world)),
    )),
];

/// The services whose entities leave memory soon.
fn idle(world: &World) -> &'static [&'static str] {
    match world.dialect.family() {
        Family::Kalix => &["DataIdle"],
        _ => &["ValueIdle", "EventsIdle", "DataIdle"],
    }
}

async fn leaves(world: &mut World) -> Result {
    for service in idle(world) {
        let key = world.key(service);
        world.idle(&key).await?.ends("F115").await?;
        for _ in 0..2 {
            world.again(&key, key.nothing()).await?.ends("F115").await?;
        }
    }
    if world.is(Family::Kalix) {
        return Ok(());
    }
    let key = world.key("ValueIdle");
    let (call, mut stream) = world.open(&key).await?;
    stream
        .reply(Reply::to(1).update(kept("one")).with(said("ok")))
        .await;
    call.replies("F117", "ok").await?;
    stream.ends("F115").await?;
    world.again(&key, Begins::State(Some(kept("one")))).await?;
    let key = world.key("EventsIdle");
    let stream = super::events::with(world, &key, &["A", "B"]).await?;
    stream.ends("F115").await?;
    let events = [(1, kept("A")), (2, kept("B"))];
    world.replayed(&key, Begins::Absent, &events).await?;
    Ok(())
}

/// The whole idle time passes, a few times.
async fn time_passes(world: &mut World) -> Result {
    for _ in 0..3 {
        let other = world.key(idle(world)[0]);
        world.idle(&other).await?.ends("F115").await?;
    }
    Ok(())
}

async fn stays(world: &mut World) -> Result {
    for service in idle(world) {
        let key = world.key(service);
        let (call, mut stream) = world.open(&key).await?;
        time_passes(world).await?;
        stream.reply(Reply::to(1).with(said("late"))).await;
        call.replies("F115", "late").await?;
        stream.ends("F115").await?;
    }
    Ok(())
}

/// How often an entity is asked that has no time to be idle.
const ASKED: i64 = 200;

async fn busy(world: &mut World) -> Result {
    let key = world.key(idle(world)[0]);
    let mut stream = world.idle(&key).await?;
    let mut number = 2;
    for _ in 0..ASKED {
        // It may have been idle for its time all the same, if others were slow: then it begins anew.
        let text = format!("command {number}");
        let call = world.ask(&key, &text).await?;
        let came = stream.next().await?;
        if came == In::HalfClose {
            stream.complete();
            stream = world.opened(&key, key.nothing()).await?;
            number = 1;
            stream.expect("F115", key.command(1, &text)).await?;
        } else if came != key.command(number, &text) {
            let expected = key.command(number, &text).show();
            return Err(Fault::new("F111", expected, came.show()));
        }
        stream.reply(Reply::to(number).with(said("ok"))).await;
        call.replies("F115", "ok").await?;
        number += 1;
    }
    Ok(())
}

async fn replicated_only(world: &mut World) -> Result {
    let mut open: Vec<(Key, Stream)> = Vec::new();
    for service in ["ValueIdle", "EventsIdle"] {
        let key = world.key(service);
        let stream = world.idle(&key).await?;
        open.push((key, stream));
    }
    time_passes(world).await?;
    for (key, mut stream) in open {
        let call = world.next(&key, &mut stream, 2).await?;
        stream.reply(Reply::to(2).with(said("still"))).await;
        call.replies("F115", "still").await?;
    }
    Ok(())
}

async fn gives_way(world: &mut World) -> Result {
    let key = world.key(idle(world)[0]);
    let mut stream = world.idle(&key).await?;
    stream.expect("F115", In::HalfClose).await?;
    let call = world.ask(&key, "next").await?;
    // The function does not end its side: there are never two.
    stream.expect("F110", In::Broken).await?;
    let mut stream = world.opened(&key, key.nothing()).await?;
    stream.expect("F111", key.command(1, "next")).await?;
    stream.reply(Reply::to(1).with(said("ok"))).await;
    call.replies("F115", "ok").await?;
    Ok(())
}

async fn function_goes(world: &mut World) -> Result {
    let (value, events) = (world.key("Value"), world.key("Events"));
    let (call, mut stream) = world.open(&value).await?;
    stream
        .reply(Reply::to(1).update(kept("one")).with(said("ok")))
        .await;
    call.replies("F117", "ok").await?;
    let journal = super::events::with(world, &events, &["A", "B"]).await?;
    drop((stream, journal));
    for _ in 0..2 {
        world.lose_function().await?;
        let state = Begins::State(Some(kept("one")));
        world.again(&value, state).await?;
        let all = [(1, kept("A")), (2, kept("B"))];
        world.replayed(&events, Begins::Absent, &all).await?;
    }
    Ok(())
}

async fn function_breaks(world: &mut World) -> Result {
    let mut open = Vec::new();
    for service in ["Value", "Events", "Data"] {
        let key = world.key(service);
        let (call, stream) = world.open(&key).await?;
        open.push((key, call, stream));
    }
    world.host.go().await;
    let mut keys = Vec::new();
    for (key, call, _) in open {
        call.refused("F122").await?;
        keys.push(key);
    }
    world.lose_function().await?;
    for key in keys {
        world.again(&key, key.nothing()).await?;
    }
    Ok(())
}

async fn killed(world: &mut World) -> Result {
    world.ready().await?;
    for round in 0..3 {
        let key = world.key("Events");
        let mut stream = super::events::with(world, &key, &["A"]).await?;
        let call = world.next(&key, &mut stream, 2).await?;
        if round > 0 {
            let reply = Reply::to(2).events([kept("B"), kept("C")]);
            stream.reply(reply.with(said("ok"))).await;
        }
        // Right then.
        world.restart().await?;
        let was_seen = call.answer().await.end.status == 0;
        let call = world.ask(&key, "again").await?;
        let mut stream = world.opened(&key, Begins::Absent).await?;
        let mut numbers = Vec::new();
        let command = loop {
            match stream.next().await? {
                In::Event(number, _) => numbers.push(number),
                In::Command(command) => break command,
                came => return Err(Fault::new("F132", "events", came.show())),
            }
        };
        let fits = match numbers.as_slice() {
            [1] => !was_seen,
            [1, 2, 3] => round > 0,
            _ => false,
        };
        if !fits {
            let expected = "all of the reply's events, or none if it was not seen";
            return Err(Fault::new("F132", expected, format!("{numbers:?}")));
        }
        stream.reply(Reply::to(command.id).with(said("ok"))).await;
        call.replies("F116", "ok").await?;
    }
    Ok(())
}

fn stop(world: &mut World) -> Result {
    let proxy = world.proxy.as_mut().expect("the check needs it");
    let failed = |error: std::io::Error| Fault::new("F104", "a stop", error.to_string());
    proxy.stop().map_err(failed)
}

async fn begin_again(world: &mut World) -> Result {
    world.cut().await;
    world.kill()?;
    world.start()?;
    world.ready().await
}

async fn ends(world: &mut World) -> Result {
    world.ready().await?;
    let (idle, busy) = (world.key("Value"), world.key("Events"));
    let first = world.idle(&idle).await?;
    let (call, mut second) = world.open(&busy).await?;
    stop(world)?;
    let reply = Reply::to(1).events([kept("A")]);
    second.reply(reply.with(said("in time"))).await;
    call.replies("F104", "in time").await?;
    world.wait_for("the end of the entities' streams");
    first.ends("F115").await?;
    second.ends("F115").await?;
    begin_again(world).await?;
    let events = [(1, kept("A"))];
    world.replayed(&busy, Begins::Absent, &events).await?;
    Ok(())
}

async fn last_word(world: &mut World) -> Result {
    world.ready().await?;
    let key = world.key("Value");
    let stream = world.idle(&key).await?;
    while world.host.heard_already().is_some() {}
    stop(world)?;
    stream.ends("F115").await?;
    if !world.is(Family::Cloudstate) {
        world.wait_for("the word that the proxy ends");
        loop {
            match world.host.heard().await {
                Heard::Other(path) if path.ends_with("/ProxyTerminated") => break,
                Heard::Other(_) => {}
                other => {
                    let expected = "the word that the proxy ends";
                    return Err(Fault::new("F104", expected, format!("{other:?}")));
                }
            }
        }
    }
    let more = world.host.heard_already();
    begin_again(world).await?;
    match more {
        None => Ok(()),
        Some(more) => Err(Fault::new("F104", "nothing after it", format!("{more:?}"))),
    }
}
