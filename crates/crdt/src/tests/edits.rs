//! Single changes: what they refuse, how they are stamped, and what they leave to be told.

use std::collections::BTreeSet;

use firn_model::id::NodeId;
use firn_model::limit::MAP_DEPTH_MAX;
use firn_model::replicated::{
    Clock, DataType, Delta, EntriesDelta, MapDelta, SetDelta, Votes, Write,
};

use super::changes::payload;
use super::cluster::replica;
use crate::{Applied, ApplyError, Gap, Presence, State};

fn apply(state: &mut State, at: usize, delta: &Delta) -> Applied {
    state.apply(replica(at, 1), 100, delta).unwrap()
}

/// A state after changes of the first replica.
fn after(deltas: &[Delta]) -> State {
    let mut state = State::default();
    for delta in deltas {
        apply(&mut state, 0, delta);
    }
    state
}

fn value(state: &State) -> Option<Delta> {
    state.value(NodeId(1), &BTreeSet::from([NodeId(1)]))
}

fn adding(key: &str, delta: Delta) -> Delta {
    Delta::Map(MapDelta {
        added: vec![(payload(key), delta)],
        ..MapDelta::default()
    })
}

fn updating(key: &str, delta: Delta) -> Delta {
    Delta::Map(MapDelta {
        updated: vec![(payload(key), delta)],
        ..MapDelta::default()
    })
}

fn removing(key: &str) -> Delta {
    Delta::Map(MapDelta {
        removed: vec![payload(key)],
        ..MapDelta::default()
    })
}

fn write(value: &str, clock: Clock) -> Delta {
    Delta::Register(Write {
        value: payload(value),
        clock,
    })
}

fn adding_element(element: &str) -> Delta {
    Delta::Set(SetDelta {
        added: vec![payload(element)],
        ..SetDelta::default()
    })
}

#[test]
fn what_cannot_be_done_is_refused_and_leaves_no_trace() {
    let check = |before: &[Delta], delta: Delta, expected: ApplyError| {
        let state = after(before);
        let mut changed = state.clone();
        let error = changed.apply(replica(0, 1), 100, &delta).unwrap_err();
        assert_eq!((error, changed), (expected, state));
    };
    let (have, got) = (DataType::Counter, DataType::Flag);
    check(
        &[Delta::Counter(0)],
        Delta::Flag(true),
        ApplyError::WrongType { have, got },
    );
    let negative = u64::MAX - 1;
    check(
        &[],
        Delta::GrowCounter(negative),
        ApplyError::NegativeIncrement(negative),
    );
    check(
        &[Delta::Counter(i64::MAX)],
        Delta::Counter(1),
        ApplyError::Overflow(DataType::Counter),
    );
    check(
        &[Delta::Counter(i64::MIN)],
        Delta::Counter(-1),
        ApplyError::Overflow(DataType::Counter),
    );
    let most = Delta::GrowCounter(i64::MAX as u64);
    check(
        &[most.clone(), most, Delta::GrowCounter(1)],
        Delta::GrowCounter(1),
        ApplyError::Overflow(DataType::GrowCounter),
    );
    check(
        &[Delta::Flag(true)],
        Delta::Flag(false),
        ApplyError::FlagOff,
    );
    // The first of two changes in one is undone with the second.
    let flags = adding("a", Delta::Flag(true));
    let Delta::Map(mut both) = adding("b", Delta::Counter(1)) else {
        unreachable!()
    };
    both.added.push((payload("a"), Delta::Flag(false)));
    check(&[flags], Delta::Map(both), ApplyError::FlagOff);
    let nested = |depth| (1..depth).fold(adding("a", Delta::Counter(1)), |map, _| adding("a", map));
    check(&[], nested(MAP_DEPTH_MAX + 1), ApplyError::TooDeep);
    let deep = after(&[nested(MAP_DEPTH_MAX)]);
    assert_eq!(value(&deep), Some(nested(MAP_DEPTH_MAX)));
}

#[test]
fn what_is_gone_takes_no_changes() {
    let mut state = after(&[Delta::Counter(1)]);
    state.close(NodeId(1), replica(0, 2).incarnation);
    let closed = ApplyError::Closed(replica(0, 1));
    let refused = |state: &State| state.clone().apply(replica(0, 1), 0, &Delta::Counter(1));
    assert_eq!(refused(&state), Err(closed));
    let deletion = state.delete();
    assert_eq!(state.delete(), deletion);
    assert_eq!(state.presence(), Presence::Deleted);
    assert_eq!(refused(&state), Err(ApplyError::Deleted));
    let mut other = after(&[Delta::Counter(1)]);
    assert_eq!(other.merge(deletion.clone()), Ok(true));
    assert_eq!(other.merge(deletion), Ok(false));
    assert_eq!(other, state);
    assert_eq!(value(&other), None);
}

#[test]
fn the_first_change_creates_even_if_it_holds_nothing() {
    let check = |delta: Delta| {
        let state = after(std::slice::from_ref(&delta));
        assert_eq!(state.presence(), Presence::Live(delta.data_type()));
        assert_eq!(value(&state), Some(delta));
    };
    assert_eq!(State::default().presence(), Presence::Absent);
    check(Delta::Counter(0));
    check(Delta::GrowCounter(0));
    check(Delta::GrowSet(Vec::new()));
    check(Delta::Set(SetDelta::default()));
    check(Delta::Flag(false));
    check(Delta::Map(MapDelta::default()));
    check(Delta::CounterMap(EntriesDelta::default()));
    check(Delta::RegisterMap(EntriesDelta::default()));
    check(Delta::MultiMap(EntriesDelta::default()));
    check(Delta::Vote(Votes {
        own: false,
        yes: 0,
        members: 1,
    }));
    check(adding("a", Delta::Counter(0)));
    check(adding("a", adding("b", Delta::Set(SetDelta::default()))));
}

/// The stamps follow the clock that the function chose, and no write comes before the first.
#[test]
fn registers_are_stamped_by_their_clock() {
    let check = |writes: &[(&str, Clock)], expected: &str, diverged: bool| {
        let mut state = State::default();
        let mut applied = None;
        for (value, clock) in writes {
            applied = Some(apply(&mut state, 0, &write(value, *clock)));
        }
        assert_eq!(value(&state), Some(write(expected, Clock::Default)));
        assert_eq!(applied.unwrap().diverged, diverged, "{writes:?}");
    };
    use Clock::{Custom, CustomAutoIncrement, Default, Reverse};
    check(&[("a", Custom(-5))], "a", false);
    check(&[("a", Reverse), ("b", Reverse)], "a", true);
    check(&[("a", Reverse), ("b", Default)], "b", false);
    check(&[("a", Default), ("b", Default)], "b", false);
    check(&[("a", Custom(7)), ("b", Custom(6))], "a", true);
    check(&[("a", Custom(7)), ("a", Custom(6))], "a", false);
    check(&[("a", Custom(7)), ("b", Custom(7))], "b", false);
    check(
        &[("a", Custom(7)), ("b", CustomAutoIncrement(3))],
        "b",
        false,
    );
    check(
        &[("a", CustomAutoIncrement(3)), ("b", Custom(3))],
        "b",
        false,
    );
    // The clock stands at 100: what was stamped later is written over nevertheless.
    check(&[("a", Custom(900)), ("b", Default)], "b", false);
    check(
        &[("a", Custom(900)), ("b", Default), ("cc", Custom(901))],
        "cc",
        false,
    );
    check(
        &[("a", Custom(i64::MAX)), ("b", CustomAutoIncrement(0))],
        "b",
        false,
    );
    check(&[("a", Custom(i64::MIN)), ("b", Reverse)], "b", false);
}

/// Between equal stamps the lower node wins, whoever writes later.
#[test]
fn equal_stamps_go_to_the_lower_node() {
    let mut low = after(&[write("low", Clock::Custom(5))]);
    let mut high = State::default();
    let patch = apply(&mut high, 1, &write("high", Clock::Custom(5))).patch;
    low.merge(patch).unwrap();
    high.merge(low.clone()).unwrap();
    assert_eq!(value(&high), Some(write("low", Clock::Default)));
    assert!(apply(&mut high, 1, &write("high", Clock::Custom(5))).diverged);
    assert!(!apply(&mut low, 0, &write("lower", Clock::Custom(5))).diverged);
}

#[test]
fn losing_writes_do_not_pile_up() {
    let mut state = after(&[write("a", Clock::Custom(1_000_000))]);
    for stamp in 0..10_000 {
        apply(&mut state, 0, &write("b", Clock::Custom(9_000 - stamp)));
    }
    assert_eq!(value(&state), Some(write("a", Clock::Default)));
    assert!(state.encode().len() < 100);
}

/// A write that loses is kept: a removal elsewhere that saw the winner alone leaves it.
#[test]
fn a_losing_write_survives_the_removal_of_the_winner() {
    let mut one = after(&[adding("a", write("a", Clock::Custom(9)))]);
    let mut two = one.clone();
    let lost = apply(&mut two, 1, &updating("a", write("b", Clock::Custom(1))));
    assert!(lost.diverged);
    let removal = apply(&mut one, 0, &removing("a")).patch;
    one.merge(lost.patch).unwrap();
    two.merge(removal).unwrap();
    assert_eq!(one.encode(), two.encode());
    assert_eq!(value(&one), Some(adding("a", write("b", Clock::Default))));
}

/// An update that changes nothing is an addition of the key all the same.
#[test]
fn an_update_wins_over_a_removal_that_did_not_see_it() {
    for delta in [Delta::Counter(0), Delta::Set(SetDelta::default())] {
        let mut one = after(&[adding("a", delta.clone())]);
        let mut two = one.clone();
        let removal = apply(&mut one, 0, &removing("a")).patch;
        apply(&mut two, 1, &updating("a", delta.clone()));
        two.merge(removal).unwrap();
        assert_eq!(value(&two), Some(adding("a", delta)));
    }
}

#[test]
fn updates_of_what_is_not_there_are_ignored_and_told() {
    let mut state = after(&[adding("a", Delta::Counter(1))]);
    let before = value(&state);
    let check = |state: &mut State, delta: &Delta, diverged| {
        assert_eq!(apply(state, 0, delta).diverged, diverged, "{delta:?}");
    };
    check(&mut state, &updating("b", Delta::Counter(1)), true);
    check(&mut state, &updating("a", Delta::Flag(true)), true);
    assert_eq!(value(&state), before);
    check(&mut state, &updating("a", Delta::Counter(1)), false);
    check(&mut state, &adding("a", Delta::Counter(1)), false);
    assert_eq!(value(&state), Some(adding("a", Delta::Counter(3))));
    check(&mut state, &adding("a", Delta::Flag(true)), false);
    assert_eq!(value(&state), Some(adding("a", Delta::Flag(true))));
}

/// Removals come first, and one place may be named several times.
#[test]
fn a_change_is_made_in_its_order() {
    let mut state = after(&[adding("a", Delta::Counter(5))]);
    let counter = |by| (payload("a"), Delta::Counter(by));
    let all = Delta::Map(MapDelta {
        cleared: true,
        removed: vec![payload("a")],
        updated: vec![counter(7)],
        added: vec![counter(1), counter(2)],
    });
    assert!(apply(&mut state, 0, &all).diverged);
    assert_eq!(value(&state), Some(adding("a", Delta::Counter(3))));
    let mut state = after(&[adding_element("a"), adding_element("b")]);
    let all = Delta::Set(SetDelta {
        cleared: true,
        removed: vec![payload("cc")],
        added: vec![payload("cc"), payload("cc")],
    });
    apply(&mut state, 0, &all);
    assert_eq!(value(&state), Some(adding_element("cc")));
    let count = |by| (payload("a"), by);
    let all = Delta::CounterMap(EntriesDelta {
        cleared: false,
        removed: vec![payload("a")],
        updated: vec![count(i64::MAX), count(-1)],
    });
    let Some(Delta::CounterMap(entries)) = value(&after(&[all.clone(), all])) else {
        panic!("a counter map")
    };
    assert_eq!(entries.updated, [count(i64::MAX - 1)]);
}

/// Together they lead out of the range, where nobody could have gone alone.
#[test]
fn counters_beyond_their_range_show_its_end_and_come_back() {
    let mut state = after(&[Delta::Counter(i64::MAX)]);
    let mut other = State::default();
    state
        .merge(apply(&mut other, 1, &Delta::Counter(10)).patch)
        .unwrap();
    assert_eq!(value(&state), Some(Delta::Counter(i64::MAX)));
    let more = state.apply(replica(0, 1), 0, &Delta::Counter(1));
    assert_eq!(more, Err(ApplyError::Overflow(DataType::Counter)));
    assert!(apply(&mut state, 0, &Delta::Counter(-9)).diverged);
    assert_eq!(value(&state), Some(Delta::Counter(i64::MAX)));
    assert!(apply(&mut state, 0, &Delta::Counter(-2)).diverged);
    assert!(!apply(&mut state, 0, &Delta::Counter(-2)).diverged);
    assert_eq!(value(&state), Some(Delta::Counter(i64::MAX - 3)));
}

#[test]
fn a_patch_is_refused_where_its_ground_is_missing() {
    let mut one = State::default();
    let patches: Vec<_> = (1..4)
        .map(|by| apply(&mut one, 0, &Delta::Counter(by)).patch)
        .collect();
    let mut other = State::default();
    assert_eq!(other.merge(patches[1].clone()), Err(Gap));
    assert_eq!(other, State::default());
    assert_eq!(other.merge(patches[0].clone()), Ok(true));
    assert_eq!(other.merge(patches[2].clone()), Err(Gap));
    let mut joined = patches[1].clone();
    joined.merge(patches[2].clone());
    assert_eq!(other.merge(joined), Ok(true));
    assert_eq!(other.encode(), one.encode());
    assert_eq!(other.merge(patches[2].clone()), Ok(false));
    // What one replica lacks is no use to another that lacks more.
    apply(&mut one, 0, &Delta::Counter(1));
    let lacking = one.since(other.context()).unwrap();
    assert_eq!(State::default().merge(lacking.clone()), Err(Gap));
    assert_eq!(other.merge(lacking), Ok(true));
    assert_eq!(other.encode(), one.encode());
}

/// The votes of those who are not members do not count, nor does membership of those who never
/// voted bring any.
#[test]
fn votes_are_counted_over_members() {
    let mut state = State::default();
    for (at, own) in [(0, true), (1, true), (2, false)] {
        let votes = Votes {
            own,
            ..Votes::default()
        };
        apply(&mut state, at, &Delta::Vote(votes));
    }
    let check = |me: u64, members: &[u64], own, yes| {
        let members: BTreeSet<NodeId> = members.iter().copied().map(NodeId).collect();
        let votes = Votes {
            own,
            yes,
            members: members.len() as u32,
        };
        assert_eq!(state.value(NodeId(me), &members), Some(Delta::Vote(votes)));
    };
    check(1, &[1, 2, 3], true, 2);
    check(3, &[1, 3, 4], false, 1);
    check(4, &[3, 4], false, 0);
}
