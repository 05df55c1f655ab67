//! Keys as people write them.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};

/// Bytes of a key.
const KEY_BYTES: usize = 32;

/// The longest id, in bytes: it stands in every record.
const ID_BYTES_MAX: usize = 32;

/// Why a list of keys cannot be used. No key is shown.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeysError {
    /// There is no key in it.
    #[error("there is no key in it")]
    Empty,
    /// A key is not written as it should be.
    #[error("key {place} {fault}")]
    Malformed {
        /// Which one, counted from 1.
        place: usize,
        /// What is wrong with it.
        fault: &'static str,
    },
    /// Two keys have the same id.
    #[error("two keys have the id {id}")]
    Twice {
        /// The id.
        id: String,
    },
    /// The system gives no random numbers.
    #[error("the system gives no random numbers")]
    NoRandom,
}

impl KeysError {
    /// What to do about it, in one line.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Empty | Self::Malformed { .. } => {
                "write each key as ID:BASE64 of 32 bytes, for example k1:$(openssl rand -base64 32)"
            }
            Self::Twice { .. } => "give each key an id of its own",
            Self::NoRandom => "find out why the system gives none, and start again",
        }
    }
}

/// A key and the id that people have given it.
pub(super) struct SecretKey {
    pub(super) id: String,
    secret: [u8; KEY_BYTES],
}

impl SecretKey {
    pub(super) fn secret(&self) -> &[u8] {
        &self.secret
    }
}

/// The keys in a text.
pub(super) fn parse(text: &str) -> Result<Vec<SecretKey>, KeysError> {
    let lines = text.split(['\n', ',']).map(str::trim);
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    let mut keys: Vec<SecretKey> = Vec::new();
    for (place, line) in (1..).zip(lines) {
        let key = key(line).map_err(|fault| KeysError::Malformed { place, fault })?;
        if keys.iter().any(|other| other.id == key.id) {
            return Err(KeysError::Twice { id: key.id });
        }
        keys.push(key);
    }
    if keys.is_empty() {
        return Err(KeysError::Empty);
    }
    Ok(keys)
}

fn key(line: &str) -> Result<SecretKey, &'static str> {
    let (id, secret) = line.split_once(':').ok_or("is not of the form ID:BASE64")?;
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if id.is_empty() || id.len() > ID_BYTES_MAX || !id.bytes().all(is_allowed) {
        return Err("has an id that is not 1 to 32 letters, digits, - _ or .");
    }
    let secret = STANDARD
        .decode(secret)
        .or_else(|_| STANDARD_NO_PAD.decode(secret))
        .map_err(|_| "is not in base64")?;
    let secret = secret.try_into().map_err(|_| "does not have 32 bytes")?;
    Ok(SecretKey {
        id: id.to_owned(),
        secret,
    })
}
