//! Changing keys: everything in a data folder is sealed anew with the first of the given keys.
//!
//! # How it works
//! The file `keys` first says that the new key is in use too. The log is brought into the rows and
//! shortened, as at any start and end. Then all rows are copied into a new folder, sealed anew, and
//! that folder takes the place of the old one: nothing that another key has sealed, and nothing
//! plain, stays behind in files that an LSM would merge only later. At last `keys` names the new key
//! alone. Every step may be the last one before the process ends: the folder then opens with the
//! same keys, and the command can be given again.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::checks::Checks;
use super::disk::Folder;
use super::error::OpenError;
use super::folder::DataFolder;
use super::table::{Layered, Memory, Table, TableError};
use super::{Config, Embedded, Fatal, Parts, Places, restore};
use crate::rows::key::Key;
use crate::seal::stored::Seals;
use crate::seal::{Keys, VerifyError};

/// How much is copied at once, in bytes of keys and values.
const BATCH_BYTES: usize = 1024 * 1024;

/// Seals everything in a data folder with the first of the keys in `config`, also what was not sealed
/// before. Tells `progress` how many rows were copied. No Firn may have the folder open.
///
/// # Errors
/// See [`OpenError`]. The folder is as it was, or sealed in part: then it needs all the keys until the
/// command has come to its end.
///
/// # Panics
/// If there are no keys in `config`.
pub fn rotate_keys(
    path: &Path,
    config: &Config,
    mut progress: impl FnMut(u64),
) -> Result<u64, OpenError> {
    let keys = config.keys.clone().expect("keys to seal with");
    let folder = DataFolder::open(path)?;
    restore::check(&folder)?;
    let mut checks = Checks::read(path)?.unwrap_or_else(|| Checks {
        keys: Vec::new(),
        has_plain: true,
    });
    let added = Keys::verify(Some(&keys), &checks.keys, true).map_err(OpenError::Sealed)?;
    checks.keys.extend(added);
    folder.seal(&checks)?;
    let seals = match checks.has_plain {
        true => Seals::beginning(keys.clone()),
        false => Seals::new(Some(keys.clone())),
    };
    empty_log(&folder, config, seals.clone())?;
    let count = copy(&folder, &seals, &mut progress)?;
    folder.seal(&Checks {
        keys: vec![keys.check()],
        has_plain: false,
    })?;
    Ok(count)
}

/// Brings the log into the rows and shortens it, so that what is left of it is sealed anew.
fn empty_log(folder: &DataFolder, config: &Config, seals: Seals) -> Result<(), OpenError> {
    let disk = Folder::new(folder.log()).map_err(|source| unusable(folder.log(), source))?;
    let failure = Arc::new(std::sync::Mutex::new(None));
    let parts = Parts {
        disk: Arc::new(disk),
        table: seals.table(open(&folder.rows())?),
        seals,
        places: Places {
            log: folder.log(),
            rows: folder.rows(),
        },
        folder: None,
    };
    let told = failure.clone();
    let on_fatal = move |fatal: &Fatal| {
        if let Ok(mut told) = told.lock() {
            *told = Some(fatal.clone());
        }
    };
    Embedded::assemble(parts, config, Box::new(on_fatal))?.close();
    let failure = failure.lock().ok().and_then(|mut failure| failure.take());
    match failure {
        Some(fatal) => Err(OpenError::Flush {
            folder: folder.rows(),
            source: std::io::Error::other(fatal.cause),
        }),
        None => Ok(()),
    }
}

/// Copies the rows, sealed anew, and lets the copy take their place.
fn copy(
    folder: &DataFolder,
    seals: &Seals,
    progress: &mut impl FnMut(u64),
) -> Result<u64, OpenError> {
    let unfinished = folder.unfinished_rows();
    fs::remove_dir_all(&unfinished)
        .or_else(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Ok(()),
            _ => Err(error),
        })
        .map_err(|source| unusable(unfinished.clone(), source))?;
    let in_rows = |error: TableError| OpenError::from_table(error, folder.rows());
    let mut count = 0;
    {
        let from = seals.table(open(&folder.rows())?);
        let to = seals.table(open(&unfinished)?);
        let view = from.view();
        let mut batch = std::collections::BTreeMap::new();
        let mut bytes = 0;
        for row in view.scan(Key::new(), vec![u8::MAX]) {
            let (key, value) = row.map_err(|error| OpenError::from_rows(error, folder.rows()))?;
            bytes += key.len() + value.len();
            batch.insert(key.to_vec(), Some(value));
            count += 1;
            if bytes >= BATCH_BYTES {
                to.write(std::mem::take(&mut batch)).map_err(in_rows)?;
                bytes = 0;
                progress(count);
            }
        }
        to.write(batch).map_err(in_rows)?;
        to.persist().map_err(in_rows)?;
        progress(count);
    }
    folder
        .replace_rows()
        .map_err(|source| unusable(folder.rows(), source))?;
    Ok(count)
}

fn open(rows: &Path) -> Result<Arc<dyn Table>, OpenError> {
    let config = Config::default();
    let memory = Memory {
        cache_bytes: config.cache_bytes,
        fresh_bytes: config.fresh_bytes,
    };
    let table = Layered::open(rows, memory);
    let table = table.map_err(|error| OpenError::from_table(error, rows.to_path_buf()))?;
    Ok(Arc::new(table))
}

fn unusable(folder: PathBuf, source: std::io::Error) -> OpenError {
    OpenError::Unusable { folder, source }
}

/// Compares the keys of a start with what a folder is sealed with, and notes a new one.
pub(super) fn verify(folder: &DataFolder, keys: Option<&Keys>) -> Result<(), OpenError> {
    let checks = Checks::read(folder.path())?;
    let is_plain = checks.as_ref().is_none_or(|checks| checks.has_plain);
    let mut checks = checks.unwrap_or_default();
    let added = Keys::verify(keys, &checks.keys, folder.is_empty());
    let added = added.map_err(OpenError::Sealed)?;
    if is_plain && keys.is_some() && !folder.is_empty() {
        return Err(OpenError::Sealed(VerifyError::Unsealed));
    }
    if let Some(added) = added {
        checks.keys.push(added);
        folder.seal(&checks)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
