//! A request's headers: what the function may see of them, the deadline, the idempotency key.
//!
//! All headers become text entries, `-bin` headers bytes. Left out are those that belong to the
//! connection (hop by hop), to the transport's framing, to Firn's own business (the idempotency key)
//! and those of the settings: a header that Firn hands out must not come from outside.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use bytestring::ByteString;
use firn_model::call::CallHead;
use firn_model::code::Code;
use firn_model::contract::Method;
use firn_model::metadata::{Entry, Metadata, Value};
use firn_model::policy::Headers;
use firn_model::status::{GrpcCode, Status};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use tokio::time::Instant;

use crate::config::Config;

/// The header of a client's idempotency key.
const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// Base64 of binary headers: written without padding, read with or without.
pub(crate) const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Reads a request's headers for a call of `method`.
///
/// # Errors
/// INVALID_ARGUMENT if the timeout or the idempotency key is not valid.
pub(crate) fn read(
    headers: &HeaderMap,
    method: &Arc<Method>,
    config: &Config,
) -> Result<CallHead, Status> {
    Ok(CallHead {
        method: Arc::clone(method),
        metadata: metadata(headers, &method.component.policies.headers, config),
        deadline: deadline(headers)?.map(Instant::into_std),
        idempotency_key: idempotency_key(headers)?,
    })
}

/// When the caller stops waiting.
///
/// # Errors
/// INVALID_ARGUMENT if `grpc-timeout` is malformed.
pub(crate) fn deadline(headers: &HeaderMap) -> Result<Option<Instant>, Status> {
    let Some(value) = headers.get("grpc-timeout") else {
        return Ok(None);
    };
    match value.to_str().ok().and_then(timeout) {
        // A time beyond what the clock can count is no deadline at all.
        Some(timeout) => Ok(Instant::now().checked_add(timeout)),
        None => Err(malformed(
            "header grpc-timeout is not valid: send one to eight digits and a unit of H, M, S, m, u or n",
        )),
    }
}

/// Reads the value of `grpc-timeout`.
fn timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let count: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(count * 3600),
        "M" => Duration::from_secs(count * 60),
        "S" => Duration::from_secs(count),
        "m" => Duration::from_millis(count),
        "u" => Duration::from_micros(count),
        "n" => Duration::from_nanos(count),
        _ => return None,
    })
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<ByteString>, Status> {
    match headers.get(IDEMPOTENCY_KEY).map(HeaderValue::to_str) {
        None => Ok(None),
        Some(Ok(key)) if !key.is_empty() => Ok(Some(ByteString::from(key))),
        Some(_) => Err(malformed(
            "header idempotency-key is not valid: send printable ASCII text that is not empty",
        )),
    }
}

fn malformed(text: &str) -> Status {
    Status::refused(GrpcCode::InvalidArgument, Code::HeaderMalformed, text)
}

/// The headers that the function may see: nothing is built for a component that takes none.
fn metadata(headers: &HeaderMap, wanted: &Headers, config: &Config) -> Metadata {
    let mut metadata = Metadata::default();
    if *wanted == Headers::None {
        return metadata;
    }
    let named_by_connection = connection_options(headers);
    for (name, value) in headers {
        let passed = match wanted {
            Headers::None => false,
            Headers::Listed(listed) => listed
                .iter()
                .any(|wanted| name.as_str().eq_ignore_ascii_case(wanted)),
            Headers::All => true,
        };
        if passed
            && !is_transport(name)
            && !is_stripped(name, config)
            && !named_by_connection
                .iter()
                .any(|option| name.as_str().eq_ignore_ascii_case(option))
        {
            metadata.entries.extend(entries(name, value));
        }
    }
    metadata
}

/// Whether the header belongs to the connection or to the framing of this one request.
fn is_transport(name: &HeaderName) -> bool {
    const NAMES: [&str; 13] = [
        "connection",
        "content-length",
        "grpc-accept-encoding",
        "grpc-encoding",
        "grpc-timeout",
        "http2-settings",
        IDEMPOTENCY_KEY,
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ];
    NAMES.contains(&name.as_str())
}

fn is_stripped(name: &HeaderName, config: &Config) -> bool {
    config.strip_headers.contains(name)
        || config
            .strip_prefixes
            .iter()
            .any(|prefix| name.as_str().starts_with(prefix))
}

/// Headers that `Connection` declares to be hop by hop.
fn connection_options(headers: &HeaderMap) -> Vec<&str> {
    headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(',').map(str::trim))
        .collect()
}

/// The entries of one header line. A binary header may hold several values, separated by commas; one
/// that is not base64 is left out.
fn entries(name: &HeaderName, value: &HeaderValue) -> Vec<Entry> {
    let key = ByteString::from(name.as_str());
    if !name.as_str().ends_with("-bin") {
        let value = Value::Text(text(value));
        return vec![Entry { key, value }];
    }
    let parts = value.as_bytes().split(|byte| *byte == b',');
    parts
        .filter_map(|part| BASE64.decode(part.trim_ascii()).ok())
        .map(|bytes| Entry {
            key: key.clone(),
            value: Value::Binary(Bytes::from(bytes)),
        })
        .collect()
}

/// A header's text: UTF-8 if it is that, else each byte as the Latin-1 character it stands for.
fn text(value: &HeaderValue) -> ByteString {
    match std::str::from_utf8(value.as_bytes()) {
        Ok(text) => ByteString::from(text),
        Err(_) => ByteString::from(
            value
                .as_bytes()
                .iter()
                .map(|byte| char::from(*byte))
                .collect::<String>(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_read_as_the_grpc_specification_says() {
        let check = |text, expected: Option<Duration>| {
            assert_eq!(timeout(text), expected, "{text}");
        };
        check("1H", Some(Duration::from_secs(3600)));
        check("2M", Some(Duration::from_secs(120)));
        check("3S", Some(Duration::from_secs(3)));
        check("250m", Some(Duration::from_millis(250)));
        check("5u", Some(Duration::from_micros(5)));
        check("99999999n", Some(Duration::from_nanos(99_999_999)));
        for bad in [
            "",
            "S",
            "1",
            "1s",
            "-1S",
            "+1S",
            "1.5S",
            "123456789S",
            "1 S",
            "1é",
        ] {
            check(bad, None);
        }
    }

    fn headers(lines: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            headers.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        headers
    }

    fn seen(lines: &[(&str, &str)], wanted: &Headers, config: &Config) -> Vec<(String, Value)> {
        let metadata = metadata(&headers(lines), wanted, config);
        let entries = metadata.entries.into_iter();
        entries.map(|e| (e.key.to_string(), e.value)).collect()
    }

    fn plain(text: &'static str) -> Value {
        Value::Text(ByteString::from_static(text))
    }

    #[test]
    fn functions_see_all_headers_but_those_of_the_transport() {
        let config = Config {
            strip_headers: vec![HeaderName::from_static("x-secret")],
            ..Config::default()
        };
        let lines = [
            ("authorization", "Bearer x"),
            ("te", "trailers"),
            ("connection", "close, X-Hop"),
            ("x-hop", "1"),
            ("x-secret", "token"),
            ("_kalix-src", "self"),
            ("grpc-timeout", "1S"),
            ("idempotency-key", "k"),
            ("content-type", "application/grpc"),
            ("a-bin", "AQI=,Aw"),
            ("b-bin", "&"),
        ];
        let expected = [
            ("authorization".to_owned(), plain("Bearer x")),
            ("content-type".to_owned(), plain("application/grpc")),
            (
                "a-bin".to_owned(),
                Value::Binary(Bytes::from_static(&[1, 2])),
            ),
            ("a-bin".to_owned(), Value::Binary(Bytes::from_static(&[3]))),
        ];
        assert_eq!(seen(&lines, &Headers::All, &config), expected);
    }

    #[test]
    fn components_take_the_headers_of_their_policy() {
        let config = Config::default();
        let lines = [("x-one", "1"), ("x-two", "zwei"), ("x-one", "é")];
        assert_eq!(seen(&lines, &Headers::None, &config), []);
        let listed = Headers::Listed(vec!["X-One".into()]);
        let expected = [
            ("x-one".to_owned(), plain("1")),
            ("x-one".to_owned(), plain("é")),
        ];
        assert_eq!(seen(&lines, &listed, &config), expected);
    }

    #[test]
    fn idempotency_key_must_be_text() {
        let key = |value: &str| idempotency_key(&headers(&[(IDEMPOTENCY_KEY, value)]));
        assert_eq!(key("abc"), Ok(Some(ByteString::from_static("abc"))));
        assert_eq!(key("").unwrap_err().firn, Some(Code::HeaderMalformed));
        assert_eq!(key("é").unwrap_err().firn, Some(Code::HeaderMalformed));
        assert_eq!(idempotency_key(&HeaderMap::new()), Ok(None));
    }
}
