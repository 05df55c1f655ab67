//! Replicated data: what a node keeps of it, and how a node is told from its earlier runs.

use bytes::Bytes;
use firn_model::id::{EffectId, EntityKey, NodeId, Replica, Slot, SlotSequence};

use crate::ReadError;
use crate::entity::Timestamp;

/// One atomic write of a node's replica of an entity: its whole state, and the receipts of the
/// effects that are in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicaWrite {
    /// The entity.
    pub key: EntityKey,
    /// When the node made it.
    pub at: Timestamp,
    /// The state; the store does not look into it.
    pub state: Bytes,
    /// Whether the entity is deleted: kept for other replicas, left out of [`crate::Store::list`].
    pub deleted: bool,
    /// The effects that caused what is new in the state.
    pub received: Vec<EffectId>,
    /// Sending slots and their lowest open sequences: receipts of those slots below them that the
    /// entity's slot holds are dropped.
    pub receipts_below: Vec<(Slot, SlotSequence)>,
}

impl ReplicaWrite {
    /// The write of a living entity's state that no effect caused.
    pub fn new(key: EntityKey, at: Timestamp, state: impl Into<Bytes>) -> Self {
        Self {
            key,
            at,
            state: state.into(),
            deleted: false,
            received: Vec::new(),
            receipts_below: Vec::new(),
        }
    }
}

/// A run of a node, as it is stored under the node's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Run {
    /// The node's name.
    pub(crate) name: String,
    /// The node, and the number of the run.
    pub(crate) replica: Replica,
}

/// Why something was not written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// The store does not write now. Nothing was written; retrying later may help.
    #[error("the store cannot be written: {cause}")]
    Unavailable {
        /// The backend's own words.
        cause: String,
    },
    /// The store cannot tell whether it was written, or how much of it. Writing it again is safe.
    #[error("the store cannot tell whether it was written: {cause}")]
    Unknown {
        /// The backend's own words.
        cause: String,
    },
}

/// Why a node got no incarnation. None that it may have taken is ever given to anybody.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IncarnateError {
    /// The node has had every incarnation there is. It can go on only as a new node, under another
    /// name.
    #[error("node {node} has used up its incarnations")]
    UsedUp {
        /// The node.
        node: NodeId,
    },
    /// What is stored of the node cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The incarnation could not be written; retrying is safe.
    #[error(transparent)]
    Write(#[from] WriteError),
}
