//! Value entities: their state, and what changes it.

use super::{Check, Needs, Result, VALUE, check, ensure};
use crate::families::function::rig::{Rig, steps};
use crate::kit::{append, delete, fail, set};
use crate::proto::model::{State, step::Step};
use crate::record::Record;
use crate::service::Service;

pub(super) const CHECKS: &[Check] = &[
    check(
        "value/begins_without_a_state",
        &["F11", "F30"],
        VALUE,
        |rig| Box::pin(empty(rig)),
    ),
    check("value/begins_with_its_state", &["F30"], VALUE, |rig| {
        Box::pin(given(rig))
    }),
    check("value/update_has_the_whole_state", &["F31"], VALUE, |rig| {
        Box::pin(updates(rig))
    }),
    check("value/look_changes_nothing", &["F31"], VALUE, |rig| {
        Box::pin(look(rig))
    }),
    check(
        "value/delete_leaves_nothing",
        &["F31", "F32"],
        VALUE,
        |rig| Box::pin(deletes(rig)),
    ),
    check(
        "value/other_service_has_its_own_state",
        &["F10", "F12"],
        Needs::Service(Service::Two),
        |rig| Box::pin(two(rig)),
    ),
    check(
        "value/rejected_command_leaves_nothing",
        &["F15", "F19"],
        VALUE,
        |rig| Box::pin(rejected(rig)),
    ),
];

async fn empty(rig: &mut Rig) -> Result {
    let mut stream = rig.fresh(Service::Value).await?;
    let id = stream.id.clone();
    stream.ask(steps(&id, vec![])).await?;
    stream.ask(steps(&id, vec![append("a")])).await?;
    rig.leave(stream).await;
    Ok(())
}

async fn given(rig: &mut Rig) -> Result {
    for text in ["", "a", "ä€😀"] {
        let mut record = Record::new(Service::Value);
        record.state = Some(State {
            text: text.into(),
            count: 41,
        });
        let name = rig.name();
        let mut stream = rig.open(&name, record).await?;
        stream.ask(steps(&name, vec![])).await?;
        stream.ask(steps(&name, vec![append("+")])).await?;
        let mut stream = rig.reopen(stream).await?;
        stream.ask(steps(&name, vec![append("+")])).await?;
        rig.leave(stream).await;
    }
    Ok(())
}

async fn updates(rig: &mut Rig) -> Result {
    let mut stream = rig.fresh(Service::Value).await?;
    let id = stream.id.clone();
    for asked in [
        vec![set("a")],
        vec![append("b"), append("c")],
        vec![set("x"), append("y"), set("z")],
        vec![set("")],
        vec![set("ä€😀"), Step::Pad(1_000)],
        vec![set(&"long ".repeat(20_000))],
    ] {
        stream.ask(steps(&id, asked)).await?;
    }
    rig.leave(stream).await;
    Ok(())
}

async fn look(rig: &mut Rig) -> Result {
    let mut stream = rig.fresh(Service::Value).await?;
    let id = stream.id.clone();
    stream.ask(steps(&id, vec![set("a")])).await?;
    for _ in 0..3 {
        let decision = stream.ask(steps(&id, vec![])).await?;
        let came = format!("{:?}", decision.mutation);
        ensure(decision.mutation.is_none(), "F31", "no state action", came)?;
    }
    rig.leave(stream).await;
    Ok(())
}

async fn deletes(rig: &mut Rig) -> Result {
    let mut stream = rig.fresh(Service::Value).await?;
    let id = stream.id.clone();
    for asked in [
        vec![set("a")],
        vec![delete()],
        vec![],
        vec![delete()],
        vec![append("b")],
        vec![],
    ] {
        stream.ask(steps(&id, asked)).await?;
    }
    stream.ask(steps(&id, vec![delete()])).await?;
    let mut stream = rig.reopen(stream).await?;
    stream.ask(steps(&id, vec![])).await?;
    rig.leave(stream).await;
    Ok(())
}

/// The same id is another entity there.
async fn two(rig: &mut Rig) -> Result {
    let mut one = rig.fresh(Service::Value).await?;
    let id = one.id.clone();
    let mut two = rig.open(&id, Record::new(Service::Two)).await?;
    one.ask(steps(&id, vec![set("one")])).await?;
    two.ask(steps(&id, vec![])).await?;
    two.ask(steps(&id, vec![set("two")])).await?;
    one.ask(steps(&id, vec![append("!")])).await?;
    two.ask(steps(&id, vec![append("!")])).await?;
    rig.leave(one).await;
    rig.leave(two).await;
    Ok(())
}

async fn rejected(rig: &mut Rig) -> Result {
    let mut stream = rig.fresh(Service::Value).await?;
    let id = stream.id.clone();
    stream
        .ask(steps(&id, vec![fail(2, "at first", &[])]))
        .await?;
    stream.ask(steps(&id, vec![set("a")])).await?;
    let asked = vec![set("b"), fail(2, "not so: ä", &[])];
    stream.ask(steps(&id, asked)).await?;
    stream.ask(steps(&id, vec![])).await?;
    stream
        .ask(steps(&id, vec![delete(), fail(2, "no", &[])]))
        .await?;
    stream.ask(steps(&id, vec![append("c")])).await?;
    rig.leave(stream).await;
    Ok(())
}
