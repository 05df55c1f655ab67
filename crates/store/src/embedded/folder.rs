//! The data folder: who may use it, and what is in it.
//!
//! | name | what |
//! |---|---|
//! | `lock` | locked, through the operating system, by the process that has the folder open |
//! | `format` | `firn-store` and the version of everything in the folder |
//! | `log` | the segments of the log |
//! | `rows` | fjall |
//!
//! | format | what a Firn must know to read and write the folder |
//! |---|---|
//! | 1 | commits |
//! | 2 | also replicas, and runs of nodes |
//! | 3 | also deletes that leave no event behind |
//! | 4 | also timers |
//! | 5 | also states with tags |
//!
//! A folder has the lowest format that describes what is in it: one that never held a replica can
//! still be opened by a Firn that knows of none.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use super::error::OpenError;
use crate::commit::Change;
use crate::write::Write;

/// The version of a new folder: the log, the keys and values of rows, and their meaning.
pub(crate) const FORMAT_MIN: u32 = 1;

/// The version of a folder that holds replicas or runs of nodes.
const FORMAT_REPLICAS: u32 = 2;

/// The version of a folder in which an entity was deleted without a tombstone: who knows only of
/// values would leave its events in place.
const FORMAT_DELETES: u32 = 3;

/// The version of a folder that holds timers: who knows of none would not keep them.
const FORMAT_TIMERS: u32 = 4;

/// The version of a folder in which a state has tags: who knows of none would not keep them.
const FORMAT_TAGS: u32 = 5;

/// The highest version that this Firn knows.
const FORMAT_MAX: u32 = FORMAT_TAGS;

const FORMAT_NAME: &str = "firn-store";

/// The lowest version that a folder with this in it may have.
pub(crate) fn format_of(write: &Write) -> u32 {
    match write {
        Write::Commit(commit) if !commit.tags.is_empty() => FORMAT_TAGS,
        Write::Commit(commit) if !commit.timers.is_empty() => FORMAT_TIMERS,
        Write::Commit(commit) if commit.change == Some(Change::Delete { until: None }) => {
            FORMAT_DELETES
        }
        Write::Commit(_) => FORMAT_MIN,
        Write::Replica { .. } | Write::Run(_) => FORMAT_REPLICAS,
    }
}

/// A data folder that this process alone may use.
#[derive(Debug)]
pub(crate) struct DataFolder {
    path: PathBuf,
    format: u32,
    /// Locked for as long as it is open.
    _lock: File,
}

impl DataFolder {
    /// Takes a folder; makes it if it is not there.
    pub(crate) fn open(path: &Path) -> Result<Self, OpenError> {
        let unusable = |source| OpenError::Unusable {
            folder: path.to_path_buf(),
            source,
        };
        let is_new = !path.exists();
        fs::create_dir_all(path).map_err(unusable)?;
        let lock = lock(path)?;
        let format = check_format(path)?;
        if is_new {
            sync_parent(path).map_err(unusable)?;
        }
        Ok(Self {
            path: path.to_path_buf(),
            format,
            _lock: lock,
        })
    }

    /// The version that the folder had when it was opened.
    pub(crate) fn format(&self) -> u32 {
        self.format
    }

    /// Gives the folder a later version, durably: before anything is written that needs it.
    pub(crate) fn raise(&self, format: u32) -> io::Result<()> {
        write_format(&self.path, format)
    }

    /// Where the log is.
    pub(crate) fn log(&self) -> PathBuf {
        self.path.join("log")
    }

    /// Where the rows are.
    pub(crate) fn rows(&self) -> PathBuf {
        self.path.join("rows")
    }

    /// Makes the folders in it durable, before anything in them is relied upon.
    pub(crate) fn sync(&self) -> Result<(), OpenError> {
        let synced = File::open(&self.path).and_then(|folder| folder.sync_all());
        synced.map_err(|source| OpenError::Flush {
            folder: self.path.clone(),
            source,
        })
    }
}

fn lock(path: &Path) -> Result<File, OpenError> {
    let unusable = |source| OpenError::Unusable {
        folder: path.to_path_buf(),
        source,
    };
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path.join("lock"))
        .map_err(unusable)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::Locked {
            folder: path.to_path_buf(),
        }),
        Err(TryLockError::Error(source)) => Err(unusable(source)),
    }
}

fn check_format(path: &Path) -> Result<u32, OpenError> {
    let file = path.join("format");
    let unusable = |source| OpenError::Unusable {
        folder: path.to_path_buf(),
        source,
    };
    let text = match fs::read(&file) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound && !path.join("log").exists() => {
            write_format(path, FORMAT_MIN).map_err(unusable)?;
            return Ok(FORMAT_MIN);
        }
        Err(source) => return Err(unusable(source)),
    };
    let text = String::from_utf8_lossy(&text);
    let version = text.trim_end().strip_prefix(FORMAT_NAME);
    match version.and_then(|version| version.trim_start().parse().ok()) {
        Some(format @ FORMAT_MIN..=FORMAT_MAX) => Ok(format),
        Some(found) if found > FORMAT_MAX => Err(OpenError::Newer {
            folder: path.to_path_buf(),
            found,
            known: FORMAT_MAX,
        }),
        _ => Err(OpenError::Damaged {
            file,
            offset: 0,
            fault: "it does not say which format the folder has".into(),
        }),
    }
}

/// Whole or not at all.
fn write_format(path: &Path, format: u32) -> io::Result<()> {
    let unfinished = path.join("format.new");
    fs::write(&unfinished, format!("{FORMAT_NAME} {format}\n"))?;
    File::open(&unfinished)?.sync_all()?;
    fs::rename(&unfinished, path.join("format"))?;
    File::open(path)?.sync_all()
}

fn sync_parent(path: &Path) -> io::Result<()> {
    match path.canonicalize()?.parent() {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}
