//! Actors: tags, and replies that do not wait for their commits.

use firn_model::decision::{Answer, Decision, Effect, Mutation, Tags};
use firn_model::id::{EffectId, SlotSequence};
use firn_model::policy::{Durability, Policies};
use firn_store::{Change, Entity};
use firn_testkit::policies;

use super::bench::*;
use crate::lane::{Input, Origin, Output, Ticket};
use crate::refusal::Refusal;

fn write_behind() -> Bench {
    let policies = Policies {
        durability: Durability::WriteBehind,
        ..policies::pipelined()
    };
    Bench::with(policies, Default::default())
}

fn tags() -> Tags {
    [("colour".to_owned(), "blue".to_owned())].into()
}

fn acting() -> Decision {
    Decision {
        mutation: Mutation::Actor {
            state: payload("state"),
            tags: tags(),
        },
        ..read()
    }
}

impl Bench {
    fn running_robot(&mut self, reply: u32) -> Ticket {
        self.robot("a", reply);
        self.load(Entity::default());
        self.sent()
    }

    fn has_orphans(&self) -> bool {
        self.has(|output| matches!(output, Output::Orphaned { .. }))
    }
}

#[test]
fn state_and_tags_go_in_one_commit_that_is_answered_when_it_has_landed() {
    let mut bench = Bench::new();
    let ticket = bench.running_robot(1);
    bench.decide(ticket, acting());
    let commit = bench.commit();
    assert_eq!(commit.change, Some(Change::Set(payload("state"))));
    assert_eq!(commit.tags, tags());
    assert!(!bench.has_answer(1));
    bench.land(&commit);
    assert!(bench.answer(1).is_ok());
}

#[test]
fn reply_that_is_written_behind_leaves_before_its_commit_and_effects_do_not() {
    let mut bench = write_behind();
    let ticket = bench.running_robot(1);
    let effects = vec![effect("t.Note", "Do")];
    bench.decide(
        ticket,
        Decision {
            effects,
            ..acting()
        },
    );
    let settled = bench.answer(1).expect("a reply");
    assert_eq!((settled.answer, settled.effects), (reply(), Vec::new()));
    let commit = bench.commit();
    assert_eq!(commit.effects, [effect("t.Note", "Do")]);
    assert!(!bench.has_orphans());
    // One that has only seen it does not wait either.
    bench.robot("a", 2);
    bench.sent();
    bench.decide(ticket, read());
    assert!(bench.answer(2).is_ok());
    bench.land(&commit);
    assert!(bench.has_orphans());
    bench.on(Input::Drain);
    assert!(!bench.has_answer(1) && !bench.has_answer(2));
}

#[test]
fn commits_that_are_written_behind_stay_in_order_and_a_refused_one_ends_the_incarnation() {
    let mut bench = write_behind();
    let ticket = bench.running_robot(1);
    bench.decide(ticket, acting());
    bench.robot("a", 2);
    bench.sent();
    bench.decide(ticket, acting());
    assert!(bench.answer(1).is_ok() && bench.answer(2).is_ok());
    let (first, second) = (bench.commit(), bench.commit());
    assert_eq!(second.sequence, first.sequence.next());
    bench.refuse(&first, 0);
    assert!(bench.was_reset(ticket));
    bench.refuse(&second, 0);
    assert!(!bench.has_orphans());
    bench.robot("a", 3);
    let again = bench.load(Entity::default());
    assert_eq!(bench.sent(), again);
}

#[test]
fn what_others_wait_for_waits_for_its_commit() {
    let waits = |decision: Decision, origin: Option<Origin>| {
        let mut bench = write_behind();
        let mut command = bench.command("/t.Robot/Do", "a", 1);
        command.origin = origin;
        bench.on(Input::Command(command));
        let ticket = bench.load(Entity::default());
        bench.sent();
        bench.decide(ticket, decision);
        let commit = bench.commit();
        let waits = !bench.has_answer(1);
        bench.refuse(&commit, 0);
        assert_eq!(bench.answer(1), Err(Refusal::CommitRefused));
        waits
    };
    let waited_for = Effect {
        synchronous: true,
        ..effect("t.Note", "Do")
    };
    let effects = vec![waited_for];
    assert!(waits(
        Decision {
            effects,
            ..acting()
        },
        None
    ));
    let answer = Answer::Forward(effect("t.Note", "Do").call);
    assert!(waits(Decision { answer, ..acting() }, None));
    let origin = Origin {
        effect: EffectId {
            slot: key("sender").slot(),
            sequence: SlotSequence(1),
            index: 0,
        },
        lowest_open: SlotSequence(1),
        redelivered: false,
    };
    assert!(waits(acting(), Some(origin)));
}
