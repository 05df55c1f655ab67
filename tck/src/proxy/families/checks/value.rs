//! Value entities: what they keep.

use prost_types::Any;

use super::{Check, KALIX, LATER, Result, check, only, restarts};
use crate::families::dialect::{Family, Kind};
use crate::families::stream::Out;
use crate::families::wire;
use crate::proxy::families::contract::{kept, said};
use crate::proxy::families::message::{Begins, Reply};
use crate::proxy::families::stream::Stream;
use crate::proxy::families::world::{Key, World};

pub(super) const CHECKS: &[Check] = &[
    check(
        "value/begins_empty_and_with_what_was_stored",
        &["F130", "F131"],
        |world| Box::pin(stored(world)),
    ),
    check(
        "value/command_without_a_change_changes_nothing",
        &["F131"],
        |world| Box::pin(unchanged(world)),
    ),
    check("value/deleted_state_is_gone", &["F131"], |world| {
        Box::pin(deleted(world))
    }),
    only(
        KALIX,
        check("value/deleted_entity_refuses_updates", &["F131"], |world| {
            Box::pin(refused(world))
        }),
    ),
    check("value/state_is_kept_byte_for_byte", &["F131"], |world| {
        Box::pin(bytes(world))
    }),
    check(
        "value/change_that_says_nothing_ends_the_stream",
        &["F123"],
        |world| Box::pin(nothing(world)),
    ),
    check(
        "value/entities_do_not_share_their_state",
        &["F110", "F131"],
        |world| Box::pin(apart(world)),
    ),
    restarts(check(
        "value/state_outlives_the_proxy",
        &["F116", "F117"],
        |world| Box::pin(outlives(world)),
    )),
    only(
        LATER,
        check(
            "value/answer_without_an_action_is_an_empty_message",
            &["F157"],
            |world| Box::pin(empty(world)),
        ),
    ),
];

/// An entity with this state.
async fn with(world: &mut World, key: &Key, state: &str) -> Result<Stream> {
    let (call, mut stream) = world.open(key).await?;
    let reply = Reply::to(1).update(kept(state)).with(said("stored"));
    stream.reply(reply).await;
    call.replies("F117", "stored").await?;
    Ok(stream)
}

fn state(text: &str) -> Begins {
    Begins::State(Some(kept(text)))
}

async fn stored(world: &mut World) -> Result {
    let key = world.key("Value");
    let mut stream = with(world, &key, "one").await?;
    // The last of several is what counts.
    for (number, text) in [(2, "two"), (3, "three")] {
        let call = world.next(&key, &mut stream, number).await?;
        let reply = Reply::to(number).update(kept(text)).with(said(text));
        stream.reply(reply).await;
        call.replies("F117", text).await?;
    }
    stream.let_go("F122").await?;
    world.again(&key, state("three")).await?;
    Ok(())
}

async fn unchanged(world: &mut World) -> Result {
    let key = world.key("Value");
    let mut stream = with(world, &key, "kept").await?;
    let call = world.next(&key, &mut stream, 2).await?;
    stream.reply(Reply::to(2).with(said("read"))).await;
    call.replies("F117", "read").await?;
    stream.let_go("F122").await?;
    let stream = world.again(&key, state("kept")).await?;
    stream.let_go("F122").await?;
    world.again(&key, state("kept")).await?;
    Ok(())
}

async fn deleted(world: &mut World) -> Result {
    let key = world.key("Value");
    let mut stream = with(world, &key, "one").await?;
    let call = world.next(&key, &mut stream, 2).await?;
    stream.reply(Reply::to(2).remove().with(said("gone"))).await;
    call.replies("F117", "gone").await?;
    // It stays in memory.
    let call = world.next(&key, &mut stream, 3).await?;
    stream.reply(Reply::to(3).with(said("empty"))).await;
    call.replies("F117", "empty").await?;
    stream.let_go("F122").await?;
    let mut stream = world.again(&key, key.nothing()).await?;
    if world.is(Family::Kalix) {
        return Ok(());
    }
    let call = world.next(&key, &mut stream, 2).await?;
    let reply = Reply::to(2).update(kept("two")).with(said("anew"));
    stream.reply(reply).await;
    call.replies("F117", "anew").await?;
    stream.let_go("F122").await?;
    world.again(&key, state("two")).await?;
    Ok(())
}

async fn refused(world: &mut World) -> Result {
    let key = world.key("Value");
    let mut stream = with(world, &key, "one").await?;
    let call = world.next(&key, &mut stream, 2).await?;
    stream.reply(Reply::to(2).remove().with(said("gone"))).await;
    call.replies("F117", "gone").await?;
    let call = world.next(&key, &mut stream, 3).await?;
    let reply = Reply::to(3).update(kept("two")).with(said("never"));
    stream.reply(reply).await;
    call.refused("F131").await?;
    drop(stream);
    world.again(&key, key.nothing()).await?;
    Ok(())
}

async fn bytes(world: &mut World) -> Result {
    let string = format!("{}string", world.dialect.family().primitives());
    let states = [
        (string.clone(), vec![]),
        (string, b"\x0a\x01x".to_vec()),
        ("json.example.com/thing".to_owned(), b"\x0a\x02{}".to_vec()),
        ("anything at all".to_owned(), vec![0xff, 0, 0xff]),
        ("type.googleapis.com/large".to_owned(), vec![0x5a; 300_000]),
    ];
    for (type_url, value) in states {
        let key = world.key("Value");
        let (call, mut stream) = world.open(&key).await?;
        let state = Any { type_url, value };
        let reply = Reply::to(1).update(state.clone()).with(said("ok"));
        stream.reply(reply).await;
        call.replies("F117", "ok").await?;
        stream.let_go("F122").await?;
        world.again(&key, Begins::State(Some(state))).await?;
    }
    Ok(())
}

async fn nothing(world: &mut World) -> Result {
    let update = wire::value_action::Action::Update(wire::ValueUpdate::default());
    for action in [None, Some(update)] {
        let key = world.key("Value");
        let (call, mut stream) = world.open(&key).await?;
        let mut reply = Reply::to(1).with(said("never"));
        reply.state = Some(wire::ValueAction { action });
        let out: Out = reply.out(Kind::Value);
        stream.say(&out).await;
        let answer = call.refused("F123").await?;
        if world.is(Family::Cloudstate) {
            let text = "Unexpected Value entity failure";
            super::failures::is_text("F124", &answer, text)?;
        }
        stream.is_over("F123").await?;
        world.again(&key, key.nothing()).await?;
    }
    Ok(())
}

async fn apart(world: &mut World) -> Result {
    let key = world.key("Value");
    let two = Key {
        service: "ValueTwo",
        id: key.id.clone(),
    };
    let longer = Key {
        service: "Value",
        id: format!("{}-x", key.id),
    };
    let stream = with(world, &key, "of one").await?;
    // The same id of another service, and an id that begins like it, are other entities.
    for other in [&two, &longer] {
        let stream = world.idle(other).await?;
        stream.let_go("F122").await?;
    }
    stream.let_go("F122").await?;
    world.again(&key, state("of one")).await?;
    Ok(())
}

async fn outlives(world: &mut World) -> Result {
    world.ready().await?;
    let (key, gone) = (world.key("Value"), world.key("Value"));
    for round in 0..3 {
        let number = round.to_string();
        let call = world.ask(&key, &number).await?;
        let before = match round {
            0 => key.nothing(),
            _ => state(&(round - 1).to_string()),
        };
        let mut stream = world.opened(&key, before).await?;
        stream.expect("F111", key.command(1, &number)).await?;
        let reply = Reply::to(1).update(kept(&number)).with(said(&number));
        stream.reply(reply).await;
        call.replies("F117", &number).await?;
        // The proxy ends right after the reply was seen.
        world.restart().await?;
    }
    world.again(&key, state("2")).await?;
    let mut stream = with(world, &gone, "here").await?;
    let call = world.next(&gone, &mut stream, 2).await?;
    stream.reply(Reply::to(2).remove().with(said("gone"))).await;
    call.replies("F117", "gone").await?;
    world.restart().await?;
    world.again(&gone, gone.nothing()).await?;
    Ok(())
}

async fn empty(world: &mut World) -> Result {
    for service in ["Value", "Events"] {
        let key = world.key(service);
        let (call, mut stream) = world.open(&key).await?;
        stream.reply(Reply::to(1)).await;
        call.replies("F157", "").await?;
    }
    Ok(())
}
