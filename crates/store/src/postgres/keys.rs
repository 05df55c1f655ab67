//! With which keys a database is sealed: what stands in `firn_keys`, held against the keys that were
//! given.
//!
//! A row stands there for each key that something may be sealed with. One more row, under an id that
//! no key can have, stands there while `rotate-keys` is about to seal a database that was not.

use bytes::Bytes;

use super::connection::Session;
use super::error::OpenError;
use crate::seal::{Check, Keys, VerifyError};

/// The id of the row that says that some contents may not be sealed. Part of the stored format.
pub(super) const PLAIN: &str = "(plain)";

const READ: &str = "SELECT id, sealed FROM firn_keys ORDER BY id";

/// Whether anything was ever written that would be sealed.
const IS_WRITTEN: &str = "\
SELECT EXISTS (SELECT 1 FROM firn_slots WHERE last_seq > 0) OR EXISTS (SELECT 1 FROM firn_replicas)";

const KEEP: &str = "INSERT INTO firn_keys (id, sealed) VALUES ($1, $2) ON CONFLICT (id) DO NOTHING";

/// What a database says about its keys.
pub(super) struct Checks {
    /// One for each key that may be in use.
    pub(super) keys: Vec<Check>,
    /// Whether some contents may not be sealed although there are keys.
    pub(super) has_plain: bool,
}

impl Checks {
    pub(super) async fn read(session: &Session) -> Result<Self, OpenError> {
        let rows = session.client().query(READ, &[]).await;
        let rows = rows.map_err(|error| OpenError::statement(&error))?;
        let mut checks = Self {
            keys: Vec::new(),
            has_plain: false,
        };
        for row in &rows {
            match row.get(0) {
                PLAIN => checks.has_plain = true,
                id => checks.keys.push(Check {
                    id: id.to_owned(),
                    sealed: Bytes::copy_from_slice(row.get(1)),
                }),
            }
        }
        Ok(checks)
    }
}

/// Compares the keys with those that the database was sealed with, and notes a new one.
pub(super) async fn verify(session: &Session, keys: Option<&Keys>) -> Result<(), OpenError> {
    let checks = Checks::read(session).await?;
    let is_written = is_written(session).await?;
    let added = Keys::verify(keys, &checks.keys, !is_written)?;
    if checks.has_plain && keys.is_some() {
        return Err(VerifyError::Unsealed.into());
    }
    if let Some(added) = added {
        keep(session, &added).await?;
    }
    Ok(())
}

/// Whether the database holds anything that is sealed if there are keys.
pub(super) async fn is_written(session: &Session) -> Result<bool, OpenError> {
    let row = session.client().query_one(IS_WRITTEN, &[]).await;
    Ok(row.map_err(|error| OpenError::statement(&error))?.get(0))
}

/// Notes that something may be sealed with a key from now on.
async fn keep(session: &Session, check: &Check) -> Result<(), OpenError> {
    let kept = session
        .client()
        .execute(KEEP, &[&check.id, &check.sealed.as_ref()])
        .await;
    kept.map_err(|error| OpenError::statement(&error))?;
    Ok(())
}
