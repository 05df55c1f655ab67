//! Many cold entities at once, beside the same ones when they are warm.
//!
//! All calls are made at the same time, and each counts from then: so the last one says how long the
//! whole took. Firn has just been started and has none of the entities in memory; right after, the
//! same ones are called again. As many calls of the bare echo say what is the load's own part.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use tokio::task::JoinSet;

use super::AddItem;
use super::filled::OWN;
use super::served::Served;
use crate::figure::{Figure, Unit, median};
use crate::load::Client;
use crate::rig::{Programs, Server};
use crate::{echo, own};

/// How often Firn is started.
const ROUNDS: usize = 5;

/// How many entities are stored, and how many of them are called.
const STORED: u64 = 100_000;
const CALLED: u64 = 10_000;

/// On so many connections, that Firn takes all calls of each at once.
const CONNECTIONS: usize = 16;

/// What came of calls that were made at once: the time of each since then, in order of length.
struct Burst(Vec<Duration>);

pub(super) async fn run(programs: &Programs) -> Result<Vec<Figure>> {
    let folder = programs.folder()?;
    let stored = programs.effort.entities(STORED);
    let called = programs.effort.entities(CALLED);
    OWN.fill(folder.path(), stored).await?;
    let bare = Server::echo(programs).await?;
    let (mut cold, mut warm, mut bares) = (Vec::new(), Vec::new(), Vec::new());
    let entities: Vec<u64> = (0..called).map(|it| it * (stored / called)).collect();
    for _ in 0..programs.effort.rounds(ROUNDS) {
        let served = Served::start_in(programs, folder.path(), &[]).await?;
        let clients = connect(served.firn.clients).await?;
        for bursts in [&mut cold, &mut warm] {
            bursts.push(burst(&clients, own::READ, &entities).await?);
        }
        served.stop().await?;
        let clients = connect(bare.address).await?;
        bares.push(burst(&clients, echo::PATH, &entities).await?);
    }
    let beside = |what: &str, value: fn(&Burst) -> f64| {
        let pairs = cold.iter().zip(&warm);
        let samples = pairs.map(|(cold, warm)| value(cold) / value(warm));
        let what = format!("firn.v1, 10,000 cold entities at once: {what} over that of warm ones");
        Figure::new(what, Unit::Ratio, samples.collect())
            .detail("cold", line(&cold))
            .detail("warm", line(&warm))
            .detail("echo", line(&bares))
    };
    Ok(vec![
        beside("rate", Burst::rate),
        beside("p99", |it| it.time_ms(0.99)),
    ])
}

async fn connect(server: SocketAddr) -> Result<Vec<Client>> {
    let mut clients = Vec::new();
    for _ in 0..CONNECTIONS {
        clients.push(Client::connect(server).await?);
    }
    Ok(clients)
}

/// Calls a method with all of these at the same time.
async fn burst(clients: &[Client], path: &'static str, entities: &[u64]) -> Result<Burst> {
    let mut calls = JoinSet::new();
    let start = Instant::now();
    for (entity, client) in entities.iter().zip(clients.iter().cycle()) {
        let (item, client) = (AddItem::to(*entity), client.clone());
        calls.spawn(async move {
            client.call(path, &item).await?;
            anyhow::Ok(start.elapsed())
        });
    }
    let mut times = Vec::with_capacity(entities.len());
    while let Some(ended) = calls.join_next().await {
        times.push(ended.context("a call")??);
    }
    times.sort_unstable();
    Ok(Burst(times))
}

impl Burst {
    /// Calls in a second.
    fn rate(&self) -> f64 {
        self.0.len() as f64 * 1e3 / self.time_ms(1.0)
    }

    /// The time that this part of the calls, of 1, took at most.
    fn time_ms(&self, part: f64) -> f64 {
        let last = self.0.len() - 1;
        self.0[(last as f64 * part).round() as usize].as_secs_f64() * 1e3
    }
}

/// The absolute values: those of this machine in this hour.
fn line(bursts: &[Burst]) -> String {
    let of =
        |value: &dyn Fn(&Burst) -> f64| median(&bursts.iter().map(value).collect::<Vec<f64>>());
    format!(
        "{:.0}/s, p50 {:.1} ms, p99 {:.1} ms",
        of(&Burst::rate),
        of(&|it| it.time_ms(0.5)),
        of(&|it| it.time_ms(0.99)),
    )
}
