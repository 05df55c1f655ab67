//! The store as the settings name it.

use std::fmt;
use std::path::PathBuf;
use std::process;
use std::sync::Arc;

use firn_model::code::Code;
use firn_store::Store;
use firn_store::embedded::{self, Embedded, Fatal};
use firn_store::memory::Memory;
use firn_store::postgres::{self, Deposed, Owner, Postgres};
use tracing::error;

use crate::admin::Measured;
use crate::exit::{FAILED, Failure};
use crate::settings::{Config, StoreUrl};

/// A store that is open.
pub(crate) enum OpenStore {
    /// Nothing lasts.
    Memory(Arc<Memory>),
    /// A folder.
    Embedded(Arc<Embedded>, PathBuf),
    /// A database.
    Postgres(Arc<Postgres>, Box<postgres::Url>),
}

impl OpenStore {
    /// Opens the store of the settings.
    pub(crate) async fn open(config: &Config) -> Result<Self, Failure> {
        let folder = match &config.store {
            StoreUrl::Memory => {
                let memory = match &config.keys {
                    Some(keys) => Memory::new().sealed(keys.clone()),
                    None => Memory::new(),
                };
                return Ok(Self::Memory(Arc::new(memory)));
            }
            StoreUrl::Embedded(folder) => folder.clone(),
            StoreUrl::Postgres(url) => return Self::open_postgres(config, url).await,
        };
        let settings = embedded::Config {
            cache_bytes: config.cache_bytes,
            keys: config.keys.clone(),
            ..embedded::Config::default()
        };
        let path = folder.clone();
        let opened = tokio::task::spawn_blocking(move || Embedded::open(&path, settings, end));
        match opened.await {
            Ok(Ok(store)) => Ok(Self::Embedded(Arc::new(store), folder)),
            Ok(Err(error)) => Err(Failure::new(error.code(), &error, error.remedy())),
            Err(panicked) => Err(Failure::new(
                Code::DataFolderUnusable,
                panicked,
                "this is a fault of Firn; please report it with the log",
            )),
        }
    }

    async fn open_postgres(config: &Config, url: &postgres::Url) -> Result<Self, Failure> {
        let settings = postgres::Config {
            migrate: config.migrate,
            writers: config.store_connections,
            owner: Some(Owner {
                name: owner_name()?,
                lease: config.lease,
            }),
            keys: config.keys.clone(),
            ..postgres::Config::new(url.clone())
        };
        match Postgres::open(settings, end_deposed).await {
            Ok(store) => Ok(Self::Postgres(Arc::new(store), Box::new(url.clone()))),
            Err(error) => Err(Failure::new(error.code(), &error, error.remedy())),
        }
    }

    /// The store for the engine.
    pub(crate) fn store(&self) -> Arc<dyn Store> {
        match self {
            Self::Memory(memory) => memory.clone(),
            Self::Embedded(embedded, _) => embedded.clone(),
            Self::Postgres(postgres, _) => postgres.clone(),
        }
    }

    /// The store for who wants to know what it does.
    pub(crate) fn measured(&self) -> Measured {
        match self {
            Self::Memory(_) => Measured::Memory,
            Self::Embedded(embedded, _) => Measured::Embedded(embedded.clone()),
            Self::Postgres(postgres, _) => Measured::Postgres(postgres.clone()),
        }
    }

    /// Stops it in order: the next start has nothing to recover.
    pub(crate) async fn close(self) {
        match self {
            Self::Memory(_) => {}
            Self::Embedded(embedded, _) => {
                // A failure has ended the process through the handler already.
                let _ = tokio::task::spawn_blocking(move || embedded.close()).await;
            }
            Self::Postgres(postgres, _) => postgres.close().await,
        }
    }
}

/// A name that no other run of a Firn has.
pub(crate) fn owner_name() -> Result<String, Failure> {
    let random = getrandom::u32().map_err(|error| {
        Failure::new(
            Code::SlotsTaken,
            format!("the system gives no random number: {error}"),
            "look at the system's log",
        )
    })?;
    let system = rustix::system::uname();
    let machine = system.nodename().to_string_lossy().into_owned();
    Ok(format!("{machine}/{}/{random:08x}", process::id()))
}

/// Ends the process: another one serves its entities now, and what this one has in memory is of no
/// use any more.
fn end_deposed(deposed: Deposed) {
    error!(code = %deposed.code(), "Firn ends: {deposed}");
    eprintln!("error {}: {deposed}", deposed.code());
    eprintln!("  try: {}", deposed.remedy());
    process::exit(FAILED.into());
}

/// Ends the process: what a failed flush left on the disk is not known, so nothing may follow it.
pub(crate) fn end(fatal: &Fatal) {
    error!(code = %fatal.code, "the store failed and Firn ends: {fatal}");
    eprintln!("error {}: {fatal}", fatal.code);
    eprintln!("  try: {}", fatal.remedy());
    process::exit(FAILED.into());
}

impl fmt::Display for OpenStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory(_) => f.write_str("memory, nothing lasts"),
            Self::Embedded(_, folder) => write!(f, "{}", folder.display()),
            Self::Postgres(_, url) => write!(f, "{url}"),
        }
    }
}
