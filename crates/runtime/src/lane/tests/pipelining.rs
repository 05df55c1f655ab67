//! Components whose next commands are sent before the last are durable: what may overlap, what is a
//! barrier, and what is answered when.

use std::time::Duration;

use firn_model::decision::{Append, Decision, Mutation};
use firn_model::id::{EffectId, Slot, SlotSequence};
use firn_model::limit::PIPELINED_COMMANDS_MAX;
use firn_model::policy::{Delete, Policies, StreamFailure};
use firn_store::{Change, Entity};
use firn_testkit::policies;

use super::bench::*;
use crate::lane::{Config, Input, Known, Origin, Output, Rests, Ticket};
use crate::link::{End, StreamEvent};
use crate::refusal::{Fault, Refusal};

/// A bench whose components pipeline, with these commands sent to one cart.
fn pipelined(commands: u32) -> (Bench, Ticket) {
    pipelined_with(policies::pipelined(), commands)
}

fn pipelined_with(policies: Policies, commands: u32) -> (Bench, Ticket) {
    let mut bench = Bench::with(policies, Config::default());
    bench.cart("a", 1);
    let ticket = bench.load(Entity::default());
    for reply in 2..=commands {
        bench.cart("a", reply);
    }
    assert_eq!(bench.sent_all(), (1..=commands).collect::<Vec<_>>());
    (bench, ticket)
}

#[test]
fn next_command_is_sent_before_the_last_is_decided_and_before_it_is_durable() {
    let (mut bench, ticket) = pipelined(2);
    bench.decide(ticket, append(&["x"]));
    let commit = bench.commit();
    bench.cart("a", 3);
    assert_eq!(bench.sent_all(), [3]);
    assert!(bench.answers().is_empty());
    bench.land(&commit);
    assert_eq!(bench.answers(), [(1, true)]);
}

#[test]
fn decision_belongs_to_the_command_that_was_sent_first() {
    let (mut bench, ticket) = pipelined(3);
    for (first, event) in [(1, "x"), (2, "y"), (3, "z")] {
        bench.decide(ticket, append(&[event]));
        let commit = bench.commit();
        let Some(Change::Append { first: it, .. }) = commit.change else {
            panic!("{:?}", commit.change)
        };
        assert_eq!(it, u64::from(first));
        bench.land(&commit);
        assert_eq!(bench.answers(), [(first, true)]);
    }
}

#[test]
fn commands_under_way_are_bounded() {
    let max = PIPELINED_COMMANDS_MAX as u32;
    let (mut bench, ticket) = pipelined(max);
    bench.cart("a", max + 1);
    bench.decide(ticket, append(&["x"]));
    assert!(!bench.has_sent(), "also what is being committed counts");
    let commit = bench.commit();
    bench.land(&commit);
    assert_eq!(bench.sent_all(), [max + 1]);
}

#[test]
fn read_is_answered_with_the_last_commit_that_it_has_seen() {
    let (mut bench, ticket) = pipelined(4);
    for decision in [append(&["x"]), append(&["y"]), read(), append(&["z"])] {
        bench.decide(ticket, decision);
    }
    let [x, y, z] = [(); 3].map(|()| bench.commit());
    bench.land(&x);
    assert_eq!(bench.answers(), [(1, true)]);
    bench.land(&y);
    assert_eq!(bench.answers(), [(2, true), (3, true)]);
    bench.land(&z);
    assert_eq!(bench.answers(), [(4, true)]);
}

#[test]
fn read_behind_nothing_is_answered_at_once() {
    let (mut bench, ticket) = pipelined(2);
    bench.decide(ticket, read());
    assert_eq!(bench.answers(), [(1, true)]);
}

#[test]
fn read_behind_a_commit_rests_on_memory_though_the_commit_has_landed() {
    let (mut bench, ticket) = pipelined(2);
    bench.decide(ticket, append(&["x"]));
    bench.decide(ticket, read());
    let commit = bench.commit();
    bench.land(&commit);
    let mut rests = |reply| bench.answer(reply).map(|settled| settled.rests);
    assert_eq!(rests(1), Ok(Rests::Landed));
    // The fence let the commit through before its outcome came: others may have gone on since.
    assert_eq!(rests(2), Ok(Rests::Memory));
}

#[test]
fn read_of_a_state_that_was_refused_is_refused_with_it() {
    let (mut bench, ticket) = pipelined(3);
    for decision in [append(&["x"]), append(&["y"]), read()] {
        bench.decide(ticket, decision);
    }
    let [x, y] = [(); 2].map(|()| bench.commit());
    bench.land(&x);
    bench.refuse(&y, 9);
    assert!(bench.answer(1).is_ok());
    assert_eq!(bench.answer(2), Err(Refusal::CommitRefused));
    assert_eq!(bench.answer(3), Err(Refusal::CommitRefused));
}

#[test]
fn refusal_of_a_decision_tells_nothing_that_is_not_durable() {
    let policies = Policies {
        delete: policies::careful().delete,
        ..policies::pipelined()
    };
    let (mut bench, ticket) = pipelined_with(policies, 2);
    let mutation = Mutation::Delete { grace: None };
    bench.decide(ticket, Decision { mutation, ..read() });
    bench.decide(ticket, append(&["x"]));
    assert!(
        bench.answers().is_empty(),
        "nobody knows yet that it is deleted"
    );
    let delete = bench.commit();
    bench.land(&delete);
    assert!(bench.answer(1).is_ok());
    assert_eq!(bench.answer(2), Err(Refusal::Deleted));
}

#[test]
fn caller_who_has_waited_long_enough_for_a_commit_is_told_so_with_all_that_saw_it() {
    let (mut bench, ticket) = pipelined(2);
    bench.decide(ticket, append(&["x"]));
    bench.decide(ticket, read());
    bench.pass(Duration::from_secs(60));
    assert_eq!(bench.answer(1), Err(Refusal::CommitUnknown));
    assert_eq!(bench.answer(2), Err(Refusal::CommitUnknown));
    assert!(!bench.was_reset(ticket));
    let commit = bench.commit();
    bench.land(&commit);
    assert!(bench.answers().is_empty());
}

#[test]
fn refused_commit_refuses_what_is_under_way_and_keeps_what_was_not_sent() {
    let max = PIPELINED_COMMANDS_MAX as u32;
    let (mut bench, ticket) = pipelined(max);
    bench.cart("a", max + 1);
    bench.decide(ticket, append(&["x"]));
    bench.decide(ticket, append(&["y"]));
    let [x, y] = [(); 2].map(|()| bench.commit());
    bench.refuse(&x, 41);
    let refused = bench.answers();
    assert_eq!(
        refused.len() as u32,
        max - 1,
        "one commit has no outcome yet"
    );
    assert!(refused.iter().all(|(_, is_good)| !is_good));
    assert!(bench.was_reset(ticket) && !bench.has_load());
    bench.refuse(&y, 41);
    assert_eq!(bench.answer(2), Err(Refusal::CommitRefused));
    let again = bench.load(Entity {
        last_event: 3,
        ..Entity::default()
    });
    assert_ne!(again.life, ticket.life);
    assert_eq!(bench.sent_all(), [max + 1]);
    bench.decide(ticket, append(&["of the dead"]));
    assert!(!bench.has(|output| matches!(output, Output::Commit(_))));
    bench.decide(again, append(&["z"]));
    let commit = bench.commit();
    assert_eq!(commit.sequence, SlotSequence(42));
    assert!(matches!(
        commit.change,
        Some(Change::Append { first: 4, .. })
    ));
}

#[test]
fn head_of_the_slot_tells_how_many_of_several_commits_landed() {
    let (mut bench, ticket) = pipelined(4);
    for decision in [append(&["x"]), read(), append(&["y"]), read()] {
        bench.decide(ticket, decision);
    }
    let [x, y] = [(); 2].map(|()| bench.commit());
    bench.lose(&x);
    bench.lose(&y);
    assert!(bench.answers().is_empty());
    bench.resolve(0, 1);
    assert_eq!(
        bench.answers(),
        [(1, true), (2, true), (3, false), (4, false)]
    );
    assert!(bench.lane.is_empty());
}

#[test]
fn command_decided_while_nobody_knows_an_outcome_is_refused_and_nothing_more_is_sent() {
    let (mut bench, ticket) = pipelined(2);
    bench.decide(ticket, append(&["x"]));
    let commit = bench.commit();
    bench.lose(&commit);
    bench.decide(ticket, append(&["y"]));
    assert_eq!(bench.answer(2), Err(Refusal::CommitNotWritten));
    bench.cart("a", 3);
    assert!(!bench.has_sent());
    bench.resolve(0, 1);
    assert!(bench.answer(1).is_ok());
    bench.load(Entity::default());
    assert_eq!(bench.sent_all(), [3]);
}

#[test]
fn each_commit_under_way_has_effects_of_its_own() {
    let (mut bench, ticket) = pipelined(2);
    let effects = || vec![effect("t.Note", "Do")];
    for event in ["x", "y"] {
        let effects = effects();
        bench.decide(
            ticket,
            Decision {
                effects,
                ..append(&[event])
            },
        );
    }
    let [x, y] = [(); 2].map(|()| bench.commit());
    bench.land(&x);
    let first = bench.answer(1).expect("settled").effects[0].origin;
    let first = first.expect("stored");
    assert_eq!(first.effect.sequence, x.sequence);
    bench.refuse(&y, 1);
    bench.on(Input::Delivered(first.effect));
    bench.pass(Duration::from_secs(1));
    let housekeeping = bench.commit();
    assert_eq!(
        housekeeping.delivered,
        [first.effect],
        "and none of the refused one"
    );
    bench.land(&housekeeping);
    assert!(bench.lane.is_empty());
}

#[test]
fn duplicate_in_flight_waits_until_the_first_is_durable_and_nothing_passes_it() {
    let (mut bench, ticket) = pipelined(1);
    for reply in [2, 3] {
        let mut command = bench.command("/t.Cart/Do", "a", reply);
        command.idempotency = idempotency("k", 9);
        bench.on(Input::Command(command));
    }
    bench.cart("a", 4);
    let looks = |bench: &Bench| bench.has(|output| matches!(output, Output::Look { .. }));
    assert!(!looks(&bench), "a command is running");
    bench.decide(ticket, append(&["x"]));
    let commit = bench.commit();
    assert!(!looks(&bench), "a command is being committed");
    bench.land(&commit);
    assert!(looks(&bench));
    bench.out.clear();
    bench.on(Input::Looked(ticket, Ok(Known::default())));
    assert_eq!(bench.sent_all(), [2]);
    bench.decide(ticket, append(&["y"]));
    let commit = bench.commit();
    let record = commit.reply_record.clone();
    assert!(!looks(&bench) && !bench.has_sent());
    bench.land(&commit);
    assert!(looks(&bench));
    let known = Known {
        record,
        received: false,
    };
    bench.on(Input::Looked(ticket, Ok(known)));
    assert_eq!(bench.answers(), [(2, true), (3, true)]);
    assert_eq!(bench.sent_all(), [4]);
}

#[test]
fn redelivered_effect_waits_for_what_is_under_way() {
    let (mut bench, ticket) = pipelined(1);
    let effect = EffectId {
        slot: Slot::new(5).expect("a slot"),
        sequence: SlotSequence(3),
        index: 0,
    };
    let mut command = bench.command("/t.Cart/Do", "a", 2);
    command.origin = Some(Origin {
        effect,
        lowest_open: SlotSequence(2),
        redelivered: true,
    });
    bench.on(Input::Command(command));
    let looks = |bench: &Bench| bench.has(|output| matches!(output, Output::Look { .. }));
    assert!(!looks(&bench));
    bench.decide(ticket, read());
    assert!(looks(&bench));
}

#[test]
fn command_that_gives_up_waiting_for_its_look_holds_up_nobody() {
    let (mut bench, _) = pipelined(1);
    let mut command = bench.command("/t.Cart/Do", "a", 2);
    command.idempotency = idempotency("k", 9);
    command.deadline = Some(bench.now().instant + Duration::from_secs(1));
    bench.on(Input::Command(command));
    bench.cart("a", 3);
    assert!(!bench.has_sent());
    bench.pass(Duration::from_secs(1));
    assert_eq!(bench.answer(2), Err(Refusal::DeadlineQueued));
    assert_eq!(bench.sent_all(), [3]);
}

#[test]
fn snapshot_is_asked_for_when_nothing_is_under_way() {
    let policies = Policies {
        snapshot_every: Some(2),
        ..policies::pipelined()
    };
    let (mut bench, ticket) = pipelined_with(policies, 2);
    let asked = |bench: &Bench| bench.has(|output| matches!(output, Output::RequestSnapshot(_)));
    bench.decide(ticket, append(&["x", "y"]));
    bench.cart("a", 3);
    assert!(!bench.has_sent(), "nothing joins what is under way");
    bench.decide(ticket, append(&["z"]));
    let [x, z] = [(); 2].map(|()| bench.commit());
    bench.land(&x);
    assert!(!asked(&bench));
    bench.land(&z);
    assert!(asked(&bench) && !bench.has_sent());
    let snapshot = StreamEvent::Snapshot(Some(payload("s")));
    bench.on(Input::Stream(ticket, snapshot));
    let change = bench.commit().change;
    assert!(matches!(change, Some(Change::Snapshot { sequence: 3, .. })));
    assert_eq!(bench.sent_all(), [3], "its commit is one of several");
}

#[test]
fn restart_drops_what_was_built_on_the_memory_that_is_dropped() {
    let policies = Policies {
        lost_commands: policies::careful().lost_commands,
        ..policies::pipelined()
    };
    let (mut bench, ticket) = pipelined_with(policies, 3);
    bench.decide(ticket, append(&["x"]));
    let answer = failure(true);
    bench.decide(
        ticket,
        Decision {
            answer,
            ..append(&["dropped"])
        },
    );
    assert!(bench.was_reset(ticket));
    let commit = bench.commit();
    assert!(bench.answers().is_empty() && !bench.has_load());
    bench.land(&commit);
    assert_eq!(bench.answers(), [(1, true), (2, true), (3, false)]);
    assert!(bench.lane.is_empty());
}

#[test]
fn restart_with_nothing_behind_waits_for_the_commits_and_half_closes() {
    let (mut bench, ticket) = pipelined(2);
    bench.decide(ticket, append(&["x"]));
    let answer = failure(true);
    bench.decide(ticket, Decision { answer, ..read() });
    bench.cart("a", 3);
    let closes = |bench: &Bench| bench.has(|output| matches!(output, Output::HalfClose(_)));
    assert!(!closes(&bench) && !bench.has_sent());
    let commit = bench.commit();
    bench.land(&commit);
    assert!(closes(&bench));
    bench.end(ticket, End::Completed);
    bench.load(Entity::default());
    assert_eq!(bench.sent_all(), [3]);
}

#[test]
fn entity_whose_grace_is_over_begins_again_when_nothing_is_under_way() {
    let policies = Policies {
        delete: Delete::Tombstone(Duration::from_secs(10)),
        ..policies::pipelined()
    };
    let (mut bench, ticket) = pipelined_with(policies, 2);
    let mutation = Mutation::Delete { grace: None };
    bench.decide(ticket, Decision { mutation, ..read() });
    let commit = bench.commit();
    bench.land(&commit);
    bench.pass(Duration::from_secs(11));
    bench.cart("a", 3);
    let closes = |bench: &Bench| bench.has(|output| matches!(output, Output::HalfClose(_)));
    assert!(!bench.has_sent() && !closes(&bench));
    bench.decide(ticket, read());
    assert!(!bench.has_sent() && closes(&bench));
}

#[test]
fn commands_behind_a_delete_begin_at_event_one() {
    let (mut bench, ticket) = pipelined(4);
    bench.decide(ticket, append(&["x", "y"]));
    let mutation = Mutation::Delete { grace: None };
    bench.decide(ticket, Decision { mutation, ..read() });
    let snapshot = Mutation::Append(Append {
        events: vec![payload("new")],
        snapshot: Some(payload("after new")),
        delete: None,
    });
    bench.decide(
        ticket,
        Decision {
            mutation: snapshot,
            ..read()
        },
    );
    bench.decide(ticket, append(&["newer"]));
    let changes = [(); 4].map(|()| bench.commit().change.expect("a change"));
    let first = |change: &Change| match change {
        Change::Append { first, .. } => Some(*first),
        _ => None,
    };
    assert_eq!(changes[1], Change::Delete { until: None });
    assert_eq!([0, 2, 3].map(|at| first(&changes[at])), [1, 1, 2].map(Some));
}

#[test]
fn instance_with_something_under_way_gives_no_room() {
    let (mut bench, ticket) = pipelined(2);
    let closes = |bench: &Bench| bench.has(|output| matches!(output, Output::HalfClose(_)));
    bench.on(Input::MakeRoom);
    assert!(bench.has(|output| matches!(output, Output::NoRoom)));
    bench.decide(ticket, read());
    bench.decide(ticket, append(&["x"]));
    let commit = bench.commit();
    bench.on(Input::MakeRoom);
    assert!(!closes(&bench));
    bench.land(&commit);
    assert!(closes(&bench));
}

#[test]
fn idle_time_counts_from_the_last_commit() {
    let (mut bench, ticket) = pipelined(1);
    let closes = |bench: &Bench| bench.has(|output| matches!(output, Output::HalfClose(_)));
    bench.decide(ticket, append(&["x"]));
    let commit = bench.commit();
    bench.pass(Duration::from_secs(40));
    assert!(!closes(&bench));
    bench.land(&commit);
    bench.pass(Duration::from_secs(29));
    assert!(!closes(&bench));
    bench.pass(Duration::from_secs(1));
    assert!(closes(&bench));
}

#[test]
fn draining_finishes_what_is_under_way() {
    let (mut bench, ticket) = pipelined(2);
    bench.decide(ticket, append(&["x"]));
    let commit = bench.commit();
    bench.on(Input::Drain);
    bench.decide(ticket, read());
    assert!(!bench.lane.is_empty());
    bench.land(&commit);
    assert_eq!(bench.answers(), [(1, true), (2, true)]);
    bench.end(ticket, End::Completed);
    assert!(bench.lane.is_empty());
}

#[test]
fn failure_of_a_command_is_told_when_what_it_has_seen_is_durable() {
    let policies = Policies {
        stream_failure: StreamFailure::FailsCommand,
        ..policies::pipelined()
    };
    let (mut bench, ticket) = pipelined_with(policies, 2);
    bench.decide(ticket, append(&["x"]));
    let failed = StreamEvent::CommandFailed(broken());
    bench.on(Input::Stream(ticket, failed));
    assert!(bench.answers().is_empty());
    let commit = bench.commit();
    bench.land(&commit);
    assert!(bench.answer(1).is_ok());
    let expected = Refusal::Failed(Fault::Command(broken()));
    assert_eq!(bench.answer(2), Err(expected));
}

/// What the function was let out.
fn passed(bench: &mut Bench) -> Vec<u64> {
    let mut numbers = Vec::new();
    let pick = |output: &Output<u32>| match output {
        Output::Pass(_, number) => Some(*number),
        _ => None,
    };
    while bench.has(|output| pick(output).is_some()) {
        numbers.push(bench.take(pick));
    }
    numbers
}

#[test]
fn gate_is_open_where_nothing_undurable_was_seen() {
    let (mut bench, ticket) = pipelined(1);
    bench.on(Input::Stream(ticket, StreamEvent::Gate(7)));
    assert_eq!(passed(&mut bench), [7]);
}

#[test]
fn gate_opens_when_all_that_was_seen_is_durable() {
    let (mut bench, ticket) = pipelined(4);
    bench.decide(ticket, append(&["x"]));
    bench.decide(ticket, append(&["y"]));
    bench.on(Input::Stream(ticket, StreamEvent::Gate(7)));
    bench.decide(ticket, append(&["z"]));
    let [x, y, z] = [(); 3].map(|()| bench.commit());
    bench.land(&x);
    assert!(passed(&mut bench).is_empty());
    bench.land(&y);
    assert_eq!(passed(&mut bench), [7]);
    bench.land(&z);
    assert!(passed(&mut bench).is_empty());
}

#[test]
fn gate_stays_closed_where_what_was_seen_is_refused() {
    let (mut bench, ticket) = pipelined(2);
    bench.decide(ticket, append(&["x"]));
    bench.on(Input::Stream(ticket, StreamEvent::Gate(7)));
    let x = bench.commit();
    bench.refuse(&x, 9);
    assert!(passed(&mut bench).is_empty());
    assert!(
        bench.was_reset(ticket),
        "the link refuses what waits with the incarnation"
    );
}
