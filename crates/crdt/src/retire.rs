//! Pruning: what a node that left for ever leaves behind.

use firn_model::id::{NodeId, Replica};

use crate::dotted::Dotted;
use crate::edit::{ApplyError, Edit};
use crate::entry::{Entry, Slot, Store};
use crate::state::{Patch, State};

/// Why a node could not be retired; the state is as it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RetireError {
    /// The node is the replica's own.
    #[error("{0} cannot retire itself")]
    Own(NodeId),
    /// A former incarnation of the replica that is not closed may have retired the node already,
    /// without anybody knowing yet.
    #[error("former incarnations of {0} are not closed")]
    Former(Replica),
    /// The replica's incarnation is closed, so it makes no changes any more.
    #[error("{0} is closed and makes no more changes")]
    Closed(Replica),
}

impl State {
    /// Takes over from a node that left for ever: what it added to the entity's counter counts as
    /// this replica's from now on, its vote is gone, and nothing need be kept any more to tell which
    /// of its changes were seen. Gives the patch for the other replicas, if there is one; it does
    /// not say that the node is closed, which they learn with [`State::since`], or note themselves
    /// with [`State::close_for_ever`].
    ///
    /// Elements, writes and keys of maps that the node made stay, and so do counters in maps, under
    /// its name.
    ///
    /// # When it is right
    /// When nobody holds a change of the node that is not known here: each member's state has been
    /// joined with this one since the member learned that the node is gone. And on one replica only,
    /// or the node's share is counted twice.
    ///
    /// # Errors
    /// See [`RetireError`].
    pub fn retire(&mut self, node: NodeId, me: Replica) -> Result<Option<Patch>, RetireError> {
        if node == me.node {
            return Err(RetireError::Own(node));
        }
        let mut edit = match Edit::new(self, me, 0) {
            Ok(edit) => edit,
            Err(ApplyError::Closed(me)) => return Err(RetireError::Closed(me)),
            Err(_) => return Ok(None),
        };
        let mut root = Entry::default();
        for slot in &self.0.root.slots {
            edit.retire(slot, &mut root, node)?;
        }
        let patch = (!root.slots.is_empty()).then(|| edit.finish(root));
        if let Some(patch) = &patch {
            self.take(patch.clone());
        }
        self.close_for_ever(node);
        Ok(patch)
    }

    /// Notes that the node has left for ever and all of its changes are known, without taking
    /// anything over; right when [`State::retire`] would be, on the replicas that do not do that.
    /// Tells whether this is news.
    pub fn close_for_ever(&mut self, node: NodeId) -> bool {
        self.0.context.close_for_ever(node)
    }
}

impl Edit<'_> {
    fn retire(&mut self, old: &Slot, new: &mut Entry, node: NodeId) -> Result<(), RetireError> {
        let is_gone = |dot: &crate::dot::Dot| dot.replica.node == node;
        match &old.store {
            Store::Counter(shares) if shares.dots().any(|dot| is_gone(&dot)) => {
                if !self.former_closed() {
                    return Err(RetireError::Former(self.me()));
                }
                let taken = shares.iter().copied();
                let taken = taken.filter(|(dot, _)| is_gone(dot) || self.is_own(*dot));
                let taken: Vec<_> = taken.collect();
                let share = (self.mint(), taken.iter().map(|(_, share)| share).sum());
                self.kill_all(taken.into_iter().map(|(dot, _)| dot));
                new.slot_mut(old.data_type).store = Store::Counter([share].into_iter().collect());
            }
            Store::Vote(votes) if votes.dots().any(|dot| is_gone(&dot)) => {
                self.kill_all(votes.dots().filter(is_gone));
                new.slot_mut(old.data_type).store = Store::Vote(Dotted::default());
            }
            _ => {}
        }
        Ok(())
    }
}
