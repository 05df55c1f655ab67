//! Files of exports: written under another name until they are whole, never over another.

use std::fs::{self, File};
use std::io::{BufReader, Write};
use std::path::{Path, PathBuf};

use firn_store::archive::ArchiveError;

use crate::exit::Failure;

/// How much is read from a file at once, in bytes.
const BUFFER_BYTES: usize = 256 * 1024;

/// A file that is being written. Dropped unfinished, it leaves nothing.
pub(super) struct NewFile {
    path: PathBuf,
    /// The name until it is whole.
    part: PathBuf,
    file: File,
    bytes: u64,
    is_finished: bool,
}

impl NewFile {
    /// Begins a file that is not there yet.
    pub(super) fn create(path: &Path) -> Result<Self, Failure> {
        if path.exists() {
            let there = std::io::Error::from(std::io::ErrorKind::AlreadyExists);
            return Err(failed(path, there.into()));
        }
        let mut part = path.as_os_str().to_owned();
        part.push(".part");
        let part = PathBuf::from(part);
        let file = File::create(&part).map_err(|error| failed(path, error.into()))?;
        Ok(Self {
            path: path.to_path_buf(),
            part,
            file,
            bytes: 0,
            is_finished: false,
        })
    }

    /// Adds bytes.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let written = self.file.write_all(bytes);
        written.map_err(|error| failed(&self.path, error.into()))?;
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    /// What was written so far, to be read again.
    pub(super) fn written(&self) -> Result<BufReader<File>, Failure> {
        open(&self.part)
    }

    /// Makes it durable and gives it its name; gives its length.
    pub(super) fn finish(mut self) -> Result<u64, Failure> {
        let named = self.file.sync_all();
        let named = named.and_then(|()| fs::rename(&self.part, &self.path));
        named.map_err(|error| failed(&self.path, error.into()))?;
        self.is_finished = true;
        Ok(self.bytes)
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.is_finished {
            // Whatever prevents it has been told already.
            let _ = fs::remove_file(&self.part);
        }
    }
}

/// Opens a file to be read from its beginning.
pub(super) fn open(path: &Path) -> Result<BufReader<File>, Failure> {
    let file = File::open(path).map_err(|error| failed(path, error.into()))?;
    Ok(BufReader::with_capacity(BUFFER_BYTES, file))
}

/// A file cannot be used.
pub(super) fn failed(path: &Path, error: ArchiveError) -> Failure {
    let cause = format!("{}: {error}", path.display());
    Failure::new(error.code(), cause, error.remedy())
}
