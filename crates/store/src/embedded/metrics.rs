//! What the embedded store is doing, and what it takes on the disk.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::Embedded;
use super::log::is_segment;
use crate::metrics::Distribution;

/// The unit in which file systems count what a file takes, whatever their blocks are, in bytes.
const BLOCK_BYTES: u64 = 512;

/// What the store is doing.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// How long it took to make a batch durable: a write and a flush of the log.
    pub flushes: Distribution,
    /// Commits and replicas that are durable in the log and wait to be brought into the rows.
    pub backlog_writes: u64,
    /// How many bytes of log they have.
    pub backlog_bytes: u64,
}

/// What the store takes on the disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sizes {
    /// Segments of the log.
    pub log_segments: u64,
    /// What they take, in bytes.
    pub log_bytes: u64,
    /// What the rows take, in bytes.
    pub rows_bytes: u64,
}

impl Embedded {
    /// What it is doing now.
    pub fn metrics(&self) -> Metrics {
        let (backlog_writes, backlog_bytes) = self.shared.backlog.waiting();
        Metrics {
            flushes: self.shared.flushes.read(),
            backlog_writes,
            backlog_bytes,
        }
    }

    /// What it takes on the disk. Looks at every file, so it may take a moment, and blocks meanwhile.
    ///
    /// # Errors
    /// A folder cannot be read.
    pub fn sizes(&self) -> io::Result<Sizes> {
        let mut sizes = Sizes::default();
        let Some(folder) = &self.folder else {
            return Ok(sizes);
        };
        taken(&folder.log(), &mut |name, bytes| {
            sizes.log_segments += u64::from(is_segment(name));
            sizes.log_bytes += bytes;
        })?;
        taken(&folder.rows(), &mut |_, bytes| sizes.rows_bytes += bytes)?;
        Ok(sizes)
    }
}

/// Tells the name of each file below a folder and what it takes. Files may go meanwhile.
fn taken(folder: &Path, tell: &mut dyn FnMut(&str, u64)) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let metadata = match entry.metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            metadata => metadata?,
        };
        if metadata.is_dir() {
            match taken(&entry.path(), tell) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                done => done?,
            }
        } else {
            let bytes = metadata.blocks() * BLOCK_BYTES;
            tell(&entry.file_name().to_string_lossy(), bytes);
        }
    }
    Ok(())
}
