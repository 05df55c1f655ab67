//! Runs the checks, one after another, over one function.

use std::io;

use tokio::time::{Duration, Instant, timeout};

use crate::checks::{self, Check, Needs};
use crate::fault::Fault;
use crate::kit::Kit;
use crate::report::{Outcome, Output, Summary, Verdict};
use crate::wire::Port;
use crate::workload;

/// How long a check may take unless the options say otherwise. Redialing takes up to 2 s (R7).
pub const TIMEOUT_DEFAULT: Duration = Duration::from_secs(20);
/// How many commands the random workload has unless the options say otherwise.
pub const COMMANDS_DEFAULT: u32 = 5_000;

/// How the kit is run.
pub struct Options {
    /// Where the kit listens and the function dials in: `host:port` or `unix:path`.
    pub address: String,
    /// The token that the function has to send.
    pub token: Option<String>,
    /// Only checks whose names contain this.
    pub filter: Option<String>,
    /// How long one check may take.
    pub timeout: Duration,
    /// What the random workload is made from; a random number if it is not given.
    pub seed: Option<u64>,
    /// How many commands the random workload has.
    pub commands: u32,
    /// Stops the function, as SIGTERM would. It is not started again.
    pub stop: Option<Box<dyn FnMut() + Send>>,
}

impl Options {
    /// All checks at this address.
    pub fn new(address: impl Into<String>) -> Self {
        Self {
            address: address.into(),
            token: None,
            filter: None,
            timeout: TIMEOUT_DEFAULT,
            seed: None,
            commands: COMMANDS_DEFAULT,
            stop: None,
        }
    }
}

/// The names of all checks with their requirements, in the order in which they run.
pub fn list() -> Vec<(&'static str, &'static [&'static str])> {
    let checks = in_order();
    checks
        .iter()
        .map(|check| (check.name, check.requirements))
        .collect()
}

/// The workload comes before the checks that end the function.
fn in_order() -> Vec<Check> {
    let (last, mut checks): (Vec<_>, Vec<_>) = checks::all()
        .into_iter()
        .partition(|check| check.needs == Needs::Stop);
    checks.extend(workload::CHECKS);
    checks.extend(last);
    checks
}

/// Listens, waits for the function, and runs the checks.
///
/// # Errors
/// When the address cannot be listened at. What the function does wrong is in the summary.
pub async fn run(options: Options, output: &mut dyn Output) -> io::Result<Summary> {
    let port = Port::listen(&options.address).await?;
    let seed = options.seed.unwrap_or_else(workload::random_seed);
    let mut kit = Kit::new(port, options.token.clone());
    kit.stop = options.stop;
    kit.seed = seed;
    kit.commands = options.commands;
    let mut summary = Summary {
        judged: "firn.v1 function",
        outcomes: Vec::new(),
        seed,
    };
    let wanted = |check: &Check| {
        let filter = options.filter.as_deref();
        filter.is_none_or(|filter| check.name.contains(filter))
    };
    for check in in_order().into_iter().filter(wanted) {
        output.begins(check.name);
        let began = Instant::now();
        let is_first = summary.outcomes.is_empty();
        let verdict = if is_first || kit.was_dialed() {
            one(&mut kit, &check, options.timeout).await
        } else {
            Verdict::Skipped("the function has never dialed".to_owned())
        };
        let outcome = Outcome {
            name: check.name,
            requirements: check.requirements,
            verdict,
            time: began.elapsed(),
        };
        output.ended(&outcome);
        summary.outcomes.push(outcome);
    }
    kit.disconnect();
    Ok(summary)
}

async fn one(kit: &mut Kit, check: &Check, limit: Duration) -> Verdict {
    let missing = match check.needs {
        Needs::Token if kit.token.is_none() => Some("no token was given"),
        Needs::Stop if kit.stop.is_none() => Some("no way to stop the function was given"),
        _ => None,
    };
    if let Some(why) = missing {
        return Verdict::Skipped(why.to_owned());
    }
    kit.forget_recent();
    // The workload is as long as it was asked to be; its parts keep the limit.
    let limit = limit
        * if check.name.starts_with("workload/") {
            10
        } else {
            1
        };
    let done = timeout(limit, async {
        (check.run)(kit).await?;
        kit.settle().await
    });
    let fault = match done.await {
        Ok(Ok(())) => return Verdict::Passed,
        Ok(Err(fault)) => fault,
        Err(_) => Fault::new(
            check.requirements.first().copied().unwrap_or("R1"),
            kit.waiting(),
            format!("nothing more within {limit:?}"),
        ),
    };
    let frames = kit.recent();
    // Whatever state the connection is in, the next check begins with another.
    kit.disconnect();
    Verdict::Failed { fault, frames }
}
