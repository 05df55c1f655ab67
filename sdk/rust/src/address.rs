//! Where Firn is.

use std::path::PathBuf;
use std::str::FromStr;

/// Where functions dial in if nothing is said.
pub(crate) const DEFAULT: &str = "http://127.0.0.1:9001";

/// The address of Firn's function port: `http://HOST:PORT`, `https://HOST:PORT` or `unix:/path`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    pub(crate) kind: Kind,
    text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Plain,
    Tls,
    Unix,
}

/// Why an address cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddressError {
    /// It is none.
    #[error("{0:?} is no address: write http://HOST:PORT, https://HOST:PORT or unix:/path")]
    Form(String),
    /// The SDK was built without TLS.
    #[error("{0} needs TLS: build firn-sdk with the feature `tls`")]
    NoTls(String),
    /// The file of the authority cannot be read.
    #[error("the authority's file {} cannot be read ({cause}): set FIRN_CA to a PEM file", path.display())]
    Authority {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: String,
    },
}

impl Address {
    pub(crate) fn text(&self) -> &str {
        &self.text
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let form = || AddressError::Form(text.to_owned());
        let text = text.trim_end_matches('/');
        let (kind, rest) = if let Some(path) = text.strip_prefix("unix:") {
            (Kind::Unix, path)
        } else if let Some(rest) = text.strip_prefix("https://") {
            (Kind::Tls, rest)
        } else if let Some(rest) = text.strip_prefix("http://") {
            (Kind::Plain, rest)
        } else {
            return Err(form());
        };
        let is_fine = match kind {
            Kind::Unix => !rest.is_empty(),
            Kind::Plain | Kind::Tls => rest
                .parse::<http::uri::Authority>()
                .is_ok_and(|authority| authority.port_u16().is_some()),
        };
        if !is_fine {
            return Err(form());
        }
        Ok(Self {
            kind,
            text: text.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_told_from_other_texts() {
        for (text, expected) in [
            (DEFAULT, Some(Kind::Plain)),
            ("http://firn:9001/", Some(Kind::Plain)),
            ("https://[::1]:9001", Some(Kind::Tls)),
            ("unix:/run/firn.sock", Some(Kind::Unix)),
            ("unix:", None),
            ("http://firn", None),
            ("firn:9001", None),
            ("", None),
        ] {
            let address = text.parse::<Address>().ok();
            assert_eq!(address.map(|address| address.kind), expected, "{text}");
        }
    }
}
