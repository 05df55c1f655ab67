//! Settings: one table for flags, environment and file, and what they become.
//!
//! # How it works
//! Every setting is text until all sources were read: flag before environment before file before
//! default. Then all of them are parsed, and all faults are told at once, each with where the bad
//! value came from.

mod file;
mod flags;
mod older;
mod retention;
mod value;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::ArgMatches;
use firn_link::Family;
use firn_link::v1::port;
use firn_model::code::Code;
use firn_runtime::retention::{Retention, Rule};
use firn_store::postgres::{self, Migrate};
use firn_store::seal::Keys;

use crate::project::{self, Project};
use file::File;
pub(crate) use flags::{args, key_args, store_args, trim_args};
pub(crate) use retention::events as retained_events;
pub(crate) use value::duration;
use value::{
    address, at_least_one, boolean, family, function_address, host_port, join, lanes, lease,
    log_filter, migrate, number, optional, origins, shown, store, threads, token,
};

/// One setting as a person sees it.
pub(crate) struct Setting {
    /// Its name: `--name` as a flag, `name` in a file.
    pub(crate) name: &'static str,
    /// Its environment variable.
    pub(crate) env: &'static str,
    /// What the value looks like, for the help text.
    pub(crate) value: &'static str,
    /// The value when nobody sets one.
    pub(crate) default: &'static str,
    /// What it does, in a line.
    pub(crate) help: &'static str,
}

/// Every setting, in the order of the help text.
pub(crate) const SETTINGS: &[Setting] = &[
    Setting {
        name: "listen",
        env: "FIRN_LISTEN",
        value: "HOST:PORT",
        default: "0.0.0.0:9000",
        help: "Where clients come in: gRPC, gRPC-Web and HTTP/JSON",
    },
    Setting {
        name: "function",
        env: "FIRN_FUNCTION",
        value: "HOST:PORT",
        default: "127.0.0.1:8080",
        help: "The function to dial",
    },
    Setting {
        name: "function-listen",
        env: "FIRN_FUNCTION_LISTEN",
        value: "ADDRESS",
        default: "127.0.0.1:9001",
        help: "Where functions dial in: HOST:PORT, or unix:PATH",
    },
    Setting {
        name: "function-token",
        env: "FIRN_FUNCTION_TOKEN",
        value: "TOKEN",
        default: "",
        help: "What a function must send as its token to be taken [default: none is needed]",
    },
    Setting {
        name: "function-tls-cert",
        env: "FIRN_FUNCTION_TLS_CERT",
        value: "FILE",
        default: "",
        help: "A certificate chain in PEM: functions then dial in with TLS",
    },
    Setting {
        name: "function-tls-key",
        env: "FIRN_FUNCTION_TLS_KEY",
        value: "FILE",
        default: "",
        help: "The private key of that certificate, in PEM",
    },
    Setting {
        name: "admin",
        env: "FIRN_ADMIN",
        value: "HOST:PORT",
        default: "127.0.0.1:9002",
        help: "Health and the read-only admin interface",
    },
    Setting {
        name: "store",
        env: "FIRN_STORE",
        value: "URL",
        default: "embedded:.firn/data",
        help: "Where state is kept: embedded:FOLDER, postgres://USER:PASSWORD@HOST/DATABASE, or \
               memory: for nothing that lasts",
    },
    Setting {
        name: "migrate",
        env: "FIRN_MIGRATE",
        value: "MODE",
        default: "auto",
        help: "Whether the tables of a database may be made and changed at the start: auto, or check",
    },
    Setting {
        name: "lease",
        env: "FIRN_LEASE",
        value: "DURATION",
        default: "10s",
        help: "How long a database keeps the slots of a Firn that says nothing any more",
    },
    Setting {
        name: "store-connections",
        env: "FIRN_STORE_CONNECTIONS",
        value: "COUNT",
        default: "1",
        help: "Connections that write to a database; a few more read",
    },
    Setting {
        name: "family",
        env: "FIRN_FAMILY",
        value: "NAME",
        default: "auto",
        help: "The function's protocol: auto, firn, kalix, akka-serverless or cloudstate",
    },
    Setting {
        name: "advertise",
        env: "FIRN_ADVERTISE",
        value: "HOST:PORT",
        default: "",
        help: "Where the function can call Firn back [default: the client port on this host]",
    },
    Setting {
        name: "command-timeout",
        env: "FIRN_COMMAND_TIMEOUT",
        value: "DURATION",
        default: "60s",
        help: "How long a caller waits for the function at most",
    },
    Setting {
        name: "passivate-after",
        env: "FIRN_PASSIVATE_AFTER",
        value: "DURATION",
        default: "30s",
        help: "How long an entity may be idle in memory, unless its component says otherwise",
    },
    Setting {
        name: "write-behind",
        env: "FIRN_WRITE_BEHIND",
        value: "DURATION",
        default: "100ms",
        help: "How long a change of replicated data may be in memory only, unless it asks for more",
    },
    Setting {
        name: "drain-grace",
        env: "FIRN_DRAIN_GRACE",
        value: "DURATION",
        default: "10s",
        help: "How long open requests may go on after the word to stop",
    },
    Setting {
        name: "max-message-bytes",
        env: "FIRN_MAX_MESSAGE_BYTES",
        value: "BYTES",
        default: "12582912",
        help: "The largest message taken from a client or the function",
    },
    Setting {
        name: "max-streams",
        env: "FIRN_MAX_STREAMS",
        value: "COUNT",
        default: "10000",
        help: "Entities in memory at once; each open stream takes about 24 KB",
    },
    Setting {
        name: "max-entities",
        env: "FIRN_MAX_ENTITIES",
        value: "COUNT",
        default: "1000000",
        help: "The same for functions that dial in, whose entities need no stream each",
    },
    Setting {
        name: "mailbox",
        env: "FIRN_MAILBOX",
        value: "COUNT",
        default: "256",
        help: "Commands that may wait for one entity",
    },
    Setting {
        name: "idempotency-ttl",
        env: "FIRN_IDEMPOTENCY_TTL",
        value: "DURATION",
        default: "24h",
        help: "How long the answer to an idempotency key is remembered",
    },
    Setting {
        name: "retain-events",
        env: "FIRN_RETAIN_EVENTS",
        value: "WHAT",
        default: "all",
        help: "Which events are kept that a snapshot covers, unless [retention] in the file says more \
               of their component: all, those of a time such as 30d, or so many before the snapshot",
    },
    Setting {
        name: "retain-every",
        env: "FIRN_RETAIN_EVERY",
        value: "DURATION",
        default: "10m",
        help: "How often is looked for events and entities that need not be kept",
    },
    Setting {
        name: "cache-bytes",
        env: "FIRN_CACHE_BYTES",
        value: "BYTES",
        default: "67108864",
        help: "Memory for the embedded store's cache",
    },
    Setting {
        name: "encryption-keys",
        env: "FIRN_ENCRYPTION_KEYS",
        value: "KEYS",
        default: "",
        help: "Keys that seal the store, ID:BASE64 separated by commas, the newest first; better \
               given by the environment [default: nothing is sealed]",
    },
    Setting {
        name: "encryption-key-file",
        env: "FIRN_ENCRYPTION_KEY_FILE",
        value: "FILE",
        default: "",
        help: "A file with such keys instead, one on each line",
    },
    Setting {
        name: "threads",
        env: "FIRN_THREADS",
        value: "COUNT",
        default: "",
        help: "Threads that serve, beside those of the store [default: half of the processors, as \
               the function needs the others]",
    },
    Setting {
        name: "lanes",
        env: "FIRN_LANES",
        value: "COUNT",
        default: "",
        help: "Workers among which the entities are divided [default: one for each thread that \
               serves]",
    },
    Setting {
        name: "allow-origin",
        env: "FIRN_ALLOW_ORIGIN",
        value: "ORIGINS",
        default: "*",
        help: "Web pages that may call from a browser, separated by commas; * for all",
    },
    Setting {
        name: "old-names",
        env: "FIRN_OLD_NAMES",
        value: "BOOL",
        default: "false",
        help: "Offer Cloudstate functions the component names of the 0.1 protocol too",
    },
    Setting {
        name: "log",
        env: "FIRN_LOG",
        value: "FILTER",
        default: "info",
        help: "What is logged: error, warn, info, debug, or a filter by module",
    },
];

/// How Firn runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// On a developer's machine.
    Dev,
    /// Beside a function in production.
    Proxy,
}

/// Every setting with its parsed value.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    pub(crate) mode: Mode,
    pub(crate) listen: SocketAddr,
    pub(crate) function: String,
    pub(crate) function_listen: port::Address,
    pub(crate) function_token: Option<String>,
    /// Certificate chain and key.
    pub(crate) function_tls: Option<(PathBuf, PathBuf)>,
    pub(crate) admin: SocketAddr,
    pub(crate) store: StoreUrl,
    pub(crate) migrate: Migrate,
    pub(crate) lease: Duration,
    pub(crate) store_connections: usize,
    pub(crate) family: Family,
    /// `None` stands for the client port on this host.
    pub(crate) advertise: Option<(String, u16)>,
    pub(crate) command_timeout: Duration,
    pub(crate) passivate_after: Duration,
    pub(crate) write_behind: Duration,
    pub(crate) drain_grace: Duration,
    pub(crate) max_message_bytes: usize,
    pub(crate) max_streams: usize,
    pub(crate) max_entities: usize,
    pub(crate) mailbox: usize,
    pub(crate) idempotency_ttl: Duration,
    pub(crate) retention: Arc<Retention>,
    pub(crate) cache_bytes: u64,
    /// Keys that seal the store.
    pub(crate) keys: Option<Arc<Keys>>,
    pub(crate) threads: NonZeroUsize,
    pub(crate) lanes: NonZeroUsize,
    pub(crate) allow_origin: Vec<http::HeaderValue>,
    pub(crate) old_names: bool,
    pub(crate) log: String,
}

/// Which store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum StoreUrl {
    /// Nothing lasts.
    Memory,
    /// A folder of this machine.
    Embedded(PathBuf),
    /// A database.
    Postgres(Box<postgres::Url>),
}

/// What commands need to know of a store.
#[derive(Debug, Clone)]
pub(crate) struct StoreConfig {
    pub(crate) store: StoreUrl,
    /// What is kept of it.
    pub(crate) retention: Retention,
    pub(crate) keys: Option<Arc<Keys>>,
    pub(crate) cache_bytes: u64,
    pub(crate) migrate: Migrate,
    pub(crate) lease: Duration,
}

/// Something wrong with a setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) code: Code,
    pub(crate) text: String,
    /// What to do about it, if there is more to say than which settings there are.
    pub(crate) remedy: Option<&'static str>,
}

/// Why a text cannot be what a setting stands for.
struct Wrong {
    reason: String,
    /// See [`Fault::remedy`].
    remedy: Option<&'static str>,
}

impl From<String> for Wrong {
    fn from(reason: String) -> Self {
        Self {
            reason,
            remedy: None,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.code, self.text)
    }
}

/// The value when nobody sets one: in production health is asked from outside.
fn default(setting: &Setting, mode: Mode) -> &'static str {
    match (setting.name, mode) {
        ("admin", Mode::Proxy) => "0.0.0.0:9002",
        _ => setting.default,
    }
}

/// Reads all sources; gives the configuration, and the project that the file describes; or
/// everything that is wrong.
pub(crate) fn gather(
    mode: Mode,
    flags: &ArgMatches,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<(Config, Project), Vec<Fault>> {
    let mut faults = Vec::new();
    let File {
        values,
        project,
        components,
    } = file(mode, flags, env)
        .map(|path| File::read(&path, &mut faults))
        .unwrap_or_default();
    let sources = Sources {
        mode,
        flags,
        env,
        file: &values,
        components: &components,
    };
    let config = sources.config(&mut faults);
    match config {
        Some(config) if faults.is_empty() => Ok((config, project)),
        _ => Err(faults),
    }
}

/// Reads what concerns the store from all sources, as `firn dev` would.
pub(crate) fn gather_store(
    flags: &ArgMatches,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<StoreConfig, Vec<Fault>> {
    let mut faults = Vec::new();
    let File {
        values, components, ..
    } = file(Mode::Dev, flags, env)
        .map(|path| File::read(&path, &mut faults))
        .unwrap_or_default();
    let sources = Sources {
        mode: Mode::Dev,
        flags,
        env,
        file: &values,
        components: &components,
    };
    let config = sources.store_config(&mut faults);
    match config {
        Some(config) if faults.is_empty() => Ok(config),
        _ => Err(faults),
    }
}

/// Which file is read: the one that is named, or that of the project in development.
fn file(mode: Mode, flags: &ArgMatches, env: &dyn Fn(&str) -> Option<String>) -> Option<PathBuf> {
    let named = flags.get_one::<String>("config").cloned();
    let named = named.or_else(|| env("FIRN_CONFIG")).map(PathBuf::from);
    let own = || {
        let own = PathBuf::from(project::FILE);
        (mode == Mode::Dev && own.exists()).then_some(own)
    };
    named.or_else(own)
}

/// Where values come from.
struct Sources<'a> {
    mode: Mode,
    flags: &'a ArgMatches,
    env: &'a dyn Fn(&str) -> Option<String>,
    /// The values of the file by name, with their origin.
    file: &'a BTreeMap<String, (String, String)>,
    /// What the file says is kept of components.
    components: &'a BTreeMap<String, Rule>,
}

/// A value and where it came from.
struct Found {
    text: String,
    origin: String,
}

impl Sources<'_> {
    fn config(&self, faults: &mut Vec<Fault>) -> Option<Config> {
        let listen = self.parse("listen", faults, address);
        let function = self.parse("function", faults, host_port);
        let function_listen = self.parse("function-listen", faults, function_address);
        let function_token = self.parse("function-token", faults, token);
        let function_tls = self.tls(faults);
        let admin = self.parse("admin", faults, address);
        let store = self.parse("store", faults, store);
        let migrate = self.parse("migrate", faults, migrate);
        let lease = self.parse("lease", faults, lease);
        let store_connections = self.parse("store-connections", faults, at_least_one);
        let family = self.parse("family", faults, family);
        let advertise = self.parse("advertise", faults, |text| match text {
            "" => Ok(None),
            text => host_port(text).map(Some),
        });
        let command_timeout = self.parse("command-timeout", faults, duration);
        let passivate_after = self.parse("passivate-after", faults, duration);
        let write_behind = self.parse("write-behind", faults, duration);
        let drain_grace = self.parse("drain-grace", faults, duration);
        let max_message_bytes = self.parse("max-message-bytes", faults, at_least_one);
        let max_streams = self.parse("max-streams", faults, at_least_one);
        let max_entities = self.parse("max-entities", faults, at_least_one);
        let mailbox = self.parse("mailbox", faults, at_least_one);
        let idempotency_ttl = self.parse("idempotency-ttl", faults, duration);
        let retained = self.parse("retain-events", faults, retained_events);
        let retain_every = self.parse("retain-every", faults, duration);
        let cache_bytes = self.parse("cache-bytes", faults, number);
        let keys = self.keys(faults);
        let threads = self.parse("threads", faults, threads);
        let lanes = self.parse("lanes", faults, lanes);
        let allow_origin = self.parse("allow-origin", faults, origins);
        let old_names = self.parse("old-names", faults, boolean);
        let log = self.parse("log", faults, log_filter);
        let (function_host, function_port) = function?;
        Some(Config {
            mode: self.mode,
            listen: listen?,
            function: join(&function_host, function_port),
            function_listen: function_listen?,
            function_token: function_token?,
            function_tls: function_tls?,
            admin: admin?,
            store: store?,
            migrate: migrate?,
            lease: lease?,
            store_connections: store_connections?,
            family: family?,
            advertise: advertise?,
            command_timeout: command_timeout?,
            passivate_after: passivate_after?,
            write_behind: write_behind?,
            drain_grace: drain_grace?,
            max_message_bytes: max_message_bytes?,
            max_streams: max_streams?,
            max_entities: max_entities?,
            mailbox: mailbox?,
            idempotency_ttl: idempotency_ttl?,
            retention: Arc::new(Retention {
                events: retained?,
                components: self.components.clone(),
                every: retain_every?,
            }),
            cache_bytes: cache_bytes?,
            keys: keys?,
            threads: threads?,
            lanes: lanes?.unwrap_or(threads?),
            allow_origin: allow_origin?,
            old_names: old_names?,
            log: log?,
        })
    }

    fn store_config(&self, faults: &mut Vec<Fault>) -> Option<StoreConfig> {
        let store = self.parse("store", faults, store);
        let keys = self.keys(faults);
        let cache_bytes = self.parse("cache-bytes", faults, number);
        let migrate = self.parse("migrate", faults, migrate);
        let lease = self.parse("lease", faults, lease);
        let retained = self.parse("retain-events", faults, retained_events);
        Some(StoreConfig {
            store: store?,
            retention: Retention {
                events: retained?,
                components: self.components.clone(),
                ..Retention::default()
            },
            keys: keys?,
            cache_bytes: cache_bytes?,
            migrate: migrate?,
            lease: lease?,
        })
    }

    /// The files for TLS on the function port: both or none.
    fn tls(&self, faults: &mut Vec<Fault>) -> Option<Option<(PathBuf, PathBuf)>> {
        let certificate = self.parse("function-tls-cert", faults, optional)?;
        let key = self.parse("function-tls-key", faults, optional)?;
        match (certificate, key) {
            (Some(certificate), Some(key)) => Some(Some((certificate.into(), key.into()))),
            (None, None) => Some(None),
            _ => {
                let text = "function-tls-cert and function-tls-key are needed together".to_owned();
                faults.push(Fault {
                    code: Code::BadSetting,
                    text,
                    remedy: None,
                });
                None
            }
        }
    }

    /// The keys that seal the store, from one of their two settings. Faults show no key.
    fn keys(&self, faults: &mut Vec<Fault>) -> Option<Option<Arc<Keys>>> {
        let (listed, file) = (
            self.find("encryption-keys"),
            self.find("encryption-key-file"),
        );
        let wrong = |reason: String, remedy| Wrong {
            reason,
            remedy: Some(remedy),
        };
        let read = match (listed.text.trim(), file.text.trim()) {
            ("", "") => return Some(None),
            (text, "") => Keys::parse(text).map_err(|error| {
                let reason = format!("the list of keys in {}: {error}", listed.origin);
                wrong(reason, error.remedy())
            }),
            ("", path) => {
                let reason =
                    |error: &dyn fmt::Display| format!("{} is {path:?}: {error}", file.origin);
                match std::fs::read_to_string(path) {
                    Ok(text) => {
                        Keys::parse(&text).map_err(|error| wrong(reason(&error), error.remedy()))
                    }
                    Err(error) => Err(wrong(
                        reason(&error),
                        "name a file of text that this user may read",
                    )),
                }
            }
            _ => Err(wrong(
                format!("{} and {} are both given", listed.origin, file.origin),
                "leave one of them out",
            )),
        };
        match read {
            Ok(keys) => Some(Some(Arc::new(keys))),
            Err(Wrong { reason, remedy }) => {
                faults.push(Fault {
                    code: Code::BadSetting,
                    text: reason,
                    remedy,
                });
                None
            }
        }
    }

    /// Finds and parses one setting; what is wrong goes to `faults`.
    fn parse<T, E: Into<Wrong>>(
        &self,
        name: &'static str,
        faults: &mut Vec<Fault>,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let found = self.find(name);
        match parse(found.text.trim()) {
            Ok(value) => Some(value),
            Err(wrong) => {
                let Wrong { reason, remedy } = wrong.into();
                let text = match name {
                    // Logs are read by others.
                    "function-token" => format!("{}: {reason}", found.origin),
                    _ => format!("{} is {:?}: {reason}", found.origin, shown(&found.text)),
                };
                faults.push(Fault {
                    code: Code::BadSetting,
                    text,
                    remedy,
                });
                None
            }
        }
    }

    fn find(&self, name: &'static str) -> Found {
        let setting = SETTINGS.iter().find(|setting| setting.name == name);
        let env = setting.map_or("", |setting| setting.env);
        // Not every command has every flag.
        if let Ok(Some(text)) = self.flags.try_get_one::<String>(name) {
            return Found {
                text: text.clone(),
                origin: format!("--{name}"),
            };
        }
        if let Some(text) = (self.env)(env) {
            return Found {
                text,
                origin: env.to_owned(),
            };
        }
        if let Some(found) = self.older(name) {
            return found;
        }
        if let Some((text, origin)) = self.file.get(name) {
            return Found {
                text: text.clone(),
                origin: origin.clone(),
            };
        }
        let default = setting.map_or("", |setting| default(setting, self.mode));
        Found {
            text: default.to_owned(),
            origin: format!("the default of --{name}"),
        }
    }
}
