//! `firn store trim`: removes events that a snapshot covers, as the settings or the command line say.

use std::sync::Arc;

use clap::{Arg, ArgAction, ArgMatches, Command};
use firn_model::code::Code;
use firn_model::id::StorageName;
use firn_runtime::retention::Events;
use firn_store::{Clock, Covered, Done, Keep, Pass, ReadError, Store, WriteError};

use super::{Progress, unreadable};
use crate::exit::Failure;
use crate::settings::{self, StoreConfig, StoreUrl};

/// How many entities are looked at at once: few enough that a database whose rows are on a slow disk
/// answers in time.
const PAGE: usize = 256;

/// The command line of the command.
pub(super) fn command() -> Command {
    Command::new("trim")
        .about(
            "Removes events that a snapshot covers; an entity keeps its state and its last event",
        )
        .after_help(
            "Never trim a component whose SDK needs all events, as it cannot begin with a snapshot: \
             the Python SDKs of the oldest Cloudstate (PyPI cloudstate 0.1.1) and of Akka \
             Serverless. A running Firn knows them and leaves their events alone; a store does not.",
        )
        .arg(
            Arg::new("component")
                .long("component")
                .value_name("NAME")
                .help(
                    "The storage name of the component, which must be given unless nothing is removed",
                ),
        )
        .arg(
            Arg::new("before")
                .long("before")
                .value_name("WHAT")
                .value_parser(settings::retained_events)
                .help(
                    "What is kept, whatever the settings say: 30d for events of the last 30 days, \
                     100 for the last 100 before the snapshot, 0 for none that it covers",
                ),
        )
        .arg(
            Arg::new("dry-run")
                .long("dry-run")
                .action(ArgAction::SetTrue)
                .help("Removes nothing, says only what would go"),
        )
        .args(settings::trim_args())
}

/// Runs the command on a store that is open.
pub(super) async fn run(
    config: &StoreConfig,
    flags: &ArgMatches,
    store: Arc<dyn Store>,
) -> Result<(), Failure> {
    let before = flags.get_one::<Events>("before").copied();
    let is_dry = flags.get_flag("dry-run");
    let only = flags.get_one::<String>("component");
    if only.is_none() && !is_dry {
        return Err(Failure::misused(
            "--component is missing: a store does not know which SDKs need all events",
            "see with --dry-run what would go, then name each component whose SDK begins with a \
             snapshot",
        ));
    }
    let stored = store.storages().await;
    let stored = stored.map_err(|error| unreadable(config, error))?;
    if before.is_none() {
        known(config, &stored)?;
    }
    let storages = match only {
        Some(name) => vec![named(&stored, name)?],
        None => stored,
    };
    let of = |storage: &StorageName| {
        let rule = config.retention.components.get(storage.as_str());
        let said = before.or_else(|| rule.and_then(|rule| rule.events));
        let events = said.unwrap_or(config.retention.events);
        events.keep(Clock::system().now())
    };
    let rules: Vec<(StorageName, Keep)> = storages
        .into_iter()
        .filter_map(|storage| {
            let keep = of(&storage)?;
            Some((storage, keep))
        })
        .collect();
    let said = config.retention.components.values();
    let is_said = before.is_some()
        || config.retention.events != Events::All
        || said
            .filter_map(|rule| rule.events)
            .any(|events| events != Events::All);
    if !is_said {
        return Err(Failure::misused(
            "nothing says which events need not be kept",
            "give --before, for example --before 30d, or set retain-events or [retention]",
        ));
    }
    let progress = Progress::new(if is_dry { "looked at" } else { "trimmed" });
    let done = if is_dry {
        "would be removed"
    } else {
        "removed"
    };
    let mut all = Done::default();
    for (storage, keep) in rules {
        let one = match is_dry {
            true => count(&*store, &storage, keep, &progress).await,
            false => trim(&*store, &storage, keep, &progress).await,
        };
        let one = one.map_err(|trouble| trouble.failure(config))?;
        if one.entities > 0 {
            let (events, entities) = (one.events, one.entities);
            println!("{storage}: {events} events of {entities} entities {done}");
        }
        all.events += one.events;
        all.entities += one.entities;
        all.stuck += one.stuck;
        all.stuck_at = all.stuck_at.or(one.stuck_at);
    }
    println!("{} events of {} entities {done}", all.events, all.entities);
    match all.stuck_at {
        None => Ok(()),
        Some(entity) => Err(Failure::new(
            Code::RecordDamaged,
            format!(
                "events of {} entities cannot be removed, such as of {entity}",
                all.stuck
            ),
            "see what firn store check says; everything else is as was said",
        )),
    }
}

/// Why a component is not trimmed to its end.
enum Trouble {
    Read(ReadError),
    Write(WriteError),
}

/// Refuses rules for names under which nothing is stored: such may be the name of a service that is
/// stored under another.
fn known(config: &StoreConfig, stored: &[StorageName]) -> Result<(), Failure> {
    let is_stored = |name: &str| stored.iter().any(|storage| storage.as_str() == name);
    let mut rules = config.retention.components.iter();
    match rules.find(|(name, rule)| rule.events.is_some() && !is_stored(name)) {
        None => Ok(()),
        Some((name, _)) => Err(Failure::misused(
            format!("[retention.{name:?}] names nothing that is stored, as this command must"),
            "write the name of the storage there, or say with --before what is kept",
        )),
    }
}

/// The component with this name, of those under which something is stored.
fn named(stored: &[StorageName], name: &str) -> Result<StorageName, Failure> {
    match stored.iter().find(|storage| storage.as_str() == name) {
        Some(storage) => Ok(storage.clone()),
        None if stored.is_empty() => Err(Failure::misused(
            format!("--component {name:?} names nothing that is stored: the store is empty"),
            "look whether --store names the right one",
        )),
        None => {
            let stored: Vec<&str> = stored.iter().map(StorageName::as_str).collect();
            Err(Failure::misused(
                format!("--component {name:?} names nothing that is stored"),
                format!("write the name of a storage: {}", stored.join(", ")),
            ))
        }
    }
}

/// Trims a component.
async fn trim(
    store: &dyn Store,
    storage: &StorageName,
    keep: Keep,
    progress: &Progress,
) -> Result<Done, Trouble> {
    let mut pass = Pass::default();
    while !pass.done().is_all {
        let page = store.covered(storage, keep, pass.after(), PAGE);
        let trims = pass.on(page.await.map_err(Trouble::Read)?);
        if !trims.is_empty() {
            store.trim(trims).await.map_err(Trouble::Write)?;
        }
        progress.tell(pass.done().events);
    }
    Ok(pass.done().clone())
}

/// Counts what of a component would be trimmed.
async fn count(
    store: &dyn Store,
    storage: &StorageName,
    keep: Keep,
    progress: &Progress,
) -> Result<Done, Trouble> {
    let mut done = Done::default();
    let mut after: Option<String> = None;
    while !done.is_all {
        let page = store.covered(storage, keep, after.as_deref(), PAGE);
        let page = page.await.map_err(Trouble::Read)?;
        done.entities += page.found.len() as u64;
        done.events += page.found.iter().map(Covered::count).sum::<u64>();
        done.stuck += page.damaged.len() as u64;
        done.stuck_at = done.stuck_at.or_else(|| page.damaged.first().cloned());
        progress.tell(done.events);
        after = page.next;
        done.is_all = after.is_none();
    }
    Ok(done)
}

impl Trouble {
    fn failure(self, config: &StoreConfig) -> Failure {
        let error = match self {
            Self::Read(error) => return unreadable(config, error),
            Self::Write(error) => error,
        };
        let (code, look) = match &config.store {
            StoreUrl::Postgres(_) => (Code::DatabaseUnreachable, "look at the server's log"),
            _ => (Code::FlushFailed, "make room, or repair the disk"),
        };
        let remedy = format!("{look}, then repeat the command: it goes on where it was");
        Failure::new(code, error, remedy)
    }
}
