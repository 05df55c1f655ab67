//! A contract, and what is stored under it, as JSON for the admin port.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use firn_model::contract::{Contract, Method};
use firn_model::key::Key;
use firn_model::payload::Payload;
use firn_model::replicated::Delta;
use firn_store::Event;
use prost::Message;
use prost_reflect::{DynamicMessage, SerializeOptions};
use serde_json::{Value, json};

/// The whole contract.
pub(crate) fn contract(contract: &Contract) -> Value {
    let components: Vec<Value> = contract
        .components
        .iter()
        .map(|component| {
            let mut methods: Vec<&Method> = contract
                .methods()
                .map(|method| &**method)
                .filter(|method| method.component.service == component.service)
                .collect();
            methods.sort_by_key(|method| method.descriptor.index());
            json!({
                "service": &*component.service,
                "kind": component.kind.to_string(),
                "storage": component.storage.as_str(),
                "methods": methods.iter().map(|method| self::method(method)).collect::<Vec<_>>(),
            })
        })
        .collect();
    let warnings: Vec<Value> = contract
        .warnings
        .iter()
        .map(|warning| json!({ "code": warning.code.to_string(), "text": warning.text }))
        .collect();
    json!({
        "family": contract.family,
        "name": contract.info.name,
        "version": contract.info.version,
        "runtime": contract.info.runtime,
        "sdk": contract.info.sdk,
        "components": components,
        "warnings": warnings,
    })
}

fn method(method: &Method) -> Value {
    let key = match &method.key {
        Key::None => Value::Null,
        Key::Generated => json!("generated"),
        Key::Fields(fields) => fields.iter().map(|field| field.name.as_str()).collect(),
    };
    json!({
        "name": &*method.name,
        "input": method.descriptor.input().full_name(),
        "output": method.descriptor.output().full_name(),
        "streamsIn": method.streams_in(),
        "streamsOut": method.streams_out(),
        "key": key,
        "http": firn_edge::rules::routes(method),
    })
}

/// An event.
pub(crate) fn event(contract: &Contract, event: &Event) -> Value {
    json!({
        "sequence": event.sequence,
        "atMs": event.at.0,
        "event": decoded(contract, &event.payload),
    })
}

/// The value of a replicated entity: numbers and flags as such, sets as lists, maps as lists of
/// entries, because keys may be of any type.
pub(crate) fn replicated(contract: &Contract, value: &Delta) -> Value {
    let payload = |payload: &Payload| decoded(contract, payload);
    let all = |payloads: &[Payload]| -> Value { payloads.iter().map(payload).collect() };
    match value {
        Delta::GrowCounter(value) => json!(value),
        Delta::Counter(value) => json!(value),
        Delta::Flag(on) => json!(on),
        Delta::GrowSet(elements) => all(elements),
        Delta::Set(set) => all(&set.added),
        Delta::Register(write) => payload(&write.value),
        Delta::Vote(votes) => json!({
            "own": votes.own,
            "yes": votes.yes,
            "members": votes.members,
        }),
        Delta::Map(map) => entries(contract, &map.added, |value| replicated(contract, value)),
        Delta::CounterMap(map) => entries(contract, &map.updated, |value| json!(value)),
        Delta::RegisterMap(map) => entries(contract, &map.updated, |write| payload(&write.value)),
        Delta::MultiMap(map) => entries(contract, &map.updated, |set| all(&set.added)),
    }
}

fn entries<T>(contract: &Contract, entries: &[(Payload, T)], value: impl Fn(&T) -> Value) -> Value {
    entries
        .iter()
        .map(|(key, it)| json!({ "key": decoded(contract, key), "value": value(it) }))
        .collect()
}

/// A payload: by the contract's descriptors if they have its type, else its bytes in base64.
pub(crate) fn decoded(contract: &Contract, payload: &Payload) -> Value {
    let by_contract = payload
        .message_name()
        .and_then(|name| contract.pool.get_message_by_name(name))
        .and_then(|descriptor| DynamicMessage::decode(descriptor, payload.bytes.clone()).ok())
        .and_then(|message| {
            let options = SerializeOptions::new().skip_default_fields(false);
            message
                .serialize_with_options(serde_json::value::Serializer, &options)
                .ok()
        });
    match by_contract.or_else(|| primitive(payload)) {
        Some(value) => json!({ "type": &*payload.type_url, "value": value }),
        None => json!({
            "type": &*payload.type_url,
            "base64": BASE64_STANDARD.encode(&payload.bytes),
        }),
    }
}

/// A bare value in the way of Cloudstate, Akka Serverless and Kalix: the last part of the type URL
/// names a type of protobuf, and the bytes are a message with the value in field 1.
fn primitive(payload: &Payload) -> Option<Value> {
    let (prefix, name) = payload.type_url.rsplit_once('/')?;
    if !["p.cloudstate.io", "p.akkaserverless.com", "type.kalix.io"].contains(&prefix) {
        return None;
    }
    let bytes = payload.bytes.clone();
    match name {
        "string" => String::decode(bytes).ok().map(Value::from),
        "int32" | "int64" => i64::decode(bytes).ok().map(Value::from),
        "float" => f32::decode(bytes).ok().map(Value::from),
        "double" => f64::decode(bytes).ok().map(Value::from),
        "bool" => bool::decode(bytes).ok().map(Value::from),
        _ => None,
    }
}
