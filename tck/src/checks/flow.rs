//! Batches, and many commands at once.

use super::{Check, Result, check, ensure};
use crate::connection::{NUMBER_MAX, frame};
use crate::kit::{Kit, append, hang, set};
use crate::proto::model::data_step;
use crate::proto::v1::firn_frame::Frame as Sent;
use crate::proto::v1::{self, DataType};
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
    check(
        "flow/frames_about_what_is_over_are_ignored",
        &["R42", "R52", "R61"],
        |kit| Box::pin(over(kit)),
    ),
    check("flow/function_reads_while_handlers_hang", &["R84"], |kit| {
        Box::pin(reads(kit))
    }),
];

async fn over(kit: &mut Kit) -> Result {
    kit.ready().await?;
    let entity = kit.entity(Service::Data(DataType::Counter));
    kit.ask_data(&entity, vec![data_step::Step::Change(1)])
        .await?;
    let incarnation = kit.on()?.incarnation(&entity).unwrap_or(0);
    kit.close(&entity).await?;
    let command = kit.ask_action(vec![set("a")]).await?.command;
    for command in [command, NUMBER_MAX] {
        let message = Some(bytes::Bytes::new());
        let (amount, end) = (5, true);
        let frames = vec![
            frame(Sent::Message(v1::Message {
                command,
                message,
                end,
            })),
            frame(Sent::Credit(v1::Credit { command, amount })),
            frame(Sent::Cancel(v1::Cancel { id: command })),
        ];
        kit.send(frames).await?;
    }
    for incarnation in [incarnation, NUMBER_MAX] {
        let delta = v1::Delta {
            delta: Some(v1::delta::Delta::Counter(100)),
        };
        let changes = [
            v1::change::Change::Delta(delta),
            v1::change::Change::Deleted(v1::Delete {}),
        ];
        let frames = changes.map(|change| {
            let change = Some(change);
            frame(Sent::Change(v1::Change {
                incarnation,
                change,
            }))
        });
        kit.send(frames.to_vec()).await?;
    }
    kit.fence().await?;
    kit.ask_data(&entity, vec![data_step::Step::Change(1)])
        .await?;
    Ok(())
}

async fn reads(kit: &mut Kit) -> Result {
    kit.ready().await?;
    let entity = kit.entity(Service::Value);
    kit.put(&entity, vec![hang()])?;
    let granted = kit.on()?.commands_left;
    // More than the windows of any HTTP/2 connection that is left alone.
    for _ in 2..granted.min(40) {
        kit.put(&entity, vec![set(&"x".repeat(1 << 20))])?;
    }
    kit.flush().await?;
    kit.ask_action(vec![set("a")]).await?;
    kit.close(&entity).await
}

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
