//! A network within one process, for tests of several nodes: it can lose, repeat and hold back
//! messages, be cut in two, and gain and lose members.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use firn_model::id::{Incarnation, NodeId, Replica};
use tokio::sync::{mpsc, watch};

use super::{Endpoint, Membership, Message, Network, Outbound};

/// Messages that may wait for a node; what is more is lost.
const INBOUND: usize = 4096;

/// The network. Clones are the same one.
#[derive(Debug, Clone)]
pub struct InProcess {
    shared: Arc<Mutex<Shared>>,
    membership: watch::Sender<Arc<Membership>>,
}

#[derive(Debug)]
struct Shared {
    nodes: BTreeMap<NodeId, Place>,
    /// Pairs that do not hear each other, the smaller first.
    cut: BTreeSet<(NodeId, NodeId)>,
    faults: Option<Faults>,
    sent: u64,
}

#[derive(Debug)]
struct Place {
    incarnation: Incarnation,
    inbound: mpsc::Sender<(Replica, Message)>,
}

/// Faults by a seed: of eight messages about one is lost, one comes twice, one comes late.
#[derive(Debug)]
struct Faults {
    seed: u64,
    held: Vec<(Replica, NodeId, Message)>,
}

impl Faults {
    /// A number below eight (SplitMix64).
    fn draw(&mut self) -> u64 {
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.seed ^ (self.seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (mixed ^ (mixed >> 27)) >> 61
    }
}

impl Default for InProcess {
    fn default() -> Self {
        Self {
            shared: Arc::new(Mutex::new(Shared {
                nodes: BTreeMap::new(),
                cut: BTreeSet::new(),
                faults: None,
                sent: 0,
            })),
            membership: watch::Sender::default(),
        }
    }
}

impl InProcess {
    /// Adds a member that has not joined yet; joining adds it too.
    pub fn add(&self, node: NodeId) {
        self.membership.send_if_modified(|membership| {
            let is_new = !membership.members.contains(&node);
            if is_new {
                let membership = Arc::make_mut(membership);
                membership.version += 1;
                membership.members.insert(node);
                membership.left.remove(&node);
            }
            is_new
        });
    }

    /// Removes a member for ever.
    pub fn remove(&self, node: NodeId) {
        self.shared().nodes.remove(&node);
        self.membership.send_modify(|membership| {
            let membership = Arc::make_mut(membership);
            membership.version += 1;
            membership.members.remove(&node);
            membership.left.insert(node);
        });
    }

    /// Lets two nodes not hear each other any more.
    pub fn cut(&self, one: NodeId, other: NodeId) {
        self.shared().cut.insert((one.min(other), one.max(other)));
    }

    /// Lets everybody hear everybody.
    pub fn heal(&self) {
        self.shared().cut.clear();
    }

    /// Begins to lose, repeat and hold back messages by this seed; `None` ends it, and what was held
    /// back arrives.
    pub fn disturb(&self, seed: Option<u64>) {
        let mut shared = self.shared();
        let before = shared.faults.take();
        for (from, to, message) in before.into_iter().flat_map(|faults| faults.held) {
            shared.deliver(from, to, message);
        }
        shared.faults = seed.map(|seed| Faults {
            seed,
            held: Vec::new(),
        });
    }

    /// How many messages were sent so far.
    pub fn sent(&self) -> u64 {
        self.shared().sent
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        // Nothing in here panics between two writes, so a poisoned state is still whole.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Network for InProcess {
    fn join(&self, me: Replica) -> Endpoint {
        let (sender, inbound) = mpsc::channel(INBOUND);
        let place = Place {
            incarnation: me.incarnation,
            inbound: sender,
        };
        self.shared().nodes.insert(me.node, place);
        self.add(me.node);
        Endpoint {
            outbound: Arc::new(Sender {
                me,
                network: self.clone(),
            }),
            inbound,
            membership: self.membership.subscribe(),
        }
    }
}

/// The way out of one node.
struct Sender {
    me: Replica,
    network: InProcess,
}

impl Outbound for Sender {
    fn send(&self, to: NodeId, message: Message) {
        let mut shared = self.network.shared();
        shared.sent += 1;
        shared.send(self.me, to, message);
    }
}

impl Shared {
    fn send(&mut self, from: Replica, to: NodeId, message: Message) {
        let Some(faults) = &mut self.faults else {
            return self.deliver(from, to, message);
        };
        match faults.draw() {
            0 => {}
            1 => {
                self.deliver(from, to, message.clone());
                self.deliver(from, to, message);
            }
            2 => faults.held.push((from, to, message)),
            3 => {
                let late = faults.held.pop();
                self.deliver(from, to, message);
                if let Some((from, to, message)) = late {
                    self.deliver(from, to, message);
                }
            }
            _ => self.deliver(from, to, message),
        }
    }

    fn deliver(&mut self, from: Replica, to: NodeId, message: Message) {
        let pair = (from.node.min(to), from.node.max(to));
        let is_out = self
            .nodes
            .get(&from.node)
            .is_none_or(|place| place.incarnation != from.incarnation);
        if is_out || self.cut.contains(&pair) {
            return;
        }
        if let Some(place) = self.nodes.get(&to) {
            // A full inbox loses the message, as a network may.
            let _ = place.inbound.try_send((from, message));
        }
    }
}
