//! What goes into a store at once and whole, whatever its kind.

use firn_model::id::NodeId;

use crate::commit::Commit;
use crate::replica::{ReplicaWrite, Run};
use crate::retention::Trim;

/// One atomic write: what a record of a log holds, and what rows are made from.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all are commits, and a box for each would cost more than the room"
)]
pub(crate) enum Write {
    /// A commit that the fence has accepted.
    Commit(Commit),
    /// A node's replica of an entity.
    Replica {
        /// The node.
        node: NodeId,
        /// The replica.
        write: ReplicaWrite,
    },
    /// A run of a node begins.
    Run(Run),
    /// Events of an entity go that a snapshot covers.
    Trim(Trim),
}
