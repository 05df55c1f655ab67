//! Commits that fail: refused by the fence, or with an outcome that nobody knows.

use std::time::Duration;

use firn_model::decision::Decision;
use firn_model::id::SlotSequence;
use firn_store::Entity;

use super::bench::*;
use crate::lane::{Input, Output, Rests};
use crate::refusal::Refusal;

#[test]
fn refused_commit_answers_not_applied_and_begins_again_from_the_stored_head() {
    let mut bench = Bench::new();
    let ticket = bench.running_cart("a", 1);
    bench.cart("a", 2);
    bench.decide(ticket, append(&["x"]));
    let commit = bench.commit();
    bench.refuse(&commit, 41);
    assert_eq!(bench.answer(1), Err(Refusal::CommitRefused));
    assert!(bench.has(|output| matches!(output, Output::Reset(it) if *it == ticket)));
    let again = bench.load(Entity {
        last_event: 3,
        ..Entity::default()
    });
    assert_eq!(bench.sent(), again);
    bench.decide(again, append(&["y"]));
    let commit = bench.commit();
    assert_eq!(commit.sequence, SlotSequence(42));
    bench.land(&commit);
    assert!(bench.answer(2).is_ok());
}

#[test]
fn commit_that_was_not_written_is_told_as_such_with_all_that_follow_upon_it() {
    let mut bench = Bench::new();
    let [a, b] = of_one_slot();
    let (first, second) = (bench.running_cart(&a, 1), bench.running_cart(&b, 2));
    bench.decide(first, append(&["x"]));
    let full = bench.commit();
    bench.decide(second, append(&["y"]));
    let behind = bench.commit();
    bench.not_written(&full, 0);
    assert_eq!(bench.answer(1), Err(Refusal::CommitNotWritten));
    // The fence refuses what does not follow; nobody else is to blame.
    bench.refuse(&behind, 0);
    assert_eq!(bench.answer(2), Err(Refusal::CommitNotWritten));
    bench.cart(&a, 3);
    let again = bench.load(Entity::default());
    bench.sent();
    bench.decide(again, append(&["z"]));
    let commit = bench.commit();
    assert_eq!(commit.sequence, SlotSequence(1));
    bench.land(&commit);
    assert!(bench.answer(3).is_ok());
}

#[test]
fn head_of_a_refused_slot_stays_though_the_store_then_writes_nothing() {
    let mut bench = Bench::new();
    let [a, b] = of_one_slot();
    let (first, second) = (bench.running_cart(&a, 1), bench.running_cart(&b, 2));
    bench.decide(first, append(&["x"]));
    let refused = bench.commit();
    bench.decide(second, append(&["y"]));
    let behind = bench.commit();
    bench.refuse(&refused, 41);
    bench.not_written(&behind, 1);
    assert_eq!(bench.answer(1), Err(Refusal::CommitRefused));
    assert_eq!(bench.answer(2), Err(Refusal::CommitRefused));
    bench.cart(&a, 3);
    let again = bench.load(Entity::default());
    bench.sent();
    bench.decide(again, append(&["z"]));
    assert_eq!(bench.commit().sequence, SlotSequence(42));
}

#[test]
fn unknown_outcome_answers_nobody_until_the_store_has_told() {
    let landed = |stored: u64| {
        let mut bench = Bench::new();
        let ticket = bench.running_cart("a", 1);
        bench.decide(ticket, append(&["x"]));
        let commit = bench.commit();
        bench.lose(&commit);
        assert!(!bench.has_answer(1));
        bench.resolve(0, stored);
        bench.answer(1).map(|settled| settled.rests)
    };
    assert_eq!(landed(1), Ok(Rests::Landed));
    assert_eq!(landed(0), Err(Refusal::CommitNotWritten));
}

#[test]
fn caller_of_an_outcome_that_stays_unknown_is_told_so() {
    let mut bench = Bench::new();
    let ticket = bench.running_cart("a", 1);
    bench.decide(ticket, append(&["x"]));
    let commit = bench.commit();
    bench.lose(&commit);
    bench.pass(Duration::from_secs(61));
    assert_eq!(bench.answer(1), Err(Refusal::CommitUnknown));
}

#[test]
fn stream_that_ends_during_its_commit_does_not_take_the_answer_with_it() {
    let mut bench = Bench::new();
    let ticket = bench.running_cart("a", 1);
    bench.decide(ticket, append(&["x"]));
    let commit = bench.commit();
    let end = crate::link::End::Terminated {
        cause: "gone".into(),
    };
    bench.on(Input::Stream(ticket, crate::link::StreamEvent::Ended(end)));
    bench.land(&commit);
    assert!(bench.answer(1).is_ok());
    assert!(bench.lane.is_empty());
}

#[test]
fn head_is_asked_for_when_no_commit_can_land_behind_the_question() {
    let mut bench = Bench::new();
    let [a, b] = of_one_slot();
    let (first, second) = (bench.running_cart(&a, 1), bench.running_cart(&b, 2));
    bench.decide(first, append(&["x"]));
    let lost = bench.commit();
    bench.decide(second, append(&["y"]));
    let behind = bench.commit();
    bench.lose(&lost);
    assert!(!bench.has(|output| matches!(output, Output::Resolve(_))));
    bench.land(&behind);
    assert!(
        bench.answer(1).is_ok(),
        "what landed behind it proves the lost one"
    );
    assert!(bench.answer(2).is_ok());
    bench.resolve(0, 2);
    assert!(bench.lane.is_empty());
}

#[test]
fn refusal_behind_a_lost_commit_is_not_taken_for_its_outcome() {
    let mut bench = Bench::new();
    let [a, b] = of_one_slot();
    let (first, second) = (bench.running_cart(&a, 1), bench.running_cart(&b, 2));
    bench.decide(first, append(&["x"]));
    let lost = bench.commit();
    bench.decide(second, append(&["y"]));
    let behind = bench.commit();
    bench.lose(&lost);
    bench.refuse(&behind, 7);
    assert!(!bench.has_answer(1) && !bench.has_answer(2));
    // Another owner came in between, so nobody can tell whether the first one landed before.
    bench.resolve(9, 1);
    assert_eq!(bench.answer(1), Err(Refusal::CommitUnknown));
    assert_eq!(bench.answer(2), Err(Refusal::CommitRefused));
}

#[test]
fn lost_slot_is_not_written_under_the_new_owners_epoch() {
    let mut bench = Bench::new();
    let ticket = bench.running_cart("a", 1);
    bench.cart("a", 2);
    bench.decide(ticket, append(&["x"]));
    let commit = bench.commit();
    let epoch = commit.epoch;
    bench.lose(&commit);
    bench.resolve(epoch.0 + 1, 1);
    let again = bench.load(Entity::default());
    bench.sent();
    bench.decide(again, append(&["y"]));
    assert_eq!(bench.commit().epoch, epoch);
}

#[test]
fn command_behind_a_lost_commit_waits_and_is_sent_once() {
    let mut bench = Bench::new();
    let ticket = bench.running_cart("a", 1);
    bench.decide(ticket, append(&["x"]));
    let commit = bench.commit();
    bench.cart("a", 2);
    bench.lose(&commit);
    bench.resolve(0, 1);
    assert!(bench.answer(1).is_ok());
    assert!(!bench.has_sent() && !bench.has_answer(2));
    let again = bench.load(Entity::default());
    assert_eq!(bench.sent(), again);
}

#[test]
fn stream_granted_to_an_instance_that_was_suspended_is_given_back() {
    let mut bench = Bench::new();
    let [a, b, c] = of_one_slot();
    let (first, second) = (bench.running_cart(&a, 1), bench.running_cart(&b, 2));
    bench.cart(&c, 3);
    let waiting = bench.take(|output| match output {
        Output::Load(ticket, ..) => Some(*ticket),
        _ => None,
    });
    bench.on(Input::Loaded(waiting, Ok(Entity::default())));
    bench.decide(first, append(&["x"]));
    let refused = bench.commit();
    bench.decide(second, append(&["y"]));
    bench.refuse(&refused, 7);
    bench.out.clear();
    bench.on(Input::Granted(waiting));
    assert!(bench.has(|output| matches!(output, Output::ReleaseStream)));
}

#[test]
fn every_caller_of_refused_commits_is_told() {
    let mut bench = Bench::new();
    let [a, b] = of_one_slot();
    let (first, second) = (bench.running_cart(&a, 1), bench.running_cart(&b, 2));
    bench.decide(first, append(&["x"]));
    let one = bench.commit();
    bench.decide(second, append(&["y"]));
    let two = bench.commit();
    bench.refuse(&one, 7);
    bench.refuse(&two, 7);
    assert_eq!(bench.answer(1), Err(Refusal::CommitRefused));
    assert_eq!(bench.answer(2), Err(Refusal::CommitRefused));
    assert!(bench.lane.is_empty());
}

#[test]
fn refused_commit_opens_no_effect_and_takes_none_out_of_the_outbox() {
    let mut bench = Bench::new();
    let with_effect = || Decision {
        effects: vec![effect("t.Note", "Do")],
        ..append(&["x"])
    };
    let ticket = bench.running_cart("a", 1);
    bench.decide(ticket, with_effect());
    let commit = bench.commit();
    bench.land(&commit);
    let first = bench.answer(1).expect("settled").effects[0].origin;
    bench.on(Input::Delivered(first.expect("stored").effect));
    bench.cart("a", 2);
    bench.sent();
    bench.decide(ticket, with_effect());
    let refused = bench.commit();
    assert_eq!(refused.delivered.len(), 1);
    bench.refuse(&refused, 10);
    bench.pass(Duration::from_secs(1));
    let housekeeping = bench.commit();
    assert_eq!(housekeeping.delivered, refused.delivered);
    assert_eq!(housekeeping.sequence, SlotSequence(11));
    bench.land(&housekeeping);
    let ticket = bench.running_cart("a", 3);
    bench.decide(ticket, with_effect());
    let commit = bench.commit();
    bench.land(&commit);
    let third = bench.answer(3).expect("settled").effects[0].origin;
    assert_eq!(third.expect("stored").lowest_open, SlotSequence(12));
}

#[test]
fn effects_of_a_commit_that_lands_after_its_caller_was_answered_run_all_the_same() {
    let mut bench = Bench::new();
    let ticket = bench.running_cart("a", 1);
    let effects = vec![effect("t.Note", "Do"), effect("t.Act", "Do")];
    bench.decide(
        ticket,
        Decision {
            effects,
            ..append(&["x"])
        },
    );
    let commit = bench.commit();
    bench.pass(Duration::from_secs(60));
    assert_eq!(bench.answer(1), Err(Refusal::CommitUnknown));
    bench.land(&commit);
    let effects = bench.take(|output| match output {
        Output::Orphaned { effects, .. } => Some(effects.clone()),
        _ => None,
    });
    assert_eq!(effects.len(), 2);
}
