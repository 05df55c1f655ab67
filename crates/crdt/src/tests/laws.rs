//! The laws of the join, and what `since` promises.

use proptest::prelude::*;

use super::cluster::{Cluster, NODES, assert_joined, steps};
use crate::{Patch, State};

/// A join of patches that leaves them as they are.
fn joined(left: &Patch, right: &Patch) -> Patch {
    let mut joined = left.clone();
    joined.merge(right.clone());
    joined
}

/// Some states and patches that a cluster came to.
fn known(cluster: &Cluster, places: &[u16]) -> Vec<Patch> {
    let pick = |place: &u16| match usize::from(*place) % (NODES * 3) {
        at @ 0..NODES => cluster.nodes[at].state.clone().into(),
        at if at < NODES + 2 => cluster.nodes[at % NODES].saved.clone().into(),
        _ => match cluster.place(*place) {
            Some(patch) => cluster.patches[patch].clone(),
            None => Patch::default(),
        },
    };
    places.iter().map(pick).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn the_join_is_a_join((_, steps) in steps(40), places in any::<[u16; 3]>()) {
        let cluster = Cluster::after(&steps);
        let [a, b, c] = &known(&cluster, &places)[..] else { unreachable!() };
        let ab = joined(a, b);
        assert_joined(a, b, &ab);
        prop_assert_eq!(ab.encode(), joined(b, a).encode());
        prop_assert_eq!(joined(&ab, c).encode(), joined(a, &joined(b, c)).encode());
        prop_assert_eq!(joined(a, a).encode(), a.encode());
        prop_assert_eq!(joined(&ab, b).encode(), ab.encode());
        for patch in [&ab, a] {
            prop_assert_eq!(&Patch::decode(&patch.encode()).unwrap(), patch);
        }
    }

    /// Taking in two patches is taking in what they join to.
    #[test]
    fn a_state_joins_patches_as_they_join((_, steps) in steps(40), places in any::<[u16; 2]>()) {
        let cluster = Cluster::after(&steps);
        let [a, b] = &known(&cluster, &places)[..] else { unreachable!() };
        let mut one = cluster.nodes[0].state.clone();
        let mut other = one.clone();
        if one.merge(a.clone()).is_ok() && one.merge(b.clone()).is_ok() {
            prop_assert!(other.merge(joined(a, b)).is_ok());
            prop_assert_eq!(one.encode(), other.encode());
        }
    }

    /// Whoever is given what it lacks knows as much as if it had been given all.
    #[test]
    fn what_is_lacking_is_enough((_, steps) in steps(50)) {
        let cluster = Cluster::after(&steps);
        for at in 0..NODES * NODES {
            let (from, to) = (&cluster.nodes[at / NODES].state, &cluster.nodes[at % NODES].state);
            let mut whole = to.clone();
            let news = whole.merge(from.clone()).unwrap();
            let mut lacking = to.clone();
            match from.since(to.context()) {
                Some(patch) => {
                    let patch = Patch::decode(&patch.encode()).unwrap();
                    prop_assert_eq!(lacking.merge(patch), Ok(true));
                }
                None => prop_assert!(!news),
            }
            prop_assert_eq!(lacking.encode(), whole.encode());
        }
        for node in &cluster.nodes {
            let all = node.state.since(State::default().context());
            let all = all.map(|patch| patch.encode());
            let state = (!node.state.context().is_empty()).then(|| node.state.encode());
            prop_assert_eq!(all, state);
        }
    }

    /// A state is what the changes that it has seen add up to.
    #[test]
    fn equal_contexts_are_equal_states((_, steps) in steps(60)) {
        let cluster = Cluster::after(&steps);
        for one in &cluster.nodes {
            for other in &cluster.nodes {
                if one.state.context() == other.state.context() {
                    prop_assert_eq!(one.state.encode(), other.state.encode());
                }
            }
        }
    }

    #[test]
    fn whoever_meets_agrees((_, steps) in steps(80)) {
        let mut cluster = Cluster::after(&steps);
        cluster.sync_all();
        let first = cluster.nodes[0].state.encode();
        for node in &cluster.nodes {
            prop_assert_eq!(&node.state.encode(), &first);
            prop_assert_eq!(&State::decode(&first).unwrap(), &node.state);
        }
        // Nothing that is still on its way is new to anybody.
        for patch in cluster.patches.clone() {
            let known = cluster.nodes[0].state.context().covers(patch.context());
            if known {
                prop_assert!(cluster.merge(0, patch));
                prop_assert_eq!(&cluster.nodes[0].state.encode(), &first);
            }
        }
    }

    #[test]
    fn deleted_is_for_ever((_, steps) in steps(30), at in 0..NODES) {
        let mut cluster = Cluster::after(&steps);
        let deletion = cluster.nodes[at].state.delete();
        prop_assert!(cluster.nodes[at].state.encode().len() <= 8);
        for patch in known(&cluster, &[0, 1, 2, 3, 4, 5, 9, 10]) {
            prop_assert_eq!(joined(&patch, &deletion).encode(), deletion.encode());
            prop_assert_eq!(joined(&deletion, &patch).encode(), deletion.encode());
        }
        cluster.sync_all();
        for node in &cluster.nodes {
            prop_assert!(node.state.is_deleted());
        }
    }
}
