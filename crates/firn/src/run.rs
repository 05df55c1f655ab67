//! Serving: puts store, engine, edge and link together, keeps them running, and drains them.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use firn_edge::{BindError, Edge, Origins};
use firn_link::v1::hub::{self, Hub};
use firn_link::v1::port::{self, Port};
use firn_link::watch::{Check, Event, Watch};
use firn_link::{Asker, Function, Identification};
use firn_model::code::Code;
use firn_model::contract::{Contract, Finding};
use firn_model::id::NodeId;
use firn_runtime::engine::{self, Engine, EntityStreams, Served};
use firn_runtime::lane;
use firn_runtime::replicated::network::{Alone, Network};
use http::HeaderName;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use tracing::{error, info, warn};

use crate::admin::Admin;
use crate::child::{Child, end_left_behind};
use crate::exit::{CONTRACT, FAILED, Failure};
use crate::gateway::Gateway;
use crate::settings::{Config, Mode, StoreUrl};
use crate::store::OpenStore;

/// Events of the link that may wait to be looked at; the link waits when they are more.
const EVENTS: usize = 16;

/// The header by which a function's own calls are known. The name is ours to choose: the function
/// is told at discovery.
const IDENTIFICATION_HEADER: &str = "x-firn-identification";

/// The name of the only node that keeps data in an embedded store.
const NODE: &str = "local";

/// Serves until told to stop; gives the exit code.
pub(crate) fn run(config: Config, command: Vec<String>) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return cannot_start(error).print(),
    };
    match runtime.block_on(serve(config, command)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.print(),
    }
}

fn cannot_start(error: impl std::fmt::Display) -> Failure {
    Failure::new(
        Code::ListenFailed,
        error,
        "look at the limits of this process: ulimit -a",
    )
}

async fn serve(config: Config, command: Vec<String>) -> Result<(), Failure> {
    let stop = CancellationToken::new();
    let tasks = TaskTracker::new();
    // The function ends last: until then it has commands to finish.
    let child_stop = CancellationToken::new();
    let signals = Signals::new().map_err(cannot_start)?;
    tasks.spawn(signals.watch(stop.clone(), child_stop.clone()));
    let proxy = Proxy::start(&config, &Alone, stop).await?;
    let started = proxy.hurry.clone();
    let dial = proxy
        .functions
        .as_ref()
        .map(|address| dialed(address, &config));
    let child = start_child(&config, dial, command, &tasks, &child_stop, started).await;
    let result = proxy.run(child).await;
    child_stop.cancel();
    tasks.close();
    tasks.wait().await;
    info!("Firn has stopped");
    result
}

/// A proxy that listens, and serves as soon as its function is found.
pub(crate) struct Proxy {
    store: OpenStore,
    served: JoinHandle<()>,
    tasks: TaskTracker,
    follow: Follow,
    events: Events,
    /// Where functions dial in, if they may, and how it is ended.
    dialed_in: Option<DialedIn>,
    stop: CancellationToken,
    drain_grace: Duration,
    /// The function may be there now.
    hurry: Arc<Notify>,
    /// Where clients come in.
    pub(crate) listening: SocketAddr,
    /// Where the admin port is.
    pub(crate) admin: SocketAddr,
    /// Where functions dial in, if they may.
    pub(crate) functions: Option<port::Address>,
}

/// What is told about functions.
struct Events {
    dialed: mpsc::Receiver<Event>,
    dialed_in: mpsc::UnboundedReceiver<hub::Event>,
}

/// The functions that dial in.
struct DialedIn {
    hub: Arc<Hub>,
    /// Ends their port, also when the proxy is dropped.
    stop: DropGuard,
}

impl Proxy {
    /// Takes the ports, opens the store and starts all parts; `stop` ends them in order.
    pub(crate) async fn start(
        config: &Config,
        network: &dyn Network,
        stop: CancellationToken,
    ) -> Result<Self, Failure> {
        let identification = identification()?;
        let edge = Edge::bind(edge_config(config, &identification))
            .await
            .map_err(taken)?;
        let admin = TcpListener::bind(config.admin)
            .await
            .map_err(|error| admin_taken(config, &error))?;
        let port = match config.family.dials_in() {
            true => Some(
                Port::bind(port_config(config, edge.local_addr()))
                    .await
                    .map_err(function_port_refused)?,
            ),
            false => None,
        };
        let store = OpenStore::open(config).await?;
        let engine = Engine::start(engine_config(config), store.store(), network)
            .await
            .map_err(|error| {
                Failure::new(
                    Code::LoadFailed,
                    error,
                    "look at the store's folder and the log before this",
                )
            })?;
        let engine = Arc::new(engine);
        let listening = edge.local_addr();
        let functions = port.as_ref().map(|port| port.address().clone());
        let admin = Admin::new(admin, engine.clone(), store.store(), stop.clone());
        let admin_address = admin.local_addr();
        info!(
            clients = %listening,
            admin = %admin_address,
            function = config.family.is_dialed().then(|| config.function.clone()),
            functions = functions.as_ref().map(ToString::to_string),
            store = %store,
            "Firn is up"
        );
        let ready = admin.ready();
        let tasks = TaskTracker::new();
        tasks.spawn(admin.run());
        let served = tasks.spawn(edge.serve(
            Arc::new(Gateway(engine.clone())),
            stop.clone().cancelled_owned(),
        ));
        let (sender, events) = mpsc::channel(EVENTS);
        let hurry = Arc::new(Notify::new());
        let dialing = stop.child_token();
        if config.family.is_dialed() {
            let watch = watch(config, listening, identification, hurry.clone());
            tasks.spawn(watch.run(sender, dialing.clone()));
        }
        let calls = Arc::new(engine.dispatcher().clone());
        let (hub, hub_events) = Hub::new(check(), calls, TaskTracker::new());
        let dialed_in = port.map(|port| {
            // It ends after the engine, which lets go of its entities there.
            let stop = CancellationToken::new();
            tasks.spawn(port.serve(hub.clone(), stop.clone()));
            DialedIn {
                hub: hub.clone(),
                stop: stop.drop_guard(),
            }
        });
        let follow = Follow {
            mode: config.mode,
            engine,
            ready,
            function: None,
            hub,
            dialing,
            connected: 0,
        };
        let events = Events {
            dialed: events,
            dialed_in: hub_events,
        };
        Ok(Self {
            store,
            served,
            tasks,
            follow,
            events,
            dialed_in,
            stop,
            drain_grace: config.drain_grace,
            hurry,
            listening,
            admin: admin_address,
            functions,
        })
    }

    /// The id under which it keeps its replicas.
    pub(crate) fn node(&self) -> NodeId {
        self.follow.engine.replica().node
    }

    /// Serves until told to stop, or until something `failed`; then finishes what was accepted.
    pub(crate) async fn run(self, failed: impl Future<Output = Failure>) -> Result<(), Failure> {
        let Self {
            store,
            served,
            tasks,
            follow,
            events,
            dialed_in,
            stop,
            drain_grace,
            ..
        } = self;
        let engine = follow.engine.clone();
        let result = tokio::select! {
            biased;
            result = follow.run(events, &stop) => result,
            failure = failed => Err(failure),
        };
        stop.cancel();
        // Streams that never end by themselves would use up the grace of all others.
        engine.complete_streams();
        let stopping = Instant::now();
        let (function, result) = match result {
            Ok(function) => (function, Ok(())),
            Err(failure) => (None, Err(failure)),
        };
        // The edge goes first: it finishes what it accepted, within the grace.
        let _ = served.await;
        drain(engine, drain_grace.saturating_sub(stopping.elapsed())).await;
        if let Some(function) = function {
            function.terminate().await;
        }
        if let Some(DialedIn { hub, stop }) = dialed_in {
            hub.goodbye();
            drop(stop);
        }
        tasks.close();
        tasks.wait().await;
        store.close().await;
        result
    }
}

/// How long the engine has at least, also when the edge has used up the grace: enough for what its
/// function has answered to become durable.
const DRAIN_MIN: Duration = Duration::from_secs(1);

/// Stops the engine within what the edge has left of the grace.
async fn drain(engine: Arc<Engine>, left: Duration) {
    // The edge and the admin port have ended, so this is the last handle; if it is not, what is
    // left is cut off with the process and nothing acknowledged is lost.
    let is_done = match Arc::into_inner(engine) {
        Some(engine) => engine.drain(left.max(DRAIN_MIN)).await,
        None => false,
    };
    if !is_done {
        warn!("some commands did not end within the grace");
    }
}

/// Follows what becomes of the function.
struct Follow {
    mode: Mode,
    engine: Arc<Engine>,
    ready: crate::admin::Ready,
    /// The function that was dialed.
    function: Option<Function>,
    /// Those that dial in.
    hub: Arc<Hub>,
    /// Ends the search for a function to dial.
    dialing: CancellationToken,
    /// How many connections of functions that dial in there are.
    connected: usize,
}

impl Follow {
    /// Runs until told to stop, or until a first contract was refused outside of development.
    async fn run(
        mut self,
        mut events: Events,
        stop: &CancellationToken,
    ) -> Result<Option<Function>, Failure> {
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(self.function),
                Some(event) = events.dialed_in.recv() => self.dialed_in(event),
                Some(event) = events.dialed.recv() => self.take(event)?,
            }
        }
    }

    /// Takes what became of functions that dial in. A refused contract never ends Firn here: it is
    /// the newcomer that is refused, and others may be served.
    fn dialed_in(&mut self, event: hub::Event) {
        match event {
            hub::Event::Serving {
                contract,
                changed,
                served,
            } => {
                // Whoever dials in first is who is served.
                self.dialing.cancel();
                if changed {
                    warn!(code = %Code::ContractChanged, "a function came back with another contract");
                }
                self.engine.serve(Served {
                    contract: contract.clone(),
                    link: self.hub.clone(),
                    streams: EntityStreams::Shared,
                });
                self.ready.set(true);
                say_served(&contract);
                // The newcomer may have gone.
                let _ = served.send(());
            }
            hub::Event::Refused { findings } => log_refusal(&findings),
            hub::Event::Joined {
                process,
                connections,
            } => {
                info!(process, connections, "a function has connected");
                self.connected = connections;
                self.ready.set(true);
            }
            hub::Event::Left {
                process,
                connections,
            } => {
                info!(process, connections, "a function has gone");
                self.connected = connections;
                self.ready.set(connections > 0);
            }
        }
    }

    fn take(&mut self, event: Event) -> Result<(), Failure> {
        match event {
            Event::Waiting { code, cause } => {
                warn!(%code, "waiting for the function: {cause}");
            }
            Event::Lost => {
                self.ready.set(false);
                warn!(code = %Code::FunctionUnreachable, "the connection to the function ended");
            }
            Event::Serving { function, changed } => self.serve(function, changed),
            Event::Refused { findings } => {
                log_refusal(&findings);
                if self.mode == Mode::Proxy && self.function.is_none() {
                    return Err(refused(&findings));
                }
            }
        }
        Ok(())
    }

    fn serve(&mut self, function: Function, changed: bool) {
        if self.connected > 0 {
            // A function has dialed in meanwhile.
            return;
        }
        let contract = function.contract().clone();
        self.hub.close(hub::another_family(contract.family));
        if changed {
            warn!(code = %Code::ContractChanged, "the function came back with another contract");
        }
        self.engine.serve(Served {
            contract: contract.clone(),
            link: Arc::new(function.clone()),
            streams: EntityStreams::Own(function.streams_max()),
        });
        self.function = Some(function);
        self.ready.set(true);
        say_served(&contract);
    }
}

/// Says what is served. Last of all: whoever waits for this line may call at once.
fn say_served(contract: &Contract) {
    for warning in &contract.warnings {
        warn!(code = %warning.code, "{}", warning.text);
    }
    let components: Vec<String> = contract
        .components
        .iter()
        .map(|component| format!("{} ({})", component.service, component.kind))
        .collect();
    info!(
        family = contract.family,
        sdk = contract.info.sdk,
        "serving {}",
        components.join(", ")
    );
}

fn log_refusal(findings: &[Finding]) {
    for finding in findings {
        error!(code = %finding.code, "the contract is refused: {finding}");
    }
}

fn refused(findings: &[Finding]) -> Failure {
    let code = findings
        .first()
        .map_or(Code::DiscoveryFailed, |finding| finding.code);
    let cause = match findings {
        [only] => format!("the function's contract is refused: {}", only.text),
        all => format!(
            "the function's contract is refused for {} reasons, logged above",
            all.len()
        ),
    };
    let remedy = format!("docs/errors/{code}.md says what to change in the function");
    Failure {
        code: Some(code),
        cause,
        remedy,
        exit: CONTRACT,
    }
}

fn engine_config(config: &Config) -> engine::Config {
    engine::Config {
        lanes: config.lanes,
        streams_max: config.max_streams,
        entities_max: config.max_entities,
        lane: lane::Config {
            mailbox_commands_max: config.mailbox,
            command_timeout: config.command_timeout,
            passivate_after: config.passivate_after,
            reply_record_ttl: config.idempotency_ttl,
            ..lane::Config::default()
        },
        clock: firn_store::Clock::system(),
        write_behind: config.write_behind,
        node: NODE.to_owned(),
    }
}

fn edge_config(config: &Config, identification: &Identification) -> firn_edge::Config {
    firn_edge::Config {
        listen: config.listen,
        dev: config.mode == Mode::Dev,
        message_bytes_max: config.max_message_bytes,
        shutdown_grace: config.drain_grace,
        strip_headers: HeaderName::try_from(&identification.header)
            .into_iter()
            .collect(),
        allowed_origins: match config.allow_origin.as_slice() {
            [] => Origins::Any,
            listed => Origins::Listed(listed.to_vec()),
        },
        ..firn_edge::Config::default()
    }
}

fn watch(
    config: &Config,
    listening: SocketAddr,
    identification: Identification,
    hurry: Arc<Notify>,
) -> Watch {
    let (host, port) = advertised(config, listening);
    Watch {
        address: config.function.clone(),
        family: config.family,
        asker: Asker {
            version: env!("CARGO_PKG_VERSION"),
            dev_mode: config.mode == Mode::Dev,
            host,
            port,
            offer_old_names: config.old_names,
            identification,
        },
        message_bytes_max: config.max_message_bytes,
        check: check(),
        hurry,
    }
}

/// What else may be wrong with a contract: its HTTP rules.
fn check() -> Check {
    Arc::new(|contract| match firn_edge::rules::compile(contract) {
        Ok(_) => Vec::new(),
        Err(findings) => findings,
    })
}

fn port_config(config: &Config, listening: SocketAddr) -> port::Config {
    let (host, port) = advertised(config, listening);
    port::Config {
        listen: config.function_listen.clone(),
        token: config.function_token.clone(),
        tls: config.function_tls.clone(),
        frame_bytes_max: config.max_message_bytes,
        client_address: format!("{host}:{port}"),
        version: env!("CARGO_PKG_VERSION"),
    }
}

fn function_port_refused(error: port::BindError) -> Failure {
    let (code, remedy) = match &error {
        port::BindError::Listen { source, .. } => (
            match source.kind() {
                std::io::ErrorKind::AddrInUse => Code::PortTaken,
                _ => Code::ListenFailed,
            },
            "stop the other process, or choose another address with --function-listen",
        ),
        port::BindError::Tls { .. } => (
            Code::BadSetting,
            "give --function-tls-cert and --function-tls-key a chain and its key in PEM",
        ),
    };
    Failure::new(code, error, remedy)
}

/// Where a function can call Firn back.
fn advertised(config: &Config, listening: SocketAddr) -> (String, u16) {
    config.advertise.clone().unwrap_or_else(|| {
        let ip = listening.ip();
        let host = match ip.is_unspecified() {
            true => "127.0.0.1".to_owned(),
            false => ip.to_string(),
        };
        (host, listening.port())
    })
}

/// How a function on this machine writes the address of the function port.
fn dialed(address: &port::Address, config: &Config) -> String {
    match address {
        port::Address::Unix(_) => address.to_string(),
        port::Address::Tcp(at) => {
            let scheme = match config.function_tls {
                Some(_) => "https",
                None => "http",
            };
            let host = match at.ip().is_unspecified() {
                true => "127.0.0.1".to_owned(),
                false if at.is_ipv6() => format!("[{}]", at.ip()),
                false => at.ip().to_string(),
            };
            format!("{scheme}://{host}:{}", at.port())
        }
    }
}

/// A new secret for the function's own calls.
fn identification() -> Result<Identification, Failure> {
    let mut secret = [0; 16];
    getrandom::fill(&mut secret).map_err(cannot_start)?;
    let token = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(Identification {
        header: IDENTIFICATION_HEADER.to_owned(),
        token,
    })
}

/// Starts the function as a child, if there is a command for it. Gives a future that ends only if
/// it cannot be started. What an earlier run left behind has ended by then, so it is never taken
/// for the new one.
async fn start_child(
    config: &Config,
    dial: Option<String>,
    command: Vec<String>,
    tasks: &TaskTracker,
    stop: &CancellationToken,
    started: Arc<Notify>,
) -> impl Future<Output = Failure> + use<> {
    let (failed, failure) = tokio::sync::oneshot::channel();
    if !command.is_empty() {
        let (host, port) = config
            .function
            .rsplit_once(':')
            .unwrap_or(("127.0.0.1", "8080"));
        let folder = match &config.store {
            StoreUrl::Embedded(data) => data.parent().map(PathBuf::from).unwrap_or_default(),
            StoreUrl::Memory => PathBuf::from(".firn"),
        };
        let record = folder.join("function.pid");
        end_left_behind(&record).await;
        let child = Child {
            command: command.clone(),
            host: host.to_owned(),
            port: port.to_owned(),
            dial: dial.unwrap_or_default(),
            token: config.function_token.clone(),
            record,
            started,
        };
        let run = child.run(stop.clone());
        tasks.spawn(async move {
            if let Err(error) = run.await {
                let cause = format!("{}: {error}", command.join(" "));
                let remedy = "check the command after --, and that it is on the PATH";
                let _ = failed.send(Failure::new(Code::CommandNotStarted, cause, remedy));
            }
        });
    }
    async move {
        match failure.await {
            Ok(failure) => failure,
            Err(_) => std::future::pending().await,
        }
    }
}

fn taken(error: BindError) -> Failure {
    let remedy = "stop the other process, or choose another address with --listen";
    Failure::new(error.code(), error, remedy)
}

fn admin_taken(config: &Config, error: &std::io::Error) -> Failure {
    let code = match error.kind() {
        std::io::ErrorKind::AddrInUse => Code::PortTaken,
        _ => Code::ListenFailed,
    };
    let cause = format!("cannot listen on {}: {error}", config.admin);
    Failure::new(
        code,
        cause,
        "stop the other process, or choose another address with --admin",
    )
}

/// The signals that mean to stop.
struct Signals {
    term: tokio::signal::unix::Signal,
    int: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            term: signal(SignalKind::terminate())?,
            int: signal(SignalKind::interrupt())?,
        })
    }

    /// Stops at the first signal; ends the process at the second, unless it has ended by then.
    async fn watch(mut self, stop: CancellationToken, stopped: CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.wait() => stop.cancel(),
        }
        tokio::select! {
            () = stopped.cancelled() => {}
            () = self.wait() => {
                warn!("told again, ending at once; nothing acknowledged is lost");
                std::process::exit(FAILED.into());
            }
        }
    }

    async fn wait(&mut self) {
        tokio::select! {
            _ = self.term.recv() => info!("told to stop"),
            _ = self.int.recv() => info!("interrupted"),
        }
    }
}
