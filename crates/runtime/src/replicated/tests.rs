use std::time::Duration;

use firn_model::policy::OpenCommands;
use firn_model::replicated::{Change, Consistency, Delta, InvalidDelta, StateAction};

use super::{CallId, Input};
use crate::refusal::Refusal;
use world::{Answering, Value, World, added, removed};

mod callers;
mod leaving;
mod lost;
mod members;
mod ordeal;
mod world;

fn set(elements: &[&str]) -> Value {
    Value::Set(elements.iter().map(ToString::to_string).collect())
}

fn local(delta: Delta) -> Answering {
    Answering::update(delta, Consistency::Local)
}

fn ended(world: &World, node: usize, call: CallId) -> bool {
    world.outcome(node, call) == Some(&Ok(()))
}

#[test]
fn change_is_answered_before_it_is_written_and_written_soon() {
    let mut world = World::new(1, OpenCommands::One);
    let call = world.command(0, "a", local(added("x")));
    world.settle_local(0);
    world.answer(0);
    assert!(ended(&world, 0, call));
    assert_eq!(world.stored(0, "a"), None);
    world.pass(Duration::from_millis(100));
    world.save(0);
    assert_eq!(world.value(0, "a"), set(&["x"]));
}

#[test]
fn change_with_consistency_is_answered_once_it_is_written() {
    let mut world = World::new(1, OpenCommands::One);
    let answering = Answering::update(added("x"), Consistency::Majority);
    let call = world.command(0, "a", answering);
    world.settle_local(0);
    world.answer(0);
    assert!(!ended(&world, 0, call));
    world.save(0);
    assert!(ended(&world, 0, call));
}

#[test]
fn own_change_is_never_sent_back_and_that_of_others_is() {
    let mut world = World::new(2, OpenCommands::One);
    for (node, text) in [(0, "x"), (1, "y")] {
        world.command(node, "a", local(added(text)));
        world.settle();
    }
    world.heal();
    // The function of these tests panics at a delta for an element twice the other way round: its
    // value is compared as a whole.
    for node in 0..2 {
        let (_, instance) = world.instance(node, "a").expect("open");
        assert_eq!(instance.value, set(&["x", "y"]));
    }
}

#[test]
fn what_others_did_waits_until_no_command_is_open() {
    let mut world = World::new(2, OpenCommands::Many);
    world.command(0, "a", local(added("x")));
    world.settle();
    let first = world.command(0, "a", local(removed("x")));
    let second = world.command(0, "a", local(added("z")));
    world.settle_local(0);
    world.command(1, "a", local(added("y")));
    world.settle_local(1);
    world.answer(1);
    while let Some(message) = world.wire.pop_front() {
        world.deliver(message);
    }
    let (_, instance) = world.instance(0, "a").expect("open");
    assert_eq!(instance.value, set(&["x"]));
    world.answer(0);
    let (_, instance) = world.instance(0, "a").expect("open");
    assert_eq!(instance.value, set(&[]), "one command is still open");
    world.answer(0);
    let (_, instance) = world.instance(0, "a").expect("open");
    assert_eq!(instance.value, set(&["y", "z"]));
    assert!(ended(&world, 0, first) && ended(&world, 0, second));
}

#[test]
fn one_command_at_a_time_where_the_policy_says_so() {
    let check = |policy, expected| {
        let mut world = World::new(1, policy);
        for text in ["x", "y", "z"] {
            world.command(0, "a", local(added(text)));
        }
        world.settle_local(0);
        let (_, instance) = world.instance(0, "a").expect("open");
        assert_eq!(instance.asked.len(), expected);
    };
    check(OpenCommands::One, 1);
    check(OpenCommands::Many, 3);
}

#[test]
fn change_that_cannot_be_fails_its_command_alone() {
    let check = |action: StateAction| {
        let mut world = World::new(1, OpenCommands::Many);
        world.command(0, "a", local(added("x")));
        world.settle();
        let change = Change {
            action,
            consistency: Consistency::Local,
        };
        let (_, instance) = world.instance(0, "a").expect("open");
        let before = instance.value.clone();
        let bad = world.command(
            0,
            "a",
            Answering {
                change: Some(change),
                streamed: false,
            },
        );
        let good = world.command(0, "a", local(added("y")));
        world.settle_local(0);
        // The function of these tests would take the wrong delta itself.
        let (ticket, instance) = world.instance(0, "a").expect("open");
        let (number, answering) = instance.asked.pop_front().expect("asked");
        let reply = firn_model::replicated::Reply {
            command: number,
            answer: firn_model::decision::Answer::Reply(Default::default()),
            effects: Vec::new(),
            change: answering.change,
            streamed: false,
        };
        let event = crate::link::ReplicaEvent::Replied(reply);
        world.feed(0, Input::Stream(ticket, event));
        let outcome = world.outcome(0, bad).expect("an end");
        assert!(
            matches!(outcome, Err(Refusal::InvalidChange { .. })),
            "{outcome:?}"
        );
        world.settle();
        assert!(ended(&world, 0, good));
        world.pass(Duration::from_millis(100));
        world.settle();
        assert_eq!(before, set(&["x"]));
        assert_eq!(world.value(0, "a"), set(&["x", "y"]));
        // The function begins again with the true value.
        world.command(0, "a", Answering::nothing());
        world.settle();
        let (_, instance) = world.instance(0, "a").expect("a new stream");
        assert_eq!(instance.value, set(&["x", "y"]));
    };
    check(StateAction::Update(Ok(Delta::Counter(1))));
    check(StateAction::Update(Ok(Delta::GrowCounter(u64::MAX))));
    check(StateAction::Update(Err(InvalidDelta::NoTypeUrl)));
}

#[test]
fn deleted_entity_refuses_everything_everywhere_for_ever() {
    let mut world = World::new(2, OpenCommands::One);
    for node in 0..2 {
        world.command(node, "a", local(added("x")));
    }
    world.heal();
    assert!(world.instance(1, "a").is_some());
    let call = world.command(0, "a", Answering::delete());
    world.settle_local(0);
    world.answer(0);
    assert!(!ended(&world, 0, call), "the tombstone is not written yet");
    assert!(world.instance(0, "a").is_none(), "the stream ends at once");
    world.settle();
    assert!(ended(&world, 0, call));
    assert!(world.instance(1, "a").is_none());
    for node in 0..2 {
        let late = world.command(node, "a", local(added("y")));
        world.settle();
        assert_eq!(world.outcome(node, late), Some(&Err(Refusal::Deleted)));
    }
    world.kill(0);
    let late = world.command(0, "a", Answering::nothing());
    world.heal();
    assert_eq!(world.outcome(0, late), Some(&Err(Refusal::Deleted)));
}

#[test]
fn idle_stream_ends_and_the_value_stays() {
    let mut world = World::new(1, OpenCommands::One);
    world.command(0, "a", local(added("x")));
    world.settle();
    assert!(world.instance(0, "a").is_some());
    world.pass(Duration::from_secs(31));
    world.settle();
    world.pass(Duration::from_secs(3));
    world.settle();
    assert_eq!(world.nodes[0].machine.active(), 0);
    world.command(0, "a", Answering::nothing());
    world.settle();
    let (_, instance) = world.instance(0, "a").expect("open");
    assert_eq!(instance.value, set(&["x"]));
}

#[test]
fn command_does_not_wait_long_for_a_function_that_ends_no_stream() {
    let mut world = World::new(1, OpenCommands::Many);
    world.nodes[0].ends_streams = false;
    let second = Duration::from_secs(1);
    world.command(0, "a", local(added("x")));
    world.settle();
    world.pass(31 * second);
    assert!(world.instance(0, "a").is_none(), "it is half-closed");
    let soon = world.command_within(0, "a", Answering::nothing(), second);
    world.settle();
    assert_eq!(world.outcome(0, soon), None, "the function may end it yet");
    world.pass(second / 10);
    world.settle();
    assert!(ended(&world, 0, soon));
    // One that begins anew has somebody waiting already.
    let bad = Change {
        action: StateAction::Update(Err(InvalidDelta::NoTypeUrl)),
        consistency: Consistency::Local,
    };
    world.command(
        0,
        "a",
        Answering {
            change: Some(bad),
            streamed: false,
        },
    );
    world.settle();
    let next = world.command_within(0, "a", Answering::nothing(), second);
    world.settle();
    world.pass(second / 10);
    world.settle();
    assert!(ended(&world, 0, next));
}

#[test]
fn idle_stream_gives_way_and_a_busy_one_as_soon_as_it_is_idle() {
    let mut world = World::new(1, OpenCommands::One);
    world.command(0, "a", Answering::nothing());
    world.settle();
    world.feed(0, Input::MakeRoom);
    world.settle();
    assert!(world.instance(0, "a").is_none());
    world.command(0, "b", Answering::nothing());
    world.settle_local(0);
    world.feed(0, Input::MakeRoom);
    assert!(world.instance(0, "b").is_some(), "it is busy");
    world.settle();
    assert!(world.instance(0, "b").is_none());
}
