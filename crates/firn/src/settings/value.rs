//! Values of settings: texts that become what they stand for, or why they cannot.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::time::Duration;

use firn_link::Family;
use firn_link::v1::port;
use firn_model::code::Code;
use firn_store::postgres::{self, Migrate};

use super::{StoreUrl, Wrong};

/// How the URL of a database begins.
const POSTGRES: [&str; 2] = ["postgres", "postgresql"];

/// A parameter of it that nobody may read.
const PASSWORD: &str = "password=";

/// The shortest lease: a busy machine can be late by a good part of a second.
const LEASE_MIN: Duration = Duration::from_secs(1);

pub(super) fn function_address(text: &str) -> Result<port::Address, String> {
    match text.strip_prefix("unix:") {
        Some("") => Err("expected a path after unix:".to_owned()),
        Some(path) => Ok(port::Address::Unix(path.into())),
        None => Ok(port::Address::Tcp(address(text)?)),
    }
}

/// A text that may be left out.
pub(super) fn optional(text: &str) -> Result<Option<String>, String> {
    Ok((!text.is_empty()).then(|| text.to_owned()))
}

/// A token that can be sent in a header, or none.
pub(super) fn token(text: &str) -> Result<Option<String>, String> {
    match text.bytes().all(|byte| byte.is_ascii_graphic()) {
        true => optional(text),
        false => Err(
            "a token is sent in a header: write letters, digits and signs of ASCII, without spaces"
                .to_owned(),
        ),
    }
}

pub(super) fn address(text: &str) -> Result<SocketAddr, String> {
    let (host, port) = host_port(text)?;
    let ip = match host.as_str() {
        "localhost" => IpAddr::V4(Ipv4Addr::LOCALHOST),
        host => host.parse().map_err(|_| {
            format!("{host} is not an address to listen on; write for example 127.0.0.1:{port}")
        })?,
    };
    Ok(SocketAddr::new(ip, port))
}

pub(super) fn host_port(text: &str) -> Result<(String, u16), String> {
    let wanted = "expected HOST:PORT, for example 127.0.0.1:9000";
    let (host, port) = text.rsplit_once(':').ok_or_else(|| wanted.to_owned())?;
    let port = port
        .parse()
        .map_err(|_| "expected HOST:PORT, with a port from 0 to 65535".to_owned())?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    if host.is_empty() {
        return Err(wanted.to_owned());
    }
    Ok((host.to_owned(), port))
}

/// `HOST:PORT`, with brackets around an IPv6 address.
pub(super) fn join(host: &str, port: u16) -> String {
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

pub(super) fn store(text: &str) -> Result<StoreUrl, Wrong> {
    match text.split_once(':') {
        Some(("memory", "")) => Ok(StoreUrl::Memory),
        Some(("embedded", folder)) if !folder.is_empty() => Ok(StoreUrl::Embedded(folder.into())),
        Some((scheme, _)) if POSTGRES.contains(&scheme) => match postgres::Url::parse(text) {
            Ok(url) => Ok(StoreUrl::Postgres(Box::new(url))),
            Err(error) => Err(Wrong {
                reason: format!("{error} ({})", error.code()),
                remedy: Some(error.remedy()),
            }),
        },
        Some((scheme @ ("mysql" | "sqlite"), _)) => Err(format!(
            "{scheme} is not served by this version ({})",
            Code::StoreUnknown
        )
        .into()),
        _ => Err(format!(
            "expected embedded:FOLDER, postgres://… or memory: ({})",
            Code::StoreUnknown
        )
        .into()),
    }
}

/// A setting as a fault shows it: the passwords of a URL are left out, also one that was not escaped.
pub(super) fn shown(text: &str) -> String {
    let mut parts = text.split('&').map(|part| match part.split_once(PASSWORD) {
        Some((before, _)) if before.is_empty() || before.ends_with('?') => {
            format!("{before}{PASSWORD}…")
        }
        _ => part.to_owned(),
    });
    let first = parts.next().unwrap_or_default();
    let text = parts.fold(first, |text, part| format!("{text}&{part}"));
    let places = match text.split_once("://") {
        Some((scheme, rest)) => Some((format!("{scheme}://"), rest)),
        None => {
            let split = text.split_once(':');
            split
                .filter(|(scheme, _)| POSTGRES.contains(scheme))
                .map(|(scheme, rest)| (format!("{scheme}:"), rest))
        }
    };
    let masked = places.and_then(|(scheme, rest)| {
        let (place, host) = rest.rsplit_once('@')?;
        let (user, _) = place.split_once(':')?;
        Some(format!("{scheme}{user}:…@{host}"))
    });
    masked.unwrap_or(text)
}

pub(super) fn migrate(text: &str) -> Result<Migrate, String> {
    match text {
        "auto" => Ok(Migrate::Auto),
        "check" => Ok(Migrate::Check),
        _ => Err("expected auto or check".to_owned()),
    }
}

pub(super) fn lease(text: &str) -> Result<Duration, String> {
    let lease = duration(text)?;
    match lease < LEASE_MIN {
        true => Err("expected at least 1s: a lease that is shorter runs out by itself".to_owned()),
        false => Ok(lease),
    }
}

pub(super) fn family(text: &str) -> Result<Family, String> {
    let names: Vec<&str> = Family::NAMES.iter().map(|(name, _)| *name).collect();
    Family::NAMES
        .iter()
        .find(|(name, _)| *name == text)
        .map(|(_, family)| *family)
        .ok_or_else(|| format!("expected one of {}", names.join(", ")))
}

/// A number and its unit: `250ms`, `30s`, `5m`, `24h`, `30d`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (amount, unit) = text.split_at(digits);
    let milliseconds = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err("expected a number with ms, s, m, h or d, for example 30s".to_owned()),
    };
    amount
        .parse::<u64>()
        .ok()
        .and_then(|amount| amount.checked_mul(milliseconds))
        .filter(|milliseconds| *milliseconds > 0)
        .map(Duration::from_millis)
        .ok_or_else(|| {
            "expected a number above 0 with ms, s, m, h or d, for example 30s".to_owned()
        })
}

pub(super) fn number(text: &str) -> Result<u64, String> {
    text.parse()
        .map_err(|_| "expected a whole number".to_owned())
}

pub(super) fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err("expected a whole number above 0".to_owned()),
        Ok(number) => Ok(number),
    }
}

/// Half of the processors, rounded up, if nothing is said: the function needs the others.
pub(super) fn threads(text: &str) -> Result<NonZeroUsize, String> {
    let processors = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let half = NonZeroUsize::new(processors.div_ceil(2)).unwrap_or(NonZeroUsize::MIN);
    Ok(lanes(text)?.unwrap_or(half))
}

/// `None` if nothing is said.
pub(super) fn lanes(text: &str) -> Result<Option<NonZeroUsize>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let lanes = text.parse();
    lanes
        .map(Some)
        .map_err(|_| "expected a whole number above 0".to_owned())
}

/// No origins stand for all.
pub(super) fn origins(text: &str) -> Result<Vec<http::HeaderValue>, String> {
    if text == "*" {
        return Ok(Vec::new());
    }
    text.split(',')
        .map(|origin| {
            let origin = origin.trim();
            if !origin.contains("://") {
                return Err(format!(
                    "{origin:?} is no origin; write for example https://a.example"
                ));
            }
            origin
                .parse()
                .map_err(|_| format!("{origin:?} is no origin"))
        })
        .collect()
}

pub(super) fn boolean(text: &str) -> Result<bool, String> {
    text.parse()
        .map_err(|_| "expected true or false".to_owned())
}

pub(super) fn log_filter(text: &str) -> Result<String, String> {
    tracing_subscriber::EnvFilter::try_new(text)
        .map(|_| text.to_owned())
        .map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_of_urls_are_not_shown() {
        let check = |text: &str, expected: &str| assert_eq!(shown(text), expected);
        check("postgres://u:secret@h:1/d", "postgres://u:…@h:1/d");
        check("postgres://u:sec@ret@h/d", "postgres://u:…@h/d");
        check("postgresql:/u:secret@h/d", "postgresql:/u:…@h/d");
        check(
            "postgres://u@h/d?password=secret&sslmode=maybe",
            "postgres://u@h/d?password=…&sslmode=maybe",
        );
        check(
            "postgres://u:secret@h:1/d?sslmode=maybe&password=se@cret",
            "postgres://u:…@h:1/d?sslmode=maybe&password=…",
        );
        check("postgres://u@h:1/d", "postgres://u@h:1/d");
        check("embedded:a:b@c", "embedded:a:b@c");
        check("7?&", "7?&");
    }
}
