//! `firn store trim`: removes events that a snapshot covers, as the settings or the command line say.

use std::sync::Arc;

use clap::{Arg, ArgAction, ArgMatches, Command};
use firn_model::code::Code;
use firn_model::id::StorageName;
use firn_runtime::retention::Events;
use firn_store::{Clock, Covered, Keep, ReadError, Store, TRIM_EVENTS_MAX, WriteError};

use super::Progress;
use crate::exit::Failure;
use crate::settings::{self, StoreConfig};

/// How many entities are looked at at once.
const PAGE: usize = 1024;

/// The command line of the command.
pub(super) fn command() -> Command {
    Command::new("trim")
        .about(
            "Removes events that a snapshot covers; an entity keeps its state and its last event",
        )
        .arg(
            Arg::new("component")
                .long("component")
                .value_name("NAME")
                .help("Only of the component with this storage name"),
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
    let storages = match only {
        Some(name) => vec![StorageName::new(name.clone())],
        None => store.storages().await.map_err(unread)?,
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
    if rules.is_empty() {
        return Err(Failure::new(
            Code::BadSetting,
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
    let (mut entities, mut events) = (0, 0);
    for (storage, keep) in rules {
        let trimmed = trim(&*store, &storage, keep, is_dry, &progress).await?;
        if trimmed.0 > 0 {
            println!(
                "{storage}: {} events of {} entities {done}",
                trimmed.1, trimmed.0
            );
        }
        entities += trimmed.0;
        events += trimmed.1;
    }
    println!("{events} events of {entities} entities {done}");
    Ok(())
}

/// Trims a component; gives of how many entities how many events.
async fn trim(
    store: &dyn Store,
    storage: &StorageName,
    keep: Keep,
    is_dry: bool,
    progress: &Progress,
) -> Result<(u64, u64), Failure> {
    let (mut entities, mut events) = (0, 0);
    let mut after: Option<String> = None;
    loop {
        let page = store.covered(storage, keep, after.as_deref(), PAGE);
        let page = page.await.map_err(unread)?;
        let left = |covered: &Covered| covered.count() > TRIM_EVENTS_MAX;
        // A page of which more is left than goes at once is looked at again.
        let is_done = is_dry || !page.found.iter().any(left);
        for covered in &page.found {
            let gone = match is_dry {
                true => covered.count(),
                false => covered.count().min(TRIM_EVENTS_MAX),
            };
            events += gone;
            entities += u64::from(is_dry || !left(covered));
        }
        if !is_dry {
            let trims = page.found.iter().map(Covered::trim).collect();
            store.trim(trims).await.map_err(unwritten)?;
        }
        progress.tell(events);
        match page.next {
            _ if !is_done => {}
            Some(next) => after = Some(next),
            None => return Ok((entities, events)),
        }
    }
}

fn unread(error: ReadError) -> Failure {
    Failure::new(
        Code::RecordDamaged,
        error,
        "see what firn store check says; what was trimmed is trimmed",
    )
}

fn unwritten(error: WriteError) -> Failure {
    Failure::new(
        Code::DatabaseUnreachable,
        error,
        "look at the server's log, then repeat the command: it goes on where it was",
    )
}
