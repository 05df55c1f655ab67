//! The function: what is declared, and its life.

use std::collections::BTreeMap;
use std::env;
use std::hash::{BuildHasher, Hasher};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use prost::Message as _;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use crate::address::{self, Address, AddressError, Kind};
use crate::calls::{Asks, Client};
use crate::component::Component;
use crate::connection::{End, Plan, hold};
use crate::hook::{ConnectionEvent, Finding, Hook, Log, Severity};
use crate::session::FRAME_BYTES;
use crate::streams::CALL_MESSAGES;
use crate::wire;

/// The pauses between dials (R7).
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// How many commands Firn may have open on a connection.
const COMMANDS: u32 = 1024;

/// How many incarnations a connection holds unless said otherwise.
const INCARNATIONS: usize = 100_000;

/// How long a stop may take unless said otherwise.
const STOP_WITHIN: Duration = Duration::from_secs(10);

/// A function: components that Firn brings commands to.
#[derive(Clone)]
#[must_use = "run it"]
pub struct Function {
    name: String,
    version: String,
    components: Vec<Component>,
    address: Option<String>,
    authority: Option<PathBuf>,
    token: Option<String>,
    connections: usize,
    incarnations: usize,
    stop_within: Duration,
    fail_when_refused: bool,
    hook: Arc<dyn Hook>,
}

/// Why a function does not run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The address of Firn cannot be used.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// The descriptors of a service cannot be read: they are not what `firn-sdk-build` wrote.
    #[error("the descriptors of {service} are damaged: generate them with firn-sdk-build")]
    Descriptors {
        /// The service.
        service: &'static str,
    },
    /// Two services were generated from different files of one name.
    #[error("{file} differs between two services: generate both from the same file")]
    FilesDiffer {
        /// The file.
        file: String,
    },
    /// Firn does not take the function, and [`Function::fail_when_refused`] was asked for.
    #[error("Firn refuses the function: {}", join(findings))]
    Refused {
        /// Why, all of it.
        findings: Vec<Finding>,
    },
    /// The signals that stop a process cannot be heard.
    #[error("cannot hear signals: {0}")]
    Signals(std::io::Error),
    /// A task of the SDK failed, which is a bug of it.
    #[error("a connection's task failed: {0}")]
    Task(#[from] tokio::task::JoinError),
}

fn join(findings: &[Finding]) -> String {
    let findings: Vec<String> = findings.iter().map(ToString::to_string).collect();
    findings.join("; ")
}

impl Function {
    /// A function without components. Name and version are for people.
    pub fn new(name: &str, version: &str) -> Self {
        Self {
            name: name.to_owned(),
            version: version.to_owned(),
            components: Vec::new(),
            address: None,
            authority: None,
            token: None,
            connections: 1,
            incarnations: INCARNATIONS,
            stop_within: STOP_WITHIN,
            fail_when_refused: false,
            hook: Arc::new(Log),
        }
    }

    /// Adds a component.
    #[expect(clippy::should_implement_trait, reason = "nobody adds functions up")]
    pub fn add(mut self, component: impl Into<Component>) -> Self {
        self.components.push(component.into());
        self
    }

    /// Where Firn is: `http://HOST:PORT`, `https://HOST:PORT` or `unix:/path`. If not said,
    /// `FIRN_ADDRESS` says it, or it is `http://127.0.0.1:9001`.
    pub fn address(mut self, address: impl Into<String>) -> Self {
        self.address = Some(address.into());
        self
    }

    /// A PEM file with the authority that signed Firn's certificate. If not said, `FIRN_CA` names it,
    /// or the system's authorities count.
    pub fn authority(mut self, file: impl Into<PathBuf>) -> Self {
        self.authority = Some(file.into());
        self
    }

    /// The token that Firn wants. If not said, it is that in `FIRN_TOKEN`, if there is one.
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(token.into());
        self
    }

    /// How many connections are held; 1 if not said. Plain functions of one connection run one after
    /// another, so more connections use more cores.
    pub fn connections(mut self, connections: usize) -> Self {
        self.connections = connections.max(1);
        self
    }

    /// How many entities each connection keeps in memory; 100,000 if not said. Those that were idle
    /// longest go first, and are read again when they are needed.
    pub fn incarnations(mut self, incarnations: usize) -> Self {
        self.incarnations = incarnations;
        self
    }

    /// How long a stop waits for what is open; 10 seconds if not said.
    pub fn stop_within(mut self, bound: Duration) -> Self {
        self.stop_within = bound;
        self
    }

    /// Ends with an error when Firn refuses the function. Otherwise it is dialed again, since what is
    /// wrong may change on Firn's side.
    pub fn fail_when_refused(mut self) -> Self {
        self.fail_when_refused = true;
        self
    }

    /// Who hears what happens, in place of the log.
    pub fn hook(mut self, hook: impl Hook) -> Self {
        self.hook = Arc::new(hook);
        self
    }

    /// Connects, serves, and dials again whenever the connection is lost, until SIGTERM or SIGINT.
    /// Then it says Goodbye and lets what is open end.
    ///
    /// # Errors
    /// If something is wrong from the start, or Firn refuses the function and that was asked to be an
    /// error.
    pub async fn run(self) -> Result<(), RunError> {
        let mut running = self.start()?;
        tokio::select! {
            biased;
            heard = stop_signal() => heard?,
            ended = running.ended() => return ended,
        }
        running.stop();
        running.ended().await
    }

    /// Begins to connect and serve, in the background.
    ///
    /// # Errors
    /// If something is wrong from the start.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn start(self) -> Result<Running, RunError> {
        let connections = self.connections;
        let fail_when_refused = self.fail_when_refused;
        let plan = Arc::new(self.plan()?);
        let (stop, stopped) = watch::channel(false);
        let sessions = plan.sessions.subscribe();
        let mut tasks = JoinSet::new();
        for _ in 0..connections {
            let plan = Arc::clone(&plan);
            let stopped = stopped.clone();
            tasks.spawn(keep(plan, stopped, fail_when_refused));
        }
        let stop_all = stop.clone();
        let task = tokio::spawn(async move {
            let mut result = Ok(());
            while let Some(ended) = tasks.join_next().await {
                if let Err(error) = ended.map_err(RunError::from).and_then(|it| it) {
                    result = Err(error);
                    stop_all.send_replace(true);
                }
            }
            result
        });
        Ok(Running {
            stop,
            sessions,
            task,
        })
    }

    fn plan(self) -> Result<Plan, RunError> {
        let setting = |given: Option<String>, name: &str| {
            let set = || env::var(name).ok().filter(|value| !value.is_empty());
            given.or_else(set)
        };
        let address = setting(self.address, "FIRN_ADDRESS");
        let address: Address = address.as_deref().unwrap_or(address::DEFAULT).parse()?;
        if address.kind == Kind::Tls && cfg!(not(feature = "tls")) {
            return Err(AddressError::NoTls(address.to_string()).into());
        }
        let authority = self
            .authority
            .or_else(|| env::var_os("FIRN_CA").map(PathBuf::from));
        let authority = match authority.filter(|_| address.kind == Kind::Tls) {
            None => None,
            Some(path) => Some(
                std::fs::read(&path).map_err(|cause| AddressError::Authority {
                    path,
                    cause: cause.to_string(),
                })?,
            ),
        };
        Ok(Plan {
            address,
            authority,
            token: setting(self.token, "FIRN_TOKEN"),
            hello: hello(self.name, self.version, &self.components)?,
            components: self.components.into(),
            hook: self.hook,
            incarnations: self.incarnations,
            stop_within: self.stop_within,
            sessions: watch::Sender::new(Vec::new()),
        })
    }
}

/// A function that runs. Dropped, it stops as if it had been told.
#[derive(Debug)]
pub struct Running {
    stop: watch::Sender<bool>,
    sessions: watch::Receiver<Vec<Asks>>,
    task: JoinHandle<Result<(), RunError>>,
}

impl Running {
    /// Tells it to stop: it says Goodbye and lets what is open end, for so long at most as
    /// [`Function::stop_within`] says.
    pub fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Waits until it has ended.
    ///
    /// # Errors
    /// As [`Function::run`].
    ///
    /// # Cancel safety
    /// Can be dropped and called again, until it has given a result.
    pub async fn ended(&mut self) -> Result<(), RunError> {
        (&mut self.task).await?
    }

    /// Waits until Firn serves it.
    pub async fn connected(&self) {
        let mut sessions = self.sessions.clone();
        // It may end before; nobody can be told then.
        let _ = sessions.wait_for(|sessions| !sessions.is_empty()).await;
    }

    /// Calls through Firn that belong to no command.
    #[must_use]
    pub fn client(&self) -> Client {
        Client::of_any(self.sessions.clone())
    }
}

/// Keeps one connection until the function stops.
async fn keep(
    plan: Arc<Plan>,
    mut stop: watch::Receiver<bool>,
    fail_when_refused: bool,
) -> Result<(), RunError> {
    let mut pause = PAUSE_MIN;
    loop {
        let end = hold(&plan, &mut stop, || pause = PAUSE_MIN).await;
        let hook = &plan.hook;
        match end {
            End::Stopped => {
                hook.connection(ConnectionEvent::Ended);
                return Ok(());
            }
            End::Ended => hook.connection(ConnectionEvent::Ended),
            End::Lost(cause) => hook.connection(ConnectionEvent::Lost { cause: &cause }),
            End::Refused(findings) => {
                for finding in &findings {
                    hook.finding(finding, Severity::Error); // R4
                }
                if fail_when_refused {
                    return Err(RunError::Refused { findings });
                }
            }
        }
        tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => return Ok(()),
            () = tokio::time::sleep(pause) => {}
        }
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// Waits for SIGTERM or SIGINT.
#[cfg(unix)]
async fn stop_signal() -> Result<(), RunError> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).map_err(RunError::Signals)?;
    tokio::select! {
        _ = terminate.recv() => Ok(()),
        heard = tokio::signal::ctrl_c() => heard.map_err(RunError::Signals),
    }
}

#[cfg(not(unix))]
async fn stop_signal() -> Result<(), RunError> {
    tokio::signal::ctrl_c().await.map_err(RunError::Signals)
}

/// How the function introduces itself.
pub(crate) fn hello(
    name: String,
    version: String,
    components: &[Component],
) -> Result<wire::Hello, RunError> {
    let process = std::hash::RandomState::new().build_hasher().finish();
    Ok(wire::Hello {
        minor: 0,
        info: Some(wire::Info {
            name,
            version,
            runtime: concat!("rust ", env!("CARGO_PKG_RUST_VERSION")).to_owned(),
            sdk: concat!("firn-rust ", env!("CARGO_PKG_VERSION")).to_owned(),
            process: format!("{}-{process:016x}", std::process::id()),
        }),
        contract: Some(wire::Contract {
            descriptors: descriptors(components)?.into(),
            components: components
                .iter()
                .map(|component| component.serve.declared().clone())
                .collect(),
        }),
        commands: COMMANDS,
        call_messages: CALL_MESSAGES,
        frame_bytes: FRAME_BYTES as u64,
    })
}

/// A `google.protobuf.FileDescriptorSet` whose files stay as they are: options that prost does not
/// know, such as HTTP rules, would be lost.
#[derive(Clone, PartialEq, prost::Message)]
struct Files {
    #[prost(bytes = "bytes", repeated, tag = "1")]
    files: Vec<Bytes>,
}

/// The part of a file's descriptor that tells files apart.
#[derive(Clone, PartialEq, prost::Message)]
struct FileName {
    #[prost(string, tag = "1")]
    name: String,
}

/// The descriptors of all services, each file once. The same services give the same bytes (R17).
fn descriptors(components: &[Component]) -> Result<Vec<u8>, RunError> {
    let mut all = Files::default();
    let mut known: BTreeMap<String, Bytes> = BTreeMap::new();
    for component in components {
        let service = component.serve.service();
        let damaged = |_| RunError::Descriptors {
            service: service.name,
        };
        for file in Files::decode(service.descriptors).map_err(damaged)?.files {
            let FileName { name } = FileName::decode(file.clone()).map_err(damaged)?;
            match known.get(&name) {
                Some(known) if *known == file => {}
                Some(_) => return Err(RunError::FilesDiffer { file: name }),
                None => {
                    all.files.push(file.clone());
                    known.insert(name, file);
                }
            }
        }
    }
    Ok(all.encode_to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Action, Service};

    fn component(name: &'static str, files: &[(&str, u8)]) -> Component {
        let file = |(name, option): &(&str, u8)| {
            let mut file = FileName {
                name: (*name).to_owned(),
            }
            .encode_to_vec();
            // A field that nobody here knows.
            file.extend([0xf8, 0x3f, *option]);
            Bytes::from(file)
        };
        let files = Files {
            files: files.iter().map(file).collect(),
        };
        let descriptors = Vec::leak(files.encode_to_vec());
        Action::component(Service::new(name, descriptors)).into()
    }

    #[test]
    fn files_are_sent_once_and_as_they_are() {
        let both = [
            component("a", &[("x.proto", 1), ("y.proto", 2)]),
            component("b", &[("y.proto", 2), ("z.proto", 3)]),
        ];
        let sent = Files::decode(&*descriptors(&both).unwrap()).unwrap().files;
        let options: Vec<u8> = sent.iter().map(|file| *file.last().unwrap()).collect();
        assert_eq!(options, [1, 2, 3]);
    }

    #[test]
    fn files_that_differ_or_are_damaged_are_told() {
        let differ = [component("a", &[("x", 1)]), component("b", &[("x", 2)])];
        let error = descriptors(&differ).unwrap_err();
        assert!(matches!(error, RunError::FilesDiffer { file } if file == "x"));
        let damaged = [Action::component(Service::new("a", b"\xff")).into()];
        let error = descriptors(&damaged).unwrap_err();
        assert!(matches!(error, RunError::Descriptors { service: "a" }));
    }
}
