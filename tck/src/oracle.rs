//! What a model service does with a request, by the README of the kit.
//!
//! [`Expected`] is worked out when the decision comes, on the state that the predecessor's decision
//! left, and held against it. This is the one place that knows what steps mean.

mod decide;

use prost::Message as _;

use crate::data::Data;
use crate::fault::Fault;
use crate::proto::model::{
    Called, DataRequest, Fail, Header, Reply, Request, SetTimer, State, Target, Value, data_step,
    step,
};
use crate::proto::v1::metadata::entry;
use crate::proto::v1::{self, DataType, Decision, Metadata, decision, effect, mutation, timer};
use crate::proto::{text, text_of, unpack};
use crate::record::Record;
use crate::service::{Service, is_target};
use crate::show;

pub(crate) use decide::decide;

/// The request of a command.
#[derive(Clone, Debug)]
pub(crate) enum Asked {
    Steps(Request),
    Data(DataRequest),
}

impl Asked {
    pub(crate) fn encode(&self) -> Vec<u8> {
        match self {
            Self::Steps(request) => request.encode_to_vec(),
            Self::Data(request) => request.encode_to_vec(),
        }
    }

    /// The targets of the calls that its steps make.
    pub(crate) fn calls(&self) -> Vec<&Target> {
        match self {
            Self::Steps(request) => {
                let steps = request.steps.iter().filter_map(|one| one.step.as_ref());
                let calls = steps.map(|step| match step {
                    step::Step::Call(target) => Some(target),
                    _ => None,
                });
                calls.flatten().collect()
            }
            Self::Data(request) => {
                let steps = request.steps.iter().filter_map(|one| one.step.as_ref());
                let calls = steps.map(|step| match step {
                    data_step::Step::Call(target) => Some(target),
                    _ => None,
                });
                calls.flatten().collect()
            }
        }
    }
}

enum Answer {
    Reply,
    Forward(Target),
    Fail(Fail),
    Crash,
    /// It hangs, so it ends as it likes.
    Any,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Change {
    None,
    Set,
    Delete,
}

/// What a decision should be.
struct Expected {
    answer: Answer,
    reply: Reply,
    state: State,
    change: Change,
    /// The texts that were appended.
    events: Vec<String>,
    effects: Vec<step::Step>,
    timers: Vec<step::Step>,
    headers: Vec<Header>,
}

fn play(record: &Record, request: &Request, called: &[Called], headers: &Metadata) -> Expected {
    let mut expected = Expected {
        answer: Answer::Reply,
        reply: Reply::default(),
        state: record.state(),
        change: Change::None,
        events: Vec::new(),
        effects: Vec::new(),
        timers: Vec::new(),
        headers: Vec::new(),
    };
    let mut tags = record.tags.clone();
    let mut called = called.iter();
    for step in request.steps.iter().filter_map(|one| one.step.as_ref()) {
        match step {
            step::Step::Set(text) => {
                expected.state.text.clone_from(text);
                expected.state.count += 1;
                expected.change = Change::Set;
            }
            step::Step::Append(text) => {
                expected.state.text.push_str(text);
                expected.events.push(text.clone());
                expected.state.count += 1;
                expected.change = Change::Set;
            }
            step::Step::SetTag(tag) => {
                expected.change = Change::Set;
                if tag.value.is_empty() {
                    tags.remove(&tag.name);
                } else {
                    tags.insert(tag.name.clone(), tag.value.clone());
                }
            }
            step::Step::Delete(_) => {
                expected.state = State::default();
                tags.clear();
                expected.change = Change::Delete;
            }
            step::Step::Fail(fail) => {
                expected.answer = Answer::Fail(fail.clone());
                return expected;
            }
            step::Step::Crash(_) => {
                expected.answer = Answer::Crash;
                return expected;
            }
            step::Step::Hang(_) => {
                expected.answer = Answer::Any;
                return expected;
            }
            step::Step::Forward(target) => expected.answer = Answer::Forward(target.clone()),
            step::Step::Effect(_) | step::Step::Publish(_) => expected.effects.push(step.clone()),
            step::Step::Call(_) => expected.reply.called.extend(called.next().cloned()),
            step::Step::ShowHeader(name) => {
                expected.reply.headers.extend(values(headers, name));
            }
            step::Step::SetHeader(header) => expected.headers.push(header.clone()),
            step::Step::Pad(length) => expected.reply.pad = pad(*length),
            step::Step::Send(_) => {}
            step::Step::SetTimer(_) | step::Step::CancelTimer(_) => {
                expected.timers.push(step.clone());
            }
        }
    }
    expected.reply.text.clone_from(&expected.state.text);
    expected.reply.count = expected.state.count;
    expected.reply.tags = tags;
    expected
}

/// The bytes of a `pad`.
pub(crate) fn pad(length: u32) -> bytes::Bytes {
    (0..length)
        .map(|place| u8::try_from(place % 251).expect("below 251"))
        .collect::<Vec<u8>>()
        .into()
}

/// The values that a request has under a name.
fn values(headers: &Metadata, name: &str) -> Vec<Header> {
    let entries = headers.entries.iter().filter(|entry| entry.key == name);
    let header = |entry: &v1::metadata::Entry| Header {
        name: name.to_owned(),
        value: match &entry.value {
            Some(entry::Value::Text(text)) => text.clone().into_bytes().into(),
            Some(entry::Value::Binary(binary)) => binary.clone(),
            None => bytes::Bytes::new(),
        },
    };
    entries.map(header).collect()
}

/// Holds metadata against the headers that were to be set.
fn check_headers(expected: &[Header], given: Option<&Metadata>) -> Result<(), Fault> {
    for header in expected {
        let found = given.map_or_else(Vec::new, |given| values(given, &header.name));
        let binary = header.name.ends_with("-bin");
        let entries = given.map_or(&[][..], |given| &given.entries);
        let kind = entries
            .iter()
            .filter(|entry| entry.key == header.name)
            .all(|entry| matches!(entry.value, Some(entry::Value::Binary(_))) == binary);
        if !found.contains(header) || !kind {
            let kind = if binary { "bytes" } else { "text" };
            return Err(Fault::new(
                "R23",
                format!(
                    "the reply's header {} as {kind} {:?}",
                    header.name, header.value
                ),
                format!("{given:?}"),
            ));
        }
    }
    Ok(())
}

/// Holds effects against the steps that wanted them.
pub(crate) fn check_effects(steps: &[step::Step], given: &[v1::Effect]) -> Result<(), Fault> {
    let fits = |(step, effect): (&step::Step, &v1::Effect)| match (step, &effect.effect) {
        (step::Step::Effect(wanted), Some(effect::Effect::Call(call))) => {
            let delay = call.delay.as_ref().map_or(0, millis);
            wanted
                .target
                .as_ref()
                .is_some_and(|target| is_target(call.target.as_ref(), target))
                && call.wait == wanted.wait
                && delay == i64::from(wanted.delay_ms)
        }
        (step::Step::Publish(wanted), Some(effect::Effect::Publish(publish))) => {
            publish.topic == wanted.topic
                && publish.message.as_ref().and_then(text_of).as_ref() == Some(&wanted.text)
        }
        _ => false,
    };
    if steps.len() == given.len() && steps.iter().zip(given).all(fits) {
        return Ok(());
    }
    Err(Fault::new(
        "R28",
        format!("the effects {}", show::short(&format!("{steps:?}"))),
        show::short(&format!("{given:?}")),
    ))
}

fn millis(duration: &prost_types::Duration) -> i64 {
    duration.seconds * 1_000 + i64::from(duration.nanos) / 1_000_000
}

fn check_timers(steps: &[step::Step], given: &[v1::Timer], id: &str) -> Result<(), Fault> {
    let schedule_fits = |wanted: &SetTimer, schedule: &timer::Schedule| {
        let request = Request {
            id: id.to_owned(),
            steps: wanted.steps.clone(),
        };
        schedule.method == "Process"
            && schedule.repeat == wanted.repeat
            && schedule.after.as_ref().map_or(0, millis) == i64::from(wanted.after_ms)
            && Request::decode(schedule.message.clone()).is_ok_and(|given| given == request)
    };
    let fits = |(step, timer): (&step::Step, &v1::Timer)| match (step, &timer.action) {
        (step::Step::SetTimer(wanted), Some(timer::Action::Set(schedule))) => {
            timer.name == wanted.name && schedule_fits(wanted, schedule)
        }
        (step::Step::CancelTimer(name), Some(timer::Action::Cancel(_))) => timer.name == *name,
        _ => false,
    };
    if steps.len() == given.len() && steps.iter().zip(given).all(fits) {
        return Ok(());
    }
    Err(Fault::new(
        "R29",
        format!("the timers {}", show::short(&format!("{steps:?}"))),
        show::short(&format!("{given:?}")),
    ))
}

fn check_failure(fail: &Fail, decision: &Decision) -> Result<(), Fault> {
    let Some(decision::Answer::Failure(failure)) = &decision.answer else {
        return Err(unlike(fail, decision));
    };
    let details: Option<Vec<String>> = failure.details.iter().map(text_of).collect();
    let same = failure.code == fail.code
        && failure.message == fail.message
        && details.as_ref() == Some(&fail.details);
    if same {
        Ok(())
    } else {
        Err(unlike(fail, decision))
    }
}

fn unlike(expected: &impl std::fmt::Debug, decision: &Decision) -> Fault {
    Fault::new(
        "R23",
        show::short(&format!("{expected:?}")),
        show::decision(decision),
    )
}

/// What a command was sent with.
pub(crate) struct Circumstances<'a> {
    pub(crate) entity_id: &'a str,
    pub(crate) called: &'a [Called],
    pub(crate) headers: &'a Metadata,
}

/// Holds the decision of a unary method against the steps, on this record.
pub(crate) fn check(
    record: &Record,
    asked: &Asked,
    with: &Circumstances<'_>,
    decision: &Decision,
) -> Result<(), Fault> {
    match asked {
        Asked::Steps(request) => check_steps(record, request, with, decision),
        Asked::Data(request) => check_data(record, request, decision),
    }
}

/// A failure that comes of a mistake in the code.
pub(crate) fn check_crash(decision: &Decision) -> Result<(), Fault> {
    match &decision.answer {
        Some(decision::Answer::Failure(failure)) if matches!(failure.code, 2 | 13) => Ok(()),
        _ => Err(unlike(&"a failure UNKNOWN or INTERNAL", decision)),
    }
}

fn check_steps(
    record: &Record,
    request: &Request,
    with: &Circumstances<'_>,
    decision: &Decision,
) -> Result<(), Fault> {
    let expected = play(record, request, with.called, with.headers);
    match &expected.answer {
        Answer::Any => return Ok(()),
        Answer::Crash => return check_crash(decision),
        Answer::Fail(fail) => return check_failure(fail, decision),
        Answer::Forward(target) => match &decision.answer {
            Some(decision::Answer::Forward(given)) if is_target(Some(given), target) => {}
            _ => return Err(unlike(&target, decision)),
        },
        Answer::Reply => {
            check_reply(&expected.reply, decision)?;
            check_headers(&expected.headers, decision.metadata.as_ref())?;
        }
    }
    check_effects(&expected.effects, &decision.effects)?;
    check_timers(&expected.timers, &decision.timers, with.entity_id)?;
    check_mutation(record, &expected, decision)
}

fn check_reply(expected: &Reply, decision: &Decision) -> Result<(), Fault> {
    let given = match &decision.answer {
        Some(decision::Answer::Reply(reply)) => Reply::decode(reply.clone()).ok(),
        None => Some(Reply::default()),
        _ => None,
    };
    if given.as_ref() == Some(expected) {
        return Ok(());
    }
    let expected = show::reply(expected);
    Err(Fault::new("R21", expected, show::decision(decision)))
}

fn check_mutation(record: &Record, expected: &Expected, decision: &Decision) -> Result<(), Fault> {
    let mutation = decision
        .mutation
        .as_ref()
        .and_then(|one| one.mutation.as_ref());
    let fits = match (record.service, expected.change, mutation) {
        (Service::Action, _, mutation) => mutation.is_none(),
        (_, Change::None, None) => true,
        (_, Change::Delete, Some(mutation::Mutation::Delete(_))) => true,
        (Service::Value | Service::Two, Change::Set, Some(mutation::Mutation::Set(set))) => {
            unpack::<State>(set, "State").as_ref() == Some(&expected.state)
        }
        (Service::Actor, Change::Set, Some(mutation::Mutation::Actor(actor))) => {
            let state = actor
                .state
                .as_ref()
                .map(|any| unpack::<State>(any, "State"));
            let none = expected.state == State::default();
            actor.tags == expected.reply.tags
                && (state == Some(Some(expected.state.clone())) || none && state.is_none())
        }
        (Service::Events, Change::Set, Some(mutation::Mutation::Append(append))) => {
            // The texts; version and snapshot are looked at as the record takes them.
            let before = record.state().text;
            let texts = append.events.iter().map(|event| {
                unpack::<crate::proto::model::Appended>(event, "Appended")
                    .unwrap_or_default()
                    .text
            });
            before + &texts.collect::<String>() == expected.state.text
                && record.state().count + append.events.len() as u64 == expected.state.count
        }
        _ => false,
    };
    if fits {
        return Ok(());
    }
    let requirement = match record.service {
        Service::Events => "R51",
        Service::Actor => "R54",
        Service::Action => "R55",
        _ => "R50",
    };
    let wanted = match expected.change {
        Change::None => "no mutation".to_owned(),
        Change::Delete => "a delete".to_owned(),
        Change::Set => format!("a mutation that leaves {:?}", expected.state),
    };
    Err(Fault::new(
        requirement,
        show::short(&wanted),
        show::decision(decision),
    ))
}

fn check_data(record: &Record, request: &DataRequest, decision: &Decision) -> Result<(), Fault> {
    let mut after = record.data();
    let mut deleted = false;
    for step in request.steps.iter().filter_map(|one| one.step.as_ref()) {
        match step {
            data_step::Step::Fail(fail) => return check_failure(fail, decision),
            data_step::Step::Crash(_) => return check_crash(decision),
            data_step::Step::Hang(_) => return Ok(()),
            data_step::Step::Call(_) => {}
            data_step::Step::Delete(_) => {
                deleted = true;
                if let Service::Data(data_type) = record.service {
                    after = Data::empty(data_type);
                }
            }
            step => after.step(step),
        }
    }
    let given = match &decision.answer {
        Some(decision::Answer::Reply(reply)) => Value::decode(reply.clone()).ok(),
        None => Some(Value::default()),
        _ => None,
    };
    if !given
        .as_ref()
        .is_some_and(|given| same_value(&after, given))
    {
        let expected = show::short(&format!("{:?}", after.value()));
        return Err(Fault::new("R52", expected, show::data_decision(decision)));
    }
    let mut left = record.clone();
    left.apply(decision)?;
    let mutation = decision
        .mutation
        .as_ref()
        .and_then(|one| one.mutation.as_ref());
    let consistent = match mutation {
        Some(mutation::Mutation::Update(update)) => {
            // It may also say again what the component says.
            let component = u32::from(record.service == Service::Data(DataType::Counter));
            let given = update.consistency.cast_unsigned();
            given == request.consistency || given == request.consistency.max(component)
        }
        _ => true,
    };
    let is_delete = matches!(mutation, Some(mutation::Mutation::Delete(_)));
    if is_delete != deleted || !consistent || !(deleted || same_data(&left.data(), &after)) {
        let expected = format!(
            "a mutation of consistency {} that leads from {:?} to {after:?}",
            request.consistency,
            record.data()
        );
        return Err(Fault::new(
            "R52",
            show::short(&expected),
            show::data_decision(decision),
        ));
    }
    Ok(())
}

/// Whether two values are the same as far as the function can know.
pub(crate) fn same_data(left: &Data, right: &Data) -> bool {
    match (left, right) {
        // From the function only its own vote counts.
        (Data::Vote { own, .. }, Data::Vote { own: other, .. }) => own == other,
        (Data::Map(left), Data::Map(right)) => {
            left.len() == right.len()
                && left
                    .iter()
                    .zip(right)
                    .all(|((key, one), (other_key, other))| {
                        key == other_key && same_data(one, other)
                    })
        }
        (left, right) => left.value() == right.value(),
    }
}

/// Whether a reply shows a value.
pub(crate) fn same_value(data: &Data, given: &Value) -> bool {
    let mut given = given.clone();
    if matches!(data, Data::MultiMap(_)) {
        given.entries.retain(|entry| {
            entry
                .value
                .as_ref()
                .is_some_and(|value| !value.elements.is_empty())
        });
    }
    match data {
        Data::Vote { own, .. } => *own == given.on,
        Data::Map(map) => {
            map.len() == given.entries.len()
                && map.iter().zip(&given.entries).all(|((key, data), entry)| {
                    let value = entry.value.clone().unwrap_or_default();
                    *key == entry.key && same_value(data, &value)
                })
        }
        data => data.value() == given,
    }
}

/// A register's written value and the rest of the write, as a delta should have them.
pub(crate) fn write(wanted: &crate::proto::model::Write) -> v1::Write {
    v1::Write {
        value: Some(text(&wanted.text)),
        clock: wanted.clock.cast_signed(),
        custom: wanted.custom,
    }
}
