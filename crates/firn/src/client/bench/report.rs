//! What a load gave: a table for people, JSON for machines.

use std::fmt;
use std::time::Duration;

use firn_load::{Failure, Outcome, Pace, STOLEN_MAX};
use serde_json::{Value, json};

/// What is reported of a load.
pub(super) struct Report<'a> {
    pub(super) server: &'a str,
    /// As it was given.
    pub(super) method: &'a str,
    pub(super) connections: u32,
    pub(super) outcome: &'a Outcome,
}

/// The parts of the calls that are told, of 1.
const PARTS: [(&str, f64); 4] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999)];

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Outcome {
            load, latency, lag, ..
        } = self.outcome;
        let pace = match load.pace {
            Pace::Closed { in_flight } => format!("{in_flight} in flight"),
            Pace::Open { rate, .. } => format!("{rate} begun a second"),
        };
        let s = match self.connections {
            1 => "",
            _ => "s",
        };
        write!(
            f,
            "{} at {}: {pace} over {} connection{s}, {:?} measured",
            self.method, self.server, self.connections, load.measured
        )?;
        match load.warm {
            Duration::ZERO => writeln!(f)?,
            warm => writeln!(f, " after {warm:?} of warming up")?,
        }
        let seconds = self.outcome.rate;
        writeln!(
            f,
            "answered    {}, {seconds:.1} a second",
            self.outcome.calls
        )?;
        writeln!(f, "failed      {}", self.outcome.failed())?;
        for it in &self.outcome.failures {
            writeln!(f, "            {} with {}", it.count, failure(it))?;
        }
        if latency.count() > 0 {
            write!(f, "latency    ")?;
            for (name, part) in PARTS {
                write!(f, " {name} {},", milliseconds(latency.quantile_ms(part)))?;
            }
            writeln!(f, " longest {}", milliseconds(latency.max_ms()))?;
        }
        if let Pace::Open { .. } = load.pace {
            let late = milliseconds(lag.quantile_ms(0.99));
            write!(f, "begun late  p99 {late}, part of the latency")?;
            if self.outcome.held_back > 0 {
                write!(f, "; {} waited for others", self.outcome.held_back)?;
            }
            if self.outcome.unstarted > 0 {
                write!(f, "; {} never began", self.outcome.unstarted)?;
            }
            writeln!(f)?;
        }
        if let Some(it) = self.outcome.kept_up.filter(|it| !it.is_sustained()) {
            writeln!(
                f,
                "fell behind {:.1} % of what was due was answered in time, {} calls were left; ask for less",
                100.0 * it.answered(),
                it.backlog()
            )?;
        }
        if let Some(stolen) = self.outcome.stolen.filter(|it| *it > STOLEN_MAX) {
            let percent = 100.0 * stolen;
            writeln!(
                f,
                "steal       the host gave {percent:.0} % of the processors' time here to others"
            )?;
        }
        let own = &self.outcome.own;
        writeln!(
            f,
            "this load   {:.1} µs of processor time for each call, {:.1} of them the kernel's",
            own.processor_us(),
            own.system_us
        )
    }
}

impl Report<'_> {
    pub(super) fn json(&self) -> Value {
        let Outcome {
            load,
            latency,
            lag,
            own,
            ..
        } = self.outcome;
        let (in_flight, rate) = match load.pace {
            Pace::Closed { in_flight } => (Some(in_flight), None),
            Pace::Open { rate, .. } => (None, Some(rate)),
        };
        let failures = self.outcome.failures.iter().map(|it| {
            json!({
                "status": it.status,
                "code": it.code,
                "message": it.message,
                "count": it.count,
            })
        });
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "server": self.server,
            "method": self.method,
            "settings": {
                "inFlight": in_flight,
                "rate": rate,
                "connections": self.connections,
                "warmSeconds": load.warm.as_secs_f64(),
                "measuredSeconds": load.measured.as_secs_f64(),
            },
            "answered": self.outcome.calls,
            "rate": self.outcome.rate,
            "latencyMs": {
                "mean": latency.mean_ms(),
                "p50": latency.quantile_ms(0.5),
                "p90": latency.quantile_ms(0.9),
                "p99": latency.quantile_ms(0.99),
                "p999": latency.quantile_ms(0.999),
                "max": latency.max_ms(),
            },
            "failed": self.outcome.failed(),
            "failures": failures.collect::<Vec<Value>>(),
            "beginning": {
                "lateMsP99": in_flight.is_none().then(|| lag.quantile_ms(0.99)),
                "heldBack": self.outcome.held_back,
                "neverBegun": self.outcome.unstarted,
                "answeredOfDue": self.outcome.kept_up.map(|it| it.answered()),
            },
            "steal": self.outcome.stolen,
            "load": { "userUs": own.user_us, "systemUs": own.system_us },
        })
    }
}

/// A failure in a few words.
pub(super) fn failure(failure: &Failure) -> String {
    let code = failure
        .code
        .as_ref()
        .map_or(String::new(), |code| format!(" ({code})"));
    match failure.message.as_str() {
        "" => format!("{}{code}", failure.status),
        message => format!("{}{code}: {message}", failure.status),
    }
}

fn milliseconds(ms: f64) -> String {
    match ms {
        ms if ms < 10.0 => format!("{ms:.3} ms"),
        ms if ms < 1000.0 => format!("{ms:.1} ms"),
        ms => format!("{:.2} s", ms / 1e3),
    }
}
