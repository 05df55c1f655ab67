//! Commands that the function had when it was lost, or when it let go of their entity.

use std::time::Duration;

use firn_model::policy::{FailedQueue, LostCommands, Pipelining, Policies};
use firn_store::Entity;
use firn_testkit::policies;

use super::bench::*;
use crate::lane::{Config, Input, Known, Output, Ticket};
use crate::link::End;
use crate::refusal::{Fault, Refusal};

const TERMINATION: Refusal = Refusal::Failed(Fault::Termination);

fn terminated() -> End {
    End::Terminated {
        cause: "gone".into(),
    }
}

fn unreachable() -> End {
    End::Unreachable {
        cause: "gone".into(),
    }
}

/// A bench with these commands of one cart with the function.
fn running(policies: Policies, commands: u32) -> (Bench, Ticket) {
    let mut bench = Bench::with(policies, Config::default());
    bench.cart("a", 1);
    let ticket = bench.load(Entity::default());
    for reply in 2..=commands {
        bench.cart("a", reply);
    }
    assert_eq!(bench.sent_all(), (1..=commands).collect::<Vec<_>>());
    (bench, ticket)
}

fn reports(bench: &Bench) -> bool {
    bench.has(|output| matches!(output, Output::Report { .. }))
}

#[test]
fn released_commands_are_sent_again_in_order_and_nobody_hears_of_it() {
    let (mut bench, first) = running(policies::pipelined(), 3);
    bench.decide(first, read());
    bench.end(first, End::Released);
    assert_eq!(bench.answers(), [(1, true)]);
    assert!(!reports(&bench));
    assert!(bench.has(|output| matches!(output, Output::ReleaseStream)));
    let second = bench.load(Entity::default());
    assert_ne!(first.life, second.life);
    assert_eq!(bench.sent_all(), [2, 3]);
    // As often as it likes.
    for _ in 0..9 {
        let ticket = bench.ticket();
        bench.end(ticket, End::Released);
        bench.load(Entity::default());
        assert_eq!(bench.sent_all(), [2, 3]);
    }
    let ticket = bench.ticket();
    bench.decide(ticket, read());
    bench.decide(ticket, read());
    assert_eq!(bench.answers(), [(2, true), (3, true)]);
}

#[test]
fn life_after_a_release_begins_when_all_commits_have_landed() {
    let (mut bench, ticket) = running(policies::pipelined(), 4);
    bench.decide(ticket, append(&["x"]));
    bench.decide(ticket, append(&["y"]));
    let [x, y] = [(); 2].map(|()| bench.commit());
    bench.end(ticket, End::Released);
    bench.cart("a", 5);
    bench.land(&x);
    assert!(!bench.has_load());
    bench.land(&y);
    assert_eq!(bench.answers(), [(1, true), (2, true)]);
    bench.load(Entity {
        last_event: 2,
        ..Entity::default()
    });
    assert_eq!(bench.sent_all(), [3, 4, 5]);
}

#[test]
fn released_instance_with_nothing_to_do_is_forgotten() {
    let (mut bench, ticket) = running(policies::pipelined(), 1);
    bench.decide(ticket, read());
    bench.end(ticket, End::Released);
    assert!(bench.lane.is_empty() && !reports(&bench));
}

#[test]
fn release_crosses_with_a_half_close() {
    let (mut bench, ticket) = running(policies::pipelined(), 1);
    bench.decide(ticket, read());
    bench.pass(Duration::from_secs(30));
    assert!(bench.has(|output| matches!(output, Output::HalfClose(_))));
    bench.end(ticket, End::Released);
    assert!(bench.lane.is_empty());
}

#[test]
fn release_during_a_look_up_sends_the_command_in_the_next_life() {
    let mut bench = Bench::with(policies::pipelined(), Config::default());
    let mut command = bench.command("/t.Cart/Do", "a", 1);
    command.idempotency = idempotency("k", 9);
    bench.on(Input::Command(command));
    let ticket = bench.load(Entity::default());
    bench.end(ticket, End::Released);
    bench.on(Input::Looked(ticket, Ok(Known::default())));
    bench.load(Entity::default());
    assert_eq!(bench.sent_all(), [1]);
}

#[test]
fn lost_commands_are_sent_again_one_by_one_before_what_came_later() {
    for end in [terminated(), End::Completed, unreachable()] {
        let (mut bench, ticket) = running(policies::pipelined(), 3);
        bench.decide(ticket, read());
        bench.end(ticket, end);
        bench.cart("a", 4);
        bench.cart("a", 5);
        assert_eq!(bench.answers(), [(1, true)]);
        let ticket = bench.load(Entity::default());
        for lost in [2, 3] {
            assert_eq!(bench.sent_all(), [lost]);
            bench.decide(ticket, read());
            assert_eq!(bench.answers(), [(lost, true)]);
        }
        assert_eq!(bench.sent_all(), [4, 5]);
    }
}

#[test]
fn lost_command_does_not_wait_for_the_commit_of_the_one_before_it() {
    let (mut bench, ticket) = running(policies::pipelined(), 2);
    bench.end(ticket, terminated());
    let ticket = bench.load(Entity::default());
    assert_eq!(bench.sent_all(), [1]);
    bench.decide(ticket, append(&["x"]));
    assert_eq!(bench.sent_all(), [2]);
}

#[test]
fn command_that_ends_the_function_twice_is_refused_and_no_other() {
    let (mut bench, ticket) = running(policies::pipelined(), 3);
    bench.end(ticket, terminated());
    let again = bench.load(Entity::default());
    assert_eq!(bench.sent_all(), [1]);
    bench.end(again, terminated());
    assert_eq!(bench.answer(1), Err(TERMINATION));
    let third = bench.load(Entity::default());
    for reply in [2, 3] {
        assert_eq!(bench.sent_all(), [reply]);
        bench.decide(third, read());
        assert!(bench.answer(reply).is_ok());
    }
}

#[test]
fn function_that_stays_away_costs_each_caller_one_more_try() {
    let (mut bench, ticket) = running(policies::pipelined(), 2);
    bench.end(ticket, unreachable());
    assert!(bench.answers().is_empty());
    let ticket = bench.load(Entity::default());
    bench.cart("a", 3);
    bench.end(ticket, unreachable());
    for reply in [1, 2, 3] {
        assert_eq!(bench.answer(reply), Err(Refusal::FunctionUnavailable));
    }
    assert!(bench.lane.is_empty());
}

#[test]
fn lost_commands_fail_where_the_policy_says_so() {
    let check = |end: End, refusal: Refusal| {
        let policies = Policies {
            lost_commands: LostCommands::Fail,
            ..policies::pipelined()
        };
        let (mut bench, ticket) = running(policies, 2);
        bench.end(ticket, end);
        for reply in [1, 2] {
            assert_eq!(bench.answer(reply), Err(refusal.clone()));
        }
        assert!(bench.lane.is_empty());
    };
    check(terminated(), TERMINATION);
    check(End::Completed, TERMINATION);
    check(unreachable(), Refusal::FunctionUnavailable);
}

#[test]
fn one_lost_command_is_sent_again_without_pipelining_too() {
    let policies = Policies {
        pipelining: Pipelining::Off,
        ..policies::pipelined()
    };
    let (mut bench, ticket) = running(policies, 1);
    bench.cart("a", 2);
    bench.end(ticket, terminated());
    let ticket = bench.load(Entity::default());
    assert_eq!(bench.sent_all(), [1]);
    bench.decide(ticket, read());
    assert_eq!(bench.sent_all(), [2]);
}

#[test]
fn command_that_failed_its_instance_is_refused_and_those_behind_it_are_sent_again() {
    let (mut bench, ticket) = running(policies::pipelined(), 3);
    bench.end(ticket, End::Failed(broken()));
    let expected = Refusal::Failed(Fault::Failure(broken()));
    assert_eq!(bench.answer(1), Err(expected));
    bench.load(Entity::default());
    assert_eq!(bench.sent_all(), [2]);
}

#[test]
fn lost_commands_are_sent_again_also_where_the_queue_of_a_failed_instance_fails() {
    let policies = Policies {
        failed_queue: FailedQueue::Fail,
        ..policies::pipelined()
    };
    let (mut bench, ticket) = running(policies, 2);
    let mut unsent = bench.command("/t.Cart/Do", "a", 3);
    unsent.idempotency = idempotency("k", 9);
    bench.on(Input::Command(unsent));
    bench.end(ticket, terminated());
    assert_eq!(bench.answer(3), Err(Refusal::QueuedBehindFailure));
    bench.load(Entity::default());
    assert_eq!(bench.sent_all(), [1]);
}

#[test]
fn command_whose_decision_was_refused_is_not_sent_again_but_those_behind_it_are() {
    let policies = Policies {
        delete: policies::careful().delete,
        ..policies::pipelined()
    };
    let mut bench = Bench::with(policies, Config::default());
    bench.cart("a", 1);
    let deleted = Entity {
        deleted_until: Some(bench.now().wall.plus(Duration::from_secs(100))),
        ..Entity::default()
    };
    let ticket = bench.load(deleted.clone());
    bench.cart("a", 2);
    assert_eq!(bench.sent_all(), [1, 2]);
    bench.decide(ticket, append(&["x"]));
    assert_eq!(bench.answer(1), Err(Refusal::Deleted));
    assert!(bench.was_reset(ticket));
    let again = bench.load(deleted);
    assert_eq!(bench.sent_all(), [2]);
    bench.decide(again, read());
    assert!(bench.answer(2).is_ok());
}

#[test]
fn command_whose_time_is_over_resets_the_stream_and_the_others_are_sent_again() {
    let mut bench = Bench::with(policies::pipelined(), Config::default());
    bench.cart("a", 1);
    let ticket = bench.load(Entity::default());
    let mut late = bench.command("/t.Cart/Do", "a", 2);
    late.deadline = Some(bench.now().instant + Duration::from_secs(5));
    bench.on(Input::Command(late));
    bench.cart("a", 3);
    assert_eq!(bench.sent_all(), [1, 2, 3]);
    bench.pass(Duration::from_secs(5));
    assert_eq!(bench.answer(2), Err(Refusal::Timeout));
    assert!(bench.answers().is_empty());
    assert!(bench.was_reset(ticket));
    let again = bench.load(Entity::default());
    for reply in [1, 3] {
        assert_eq!(bench.sent_all(), [reply]);
        bench.decide(again, read());
        assert!(bench.answer(reply).is_ok());
    }
}

#[test]
fn commands_behind_one_whose_time_is_over_fail_where_the_policy_says_so() {
    let policies = Policies {
        lost_commands: LostCommands::Fail,
        ..policies::pipelined()
    };
    let (mut bench, _) = running(policies, 1);
    bench.pass(Duration::from_secs(1));
    bench.cart("a", 2);
    bench.pass(Duration::from_secs(59));
    assert_eq!(bench.answer(1), Err(Refusal::Timeout));
    assert_eq!(bench.answer(2), Err(Refusal::QueuedBehindFailure));
}

#[test]
fn time_that_is_over_waits_for_the_commits_before_the_next_life() {
    let (mut bench, ticket) = running(policies::pipelined(), 1);
    bench.decide(ticket, append(&["x"]));
    let commit = bench.commit();
    for (reply, seconds) in [(2, 5), (3, 50)] {
        let mut command = bench.command("/t.Cart/Do", "a", reply);
        command.deadline = Some(bench.now().instant + Duration::from_secs(seconds));
        bench.on(Input::Command(command));
    }
    bench.pass(Duration::from_secs(5));
    assert_eq!(bench.answer(2), Err(Refusal::Timeout));
    assert!(!bench.has_load());
    bench.land(&commit);
    assert!(bench.answer(1).is_ok());
    bench
        .out
        .retain(|output| !matches!(output, Output::Send(..)));
    bench.load(Entity::default());
    assert_eq!(bench.sent_all(), [3]);
}

#[test]
fn lost_command_whose_time_is_over_is_not_sent_again() {
    let (mut bench, ticket) = running(policies::pipelined(), 2);
    bench.end(ticket, terminated());
    bench.pass(Duration::from_secs(60));
    for reply in [1, 2] {
        assert_eq!(bench.answer(reply), Err(Refusal::DeadlineQueued));
    }
    bench.take(|output| matches!(output, Output::Load(..)).then_some(()));
    assert!(!bench.has_sent());
}

#[test]
fn lost_command_is_looked_up_again_if_another_owner_may_have_served_it() {
    let mut bench = Bench::with(policies::pipelined(), Config::default());
    let [a, b] = of_one_slot();
    let other = {
        bench.cart(&b, 9);
        let ticket = bench.load(Entity::default());
        bench.sent_all();
        ticket
    };
    let mut command = bench.command("/t.Cart/Do", &a, 1);
    command.idempotency = idempotency("k", 9);
    bench.on(Input::Command(command));
    let ticket = bench.load(Entity::default());
    bench.on(Input::Looked(ticket, Ok(Known::default())));
    assert_eq!(bench.sent_all(), [1]);
    bench.decide(other, append(&["x"]));
    let commit = bench.commit();
    bench.lose(&commit);
    bench.end(ticket, terminated());
    bench
        .out
        .retain(|output| !matches!(output, Output::Look { .. }));
    bench.resolve(0, 1);
    bench.load(Entity::default());
    assert!(bench.has(|output| matches!(output, Output::Look { .. })));
    assert!(!bench.has_sent());
}
