use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::time::Duration;

use firn_model::id::{Incarnation, Replica};
use firn_model::policy::OpenCommands;
use firn_model::replicated::{Change, Consistency, Delta, InvalidDelta, StateAction};
use proptest::prelude::*;

use super::network::Message;
use super::{CallId, Input, Output, Page};
use crate::refusal::Refusal;
use world::{Answering, Value, World, added, removed};

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
fn majority_waits_for_members_and_not_for_all_of_them() {
    let mut world = World::new(3, OpenCommands::One);
    world.heal();
    let answering = Answering::update(added("x"), Consistency::Majority);
    let call = world.command(0, "a", answering);
    world.settle_local(0);
    world.answer(0);
    world.save(0);
    assert!(!ended(&world, 0, call));
    let to_second = world.wire.iter().position(|(_, to, _)| to.0 == 2);
    let message = world
        .wire
        .remove(to_second.expect("a change"))
        .expect("there");
    world.deliver(message);
    assert!(!ended(&world, 0, call), "it is not durable there yet");
    world.save(1);
    while let Some(at) = world.wire.iter().position(|(_, to, _)| to.0 == 1) {
        let message = world.wire.remove(at).expect("there");
        world.deliver(message);
    }
    assert!(ended(&world, 0, call));
}

#[test]
fn change_that_too_few_confirm_fails_and_stays() {
    let mut world = World::new(2, OpenCommands::One);
    world.heal();
    let call = world.command(0, "a", Answering::update(added("x"), Consistency::All));
    world.settle_local(0);
    world.answer(0);
    world.save(0);
    world.wire.clear();
    world.pass(Duration::from_secs(5));
    assert_eq!(world.outcome(0, call), Some(&Err(Refusal::NotConfirmed)));
    world.heal();
    assert_eq!(world.value(1, "a"), set(&["x"]));
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
fn update_that_was_sent_and_not_written_counts_once() {
    let mut world = World::new(2, OpenCommands::One);
    world.command(0, "a", local(Delta::Counter(1)));
    world.heal();
    world.command(0, "a", local(Delta::Counter(10)));
    world.settle_local(0);
    world.answer(0);
    while let Some(message) = world.wire.pop_front() {
        world.deliver(message);
    }
    // The other has it, the disk has not.
    world.kill(0);
    assert_eq!(world.value(0, "a"), Value::Counter(1));
    world.command(0, "a", local(Delta::Counter(100)));
    world.heal();
    for node in 0..2 {
        assert_eq!(world.value(node, "a"), Value::Counter(111));
    }
    // Once everybody knows all of the earlier run it is forgotten.
    world.command(0, "a", local(Delta::Counter(1000)));
    world.heal();
    for node in 0..2 {
        assert_eq!(world.value(node, "a"), Value::Counter(1111));
    }
}

#[test]
fn runs_of_a_node_leave_nothing_behind() {
    let mut world = World::new(2, OpenCommands::One);
    let mut sizes = Vec::new();
    for round in 0..20 {
        world.command(0, "a", local(Delta::Counter(1)));
        world.heal();
        // What is closed is written with the change after it.
        world.command(0, "a", local(Delta::Counter(1)));
        world.heal();
        sizes.push(world.stored(0, "a").expect("stored").encode().len());
        assert_eq!(world.value(1, "a"), Value::Counter(2 * (round + 1)));
        world.kill(0);
    }
    assert!(sizes[19] <= sizes[2] + 4, "{sizes:?}");
}

#[test]
fn votes_count_members_and_members_alone() {
    let mut world = World::new(3, OpenCommands::One);
    let vote = |own| {
        local(Delta::Vote(firn_model::replicated::Votes {
            own,
            ..Default::default()
        }))
    };
    for node in 0..3 {
        world.command(node, "a", vote(node != 2));
        world.settle();
    }
    world.heal();
    let votes = |world: &mut World, node| {
        world.command(node, "a", Answering::nothing());
        world.settle();
        match &world.instance(node, "a").expect("open").1.value {
            Value::Vote(votes) => (votes.own, votes.yes, votes.members),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(votes(&mut world, 0), (true, 2, 3));
    assert_eq!(votes(&mut world, 2), (false, 2, 3));
    let leaves = world.nodes[1].me.node;
    world.change_members(|membership| {
        membership.members.remove(&leaves);
        membership.left.insert(leaves);
    });
    assert_eq!(
        votes(&mut world, 0),
        (true, 1, 2),
        "a change of members alone is told"
    );
    world.nodes.truncate(3);
    world.heal();
    assert_eq!(votes(&mut world, 2), (false, 1, 2));
}

#[test]
fn node_that_left_is_pruned_and_its_share_counts_on() {
    let mut world = World::new(3, OpenCommands::One);
    for node in 0..3 {
        world.command(node, "a", local(Delta::Counter(1 << node)));
        world.settle();
    }
    world.heal();
    let leaves = world.nodes[2].me.node;
    world.nodes.pop();
    world.change_members(|membership| {
        membership.members.remove(&leaves);
        membership.left.insert(leaves);
    });
    world.heal();
    for node in 0..2 {
        assert_eq!(world.value(node, "a"), Value::Counter(7));
        let state = world.stored(node, "a").expect("stored");
        assert!(state.context().is_closed_for_ever(leaves));
    }
}

#[test]
fn newcomer_gets_everything() {
    let mut world = World::new(3, OpenCommands::One);
    let newcomer = world.nodes[2].me.node;
    world.change_members(|membership| {
        membership.members.remove(&newcomer);
    });
    for id in ["a", "b", "c"] {
        world.command(0, id, local(added(id)));
    }
    world.heal();
    assert_eq!(world.value(2, "a"), Value::Nothing);
    world.change_members(|membership| {
        membership.members.insert(newcomer);
    });
    world.heal();
    for id in ["a", "b", "c"] {
        assert_eq!(world.value(2, id), set(&[id]));
    }
}

#[test]
fn node_that_lost_its_last_moments_gets_them_back_by_itself() {
    let mut world = World::new(2, OpenCommands::One);
    world.command(0, "a", local(added("x")));
    world.settle_local(0);
    world.answer(0);
    while let Some(message) = world.wire.pop_front() {
        world.deliver(message);
    }
    world.kill(0);
    assert_eq!(world.value(0, "a"), Value::Nothing);
    world.heal();
    assert_eq!(world.value(0, "a"), set(&["x"]));
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

#[test]
fn member_that_heard_of_a_change_tells_the_others_when_its_maker_is_gone() {
    let mut world = World::new(3, OpenCommands::One);
    world.heal();
    world.command(2, "a", local(added("x")));
    world.settle_local(2);
    world.answer(2);
    // From now on nobody hears of the third any more, nor it of them.
    let is_between_the_others = |from: u64, to: u64| from != 3 && to != 3;
    let to_second = world.wire.iter().position(|(_, to, _)| to.0 == 2);
    let message = world.wire.remove(to_second.expect("a change"));
    world.wire.clear();
    world.deliver(message.expect("there"));
    for _ in 0..20 {
        world
            .wire
            .retain(|(from, to, _)| is_between_the_others(from.node.0, to.0));
        while let Some(message) = world.wire.pop_front() {
            world.deliver(message);
        }
        world.save(0);
        world.save(1);
        world.pass(Duration::from_millis(700));
    }
    assert_eq!(world.value(0, "a"), set(&["x"]));
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

fn deliver_to(world: &mut World, node: u64) {
    while let Some(at) = world.wire.iter().position(|(_, to, _)| to.0 == node) {
        let message = world.wire.remove(at).expect("there");
        world.deliver(message);
    }
}

fn watch() -> Answering {
    Answering {
        change: None,
        streamed: true,
    }
}

#[test]
fn confirmation_of_an_earlier_run_confirms_nothing_of_this_one() {
    let mut world = World::new(2, OpenCommands::One);
    world.heal();
    world.command(0, "a", local(added("x")));
    world.settle_local(0);
    world.answer(0);
    deliver_to(&mut world, 2);
    world.save(1);
    // Its confirmation is under way for long.
    let is_confirmation = |message: &Message| matches!(message, Message::Confirmed { .. });
    let late: Vec<_> = std::mem::take(&mut world.wire)
        .into_iter()
        .filter(|(_, to, message)| to.0 == 1 && is_confirmation(message))
        .collect();
    assert!(!late.is_empty());
    world.kill(0);
    world.settle_local(0);
    let all = Answering::update(added("y"), Consistency::All);
    let call = world.command(0, "a", all);
    world.settle_local(0);
    world.answer(0);
    world.save(0);
    world.wire.clear();
    for message in late {
        world.deliver(message);
    }
    assert_eq!(world.outcome(0, call), None, "nobody but this node has it");
}

#[test]
fn answer_to_an_earlier_run_closes_nothing() {
    let mut world = World::new(2, OpenCommands::One);
    world.command(0, "a", local(added("x")));
    world.heal();
    // The first run asks, and the answer is late.
    let (me, second) = (world.nodes[0].me, world.nodes[1].me.node);
    let stored = world.stored(0, "a").expect("stored");
    let ask = Message::Digest {
        key: world::key("a"),
        ask: Some(3),
        answers: None,
        membership: 1,
        digest: stored.context().encode(),
    };
    world.deliver((me, second, ask));
    let late = world.wire.pop_front().expect("an answer");
    // Its last change reaches the member and not its own disk.
    world.command(0, "a", local(removed("x")));
    world.settle_local(0);
    assert!(world.answer(0));
    deliver_to(&mut world, 2);
    world.wire.clear();
    world.kill(0);
    world.command(0, "a", Answering::nothing());
    world.settle_local(0);
    world.deliver(late);
    world.command(0, "a", local(added("w")));
    world.heal();
    for node in 0..2 {
        world.command(node, "a", local(added("z")));
        world.heal();
    }
    assert_eq!(world.value(0, "a"), set(&["w", "z"]));
    assert_eq!(world.value(1, "a"), set(&["w", "z"]));
}

#[test]
fn listing_begins_anew_for_a_new_run() {
    let mut world = World::new(2, OpenCommands::One);
    let start = std::time::Instant::now();
    let at = |seconds| crate::lane::Now {
        instant: start + Duration::from_secs(seconds),
        wall: firn_store::Timestamp(1_000_000),
    };
    let peer = world.nodes[1].me.node;
    let run = |number| Replica {
        node: peer,
        incarnation: Incarnation(NonZeroU32::new(number).expect("above zero")),
    };
    let asked = |outputs: Vec<Output>| {
        outputs.into_iter().find_map(|output| match output {
            Output::List(_, after) => Some(after),
            _ => None,
        })
    };
    let page = |last| Page {
        keys: Vec::new(),
        next: Some(world::key(last)),
    };
    let machine = &mut world.nodes[0].machine;
    let hello = |number| Input::Peer(run(number), Message::Hello);
    let outputs = machine.on(at(0), hello(1)).collect();
    assert_eq!(asked(outputs), Some(None));
    let outputs = machine.on(at(1), Input::Listed(peer, Ok(page("m"))));
    assert_eq!(asked(outputs.collect()), Some(Some(world::key("m"))));
    // The member begins anew while the second page is read.
    machine.on(at(2), hello(2)).count();
    let mut outputs: Vec<_> = machine
        .on(at(2), Input::Listed(peer, Ok(page("z"))))
        .collect();
    outputs.extend(machine.on(at(12), Input::Wake));
    assert_eq!(asked(outputs), Some(None));
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
    for _ in 0..super::WATCHERS_MAX {
        world.command(0, "a", watch());
        world.settle_local(0);
        world.answer(0);
    }
    let call = world.command(0, "a", local(added("x")));
    world.settle_local(0);
    world.answer(0);
    assert!(ended(&world, 0, call));
    let late = world.command(0, "a", watch());
    let capacity = super::WATCHERS_MAX;
    let full = Err(Refusal::MailboxFull { capacity });
    assert_eq!(world.outcome(0, late), Some(&full));
}

#[test]
fn member_that_is_away_keeps_no_stream_open() {
    let mut world = World::new(2, OpenCommands::One);
    world.heal();
    world.command(0, "a", local(added("x")));
    world.settle_local(0);
    world.answer(0);
    for _ in 0..60 {
        world.pass(Duration::from_secs(1));
        world.save(0);
        world.wire.clear();
    }
    assert!(world.instance(0, "a").is_none());
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
fn changes_that_members_do_not_confirm_have_a_bound() {
    let mut world = World::new(2, OpenCommands::Many);
    world.heal();
    let calls: Vec<CallId> = (0..400)
        .map(|number| {
            let all = Answering::update(added(&number.to_string()), Consistency::All);
            let call = world.command(0, "a", all);
            world.settle_local(0);
            world.answer(0);
            call
        })
        .collect();
    let last = world.outcome(0, calls[399]);
    assert!(
        matches!(last, Some(Err(Refusal::MailboxFull { .. }))),
        "{last:?}"
    );
}

#[test]
fn question_that_gets_lost_is_asked_again() {
    let mut world = World::new(2, OpenCommands::One);
    world.command(0, "a", local(Delta::Counter(1)));
    world.heal();
    // Of two changes the first is lost, and so is what is asked about it.
    for _ in 0..2 {
        world.command(0, "a", local(Delta::Counter(1)));
        world.settle_local(0);
        assert!(world.answer(0));
    }
    let last = world.wire.pop_back().expect("a change");
    world.wire.clear();
    world.deliver(last);
    assert_eq!(world.nodes[1].machine.unconfirmed(), 1, "it has asked");
    world.wire.clear();
    world.heal();
    assert_eq!(world.value(1, "a"), Value::Counter(3));
    for node in &world.nodes {
        assert_eq!(node.machine.unconfirmed(), 0);
    }
}

#[test]
fn machine_that_drains_is_not_woken_for_members() {
    let mut world = World::new(2, OpenCommands::One);
    world.heal();
    world.command(0, "a", local(added("x")));
    world.settle_local(0);
    world.answer(0);
    world.command(0, "a", local(added("y")));
    world.settle_local(0);
    world.wire.clear();
    world.feed(0, Input::Drain);
    world.save(0);
    let wakes = world.nodes[0]
        .machine
        .next_wake()
        .expect("a command is open");
    let command_timeout = Duration::from_secs(50);
    assert!(wakes > std::time::Instant::now() + command_timeout);
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

/// A generator of one seed (SplitMix64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
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

#[test]
fn damaged_message_is_reported_and_nothing_else() {
    let mut world = World::new(2, OpenCommands::One);
    world.command(0, "a", local(added("x")));
    world.heal();
    let from = world.nodes[1].me;
    let message = Message::Change {
        key: world::key("a"),
        number: 1,
        durable: false,
        patch: bytes::Bytes::from_static(b"\xff\xff"),
    };
    world.feed(0, Input::Peer(from, message));
    let report = world.nodes[0].reports.last().expect("a report");
    assert!(report.contains("cannot be read"), "{report}");
    assert_eq!(world.value(0, "a"), set(&["x"]));
}
