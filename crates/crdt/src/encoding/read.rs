//! Reading: see [`write`](super::write) for the form.
//!
//! Nothing is reserved for a count that the bytes only claim, so damaged bytes cost no more than
//! they are long, times a small number.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::ops::RangeInclusive;

use firn_model::id::{Incarnation, NodeId, Replica};
use firn_model::replicated::DataType;

use super::write::number_of;
use super::{DecodeError, Kind, VERSION};
use crate::context::{Bound, Context, Extent, NodeSeen, Run};
use crate::dot::{Dot, Dots};
use crate::dotted::Dotted;
use crate::element::Element;
use crate::entry::{Entry, Slot, Store, Written};
use crate::spans::Span;
use crate::state::Patch;
use firn_model::limit::MAP_DEPTH_MAX;

/// The greatest share of a counter that is believed: more than any replica can come to, and little
/// enough that no number of shares that fits in memory overflows in a sum.
const SHARE_MAX: i128 = 1 << 100;

/// The greatest number of a dot that is believed, so that there is always a next one.
const SEQ_MAX: u64 = 1 << 62;

const TYPES: [DataType; 11] = [
    DataType::GrowCounter,
    DataType::Counter,
    DataType::GrowSet,
    DataType::Set,
    DataType::Flag,
    DataType::Register,
    DataType::Map,
    DataType::Vote,
    DataType::CounterMap,
    DataType::RegisterMap,
    DataType::MultiMap,
];

pub(super) struct Reader<'a> {
    rest: &'a [u8],
    replicas: Vec<Replica>,
    type_urls: Vec<&'a str>,
    /// What the tables hold, to refuse what is in them twice.
    known_replicas: BTreeSet<Replica>,
    known_type_urls: BTreeSet<&'a str>,
    /// How many maps the reader is in.
    depth: usize,
    /// Whether all at the place read is named by an entry above, so that nothing dead is.
    whole: bool,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8], kind: Kind) -> Result<Self, DecodeError> {
        let mut reader = Self {
            rest: bytes,
            replicas: Vec::new(),
            type_urls: Vec::new(),
            known_replicas: BTreeSet::new(),
            known_type_urls: BTreeSet::new(),
            depth: 0,
            whole: false,
        };
        match reader.byte()? {
            VERSION => {}
            version => return Err(DecodeError::Version(version)),
        }
        match reader.byte()? {
            byte if byte == kind as u8 => Ok(reader),
            byte => Err(DecodeError::Kind(byte)),
        }
    }

    pub(super) fn finish(self) -> Result<(), DecodeError> {
        match self.rest.len() {
            0 => Ok(()),
            more => Err(DecodeError::Long(more)),
        }
    }

    pub(super) fn context(&mut self) -> Result<Context, DecodeError> {
        let Some(count) = self.number()?.checked_sub(1) else {
            return Ok(Context::EVERYTHING);
        };
        let nodes: Vec<NodeSeen> = self.many(count, Self::node)?;
        ascending(&nodes, "nodes", |seen| seen.node)?;
        Ok(Context(Extent::Nodes(nodes)))
    }

    fn node(&mut self) -> Result<NodeSeen, DecodeError> {
        let mut seen = NodeSeen::unseen(self.node_id()?);
        let closed = self.number()?;
        if closed >= Bound::FOR_EVER.0 {
            return Err(DecodeError::Invalid("a closed incarnation"));
        }
        seen.closed = Bound(closed + 1);
        let mut before = 0;
        for _ in 0..self.number()? {
            let run = self.run(before)?;
            if seen.closed.closes(run.incarnation) {
                return Err(DecodeError::Invalid("a run that is closed"));
            }
            before = run.incarnation.0.get();
            self.add_replica(Replica {
                node: seen.node,
                incarnation: run.incarnation,
            });
            seen.runs.push(run);
        }
        if seen.is_unseen() {
            return Err(DecodeError::Invalid("a node without dots"));
        }
        Ok(seen)
    }

    fn run(&mut self, before: u32) -> Result<Run, DecodeError> {
        let more = self.number()?;
        let incarnation = u64::from(before).checked_add(more).filter(|_| more > 0);
        let incarnation = incarnation.and_then(|number| u32::try_from(number).ok());
        Ok(Run {
            incarnation: incarnation_of(incarnation)?,
            spans: self.spans()?,
        })
    }

    fn spans(&mut self) -> Result<Vec<Span>, DecodeError> {
        let mut spans: Vec<Span> = Vec::new();
        for _ in 0..self.number()? {
            let before = spans.last().map_or(0, |span| span.last);
            spans.push(self.span(before)?);
        }
        if spans.is_empty() {
            return Err(DecodeError::Invalid("a run without dots"));
        }
        Ok(spans)
    }

    fn span(&mut self, before: u64) -> Result<Span, DecodeError> {
        let (gap, more) = (self.number()?, self.number()?);
        let first = before.checked_add(gap).and_then(|n| n.checked_add(1));
        let last = first.and_then(|first| first.checked_add(more));
        match (first, last) {
            (Some(first), Some(last)) if last <= SEQ_MAX && (gap > 0 || before == 0) => {
                Ok(Span { first, last })
            }
            _ => Err(DecodeError::Invalid("a span")),
        }
    }

    /// Dots of which none is closed.
    fn set(&mut self) -> Result<Context, DecodeError> {
        let mut nodes: Vec<NodeSeen> = Vec::new();
        let count = self.number()?;
        let runs = self.many(count, |reader| Ok((reader.replica()?, reader.spans()?)))?;
        ascending(&runs, "replicas", |(replica, _)| *replica)?;
        for (replica, spans) in runs {
            if nodes.last().is_none_or(|seen| seen.node != replica.node) {
                nodes.push(NodeSeen::unseen(replica.node));
            }
            let incarnation = replica.incarnation;
            let seen = nodes.last_mut().expect("one was pushed");
            seen.runs.push(Run { incarnation, spans });
        }
        Ok(Context(Extent::Nodes(nodes)))
    }

    pub(super) fn patch(&mut self) -> Result<Patch, DecodeError> {
        let patch = Patch {
            context: self.context()?,
            killed: self.set()?,
            kept: self.set()?,
            root: self.entry()?,
        };
        let Patch {
            context,
            killed,
            kept,
            root,
        } = &patch;
        let mut strange = !context.covers(killed) || !context.covers(kept);
        strange |= killed.minus(kept) != *killed;
        root.dots(&mut |dot| strange |= !patch.carries(dot));
        if strange {
            return Err(DecodeError::Invalid("what is said of a dot"));
        }
        Ok(patch)
    }

    fn entry(&mut self) -> Result<Entry, DecodeError> {
        let head = self.number()?;
        let (count, whole, above) = (head / 2, head % 2 == 1, self.whole);
        if above && (whole || count == 0) {
            return Err(DecodeError::Invalid("an entry that is named in vain"));
        }
        self.whole |= whole;
        let slots: Vec<Slot> = self.many(count, Self::slot)?;
        ascending(&slots, "types", |slot| slot.data_type)?;
        self.whole = above;
        Ok(Entry { whole, slots })
    }

    fn slot(&mut self) -> Result<Slot, DecodeError> {
        let number = self.byte()?;
        let data_type = TYPES.into_iter().find(|known| number_of(*known) == number);
        let data_type = data_type.ok_or(DecodeError::Invalid("a type"))?;
        let presence = self.dots()?;
        let store = self.store(data_type)?;
        if self.whole && presence.is_empty() && store.is_empty() {
            return Err(DecodeError::Invalid("a slot that is named in vain"));
        }
        Ok(Slot {
            data_type,
            presence,
            store,
        })
    }

    fn store(&mut self, data_type: DataType) -> Result<Store, DecodeError> {
        Ok(match data_type {
            DataType::GrowCounter => {
                Store::Counter(self.dotted(|reader| reader.share(0..=SHARE_MAX))?)
            }
            DataType::Counter => {
                Store::Counter(self.dotted(|reader| reader.share(-SHARE_MAX..=SHARE_MAX))?)
            }
            DataType::GrowSet | DataType::Set => Store::Set(self.tree(Self::members)?),
            DataType::Flag => Store::Flag(self.dots()?),
            DataType::Register => Store::Register(self.dotted(Self::written)?),
            DataType::Vote => Store::Vote(self.dotted(Self::vote)?),
            DataType::Map => self.map(None)?,
            DataType::CounterMap => self.map(Some(DataType::Counter))?,
            DataType::RegisterMap => self.map(Some(DataType::Register))?,
            DataType::MultiMap => self.map(Some(DataType::Set))?,
        })
    }

    /// A map, whose values may be of one type only.
    fn map(&mut self, only: Option<DataType>) -> Result<Store, DecodeError> {
        if self.depth == MAP_DEPTH_MAX {
            return Err(DecodeError::TooDeep);
        }
        self.depth += 1;
        let entries = self.tree(|reader| {
            let entry = reader.entry()?;
            let mut types = entry.slots.iter().map(|slot| slot.data_type);
            if only.is_some_and(|only| types.any(|data_type| data_type != only)) {
                return Err(DecodeError::Invalid("the type of a value"));
            }
            Ok(entry)
        })?;
        self.depth -= 1;
        Ok(Store::Map(entries))
    }

    fn members(&mut self) -> Result<Dots, DecodeError> {
        let dots = self.dots()?;
        if self.whole && dots.is_empty() {
            return Err(DecodeError::Invalid("an element that is named in vain"));
        }
        Ok(dots)
    }

    fn share(&mut self, range: RangeInclusive<i128>) -> Result<i128, DecodeError> {
        let share = Some(self.signed()?).filter(|share| range.contains(share));
        share.ok_or(DecodeError::Invalid("a share"))
    }

    fn written(&mut self) -> Result<Written, DecodeError> {
        let stamp = i64::try_from(self.signed()?);
        Ok(Written {
            stamp: stamp.map_err(|_| DecodeError::Invalid("a stamp"))?,
            value: self.element()?,
        })
    }

    fn vote(&mut self) -> Result<bool, DecodeError> {
        match self.byte()? {
            byte @ 0..=1 => Ok(byte == 1),
            _ => Err(DecodeError::Invalid("a vote")),
        }
    }

    fn dots(&mut self) -> Result<Dots, DecodeError> {
        let count = self.number()?;
        if count == 1 {
            return Ok(Dots::from(self.dot()?));
        }
        let dots: Vec<Dot> = self.many(count, Self::dot)?;
        ascending(&dots, "dots", |dot| *dot)?;
        Ok(dots.into_iter().collect())
    }

    fn dotted<T>(
        &mut self,
        value: impl Fn(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Dotted<T>, DecodeError> {
        let count = self.number()?;
        let values: Vec<(Dot, T)> =
            self.many(count, |reader| Ok((reader.dot()?, value(reader)?)))?;
        ascending(&values, "dots", |(dot, _)| *dot)?;
        Ok(values.into_iter().collect())
    }

    fn tree<P>(
        &mut self,
        part: impl Fn(&mut Self) -> Result<P, DecodeError>,
    ) -> Result<BTreeMap<Element, P>, DecodeError> {
        let count = self.number()?;
        let parts: Vec<(Element, P)> =
            self.many(count, |reader| Ok((reader.element()?, part(reader)?)))?;
        if parts.is_sorted_by(|(left, _), (right, _)| left < right) {
            Ok(parts.into_iter().collect())
        } else {
            Err(DecodeError::Order("elements"))
        }
    }

    fn many<T>(
        &mut self,
        count: u64,
        one: impl Fn(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Vec<T>, DecodeError> {
        (0..count).map(|_| one(self)).collect()
    }

    fn dot(&mut self) -> Result<Dot, DecodeError> {
        let replica = self.replica()?;
        match self.number()? {
            seq @ 1..=SEQ_MAX => Ok(Dot { replica, seq }),
            _ => Err(DecodeError::Invalid("the number of a dot")),
        }
    }

    fn replica(&mut self) -> Result<Replica, DecodeError> {
        let place = self.number()?;
        if let Some(replica) = self.replicas.get(place as usize) {
            return Ok(*replica);
        }
        let replica = Replica {
            node: self.node_id()?,
            incarnation: incarnation_of(u32::try_from(self.number()?).ok())?,
        };
        if place != self.replicas.len() as u64 || !self.add_replica(replica) {
            return Err(DecodeError::Invalid("the place of a replica"));
        }
        Ok(replica)
    }

    fn add_replica(&mut self, replica: Replica) -> bool {
        self.replicas.push(replica);
        self.known_replicas.insert(replica)
    }

    fn element(&mut self) -> Result<Element, DecodeError> {
        let type_url = self.type_url()?;
        Ok(Element::new(type_url, self.slice()?))
    }

    fn type_url(&mut self) -> Result<&'a str, DecodeError> {
        let place = self.number()?;
        if let Some(type_url) = self.type_urls.get(place as usize) {
            return Ok(type_url);
        }
        let type_url = std::str::from_utf8(self.slice()?);
        let type_url = type_url.map_err(|_| DecodeError::Invalid("a type URL"))?;
        self.type_urls.push(type_url);
        if place + 1 != self.type_urls.len() as u64 || !self.known_type_urls.insert(type_url) {
            return Err(DecodeError::Invalid("the place of a type URL"));
        }
        Ok(type_url)
    }

    fn slice(&mut self) -> Result<&'a [u8], DecodeError> {
        let length = self.number()?;
        let length = usize::try_from(length).map_err(|_| DecodeError::Short("a text"))?;
        let (slice, rest) = self
            .rest
            .split_at_checked(length)
            .ok_or(DecodeError::Short("a text"))?;
        self.rest = rest;
        Ok(slice)
    }

    fn node_id(&mut self) -> Result<NodeId, DecodeError> {
        let (id, rest) = self
            .rest
            .split_first_chunk()
            .ok_or(DecodeError::Short("a node"))?;
        self.rest = rest;
        Ok(NodeId(u64::from_be_bytes(*id)))
    }

    fn signed(&mut self) -> Result<i128, DecodeError> {
        let folded = self.varint()?;
        Ok((folded >> 1) as i128 ^ -((folded & 1) as i128))
    }

    fn number(&mut self) -> Result<u64, DecodeError> {
        u64::try_from(self.varint()?).map_err(|_| DecodeError::Invalid("a number"))
    }

    fn varint(&mut self) -> Result<u128, DecodeError> {
        let mut number = 0_u128;
        for shift in (0..).step_by(7) {
            let byte = self.byte()?;
            let bits = u128::from(byte & 0x7f);
            let placed = bits
                .checked_shl(shift)
                .filter(|placed| placed >> shift == bits);
            number |= placed.ok_or(DecodeError::Invalid("a number"))?;
            if byte < 0x80 {
                let shortest = byte > 0 || shift == 0;
                return shortest
                    .then_some(number)
                    .ok_or(DecodeError::Invalid("a number"));
            }
        }
        unreachable!("a shift beyond the number's bits ends the loop")
    }

    fn byte(&mut self) -> Result<u8, DecodeError> {
        let (byte, rest) = self
            .rest
            .split_first()
            .ok_or(DecodeError::Short("a number"))?;
        self.rest = rest;
        Ok(*byte)
    }
}

fn incarnation_of(number: Option<u32>) -> Result<Incarnation, DecodeError> {
    let number = number.and_then(NonZeroU32::new);
    number
        .map(Incarnation)
        .ok_or(DecodeError::Invalid("an incarnation"))
}

fn ascending<T, K: Ord>(
    things: &[T],
    name: &'static str,
    key: impl Fn(&T) -> K,
) -> Result<(), DecodeError> {
    if things.is_sorted_by(|left, right| key(left) < key(right)) {
        Ok(())
    } else {
        Err(DecodeError::Order(name))
    }
}
