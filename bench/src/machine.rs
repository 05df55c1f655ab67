//! On what was measured: a figure without it says little.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use crate::rig::Programs;

/// How often the disk is asked to flush.
const FLUSHES: usize = 300;

/// What is written before each flush: a page, as the log of the store does for a small batch.
const FLUSHED_BYTES: usize = 4096;

/// The folder that this was built from.
const SOURCES: &str = env!("CARGO_MANIFEST_DIR");

/// The machine and the code.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Machine {
    /// The commit that was measured, as far as git knows.
    pub(crate) commit: String,
    /// Whether files differ from that commit.
    pub(crate) is_changed: bool,
    pub(crate) cores: usize,
    pub(crate) processor: String,
    pub(crate) memory_bytes: u64,
    pub(crate) kernel: String,
    /// The load of the last minute before the run: of others, so the figures are noisier above 0.
    pub(crate) load_before: f64,
    /// How long the disk takes to make an overwritten page durable, in milliseconds: the median.
    pub(crate) flush_ms: f64,
}

impl Machine {
    /// The commit in few digits, and whether files differ from it.
    pub(crate) fn code(&self) -> String {
        let changed = if self.is_changed { " and changes" } else { "" };
        format!("{:.10}{changed}", self.commit)
    }

    /// It in few words.
    pub(crate) fn words(&self) -> String {
        format!(
            "commit {}, {} cores, {:.0} GB, Linux {}, a flush takes {:.3} ms, load {} before",
            self.code(),
            self.cores,
            self.memory_bytes as f64 / 1e9,
            self.kernel,
            self.flush_ms,
            self.load_before,
        )
    }
}

/// Looks at this machine.
pub(crate) fn look(programs: &Programs) -> Result<Machine> {
    let git = |arguments: &[&str]| {
        let mut git = Command::new("git");
        // Where this program was built, wherever it runs, if that is still there.
        if Path::new(SOURCES).is_dir() {
            git.current_dir(SOURCES);
        }
        let output = git.args(arguments).output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        output.status.success().then(|| text.trim().to_owned())
    };
    Ok(Machine {
        commit: git(&["rev-parse", "HEAD"]).unwrap_or_else(|| "unknown".to_owned()),
        is_changed: git(&["status", "--porcelain", "--untracked-files=no"])
            .is_none_or(|changed| !changed.is_empty()),
        cores: std::thread::available_parallelism()?.get(),
        processor: field("/proc/cpuinfo", "model name").unwrap_or_default(),
        memory_bytes: kilobytes("/proc/meminfo", "MemTotal")?,
        kernel: fs::read_to_string("/proc/sys/kernel/osrelease")?
            .trim()
            .to_owned(),
        load_before: load()?,
        flush_ms: flush_ms(programs)?,
    })
}

/// The value of a line `name: value` in one of the system's files.
pub(crate) fn field(path: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    text.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then(|| value.trim().to_owned())
    })
}

/// Such a value in kilobytes, as bytes.
pub(crate) fn kilobytes(path: &str, name: &str) -> Result<u64> {
    let value = field(path, name).with_context(|| format!("{path} has no {name}"))?;
    let number = value.trim_end_matches("kB").trim();
    Ok(number.parse::<u64>().with_context(|| value.clone())? * 1024)
}

fn load() -> Result<f64> {
    let text = fs::read_to_string("/proc/loadavg")?;
    let first = text.split(' ').next().unwrap_or_default();
    Ok(first.parse()?)
}

/// The time of a flush after an overwrite in place, as the store's log does it.
fn flush_ms(programs: &Programs) -> Result<f64> {
    let folder = programs.folder()?;
    let mut file = File::create(folder.path().join("flush"))?;
    file.write_all(&vec![0; FLUSHED_BYTES * FLUSHES])?;
    file.sync_all()?;
    let page = [1; FLUSHED_BYTES];
    let mut times = Vec::with_capacity(FLUSHES);
    for index in 0..FLUSHES {
        let start = Instant::now();
        let offset = (index * FLUSHED_BYTES) as u64;
        std::os::unix::fs::FileExt::write_all_at(&file, &page, offset)?;
        file.sync_data()?;
        times.push(start.elapsed().as_secs_f64() * 1e3);
    }
    Ok(crate::figure::median(&times))
}
