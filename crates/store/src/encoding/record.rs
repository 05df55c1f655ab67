//! The stored form of a [`Commit`], as the log of the embedded store holds it.

use std::collections::BTreeMap;

use bytes::Bytes;
use firn_model::id::{Epoch, SlotSequence};
use firn_model::payload::Payload;
use prost::Message;

use super::parts::{
    BelowPart, EffectIdPart, EffectPart, KeyPart, PayloadPart, ReplyRecordPart, TimerWritePart,
    all, required, slot,
};
use super::{Fault, VERSION, decode, direct};
use crate::commit::{Change, Commit};
use crate::entity::Timestamp;

/// [`Commit`].
#[derive(Clone, PartialEq, prost::Message)]
struct CommitMessage {
    #[prost(uint32, tag = "1")]
    slot: u32,
    #[prost(uint64, tag = "2")]
    epoch: u64,
    #[prost(uint64, tag = "3")]
    sequence: u64,
    #[prost(uint64, tag = "4")]
    at: u64,
    #[prost(message, optional, tag = "5")]
    key: Option<KeyPart>,
    #[prost(oneof = "ChangeMessage", tags = "6, 7, 8, 9, 10")]
    change: Option<ChangeMessage>,
    #[prost(message, repeated, tag = "11")]
    effects: Vec<EffectPart>,
    #[prost(uint32, tag = "12")]
    hops: u32,
    #[prost(message, optional, tag = "13")]
    reply_record: Option<ReplyRecordPart>,
    #[prost(message, optional, tag = "14")]
    received: Option<EffectIdPart>,
    #[prost(message, optional, tag = "15")]
    receipts_below: Option<BelowPart>,
    #[prost(message, repeated, tag = "16")]
    delivered: Vec<EffectIdPart>,
    #[prost(message, repeated, tag = "17")]
    timers: Vec<TimerWritePart>,
    #[prost(btree_map = "string, string", tag = "18")]
    tags: BTreeMap<String, String>,
}

/// [`Change`].
#[derive(Clone, PartialEq, prost::Oneof)]
enum ChangeMessage {
    #[prost(message, tag = "6")]
    Set(PayloadPart),
    #[prost(message, tag = "7")]
    Delete(DeleteMessage),
    #[prost(message, tag = "8")]
    Append(AppendMessage),
    #[prost(message, tag = "9")]
    Snapshot(SnapshotMessage),
    #[prost(message, tag = "10")]
    Clean(CleanMessage),
}

#[derive(Clone, PartialEq, prost::Message)]
struct DeleteMessage {
    #[prost(uint64, optional, tag = "1")]
    until: Option<u64>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct AppendMessage {
    #[prost(uint64, tag = "1")]
    first: u64,
    #[prost(message, repeated, tag = "2")]
    events: Vec<PayloadPart>,
    #[prost(message, optional, tag = "3")]
    snapshot: Option<PayloadPart>,
    #[prost(uint64, optional, tag = "4")]
    deleted_until: Option<u64>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct SnapshotMessage {
    #[prost(uint64, tag = "1")]
    sequence: u64,
    #[prost(message, optional, tag = "2")]
    payload: Option<PayloadPart>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct CleanMessage {}

/// Appends the stored form of a commit.
pub(crate) fn encode_commit(commit: &Commit, bytes: &mut Vec<u8>) {
    bytes.push(VERSION);
    direct::number(1, commit.slot.number().into(), bytes);
    direct::number(2, commit.epoch.0, bytes);
    direct::number(3, commit.sequence.0, bytes);
    direct::number(4, commit.at.0, bytes);
    if let Some(key) = &commit.key {
        direct::key(5, key, bytes);
    }
    match &commit.change {
        Some(Change::Set(payload)) => direct::payload(6, payload, bytes),
        Some(Change::Append {
            first,
            events,
            snapshot,
            deleted_until: None,
        }) => encode_append(*first, events, snapshot.as_ref(), bytes),
        Some(change) => ChangeMessage::from(change).encode(bytes),
        None => {}
    }
    if !is_plain(commit) {
        let encoded = rest(commit).encode(bytes);
        encoded.expect("a vector grows to what a message needs");
    }
}

/// Appends [`AppendMessage`].
fn encode_append(first: u64, events: &[Payload], snapshot: Option<&Payload>, bytes: &mut Vec<u8>) {
    let payloads = events.iter().chain(snapshot).map(direct::payload_len);
    let length = direct::number_len(first) + payloads.sum::<usize>();
    direct::begin(8, length, bytes);
    direct::number(1, first, bytes);
    for event in events {
        direct::payload(2, event, bytes);
    }
    if let Some(payload) = snapshot {
        direct::payload(3, payload, bytes);
    }
}

/// Whether a commit has nothing behind its change.
fn is_plain(commit: &Commit) -> bool {
    commit.effects.is_empty()
        && commit.hops == 0
        && commit.reply_record.is_none()
        && commit.received.is_none()
        && commit.receipts_below.is_none()
        && commit.delivered.is_empty()
        && commit.timers.is_empty()
        && commit.tags.is_empty()
}

/// The commit that was stored.
pub(crate) fn decode_commit(bytes: Bytes) -> Result<Commit, Fault> {
    decode::<CommitMessage>(bytes)?.try_into()
}

/// What stands behind the change.
fn rest(commit: &Commit) -> CommitMessage {
    CommitMessage {
        effects: commit.effects.iter().map(Into::into).collect(),
        hops: commit.hops,
        reply_record: commit.reply_record.as_ref().map(Into::into),
        received: commit.received.map(Into::into),
        receipts_below: commit.receipts_below.map(Into::into),
        delivered: commit.delivered.iter().copied().map(Into::into).collect(),
        timers: commit.timers.iter().map(Into::into).collect(),
        tags: commit.tags.clone(),
        ..CommitMessage::default()
    }
}

impl TryFrom<CommitMessage> for Commit {
    type Error = Fault;

    fn try_from(message: CommitMessage) -> Result<Self, Fault> {
        Ok(Self {
            slot: slot(message.slot)?,
            epoch: Epoch(message.epoch),
            sequence: SlotSequence(message.sequence),
            at: Timestamp(message.at),
            key: message.key.map(Into::into),
            change: message.change.map(TryInto::try_into).transpose()?,
            effects: all(message.effects)?,
            hops: message.hops,
            reply_record: message.reply_record.map(TryInto::try_into).transpose()?,
            received: message.received.map(TryInto::try_into).transpose()?,
            receipts_below: message.receipts_below.map(TryInto::try_into).transpose()?,
            delivered: all(message.delivered)?,
            timers: all(message.timers)?,
            tags: message.tags,
        })
    }
}

impl From<&Change> for ChangeMessage {
    fn from(change: &Change) -> Self {
        match change {
            Change::Set(payload) => Self::Set(payload.into()),
            Change::Delete { until } => Self::Delete(DeleteMessage {
                until: until.map(|until| until.0),
            }),
            Change::Append {
                first,
                events,
                snapshot,
                deleted_until,
            } => Self::Append(AppendMessage {
                first: *first,
                events: events.iter().map(Into::into).collect(),
                snapshot: snapshot.as_ref().map(Into::into),
                deleted_until: deleted_until.map(|until| until.0),
            }),
            Change::Snapshot { sequence, payload } => Self::Snapshot(SnapshotMessage {
                sequence: *sequence,
                payload: Some(payload.into()),
            }),
            Change::Clean => Self::Clean(CleanMessage {}),
        }
    }
}

impl TryFrom<ChangeMessage> for Change {
    type Error = Fault;

    fn try_from(message: ChangeMessage) -> Result<Self, Fault> {
        Ok(match message {
            ChangeMessage::Set(payload) => Self::Set(payload.try_into()?),
            ChangeMessage::Delete(delete) => Self::Delete {
                until: delete.until.map(Timestamp),
            },
            ChangeMessage::Append(append) => Self::Append {
                first: append.first,
                events: all(append.events)?,
                snapshot: append.snapshot.map(TryInto::try_into).transpose()?,
                deleted_until: append.deleted_until.map(Timestamp),
            },
            ChangeMessage::Snapshot(snapshot) => Self::Snapshot {
                sequence: snapshot.sequence,
                payload: required(snapshot.payload, "the payload of a snapshot")?,
            },
            ChangeMessage::Clean(CleanMessage {}) => Self::Clean,
        })
    }
}
