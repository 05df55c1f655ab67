//! The end of incarnations, asked for and not.

use super::{Check, Result, check, ensure};
use crate::connection::{Entity, Event, NUMBER_MAX, frame};
use crate::kit::{Kit, append, hang, process, set, two};
use crate::proto::model::{Reply, step::Step};
use crate::proto::v1::firn_frame::Frame as Sent;
use crate::proto::v1::{Close, Command};
use crate::service::Service;

pub(super) const CHECKS: &[Check] = &[
    check("closing/idle_incarnation_is_forgotten", &["R41"], |kit| {
        Box::pin(idle(kit))
    }),
    check(
        "closing/running_handler_does_not_keep_it_open",
        &["R41"],
        |kit| Box::pin(running(kit)),
    ),
    check("closing/decisions_and_close_may_cross", &["R41"], |kit| {
        Box::pin(crossing(kit))
    }),
    check(
        "closing/handler_that_waits_for_a_call",
        &["R41", "R71"],
        |kit| Box::pin(calling(kit)),
    ),
    check(
        "closing/closed_while_its_state_was_not_taken",
        &["R45"],
        |kit| Box::pin(reverted(kit)),
    ),
    check(
        "closing/command_of_a_dead_incarnation_is_ignored",
        &["R42"],
        |kit| Box::pin(dead(kit)),
    ),
    check(
        "closing/function_bounds_what_it_holds",
        &["R42", "R44"],
        |kit| Box::pin(bounded(kit)),
    ),
    check(
        "closing/busy_entities_are_not_let_go",
        &["R42", "R44"],
        |kit| Box::pin(busy(kit)),
    ),
    check(
        "closing/let_go_while_commands_are_on_their_way",
        &["R42", "R44"],
        |kit| Box::pin(eviction_races(kit)),
    ),
    check(
        "closing/opened_again_before_it_is_closed",
        &["R40", "R41", "R45"],
        |kit| Box::pin(at_once(kit)),
    ),
    check(
        "closing/closed_while_a_large_reply_is_under_way",
        &["R41", "R81"],
        |kit| Box::pin(large(kit)),
    ),
];

/// How many incarnations the model program holds.
const HELD_MAX: usize = 64;

const ENTITIES: [Service; 3] = [Service::Value, Service::Events, Service::Actor];

async fn idle(kit: &mut Kit) -> Result {
    kit.ready().await?;
    for service in ENTITIES {
        let entity = kit.entity(service);
        for _ in 0..5 {
            kit.ask(&entity, vec![append("a")]).await?;
            kit.close(&entity).await?;
            // Were it remembered, this would come of nothing.
            kit.store.remove(&entity);
        }
    }
    Ok(())
}

async fn running(kit: &mut Kit) -> Result {
    kit.ready().await?;
    for service in ENTITIES {
        let entity = kit.entity(service);
        kit.ask(&entity, vec![append("a")]).await?;
        kit.put(&entity, vec![append("b"), hang()])?;
        kit.put(&entity, vec![append("c")])?;
        kit.fence().await?;
        kit.close(&entity).await?;
        kit.ask(&entity, vec![append("d")]).await?;
        kit.fence().await?;
    }
    Ok(())
}

async fn crossing(kit: &mut Kit) -> Result {
    kit.ready().await?;
    for service in ENTITIES {
        let entity = kit.entity(service);
        for number in 0..20 {
            for _ in 0..number {
                kit.put(&entity, vec![append("a")])?;
            }
            // In the same batch as the commands, so that it meets them at any point.
            kit.close(&entity).await?;
        }
        kit.ask(&entity, vec![append("b")]).await?;
    }
    kit.fence().await
}

async fn calling(kit: &mut Kit) -> Result {
    kit.ready().await?;
    kit.on()?.answers_calls = false;
    for service in ENTITIES {
        let entity = kit.entity(service);
        kit.put(
            &entity,
            vec![append("a"), Step::Call(two("x", vec![])), append("b")],
        )?;
        let call = kit.call().await?;
        kit.close(&entity).await?;
        kit.on()?.answer_call(call.id, Ok(Reply::default()));
        kit.fence().await?;
        kit.ask(&entity, vec![append("c")]).await?;
    }
    Ok(())
}

async fn reverted(kit: &mut Kit) -> Result {
    kit.ready().await?;
    for service in ENTITIES {
        let entity = kit.entity(service);
        kit.ask(&entity, vec![append("kept")]).await?;
        let before = kit.store.get(&entity).cloned();
        // This is decided, but the write fails.
        kit.ask(&entity, vec![append("lost")]).await?;
        kit.put(&entity, vec![append("void")])?;
        kit.close(&entity).await?;
        if let Some(before) = before {
            kit.store.insert(entity.clone(), before);
        }
        kit.ask(&entity, vec![append("after")]).await?;
    }
    Ok(())
}

async fn at_once(kit: &mut Kit) -> Result {
    kit.ready().await?;
    for service in ENTITIES {
        let entity = kit.entity(service);
        for number in 0..10 {
            // Close and the next opening are in one batch, with a command between that is void.
            kit.ask(&entity, vec![append("a")]).await?;
            if number % 2 == 0 {
                kit.put(&entity, vec![append("void")])?;
            }
            kit.on()?.close(&entity);
            kit.ask(&entity, vec![append("b")]).await?;
        }
    }
    kit.fence().await
}

async fn large(kit: &mut Kit) -> Result {
    kit.ready().await?;
    for service in ENTITIES {
        let entity = kit.entity(service);
        kit.put(&entity, vec![append("a"), Step::Pad(4 << 20)])?;
        kit.first_chunk().await?;
        kit.close(&entity).await?;
        kit.ask(&entity, vec![append("b")]).await?;
    }
    kit.fence().await
}

async fn dead(kit: &mut Kit) -> Result {
    kit.ready().await?;
    for service in ENTITIES {
        let entity = kit.entity(service);
        kit.ask(&entity, vec![append("a")]).await?;
        let incarnation = kit.on()?.incarnation(&entity).unwrap_or(0);
        kit.close(&entity).await?;
        let (component, method) = kit.on()?.plan.place(service, "Process")?;
        for incarnation in [incarnation, NUMBER_MAX] {
            let id = kit.on()?.skip_command();
            let command = Command {
                id,
                component,
                method,
                incarnation,
                message: process(&entity, vec![append("late")]).asked.encode().into(),
                ..Command::default()
            };
            kit.send(vec![frame(Sent::Command(command))]).await?;
        }
        kit.fence().await?;
        kit.ask(&entity, vec![append("b")]).await?;
    }
    // Nor does closing what is not there hurt.
    let incarnation = kit.on()?.unknown_incarnation();
    let close = Sent::Close(Close { incarnation });
    kit.send(vec![frame(close)]).await?;
    kit.fence().await
}

/// The entities that the function has let go of by itself, in order.
fn let_go(kit: &mut Kit) -> Result<Vec<Entity>> {
    let events = &kit.on()?.events;
    let closed = events.iter().filter_map(|event| match event {
        Event::Closed {
            entity,
            asked: false,
            ..
        } => Some(entity.clone()),
        _ => None,
    });
    Ok(closed.collect())
}

async fn bounded(kit: &mut Kit) -> Result {
    kit.fresh(crate::kit::welcome()).await?;
    let mut entities = Vec::new();
    for number in 0..100 {
        let entity = kit.entity(ENTITIES[number % 3]);
        kit.ask(&entity, vec![append("a")]).await?;
        entities.push(entity);
    }
    kit.fence().await?;
    let gone = let_go(kit)?;
    let expected = entities.len() - HELD_MAX;
    ensure(
        gone.len() >= expected,
        "R44",
        format!("at least {expected} of 100 idle incarnations let go, {HELD_MAX} held"),
        format!("{}", gone.len()),
    )?;
    let newest = &entities[entities.len() - HELD_MAX / 2..];
    let wrong = gone.iter().find(|entity| newest.contains(entity));
    ensure(
        wrong.is_none(),
        "R44",
        "those idle longest let go",
        format!("{wrong:?}, one of the {} used last", newest.len()),
    )?;
    // What was let go comes again with its state.
    for entity in &entities {
        kit.ask(entity, vec![append("b")]).await?;
    }
    Ok(())
}

async fn busy(kit: &mut Kit) -> Result {
    kit.fresh(crate::kit::welcome()).await?;
    kit.on()?.answers_calls = false;
    let mut waiting = Vec::new();
    for service in ENTITIES {
        let entity = kit.entity(service);
        let steps = vec![append("a"), Step::Call(two("x", vec![])), append("b")];
        let ticket = kit.put(&entity, steps)?;
        waiting.push((ticket, kit.call().await?.id));
    }
    for number in 0..100 {
        let entity = kit.entity(ENTITIES[number % 3]);
        kit.ask(&entity, vec![append("a")]).await?;
    }
    for (ticket, call) in waiting {
        kit.on()?.answer_call(call, Ok(Reply::default()));
        kit.decision(ticket).await?;
    }
    Ok(())
}

async fn eviction_races(kit: &mut Kit) -> Result {
    kit.fresh(crate::kit::welcome()).await?;
    let entities: Vec<_> = (0..90)
        .map(|number| kit.entity(ENTITIES[number % 3]))
        .collect();
    let mut tickets = Vec::new();
    for round in 0..4 {
        for (place, entity) in entities.iter().enumerate() {
            tickets.push(kit.put(entity, vec![append(&format!("{round},"))])?);
            if place % 7 == round {
                tickets.push(kit.put(entity, vec![append("+")])?);
            }
        }
        // The next round is sent without having seen what was let go of.
        kit.blind_fence().await?;
    }
    for ticket in tickets {
        kit.decision(ticket).await?;
    }
    // Asked to close what it has just let go of: whichever comes first.
    for entity in &entities {
        kit.put(
            entity,
            vec![set("last")]
                .into_iter()
                .filter(|_| entity.service != Service::Events)
                .collect(),
        )?;
        kit.close(entity).await?;
    }
    Ok(())
}

/// The steps of a request, for those who look at the bytes.
#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;

    #[test]
    fn request_of_a_dead_incarnation_names_its_entity() {
        let entity = Entity {
            service: Service::Value,
            id: "e".into(),
        };
        let bytes = process(&entity, vec![]).asked.encode();
        let request = crate::proto::model::Request::decode(bytes.as_slice());
        assert_eq!(request.expect("a request").id, "e");
    }
}
