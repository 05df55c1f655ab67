//! What can go wrong with archives.

use std::io;

use firn_model::code::Code;

use crate::ReadError;

/// Why a file was not read as an archive.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArchiveError {
    /// It is something else.
    #[error("it is no export of Firn")]
    Foreign,
    /// A newer Firn has written it.
    #[error("it has version {found}, this Firn knows versions up to {known}")]
    Newer {
        /// Its version.
        found: u32,
        /// The newest version known here.
        known: u32,
    },
    /// It ends before its end.
    #[error("it is cut off after {bytes} bytes")]
    Cut {
        /// How much of it is there.
        bytes: u64,
    },
    /// Something in it is not what was written.
    #[error("it is damaged at byte {offset}: {fault}")]
    Damaged {
        /// Where.
        offset: u64,
        /// What is wrong.
        fault: String,
    },
    /// It is sealed, and its key was not given.
    #[error("it is sealed with key {id}, which was not given")]
    KeyMissing {
        /// The key's id.
        id: String,
    },
    /// It is sealed with another key than the one given under its id.
    #[error("it is sealed with another key {id} than the one given")]
    KeyWrong {
        /// The key's id.
        id: String,
    },
    /// It cannot be read or written.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl ArchiveError {
    /// The stable code.
    pub fn code(&self) -> Code {
        match self {
            Self::Foreign | Self::Cut { .. } | Self::Damaged { .. } => Code::ArchiveDamaged,
            Self::Newer { .. } => Code::ArchiveNewer,
            Self::KeyMissing { .. } => Code::KeyNotGiven,
            Self::KeyWrong { .. } => Code::KeyWrong,
            Self::Io(_) => Code::ArchiveUnusable,
        }
    }

    /// What to do about it, in one line.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Foreign => "give a file that firn store export or backup has written",
            Self::Cut { .. } | Self::Damaged { .. } => "copy it again, or take another export",
            Self::Newer { .. } => "import it with the Firn that wrote it, or a later one",
            Self::KeyMissing { .. } => {
                "give that key too, with --encryption-keys or --encryption-key-file"
            }
            Self::KeyWrong { .. } => "give the key that the file was sealed with under that id",
            Self::Io(_) => "check the path, its rights, and the room on the disk",
        }
    }
}

/// Why a store was not restored. It cannot be opened until it was restored again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// It holds something already; nothing was changed.
    #[error("the store is not empty")]
    NotEmpty,
    /// It cannot be written.
    #[error("the store cannot be written: {cause}")]
    Unavailable {
        /// The backend's own words.
        cause: String,
    },
}

impl RestoreError {
    /// The stable code.
    pub fn code(&self) -> Code {
        match self {
            Self::NotEmpty => Code::StoreNotEmpty,
            Self::Unavailable { .. } => Code::FlushFailed,
        }
    }

    /// What to do about it, in one line.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::NotEmpty => "import into a new store, or remove what is in this one first",
            Self::Unavailable { .. } => "check the store, then repeat the import",
        }
    }
}

impl From<ReadError> for RestoreError {
    fn from(error: ReadError) -> Self {
        Self::Unavailable {
            cause: error.to_string(),
        }
    }
}
