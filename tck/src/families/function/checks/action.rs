//! Actions: the four shapes, failures, metadata, forwards, effects.

use bytes::Bytes;
use prost::Message as _;

use super::{Check, Needs, Result, check, ensure};
use crate::families::function::action::{Action, Said};
use crate::families::function::rig::Rig;
use crate::fault::Fault;
use crate::kit::{append, fail, set, two, value};
use crate::oracle::check_effects;
use crate::proto::model::{Effect, Header, Reply, Send, Target, step::Step};
use crate::proto::v1::metadata::{Entry, entry};
use crate::proto::v1::{Decision, Metadata, decision};
use crate::show;

const ANY: Needs = Needs::Nothing;

pub(super) const CHECKS: &[Check] = &[
    check("action/unary_method_replies", &["F60"], ANY, |rig| {
        Box::pin(unary(rig))
    }),
    check(
        "action/streamed_requests_have_one_reply",
        &["F61"],
        ANY,
        |rig| Box::pin(collect(rig)),
    ),
    check(
        "action/streamed_replies_come_in_order",
        &["F62"],
        ANY,
        |rig| Box::pin(spread(rig)),
    ),
    check(
        "action/both_directions_are_streamed",
        &["F63"],
        ANY,
        |rig| Box::pin(converse(rig)),
    ),
    check(
        "action/rejected_call_has_its_text",
        &["F19", "F60"],
        ANY,
        |rig| Box::pin(rejected(rig)),
    ),
    check(
        "action/failure_ends_streamed_requests",
        &["F19", "F64"],
        ANY,
        |rig| Box::pin(fails_in_stream(rig, "Collect")),
    ),
    check(
        "action/failure_ends_streamed_replies",
        &["F19", "F64"],
        ANY,
        |rig| Box::pin(fails_in_stream(rig, "Spread")),
    ),
    check(
        "action/failure_ends_a_call_streamed_both_ways",
        &["F19", "F64"],
        ANY,
        |rig| Box::pin(fails_in_stream(rig, "Converse")),
    ),
    check(
        "action/broken_handler_fails_its_call",
        &["F16"],
        ANY,
        |rig| Box::pin(broken(rig, "Unary")),
    ),
    check(
        "action/broken_handler_fails_its_stream",
        &["F16"],
        ANY,
        |rig| Box::pin(broken(rig, "Spread")),
    ),
    check("action/unknown_method_fails", &["F17"], ANY, |rig| {
        Box::pin(unknown(rig))
    }),
    check(
        "action/forward_names_method_and_request",
        &["F20"],
        ANY,
        |rig| Box::pin(forward(rig)),
    ),
    check("action/effects_come_in_order", &["F21"], ANY, |rig| {
        Box::pin(effects(rig))
    }),
    check(
        "action/effects_come_with_streamed_replies",
        &["F21", "F65"],
        ANY,
        |rig| Box::pin(stream_effects(rig)),
    ),
    check(
        "action/headers_come_and_go",
        &["F22"],
        Needs::Metadata,
        |rig| Box::pin(headers(rig)),
    ),
    check(
        "action/calls_do_not_wait_for_each_other",
        &["F60"],
        ANY,
        |rig| Box::pin(side_by_side(rig)),
    ),
    check(
        "action/cancelled_call_disturbs_no_other",
        &["F66"],
        ANY,
        |rig| Box::pin(cancelled(rig)),
    ),
    check("action/takes_and_gives_megabytes", &["F60"], ANY, |rig| {
        Box::pin(large(rig))
    }),
];

/// A unary call: one response, and the end.
async fn ask(rig: &mut Rig, steps: Vec<Step>) -> Result<Decision> {
    ask_with(rig, steps, Metadata::default()).await
}

async fn ask_with(rig: &mut Rig, steps: Vec<Step>, headers: Metadata) -> Result<Decision> {
    let mut call = rig.action("Unary", headers).await?;
    call.send(steps.clone()).await;
    let decision = call.response().await?;
    call.judge(&steps, &decision)?;
    call.ended("F60").await?;
    Ok(decision)
}

async fn unary(rig: &mut Rig) -> Result {
    ask(rig, vec![]).await?;
    ask(rig, vec![set("a"), append("b")]).await?;
    ask(rig, vec![set("ä€😀"), Step::Pad(1_000)])
        .await
        .map(|_| ())
}

async fn begin(rig: &mut Rig, method: &'static str) -> Result<Action> {
    rig.action(method, Metadata::default()).await
}

async fn collect(rig: &mut Rig) -> Result {
    for messages in [
        vec![vec![append("a")], vec![append("b"), append("c")], vec![]],
        vec![],
        (0..100)
            .map(|number| vec![append(&format!("{number},"))])
            .collect(),
    ] {
        let mut call = begin(rig, "Collect").await?;
        for steps in &messages {
            call.send(steps.clone()).await;
        }
        call.end();
        let decision = call.response().await?;
        call.judge(&messages.concat(), &decision)
            .map_err(|fault| Fault {
                requirement: "F61",
                ..fault
            })?;
        call.ended("F61").await?;
    }
    Ok(())
}

fn send(text: &str, times: u32) -> Step {
    Step::Send(Send {
        text: text.into(),
        times,
        pause_ms: 0,
    })
}

/// The next replies have this text, and these numbers.
async fn replies(
    call: &mut Action,
    requirement: &'static str,
    text: &str,
    numbers: std::ops::RangeInclusive<u64>,
) -> Result {
    for number in numbers {
        let decision = call.response().await?;
        let reply = match &decision.answer {
            Some(decision::Answer::Reply(bytes)) => Reply::decode(bytes.clone()).ok(),
            _ => None,
        };
        let right = reply.is_some_and(|reply| reply.text == text && reply.count == number);
        let expected = format!("reply {number} with {text:?}");
        ensure(right, requirement, expected, show::decision(&decision))?;
    }
    Ok(())
}

async fn spread(rig: &mut Rig) -> Result {
    let mut call = begin(rig, "Spread").await?;
    call.send(vec![send("a", 3), send("b", 2)]).await;
    replies(&mut call, "F62", "a", 1..=3).await?;
    replies(&mut call, "F62", "b", 4..=5).await?;
    call.ended("F62").await?;
    let mut call = begin(rig, "Spread").await?;
    call.send(vec![]).await;
    call.ended("F62").await?;
    let mut call = begin(rig, "Spread").await?;
    call.send(vec![send("many", 500)]).await;
    replies(&mut call, "F62", "many", 1..=500).await?;
    call.ended("F62").await
}

async fn converse(rig: &mut Rig) -> Result {
    let mut call = begin(rig, "Converse").await?;
    call.send(vec![send("a", 2)]).await;
    // They come while requests may still be sent.
    replies(&mut call, "F63", "a", 1..=2).await?;
    call.send(vec![]).await;
    call.send(vec![send("b", 1)]).await;
    replies(&mut call, "F63", "b", 3..=3).await?;
    call.send(vec![send("c", 40)]).await;
    call.end();
    replies(&mut call, "F63", "c", 4..=43).await?;
    call.ended("F63").await
}

async fn rejected(rig: &mut Rig) -> Result {
    let dialect = rig.ready().await?;
    let codes = if dialect.has_codes() { 1..=16 } else { 2..=2 };
    for code in codes {
        ask(rig, vec![set("a"), fail(code, "it failed: ä", &[])]).await?;
    }
    ask(rig, vec![set("alive")]).await.map(|_| ())
}

async fn fails_in_stream(rig: &mut Rig, method: &'static str) -> Result {
    let (first, failing) = (send("a", 2), fail(2, "no more: ä", &[]));
    let mut call = begin(rig, method).await?;
    match method {
        "Spread" => call.send(vec![first, failing.clone()]).await,
        "Converse" => {
            call.send(vec![first]).await;
            call.send(vec![failing.clone()]).await;
        }
        _ => {
            call.send(vec![append("a")]).await;
            call.send(vec![failing.clone()]).await;
        }
    }
    if method != "Collect" {
        replies(&mut call, "F64", "a", 1..=2).await?;
    }
    let decision = call.response().await?;
    call.judge(&[failing], &decision)?;
    call.end();
    call.ended("F64").await?;
    ask(rig, vec![set("alive")]).await.map(|_| ())
}

/// A failure, or an end with an error.
async fn fails(call: &mut Action, requirement: &'static str) -> Result {
    let unlike = |expected: &str, came: &Said| {
        let came = show::short(&format!("{came:?}"));
        Err(Fault::new(requirement, expected, came))
    };
    match call.next().await? {
        Said::End(end) if end.status != 0 => Ok(()),
        Said::Response(Decision {
            answer: Some(decision::Answer::Failure(_)),
            ..
        }) => match call.next().await? {
            Said::End(_) => Ok(()),
            other => unlike("the end after a failure", &other),
        },
        other => unlike("a failure", &other),
    }
}

async fn broken(rig: &mut Rig, method: &'static str) -> Result {
    for _ in 0..3 {
        let mut call = begin(rig, method).await?;
        call.send(vec![set("a"), Step::Crash("on purpose".into())])
            .await;
        fails(&mut call, "F16").await?;
        ask(rig, vec![set("alive")]).await?;
    }
    Ok(())
}

async fn unknown(rig: &mut Rig) -> Result {
    let mut call = begin(rig, "Nothing").await?;
    call.send(vec![]).await;
    fails(&mut call, "F17").await?;
    ask(rig, vec![set("alive")]).await.map(|_| ())
}

async fn forward(rig: &mut Rig) -> Result {
    let forward = |target| Step::Forward(target);
    ask(rig, vec![forward(two("other", vec![append("x")]))]).await?;
    let both = vec![
        forward(two("other", vec![])),
        forward(value("another", vec![append("ä"), set("b")])),
        append("b"),
    ];
    ask(rig, both).await.map(|_| ())
}

fn effect(target: Target, wait: bool) -> Step {
    Step::Effect(Effect {
        target: Some(target),
        wait,
        delay_ms: 0,
    })
}

async fn effects(rig: &mut Rig) -> Result {
    let steps = vec![
        effect(two("a", vec![append("1")]), false),
        effect(value("b", vec![append("2")]), true),
        effect(two("a", vec![append("3")]), false),
        set("done"),
    ];
    ask(rig, steps.clone()).await?;
    let forward = Step::Forward(two("c", vec![]));
    ask(rig, [steps, vec![forward]].concat()).await.map(|_| ())
}

/// Those that no reply follows come in a response of their own.
async fn stream_effects(rig: &mut Rig) -> Result {
    let first = effect(two("a", vec![append("1")]), false);
    let second = effect(two("a", vec![append("2")]), true);
    let mut call = begin(rig, "Spread").await?;
    call.send(vec![first.clone(), send("a", 2), second.clone()])
        .await;
    let effects = |wanted: &[Step], given: &Decision| {
        check_effects(wanted, &given.effects).map_err(|fault| Fault {
            requirement: "F21",
            ..fault
        })
    };
    effects(&[first], &call.response().await?)?;
    effects(&[], &call.response().await?)?;
    let last = call.response().await?;
    effects(&[second], &last)?;
    ensure(
        last.answer.is_none(),
        "F65",
        "no reply",
        show::decision(&last),
    )?;
    call.ended("F65").await
}

async fn headers(rig: &mut Rig) -> Result {
    let set_header = |name: &str, value: &[u8]| {
        Step::SetHeader(Header {
            name: name.into(),
            value: Bytes::copy_from_slice(value),
        })
    };
    let show_header = |name: &str| Step::ShowHeader(name.into());
    let entry = |key: &str, value| Entry {
        key: key.into(),
        value: Some(value),
    };
    let text = |key: &str, text: &str| entry(key, entry::Value::Text(text.into()));
    let binary = entry::Value::Binary(Bytes::from_static(b"\x00\x80\xff"));
    let given = Metadata {
        entries: vec![
            text("x-tck", "one"),
            entry("x-tck-bin", binary),
            text("x-tck", "two"),
        ],
    };
    let steps = vec![
        show_header("x-tck"),
        show_header("x-tck-bin"),
        show_header("x-none"),
        set_header("x-answer", b"yes"),
        set_header("x-answer-bin", b"\x00\xff"),
    ];
    ask_with(rig, steps, given).await.map(|_| ())
}

async fn side_by_side(rig: &mut Rig) -> Result {
    let mut waiting = begin(rig, "Collect").await?;
    waiting.send(vec![append("a")]).await;
    let mut talking = begin(rig, "Converse").await?;
    talking.send(vec![send("x", 1)]).await;
    replies(&mut talking, "F63", "x", 1..=1).await?;
    ask(rig, vec![set("first")]).await?;
    waiting.end();
    let decision = waiting.response().await?;
    waiting.judge(&[append("a")], &decision)?;
    talking.end();
    talking.ended("F63").await
}

async fn cancelled(rig: &mut Rig) -> Result {
    for method in ["Collect", "Converse", "Spread"] {
        let mut call = begin(rig, method).await?;
        match method {
            "Collect" => call.send(vec![append("a")]).await,
            _ => {
                call.send(vec![send("x", 200)]).await;
                call.response().await?;
            }
        }
        drop(call);
        ask(rig, vec![set("alive")]).await?;
    }
    Ok(())
}

async fn large(rig: &mut Rig) -> Result {
    let text = "ä".repeat(500_000);
    ask(rig, vec![set(&text)]).await?;
    ask(rig, vec![Step::Pad(3_000_000)]).await.map(|_| ())
}
