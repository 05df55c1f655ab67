//! Idle instances, streams that give way, draining.

use std::time::Duration;

use firn_store::Entity;

use super::bench::*;
use crate::lane::{Input, Output, Ticket};
use crate::link::{End, StreamEvent};
use crate::refusal::Refusal;

fn half_closed(bench: &mut Bench) -> Ticket {
    bench.take(|output| match output {
        Output::HalfClose(ticket) => Some(*ticket),
        _ => None,
    })
}

fn complete(bench: &mut Bench, ticket: Ticket) {
    bench.on(Input::Stream(ticket, StreamEvent::Ended(End::Completed)));
}

fn idle(bench: &mut Bench, id: &str, reply: u32) -> Ticket {
    let ticket = bench.running_cart(id, reply);
    bench.decide(ticket, read());
    ticket
}

#[test]
fn idle_instance_half_closes_and_is_forgotten() {
    let mut bench = Bench::new();
    let ticket = idle(&mut bench, "a", 1);
    bench.pass(Duration::from_secs(29));
    assert!(!bench.has(|output| matches!(output, Output::HalfClose(_))));
    bench.pass(Duration::from_secs(1));
    assert_eq!(half_closed(&mut bench), ticket);
    complete(&mut bench, ticket);
    assert!(bench.lane.is_empty());
    assert!(bench.has(|output| matches!(output, Output::ReleaseStream)));
}

#[test]
fn idle_time_counts_from_the_last_command() {
    let mut bench = Bench::new();
    let ticket = idle(&mut bench, "a", 1);
    bench.pass(Duration::from_secs(20));
    bench.cart("a", 2);
    bench.sent();
    bench.decide(ticket, read());
    bench.pass(Duration::from_secs(20));
    assert!(!bench.has(|output| matches!(output, Output::HalfClose(_))));
    bench.pass(Duration::from_secs(10));
    half_closed(&mut bench);
}

#[test]
fn stream_that_is_never_completed_is_reset_after_its_grace() {
    let mut bench = Bench::new();
    let ticket = idle(&mut bench, "a", 1);
    bench.pass(Duration::from_secs(30));
    half_closed(&mut bench);
    bench.pass(Duration::from_secs(1));
    assert!(bench.has(|output| matches!(output, Output::Reset(it) if *it == ticket)));
    assert!(bench.lane.is_empty());
}

#[test]
fn command_that_comes_while_the_stream_closes_waits_for_a_new_one() {
    let mut bench = Bench::new();
    let first = idle(&mut bench, "a", 1);
    bench.pass(Duration::from_secs(30));
    half_closed(&mut bench);
    bench.cart("a", 2);
    assert!(!bench.has_sent());
    complete(&mut bench, first);
    let second = bench.load(Entity::default());
    assert_eq!(bench.sent(), second);
}

#[test]
fn longest_idle_gives_way_first() {
    let mut bench = Bench::new();
    let first = idle(&mut bench, "a", 1);
    bench.pass(Duration::from_secs(1));
    let second = idle(&mut bench, "b", 2);
    bench.pass(Duration::from_secs(1));
    bench.cart("a", 3);
    bench.sent();
    bench.decide(first, read());
    bench.on(Input::MakeRoom);
    assert_eq!(half_closed(&mut bench), second);
}

#[test]
fn busy_instance_gives_way_when_it_becomes_idle() {
    let mut bench = Bench::new();
    let ticket = bench.running_cart("a", 1);
    bench.on(Input::MakeRoom);
    assert!(bench.has(|output| matches!(output, Output::NoRoom)));
    bench.decide(ticket, read());
    assert_eq!(half_closed(&mut bench), ticket);
}

#[test]
fn nobody_gives_way_when_no_one_waits_any_more() {
    let mut bench = Bench::new();
    let ticket = bench.running_cart("a", 1);
    bench.on(Input::MakeRoom);
    bench.on(Input::RoomEnough);
    bench.decide(ticket, read());
    assert!(!bench.has(|output| matches!(output, Output::HalfClose(_))));
}

#[test]
fn command_that_waits_for_a_stream_too_long_is_refused() {
    let mut bench = Bench::new();
    bench.cart("a", 1);
    let ticket = bench.take(|output| match output {
        Output::Load(ticket, ..) => Some(*ticket),
        _ => None,
    });
    bench.on(Input::Loaded(ticket, Ok(Entity::default())));
    bench.pass(Duration::from_secs(60));
    assert_eq!(bench.answer(1), Err(Refusal::StreamsExhausted));
    bench.on(Input::Granted(ticket));
    assert!(bench.has(|output| matches!(output, Output::ReleaseStream)));
}

#[test]
fn draining_finishes_what_was_accepted_and_takes_no_more() {
    let mut bench = Bench::new();
    let ticket = bench.running_cart("a", 1);
    bench.cart("a", 2);
    bench.on(Input::Drain);
    bench.cart("a", 3);
    assert_eq!(bench.answer(3), Err(Refusal::ShuttingDown));
    bench.decide(ticket, read());
    bench.sent();
    bench.decide(ticket, read());
    assert!(bench.answer(2).is_ok());
    half_closed(&mut bench);
    complete(&mut bench, ticket);
    assert!(bench.lane.is_empty());
}

#[test]
fn alarms_of_a_busy_entity_do_not_pile_up() {
    let mut bench = Bench::new();
    let ticket = idle(&mut bench, "a", 0);
    for reply in 1..=2000 {
        let mut command = bench.command("/t.Cart/Do", "a", reply);
        command.deadline = Some(bench.now().instant + Duration::from_millis(5));
        bench.on(Input::Command(command));
        bench.decide(ticket, read());
        bench.pass(Duration::from_millis(10));
    }
    assert!(bench.lane.due.alarms() < 100, "{}", bench.lane.due.alarms());
}

#[test]
fn instance_that_waits_for_the_store_alone_sets_no_alarm() {
    let mut bench = Bench::new();
    let ticket = bench.running_cart("a", 1);
    bench.decide(ticket, append(&["x"]));
    bench.pass(Duration::from_secs(61));
    assert_eq!(bench.answer(1), Err(Refusal::CommitUnknown));
    assert_eq!(bench.lane.next_wake(), None);
}

#[test]
fn many_deliveries_set_one_alarm() {
    let mut bench = Bench::new();
    let ticket = bench.running_cart("a", 1);
    let effects = vec![effect("t.Note", "Do"); 100];
    bench.decide(ticket, firn_model::decision::Decision { effects, ..read() });
    let commit = bench.commit();
    bench.land(&commit);
    let before = bench.lane.due.alarms();
    for caused in bench.answer(1).expect("settled").effects {
        bench.on(Input::Delivered(caused.origin.expect("stored").effect));
    }
    assert_eq!(bench.lane.due.alarms(), before + 1);
    bench.pass(Duration::from_secs(1));
    assert_eq!(bench.commit().delivered.len(), 100);
}
