//! Calls through Firn by the function.

use super::{Check, Result, check, ensure};
use crate::connection::Event;
use crate::kit::{Kit, append, reply_of, set, two, value, welcome};
use crate::proto::model::{Reply, step::Step};
use crate::proto::text;
use crate::proto::v1::Failure;
use crate::service::Service;

pub(super) const CHECKS: &[Check] = &[
    check(
        "calls/handlers_of_all_models_call_and_use_what_comes",
        &["R70"],
        |kit| Box::pin(all_models(kit)),
    ),
    check(
        "calls/failures_of_calls_come_whole",
        &["R70", "R71"],
        |kit| Box::pin(failing(kit)),
    ),
    check("calls/answers_come_in_any_order", &["R70", "R22"], |kit| {
        Box::pin(any_order(kit))
    }),
    check("calls/calls_wait_for_credit", &["R73"], |kit| {
        Box::pin(credit(kit))
    }),
    check("calls/credit_lets_more_calls_open", &["R73"], |kit| {
        Box::pin(granted(kit))
    }),
    check(
        "calls/entity_that_waits_for_a_call_keeps_order",
        &["R21", "R70"],
        |kit| Box::pin(in_order(kit)),
    ),
    check(
        "calls/cancelled_caller_with_an_open_call",
        &["R62", "R74"],
        |kit| Box::pin(cancelled(kit)),
    ),
];

fn call(id: &str) -> Step {
    Step::Call(two(id, vec![append("called")]))
}

async fn all_models(kit: &mut Kit) -> Result {
    kit.ready().await?;
    kit.ask_action(vec![call("a"), set("x"), Step::Call(value("b", vec![]))])
        .await?;
    for service in [
        Service::Value,
        Service::Two,
        Service::Events,
        Service::Actor,
    ] {
        let entity = kit.entity(service);
        kit.ask(
            &entity,
            vec![append("a"), call("a"), append("b"), call("b")],
        )
        .await?;
        kit.ask(&entity, vec![append("c")]).await?;
    }
    Ok(())
}

async fn failing(kit: &mut Kit) -> Result {
    kit.ready().await?;
    kit.on()?.answers_calls = false;
    for code in [5, 9, 14] {
        let ticket = kit.put_action("Unary", vec![call("a"), set("after")])?;
        let id = kit.call().await?.id;
        let failure = Failure {
            code,
            message: "the call failed".into(),
            details: vec![text("why"), text("how")],
        };
        kit.on()?.answer_call(id, Err(failure));
        kit.decision(ticket).await?;
    }
    Ok(())
}

async fn any_order(kit: &mut Kit) -> Result {
    kit.ready().await?;
    kit.on()?.answers_calls = false;
    let mut tickets = Vec::new();
    let granted = kit.on()?.commands_left;
    for number in 0..granted.min(20) {
        tickets.push(kit.put_action("Unary", vec![call(&format!("{number}"))])?);
    }
    let mut calls = Vec::new();
    for _ in &tickets {
        calls.push(kit.call().await?.id);
    }
    for id in calls.into_iter().rev() {
        let reply = Reply {
            text: format!("{id}"),
            ..Reply::default()
        };
        kit.on()?.answer_call(id, Ok(reply));
    }
    for ticket in tickets {
        kit.decision(ticket).await?;
    }
    Ok(())
}

/// How many calls are open at once when credit is short.
fn calls_come(kit: &mut Kit, expected: usize) -> Result {
    let is_call = |event: &Event| matches!(event, Event::Call(_));
    let came = kit
        .on()?
        .events
        .iter()
        .filter(|event| is_call(event))
        .count();
    let text = format!("{expected} calls open at once");
    ensure(came == expected, "R73", text, format!("{came}"))
}

async fn credit(kit: &mut Kit) -> Result {
    let mut few = welcome();
    few.calls = 2;
    kit.fresh(few).await?;
    kit.on()?.answers_calls = false;
    let mut tickets = Vec::new();
    for number in 0..6 {
        tickets.push(kit.put_action("Unary", vec![call(&format!("{number}"))])?);
    }
    for _ in 0..3 {
        kit.fence().await?;
        calls_come(kit, 2)?;
        for _ in 0..2 {
            let id = kit.call().await?.id;
            kit.on()?.answer_call(id, Ok(Reply::default()));
        }
    }
    for ticket in tickets {
        kit.decision(ticket).await?;
    }
    kit.disconnect();
    Ok(())
}

async fn granted(kit: &mut Kit) -> Result {
    let mut few = welcome();
    few.calls = 1;
    kit.fresh(few).await?;
    kit.on()?.answers_calls = false;
    let mut tickets = Vec::new();
    for number in 0..5 {
        tickets.push(kit.put_action("Unary", vec![call(&format!("{number}"))])?);
    }
    kit.fence().await?;
    calls_come(kit, 1)?;
    kit.on()?.grant_calls(3);
    let mut calls = Vec::new();
    for _ in 0..4 {
        calls.push(kit.call().await?.id);
    }
    kit.fence().await?;
    calls_come(kit, 0)?;
    for id in calls {
        kit.on()?.answer_call(id, Ok(Reply::default()));
    }
    let id = kit.call().await?.id;
    kit.on()?.answer_call(id, Ok(Reply::default()));
    for ticket in tickets {
        kit.decision(ticket).await?;
    }
    kit.disconnect();
    Ok(())
}

async fn in_order(kit: &mut Kit) -> Result {
    kit.ready().await?;
    kit.on()?.answers_calls = false;
    for service in [Service::Value, Service::Events, Service::Actor] {
        let entity = kit.entity(service);
        let first = kit.put(&entity, vec![append("a"), call("x"), append("b")])?;
        let second = kit.put(&entity, vec![append("c")])?;
        let id = kit.call().await?.id;
        kit.fence().await?;
        kit.on()?.answer_call(id, Ok(Reply::default()));
        kit.decision(first).await?;
        let reply = reply_of(&kit.decision(second).await?)?;
        ensure(reply.text == "abc", "R21", "\"abc\"", format!("{reply:?}"))?;
    }
    Ok(())
}

async fn cancelled(kit: &mut Kit) -> Result {
    kit.ready().await?;
    kit.on()?.answers_calls = false;
    let ticket = kit.put_action("Unary", vec![call("a")])?;
    let id = kit.call().await?.id;
    kit.on()?.cancel(ticket);
    kit.fence().await?;
    kit.on()?.answer_call(id, Ok(Reply::default()));
    kit.decision(ticket).await?;
    // A result of a call that nobody knows is nothing.
    let result = crate::proto::v1::CallResult {
        id: id + 1_000,
        ..Default::default()
    };
    let frame = crate::proto::v1::firn_frame::Frame::CallResult(result);
    kit.send(vec![crate::connection::frame(frame)]).await?;
    kit.fence().await
}
