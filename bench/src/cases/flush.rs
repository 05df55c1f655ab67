//! What a bare flush takes: a record behind the one before it, as the store's log writes one.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::Instant;

use anyhow::Result;
use rustix::fs::{FallocateFlags, fallocate};

/// How long the record of a command is that stores one event.
const RECORD_BYTES: usize = 160;

/// The time of each of so many flushes, on the file system of this folder.
pub(super) fn times_ms(folder: &Path, flushes: usize) -> Result<Vec<f64>> {
    let path = folder.join("flushed");
    let file = File::create(&path)?;
    fallocate(
        &file,
        FallocateFlags::empty(),
        0,
        (RECORD_BYTES * flushes) as u64,
    )?;
    file.sync_all()?;
    let record = [7; RECORD_BYTES];
    let mut times = Vec::with_capacity(flushes);
    for index in 0..flushes {
        let start = Instant::now();
        file.write_all_at(&record, (index * RECORD_BYTES) as u64)?;
        file.sync_data()?;
        times.push(start.elapsed().as_secs_f64() * 1e3);
    }
    std::fs::remove_file(path)?;
    Ok(times)
}
