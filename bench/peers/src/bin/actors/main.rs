//! Actors of a library in one process, under load: what is possible without a boundary of processes.
//!
//! There are 1,000 actors with a sum each. A command adds to it, and is answered once a record of it is
//! durable; with `--memory` at once. An actor takes its next command while the record of the last one
//! is being written, as a function on firn.v1 does. Prints what came of one load, as JSON.

mod log;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use firn_bench_peers::Item;
use kameo::actor::{ActorRef, Spawn as _};
use kameo::message::{Context, Message};
use kameo::reply::DelegatedReply;
use rustix::time::{ClockId, clock_gettime};
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::sleep;

use self::log::Log;

const HELP: &str = "\
Usage: actors (--log FOLDER | --memory) --in-flight NUMBER --warm-ms NUMBER --measured-ms NUMBER
";

/// How many actors there are.
const ACTORS: u64 = 1000;

/// One entity.
#[derive(kameo::Actor)]
struct Entity {
    sum: i64,
    /// Where its commands are made durable, if they are.
    log: Option<Log>,
}

impl Message<Item> for Entity {
    type Reply = DelegatedReply<i64>;

    async fn handle(
        &mut self,
        item: Item,
        context: &mut Context<Self, Self::Reply>,
    ) -> Self::Reply {
        self.sum += i64::from(item.quantity);
        let (delegated, reply) = context.reply_sender();
        let reply = reply.expect("every command is asked and not told");
        match &self.log {
            Some(log) => log.append(record(&item), self.sum, reply).await,
            None => reply.send(self.sum),
        }
        delegated
    }
}

/// What is written of a command: every field, the texts with their lengths.
fn record(item: &Item) -> Vec<u8> {
    let texts = [&item.cart_id, &item.product_id, &item.name];
    let length = texts.iter().map(|text| text.len() + 2).sum::<usize>() + 4;
    let mut record = Vec::with_capacity(length);
    for text in texts {
        let length = u16::try_from(text.len()).expect("texts are short");
        record.extend_from_slice(&length.to_le_bytes());
        record.extend_from_slice(text.as_bytes());
    }
    record.extend_from_slice(&item.quantity.to_le_bytes());
    record
}

/// What the command line asks for.
struct Options {
    log: Option<PathBuf>,
    in_flight: usize,
    warm: Duration,
    measured: Duration,
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let options = read(&arguments).with_context(|| HELP)?;
    let log = options.log.as_deref().map(Log::open).transpose()?;
    let actors: Vec<ActorRef<Entity>> = (0..ACTORS)
        .map(|_| {
            let log = log.clone();
            Entity::spawn(Entity { sum: 0, log })
        })
        .collect();
    println!("{}", load(actors.into(), log, &options).await?);
    Ok(())
}

fn read(arguments: &[String]) -> Result<Options> {
    let (mut log, mut in_memory) = (None, false);
    let (mut in_flight, mut warm, mut measured) = (None, None, None);
    let mut arguments = arguments.iter();
    while let Some(name) = arguments.next() {
        if name == "--memory" {
            in_memory = true;
            continue;
        }
        let value = arguments.next().with_context(|| format!("{name}: what?"))?;
        let milliseconds = || value.parse().map(Duration::from_millis);
        match name.as_str() {
            "--log" => log = Some(Path::new(value).to_owned()),
            "--in-flight" => in_flight = Some(value.parse()?),
            "--warm-ms" => warm = Some(milliseconds()?),
            "--measured-ms" => measured = Some(milliseconds()?),
            other => bail!("unknown: {other}"),
        }
    }
    if log.is_some() == in_memory {
        bail!("either a log or memory");
    }
    Ok(Options {
        log,
        in_flight: in_flight.context("--in-flight is missing")?,
        warm: warm.context("--warm-ms is missing")?,
        measured: measured.context("--measured-ms is missing")?,
    })
}

/// Phases of a load, as its callers see them.
const WARM: u8 = 0;
const MEASURED: u8 = 1;
const OVER: u8 = 2;

/// Asks the actors in turn, so many at once, and says what came of it.
async fn load(
    actors: Arc<[ActorRef<Entity>]>,
    log: Option<Log>,
    options: &Options,
) -> Result<serde_json::Value> {
    let phase = Arc::new(AtomicU8::new(WARM));
    let number = Arc::new(AtomicU64::new(0));
    let mut callers = JoinSet::new();
    for _ in 0..options.in_flight {
        let (actors, phase, number) = (actors.clone(), phase.clone(), number.clone());
        callers.spawn(async move {
            let mut times = Vec::new();
            loop {
                let cart = number.fetch_add(1, Ordering::Relaxed) % ACTORS;
                let start = Instant::now();
                actors[cart as usize].ask(Item::to(cart)).await?;
                match phase.load(Ordering::Relaxed) {
                    WARM => {}
                    MEASURED => times.push(start.elapsed().as_secs_f64() * 1e3),
                    _ => return anyhow::Ok(times),
                }
            }
        });
    }
    let flushes = || log.as_ref().map_or(0, Log::flushes);
    sleep(options.warm).await;
    phase.store(MEASURED, Ordering::Relaxed);
    let (start, used_before, flushes_before) = (Instant::now(), used(), flushes());
    sleep(options.measured).await;
    phase.store(OVER, Ordering::Relaxed);
    let (elapsed, used, flushes) = (
        start.elapsed(),
        used() - used_before,
        flushes() - flushes_before,
    );
    let mut times = Vec::new();
    while let Some(ended) = callers.join_next().await {
        times.extend(ended??);
    }
    times.sort_by(f64::total_cmp);
    let count = times.len() as f64;
    let time_ms = |part: f64| {
        let last = times.len().saturating_sub(1);
        times.get((last as f64 * part).round() as usize).copied()
    };
    Ok(json!({
        "rate": count / elapsed.as_secs_f64(),
        "p50_ms": time_ms(0.5),
        "p99_ms": time_ms(0.99),
        "p999_ms": time_ms(0.999),
        "processor_us": used.as_secs_f64() * 1e6 / count,
        "flushes": flushes as f64 / count,
    }))
}

/// The processor time of this process.
fn used() -> Duration {
    let used = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(
        used.tv_sec.unsigned_abs(),
        used.tv_nsec.unsigned_abs() as u32,
    )
}
