//! The straight way of a command.

use std::time::Duration;

use firn_model::decision::{Answer, Append, Decision, Mutation};
use firn_model::id::{EffectId, Slot, SlotSequence};
use firn_model::policy::{ActionEffects, Policies};
use firn_store::{Change, Entity, ReplyRecord, StoredAnswer, Timestamp};

use super::bench::*;
use crate::lane::{Input, Known, Origin, Output};
use crate::refusal::Refusal;

#[test]
fn command_without_mutation_is_answered_at_once() {
    let mut bench = Bench::new();
    let ticket = bench.running_cart("a", 1);
    bench.decide(ticket, read());
    assert_eq!(bench.answer(1).expect("settled").answer, reply());
    assert!(!bench.has(|output| matches!(output, Output::Commit(_))));
}

#[test]
fn command_with_mutation_is_answered_when_its_commit_has_landed() {
    let mut bench = Bench::new();
    let ticket = bench.running_cart("a", 1);
    bench.decide(ticket, append(&["x", "y"]));
    assert!(!bench.has_answer(1));
    let commit = bench.commit();
    assert_eq!(commit.key, Some(key("a")));
    assert_eq!(commit.sequence, SlotSequence(1));
    let Some(Change::Append {
        first: 1, events, ..
    }) = &commit.change
    else {
        panic!("{:?}", commit.change)
    };
    assert_eq!(events.len(), 2);
    bench.land(&commit);
    assert!(bench.answer(1).is_ok());
}

#[test]
fn next_command_waits_for_the_commit_of_the_last() {
    let mut bench = Bench::new();
    let ticket = bench.running_cart("a", 1);
    bench.cart("a", 2);
    assert!(!bench.has_sent());
    bench.decide(ticket, append(&["x"]));
    assert!(!bench.has_sent());
    let commit = bench.commit();
    bench.land(&commit);
    assert_eq!(bench.sent(), ticket);
    bench.decide(ticket, append(&["y"]));
    let Some(Change::Append { first: 2, .. }) = bench.commit().change else {
        panic!("event 2")
    };
}

#[test]
fn entities_do_not_wait_for_each_other() {
    let mut bench = Bench::new();
    bench.running_cart("a", 1);
    let other = bench.running_cart("b", 2);
    bench.decide(other, read());
    assert!(bench.has_answer(2) && !bench.has_answer(1));
}

#[test]
fn events_continue_after_those_that_were_loaded() {
    let mut bench = Bench::new();
    bench.cart("a", 1);
    let ticket = bench.load(Entity {
        last_event: 7,
        ..Entity::default()
    });
    bench.sent();
    bench.decide(ticket, append(&["x"]));
    assert!(matches!(
        bench.commit().change,
        Some(Change::Append { first: 8, .. })
    ));
}

#[test]
fn full_mailbox_refuses_and_keeps_what_it_has() {
    let config = crate::lane::Config {
        mailbox_commands_max: 2,
        ..Default::default()
    };
    let mut bench = Bench::with(firn_testkit::policies::careful(), config);
    bench.running_cart("a", 1);
    for reply in 2..=4 {
        bench.cart("a", reply);
    }
    assert_eq!(bench.answer(4), Err(Refusal::MailboxFull { capacity: 2 }));
    assert!(!bench.has_answer(2) && !bench.has_answer(3));
}

#[test]
fn queued_command_whose_deadline_has_passed_is_dropped_unsent() {
    let mut bench = Bench::new();
    let ticket = bench.running_cart("a", 1);
    let mut late = bench.command("/t.Cart/Do", "a", 2);
    late.deadline = Some(bench.now().instant + Duration::from_millis(100));
    bench.on(Input::Command(late));
    bench.pass(Duration::from_millis(200));
    assert_eq!(bench.answer(2), Err(Refusal::DeadlineQueued));
    bench.decide(ticket, read());
    assert!(bench.has_answer(1) && !bench.has_sent());
}

#[test]
fn command_that_is_late_already_is_refused() {
    let mut bench = Bench::new();
    let mut late = bench.command("/t.Cart/Do", "a", 1);
    late.deadline = Some(bench.now().instant);
    bench.on(Input::Command(late));
    assert_eq!(bench.answer(1), Err(Refusal::DeadlineQueued));
    assert!(bench.lane.is_empty());
}

#[test]
fn slow_function_costs_its_caller_and_no_one_behind() {
    let mut bench = Bench::new();
    let first = bench.running_cart("a", 1);
    bench.pass(Duration::from_secs(59));
    bench.cart("a", 2);
    bench.pass(Duration::from_secs(1));
    assert_eq!(bench.answer(1), Err(Refusal::Timeout));
    assert!(bench.has(|output| matches!(output, Output::Reset(ticket) if *ticket == first)));
    let second = bench.load(Entity::default());
    assert_ne!(first, second);
    assert_eq!(bench.sent(), second);
    bench.decide(first, append(&["too late"]));
    bench.decide(second, read());
    assert!(bench.answer(2).is_ok());
}

#[test]
fn keyed_command_is_remembered_also_when_it_only_reads() {
    let mut bench = Bench::new();
    let mut command = bench.command("/t.Cart/Do", "a", 1);
    command.idempotency = idempotency("k", 9);
    bench.on(Input::Command(command));
    let ticket = bench.load(Entity::default());
    bench.on(Input::Looked(ticket, Ok(Known::default())));
    bench.sent();
    bench.decide(ticket, read());
    let record = bench.commit().reply_record.expect("a record");
    assert_eq!(
        (record.idempotency_key.as_str(), record.request_hash),
        ("k", 9)
    );
    assert_eq!(record.method, "Do");
}

fn record(request_hash: u128) -> Known {
    let Answer::Reply(reply) = reply() else {
        unreachable!("a reply")
    };
    let record = ReplyRecord {
        method: "Do".into(),
        idempotency_key: "k".into(),
        request_hash,
        expires: Timestamp(u64::MAX),
        answer: StoredAnswer::Reply(reply),
    };
    Known {
        record: Some(record),
        received: false,
    }
}

#[test]
fn repeated_key_is_answered_from_its_record() {
    let check = |hash: u128| {
        let mut bench = Bench::new();
        let mut command = bench.command("/t.Cart/Do", "a", 1);
        command.idempotency = idempotency("k", 9);
        bench.on(Input::Command(command));
        let ticket = bench.load(Entity::default());
        bench.on(Input::Looked(ticket, Ok(record(hash))));
        assert!(!bench.has_sent());
        bench.answer(1).map(|settled| settled.answer)
    };
    assert_eq!(check(9), Ok(reply()));
    assert_eq!(check(8), Err(Refusal::IdempotencyKeyReused));
}

#[test]
fn redelivered_effect_that_was_received_is_not_run_again() {
    let mut bench = Bench::new();
    let slot = Slot::new(5).expect("a slot");
    let effect = EffectId {
        slot,
        sequence: SlotSequence(3),
        index: 0,
    };
    let origin = Origin {
        effect,
        lowest_open: SlotSequence(2),
        redelivered: true,
    };
    let mut command = bench.command("/t.Cart/Do", "a", 1);
    command.origin = Some(origin);
    bench.on(Input::Command(command));
    let ticket = bench.load(Entity::default());
    bench.on(Input::Looked(
        ticket,
        Ok(Known {
            record: None,
            received: true,
        }),
    ));
    assert_eq!(bench.answer(1).expect("settled").answer, Answer::Nothing);
    assert!(!bench.has_sent());
}

#[test]
fn effect_leaves_its_receipt_in_the_commit_it_causes() {
    let mut bench = Bench::new();
    let slot = Slot::new(5).expect("a slot");
    let effect = EffectId {
        slot,
        sequence: SlotSequence(3),
        index: 1,
    };
    let mut command = bench.command("/t.Cart/Do", "a", 1);
    command.origin = Some(Origin {
        effect,
        lowest_open: SlotSequence(2),
        redelivered: false,
    });
    bench.on(Input::Command(command));
    let ticket = bench.load(Entity::default());
    bench.sent();
    bench.decide(ticket, read());
    let commit = bench.commit();
    assert_eq!(commit.received, Some(effect));
    assert_eq!(commit.receipts_below, Some((slot, SlotSequence(2))));
}

#[test]
fn effects_on_entities_are_stored_and_those_on_actions_are_not() {
    let mut bench = Bench::new();
    let ticket = bench.running_cart("a", 1);
    let effects = vec![
        effect("t.Act", "Do"),
        effect("t.Note", "Do"),
        effect("no", "Such"),
    ];
    bench.decide(ticket, Decision { effects, ..read() });
    let commit = bench.commit();
    assert_eq!(commit.effects, [effect("t.Note", "Do")]);
    bench.land(&commit);
    let caused = bench.answer(1).expect("settled").effects;
    let ids: Vec<_> = caused
        .iter()
        .map(|caused| caused.origin.map(|it| it.effect.index))
        .collect();
    assert_eq!(ids, [None, Some(0), None]);
}

#[test]
fn effects_on_actions_are_stored_where_their_component_wants_them_at_least_once() {
    let policies = Policies {
        action_effects: ActionEffects::AtLeastOnce,
        ..firn_testkit::policies::careful()
    };
    let mut bench = Bench::with(policies, Default::default());
    let ticket = bench.running_cart("a", 1);
    let effects = vec![effect("t.Act", "Do")];
    bench.decide(ticket, Decision { effects, ..read() });
    let commit = bench.commit();
    assert_eq!(commit.effects, [effect("t.Act", "Do")]);
    bench.land(&commit);
    assert!(
        bench.answer(1).expect("settled").effects[0]
            .origin
            .is_some()
    );
}

#[test]
fn delivered_effect_leaves_the_outbox_with_the_next_commit_or_soon() {
    let mut bench = Bench::new();
    let ticket = bench.running_cart("a", 1);
    let effects = vec![effect("t.Note", "Do")];
    bench.decide(ticket, Decision { effects, ..read() });
    let commit = bench.commit();
    bench.land(&commit);
    let effect = bench.answer(1).expect("settled").effects[0]
        .origin
        .expect("stored")
        .effect;
    bench.on(Input::Delivered(effect));
    assert!(!bench.lane.is_empty());
    bench.pass(Duration::from_secs(1));
    let housekeeping = bench.commit();
    assert_eq!(
        (housekeeping.key, housekeeping.delivered),
        (None, vec![effect])
    );
}

#[test]
fn mutation_beside_a_failure_goes_by_policy() {
    let check = |policies, restart: bool, stored: bool| {
        let mut bench = Bench::with(policies, Default::default());
        let ticket = bench.running_cart("a", 1);
        let decision = Decision {
            answer: failure(restart),
            ..append(&["x"])
        };
        bench.decide(ticket, decision);
        assert_eq!(
            bench.has(|output| matches!(output, Output::Commit(_))),
            stored
        );
    };
    check(firn_testkit::policies::careful(), false, false);
    check(firn_testkit::policies::plain(), false, true);
    check(firn_testkit::policies::plain(), true, false);
}

#[test]
fn deleted_entity_refuses_changes_until_its_grace_is_over() {
    let mut bench = Bench::new();
    bench.note("a", 1);
    let deleted = Entity {
        deleted_until: Some(bench.now().wall.plus(Duration::from_secs(10))),
        ..Entity::default()
    };
    let ticket = bench.load(deleted);
    bench.sent();
    let set = Decision {
        mutation: Mutation::Set(payload("s")),
        ..read()
    };
    bench.decide(ticket, set);
    assert_eq!(bench.answer(1), Err(Refusal::Deleted));
}

#[test]
fn deleted_events_leave_nothing_where_no_tombstone_is_kept() {
    let appended = Mutation::Append(Append {
        events: vec![payload("last")],
        delete: Some(Duration::from_secs(10)),
        ..Append::default()
    });
    for mutation in [Mutation::Delete { grace: None }, appended] {
        let mut bench = Bench::with(firn_testkit::policies::plain(), Default::default());
        bench.cart("a", 1);
        let ticket = bench.load(Entity {
            last_event: 7,
            ..Entity::default()
        });
        bench.sent();
        bench.decide(ticket, Decision { mutation, ..read() });
        let commit = bench.commit();
        assert_eq!(commit.change, Some(Change::Delete { until: None }));
        bench.land(&commit);
        bench.cart("a", 2);
        bench.sent();
        bench.decide(ticket, append(&["new"]));
        let Some(Change::Append { first: 1, .. }) = bench.commit().change else {
            panic!("event 1")
        };
    }
}

#[test]
fn tombstone_whose_grace_is_over_is_cleaned_before_the_entity_begins_again() {
    let mut bench = Bench::new();
    bench.note("a", 1);
    let ticket = bench.take(|output| match output {
        Output::Load(ticket, ..) => Some(*ticket),
        _ => None,
    });
    let gone = Entity {
        deleted_until: Some(Timestamp(5)),
        ..Entity::default()
    };
    bench.on(Input::Loaded(ticket, Ok(gone)));
    let commit = bench.commit();
    assert_eq!(commit.change, Some(Change::Clean));
    bench.land(&commit);
    bench.load(Entity::default());
    bench.sent();
}

fn looking(bench: &mut Bench, reply: u32) -> crate::lane::Ticket {
    let mut command = bench.command("/t.Cart/Do", "a", reply);
    command.idempotency = idempotency("k", 9);
    bench.on(Input::Command(command));
    bench.load(Entity::default())
}

#[test]
fn command_is_not_kept_beyond_its_deadline_by_a_store_that_is_slow_to_look() {
    let mut bench = Bench::new();
    let ticket = looking(&mut bench, 1);
    bench.pass(Duration::from_secs(60));
    assert_eq!(bench.answer(1), Err(Refusal::DeadlineQueued));
    bench.cart("a", 2);
    assert!(!bench.has_sent());
    bench.on(Input::Looked(ticket, Ok(Known::default())));
    assert_eq!(bench.sent(), ticket);
    bench.decide(ticket, read());
    assert!(bench.answer(2).is_ok());
}

#[test]
fn new_command_is_looked_up_once_also_when_its_stream_ends_meanwhile() {
    let mut bench = Bench::new();
    let ticket = looking(&mut bench, 1);
    let end = crate::link::End::Terminated {
        cause: "gone".into(),
    };
    bench.on(Input::Stream(ticket, crate::link::StreamEvent::Ended(end)));
    bench.on(Input::Looked(ticket, Ok(Known::default())));
    let again = bench.load(Entity::default());
    assert_eq!(bench.sent(), again);
}

#[test]
fn deleted_entity_begins_again_after_its_grace_also_when_it_was_never_idle() {
    let mut bench = Bench::new();
    bench.note("a", 1);
    let deleted = Entity {
        deleted_until: Some(bench.now().wall.plus(Duration::from_secs(10))),
        ..Entity::default()
    };
    let ticket = bench.load(deleted);
    bench.sent();
    bench.decide(ticket, read());
    bench.pass(Duration::from_secs(11));
    bench.note("a", 2);
    assert!(!bench.has_sent());
    assert!(bench.has(|output| matches!(output, Output::HalfClose(it) if *it == ticket)));
}

#[test]
fn nobody_is_connected_for_callers_who_have_stopped_waiting() {
    let mut bench = Bench::new();
    bench.cart("a", 1);
    let ticket = bench.take(|output| match output {
        Output::Load(ticket, ..) => Some(*ticket),
        _ => None,
    });
    bench.pass(Duration::from_secs(60));
    assert_eq!(bench.answer(1), Err(Refusal::DeadlineQueued));
    bench.on(Input::Loaded(ticket, Ok(Entity::default())));
    assert!(!bench.has(|output| matches!(output, Output::AcquireStream(_))));
    assert!(bench.lane.is_empty());
}

#[test]
fn receipt_outlives_its_effect_until_that_has_left_the_outbox_for_good() {
    let mut bench = Bench::new();
    let decision = || Decision {
        effects: vec![effect("t.Note", "Do")],
        ..read()
    };
    let ticket = bench.running_cart("a", 1);
    bench.decide(ticket, decision());
    let commit = bench.commit();
    bench.land(&commit);
    let first = bench.answer(1).expect("settled").effects[0]
        .origin
        .expect("stored");
    bench.on(Input::Delivered(first.effect));
    let mut next = |reply: u32| {
        bench.cart("a", reply);
        bench.sent();
        bench.decide(ticket, decision());
        let commit = bench.commit();
        bench.land(&commit);
        bench.answer(reply).expect("settled").effects[0]
            .origin
            .expect("stored")
            .lowest_open
    };
    // The second commit takes the first effect out of the outbox, but has not landed when its own
    // effect gets its identity.
    assert_eq!(next(2), first.effect.sequence);
    assert!(next(3) > first.effect.sequence);
}

#[test]
fn tombstone_that_nobody_touches_is_cleaned_and_nothing_else_is() {
    let loaded = |entity: Entity| {
        let mut bench = Bench::new();
        bench.on(Input::Expired(key("a")));
        let ticket = bench.take(|output| match output {
            Output::Load(ticket, ..) => Some(*ticket),
            _ => None,
        });
        bench.on(Input::Loaded(ticket, Ok(entity)));
        bench
    };
    let mut bench = loaded(Entity {
        deleted_until: Some(Timestamp(5)),
        ..Entity::default()
    });
    let commit = bench.commit();
    assert_eq!(commit.change, Some(Change::Clean));
    bench.land(&commit);
    assert!(bench.lane.is_empty());
    // It was touched after the store was asked.
    let bench = loaded(Entity::default());
    assert!(bench.lane.is_empty() && bench.out.is_empty());
}

#[test]
fn active_instance_and_unknown_component_are_no_business_of_the_sweep() {
    let mut bench = Bench::new();
    bench.running_cart("a", 1);
    bench.out.clear();
    bench.on(Input::Expired(key("a")));
    let foreign = firn_model::id::StorageName::new("gone");
    bench.on(Input::Expired(firn_model::id::EntityKey::new(foreign, "a")));
    assert!(bench.out.is_empty());
    assert_eq!(bench.lane.active(), 1);
}
