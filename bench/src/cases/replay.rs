//! Replay: how fast an entity of many events is active again, beside a bare read of its events.
//!
//! Some entities without snapshots are given their events. Firn is started anew, and each is read
//! once: it is loaded, its events go to the function, which folds them, and the reply comes back.
//! Firn is stopped, the store is opened in this process, and each entity is loaded from it, which is
//! the reference: it gives the events as they are stored and nobody has to see them.

use std::path::Path;
use std::time::Instant;

use anyhow::{Result, ensure};
use firn_model::id::{EntityKey, StorageName};
use firn_model::policy::Replay;
use firn_store::Store as _;

use super::served::Served;
use super::{AddItem, filled, id};
use crate::figure::{Bound, Figure, Unit, median};
use crate::load::{self, Client};
use crate::own;
use crate::rig::Programs;

/// How often it is started and all are read.
const ROUNDS: usize = 5;

/// How many entities there are.
const ENTITIES: u64 = 8;

/// How many events each has.
const EVENTS: u64 = 10_000;

/// How many commands write them at once.
const IN_FLIGHT: usize = 64;

/// What must be left of the speed of a bare read, and what is fought for.
const SPEED_MIN: f64 = 0.5;
const SPEED_FOUGHT_FOR: f64 = 0.8;

/// The times of a round, in milliseconds: one for each entity.
struct Round {
    firn: Vec<f64>,
    bare: Vec<f64>,
}

pub(super) async fn run(programs: &Programs) -> Result<Vec<Figure>> {
    let folder = programs.folder()?;
    let events = programs.effort.entities(EVENTS);
    let served = Served::start_in(programs, folder.path(), &[]).await?;
    let client = Client::connect(served.firn.clients).await?;
    let adds = (0..ENTITIES * events).map(|number| AddItem::to(number % ENTITIES));
    load::each(&client, own::JOURNAL_ADD, adds, IN_FLIGHT).await?;
    served.stop().await?;
    let mut rounds = Vec::new();
    for _ in 0..programs.effort.rounds(ROUNDS) {
        rounds.push(Round {
            firn: through_firn(programs, folder.path()).await?,
            bare: bare(folder.path(), events).await?,
        });
    }
    let speed = |round: &Round| median(&round.bare) / median(&round.firn);
    let all = |times: fn(&Round) -> &Vec<f64>| -> f64 {
        median(&rounds.iter().flat_map(times).copied().collect::<Vec<_>>())
    };
    let first: Vec<f64> = rounds.iter().map(|round| round.firn[0]).collect();
    let figure = Figure::new(
        "firn.v1, replay of 10,000 events: speed over that of a bare read",
        Unit::Ratio,
        rounds.iter().map(speed).collect(),
    );
    Ok(vec![
        figure
            .bound(Bound::AtLeast(SPEED_MIN))
            .stretch(Bound::AtLeast(SPEED_FOUGHT_FOR))
            .detail("through Firn and the function, ms", all(|it| &it.firn))
            .detail("the first command after a start, ms", median(&first))
            .detail("a bare read, ms", all(|it| &it.bare)),
    ])
}

/// The time that each entity takes to answer, of a Firn that has just been started.
async fn through_firn(programs: &Programs, folder: &Path) -> Result<Vec<f64>> {
    let served = Served::start_in(programs, folder, &[]).await?;
    let client = Client::connect(served.firn.clients).await?;
    let mut times = Vec::new();
    for number in 0..ENTITIES {
        let start = Instant::now();
        client.call(own::JOURNAL_READ, &AddItem::to(number)).await?;
        times.push(start.elapsed().as_secs_f64() * 1e3);
    }
    served.stop().await?;
    Ok(times)
}

/// The time that the store takes to load each.
async fn bare(folder: &Path, events: u64) -> Result<Vec<f64>> {
    let store = filled::open(folder)?;
    let mut times = Vec::new();
    for number in 0..ENTITIES {
        let key = EntityKey::new(StorageName::new(own::JOURNAL), id(number));
        let start = Instant::now();
        let entity = store.load(&key, Replay::FromSnapshot).await?;
        times.push(start.elapsed().as_secs_f64() * 1e3);
        let count = entity.events.len() as u64;
        ensure!(count == events, "{count} events, not {events}");
    }
    store.close();
    Ok(times)
}
