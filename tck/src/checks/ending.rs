//! Goodbye, from both sides.

use super::{Check, Needs, Result, check, ensure};
use crate::connection::{Event, frame};
use crate::fault::Fault;
use crate::kit::{Kit, append, set, two, welcome};
use crate::proto::model::{Reply, step::Step};
use crate::proto::v1::Goodbye;
use crate::proto::v1::firn_frame::Frame as Sent;
use crate::service::Service;

pub(super) const CHECKS: &[Check] = &[
    check(
        "ending/what_is_open_is_finished_when_firn_stops",
        &["R7", "R91"],
        |kit| Box::pin(firn_stops(kit)),
    ),
    Check {
        needs: Needs::Stop,
        ..check(
            "ending/function_says_goodbye_and_finishes",
            &["R90"],
            |kit| Box::pin(function_stops(kit)),
        )
    },
];

/// Opens a command of an entity that waits for a call, and an entity that is idle.
async fn open_some(kit: &mut Kit) -> Result<(u64, u64)> {
    kit.on()?.answers_calls = false;
    let (idle, busy) = (kit.entity(Service::Value), kit.entity(Service::Events));
    kit.ask(&idle, vec![set("a")]).await?;
    let steps = vec![append("a"), Step::Call(two("x", vec![])), append("b")];
    let ticket = kit.put(&busy, steps)?;
    let call = kit.call().await?.id;
    Ok((ticket, call))
}

async fn firn_stops(kit: &mut Kit) -> Result {
    kit.fresh(welcome()).await?;
    let (ticket, call) = open_some(kit).await?;
    kit.send(vec![frame(Sent::Goodbye(Goodbye {}))]).await?;
    kit.on()?.answer_call(call, Ok(Reply::default()));
    kit.decision(ticket).await?;
    let mut settled = false;
    while !settled {
        kit.on()?.close_all();
        settled = kit.on()?.is_idle();
        if !settled && let Event::Ended(why) = kit.next("Closed of what was idle").await? {
            let expected = "what is open to be finished";
            return Err(Fault::new("R91", expected, why));
        }
    }
    // With nothing open it may still be asked.
    let late = kit.entity(Service::Value);
    kit.ask(&late, vec![set("a")]).await?;
    kit.end(0, "", "");
    kit.fresh(welcome()).await?;
    kit.fence().await
}

async fn function_stops(kit: &mut Kit) -> Result {
    kit.fresh(welcome()).await?;
    let (ticket, call) = open_some(kit).await?;
    let entity = kit.entity(Service::Value);
    kit.ask(&entity, vec![set("a")]).await?;
    kit.stop();
    let goodbye = |event: &Event| matches!(event, Event::Goodbye).then_some(());
    kit.wait("Goodbye", goodbye).await?;
    // What was begun goes on: the open command, and entities that it holds.
    kit.ask(&entity, vec![append("b")]).await?;
    kit.on()?.answer_call(call, Ok(Reply::default()));
    kit.decision(ticket).await?;
    kit.settle().await?;
    let ended = kit
        .on()?
        .events
        .iter()
        .any(|event| matches!(event, Event::Ended(_)));
    ensure(
        kit.on()?.is_idle() || ended,
        "R90",
        "nothing open",
        "something",
    )?;
    kit.end(0, "", "");
    Ok(())
}
