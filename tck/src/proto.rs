//! The generated messages of the protocol and of the model services.

#![expect(
    unreachable_pub,
    reason = "generated code knows nothing of where it is included"
)]

/// The protocol: `proto/firn/v1/function.proto`.
pub(crate) mod v1 {
    include!("generated/firn.v1.rs");
}

/// The model services: `tck/proto/firn/tck/v1/model.proto`.
pub(crate) mod model {
    include!("generated/firn.tck.v1.rs");
}

/// The descriptors of the model services.
pub(crate) const MODEL_DESCRIPTORS: &[u8] = include_bytes!("generated/model.bin");

/// With what type URLs begin.
pub(crate) const TYPE_URL: &str = "type.googleapis.com/";

/// A message with its type's name, as an `Any`.
pub(crate) fn any(name: &str, message: &impl prost::Message) -> prost_types::Any {
    prost_types::Any {
        type_url: format!("{TYPE_URL}firn.tck.v1.{name}"),
        value: message.encode_to_vec(),
    }
}

/// The message in an `Any`, if it is of this type of the model.
pub(crate) fn unpack<M: prost::Message + Default>(any: &prost_types::Any, name: &str) -> Option<M> {
    let of = any.type_url.strip_prefix(TYPE_URL)?;
    (of.strip_prefix("firn.tck.v1.")? == name).then_some(())?;
    M::decode(any.value.as_slice()).ok()
}

/// A text as the `Any` that the model services use for elements, keys and details.
pub(crate) fn text(text: &str) -> prost_types::Any {
    any("Text", &model::Text { text: text.into() })
}

/// The text in such an `Any`.
pub(crate) fn text_of(any: &prost_types::Any) -> Option<String> {
    unpack::<model::Text>(any, "Text").map(|text| text.text)
}
