//! The decisions that the steps of requests mean, for where the kit plays the function.

use prost::Message as _;

use super::{Answer, Asked, Change, Circumstances, Expected, play};
use crate::fault::Fault;
use crate::proto::model::{Appended, DataRequest, Header, Request, State, Value, data_step, step};
use crate::proto::v1::metadata::entry;
use crate::proto::v1::{self, Decision, Metadata, decision, effect, mutation, timer};
use crate::proto::{any, text};
use crate::record::Record;
use crate::service::{SNAPSHOT_EVERY, Service, to_target};

/// What the model services decide on this record, and the record after it.
///
/// Of a replicated entity the request has one step that changes at most. One that hangs has no
/// decision: that is the caller's to see.
pub(crate) fn decide(
    record: &Record,
    asked: &Asked,
    with: &Circumstances<'_>,
    command: u64,
) -> Result<(Decision, Record), Fault> {
    let mut decision = match asked {
        Asked::Steps(request) => decide_steps(record, request, with),
        Asked::Data(request) => decide_data(record, request),
    };
    decision.command = command;
    if matches!(decision.answer, Some(decision::Answer::Failure(_))) {
        // Nothing changes (R23), so this is what it leaves (R24).
        decision.version = record.version;
    }
    let mut after = record.clone();
    if !matches!(decision.answer, Some(decision::Answer::Failure(_))) {
        after.apply(&decision)?;
    }
    Ok((decision, after))
}

fn failing(code: i32, message: &str, details: &[String]) -> Decision {
    Decision {
        answer: Some(decision::Answer::Failure(v1::Failure {
            code,
            message: message.to_owned(),
            details: details.iter().map(|one| text(one)).collect(),
        })),
        ..Decision::default()
    }
}

fn decide_steps(record: &Record, request: &Request, with: &Circumstances<'_>) -> Decision {
    let expected = play(record, request, with.called, with.headers);
    let answer = match &expected.answer {
        Answer::Fail(fail) => return failing(fail.code, &fail.message, &fail.details),
        Answer::Crash | Answer::Any => return failing(2, "it broke", &[]),
        Answer::Forward(target) => to_target(target).map(decision::Answer::Forward),
        Answer::Reply => Some(decision::Answer::Reply(
            expected.reply.encode_to_vec().into(),
        )),
    };
    let (mutation, version) = mutation(record, &expected);
    let header = |header: &Header| v1::metadata::Entry {
        key: header.name.clone(),
        value: Some(match header.name.ends_with("-bin") {
            true => entry::Value::Binary(header.value.clone()),
            false => entry::Value::Text(String::from_utf8_lossy(&header.value).into_owned()),
        }),
    };
    Decision {
        answer,
        metadata: Some(Metadata {
            entries: expected.headers.iter().map(header).collect(),
        }),
        mutation: mutation.map(|mutation| v1::Mutation {
            mutation: Some(mutation),
        }),
        effects: expected.effects.iter().map(to_effect).collect(),
        timers: expected
            .timers
            .iter()
            .map(|step| to_timer(step, with.entity_id))
            .collect(),
        version,
        ..Decision::default()
    }
}

/// The mutation and the version that it leaves.
fn mutation(record: &Record, expected: &Expected) -> (Option<mutation::Mutation>, u64) {
    let state = any("State", &expected.state);
    let is_events = record.service == Service::Events;
    match (record.service, expected.change) {
        (Service::Action, _) | (_, Change::None) => (None, record.version),
        (_, Change::Delete) => {
            let version = if is_events { 0 } else { record.version + 1 };
            (Some(mutation::Mutation::Delete(v1::Delete {})), version)
        }
        (Service::Events, Change::Set) => {
            let version = record.version + expected.events.len() as u64;
            let every = u64::from(SNAPSHOT_EVERY);
            let due = version / every > record.version / every;
            let appended = |text: &String| any("Appended", &Appended { text: text.clone() });
            let append = v1::Append {
                events: expected.events.iter().map(appended).collect(),
                snapshot: due.then_some(state),
            };
            (Some(mutation::Mutation::Append(append)), version)
        }
        (Service::Actor, Change::Set) => {
            let actor = v1::Actor {
                state: (expected.state != State::default()).then_some(state),
                tags: expected.reply.tags.clone(),
            };
            let mutation = mutation::Mutation::Actor(actor);
            (Some(mutation), record.version + 1)
        }
        (_, Change::Set) => (Some(mutation::Mutation::Set(state)), record.version + 1),
    }
}

fn duration(millis: u32) -> prost_types::Duration {
    prost_types::Duration {
        seconds: i64::from(millis / 1_000),
        nanos: (millis % 1_000 * 1_000_000).cast_signed(),
    }
}

fn to_effect(step: &step::Step) -> v1::Effect {
    let effect = match step {
        step::Step::Effect(wanted) => Some(effect::Effect::Call(v1::CallEffect {
            target: wanted.target.as_ref().and_then(to_target),
            wait: wanted.wait,
            delay: (wanted.delay_ms > 0).then(|| duration(wanted.delay_ms)),
        })),
        step::Step::Publish(wanted) => Some(effect::Effect::Publish(v1::Publish {
            topic: wanted.topic.clone(),
            message: Some(text(&wanted.text)),
            metadata: None,
        })),
        _ => None,
    };
    v1::Effect { effect }
}

fn to_timer(step: &step::Step, id: &str) -> v1::Timer {
    let (name, action) = match step {
        step::Step::SetTimer(wanted) => {
            let request = Request {
                id: id.to_owned(),
                steps: wanted.steps.clone(),
            };
            let schedule = timer::Schedule {
                after: Some(duration(wanted.after_ms)),
                method: "Process".into(),
                message: request.encode_to_vec().into(),
                repeat: wanted.repeat,
            };
            (wanted.name.clone(), Some(timer::Action::Set(schedule)))
        }
        step::Step::CancelTimer(name) => {
            (name.clone(), Some(timer::Action::Cancel(timer::Unset {})))
        }
        _ => (String::new(), None),
    };
    v1::Timer { name, action }
}

fn decide_data(record: &Record, request: &DataRequest) -> Decision {
    let mut after = record.data();
    let mut mutation = None;
    for step in request.steps.iter().filter_map(|one| one.step.as_ref()) {
        match step {
            data_step::Step::Fail(fail) => {
                return failing(fail.code, &fail.message, &fail.details);
            }
            data_step::Step::Crash(_) => return failing(2, "it broke", &[]),
            data_step::Step::Call(_) | data_step::Step::Hang(_) => {}
            data_step::Step::Delete(_) => {
                mutation = Some(mutation::Mutation::Delete(v1::Delete {}));
            }
            step => {
                mutation = Some(mutation::Mutation::Update(v1::Update {
                    delta: Some(after.change(step)),
                    consistency: request.consistency.cast_signed(),
                }));
                after.step(step);
            }
        }
    }
    let is_delete = matches!(mutation, Some(mutation::Mutation::Delete(_)));
    let shown = match is_delete {
        true => Value::default(),
        false => after.value(),
    };
    Decision {
        answer: Some(decision::Answer::Reply(shown.encode_to_vec().into())),
        mutation: mutation.map(|mutation| v1::Mutation {
            mutation: Some(mutation),
        }),
        ..Decision::default()
    }
}
