//! What a load gave in all its rounds: the middle of each value, and how far rounds lay apart.

use std::fmt::{self, Write as _};

use firn_load::{Cost, Pace};
use serde::Serialize;

use crate::figure::median;
use crate::load::Outcome;

/// A load in all its rounds.
#[derive(Debug, Clone, PartialEq, Serialize)]
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
    /// Calls, in all rounds, that had to wait because too many were under way.
    pub(crate) held_back: u64,
    /// Calls, in all rounds, that were due and never began.
    pub(crate) unstarted: u64,
    /// What each call took in each process, that which makes the load last.
    pub(crate) processes: Vec<Process>,
}

/// How a server was loaded.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Settings {
    pub(crate) connections: usize,
    /// Of a closed loop: so many calls at once.
    pub(crate) in_flight: Option<usize>,
    /// Of an open loop: so many calls begin in a second, in the middle of the rounds.
    pub(crate) begun_per_second: Option<f64>,
    pub(crate) warm_s: f64,
    pub(crate) measured_s: f64,
    pub(crate) rounds: usize,
}

/// What a call took of a process.
#[derive(Debug, Clone, PartialEq, Serialize)]
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
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
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
            },
            rate: spread(&|round| round.rate),
            p50_ms: spread(&|round| round.time_ms(0.5)),
            p99_ms: spread(&|round| round.time_ms(0.99)),
            p999_ms: spread(&|round| round.time_ms(0.999)),
            max_ms: spread(&|round| round.all.latency.max_ms()),
            lag_p99_ms: is_open.then(|| spread(&|round| round.all.lag.quantile_ms(0.99))),
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
}

impl Process {
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

/// The width of a cell, and of the first column.
const CELL: usize = 16;
const FIRST: usize = 44;

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let loads = ["calls/s", "p50 ms", "p99 ms", "p99.9 ms", "longest ms"];
        line(f, "load", &loads.map(str::to_owned))?;
        for it in self.0 {
            let cells = [&it.rate, &it.p50_ms, &it.p99_ms, &it.p999_ms, &it.max_ms].map(cell);
            line(f, &it.title(), &cells)?;
            let mut faults = String::new();
            if it.held_back > 0 {
                write!(faults, "{} calls began later than due, ", it.held_back)?;
                faults += "because as many were under way as may be";
            }
            if it.unstarted > 0 {
                let gap = if faults.is_empty() { "" } else { "; " };
                write!(faults, "{gap}{} calls never began", it.unstarted)?;
            }
            if !faults.is_empty() {
                writeln!(f, "  ! {faults}")?;
            }
        }
        let heads = [
            "user µs",
            "system µs",
            "memory MB",
            "written B",
            "flushes",
            "waits",
        ];
        line(f, "of which for each call", &heads.map(str::to_owned))?;
        for it in self.0 {
            for (index, process) in it.processes.iter().enumerate() {
                let is_last = index + 1 == it.processes.len();
                let name = match is_last {
                    true => format!("{}: this load", it.title()),
                    false => format!("{}: {}", it.title(), process.name),
                };
                let memory = Spread {
                    median: process.resident_bytes.median / 1e6,
                    least: process.resident_bytes.least / 1e6,
                    most: process.resident_bytes.most / 1e6,
                };
                let told = |value: &Option<Spread>| value.as_ref().map_or("–".to_owned(), cell);
                let cells = [
                    cell(&process.user_us),
                    cell(&process.system_us),
                    cell(&memory),
                    told(&process.written_bytes),
                    told(&process.flushes),
                    cell(&process.switches),
                ];
                line(f, &name, &cells)?;
            }
        }
        Ok(())
    }
}

fn line(f: &mut fmt::Formatter<'_>, first: &str, cells: &[String]) -> fmt::Result {
    write!(f, "  {first:FIRST$}")?;
    for cell in cells {
        write!(f, "{cell:>CELL$}")?;
    }
    writeln!(f)
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
            "events, 64 in flight: function",
            "events, 64 in flight: this load",
            "400",
            "–",
            "9 calls never began",
        ] {
            assert!(table.contains(expected), "{expected}: {table}");
        }
    }
}
