//! What a bare flush takes: a record behind the one before it, as the store's log writes one.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use rustix::fs::{FallocateFlags, fallocate};
use tokio::task::spawn_blocking;

/// How long the record of a command is that stores one event.
const RECORD_BYTES: usize = 160;

/// The room that is reserved, for 100,000 whole records; there is more than a run needs, and what goes
/// beyond begins again.
const FILE_BYTES: u64 = 100_000 * RECORD_BYTES as u64;

/// The time of each flush, one after the other for so long, on the file system of this folder.
pub(super) async fn times_ms(folder: &Path, measured: Duration) -> Result<Vec<f64>> {
    let path = folder.join("flushed");
    // It blocks, and who wants to stop this program should be heard meanwhile.
    spawn_blocking(move || flush(&path, measured)).await?
}

fn flush(path: &Path, measured: Duration) -> Result<Vec<f64>> {
    let file = File::create(path)?;
    fallocate(&file, FallocateFlags::empty(), 0, FILE_BYTES)?;
    file.sync_all()?;
    let record = [7; RECORD_BYTES];
    let mut times = Vec::new();
    let begin = Instant::now();
    while begin.elapsed() < measured {
        let offset = (times.len() * RECORD_BYTES) as u64;
        let start = Instant::now();
        file.write_all_at(&record, offset % FILE_BYTES)?;
        file.sync_data()?;
        times.push(start.elapsed().as_secs_f64() * 1e3);
    }
    std::fs::remove_file(path)?;
    Ok(times)
}
