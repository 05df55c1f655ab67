//! Durable commands with what is stored sealed, beside those without: ratios of one run.
//!
//! The command is that of the case `own`: one event among 1,000 entities over firn.v1 and the SDK for
//! Rust, one in ten with a snapshot, 64 in flight, on the embedded store. There are two of everything
//! but the load, and both are loaded in turns.

use std::time::Duration;

use anyhow::Result;
use tempfile::TempDir;

use super::AddItem;
use crate::figure::{Bound, Figure, Unit, median};
use crate::load::{self, Load, Outcome};
use crate::measurement::Measurement;
use crate::own;
use crate::rig::{Dialer, Firn, Programs};

/// How often each is loaded.
const ROUNDS: usize = 7;

/// How many entities are written to.
const ENTITIES: u64 = 1000;

/// What must be left of the rate.
const RATE_MIN: f64 = 0.9;
const RATE_STRETCH: f64 = 0.95;

/// A key that is none: anybody can read it here.
const KEY: &str = "bench:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

const LOAD: Load = Load {
    connections: 4,
    in_flight: 64,
    warm: Duration::from_millis(500),
    measured: Duration::from_secs(2),
};

/// A Firn and its function.
struct Pair {
    firn: Firn,
    function: Dialer,
    _folder: TempDir,
}

impl Pair {
    async fn start(programs: &Programs, arguments: &[&str]) -> Result<Self> {
        let folder = programs.folder()?;
        let mut firn = Firn::start_own(programs, folder.path(), arguments);
        firn.up().await?;
        let function = Dialer::own(programs, firn.functions)?;
        firn.serving().await?;
        Ok(Self {
            firn,
            function,
            _folder: folder,
        })
    }

    async fn load(&self, load: Load) -> Result<Outcome> {
        let message = |number| AddItem::to(number % ENTITIES);
        let processes = [self.firn.watched(), self.function.watched("function")];
        load::run(self.firn.clients, own::ADD, message, load, &processes).await
    }
}

pub(super) async fn run(programs: &Programs) -> Result<Vec<Figure>> {
    let plain = Pair::start(programs, &[]).await?;
    let sealed = Pair::start(programs, &["--encryption-keys", KEY]).await?;
    let load = programs.effort.load(LOAD);
    let (mut plains, mut seals) = (Vec::new(), Vec::new());
    for round in 0..programs.effort.rounds(ROUNDS) {
        // Who comes second may find what the first has left to do.
        if round % 2 == 0 {
            plains.push(plain.load(load).await?);
            seals.push(sealed.load(load).await?);
        } else {
            seals.push(sealed.load(load).await?);
            plains.push(plain.load(load).await?);
        }
    }
    plain.firn.stop().await?;
    sealed.firn.stop().await?;
    let ratio = |what: &str, of: fn(&Outcome) -> f64| {
        let rounds = seals.iter().zip(&plains);
        let samples = rounds.map(|(sealed, plain)| of(sealed) / of(plain));
        Figure::new(what, Unit::Ratio, samples.collect())
    };
    let allowed = ratio("", |it| {
        1.0 / (it.own_processor_us + it.processor_us.iter().sum::<f64>())
    });
    Ok(vec![
        ratio(
            "durable commands, sealed: rate over that of plain ones",
            |it| it.rate,
        )
        .bound(Bound::AtLeast(RATE_MIN))
        .stretch(Bound::AtLeast(RATE_STRETCH))
        .detail(
            "the same by the processor time of all processes",
            allowed.value,
        )
        .detail("plain", line(&plains))
        .detail("sealed", line(&seals))
        .measured(Measurement::of("plain", &plains.iter().collect::<Vec<_>>()))
        .measured(Measurement::of("sealed", &seals.iter().collect::<Vec<_>>())),
        ratio("durable commands, sealed: Firn's processor time", |it| {
            it.processor_us[0]
        }),
    ])
}

/// The absolute values: those of this machine in this hour.
fn line(outcomes: &[Outcome]) -> String {
    let of = |value: fn(&Outcome) -> f64| median(&outcomes.iter().map(value).collect::<Vec<_>>());
    format!(
        "{:.0}/s, p50 {:.3} ms, p99 {:.3} ms; processor for each call: Firn {:.1} µs, function \
         {:.1} µs, load {:.1} µs",
        of(|it| it.rate),
        of(|it| it.time_ms(0.5)),
        of(|it| it.time_ms(0.99)),
        of(|it| it.processor_us[0]),
        of(|it| it.processor_us[1]),
        of(|it| it.own_processor_us),
    )
}
