//! Runs the checks of a family, one after another, over one proxy.

use std::io;

use tokio::time::{Duration, Instant, timeout};

use super::checks::{self, Check, Needs};
use super::world::World;
use crate::families::dialect::{Dialect, Family};
use crate::fault::Fault;
use crate::proxy::run::Proxy;
use crate::report::{Outcome, Output, Summary, Verdict};
use crate::run::{COMMANDS_DEFAULT, TIMEOUT_DEFAULT};
use crate::workload::random_seed;

/// How the kit is run.
pub struct FamilyProxyOptions {
    /// The family that the kit's function speaks.
    pub family: Family,
    /// The client port of the proxy: `host:port`.
    pub clients: String,
    /// Where the kit's function listens, and the proxy dials: `host:port`.
    pub function: String,
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

impl FamilyProxyOptions {
    /// All checks of a family at these addresses.
    pub fn new(family: Family, clients: impl Into<String>, function: impl Into<String>) -> Self {
        Self {
            family,
            clients: clients.into(),
            function: function.into(),
            filter: None,
            timeout: TIMEOUT_DEFAULT,
            seed: None,
            commands: COMMANDS_DEFAULT,
            proxy: None,
        }
    }
}

/// The names of all checks of a proxy of a family with their requirements, in their order.
pub fn list_family_proxy(family: Family) -> Vec<(&'static str, &'static [&'static str])> {
    let checks = checks::of(family).into_iter();
    checks
        .map(|check| (check.name, check.requirements))
        .collect()
}

/// Runs the checks of a family against a proxy.
///
/// # Errors
/// When the proxy cannot be started, or the function's address be listened at. What the proxy does
/// wrong is in the summary.
pub async fn run_family_proxy(
    options: FamilyProxyOptions,
    output: &mut dyn Output,
) -> io::Result<Summary> {
    let seed = options.seed.unwrap_or_else(random_seed);
    let dialect = dialect(options.family);
    let mut world = World::new(dialect, options.clients, options.function, seed);
    world.commands = options.commands;
    world.proxy = options.proxy;
    // An address that is taken is no fault of the proxy.
    world.host.come().await?;
    world.host.go().await;
    if let Some(proxy) = &mut world.proxy {
        proxy.start()?;
    }
    let mut summary = Summary {
        judged: match options.family {
            Family::Cloudstate => "cloudstate proxy",
            Family::AkkaServerless => "akka-serverless proxy",
            Family::Kalix => "kalix proxy",
        },
        outcomes: Vec::new(),
        seed,
    };
    let filter = options.filter.as_deref();
    let wanted = |check: &Check| filter.is_none_or(|filter| check.name.contains(filter));
    for check in checks::of(options.family).into_iter().filter(wanted) {
        output.begins(check.name);
        let began = Instant::now();
        let verdict = one(&mut world, &check, options.timeout).await;
        let outcome = Outcome {
            name: check.name,
            requirements: check.requirements,
            verdict,
            time: began.elapsed(),
        };
        output.ended(&outcome);
        summary.outcomes.push(outcome);
    }
    world.cut().await;
    if let Some(proxy) = &mut world.proxy {
        proxy.kill()?;
    }
    Ok(summary)
}

/// The newest generation of a family.
fn dialect(family: Family) -> Dialect {
    match family {
        Family::Cloudstate => Dialect::Cloudstate02,
        Family::AkkaServerless => Dialect::AkkaServerlessB,
        Family::Kalix => Dialect::Kalix,
    }
}

async fn one(world: &mut World, check: &Check, limit: Duration) -> Verdict {
    if check.needs == Needs::Restart && world.proxy.is_none() {
        return Verdict::Skipped("no command that starts the proxy was given".to_owned());
    }
    world.log.take();
    // The workload is as long as it was asked to be.
    let is_workload = check.name.starts_with("workload/");
    let limit = limit * if is_workload { 10 } else { 1 };
    let done = timeout(limit, async {
        if check.needs == Needs::Nothing {
            world.ready().await?;
            world.forget();
        }
        (check.run)(world).await
    });
    let fault = match done.await {
        Ok(Ok(())) => return Verdict::Passed,
        Ok(Err(fault)) => fault,
        Err(_) => Fault::new(
            check.requirements.first().copied().unwrap_or("F101"),
            world.waiting(),
            format!("nothing more within {limit:?}"),
        ),
    };
    let frames = world.log.take();
    // Whatever state the connections are in, the next check begins with others; so does it with
    // another proxy, if this one may have ended.
    world.cut().await;
    if world.proxy.is_some() && check.needs == Needs::Restart {
        let again = world.kill().and_then(|()| world.start());
        if let Err(fault) = again {
            return Verdict::Failed { fault, frames };
        }
    }
    Verdict::Failed { fault, frames }
}
