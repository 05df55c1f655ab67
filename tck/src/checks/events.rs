//! Event sourced entities.

use super::{Check, Result, check, ensure};
use crate::connection::{Entity, Judge};
use crate::kit::{Kit, append, delete, fail, failure_of, process, two};
use crate::proto::any;
use crate::proto::model::{Appended, Effect, State, step::Step};
use crate::proto::v1::{History, Opening, opening};
use crate::service::Service;

pub(super) const CHECKS: &[Check] = &[
    check(
        "events/events_are_folded_and_numbered",
        &["R24", "R51"],
        |kit| Box::pin(lives(kit)),
    ),
    check("events/snapshot_comes_when_it_is_due", &["R51"], |kit| {
        Box::pin(snapshots(kit))
    }),
    check(
        "events/opening_brings_snapshot_and_events",
        &["R40", "R51"],
        |kit| Box::pin(reopened(kit)),
    ),
    check(
        "events/pipelined_commands_follow_each_other",
        &["R21"],
        |kit| Box::pin(pipelined(kit)),
    ),
    check(
        "events/failure_after_events_leaves_none",
        &["R23", "R24", "R42"],
        |kit| Box::pin(failure(kit)),
    ),
    check(
        "events/failure_between_pipelined_commands",
        &["R21", "R23", "R42"],
        |kit| Box::pin(failure_between(kit)),
    ),
    check("events/delete_begins_at_nothing", &["R24"], |kit| {
        Box::pin(deleted(kit))
    }),
    check(
        "events/forward_and_effects_go_with_events",
        &["R28"],
        |kit| Box::pin(causes(kit)),
    ),
    check(
        "events/event_that_cannot_be_folded_is_a_failure",
        &["R43"],
        |kit| Box::pin(unreadable(kit)),
    ),
];

async fn lives(kit: &mut Kit) -> Result {
    kit.ready().await?;
    let entity = kit.entity(Service::Events);
    kit.ask(&entity, vec![]).await?;
    kit.ask(&entity, vec![append("a")]).await?;
    kit.ask(&entity, vec![append("b"), append("c")]).await?;
    kit.ask(&entity, vec![]).await?;
    Ok(())
}

async fn snapshots(kit: &mut Kit) -> Result {
    kit.ready().await?;
    let entity = kit.entity(Service::Events);
    for number in 0..12 {
        kit.ask(&entity, vec![append(&format!("{number},"))])
            .await?;
    }
    // Three at a time pass a multiple in the middle; twelve pass two.
    for number in 0..6 {
        kit.ask(&entity, vec![append(&format!("{number};")); 3])
            .await?;
    }
    kit.ask(&entity, vec![append("x"); 12]).await?;
    // Also after an incarnation that began in between.
    kit.close(&entity).await?;
    kit.ask(&entity, vec![append("y"); 2]).await?;
    kit.ask(&entity, vec![append("y"); 4]).await?;
    Ok(())
}

async fn reopened(kit: &mut Kit) -> Result {
    kit.ready().await?;
    let entity = kit.entity(Service::Events);
    for number in 0..14 {
        kit.close(&entity).await?;
        kit.ask(&entity, vec![append(&format!("{number},"))])
            .await?;
    }
    // A snapshot alone.
    kit.ask(&entity, vec![append("x")]).await?;
    kit.close(&entity).await?;
    kit.ask(&entity, vec![]).await?;
    Ok(())
}

async fn pipelined(kit: &mut Kit) -> Result {
    kit.ready().await?;
    let entity = kit.entity(Service::Events);
    let mut tickets = Vec::new();
    for number in 0..60 {
        let times = number % 3;
        tickets.push(kit.put(&entity, vec![append(&format!("{number},")); times])?);
    }
    for ticket in tickets {
        kit.decision(ticket).await?;
    }
    Ok(())
}

async fn failure(kit: &mut Kit) -> Result {
    kit.ready().await?;
    let entity = kit.entity(Service::Events);
    kit.ask(&entity, vec![append("a")]).await?;
    kit.ask(&entity, vec![append("b"), fail(9, "not so", &["why"])])
        .await?;
    kit.ask(&entity, vec![append("c")]).await?;
    kit.ask(&entity, vec![append("d"), Step::Crash("on purpose".into())])
        .await?;
    kit.ask(&entity, vec![append("e")]).await?;
    kit.ask(&entity, vec![fail(9, "before any", &[])]).await?;
    kit.ask(&entity, vec![]).await?;
    Ok(())
}

async fn failure_between(kit: &mut Kit) -> Result {
    kit.ready().await?;
    let entity = kit.entity(Service::Events);
    let mut tickets = Vec::new();
    for number in 0..20 {
        let mut steps = vec![append(&format!("{number},"))];
        match number % 4 {
            1 => steps.push(fail(9, "not so", &[])),
            3 => steps.push(Step::Crash("on purpose".into())),
            _ => {}
        }
        tickets.push(kit.put(&entity, steps)?);
    }
    for ticket in tickets {
        kit.decision(ticket).await?;
    }
    Ok(())
}

async fn deleted(kit: &mut Kit) -> Result {
    kit.ready().await?;
    let entity = kit.entity(Service::Events);
    kit.ask(&entity, vec![append("a"); 7]).await?;
    kit.ask(&entity, vec![delete()]).await?;
    kit.ask(&entity, vec![]).await?;
    kit.ask(&entity, vec![append("b"); 4]).await?;
    kit.ask(&entity, vec![append("b")]).await?;
    kit.ask(&entity, vec![delete()]).await?;
    kit.ask(&entity, vec![delete()]).await?;
    Ok(())
}

async fn causes(kit: &mut Kit) -> Result {
    kit.ready().await?;
    let entity = kit.entity(Service::Events);
    let effect = Step::Effect(Effect {
        target: Some(two("a", vec![append("1")])),
        wait: false,
        delay_ms: 2_000,
    });
    kit.ask(&entity, vec![append("a"), effect.clone()]).await?;
    let forward = Step::Forward(two("b", vec![append("2")]));
    kit.ask(&entity, vec![append("b"), forward, effect]).await?;
    kit.ask(&entity, vec![Step::Call(two("c", vec![])), append("d")])
        .await?;
    Ok(())
}

/// Opens an entity with this history and expects that the function cannot.
async fn cannot_open(kit: &mut Kit, entity: &Entity, history: History) -> Result {
    let mut new = process(entity, vec![append("a")]);
    new.judge = Judge::Raw;
    let opening = Opening {
        entity_id: entity.id.clone(),
        version: 1,
        state: Some(opening::State::History(history)),
    };
    let ticket = kit.on()?.open_with(entity, new, opening, None)?;
    let incarnation = kit.on()?.incarnation(entity).unwrap_or(0);
    failure_of(&kit.decision(ticket).await?)?;
    let asked = kit.closed(incarnation).await?;
    ensure(!asked, "R43", "Closed unasked", "Closed")
}

async fn unreadable(kit: &mut Kit) -> Result {
    kit.ready().await?;
    let entity = kit.entity(Service::Events);
    let unknown = any("NeverHeardOf", &Appended::default());
    let mut damaged = any("Appended", &Appended::default());
    damaged.value = vec![0x0a, 0x7f, 0x01];
    for event in [unknown, damaged] {
        let history = History {
            events: vec![any("Appended", &Appended { text: "a".into() }), event],
            ..History::default()
        };
        cannot_open(kit, &entity, history).await?;
    }
    let mut snapshot = any("State", &State::default());
    snapshot.value = vec![0x0a, 0x7f, 0x01];
    let history = History {
        snapshot: Some(snapshot),
        snapshot_version: 1,
        events: Vec::new(),
    };
    cannot_open(kit, &entity, history).await?;
    kit.ask(&entity, vec![append("b")]).await?;
    Ok(())
}
