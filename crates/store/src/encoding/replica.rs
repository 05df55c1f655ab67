//! The stored forms of a [`ReplicaWrite`] and of a [`Run`], as the log of the embedded store holds
//! them.

use std::num::NonZeroU32;

use bytes::Bytes;
use firn_model::id::{Incarnation, NodeId, Replica};

use super::parts::{BelowPart, EffectIdPart, KeyPart, all};
use super::{Fault, decode, encode_into};
use crate::entity::Timestamp;
use crate::replica::{ReplicaWrite, Run};

/// [`ReplicaWrite`], and the node that made it.
#[derive(Clone, PartialEq, prost::Message)]
struct ReplicaMessage {
    #[prost(fixed64, tag = "1")]
    node: u64,
    #[prost(message, optional, tag = "2")]
    key: Option<KeyPart>,
    #[prost(uint64, tag = "3")]
    at: u64,
    #[prost(bytes = "bytes", tag = "4")]
    state: Bytes,
    #[prost(bool, tag = "5")]
    deleted: bool,
    #[prost(message, repeated, tag = "6")]
    received: Vec<EffectIdPart>,
    #[prost(message, repeated, tag = "7")]
    receipts_below: Vec<BelowPart>,
}

/// [`Run`].
#[derive(Clone, PartialEq, prost::Message)]
struct RunMessage {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(fixed64, tag = "2")]
    node: u64,
    #[prost(uint32, tag = "3")]
    incarnation: u32,
}

/// Appends the stored form of a write of a node's replica.
pub(crate) fn encode_replica(node: NodeId, write: &ReplicaWrite, bytes: &mut Vec<u8>) {
    let message = ReplicaMessage {
        node: node.0,
        key: Some((&write.key).into()),
        at: write.at.0,
        state: write.state.clone(),
        deleted: write.deleted,
        received: write.received.iter().copied().map(Into::into).collect(),
        receipts_below: write
            .receipts_below
            .iter()
            .copied()
            .map(Into::into)
            .collect(),
    };
    encode_into(&message, bytes);
}

/// The write of a node's replica that was stored.
pub(crate) fn decode_replica(bytes: Bytes) -> Result<(NodeId, ReplicaWrite), Fault> {
    let message: ReplicaMessage = decode(bytes)?;
    let key = message.key.ok_or(Fault::Field("the entity of a replica"))?;
    let write = ReplicaWrite {
        key: key.into(),
        at: Timestamp(message.at),
        state: message.state,
        deleted: message.deleted,
        received: all(message.received)?,
        receipts_below: all(message.receipts_below)?,
    };
    Ok((NodeId(message.node), write))
}

/// Appends the stored form of a run.
pub(crate) fn encode_run(run: &Run, bytes: &mut Vec<u8>) {
    let message = RunMessage {
        name: run.name.clone(),
        node: run.replica.node.0,
        incarnation: run.replica.incarnation.0.get(),
    };
    encode_into(&message, bytes);
}

/// The run that was stored.
pub(crate) fn decode_run(bytes: Bytes) -> Result<Run, Fault> {
    let message: RunMessage = decode(bytes)?;
    let incarnation = NonZeroU32::new(message.incarnation);
    Ok(Run {
        name: message.name,
        replica: Replica {
            node: NodeId(message.node),
            incarnation: Incarnation(incarnation.ok_or(Fault::Field("an incarnation"))?),
        },
    })
}

#[cfg(test)]
mod tests;
