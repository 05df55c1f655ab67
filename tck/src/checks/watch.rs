//! Watching replicated entities.

use prost::Message as _;

use super::data::elsewhere;
use super::{Check, Result, check, ensure};
use crate::connection::Entity;
use crate::kit::{Kit, welcome};
use crate::oracle::same_value;
use crate::proto::model::data_step::Step;
use crate::proto::model::{At, DataStep, Nothing, Value};
use crate::proto::v1::{DataType, change};
use crate::service::Service;

pub(super) const CHECKS: &[Check] = &[
    check(
        "watch/value_comes_at_once_and_after_changes",
        &["R53"],
        |kit| Box::pin(watches(kit)),
    ),
    check(
        "watch/several_watch_beside_commands",
        &["R52", "R53"],
        |kit| Box::pin(several(kit)),
    ),
    check("watch/replies_wait_for_credit", &["R53", "R61"], |kit| {
        Box::pin(credit(kit))
    }),
    check("watch/cancelled_watch_ends", &["R53", "R62"], |kit| {
        Box::pin(cancelled(kit))
    }),
    check("watch/deleted_entity_ends_the_watch", &["R53"], |kit| {
        Box::pin(deleted(kit))
    }),
    check(
        "watch/closed_incarnation_ends_the_watch",
        &["R41", "R53"],
        |kit| Box::pin(closed(kit)),
    ),
];

/// Reads replies until one shows the value that the store has.
async fn until_now(kit: &mut Kit, entity: &Entity, ticket: u64) -> Result {
    let data = kit.store.get(entity).map(crate::record::Record::data);
    let Some(data) = data else {
        return Ok(());
    };
    let mut last = None;
    loop {
        kit.wait_for(&format!(
            "a Reply of watch {ticket} with {:?}; came {last:?}",
            data.value()
        ));
        let reply = kit.reply(ticket).await?;
        let value = Value::decode(reply.message).unwrap_or_default();
        if same_value(&data, &value) {
            return Ok(());
        }
        last = Some(value);
    }
}

fn watch(kit: &mut Kit, entity: &Entity) -> Result<u64> {
    kit.put_data_of(entity, "Watch", vec![], 0)
}

/// Types with two steps that change their values.
fn cases() -> Vec<(DataType, Step, Step)> {
    let at = |key: &str, step: Step| {
        Step::At(Box::new(At {
            key: key.into(),
            data_type: (DataType::Counter as i32).cast_unsigned(),
            step: Some(Box::new(DataStep { step: Some(step) })),
        }))
    };
    let add = |element: &str| Step::Add(element.into());
    vec![
        (DataType::GrowCounter, Step::Change(1), Step::Change(2)),
        (DataType::Counter, Step::Change(-1), Step::Change(5)),
        (DataType::GrowSet, add("a"), add("b")),
        (DataType::Set, add("a"), Step::Remove("a".into())),
        (
            DataType::Map,
            at("a", Step::Change(1)),
            at("a", Step::Change(1)),
        ),
        (
            DataType::CounterMap,
            at("a", Step::Change(1)),
            at("b", Step::Change(1)),
        ),
        (DataType::MultiMap, at("a", add("x")), at("a", add("y"))),
    ]
}

async fn watches(kit: &mut Kit) -> Result {
    kit.ready().await?;
    for (data_type, first, second) in cases() {
        let entity = kit.entity(Service::Data(data_type));
        kit.ask_data(&entity, vec![]).await?;
        let ticket = watch(kit, &entity)?;
        until_now(kit, &entity, ticket).await?;
        elsewhere(kit, &entity, &first)?;
        until_now(kit, &entity, ticket).await?;
        kit.ask_data(&entity, vec![second.clone()]).await?;
        until_now(kit, &entity, ticket).await?;
        kit.on()?.cancel(ticket);
        kit.decision(ticket).await?;
    }
    Ok(())
}

async fn several(kit: &mut Kit) -> Result {
    kit.ready().await?;
    let entity = kit.entity(Service::Data(DataType::Counter));
    let first = watch(kit, &entity)?;
    let second = watch(kit, &entity)?;
    for number in 0..20 {
        if number % 2 == 0 {
            kit.ask_data(&entity, vec![Step::Change(1)]).await?;
        } else {
            elsewhere(kit, &entity, &Step::Change(100))?;
        }
    }
    kit.ask_data(&entity, vec![Step::Change(1)]).await?;
    until_now(kit, &entity, first).await?;
    until_now(kit, &entity, second).await?;
    kit.on()?.cancel(first);
    kit.decision(first).await?;
    elsewhere(kit, &entity, &Step::Change(1_000))?;
    until_now(kit, &entity, second).await
}

async fn credit(kit: &mut Kit) -> Result {
    let mut few = welcome();
    few.call_messages = 1;
    kit.fresh(few).await?;
    kit.on()?.grants_replies = false;
    let entity = kit.entity(Service::Data(DataType::Counter));
    let ticket = watch(kit, &entity)?;
    kit.reply(ticket).await?;
    for _ in 0..10 {
        kit.ask_data(&entity, vec![Step::Change(1)]).await?;
    }
    ensure(
        !kit.has_reply(ticket)?,
        "R61",
        "one Reply with credit for one",
        "a second",
    )?;
    // From here on there is enough.
    kit.on()?.grant(ticket, 100);
    until_now(kit, &entity, ticket).await?;
    kit.disconnect();
    Ok(())
}

async fn cancelled(kit: &mut Kit) -> Result {
    kit.ready().await?;
    let entity = kit.entity(Service::Data(DataType::Flag));
    kit.ask_data(&entity, vec![]).await?;
    for _ in 0..3 {
        let ticket = watch(kit, &entity)?;
        until_now(kit, &entity, ticket).await?;
        kit.on()?.cancel(ticket);
        kit.decision(ticket).await?;
    }
    elsewhere(kit, &entity, &Step::TurnOn(Nothing {}))?;
    kit.ask_data(&entity, vec![]).await?;
    Ok(())
}

async fn deleted(kit: &mut Kit) -> Result {
    kit.ready().await?;
    let entity = kit.entity(Service::Data(DataType::Set));
    kit.ask_data(&entity, vec![Step::Add("a".into())]).await?;
    let ticket = watch(kit, &entity)?;
    until_now(kit, &entity, ticket).await?;
    kit.on()?.change(
        &entity,
        change::Change::Deleted(crate::proto::v1::Delete {}),
    );
    kit.decision(ticket).await?;
    // By a command of the same function.
    let entity = kit.entity(Service::Data(DataType::Set));
    kit.ask_data(&entity, vec![Step::Add("a".into())]).await?;
    let ticket = watch(kit, &entity)?;
    until_now(kit, &entity, ticket).await?;
    kit.ask_data(&entity, vec![Step::Delete(Nothing {})])
        .await?;
    kit.decision(ticket).await?;
    Ok(())
}

async fn closed(kit: &mut Kit) -> Result {
    kit.ready().await?;
    let entity = kit.entity(Service::Data(DataType::Counter));
    let ticket = watch(kit, &entity)?;
    kit.reply(ticket).await?;
    kit.close(&entity).await?;
    kit.ask_data(&entity, vec![Step::Change(1)]).await?;
    kit.fence().await
}
