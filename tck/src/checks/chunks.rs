//! Large frames in pieces, in both directions.

use super::{Check, Result, check, ensure};
use crate::kit::{Kit, append, failure_of, set, two, welcome};
use crate::proto::model::step::Step;
use crate::service::Service;

pub(super) const CHECKS: &[Check] = &[
    check(
        "chunks/large_replies_come_in_pieces",
        &["R81", "R82"],
        |kit| Box::pin(replies(kit)),
    ),
    check("chunks/large_requests_are_put_together", &["R81"], |kit| {
        Box::pin(requests(kit))
    }),
    check("chunks/frames_around_the_limit", &["R81"], |kit| {
        Box::pin(around(kit))
    }),
    check(
        "chunks/large_state_while_small_commands_go_on",
        &["R22", "R81"],
        |kit| Box::pin(state(kit)),
    ),
    check("chunks/transfers_may_take_turns", &["R81"], |kit| {
        Box::pin(turns(kit))
    }),
    check(
        "chunks/nothing_of_an_entity_overtakes_its_large_reply",
        &["R21", "R81"],
        |kit| Box::pin(overtaking(kit)),
    ),
    check(
        "chunks/large_calls_and_streamed_replies",
        &["R70", "R81"],
        |kit| Box::pin(calls(kit)),
    ),
    check(
        "chunks/frame_above_the_largest_is_a_failure",
        &["R20", "R82"],
        |kit| Box::pin(too_large(kit)),
    ),
];

const MIB: u32 = 1 << 20;

/// A text of so many bytes that shows where it was cut.
fn long(length: usize) -> String {
    let mut text = String::with_capacity(length + 8);
    let mut number = 0_u32;
    while text.len() < length {
        text += &format!("{number:07},");
        number += 1;
    }
    text
}

async fn replies(kit: &mut Kit) -> Result {
    kit.ready().await?;
    for length in [100_000, MIB, 5 * MIB] {
        kit.ask_action(vec![Step::Pad(length), set("a")]).await?;
    }
    let mut tickets = Vec::new();
    for _ in 0..8 {
        tickets.push(kit.put_action("Unary", vec![Step::Pad(MIB)])?);
    }
    for ticket in tickets {
        kit.decision(ticket).await?;
    }
    Ok(())
}

async fn requests(kit: &mut Kit) -> Result {
    kit.ready().await?;
    for length in [100_000, 5_000_000] {
        kit.ask_action(vec![set(&long(length))]).await?;
        let entity = kit.entity(Service::Events);
        kit.ask(&entity, vec![append(&long(length))]).await?;
        kit.ask(&entity, vec![append("a")]).await?;
    }
    Ok(())
}

async fn around(kit: &mut Kit) -> Result {
    let mut small = welcome();
    small.chunk_bytes = 1_024;
    kit.fresh(small).await?;
    let entity = kit.entity(Service::Value);
    for length in 1_000..1_060 {
        kit.ask_action(vec![Step::Pad(length)]).await?;
        kit.ask(&entity, vec![set(&long(length as usize - 500))])
            .await?;
    }
    kit.ask_action(vec![Step::Pad(100_000)]).await?;
    kit.disconnect();
    Ok(())
}

async fn state(kit: &mut Kit) -> Result {
    kit.ready().await?;
    let entity = kit.entity(Service::Value);
    kit.ask(&entity, vec![set(&long(10 << 20))]).await?;
    kit.close(&entity).await?;
    // The opening has the state now; half of it is sent, and others go on.
    let ticket = kit.put(&entity, vec![append("end")])?;
    let frames = std::mem::take(&mut kit.on()?.outbox);
    let mut chunks = Vec::new();
    for frame in &frames {
        chunks.extend(kit.on()?.chunks(frame));
    }
    let other = kit.entity(Service::Value);
    let half = chunks.len() / 2;
    for (place, chunk) in chunks.into_iter().enumerate() {
        kit.send(vec![chunk]).await?;
        if place % 40 == 0 || place == half {
            kit.ask(&other, vec![append(".")]).await?;
            kit.ask_action(vec![set("small")]).await?;
        }
    }
    kit.decision(ticket).await?;
    kit.ask(&entity, vec![set("short")]).await?;
    Ok(())
}

async fn turns(kit: &mut Kit) -> Result {
    kit.ready().await?;
    let mut transfers = Vec::new();
    let mut tickets = Vec::new();
    for number in 0..3 {
        let entity = kit.entity(Service::Value);
        tickets.push(kit.put(&entity, vec![set(&long(300_000 + number * 100_000))])?);
        let frames = std::mem::take(&mut kit.on()?.outbox);
        for frame in &frames {
            transfers.push(kit.on()?.chunks(frame).into_iter());
        }
    }
    let mut batch = Vec::new();
    loop {
        let round: Vec<_> = transfers.iter_mut().filter_map(Iterator::next).collect();
        if round.is_empty() {
            break;
        }
        batch.extend(round);
    }
    kit.send(batch).await?;
    for ticket in tickets {
        kit.decision(ticket).await?;
    }
    Ok(())
}

async fn overtaking(kit: &mut Kit) -> Result {
    kit.ready().await?;
    let mut tickets = Vec::new();
    for service in [Service::Value, Service::Events, Service::Actor] {
        let entity = kit.entity(service);
        for _ in 0..3 {
            tickets.push(kit.put(&entity, vec![Step::Pad(2 * MIB), append("a")])?);
            tickets.push(kit.put(&entity, vec![append("b")])?);
        }
        tickets.push(kit.put_action("Unary", vec![set("small")])?);
    }
    for ticket in tickets {
        kit.decision(ticket).await?;
    }
    Ok(())
}

async fn calls(kit: &mut Kit) -> Result {
    kit.ready().await?;
    let call = Step::Call(two("a", vec![set(&long(1_000_000))]));
    kit.ask_action(vec![call.clone(), set("a")]).await?;
    let entity = kit.entity(Service::Value);
    kit.ask(&entity, vec![call, append("b")]).await?;
    let send = crate::proto::model::Send {
        text: long(200_000),
        times: 5,
        pause_ms: 0,
    };
    let ticket = kit.put_action("Spread", vec![Step::Send(send)])?;
    for _ in 0..5 {
        let reply = kit.reply(ticket).await?;
        let length = reply.message.len();
        ensure(
            length > 200_000,
            "R81",
            "200,000 bytes",
            format!("{length}"),
        )?;
    }
    kit.decision(ticket).await?;
    Ok(())
}

async fn too_large(kit: &mut Kit) -> Result {
    let mut small = welcome();
    small.frame_bytes = u64::from(MIB);
    kit.fresh(small).await?;
    let ticket = kit.put_action("Unary", vec![Step::Pad(2 * MIB)])?;
    kit.judged_here(ticket)?;
    failure_of(&kit.decision(ticket).await?)?;
    let entity = kit.entity(Service::Value);
    kit.ask(&entity, vec![set("a")]).await?;
    let ticket = kit.put(&entity, vec![append("b"), Step::Pad(2 * MIB)])?;
    kit.judged_here(ticket)?;
    failure_of(&kit.decision(ticket).await?)?;
    // It failed, so nothing of it counts.
    kit.ask(&entity, vec![append("c")]).await?;
    kit.fence().await?;
    kit.disconnect();
    Ok(())
}
