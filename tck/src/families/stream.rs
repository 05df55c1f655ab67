//! The messages of an entity's stream. Each is one field of a message; which number it has depends on
//! kind and dialect.

use bytes::{Buf, Bytes, BytesMut};
use prost::Message;
use prost::encoding::{DecodeContext, WireType, decode_key, skip_field};

use super::dialect::{Dialect, Family, Kind};
use super::wire;

/// From the proxy to the function.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum In {
    Init(wire::Init),
    Event(wire::Event),
    Command(wire::Command),
    /// A whole value, see [`super::delta`]: for a function that has none yet.
    Whole(Bytes),
    /// A delta, see [`super::delta`].
    Change(Bytes),
    Deleted,
    Cancelled(wire::StreamCancelled),
    SnapshotRequest(wire::SnapshotRequest),
}

/// From the function to the proxy.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Out {
    Value(wire::ValueReply),
    Events(wire::EventSourcedReply),
    Data(wire::ReplicatedReply),
    Failure(wire::Failure),
    Streamed(wire::StreamedMessage),
    Cancelled(wire::StreamCancelledResponse),
    Snapshot(wire::SnapshotReply),
}

/// What could not be read.
pub(crate) type Unread = String;

impl In {
    pub(crate) fn encode(&self, dialect: Dialect, kind: Kind) -> Bytes {
        let is_old = dialect == Dialect::Cloudstate01 && kind == Kind::Data;
        let (number, bytes) = match self {
            Self::Init(one) => (1, one.encode_to_vec()),
            Self::Event(one) => (2, one.encode_to_vec()),
            Self::Command(one) => (command(is_old, kind), one.encode_to_vec()),
            Self::Whole(value) => (2, value.to_vec()),
            Self::Change(delta) => (2 + u32::from(is_old), delta.to_vec()),
            Self::Deleted => (3 + u32::from(is_old), Vec::new()),
            Self::Cancelled(one) => (5 + u32::from(is_old), one.encode_to_vec()),
            Self::SnapshotRequest(one) => (4, one.encode_to_vec()),
        };
        field(number, bytes)
    }

    pub(crate) fn decode(dialect: Dialect, kind: Kind, message: &Bytes) -> Result<Self, Unread> {
        let is_old = dialect == Dialect::Cloudstate01 && kind == Kind::Data;
        let (number, bytes) = only_field(message)?.ok_or("a message with nothing in it")?;
        let moved = number - u32::from(is_old && number > 2);
        match (kind, moved) {
            (_, 1) => read(bytes).map(Self::Init),
            (Kind::Data, _) if is_old && number == 2 => Ok(Self::Whole(bytes)),
            (kind, _) if number == command(is_old, kind) => read(bytes).map(Self::Command),
            (Kind::Events, 2) => read(bytes).map(Self::Event),
            (Kind::Events, 4) => read(bytes).map(Self::SnapshotRequest),
            (Kind::Data, 2) => Ok(Self::Change(bytes)),
            (Kind::Data, 3) => Ok(Self::Deleted),
            (Kind::Data, 5) => read(bytes).map(Self::Cancelled),
            (kind, _) => Err(format!("field {number} to a stream of {kind:?}")),
        }
    }
}

fn command(is_old: bool, kind: Kind) -> u32 {
    match kind {
        Kind::Action | Kind::Value => 2,
        Kind::Events => 3,
        Kind::Data => 4 + u32::from(is_old),
    }
}

/// The number of a failure among what a function sends.
fn failure(dialect: Dialect, kind: Kind) -> u32 {
    match (kind, dialect.family()) {
        (Kind::Data, Family::Cloudstate) => 4,
        _ => 2,
    }
}

impl Out {
    pub(crate) fn encode(&self, dialect: Dialect, kind: Kind) -> Bytes {
        let (number, bytes) = match self {
            Self::Value(one) => (1, one.encode_to_vec()),
            Self::Events(one) => (1, one.encode_to_vec()),
            Self::Data(one) => (1, one.encode_to_vec()),
            Self::Failure(one) => (failure(dialect, kind), one.encode_to_vec()),
            Self::Streamed(one) => (2, one.encode_to_vec()),
            Self::Cancelled(one) => (3, one.encode_to_vec()),
            Self::Snapshot(one) => (3, one.encode_to_vec()),
        };
        field(number, bytes)
    }

    pub(crate) fn decode(dialect: Dialect, kind: Kind, message: &Bytes) -> Result<Self, Unread> {
        let (number, bytes) = only_field(message)?.ok_or("a message with nothing in it")?;
        match (kind, number) {
            (Kind::Value, 1) => read(bytes).map(Self::Value),
            (Kind::Events, 1) => read(bytes).map(Self::Events),
            (Kind::Data, 1) => read(bytes).map(Self::Data),
            (kind, number) if number == failure(dialect, kind) => read(bytes).map(Self::Failure),
            (Kind::Data, 2) if dialect.has_streamed_commands() => read(bytes).map(Self::Streamed),
            (Kind::Data, 3) if dialect.has_streamed_commands() => read(bytes).map(Self::Cancelled),
            (Kind::Events, 3) if dialect == Dialect::Kalix => read(bytes).map(Self::Snapshot),
            (kind, number) => Err(format!("field {number} of a stream of {kind:?}")),
        }
    }
}

/// A message that has nothing but one field.
pub(crate) fn field(number: u32, bytes: Vec<u8>) -> Bytes {
    let mut out = BytesMut::new();
    prost::encoding::bytes::encode(number, &bytes, &mut out);
    out.freeze()
}

/// The number and the bytes of a message's only field, the last one if there are more.
pub(crate) fn only_field(message: &Bytes) -> Result<Option<(u32, Bytes)>, Unread> {
    let mut rest = message.clone();
    let mut found = None;
    while rest.has_remaining() {
        let (number, wire_type) = decode_key(&mut rest).map_err(|error| error.to_string())?;
        let context = DecodeContext::default();
        if wire_type == WireType::LengthDelimited {
            let mut bytes = Bytes::new();
            prost::encoding::bytes::merge(wire_type, &mut bytes, &mut rest, context)
                .map_err(|error| error.to_string())?;
            found = Some((number, bytes));
        } else {
            skip_field(wire_type, number, &mut rest, context).map_err(|error| error.to_string())?;
        }
    }
    Ok(found)
}

/// Reads a message.
pub(crate) fn read<M: Message + Default>(bytes: Bytes) -> Result<M, Unread> {
    M::decode(bytes).map_err(|error| format!("bytes that are no message: {error}"))
}
