//! Other members: what they confirm, lose, forget and get back.

use std::num::NonZeroU32;
use std::time::Duration;

use firn_model::id::{Incarnation, Replica};
use firn_model::policy::OpenCommands;
use firn_model::replicated::{Consistency, Delta};

use super::super::network::Message;
use super::super::{CallId, Input, Output, Page};
use super::world::{self, Answering, Value, World, added, removed};
use super::{ended, local, set};
use crate::refusal::Refusal;

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

/// A digest may say that a member has a change whose confirmation got lost: the member knows it, and
/// the caller waits for its word that it is durable there.
#[test]
fn confirmation_that_got_lost_is_asked_for_until_it_comes() {
    let mut world = World::new(2, OpenCommands::One);
    world.heal();
    let call = world.command(0, "a", Answering::update(added("x"), Consistency::All));
    world.settle_local(0);
    world.answer(0);
    world.save(0);
    let mut lost = 0;
    for _ in 0..9 {
        while let Some(message) = world.wire.pop_front() {
            if matches!(message.2, Message::Confirmed { .. }) && lost < 3 {
                lost += 1;
                continue;
            }
            world.deliver(message);
            world.save(1);
        }
        world.pass(Duration::from_millis(500));
    }
    assert_eq!(lost, 3);
    assert_eq!(world.outcome(0, call), Some(&Ok(())));
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

fn deliver_to(world: &mut World, node: u64) {
    while let Some(at) = world.wire.iter().position(|(_, to, _)| to.0 == node) {
        let message = world.wire.remove(at).expect("there");
        world.deliver(message);
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
