//! Runs the checks, one after another, over one function.

use std::io;

use tokio::time::{Duration, Instant, timeout};

use super::checks::{self, Check, Needs};
use super::rig::Rig;
use crate::families::dialect::Family;
use crate::fault::Fault;
use crate::proxy::Proxy;
use crate::report::{Outcome, Output, Summary, Verdict};
use crate::run::{COMMANDS_DEFAULT, TIMEOUT_DEFAULT};
use crate::workload::random_seed;

/// How many times the limit of a check the start of a function may take, and a part of the workload.
const PATIENCE: u32 = 10;

/// How the kit is run against a function that is a server.
pub struct FunctionOptions {
    /// What the function speaks.
    pub family: Family,
    /// Where it listens: `host:port`.
    pub address: String,
    /// Only checks whose names contain this.
    pub filter: Option<String>,
    /// How long one check may take.
    pub timeout: Duration,
    /// What the random workload is made from; a random number if it is not given.
    pub seed: Option<u64>,
    /// How many commands the random workload has.
    pub commands: u32,
    /// Starts and kills the function. Without it, one must run, and it is not killed.
    pub process: Option<Box<dyn Proxy>>,
}

impl FunctionOptions {
    /// All checks of a family at this address.
    pub fn new(family: Family, address: impl Into<String>) -> Self {
        Self {
            family,
            address: address.into(),
            filter: None,
            timeout: TIMEOUT_DEFAULT,
            seed: None,
            commands: COMMANDS_DEFAULT,
            process: None,
        }
    }
}

/// The names of all checks of such a function with their requirements, in the order in which they run.
pub fn list_functions(family: Family) -> Vec<(&'static str, &'static [&'static str])> {
    let checks = checks::of(family).into_iter();
    checks
        .map(|check| (check.name, check.requirements))
        .collect()
}

/// Dials a function and runs the checks.
///
/// # Errors
/// When the function cannot be started. What it does wrong is in the summary.
pub async fn run_function(
    options: FunctionOptions,
    output: &mut dyn Output,
) -> io::Result<Summary> {
    let seed = options.seed.unwrap_or_else(random_seed);
    let mut rig = Rig::new(options.family, options.address);
    rig.process = options.process;
    rig.seed = seed;
    rig.commands = options.commands;
    if let Some(process) = &mut rig.process {
        process.start()?;
    }
    let mut summary = Summary {
        judged: match options.family {
            Family::Cloudstate => "cloudstate function",
            Family::AkkaServerless => "akka-serverless function",
            Family::Kalix => "kalix function",
        },
        outcomes: Vec::new(),
        seed,
    };
    // It may take its time to start; whether it came is said by the first check.
    let _ = timeout(options.timeout * PATIENCE, rig.client()).await;
    let wanted = |check: &Check| {
        let filter = options.filter.as_deref();
        filter.is_none_or(|filter| check.name.contains(filter))
    };
    for check in checks::of(options.family).into_iter().filter(wanted) {
        output.begins(check.name);
        let began = Instant::now();
        let is_first = summary.outcomes.is_empty();
        let verdict = if is_first || rig.was_dialed() {
            one(&mut rig, &check, options.timeout).await
        } else {
            Verdict::Skipped("nobody has ever listened at the address".to_owned())
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
    Ok(summary)
}

async fn one(rig: &mut Rig, check: &Check, limit: Duration) -> Verdict {
    rig.log.take();
    // The workload is as long as it was asked to be, and a function may take its time to start.
    let is_long = ["workload/", "restart/"]
        .iter()
        .any(|group| check.name.starts_with(group));
    let limit = limit * if is_long { PATIENCE } else { 1 };
    let done = timeout(limit, async {
        let dialect = rig.ready().await?;
        let missing = check.needs.missing(dialect, rig.process.is_some());
        let missing = match (missing, check.needs) {
            (None, Needs::Service(service)) if !rig.has(service) => {
                // That it is missing is what `discovery/` says.
                Some(format!("the function has no {}", dialect.service(service)))
            }
            (missing, _) => missing,
        };
        if let Some(missing) = missing {
            return Ok(Some(missing));
        }
        (check.run)(rig).await.map(|()| None)
    });
    let fault = match done.await {
        Ok(Ok(None)) => return Verdict::Passed,
        Ok(Ok(Some(missing))) => return Verdict::Skipped(missing),
        Ok(Err(fault)) => fault,
        Err(_) => Fault::new(
            check.requirements.first().copied().unwrap_or("F1"),
            rig.waiting(),
            format!("nothing more within {limit:?}"),
        ),
    };
    let frames = rig.log.take();
    // Whatever state its streams are in, the next check begins with another connection.
    rig.disconnect();
    Verdict::Failed { fault, frames }
}
