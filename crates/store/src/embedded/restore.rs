//! Filling a data folder with what another store held, and showing what this one holds.
//!
//! The file `restoring` stands in a folder from before its first row until after its last: such a
//! folder is opened by nobody, and emptied when it is restored again.

use std::io;
use std::path::Path;

use futures_util::future::{self, BoxFuture};

use super::checks::Checks;
use super::error::OpenError;
use super::fill::Fill;
use super::folder::DataFolder;
use super::table::{Files, TableError};
use super::{Config, Embedded};
use crate::ReadError;
use crate::archive::ahead::Ahead;
use crate::archive::{self, RestoreError, Row};
use crate::rows::{View, archive as archived};
use crate::seal::stored::Seals;

/// A data folder that is being filled. Blocks where it is polled while the disk falls behind.
struct Restore {
    /// Before the folder, which it uses until it is gone.
    fill: Fill,
    folder: DataFolder,
}

/// Begins to fill a data folder that is not there, is empty, or was not restored to the end.
///
/// # Errors
/// See [`OpenError`]. A folder that holds something is not touched.
pub fn restore(path: &Path, config: &Config) -> Result<Box<dyn archive::Restore>, OpenError> {
    let folder = DataFolder::open(path)?;
    let unusable = |source| OpenError::Unusable {
        folder: path.to_path_buf(),
        source,
    };
    if folder.is_restoring() {
        folder.empty().map_err(unusable)?;
    } else if !folder.is_empty() {
        return Err(OpenError::NotEmpty {
            folder: path.to_path_buf(),
        });
    }
    folder.begin_restoring().map_err(unusable)?;
    if let Some(keys) = &config.keys {
        folder.seal(&Checks {
            keys: vec![keys.check()],
            has_plain: false,
        })?;
    }
    let table = Files::open(&folder.rows(), config.cache_bytes)
        .map_err(|error| OpenError::from_table(error, folder.rows()))?;
    folder.sync()?;
    let fill = Fill::start(table, Seals::new(config.keys.clone()))
        .map_err(|error| OpenError::from_table(error, folder.rows()))?;
    Ok(Box::new(Restore { fill, folder }))
}

impl archive::Restore for Restore {
    fn write(&mut self, rows: Vec<Row>) -> BoxFuture<'_, Result<(), RestoreError>> {
        let mut stored = Vec::with_capacity(rows.len());
        let mut put = |key, value| stored.push((key, value));
        let written = rows
            .into_iter()
            .try_for_each(|row| archived::restore(&mut put, row))
            .and_then(|()| self.fill.write(stored).map_err(TableError::into));
        Box::pin(future::ready(written.map_err(Into::into)))
    }

    fn finish(self: Box<Self>) -> BoxFuture<'static, Result<(), RestoreError>> {
        let Self { fill, folder } = *self;
        let finished = fill.finish().map_err(|error| error.to_string());
        let finished = finished.and_then(|()| {
            let done = folder.end_restoring();
            done.map_err(|error| error.to_string())
        });
        let finished = finished.map_err(|cause| RestoreError::Unavailable { cause });
        Box::pin(future::ready(finished))
    }
}

/// The rows of a folder at one moment, read on a thread of its own, which ends with this value.
struct Dump(Ahead<ReadError>);

impl Dump {
    fn start(rows: Box<dyn View + Send>) -> io::Result<Self> {
        let mut rows = archived::Dump::new(rows);
        let batches = Ahead::start("firn-store-dump", move || rows.batch())?;
        Ok(Self(batches))
    }
}

impl archive::Dump for Dump {
    fn next(&mut self) -> BoxFuture<'_, Result<Vec<Row>, ReadError>> {
        let lost = || super::unavailable("the read failed");
        Box::pin(self.0.next(lost))
    }
}

impl Embedded {
    /// Everything at a moment after what was acknowledged before the call.
    pub(super) fn dump_all(&self) -> BoxFuture<'_, Result<Box<dyn archive::Dump>, ReadError>> {
        Box::pin(async move {
            self.read_all(|_| Ok(())).await?;
            let dump = Dump::start(self.shared.table.view());
            let dump = dump.map_err(|error| super::unavailable(&error.to_string()))?;
            Ok(Box::new(dump) as Box<dyn archive::Dump>)
        })
    }
}

/// Refuses a folder that was not restored to the end.
pub(super) fn check(folder: &DataFolder) -> Result<(), OpenError> {
    match folder.is_restoring() {
        true => Err(OpenError::Unfinished {
            folder: folder.path().to_path_buf(),
        }),
        false => Ok(()),
    }
}
