//! Contexts: which changes a replica has seen.
//!
//! # How it works
//! For every node a few runs of numbers for each of its incarnations; without gaps, which is the
//! rule, one run each. An incarnation that is over can be *closed*: every change it will ever have
//! made has been seen, so nothing need be kept of it. A node that left can be closed for ever. What
//! deletes an entity closes everything, so that a deleted entity is a few bytes.
//!
//! A set of dots has one form only: of an incarnation below the bound everything is held but for
//! what a run (which then goes on for ever) leaves out; of one from the bound on nothing is held but
//! for what a run (which then ends) names.
//!
//! # Invariants
//! - Nodes and incarnations ascend; runs are spans in the sense of `spans`.

use std::collections::BTreeSet;
use std::fmt;

use firn_model::id::{Incarnation, NodeId, Replica};

use crate::dot::Dot;
use crate::spans::{self, LAST, Span};

/// A set of dots: those that somebody has seen, alive or dead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Context(pub(crate) Seen);

/// What a [`Context`] is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Seen {
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
    /// By incarnation, ascending.
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

    fn closes(self, incarnation: Incarnation) -> bool {
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
        Self(Seen::Nodes(Vec::new()))
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
        Self(Seen::Nodes(nodes))
    }
}

impl Context {
    /// The context of a deleted entity, which has seen all that there will ever be.
    pub(crate) const EVERYTHING: Self = Self(Seen::Everything);

    /// Whether it is that of a deleted entity.
    pub fn is_everything(&self) -> bool {
        self.0 == Seen::Everything
    }

    /// Whether nothing was seen.
    pub fn is_empty(&self) -> bool {
        self.nodes().is_some_and(<[_]>::is_empty)
    }

    /// Whether this change was seen.
    pub fn contains(&self, dot: Dot) -> bool {
        match self.nodes() {
            None => true,
            Some(nodes) => find(nodes, dot.replica.node)
                .is_some_and(|seen| spans::contains(seen.at(dot.replica.incarnation), dot.seq)),
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
            (Some(nodes), Some(others)) => others.iter().all(|other| {
                find(nodes, other.node).map_or_else(
                    || NodeSeen::unseen(other.node).covers(other),
                    |seen| seen.covers(other),
                )
            }),
        }
    }

    /// Adds what `other` has seen, and tells whether anything of it is new.
    pub fn union(&mut self, other: &Self) -> bool {
        if self.covers(other) {
            return false;
        }
        match (&mut self.0, &other.0) {
            (Seen::Nodes(nodes), Seen::Nodes(others)) => {
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
        let seen = find(self.nodes()?, replica.node);
        let spans = seen.map_or(&[][..], |seen| seen.at(replica.incarnation));
        let last = spans.last().map_or(0, |span| span.last);
        (last < LAST - 1).then(|| last + 1)
    }

    /// The dots seen, but for `holes`.
    pub(crate) fn without(&self, mut holes: Vec<Dot>) -> Self {
        holes.sort_unstable();
        let mut rest = self.clone();
        if let Seen::Nodes(nodes) = &mut rest.0 {
            for holes in holes.chunk_by(|a, b| a.replica == b.replica) {
                node_mut(nodes, holes[0].replica.node).open(holes);
            }
            nodes.retain(|seen| !seen.is_unseen());
        }
        rest
    }

    /// The nodes' dots; none if everything was seen.
    pub(crate) fn nodes(&self) -> Option<&[NodeSeen]> {
        match &self.0 {
            Seen::Everything => None,
            Seen::Nodes(nodes) => Some(nodes),
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
        closed > Bound::NONE && self.union(&Self(Seen::Nodes(vec![seen])))
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

    /// The dots of one incarnation.
    fn at(&self, incarnation: Incarnation) -> &[Span] {
        match self.place(incarnation) {
            Ok(place) => &self.runs[place].spans,
            Err(_) => self.unlisted(incarnation),
        }
    }

    /// The dots of an incarnation that has no run.
    pub(crate) fn unlisted(&self, incarnation: Incarnation) -> &'static [Span] {
        if self.closed.closes(incarnation) {
            spans::ALL
        } else {
            &[]
        }
    }

    fn place(&self, incarnation: Incarnation) -> Result<usize, usize> {
        self.runs
            .binary_search_by_key(&incarnation, |run| run.incarnation)
    }

    fn covers(&self, other: &Self) -> bool {
        let covers = |run: &Run| {
            let incarnation = run.incarnation;
            spans::covers(self.at(incarnation), other.at(incarnation))
        };
        self.closed >= other.closed && other.runs.iter().all(covers) && self.runs.iter().all(covers)
    }

    fn union(&mut self, other: &Self) {
        let listed = self.runs.iter().chain(&other.runs);
        let listed: BTreeSet<Incarnation> = listed.map(|run| run.incarnation).collect();
        let union = |incarnation| Run {
            incarnation,
            spans: spans::union(self.at(incarnation), other.at(incarnation)),
        };
        self.runs = listed.into_iter().map(union).collect();
        self.closed = self.closed.max(other.closed);
        self.tidy();
    }

    /// Takes out dots of one replica.
    fn open(&mut self, holes: &[Dot]) {
        let incarnation = holes[0].replica.incarnation;
        let seqs: Vec<u64> = holes.iter().map(|dot| dot.seq).collect();
        let spans = spans::without(self.at(incarnation), &seqs);
        let run = Run { incarnation, spans };
        match self.place(incarnation) {
            Ok(place) => self.runs[place] = run,
            Err(place) => self.runs.insert(place, run),
        }
        self.tidy();
    }

    /// Drops the runs that say nothing.
    fn tidy(&mut self) {
        let mut runs = std::mem::take(&mut self.runs);
        runs.retain(|run| run.spans != self.unlisted(run.incarnation));
        self.runs = runs;
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
                run.spans.iter().try_for_each(|span| match span.last {
                    LAST => write!(f, "[{}-]", span.first),
                    last => write!(f, "[{}-{last}]", span.first),
                })?;
            }
        }
        Ok(())
    }
}
