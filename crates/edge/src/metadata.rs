//! Reply metadata as response headers.
//!
//! Text entries become headers as they are, bytes become base64 in a header whose name ends in
//! `-bin`. A function cannot set what belongs to the protocol (`grpc-*`, content type and length,
//! hop-by-hop headers), nor what Firn says (`firn-code`, `_kalix-*`): those entries are left out, and
//! so are names and values that no header can have.

use base64::Engine as _;
use bytestring::ByteString;
use firn_model::metadata::{Entry, Metadata, Value};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use crate::head::BASE64;

/// The entry with which a function chooses the status of a transcoded call.
const HTTP_CODE: &str = "_kalix-http-code";

/// Adds the entries of `metadata` to response headers.
pub(crate) fn add_to(headers: &mut HeaderMap, metadata: &Metadata) {
    for entry in &metadata.entries {
        if let Some((name, value)) = header(entry) {
            headers.append(name, value);
        }
    }
}

/// The HTTP status that the function chose for a transcoded call, if it chose one.
pub(crate) fn http_status(metadata: &Metadata) -> Option<StatusCode> {
    let code: u16 = metadata.text(HTTP_CODE)?.parse().ok()?;
    // An informational status is not an answer.
    StatusCode::from_u16(code).ok().filter(|_| code >= 200)
}

/// The content type that the function chose for a stream of raw bodies.
pub(crate) fn content_type(metadata: &Metadata) -> Option<HeaderValue> {
    HeaderValue::from_str(metadata.text("content-type")?).ok()
}

fn header(entry: &Entry) -> Option<(HeaderName, HeaderValue)> {
    let name = HeaderName::from_bytes(entry.key.as_bytes()).ok()?;
    if is_reserved(&name) {
        return None;
    }
    match &entry.value {
        Value::Text(text) if name.as_str().ends_with("-bin") => {
            let encoded = match BASE64.decode(text.as_bytes()) {
                Ok(_) => text.clone(),
                Err(_) => ByteString::from(BASE64.encode(text.as_bytes())),
            };
            Some((name, HeaderValue::from_str(&encoded).ok()?))
        }
        Value::Text(text) => Some((name, HeaderValue::from_bytes(text.as_bytes()).ok()?)),
        Value::Binary(bytes) => {
            let name = match name.as_str().ends_with("-bin") {
                true => name,
                false => HeaderName::from_bytes(format!("{name}-bin").as_bytes()).ok()?,
            };
            Some((name, HeaderValue::from_str(&BASE64.encode(bytes)).ok()?))
        }
    }
}

fn is_reserved(name: &HeaderName) -> bool {
    const NAMES: [&str; 10] = [
        "connection",
        "content-length",
        "content-type",
        "firn-code",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ];
    let name = name.as_str();
    NAMES.contains(&name) || name.starts_with("grpc-") || name.starts_with("_kalix-")
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn headers(entries: &[(&'static str, Value)]) -> Vec<(String, String)> {
        let entries = entries.iter().map(|(key, value)| Entry {
            key: ByteString::from_static(key),
            value: value.clone(),
        });
        let mut headers = HeaderMap::new();
        let entries = entries.collect();
        add_to(&mut headers, &Metadata { entries });
        let lines = headers.iter();
        lines
            .map(|(name, value)| {
                let value = String::from_utf8_lossy(value.as_bytes());
                (name.to_string(), value.into_owned())
            })
            .collect()
    }

    #[test]
    fn entries_become_headers_unless_reserved_or_impossible() {
        let text = |text: &'static str| Value::Text(ByteString::from_static(text));
        let bytes = |bytes: &'static [u8]| Value::Binary(Bytes::from_static(bytes));
        let check = |key, value, expected: Option<(&str, &str)>| {
            let expected: Vec<_> = expected
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect();
            assert_eq!(headers(&[(key, value)]), expected, "{key}");
        };
        check("X-Trace", text("1"), Some(("x-trace", "1")));
        check("x-bytes", bytes(&[1, 2]), Some(("x-bytes-bin", "AQI")));
        check("x-bin", bytes(&[1, 2]), Some(("x-bin", "AQI")));
        check("x-bin", text("AQI="), Some(("x-bin", "AQI=")));
        check(
            "x-bin",
            text("not base64!"),
            Some(("x-bin", "bm90IGJhc2U2NCE")),
        );
        check("x-umlaut", text("ü"), Some(("x-umlaut", "ü")));
        check("x-line", text("a\nb"), None);
        check("not a name", text("a"), None);
        check("", text("a"), None);
        check("grpc-status", text("0"), None);
        check("Content-Type", text("text/html"), None);
        check("transfer-encoding", text("chunked"), None);
        check("_kalix-http-code", text("201"), None);
        check("firn-code", text("FIRN-0000"), None);
    }

    #[test]
    fn functions_choose_a_final_http_status() {
        let check = |text: &'static str, expected: Option<u16>| {
            let mut metadata = Metadata::default();
            metadata.push_text(HTTP_CODE, text);
            let found = http_status(&metadata).map(|status| status.as_u16());
            assert_eq!(found, expected, "{text}");
        };
        check("201", Some(201));
        check("599", Some(599));
        check("100", None);
        check("0", None);
        check("teapot", None);
    }
}
