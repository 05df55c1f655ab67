//! Incarnations that are over, and nodes that left.

use std::collections::BTreeSet;

use firn_model::id::NodeId;
use firn_model::replicated::{Delta, SetDelta, Votes};
use proptest::collection::vec;
use proptest::prelude::*;

use super::changes::payload;
use super::cluster::{Cluster, NODES, replica};
use crate::entry::Store;
use crate::{RetireError, State};

fn members() -> BTreeSet<NodeId> {
    (1..=NODES as u64).map(NodeId).collect()
}

fn shares(state: &State) -> usize {
    match &state.0.root.slots[0].store {
        Store::Counter(shares) => shares.len(),
        _ => panic!("a counter"),
    }
}

/// Something that happens to a counter, all states being stored at once.
#[derive(Debug, Clone)]
enum Step {
    Add {
        at: usize,
        by: i64,
    },
    Sync {
        from: usize,
        to: usize,
    },
    Restart {
        at: usize,
    },
    /// All meet, and everybody notes which incarnations are over.
    Close,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let node = || 0..NODES;
    let step = prop_oneof![
        6 => (node(), -9..10_i64).prop_map(|(at, by)| Step::Add { at, by }),
        4 => (node(), node()).prop_map(|(from, to)| Step::Sync { from, to }),
        2 => node().prop_map(|at| Step::Restart { at }),
        1 => Just(Step::Close),
    ];
    vec(step, 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// What a node added is not lost and not counted twice when its incarnations are forgotten, and
    /// when the node itself is.
    #[test]
    fn pruning_changes_no_sum(steps in steps(), gone in 1..NODES) {
        let mut cluster = Cluster::new();
        let mut sum = None;
        for step in steps {
            match step {
                Step::Add { at, by } => {
                    prop_assert!(cluster.apply(at, &Delta::Counter(by)));
                    sum = Some(sum.unwrap_or(0) + by);
                }
                Step::Sync { from, to } => drop(cluster.sync(from, to)),
                Step::Restart { at } => {
                    let node = &mut cluster.nodes[at];
                    node.me.incarnation = node.me.incarnation.next().unwrap();
                }
                Step::Close => close(&mut cluster),
            }
        }
        let counted = sum.map(Delta::Counter);
        close(&mut cluster);
        for node in &cluster.nodes {
            prop_assert_eq!(node.state.value(node.me.node, &members()), counted.clone());
        }
        let left = NodeId(gone as u64 + 1);
        let me = cluster.nodes[0].me;
        let patch = cluster.nodes[0].state.retire(left, me).unwrap();
        for at in 1..NODES {
            cluster.nodes[at].state.close_for_ever(left);
            if let Some(patch) = &patch {
                prop_assert!(cluster.nodes[at].state.merge(patch.clone()).is_ok());
            }
            prop_assert!(cluster.nodes[at].state.context().is_closed_for_ever(left));
            prop_assert_eq!(cluster.nodes[at].state.encode(), cluster.nodes[0].state.encode());
        }
        let state = &cluster.nodes[0].state;
        prop_assert_eq!(&State::decode(&state.encode()).unwrap(), state);
        prop_assert_eq!(state.value(me.node, &members()), counted);
        for slot in &state.0.root.slots {
            let mut shares = true;
            if let Store::Counter(all) = &slot.store {
                shares = all.dots().all(|dot| dot.replica.node != left);
            }
            prop_assert!(shares, "a share of the node that left");
        }
    }
}

fn close(cluster: &mut Cluster) {
    cluster.sync_all();
    let all: Vec<_> = cluster.nodes.iter().map(|node| node.me).collect();
    for node in &mut cluster.nodes {
        for replica in &all {
            node.state.close(replica.node, replica.incarnation);
        }
    }
}

#[test]
fn a_node_that_restarts_often_stays_small() {
    let mut state = State::default();
    for run in 1..200 {
        let me = replica(0, run);
        state.close(me.node, me.incarnation);
        state.apply(me, 0, &Delta::Counter(1)).unwrap();
    }
    assert_eq!(shares(&state), 1);
    assert!(state.encode().len() < 60);
    assert_eq!(
        state.value(NodeId(1), &members()),
        Some(Delta::Counter(199))
    );
}

/// An incarnation that is not closed may have taken in what came before it, unseen: its shares and
/// the older ones are left alone.
#[test]
fn shares_of_incarnations_that_are_not_closed_are_left_alone() {
    let mut state = State::default();
    state.apply(replica(0, 1), 0, &Delta::Counter(1)).unwrap();
    let saved = state.clone();
    state.close(NodeId(1), replica(0, 2).incarnation);
    let taken = state.apply(replica(0, 2), 0, &Delta::Counter(1)).unwrap();
    // It comes back without that.
    let mut again = saved;
    again.close(NodeId(1), replica(0, 2).incarnation);
    again.apply(replica(0, 3), 0, &Delta::Counter(1)).unwrap();
    assert_eq!(shares(&again), 2);
    again.merge(taken.patch).unwrap();
    assert_eq!(again.value(NodeId(1), &members()), Some(Delta::Counter(3)));
    let former = again.clone().retire(NodeId(2), replica(0, 3));
    assert_eq!(former, Ok(None), "there is nothing to take over");
    let mut other = State::default();
    let patch = other
        .apply(replica(1, 1), 0, &Delta::Counter(5))
        .unwrap()
        .patch;
    again.merge(patch).unwrap();
    let me = replica(0, 3);
    let before = again.clone();
    assert_eq!(again.retire(NodeId(2), me), Err(RetireError::Former(me)));
    assert_eq!(again, before);
    again.close(me.node, me.incarnation);
    assert!(again.retire(NodeId(2), me).unwrap().is_some());
    assert_eq!(
        (shares(&again), again.value(me.node, &members())),
        (1, Some(Delta::Counter(8)))
    );
}

#[test]
fn retiring_takes_the_vote_and_leaves_the_rest() {
    let mut state = State::default();
    let yes = Delta::Vote(Votes {
        own: true,
        ..Votes::default()
    });
    state.apply(replica(0, 1), 0, &yes).unwrap();
    state.apply(replica(1, 1), 0, &yes).unwrap();
    let mut other = state.clone();
    let me = replica(0, 1);
    let patch = state.retire(NodeId(2), me).unwrap().unwrap();
    other.merge(patch).unwrap();
    for state in [&state, &other] {
        let votes = Votes {
            own: true,
            yes: 1,
            members: 4,
        };
        assert_eq!(state.value(me.node, &members()), Some(Delta::Vote(votes)));
    }
    let mut set = State::default();
    let added = Delta::Set(SetDelta {
        added: vec![payload("a")],
        ..SetDelta::default()
    });
    set.apply(replica(1, 1), 0, &added).unwrap();
    assert_eq!(set.retire(NodeId(2), me), Ok(None));
    assert_eq!(set.value(me.node, &members()), Some(added));
    assert_eq!(set.retire(me.node, me), Err(RetireError::Own(me.node)));
    set.close(me.node, replica(0, 2).incarnation);
    assert_eq!(set.retire(NodeId(3), me), Err(RetireError::Closed(me)));
    set.delete();
    assert_eq!(set.retire(NodeId(3), me), Ok(None));
}

/// What is closed here is closed there after a comparison, and elements of the closed stay.
#[test]
fn closing_travels_with_what_is_lacking() {
    let mut one = State::default();
    let added = |name| {
        Delta::Set(SetDelta {
            added: vec![payload(name)],
            ..SetDelta::default()
        })
    };
    let patch = one.apply(replica(1, 1), 0, &added("a")).unwrap().patch;
    let mut two = State::default();
    two.merge(patch).unwrap();
    one.close_for_ever(NodeId(2));
    one.close(NodeId(1), replica(0, 9).incarnation);
    two.apply(replica(2, 1), 0, &added("b")).unwrap();
    assert!(two.since(one.context()).is_some());
    let lacking = one.since(two.context()).unwrap();
    assert_eq!(two.merge(lacking), Ok(true));
    assert!(two.context().is_closed_for_ever(NodeId(2)));
    assert!(
        two.context()
            .is_closed(NodeId(1), replica(0, 9).incarnation)
    );
    assert!(
        !two.context()
            .is_closed(NodeId(1), replica(0, 10).incarnation)
    );
    one.merge(two.since(one.context()).unwrap()).unwrap();
    assert_eq!(one.encode(), two.encode());
    assert_eq!(State::decode(&one.encode()).unwrap(), one);
}
