//! Value entities.

use super::{Check, Result, check, ensure};
use crate::connection::Judge;
use crate::kit::{Kit, append, delete, fail, hang, process, reply_of, set, two, value};
use crate::proto::model::{Effect, SetTimer, step::Step};
use crate::proto::v1::{Opening, opening};
use crate::service::Service;

pub(super) const CHECKS: &[Check] = &[
    check(
        "value/state_is_set_read_and_deleted",
        &["R24", "R50"],
        |kit| Box::pin(lives(kit)),
    ),
    check("value/opening_brings_the_state", &["R40", "R50"], |kit| {
        Box::pin(reopened(kit))
    }),
    check(
        "value/pipelined_commands_follow_each_other",
        &["R21"],
        |kit| Box::pin(pipelined(kit)),
    ),
    check("value/failure_changes_nothing", &["R23", "R24"], |kit| {
        Box::pin(failure(kit))
    }),
    check(
        "value/failure_between_pipelined_commands",
        &["R21", "R23"],
        |kit| Box::pin(failure_between(kit)),
    ),
    check(
        "value/forward_and_effects_go_with_the_state",
        &["R28"],
        |kit| Box::pin(causes(kit)),
    ),
    check("value/timers_are_set_and_cancelled", &["R29"], |kit| {
        Box::pin(timers(kit))
    }),
    check(
        "value/entities_do_not_wait_for_each_other",
        &["R22"],
        |kit| Box::pin(others_go(kit)),
    ),
    check(
        "value/state_that_cannot_be_read_is_a_failure",
        &["R43"],
        |kit| Box::pin(unreadable(kit)),
    ),
];

async fn lives(kit: &mut Kit) -> Result {
    kit.ready().await?;
    let entity = kit.entity(Service::Value);
    kit.ask(&entity, vec![]).await?;
    kit.ask(&entity, vec![delete()]).await?;
    kit.ask(&entity, vec![set("a")]).await?;
    kit.ask(&entity, vec![append("b"), append("c")]).await?;
    kit.ask(&entity, vec![]).await?;
    kit.ask(&entity, vec![delete()]).await?;
    kit.ask(&entity, vec![]).await?;
    kit.ask(&entity, vec![append("new")]).await?;
    // The second service is another one, with the same ids.
    let mut other = entity.clone();
    other.service = Service::Two;
    kit.ask(&other, vec![append("other")]).await?;
    kit.ask(&entity, vec![]).await?;
    Ok(())
}

async fn reopened(kit: &mut Kit) -> Result {
    kit.ready().await?;
    let entity = kit.entity(Service::Value);
    kit.ask(&entity, vec![set("a")]).await?;
    kit.close(&entity).await?;
    kit.ask(&entity, vec![append("b")]).await?;
    kit.close(&entity).await?;
    // Something else happened to it meanwhile.
    if let Some(record) = kit.store.get_mut(&entity) {
        record.version = 40;
        if let Some(state) = &mut record.state {
            state.text = "else".into();
        }
    }
    kit.ask(&entity, vec![append("c")]).await?;
    kit.ask(&entity, vec![delete()]).await?;
    kit.close(&entity).await?;
    kit.ask(&entity, vec![]).await?;
    Ok(())
}

async fn pipelined(kit: &mut Kit) -> Result {
    kit.ready().await?;
    let entity = kit.entity(Service::Value);
    let mut tickets = Vec::new();
    for number in 0..50 {
        let step = if number % 10 == 9 {
            delete()
        } else {
            append(&format!("{number},"))
        };
        tickets.push(kit.put(&entity, vec![step])?);
    }
    for ticket in tickets {
        kit.decision(ticket).await?;
    }
    Ok(())
}

async fn failure(kit: &mut Kit) -> Result {
    kit.ready().await?;
    let entity = kit.entity(Service::Value);
    kit.ask(&entity, vec![set("a")]).await?;
    kit.ask(&entity, vec![set("b"), fail(9, "not so", &["why"])])
        .await?;
    kit.ask(&entity, vec![]).await?;
    kit.ask(&entity, vec![append("b"), Step::Crash("on purpose".into())])
        .await?;
    kit.ask(&entity, vec![append("c")]).await?;
    kit.ask(&entity, vec![delete()]).await?;
    kit.ask(&entity, vec![set("b"), fail(9, "not so", &[])])
        .await?;
    kit.ask(&entity, vec![]).await?;
    Ok(())
}

async fn failure_between(kit: &mut Kit) -> Result {
    kit.ready().await?;
    let entity = kit.entity(Service::Value);
    let steps = [
        vec![set("a")],
        vec![append("b"), fail(9, "not so", &[])],
        vec![append("c")],
        vec![append("d"), Step::Crash("on purpose".into())],
        vec![append("e")],
    ];
    let mut tickets = Vec::new();
    for steps in steps {
        tickets.push(kit.put(&entity, steps)?);
    }
    for ticket in tickets {
        kit.decision(ticket).await?;
    }
    Ok(())
}

async fn causes(kit: &mut Kit) -> Result {
    kit.ready().await?;
    let entity = kit.entity(Service::Value);
    let effect = Step::Effect(Effect {
        target: Some(two("a", vec![append("1")])),
        wait: true,
        delay_ms: 0,
    });
    kit.ask(&entity, vec![set("a"), effect.clone()]).await?;
    let forward = Step::Forward(two("b", vec![append("2")]));
    kit.ask(&entity, vec![append("b"), forward.clone(), effect])
        .await?;
    kit.ask(&entity, vec![forward]).await?;
    kit.ask(&entity, vec![]).await?;
    Ok(())
}

async fn timers(kit: &mut Kit) -> Result {
    kit.ready().await?;
    let step = |text: &str| crate::proto::model::Step {
        step: Some(append(text)),
    };
    let timer = |name: &str, after_ms: u32, repeat: bool| {
        Step::SetTimer(SetTimer {
            name: name.into(),
            after_ms,
            repeat,
            steps: vec![step("tick"), step("tock")],
        })
    };
    for service in [Service::Value, Service::Events, Service::Actor] {
        let entity = kit.entity(service);
        kit.ask(&entity, vec![timer("t", 1_500, false)]).await?;
        kit.ask(
            &entity,
            vec![append("a"), timer("t", 0, true), timer("u", 1, false)],
        )
        .await?;
        kit.ask(
            &entity,
            vec![Step::CancelTimer("t".into()), Step::CancelTimer("v".into())],
        )
        .await?;
        kit.ask(&entity, vec![timer("t", 5, false), fail(9, "none", &[])])
            .await?;
    }
    Ok(())
}

async fn others_go(kit: &mut Kit) -> Result {
    kit.ready().await?;
    for service in [Service::Value, Service::Events, Service::Actor] {
        let (hangs, goes) = (kit.entity(service), kit.entity(service));
        kit.put(&hangs, vec![hang()])?;
        kit.put(&hangs, vec![append("never")])?;
        kit.ask(&goes, vec![append("a")]).await?;
        kit.ask_action(vec![set("a")]).await?;
        kit.close(&hangs).await?;
    }
    Ok(())
}

async fn unreadable(kit: &mut Kit) -> Result {
    kit.ready().await?;
    let entity = kit.entity(Service::Value);
    let mut new = process(&entity, vec![append("a")]);
    new.judge = Judge::Raw;
    let opening = Opening {
        entity_id: entity.id.clone(),
        version: 3,
        state: Some(opening::State::Value(prost_types::Any {
            type_url: "type.googleapis.com/firn.tck.v1.State".into(),
            value: vec![0x0a, 0x7f, 0x01],
        })),
    };
    let ticket = kit.on()?.open_with(&entity, new, opening, None)?;
    let incarnation = kit.on()?.incarnation(&entity).unwrap_or(0);
    let decision = kit.decision(ticket).await?;
    crate::kit::failure_of(&decision)?;
    let asked = kit.closed(incarnation).await?;
    ensure(!asked, "R43", "Closed unasked", "Closed")?;
    let decision = kit.ask(&entity, vec![append("b")]).await?;
    reply_of(&decision)?;
    // Calls back from an entity are no different from those of an action.
    kit.ask(
        &entity,
        vec![Step::Call(value("other", vec![])), append("c")],
    )
    .await?;
    Ok(())
}
