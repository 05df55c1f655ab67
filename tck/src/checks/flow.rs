//! Batches, and many commands at once.

use super::{Check, Result, check, ensure};
use crate::kit::{Kit, append, hang, set};
use crate::service::Service;

pub(super) const CHECKS: &[Check] = &[
    check(
        "flow/frames_of_a_batch_count_in_order",
        &["R8", "R21"],
        |kit| Box::pin(batch(kit)),
    ),
    check("flow/frames_alone_are_as_good", &["R8"], |kit| {
        Box::pin(alone(kit))
    }),
    check(
        "flow/as_many_commands_as_were_granted_run",
        &["R22", "R80"],
        |kit| Box::pin(full(kit)),
    ),
    check("flow/decided_commands_make_room", &["R80"], |kit| {
        Box::pin(room(kit))
    }),
];

/// Commands of the largest batch.
const MANY: usize = 300;

async fn batch(kit: &mut Kit) -> Result {
    kit.ready().await?;
    let services = [
        Service::Value,
        Service::Events,
        Service::Actor,
        Service::Two,
    ];
    let entities: Vec<_> = (0..12)
        .map(|number| kit.entity(services[number % 4]))
        .collect();
    let mut tickets = Vec::new();
    for number in 0..MANY {
        let steps = vec![append(&format!("{number},"))];
        tickets.push(if number % 13 == 12 {
            kit.put_action("Unary", steps)?
        } else {
            kit.put(&entities[number % 13], steps)?
        });
    }
    for ticket in tickets {
        kit.decision(ticket).await?;
    }
    Ok(())
}

async fn alone(kit: &mut Kit) -> Result {
    kit.ready().await?;
    let entity = kit.entity(Service::Value);
    let mut tickets = Vec::new();
    for number in 0..MANY {
        tickets.push(kit.put(&entity, vec![append(&format!("{number},"))])?);
        kit.flush().await?;
    }
    for ticket in tickets {
        kit.decision(ticket).await?;
    }
    Ok(())
}

/// The kit opens no more than this, whatever is granted.
const COMMANDS_MAX: u64 = 4_096;

async fn full(kit: &mut Kit) -> Result {
    kit.ready().await?;
    let commands = kit.on()?.commands_left.min(COMMANDS_MAX);
    let mut hanging = Vec::new();
    for _ in 1..commands {
        hanging.push(kit.put_action("Unary", vec![hang()])?);
    }
    let text = format!("{commands} commands open");
    for _ in 0..3 {
        kit.ask_action(vec![set("the last one")]).await?;
    }
    for ticket in &hanging {
        kit.on()?.cancel(*ticket);
    }
    for ticket in hanging {
        kit.decision(ticket).await?;
    }
    ensure(
        kit.on()?.open.is_empty(),
        "R80",
        text,
        "some that were not answered",
    )
}

async fn room(kit: &mut Kit) -> Result {
    kit.ready().await?;
    let granted = kit.on()?.commands_left;
    for _ in 0..4 {
        let mut tickets = Vec::new();
        for _ in 0..granted.min(COMMANDS_MAX) {
            tickets.push(kit.put_action("Unary", vec![set("a")])?);
        }
        for ticket in tickets {
            kit.decision(ticket).await?;
        }
    }
    let left = kit.on()?.commands_left;
    ensure(
        left >= granted,
        "R80",
        format!("{granted} commands"),
        format!("{left}"),
    )
}
