//! A PostgreSQL of its own, and plain connections to it: the reference for what Firn does with one.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result};
use firn_load::Times;
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
        let server: u32 = text.lines().next().unwrap_or_default().trim().parse()?;
        let times = Times::of(server)?;
        let mut used = times.own() + times.ended;
        let children = format!("/proc/{server}/task/{server}/children");
        let children = fs::read_to_string(&children).with_context(|| children.clone())?;
        for child in children.split_whitespace() {
            // One that has ended meanwhile is counted by the server.
            used += Times::of(child.parse()?).map_or(Duration::ZERO, |it| it.own());
        }
        Ok(used)
    }
}

/// A plain connection, which lives as long as the client.
pub(crate) async fn connect(url: &str) -> Result<Client> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    // Whoever uses the client hears why it ended.
    tokio::spawn(async move { drop(connection.await) });
    Ok(client)
}
