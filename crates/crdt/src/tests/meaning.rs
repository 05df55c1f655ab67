//! What the types mean: a cluster beside a [`model`](super::model).

use std::collections::BTreeSet;

use firn_model::id::NodeId;
use firn_model::replicated::Delta;
use proptest::prelude::*;

use super::cluster::{Cluster, NODES, Step, steps};
use super::model::Model;

/// A cluster beside a model.
struct World {
    cluster: Cluster,
    model: Model,
    /// Which changes each node has seen, and which had been seen by what is stored of it.
    known: Vec<BTreeSet<usize>>,
    saved: Vec<BTreeSet<usize>>,
    /// Which patch each change became.
    patches: Vec<usize>,
}

impl World {
    fn new() -> Self {
        Self {
            cluster: Cluster::new(),
            model: Model::default(),
            known: vec![BTreeSet::new(); NODES],
            saved: vec![BTreeSet::new(); NODES],
            patches: Vec::new(),
        }
    }

    /// Whether a node has seen the past of all that it has seen. The model speaks of such nodes only.
    fn is_settled(&self, at: usize) -> bool {
        let known = &self.known[at];
        known
            .iter()
            .all(|change| self.model.0[*change].past.is_subset(known))
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Apply { at, delta } => {
                if self.is_settled(*at) {
                    self.apply(*at, delta);
                }
            }
            Step::Deliver { patch, to } => self.deliver(&[*patch], *to),
            Step::DeliverTwo { patches, to } => self.deliver(patches, *to),
            Step::Sync { from, to } | Step::Copy { from, to } => {
                self.cluster.step(step);
                self.inform(*from, *to);
            }
            Step::Save { at } => {
                self.cluster.step(step);
                self.saved[*at] = self.known[*at].clone();
            }
            Step::Restart { at } => {
                // What nobody else has seen would be lost; the model remembers everything.
                let other = (at + 1) % NODES;
                self.cluster.sync(*at, other);
                self.inform(*at, other);
                self.cluster.step(step);
                self.known[*at] = self.saved[*at].clone();
            }
        }
    }

    fn apply(&mut self, at: usize, delta: &Delta) {
        let accepted = self.cluster.apply(at, delta);
        let (me, now_ms) = (self.cluster.nodes[at].me, self.cluster.now_ms);
        let change = self.model.change(me, now_ms, &self.known[at], delta);
        assert_eq!(change.is_some(), accepted, "{delta:?}");
        if let Some(change) = change {
            self.known[at].insert(change);
            self.patches.push(self.cluster.patches.len() - 1);
        }
    }

    fn deliver(&mut self, numbers: &[u16], to: usize) {
        if self.patches.is_empty() {
            return;
        }
        let place = |number: &u16| {
            self.patches.len() - 1 - usize::from(*number) % self.patches.len().min(5)
        };
        let changes: Vec<usize> = numbers.iter().map(place).collect();
        let mut patch = crate::Patch::default();
        for change in &changes {
            patch.merge(self.cluster.patches[self.patches[*change]].clone());
        }
        if self.cluster.merge(to, patch) {
            self.known[to].extend(changes);
        }
    }

    fn inform(&mut self, from: usize, to: usize) {
        let known = self.known[from].clone();
        self.known[to].extend(known);
    }

    fn check(&self, at: usize) {
        let (node, members) = (
            &self.cluster.nodes[at],
            (0..NODES as u64).map(|n| NodeId(n + 1)),
        );
        let value = node.state.value(node.me.node, &members.collect());
        assert_eq!(value, self.model.value(&self.known[at], node.me.node));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn values_are_what_the_changes_mean((_, steps) in steps(40)) {
        let mut world = World::new();
        for step in &steps {
            world.step(step);
            let settled = (0..NODES).filter(|at| world.is_settled(*at));
            settled.take(1).for_each(|at| world.check(at));
        }
        (0..NODES).filter(|at| world.is_settled(*at)).for_each(|at| world.check(at));
        world.cluster.sync_all();
        world.known = vec![(0..world.model.0.len()).collect(); NODES];
        (0..NODES).for_each(|at| world.check(at));
    }
}
