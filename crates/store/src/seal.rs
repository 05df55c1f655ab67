//! Sealing: what keeps stored data from those who can read the disk.
//!
//! [`Keys`] turns bytes into sealed bytes and back: AES-256-GCM, with the crypto provider that TLS
//! uses too. The first key seals, all of them open, so that keys can be changed one after the
//! other. What is sealed is bound to its place: opened under the name of another place it is
//! refused, so rows cannot be swapped.
//!
//! # How it works
//! A key that a person gives is never used on data. Each [`Keys`] draws a salt and derives keys of
//! its own from salt and key (HKDF with SHA-256), one for every 2³² records; a record's nonce is its
//! number under that key. So no nonce occurs twice under one key, however many records there are:
//! the salt has 128 random bits, and two of 2³² starts have the same with a chance below 2⁻⁶⁴.
//! That is far more than random nonces give, whose 96 bits allow one key 2³² records in all. It
//! holds as long as no process goes on twice from one image of its memory.
//!
//! | sealed bytes | length |
//! |---|---|
//! | 2, the version | 1 |
//! | length of the key's id, the id | 1 + n |
//! | salt | 16 |
//! | number of the record since the salt was drawn, big endian | 8 |
//! | the encrypted bytes, and their tag | as plain, + 16 |
//!
//! # Not here
//! Which bytes are sealed and to what they are bound: that is each backend's affair. A backend keeps
//! a [`Check`] for every key that may be in use and asks [`Keys::verify`] before it does anything.
//! Sealing cannot show that a whole row was put back to an older state of its own, or removed.

mod key;
pub(crate) mod stored;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use firn_model::code::Code;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, Salt};
use ring::rand::{SecureRandom, SystemRandom};

pub use key::KeysError;
use key::SecretKey;

/// The first byte of everything that is sealed; stored messages that are not begin with another.
pub const VERSION: u8 = 2;

/// Bytes of a salt: enough that no two are ever the same by chance.
const SALT_BYTES: usize = 16;

/// Bytes of the tag at the end.
const TAG_BYTES: usize = 16;

/// Bytes of a record's number.
const NUMBER_BYTES: usize = size_of::<u64>();

/// How many derived keys are remembered, about 1 KB each. Each start of a process that wrote what is
/// read needs one.
const DERIVED_MAX: usize = 256;

/// What derived keys are for; part of the stored format.
const PURPOSE: &[u8] = b"firn-store 1";

/// Where a check is bound to; part of the stored format.
const CHECK_BOUND_TO: &[u8] = b"check";

/// Keys that seal and open. The first seals.
pub struct Keys {
    keys: Vec<SecretKey>,
    salt: [u8; SALT_BYTES],
    next: AtomicU64,
    derived: RwLock<HashMap<Derivation, Arc<LessSafeKey>>>,
}

/// What a derived key is made from: which key, which salt, and the upper half of the number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Derivation {
    key: usize,
    salt: [u8; SALT_BYTES],
    era: u32,
}

/// Proof that a store uses a key: something sealed with it, kept beside the data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// The id of the key.
    pub id: String,
    /// What it has sealed.
    pub sealed: Bytes,
}

/// Why sealed bytes were not opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UnsealError {
    /// The bytes do not begin like sealed ones, or end too early.
    #[error("it is not sealed")]
    Unsealed,
    /// No key with this id was given.
    #[error("it is sealed with key {id}, which was not given")]
    Missing {
        /// The key's id.
        id: String,
    },
    /// The bytes are not what was sealed at this place with the key.
    #[error("it is not what key {id} has sealed there")]
    Refused {
        /// The key's id.
        id: String,
    },
}

/// Why a store cannot be used with the keys that were given. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// The store is sealed, and a key that it uses was not given.
    #[error("the store is sealed with key {id}, which was not given")]
    Missing {
        /// The key's id.
        id: String,
    },
    /// A key with the right id is not the one that the store uses.
    #[error("the store is sealed with another key {id} than the one given")]
    Wrong {
        /// The key's id.
        id: String,
    },
    /// Keys were given, and the store holds data that is not sealed.
    #[error("keys were given, and what the store holds is not sealed")]
    Unsealed,
}

impl VerifyError {
    /// The stable code.
    pub fn code(&self) -> Code {
        match self {
            Self::Missing { .. } => Code::KeyNotGiven,
            Self::Wrong { .. } => Code::KeyWrong,
            Self::Unsealed => Code::StoreUnsealed,
        }
    }

    /// What to do about it, in one line.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Missing { .. } => {
                "give that key too, with --encryption-keys or --encryption-key-file"
            }
            Self::Wrong { .. } => "give the key that the store was sealed with under that id",
            Self::Unsealed => "seal it with firn store rotate-keys, or start without keys",
        }
    }
}

impl Keys {
    /// Reads keys: `ID:BASE64`, separated by commas or line ends. The key is 32 bytes, the id up to
    /// 32 letters, digits, `-`, `_` and `.`. Empty lines and lines that begin with `#` are skipped.
    ///
    /// # Errors
    /// See [`KeysError`]; its text never shows a key.
    pub fn parse(text: &str) -> Result<Self, KeysError> {
        let keys = key::parse(text)?;
        let mut salt = [0; SALT_BYTES];
        let drawn = SystemRandom::new().fill(&mut salt);
        drawn.map_err(|_| KeysError::NoRandom)?;
        Ok(Self {
            keys,
            salt,
            next: AtomicU64::new(0),
            derived: RwLock::default(),
        })
    }

    /// The id of the key that seals.
    pub fn id(&self) -> &str {
        &self.keys[0].id
    }

    /// The ids of all keys, the one that seals first.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.keys.iter().map(|key| key.id.as_str())
    }

    /// Seals `plain`, bound to its place.
    pub fn seal(&self, bound_to: &[u8], plain: &[u8]) -> Bytes {
        let mut sealed = Vec::with_capacity(self.overhead() + plain.len());
        self.seal_into(bound_to, &mut sealed, |bytes| {
            bytes.extend_from_slice(plain);
        });
        sealed.into()
    }

    /// Seals what `write` appends to `bytes`, where it stands.
    pub fn seal_into(
        &self,
        bound_to: &[u8],
        bytes: &mut Vec<u8>,
        write: impl FnOnce(&mut Vec<u8>),
    ) {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let id = self.id().as_bytes();
        bytes.push(VERSION);
        bytes.push(id.len() as u8);
        bytes.extend_from_slice(id);
        bytes.extend_from_slice(&self.salt);
        bytes.extend_from_slice(&number.to_be_bytes());
        let start = bytes.len();
        write(bytes);
        let derived = self.derived(0, self.salt, number);
        let plain = &mut bytes[start..];
        let tag = derived
            .seal_in_place_separate_tag(nonce(number), Aad::from(bound_to), plain)
            .expect("messages are limited far below the 64 GiB of AES-GCM");
        bytes.extend_from_slice(tag.as_ref());
    }

    /// How much longer sealed bytes are.
    pub fn overhead(&self) -> usize {
        2 + self.id().len() + SALT_BYTES + NUMBER_BYTES + TAG_BYTES
    }

    /// Opens what was sealed at this place.
    ///
    /// # Errors
    /// See [`UnsealError`].
    pub fn open(&self, bound_to: &[u8], sealed: &[u8]) -> Result<Bytes, UnsealError> {
        let mut plain = Vec::new();
        self.open_into(bound_to, sealed, &mut plain)?;
        Ok(plain.into())
    }

    /// Opens what was sealed at this place, in place of what `plain` holds; after an error that is
    /// of no use.
    ///
    /// # Errors
    /// See [`UnsealError`].
    pub(crate) fn open_into(
        &self,
        bound_to: &[u8],
        sealed: &[u8],
        plain: &mut Vec<u8>,
    ) -> Result<(), UnsealError> {
        let parts = Parts::of(sealed).ok_or(UnsealError::Unsealed)?;
        let id = || parts.id.to_owned();
        let key = self.keys.iter().position(|key| key.id == parts.id);
        let key = key.ok_or_else(|| UnsealError::Missing { id: id() })?;
        let derived = self.derived(key, parts.salt, parts.number);
        plain.clear();
        plain.extend_from_slice(parts.bytes);
        let length = derived
            .open_in_place(nonce(parts.number), Aad::from(bound_to), plain)
            .map_err(|_| UnsealError::Refused { id: id() })?
            .len();
        plain.truncate(length);
        Ok(())
    }

    /// A check for the key that seals, to be kept beside what it has sealed.
    pub fn check(&self) -> Check {
        Check {
            id: self.id().to_owned(),
            sealed: self.seal(CHECK_BOUND_TO, self.id().as_bytes()),
        }
    }

    /// Compares keys with the checks of a store, one for each key that may be in use. Gives the
    /// check that the store must keep, durably, before anything is sealed with these keys.
    ///
    /// `is_empty` says whether the store holds nothing yet: then it may be sealed from now on.
    ///
    /// # Errors
    /// See [`VerifyError`].
    pub fn verify(
        keys: Option<&Self>,
        checks: &[Check],
        is_empty: bool,
    ) -> Result<Option<Check>, VerifyError> {
        let Some(keys) = keys else {
            return match checks.first() {
                Some(Check { id, .. }) => Err(VerifyError::Missing { id: id.clone() }),
                None => Ok(None),
            };
        };
        for Check { id, sealed } in checks {
            match keys.open(CHECK_BOUND_TO, sealed) {
                Ok(_) => {}
                Err(UnsealError::Missing { .. }) => {
                    return Err(VerifyError::Missing { id: id.clone() });
                }
                Err(_) => return Err(VerifyError::Wrong { id: id.clone() }),
            }
        }
        if checks.is_empty() && !is_empty {
            return Err(VerifyError::Unsealed);
        }
        let is_known = checks.iter().any(|check| check.id == keys.id());
        Ok((!is_known).then(|| keys.check()))
    }

    /// The derived key of a record, made if it is not remembered.
    fn derived(&self, key: usize, salt: [u8; SALT_BYTES], number: u64) -> Arc<LessSafeKey> {
        let era = (number >> 32) as u32;
        let derivation = Derivation { key, salt, era };
        let derived = self.derived.read();
        let derived = derived.unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = derived.get(&derivation) {
            return known.clone();
        }
        drop(derived);
        let made = Arc::new(derive(&self.keys[key], derivation));
        let derived = self.derived.write();
        let mut derived = derived.unwrap_or_else(PoisonError::into_inner);
        if derived.len() >= DERIVED_MAX {
            // The key that seals comes back with the next record.
            derived.clear();
        }
        derived.insert(derivation, made.clone());
        made
    }
}

impl fmt::Debug for Keys {
    /// The ids, never the keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.ids()).finish()
    }
}

/// Whether bytes look like sealed ones.
pub fn is_sealed(bytes: &[u8]) -> bool {
    bytes.first() == Some(&VERSION)
}

/// The id of the key that bytes were sealed with; `None` if they are not sealed.
pub fn key_id(sealed: &[u8]) -> Option<&str> {
    Parts::of(sealed).map(|parts| parts.id)
}

/// The parts of sealed bytes.
struct Parts<'a> {
    id: &'a str,
    salt: [u8; SALT_BYTES],
    number: u64,
    /// What is encrypted, and the tag.
    bytes: &'a [u8],
}

impl<'a> Parts<'a> {
    fn of(sealed: &'a [u8]) -> Option<Self> {
        let ([VERSION, length], rest) = sealed.split_first_chunk::<2>()? else {
            return None;
        };
        let (id, rest) = rest.split_at_checked(usize::from(*length))?;
        let (salt, rest) = rest.split_first_chunk()?;
        let (number, bytes) = rest.split_first_chunk()?;
        Some(Self {
            id: str::from_utf8(id).ok()?,
            salt: *salt,
            number: u64::from_be_bytes(*number),
            bytes,
        })
    }
}

fn derive(key: &SecretKey, derivation: Derivation) -> LessSafeKey {
    let era = derivation.era.to_be_bytes();
    let derived = Salt::new(HKDF_SHA256, &derivation.salt).extract(key.secret());
    let info = [PURPOSE, &era];
    let derived = derived
        .expand(&info, &AES_256_GCM)
        .expect("the length of a key is one that HKDF gives");
    LessSafeKey::new(UnboundKey::from(derived))
}

/// The lower half of a record's number; the upper half is in the key.
fn nonce(number: u64) -> Nonce {
    let mut nonce = [0; 12];
    nonce[8..].copy_from_slice(&(number as u32).to_be_bytes());
    Nonce::assume_unique_for_key(nonce)
}
