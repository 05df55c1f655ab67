//! Files of exports: written under another name until they are whole, never over another.

use std::fs::{self, File, OpenOptions};
use std::io::{BufReader, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use firn_model::code::Code;
use firn_store::archive::file::Encoder;
use firn_store::archive::{ArchiveError, Row};
use firn_store::seal::Keys;
use tokio::sync::mpsc;

use crate::exit::Failure;

/// How much is read from a file at once, in bytes.
const BUFFER_BYTES: usize = 256 * 1024;

/// The rights of a new file: it holds what the store does, which is its user's alone.
const FILE_MODE: u32 = 0o600;

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
            return Err(Failure::new(
                Code::ArchiveUnusable,
                format!("{} is there already", path.display()),
                "give a name that is not taken: nothing is overwritten",
            ));
        }
        let mut part = path.as_os_str().to_owned();
        part.push(".part");
        let part = PathBuf::from(part);
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true);
        let file = options.mode(FILE_MODE).open(&part);
        let file = file.map_err(|error| failed(path, error.into()))?;
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

/// How many batches of rows wait to be written: enough that neither side waits for the other.
const AHEAD: usize = 2;

/// An archive that is being written to a file: encoded, compressed and sealed on a thread of its own.
/// Dropped unfinished, it leaves nothing.
pub(super) struct NewArchive {
    /// `None` once there are no more.
    rows: Option<mpsc::Sender<Vec<Row>>>,
    writer: Option<JoinHandle<Result<Written, Failure>>>,
}

/// What the thread leaves.
struct Written {
    encoder: Encoder,
    file: NewFile,
}

impl NewArchive {
    /// Begins an archive in a file, sealed if there are keys.
    pub(super) fn create(mut file: NewFile, keys: Option<Arc<Keys>>) -> Result<Self, Failure> {
        let path = file.path.clone();
        let unusable = |error: std::io::Error| failed(&path, error.into());
        let (mut encoder, header) = Encoder::new(keys).map_err(unusable)?;
        file.write(&header)?;
        let (rows, mut received) = mpsc::channel::<Vec<Row>>(AHEAD);
        let writer = thread::Builder::new().name("firn-archive".into());
        let writer = writer.spawn(move || {
            while let Some(rows) = received.blocking_recv() {
                let frame = encoder.rows(&rows);
                let frame = frame.map_err(|error| failed(&file.path, error.into()))?;
                file.write(&frame)?;
            }
            Ok(Written { encoder, file })
        });
        Ok(Self {
            rows: Some(rows),
            writer: Some(writer.map_err(unusable)?),
        })
    }

    /// Adds rows. Waits while too many do.
    pub(super) async fn write(&mut self, rows: Vec<Row>) -> Result<(), Failure> {
        if let Some(to) = &self.rows
            && to.send(rows).await.is_ok()
        {
            return Ok(());
        }
        // It has failed, and says why.
        self.stop().map(drop)
    }

    /// Ends the archive, makes it durable and gives it its name; gives how many bytes it has.
    pub(super) fn finish(mut self) -> Result<u64, Failure> {
        let Written { encoder, mut file } = self.stop()?;
        file.write(&encoder.end())?;
        file.finish()
    }

    fn stop(&mut self) -> Result<Written, Failure> {
        self.rows = None;
        let writer = self.writer.take().expect("it is stopped once");
        writer.join().unwrap_or_else(|panic| resume_unwind(panic))
    }
}

impl Drop for NewArchive {
    fn drop(&mut self) {
        self.rows = None;
        if let Some(writer) = self.writer.take() {
            // What it has written goes.
            let _ = writer.join();
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
