//! Some replicas and a network that loses, repeats and reorders.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use firn_model::id::{Incarnation, NodeId, Replica};
use firn_model::replicated::{DataType, Delta};
use proptest::collection::vec;
use proptest::prelude::*;

use super::changes::{changes, types};
use crate::element::Element;
use crate::entry::{Entry, Store};
use crate::{Context, Dot, Gap, Patch, State};

pub(crate) const NODES: usize = 4;

pub(crate) fn replica(node: usize, incarnation: u32) -> Replica {
    Replica {
        node: NodeId(node as u64 + 1),
        incarnation: Incarnation(NonZeroU32::new(incarnation).unwrap()),
    }
}

/// Something that happens.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    /// A function changes its entity.
    Apply { at: usize, delta: Delta },
    /// Some patch arrives somewhere; one that never does is lost.
    Deliver { patch: u16, to: usize },
    /// Two patches arrive as one.
    DeliverTwo { patches: [u16; 2], to: usize },
    /// A replica gets what it lacks of another.
    Sync { from: usize, to: usize },
    /// A replica gets all of another.
    Copy { from: usize, to: usize },
    /// A replica's state is stored.
    Save { at: usize },
    /// A replica comes back from what was stored, in its next incarnation.
    Restart { at: usize },
}

/// A time of little or much exchange, on data of one type or, now and then, of several.
pub(crate) fn steps(length: usize) -> impl Strategy<Value = (DataType, Vec<Step>)> {
    types().prop_flat_map(move |data_type| {
        let node = || 0..NODES;
        let strange = types().prop_flat_map(|other| changes(other, 1));
        let deltas = prop_oneof![20 => changes(data_type, 2), 1 => strange];
        let step = prop_oneof![
            12 => (node(), deltas).prop_map(|(at, delta)| Step::Apply { at, delta }),
            12 => (any::<u16>(), node()).prop_map(|(patch, to)| Step::Deliver { patch, to }),
            2 => (any::<[u16; 2]>(), node())
                .prop_map(|(patches, to)| Step::DeliverTwo { patches, to }),
            4 => (node(), node()).prop_map(|(from, to)| Step::Sync { from, to }),
            1 => (node(), node()).prop_map(|(from, to)| Step::Copy { from, to }),
            2 => node().prop_map(|at| Step::Save { at }),
            1 => node().prop_map(|at| Step::Restart { at }),
        ];
        (Just(data_type), vec(step, 1..length))
    })
}

/// One replica, and what is stored of it.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) me: Replica,
    pub(crate) state: State,
    pub(crate) saved: State,
}

/// All replicas, and all patches that ever were.
#[derive(Debug, Clone)]
pub(crate) struct Cluster {
    pub(crate) nodes: Vec<Node>,
    pub(crate) patches: Vec<Patch>,
    /// The time on the wall, which goes neither straight nor everywhere alike.
    pub(crate) now_ms: i64,
}

impl Cluster {
    pub(crate) fn new() -> Self {
        let node = |at| Node {
            me: replica(at, 1),
            state: State::default(),
            saved: State::default(),
        };
        Self {
            nodes: (0..NODES).map(node).collect(),
            patches: Vec::new(),
            now_ms: 0,
        }
    }

    /// A cluster after these steps.
    pub(crate) fn after(steps: &[Step]) -> Self {
        let mut cluster = Self::new();
        for step in steps {
            cluster.step(step);
        }
        cluster
    }

    pub(crate) fn step(&mut self, step: &Step) {
        match step {
            Step::Apply { at, delta } => drop(self.apply(*at, delta)),
            Step::Deliver { patch, to } => {
                if let Some(place) = self.place(*patch) {
                    let _ = self.merge(*to, self.patches[place].clone());
                }
            }
            Step::DeliverTwo { patches, to } => {
                if let (Some(one), Some(two)) = (self.place(patches[0]), self.place(patches[1])) {
                    let mut both = self.patches[one].clone();
                    both.merge(self.patches[two].clone());
                    self.patches.push(both.clone());
                    let _ = self.merge(*to, both);
                }
            }
            Step::Sync { from, to } => drop(self.sync(*from, *to)),
            Step::Copy { from, to } => {
                assert!(self.merge(*to, self.nodes[*from].state.clone().into()));
            }
            Step::Save { at } => self.nodes[*at].saved = self.nodes[*at].state.clone(),
            Step::Restart { at } => {
                let node = &mut self.nodes[*at];
                node.state = node.saved.clone();
                node.me.incarnation = node.me.incarnation.next().unwrap();
            }
        }
    }

    /// The patch that a random number stands for: recent ones more often.
    pub(crate) fn place(&self, number: u16) -> Option<usize> {
        let recent = self
            .patches
            .len()
            .min(if number.is_multiple_of(4) { 99 } else { 4 });
        (recent > 0).then(|| self.patches.len() - 1 - usize::from(number / 4) % recent)
    }

    /// Makes a change; tells whether it was accepted.
    pub(crate) fn apply(&mut self, at: usize, delta: &Delta) -> bool {
        self.now_ms += [3, -2, 0, 7][self.patches.len() % 4];
        let node = &mut self.nodes[at];
        let before = node.state.clone();
        match node.state.apply(node.me, self.now_ms, delta) {
            Ok(applied) => {
                let minted = applied.patch.context.next(node.me);
                assert_ne!(minted, before.context().next(node.me), "no dot was minted");
                let mut joined = before;
                assert_eq!(joined.merge(applied.patch.clone()), Ok(true));
                assert_eq!(joined, node.state);
                self.patches.push(applied.patch);
                true
            }
            Err(_) => {
                assert_eq!(before, node.state, "a refused change left a trace");
                false
            }
        }
    }

    /// Gives `to` what it lacks of `from`; tells whether that was anything.
    pub(crate) fn sync(&mut self, from: usize, to: usize) -> bool {
        let known = self.nodes[to].state.context();
        let Some(patch) = self.nodes[from].state.since(known) else {
            return false;
        };
        self.patches.push(patch.clone());
        assert!(self.merge(to, patch), "what was lacking does not fit");
        true
    }

    /// Gives everybody everything.
    pub(crate) fn sync_all(&mut self) {
        for at in 0..NODES {
            self.sync(at, 0);
        }
        for at in 0..NODES {
            self.sync(0, at);
        }
        for at in 0..NODES * NODES {
            assert!(
                !self.sync(at / NODES, at % NODES),
                "somebody lacks something"
            );
        }
    }

    /// Joins a patch, and checks the result against the definition of the join.
    pub(crate) fn merge(&mut self, to: usize, patch: Patch) -> bool {
        let patch = Patch::decode(&patch.encode()).unwrap();
        let state = &mut self.nodes[to].state;
        let before = state.0.clone();
        match state.merge(patch.clone()) {
            Ok(changed) => {
                assert_joined(&before, &patch, &state.0);
                assert_eq!(changed, before != state.0);
                true
            }
            Err(Gap) => {
                assert_eq!(before, state.0);
                false
            }
        }
    }
}

/// Everything alive under its dot, with its place and value.
pub(crate) fn flat(entry: &Entry) -> BTreeMap<Dot, String> {
    let mut flat = BTreeMap::new();
    flatten(entry, "", &mut flat);
    flat
}

fn flatten(entry: &Entry, place: &str, flat: &mut BTreeMap<Dot, String>) {
    let mut put = |dot: Dot, what: String| {
        let twice = flat.insert(dot, what);
        assert_eq!(twice, None, "two things under one dot");
    };
    let mut inner: Vec<(String, &Entry)> = Vec::new();
    for slot in &entry.slots {
        let place = format!("{place}/{}", slot.data_type);
        let at = |element: &Element| format!("{place}/{element:?}");
        slot.presence.iter().for_each(|dot| put(dot, place.clone()));
        match &slot.store {
            Store::Counter(shares) => {
                let mut share = |(dot, share): &(_, _)| put(*dot, format!("{place} {share}"));
                shares.iter().for_each(&mut share);
            }
            Store::Set(elements) => {
                for (element, dots) in elements {
                    dots.iter().for_each(|dot| put(dot, at(element)));
                }
            }
            Store::Flag(dots) => dots.iter().for_each(|dot| put(dot, format!("{place} on"))),
            Store::Register(writes) => writes
                .iter()
                .for_each(|(dot, written)| put(*dot, format!("{place} {written:?}"))),
            Store::Vote(votes) => votes
                .iter()
                .for_each(|(dot, vote)| put(*dot, format!("{place} {vote}"))),
            Store::Map(entries) => {
                inner.extend(entries.iter().map(|(key, entry)| (at(key), entry)));
            }
        }
    }
    for (place, entry) in inner {
        flatten(entry, &place, flat);
    }
}

/// Whether a patch says that a dot it does not hold is dead.
fn judged(patch: &Patch, dot: Dot) -> bool {
    patch.context.contains(dot) && !patch.kept.contains(dot)
}

/// Checks a join against its definition, dot by dot.
pub(crate) fn assert_joined(left: &Patch, right: &Patch, joined: &Patch) {
    let (l, r) = (flat(&left.root), flat(&right.root));
    let stays = |own: &BTreeMap<Dot, String>, other: &BTreeMap<Dot, String>, seen: &Patch| {
        let own = own.clone().into_iter();
        let stays = |dot: &Dot| other.contains_key(dot) || !judged(seen, *dot);
        own.filter(|(dot, _)| stays(dot))
            .collect::<BTreeMap<_, _>>()
    };
    let mut expected = stays(&l, &r, right);
    expected.extend(stays(&r, &l, left));
    assert_eq!(flat(&joined.root), expected);
    let contexts = [&left.context, &right.context, &joined.context];
    for dot in contexts.into_iter().flat_map(Context::dots) {
        let seen = judged(left, dot) || judged(right, dot);
        assert_eq!(judged(joined, dot), seen, "{dot:?}");
        let mentioned = left.context.contains(dot) || right.context.contains(dot);
        assert_eq!(joined.context.contains(dot), mentioned, "{dot:?}");
    }
}
