//! A log that answers when a record is durable: what waits is written and flushed together.
//!
//! One thread writes. While it flushes, further records queue up, and are the next batch. The file is
//! filled before, and written from its start again when its end is reached, so that no flush has to
//! make it grow; nobody ever reads it.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use kameo::reply::ReplySender;
use tokio::sync::mpsc::{Receiver, Sender, channel};

/// Bytes of the file.
const FILE_BYTES: usize = 64 << 20;

/// Records that may wait to be written: more than there are ever calls in flight.
const RECORDS_QUEUED: usize = 4096;

/// A record, and who waits for it.
struct Entry {
    payload: Vec<u8>,
    sum: i64,
    reply: ReplySender<i64>,
}

/// The log, for those who write to it.
#[derive(Clone)]
pub(crate) struct Log {
    queue: Sender<Entry>,
    flushes: Arc<AtomicU64>,
}

impl Log {
    /// Opens a log in a folder. Its thread ends with the last clone; a failure ends the process.
    ///
    /// # Errors
    /// The file cannot be filled.
    pub(crate) fn open(folder: &Path) -> io::Result<Self> {
        let mut file = File::create_new(folder.join("log"))?;
        let zeros = vec![0; 1 << 20];
        for _ in 0..FILE_BYTES / zeros.len() {
            file.write_all(&zeros)?;
        }
        file.sync_all()?;
        let (queue, entries) = channel(RECORDS_QUEUED);
        let flushes = Arc::new(AtomicU64::new(0));
        let writer = Writer {
            file,
            offset: 0,
            number: 0,
            flushes: flushes.clone(),
        };
        thread::spawn(move || {
            if let Err(error) = writer.run(entries) {
                eprintln!("error: cannot write the log: {error}");
                std::process::exit(1);
            }
        });
        Ok(Self { queue, flushes })
    }

    /// Writes a record; the sum is the reply once it is durable.
    pub(crate) async fn append(&self, payload: Vec<u8>, sum: i64, reply: ReplySender<i64>) {
        let entry = Entry {
            payload,
            sum,
            reply,
        };
        // The writer is only gone when the process ends.
        let _ = self.queue.send(entry).await;
    }

    /// How often the file was flushed.
    pub(crate) fn flushes(&self) -> u64 {
        self.flushes.load(Ordering::Relaxed)
    }
}

/// What the thread holds.
struct Writer {
    file: File,
    offset: usize,
    number: u64,
    flushes: Arc<AtomicU64>,
}

impl Writer {
    fn run(mut self, mut entries: Receiver<Entry>) -> io::Result<()> {
        let (mut batch, mut waiting) = (Vec::new(), Vec::new());
        while let Some(first) = entries.blocking_recv() {
            let mut next = Some(first);
            while let Some(entry) = next {
                self.encode(&mut batch, &entry.payload);
                waiting.push((entry.reply, entry.sum));
                next = entries.try_recv().ok();
            }
            self.flush(&batch)?;
            batch.clear();
            for (reply, sum) in waiting.drain(..) {
                reply.send(sum);
            }
        }
        Ok(())
    }

    /// Length, number and checksum, then the record.
    fn encode(&mut self, batch: &mut Vec<u8>, payload: &[u8]) {
        let length = u32::try_from(payload.len()).expect("records are short");
        batch.extend_from_slice(&length.to_le_bytes());
        batch.extend_from_slice(&self.number.to_le_bytes());
        batch.extend_from_slice(&crc32c::crc32c(payload).to_le_bytes());
        batch.extend_from_slice(payload);
        self.number += 1;
    }

    fn flush(&mut self, batch: &[u8]) -> io::Result<()> {
        if self.offset + batch.len() > FILE_BYTES {
            self.offset = 0;
        }
        self.file.write_all_at(batch, self.offset as u64)?;
        self.file.sync_data()?;
        self.offset += batch.len();
        self.flushes.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}
