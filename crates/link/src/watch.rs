//! Finding a function and keeping the connection: the life of a link.
//!
//! # How it works
//! [`Watch::run`] is one loop: connect, discover, serve until the connection ends, begin again. It
//! tells what happens as [`Event`]s and leaves what follows from them to its caller. While the
//! function is away the pauses grow to a bound, and one event is told, not one for each attempt.

use std::collections::HashSet;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use firn_model::code::Code;
use firn_model::contract::{Contract, Finding, Weight};
use firn_wire::contract::{Declared, streams_max};
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use crate::connection::Connection;
use crate::discovery::{Asker, DiscoverError, Family, discover};
use crate::function::Function;
use crate::report::Reporter;

/// Finds what is wrong with a contract.
pub type Check = Arc<dyn Fn(&Contract) -> Vec<Finding> + Send + Sync>;

/// How a function is looked for.
#[derive(Clone)]
pub struct Watch {
    /// Where it is, `host:port`.
    pub address: String,
    /// Which family it speaks.
    pub family: Family,
    /// Who asks.
    pub asker: Asker,
    /// The largest message taken from it, in bytes.
    pub message_bytes_max: usize,
    /// What else may be wrong with a contract; findings refuse it.
    pub check: Check,
    /// Told when the function was just started: the pauses begin again from the shortest.
    pub hurry: Arc<Notify>,
}

/// What became of a function.
pub enum Event {
    /// It cannot be reached or does not answer yet. Told once until something else happens.
    Waiting {
        /// The stable code.
        code: Code,
        /// Why, in words for the log.
        cause: String,
    },
    /// Its contract was refused. Told once until the findings change.
    Refused {
        /// Everything that is wrong with it.
        findings: Vec<Finding>,
    },
    /// It is connected, and its contract is good.
    Serving {
        /// The function.
        function: Function,
        /// Whether it was there before with another contract.
        changed: bool,
    },
    /// Its connection ended.
    Lost,
}

/// The first pause after a failed attempt: a function that is just starting is found at once.
const PAUSE_MIN: Duration = Duration::from_millis(50);

/// The longest pause: bounds how late a function that came back is noticed.
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// How long a function may take to be connected to, and then to answer the discovery call, before it
/// is tried again.
const DISCOVERY_TIMEOUT: Duration = Duration::from_secs(10);

/// How often a function is asked whether it is well, and how long it may take to say so.
const HEALTH_EVERY: Duration = Duration::from_secs(10);
const HEALTH_TIMEOUT: Duration = Duration::from_secs(10);

impl Watch {
    /// Runs until `stop`. Ends early if nobody takes its events.
    pub async fn run(self, events: mpsc::Sender<Event>, stop: CancellationToken) {
        let tasks = TaskTracker::new();
        let mut known = Known::default();
        let run = self.rounds(&events, &tasks, &mut known);
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            () = run => {}
        }
    }

    async fn rounds(&self, events: &mpsc::Sender<Event>, tasks: &TaskTracker, known: &mut Known) {
        let mut pause = PAUSE_MIN;
        loop {
            let event = match self.attempt(tasks, known).await {
                Ok(function) => {
                    let since = Instant::now();
                    if !self.serve(function, events, known).await {
                        return;
                    }
                    if since.elapsed() >= PAUSE_MAX {
                        pause = PAUSE_MIN;
                        continue;
                    }
                    // One that goes as soon as it came is not asked in a tight circle.
                    None
                }
                Err(event) => Some(event),
            };
            if let Some(event) = event
                && known.is_news(&event)
                && events.send(event).await.is_err()
            {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => pause = (pause * 2).min(PAUSE_MAX),
                () = self.hurry.notified() => pause = PAUSE_MIN,
            }
        }
    }

    /// Tells of a function and waits for the end of its connection; `false` if nobody listens.
    async fn serve(
        &self,
        function: Serving,
        events: &mpsc::Sender<Event>,
        known: &mut Known,
    ) -> bool {
        let Serving { function, changed } = function;
        let connection = function.connection.clone();
        let health = function.dialect.discovery.health_check;
        known.told = None;
        if events
            .send(Event::Serving { function, changed })
            .await
            .is_err()
        {
            return false;
        }
        tokio::select! {
            () = connection.closed() => {}
            () = watch_health(&connection, health) => {}
        }
        events.send(Event::Lost).await.is_ok()
    }

    /// Connects and discovers once.
    async fn attempt(&self, tasks: &TaskTracker, known: &mut Known) -> Result<Serving, Event> {
        let unreachable = |cause: String| Event::Waiting {
            code: Code::FunctionUnreachable,
            cause: format!("{cause} at {}", self.address),
        };
        let opening = Connection::open(&self.address, self.message_bytes_max);
        let connection = tokio::time::timeout(DISCOVERY_TIMEOUT, opening)
            .await
            .map_err(|_| unreachable("nobody takes the connection".to_owned()))?
            .map_err(|error| unreachable(error.to_string()))?;
        let discovery = discover(&connection, &self.asker, self.family);
        let result = tokio::time::timeout(DISCOVERY_TIMEOUT, discovery)
            .await
            .map_err(|_| Event::Waiting {
                code: Code::DiscoveryFailed,
                cause: "the function does not answer the discovery call".to_owned(),
            })?;
        match result {
            Ok(declared) => self.accept(connection, declared, tasks, known).await,
            Err(DiscoverError::Refused { findings, dialect }) => {
                let reporter = Reporter::new(connection, dialect, tasks.clone());
                Err(refuse(&reporter, findings, tasks, known).await)
            }
            Err(error) => Err(Event::Waiting {
                code: error.code(),
                cause: error.to_string(),
            }),
        }
    }

    async fn accept(
        &self,
        connection: Connection,
        declared: Declared,
        tasks: &TaskTracker,
        known: &mut Known,
    ) -> Result<Serving, Event> {
        let findings = (self.check)(&declared.contract);
        let sdk = streams_max(declared.dialect, &declared.contract.info, processors());
        let transport = connection.streams_max().map(room_for_entities);
        let streams_max = sdk.into_iter().chain(transport).min();
        let function = Function {
            reporter: Reporter::new(connection.clone(), declared.dialect, tasks.clone()),
            connection,
            dialect: declared.dialect,
            streams_max,
            contract: Arc::new(declared.contract),
            streams: TaskTracker::new(),
        };
        if !findings.is_empty() {
            return Err(refuse(&function.reporter, findings, tasks, known).await);
        }
        for finding in known.unreported(&function.contract.warnings) {
            function.reporter.tell(Weight::Warning, finding);
        }
        let earlier = known.contract.replace(function.contract.clone());
        let changed = earlier.is_some_and(|earlier| is_other(&earlier, &function.contract));
        Ok(Serving { function, changed })
    }
}

/// Tells the function what is wrong with its contract.
async fn refuse(
    reporter: &Reporter,
    findings: Vec<Finding>,
    tasks: &TaskTracker,
    known: &mut Known,
) -> Event {
    for finding in known.unreported(&findings) {
        reporter.tell(Weight::Error, finding);
    }
    // The reports are on this connection; give them their moment before it is let go.
    tasks.close();
    let _ = tokio::time::timeout(PAUSE_MAX, tasks.wait()).await;
    tasks.reopen();
    Event::Refused { findings }
}

/// Asks a function now and then whether it is well, and says so in the log when it is not. Never
/// ends: only the end of the connection is taken for the function's own. A busy one may be slow to
/// answer, and some SDKs have no thread left for this call while entities are active.
async fn watch_health(connection: &Connection, path: Option<&'static str>) {
    let Some(path) = path else {
        return std::future::pending().await;
    };
    let mut was_well = true;
    loop {
        tokio::time::sleep(HEALTH_EVERY).await;
        let asked = connection.unary::<(), ()>(path, ());
        let is_well = match tokio::time::timeout(HEALTH_TIMEOUT, asked).await {
            Ok(Ok(())) => true,
            Ok(Err(status)) if status.code() == tonic::Code::Unimplemented => {
                return std::future::pending().await;
            }
            Ok(Err(_)) | Err(_) => false,
        };
        match (was_well, is_well) {
            (true, false) => warn!("the function does not answer the health check"),
            (false, true) => info!("the function answers the health check again"),
            _ => {}
        }
        was_well = is_well;
    }
}

/// How many of the streams that a connection bears are given to entities. A quarter is left for calls
/// of actions and of the discovery service, which would wait for ever behind streams that stay open.
fn room_for_entities(streams_max: usize) -> usize {
    (streams_max - streams_max.div_ceil(4)).max(1)
}

/// The processors of this machine; the function is taken to run beside Firn.
fn processors() -> NonZeroUsize {
    std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}

/// A function that was accepted.
struct Serving {
    function: Function,
    changed: bool,
}

/// Whether two contracts declare different things. Who the function says it is does not count, nor
/// the order of its components: some SDKs give both anew with each start.
fn is_other(earlier: &Contract, now: &Contract) -> bool {
    let components = |contract: &Contract| {
        let mut all: Vec<String> = contract
            .components
            .iter()
            .map(|c| format!("{} {} {} {:?}", c.service, c.kind, c.storage, c.policies))
            .collect();
        all.sort();
        all
    };
    components(earlier) != components(now)
        || earlier.pool.encode_to_vec() != now.pool.encode_to_vec()
}

/// What was said before.
#[derive(Default)]
struct Known {
    contract: Option<Arc<Contract>>,
    told: Option<String>,
    reported: HashSet<String>,
}

impl Known {
    /// Whether an event says something that the last one did not.
    fn is_news(&mut self, event: &Event) -> bool {
        let text = match event {
            // One line while it is away, whatever the operating system calls each attempt.
            Event::Waiting { code, .. } => code.to_string(),
            Event::Refused { findings } => findings.iter().map(ToString::to_string).collect(),
            Event::Serving { .. } | Event::Lost => return true,
        };
        let news = self.told.as_ref() != Some(&text);
        self.told = Some(text);
        news
    }

    /// The findings that the function was not told yet.
    fn unreported<'a>(&mut self, findings: &'a [Finding]) -> Vec<&'a Finding> {
        findings
            .iter()
            .filter(|finding| self.reported.insert(finding.to_string()))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use firn_model::contract::Kind;
    use firn_testkit::contract::{Declared, contract};
    use firn_testkit::policies;

    use super::*;

    const PROTO: &str = r#"
        syntax = "proto3";
        package t;
        message M { string id = 1; }
        service A { rpc Do(M) returns (M); }
        service B { rpc Do(M) returns (M); }
    "#;

    fn declare(service: &'static str, kind: Kind) -> Declared {
        Declared {
            service,
            kind,
            policies: policies::careful(),
        }
    }

    #[test]
    fn contract_is_another_by_its_components_and_files_alone() {
        let a = || declare("t.A", Kind::Value);
        let b = || declare("t.B", Kind::Value);
        let first = contract(PROTO, vec![a(), b()]);
        let check = |proto: &str, declared: Vec<Declared>, expected: bool| {
            assert_eq!(is_other(&first, &contract(proto, declared)), expected);
        };
        check(PROTO, vec![b(), a()], false);
        check(PROTO, vec![a()], true);
        check(PROTO, vec![a(), declare("t.B", Kind::EventSourced)], true);
        check(&PROTO.replace("id = 1", "id = 2"), vec![a(), b()], true);
    }
}
