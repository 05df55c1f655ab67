//! Calls of actions in their four shapes.

use super::{Check, Result, check};
use crate::families::dialect::Family;
use crate::families::wire;
use crate::fault::Fault;
use crate::proxy::families::contract::{asked, full, kept, request, said};
use crate::proxy::families::message::{failure, failure_with};
use crate::proxy::families::stream::{ActIn, Acting, act_failed, act_forwarded, acted, acted_with};
use crate::proxy::families::world::{Asked, World, effect, forward};

pub(super) const CHECKS: &[Check] = &[
    check(
        "action/unary_call_is_one_message",
        &["F150", "F169"],
        |world| Box::pin(unary(world)),
    ),
    check(
        "action/streamed_requests_begin_with_a_head",
        &["F150"],
        |world| Box::pin(streamed_in(world)),
    ),
    check(
        "action/streamed_replies_go_on_until_the_end",
        &["F150", "F169"],
        |world| Box::pin(streamed_out(world)),
    ),
    check("action/both_streams_go_on_at_once", &["F150"], |world| {
        Box::pin(streamed(world))
    }),
    check(
        "action/headers_are_those_of_the_family",
        &["F114"],
        |world| Box::pin(headers(world)),
    ),
    check(
        "action/failure_is_the_callers",
        &["F151", "F120"],
        |world| Box::pin(fails(world)),
    ),
    check(
        "action/failure_in_a_stream_ends_both_sides",
        &["F151"],
        |world| Box::pin(fails_in_a_stream(world)),
    ),
    check(
        "action/status_of_the_function_is_the_callers",
        &["F156"],
        |world| Box::pin(status(world)),
    ),
    check("action/cancelled_call_is_cancelled", &["F152"], |world| {
        Box::pin(cancelled(world))
    }),
    check("action/answer_that_says_nothing", &["F157"], |world| {
        Box::pin(nothing(world))
    }),
    check(
        "action/output_of_any_type_is_the_payload",
        &["F157"],
        |world| Box::pin(untyped(world)),
    ),
    check(
        "action/forwards_and_effects_of_a_stream_keep_their_place",
        &["F153", "F154"],
        |world| Box::pin(hops(world)),
    ),
    check("action/effects_without_a_reply_run", &["F154"], |world| {
        Box::pin(effects_alone(world))
    }),
    check("action/forwards_to_an_entity", &["F153"], |world| {
        Box::pin(to_an_entity(world))
    }),
    check("action/many_calls_are_open_at_once", &["F150"], |world| {
        Box::pin(many(world))
    }),
    check(
        "action/many_messages_keep_their_order",
        &["F150"],
        |world| Box::pin(order(world)),
    ),
];

/// The only message of a call with one request.
fn whole(name: &str, id: &str) -> wire::ActionCommand {
    wire::ActionCommand {
        service_name: full("Act"),
        name: name.to_owned(),
        payload: Some(asked(id, "")),
        metadata: None,
    }
}

/// The first message of a call with streamed requests.
fn head(name: &str) -> wire::ActionCommand {
    wire::ActionCommand {
        payload: None,
        ..whole(name, "")
    }
}

/// A later one.
fn item(id: &str) -> wire::ActionCommand {
    wire::ActionCommand {
        payload: Some(asked(id, "")),
        ..wire::ActionCommand::default()
    }
}

/// A call whose one request is there.
async fn one(world: &mut World, method: &str) -> Result<Asked> {
    let message = Some(request("a", ""));
    world.begin("Act", method, message, &[]).await
}

/// The call of the action, which must be of this shape.
async fn acting(world: &mut World, requests: bool, replies: bool) -> Result<Acting> {
    let acting = world.action().await?;
    if acting.shape == (requests, replies) {
        return Ok(acting);
    }
    let expected = format!("a call with streamed requests {requests}, replies {replies}");
    let came = format!("{:?}", acting.shape);
    Err(Fault::new("F150", expected, came))
}

fn has_header(answer: &crate::proxy::client::Answer, name: &str, expected: &[&str]) -> Result {
    let values = answer.headers.get_all(name).iter();
    let values: Vec<&str> = values.filter_map(|value| value.to_str().ok()).collect();
    if values == expected {
        return Ok(());
    }
    let expected = format!("{name}: {expected:?}");
    Err(Fault::new("F169", expected, format!("{values:?}")))
}

async fn unary(world: &mut World) -> Result {
    let call = one(world, "Unary").await?;
    let mut action = acting(world, false, false).await?;
    action.command("F150", whole("Unary", "a")).await?;
    action.expect("F150", ActIn::HalfClose).await?;
    let headers = [("x-one", "1"), ("x-two", "2"), ("x-one", "3")];
    action.answer(acted_with(said("ok"), &headers)).await;
    let answer = call.replies("F150", "ok").await?;
    has_header(&answer, "x-one", &["1", "3"])?;
    has_header(&answer, "x-two", &["2"])
}

async fn streamed_in(world: &mut World) -> Result {
    let mut call = world.begin("Act", "In", None, &[]).await?;
    call.say("a", "").await;
    let mut action = acting(world, true, false).await?;
    action.command("F150", head("In")).await?;
    action.command("F150", item("a")).await?;
    call.say("b", "").await;
    action.command("F150", item("b")).await?;
    call.call.half_close();
    action.expect("F150", ActIn::HalfClose).await?;
    action.answer(acted(said("both"))).await;
    call.replies("F150", "both").await?;
    // A stream of nothing has a head, too.
    let mut call = world.begin("Act", "In", None, &[]).await?;
    call.call.half_close();
    let mut action = acting(world, true, false).await?;
    action.command("F150", head("In")).await?;
    action.expect("F150", ActIn::HalfClose).await?;
    action.answer(acted(said("none"))).await;
    call.replies("F150", "none").await?;
    Ok(())
}

async fn streamed_out(world: &mut World) -> Result {
    let mut call = one(world, "Out").await?;
    let mut action = acting(world, false, true).await?;
    action.command("F150", whole("Out", "a")).await?;
    action.expect("F150", ActIn::HalfClose).await?;
    action
        .send(acted_with(said("one"), &[("x-one", "1")]))
        .await;
    call.hears("F150", "one").await?;
    // Only headers of the first can be sent.
    action
        .send(acted_with(said("two"), &[("x-two", "2")]))
        .await;
    call.hears("F150", "two").await?;
    // Nothing is sent for an answer that says nothing.
    action.send(wire::ActionResponse::default()).await;
    action.send(acted(said("three"))).await;
    call.hears("F150", "three").await?;
    action.end(0, "");
    let answer = call.answer().await;
    if answer.end.status != 0 || !answer.messages.is_empty() {
        return Err(Fault::new("F150", "the end with OK", format!("{answer:?}")));
    }
    has_header(&answer, "x-one", &["1"])?;
    has_header(&answer, "x-two", &[])?;
    // It may also give nothing at all.
    let call = one(world, "Out").await?;
    let mut action = acting(world, false, true).await?;
    action.next().await?;
    action.end(0, "");
    call.ends("F150").await
}

async fn streamed(world: &mut World) -> Result {
    let mut call = world.begin("Act", "Both", None, &[]).await?;
    call.say("a", "").await;
    let mut action = acting(world, true, true).await?;
    action.command("F150", head("Both")).await?;
    action.command("F150", item("a")).await?;
    action.send(acted(said("A"))).await;
    call.hears("F150", "A").await?;
    call.say("b", "").await;
    action.command("F150", item("b")).await?;
    action.send(acted(said("B"))).await;
    call.hears("F150", "B").await?;
    call.call.half_close();
    action.expect("F150", ActIn::HalfClose).await?;
    action.send(acted(said("last"))).await;
    action.end(0, "");
    call.hears("F150", "last").await?;
    call.ends("F150").await
}

async fn headers(world: &mut World) -> Result {
    let sent = [("x-tck", "1"), ("x-other", "2"), ("x-tck", "3")];
    for (method, streams) in [
        ("Unary", false),
        ("In", true),
        ("Out", false),
        ("Both", true),
    ] {
        let call = world.begin("Act", method, None, &sent);
        let mut call = call.await?;
        call.say("a", "").await;
        call.call.half_close();
        let mut action = world.action().await?;
        let first = match streams {
            true => head(method),
            false => whole(method, "a"),
        };
        let came = action.command("F150", first).await?;
        let entries = came.map(|all| all.entries).unwrap_or_default();
        let wants = |name: &str| match world.dialect.family() {
            Family::Cloudstate => name.starts_with("x-"),
            // Whatever else is there was not asked for.
            _ => true,
        };
        let came = entries.into_iter().filter(|entry| wants(&entry.key));
        let mut came: Vec<String> = came
            .map(|entry| format!("{}={:?}", entry.key, entry.value))
            .collect();
        came.sort();
        let text = |name: &str, value: &str| {
            let value = Some(wire::metadata_entry::Value::StringValue(value.to_owned()));
            format!("{name}={value:?}")
        };
        let mut expected = vec![text("x-tck", "1"), text("x-tck", "3")];
        if world.is(Family::Cloudstate) {
            expected.insert(0, text("x-other", "2"));
        }
        if came != expected {
            return Err(Fault::new("F114", expected.join(", "), came.join(", ")));
        }
        action.answer(acted(said("ok"))).await;
        call.replies("F150", "ok").await?;
    }
    Ok(())
}

async fn fails(world: &mut World) -> Result {
    let text = "no: 100% ünmöglich";
    let call = one(world, "Unary").await?;
    let mut action = acting(world, false, false).await?;
    action.next().await?;
    action.answer(act_failed(failure(0, text))).await;
    call.fails("F151", 2, text).await?;
    if world.is(Family::Cloudstate) {
        return Ok(());
    }
    for code in [3, 5, 8, 13] {
        let call = one(world, "Unary").await?;
        let mut action = acting(world, false, false).await?;
        action.next().await?;
        let failure = failure_with(i32::from(code), text);
        action.answer(act_failed(failure)).await;
        call.fails("F120", code, text).await?;
    }
    Ok(())
}

async fn fails_in_a_stream(world: &mut World) -> Result {
    let mut call = world.begin("Act", "Both", None, &[]).await?;
    call.say("a", "").await;
    let mut action = acting(world, true, true).await?;
    action.next().await?;
    action.next().await?;
    action.send(acted(said("yes"))).await;
    call.hears("F150", "yes").await?;
    action.send(act_failed(failure(0, "no"))).await;
    // What is written after it reaches nobody.
    action.send(acted(said("never"))).await;
    call.fails("F151", 2, "no").await?;
    action.expect("F151", ActIn::Broken).await
}

async fn status(world: &mut World) -> Result {
    let call = one(world, "Unary").await?;
    let mut action = acting(world, false, false).await?;
    action.next().await?;
    action.end(5, "nowhere");
    call.fails("F156", 5, "nowhere").await?;
    let mut call = one(world, "Out").await?;
    let mut action = acting(world, false, true).await?;
    action.next().await?;
    action.send(acted(said("one"))).await;
    call.hears("F150", "one").await?;
    action.end(11, "enough");
    call.fails("F156", 11, "enough").await?;
    Ok(())
}

async fn cancelled(world: &mut World) -> Result {
    for method in ["Unary", "Out"] {
        let call = one(world, method).await?;
        let mut action = world.action().await?;
        action.next().await?;
        action.expect("F150", ActIn::HalfClose).await?;
        drop(call);
        action.expect("F152", ActIn::Broken).await?;
    }
    for method in ["In", "Both"] {
        let mut call = world.begin("Act", method, None, &[]).await?;
        call.say("a", "").await;
        let mut action = world.action().await?;
        action.next().await?;
        action.next().await?;
        drop(call);
        // It must not look as if the requests had ended.
        action.expect("F152", ActIn::Broken).await?;
    }
    // Others go on.
    world.pass().await
}

async fn nothing(world: &mut World) -> Result {
    let call = one(world, "Unary").await?;
    let mut action = acting(world, false, false).await?;
    action.next().await?;
    action.answer(wire::ActionResponse::default()).await;
    match world.dialect.family() {
        Family::Cloudstate => call.refused("F157").await?,
        Family::AkkaServerless => call.replies("F157", "").await?,
        Family::Kalix => call.fails_with("F157", 5).await?,
    };
    Ok(())
}

async fn untyped(world: &mut World) -> Result {
    use prost::Message as _;
    let call = world.begin("Untyped", "Call", Some(request("a", "")), &[]);
    let call = call.await?;
    let mut action = world.action().await?;
    action.next().await?;
    let payload = kept("of any type");
    action.answer(acted(payload.clone())).await;
    let answer = call.answer().await;
    if answer.end.status == 0 && answer.messages == [payload.encode_to_vec()] {
        return Ok(());
    }
    let expected = "the payload with its type";
    Err(Fault::new("F157", expected, format!("{answer:?}")))
}

async fn hops(world: &mut World) -> Result {
    let mut call = one(world, "Out").await?;
    let mut action = acting(world, false, true).await?;
    action.next().await?;
    let to = |id: &str| forward("ActTwo", "Call", id, "hop");
    action.send(acted(said("one"))).await;
    action.send(act_forwarded(to("two"))).await;
    let mut third = acted(said("three"));
    third.side_effects = vec![effect(to("before three"), true)];
    action.send(third).await;
    action.end(0, "");
    call.hears("F150", "one").await?;
    world.act("ActTwo", "two", "hop", "two").await?;
    call.hears("F153", "two").await?;
    let mut before = world.action().await?;
    before.next().await?;
    call.is_silent("F154")?;
    before.answer(acted(said("nobody hears it"))).await;
    call.hears("F154", "three").await?;
    call.ends("F150").await
}

async fn effects_alone(world: &mut World) -> Result {
    let mut call = one(world, "Out").await?;
    let mut action = acting(world, false, true).await?;
    action.next().await?;
    let to = forward("ActTwo", "Call", "alone", "hop");
    action
        .send(wire::ActionResponse {
            response: None,
            side_effects: vec![effect(to, false)],
        })
        .await;
    world
        .act("ActTwo", "alone", "hop", "nobody hears it")
        .await?;
    action.send(acted(said("on"))).await;
    call.hears("F150", "on").await?;
    action.end(0, "");
    call.ends("F150").await
}

async fn to_an_entity(world: &mut World) -> Result {
    let key = world.key("Value");
    let call = one(world, "Unary").await?;
    let mut action = acting(world, false, false).await?;
    action.next().await?;
    action.answer(act_forwarded(key.forward("hop"))).await;
    let mut stream = world.opened(&key, key.nothing()).await?;
    stream.expect("F153", key.command(1, "hop")).await?;
    let reply = crate::proxy::families::message::Reply::to(1);
    stream.reply(reply.with(said("of the entity"))).await;
    call.replies("F153", "of the entity").await?;
    Ok(())
}

/// How many calls are open at once.
const OPEN: usize = 50;

async fn many(world: &mut World) -> Result {
    let mut open = Vec::new();
    for number in 0..OPEN {
        let message = Some(request(&number.to_string(), ""));
        let call = world.begin("Act", "Unary", message, &[]).await?;
        let mut action = acting(world, false, false).await?;
        action
            .command("F150", whole("Unary", &number.to_string()))
            .await?;
        open.push((number, call, action));
    }
    // The last of them is answered first.
    while let Some((number, call, mut action)) = open.pop() {
        let text = number.to_string();
        action.answer(acted(said(&text))).await;
        call.replies("F150", &text).await?;
    }
    Ok(())
}

/// How many messages go in each direction: more than is on its way at once.
const MESSAGES: usize = 2_000;

async fn order(world: &mut World) -> Result {
    let mut call = world.begin("Act", "Both", None, &[]).await?;
    for number in 0..MESSAGES {
        call.say(&number.to_string(), "").await;
    }
    call.call.half_close();
    let mut action = acting(world, true, true).await?;
    action.command("F150", head("Both")).await?;
    for number in 0..MESSAGES {
        action.command("F150", item(&number.to_string())).await?;
        action.send(acted(said(&number.to_string()))).await;
    }
    action.expect("F150", ActIn::HalfClose).await?;
    action.end(0, "");
    for number in 0..MESSAGES {
        call.hears("F150", &number.to_string()).await?;
    }
    call.ends("F150").await
}
