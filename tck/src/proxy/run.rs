//! Runs the checks, one after another, over one proxy.

use std::io;

use tokio::time::{Duration, Instant, timeout};

use super::checks::{self, Check, Needs};
use super::rig::Rig;
use crate::fault::Fault;
use crate::report::{Outcome, Output, Summary, Verdict};
use crate::run::{COMMANDS_DEFAULT, TIMEOUT_DEFAULT};
use crate::workload::random_seed;

/// A proxy, or a function that a proxy dials, that the kit can start and end.
pub trait Proxy: Send {
    /// Starts it, on the data that it had. The kit dials until it listens.
    ///
    /// # Errors
    /// When there is no such program.
    fn start(&mut self) -> io::Result<()>;

    /// Kills it without a word, and waits until it has gone.
    ///
    /// # Errors
    /// When it cannot be killed.
    fn kill(&mut self) -> io::Result<()>;

    /// Asks it to stop, as SIGTERM does.
    ///
    /// # Errors
    /// When it cannot be asked.
    fn stop(&mut self) -> io::Result<()>;
}

/// How the kit is run.
pub struct ProxyOptions {
    /// The client port: `host:port`.
    pub clients: String,
    /// The function port: `host:port` or `unix:path`.
    pub functions: String,
    /// The token that functions have to send.
    pub token: Option<String>,
    /// Only checks whose names contain this.
    pub filter: Option<String>,
    /// How long one check may take.
    pub timeout: Duration,
    /// What the random workload is made from; a random number if it is not given.
    pub seed: Option<u64>,
    /// How many requests the random workload has.
    pub commands: u32,
    /// Starts and ends the proxy. Without it, one must run, and checks that end it are left out.
    pub proxy: Option<Box<dyn Proxy>>,
}

impl ProxyOptions {
    /// All checks at these addresses.
    pub fn new(clients: impl Into<String>, functions: impl Into<String>) -> Self {
        Self {
            clients: clients.into(),
            functions: functions.into(),
            token: None,
            filter: None,
            timeout: TIMEOUT_DEFAULT,
            seed: None,
            commands: COMMANDS_DEFAULT,
            proxy: None,
        }
    }
}

/// The names of all checks of a proxy with their requirements, in the order in which they run.
pub fn list_proxy() -> Vec<(&'static str, &'static [&'static str])> {
    let checks = checks::all().into_iter();
    checks
        .map(|check| (check.name, check.requirements))
        .collect()
}

/// Runs the checks against a proxy.
///
/// # Errors
/// When the proxy cannot be started. What it does wrong is in the summary.
pub async fn run_proxy(options: ProxyOptions, output: &mut dyn Output) -> io::Result<Summary> {
    let seed = options.seed.unwrap_or_else(random_seed);
    let mut rig = Rig::new(options.clients, options.functions, seed);
    rig.token = options.token;
    rig.commands = options.commands;
    rig.proxy = options.proxy;
    if let Some(proxy) = &mut rig.proxy {
        proxy.start()?;
    }
    let mut summary = Summary {
        judged: "firn.v1 proxy",
        outcomes: Vec::new(),
        seed,
    };
    let filter = options.filter.as_deref();
    let wanted = |check: &Check| filter.is_none_or(|filter| check.name.contains(filter));
    for check in checks::all().into_iter().filter(wanted) {
        output.begins(check.name);
        let began = Instant::now();
        let verdict = one(&mut rig, &check, options.timeout).await;
        let outcome = Outcome {
            name: check.name,
            requirements: check.requirements,
            verdict,
            time: began.elapsed(),
        };
        output.ended(&outcome);
        summary.outcomes.push(outcome);
    }
    rig.cut();
    if let Some(proxy) = &mut rig.proxy {
        proxy.kill()?;
    }
    Ok(summary)
}

async fn one(rig: &mut Rig, check: &Check, limit: Duration) -> Verdict {
    let missing = match check.needs {
        Needs::Token if rig.token.is_none() => Some("no token was given"),
        Needs::Restart if rig.proxy.is_none() => Some("no command that starts the proxy was given"),
        _ => None,
    };
    if let Some(why) = missing {
        return Verdict::Skipped(why.to_owned());
    }
    rig.log.take();
    // The workload is as long as it was asked to be.
    let is_workload = check.name.starts_with("workload/");
    let limit = limit * if is_workload { 10 } else { 1 };
    let done = timeout(limit, (check.run)(rig)).await;
    let fault = match done {
        Ok(Ok(())) => return Verdict::Passed,
        Ok(Err(fault)) => fault,
        Err(_) => Fault::new(
            check.requirements.first().copied().unwrap_or("R1"),
            rig.waiting(),
            format!("nothing more within {limit:?}"),
        ),
    };
    let frames = rig.log.take();
    // Whatever state the connections are in, the next check begins with others.
    rig.cut();
    Verdict::Failed { fault, frames }
}
