//! Replicated entities: deltas of each type, in both directions.

use super::{COUNTER, Check, Needs, Result, check, ensure};
use crate::checks::data_steps;
use crate::families::dialect::Dialect;
use crate::families::function::entity::Heard;
use crate::families::function::rig::{Rig, data};
use crate::families::stream::In;
use crate::fault::Fault;
use crate::oracle;
use crate::proto::model::data_step::Step;
use crate::proto::model::{At, DataRequest, DataStep, Fail, Nothing, Write};
use crate::proto::v1::delta::Delta as Kind;
use crate::proto::v1::{DataType, Decision, mutation};
use crate::service::{DATA, Service};
use crate::show;

const fn of(data: DataType) -> Needs {
    Needs::Service(Service::Data(data))
}

macro_rules! of_each {
    ($($name:literal, $data:ident;)*) => {
        pub(super) const CHECKS: &[Check] = &[
            $(
                check(concat!("data/", $name, "_changes"), &["F51"], of(DataType::$data), |rig| {
                    Box::pin(table(rig, DataType::$data))
                }),
                check(concat!("data/", $name, "_begins_with_its_value"), &["F50"], of(DataType::$data), |rig| {
                    Box::pin(given(rig, DataType::$data))
                }),
                check(concat!("data/", $name, "_changes_elsewhere"), &["F53"], of(DataType::$data), |rig| {
                    Box::pin(elsewhere(rig, DataType::$data))
                }),
                check(concat!("data/", $name, "_does_many_steps_at_once"), &["F51"], of(DataType::$data), |rig| {
                    Box::pin(merged(rig, DataType::$data))
                }),
            )*
            check("data/look_changes_nothing", &["F52"], COUNTER, |rig| {
                Box::pin(look(rig))
            }),
            check("data/rejected_command_leaves_nothing", &["F15", "F19"], COUNTER, |rig| {
                Box::pin(rejected(rig))
            }),
            check("data/delete_is_a_delete", &["F54"], COUNTER, |rig| {
                Box::pin(deleted(rig))
            }),
            check("data/delete_from_elsewhere_ends_it", &["F54"], COUNTER, |rig| {
                Box::pin(deleted_elsewhere(rig))
            }),
            check("data/several_commands_are_open", &["F11", "F51"], COUNTER, |rig| {
                Box::pin(several(rig))
            }),
            check("data/consistency_goes_with_the_change", &["F55"], Needs::StreamedCommands, |rig| {
                Box::pin(consistency(rig))
            }),
            check("data/counter_map_has_a_key_at_zero", &["F51"], of(DataType::CounterMap), |rig| {
                Box::pin(zero(rig))
            }),
            check("data/clock_goes_with_the_write", &["F56"], of(DataType::Register), |rig| {
                Box::pin(clocks(rig))
            }),
        ];
    };
}

of_each! {
    "grow_counter", GrowCounter;
    "counter", Counter;
    "grow_set", GrowSet;
    "set", Set;
    "flag", Flag;
    "register", Register;
    "map", Map;
    "vote", Vote;
    "counter_map", CounterMap;
    "register_map", RegisterMap;
    "multi_map", MultiMap;
}

/// Whether the dialect has what a step works on.
pub(crate) fn fits(dialect: Dialect, step: &Step) -> bool {
    let Step::At(at) = step else { return true };
    let inner = at.step.as_ref().and_then(|step| step.step.as_ref());
    let data = DataType::try_from(at.data_type.cast_signed()).unwrap_or_default();
    let is_known = match data {
        // Of the value that the map has.
        DataType::Unspecified => true,
        // A map of these: Cloudstate does not know them, and the others have no such maps in maps.
        DataType::CounterMap | DataType::RegisterMap | DataType::MultiMap => false,
        data => dialect.number(data).is_some(),
    };
    is_known && inner.is_none_or(|inner| fits(dialect, inner))
}

fn steps(dialect: Dialect, data: DataType) -> Vec<Step> {
    let is_map = data == DataType::Map;
    let all = data_steps(data).into_iter();
    all.filter(|step| !is_map || fits(dialect, step)).collect()
}

async fn table(rig: &mut Rig, of: DataType) -> Result {
    let dialect = rig.ready().await?;
    let mut stream = rig.fresh(Service::Data(of)).await?;
    let id = stream.id.clone();
    stream.ask(data(&id, vec![])).await?;
    for step in steps(dialect, of) {
        stream.ask(data(&id, vec![step])).await?;
    }
    stream.ask(data(&id, vec![])).await?;
    rig.leave(stream).await;
    Ok(())
}

async fn given(rig: &mut Rig, of: DataType) -> Result {
    let dialect = rig.ready().await?;
    let mut stream = rig.fresh(Service::Data(of)).await?;
    let id = stream.id.clone();
    for step in steps(dialect, of) {
        stream.ask(data(&id, vec![step])).await?;
        stream = rig.reopen(stream).await?;
        stream.ask(data(&id, vec![])).await?;
    }
    rig.leave(stream).await;
    Ok(())
}

async fn elsewhere(rig: &mut Rig, of: DataType) -> Result {
    let dialect = rig.ready().await?;
    let mut stream = rig.fresh(Service::Data(of)).await?;
    let id = stream.id.clone();
    for (number, step) in steps(dialect, of).into_iter().enumerate() {
        // Another node's vote is no vote of this one.
        if of != DataType::Vote {
            stream.change(&step).await;
        }
        stream.ask(data(&id, vec![])).await?;
        if number % 2 == 0 {
            stream.ask(data(&id, vec![step])).await?;
        }
    }
    rig.leave(stream).await;
    Ok(())
}

async fn merged(rig: &mut Rig, of: DataType) -> Result {
    let dialect = rig.ready().await?;
    let mut stream = rig.fresh(Service::Data(of)).await?;
    let id = stream.id.clone();
    let steps = steps(dialect, of);
    stream.ask(data(&id, steps.clone())).await?;
    stream.ask(data(&id, vec![])).await?;
    let back = steps.into_iter().rev().collect();
    stream.ask(data(&id, back)).await?;
    stream.ask(data(&id, vec![])).await?;
    rig.leave(stream).await;
    Ok(())
}

async fn look(rig: &mut Rig) -> Result {
    let dialect = rig.ready().await?;
    for (of, ..) in DATA {
        if dialect.number(of).is_none() {
            continue;
        }
        let mut stream = rig.fresh(Service::Data(of)).await?;
        let id = stream.id.clone();
        for _ in 0..2 {
            let decision = stream.ask(data(&id, vec![])).await?;
            let came = show::data_decision(&decision);
            ensure(
                decision.mutation.is_none(),
                "F52",
                format!("no state action of {of:?}"),
                came,
            )?;
        }
        rig.leave(stream).await;
    }
    Ok(())
}

fn fail(message: &str) -> Step {
    Step::Fail(Fail {
        code: 2,
        message: message.into(),
        details: Vec::new(),
    })
}

async fn rejected(rig: &mut Rig) -> Result {
    let mut stream = rig.fresh(Service::Data(DataType::Counter)).await?;
    let id = stream.id.clone();
    stream.ask(data(&id, vec![fail("at first")])).await?;
    stream.ask(data(&id, vec![Step::Change(1)])).await?;
    let asked = vec![Step::Change(5), fail("not so: ä")];
    stream.ask(data(&id, asked)).await?;
    stream.ask(data(&id, vec![])).await?;
    stream.ask(data(&id, vec![Step::Change(2)])).await?;
    rig.leave(stream).await;
    Ok(())
}

async fn deleted(rig: &mut Rig) -> Result {
    let dialect = rig.ready().await?;
    for (of, ..) in DATA {
        if dialect.number(of).is_none() {
            continue;
        }
        let mut stream = rig.fresh(Service::Data(of)).await?;
        let id = stream.id.clone();
        stream.ask(data(&id, steps(dialect, of))).await?;
        let decision = stream
            .ask(data(&id, vec![Step::Delete(Nothing {})]))
            .await?;
        let mutation = decision.mutation.as_ref();
        let is_delete = matches!(
            mutation.and_then(|one| one.mutation.as_ref()),
            Some(mutation::Mutation::Delete(_))
        );
        let came = show::data_decision(&decision);
        ensure(is_delete, "F54", format!("a delete of {of:?}"), came)?;
        rig.leave(stream).await;
    }
    Ok(())
}

/// Nothing more is asked of it there; what it says of itself is its own matter.
async fn deleted_elsewhere(rig: &mut Rig) -> Result {
    let mut stream = rig.fresh(Service::Data(DataType::Counter)).await?;
    let id = stream.id.clone();
    stream.ask(data(&id, vec![Step::Change(4)])).await?;
    stream.send(&In::Deleted).await;
    stream.half_close();
    match stream.hear().await? {
        Heard::End(end) if end.status == 0 => {}
        other => {
            let came = show::short(&format!("{other:?}"));
            return Err(Fault::new("F54", "the end, without an error", came));
        }
    }
    // Others are as they were.
    let mut stream = rig.fresh(Service::Data(DataType::Counter)).await?;
    let id = stream.id.clone();
    stream.ask(data(&id, vec![Step::Change(4)])).await?;
    rig.leave(stream).await;
    Ok(())
}

async fn several(rig: &mut Rig) -> Result {
    let mut stream = rig.fresh(Service::Data(DataType::Counter)).await?;
    let id = stream.id.clone();
    for number in 0..20 {
        stream.put(data(&id, vec![Step::Change(number)])).await;
    }
    while stream.open() > 0 {
        stream.answer().await?;
    }
    stream.ask(data(&id, vec![])).await?;
    rig.leave(stream).await;
    Ok(())
}

async fn consistency(rig: &mut Rig) -> Result {
    for of in [DataType::Set, DataType::GrowCounter] {
        let mut stream = rig.fresh(Service::Data(of)).await?;
        let id = stream.id.clone();
        for consistency in [0, 1, 2, 0] {
            let step = match of {
                DataType::Set => Step::Add(format!("{consistency}")),
                _ => Step::Change(2),
            };
            let request = DataRequest {
                id: id.clone(),
                steps: vec![DataStep { step: Some(step) }],
                consistency,
            };
            let decision = stream.ask(request).await.map_err(|fault| Fault {
                requirement: "F55",
                ..fault
            })?;
            let came = show::data_decision(&decision);
            let expected = if consistency == 0 {
                "a change"
            } else {
                "one of its consistency"
            };
            // The second 0 adds what is there already.
            let is_new = of != DataType::Set || stream.record.data().value().elements.len() < 3;
            ensure(
                decision.mutation.is_some() || !is_new,
                "F55",
                expected,
                came,
            )?;
        }
        rig.leave(stream).await;
    }
    Ok(())
}

/// A key that was created is there, whatever its number is.
async fn zero(rig: &mut Rig) -> Result {
    let mut stream = rig.fresh(Service::Data(DataType::CounterMap)).await?;
    let id = stream.id.clone();
    let step = Step::At(Box::new(At {
        key: "k".into(),
        data_type: 0,
        step: Some(Box::new(DataStep {
            step: Some(Step::Change(0)),
        })),
    }));
    stream.ask(data(&id, vec![step])).await?;
    let mut stream = rig.reopen(stream).await?;
    stream.ask(data(&id, vec![])).await?;
    rig.leave(stream).await;
    Ok(())
}

/// The write of a decision on a register, or on an entry of a map of them.
fn written(decision: &Decision) -> Option<crate::proto::v1::Write> {
    let mutation = decision.mutation.as_ref()?.mutation.as_ref()?;
    let mutation::Mutation::Update(update) = mutation else {
        return None;
    };
    match update.delta.as_ref()?.delta.as_ref()? {
        Kind::Register(write) => Some(write.clone()),
        Kind::RegisterMap(delta) => delta.updated.first()?.write.clone(),
        _ => None,
    }
}

async fn clocks(rig: &mut Rig) -> Result {
    let dialect = rig.ready().await?;
    for of in [DataType::Register, DataType::RegisterMap] {
        if dialect.number(of).is_none() {
            continue;
        }
        let mut stream = rig.fresh(Service::Data(of)).await?;
        let id = stream.id.clone();
        for (clock, custom) in [(0, 0), (1, 0), (2, 5), (3, 7), (2, -1), (0, 0)] {
            let wanted = Write {
                text: format!("{clock} at {custom}"),
                clock,
                custom,
            };
            let write = Step::Write(wanted.clone());
            let step = match of {
                DataType::Register => write,
                _ => Step::At(Box::new(At {
                    key: "k".into(),
                    data_type: 0,
                    step: Some(Box::new(DataStep { step: Some(write) })),
                })),
            };
            let decision = stream.ask(data(&id, vec![step])).await?;
            let (given, wanted) = (written(&decision), oracle::write(&wanted));
            let fits = given.as_ref().is_some_and(|given| {
                // Only custom clocks have a number.
                let number = clock < 2 || given.custom == wanted.custom;
                given.value == wanted.value && given.clock == wanted.clock && number
            });
            let came = show::short(&format!("{given:?}"));
            ensure(fits, "F56", show::short(&format!("{wanted:?}")), came)?;
        }
        rig.leave(stream).await;
    }
    Ok(())
}
