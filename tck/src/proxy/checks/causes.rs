//! What decisions cause: effects, timers, calls.

use super::requests::text_is;
use super::{Check, Result, Rig, check};
use crate::fault::Fault;
use crate::kit::{append, fail, set, two};
use crate::proto::model::{Effect, SetTimer, Step, step};
use crate::proxy::rig::{ok, refused, reply_of};
use crate::service::Service;

pub(super) const CHECKS: &[Check] = &[
    check("effects/caller_waits_where_it_should", &["R28"], |rig| {
        Box::pin(waits(rig))
    }),
    check("effects/come_once", &["R28"], |rig| {
        Box::pin(effects(rig, Order::Any))
    }),
    check("effects/come_in_order", &["R28"], |rig| {
        Box::pin(effects(rig, Order::Same))
    }),
    check("effects/chain_is_bounded", &["R28"], |rig| {
        Box::pin(chain(rig))
    }),
    check("effects/of_a_failure_do_not_happen", &["R23"], |rig| {
        Box::pin(failed_effect(rig))
    }),
    check("effects/publish_needs_a_broker", &["R30"], |rig| {
        Box::pin(publish(rig))
    }),
    check("calls/handlers_call_others", &["R70", "R71"], |rig| {
        Box::pin(calls(rig))
    }),
    check("calls/circle_is_refused", &["R72"], |rig| {
        Box::pin(circle(rig))
    }),
    check(
        "timers/run_at_their_time_and_are_replaced",
        &["R29"],
        |rig| Box::pin(timers(rig)),
    ),
    check("effects/delayed_ones_run_later", &["R29"], |rig| {
        Box::pin(delayed(rig))
    }),
];

fn effect(id: &str, steps: Vec<step::Step>, wait: bool, delay_ms: u32) -> step::Step {
    step::Step::Effect(Effect {
        target: Some(two(id, steps)),
        wait,
        delay_ms,
    })
}

async fn waits(rig: &mut Rig) -> Result {
    rig.ready().await?;
    let (key, target) = (rig.entity(Service::Value), rig.entity(Service::Two));
    for number in 1..=5 {
        rig.ask(
            &key,
            vec![append("x"), effect(&target.1, vec![append("e")], true, 0)],
        )
        .await?;
        let has = rig.player.newest(&target).state().count;
        if has != number {
            let expected = format!("{number} effects when the caller is answered");
            return Err(Fault::new("R28", expected, has.to_string()));
        }
    }
    Ok(())
}

/// Waits until the target has what it is to have.
async fn comes(rig: &mut Rig, target: &crate::proxy::player::Key, text: &str) -> Result {
    rig.wait_for(&format!("{text:?} at the target of effects"));
    while rig.player.newest(target).state().text.len() < text.len() {
        rig.step().await?;
    }
    // Once more would come before this.
    text_is("R28", &rig.ask(target, vec![]).await?, text)
}

/// In which order the effects of a decision come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    Any,
    Same,
}

async fn effects(rig: &mut Rig, order: Order) -> Result {
    rig.ready().await?;
    for service in [Service::Value, Service::Events, Service::Actor] {
        let (key, target) = (rig.entity(service), rig.entity(Service::Two));
        let mut all = Vec::new();
        for number in 0..20 {
            let words = ["a", "b", "c"].map(|part| format!("<{number}{part}>"));
            let mut steps = vec![append("x")];
            for word in words {
                steps.push(effect(&target.1, vec![append(&word)], false, 0));
            }
            all.push(rig.begin_entity(&key, steps).await?);
        }
        for pending in all {
            ok(&rig.answer(pending).await?)?;
        }
        rig.wait_for("all effects");
        while rig.player.newest(&target).state().count < 60 {
            rig.step().await?;
        }
        // Once more would come before this.
        let text = rig.ask(&target, vec![]).await?.text;
        for number in 0..20 {
            let places = ["a", "b", "c"].map(|part| {
                let word = format!("<{number}{part}>");
                (text.find(&word), text.matches(&word).count())
            });
            let once = places.iter().all(|(_, count)| *count == 1);
            if !once || order == Order::Same && !places.is_sorted() {
                let expected = format!("effects {number}a, {number}b, {number}c once, in order");
                return Err(Fault::new("R28", expected, text));
            }
        }
    }
    Ok(())
}

async fn chain(rig: &mut Rig) -> Result {
    rig.ready().await?;
    // Each forwards to the next one.
    let mut target = two("end", vec![]);
    for number in 0..20 {
        let id = format!("chain-{number}");
        target = two(&id, vec![step::Step::Forward(target)]);
    }
    let steps = vec![step::Step::Forward(target)];
    let pending = rig.begin(Service::Action, "Unary", steps).await?;
    let answer = rig.answer(pending).await?;
    if answer.end.code == "FIRN-3013" {
        return Ok(());
    }
    Err(Fault::new("R28", "FIRN-3013", format!("{:?}", answer.end)))
}

async fn failed_effect(rig: &mut Rig) -> Result {
    rig.ready().await?;
    let mut function = rig.play().await?;
    use crate::proto::v1::function_frame::Frame;
    use crate::proto::v1::{CallEffect, Decision, Effect, Failure, decision, effect};
    let key = rig.entity(Service::Value);
    let pending = rig.begin_entity(&key, vec![]).await?;
    let command = function.command("the command").await?;
    let target = crate::service::to_target(&two("never", vec![]));
    let call = CallEffect {
        target,
        ..CallEffect::default()
    };
    let decision = Decision {
        command: command.id,
        answer: Some(decision::Answer::Failure(Failure {
            code: 9,
            message: "no".into(),
            ..Failure::default()
        })),
        effects: vec![Effect {
            effect: Some(effect::Effect::Call(call)),
        }],
        ..Decision::default()
    };
    function.send(Frame::Decision(decision)).await;
    refused(&pending.call.answer().await, "R23", 9, "")?;
    // Whatever came of it would come before this.
    rig.is_served(&mut function).await?;
    rig.dismiss(function).await
}

async fn publish(rig: &mut Rig) -> Result {
    rig.ready().await?;
    let key = rig.entity(Service::Value);
    let publish = step::Step::Publish(crate::proto::model::Publish {
        topic: "t".into(),
        text: "x".into(),
    });
    let pending = rig.begin_entity(&key, vec![set("no"), publish]).await?;
    let answer = rig.answer(pending).await?;
    if answer.end.code != "FIRN-3035" {
        return Err(Fault::new("R30", "FIRN-3035", format!("{:?}", answer.end)));
    }
    text_is("R30", &rig.ask(&key, vec![]).await?, "")
}

async fn calls(rig: &mut Rig) -> Result {
    rig.ready().await?;
    let target = rig.entity(Service::Two);
    let call = |steps| step::Step::Call(two(&target.1, steps));
    let steps = || {
        vec![
            call(vec![append("c")]),
            call(vec![fail(9, "no", &["why"])]),
            append("x"),
        ]
    };
    for service in [Service::Value, Service::Events, Service::Actor] {
        let key = rig.entity(service);
        let reply = rig.ask(&key, steps()).await?;
        let [good, bad] = reply.called.as_slice() else {
            return Err(Fault::new("R70", "two results", format!("{reply:?}")));
        };
        if good.reply.is_none() || bad.code != 9 || bad.details != ["why"] {
            return Err(Fault::new(
                "R70",
                "a reply and a failure",
                format!("{reply:?}"),
            ));
        }
    }
    let pending = rig.begin(Service::Action, "Unary", steps()).await?;
    let reply = reply_of(&rig.answer(pending).await?)?;
    text_is("R70", &rig.ask(&target, vec![]).await?, "cccc")?;
    match reply.called.len() {
        2 => Ok(()),
        count => Err(Fault::new("R70", "two results", count.to_string())),
    }
}

async fn circle(rig: &mut Rig) -> Result {
    rig.ready().await?;
    let (one, other) = (rig.entity(Service::Two), rig.entity(Service::Value));
    let itself = step::Step::Call(two(&one.1, vec![]));
    let around = step::Step::Call(crate::kit::value(
        &other.1,
        vec![step::Step::Call(two(&one.1, vec![]))],
    ));
    for (step, depth) in [(itself, 0), (around, 1)] {
        let mut called = rig.ask(&one, vec![step]).await?.called;
        for _ in 0..depth {
            called = called
                .pop()
                .and_then(|one| one.reply)
                .unwrap_or_default()
                .called;
        }
        let refused = called
            .first()
            .is_some_and(|called| called.code == 9 && called.message.contains("FIRN-3037"));
        if !refused {
            return Err(Fault::new(
                "R72",
                "FAILED_PRECONDITION, FIRN-3037",
                format!("{called:?}"),
            ));
        }
    }
    Ok(())
}

fn timer(name: &str, after_ms: u32, word: &str) -> step::Step {
    step::Step::SetTimer(SetTimer {
        name: name.into(),
        after_ms,
        repeat: false,
        steps: vec![Step {
            step: Some(append(word)),
        }],
    })
}

async fn timers(rig: &mut Rig) -> Result {
    rig.ready().await?;
    for service in [Service::Value, Service::Events, Service::Actor] {
        let key = rig.entity(service);
        let steps = vec![
            timer("replaced", 100, "no"),
            timer("cancelled", 100, "no"),
            timer("late", 300, "late"),
        ];
        rig.ask(&key, steps).await?;
        let cancel = step::Step::CancelTimer("cancelled".into());
        rig.ask(&key, vec![cancel, timer("replaced", 200, "replaced;")])
            .await?;
        rig.wait_for("two timers");
        while rig.player.newest(&key).state().count < 2 {
            rig.step().await?;
        }
        text_is("R29", &rig.ask(&key, vec![]).await?, "replaced;late")?;
    }
    Ok(())
}

async fn delayed(rig: &mut Rig) -> Result {
    rig.ready().await?;
    let (key, target) = (rig.entity(Service::Value), rig.entity(Service::Two));
    let steps = vec![
        append("x"),
        effect(&target.1, vec![append("late")], false, 300),
        effect(&target.1, vec![append("soon;")], false, 0),
    ];
    rig.ask(&key, steps).await?;
    comes(rig, &target, "soon;late").await
}
