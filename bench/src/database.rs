//! A PostgreSQL of its own, and plain connections to it: the reference for what Firn does with one.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result};
use firn_testkit::postgres::Postgres;
use tokio::task::spawn_blocking;
use tokio_postgres::{Client, NoTls};

use crate::rig::Programs;

/// Settings that differ from the server's own: memory for the tables of a bench, and room enough in
/// its log that no checkpoint falls into the turn of one of those that are compared. It flushes
/// every commit.
pub(crate) const SETTINGS: [&str; 3] = [
    "shared_buffers=512MB",
    "max_wal_size=8GB",
    "checkpoint_timeout=30min",
];

/// A running server; it ends with this value.
pub(crate) struct Database {
    server: Postgres,
}

impl Database {
    /// Starts one on a new data folder.
    pub(crate) async fn start(programs: &Programs) -> Result<Self> {
        let folder = programs.folder()?;
        // Making one takes seconds in which nothing else would be heard.
        let server = spawn_blocking(move || Postgres::within(folder, &SETTINGS)).await?;
        Ok(Self { server })
    }

    /// The URL of a place in it that nobody has used.
    pub(crate) fn fresh(&self) -> String {
        self.server.fresh()
    }

    /// The processor time that the server and all that it has started have used.
    pub(crate) fn processor_time(&self) -> Result<Duration> {
        let path = self.server.folder().join("data/postmaster.pid");
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let server = text.lines().next().unwrap_or_default().trim();
        // The fields of /proc/PID/stat behind the name: time of its own, then that of those which
        // it started and which have ended.
        let mut ticks = used(server, 11..15)?;
        let children = format!("/proc/{server}/task/{server}/children");
        let children = fs::read_to_string(&children).with_context(|| children.clone())?;
        for child in children.split_whitespace() {
            // One that has ended meanwhile is counted by the server.
            ticks += used(child, 11..13).unwrap_or_default();
        }
        let per_second = rustix::param::clock_ticks_per_second();
        Ok(Duration::from_secs_f64(ticks as f64 / per_second as f64))
    }
}

/// A plain connection, which lives as long as the client.
pub(crate) async fn connect(url: &str) -> Result<Client> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    // Whoever uses the client hears why it ended.
    tokio::spawn(async move { drop(connection.await) });
    Ok(client)
}

/// The sum of some fields of a process, in ticks.
fn used(process: &str, fields: std::ops::Range<usize>) -> Result<u64> {
    let path = format!("/proc/{process}/stat");
    let stat = fs::read_to_string(&path).with_context(|| path.clone())?;
    let (_, numbers) = stat.rsplit_once(')').with_context(|| path.clone())?;
    let numbers = numbers.split_whitespace();
    let ticks = numbers.skip(fields.start).take(fields.len());
    ticks.map(|number| Ok(number.parse::<u64>()?)).sum()
}
