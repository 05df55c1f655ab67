//! `firn store`: what an operator does with a store while no Firn serves from it, and backups of one
//! from which a Firn does.

mod backup;
mod check;
mod file;
mod trim;

use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{Arg, ArgAction, ArgMatches, Command};
use firn_model::code::Code;
use firn_store::archive::{ArchiveError, RestoreError, file as archive};
use firn_store::embedded::{self, Embedded, OpenError};
use firn_store::postgres::{self, Migrate, Owner, Postgres};
use firn_store::{ReadError, Store};
use tokio::time::Instant;

use crate::exit::{self, Failure};
use crate::settings::{self, StoreConfig, StoreUrl};
use crate::{client, store};
pub(crate) use backup::PATH as BACKUP_PATH;
use file::{NewArchive, NewFile, failed};

/// How often progress is told.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);

/// How long a command of the store tries a read: nobody waits for an answer as a caller does.
const READ_TIME: Duration = Duration::from_secs(60);

/// The command line of the command.
pub(crate) fn command() -> Command {
    let file = |help: &'static str| {
        Arg::new("file")
            .value_name("FILE")
            .required(true)
            .help(help)
    };
    let plain = Arg::new("plain")
        .long("plain")
        .action(ArgAction::SetTrue)
        .help("Does not seal the file, also if there are keys");
    Command::new("store")
        .about("Moves, checks, seals and backs up what is stored")
        .after_help(
            "All but backup need a data folder for themselves: stop Firn first. Of those on a \
             database, import, check --repair and rotate-keys need it.",
        )
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(
            Command::new("export")
                .about("Writes everything in the store to a file, sealed if there are keys")
                .arg(file("The file to write; it must not be there yet"))
                .arg(plain)
                .args(settings::store_args(&[])),
        )
        .subcommand(
            Command::new("import")
                .about("Fills an empty store with what was exported, of any kind of store")
                .arg(file("The file to read"))
                .args(settings::store_args(&["migrate"])),
        )
        .subcommand(
            Command::new("check")
                .about("Reads everything in the store and says what does not fit together")
                .arg(
                    Arg::new("repair")
                        .long("repair")
                        .action(ArgAction::SetTrue)
                        .help("Repairs what can be repaired without loss"),
                )
                .args(settings::store_args(&["lease"]))
                // Only a repair takes slots.
                .mut_arg("lease", |lease| lease.requires("repair")),
        )
        .subcommand(trim::command())
        .subcommand(
            Command::new("rotate-keys")
                .about("Seals everything anew with the first key, also what was not sealed")
                .args(settings::store_args(&["lease"])),
        )
        .subcommand(
            Command::new("backup")
                .about("Writes everything in the store of a running Firn to a file")
                .arg(file("The file to write; it must not be there yet"))
                .arg(crate::cli::admin())
                .args(settings::key_args()),
        )
}

/// Runs the command.
pub(crate) fn run(flags: &ArgMatches, env: &dyn Fn(&str) -> Option<String>) -> ExitCode {
    let Some((name, flags)) = flags.subcommand() else {
        unreachable!("clap refuses a missing command");
    };
    let config = match settings::gather_store(flags, env) {
        Ok(config) => config,
        Err(faults) => return exit::faults(&faults),
    };
    let file = || PathBuf::from(flags.get_one::<String>("file").map_or("", String::as_str));
    client::run(async {
        match name {
            "export" => export(&config, &file(), flags.get_flag("plain")).await,
            "import" => import(&config, &file()).await,
            "check" => check::run(&config, flags.get_flag("repair")).await,
            "trim" => trim::run(&config, flags, open(&config).await?).await,
            "rotate-keys" => rotate_keys(&config).await,
            "backup" => {
                let address = flags.get_one::<String>("admin").map_or("", String::as_str);
                backup::run(address, &file(), config.keys).await
            }
            _ => unreachable!("clap refuses an unknown command"),
        }
    })
}

async fn export(config: &StoreConfig, path: &Path, plain: bool) -> Result<(), Failure> {
    // Before the store is opened: a name that is taken is the commonest mistake.
    let file = NewFile::create(path)?;
    let opened = open(config).await?;
    let keys = config.keys.clone().filter(|_| !plain);
    let unreadable = |error| unreadable(config, error);
    let mut dump = opened.dump().await.map_err(unreadable)?;
    let mut archive = NewArchive::create(file, keys)?;
    let progress = Progress::new("exported");
    let mut count = 0;
    loop {
        let rows = dump.next().await.map_err(unreadable)?;
        if rows.is_empty() {
            break;
        }
        count += rows.len() as u64;
        archive.write(rows).await?;
        progress.tell(count);
    }
    let bytes = archive.finish()?;
    println!(
        "exported {count} rows to {} ({bytes} bytes)",
        path.display()
    );
    Ok(())
}

/// The store gives no more rows.
fn unreadable(config: &StoreConfig, error: ReadError) -> Failure {
    match (&error, &config.store) {
        (ReadError::Unavailable { .. }, StoreUrl::Postgres(_)) => Failure::new(
            Code::DatabaseUnreachable,
            error,
            "look at the server's log, then repeat the command",
        ),
        _ => Failure::new(Code::RecordDamaged, error, "see what firn store check says"),
    }
}

async fn import(config: &StoreConfig, path: &Path) -> Result<(), Failure> {
    let open = || file::open(path);
    let refused = |error: ArchiveError| failed(path, error);
    // To its end, before anything is changed.
    let bytes = fs::metadata(path).map_or(0, |file| file.len());
    let progress = Progress::of("read", "bytes", bytes);
    let tell = |bytes| progress.tell(bytes);
    let summary = archive::verify_frames(open()?, config.keys.clone(), tell).map_err(refused)?;
    let mut reader = archive::Reader::start(open()?, config.keys.clone()).map_err(refused)?;
    let mut restore = match &config.store {
        StoreUrl::Memory => return Err(nothing_lasts()),
        StoreUrl::Embedded(folder) => {
            embedded::restore(folder, &embedded_config(config)).map_err(locked)?
        }
        StoreUrl::Postgres(url) => {
            let settings = database(config, url, config.migrate);
            postgres::restore(&settings).await.map_err(unopened)?
        }
    };
    let unfinished = |error: RestoreError| Failure::new(error.code(), &error, error.remedy());
    let progress = Progress::of("imported", "rows", summary.rows);
    let mut count = 0;
    loop {
        let rows = reader.rows().await.map_err(refused)?;
        if rows.is_empty() {
            break;
        }
        count += rows.len() as u64;
        restore.write(rows).await.map_err(unfinished)?;
        progress.tell(count);
    }
    restore.finish().await.map_err(unfinished)?;
    println!(
        "imported {count} rows from {} ({} bytes)",
        path.display(),
        summary.bytes
    );
    Ok(())
}

async fn rotate_keys(config: &StoreConfig) -> Result<(), Failure> {
    let Some(keys) = &config.keys else {
        return Err(Failure::new(
            Code::BadSetting,
            "there is no key to seal with",
            "give keys with --encryption-key-file or FIRN_ENCRYPTION_KEYS, the new one first",
        ));
    };
    let progress = Progress::new("sealed");
    let tell = |rows| progress.tell(rows);
    let count = match &config.store {
        StoreUrl::Memory => return Err(nothing_lasts()),
        StoreUrl::Embedded(folder) => {
            embedded::find(folder).map_err(locked)?;
            let sealed = embedded::rotate_keys(folder, &embedded_config(config), tell);
            sealed.map_err(locked)?
        }
        StoreUrl::Postgres(url) => {
            let settings = postgres::Config {
                owner: Some(owner(config)?),
                ..database(config, url, Migrate::Check)
            };
            let sealed = postgres::rotate_keys(settings, tell).await;
            sealed.map_err(unopened)?
        }
    };
    println!(
        "{count} rows are sealed with key {}; no other key is needed",
        keys.id()
    );
    Ok(())
}

/// Opens the store of the settings, which must be one that is there.
async fn open(config: &StoreConfig) -> Result<Arc<dyn Store>, Failure> {
    match &config.store {
        StoreUrl::Memory => Err(nothing_lasts()),
        StoreUrl::Embedded(folder) => {
            embedded::find(folder).map_err(locked)?;
            let opened = Embedded::open(folder, embedded_config(config), store::end);
            Ok(Arc::new(opened.map_err(locked)?))
        }
        StoreUrl::Postgres(url) => {
            // It takes no slots, so a Firn that serves meanwhile is not disturbed.
            let settings = database(config, url, Migrate::Check);
            let opened = Postgres::open(settings, |_| {}).await;
            Ok(Arc::new(opened.map_err(unopened)?))
        }
    }
}

fn embedded_config(config: &StoreConfig) -> embedded::Config {
    embedded::Config {
        cache_bytes: config.cache_bytes,
        keys: config.keys.clone(),
        ..embedded::Config::default()
    }
}

/// How a database is used by whoever is not a Firn.
fn database(config: &StoreConfig, url: &postgres::Url, migrate: Migrate) -> postgres::Config {
    postgres::Config {
        migrate,
        keys: config.keys.clone(),
        read_time: READ_TIME,
        ..postgres::Config::new(url.clone())
    }
}

/// As whom slots of a database are taken, so that no Firn has them meanwhile.
fn owner(config: &StoreConfig) -> Result<Owner, Failure> {
    Ok(Owner {
        name: store::owner_name()?,
        lease: config.lease,
    })
}

/// A database cannot be used.
fn unopened(error: postgres::OpenError) -> Failure {
    Failure::new(error.code(), &error, error.remedy())
}

/// A folder cannot be used.
fn locked(error: OpenError) -> Failure {
    let remedy = match &error {
        OpenError::Locked { .. } => {
            "a running Firn holds the store: stop it first, or use firn store backup"
        }
        other => other.remedy(),
    };
    Failure::new(error.code(), &error, remedy)
}

fn nothing_lasts() -> Failure {
    Failure::new(
        Code::BadSetting,
        "--store is memory:, which holds nothing once its Firn has ended",
        "name a store that lasts, for example --store embedded:.firn/data",
    )
}

/// Tells now and then how far something has come.
struct Progress {
    done: &'static str,
    /// What is counted.
    of: &'static str,
    /// How many there are; 0 if nobody knows.
    all: u64,
    last: Cell<Instant>,
}

impl Progress {
    /// Of rows, nobody knows how many.
    fn new(done: &'static str) -> Self {
        Self::of(done, "rows", 0)
    }

    /// Of so many.
    fn of(done: &'static str, of: &'static str, all: u64) -> Self {
        Self {
            done,
            of,
            all,
            last: Cell::new(Instant::now()),
        }
    }

    fn tell(&self, count: u64) {
        if self.last.get().elapsed() >= PROGRESS_EVERY {
            self.last.set(Instant::now());
            eprintln!("{}", self.line(count));
        }
    }

    fn line(&self, count: u64) -> String {
        let Self { done, of, all, .. } = self;
        match all {
            0 => format!("{done} {count} {of}"),
            all => format!("{done} {count} of {all} {of}, {} %", count * 100 / all),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_told_in_parts_of_all_where_all_is_known() {
        let check = |progress: Progress, expected: &str| assert_eq!(progress.line(30), expected);
        check(Progress::new("exported"), "exported 30 rows");
        let read = Progress::of("read", "bytes", 120);
        check(read, "read 30 of 120 bytes, 25 %");
    }

    /// What a command does not use is refused, not read and ignored.
    #[test]
    fn commands_take_the_settings_that_they_use() {
        let takes = |args: &str| {
            let given = args.split(' ').chain(["--store", "memory:"]);
            command().try_get_matches_from(given).is_ok()
        };
        for (of, migrate, lease) in [
            ("store export file", false, false),
            ("store import file", true, false),
            ("store check", false, false),
            ("store check --repair", false, true),
            ("store trim", false, false),
            ("store rotate-keys", false, true),
        ] {
            assert!(takes(of), "{of}");
            assert!(takes(&format!("{of} --cache-bytes 1")), "{of}");
            assert_eq!(takes(&format!("{of} --migrate auto")), migrate, "{of}");
            assert_eq!(takes(&format!("{of} --lease 5s")), lease, "{of}");
        }
    }
}
