//! Contexts: which changes a replica has seen.
//!
//! # How it works
//! For every node a few runs of numbers for each of its incarnations; without gaps, which is the
//! rule, one run each. An incarnation that is over can be *closed*: every change it will ever have
//! made has been seen, so nothing need be kept of it. A node that left can be closed for ever. What
//! deletes an entity closes everything, so that a deleted entity is a few bytes.
//!
//! # Invariants
//! - A set of dots has one form only: nodes and incarnations ascend, a run is of an incarnation that
//!   is not closed and has dots, and so has a node.

use std::fmt;

use firn_model::id::{Incarnation, NodeId, Replica};

use crate::dot::Dot;
use crate::spans::{self, Span};

/// A set of dots: those that somebody has seen, alive or dead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Context(pub(crate) Extent);

/// What a [`Context`] is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Extent {
    /// Every dot of every node.
    Everything,
    /// By node, ascending.
    Nodes(Vec<NodeSeen>),
}

/// The dots of one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NodeSeen {
    pub(crate) node: NodeId,
    pub(crate) closed: Bound,
    /// By incarnation, ascending, from the first that is not closed.
    pub(crate) runs: Vec<Run>,
}

/// The dots of one incarnation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) incarnation: Incarnation,
    pub(crate) spans: Vec<Span>,
}

/// The incarnation below which all are closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Bound(pub(crate) u64);

impl Bound {
    /// No incarnation is closed.
    pub(crate) const NONE: Self = Self(1);
    /// All are closed: the node has left.
    pub(crate) const FOR_EVER: Self = Self(u32::MAX as u64 + 1);

    pub(crate) fn closes(self, incarnation: Incarnation) -> bool {
        u64::from(incarnation.0.get()) < self.0
    }
}

impl From<Incarnation> for Bound {
    fn from(incarnation: Incarnation) -> Self {
        Self(incarnation.0.get().into())
    }
}

impl Default for Context {
    fn default() -> Self {
        Self::NOTHING
    }
}

impl FromIterator<Dot> for Context {
    fn from_iter<I: IntoIterator<Item = Dot>>(dots: I) -> Self {
        let mut dots: Vec<Dot> = dots.into_iter().collect();
        dots.sort_unstable();
        let mut nodes: Vec<NodeSeen> = Vec::new();
        for of_node in dots.chunk_by(|a, b| a.replica.node == b.replica.node) {
            let mut seen = NodeSeen::unseen(of_node[0].replica.node);
            seen.runs = of_node
                .chunk_by(|a, b| a.replica == b.replica)
                .map(Run::of)
                .collect();
            nodes.push(seen);
        }
        Self(Extent::Nodes(nodes))
    }
}

impl Context {
    pub(crate) const NOTHING: Self = Self(Extent::Nodes(Vec::new()));

    /// The context of a deleted entity, which has seen all that there will ever be.
    pub(crate) const EVERYTHING: Self = Self(Extent::Everything);

    /// Whether it is that of a deleted entity.
    pub fn is_everything(&self) -> bool {
        self.0 == Extent::Everything
    }

    /// Whether nothing was seen.
    pub fn is_empty(&self) -> bool {
        self.nodes().is_some_and(<[_]>::is_empty)
    }

    /// Whether this change was seen.
    pub fn contains(&self, dot: Dot) -> bool {
        match self.nodes() {
            None => true,
            Some(nodes) => find(nodes, dot.replica.node).is_some_and(|seen| seen.contains(dot)),
        }
    }

    /// Whether all that `other` has seen was seen here too.
    ///
    /// Every change of an entity has a dot, removals too, so whoever is covered by a replica's
    /// context has nothing that would be new to it.
    pub fn covers(&self, other: &Self) -> bool {
        match (self.nodes(), other.nodes()) {
            (None, _) => true,
            (_, None) => false,
            (Some(nodes), Some(others)) => others
                .iter()
                .all(|other| find(nodes, other.node).is_some_and(|seen| seen.covers(other))),
        }
    }

    /// Adds what `other` has seen, and tells whether anything of it is new.
    pub fn union(&mut self, other: &Self) -> bool {
        if self.covers(other) {
            return false;
        }
        match (&mut self.0, &other.0) {
            (Extent::Nodes(nodes), Extent::Nodes(others)) => {
                for other in others {
                    node_mut(nodes, other.node).union(other);
                }
            }
            _ => *self = Self::EVERYTHING,
        }
        true
    }

    /// Takes every dot of the node's incarnations below this one as seen; see
    /// [`State::close`](crate::State::close) for when that is right.
    pub fn close(&mut self, node: NodeId, below: Incarnation) -> bool {
        self.close_to(node, below.into())
    }

    /// Takes every dot that the node ever gave or will give as seen; see
    /// [`State::retire`](crate::State::retire) for when that is right.
    pub fn close_for_ever(&mut self, node: NodeId) -> bool {
        self.close_to(node, Bound::FOR_EVER)
    }

    /// Whether every incarnation of the node below this one is closed.
    pub fn is_closed(&self, node: NodeId, below: Incarnation) -> bool {
        below == Incarnation::FIRST || self.bound(node) >= below.into()
    }

    /// Whether the node has left for ever.
    pub fn is_closed_for_ever(&self, node: NodeId) -> bool {
        self.bound(node) == Bound::FOR_EVER
    }

    /// The number of the replica's next change; none if the replica is closed.
    pub(crate) fn next(&self, replica: Replica) -> Option<u64> {
        let Some(seen) = find(self.nodes()?, replica.node) else {
            return Some(1);
        };
        let closed = seen.closed.closes(replica.incarnation);
        let last = seen.at(replica.incarnation).last();
        (!closed).then(|| last.map_or(1, |span| span.last + 1))
    }

    /// What of it is not in `other`, this one having nothing that is closed.
    pub(crate) fn minus(&self, other: &Self) -> Self {
        let (Some(nodes), Some(others)) = (self.nodes(), other.nodes()) else {
            return Self::NOTHING;
        };
        let rest = nodes
            .iter()
            .map(|seen| find(others, seen.node).map_or_else(|| seen.clone(), |o| seen.minus(o)));
        Self(Extent::Nodes(
            rest.filter(|seen| !seen.is_unseen()).collect(),
        ))
    }

    /// What of it is in `other` too, neither having anything that is closed.
    pub(crate) fn common(&self, other: &Self) -> Self {
        self.minus(&self.minus(other))
    }

    /// The dots of incarnations that are not closed.
    #[cfg(test)]
    pub(crate) fn dots(&self) -> impl Iterator<Item = Dot> {
        let nodes = self.nodes().unwrap_or_default();
        nodes.iter().flat_map(NodeSeen::dots)
    }

    /// The nodes' dots; none if everything was seen.
    pub(crate) fn nodes(&self) -> Option<&[NodeSeen]> {
        match &self.0 {
            Extent::Everything => None,
            Extent::Nodes(nodes) => Some(nodes),
        }
    }

    fn bound(&self, node: NodeId) -> Bound {
        match self.nodes() {
            None => Bound::FOR_EVER,
            Some(nodes) => find(nodes, node).map_or(Bound::NONE, |seen| seen.closed),
        }
    }

    fn close_to(&mut self, node: NodeId, closed: Bound) -> bool {
        let seen = NodeSeen {
            closed,
            ..NodeSeen::unseen(node)
        };
        closed > Bound::NONE && self.union(&Self(Extent::Nodes(vec![seen])))
    }
}

impl NodeSeen {
    pub(crate) fn unseen(node: NodeId) -> Self {
        Self {
            node,
            closed: Bound::NONE,
            runs: Vec::new(),
        }
    }

    pub(crate) fn is_unseen(&self) -> bool {
        self.closed == Bound::NONE && self.runs.is_empty()
    }

    fn contains(&self, dot: Dot) -> bool {
        let incarnation = dot.replica.incarnation;
        self.closed.closes(incarnation) || spans::contains(self.at(incarnation), dot.seq)
    }

    /// The dots of one incarnation that is not closed.
    fn at(&self, incarnation: Incarnation) -> &[Span] {
        let place = self
            .runs
            .binary_search_by_key(&incarnation, |run| run.incarnation);
        place.map_or(&[], |place| &self.runs[place].spans)
    }

    /// The runs, each with its replica.
    pub(crate) fn replicas(&self) -> impl Iterator<Item = (Replica, &[Span])> {
        let replica = |run: &Run| Replica {
            node: self.node,
            incarnation: run.incarnation,
        };
        self.runs
            .iter()
            .map(move |run| (replica(run), &run.spans[..]))
    }

    #[cfg(test)]
    fn dots(&self) -> impl Iterator<Item = Dot> {
        self.replicas().flat_map(|(replica, spans)| {
            let seqs = spans.iter().flat_map(|span| span.first..=span.last);
            seqs.map(move |seq| Dot { replica, seq })
        })
    }

    fn minus(&self, other: &Self) -> Self {
        let mut rest = Self::unseen(self.node);
        for run in &self.runs {
            let incarnation = run.incarnation;
            let spans = spans::minus(&run.spans, other.at(incarnation));
            if !other.closed.closes(incarnation) && !spans.is_empty() {
                rest.runs.push(Run { incarnation, spans });
            }
        }
        rest
    }

    fn covers(&self, other: &Self) -> bool {
        let covers = |run: &Run| {
            self.closed.closes(run.incarnation)
                || spans::covers(self.at(run.incarnation), &run.spans)
        };
        self.closed >= other.closed && other.runs.iter().all(covers)
    }

    fn union(&mut self, other: &Self) {
        self.closed = self.closed.max(other.closed);
        for run in &other.runs {
            let place = self
                .runs
                .binary_search_by_key(&run.incarnation, |run| run.incarnation);
            match place {
                Ok(place) => {
                    let spans = &mut self.runs[place].spans;
                    *spans = spans::union(spans, &run.spans);
                }
                Err(place) => self.runs.insert(place, run.clone()),
            }
        }
        self.runs.retain(|run| !self.closed.closes(run.incarnation));
    }
}

impl Run {
    /// The dots of one incarnation, ascending.
    fn of(dots: &[Dot]) -> Self {
        let mut spans = Vec::new();
        for dot in dots {
            let (first, last) = (dot.seq, dot.seq);
            spans::push(&mut spans, Span { first, last });
        }
        Self {
            incarnation: dots[0].replica.incarnation,
            spans,
        }
    }
}

fn find(nodes: &[NodeSeen], node: NodeId) -> Option<&NodeSeen> {
    let place = nodes.binary_search_by_key(&node, |seen| seen.node).ok()?;
    Some(&nodes[place])
}

fn node_mut(nodes: &mut Vec<NodeSeen>, node: NodeId) -> &mut NodeSeen {
    let place = nodes.binary_search_by_key(&node, |seen| seen.node);
    let place = place.unwrap_or_else(|place| {
        nodes.insert(place, NodeSeen::unseen(node));
        place
    });
    &mut nodes[place]
}

impl fmt::Display for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(nodes) = self.nodes() else {
            return f.write_str("everything");
        };
        for (place, seen) in nodes.iter().enumerate() {
            let comma = if place == 0 { "" } else { ", " };
            write!(f, "{comma}{}", seen.node)?;
            match seen.closed {
                Bound::NONE => {}
                Bound::FOR_EVER => f.write_str(" all")?,
                Bound(below) => write!(f, " <{below}")?,
            }
            for run in &seen.runs {
                write!(f, " {}:", run.incarnation.0)?;
                for span in &run.spans {
                    write!(f, "[{}-{}]", span.first, span.last)?;
                }
            }
        }
        Ok(())
    }
}
