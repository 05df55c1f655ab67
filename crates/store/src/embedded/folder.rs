//! The data folder: who may use it, and what is in it.
//!
//! | name | what |
//! |---|---|
//! | `lock` | locked, through the operating system, by the process that has the folder open |
//! | `format` | `firn-store` and the version of everything in the folder |
//! | `keys` | with which keys the folder is sealed; missing if it is not |
//! | `log` | the segments of the log |
//! | `rows` | fjall |
//! | `restoring` | only while the folder is filled with what another store held |
//! | `rows.new`, `rows.old` | only while keys are changed: the rows as they will be, and were |
//!
//! | format | what a Firn must know to read and write the folder |
//! |---|---|
//! | 1 | commits |
//! | 2 | also replicas, and runs of nodes |
//! | 3 | also deletes that leave no event behind |
//! | 4 | also timers |
//! | 5 | also states with tags |
//! | 6 | also sealed rows and records |
//! | 7 | also trimmed events |
//!
//! A folder has the lowest format that describes what is in it: one that never held a replica can
//! still be opened by a Firn that knows of none.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use super::checks::Checks;
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

/// The version of a folder that is sealed: who knows of no keys would take it for damaged.
const FORMAT_SEALED: u32 = 6;

/// The version of a folder in which events were trimmed: who knows of no trims would take the log for
/// damaged.
const FORMAT_TRIMS: u32 = 7;

/// The highest version that this Firn knows.
const FORMAT_MAX: u32 = FORMAT_TRIMS;

/// The rights of a new folder: what is in it is read by nobody else, whatever its own rights are.
const FOLDER_MODE: u32 = 0o700;

/// Rows that are to take the place of others.
const ROWS_NEW: &str = "rows.new";

/// Rows whose place others take.
const ROWS_OLD: &str = "rows.old";

/// Stands in a folder that is being filled.
const RESTORING: &str = "restoring";

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
        Write::Trim(_) => FORMAT_TRIMS,
    }
}

/// Whether a data folder is there, for who must not make one. Changes nothing.
///
/// # Errors
/// [`OpenError::Missing`] and [`OpenError::Foreign`].
pub fn find(path: &Path) -> Result<(), OpenError> {
    let folder = || path.to_path_buf();
    if !path.exists() {
        return Err(OpenError::Missing { folder: folder() });
    }
    // A folder with a log has lost the file: opening it says so.
    let is_foreign = !path.join("format").exists() && !path.join("log").exists();
    match is_foreign && path.is_dir() {
        true => Err(OpenError::Foreign { folder: folder() }),
        false => Ok(()),
    }
}

/// A data folder that this process alone may use.
#[derive(Debug)]
pub(crate) struct DataFolder {
    path: PathBuf,
    format: AtomicU32,
    is_empty: bool,
    /// Locked for as long as the folder is taken.
    lock: File,
}

impl DataFolder {
    /// Takes a folder; makes it if it is not there.
    pub(crate) fn open(path: &Path) -> Result<Self, OpenError> {
        let unusable = |source| OpenError::Unusable {
            folder: path.to_path_buf(),
            source,
        };
        let is_new = !path.exists();
        create(path).map_err(unusable)?;
        let lock = lock(path)?;
        finish_replacing(path).map_err(unusable)?;
        let is_empty = !path.join("log").exists() && !path.join("rows").exists();
        let format = check_format(path)?;
        if is_new {
            sync_parent(path).map_err(unusable)?;
        }
        Ok(Self {
            path: path.to_path_buf(),
            format: AtomicU32::new(format),
            is_empty,
            lock,
        })
    }

    /// The version of the folder.
    pub(crate) fn format(&self) -> u32 {
        self.format.load(Ordering::Relaxed)
    }

    /// Whether it held nothing when it was opened.
    pub(crate) fn is_empty(&self) -> bool {
        self.is_empty
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Notes with which keys it is sealed, durably.
    pub(crate) fn seal(&self, checks: &Checks) -> Result<(), OpenError> {
        let format = self.format().max(FORMAT_SEALED);
        let written = self.raise(format).and_then(|()| checks.write(&self.path));
        written.map_err(|source| OpenError::Flush {
            folder: self.path.clone(),
            source,
        })
    }

    /// Whether it is being filled with what another store held.
    pub(crate) fn is_restoring(&self) -> bool {
        self.path.join(RESTORING).exists()
    }

    /// Notes that it is being filled, durably; whatever is in it then may be read.
    pub(crate) fn begin_restoring(&self) -> io::Result<()> {
        self.raise(FORMAT_MAX)?;
        File::create(self.path.join(RESTORING))?.sync_all()?;
        File::open(&self.path)?.sync_all()
    }

    /// Notes that it was filled, durably.
    pub(crate) fn end_restoring(&self) -> io::Result<()> {
        fs::remove_file(self.path.join(RESTORING))?;
        File::open(&self.path)?.sync_all()
    }

    /// Removes what is in it.
    pub(crate) fn empty(&self) -> io::Result<()> {
        for name in ["rows", "log"] {
            let folder = self.path.join(name);
            if folder.exists() {
                fs::remove_dir_all(folder)?;
            }
        }
        Checks::remove(&self.path)
    }

    /// Where rows are made that will take the place of those that are there.
    pub(crate) fn unfinished_rows(&self) -> PathBuf {
        self.path.join(ROWS_NEW)
    }

    /// Puts finished rows in the place of those that are there.
    pub(crate) fn replace_rows(&self) -> io::Result<()> {
        File::open(self.unfinished_rows())?.sync_all()?;
        fs::rename(self.rows(), self.path.join(ROWS_OLD))?;
        File::open(&self.path)?.sync_all()?;
        finish_replacing(&self.path)
    }

    /// Gives the folder a later version, durably: before anything is written that needs it.
    pub(crate) fn raise(&self, format: u32) -> io::Result<()> {
        write_format(&self.path, format)?;
        self.format.store(format, Ordering::Relaxed);
        Ok(())
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

impl Drop for DataFolder {
    /// A lock ends by itself with the last who holds the file. That may be a child which another thread has
    /// started just now, and which has not come to its own program yet.
    fn drop(&mut self) {
        // If it cannot be let go here, it is when the process ends.
        let _ = self.lock.unlock();
    }
}

/// Goes on where an earlier process may have ended. `rows.old` is there only once `rows.new` is
/// finished and durable.
fn finish_replacing(path: &Path) -> io::Result<()> {
    let [rows, new, old] = ["rows", ROWS_NEW, ROWS_OLD].map(|name| path.join(name));
    if old.exists() && !rows.exists() {
        fs::rename(&new, &rows)?;
        File::open(path)?.sync_all()?;
    }
    for left in [new, old] {
        if left.exists() {
            fs::remove_dir_all(left)?;
        }
    }
    Ok(())
}

/// Makes the folder, if it is not there, for its user alone; folders above it as others are made.
fn create(path: &Path) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(FOLDER_MODE).create(path)
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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// The folders above are not Firn's.
    #[test]
    fn new_folder_is_for_its_user_alone() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("above").join("data");
        drop(DataFolder::open(&path).unwrap());
        let rights = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(rights(&path), 0o700);
        assert_ne!(rights(path.parent().unwrap()), 0o700);
        // One that is there stays as it is.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o750)).unwrap();
        drop(DataFolder::open(&path).unwrap());
        assert_eq!(rights(&path), 0o750);
    }

    #[test]
    fn folder_of_a_store_is_told_from_others() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("data");
        assert!(matches!(find(&path), Err(OpenError::Missing { .. })));
        fs::create_dir(&path).unwrap();
        fs::write(path.join("notes.txt"), "").unwrap();
        assert!(matches!(find(&path), Err(OpenError::Foreign { .. })));
        drop(DataFolder::open(&path).unwrap());
        assert!(find(&path).is_ok());
    }

    /// A child that this process starts holds what is open here until it runs its own program.
    #[test]
    fn folder_that_was_let_go_is_free_whatever_a_child_still_holds() {
        let place = tempfile::tempdir().unwrap();
        let folder = DataFolder::open(place.path()).unwrap();
        let of_a_child = folder.lock.try_clone().unwrap();
        drop(folder);
        DataFolder::open(place.path()).expect("nobody uses it");
        drop(of_a_child);
    }
}
