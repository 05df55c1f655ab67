//! Nodes put through everything at random: they agree in the end and keep what they promised.

use std::collections::BTreeSet;
use std::time::Duration;

use firn_model::policy::OpenCommands;
use firn_model::replicated::{Consistency, Delta};
use proptest::prelude::*;

use super::super::CallId;
use super::world::{Answering, Value, World, added, removed};
use super::{ended, local};

/// A generator of one seed (SplitMix64).
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % bound as u64) as usize
    }
}

/// What a random run did: elements by whether their addition was confirmed to be durable.
#[derive(Default)]
struct Ledger {
    issued: Vec<(usize, CallId, String)>,
    increments: Vec<(usize, CallId, i64, bool)>,
}

/// Runs nodes through everything that can happen to them; gives the healed world.
fn ordeal(seed: u64, steps: usize, policy: OpenCommands) -> (World, Ledger) {
    let mut dice = Dice(seed);
    let mut world = World::new(3, policy);
    let mut ledger = Ledger::default();
    for step in 0..steps {
        let node = dice.below(3);
        match dice.below(20) {
            0..6 => {
                let consistency = match dice.below(3) {
                    0 => Consistency::Majority,
                    _ => Consistency::Local,
                };
                let text = format!("{step}");
                let answering = Answering::update(added(&text), consistency);
                let call = world.command(node, "grows", answering);
                if consistency > Consistency::Local {
                    ledger.issued.push((node, call, text));
                }
            }
            6..8 => {
                let text = format!("{}", dice.below(4));
                let delta = if dice.below(2) == 0 {
                    added(&text)
                } else {
                    removed(&text)
                };
                world.command(node, "set", local(delta));
            }
            8..10 => {
                let durable = dice.below(2) == 0;
                let consistency = match durable {
                    true => Consistency::Majority,
                    false => Consistency::Local,
                };
                let change = dice.below(9) as i64 + 1;
                let answering = Answering::update(Delta::Counter(change), consistency);
                let call = world.command(node, "counter", answering);
                ledger.increments.push((node, call, change, durable));
            }
            10..13 => drop(world.answer(node)),
            13..15 => drop(world.save(node)),
            15 => world.pass(Duration::from_millis(dice.below(400) as u64)),
            16 => {
                if dice.below(4) == 0 {
                    remember(&world, &mut ledger, node);
                    world.kill(node);
                }
            }
            17 => drop(world.wire.pop_front()),
            _ => {
                if !world.wire.is_empty() {
                    let at = dice.below(world.wire.len());
                    let message = world.wire[at].clone();
                    if dice.below(3) > 0 {
                        world.wire.remove(at);
                    }
                    world.deliver(message);
                }
            }
        }
        world.settle_local(node);
    }
    world.wire.clear();
    world.heal();
    for node in 0..3 {
        remember(&world, &mut ledger, node);
    }
    (world, ledger)
}

/// Keeps only what a node's callers were told to be durable; the rest may be there or not.
fn remember(world: &World, ledger: &mut Ledger, node: usize) {
    let promised = |call| ended(world, node, call);
    ledger
        .issued
        .retain(|(at, call, _)| *at != node || promised(*call));
    for (at, call, _, durable) in &mut ledger.increments {
        *durable &= *at != node || promised(*call);
    }
    // What was remembered once is not asked for again.
    for (at, ..) in &mut ledger.issued {
        *at = if *at == node { usize::MAX } else { *at };
    }
    for (at, ..) in &mut ledger.increments {
        *at = if *at == node { usize::MAX } else { *at };
    }
}

fn survives(seed: u64, policy: OpenCommands) -> Result<(), TestCaseError> {
    let (mut world, ledger) = ordeal(seed, 300, policy);
    for id in ["grows", "set", "counter"] {
        let value = world.value(0, id);
        for node in 1..3 {
            prop_assert_eq!(&world.value(node, id), &value, "{} on node {}", id, node);
        }
        for node in 0..3 {
            if let Some((_, instance)) = world.instance(node, id) {
                prop_assert_eq!(&instance.value, &value, "function of node {}, {}", node, id);
            }
        }
    }
    if let Value::Set(elements) = world.value(0, "grows") {
        let promised: BTreeSet<&String> = ledger.issued.iter().map(|(.., text)| text).collect();
        for text in promised {
            prop_assert!(elements.contains(text), "{} was acknowledged", text);
        }
    } else {
        prop_assert!(ledger.issued.is_empty());
    }
    let sum = |durable: bool| -> i64 {
        let counted = ledger.increments.iter().filter(|it| !durable || it.3);
        counted.map(|it| it.2).sum()
    };
    if let Value::Counter(value) = world.value(0, "counter") {
        prop_assert!(
            (sum(true)..=sum(false)).contains(&value),
            "{} of {}",
            value,
            sum(true)
        );
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn replicas_agree_in_the_end_and_keep_what_was_acknowledged(seed in any::<u64>()) {
        survives(seed, OpenCommands::One)?;
        survives(seed, OpenCommands::Many)?;
    }
}
