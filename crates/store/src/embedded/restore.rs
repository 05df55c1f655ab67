//! Filling a data folder with what another store held, and showing what this one holds.
//!
//! The file `restoring` stands in a folder from before its first row until after its last: such a
//! folder is opened by nobody, and emptied when it is restored again.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use futures_util::future::{self, BoxFuture};
use tokio::sync::mpsc;

use super::checks::Checks;
use super::error::OpenError;
use super::folder::DataFolder;
use super::table::{Fjall, Memory, Table, TableError};
use super::{Config, Embedded};
use crate::ReadError;
use crate::archive::{self, RestoreError, Row};
use crate::rows::overlay::Changes;
use crate::rows::{View, archive as archived};
use crate::seal::stored::Seals;

/// A data folder that is being filled. Works where it is polled, and blocks there.
struct Restore {
    table: Arc<dyn Table>,
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
    let memory = Memory {
        cache_bytes: config.cache_bytes,
        memtable_bytes: config.memtable_bytes,
    };
    let table = Fjall::open(&folder.rows(), memory)
        .map_err(|error| OpenError::from_table(error, folder.rows()))?;
    folder.sync()?;
    let seals = Seals::new(config.keys.clone());
    Ok(Box::new(Restore {
        table: seals.table(Arc::new(table)),
        folder,
    }))
}

impl archive::Restore for Restore {
    fn write(&mut self, rows: Vec<Row>) -> BoxFuture<'_, Result<(), RestoreError>> {
        let mut changes = Changes::new();
        let written = rows
            .into_iter()
            .try_for_each(|row| archived::restore(&mut changes, row))
            .and_then(|()| self.table.write(changes).map_err(TableError::into));
        Box::pin(future::ready(written.map_err(Into::into)))
    }

    fn finish(self: Box<Self>) -> BoxFuture<'static, Result<(), RestoreError>> {
        let persisted = self.table.persist().map_err(|error| error.to_string());
        drop(self.table);
        let finished = persisted.and_then(|()| {
            let done = self.folder.end_restoring();
            done.map_err(|error| error.to_string())
        });
        let finished = finished.map_err(|cause| RestoreError::Unavailable { cause });
        Box::pin(future::ready(finished))
    }
}

/// How many batches of rows are read ahead: enough that neither the reader nor whoever takes them
/// waits for the other, and a few megabytes.
const AHEAD: usize = 2;

/// The rows of a folder at one moment, read on a thread of its own, which ends with this value.
struct Dump {
    /// `None` once nothing is wanted any more.
    batches: Option<mpsc::Receiver<Result<Vec<Row>, ReadError>>>,
    reader: Option<JoinHandle<()>>,
}

impl Dump {
    fn start(rows: Box<dyn View + Send>) -> io::Result<Self> {
        let (sender, batches) = mpsc::channel(AHEAD);
        let mut rows = archived::Dump::new(rows);
        let reader = thread::Builder::new().name("firn-store-dump".into());
        let reader = reader.spawn(move || {
            loop {
                let batch = rows.batch();
                let is_last = batch.as_ref().map_or(true, Vec::is_empty);
                if sender.blocking_send(batch).is_err() || is_last {
                    return;
                }
            }
        })?;
        Ok(Self {
            batches: Some(batches),
            reader: Some(reader),
        })
    }
}

impl archive::Dump for Dump {
    /// The end is a batch like others, so a reader that panics is no end.
    fn next(&mut self) -> BoxFuture<'_, Result<Vec<Row>, ReadError>> {
        Box::pin(async move {
            let Some(batches) = &mut self.batches else {
                return Ok(Vec::new());
            };
            let batch = batches.recv().await;
            let batch = batch.unwrap_or_else(|| Err(super::unavailable("the read failed")));
            // What failed goes on to fail: it is not the end.
            if batch.as_ref().is_ok_and(Vec::is_empty) {
                self.batches = None;
            }
            batch
        })
    }
}

impl Drop for Dump {
    fn drop(&mut self) {
        self.batches = None;
        if let Some(reader) = self.reader.take() {
            // It reads one more batch at most. Its panic was seen as a failed read.
            let _ = reader.join();
        }
    }
}

impl Embedded {
    /// Everything at a moment after what was acknowledged before the call.
    pub(super) fn dump_all(&self) -> BoxFuture<'_, Result<Box<dyn archive::Dump>, ReadError>> {
        Box::pin(async move {
            self.read_all(|_| Ok(())).await?;
            let dump = Dump::start(self.shared.table.frozen());
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
