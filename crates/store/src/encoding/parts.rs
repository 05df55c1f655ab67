//! Messages for the parts of the model that several stored values share.

use std::time::Duration;

use bytes::Bytes;
use bytestring::ByteString;
use firn_model::call::Reply;
use firn_model::code::Code;
use firn_model::decision::{Effect, Forward};
use firn_model::id::{EffectId, EntityKey, Slot, SlotSequence, StorageName};
use firn_model::metadata::{Entry, Metadata, Value};
use firn_model::payload::Payload;
use firn_model::status::{GrpcCode, Status};

use super::Fault;
use crate::commit::{ReplyRecord, StoredAnswer};
use crate::entity::Timestamp;
use crate::timer::{Timer, TimerName, TimerWrite};

/// [`Payload`].
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct PayloadPart {
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) type_url: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    pub(crate) bytes: Bytes,
}

/// [`EntityKey`].
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct KeyPart {
    #[prost(string, tag = "1")]
    pub(crate) storage: String,
    #[prost(string, tag = "2")]
    pub(crate) id: String,
}

/// One header of [`Metadata`].
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct HeaderPart {
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) key: Bytes,
    #[prost(bytes = "bytes", optional, tag = "2")]
    pub(crate) text: Option<Bytes>,
    #[prost(bytes = "bytes", optional, tag = "3")]
    pub(crate) binary: Option<Bytes>,
}

/// [`Forward`].
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct ForwardPart {
    #[prost(string, tag = "1")]
    pub(crate) service: String,
    #[prost(string, tag = "2")]
    pub(crate) method: String,
    #[prost(message, optional, tag = "3")]
    pub(crate) payload: Option<PayloadPart>,
    #[prost(message, repeated, tag = "4")]
    pub(crate) metadata: Vec<HeaderPart>,
}

/// [`Effect`].
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct EffectPart {
    #[prost(message, optional, tag = "1")]
    pub(crate) call: Option<ForwardPart>,
    #[prost(bool, tag = "2")]
    pub(crate) synchronous: bool,
}

/// [`TimerName`].
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct TimerNamePart {
    #[prost(string, optional, tag = "1")]
    pub(crate) own: Option<String>,
    #[prost(message, optional, tag = "2")]
    pub(crate) delayed: Option<EffectIdPart>,
}

/// [`Timer`].
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct TimerPart {
    #[prost(uint64, tag = "1")]
    pub(crate) due: u64,
    #[prost(message, optional, tag = "2")]
    pub(crate) call: Option<ForwardPart>,
    #[prost(uint64, optional, tag = "3")]
    pub(crate) repeat_ms: Option<u64>,
    #[prost(uint32, tag = "4")]
    pub(crate) hops: u32,
}

/// [`TimerWrite`].
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct TimerWritePart {
    #[prost(message, optional, tag = "1")]
    pub(crate) name: Option<TimerNamePart>,
    /// Missing if the timer is gone.
    #[prost(message, optional, tag = "2")]
    pub(crate) timer: Option<TimerPart>,
}

/// [`EffectId`].
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct EffectIdPart {
    #[prost(uint32, tag = "1")]
    pub(crate) slot: u32,
    #[prost(uint64, tag = "2")]
    pub(crate) sequence: u64,
    #[prost(uint32, tag = "3")]
    pub(crate) index: u32,
}

/// A slot and the lowest open sequence of its effects.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct BelowPart {
    #[prost(uint32, tag = "1")]
    pub(crate) slot: u32,
    #[prost(uint64, tag = "2")]
    pub(crate) sequence: u64,
}

/// [`Reply`].
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct ReplyPart {
    #[prost(message, optional, tag = "1")]
    pub(crate) payload: Option<PayloadPart>,
    #[prost(message, repeated, tag = "2")]
    pub(crate) metadata: Vec<HeaderPart>,
}

/// [`Status`].
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct StatusPart {
    #[prost(int32, tag = "1")]
    pub(crate) code: i32,
    #[prost(string, tag = "2")]
    pub(crate) message: String,
    #[prost(uint32, optional, tag = "3")]
    pub(crate) firn: Option<u32>,
    #[prost(message, repeated, tag = "4")]
    pub(crate) details: Vec<PayloadPart>,
}

/// [`StoredAnswer`].
#[derive(Clone, PartialEq, prost::Oneof)]
pub(crate) enum AnswerPart {
    #[prost(message, tag = "5")]
    Reply(ReplyPart),
    #[prost(message, tag = "6")]
    Forward(ForwardPart),
    #[prost(message, tag = "7")]
    Failure(StatusPart),
}

/// [`ReplyRecord`].
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct ReplyRecordPart {
    #[prost(string, tag = "1")]
    pub(crate) method: String,
    #[prost(string, tag = "2")]
    pub(crate) idempotency_key: String,
    /// 16 bytes, big endian.
    #[prost(bytes = "bytes", tag = "3")]
    pub(crate) request_hash: Bytes,
    #[prost(uint64, tag = "4")]
    pub(crate) expires: u64,
    #[prost(oneof = "AnswerPart", tags = "5, 6, 7")]
    pub(crate) answer: Option<AnswerPart>,
}

impl From<&Payload> for PayloadPart {
    fn from(payload: &Payload) -> Self {
        Self {
            type_url: payload.type_url.as_bytes().clone(),
            bytes: payload.bytes.clone(),
        }
    }
}

impl TryFrom<PayloadPart> for Payload {
    type Error = Fault;

    fn try_from(part: PayloadPart) -> Result<Self, Fault> {
        Ok(Self {
            type_url: text(part.type_url, "a type URL")?,
            bytes: part.bytes,
        })
    }
}

impl From<&EntityKey> for KeyPart {
    fn from(key: &EntityKey) -> Self {
        Self {
            storage: key.storage.as_str().to_owned(),
            id: key.id.as_ref().to_owned(),
        }
    }
}

impl From<KeyPart> for EntityKey {
    fn from(part: KeyPart) -> Self {
        Self::new(StorageName::new(part.storage), part.id)
    }
}

impl From<&Forward> for ForwardPart {
    fn from(forward: &Forward) -> Self {
        Self {
            service: forward.service.clone(),
            method: forward.method.clone(),
            payload: Some((&forward.payload).into()),
            metadata: headers(&forward.metadata),
        }
    }
}

impl TryFrom<ForwardPart> for Forward {
    type Error = Fault;

    fn try_from(part: ForwardPart) -> Result<Self, Fault> {
        Ok(Self {
            service: part.service,
            method: part.method,
            payload: required(part.payload, "the payload of a forward")?,
            metadata: metadata(part.metadata)?,
        })
    }
}

impl From<&Effect> for EffectPart {
    fn from(effect: &Effect) -> Self {
        Self {
            call: Some((&effect.call).into()),
            synchronous: effect.synchronous,
        }
    }
}

impl TryFrom<EffectPart> for Effect {
    type Error = Fault;

    fn try_from(part: EffectPart) -> Result<Self, Fault> {
        Ok(Self {
            call: required(part.call, "the call of an effect")?,
            synchronous: part.synchronous,
            // What has a delay is a timer until its time has come.
            delay: None,
        })
    }
}

impl From<&TimerName> for TimerNamePart {
    fn from(name: &TimerName) -> Self {
        match name {
            TimerName::Own(name) => Self {
                own: Some(name.as_ref().to_owned()),
                delayed: None,
            },
            TimerName::Delayed(effect) => Self {
                own: None,
                delayed: Some((*effect).into()),
            },
        }
    }
}

impl TryFrom<TimerNamePart> for TimerName {
    type Error = Fault;

    fn try_from(part: TimerNamePart) -> Result<Self, Fault> {
        match (part.own, part.delayed) {
            (Some(name), None) => Ok(Self::Own(name.into())),
            (None, Some(effect)) => Ok(Self::Delayed(effect.try_into()?)),
            _ => Err(Fault::Field("the name of a timer")),
        }
    }
}

impl From<&Timer> for TimerPart {
    fn from(timer: &Timer) -> Self {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Self {
            due: timer.due.0,
            call: Some((&timer.call).into()),
            repeat_ms: timer.repeat.map(millis),
            hops: timer.hops,
        }
    }
}

impl TryFrom<TimerPart> for Timer {
    type Error = Fault;

    fn try_from(part: TimerPart) -> Result<Self, Fault> {
        Ok(Self {
            due: Timestamp(part.due),
            call: required(part.call, "the call of a timer")?,
            repeat: part.repeat_ms.map(Duration::from_millis),
            hops: part.hops,
        })
    }
}

impl From<&TimerWrite> for TimerWritePart {
    fn from(write: &TimerWrite) -> Self {
        Self {
            name: Some((&write.name).into()),
            timer: write.timer.as_ref().map(Into::into),
        }
    }
}

impl TryFrom<TimerWritePart> for TimerWrite {
    type Error = Fault;

    fn try_from(part: TimerWritePart) -> Result<Self, Fault> {
        Ok(Self {
            name: required(part.name, "the name of a timer")?,
            timer: part.timer.map(TryInto::try_into).transpose()?,
        })
    }
}

impl From<EffectId> for EffectIdPart {
    fn from(effect: EffectId) -> Self {
        Self {
            slot: effect.slot.number().into(),
            sequence: effect.sequence.0,
            index: effect.index,
        }
    }
}

impl TryFrom<EffectIdPart> for EffectId {
    type Error = Fault;

    fn try_from(part: EffectIdPart) -> Result<Self, Fault> {
        Ok(Self {
            slot: slot(part.slot)?,
            sequence: SlotSequence(part.sequence),
            index: part.index,
        })
    }
}

impl From<(Slot, SlotSequence)> for BelowPart {
    fn from((slot, below): (Slot, SlotSequence)) -> Self {
        Self {
            slot: slot.number().into(),
            sequence: below.0,
        }
    }
}

impl TryFrom<BelowPart> for (Slot, SlotSequence) {
    type Error = Fault;

    fn try_from(part: BelowPart) -> Result<Self, Fault> {
        Ok((slot(part.slot)?, SlotSequence(part.sequence)))
    }
}

impl From<&Reply> for ReplyPart {
    fn from(reply: &Reply) -> Self {
        Self {
            payload: Some((&reply.payload).into()),
            metadata: headers(&reply.metadata),
        }
    }
}

impl TryFrom<ReplyPart> for Reply {
    type Error = Fault;

    fn try_from(part: ReplyPart) -> Result<Self, Fault> {
        Ok(Self {
            payload: required(part.payload, "the payload of a reply")?,
            metadata: metadata(part.metadata)?,
        })
    }
}

impl From<&Status> for StatusPart {
    fn from(status: &Status) -> Self {
        Self {
            code: status.code as i32,
            message: status.message.clone(),
            firn: status.firn.map(|code| code.number().into()),
            details: status.details.iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<StatusPart> for Status {
    type Error = Fault;

    fn try_from(part: StatusPart) -> Result<Self, Fault> {
        Ok(Self {
            code: GrpcCode::from_number(part.code).ok_or(Fault::Field("a gRPC status"))?,
            message: part.message,
            firn: part.firn.map(code).transpose()?,
            details: part
                .details
                .into_iter()
                .map(Payload::try_from)
                .collect::<Result<_, _>>()?,
        })
    }
}

impl From<&StoredAnswer> for AnswerPart {
    fn from(answer: &StoredAnswer) -> Self {
        match answer {
            StoredAnswer::Reply(reply) => Self::Reply(reply.into()),
            StoredAnswer::Forward(forward) => Self::Forward(forward.into()),
            StoredAnswer::Failure(status) => Self::Failure(status.into()),
        }
    }
}

impl TryFrom<AnswerPart> for StoredAnswer {
    type Error = Fault;

    fn try_from(part: AnswerPart) -> Result<Self, Fault> {
        Ok(match part {
            AnswerPart::Reply(reply) => Self::Reply(reply.try_into()?),
            AnswerPart::Forward(forward) => Self::Forward(forward.try_into()?),
            AnswerPart::Failure(status) => Self::Failure(status.try_into()?),
        })
    }
}

impl From<&ReplyRecord> for ReplyRecordPart {
    fn from(record: &ReplyRecord) -> Self {
        Self {
            method: record.method.clone(),
            idempotency_key: record.idempotency_key.clone(),
            request_hash: Bytes::copy_from_slice(&record.request_hash.to_be_bytes()),
            expires: record.expires.0,
            answer: Some((&record.answer).into()),
        }
    }
}

impl TryFrom<ReplyRecordPart> for ReplyRecord {
    type Error = Fault;

    fn try_from(part: ReplyRecordPart) -> Result<Self, Fault> {
        let hash = part.request_hash.as_ref().try_into();
        Ok(Self {
            method: part.method,
            idempotency_key: part.idempotency_key,
            request_hash: u128::from_be_bytes(hash.map_err(|_| Fault::Field("a request hash"))?),
            expires: Timestamp(part.expires),
            answer: required(part.answer, "a stored answer")?,
        })
    }
}

/// The slot with a stored number.
pub(crate) fn slot(number: u32) -> Result<Slot, Fault> {
    u16::try_from(number)
        .ok()
        .and_then(Slot::new)
        .ok_or(Fault::Field("a slot"))
}

/// Converts a message that its writer always sets.
pub(crate) fn required<Part, T>(part: Option<Part>, name: &'static str) -> Result<T, Fault>
where
    T: TryFrom<Part, Error = Fault>,
{
    part.ok_or(Fault::Field(name))?.try_into()
}

/// Converts a list of messages.
pub(crate) fn all<Part, T>(parts: Vec<Part>) -> Result<Vec<T>, Fault>
where
    T: TryFrom<Part, Error = Fault>,
{
    parts.into_iter().map(T::try_from).collect()
}

fn code(number: u32) -> Result<Code, Fault> {
    u16::try_from(number)
        .ok()
        .and_then(Code::from_number)
        .ok_or(Fault::Field("a code"))
}

fn text(bytes: Bytes, name: &'static str) -> Result<ByteString, Fault> {
    ByteString::try_from(bytes).map_err(|_| Fault::Field(name))
}

fn headers(metadata: &Metadata) -> Vec<HeaderPart> {
    let header = |entry: &Entry| {
        let (text, binary) = match &entry.value {
            Value::Text(text) => (Some(text.as_bytes().clone()), None),
            Value::Binary(bytes) => (None, Some(bytes.clone())),
        };
        HeaderPart {
            key: entry.key.as_bytes().clone(),
            text,
            binary,
        }
    };
    metadata.entries.iter().map(header).collect()
}

fn metadata(parts: Vec<HeaderPart>) -> Result<Metadata, Fault> {
    let entry = |part: HeaderPart| {
        let value = match (part.text, part.binary) {
            (Some(value), None) => Value::Text(text(value, "a header")?),
            (None, Some(value)) => Value::Binary(value),
            _ => return Err(Fault::Field("a header")),
        };
        Ok(Entry {
            key: text(part.key, "the key of a header")?,
            value,
        })
    };
    Ok(Metadata {
        entries: parts.into_iter().map(entry).collect::<Result<_, _>>()?,
    })
}
