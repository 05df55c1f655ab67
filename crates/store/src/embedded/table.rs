//! The table: the ordered map that the log is applied to.
//!
//! All rows are in one keyspace of fjall. One matters: after a crash each keyspace of its own would
//! come back at its own point in time, and [`Space::Reached`](crate::rows::key::Space::Reached) would
//! no longer tell the truth about the others.

mod files;
mod layered;
mod pace;
mod run;

use std::io;
use std::sync::Arc;

use crate::ReadError;
use crate::rows::View;
use crate::rows::overlay::Changes;
use crate::seal::stored::{Opened, Seals};

pub(super) use self::files::Files;
pub(crate) use self::layered::Layered;

/// The name of the one keyspace.
const KEYSPACE: &str = "rows";

/// The ordered map below the log.
pub(crate) trait Table: Send + Sync + 'static {
    /// The rows as they are now, for as long as anybody looks at them.
    fn view(&self) -> Box<dyn View + Send>;

    /// The rows as a crash would leave them: those after one write, which may be any before now.
    fn durable(&self) -> Result<Box<dyn View + Send>, TableError>;

    /// Writes changes, all or none, in order, without a flush.
    fn write(&self, changes: Changes) -> Result<(), TableError>;

    /// Lets everything written so far become durable soon, unless that has begun for what was written
    /// before and has not ended.
    fn start_persisting(&self) -> Result<(), TableError>;

    /// Makes everything written so far durable.
    fn persist(&self) -> Result<(), TableError>;
}

/// Why the table cannot be used any more.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TableError {
    /// The disk failed.
    #[error("{0}")]
    Io(io::Error),
    /// What is stored is not what was written.
    #[error("{0}")]
    Damaged(String),
}

impl TableError {
    /// The same, to be told once more.
    fn again(&self) -> Self {
        match self {
            Self::Io(error) => Self::Io(io::Error::new(error.kind(), error.to_string())),
            Self::Damaged(fault) => Self::Damaged(fault.clone()),
        }
    }
}

/// How much memory a table may use.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Memory {
    /// Blocks of files that were read, in bytes.
    pub(crate) cache_bytes: u64,
    /// Rows that are not yet in a file, in bytes; twice as much while they are brought there.
    pub(crate) fresh_bytes: u64,
}

/// A table whose values are sealed as they are written.
pub(crate) struct SealedTable {
    pub(crate) stored: Arc<dyn Table>,
    pub(crate) seals: Seals,
}

impl Table for SealedTable {
    fn view(&self) -> Box<dyn View + Send> {
        Box::new(Opened {
            stored: self.stored.view(),
            seals: self.seals.clone(),
        })
    }

    fn durable(&self) -> Result<Box<dyn View + Send>, TableError> {
        Ok(Box::new(Opened {
            stored: self.stored.durable()?,
            seals: self.seals.clone(),
        }))
    }

    fn write(&self, mut changes: Changes) -> Result<(), TableError> {
        for (key, change) in &mut changes {
            if let Some(value) = change.take() {
                *change = Some(self.seals.seal_row(key, value));
            }
        }
        self.stored.write(changes)
    }

    fn start_persisting(&self) -> Result<(), TableError> {
        self.stored.start_persisting()
    }

    fn persist(&self) -> Result<(), TableError> {
        self.stored.persist()
    }
}

impl From<fjall::Error> for TableError {
    fn from(error: fjall::Error) -> Self {
        match error {
            fjall::Error::Io(error) | fjall::Error::Storage(fjall::LsmError::Io(error)) => {
                Self::Io(error)
            }
            fjall::Error::Poisoned | fjall::Error::Locked => {
                Self::Io(io::Error::other(error.to_string()))
            }
            error => Self::Damaged(format!("fjall says {}", kind(&error))),
        }
    }
}

/// What kind of error it is, in fjall's own word, without the numbers that only fjall can use.
fn kind(error: &fjall::Error) -> String {
    let text = format!("{error:?}");
    let text = text.strip_prefix("Storage(").unwrap_or(&text);
    let is_of_word = |letter: char| letter.is_ascii_alphanumeric();
    text.chars()
        .take_while(|letter| is_of_word(*letter))
        .collect()
}

impl From<TableError> for ReadError {
    fn from(error: TableError) -> Self {
        match error {
            TableError::Io(error) => Self::Unavailable {
                cause: error.to_string(),
            },
            TableError::Damaged(fault) => Self::Damaged {
                place: format!("the keyspace `{KEYSPACE}`"),
                fault,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disks_that_fail_are_told_from_damage() {
        let full = || io::Error::from(io::ErrorKind::StorageFull);
        let of_disk: [fjall::Error; 3] = [
            fjall::Error::Io(full()),
            fjall::Error::Storage(fjall::LsmError::Io(full())),
            fjall::Error::Poisoned,
        ];
        let [io, storage, poisoned] = of_disk.map(TableError::from);
        for full in [io, storage] {
            assert!(
                matches!(full, TableError::Io(error) if error.kind() == io::ErrorKind::StorageFull)
            );
        }
        assert!(matches!(poisoned, TableError::Io(_)));
        let damaged = TableError::from(fjall::Error::InvalidTag(("compression", 9)));
        assert!(matches!(&damaged, TableError::Damaged(_)));
        assert_eq!(damaged.to_string(), "fjall says InvalidTag");
    }
}
