//! What functions are told.

use std::collections::BTreeSet;

use firn_model::id::NodeId;
use firn_model::replicated::{Delta, EntriesDelta, MapDelta, SetDelta, Votes};
use proptest::prelude::*;

use super::changes::payload;
use super::cluster::{Cluster, NODES, replica, steps};
use super::plain::Plain;
use crate::{Difference, Presence, State, View, difference};

fn members(nodes: u64) -> BTreeSet<NodeId> {
    (1..=nodes).map(NodeId).collect()
}

/// The difference as the first node's function is told it, all nodes being members.
fn between(old: &State, new: &State) -> Difference {
    let members = members(NODES as u64);
    let view = |state| View {
        state,
        me: NodeId(1),
        members: &members,
    };
    difference(view(old), view(new))
}

fn plain(state: &State) -> Option<Plain> {
    let value = state.value(NodeId(1), &members(NODES as u64));
    value.as_ref().map(Plain::of)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn a_difference_leads_from_the_old_value_to_the_new((_, steps) in steps(60)) {
        let mut cluster = Cluster::new();
        let mut olds = vec![State::default()];
        for some in steps.chunks(9) {
            some.iter().for_each(|step| cluster.step(step));
            olds.push(cluster.nodes[0].state.clone());
        }
        for old in olds {
            for new in cluster.nodes.iter().map(|node| &node.state) {
                match between(&old, new) {
                    Difference::Same => {
                        prop_assert_eq!(old.presence(), new.presence());
                        prop_assert_eq!(plain(&old), plain(new));
                    }
                    Difference::Deleted => prop_assert!(false, "nobody deleted it"),
                    Difference::Incompatible => {
                        let other_type = old.presence() != new.presence();
                        prop_assert!(other_type || plain(&old) != plain(new));
                        prop_assert_ne!(old.presence(), Presence::Absent);
                    }
                    Difference::Changed(delta) => {
                        let value = plain(&old).map(|mut value| {
                            value.apply(&delta);
                            value
                        });
                        prop_assert_ne!(plain(&old), plain(new));
                        prop_assert_eq!(value.or_else(|| Some(Plain::of(&delta))), plain(new));
                    }
                }
            }
        }
    }
}

/// A state after changes of the first replica, one list for each time at which it is looked at.
fn at_two_times(before: &[Delta], after: &[Delta]) -> (State, State) {
    let mut old = State::default();
    let apply = |state: &mut State, delta| drop(state.apply(replica(0, 1), 5, delta).unwrap());
    before.iter().for_each(|delta| apply(&mut old, delta));
    let mut new = old.clone();
    after.iter().for_each(|delta| apply(&mut new, delta));
    (old, new)
}

fn set(cleared: bool, removed: &[&str], added: &[&str]) -> SetDelta {
    let payloads = |names: &[&str]| names.iter().map(|name| payload(name)).collect();
    SetDelta {
        cleared,
        removed: payloads(removed),
        added: payloads(added),
    }
}

#[test]
fn sets_are_told_in_the_shorter_way() {
    let check = |before: &[&str], change: SetDelta, expected: SetDelta| {
        let (old, new) = at_two_times(
            &[Delta::Set(set(false, &[], before))],
            &[Delta::Set(change)],
        );
        let expected = Difference::Changed(Delta::Set(expected));
        assert_eq!(between(&old, &new), expected);
    };
    let four = &["a", "b", "c", "d"];
    check(four, set(false, &["a"], &["e"]), set(false, &["a"], &["e"]));
    check(four, set(true, &[], &[]), set(true, &[], &[]));
    check(four, set(false, four, &[]), set(true, &[], &[]));
    check(
        four,
        set(false, &["a", "b", "c"], &[]),
        set(true, &[], &["d"]),
    );
    check(
        four,
        set(false, &["a", "b"], &[]),
        set(false, &["a", "b"], &[]),
    );
    check(&[], set(false, &[], &["a"]), set(false, &[], &["a"]));
    check(
        &["a"],
        set(false, &[], &["b", "c"]),
        set(false, &[], &["b", "c"]),
    );
}

#[test]
fn maps_are_told_by_what_became_of_their_keys() {
    let map = |cleared, removed: &[&str], updated: &[(&str, Delta)], added: &[(&str, Delta)]| {
        let entry = |(key, delta): &(&str, Delta)| (payload(key), delta.clone());
        Delta::Map(MapDelta {
            cleared,
            removed: removed.iter().map(|key| payload(key)).collect(),
            updated: updated.iter().map(entry).collect(),
            added: added.iter().map(entry).collect(),
        })
    };
    let check = |change: Delta, expected: Delta| {
        let before = [("a", Delta::Counter(1)), ("b", Delta::Flag(true))];
        let (old, new) = at_two_times(&[map(false, &[], &[], &before)], &[change]);
        assert_eq!(between(&old, &new), Difference::Changed(expected));
    };
    let (count, on) = (|by| Delta::Counter(by), Delta::Flag(true));
    check(
        map(false, &["b"], &[("a", count(2))], &[("c", count(3))]),
        map(false, &["b"], &[("a", count(2))], &[("c", count(3))]),
    );
    check(map(false, &["a", "b"], &[], &[]), map(true, &[], &[], &[]));
    // Another type, and a flag that is off again.
    check(
        map(
            false,
            &["b"],
            &[],
            &[("a", on.clone()), ("b", Delta::Flag(false))],
        ),
        map(
            false,
            &["a", "b"],
            &[],
            &[("a", on), ("b", Delta::Flag(false))],
        ),
    );
    // Removed and made anew with less: a change like any other.
    check(
        map(false, &["a"], &[], &[("a", count(-1))]),
        map(false, &[], &[("a", count(-2))], &[]),
    );
    let counts = |cleared, removed: &[&str], updated: &[(&str, i64)]| {
        Delta::CounterMap(EntriesDelta {
            cleared,
            removed: removed.iter().map(|key| payload(key)).collect(),
            updated: updated
                .iter()
                .map(|(key, by)| (payload(key), *by))
                .collect(),
        })
    };
    let check = |change: Delta, expected: Delta| {
        let before = counts(false, &[], &[("a", i64::MAX), ("b", 2)]);
        let (old, new) = at_two_times(&[before], &[change]);
        assert_eq!(between(&old, &new), Difference::Changed(expected));
    };
    let change = counts(false, &["b"], &[("a", -1), ("c", 0)]);
    check(change.clone(), change);
    check(counts(true, &[], &[]), counts(true, &[], &[]));
    // Further than a change can say.
    check(
        counts(false, &["a"], &[("a", -9)]),
        counts(false, &["a"], &[("a", -9)]),
    );
}

#[test]
fn what_no_change_can_say_is_incompatible() {
    let node = |at, delta| {
        let mut state = State::default();
        state.apply(replica(at, 1), 5, &delta).unwrap();
        state
    };
    let check = |old: &State, new: &State, expected| assert_eq!(between(old, new), expected);
    let (nothing, mut deleted) = (State::default(), State::default());
    deleted.delete();
    let some = |delta| node(0, delta);
    let two = [payload("a"), payload("b")];
    let shrinks = [
        (Delta::GrowCounter(5), Delta::GrowCounter(4)),
        (
            Delta::GrowSet(two.to_vec()),
            Delta::GrowSet(two[..1].to_vec()),
        ),
        (Delta::Flag(true), Delta::Flag(false)),
        (Delta::Counter(1), Delta::Flag(true)),
        (Delta::Counter(i64::MIN), Delta::Counter(1)),
    ];
    for (old, new) in shrinks {
        check(&some(old), &node(1, new), Difference::Incompatible);
    }
    let counter = some(Delta::Counter(3));
    check(&nothing, &nothing, Difference::Same);
    check(&nothing, &counter, Difference::Changed(Delta::Counter(3)));
    check(&counter, &nothing, Difference::Incompatible);
    check(&counter, &deleted, Difference::Deleted);
    check(&nothing, &deleted, Difference::Deleted);
    check(&deleted, &deleted, Difference::Same);
    check(&deleted, &counter, Difference::Incompatible);
    check(&deleted, &nothing, Difference::Incompatible);
}

/// Two replicas create an entity with different types: the smaller type is shown to both.
#[test]
fn of_two_types_the_first_is_shown() {
    let mut one = State::default();
    let mut two = State::default();
    let flag = one
        .apply(replica(0, 1), 0, &Delta::Flag(true))
        .unwrap()
        .patch;
    let count = two
        .apply(replica(1, 1), 0, &Delta::Counter(2))
        .unwrap()
        .patch;
    let (before, mut after) = (one.clone(), one.clone());
    after.merge(count).unwrap();
    two.merge(flag).unwrap();
    assert_eq!(after.encode(), two.encode());
    assert_eq!(between(&before, &after), Difference::Incompatible);
    assert_eq!(plain(&two), Some(Plain::Counter(2)));
}

#[test]
fn votes_change_with_the_members() {
    let mut state = State::default();
    let vote = Delta::Vote(Votes {
        own: true,
        ..Votes::default()
    });
    state.apply(replica(0, 1), 0, &vote).unwrap();
    let view = |members| View {
        state: &state,
        me: NodeId(1),
        members,
    };
    let told = |yes, members| {
        Difference::Changed(Delta::Vote(Votes {
            own: true,
            yes,
            members,
        }))
    };
    let (one, three) = (members(1), members(3));
    assert_eq!(difference(view(&one), view(&three)), told(1, 3));
    assert_eq!(difference(view(&three), view(&three)), Difference::Same);
}
