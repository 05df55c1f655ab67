//! What replicas of one entity on different nodes tell each other, and the seam it goes through.
//!
//! # What a network has to do
//! Little: [`Outbound::send`] may lose, repeat, delay and reorder messages. Replicas find out what
//! they lack by themselves. Three things must be true, though: a message is delivered whole or not at
//! all, it arrives with the [`Replica`] that sent it, and nothing of a run arrives any more once a later
//! run of the node has joined and been heard.

#[cfg(any(test, feature = "testkit"))]
mod in_process;

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use firn_model::id::{EntityKey, Incarnation, NodeId, Replica};
use tokio::sync::{mpsc, watch};

#[cfg(any(test, feature = "testkit"))]
pub use in_process::InProcess;

/// One message from a replica to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// I have begun to run. Sent until it is answered by [`Message::Welcome`].
    Hello,
    /// I know of this run of yours, and take nothing more from an earlier one.
    Welcome(Incarnation),
    /// A change of an entity, or what the receiver lacks of it.
    Change {
        /// The entity.
        key: EntityKey,
        /// Under which number it is to be confirmed.
        number: u64,
        /// Whether the receiver confirms it only once it is durable there.
        durable: bool,
        /// The encoded patch.
        patch: Bytes,
    },
    /// The change with this number is merged, and durable if that was asked for.
    Confirmed {
        /// The entity.
        key: EntityKey,
        /// The number of the change.
        number: u64,
    },
    /// This is what I have seen of an entity: send what I lack.
    Digest {
        /// The entity.
        key: EntityKey,
        /// Under which number an answer is wanted; `None` if this is the answer.
        ask: Option<u64>,
        /// The number of the digest that this one answers.
        answers: Option<u64>,
        /// The version of the membership that the sender knows.
        membership: u64,
        /// The encoded digest.
        digest: Bytes,
    },
}

impl Message {
    /// The entity it is about; `None` if it is about the node.
    pub fn key(&self) -> Option<&EntityKey> {
        match self {
            Self::Hello | Self::Welcome(_) => None,
            Self::Change { key, .. } | Self::Confirmed { key, .. } | Self::Digest { key, .. } => {
                Some(key)
            }
        }
    }
}

/// Which nodes hold replicas. Agreed on elsewhere: nodes may know of different versions for a while.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Membership {
    /// Grows with every change.
    pub version: u64,
    /// Nodes that count: for votes, and for write consistency. Also while they are away: one that is
    /// taken out and comes back may hold changes that the others have closed meanwhile, and these are
    /// gone then.
    pub members: BTreeSet<NodeId>,
    /// Nodes that have left for ever and never come back under this id.
    pub left: BTreeSet<NodeId>,
}

impl Membership {
    /// The membership of a node that is alone.
    pub fn alone(node: NodeId) -> Self {
        Self {
            version: 0,
            members: BTreeSet::from([node]),
            left: BTreeSet::new(),
        }
    }
}

/// Sends messages to other nodes.
pub trait Outbound: Send + Sync {
    /// Sends a message to a node. Never blocks; may lose it.
    fn send(&self, to: NodeId, message: Message);
}

/// A node's place in a network.
pub struct Endpoint {
    /// The way out.
    pub outbound: Arc<dyn Outbound>,
    /// What comes in, with who sent it.
    pub inbound: mpsc::Receiver<(Replica, Message)>,
    /// Who the members are.
    pub membership: watch::Receiver<Arc<Membership>>,
}

/// A network of replicas.
pub trait Network: Send + Sync {
    /// Joins as this replica; an earlier run of the node is out from then on.
    fn join(&self, me: Replica) -> Endpoint;
}

/// The network of a node that is alone: nobody to talk to.
#[derive(Debug, Clone, Copy, Default)]
pub struct Alone;

impl Network for Alone {
    fn join(&self, me: Replica) -> Endpoint {
        let (_, inbound) = mpsc::channel(1);
        let (_, membership) = watch::channel(Arc::new(Membership::alone(me.node)));
        Endpoint {
            outbound: Arc::new(Self),
            inbound,
            membership,
        }
    }
}

impl Outbound for Alone {
    fn send(&self, _to: NodeId, _message: Message) {}
}
