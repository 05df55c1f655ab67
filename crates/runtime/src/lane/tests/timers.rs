//! Timers and effects with a delay.

use std::time::Duration;

use firn_model::decision::{Answer, Decision, Effect, Schedule, TimerChange};
use firn_model::id::{EffectId, SlotSequence};
use firn_store::{Commit, Entity, ReadError, Timer, TimerId, TimerName, TimerWrite, Timestamp};

use super::bench::*;
use crate::lane::{Caused, Input, Keep, Output};
use crate::refusal::Refusal;

const MINUTE: Duration = Duration::from_secs(60);

fn own(name: &str) -> TimerId {
    TimerId {
        key: key("a"),
        name: TimerName::Own(name.into()),
    }
}

fn timer(due: Timestamp, service: &str) -> Timer {
    Timer {
        due,
        call: effect(service, "Do").call,
        repeat: None,
        hops: 3,
    }
}

fn set(name: &str, after: Duration, repeats: bool) -> TimerChange {
    let schedule = Schedule {
        after,
        call: effect("t.Cart", "Do").call,
        repeats,
    };
    TimerChange::Set {
        name: name.into(),
        schedule,
    }
}

fn cancel(name: &str) -> TimerChange {
    TimerChange::Cancel { name: name.into() }
}

fn with_timers(timers: Vec<TimerChange>) -> Decision {
    Decision { timers, ..read() }
}

fn delayed(delay: Duration) -> Effect {
    Effect {
        delay: Some(delay),
        ..effect("t.Note", "Do")
    }
}

impl Bench {
    /// The timer of cart `a` is said to be due.
    fn due(&mut self, name: &str) {
        self.on(Input::Due(own(name)));
    }

    /// Takes the look-up that was asked for.
    #[track_caller]
    fn look(&mut self) -> (TimerId, u64) {
        self.take(|output| match output {
            Output::LookTimer { id, turn } => Some((id.clone(), *turn)),
            _ => None,
        })
    }

    fn has_look(&self) -> bool {
        self.has(|output| matches!(output, Output::LookTimer { .. }))
    }

    fn looked(&mut self, (id, turn): (TimerId, u64), stands: Option<Timer>) {
        let result = Ok(stands);
        self.on(Input::TimerLooked { id, turn, result });
    }

    /// Takes the word that the lane is done with a timer.
    #[track_caller]
    fn done(&mut self) -> (TimerId, bool) {
        self.take(|output| match output {
            Output::TimerDone { id, told } => Some((id.clone(), *told)),
            _ => None,
        })
    }

    fn is_done(&self) -> bool {
        self.has(|output| matches!(output, Output::TimerDone { .. }))
    }

    /// Takes the effects that nobody waits for.
    #[track_caller]
    fn orphaned(&mut self) -> (Vec<Caused>, u32) {
        self.take(|output| match output {
            Output::Orphaned { effects, hops } => Some((effects.clone(), *hops)),
            _ => None,
        })
    }

    /// A timer that stands, is due and has been looked up: gives the commit that fires it.
    fn firing(&mut self, timer: Timer) -> Commit {
        self.due("t");
        let look = self.look();
        self.looked(look, Some(timer));
        self.commit()
    }
}

#[test]
fn timers_go_with_the_commit_of_their_decision() {
    let mut bench = Bench::new();
    let ticket = bench.running_cart("a", 1);
    let now = bench.now().wall;
    let timers = vec![
        set("once", MINUTE, false),
        set("often", Duration::from_micros(1), true),
        cancel("never"),
    ];
    let effects = vec![delayed(MINUTE), effect("t.Note", "Do"), delayed(2 * MINUTE)];
    let decision = Decision {
        effects,
        ..with_timers(timers)
    };
    bench.decide(ticket, decision);
    assert!(!bench.has_answer(1));
    let commit = bench.commit();
    assert_eq!(commit.key, Some(key("a")));
    assert_eq!(commit.effects, [effect("t.Note", "Do")]);
    let name_of = |index| {
        TimerName::Delayed(EffectId {
            slot: commit.slot,
            sequence: SlotSequence(1),
            index,
        })
    };
    let timer = |service, after, repeat| {
        let timer = timer(now.plus(after), service);
        let hops = 0;
        Some(Timer {
            repeat,
            hops,
            ..timer
        })
    };
    let whole = Duration::from_millis(1);
    let expected = [
        (own("once").name, timer("t.Cart", MINUTE, None)),
        (own("often").name, timer("t.Cart", whole, Some(whole))),
        (own("never").name, None),
        (name_of(0), timer("t.Note", MINUTE, None)),
        (name_of(1), timer("t.Note", 2 * MINUTE, None)),
    ];
    let expected = expected.map(|(name, timer)| TimerWrite { name, timer });
    assert_eq!(commit.timers, expected);
    bench.land(&commit);
    assert_eq!(bench.answer(1).expect("settled").effects.len(), 1);
    let is_armed =
        |output: &Output<u32>| matches!(output, Output::Armed(due) if *due == now.plus(whole));
    assert!(bench.has(is_armed));
}

#[test]
fn timers_beside_a_failure_are_dropped_with_its_mutation() {
    let mut bench = Bench::new();
    let ticket = bench.running_cart("a", 1);
    let answer = failure(false);
    let timers = vec![set("t", MINUTE, false)];
    bench.decide(
        ticket,
        Decision {
            answer,
            ..with_timers(timers)
        },
    );
    assert!(matches!(
        bench.answer(1).expect("settled").answer,
        Answer::Failure(_)
    ));
}

#[test]
fn timer_fires_in_one_commit_and_its_call_leaves_when_that_has_landed() {
    let mut bench = Bench::new();
    let timer = timer(bench.now().wall, "t.Note");
    let commit = bench.firing(timer.clone());
    assert_eq!(commit.key, Some(key("a")));
    assert_eq!(commit.effects, [effect("t.Note", "Do")]);
    assert_eq!(commit.hops, timer.hops);
    let gone = TimerWrite {
        name: own("t").name,
        timer: None,
    };
    assert_eq!(commit.timers, [gone]);
    assert!(!bench.is_done());
    bench.land(&commit);
    let (effects, hops) = bench.orphaned();
    assert_eq!((effects.len(), hops), (1, timer.hops));
    let origin = effects[0].origin.expect("it is in the outbox");
    assert_eq!(origin.effect.sequence, commit.sequence);
    assert_eq!(bench.done(), (own("t"), true));
    bench.on(Input::Delivered(origin.effect));
    bench.pass(Duration::from_secs(1));
    assert_eq!(bench.commit().delivered, [origin.effect]);
}

#[test]
fn timer_that_repeats_is_set_again_with_its_firing() {
    let mut bench = Bench::new();
    let timer = Timer {
        repeat: Some(MINUTE),
        ..timer(bench.now().wall, "t.Note")
    };
    bench.pass(5 * MINUTE);
    let now = bench.now().wall;
    let commit = bench.firing(timer.clone());
    let due = now.plus(MINUTE);
    assert_eq!(commit.timers[0].timer, Some(Timer { due, ..timer }));
    bench.land(&commit);
    assert!(bench.has(|output| matches!(output, Output::Armed(at) if *at == due)));
}

#[test]
fn timer_that_was_cancelled_or_set_for_later_does_not_fire() {
    let mut bench = Bench::new();
    let later = timer(bench.now().wall.plus(MINUTE), "t.Note");
    for stands in [None, Some(later)] {
        bench.due("t");
        let look = bench.look();
        bench.looked(look, stands);
        assert_eq!(bench.done(), (own("t"), true));
    }
    assert!(bench.lane.is_empty());
}

#[test]
fn timer_that_cannot_be_looked_up_is_given_back() {
    let mut bench = Bench::new();
    bench.due("t");
    let (id, turn) = bench.look();
    let cause = "gone".to_owned();
    let result = Err(ReadError::Unavailable { cause });
    bench.on(Input::TimerLooked { id, turn, result });
    assert_eq!(bench.done(), (own("t"), false));
}

#[test]
fn timer_is_looked_up_behind_a_commit_that_changes_it() {
    let mut bench = Bench::new();
    let ticket = bench.running_cart("a", 1);
    bench.decide(ticket, with_timers(vec![cancel("t")]));
    bench.due("t");
    bench.due("t");
    assert!(!bench.has_look());
    bench.on(Input::Due(own("another")));
    assert_eq!(bench.look().0, own("another"));
    let commit = bench.commit();
    bench.land(&commit);
    assert_eq!(bench.look().0, own("t"));
    assert!(!bench.has_look());
}

#[test]
fn look_up_is_void_when_a_commit_that_changes_the_timer_began_meanwhile() {
    let mut bench = Bench::new();
    let ticket = bench.running_cart("a", 1);
    bench.due("t");
    let look = bench.look();
    bench.decide(ticket, with_timers(vec![cancel("t")]));
    let stood = timer(bench.now().wall, "t.Note");
    bench.looked(look, Some(stood));
    let commit = bench.commit();
    assert_eq!(commit.effects, [], "the cancellation is first");
    assert!(!bench.is_done());
    bench.land(&commit);
    let look = bench.look();
    bench.looked(look, None);
    assert!(bench.is_done());
}

#[test]
fn cancellation_behind_a_firing_comes_too_late() {
    let mut bench = Bench::new();
    let ticket = bench.running_cart("a", 1);
    let timer = timer(bench.now().wall, "t.Note");
    let fires = bench.firing(timer);
    bench.decide(ticket, with_timers(vec![cancel("t")]));
    let cancels = bench.commit();
    assert!(fires.sequence < cancels.sequence);
    bench.land(&cancels);
    assert_eq!(bench.orphaned().0.len(), 1);
    assert!(bench.answer(1).is_ok() && bench.is_done());
}

#[test]
fn timer_of_a_slot_in_trouble_waits_until_it_has_recovered() {
    let mut bench = Bench::new();
    let timer = timer(bench.now().wall, "t.Note");
    let commit = bench.firing(timer.clone());
    bench.due("u");
    let other = bench.look();
    bench.lose(&commit);
    bench.looked(other, Some(timer.clone()));
    bench.due("v");
    assert!(!bench.has_look());
    bench.resolve(0, 0);
    let mut again = [bench.look(), bench.look(), bench.look()];
    again.sort();
    let names = again.clone().map(|(id, _)| id);
    assert_eq!(names, [own("t"), own("u"), own("v")]);
    let [first, ..] = again;
    bench.looked(first, Some(timer));
    let commit = bench.commit();
    assert_eq!(commit.sequence, SlotSequence(1));
    bench.land(&commit);
    assert_eq!(bench.done().0, own("t"));
}

#[test]
fn call_of_a_timer_is_stored_unless_its_target_wants_it_once_at_most() {
    let stored = |service| {
        let mut bench = Bench::new();
        let timer = timer(bench.now().wall, service);
        let commit = bench.firing(timer);
        bench.land(&commit);
        let (effects, _) = bench.orphaned();
        let is_stored = effects[0].origin.is_some();
        assert_eq!(commit.effects.len(), usize::from(is_stored));
        is_stored
    };
    assert!(stored("t.Note"));
    assert!(stored("of.a.function.that.is.away"));
    assert!(!stored("t.Act"));
}

#[test]
fn effects_without_a_commit_of_their_own_are_kept_in_one() {
    let keep = |reply| Keep {
        key: key("of a call"),
        effects: vec![delayed(MINUTE)],
        hops: 2,
        reply,
    };
    let mut bench = Bench::new();
    bench.on(Input::Keep(keep(1)));
    let commit = bench.commit();
    assert_eq!(commit.key, Some(key("of a call")));
    assert_eq!((commit.change.as_ref(), commit.timers.len()), (None, 1));
    let timer = commit.timers[0].timer.as_ref().expect("it is set");
    assert_eq!((timer.due, timer.hops), (bench.now().wall.plus(MINUTE), 2));
    bench.on(Input::Keep(keep(2)));
    let behind = bench.commit();
    assert!(!bench.has_answer(1));
    bench.land(&commit);
    assert!(bench.answer(1).is_ok());
    bench.lose(&behind);
    bench.on(Input::Keep(keep(3)));
    assert_eq!(bench.answer(3), Err(Refusal::CommitNotWritten));
    bench.resolve(0, 1);
    assert_eq!(bench.answer(2), Err(Refusal::CommitNotWritten));
    assert!(bench.lane.is_empty());
}

#[test]
fn draining_lane_leaves_timers_to_the_next_run() {
    let mut bench = Bench::new();
    bench.running_cart("b", 1);
    let timer = timer(bench.now().wall, "t.Note");
    bench.due("t");
    let look = bench.look();
    bench.on(Input::Drain);
    bench.due("u");
    assert!(!bench.has_look());
    bench.looked(look, Some(timer));
    assert!(!bench.has(|output| matches!(output, Output::Commit(_))));
}

/// A timer of an entity fires whether or not the entity is in memory, and touches nothing of it.
#[test]
fn timers_load_nobody() {
    let mut bench = Bench::new();
    let timer = timer(bench.now().wall, "t.Note");
    let commit = bench.firing(timer);
    bench.land(&commit);
    assert!(!bench.has_load());
    bench.cart("a", 1);
    bench.load(Entity::default());
}
