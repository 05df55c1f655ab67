//! Instances that fail, each in its way.

use firn_store::{Entity, ReadError};
use firn_testkit::policies;

use super::bench::*;
use crate::lane::{Input, Output};
use crate::link::{End, StreamEvent};
use crate::refusal::{Fault, Refusal};

fn end(bench: &mut Bench, ticket: crate::lane::Ticket, end: End) {
    bench.on(Input::Stream(ticket, StreamEvent::Ended(end)));
}

#[test]
fn each_end_has_its_fault() {
    let check = |event: End, expected: Refusal| {
        let mut bench = Bench::new();
        let ticket = bench.running_cart("a", 1);
        end(&mut bench, ticket, event);
        assert_eq!(bench.answer(1), Err(expected));
        assert!(bench.lane.is_empty());
    };
    let cause = || "why".to_owned();
    check(End::Completed, Refusal::Failed(Fault::Termination));
    check(
        End::Terminated { cause: cause() },
        Refusal::Failed(Fault::Termination),
    );
    check(
        End::WrongReply { cause: cause() },
        Refusal::Failed(Fault::Reply),
    );
    check(
        End::WrongMessage { cause: cause() },
        Refusal::Failed(Fault::Message),
    );
    check(
        End::Failed(broken()),
        Refusal::Failed(Fault::Failure(broken())),
    );
    check(
        End::Unreachable { cause: cause() },
        Refusal::FunctionUnavailable,
    );
}

#[test]
fn queue_behind_a_failed_instance_goes_by_policy() {
    let mut bench = Bench::with(policies::plain(), Default::default());
    let ticket = bench.running_cart("a", 1);
    bench.cart("a", 2);
    end(&mut bench, ticket, End::Failed(broken()));
    assert_eq!(bench.answer(2), Err(Refusal::QueuedBehindFailure));

    let mut bench = Bench::with(policies::careful(), Default::default());
    let ticket = bench.running_cart("a", 1);
    bench.cart("a", 2);
    end(&mut bench, ticket, End::Failed(broken()));
    assert!(!bench.has_answer(2));
    let again = bench.load(Entity::default());
    assert_eq!(bench.sent(), again);
}

#[test]
fn failure_of_the_command_goes_by_policy() {
    let failed = StreamEvent::CommandFailed(broken());
    let mut bench = Bench::with(policies::plain(), Default::default());
    let ticket = bench.running_cart("a", 1);
    bench.on(Input::Stream(ticket, failed.clone()));
    assert_eq!(
        bench.answer(1),
        Err(Refusal::Failed(Fault::Failure(broken())))
    );
    assert!(bench.has(|output| matches!(output, Output::Reset(_))));

    let mut bench = Bench::with(policies::careful(), Default::default());
    let ticket = bench.running_cart("a", 1);
    bench.on(Input::Stream(ticket, failed));
    assert_eq!(
        bench.answer(1),
        Err(Refusal::Failed(Fault::Command(broken())))
    );
    assert!(bench.has(|output| matches!(output, Output::HalfClose(_))));
}

#[test]
fn failure_that_asks_for_a_restart_replays_and_keeps_the_queue() {
    let mut bench = Bench::with(policies::plain(), Default::default());
    let ticket = bench.running_cart("a", 1);
    bench.cart("a", 2);
    let decision = firn_model::decision::Decision {
        answer: failure(true),
        ..read()
    };
    bench.decide(ticket, decision);
    assert!(bench.has_answer(1));
    assert!(bench.has(|output| matches!(output, Output::HalfClose(it) if *it == ticket)));
    end(&mut bench, ticket, End::Completed);
    let again = bench.load(Entity::default());
    assert_eq!(bench.sent(), again);
}

#[test]
fn decision_nobody_asked_for_ends_the_instance() {
    let mut bench = Bench::new();
    let ticket = bench.running_cart("a", 1);
    bench.decide(ticket, read());
    bench.decide(ticket, append(&["x"]));
    assert!(bench.has(|output| matches!(output, Output::Reset(it) if *it == ticket)));
    assert!(!bench.has(|output| matches!(output, Output::Commit(_))));
    assert!(bench.lane.is_empty());
}

#[test]
fn failed_load_refuses_what_waits_for_it() {
    let mut bench = Bench::new();
    bench.cart("a", 1);
    let ticket = bench.take(|output| match output {
        Output::Load(ticket, ..) => Some(*ticket),
        _ => None,
    });
    let error = ReadError::Unavailable {
        cause: "gone".into(),
    };
    bench.on(Input::Loaded(ticket, Err(error.clone())));
    let cause = error.to_string();
    assert_eq!(bench.answer(1), Err(Refusal::LoadFailed { cause }));
    assert!(bench.lane.is_empty());
}

#[test]
fn snapshot_is_asked_for_when_many_events_have_none() {
    let policies = firn_model::policy::Policies {
        snapshot_every: Some(2),
        ..policies::careful()
    };
    let mut bench = Bench::with(policies, Default::default());
    let ticket = bench.running_cart("a", 1);
    bench.cart("a", 2);
    bench.decide(ticket, append(&["x", "y"]));
    let commit = bench.commit();
    bench.land(&commit);
    assert!(bench.has(|output| matches!(output, Output::RequestSnapshot(it) if *it == ticket)));
    assert!(!bench.has_sent());
    bench.on(Input::Stream(
        ticket,
        StreamEvent::Snapshot(Some(payload("s"))),
    ));
    let commit = bench.commit();
    let expected = firn_store::Change::Snapshot {
        sequence: 2,
        payload: payload("s"),
    };
    assert_eq!(commit.change, Some(expected));
    bench.land(&commit);
    assert_eq!(bench.sent(), ticket);
}
