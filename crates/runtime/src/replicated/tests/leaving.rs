//! Callers who come and go at random: those who stay are answered in time, whatever the function
//! leaves undone that its protocol does not make it do.

use std::time::Duration;

use firn_model::policy::OpenCommands;
use firn_model::replicated::{CancelAnswer, Change, Consistency, InvalidDelta, StateAction};
use proptest::prelude::*;

use super::super::{CallId, Input};
use super::local;
use super::ordeal::Dice;
use super::world::{self, Answering, World, added};
use crate::link::ReplicaEvent;

/// How long callers wait for their first answer.
const PATIENCE: Duration = Duration::from_secs(1);

/// The function answers commands in less than this.
const PROMPT: Duration = Duration::from_millis(50);

/// A change that the entity refuses, so that the function's value is not known any more.
fn wrong() -> Answering {
    Answering {
        change: Some(Change {
            action: StateAction::Update(Err(InvalidDelta::NoType)),
            consistency: Consistency::Local,
        }),
        streamed: false,
    }
}

/// Callers of an entity of two nodes. Each function ends half-closed streams or never does, and both
/// answer cancellations or never do; they are prompt with everything else.
fn come_and_go(seed: u64) -> Result<(), TestCaseError> {
    let mut dice = Dice(seed);
    let mut world = World::new(2, OpenCommands::Many);
    for node in 0..2 {
        world.nodes[node].ends_streams = dice.below(2) == 0;
    }
    let answers_cancellations = dice.below(2) == 0;
    let mut watching: Vec<(usize, CallId)> = Vec::new();
    let mut asked: Vec<(usize, CallId)> = Vec::new();
    let pass = |world: &mut World, time| {
        settle(world, answers_cancellations);
        world.pass(time);
    };
    for step in 0..300 {
        let node = dice.below(2);
        match dice.below(20) {
            0..3 => {
                let watch = Answering {
                    change: None,
                    streamed: true,
                };
                watching.push((node, world.command_within(node, "a", watch, PATIENCE)));
            }
            3..6 if !watching.is_empty() => {
                let (node, call) = watching.swap_remove(dice.below(watching.len()));
                world.feed(node, Input::CallerGone(world::key("a"), call));
            }
            6..9 => {
                let change = local(added(&step.to_string()));
                asked.push((node, world.command_within(node, "a", change, PATIENCE)));
            }
            9 => drop(world.command_within(node, "a", wrong(), PATIENCE)),
            10 => world.feed(node, Input::MakeRoom),
            11 if dice.below(4) == 0 => {
                for _ in 0..40 {
                    pass(&mut world, PROMPT);
                }
                world.pass(Duration::from_secs(31));
            }
            12..15 => drop(world.answer(node)),
            _ => pass(&mut world, PROMPT * dice.below(4) as u32 / 4),
        }
        world.settle_local(node);
    }
    for _ in 0..40 {
        pass(&mut world, PROMPT);
    }
    for (node, call) in asked {
        prop_assert_eq!(world.outcome(node, call), Some(&Ok(())));
    }
    for (node, call) in watching {
        let end = world.outcome(node, call);
        prop_assert!(!matches!(end, Some(Err(_))), "{:?}", end);
    }
    Ok(())
}

/// Does everything that is to be done at this moment.
fn settle(world: &mut World, answers_cancellations: bool) {
    world.settle();
    for node in 0..2 {
        while answers_cancellations
            && let Some((ticket, instance)) = world.instance(node, "a")
            && let Some(command) = instance.cancelled.pop()
        {
            let answer = CancelAnswer {
                command,
                effects: Vec::new(),
                change: None,
            };
            let event = ReplicaEvent::CancelAnswered(answer);
            world.feed(node, Input::Stream(ticket, event));
        }
    }
    world.settle();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn callers_that_stay_hear_nothing_of_those_who_leave(seed in any::<u64>()) {
        come_and_go(seed)?;
    }
}
