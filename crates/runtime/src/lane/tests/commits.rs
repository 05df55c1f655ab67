//! Commits that fail: refused by the fence, or with an outcome that nobody knows.

use std::time::Duration;

use firn_model::id::{Epoch, SlotSequence};
use firn_store::{Entity, Head, Outcome};

use super::bench::*;
use crate::lane::{Input, Output};
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
fn unknown_outcome_answers_nobody_until_the_store_has_told() {
    let landed = |stored: u64| {
        let mut bench = Bench::new();
        let ticket = bench.running_cart("a", 1);
        bench.decide(ticket, append(&["x"]));
        let commit = bench.commit();
        let outcome = Outcome::Unknown {
            cause: "lost".into(),
        };
        bench.on(Input::Committed {
            slot: commit.slot,
            last: commit.sequence,
            outcome,
        });
        assert!(!bench.has_answer(1));
        let slot = bench.take(|output| match output {
            Output::Resolve(slot) => Some(*slot),
            _ => None,
        });
        let head = Head {
            epoch: Epoch(0),
            sequence: SlotSequence(stored),
        };
        bench.on(Input::Resolved(slot, head));
        bench.answer(1).is_ok()
    };
    assert!(landed(1));
    assert!(!landed(0));
}

#[test]
fn caller_of_an_outcome_that_stays_unknown_is_told_so() {
    let mut bench = Bench::new();
    let ticket = bench.running_cart("a", 1);
    bench.decide(ticket, append(&["x"]));
    let commit = bench.commit();
    let outcome = Outcome::Unknown {
        cause: "lost".into(),
    };
    bench.on(Input::Committed {
        slot: commit.slot,
        last: commit.sequence,
        outcome,
    });
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
