//! Replicated entities: the value that the function has, and the value that is kept.

use super::{CLOUDSTATE, Check, LATER, Result, check, only};
use crate::data::Data;
use crate::families::delta;
use crate::families::dialect::{Dialect, Family};
use crate::families::wire;
use crate::fault::Fault;
use crate::proto::model::data_step::Step;
use crate::proto::text;
use crate::proto::v1::delta::Delta as Kind;
use crate::proto::v1::{DataType, Delta, Write};
use crate::proxy::families::contract::{asked, request, said};
use crate::proxy::families::message::{Begins, In, Reply, failure};
use crate::proxy::families::stream::{Stream, acted};
use crate::proxy::families::world::{Asked, Key, World, effect, forward};
use crate::workload::{Random, data_step};

pub(super) const CHECKS: &[Check] = &[
    check("data/first_change_makes_the_value", &["F140"], |world| {
        Box::pin(makes(world))
    }),
    check(
        "data/entity_that_was_only_read_is_not_there",
        &["F140"],
        |world| Box::pin(only_read(world)),
    ),
    check("data/value_of_each_type_is_kept", &["F140"], |world| {
        Box::pin(types(world))
    }),
    check(
        "data/changes_of_each_type_add_up",
        &["F140", "F141"],
        |world| Box::pin(add_up(world)),
    ),
    check("data/clocks_of_registers", &["F144"], |world| {
        Box::pin(clocks(world))
    }),
    check("data/deleted_entity_is_gone_for_ever", &["F142"], |world| {
        Box::pin(deleted(world))
    }),
    check(
        "data/change_of_another_type_is_refused",
        &["F143"],
        |world| Box::pin(other_type(world)),
    ),
    check(
        "data/change_that_says_nothing_is_refused",
        &["F123"],
        |world| Box::pin(no_type(world)),
    ),
    only(
        CLOUDSTATE,
        check("data/many_commands_are_open", &["F147"], |world| {
            Box::pin(many(world))
        }),
    ),
    only(
        LATER,
        check("data/one_command_is_open", &["F147"], |world| {
            Box::pin(one(world))
        }),
    ),
    check(
        "data/rejected_command_is_the_callers_alone",
        &["F120"],
        |world| Box::pin(rejected(world)),
    ),
    check("data/failure_that_names_the_command", &["F122"], |world| {
        Box::pin(named(world))
    }),
    check(
        "data/what_fits_no_rule_ends_the_stream",
        &["F122", "F123"],
        |world| Box::pin(misfits(world)),
    ),
    check("data/forwards_and_effects", &["F153", "F154"], |world| {
        Box::pin(hops(world))
    }),
    only(
        CLOUDSTATE,
        check(
            "watch/goes_on_until_the_function_ends_it",
            &["F145"],
            |world| Box::pin(watched(world)),
        ),
    ),
    only(
        CLOUDSTATE,
        check("watch/may_be_answered_once", &["F145"], |world| {
            Box::pin(answered_once(world))
        }),
    ),
    only(
        CLOUDSTATE,
        check("watch/may_say_nothing_at_all", &["F145"], |world| {
            Box::pin(in_silence(world))
        }),
    ),
    only(
        CLOUDSTATE,
        check("watch/failure_ends_it", &["F145", "F120"], |world| {
            Box::pin(watch_fails(world))
        }),
    ),
    only(
        CLOUDSTATE,
        check(
            "watch/caller_that_goes_is_a_cancellation",
            &["F146"],
            |world| Box::pin(watch_cancelled(world)),
        ),
    ),
    only(
        CLOUDSTATE,
        check(
            "watch/caller_that_goes_early_is_one_later",
            &["F146"],
            |world| Box::pin(watch_cancelled_early(world)),
        ),
    ),
    only(
        CLOUDSTATE,
        check(
            "watch/stream_that_ends_fails_it",
            &["F122", "F145"],
            |world| Box::pin(watch_broken(world)),
        ),
    ),
    only(
        CLOUDSTATE,
        check(
            "watch/keeps_the_entity_in_memory",
            &["F115", "F145"],
            |world| Box::pin(watch_stays(world)),
        ),
    ),
];

fn counter(by: i64) -> Delta {
    Delta {
        delta: Some(Kind::Counter(by)),
    }
}

/// A change to a command, with this reply.
fn changing(world: &World, number: i64, change: &Delta) -> Reply {
    let delta = delta::encode(world.dialect, change);
    Reply::to(number).change(delta).with(said("ok"))
}

/// The value that a stream began with; none if it began with none.
fn value(dialect: Dialect, begins: &Begins) -> Result<Option<Data>> {
    let misfit = |why: String| Fault::new("F140", "a value", format!("{why}: {begins:?}"));
    let bytes = match begins {
        Begins::Absent => return Ok(None),
        Begins::Data(bytes) => bytes,
        _ => return Err(misfit("something else".into())),
    };
    let whole = delta::decode_whole(dialect, bytes).map_err(misfit)?;
    Ok(Some(Data::of(&whole).map_err(misfit)?))
}

/// The next command of an entity begins a stream with this value, and is open.
async fn begins(world: &mut World, key: &Key, expected: Option<&Data>) -> Result<(Asked, Stream)> {
    let call = world.ask(key, "again").await?;
    let mut stream = world.stream(key).await?;
    let came = stream.next().await?;
    let In::Init { begins, .. } = &came else {
        return Err(Fault::new("F110", "the beginning", came.show()));
    };
    let came = value(world.dialect, begins)?;
    if came.as_ref() != expected {
        return Err(Fault::new(
            "F140",
            format!("{expected:?}"),
            format!("{came:?}"),
        ));
    }
    stream.expect("F111", key.command(1, "again")).await?;
    Ok((call, stream))
}

/// The same, and its command is answered.
pub(super) async fn is_now(
    world: &mut World,
    key: &Key,
    expected: Option<&Data>,
) -> Result<Stream> {
    let (call, mut stream) = begins(world, key, expected).await?;
    stream.reply(Reply::to(1).with(said("there"))).await;
    call.replies("F117", "there").await?;
    Ok(stream)
}

/// An entity that is a counter of this value, with nothing open.
async fn counting(world: &mut World, key: &Key, by: i64) -> Result<Stream> {
    let (call, mut stream) = world.open(key).await?;
    let reply = changing(world, 1, &counter(by));
    stream.reply(reply).await;
    call.replies("F117", "ok").await?;
    Ok(stream)
}

async fn makes(world: &mut World) -> Result {
    let key = world.key("Data");
    let mut stream = counting(world, &key, 2).await?;
    for number in 2..5 {
        // Its own changes do not come back: the command is next.
        let call = world.next(&key, &mut stream, number).await?;
        stream.reply(changing(world, number, &counter(-1))).await;
        call.replies("F141", "ok").await?;
    }
    stream.let_go("F122").await?;
    is_now(world, &key, Some(&Data::Counter(-1))).await?;
    Ok(())
}

async fn only_read(world: &mut World) -> Result {
    let key = world.key("Data");
    let stream = world.idle(&key).await?;
    stream.let_go("F122").await?;
    is_now(world, &key, None).await?;
    Ok(())
}

const TYPES: [DataType; 11] = [
    DataType::GrowCounter,
    DataType::Counter,
    DataType::GrowSet,
    DataType::Set,
    DataType::Flag,
    DataType::Register,
    DataType::Map,
    DataType::Vote,
    DataType::CounterMap,
    DataType::RegisterMap,
    DataType::MultiMap,
];

/// The types that a dialect has.
pub(in crate::proxy::families) fn types_of(dialect: Dialect) -> impl Iterator<Item = DataType> {
    TYPES
        .into_iter()
        .filter(move |one| dialect.number(*one).is_some())
}

/// A step whose types are all of the dialect.
pub(in crate::proxy::families) fn step(
    random: &mut Random,
    dialect: Dialect,
    data: DataType,
) -> Step {
    loop {
        let step = data_step(random, data);
        if fits(dialect, &step) {
            return step;
        }
    }
}

fn fits(dialect: Dialect, step: &Step) -> bool {
    let Step::At(at) = step else {
        return true;
    };
    let inner = at.step.as_ref().and_then(|inner| inner.step.as_ref());
    let data = DataType::try_from(at.data_type.cast_signed()).unwrap_or_default();
    let is_type = data == DataType::Unspecified || dialect.number(data).is_some();
    is_type && inner.is_none_or(|inner| fits(dialect, inner))
}

/// What a step makes of a value, as one node alone sees it, and the change; none if it is the same.
pub(in crate::proxy::families) fn changed(
    value: Option<&Data>,
    data: DataType,
    step: &Step,
) -> (Data, Option<Delta>) {
    let before = value.cloned().unwrap_or_else(|| Data::empty(data));
    let change = before.change(step);
    let mut after = before.clone();
    after.step(step);
    alone(&mut after);
    let is_same = value.is_some() && after == before;
    (after, (!is_same).then_some(change))
}

/// Votes of one node that is alone.
fn alone(value: &mut Data) {
    match value {
        Data::Vote { own, yes, members } => (*yes, *members) = (u32::from(*own), 1),
        Data::Map(map) => map.values_mut().for_each(alone),
        _ => {}
    }
}

async fn types(world: &mut World) -> Result {
    for data in types_of(world.dialect) {
        let mut random = Random(7);
        for _ in 0..3 {
            let key = world.key("Data");
            let step = step(&mut random, world.dialect, data);
            let (after, change) = changed(None, data, &step);
            let change = change.unwrap_or_default();
            let (call, mut stream) = world.open(&key).await?;
            stream.reply(changing(world, 1, &change)).await;
            call.replies("F140", "ok").await?;
            stream.let_go("F122").await?;
            is_now(world, &key, Some(&after)).await?;
        }
    }
    Ok(())
}

/// Changes of each entity.
const CHANGES: i64 = 30;

async fn add_up(world: &mut World) -> Result {
    let mut random = Random(world.seed);
    for data in types_of(world.dialect) {
        let key = world.key("Data");
        let mut now: Option<Data> = None;
        let (mut call, mut stream) = world.open(&key).await?;
        let mut number = 1;
        for change in 1..=CHANGES {
            let step = step(&mut random, world.dialect, data);
            let (after, delta) = changed(now.as_ref(), data, &step);
            let reply = match delta {
                Some(delta) => {
                    now = Some(after);
                    changing(world, number, &delta)
                }
                None => Reply::to(number).with(said("ok")),
            };
            stream.reply(reply).await;
            call.replies("F141", "ok").await?;
            number += 1;
            if change % 10 == 0 {
                stream.let_go("F122").await?;
                (call, stream) = begins(world, &key, now.as_ref()).await?;
                number = 1;
            } else {
                call = world.next(&key, &mut stream, number).await?;
            }
        }
        stream.reply(Reply::to(number).with(said("ok"))).await;
        call.replies("F141", "ok").await?;
    }
    Ok(())
}

fn write(value: &str, clock: i32, custom: i64) -> Delta {
    let write = Write {
        value: Some(text(value)),
        clock,
        custom,
    };
    Delta {
        delta: Some(Kind::Register(write)),
    }
}

async fn clocks(world: &mut World) -> Result {
    // By the clock of the wall, the first one, the number, and the number or the next.
    const WALL: i32 = 0;
    const REVERSE: i32 = 1;
    const CUSTOM: i32 = 2;
    const NEXT: i32 = 3;
    let cases = [
        (WALL, vec![(0, true), (0, true)]),
        (REVERSE, vec![(0, false), (0, false)]),
        (
            CUSTOM,
            vec![(5, false), (20, true), (19, false), (21, true)],
        ),
        (NEXT, vec![(5, true), (40, true), (1, true)]),
    ];
    for (clock, writes) in cases {
        let key = world.key("Data");
        let (call, mut stream) = world.open(&key).await?;
        stream
            .reply(changing(world, 1, &write("first", clock, 10)))
            .await;
        call.replies("F144", "ok").await?;
        let mut survivor = "first".to_owned();
        let mut number = 2;
        for (custom, wins) in writes {
            let value = format!("write {number}");
            let call = world.next(&key, &mut stream, number).await?;
            stream
                .reply(changing(world, number, &write(&value, clock, custom)))
                .await;
            call.replies("F144", "ok").await?;
            number += 1;
            if wins {
                survivor = value;
                continue;
            }
            // The function has another value now, and is told of it before the next command.
            let call = world.ask(&key, "next").await?;
            let came = stream.next().await?;
            let In::Delta(bytes) = &came else {
                let expected = format!("a delta that says {survivor:?}");
                return Err(Fault::new("F144", expected, came.show()));
            };
            let misfit = |why| Fault::new("F144", "a delta", why);
            let delta = delta::decode(world.dialect, bytes).map_err(misfit)?;
            let came = Data::of(&delta).map_err(misfit)?;
            if came != Data::Register(survivor.clone()) {
                return Err(Fault::new("F144", survivor, format!("{came:?}")));
            }
            stream.expect("F111", key.command(number, "next")).await?;
            stream.reply(Reply::to(number).with(said("ok"))).await;
            call.replies("F144", "ok").await?;
            number += 1;
        }
        stream.let_go("F122").await?;
        is_now(world, &key, Some(&Data::Register(survivor))).await?;
    }
    Ok(())
}

async fn deleted(world: &mut World) -> Result {
    let key = world.key("Data");
    let mut stream = counting(world, &key, 2).await?;
    let call = world.next(&key, &mut stream, 2).await?;
    stream.reply(Reply::to(2).delete().with(said("gone"))).await;
    // At once, whatever else is to be done.
    stream.ends("F142").await?;
    call.replies("F142", "gone").await?;
    for _ in 0..2 {
        let call = world.ask(&key, "x").await?;
        let answer = call.refused("F142").await?;
        if world.is(Family::Cloudstate) {
            super::failures::is_text("F142", &answer, "Entity deleted")?;
        }
    }
    Ok(())
}

/// The command was answered with something that cannot be: it fails, and the value stays.
async fn stays(world: &mut World, key: &Key, call: Asked, mut stream: Stream) -> Result {
    call.refused("F123").await?;
    stream.is_over("F123").await?;
    is_now(world, key, Some(&Data::Counter(2))).await?;
    Ok(())
}

async fn other_type(world: &mut World) -> Result {
    let key = world.key("Data");
    let mut stream = counting(world, &key, 2).await?;
    let call = world.next(&key, &mut stream, 2).await?;
    stream.reply(changing(world, 2, &write("x", 0, 0))).await;
    stays(world, &key, call, stream).await
}

async fn no_type(world: &mut World) -> Result {
    for bytes in [&b""[..], b"\xff\xff"] {
        let key = world.key("Data");
        let mut stream = counting(world, &key, 2).await?;
        let call = world.next(&key, &mut stream, 2).await?;
        let reply = Reply::to(2).change(bytes::Bytes::from_static(bytes));
        stream.reply(reply.with(said("never"))).await;
        stays(world, &key, call, stream).await?;
    }
    Ok(())
}

async fn many(world: &mut World) -> Result {
    let key = world.key("Data");
    let mut stream = counting(world, &key, 2).await?;
    let second = world.next(&key, &mut stream, 2).await?;
    let third = world.next(&key, &mut stream, 3).await?;
    stream.reply(changing(world, 3, &counter(5))).await;
    third.replies("F147", "ok").await?;
    stream.reply(changing(world, 2, &counter(7))).await;
    second.replies("F147", "ok").await?;
    stream.let_go("F122").await?;
    is_now(world, &key, Some(&Data::Counter(14))).await?;
    Ok(())
}

async fn one(world: &mut World) -> Result {
    let key = world.key("Data");
    let mut stream = counting(world, &key, 2).await?;
    let second = world.next(&key, &mut stream, 2).await?;
    let third = world.ask(&key, "third").await?;
    world.pass().await?;
    stream.reply(changing(world, 2, &counter(5))).await;
    second.replies("F147", "ok").await?;
    stream.expect("F147", key.command(3, "third")).await?;
    stream.reply(changing(world, 3, &counter(7))).await;
    third.replies("F147", "ok").await?;
    Ok(())
}

async fn rejected(world: &mut World) -> Result {
    let key = world.key("Data");
    let mut stream = counting(world, &key, 2).await?;
    let call = world.next(&key, &mut stream, 2).await?;
    stream.reply(Reply::to(2).failing("no")).await;
    call.fails("F120", 2, "no").await?;
    let call = world.next(&key, &mut stream, 3).await?;
    stream.reply(changing(world, 3, &counter(1))).await;
    call.replies("F120", "ok").await?;
    stream.let_go("F122").await?;
    is_now(world, &key, Some(&Data::Counter(3))).await?;
    Ok(())
}

async fn named(world: &mut World) -> Result {
    let key = world.key("Data");
    let mut stream = counting(world, &key, 2).await?;
    let call = world.next(&key, &mut stream, 2).await?;
    stream.fail(&failure(2, "I cannot")).await;
    call.fails("F122", 2, "I cannot").await?;
    stream.let_go("F122").await?;
    is_now(world, &key, Some(&Data::Counter(2))).await?;
    Ok(())
}

async fn misfits(world: &mut World) -> Result {
    for what in 0..4 {
        let key = world.key("Data");
        let mut stream = counting(world, &key, 2).await?;
        let call = world.next(&key, &mut stream, 2).await?;
        match what {
            0 => stream.reply(Reply::to(7).with(said("who?"))).await,
            1 => stream.send(b"").await,
            2 => stream.complete(),
            _ => stream.end(13, "a detail"),
        }
        stays(world, &key, call, stream).await?;
    }
    Ok(())
}

async fn hops(world: &mut World) -> Result {
    let key = world.key("Data");
    let mut stream = counting(world, &key, 2).await?;
    let mut call = world.next(&key, &mut stream, 2).await?;
    let to = || forward("ActTwo", "Call", &key.id, "hop");
    let reply = changing(world, 2, &counter(1));
    stream.reply(reply.effect(effect(to(), true))).await;
    let mut acting = world.action().await?;
    acting.next().await?;
    call.is_silent("F154")?;
    acting.answer(acted(said("nobody hears it"))).await;
    call.replies("F154", "ok").await?;
    let call = world.next(&key, &mut stream, 3).await?;
    stream.reply(Reply::to(3).forwarding(to())).await;
    world.act("ActTwo", &key.id, "hop", "in its place").await?;
    call.replies("F153", "in its place").await?;
    // And from elsewhere to it.
    let other = world.key("Value");
    let (call, mut source) = world.open(&other).await?;
    source
        .reply(Reply::to(1).forwarding(key.forward("here")))
        .await;
    stream.expect("F153", key.command(4, "here")).await?;
    stream.reply(changing(world, 4, &counter(1))).await;
    call.replies("F153", "ok").await?;
    stream.let_go("F122").await?;
    is_now(world, &key, Some(&Data::Counter(4))).await?;
    Ok(())
}

// ---------------------------------------------------------------------------------------------
// Streamed commands

/// A streamed command that is open.
async fn watching(world: &mut World) -> Result<(Key, Asked, Stream)> {
    let key = world.key("Watched");
    let message = Some(request(&key.id, "watch"));
    let call = world.begin("Watched", "Watch", message, &[]).await?;
    let mut stream = world.opened(&key, Begins::Absent).await?;
    let command = In::Command(wire::Command {
        entity_id: key.id.clone(),
        id: 1,
        name: "Watch".to_owned(),
        payload: Some(asked(&key.id, "watch")),
        streamed: true,
        metadata: None,
    });
    stream.expect("F145", command).await?;
    Ok((key, call, stream))
}

/// A further message of the streamed command.
async fn streams(stream: &mut Stream, text: &str, is_last: bool) {
    let out = Reply::to(1).with(said(text)).streaming(is_last);
    stream.say(&out).await;
}

async fn watched(world: &mut World) -> Result {
    let (_, mut call, mut stream) = watching(world).await?;
    let reply = changing(world, 1, &counter(1)).streamed();
    stream.reply(reply).await;
    call.hears("F145", "ok").await?;
    streams(&mut stream, "second", false).await;
    call.hears("F145", "second").await?;
    streams(&mut stream, "third", true).await;
    call.hears("F145", "third").await?;
    call.ends("F145").await?;
    // Nobody has gone, so nothing is cancelled.
    stream.ends("F145").await
}

async fn answered_once(world: &mut World) -> Result {
    let (_, mut call, mut stream) = watching(world).await?;
    stream.reply(Reply::to(1).with(said("only"))).await;
    call.hears("F145", "only").await?;
    call.ends("F145").await?;
    stream.ends("F145").await
}

async fn in_silence(world: &mut World) -> Result {
    let (_, call, mut stream) = watching(world).await?;
    stream.reply(Reply::to(1).streamed()).await;
    stream.say(&Reply::to(1).streaming(true)).await;
    call.ends("F145").await?;
    stream.ends("F145").await
}

async fn watch_fails(world: &mut World) -> Result {
    let (_, mut call, mut stream) = watching(world).await?;
    stream
        .reply(Reply::to(1).streamed().with(said("first")))
        .await;
    call.hears("F145", "first").await?;
    stream
        .say(&Reply::to(1).failing("enough").streaming(true))
        .await;
    call.fails("F120", 2, "enough").await?;
    Ok(())
}

async fn watch_cancelled(world: &mut World) -> Result {
    let (key, mut call, mut stream) = watching(world).await?;
    let reply = changing(world, 1, &counter(1)).streamed();
    stream.reply(reply).await;
    call.hears("F145", "ok").await?;
    drop(call);
    stream.expect("F146", In::Cancelled(1)).await?;
    // A message that crosses it is of no use any more.
    streams(&mut stream, "too late", false).await;
    let to = forward("ActTwo", "Call", &key.id, "gone");
    let last = changing(world, 1, &counter(4)).effect(effect(to, false));
    stream.say(&last.cancelled()).await;
    world
        .act("ActTwo", &key.id, "gone", "nobody hears it")
        .await?;
    stream.ends("F146").await?;
    is_now(world, &key, Some(&Data::Counter(5))).await?;
    Ok(())
}

async fn watch_cancelled_early(world: &mut World) -> Result {
    let (key, call, mut stream) = watching(world).await?;
    drop(call);
    let next = world.ask(&key, "next").await?;
    stream.expect("F146", key.command(2, "next")).await?;
    stream.reply(Reply::to(2).with(said("ok"))).await;
    next.replies("F146", "ok").await?;
    let reply = changing(world, 1, &counter(1)).streamed();
    stream.reply(reply).await;
    stream.expect("F146", In::Cancelled(1)).await?;
    stream.say(&Reply::to(1).cancelled()).await;
    stream.ends("F146").await?;
    is_now(world, &key, Some(&Data::Counter(1))).await?;
    Ok(())
}

async fn watch_broken(world: &mut World) -> Result {
    let (_, mut call, mut stream) = watching(world).await?;
    stream
        .reply(Reply::to(1).streamed().with(said("first")))
        .await;
    call.hears("F145", "first").await?;
    stream.complete();
    call.refused("F122").await?;
    Ok(())
}

async fn watch_stays(world: &mut World) -> Result {
    let (_, mut call, mut stream) = watching(world).await?;
    stream
        .reply(Reply::to(1).streamed().with(said("first")))
        .await;
    call.hears("F145", "first").await?;
    // The whole idle time of another entity passes, twice.
    for _ in 0..2 {
        let other = world.key("Watched");
        let other = world.idle(&other).await?;
        other.ends("F115").await?;
    }
    streams(&mut stream, "still", true).await;
    call.hears("F145", "still").await?;
    call.ends("F145").await
}
