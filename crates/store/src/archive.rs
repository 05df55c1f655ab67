//! Archives: everything that a store holds, in one file, for backups and for moving between stores.
//!
//! # How it works
//! A store gives its [`Row`]s as they are at one moment ([`crate::Store::dump`]), and another takes
//! them into itself while it is still empty ([`Restore`]). The rows are the same for every backend:
//! what callers can observe, and nothing of how it is found. [`mod@file`] says what stands in a file of
//! them.
//!
//! # Invariants
//! - What is restored answers every question of [`crate::Store`] as the store that was dumped did,
//!   and takes the same commits next.
//! - A file is read to its end and found whole before the first row of it is restored.
//! - A store that was not restored to the end is never opened as if it were.

pub(crate) mod ahead;
mod error;
pub mod file;
mod message;
mod row;
#[cfg(test)]
mod tests;

use futures_util::future::BoxFuture;

pub use error::{ArchiveError, RestoreError};
pub use row::{ChangeKind, EntityFacts, Row};

use crate::ReadError;

/// About how many bytes of rows are handed over at once: much more than a row, little memory.
pub const BATCH_BYTES: usize = 1024 * 1024;

/// The rows of a store as they were at one moment, whoever writes meanwhile.
pub trait Dump: Send {
    /// The next rows, about [`BATCH_BYTES`] of them; none at the end. The [`Row::Entity`] of an
    /// entity comes before its other rows.
    fn next(&mut self) -> BoxFuture<'_, Result<Vec<Row>, ReadError>>;
}

/// A store that is being filled with the rows of another. Dropping it unfinished leaves a store that
/// cannot be opened; it can be restored again from the beginning.
pub trait Restore: Send {
    /// Takes rows, in the order in which they were dumped. Why some cannot be written may be told by
    /// a later call.
    fn write(&mut self, rows: Vec<Row>) -> BoxFuture<'_, Result<(), RestoreError>>;

    /// Makes everything durable, and the store one that can be opened.
    fn finish(self: Box<Self>) -> BoxFuture<'static, Result<(), RestoreError>>;
}
