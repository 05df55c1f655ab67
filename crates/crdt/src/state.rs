//! States and patches: a replicated entity as one replica holds it, and what it tells the others.

use std::mem;

use firn_model::id::{Incarnation, NodeId};
use firn_model::replicated::DataType;

use crate::context::Context;
use crate::dot::Dot;
use crate::entry::Entry;
use crate::join::Join;

/// Part of what a replica knows of an entity, for other replicas: one change, several joined, or all
/// that a certain replica lacked.
///
/// Patches may be lost, repeated and delivered in any order. What a lost one held is found by
/// comparing contexts, and comes with [`State::since`].
///
/// # What it builds on
/// A change kills dots, and a patch of one says so. Whoever takes that in counts them as seen, and
/// would then not be found to lack the changes that minted them, with what *those* killed. So a patch
/// names the dots that it mentions without carrying their changes, and only a state that has seen
/// them can take it in. All states are then what some set of changes adds up to, and two that have
/// seen the same are the same.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Patch {
    pub(crate) root: Entry,
    /// All dots that are mentioned.
    pub(crate) context: Context,
    /// Those that are known to be dead, but whose changes are not carried.
    pub(crate) killed: Context,
    /// Those that live where the patch was made, and are neither carried nor judged.
    pub(crate) kept: Context,
}

/// Which dots a patch judges: those that it mentions, but for those that were kept.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seen<'a> {
    context: &'a Context,
    kept: &'a Context,
}

/// A patch was not taken in, because it builds on changes that are not known here. The state is as
/// it was; whoever made the patch can tell what is missing: [`State::since`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the patch builds on changes that are not known here")]
pub struct Gap;

/// A replicated entity as one replica holds it.
///
/// The default is an entity that does not exist, of which nothing was ever seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State(pub(crate) Patch);

/// What an entity is at present.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// It does not exist yet.
    Absent,
    /// It holds data of this type.
    Live(DataType),
    /// It was deleted, for ever.
    Deleted,
}

impl Default for State {
    fn default() -> Self {
        Self(Patch {
            root: Entry {
                whole: true,
                slots: Vec::new(),
            },
            ..Patch::default()
        })
    }
}

impl Seen<'_> {
    pub(crate) const NOTHING: Self = Seen {
        context: &Context::NOTHING,
        kept: &Context::NOTHING,
    };

    pub(crate) fn contains(self, dot: Dot) -> bool {
        self.context.contains(dot) && !self.kept.contains(dot)
    }
}

impl From<State> for Patch {
    fn from(state: State) -> Self {
        state.0
    }
}

impl Patch {
    /// Joins what another patch says, so that both can be sent as one.
    pub fn merge(&mut self, other: impl Into<Self>) {
        let mut other = other.into();
        let mut killed = other.not_carried(&self.killed);
        killed.union(&self.not_carried(&other.killed));
        let mut kept = other.not_carried(&self.kept);
        kept.union(&self.not_carried(&other.kept));
        let (mut root, theirs) = (mem::take(&mut self.root), mem::take(&mut other.root));
        let mut join = Join {
            mine: self.seen(),
            theirs: other.seen(),
            keep: true,
            changed: false,
        };
        join.roots(&mut root, theirs);
        root.settle();
        self.root = root;
        self.context.union(&other.context);
        self.kept = kept.minus(&killed);
        self.killed = killed;
    }

    fn seen(&self) -> Seen<'_> {
        Seen {
            context: &self.context,
            kept: &self.kept,
        }
    }

    /// Those of some dots whose changes it does not carry.
    fn not_carried(&self, dots: &Context) -> Context {
        let mut rest = dots.minus(&self.context);
        rest.union(&dots.common(&self.killed));
        rest.union(&dots.common(&self.kept));
        rest
    }

    /// Whether it says all that there is to say of a change.
    pub(crate) fn carries(&self, dot: Dot) -> bool {
        self.seen().contains(dot) && !self.killed.contains(dot)
    }

    /// Which changes it mentions: those that it carries and those that it builds on.
    pub fn context(&self) -> &Context {
        &self.context
    }

    /// Whether it says that the entity is deleted.
    pub fn is_deleted(&self) -> bool {
        self.context.is_everything()
    }

    /// The patch that deletes an entity.
    pub(crate) fn deletion() -> Self {
        Self {
            root: State::default().0.root,
            context: Context::EVERYTHING,
            ..Self::default()
        }
    }
}

impl State {
    /// What the entity is at present.
    pub fn presence(&self) -> Presence {
        match self.0.root.shown() {
            _ if self.is_deleted() => Presence::Deleted,
            None => Presence::Absent,
            Some(slot) => Presence::Live(slot.data_type),
        }
    }

    /// Whether the entity was deleted.
    pub fn is_deleted(&self) -> bool {
        self.0.is_deleted()
    }

    /// Which changes this replica has seen: what it tells a peer that is to say what is missing.
    pub fn context(&self) -> &Context {
        &self.0.context
    }

    /// Joins what another replica says, and tells whether anything of it is new.
    ///
    /// # Cost
    /// Of a patch from [`State::apply`]: in proportion to it, times the logarithm of the state; of
    /// any other patch and of a state: one walk along both.
    ///
    /// # Errors
    /// [`Gap`], never for a state: the patch cannot be taken in before others.
    pub fn merge(&mut self, other: impl Into<Patch>) -> Result<bool, Gap> {
        let (patch, context) = (other.into(), self.context());
        if context.covers(&patch.killed) && context.covers(&patch.kept) {
            Ok(self.take(patch))
        } else {
            Err(Gap)
        }
    }

    /// Joins a patch that builds on nothing unknown.
    pub(crate) fn take(&mut self, mut patch: Patch) -> bool {
        let (mut root, theirs) = (mem::take(&mut self.0.root), mem::take(&mut patch.root));
        let mut join = Join {
            mine: self.0.seen(),
            theirs: patch.seen(),
            keep: false,
            changed: false,
        };
        join.roots(&mut root, theirs);
        let changed = join.changed;
        self.0.root = root;
        self.0.context.union(&patch.context) | changed
    }

    /// Deletes the entity, for ever: nothing that any replica knows or will know of it matters any
    /// more. Deleting it again changes nothing.
    pub fn delete(&mut self) -> Patch {
        *self = Self(Patch::deletion());
        Patch::deletion()
    }

    /// What a replica lacks that has seen no more than `known`; none if it lacks nothing. A replica
    /// that has seen nothing gets all.
    ///
    /// # How it works
    /// The patch holds all that lives here and is not known there. Of the rest, all that was seen
    /// here is dead, but for what lives here and is known there: these dots the patch does not judge,
    /// only names as what it builds on. Everything else counts as named.
    pub fn since(&self, known: &Context) -> Option<Patch> {
        if known.covers(&self.0.context) {
            return None;
        }
        let mut shared: Vec<Dot> = Vec::new();
        let root = self.0.root.without(known, &mut shared);
        Some(Patch {
            root: Entry {
                whole: true,
                ..root.unwrap_or_default()
            },
            context: self.0.context.clone(),
            killed: Context::default(),
            kept: shared.into_iter().collect(),
        })
    }

    /// Notes that the node's incarnations below this one are over and all of their changes known, so
    /// that nothing need be kept to tell which of them were seen. Later changes of the node's
    /// counters take in what it had added in those incarnations. Tells whether this is news.
    ///
    /// # When it is right
    /// When nobody holds a change of those incarnations that is not known here: the node says that
    /// they are over, and each member's state has since been joined with this one. A change that
    /// turned up afterwards would count as known and dead.
    pub fn close(&mut self, node: NodeId, below: Incarnation) -> bool {
        self.0.context.close(node, below)
    }
}
