//! Callers: those who watch, those who go, and those with little time.

use std::time::Duration;

use firn_model::policy::OpenCommands;
use firn_model::replicated::{Change, Consistency, InvalidDelta, StateAction};

use super::super::{Input, WATCHERS_MAX};
use super::world::{self, Answering, Value, World, added};
use super::{ended, local, set};
use crate::refusal::Refusal;

fn watch() -> Answering {
    Answering {
        change: None,
        streamed: true,
    }
}

#[test]
fn caller_of_a_stream_who_goes_is_cancelled_with_the_function() {
    let mut world = World::new(1, OpenCommands::Many);
    let answering = Answering {
        change: None,
        streamed: true,
    };
    let call = world.command(0, "a", answering);
    world.settle();
    assert_eq!(world.outcome(0, call), None);
    world.pass(Duration::from_secs(120));
    assert!(world.instance(0, "a").is_some(), "it is watched");
    world.feed(0, Input::CallerGone(world::key("a"), call));
    let (ticket, instance) = world.instance(0, "a").expect("open");
    assert_eq!(instance.cancelled, [1]);
    let answer = firn_model::replicated::CancelAnswer {
        command: 1,
        effects: Vec::new(),
        change: Some(Change {
            action: StateAction::Update(Ok(added("left"))),
            consistency: Consistency::Local,
        }),
    };
    let event = crate::link::ReplicaEvent::CancelAnswered(answer);
    world.feed(0, Input::Stream(ticket, event));
    world.pass(Duration::from_millis(100));
    world.settle();
    assert_eq!(world.value(0, "a"), set(&["left"]));
}

#[test]
fn cancellation_that_is_never_answered_holds_nobody_up() {
    let mut world = World::new(2, OpenCommands::Many);
    let watch = || Answering {
        change: None,
        streamed: true,
    };
    let leaves = world.command(0, "a", watch());
    let stays = world.command(0, "a", watch());
    world.settle();
    world.feed(0, Input::CallerGone(world::key("a"), leaves));
    world.pass(Duration::from_secs(2));
    world.command(1, "a", local(added("x")));
    world.heal();
    let (ticket, instance) = world.instance(0, "a").expect("the same stream");
    assert_eq!(instance.value, set(&["x"]));
    world.pass(Duration::from_secs(120));
    assert_eq!(world.outcome(0, stays), None);
    // An answer that comes late counts all the same.
    let answer = firn_model::replicated::CancelAnswer {
        command: 1,
        effects: Vec::new(),
        change: Some(Change {
            action: StateAction::Update(Ok(added("late"))),
            consistency: Consistency::Local,
        }),
    };
    let event = crate::link::ReplicaEvent::CancelAnswered(answer);
    world.feed(0, Input::Stream(ticket, event));
    world.heal();
    assert_eq!(world.value(1, "a"), set(&["late", "x"]));
}

#[test]
fn callers_who_leave_all_the_time_keep_nothing_from_those_who_stay() {
    let mut world = World::new(2, OpenCommands::Many);
    let stays = world.command(0, "a", watch());
    world.heal();
    for step in 0..10 {
        let leaves = world.command(0, "a", watch());
        world.settle();
        world.feed(0, Input::CallerGone(world::key("a"), leaves));
        world.command(1, "a", local(added(&step.to_string())));
        world.settle();
        world.pass(Duration::from_millis(700));
    }
    world.settle();
    let (ticket, instance) = world.instance(0, "a").expect("open");
    let elements: Vec<String> = (0..9).map(|step| step.to_string()).collect();
    let Value::Set(heard) = &instance.value else {
        panic!("{:?}", instance.value);
    };
    assert!(elements.iter().all(|it| heard.contains(it)), "{heard:?}");
    // Once an answer comes after all, it is waited for again.
    let cancel_answer = |command| {
        crate::link::ReplicaEvent::CancelAnswered(firn_model::replicated::CancelAnswer {
            command,
            effects: Vec::new(),
            change: None,
        })
    };
    world.feed(0, Input::Stream(ticket, cancel_answer(11)));
    let leaves = world.command(0, "a", watch());
    world.settle();
    world.feed(0, Input::CallerGone(world::key("a"), leaves));
    world.command(1, "a", local(added("last")));
    world.settle();
    let hears = |world: &mut World| {
        let (_, instance) = world.instance(0, "a").expect("open");
        matches!(&instance.value, Value::Set(heard) if heard.contains("last"))
    };
    assert!(!hears(&mut world));
    world.feed(0, Input::Stream(ticket, cancel_answer(12)));
    assert!(hears(&mut world));
    assert_eq!(world.outcome(0, stays), None);
}

#[test]
fn streamed_message_before_the_reply_is_the_first_answer() {
    let mut world = World::new(1, OpenCommands::Many);
    let answering = Answering {
        change: None,
        streamed: true,
    };
    let call = world.command(0, "a", answering);
    world.settle_local(0);
    let (ticket, _) = world.instance(0, "a").expect("open");
    let message = |ends| {
        crate::link::ReplicaEvent::Streamed(firn_model::replicated::StreamedMessage {
            command: 1,
            answer: firn_model::decision::Answer::Reply(Default::default()),
            effects: Vec::new(),
            ends,
        })
    };
    world.feed(0, Input::Stream(ticket, message(false)));
    assert_eq!(world.nodes[0].heard[&call].answers.len(), 1);
    world.feed(0, Input::Stream(ticket, message(true)));
    assert_eq!(world.outcome(0, call), None, "the reply is still to come");
    world.answer(0);
    assert!(ended(&world, 0, call));
    assert_eq!(world.nodes[0].heard[&call].answers.len(), 3);
    assert!(world.nodes[0].reports.is_empty());
}

#[test]
fn watched_instance_with_a_wrong_value_still_hears_of_others() {
    let mut world = World::new(2, OpenCommands::Many);
    world.command(0, "a", local(added("x")));
    world.heal();
    let watching = world.command(0, "a", watch());
    world.settle();
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
    world.command(1, "a", local(added("y")));
    world.heal();
    let (_, instance) = world.instance(0, "a").expect("open");
    assert_eq!(instance.value, set(&["x", "y"]));
    assert_eq!(world.outcome(0, watching), None);
}

#[test]
fn watchers_do_not_keep_commands_out_and_have_a_bound() {
    let mut world = World::new(1, OpenCommands::Many);
    for _ in 0..WATCHERS_MAX {
        world.command(0, "a", watch());
        world.settle_local(0);
        world.answer(0);
    }
    let call = world.command(0, "a", local(added("x")));
    world.settle_local(0);
    world.answer(0);
    assert!(ended(&world, 0, call));
    let late = world.command(0, "a", watch());
    let capacity = WATCHERS_MAX;
    let full = Err(Refusal::MailboxFull { capacity });
    assert_eq!(world.outcome(0, late), Some(&full));
}

#[test]
fn last_word_waits_for_the_first_answer() {
    let check = |input: fn() -> Input| {
        let mut world = World::new(1, OpenCommands::Many);
        let answering = Answering {
            streamed: true,
            ..Answering::update(added("x"), Consistency::Majority)
        };
        let call = world.command(0, "a", answering);
        world.settle_local(0);
        world.answer(0);
        world.feed(0, input());
        assert_eq!(world.outcome(0, call), None);
        world.save(0);
        assert!(ended(&world, 0, call));
        assert_eq!(world.nodes[0].heard[&call].answers.len(), 1);
    };
    check(|| Input::Drain);
    check(|| Input::CompleteStreams);
}

#[test]
fn caller_with_little_time_does_not_end_the_others() {
    let mut world = World::new(1, OpenCommands::Many);
    let watching = world.command(0, "a", watch());
    world.settle();
    let hasty = world.command_within(0, "a", local(added("x")), Duration::from_secs(1));
    let bad = Answering {
        change: Some(Change {
            action: StateAction::Update(Err(InvalidDelta::NoType)),
            consistency: Consistency::Local,
        }),
        streamed: false,
    };
    let bad = world.command_within(0, "a", bad, Duration::from_secs(1));
    world.settle_local(0);
    world.pass(Duration::from_secs(2));
    for call in [hasty, bad] {
        assert_eq!(world.outcome(0, call), Some(&Err(Refusal::Timeout)));
    }
    world.answer(0);
    world.answer(0);
    world.pass(Duration::from_millis(100));
    world.settle();
    assert_eq!(world.value(0, "a"), set(&["x"]), "it was applied");
    assert_eq!(world.outcome(0, watching), None);
}
