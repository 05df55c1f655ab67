//! What streams of entities have in common: value, event sourced and replicated.

use super::{COUNTER, Check, EVENTS, Needs, Result, VALUE, check, ensure};
use crate::families::convert;
use crate::families::function::entity::{Heard, Stream};
use crate::families::function::rig::{Rig, data, steps};
use crate::families::stream::{In, Out};
use crate::fault::Fault;
use crate::kit::{append, reply_of, two, value};
use crate::oracle::Asked;
use crate::proto::model::{Effect, Header, data_step, step::Step};
use crate::proto::v1::metadata::{Entry, entry};
use crate::proto::v1::{DataType, Decision, Metadata, decision};
use crate::service::Service;
use crate::show;

const DATA: Service = Service::Data(DataType::Counter);

/// How many streams are open at once.
const MANY: usize = 200;

macro_rules! of_each {
    ($($name:literal, $requirements:expr, $run:ident;)*) => {
        pub(super) const CHECKS: &[Check] = &[
            $(
                check(concat!("value/", $name), $requirements, VALUE, |rig| {
                    Box::pin($run(rig, Service::Value))
                }),
                check(concat!("events/", $name), $requirements, EVENTS, |rig| {
                    Box::pin($run(rig, Service::Events))
                }),
                check(concat!("data/", $name), $requirements, COUNTER, |rig| {
                    Box::pin($run(rig, DATA))
                }),
            )*
            check("value/forward_names_method_and_request", &["F20"], VALUE, |rig| {
                Box::pin(forward(rig, Service::Value))
            }),
            check("events/forward_names_method_and_request", &["F20"], EVENTS, |rig| {
                Box::pin(forward(rig, Service::Events))
            }),
            check("value/effects_come_in_order", &["F21"], VALUE, |rig| {
                Box::pin(effects(rig, Service::Value))
            }),
            check("events/effects_come_in_order", &["F21"], EVENTS, |rig| {
                Box::pin(effects(rig, Service::Events))
            }),
            check("value/headers_come_and_go", &["F22"], Needs::EntityMetadata, |rig| {
                Box::pin(headers(rig, Service::Value))
            }),
            check("events/headers_come_and_go", &["F22"], Needs::EntityMetadata, |rig| {
                Box::pin(headers(rig, Service::Events))
            }),
            check("value/takes_and_gives_megabytes", &["F11"], VALUE, |rig| {
                Box::pin(large(rig))
            }),
        ];
    };
}

of_each! {
    "nothing_comes_before_a_command", &["F10"], quiet;
    "stream_ends_with_the_proxy", &["F13"], ends;
    "open_command_is_answered_before_the_end", &["F11", "F13"], ends_answered;
    "many_streams_are_open", &["F12"], many;
    "unknown_method_fails", &["F17"], unknown;
    "broken_handler_fails_its_command", &["F16"], broken;
    "command_before_the_beginning_fails", &["F18"], headless;
    "second_beginning_fails", &["F18"], twice;
    "unknown_service_fails", &["F18"], nowhere;
}

/// A request that changes something.
fn change(id: &str, service: Service) -> Asked {
    match service {
        Service::Data(_) => data(id, vec![data_step::Step::Change(3)]),
        _ => steps(id, vec![append("a")]),
    }
}

/// A request that only looks.
fn look(id: &str, service: Service) -> Asked {
    match service {
        Service::Data(_) => data(id, vec![]),
        _ => steps(id, vec![]),
    }
}

async fn quiet(rig: &mut Rig, service: Service) -> Result {
    let mut stream = rig.fresh(service).await?;
    let id = stream.id.clone();
    stream.ask(change(&id, service)).await?;
    let mut stream = rig.reopen(stream).await?;
    // Time enough for one that speaks too early.
    rig.discover().await?;
    let came = stream.has_something();
    ensure(came.is_none(), "F10", "nothing", came.unwrap_or_default())?;
    stream.ask(look(&id, service)).await?;
    rig.leave(stream).await;
    Ok(())
}

async fn ends(rig: &mut Rig, service: Service) -> Result {
    let stream = rig.fresh(service).await?;
    stream.end().await?;
    let mut stream = rig.fresh(service).await?;
    let id = stream.id.clone();
    for _ in 0..3 {
        stream.ask(change(&id, service)).await?;
        let record = stream.end().await?;
        stream = rig.open(&id, record).await?;
    }
    stream.end().await.map(|_| ())
}

async fn ends_answered(rig: &mut Rig, service: Service) -> Result {
    let mut stream = rig.fresh(service).await?;
    let id = stream.id.clone();
    stream.put(change(&id, service)).await;
    stream.half_close();
    let (_, decision) = stream.answer().await?;
    let came = show::short(&format!("{decision:?}"));
    let is_reply = matches!(decision.answer, Some(decision::Answer::Reply(_)));
    ensure(is_reply, "F11", "a reply", came)?;
    rig.leave(stream).await;
    Ok(())
}

async fn many(rig: &mut Rig, service: Service) -> Result {
    let mut streams = Vec::new();
    for _ in 0..MANY {
        streams.push(rig.fresh(service).await?);
    }
    for _ in 0..2 {
        // All at once, answered in any order between them.
        for stream in &mut streams {
            let id = stream.id.clone();
            stream.put(change(&id, service)).await;
        }
        for stream in &mut streams {
            stream.answer().await?;
        }
    }
    for mut stream in streams {
        let id = stream.id.clone();
        stream.ask(look(&id, service)).await?;
        rig.leave(stream).await;
    }
    Ok(())
}

/// What comes must be a failure, or the end.
async fn fails(stream: &mut Stream, requirement: &'static str) -> Result {
    let failed = match stream.hear().await? {
        Heard::End(_) | Heard::Out(Out::Failure(_)) => return Ok(()),
        Heard::Out(out) => convert::decision(stream.dialect, &stream.record, &out),
    };
    let came = match failed {
        Ok(Decision {
            answer: Some(decision::Answer::Failure(_)),
            mutation: None,
            ..
        }) => return Ok(()),
        other => show::short(&format!("{other:?}")),
    };
    Err(Fault::new(requirement, "a failure, or the end", came))
}

async fn unknown(rig: &mut Rig, service: Service) -> Result {
    let mut stream = rig.fresh(service).await?;
    let id = stream.id.clone();
    stream.ask(change(&id, service)).await?;
    let command = stream.command("Nothing", &look(&id, service));
    stream.send(&In::Command(command)).await;
    fails(&mut stream, "F17").await?;
    let mut stream = rig.reopen(stream).await?;
    stream.ask(look(&id, service)).await?;
    rig.leave(stream).await;
    Ok(())
}

async fn broken(rig: &mut Rig, service: Service) -> Result {
    let mut stream = rig.fresh(service).await?;
    let id = stream.id.clone();
    stream.ask(change(&id, service)).await?;
    for _ in 0..3 {
        let asked = match service {
            Service::Data(_) => data(
                &id,
                vec![
                    data_step::Step::Change(9),
                    data_step::Step::Crash("on purpose".into()),
                ],
            ),
            _ => steps(&id, vec![append("x"), Step::Crash("on purpose".into())]),
        };
        stream.ask(asked).await?;
        // The stream may have ended, so the store is asked.
        stream = rig.reopen(stream).await?;
        stream.ask(look(&id, service)).await?;
    }
    rig.leave(stream).await;
    Ok(())
}

async fn headless(rig: &mut Rig, service: Service) -> Result {
    let mut stream = rig.bare(service).await?;
    let id = stream.id.clone();
    let command = stream.command("Process", &look(&id, service));
    stream.send(&In::Command(command)).await;
    fails(&mut stream, "F18").await
}

async fn twice(rig: &mut Rig, service: Service) -> Result {
    let mut stream = rig.fresh(service).await?;
    let id = stream.id.clone();
    stream.ask(change(&id, service)).await?;
    for message in convert::begin(stream.dialect, &id, &stream.record) {
        stream.send(&message).await;
    }
    fails(&mut stream, "F18").await
}

async fn nowhere(rig: &mut Rig, service: Service) -> Result {
    let mut stream = rig.bare(service).await?;
    let id = stream.id.clone();
    for message in convert::begin(stream.dialect, &id, &stream.record) {
        let message = match message {
            In::Init(mut init) => {
                init.service_name += "Nowhere";
                In::Init(init)
            }
            other => other,
        };
        stream.send(&message).await;
    }
    // It may say so at once, or to the first command.
    let command = stream.command("Process", &look(&id, service));
    stream.send(&In::Command(command)).await;
    fails(&mut stream, "F18").await
}

fn effect(target: crate::proto::model::Target, wait: bool) -> Step {
    Step::Effect(Effect {
        target: Some(target),
        wait,
        delay_ms: 0,
    })
}

async fn forward(rig: &mut Rig, service: Service) -> Result {
    let mut stream = rig.fresh(service).await?;
    let id = stream.id.clone();
    let forward = |target| Step::Forward(target);
    let first = vec![forward(two("other", vec![append("x")]))];
    stream.ask(steps(&id, first)).await?;
    // What it changes goes with it, and the last one counts.
    let both = vec![
        append("a"),
        forward(two("other", vec![])),
        forward(value("another", vec![append("ä")])),
        append("b"),
    ];
    stream.ask(steps(&id, both)).await?;
    stream.ask(steps(&id, vec![])).await?;
    rig.leave(stream).await;
    Ok(())
}

async fn effects(rig: &mut Rig, service: Service) -> Result {
    let mut stream = rig.fresh(service).await?;
    let id = stream.id.clone();
    let some = vec![
        effect(two("a", vec![append("1")]), false),
        append("x"),
        effect(value("b", vec![append("2")]), true),
        effect(two("a", vec![append("3")]), false),
    ];
    stream.ask(steps(&id, some.clone())).await?;
    let forward = Step::Forward(two("c", vec![]));
    stream
        .ask(steps(&id, [some, vec![forward]].concat()))
        .await?;
    stream.ask(steps(&id, vec![])).await?;
    rig.leave(stream).await;
    Ok(())
}

async fn headers(rig: &mut Rig, service: Service) -> Result {
    let mut stream = rig.fresh(service).await?;
    let id = stream.id.clone();
    let text = |key: &str, text: &str| Entry {
        key: key.into(),
        value: Some(entry::Value::Text(text.into())),
    };
    let given = Metadata {
        entries: vec![
            text("x-tck", "one"),
            text("x-other", "ä"),
            text("x-tck", "two"),
        ],
    };
    let show_header = |name: &str| Step::ShowHeader(name.into());
    let set_header = Step::SetHeader(Header {
        name: "x-answer".into(),
        value: "yes".into(),
    });
    let asked = vec![show_header("x-tck"), show_header("x-none"), set_header];
    stream.put_with(steps(&id, asked), given).await;
    let (_, decision) = stream.answer().await?;
    let reply = reply_of(&decision)?;
    let came = format!("{:?}", reply.headers);
    ensure(reply.headers.len() == 2, "F22", "two headers", came)?;
    rig.leave(stream).await;
    Ok(())
}

async fn large(rig: &mut Rig) -> Result {
    let mut stream = rig.fresh(Service::Value).await?;
    let id = stream.id.clone();
    let text = "ä".repeat(500_000);
    stream.ask(steps(&id, vec![crate::kit::set(&text)])).await?;
    stream.ask(steps(&id, vec![Step::Pad(3_000_000)])).await?;
    let mut stream = rig.reopen(stream).await?;
    stream.ask(steps(&id, vec![append("!")])).await?;
    rig.leave(stream).await;
    Ok(())
}
