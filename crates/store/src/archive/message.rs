//! The bytes of a row: protobuf messages, part of the format of files. Fields are added, never
//! renumbered; what an older Firn must not skip raises the version of the file.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use bytes::Bytes;
use firn_model::id::{EntityKey, Epoch, Incarnation, NodeId, Replica, SlotSequence};
use prost::encoding::{WireType, encode_key, encode_varint};
use prost::{Message, Oneof};

use super::row::{ChangeKind, EntityFacts, Row};
use crate::Pending;
use crate::commit::Head;
use crate::encoding::parts::{
    EffectIdPart, EffectPart, KeyPart, PayloadPart, ReplyRecordPart, TimerNamePart, TimerPart,
    required, slot,
};
use crate::encoding::{Fault, direct};
use crate::entity::{Event, Snapshot, Timestamp};
use crate::timer::TimerId;

/// Rows, one after the other.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Rows {
    #[prost(message, repeated, tag = "1")]
    pub(super) rows: Vec<RowMessage>,
}

/// [`Row`].
#[derive(Clone, PartialEq, Message)]
pub(super) struct RowMessage {
    /// The entity that it is about, if it is about one.
    #[prost(message, optional, tag = "1")]
    key: Option<KeyPart>,
    #[prost(oneof = "Kind", tags = "2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14")]
    kind: Option<Kind>,
}

#[derive(Clone, PartialEq, Oneof)]
enum Kind {
    #[prost(message, tag = "2")]
    Head(HeadMessage),
    #[prost(message, tag = "3")]
    Entity(EntityMessage),
    #[prost(message, tag = "4")]
    State(StateMessage),
    #[prost(message, tag = "5")]
    Snapshot(SnapshotMessage),
    #[prost(message, tag = "6")]
    Event(EventMessage),
    #[prost(message, tag = "7")]
    Change(ChangeMessage),
    #[prost(message, tag = "8")]
    Reply(ReplyRecordPart),
    #[prost(message, tag = "9")]
    Outbox(OutboxMessage),
    #[prost(message, tag = "10")]
    Receipt(ReceiptMessage),
    #[prost(message, tag = "11")]
    Trimmed(TrimmedMessage),
    #[prost(message, tag = "12")]
    Timer(TimerMessage),
    #[prost(message, tag = "13")]
    Replica(ReplicaMessage),
    #[prost(message, tag = "14")]
    Node(NodeMessage),
}

#[derive(Clone, PartialEq, Message)]
struct HeadMessage {
    #[prost(uint32, tag = "1")]
    slot: u32,
    #[prost(uint64, tag = "2")]
    epoch: u64,
    #[prost(uint64, tag = "3")]
    sequence: u64,
}

#[derive(Clone, PartialEq, Message)]
struct EntityMessage {
    #[prost(uint64, tag = "1")]
    last_event: u64,
    #[prost(uint64, tag = "2")]
    trimmed: u64,
    #[prost(bool, tag = "3")]
    has_state: bool,
    #[prost(uint64, optional, tag = "4")]
    snapshot: Option<u64>,
    #[prost(uint64, optional, tag = "5")]
    deleted_until: Option<u64>,
    #[prost(uint64, optional, tag = "6")]
    newest_change: Option<u64>,
}

#[derive(Clone, PartialEq, Message)]
struct StateMessage {
    #[prost(message, optional, tag = "1")]
    payload: Option<PayloadPart>,
    #[prost(btree_map = "string, string", tag = "2")]
    tags: BTreeMap<String, String>,
}

#[derive(Clone, PartialEq, Message)]
struct SnapshotMessage {
    #[prost(uint64, tag = "1")]
    sequence: u64,
    #[prost(message, optional, tag = "2")]
    payload: Option<PayloadPart>,
}

#[derive(Clone, PartialEq, Message)]
struct EventMessage {
    #[prost(uint64, tag = "1")]
    sequence: u64,
    #[prost(uint64, tag = "2")]
    at: u64,
    #[prost(message, optional, tag = "3")]
    payload: Option<PayloadPart>,
    #[prost(uint64, tag = "4")]
    slot_sequence: u64,
}

#[derive(Clone, PartialEq, Message)]
struct ChangeMessage {
    #[prost(uint64, tag = "1")]
    slot_sequence: u64,
    #[prost(uint64, tag = "2")]
    at: u64,
    /// 1 set, 2 delete, 3 append, 4 clean.
    #[prost(uint32, tag = "3")]
    kind: u32,
    #[prost(uint64, tag = "4")]
    first: u64,
    #[prost(uint64, tag = "5")]
    count: u64,
    #[prost(uint64, optional, tag = "6")]
    until: Option<u64>,
}

#[derive(Clone, PartialEq, Message)]
struct OutboxMessage {
    #[prost(message, optional, tag = "1")]
    id: Option<EffectIdPart>,
    #[prost(message, optional, tag = "2")]
    effect: Option<EffectPart>,
    #[prost(uint32, tag = "3")]
    hops: u32,
}

#[derive(Clone, PartialEq, Message)]
struct ReceiptMessage {
    #[prost(uint32, tag = "1")]
    receiver: u32,
    #[prost(message, optional, tag = "2")]
    effect: Option<EffectIdPart>,
}

#[derive(Clone, PartialEq, Message)]
struct TrimmedMessage {
    #[prost(uint32, tag = "1")]
    receiver: u32,
    #[prost(uint32, tag = "2")]
    sender: u32,
    #[prost(uint64, tag = "3")]
    below: u64,
}

#[derive(Clone, PartialEq, Message)]
struct TimerMessage {
    #[prost(message, optional, tag = "1")]
    name: Option<TimerNamePart>,
    #[prost(message, optional, tag = "2")]
    timer: Option<TimerPart>,
}

#[derive(Clone, PartialEq, Message)]
struct ReplicaMessage {
    #[prost(fixed64, tag = "1")]
    node: u64,
    #[prost(uint64, tag = "2")]
    at: u64,
    #[prost(bytes = "bytes", tag = "3")]
    state: Bytes,
    #[prost(bool, tag = "4")]
    deleted: bool,
}

#[derive(Clone, PartialEq, Message)]
struct NodeMessage {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(fixed64, tag = "2")]
    node: u64,
    #[prost(uint32, tag = "3")]
    incarnation: u32,
}

impl Rows {
    /// The bytes of the message of some rows: one after the other, and without a copy of the key of
    /// each, which most rows have.
    pub(super) fn encoded(rows: &[Row]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for row in rows {
            let (key, kind) = parts(row);
            let row = RowMessage {
                key: None,
                kind: Some(kind),
            };
            let length = key.map_or(0, direct::key_len) + row.encoded_len();
            encode_key(1, WireType::LengthDelimited, &mut bytes);
            encode_varint(length as u64, &mut bytes);
            if let Some(key) = key {
                direct::key(1, key, &mut bytes);
            }
            row.encode_raw(&mut bytes);
        }
        bytes
    }
}

/// The entity that a row is about, if it is about one, and the rest of it.
fn parts(row: &Row) -> (Option<&EntityKey>, Kind) {
    match row {
        Row::Head { slot, head } => (
            None,
            Kind::Head(HeadMessage {
                slot: slot.number().into(),
                epoch: head.epoch.0,
                sequence: head.sequence.0,
            }),
        ),
        Row::Entity { key, facts } => (Some(key), Kind::Entity(facts.into())),
        Row::State { key, payload, tags } => (
            Some(key),
            Kind::State(StateMessage {
                payload: Some(payload.into()),
                tags: tags.clone(),
            }),
        ),
        Row::Snapshot { key, snapshot } => (
            Some(key),
            Kind::Snapshot(SnapshotMessage {
                sequence: snapshot.sequence,
                payload: Some((&snapshot.payload).into()),
            }),
        ),
        Row::Event {
            key,
            event,
            slot_sequence,
        } => (
            Some(key),
            Kind::Event(EventMessage {
                sequence: event.sequence,
                at: event.at.0,
                payload: Some((&event.payload).into()),
                slot_sequence: slot_sequence.0,
            }),
        ),
        Row::Change {
            key,
            slot_sequence,
            at,
            kind,
        } => (Some(key), Kind::Change(change(*slot_sequence, *at, *kind))),
        Row::Reply { key, record } => (Some(key), Kind::Reply(record.into())),
        Row::Outbox(pending) => (
            Some(&pending.sender),
            Kind::Outbox(OutboxMessage {
                id: Some(pending.id.into()),
                effect: Some((&pending.effect).into()),
                hops: pending.hops,
            }),
        ),
        Row::Receipt { receiver, effect } => (
            None,
            Kind::Receipt(ReceiptMessage {
                receiver: receiver.number().into(),
                effect: Some((*effect).into()),
            }),
        ),
        Row::Trimmed {
            receiver,
            sender,
            below,
        } => (
            None,
            Kind::Trimmed(TrimmedMessage {
                receiver: receiver.number().into(),
                sender: sender.number().into(),
                below: below.0,
            }),
        ),
        Row::Timer { id, timer } => (
            Some(&id.key),
            Kind::Timer(TimerMessage {
                name: Some((&id.name).into()),
                timer: Some(timer.into()),
            }),
        ),
        Row::Replica {
            node,
            key,
            at,
            state,
            deleted,
        } => (
            Some(key),
            Kind::Replica(ReplicaMessage {
                node: node.0,
                at: at.0,
                state: state.clone(),
                deleted: *deleted,
            }),
        ),
        Row::Node { name, replica } => (
            None,
            Kind::Node(NodeMessage {
                name: name.clone(),
                node: replica.node.0,
                incarnation: replica.incarnation.0.get(),
            }),
        ),
    }
}

impl TryFrom<RowMessage> for Row {
    type Error = Fault;

    fn try_from(message: RowMessage) -> Result<Self, Fault> {
        let key = message.key.map(EntityKey::from);
        let entity = || key.clone().ok_or(Fault::Field("the entity of a row"));
        Ok(
            match message.kind.ok_or(Fault::Field("the kind of a row"))? {
                Kind::Head(head) => Self::Head {
                    slot: slot(head.slot)?,
                    head: Head {
                        epoch: Epoch(head.epoch),
                        sequence: SlotSequence(head.sequence),
                    },
                },
                Kind::Entity(facts) => Self::Entity {
                    key: entity()?,
                    facts: facts.into(),
                },
                Kind::State(state) => Self::State {
                    key: entity()?,
                    payload: required(state.payload, "a state")?,
                    tags: state.tags,
                },
                Kind::Snapshot(snapshot) => Self::Snapshot {
                    key: entity()?,
                    snapshot: Snapshot {
                        sequence: snapshot.sequence,
                        payload: required(snapshot.payload, "a snapshot")?,
                    },
                },
                Kind::Event(event) => Self::Event {
                    key: entity()?,
                    event: Event {
                        sequence: event.sequence,
                        at: Timestamp(event.at),
                        payload: required(event.payload, "an event")?,
                    },
                    slot_sequence: SlotSequence(event.slot_sequence),
                },
                Kind::Change(change) => Self::Change {
                    key: entity()?,
                    slot_sequence: SlotSequence(change.slot_sequence),
                    at: Timestamp(change.at),
                    kind: change_kind(&change)?,
                },
                Kind::Reply(record) => Self::Reply {
                    key: entity()?,
                    record: record.try_into()?,
                },
                Kind::Outbox(outbox) => Self::Outbox(Pending {
                    id: required(outbox.id, "the identity of an effect")?,
                    sender: entity()?,
                    effect: required(outbox.effect, "an effect")?,
                    hops: outbox.hops,
                }),
                Kind::Receipt(receipt) => Self::Receipt {
                    receiver: slot(receipt.receiver)?,
                    effect: required(receipt.effect, "the effect of a receipt")?,
                },
                Kind::Trimmed(trimmed) => Self::Trimmed {
                    receiver: slot(trimmed.receiver)?,
                    sender: slot(trimmed.sender)?,
                    below: SlotSequence(trimmed.below),
                },
                Kind::Timer(timer) => Self::Timer {
                    id: TimerId {
                        key: entity()?,
                        name: required(timer.name, "the name of a timer")?,
                    },
                    timer: required(timer.timer, "a timer")?,
                },
                Kind::Replica(replica) => Self::Replica {
                    node: NodeId(replica.node),
                    key: entity()?,
                    at: Timestamp(replica.at),
                    state: replica.state,
                    deleted: replica.deleted,
                },
                Kind::Node(node) => Self::Node {
                    name: node.name,
                    replica: Replica {
                        node: NodeId(node.node),
                        incarnation: Incarnation(
                            NonZeroU32::new(node.incarnation)
                                .ok_or(Fault::Field("an incarnation"))?,
                        ),
                    },
                },
            },
        )
    }
}

impl From<&EntityFacts> for EntityMessage {
    fn from(facts: &EntityFacts) -> Self {
        Self {
            last_event: facts.last_event,
            trimmed: facts.trimmed,
            has_state: facts.has_state,
            snapshot: facts.snapshot,
            deleted_until: facts.deleted_until.map(|until| until.0),
            newest_change: facts.newest_change.map(|sequence| sequence.0),
        }
    }
}

impl From<EntityMessage> for EntityFacts {
    fn from(message: EntityMessage) -> Self {
        Self {
            last_event: message.last_event,
            trimmed: message.trimmed,
            has_state: message.has_state,
            snapshot: message.snapshot,
            deleted_until: message.deleted_until.map(Timestamp),
            newest_change: message.newest_change.map(SlotSequence),
        }
    }
}

fn change(slot_sequence: SlotSequence, at: Timestamp, kind: ChangeKind) -> ChangeMessage {
    let mut message = ChangeMessage {
        slot_sequence: slot_sequence.0,
        at: at.0,
        ..ChangeMessage::default()
    };
    let millis = |time: Option<Timestamp>| time.map(|time| time.0);
    match kind {
        ChangeKind::Set => message.kind = 1,
        ChangeKind::Delete { until } => {
            message.kind = 2;
            message.until = millis(until);
        }
        ChangeKind::Append {
            first,
            count,
            deleted_until,
        } => {
            (message.kind, message.first, message.count) = (3, first, count);
            message.until = millis(deleted_until);
        }
        ChangeKind::Clean => message.kind = 4,
    }
    message
}

fn change_kind(message: &ChangeMessage) -> Result<ChangeKind, Fault> {
    let until = message.until.map(Timestamp);
    match message.kind {
        1 => Ok(ChangeKind::Set),
        2 => Ok(ChangeKind::Delete { until }),
        3 => Ok(ChangeKind::Append {
            first: message.first,
            count: message.count,
            deleted_until: until,
        }),
        4 => Ok(ChangeKind::Clean),
        _ => Err(Fault::Field("the kind of a change")),
    }
}

#[cfg(test)]
mod tests {
    use futures_executor::block_on;

    use super::*;
    use crate::memory::Memory;
    use crate::suite::contents;

    #[test]
    fn rows_are_encoded_as_their_messages_are() {
        let store = Memory::new();
        block_on(contents::fill(&store, 1));
        let rows = block_on(contents::rows(&store));
        let bytes = Rows::encoded(&rows);
        let messages = Rows::decode(&*bytes).unwrap();
        assert_eq!(messages.encode_to_vec(), bytes);
        let decoded = messages.rows.into_iter().map(Row::try_from);
        assert_eq!(decoded.collect::<Result<Vec<_>, _>>().unwrap(), rows);
    }
}
