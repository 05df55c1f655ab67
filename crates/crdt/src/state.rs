//! States and patches: a replicated entity as one replica holds it, and what it tells the others.

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
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Patch {
    pub(crate) root: Entry,
    pub(crate) context: Context,
}

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
            context: Context::default(),
        })
    }
}

impl From<State> for Patch {
    fn from(state: State) -> Self {
        state.0
    }
}

impl Patch {
    /// Joins what another patch says, so that both can be sent or stored as one.
    pub fn merge(&mut self, other: impl Into<Self>) {
        let other = other.into();
        let mut join = Join {
            mine: &self.context,
            theirs: &other.context,
            keep: true,
            changed: false,
        };
        join.roots(&mut self.root, other.root);
        self.root.settle();
        self.context.union(&other.context);
    }

    /// Which changes it speaks of: its own and those that they replaced.
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
    pub fn merge(&mut self, other: impl Into<Patch>) -> bool {
        let other = other.into();
        let Patch { root, context } = &mut self.0;
        let mut join = Join {
            mine: context,
            theirs: &other.context,
            keep: false,
            changed: false,
        };
        join.roots(root, other.root);
        let changed = join.changed;
        changed | context.union(&other.context)
    }

    /// Deletes the entity, for ever: nothing that any replica knows or will know of it matters any
    /// more. Deleting it again changes nothing.
    pub fn delete(&mut self) -> Patch {
        *self = Self(Patch::deletion());
        Patch::deletion()
    }

    /// What a replica lacks that has seen no more than `known`; none if it lacks nothing.
    ///
    /// It is meant for the replica that reported `known`, in the same run: another may get from it
    /// that something was replaced, and not by what. It will miss that until its context is compared
    /// the next time.
    ///
    /// # How it works
    /// The patch holds all that lives here and is not known there. Of the rest, all that was seen
    /// here is dead, but for what lives here and is known there. So these dots are taken out of the
    /// patch's context, the remainder says what to remove, and everything counts as named. A
    /// replica that knows nothing gets the whole state.
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
            context: self.0.context.without(shared),
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
