//! Replicated entities: deltas of each type, changes by others, several commands at once.

use super::{Check, Result, check, ensure};
use crate::connection::Entity;
use crate::kit::{Kit, two};
use crate::oracle;
use crate::proto::model::data_step::Step;
use crate::proto::model::{At, DataStep, Fail, Nothing, Reply, Write};
use crate::proto::text;
use crate::proto::v1::delta::Delta as Kind;
use crate::proto::v1::{
    CounterMapDelta, DataType, Delta, Elements, MapDelta, MapEntry, MultiMapDelta,
    RegisterMapDelta, SetDelta, change, counter_map_delta, multi_map_delta, mutation,
    register_map_delta,
};
use crate::service::{DATA, Service};
use crate::show;

pub(super) const CHECKS: &[Check] = &[
    check("data/grow_counter_grows", &["R52"], |kit| {
        Box::pin(table(kit, DataType::GrowCounter))
    }),
    check("data/counter_counts", &["R52"], |kit| {
        Box::pin(table(kit, DataType::Counter))
    }),
    check("data/grow_set_takes_elements", &["R52"], |kit| {
        Box::pin(table(kit, DataType::GrowSet))
    }),
    check("data/set_takes_and_loses_elements", &["R52"], |kit| {
        Box::pin(table(kit, DataType::Set))
    }),
    check("data/flag_is_turned_on", &["R52"], |kit| {
        Box::pin(table(kit, DataType::Flag))
    }),
    check(
        "data/register_is_written_with_each_clock",
        &["R52"],
        |kit| Box::pin(table(kit, DataType::Register)),
    ),
    check("data/map_holds_values_of_all_types", &["R52"], |kit| {
        Box::pin(table(kit, DataType::Map))
    }),
    check("data/vote_is_cast", &["R52"], |kit| {
        Box::pin(table(kit, DataType::Vote))
    }),
    check("data/counter_map_counts", &["R52"], |kit| {
        Box::pin(table(kit, DataType::CounterMap))
    }),
    check("data/register_map_is_written", &["R52"], |kit| {
        Box::pin(table(kit, DataType::RegisterMap))
    }),
    check("data/multi_map_takes_and_loses_values", &["R52"], |kit| {
        Box::pin(table(kit, DataType::MultiMap))
    }),
    check("data/steps_of_a_command_are_one_update", &["R52"], |kit| {
        Box::pin(merged(kit))
    }),
    check("data/opening_brings_the_value", &["R40", "R52"], |kit| {
        Box::pin(reopened(kit))
    }),
    check("data/changes_by_others_are_applied", &["R52"], |kit| {
        Box::pin(changes(kit))
    }),
    check(
        "data/change_between_command_and_decision_counts",
        &["R52"],
        |kit| Box::pin(between(kit)),
    ),
    check(
        "data/several_commands_are_open",
        &["R21", "R52", "R72"],
        |kit| Box::pin(several(kit)),
    ),
    check("data/failure_changes_nothing", &["R23"], |kit| {
        Box::pin(failure(kit))
    }),
    check("data/consistency_goes_with_the_update", &["R52"], |kit| {
        Box::pin(consistency(kit))
    }),
    check("data/entity_is_deleted", &["R52"], |kit| {
        Box::pin(deleted(kit))
    }),
];

/// The longest list of cases of a type.
type Cases = Vec<(Step, Option<Kind>)>;

fn add(element: &str) -> Step {
    Step::Add(element.into())
}

fn remove(element: &str) -> Step {
    Step::Remove(element.into())
}

fn clear() -> Step {
    Step::Clear(Nothing {})
}

fn turn_on() -> Step {
    Step::TurnOn(Nothing {})
}

fn write(value: &str, clock: u32, custom: i64) -> Step {
    Step::Write(Write {
        text: value.into(),
        clock,
        custom,
    })
}

fn at(key: &str, data_type: DataType, step: Step) -> Step {
    Step::At(Box::new(At {
        key: key.into(),
        data_type: (data_type as i32).cast_unsigned(),
        step: Some(Box::new(DataStep { step: Some(step) })),
    }))
}

fn in_map(key: &str, step: Step) -> Step {
    at(key, DataType::Unspecified, step)
}

fn added(element: &str) -> SetDelta {
    SetDelta {
        added: vec![text(element)],
        ..SetDelta::default()
    }
}

fn removed(element: &str) -> SetDelta {
    SetDelta {
        removed: vec![text(element)],
        ..SetDelta::default()
    }
}

fn cleared() -> SetDelta {
    SetDelta {
        cleared: true,
        ..SetDelta::default()
    }
}

fn entry(key: &str, kind: Kind) -> MapEntry {
    MapEntry {
        key: Some(text(key)),
        delta: Some(Delta { delta: Some(kind) }),
    }
}

fn map_added(key: &str, kind: Kind) -> Kind {
    Kind::Map(MapDelta {
        added: vec![entry(key, kind)],
        ..MapDelta::default()
    })
}

fn map_updated(key: &str, kind: Kind) -> Kind {
    Kind::Map(MapDelta {
        updated: vec![entry(key, kind)],
        ..MapDelta::default()
    })
}

fn register(step: &Step) -> crate::proto::v1::Write {
    match step {
        Step::Write(wanted) => oracle::write(wanted),
        _ => crate::proto::v1::Write::default(),
    }
}

/// Steps, one command each, and the delta that each must have; none where there may be any that
/// fits.
fn cases(data_type: DataType) -> Cases {
    match data_type {
        DataType::GrowCounter => vec![
            (Step::Change(1), Some(Kind::GrowCounter(1))),
            (
                Step::Change(3_000_000_000),
                Some(Kind::GrowCounter(3_000_000_000)),
            ),
            (Step::Change(0), None),
        ],
        DataType::Counter => vec![
            (Step::Change(5), Some(Kind::Counter(5))),
            (
                Step::Change(-3_000_000_000),
                Some(Kind::Counter(-3_000_000_000)),
            ),
            (Step::Change(0), None),
        ],
        DataType::GrowSet => {
            let some = |element: &str| {
                Some(Kind::GrowSet(Elements {
                    elements: vec![text(element)],
                }))
            };
            vec![
                (add("b"), some("b")),
                (add("a"), some("a")),
                (add("b"), None),
                (add(""), some("")),
            ]
        }
        DataType::Set => vec![
            (add("b"), Some(Kind::Set(added("b")))),
            (add("a"), Some(Kind::Set(added("a")))),
            (add("a"), None),
            (remove("b"), Some(Kind::Set(removed("b")))),
            (remove("none"), None),
            (clear(), Some(Kind::Set(cleared()))),
            (add("ä"), Some(Kind::Set(added("ä")))),
        ],
        DataType::Flag => vec![(turn_on(), Some(Kind::Flag(true))), (turn_on(), None)],
        DataType::Register => [
            write("a", 0, 0),
            write("b", 1, 0),
            write("c", 2, 5),
            write("d", 3, 7),
        ]
        .into_iter()
        .map(|step| (step.clone(), Some(Kind::Register(register(&step)))))
        .collect(),
        DataType::Map => map_cases(),
        DataType::Vote => vec![
            (Step::Vote(true), Some(vote(true))),
            (Step::Vote(true), None),
            (Step::Vote(false), Some(vote(false))),
        ],
        DataType::CounterMap => {
            let counted = |key: &str, change: i64| {
                Some(Kind::CounterMap(CounterMapDelta {
                    updated: vec![counter_map_delta::Entry {
                        key: Some(text(key)),
                        change,
                    }],
                    ..CounterMapDelta::default()
                }))
            };
            vec![
                (in_map("a", Step::Change(5)), counted("a", 5)),
                (in_map("b", Step::Change(-5)), counted("b", -5)),
                (in_map("a", Step::Change(-7)), counted("a", -7)),
                (
                    remove("a"),
                    Some(Kind::CounterMap(CounterMapDelta {
                        removed: vec![text("a")],
                        ..CounterMapDelta::default()
                    })),
                ),
                (
                    clear(),
                    Some(Kind::CounterMap(CounterMapDelta {
                        cleared: true,
                        ..CounterMapDelta::default()
                    })),
                ),
                (in_map("a", Step::Change(1)), counted("a", 1)),
            ]
        }
        DataType::RegisterMap => {
            let written = |key: &str, step: &Step| {
                Some(Kind::RegisterMap(RegisterMapDelta {
                    updated: vec![register_map_delta::Entry {
                        key: Some(text(key)),
                        write: Some(register(step)),
                    }],
                    ..RegisterMapDelta::default()
                }))
            };
            let (first, second) = (write("x", 0, 0), write("y", 2, 9));
            vec![
                (in_map("a", first.clone()), written("a", &first)),
                (in_map("a", second.clone()), written("a", &second)),
                (in_map("b", first.clone()), written("b", &first)),
                (
                    remove("a"),
                    Some(Kind::RegisterMap(RegisterMapDelta {
                        removed: vec![text("a")],
                        ..RegisterMapDelta::default()
                    })),
                ),
                (
                    clear(),
                    Some(Kind::RegisterMap(RegisterMapDelta {
                        cleared: true,
                        ..RegisterMapDelta::default()
                    })),
                ),
            ]
        }
        DataType::MultiMap => {
            let changed = |key: &str, change: SetDelta| {
                Some(Kind::MultiMap(MultiMapDelta {
                    updated: vec![multi_map_delta::Entry {
                        key: Some(text(key)),
                        change: Some(change),
                    }],
                    ..MultiMapDelta::default()
                }))
            };
            vec![
                (in_map("a", add("x")), changed("a", added("x"))),
                (in_map("a", add("y")), changed("a", added("y"))),
                (in_map("b", add("x")), changed("b", added("x"))),
                (in_map("a", remove("x")), changed("a", removed("x"))),
                (in_map("b", clear()), None),
                (
                    remove("a"),
                    Some(Kind::MultiMap(MultiMapDelta {
                        removed: vec![text("a")],
                        ..MultiMapDelta::default()
                    })),
                ),
                (
                    clear(),
                    Some(Kind::MultiMap(MultiMapDelta {
                        cleared: true,
                        ..MultiMapDelta::default()
                    })),
                ),
            ]
        }
        DataType::Unspecified => Vec::new(),
    }
}

fn vote(own: bool) -> Kind {
    Kind::Vote(crate::proto::v1::Votes {
        own,
        ..Default::default()
    })
}

fn map_cases() -> Cases {
    let mut cases = vec![
        (
            at("c", DataType::Counter, Step::Change(5)),
            Some(map_added("c", Kind::Counter(5))),
        ),
        (
            at("c", DataType::Counter, Step::Change(-2)),
            Some(map_updated("c", Kind::Counter(-2))),
        ),
        (
            at("f", DataType::Flag, turn_on()),
            Some(map_added("f", Kind::Flag(true))),
        ),
        (
            at("g", DataType::GrowCounter, Step::Change(2)),
            Some(map_added("g", Kind::GrowCounter(2))),
        ),
        (
            at("s", DataType::Set, add("x")),
            Some(map_added("s", Kind::Set(added("x")))),
        ),
        (
            at("s", DataType::Set, add("y")),
            Some(map_updated("s", Kind::Set(added("y")))),
        ),
        (
            at("s", DataType::Set, remove("x")),
            Some(map_updated("s", Kind::Set(removed("x")))),
        ),
    ];
    let inner = at("n", DataType::Counter, Step::Change(1));
    cases.extend([
        (
            at("m", DataType::Map, inner.clone()),
            Some(map_added("m", map_added("n", Kind::Counter(1)))),
        ),
        (
            at("m", DataType::Map, inner),
            Some(map_updated("m", map_updated("n", Kind::Counter(1)))),
        ),
        (at("v", DataType::Vote, Step::Vote(true)), None),
        (at("r", DataType::Register, write("x", 0, 0)), None),
        (
            at("cm", DataType::CounterMap, in_map("k", Step::Change(4))),
            None,
        ),
        (
            at("rm", DataType::RegisterMap, in_map("k", write("x", 0, 0))),
            None,
        ),
        (at("mm", DataType::MultiMap, in_map("k", add("x"))), None),
        (at("gs", DataType::GrowSet, add("x")), None),
    ]);
    let prune = |cleared: bool, keys: &[&str]| {
        Some(Kind::Map(MapDelta {
            cleared,
            removed: keys.iter().map(|key| text(key)).collect(),
            ..MapDelta::default()
        }))
    };
    cases.extend([
        (remove("c"), prune(false, &["c"])),
        (clear(), prune(true, &[])),
        (
            at("z", DataType::Flag, turn_on()),
            Some(map_added("z", Kind::Flag(true))),
        ),
    ]);
    cases
}

async fn table(kit: &mut Kit, data_type: DataType) -> Result {
    kit.ready().await?;
    let entity = kit.entity(Service::Data(data_type));
    let empty = kit.ask_data(&entity, vec![]).await?;
    ensure(
        empty.mutation.is_none_or(|one| one.mutation.is_none()),
        "R52",
        "no mutation of a command without steps",
        "one",
    )?;
    for (step, expected) in cases(data_type) {
        let decision = kit.ask_data(&entity, vec![step.clone()]).await?;
        let Some(expected) = expected else {
            continue;
        };
        let given = match decision
            .mutation
            .as_ref()
            .and_then(|one| one.mutation.as_ref())
        {
            Some(mutation::Mutation::Update(update)) => update.delta.as_ref(),
            _ => None,
        };
        let given = given.and_then(|one| one.delta.as_ref());
        // Of votes only the own one counts.
        let fits = match (given, &expected) {
            (Some(Kind::Vote(given)), Kind::Vote(expected)) => given.own == expected.own,
            _ => given == Some(&expected),
        };
        ensure(
            fits,
            "R52",
            show::short(&format!("{expected:?} after {step:?}")),
            show::short(&format!("{given:?}")),
        )?;
    }
    kit.ask_data(&entity, vec![]).await?;
    Ok(())
}

/// All steps that change something, of a type.
pub(crate) fn steps(data_type: DataType) -> Vec<Step> {
    cases(data_type).into_iter().map(|(step, _)| step).collect()
}

async fn merged(kit: &mut Kit) -> Result {
    kit.ready().await?;
    for (data_type, ..) in DATA {
        let entity = kit.entity(Service::Data(data_type));
        let steps = steps(data_type);
        kit.ask_data(&entity, steps.clone()).await?;
        kit.ask_data(&entity, vec![]).await?;
        // Twice over, the other way round, on what is there.
        kit.ask_data(&entity, steps.into_iter().rev().collect())
            .await?;
        kit.ask_data(&entity, vec![]).await?;
    }
    Ok(())
}

async fn reopened(kit: &mut Kit) -> Result {
    kit.ready().await?;
    for (data_type, ..) in DATA {
        let entity = kit.entity(Service::Data(data_type));
        for step in steps(data_type) {
            kit.ask_data(&entity, vec![step]).await?;
            kit.close(&entity).await?;
            kit.ask_data(&entity, vec![]).await?;
        }
    }
    Ok(())
}

/// Lets a change happen elsewhere, and tells the function.
pub(crate) fn elsewhere(kit: &mut Kit, entity: &Entity, step: &Step) -> Result {
    let Some(record) = kit.store.get_mut(entity) else {
        return Ok(());
    };
    let mut data = record.data();
    let delta = match data.change(step).delta {
        // A change of the votes says all of them.
        Some(Kind::Vote(votes)) => Kind::Vote(crate::proto::v1::Votes {
            own: votes.own,
            yes: 3 + u32::from(votes.own),
            members: 5,
        }),
        Some(kind) => kind,
        None => return Ok(()),
    };
    let delta = Delta { delta: Some(delta) };
    if let Err(misfit) = data.apply(&delta) {
        return Err(crate::fault::Fault::new(
            "R52",
            "a kit that is right",
            misfit,
        ));
    }
    record.data = Some(data);
    kit.on()?.change(entity, change::Change::Delta(delta));
    Ok(())
}

async fn changes(kit: &mut Kit) -> Result {
    kit.ready().await?;
    for (data_type, ..) in DATA {
        let entity = kit.entity(Service::Data(data_type));
        kit.ask_data(&entity, vec![]).await?;
        let steps = steps(data_type);
        for step in &steps {
            elsewhere(kit, &entity, step)?;
            kit.ask_data(&entity, vec![]).await?;
        }
        for (place, step) in steps.iter().enumerate() {
            elsewhere(kit, &entity, step)?;
            kit.ask_data(&entity, vec![steps[steps.len() - 1 - place].clone()])
                .await?;
        }
    }
    Ok(())
}

fn call() -> Step {
    Step::Call(two("a", vec![]))
}

async fn between(kit: &mut Kit) -> Result {
    kit.ready().await?;
    kit.on()?.answers_calls = false;
    let cases = [
        (DataType::Counter, Step::Change(10), Step::Change(5)),
        (DataType::GrowCounter, Step::Change(10), Step::Change(5)),
        (DataType::Set, add("there"), add("here")),
        (DataType::GrowSet, add("there"), add("here")),
        (
            DataType::CounterMap,
            in_map("a", Step::Change(3)),
            in_map("a", Step::Change(4)),
        ),
        (
            DataType::Map,
            at("a", DataType::Flag, turn_on()),
            at("b", DataType::Flag, turn_on()),
        ),
    ];
    for (data_type, there, here) in cases {
        let entity = kit.entity(Service::Data(data_type));
        kit.ask_data(&entity, vec![]).await?;
        let ticket = kit.put_data(&entity, vec![call(), here])?;
        let id = kit.call().await?.id;
        elsewhere(kit, &entity, &there)?;
        kit.on()?.answer_call(id, Ok(Reply::default()));
        kit.decision(ticket).await?;
        kit.ask_data(&entity, vec![]).await?;
    }
    Ok(())
}

async fn several(kit: &mut Kit) -> Result {
    kit.ready().await?;
    kit.on()?.answers_calls = false;
    let entity = kit.entity(Service::Data(DataType::Counter));
    let first = kit.put_data(&entity, vec![call(), Step::Change(1)])?;
    let first_call = kit.call().await?.id;
    let second = kit.put_data(&entity, vec![call(), Step::Change(20)])?;
    let second_call = kit.call().await?.id;
    kit.ask_data(&entity, vec![Step::Change(300)]).await?;
    kit.on()?.answer_call(second_call, Ok(Reply::default()));
    kit.decision(second).await?;
    kit.on()?.answer_call(first_call, Ok(Reply::default()));
    kit.decision(first).await?;
    kit.ask_data(&entity, vec![]).await?;
    Ok(())
}

async fn failure(kit: &mut Kit) -> Result {
    kit.ready().await?;
    let fail = Step::Fail(Fail {
        code: 9,
        message: "not so".into(),
        details: vec!["why".into()],
    });
    for (data_type, ..) in DATA {
        let entity = kit.entity(Service::Data(data_type));
        let steps = steps(data_type);
        kit.ask_data(&entity, vec![steps[0].clone()]).await?;
        for end in [fail.clone(), Step::Crash("on purpose".into())] {
            kit.ask_data(&entity, [steps.clone(), vec![end]].concat())
                .await?;
            kit.ask_data(&entity, vec![]).await?;
        }
    }
    Ok(())
}

async fn consistency(kit: &mut Kit) -> Result {
    kit.ready().await?;
    let entity = kit.entity(Service::Data(DataType::GrowSet));
    for consistency in 0..=2 {
        let steps = vec![add(&format!("{consistency}"))];
        let ticket = kit.put_data_of(&entity, "Process", steps, consistency)?;
        kit.decision(ticket).await?;
    }
    Ok(())
}

async fn deleted(kit: &mut Kit) -> Result {
    kit.ready().await?;
    for (data_type, ..) in DATA {
        let entity = kit.entity(Service::Data(data_type));
        kit.ask_data(&entity, vec![steps(data_type).remove(0)])
            .await?;
        kit.ask_data(&entity, vec![Step::Delete(Nothing {})])
            .await?;
        kit.close(&entity).await?;
        // Deleted elsewhere.
        let other = kit.entity(Service::Data(data_type));
        kit.ask_data(&other, vec![steps(data_type).remove(0)])
            .await?;
        let gone = change::Change::Deleted(crate::proto::v1::Delete {});
        kit.on()?.change(&other, gone);
        kit.close(&other).await?;
    }
    Ok(())
}
