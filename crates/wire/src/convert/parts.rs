//! What every message is made of: payloads, headers, answers and effects.

use std::time::Duration;

use bytestring::ByteString;
use firn_model::call::Reply;
use firn_model::decision::{Answer, Effect, Failure, Forward};
use firn_model::metadata::{Entry, Metadata, Value};
use firn_model::payload::Payload;
use firn_model::policy::Headers;
use firn_model::replicated::Consistency;
use firn_model::status::GrpcCode;

use super::Violation;
use crate::superset::client_action::Action;
use crate::superset::{self, ReplicatedWriteConsistency, metadata_entry};

/// Headers of the families' proxies begin with this and are never taken from a client.
const INTERNAL_PREFIX: &str = "_kalix-";

/// The payload for the wire; nothing is copied.
pub fn any(payload: Payload) -> superset::Any {
    superset::Any {
        type_url: payload.type_url.into_bytes(),
        value: payload.bytes,
    }
}

/// The payload from the wire; nothing is copied.
///
/// # Errors
/// [`Violation::TypeUrl`] if the type URL is not text.
pub fn payload(any: superset::Any) -> Result<Payload, Violation> {
    let type_url = ByteString::try_from(any.type_url).map_err(|_| Violation::TypeUrl)?;
    Ok(Payload {
        type_url,
        bytes: any.value,
    })
}

/// A payload that may be absent, which protobuf reads as an empty one.
pub(super) fn payload_or_empty(any: Option<superset::Any>) -> Result<Payload, Violation> {
    payload(any.unwrap_or_default())
}

/// The headers for the wire that a component's policy lets through; `None` leaves the field unset.
pub fn headers(policy: &Headers, metadata: &Metadata) -> Option<superset::Metadata> {
    let entries = match policy {
        Headers::None => return None,
        Headers::All => metadata.entries.clone(),
        Headers::Listed(keys) => metadata.only(keys).entries,
    };
    let entries = entries
        .into_iter()
        .filter(|entry| !is_internal(&entry.key))
        .map(metadata_entry)
        .collect();
    Some(superset::Metadata { entries })
}

fn is_internal(key: &str) -> bool {
    key.as_bytes()
        .get(..INTERNAL_PREFIX.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(INTERNAL_PREFIX.as_bytes()))
}

fn metadata_entry(entry: Entry) -> superset::MetadataEntry {
    let value = match entry.value {
        Value::Text(text) => metadata_entry::Value::StringValue(text.to_string()),
        Value::Binary(bytes) => metadata_entry::Value::BytesValue(bytes),
    };
    superset::MetadataEntry {
        key: entry.key.to_string(),
        value: Some(value),
    }
}

/// Headers from the wire, in their order; one without a value is dropped.
pub fn metadata(metadata: Option<superset::Metadata>) -> Metadata {
    let entries = metadata.unwrap_or_default().entries.into_iter();
    let entries = entries.filter_map(|entry| {
        let value = match entry.value? {
            metadata_entry::Value::StringValue(text) => Value::Text(text.into()),
            metadata_entry::Value::BytesValue(bytes) => Value::Binary(bytes),
        };
        Some(Entry {
            key: entry.key.into(),
            value,
        })
    });
    Metadata {
        entries: entries.collect(),
    }
}

/// What the caller gets.
///
/// # Errors
/// [`Violation::TypeUrl`] if a type URL is not text.
pub fn answer(action: Option<superset::ClientAction>) -> Result<Answer, Violation> {
    let Some(action) = action.and_then(|action| action.action) else {
        return Ok(Answer::Nothing);
    };
    Ok(match action {
        Action::Reply(it) => Answer::Reply(reply(it)?),
        Action::Forward(it) => Answer::Forward(forward(it)?),
        Action::Failure(it) => Answer::Failure(failure(it)),
    })
}

pub(super) fn reply(reply: superset::Reply) -> Result<Reply, Violation> {
    Ok(Reply {
        payload: payload_or_empty(reply.payload)?,
        metadata: metadata(reply.metadata),
    })
}

pub(super) fn forward(forward: superset::Forward) -> Result<Forward, Violation> {
    Ok(Forward {
        service: forward.service_name,
        method: forward.command_name,
        payload: payload_or_empty(forward.payload)?,
        metadata: metadata(forward.metadata),
    })
}

/// A failure that the function chose; 0 and numbers that gRPC does not know are no code.
pub fn failure(failure: superset::Failure) -> Failure {
    Failure {
        details: Vec::new(),
        text: failure.description,
        code: GrpcCode::from_number(failure.grpc_status_code),
        restart: failure.restart,
    }
}

/// What else is to be done, in order.
///
/// # Errors
/// [`Violation::TypeUrl`] if a type URL is not text.
pub fn effects(effects: Vec<superset::SideEffect>) -> Result<Vec<Effect>, Violation> {
    effects.into_iter().map(effect).collect()
}

fn effect(effect: superset::SideEffect) -> Result<Effect, Violation> {
    Ok(Effect {
        call: Forward {
            service: effect.service_name,
            method: effect.command_name,
            payload: payload_or_empty(effect.payload)?,
            metadata: metadata(effect.metadata),
        },
        synchronous: effect.synchronous,
        delay: None,
    })
}

/// How many replicas must hold a change. A number that is none of the known ones is taken for more
/// than those: all.
pub(crate) fn consistency(number: i32) -> Consistency {
    match ReplicatedWriteConsistency::try_from(number) {
        Ok(ReplicatedWriteConsistency::LocalUnspecified) => Consistency::Local,
        Ok(ReplicatedWriteConsistency::Majority) => Consistency::Majority,
        Ok(ReplicatedWriteConsistency::All) | Err(_) => Consistency::All,
    }
}

/// A span of time; what is negative or malformed counts as none at all.
pub(super) fn duration(duration: superset::Duration) -> Duration {
    let seconds = u64::try_from(duration.seconds).unwrap_or(0);
    let nanos = u32::try_from(duration.nanos).unwrap_or(0).min(999_999_999);
    if duration.seconds < 0 {
        return Duration::ZERO;
    }
    Duration::new(seconds, nanos)
}
