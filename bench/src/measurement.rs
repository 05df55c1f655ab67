//! What a load gave in all its rounds: the middle of each value, and how far rounds lay apart.

use std::fmt::{self, Write as _};
use std::num::NonZero;

use firn_load::{Cost, Pace, Part, STOLEN_MAX};
use serde::{Deserialize, Serialize};

use crate::figure::median;
use crate::load::Outcome;

/// A load in all its rounds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Measurement {
    /// Who was loaded.
    pub(crate) name: String,
    /// How.
    pub(crate) settings: Settings,
    /// Calls in a second.
    pub(crate) rate: Spread,
    pub(crate) p50_ms: Spread,
    pub(crate) p99_ms: Spread,
    pub(crate) p999_ms: Spread,
    pub(crate) max_ms: Spread,
    /// How late calls began that were due; none in a closed loop.
    pub(crate) lag_p99_ms: Option<Spread>,
    /// How many calls ended for each that was due; none in a closed loop.
    #[serde(default)]
    pub(crate) answered: Option<Spread>,
    /// The part of the processors' time, of 1, that the host of this machine gave to others; none if the
    /// system does not tell.
    #[serde(default)]
    pub(crate) stolen: Option<Spread>,
    /// The seconds of an open loop, if there was a single round: it was a long one then.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) seconds: Vec<Second>,
    /// Calls, in all rounds, that had to wait because too many were under way.
    pub(crate) held_back: u64,
    /// Calls, in all rounds, that were due and never began.
    pub(crate) unstarted: u64,
    /// What each call took in each process, that which makes the load last.
    pub(crate) processes: Vec<Process>,
}

/// How a server was loaded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Settings {
    pub(crate) connections: usize,
    /// Of a closed loop: so many calls at once.
    pub(crate) in_flight: Option<usize>,
    /// Of an open loop: so many calls begin in a second, in the middle of the rounds.
    pub(crate) begun_per_second: Option<f64>,
    pub(crate) warm_s: f64,
    pub(crate) measured_s: f64,
    pub(crate) rounds: usize,
    /// The processors that everybody shared.
    #[serde(default)]
    pub(crate) cores: usize,
}

/// What calls took that were due in one second of a load, or in one of 600 parts of a very long one.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Second {
    pub(crate) p50_ms: f64,
    pub(crate) p999_ms: f64,
    pub(crate) max_ms: f64,
    /// As of the whole.
    pub(crate) stolen: Option<f64>,
}

/// What a call took of a process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Process {
    pub(crate) name: String,
    pub(crate) user_us: Spread,
    pub(crate) system_us: Spread,
    /// Of the process as a whole, at the end of each round.
    pub(crate) resident_bytes: Spread,
    pub(crate) written_bytes: Option<Spread>,
    pub(crate) flushes: Option<Spread>,
    /// How often a thread of it had to wait.
    pub(crate) switches: Spread,
}

/// A value in all rounds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
}

impl Spread {
    /// The spread of at least one value.
    pub(crate) fn of(values: &[f64]) -> Self {
        Self {
            median: median(values),
            least: values.iter().copied().fold(f64::INFINITY, f64::min),
            most: values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        }
    }
}

impl Measurement {
    /// What came of a load in each round.
    ///
    /// # Panics
    /// If there is no round.
    pub(crate) fn of(name: impl Into<String>, rounds: &[&Outcome]) -> Self {
        let values = |of: &dyn Fn(&Outcome) -> f64| -> Vec<f64> {
            rounds.iter().map(|round| of(round)).collect()
        };
        let spread = |of: &dyn Fn(&Outcome) -> f64| Spread::of(&values(of));
        let load = rounds[0].all.load;
        let (in_flight, is_open) = match load.pace {
            Pace::Closed { in_flight } => (Some(in_flight), false),
            Pace::Open { .. } => (None, true),
        };
        let begun = values(&|round| match round.all.load.pace {
            Pace::Open { rate, .. } => rate,
            Pace::Closed { .. } => 0.0,
        });
        let stolen: Option<Vec<f64>> = rounds.iter().map(|round| round.all.stolen).collect();
        let indices = 0..rounds[0].all.processes.len();
        let mut processes: Vec<Process> = indices
            .map(|index| Process::of(rounds, |round| &round.all.processes[index]))
            .collect();
        processes.push(Process::of(rounds, |round| &round.all.own));
        Self {
            name: name.into(),
            settings: Settings {
                connections: rounds[0].connections,
                in_flight,
                begun_per_second: is_open.then(|| median(&begun)),
                warm_s: load.warm.as_secs_f64(),
                measured_s: load.measured.as_secs_f64(),
                rounds: rounds.len(),
                cores: std::thread::available_parallelism().map_or(0, NonZero::get),
            },
            rate: spread(&|round| round.rate),
            p50_ms: spread(&|round| round.time_ms(0.5)),
            p99_ms: spread(&|round| round.time_ms(0.99)),
            p999_ms: spread(&|round| round.time_ms(0.999)),
            max_ms: spread(&|round| round.all.latency.max_ms()),
            lag_p99_ms: is_open.then(|| spread(&|round| round.all.lag.quantile_ms(0.99))),
            answered: is_open
                .then(|| spread(&|round| round.all.kept_up.map_or(1.0, |it| it.answered()))),
            stolen: stolen.map(|it| Spread::of(&it)),
            seconds: match rounds {
                [only] => only.all.parts.iter().map(Second::of).collect(),
                _ => Vec::new(),
            },
            held_back: rounds.iter().map(|round| round.all.held_back).sum(),
            unstarted: rounds.iter().map(|round| round.all.unstarted).sum(),
            processes,
        }
    }

    /// Who was loaded, and how, in a few words.
    pub(crate) fn title(&self) -> String {
        match (self.settings.in_flight, self.settings.begun_per_second) {
            (Some(in_flight), _) => format!("{}, {in_flight} in flight", self.name),
            (None, Some(rate)) => format!("{}, {rate:.0}/s", self.name),
            (None, None) => self.name.clone(),
        }
    }

    /// The part of the processors, of 1, that each process used, in their order.
    fn used(&self) -> impl Iterator<Item = f64> {
        let all = 1e6 * self.settings.cores.max(1) as f64;
        let processes = self.processes.iter();
        processes.map(move |it| it.processor_us() * self.rate.median / all)
    }

    /// Who used the processors, in a few words.
    pub(crate) fn processors(&self) -> String {
        let used: Vec<f64> = self.used().map(|part| 100.0 * part).collect();
        let mut text = format!("{:.0} % in use:", used.iter().sum::<f64>());
        for (it, part) in self.processes.iter().zip(used) {
            let gap = if text.ends_with(':') { "" } else { "," };
            let _ = write!(text, "{gap} {} {part:.0} %", it.name);
        }
        text
    }

    /// What has to be known before its values are believed.
    fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.held_back > 0 {
            warnings.push(format!(
                "{} calls began later than due, because as many were under way as may be",
                self.held_back
            ));
        }
        if self.unstarted > 0 {
            warnings.push(format!("{} calls never began", self.unstarted));
        }
        if let Some(answered) = self.answered.filter(|it| it.median < ANSWERED_MIN) {
            let percent = 100.0 * answered.median;
            warnings.push(format!(
                "only {percent:.1} % of the calls that were due were answered in the time: the \
                 latencies are those of a queue that grows"
            ));
        }
        if let Some(lag) = self.lag_p99_ms
            && lag.median >= LATE * self.p99_ms.median
        {
            let lag = crate::report::shown(lag.median);
            warnings.push(format!(
                "this load itself was late: 99 of 100 calls began within {lag} ms of when they were due"
            ));
        }
        if let Some(stolen) = self.stolen.filter(|it| it.median > STOLEN_MAX) {
            warnings.push(format!(
                "the host of this machine gave {:.0} % of the processors' time to others ({:.0} % to {:.0} %)",
                100.0 * stolen.median,
                100.0 * stolen.least,
                100.0 * stolen.most,
            ));
        }
        let used: Vec<f64> = self.used().collect();
        let (all, own) = (
            used.iter().sum::<f64>(),
            used.last().copied().unwrap_or(0.0),
        );
        if all >= BUSY && own >= all / 2.0 {
            warnings.push(format!(
                "the processors are used up, and most of them by this load: {}",
                self.processors()
            ));
        }
        warnings
    }
}

/// The part of the calls that are due in a time that should be answered in it.
const ANSWERED_MIN: f64 = firn_load::highest::ANSWERED_MIN;

/// The part of the latency that may be the load's own lateness without being told.
const LATE: f64 = 0.5;

/// The part of the processors, of 1, from which on they are used up.
const BUSY: f64 = 0.9;

impl Second {
    fn of(part: &Part) -> Self {
        Self {
            p50_ms: part.latency.quantile_ms(0.5),
            p999_ms: part.latency.quantile_ms(0.999),
            max_ms: part.latency.max_ms(),
            stolen: part.stolen,
        }
    }
}

impl Process {
    /// All processor time of a call, in microseconds.
    pub(crate) fn processor_us(&self) -> f64 {
        self.user_us.median + self.system_us.median
    }

    fn of<'a>(rounds: &[&'a Outcome], cost: impl Fn(&'a Outcome) -> &'a Cost) -> Self {
        let costs: Vec<&Cost> = rounds.iter().map(|round| cost(round)).collect();
        let spread = |of: &dyn Fn(&Cost) -> f64| {
            let values: Vec<f64> = costs.iter().map(|cost| of(cost)).collect();
            Spread::of(&values)
        };
        // Only what was told in every round.
        let told = |of: fn(&Cost) -> Option<f64>| -> Option<Spread> {
            let values: Option<Vec<f64>> = costs.iter().map(|cost| of(cost)).collect();
            Some(Spread::of(&values?))
        };
        Self {
            name: costs[0].name.clone(),
            user_us: spread(&|cost| cost.user_us),
            system_us: spread(&|cost| cost.system_us),
            resident_bytes: spread(&|cost| cost.resident_bytes as f64),
            written_bytes: told(|cost| cost.written_bytes),
            flushes: told(|cost| cost.flushes),
            switches: spread(&|cost| cost.switches),
        }
    }
}

/// Measurements as a table for people.
pub(crate) struct Table<'a>(pub(crate) &'a [Measurement]);

/// The width of a cell, and of the first column at least.
const CELL: usize = 15;
const FIRST: usize = 30;

/// What a process is called under its load.
fn process_name(index: usize, of: &Measurement) -> String {
    match index + 1 == of.processes.len() {
        true => "  this load".to_owned(),
        false => format!("  {}", of.processes[index].name),
    }
}

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let titles = self.0.iter().map(|it| it.title().chars().count());
        let first = titles.max().unwrap_or(0).max(FIRST);
        let line = |f: &mut fmt::Formatter<'_>, name: &str, cells: &[String]| {
            write!(f, "  {name:first$}")?;
            for cell in cells {
                write!(f, "{cell:>CELL$}")?;
            }
            writeln!(f)
        };
        let told = |value: &Option<Spread>| value.as_ref().map_or("–".to_owned(), cell);
        let heads = [
            "calls/s",
            "p50 ms",
            "p99 ms",
            "p99.9 ms",
            "longest ms",
            "late p99 ms",
        ];
        line(f, "load", &heads.map(str::to_owned))?;
        for it in self.0 {
            let values = [&it.rate, &it.p50_ms, &it.p99_ms, &it.p999_ms, &it.max_ms];
            let mut cells = values.map(cell).to_vec();
            cells.push(told(&it.lag_p99_ms));
            line(f, &it.title(), &cells)?;
            for warning in it.warnings() {
                writeln!(f, "  ! {warning}")?;
            }
        }
        let heads = [
            "user µs",
            "system µs",
            "of cores",
            "memory MB",
            "written B",
            "flushes",
            "waits",
        ];
        line(f, "what each call took in", &heads.map(str::to_owned))?;
        for it in self.0 {
            writeln!(f, "  {}", it.title())?;
            for (index, (process, used)) in it.processes.iter().zip(it.used()).enumerate() {
                let memory = Spread {
                    median: process.resident_bytes.median / 1e6,
                    least: process.resident_bytes.least / 1e6,
                    most: process.resident_bytes.most / 1e6,
                };
                let cells = [
                    cell(&process.user_us),
                    cell(&process.system_us),
                    format!("{:.0} %", 100.0 * used),
                    cell(&memory),
                    told(&process.written_bytes),
                    told(&process.flushes),
                    cell(&process.switches),
                ];
                line(f, &process_name(index, it), &cells)?;
            }
        }
        Ok(())
    }
}

/// The middle, and how far rounds lie from it at most.
fn cell(spread: &Spread) -> String {
    let shown = crate::report::shown(spread.median);
    let far = (spread.most - spread.median).max(spread.median - spread.least);
    match spread.median {
        middle if middle > 0.0 && far > 0.0 => format!("{shown} ±{:.0} %", far / middle * 100.0),
        _ => shown,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::time::Duration;

    use firn_load::{Latency, Load};

    use super::*;

    /// What a round may give.
    pub(crate) fn round(load: Load, rate: f64) -> Outcome {
        let cost = |name: &str| Cost {
            name: name.to_owned(),
            user_us: 1e6 / rate,
            system_us: 5.0,
            written_bytes: Some(400.0),
            flushes: None,
            switches: 0.25,
            resident_bytes: 12_000_000,
        };
        let mut latency = Latency::default();
        latency.record(Duration::from_millis(2));
        let all = firn_load::Outcome {
            load,
            calls: 1,
            rate,
            latency,
            lag: Latency::default(),
            failures: Vec::new(),
            processes: vec![cost("Firn"), cost("function")],
            own: cost("load"),
            held_back: 0,
            unstarted: 3,
            kept_up: None,
            stolen: Some(rate / 1000.0),
            parts: Vec::new(),
        };
        Outcome::new(all, 4)
    }

    #[test]
    fn a_table_shows_the_middle_and_how_far_rounds_lie_from_it() {
        let load = Load::closed(64, Duration::ZERO, Duration::from_secs(2));
        let rounds = [80.0, 100.0, 110.0].map(|rate| round(load, rate));
        let rounds: Vec<&Outcome> = rounds.iter().collect();
        let measurement = Measurement::of("events", &rounds);
        let table = Table(&[measurement]).to_string();
        for expected in [
            "events, 64 in flight",
            "100 ±20 %",
            "2.0",
            "    function ",
            "    this load ",
            "400",
            "–",
            "9 calls never began",
            "gave 10 % of the processors' time to others (8 % to 11 %)",
        ] {
            assert!(table.contains(expected), "{expected}: {table}");
        }
    }
}
