//! Writing.
//!
//! ```text
//! context   nodes + 1, or 0 for everything; node*
//! node      id (8 bytes, big endian), closed, runs, run*       ascending by id
//! closed    the first incarnation that is not closed, less 1
//! run       incarnation, less that of the run before, spans, span*
//! span      first, less the last of the span before, less 1; length, less 1
//!
//! patch     context, killed, kept, entry
//! killed    count, (replica, spans, span*)*                    ascending by replica
//! kept      as killed
//! entry     slots * 2 + whole, slot*
//! slot      type, dots (its presence), data                    ascending by type
//! data      of counters: count, (dot, share)*                  ascending by dot
//!           of sets: count, (element, dots)*                   ascending by element
//!           of flags: dots
//!           of registers: count, (dot, stamp, element)*        ascending by dot
//!           of votes: count, (dot, 0 or 1)*                    ascending by dot
//!           of maps: count, (element, entry)*                  ascending by element
//! dots      count, dot*                                        ascending
//! dot       replica, seq
//! replica   its place in the table; if that is the table's length: node (8 bytes), incarnation
//! element   place of its type URL in the table; if that is the table's length: length, type URL;
//!           then length, value
//! ```
//!
//! Numbers are varints (seven bits in a byte, the lowest first) in their shortest form; shares and
//! stamps, which can be negative, are folded (0, -1, 1, -2, …). The table of replicas begins with
//! those that have runs in the context; that of type URLs is empty at first. Both grow with what is
//! met.

use std::collections::BTreeMap;

use bytes::Bytes;
use firn_model::id::{NodeId, Replica};
use firn_model::replicated::DataType;

use super::{Kind, VERSION};
use crate::context::{Context, NodeSeen};
use crate::dot::{Dot, Dots};
use crate::dotted::Dotted;
use crate::element::Element;
use crate::entry::{Entry, Slot, Store};
use crate::spans::Span;

pub(super) struct Writer<'a> {
    bytes: Vec<u8>,
    replicas: BTreeMap<Replica, usize>,
    type_urls: BTreeMap<&'a str, usize>,
}

impl<'a> Writer<'a> {
    pub(super) fn new(kind: Kind) -> Self {
        Self {
            bytes: vec![VERSION, kind as u8],
            replicas: BTreeMap::new(),
            type_urls: BTreeMap::new(),
        }
    }

    pub(super) fn finish(self) -> Bytes {
        self.bytes.into()
    }

    pub(super) fn context(&mut self, context: &Context) {
        let Some(nodes) = context.nodes() else {
            return self.number(0_u8);
        };
        self.count(nodes.len() + 1);
        nodes.iter().for_each(|node| self.node(node));
    }

    /// Dots of which none is closed.
    pub(super) fn set(&mut self, dots: &Context) {
        let runs = || {
            dots.nodes()
                .into_iter()
                .flatten()
                .flat_map(NodeSeen::replicas)
        };
        self.count(runs().count());
        for (replica, spans) in runs() {
            self.replica(replica);
            self.spans(spans);
        }
    }

    fn node(&mut self, seen: &NodeSeen) {
        self.node_id(seen.node);
        self.number(seen.closed.0 - 1);
        self.count(seen.runs.len());
        let mut before = 0;
        for (replica, spans) in seen.replicas() {
            let incarnation = replica.incarnation.0.get();
            self.number(incarnation - before);
            before = incarnation;
            self.spans(spans);
            self.replicas.insert(replica, self.replicas.len());
        }
    }

    fn spans(&mut self, spans: &[Span]) {
        self.count(spans.len());
        let mut before = 0;
        for span in spans {
            self.number(span.first - before - 1);
            self.number(span.last - span.first);
            before = span.last;
        }
    }

    pub(super) fn entry(&mut self, entry: &'a Entry) {
        self.count(entry.slots.len() * 2 + usize::from(entry.whole));
        entry.slots.iter().for_each(|slot| self.slot(slot));
    }

    fn slot(&mut self, slot: &'a Slot) {
        self.bytes.push(number_of(slot.data_type));
        self.dots(&slot.presence);
        match &slot.store {
            Store::Counter(shares) => {
                self.dotted(shares, |writer, share| writer.number(folded(*share)));
            }
            Store::Set(elements) => self.tree(elements, Self::dots),
            Store::Flag(dots) => self.dots(dots),
            Store::Register(writes) => self.dotted(writes, |writer, written| {
                writer.number(folded(written.stamp.into()));
                writer.element(&written.value);
            }),
            Store::Vote(votes) => self.dotted(votes, |writer, vote| writer.number(u8::from(*vote))),
            Store::Map(entries) => self.tree(entries, Self::entry),
        }
    }

    fn dotted<T>(&mut self, values: &'a Dotted<T>, value: impl Fn(&mut Self, &'a T)) {
        self.count(values.len());
        for (dot, of) in values.iter() {
            self.dot(*dot);
            value(self, of);
        }
    }

    fn tree<P>(&mut self, tree: &'a BTreeMap<Element, P>, part: impl Fn(&mut Self, &'a P)) {
        self.count(tree.len());
        for (element, of) in tree {
            self.element(element);
            part(self, of);
        }
    }

    fn dots(&mut self, dots: &Dots) {
        self.count(dots.len());
        dots.iter().for_each(|dot| self.dot(dot));
    }

    fn dot(&mut self, dot: Dot) {
        self.replica(dot.replica);
        self.number(dot.seq);
    }

    fn replica(&mut self, replica: Replica) {
        let place = self.replicas.get(&replica).copied();
        self.count(place.unwrap_or(self.replicas.len()));
        if place.is_none() {
            self.node_id(replica.node);
            self.number(replica.incarnation.0.get());
            self.replicas.insert(replica, self.replicas.len());
        }
    }

    fn element(&mut self, element: &'a Element) {
        let (type_url, value) = (element.type_url(), element.value());
        let place = self.type_urls.get(type_url).copied();
        self.count(place.unwrap_or(self.type_urls.len()));
        if place.is_none() {
            self.slice(type_url.as_bytes());
            self.type_urls.insert(type_url, self.type_urls.len());
        }
        self.slice(value);
    }

    fn slice(&mut self, bytes: &[u8]) {
        self.count(bytes.len());
        self.bytes.extend_from_slice(bytes);
    }

    fn node_id(&mut self, node: NodeId) {
        self.bytes.extend_from_slice(&node.0.to_be_bytes());
    }

    fn count(&mut self, count: usize) {
        self.number(count as u64);
    }

    fn number(&mut self, number: impl Into<u128>) {
        let mut rest = number.into();
        while rest >= 0x80 {
            self.bytes.push(rest as u8 | 0x80);
            rest >>= 7;
        }
        self.bytes.push(rest as u8);
    }
}

/// A signed number as an unsigned one that is small when it is near zero.
fn folded(number: i128) -> u128 {
    ((number << 1) ^ (number >> 127)) as u128
}

/// The number of a type, which is part of the format.
pub(super) fn number_of(data_type: DataType) -> u8 {
    match data_type {
        DataType::GrowCounter => 1,
        DataType::Counter => 2,
        DataType::GrowSet => 3,
        DataType::Set => 4,
        DataType::Flag => 5,
        DataType::Register => 6,
        DataType::Map => 7,
        DataType::Vote => 8,
        DataType::CounterMap => 9,
        DataType::RegisterMap => 10,
        DataType::MultiMap => 11,
    }
}
