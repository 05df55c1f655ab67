//! Streams of entities, and every way in which a function fails on them.

use super::{CLOUDSTATE, Check, LATER, Result, check, only};
use crate::families::dialect::Family;
use crate::families::wire;
use crate::fault::Fault;
use crate::proxy::client::Answer;
use crate::proxy::families::contract::{full, kept, pack, request, said};
use crate::proxy::families::message::{Begins, In, Reply, failure, failure_with, metadata};
use crate::proxy::families::stream::{Stream, init};
use crate::proxy::families::world::{Asked, Key, World, show};

pub(super) const CHECKS: &[Check] = &[
    check(
        "entity/commands_count_from_one_on_each_stream",
        &["F110", "F111", "F113"],
        |world| Box::pin(counts(world)),
    ),
    check("entity/one_command_is_open_at_a_time", &["F112"], |world| {
        Box::pin(one_at_a_time(world))
    }),
    check(
        "entity/request_bytes_come_as_they_were",
        &["F113"],
        |world| Box::pin(request_bytes(world)),
    ),
    check(
        "entity/headers_are_those_of_the_family",
        &["F114"],
        |world| Box::pin(headers(world)),
    ),
    check(
        "entity/headers_of_a_reply_reach_the_caller",
        &["F169"],
        |world| Box::pin(reply_headers(world)),
    ),
    check("entity/id_is_of_the_key_fields", &["F118"], |world| {
        Box::pin(ids(world))
    }),
    check(
        "entity/caller_that_goes_leaves_its_command",
        &["F119"],
        |world| Box::pin(caller_goes(world)),
    ),
    check(
        "failures/rejected_command_is_the_callers_alone",
        &["F120"],
        |world| Box::pin(rejected(world)),
    ),
    check(
        "failures/what_comes_with_a_failure_is_the_familys",
        &["F120"],
        |world| Box::pin(beside(world)),
    ),
    only(
        LATER,
        check(
            "failures/function_chooses_the_status",
            &["F120", "F164"],
            |world| Box::pin(chosen(world)),
        ),
    ),
    check(
        "failures/failure_that_names_the_command",
        &["F122"],
        |world| Box::pin(named(world)),
    ),
    check(
        "failures/failure_that_names_no_command_ends_the_entity",
        &["F122"],
        |world| {
            Box::pin(ends(world, "failure", |stream| {
                Box::pin(async move { stream.fail(&failure(0, "a detail")).await })
            }))
        },
    ),
    check(
        "failures/failure_of_another_command_ends_the_entity",
        &["F122"],
        |world| {
            Box::pin(ends(world, "failure", |stream| {
                Box::pin(async move { stream.fail(&failure(7, "a detail")).await })
            }))
        },
    ),
    check(
        "failures/reply_to_another_command_ends_the_entity",
        &["F122"],
        |world| {
            Box::pin(ends(world, "reply", |stream| {
                Box::pin(async move { stream.reply(Reply::to(7).with(said("never"))).await })
            }))
        },
    ),
    check(
        "failures/message_with_nothing_in_it_ends_the_entity",
        &["F123"],
        |world| {
            Box::pin(ends(world, "message", |stream| {
                Box::pin(async move { stream.send(b"").await })
            }))
        },
    ),
    check(
        "failures/message_that_is_none_ends_the_entity",
        &["F123"],
        |world| {
            Box::pin(ends(world, "termination", |stream| {
                Box::pin(async move { stream.send(b"\xff\xff\xff").await })
            }))
        },
    ),
    check(
        "failures/end_of_the_stream_ends_the_entity",
        &["F122"],
        |world| {
            Box::pin(ends(world, "termination", |stream| {
                Box::pin(async move { stream.complete() })
            }))
        },
    ),
    check(
        "failures/status_of_the_stream_ends_the_entity",
        &["F122"],
        |world| {
            Box::pin(ends(world, "termination", |stream| {
                Box::pin(async move { stream.end(13, "a detail") })
            }))
        },
    ),
    check(
        "failures/reset_of_the_stream_ends_the_entity",
        &["F122"],
        |world| Box::pin(reset(world)),
    ),
    check(
        "failures/what_is_said_unasked_ends_the_entity",
        &["F122"],
        |world| Box::pin(unasked(world)),
    ),
    only(
        CLOUDSTATE,
        check(
            "failures/restart_is_nothing_to_a_value_entity",
            &["F121"],
            |world| Box::pin(no_restart(world)),
        ),
    ),
    check(
        "failures/reply_of_another_type_is_what_the_family_says",
        &["F157"],
        |world| Box::pin(other_type(world)),
    ),
];

/// The services of entities that have commits.
const SERVICES: [&str; 2] = ["Value", "Events"];

pub(super) fn is_text(requirement: &'static str, answer: &Answer, text: &str) -> Result {
    if answer.end.status == 2 && answer.end.message == text {
        return Ok(());
    }
    let expected = format!("status 2 with {text:?}");
    Err(Fault::new(requirement, expected, show(answer)))
}

async fn counts(world: &mut World) -> Result {
    for service in SERVICES {
        let key = world.key(service);
        let mut stream = world.idle(&key).await?;
        for number in 2..6 {
            let call = world.next(&key, &mut stream, number).await?;
            stream.reply(Reply::to(number).with(said("ok"))).await;
            call.replies("F117", "ok").await?;
        }
        // Another entity has a stream and numbers of its own.
        let other = world.key(service);
        let _other = world.idle(&other).await?;
        let call = world.next(&key, &mut stream, 6).await?;
        stream.reply(Reply::to(6).with(said("ok"))).await;
        call.replies("F117", "ok").await?;
    }
    Ok(())
}

async fn one_at_a_time(world: &mut World) -> Result {
    for service in SERVICES {
        let key = world.key(service);
        let (first, mut stream) = world.open(&key).await?;
        let mut waiting = Vec::new();
        for number in 2..6 {
            let text = number.to_string();
            waiting.push((number, world.ask(&key, &text).await?));
            // It is there before the next one, as one connection keeps their order.
            world.pass().await?;
        }
        stream.reply(Reply::to(1).with(said("first"))).await;
        first.replies("F117", "first").await?;
        for (number, call) in waiting {
            let text = number.to_string();
            stream.expect("F112", key.command(number, &text)).await?;
            stream.reply(Reply::to(number).with(said(&text))).await;
            call.replies("F112", &text).await?;
        }
    }
    Ok(())
}

async fn request_bytes(world: &mut World) -> Result {
    for service in SERVICES {
        let key = world.key(service);
        // Fields out of order, a default that is written out, and one that the message does not have.
        let mut odd = vec![0x12, 0, 0x0a, u8::try_from(key.id.len()).unwrap_or(0)];
        odd.extend(key.id.as_bytes());
        odd.extend([0x9a, 6, 3, b'a', b'b', b'c']);
        let message = Some(odd.clone());
        let call = world.begin(service, "Process", message, &[]).await?;
        let mut stream = world.opened(&key, key.nothing()).await?;
        let command = In::Command(wire::Command {
            entity_id: key.id.clone(),
            id: 1,
            name: "Process".to_owned(),
            payload: Some(pack("Request", odd)),
            ..wire::Command::default()
        });
        stream.expect("F113", command).await?;
        stream.reply(Reply::to(1).with(said("ok"))).await;
        call.replies("F113", "ok").await?;
    }
    Ok(())
}

async fn headers(world: &mut World) -> Result {
    let sent = [
        ("x-tck", "1"),
        ("x-other", "2"),
        ("x-tck", "3"),
        ("x-tck-other", "4"),
        ("authorization", "Bearer t"),
    ];
    for service in SERVICES {
        let key = world.key(service);
        let call = world.ask_with(&key, "first", &sent).await?;
        let mut stream = world.opened(&key, key.nothing()).await?;
        let expected = match world.dialect.family() {
            Family::Cloudstate => None,
            _ => Some(vec![("x-tck", "1"), ("x-tck", "3"), ("x-tck-other", "4")]),
        };
        let command = stream.command("F114").await?;
        let came = command.metadata.clone().map(sorted);
        let expected = expected.map(|all| sorted(metadata(&all)));
        if came != expected {
            let expected = format!("{expected:?}");
            return Err(Fault::new("F114", expected, format!("{came:?}")));
        }
        stream.reply(Reply::to(1).with(said("ok"))).await;
        call.replies("F114", "ok").await?;
    }
    Ok(())
}

/// With names in lower case; those of one name stay in order.
fn sorted(mut metadata: wire::Metadata) -> wire::Metadata {
    for entry in &mut metadata.entries {
        entry.key = entry.key.to_lowercase();
    }
    metadata
        .entries
        .sort_by(|one, other| one.key.cmp(&other.key));
    metadata
}

async fn reply_headers(world: &mut World) -> Result {
    for service in SERVICES {
        let key = world.key(service);
        let (call, mut stream) = world.open(&key).await?;
        let headers = [("x-one", "1"), ("x-two", "2"), ("x-one", "3")];
        let reply = Reply::to(1).with_headers(said("ok"), &headers);
        stream.reply(reply).await;
        let answer = call.replies("F169", "ok").await?;
        let values = |name: &str| -> Vec<String> {
            let all = answer.headers.get_all(name).iter();
            all.filter_map(|value| value.to_str().ok().map(str::to_owned))
                .collect()
        };
        if values("x-one") != ["1", "3"] || values("x-two") != ["2"] {
            let came = format!("{:?}", answer.headers);
            return Err(Fault::new("F169", "the reply's headers", came));
        }
    }
    Ok(())
}

async fn ids(world: &mut World) -> Result {
    let strange = ["a/b|c d-ü", "..", "%2F", "\u{0}", "-"];
    for service in SERVICES {
        let prefix = world.key(service).id;
        for id in strange {
            let id = format!("{prefix}{id}");
            let key = Key { service, id };
            world.idle(&key).await?;
        }
        let empty = Some(request("", "x"));
        let call = world.begin(service, "Process", empty, &[]).await?;
        call.fails_with("F118", 3).await?;
    }
    // In the order in which they are declared, whatever their numbers are.
    let name = world.key("ValueKeyed").id;
    let mut message = vec![0x12, u8::try_from(name.len()).unwrap_or(0)];
    message.extend(name.as_bytes());
    message.extend([
        0x38, 0xfb, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1,
    ]);
    let call = world.begin("ValueKeyed", "Process", Some(message), &[]);
    let call = call.await?;
    let id = format!("-5-{name}");
    let mut stream = world.any_stream().await?;
    let begins = Begins::State(None);
    stream
        .expect("F118", init(&full("ValueKeyed"), &id, begins))
        .await?;
    let command = stream.command("F118").await?;
    if command.entity_id != id {
        return Err(Fault::new("F118", id, command.entity_id));
    }
    stream.reply(Reply::to(1).with(said("ok"))).await;
    call.replies("F118", "ok").await?;
    Ok(())
}

async fn caller_goes(world: &mut World) -> Result {
    for service in SERVICES {
        let key = world.key(service);
        let (call, mut stream) = world.open(&key).await?;
        drop(call);
        let next = world.ask(&key, "second").await?;
        stream
            .reply(Reply::to(1).with(said("nobody hears it")))
            .await;
        stream.expect("F119", key.command(2, "second")).await?;
        stream.reply(Reply::to(2).with(said("second"))).await;
        next.replies("F119", "second").await?;
    }
    Ok(())
}

async fn rejected(world: &mut World) -> Result {
    for service in SERVICES {
        let key = world.key(service);
        let mut stream = world.idle(&key).await?;
        let call = world.next(&key, &mut stream, 2).await?;
        let text = "no: 100% ünmöglich\nreally";
        stream.reply(Reply::to(2).failing(text)).await;
        call.fails("F120", 2, text).await?;
        let call = world.next(&key, &mut stream, 3).await?;
        stream.reply(Reply::to(3).with(said("yes"))).await;
        call.replies("F120", "yes").await?;
    }
    Ok(())
}

async fn beside(world: &mut World) -> Result {
    let is_kept = world.is(Family::Cloudstate);
    let key = world.key("Value");
    let (call, mut stream) = world.open(&key).await?;
    stream
        .reply(Reply::to(1).update(kept("beside")).failing("no"))
        .await;
    call.fails("F120", 2, "no").await?;
    stream.let_go("F122").await?;
    let state = is_kept.then(|| kept("beside"));
    world.again(&key, Begins::State(state)).await?;

    let key = world.key("Events");
    let (call, mut stream) = world.open(&key).await?;
    let reply = Reply::to(1).events([kept("A")]);
    stream.reply(reply.snapshot(kept("A!")).failing("no")).await;
    call.fails("F120", 2, "no").await?;
    stream.let_go("F122").await?;
    let begins = match is_kept {
        true => Begins::Snapshot(1, kept("A!")),
        false => Begins::Absent,
    };
    let mut stream = world.again(&key, begins).await?;
    // What comes next has the number after what was stored.
    super::events::append(world, &key, &mut stream, 2, &["B"]).await?;
    stream.let_go("F122").await?;
    match is_kept {
        true => {
            let begins = Begins::Snapshot(1, kept("A!"));
            world.replayed(&key, begins, &[(2, kept("B"))]).await?
        }
        false => {
            world
                .replayed(&key, Begins::Absent, &[(1, kept("B"))])
                .await?
        }
    };
    Ok(())
}

async fn chosen(world: &mut World) -> Result {
    for service in SERVICES {
        let key = world.key(service);
        let mut stream = world.idle(&key).await?;
        for (number, code) in [(2, 5), (3, 9), (4, 16)] {
            let call = world.next(&key, &mut stream, number).await?;
            let failure = failure_with(i32::from(code), "not so");
            stream.reply(Reply::to(number).failing_with(failure)).await;
            call.fails("F120", code, "not so").await?;
        }
    }
    Ok(())
}

async fn named(world: &mut World) -> Result {
    for service in SERVICES {
        let key = world.key(service);
        let (call, mut stream) = world.open(&key).await?;
        stream.fail(&failure(1, "I cannot")).await;
        let answer = call.refused("F122").await?;
        match world.dialect.family() {
            Family::Cloudstate => {
                let text = text(service, "failure");
                is_text("F124", &answer, &text)?;
                stream.is_over("F122").await?;
            }
            // The command's failure is the caller's; the entity may go on or begin anew.
            _ => {
                is_text("F122", &answer, "I cannot")?;
                stream.complete();
                stream.is_over("F122").await?;
            }
        }
        world.again(&key, key.nothing()).await?;
    }
    Ok(())
}

/// The texts that callers get of Cloudstate.
pub(super) fn text(service: &str, what: &str) -> String {
    match (service, what) {
        ("Value", "message") => "Unexpected Value entity failure".to_owned(),
        ("Value", what) => format!("Unexpected Value entity {what}"),
        (_, what) => format!("Unexpected entity {what}"),
    }
}

fn queued(service: &str) -> &'static str {
    match service {
        "Value" => "Value entity terminated",
        _ => "Entity terminated",
    }
}

/// What a function does wrong with a stream.
type Act = for<'a> fn(&'a mut Stream) -> std::pin::Pin<Box<dyn Future<Output = ()> + 'a>>;

/// The open command fails, what waits does what the family says, and the next one begins anew.
async fn ends(world: &mut World, what: &str, act: Act) -> Result {
    for service in SERVICES {
        let key = world.key(service);
        let (call, mut stream) = world.open(&key).await?;
        let waiting = world.ask(&key, "waits").await?;
        world.pass().await?;
        act(&mut stream).await;
        let answer = call.refused("F122").await?;
        if world.is(Family::Cloudstate) {
            is_text("F124", &answer, &text(service, what))?;
        }
        stream.is_over("F122").await?;
        waits(world, &key, waiting).await?;
    }
    Ok(())
}

/// What becomes of a command that waited behind a failed entity.
async fn waits(world: &mut World, key: &Key, mut waiting: Asked) -> Result {
    let stream = tokio::select! {
        stream = world.opened(key, key.nothing()) => Some(stream?),
        came = waiting.call.next() => {
            let is_queued = matches!(
                &came,
                crate::proxy::client::Came::End(end)
                    if end.status == 2 && end.message == queued(key.service)
            );
            if !world.is(Family::Cloudstate) || !is_queued {
                let expected = match world.is(Family::Cloudstate) {
                    true => "that it fails with the text of its kind",
                    false => "that it is kept",
                };
                return Err(Fault::new("F122", expected, format!("{came:?}")));
            }
            None
        }
    };
    match stream {
        // With Cloudstate it may just have come after the failure.
        Some(mut stream) => {
            stream.expect("F122", key.command(1, "waits")).await?;
            stream.reply(Reply::to(1).with(said("kept"))).await;
            waiting.replies("F122", "kept").await?;
        }
        None => {
            world.again(key, key.nothing()).await?;
        }
    }
    Ok(())
}

async fn reset(world: &mut World) -> Result {
    for service in SERVICES {
        let key = world.key(service);
        let (call, stream) = world.open(&key).await?;
        drop(stream);
        let answer = call.refused("F122").await?;
        if world.is(Family::Cloudstate) {
            is_text("F124", &answer, &text(service, "termination"))?;
        }
        world.again(&key, key.nothing()).await?;
    }
    Ok(())
}

async fn unasked(world: &mut World) -> Result {
    let acts: [Act; 4] = [
        |stream| Box::pin(async move { stream.fail(&failure(0, "x")).await }),
        |stream| Box::pin(async move { stream.reply(Reply::to(1).with(said("x"))).await }),
        |stream| Box::pin(async move { stream.send(b"").await }),
        |stream| Box::pin(async move { stream.end(2, "x") }),
    ];
    for service in SERVICES {
        for act in acts {
            let key = world.key(service);
            let mut stream = world.idle(&key).await?;
            act(&mut stream).await;
            stream.is_over("F122").await?;
            world.again(&key, key.nothing()).await?;
        }
    }
    Ok(())
}

async fn no_restart(world: &mut World) -> Result {
    let key = world.key("Value");
    let (call, mut stream) = world.open(&key).await?;
    let restart = wire::Failure {
        restart: true,
        ..failure(0, "no")
    };
    stream.reply(Reply::to(1).failing_with(restart)).await;
    call.fails("F121", 2, "no").await?;
    let call = world.next(&key, &mut stream, 2).await?;
    stream.reply(Reply::to(2).with(said("yes"))).await;
    call.replies("F121", "yes").await?;
    Ok(())
}

async fn other_type(world: &mut World) -> Result {
    for service in SERVICES {
        let key = world.key(service);
        let (call, mut stream) = world.open(&key).await?;
        stream.reply(Reply::to(1).with(kept("another"))).await;
        match world.dialect.family() {
            Family::Cloudstate => {
                call.replies("F157", "another").await?;
            }
            _ => {
                call.fails_with("F157", 13).await?;
            }
        }
        world.report("").await?;
    }
    Ok(())
}
