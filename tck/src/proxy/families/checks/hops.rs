//! Forwards and effects.

use super::{Check, Result, check, restarts};
use crate::families::wire;
use crate::fault::Fault;
use crate::proxy::families::contract::{asked, full, kept, said};
use crate::proxy::families::message::{Begins, Reply, failure, metadata};
use crate::proxy::families::stream::{Stream, act_failed, acted};
use crate::proxy::families::world::{Key, World, forward};

pub(super) const CHECKS: &[Check] = &[
    check(
        "hops/forward_answers_in_the_callers_place",
        &["F153", "F169"],
        |world| Box::pin(forwards(world)),
    ),
    check(
        "hops/failure_of_a_forward_is_the_callers",
        &["F153"],
        |world| Box::pin(forward_fails(world)),
    ),
    check("hops/forward_has_headers_of_its_own", &["F153"], |world| {
        Box::pin(forward_headers(world))
    }),
    check("hops/entity_forwards_to_itself", &["F153"], |world| {
        Box::pin(to_itself(world))
    }),
    check("hops/forwards_lead_on", &["F153"], |world| {
        Box::pin(chain(world))
    }),
    check(
        "hops/unknown_target_fails_the_call_and_is_reported",
        &["F155"],
        |world| Box::pin(unknown(world)),
    ),
    check(
        "hops/effects_that_are_waited_for_come_before_the_answer",
        &["F154"],
        |world| Box::pin(waited(world)),
    ),
    check(
        "hops/effects_that_are_not_waited_for_hold_nobody",
        &["F154"],
        |world| Box::pin(not_waited(world)),
    ),
    check(
        "hops/what_becomes_of_an_effect_is_not_the_callers",
        &["F154"],
        |world| Box::pin(effect_fails(world)),
    ),
    check("hops/effect_on_the_entity_itself", &["F154"], |world| {
        Box::pin(effect_on_itself(world))
    }),
    check("hops/effects_beside_a_failure_run", &["F158"], |world| {
        Box::pin(beside_failure(world))
    }),
    check(
        "hops/effects_of_a_forward_come_before_it",
        &["F153", "F154"],
        |world| Box::pin(beside_forward(world)),
    ),
    restarts(check(
        "hops/effect_comes_after_its_change_is_stored",
        &["F154"],
        |world| Box::pin(stored_first(world)),
    )),
];

/// The stream of an entity that is called by a hop, with its first command.
async fn called(world: &mut World, key: &Key, text: &str) -> Result<Stream> {
    let mut stream = world.opened(key, key.nothing()).await?;
    stream.expect("F153", key.command(1, text)).await?;
    Ok(stream)
}

async fn forwards(world: &mut World) -> Result {
    let (key, other) = (world.key("Events"), world.key("ValueTwo"));
    let (mut call, mut stream) = world.open(&key).await?;
    let reply = Reply::to(1).events([kept("A")]);
    stream.reply(reply.forwarding(other.forward("hop"))).await;
    let mut target = called(world, &other, "hop").await?;
    call.is_silent("F153")?;
    let back = [("x-one", "1")];
    target
        .reply(Reply::to(1).with_headers(said("there"), &back))
        .await;
    let answer = call.replies("F153", "there").await?;
    if answer.headers.get("x-one").is_none_or(|one| one != "1") {
        let came = format!("{:?}", answer.headers);
        return Err(Fault::new(
            "F169",
            "the headers of the target's reply",
            came,
        ));
    }
    stream.let_go("F122").await?;
    let events = [(1, kept("A"))];
    world.replayed(&key, Begins::Absent, &events).await?;
    Ok(())
}

async fn forward_fails(world: &mut World) -> Result {
    let (key, other) = (world.key("Value"), world.key("EventsTwo"));
    let (call, mut stream) = world.open(&key).await?;
    let reply = Reply::to(1).update(kept("mine"));
    stream.reply(reply.forwarding(other.forward("hop"))).await;
    let mut target = called(world, &other, "hop").await?;
    target.reply(Reply::to(1).failing("not there")).await;
    call.fails("F153", 2, "not there").await?;
    // The change was before it, and stays.
    stream.let_go("F122").await?;
    world.again(&key, Begins::State(Some(kept("mine")))).await?;
    Ok(())
}

async fn forward_headers(world: &mut World) -> Result {
    let key = world.key("Value");
    let call = world.ask_with(&key, "first", &[("x-tck", "of the call")]);
    let call = call.await?;
    let mut stream = world.opened(&key, key.nothing()).await?;
    stream.command("F111").await?;
    let mut to = forward("ActTwo", "Call", &key.id, "hop");
    let own = metadata(&[("x-tck", "of the forward")]);
    to.metadata = Some(own.clone());
    stream.reply(Reply::to(1).forwarding(to)).await;
    let mut acting = world.action().await?;
    let expected = wire::ActionCommand {
        service_name: full("ActTwo"),
        name: "Call".to_owned(),
        payload: Some(asked(&key.id, "hop")),
        metadata: None,
    };
    let came = acting.command("F153", expected).await?;
    if came.as_ref() != Some(&own) {
        return Err(Fault::new("F153", format!("{own:?}"), format!("{came:?}")));
    }
    acting.answer(acted(said("done"))).await;
    call.replies("F153", "done").await?;
    Ok(())
}

async fn to_itself(world: &mut World) -> Result {
    for service in ["Value", "Events"] {
        let key = world.key(service);
        let (call, mut stream) = world.open(&key).await?;
        stream
            .reply(Reply::to(1).forwarding(key.forward("hop")))
            .await;
        stream.expect("F153", key.command(2, "hop")).await?;
        stream.reply(Reply::to(2).with(said("me again"))).await;
        call.replies("F153", "me again").await?;
    }
    Ok(())
}

async fn chain(world: &mut World) -> Result {
    let (first, second) = (world.key("Value"), world.key("EventsTwo"));
    let (call, mut stream) = world.open(&first).await?;
    stream
        .reply(Reply::to(1).forwarding(second.forward("one")))
        .await;
    let mut stream = called(world, &second, "one").await?;
    let to = forward("ActTwo", "Call", &second.id, "two");
    stream.reply(Reply::to(1).forwarding(to)).await;
    world.act("ActTwo", &second.id, "two", "at last").await?;
    call.replies("F153", "at last").await?;
    Ok(())
}

async fn unknown(world: &mut World) -> Result {
    for (service, method) in [("Nobody", "Call"), ("ValueTwo", "Nothing")] {
        let key = world.key("Value");
        let (call, mut stream) = world.open(&key).await?;
        let to = forward(service, method, &key.id, "hop");
        stream.reply(Reply::to(1).forwarding(to)).await;
        call.refused("F155").await?;
        world.report(service).await?;
        // The entity goes on.
        let call = world.next(&key, &mut stream, 2).await?;
        stream.reply(Reply::to(2).with(said("on"))).await;
        call.replies("F155", "on").await?;
    }
    Ok(())
}

async fn waited(world: &mut World) -> Result {
    let key = world.key("Events");
    let (one, two) = (world.key("ValueTwo"), world.key("EventsTwo"));
    let (mut call, mut stream) = world.open(&key).await?;
    let reply = Reply::to(1)
        .events([kept("A")])
        .effect(one.effect("one", true))
        .effect(two.effect("two", true))
        .with(said("last"));
    stream.reply(reply).await;
    let mut first = called(world, &one, "one").await?;
    call.is_silent("F154")?;
    // The entity itself is free meanwhile.
    let next = world.next(&key, &mut stream, 2).await?;
    stream.reply(Reply::to(2).with(said("free"))).await;
    next.replies("F154", "free").await?;
    if world.is_called(&two).await? {
        let expected = "the second effect after the first one";
        return Err(Fault::new("F154", expected, "both at once"));
    }
    call.is_silent("F154")?;
    first
        .reply(Reply::to(1).with(said("nobody hears it")))
        .await;
    let mut second = called(world, &two, "two").await?;
    call.is_silent("F154")?;
    second.reply(Reply::to(1).with(said("nor this"))).await;
    call.replies("F154", "last").await?;
    Ok(())
}

async fn not_waited(world: &mut World) -> Result {
    let (key, other) = (world.key("Value"), world.key("ValueTwo"));
    let (call, mut stream) = world.open(&key).await?;
    let reply = Reply::to(1).effect(other.effect("later", false));
    stream.reply(reply.with(said("at once"))).await;
    // The effect is not answered before the caller is.
    let mut target = called(world, &other, "later").await?;
    call.replies("F154", "at once").await?;
    target
        .reply(Reply::to(1).with(said("nobody hears it")))
        .await;
    Ok(())
}

async fn effect_fails(world: &mut World) -> Result {
    let key = world.key("Value");
    let (call, mut stream) = world.open(&key).await?;
    let to = forward("ActTwo", "Call", &key.id, "one");
    let effect = crate::proxy::families::world::effect(to, true);
    stream
        .reply(Reply::to(1).effect(effect).with(said("mine")))
        .await;
    let mut acting = world.action().await?;
    acting.next().await?;
    acting.answer(act_failed(failure(0, "no"))).await;
    call.replies("F154", "mine").await?;
    let other = world.key("EventsTwo");
    let call = world.next(&key, &mut stream, 2).await?;
    let reply = Reply::to(2).effect(other.effect("two", true));
    stream.reply(reply.with(said("mine too"))).await;
    let mut target = called(world, &other, "two").await?;
    target.reply(Reply::to(1).failing("no")).await;
    call.replies("F154", "mine too").await?;
    Ok(())
}

async fn effect_on_itself(world: &mut World) -> Result {
    for synchronous in [true, false] {
        let key = world.key("Value");
        let (call, mut stream) = world.open(&key).await?;
        let reply = Reply::to(1).update(kept("one"));
        let reply = reply.effect(key.effect("again", synchronous));
        stream.reply(reply.with(said("one"))).await;
        stream.expect("F154", key.command(2, "again")).await?;
        let reply = Reply::to(2).update(kept("two"));
        stream.reply(reply.with(said("nobody hears it"))).await;
        call.replies("F154", "one").await?;
        let call = world.next(&key, &mut stream, 3).await?;
        stream.reply(Reply::to(3).with(said("on"))).await;
        call.replies("F154", "on").await?;
        stream.let_go("F122").await?;
        world.again(&key, Begins::State(Some(kept("two")))).await?;
    }
    Ok(())
}

async fn beside_failure(world: &mut World) -> Result {
    let (key, other) = (world.key("Value"), world.key("ValueTwo"));
    let (mut call, mut stream) = world.open(&key).await?;
    let reply = Reply::to(1).effect(other.effect("all the same", true));
    stream.reply(reply.failing("no")).await;
    let mut target = called(world, &other, "all the same").await?;
    call.is_silent("F158")?;
    target
        .reply(Reply::to(1).with(said("nobody hears it")))
        .await;
    call.fails("F158", 2, "no").await?;
    Ok(())
}

async fn beside_forward(world: &mut World) -> Result {
    let key = world.key("Value");
    let (one, two) = (world.key("ValueTwo"), world.key("EventsTwo"));
    let (call, mut stream) = world.open(&key).await?;
    let reply = Reply::to(1).effect(one.effect("first", true));
    stream.reply(reply.forwarding(two.forward("second"))).await;
    let mut first = called(world, &one, "first").await?;
    if world.is_called(&two).await? {
        let expected = "the forward after the effect";
        return Err(Fault::new("F154", expected, "both at once"));
    }
    first
        .reply(Reply::to(1).with(said("nobody hears it")))
        .await;
    let mut second = called(world, &two, "second").await?;
    second.reply(Reply::to(1).with(said("there"))).await;
    call.replies("F153", "there").await?;
    Ok(())
}

async fn stored_first(world: &mut World) -> Result {
    world.ready().await?;
    for _ in 0..2 {
        let (key, other) = (world.key("Events"), world.key("ValueTwo"));
        let (call, mut stream) = world.open(&key).await?;
        let reply = Reply::to(1).events([kept("A")]);
        let reply = reply.effect(other.effect("hop", true)).with(said("ok"));
        stream.reply(reply).await;
        called(world, &other, "hop").await?;
        // It was seen, so what caused it is there.
        world.restart().await?;
        drop(call);
        let events = [(1, kept("A"))];
        world.replayed(&key, Begins::Absent, &events).await?;
    }
    Ok(())
}
