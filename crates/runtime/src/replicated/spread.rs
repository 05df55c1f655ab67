//! The other replicas: changes go to them and come from them, and digests find what got lost.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use firn_crdt::{Context, Gap, Patch};
use firn_model::id::{EntityKey, NodeId, Replica};
use firn_model::replicated::Consistency;
use firn_store::ReadError;

use super::entity::{Data, Stream, View};
use super::network::{Membership, Message};
use super::peer::{AT_ONCE, Listing, Peer};
use super::{Output, Page, Replicas};
use crate::lane::{Now, Settled};

/// How many times the usual pause the others have to tell each other of a change, before a member
/// that heard of it makes sure.
const LATER: u32 = 4;

/// Messages that wait for an entity to be read.
const LOADING_MAX: usize = 256;

/// The longest pause between attempts to reach a member.
const PAUSE_MAX: Duration = Duration::from_secs(5);

impl Replicas {
    /// Learns who the members are, at the beginning.
    pub(super) fn meet(&mut self, membership: Arc<Membership>) {
        let pause = self.config.retry_after;
        self.peers
            .retain(|node, _| membership.members.contains(node));
        for node in &membership.members {
            if *node != self.me.node {
                self.peers.entry(*node).or_insert_with(|| Peer::new(pause));
            }
        }
        self.membership = membership;
    }

    /// Has every member looked after, for the first time.
    pub(super) fn greet(&mut self, now: Now) {
        for peer in self.peers.values_mut() {
            peer.hurry(now.instant);
        }
    }

    /// The membership has changed.
    pub(super) fn members(&mut self, membership: Arc<Membership>, now: Now) {
        if membership.version < self.membership.version {
            return;
        }
        let somebody_left = membership.left != self.membership.left;
        let known: BTreeSet<NodeId> = self.peers.keys().copied().collect();
        self.meet(membership);
        let keys: Vec<EntityKey> = self.by_key.keys().cloned().collect();
        for (node, peer) in &mut self.peers {
            if somebody_left || !known.contains(node) {
                peer.start_over(&keys, now.instant);
            }
        }
        let indices: Vec<usize> = self.entities.iter().map(|(index, _)| index).collect();
        for index in indices {
            self.prune(index, now);
            self.tend(index, now);
        }
    }

    /// Sends a change to every member; gives its number.
    pub(super) fn spread(&mut self, index: usize, patch: &Patch, durable: bool, now: Now) -> u64 {
        let number = self.number();
        if self.peers.is_empty() {
            return number;
        }
        let patch = patch.encode();
        let key = self.entities[index].key.clone();
        for (node, peer) in &mut self.peers {
            peer.awaits(&key, number);
            peer.hurry(now.instant + self.config.retry_after);
            let message = Message::Change {
                key: key.clone(),
                number,
                durable,
                patch: patch.clone(),
            };
            self.out.push(Output::Peer(*node, message));
        }
        number
    }

    /// Takes a message of another node.
    pub(super) fn told(&mut self, from: Replica, message: Message, now: Now) {
        let keys = || self.by_key.keys().cloned().collect::<Vec<_>>();
        let Some(peer) = self.peers.get(&from.node) else {
            return;
        };
        let is_over = peer
            .incarnation
            .is_some_and(|known| known > from.incarnation);
        let is_new = message
            .key()
            .is_some_and(|key| !self.by_key.contains_key(key));
        if is_over || (self.draining && is_new) {
            // An earlier run of the node has no say any more; at the end nothing is begun.
            return;
        }
        let started = (peer.incarnation != Some(from.incarnation)).then(keys);
        let pause = self.config.retry_after;
        let Some(peer) = self.peers.get_mut(&from.node) else {
            return;
        };
        if let Some(keys) = started {
            peer.incarnation = Some(from.incarnation);
            peer.welcomed = false;
            peer.start_over(&keys, now.instant);
        }
        if peer.pause > pause && peer.has_work() {
            // It is there again.
            peer.pause = pause;
            peer.hurry(now.instant + pause);
        }
        match message {
            Message::Hello if self.speaks => {
                let welcome = Message::Welcome(from.incarnation);
                self.out.push(Output::Peer(from.node, welcome));
            }
            Message::Hello => {}
            Message::Welcome(incarnation) => peer.welcomed |= incarnation == self.me.incarnation,
            Message::Confirmed { key, number } => self.confirmed(from.node, &key, number, now),
            Message::Change { ref key, .. } | Message::Digest { ref key, .. } => {
                let index = self.find(key.clone(), now);
                self.entities[index].touched_at = now.instant;
                match &mut self.entities[index].data {
                    // What is more than that is lost, and found by digests.
                    Data::Loading(waiting, _) if waiting.len() >= LOADING_MAX => {}
                    Data::Loading(waiting, _) => waiting.push((from, message)),
                    Data::Ready(_) => {
                        self.told_of_entity(index, from.node, message, now);
                        self.tend(index, now);
                    }
                }
            }
        }
    }

    /// Takes a message about an entity that is in memory.
    pub(super) fn told_of_entity(
        &mut self,
        index: usize,
        from: NodeId,
        message: Message,
        now: Now,
    ) {
        match message {
            Message::Change {
                number,
                durable,
                patch,
                ..
            } => self.take_change(index, from, number, durable, &patch, now),
            Message::Digest {
                ask,
                answers,
                membership,
                digest,
                ..
            } => match Context::decode(&digest) {
                Ok(digest) => {
                    let heard = Heard {
                        from,
                        ask,
                        answers,
                        membership,
                    };
                    self.take_digest(index, heard, &digest, now);
                }
                Err(error) => self.report_damaged(index, from, &error.to_string()),
            },
            Message::Hello | Message::Welcome(_) | Message::Confirmed { .. } => {}
        }
    }

    fn report_damaged(&mut self, index: usize, from: NodeId, error: &str) {
        let key = self.entities[index].key.clone();
        let text = format!("node {from} sent what cannot be read: {error}");
        self.out.push(Output::Report { key, text });
    }

    /// Merges what another node sent.
    fn take_change(
        &mut self,
        index: usize,
        from: NodeId,
        number: u64,
        durable: bool,
        patch: &[u8],
        now: Now,
    ) {
        let patch = match Patch::decode(patch) {
            Ok(patch) => patch,
            Err(error) => return self.report_damaged(index, from, &error.to_string()),
        };
        if self.merge(index, from, patch, now).is_err() {
            // What it builds on got lost: the sender is told what is here and sends the rest.
            return self.ask_once(index, from, now);
        }
        let record = &mut self.entities[index].record;
        if durable && !record.is_written() {
            let version = record.version;
            record.acknowledge.push((from, number, version));
            self.write_soon(index, now);
        } else {
            self.confirm_to(index, from, number);
        }
    }

    fn merge(&mut self, index: usize, from: NodeId, patch: Patch, now: Now) -> Result<(), Gap> {
        let entity = &mut self.entities[index];
        let Data::Ready(state) = &mut entity.data else {
            return Ok(());
        };
        if state.context().covers(patch.context()) {
            return Ok(());
        }
        if let Stream::Open(live) = &mut entity.stream
            && matches!(live.view, View::InStep)
        {
            live.view = View::Behind(state.clone());
        }
        state.merge(patch)?;
        let deleted = state.is_deleted();
        self.changed(index, now);
        self.see_to_others(index, from, now);
        if deleted {
            self.deleted_elsewhere(index, now);
        }
        Ok(())
    }

    /// Makes sure that the other members get what came from one of them: whoever made it may have
    /// ended before it told them.
    fn see_to_others(&mut self, index: usize, from: NodeId, now: Now) {
        let key = &self.entities[index].key;
        for (node, peer) in &mut self.peers {
            if *node != from {
                peer.may_lack(key);
                peer.hurry(now.instant + LATER * self.config.retry_after);
            }
        }
    }

    pub(super) fn confirm_to(&mut self, index: usize, member: NodeId, number: u64) {
        let key = self.entities[index].key.clone();
        self.out
            .push(Output::Peer(member, Message::Confirmed { key, number }));
    }

    /// A member has confirmed a change.
    fn confirmed(&mut self, from: NodeId, key: &EntityKey, number: u64, now: Now) {
        if let Some(peer) = self.peers.get_mut(&from) {
            peer.confirms(key, number);
        }
        let Some(&index) = self.by_key.get(key) else {
            return;
        };
        for confirming in &mut self.entities[index].confirming {
            if confirming.number == number {
                confirming.confirmed.insert(from);
            }
        }
        self.tend(index, now);
    }

    /// Answers callers whose changes are as durable as they have to be.
    pub(super) fn answer_confirmed(&mut self, index: usize) {
        let membership = self.membership.clone();
        let members = &membership.members;
        let entity = &mut self.entities[index];
        if entity.confirming.is_empty() {
            return;
        }
        let saved = entity.record.saved;
        let (done, waiting): (Vec<_>, Vec<_>) = std::mem::take(&mut entity.confirming)
            .into_iter()
            .partition(|confirming| {
                let here = usize::from(confirming.version <= saved);
                let elsewhere = confirming.confirmed.intersection(members).count();
                let needed = match confirming.needed {
                    Consistency::Local => 1,
                    Consistency::Majority => members.len() / 2 + 1,
                    Consistency::All => members.len(),
                };
                here == 1 && here + elsewhere >= needed
            });
        entity.confirming = waiting;
        for confirming in done {
            let call = confirming.call;
            let next = |settled: Settled| Output::Next(call, settled);
            self.out.extend(confirming.answers.into_iter().map(next));
            let end = confirming.end.map(|result| Output::End(call, result));
            self.out.extend(end);
        }
    }

    /// Asks a member, unless an answer is under way.
    fn ask_once(&mut self, index: usize, member: NodeId, now: Now) {
        let key = &self.entities[index].key;
        let waits = self.peers.get(&member).is_some_and(|peer| {
            let numbers = peer.behind.get(key);
            numbers.is_some_and(|numbers| !numbers.is_disjoint(&peer.asked))
        });
        if !waits {
            self.ask(index, member, now);
        }
    }

    /// Asks a member what it lacks of an entity, and says what is here.
    pub(super) fn ask(&mut self, index: usize, member: NodeId, now: Now) {
        let number = self.number();
        let key = self.entities[index].key.clone();
        // What members have to confirm for a caller is sent again as it was.
        let resent: Vec<_> = self.entities[index]
            .confirming
            .iter()
            .filter(|it| it.needed > Consistency::Local && !it.confirmed.contains(&member))
            .map(|it| (it.number, it.patch.encode()))
            .collect();
        if let Some(peer) = self.peers.get_mut(&member) {
            // A digest tells that the member has it, never that it is durable there: for that its
            // confirmation is waited for.
            let waited = resent.iter().map(|(number, _)| *number).chain([number]);
            peer.behind.insert(key, waited.collect());
            peer.asked.insert(number);
            // The question may get lost, or its answer.
            peer.hurry(now.instant + self.config.retry_after);
        }
        self.send_digest(index, member, Some(number), None);
        for (number, patch) in resent {
            let key = self.entities[index].key.clone();
            let message = Message::Change {
                key,
                number,
                durable: true,
                patch,
            };
            self.out.push(Output::Peer(member, message));
        }
    }

    fn send_digest(
        &mut self,
        index: usize,
        member: NodeId,
        ask: Option<u64>,
        answers: Option<u64>,
    ) {
        let entity = &self.entities[index];
        let Some(state) = entity.state() else {
            return;
        };
        let message = Message::Digest {
            key: entity.key.clone(),
            ask,
            answers,
            membership: self.membership.version,
            digest: state.context().encode(),
        };
        self.out.push(Output::Peer(member, message));
    }

    /// Sends a member what it lacks, and answers its question.
    fn take_digest(&mut self, index: usize, heard: Heard, digest: &Context, now: Now) {
        let member = heard.from;
        if heard.ask.is_some() {
            self.send_digest(index, member, None, heard.ask);
        }
        let Some(state) = self.entities[index].state() else {
            return;
        };
        let lacks = state.since(digest);
        let settled = lacks.is_none() && state.context().covers(digest);
        let key = self.entities[index].key.clone();
        if let Some(patch) = lacks {
            let number = self.number();
            let message = Message::Change {
                key: key.clone(),
                number,
                durable: false,
                patch: patch.encode(),
            };
            if let Some(peer) = self.peers.get_mut(&member) {
                peer.awaits(&key, number);
                peer.hurry(now.instant + self.config.retry_after);
            }
            self.out.push(Output::Peer(member, message));
        }
        let asked = heard.answers.filter(|number| {
            let peer = self.peers.get(&member);
            peer.is_some_and(|peer| peer.was_asked(&key, *number))
        });
        // An answer to what this run did not ask says nothing about now.
        let Some(answered) = asked else {
            return;
        };
        if settled {
            self.entities[index]
                .settled_with
                .insert(member, heard.membership);
            self.prune(index, now);
        }
        let Some(peer) = self.peers.get_mut(&member) else {
            return;
        };
        peer.confirms(&key, answered);
        if !settled {
            // It has more than is here and sends it; whether all of it came is asked again.
            peer.behind.entry(key).or_default();
        }
        peer.asked.remove(&answered);
        if peer.has_work() {
            let pause = match peer.asked.is_empty() && peer.more {
                true => Duration::ZERO,
                false => self.config.retry_after,
            };
            peer.hurry(now.instant + pause);
        }
    }

    /// Forgets ended runs of this node, and nodes that have left, where no other node can know more
    /// of them than is here.
    pub(super) fn prune(&mut self, index: usize, now: Now) {
        let membership = self.membership.clone();
        let me = self.me;
        let entity = &mut self.entities[index];
        let others = membership.members.iter().filter(|node| **node != me.node);
        let settled = others
            .map(|node| entity.settled_with.get(node))
            .all(|version| version.is_some_and(|version| *version >= membership.version));
        let Data::Ready(state) = &mut entity.data else {
            return;
        };
        if !settled {
            return;
        }
        // What is closed makes the next write smaller; it is worth none of its own.
        state.close(me.node, me.incarnation);
        let mut patches = Vec::new();
        for node in &membership.left {
            // One member alone takes over what they left, so that nothing counts twice.
            if membership.members.first() != Some(&me.node) {
                state.close_for_ever(*node);
            } else {
                // Refused as long as an earlier run of this node may have done it unseen.
                patches.extend(state.retire(*node, me).ok().flatten());
            }
        }
        for patch in patches {
            self.spread(index, &patch, false, now);
            self.changed(index, now);
        }
    }

    /// Looks after members that are due.
    pub(super) fn look_after_peers(&mut self, now: Now) {
        if self.draining {
            return;
        }
        let due: Vec<NodeId> = self
            .peers
            .iter()
            .filter(|(_, peer)| peer.look_at.is_some_and(|at| at <= now.instant))
            .map(|(node, _)| *node)
            .collect();
        for node in due {
            self.look_after(node, now);
        }
    }

    fn look_after(&mut self, node: NodeId, now: Now) {
        let speaks = self.speaks;
        let Some(peer) = self.peers.get_mut(&node) else {
            return;
        };
        let next = peer.has_work().then(|| now.instant + peer.pause);
        peer.pause = (2 * peer.pause).min(PAUSE_MAX);
        if !peer.welcomed {
            if speaks {
                self.out.push(Output::Peer(node, Message::Hello));
            } else {
                peer.welcomed = peer.incarnation.is_some();
            }
        }
        if std::mem::take(&mut peer.forgot) {
            for key in self.by_key.keys() {
                peer.behind.entry(key.clone()).or_default();
            }
        }
        let keys = peer.next_behind();
        peer.asked.clear();
        peer.more = keys.len() == AT_ONCE;
        let after = match &peer.listing {
            Listing::From(after) if peer.behind.len() < 4 * AT_ONCE => Some(after.clone()),
            _ => None,
        };
        if let Some(after) = after
            && self.listing.is_none()
        {
            self.listing = Some((node, peer.round));
            self.out.push(Output::List(node, after));
        }
        for key in keys {
            let index = self.find(key, now);
            self.entities[index].touched_at = now.instant;
            match &mut self.entities[index].data {
                Data::Loading(_, asking) => {
                    asking.insert(node);
                }
                Data::Ready(_) => {
                    self.ask(index, node, now);
                    self.tend(index, now);
                }
            }
        }
        // The questions themselves want an answer sooner, which a member that is away does not give.
        if let Some(peer) = self.peers.get_mut(&node) {
            peer.look_at = next;
        }
    }

    /// Keys were read for a member.
    pub(super) fn listed(&mut self, node: NodeId, page: Result<Page, ReadError>, now: Now) {
        let asked = self.listing.take();
        let Some(peer) = self.peers.get_mut(&node) else {
            return;
        };
        if asked != Some((node, peer.round)) {
            // It has to begin anew since.
            return peer.hurry(now.instant);
        }
        // A store that cannot be read is asked again when the member is looked after next.
        let Ok(page) = page else {
            return;
        };
        for key in page.keys {
            peer.behind.entry(key).or_default();
        }
        peer.listing = page
            .next
            .map_or(Listing::Done, |next| Listing::From(Some(next)));
        peer.hurry(now.instant);
    }
}

/// What came with a digest.
struct Heard {
    from: NodeId,
    ask: Option<u64>,
    answers: Option<u64>,
    membership: u64,
}
