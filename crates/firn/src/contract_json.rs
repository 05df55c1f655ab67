//! A contract, and what is stored under it, as JSON for the admin port.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use firn_model::contract::{Contract, Method};
use firn_model::key::Key;
use firn_model::payload::Payload;
use firn_store::Event;
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
    match by_contract {
        Some(value) => json!({ "type": &*payload.type_url, "value": value }),
        None => json!({
            "type": &*payload.type_url,
            "base64": BASE64_STANDARD.encode(&payload.bytes),
        }),
    }
}
