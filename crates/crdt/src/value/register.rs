//! Which write to a register is shown.

use std::cmp::Reverse;

use firn_model::id::{Incarnation, NodeId};

use crate::dot::Dot;
use crate::dotted::Dotted;
use crate::entry::Written;

/// What decides between writes, the greatest wins: the stamp; then the lower node; then the later
/// write of the node.
pub(crate) fn precedence(dot: Dot, written: &Written) -> (i64, Reverse<NodeId>, Incarnation, u64) {
    (
        written.stamp,
        Reverse(dot.replica.node),
        dot.replica.incarnation,
        dot.seq,
    )
}

/// The write that is shown.
pub(crate) fn winner(writes: &Dotted<Written>) -> Option<&(Dot, Written)> {
    writes
        .iter()
        .max_by_key(|(dot, written)| precedence(*dot, written))
}
