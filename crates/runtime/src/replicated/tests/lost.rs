//! Commands that the function had when it was lost, or when it let go of their entity.

use std::time::Duration;

use firn_model::policy::{LostCommands, OpenCommands, Policies};
use firn_model::replicated::{Change, Consistency, Delta, StateAction};
use firn_testkit::policies;
use proptest::prelude::*;

use super::super::{CallId, Input};
use super::ordeal::Dice;
use super::world::{self, Answering, Value, World, added};
use super::{ended, local, set};
use crate::link::End;
use crate::refusal::{Fault, Refusal};

const TERMINATION: Refusal = Refusal::Failed(Fault::Termination);

fn sends_again() -> Policies {
    Policies {
        lost_commands: LostCommands::SendAgain,
        open_commands: OpenCommands::Many,
        ..policies::careful()
    }
}

fn terminated() -> End {
    End::Terminated {
        cause: "gone".into(),
    }
}

fn unreachable() -> End {
    End::Unreachable {
        cause: "gone".into(),
    }
}

fn watch() -> Answering {
    Answering {
        change: None,
        streamed: true,
    }
}

/// A node whose function has these elements to add, of as many commands.
fn running(policies: Policies, elements: &[&str]) -> (World, Vec<CallId>) {
    let mut world = World::with(1, policies);
    let add = |text: &&str| world.command(0, "a", local(added(text)));
    let calls = elements.iter().map(add).collect();
    world.settle_local(0);
    (world, calls)
}

/// How many commands the function has.
fn asked(world: &mut World) -> usize {
    world
        .instance(0, "a")
        .map_or(0, |(_, instance)| instance.asked.len())
}

#[test]
fn released_commands_are_sent_again_and_nobody_hears_of_it() {
    let (mut world, calls) = running(sends_again(), &["x", "y", "z"]);
    world.answer(0);
    // As often as it likes.
    for _ in 0..9 {
        world.end(0, "a", End::Released);
        assert_eq!(asked(&mut world), 2);
    }
    let (_, instance) = world.instance(0, "a").expect("open");
    let numbers: Vec<i64> = instance.asked.iter().map(|(number, _)| *number).collect();
    assert_eq!((numbers, &instance.value), (vec![1, 2], &set(&["x"])));
    world.settle();
    assert!(calls.iter().all(|call| ended(&world, 0, *call)));
    assert!(world.nodes[0].reports.is_empty());
    world.pass(Duration::from_millis(100));
    world.settle();
    assert_eq!(world.value(0, "a"), set(&["x", "y", "z"]));
}

#[test]
fn lost_commands_are_sent_again_once_and_alone() {
    for end in [terminated, unreachable] {
        let (mut world, calls) = running(sends_again(), &["x", "y"]);
        world.end(0, "a", end());
        let later = world.command(0, "a", local(added("z")));
        assert_eq!(
            asked(&mut world),
            1,
            "the first has the function for itself"
        );
        world.answer(0);
        assert_eq!(asked(&mut world), 1, "and so has the second");
        assert!(ended(&world, 0, calls[0]));
        world.end(0, "a", terminated());
        assert_eq!(world.outcome(0, calls[1]), Some(&Err(TERMINATION)));
        world.settle();
        assert!(ended(&world, 0, later));
    }
}

#[test]
fn command_that_reaches_nobody_twice_fails_with_those_behind_it() {
    let (mut world, calls) = running(sends_again(), &["x"]);
    world.end(0, "a", unreachable());
    let later = world.command(0, "a", Answering::nothing());
    world.end(0, "a", unreachable());
    for call in [calls[0], later] {
        let refused = Err(Refusal::FunctionUnavailable);
        assert_eq!(world.outcome(0, call), Some(&refused));
    }
}

#[test]
fn lost_commands_fail_where_the_policy_says_so() {
    let fails = Policies {
        lost_commands: LostCommands::Fail,
        ..sends_again()
    };
    for end in [terminated, || End::Released] {
        let (mut world, calls) = running(fails.clone(), &["x"]);
        world.end(0, "a", end());
        assert_eq!(world.outcome(0, calls[0]), Some(&Err(TERMINATION)));
    }
}

#[test]
fn command_that_failed_the_entity_fails() {
    let fault = || End::WrongReply { cause: "it".into() };
    let (mut world, calls) = running(sends_again(), &["x"]);
    world.end(0, "a", fault());
    let refused = Err(Refusal::Failed(Fault::Reply));
    assert_eq!(world.outcome(0, calls[0]), Some(&refused));
}

#[test]
fn those_with_a_command_whose_time_is_over_are_sent_again() {
    let mut world = World::with(1, sends_again());
    let minute = Duration::from_secs(60);
    let late = world.command_within(0, "a", Answering::nothing(), minute);
    let second = world.command_within(0, "a", local(added("x")), 2 * minute);
    world.settle_local(0);
    world.pass(minute);
    assert_eq!(world.outcome(0, late), Some(&Err(Refusal::Timeout)));
    assert_eq!(asked(&mut world), 1);
    world.settle();
    assert!(ended(&world, 0, second));
}

#[test]
fn watch_is_begun_again_until_its_first_answer() {
    for end in [terminated, || End::Released] {
        let mut world = World::with(1, sends_again());
        let call = world.command(0, "a", watch());
        world.settle_local(0);
        world.end(0, "a", end());
        world.settle();
        assert_eq!(world.outcome(0, call), None);
        assert_eq!(world.nodes[0].heard[&call].answers.len(), 1);
        // From here on it cannot be told again. The command beside it can.
        let other = world.command(0, "a", local(added("x")));
        world.end(0, "a", end());
        assert_eq!(world.outcome(0, call), Some(&Err(TERMINATION)));
        world.settle();
        assert!(ended(&world, 0, other));
    }
}

#[test]
fn command_that_nobody_waits_for_is_not_sent_again() {
    let mut world = World::with(1, sends_again());
    let gone = world.command(0, "a", watch());
    let told = world.command_within(0, "a", local(added("x")), Duration::from_secs(1));
    world.settle_local(0);
    world.feed(0, Input::CallerGone(world::key("a"), gone));
    world.pass(Duration::from_secs(2));
    assert_eq!(world.outcome(0, told), Some(&Err(Refusal::Timeout)));
    world.end(0, "a", End::Released);
    assert!(world.instance(0, "a").is_none());
}

/// Commands, answers and losses in any order: every caller is told, and what he is told is true.
fn loses(seed: u64) -> Result<(), TestCaseError> {
    let mut dice = Dice(seed);
    let mut world = World::with(1, sends_again());
    let mut calls = Vec::new();
    for _ in 0..300 {
        match dice.below(12) {
            0..4 => {
                let change = 1 << dice.below(20);
                let consistency = match dice.below(2) {
                    0 => Consistency::Local,
                    _ => Consistency::Majority,
                };
                let answering = Answering {
                    change: Some(Change {
                        action: StateAction::Update(Ok(Delta::Counter(change))),
                        consistency,
                    }),
                    streamed: false,
                };
                calls.push((world.command(0, "a", answering), change));
            }
            4..7 => drop(world.answer(0)),
            7 => drop(world.save(0)),
            8 => world.end(0, "a", End::Released),
            9 => match dice.below(3) {
                0 => world.end(0, "a", unreachable()),
                _ => world.end(0, "a", terminated()),
            },
            10 => world.feed(0, Input::MakeRoom),
            _ => world.pass(Duration::from_millis(dice.below(200) as u64)),
        }
        world.settle_local(0);
    }
    world.heal();
    let mut sum = 0;
    for (call, change) in calls {
        match world.outcome(0, call) {
            Some(Ok(())) => sum += change,
            Some(Err(Refusal::Failed(Fault::Termination) | Refusal::FunctionUnavailable)) => {}
            other => prop_assert!(false, "{:?}: {:?}", call, other),
        }
    }
    let value = match world.value(0, "a") {
        Value::Counter(value) => value,
        _ => 0,
    };
    prop_assert_eq!(value, sum);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn changes_count_once_and_only_if_they_are_answered(seed in any::<u64>()) {
        loses(seed)?;
    }
}
