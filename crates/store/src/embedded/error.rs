//! What can go wrong with a data folder.

use std::io;
use std::path::PathBuf;

use firn_model::code::Code;

use super::log::recovery::LogError;
use super::table::TableError;
use crate::ReadError;
use crate::seal::VerifyError;

/// Why a data folder was not opened. Nothing in it was changed, except that commits of the log may
/// have been brought into the rows.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process has the folder open. Works once it has ended.
    #[error("another process has the data folder {} open", folder.display())]
    Locked {
        /// The folder.
        folder: PathBuf,
    },
    /// The folder was written by a newer Firn.
    #[error(
        "the data folder {} has format {found}, this Firn knows formats up to {known}",
        folder.display()
    )]
    Newer {
        /// The folder or the file in it.
        folder: PathBuf,
        /// Its format.
        found: u32,
        /// The newest format known here.
        known: u32,
    },
    /// Something that was acknowledged is not on the disk as it was written.
    #[error("{} is damaged at byte {offset}: {fault}", file.display())]
    Damaged {
        /// The file.
        file: PathBuf,
        /// Where in it.
        offset: u64,
        /// What is wrong.
        fault: String,
    },
    /// The rows, which are made from the log, are damaged.
    #[error("the rows in {} are damaged: {fault}", folder.display())]
    RowsDamaged {
        /// Their folder.
        folder: PathBuf,
        /// What is wrong, and where.
        fault: String,
    },
    /// A write or flush failed.
    #[error("a write to {} failed: {source}", folder.display())]
    Flush {
        /// The folder.
        folder: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The folder is being restored, or was not restored to the end.
    #[error("the data folder {} was not restored to the end", folder.display())]
    Unfinished {
        /// The folder.
        folder: PathBuf,
    },
    /// The folder holds something, and was to be restored.
    #[error("the data folder {} is not empty", folder.display())]
    NotEmpty {
        /// The folder.
        folder: PathBuf,
    },
    /// There is no folder, and none was to be made.
    #[error("there is no data folder {}", folder.display())]
    Missing {
        /// Where it was looked for.
        folder: PathBuf,
    },
    /// The folder is none of a store.
    #[error("{} is no data folder: it has no file `format`", folder.display())]
    Foreign {
        /// The folder.
        folder: PathBuf,
    },
    /// The folder is sealed with other keys than those given.
    #[error(transparent)]
    Sealed(VerifyError),
    /// The folder cannot be created, read or written.
    #[error("the data folder {} cannot be used: {source}", folder.display())]
    Unusable {
        /// The folder.
        folder: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

impl OpenError {
    /// The stable code.
    pub fn code(&self) -> Code {
        match self {
            Self::Locked { .. } => Code::DataFolderLocked,
            Self::Newer { .. } => Code::FormatNewer,
            Self::Damaged { .. } | Self::RowsDamaged { .. } => Code::RecordDamaged,
            Self::Flush { .. } => Code::FlushFailed,
            Self::Unfinished { .. } => Code::RestoreUnfinished,
            Self::NotEmpty { .. } => Code::StoreNotEmpty,
            Self::Sealed(error) => error.code(),
            Self::Missing { .. } | Self::Foreign { .. } | Self::Unusable { .. } => {
                Code::DataFolderUnusable
            }
        }
    }

    /// What to do about it, in one line.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Locked { .. } => "stop the other Firn, or give this one a folder of its own",
            Self::Newer { .. } => "start the Firn that wrote it, or a later one",
            Self::Damaged { .. } | Self::RowsDamaged { .. } => {
                "check the disk and restore the folder from a backup"
            }
            Self::Flush { .. } => "check the disk and its free space, then start again",
            Self::Unfinished { .. } => "repeat firn store import",
            Self::NotEmpty { .. } => "import into another folder, or remove this one first",
            Self::Missing { .. } | Self::Foreign { .. } => {
                "name the folder of a store with --store embedded:FOLDER"
            }
            Self::Sealed(error) => error.remedy(),
            Self::Unusable { .. } => "make it a folder that Firn may read and write",
        }
    }

    pub(crate) fn from_log(error: LogError, folder: PathBuf) -> Self {
        match error {
            LogError::Io { source, .. } => Self::Unusable { folder, source },
            LogError::Damaged {
                path,
                offset,
                fault,
            } => Self::Damaged {
                file: path,
                offset,
                fault,
            },
            error @ LogError::RowsMissing { .. } => Self::RowsDamaged {
                folder: folder.with_file_name("rows"),
                fault: error.to_string(),
            },
            LogError::Newer { path, version } => Self::Newer {
                folder: path,
                found: version,
                known: super::log::codec::VERSION,
            },
        }
    }

    pub(crate) fn from_rows(error: ReadError, folder: PathBuf) -> Self {
        match error {
            ReadError::Damaged { place, fault } => Self::RowsDamaged {
                folder,
                fault: format!("{place}: {fault}"),
            },
            ReadError::Unavailable { cause } => Self::Flush {
                folder,
                source: io::Error::other(cause),
            },
        }
    }

    pub(crate) fn from_table(error: TableError, folder: PathBuf) -> Self {
        match error {
            TableError::Io(source) => Self::Unusable { folder, source },
            TableError::Damaged(fault) => Self::RowsDamaged { folder, fault },
        }
    }
}

/// Why the store cannot go on. What was acknowledged is durable; of what was not, some may be.
/// Never retried: after a failed flush nobody knows what of the file is on the disk.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the store cannot go on: {cause}")]
pub struct Fatal {
    /// The stable code.
    pub code: Code,
    /// What failed, in the system's own words.
    pub cause: String,
}

impl Fatal {
    /// What to do about it, in one line.
    pub fn remedy(&self) -> &'static str {
        match self.code {
            Code::RecordDamaged => "check the disk and restore the folder from a backup",
            _ => "check the disk and its free space, then start again",
        }
    }

    pub(crate) fn disk(what: &str, error: &io::Error) -> Self {
        Self {
            code: Code::FlushFailed,
            cause: format!("{what}: {error}"),
        }
    }

    pub(crate) fn rows(error: &ReadError) -> Self {
        let code = match error {
            ReadError::Damaged { .. } => Code::RecordDamaged,
            ReadError::Unavailable { .. } => Code::FlushFailed,
        };
        Self {
            code,
            cause: error.to_string(),
        }
    }

    pub(crate) fn bug(cause: impl Into<String>) -> Self {
        Self {
            code: Code::FlushFailed,
            cause: cause.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_has_its_code_and_names_its_place() {
        let folder = || PathBuf::from("the-folder");
        let source = || io::Error::other("the cause");
        let check = |error: OpenError, code: Code| {
            assert_eq!(error.code(), code);
            assert!(error.to_string().contains("the-folder"), "{error}");
            assert!(!error.remedy().is_empty());
        };
        check(
            OpenError::Locked { folder: folder() },
            Code::DataFolderLocked,
        );
        let newer = OpenError::Newer {
            folder: folder(),
            found: 9,
            known: 1,
        };
        check(newer, Code::FormatNewer);
        let damaged = OpenError::Damaged {
            file: folder(),
            offset: 7,
            fault: "a fault".to_owned(),
        };
        check(damaged, Code::RecordDamaged);
        let flush = OpenError::Flush {
            folder: folder(),
            source: source(),
        };
        check(flush, Code::FlushFailed);
        let unusable = OpenError::Unusable {
            folder: folder(),
            source: source(),
        };
        check(unusable, Code::DataFolderUnusable);
    }
}
