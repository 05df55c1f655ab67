//! Actors.

use super::{Check, Result, check};
use crate::kit::{Kit, append, delete, fail, set};
use crate::proto::model::{SetTag, step::Step};
use crate::service::Service;

pub(super) const CHECKS: &[Check] = &[
    check(
        "actor/state_and_tags_are_set_and_deleted",
        &["R24", "R54"],
        |kit| Box::pin(lives(kit)),
    ),
    check(
        "actor/opening_brings_state_and_tags",
        &["R40", "R54"],
        |kit| Box::pin(reopened(kit)),
    ),
    check(
        "actor/pipelined_commands_follow_each_other",
        &["R21"],
        |kit| Box::pin(pipelined(kit)),
    ),
    check("actor/failure_changes_nothing", &["R23", "R24"], |kit| {
        Box::pin(failure(kit))
    }),
];

fn tag(name: &str, value: &str) -> Step {
    Step::SetTag(SetTag {
        name: name.into(),
        value: value.into(),
    })
}

async fn lives(kit: &mut Kit) -> Result {
    kit.ready().await?;
    let entity = kit.entity(Service::Actor);
    kit.ask(&entity, vec![]).await?;
    kit.ask(
        &entity,
        vec![set("a"), tag("color", "red"), tag("size", "big")],
    )
    .await?;
    kit.ask(&entity, vec![]).await?;
    kit.ask(&entity, vec![append("b")]).await?;
    kit.ask(&entity, vec![tag("color", ""), tag("none", "")])
        .await?;
    kit.ask(&entity, vec![tag("size", "small")]).await?;
    kit.ask(&entity, vec![delete()]).await?;
    kit.ask(&entity, vec![tag("only", "tags")]).await?;
    kit.ask(&entity, vec![]).await?;
    Ok(())
}

async fn reopened(kit: &mut Kit) -> Result {
    kit.ready().await?;
    let entity = kit.entity(Service::Actor);
    kit.ask(&entity, vec![tag("a", "1")]).await?;
    kit.close(&entity).await?;
    kit.ask(&entity, vec![append("b")]).await?;
    kit.close(&entity).await?;
    kit.ask(&entity, vec![append("c"), tag("d", "2")]).await?;
    kit.close(&entity).await?;
    kit.ask(&entity, vec![]).await?;
    kit.ask(&entity, vec![delete()]).await?;
    kit.close(&entity).await?;
    kit.ask(&entity, vec![]).await?;
    Ok(())
}

async fn pipelined(kit: &mut Kit) -> Result {
    kit.ready().await?;
    let entity = kit.entity(Service::Actor);
    let mut tickets = Vec::new();
    for number in 0..30 {
        let step = if number % 2 == 0 {
            append(&format!("{number},"))
        } else {
            tag("last", &format!("{number}"))
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
    let entity = kit.entity(Service::Actor);
    kit.ask(&entity, vec![set("a"), tag("b", "1")]).await?;
    kit.ask(
        &entity,
        vec![append("c"), tag("b", "2"), fail(9, "not so", &[])],
    )
    .await?;
    kit.ask(&entity, vec![]).await?;
    kit.ask(
        &entity,
        vec![tag("b", ""), Step::Crash("on purpose".into())],
    )
    .await?;
    kit.ask(&entity, vec![append("d")]).await?;
    Ok(())
}
