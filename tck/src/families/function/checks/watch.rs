//! Cloudstate: replicated entities that answer with a stream.

use prost::Message as _;

use super::{Check, Needs, Result, check, ensure};
use crate::families::convert;
use crate::families::function::entity::{Heard, Stream};
use crate::families::function::rig::{Rig, data};
use crate::families::stream::{In, Out};
use crate::families::wire::{ClientAction, StreamCancelled, client_action};
use crate::fault::Fault;
use crate::oracle::{same_data, same_value};
use crate::proto::model::data_step::Step;
use crate::proto::model::{Fail, Nothing, Value};
use crate::proto::v1::{DataType, decision};
use crate::service::Service;
use crate::show;

const STREAMED: Needs = Needs::StreamedCommands;

pub(super) const CHECKS: &[Check] = &[
    check(
        "watch/is_accepted_with_the_value",
        &["F57"],
        STREAMED,
        |rig| Box::pin(accepted(rig)),
    ),
    check(
        "watch/shows_changes_of_commands",
        &["F57"],
        STREAMED,
        |rig| Box::pin(commands(rig)),
    ),
    check(
        "watch/shows_changes_from_elsewhere",
        &["F53", "F57"],
        STREAMED,
        |rig| Box::pin(elsewhere(rig)),
    ),
    check("watch/is_one_of_several", &["F57"], STREAMED, |rig| {
        Box::pin(several(rig))
    }),
    check("watch/ends_by_itself", &["F57"], STREAMED, |rig| {
        Box::pin(ends(rig))
    }),
    check("watch/is_rejected", &["F15", "F57"], STREAMED, |rig| {
        Box::pin(rejected(rig))
    }),
    check("watch/is_cancelled", &["F58"], STREAMED, |rig| {
        Box::pin(cancelled(rig, vec![]))
    }),
    check("watch/leaves_its_last_will", &["F58"], STREAMED, |rig| {
        Box::pin(cancelled(rig, vec![Step::Change(5), Step::Change(2)]))
    }),
];

const COUNTER: Service = Service::Data(DataType::Counter);

/// The value in what goes to the caller.
fn shown(stream: &Stream, action: Option<&ClientAction>) -> Option<Value> {
    let action = action?.action.as_ref()?;
    let client_action::Action::Reply(reply) = action else {
        return None;
    };
    let any = stream.dialect.to_own(reply.payload.as_ref()?);
    let is_value = any.type_url.ends_with(".Value");
    is_value.then(|| Value::decode(any.value.as_slice()).ok())?
}

fn misfit(expected: &str, came: &impl std::fmt::Debug) -> Fault {
    let came = show::short(&format!("{came:?}"));
    Fault::new("F57", expected, came)
}

/// Begins a watch, which must be accepted with the value as it is.
async fn watch(stream: &mut Stream, last_will: Vec<Step>) -> Result<i64> {
    let asked = data(&stream.id, last_will);
    let id = stream.put_streamed(asked).await;
    let heard = stream.hear().await?;
    let Heard::Out(Out::Data(reply)) = &heard else {
        return Err(misfit("a reply that accepts the stream", &heard));
    };
    let value = shown(stream, reply.client_action.as_ref());
    let fits = reply.command_id == id
        && reply.streamed
        && reply.state_action.is_none()
        && value.is_some_and(|value| same_value(&stream.record.data(), &value));
    if fits {
        return Ok(id);
    }
    let expected = format!(
        "a reply to {id} that accepts it with {:?}",
        stream.record.data()
    );
    Err(misfit(&expected, reply))
}

/// A message of a watch: its number, and whether it is the last. It must have the value as it is.
fn message(stream: &Stream, out: &Out) -> Result<(i64, bool)> {
    let Out::Streamed(message) = out else {
        return Err(misfit("a streamed message", out));
    };
    let value = shown(stream, message.client_action.as_ref());
    if value.is_some_and(|value| same_value(&stream.record.data(), &value)) {
        return Ok((message.command_id, message.end_stream));
    }
    let expected = format!("a streamed message with {:?}", stream.record.data());
    Err(misfit(&expected, message))
}

async fn next(stream: &mut Stream, watch: i64) -> Result<bool> {
    match stream.hear().await? {
        Heard::Out(out) => {
            let (id, ends) = message(stream, &out)?;
            ensure(
                id == watch,
                "F57",
                format!("a message of {watch}"),
                format!("of {id}"),
            )?;
            Ok(ends)
        }
        other => Err(misfit("a streamed message", &other)),
    }
}

/// A change by a command: its reply, and a message of each watch, in any order between them.
async fn change(stream: &mut Stream, step: Step, watches: &[i64]) -> Result {
    let asked = data(&stream.id, vec![step]);
    stream.put(asked).await;
    let mut early = Vec::new();
    let mut waiting: Vec<i64> = watches.to_vec();
    while stream.open() > 0 || !waiting.is_empty() {
        match stream.hear().await? {
            Heard::Out(out @ Out::Streamed(_)) if stream.open() > 0 => early.push(out),
            Heard::Out(out @ Out::Streamed(_)) => shows(stream, &out, &mut waiting)?,
            Heard::Out(out) => {
                stream.judge(&out)?;
                for out in early.drain(..) {
                    shows(stream, &out, &mut waiting)?;
                }
            }
            other => return Err(misfit("a reply, and streamed messages", &other)),
        }
    }
    Ok(())
}

fn shows(stream: &Stream, out: &Out, waiting: &mut Vec<i64>) -> Result {
    let (id, ends) = message(stream, out)?;
    let place = waiting.iter().position(|one| *one == id);
    let came = format!("one of {id}");
    let place = place.ok_or_else(|| misfit(&format!("a message each of {waiting:?}"), &came))?;
    waiting.remove(place);
    ensure(
        !ends,
        "F57",
        "a message that is not the last",
        format!("the last of {id}"),
    )
}

/// Nothing comes that was not asked for.
async fn silent(rig: &mut Rig, stream: &mut Stream, requirement: &'static str) -> Result {
    rig.discover().await?;
    let came = stream.has_something();
    ensure(
        came.is_none(),
        requirement,
        "nothing",
        came.unwrap_or_default(),
    )
}

async fn accepted(rig: &mut Rig) -> Result {
    let mut stream = rig.fresh(COUNTER).await?;
    watch(&mut stream, vec![]).await?;
    let mut stream = rig.fresh(COUNTER).await?;
    let id = stream.id.clone();
    stream.ask(data(&id, vec![Step::Change(4)])).await?;
    watch(&mut stream, vec![]).await?;
    let (id, record) = stream.cut();
    let mut stream = rig.open(&id, record).await?;
    watch(&mut stream, vec![]).await.map(|_| ())
}

async fn commands(rig: &mut Rig) -> Result {
    let mut stream = rig.fresh(COUNTER).await?;
    let watch = watch(&mut stream, vec![]).await?;
    for number in [4, -2, 7] {
        change(&mut stream, Step::Change(number), &[watch]).await?;
    }
    // What changes nothing shows nothing.
    let id = stream.id.clone();
    stream.ask(data(&id, vec![])).await?;
    silent(rig, &mut stream, "F57").await
}

async fn elsewhere(rig: &mut Rig) -> Result {
    let mut stream = rig.fresh(COUNTER).await?;
    let id = stream.id.clone();
    stream.ask(data(&id, vec![Step::Change(4)])).await?;
    let watch = watch(&mut stream, vec![]).await?;
    for number in [1, 2, -9] {
        stream.change(&Step::Change(number)).await;
        let ends = next(&mut stream, watch).await?;
        ensure(!ends, "F57", "a message that is not the last", "the last")?;
    }
    Ok(())
}

async fn several(rig: &mut Rig) -> Result {
    let mut stream = rig.fresh(COUNTER).await?;
    let first = watch(&mut stream, vec![]).await?;
    let second = watch(&mut stream, vec![]).await?;
    change(&mut stream, Step::Change(4), &[first, second]).await?;
    let mut other = rig.fresh(COUNTER).await?;
    change(&mut other, Step::Change(4), &[]).await?;
    silent(rig, &mut stream, "F12").await
}

async fn ends(rig: &mut Rig) -> Result {
    let mut stream = rig.fresh(Service::Data(DataType::Set)).await?;
    let watch = watch(&mut stream, vec![]).await?;
    change(&mut stream, Step::Add("a".into()), &[watch]).await?;
    let id = stream.id.clone();
    // From elsewhere, so that nothing else is answered.
    stream.change(&Step::Clear(Nothing {})).await;
    let ends = next(&mut stream, watch).await?;
    ensure(ends, "F57", "the last message", "one that is not the last")?;
    stream.ask(data(&id, vec![Step::Add("b".into())])).await?;
    silent(rig, &mut stream, "F57").await
}

async fn rejected(rig: &mut Rig) -> Result {
    let mut stream = rig.fresh(COUNTER).await?;
    let id = stream.id.clone();
    let fail = Step::Fail(Fail {
        code: 2,
        message: "not so".into(),
        details: Vec::new(),
    });
    let asked = data(&id, vec![fail]);
    let number = stream.put_streamed(asked).await;
    let heard = stream.hear().await?;
    let Heard::Out(out) = &heard else {
        return Err(misfit("a failure", &heard));
    };
    let decision = convert::decision(stream.dialect, &stream.record, out)?;
    let right = matches!(&decision.answer, Some(decision::Answer::Failure(failure))
        if failure.message == "not so" && decision.command == number.cast_unsigned());
    ensure(
        right,
        "F19",
        "a failure \"not so\"",
        show::data_decision(&decision),
    )?;
    stream.ask(data(&id, vec![Step::Change(1)])).await?;
    silent(rig, &mut stream, "F57").await
}

async fn cancelled(rig: &mut Rig, last_will: Vec<Step>) -> Result {
    let mut stream = rig.fresh(COUNTER).await?;
    let id = stream.id.clone();
    stream.ask(data(&id, vec![Step::Change(4)])).await?;
    let watch = watch(&mut stream, last_will.clone()).await?;
    change(&mut stream, Step::Change(1), &[watch]).await?;
    let cancel = StreamCancelled {
        entity_id: id.clone(),
        id: watch,
    };
    stream.send(&In::Cancelled(cancel)).await;
    let out = match stream.hear().await? {
        Heard::Out(out @ Out::Cancelled(_)) => out,
        other => {
            let came = show::short(&format!("{other:?}"));
            return Err(Fault::new("F58", "an answer to the cancellation", came));
        }
    };
    let decision = convert::decision(stream.dialect, &stream.record, &out)?;
    let mut after = stream.record.data();
    for step in &last_will {
        after.step(step);
    }
    let mut left = stream.record.clone();
    left.apply(&decision)?;
    let right = decision.command == watch.cast_unsigned()
        && decision.mutation.is_some() != last_will.is_empty()
        && same_data(&left.data(), &after);
    let expected = format!("an answer for {watch} that leaves {after:?}");
    ensure(right, "F58", expected, show::short(&format!("{out:?}")))?;
    stream.record = left;
    stream.ask(data(&id, vec![Step::Change(1)])).await?;
    silent(rig, &mut stream, "F58").await
}
