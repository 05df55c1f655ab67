//! The proxy: store, engine, edge and link together.
//!
//! # Shutdown
//! Functions that dialed in are told at once. The edge goes first and finishes what it accepted; then
//! the engine, which makes durable what the function has answered; then the links, through which the
//! engine let go of its entities; then the admin port and the store. The function itself ends after
//! all of them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use firn_link::v1::hub::Hub;
use firn_link::v1::port::{self, Port};
use firn_model::code::Code;
use firn_model::id::NodeId;
use firn_runtime::engine::Engine;
use firn_runtime::replicated::network::Network;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use super::follow::{Events, Follow};
use super::parts;
use super::ports::Ports;
use crate::admin::Admin;
use crate::exit::Failure;
use crate::gateway::Gateway;
use crate::settings::Config;
use crate::store::OpenStore;

/// Events of the link that may wait to be looked at; the link waits when they are more.
const EVENTS: usize = 16;

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
    pub(super) hurry: Arc<Notify>,
    /// Where clients come in.
    pub(crate) listening: SocketAddr,
    /// Where the admin port is.
    pub(crate) admin: SocketAddr,
    /// Where functions dial in, if they may.
    pub(crate) functions: Option<port::Address>,
    /// Where a function is dialed, if one is.
    function: Option<String>,
}

/// The functions that dial in.
struct DialedIn {
    hub: Arc<Hub>,
    /// Ends their port, also when the proxy is dropped.
    stop: DropGuard,
}

impl DialedIn {
    fn serve(port: Port, hub: Arc<Hub>, tasks: &TaskTracker) -> Self {
        // It ends after the engine, which lets go of its entities there.
        let stop = CancellationToken::new();
        tasks.spawn(port.serve(hub.clone(), stop.clone()));
        Self {
            hub,
            stop: stop.drop_guard(),
        }
    }
}

impl Proxy {
    /// Takes the ports, opens the store and starts all parts; `stop` ends them in order.
    pub(crate) async fn start(
        config: &Config,
        network: &dyn Network,
        stop: CancellationToken,
    ) -> Result<Self, Failure> {
        let identification = parts::identification()?;
        let Ports {
            edge,
            admin,
            functions: port,
        } = Ports::take(config, &identification).await?;
        let store = OpenStore::open(config).await?;
        let engine = Arc::new(start_engine(config, &store, network).await?);
        let listening = edge.local_addr();
        let function = config.family.is_dialed().then(|| config.function.clone());
        let functions = port.as_ref().map(|port| port.address().clone());
        let admin = Admin::new(
            admin,
            engine.clone(),
            &store,
            config.keys.clone(),
            stop.clone(),
        );
        let admin_address = admin.local_addr();
        info!(
            clients = %listening,
            admin = %admin_address,
            function,
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
        let (sender, dialed) = mpsc::channel(EVENTS);
        let hurry = Arc::new(Notify::new());
        let dialing = stop.child_token();
        if config.family.is_dialed() {
            let watch = parts::watch(config, listening, identification, hurry.clone());
            tasks.spawn(watch.run(sender, dialing.clone()));
        }
        let calls = Arc::new(engine.dispatcher().clone());
        let (hub, dialed_in) = Hub::new(parts::check(config), calls, TaskTracker::new());
        let events = Events { dialed, dialed_in };
        let dialed_in = port.map(|port| DialedIn::serve(port, hub.clone(), &tasks));
        let follow = Follow::new(config.mode, engine, ready, hub, dialing);
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
            function,
        })
    }

    /// The id under which it keeps its replicas.
    pub(crate) fn node(&self) -> NodeId {
        self.follow.engine().replica().node
    }

    /// Tells a person who started no function what to do about that.
    pub(super) fn say_what_it_waits_for(&self) {
        let dialed = self.function.as_ref();
        let dials_in = self.functions.as_ref();
        let ways = [
            dials_in.map(|at| format!("one to dial in at {at}")),
            dialed.map(|at| format!("one to listen at {at}")),
        ];
        let ways: Vec<String> = ways.into_iter().flatten().collect();
        info!(
            "no command and no firn.toml: waiting for a function, {}; firn help dev says more",
            ways.join(", or ")
        );
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
        let engine = follow.engine().clone();
        let result = tokio::select! {
            biased;
            result = follow.run(events, &stop) => result,
            failure = failed => Err(failure),
        };
        stop.cancel();
        if let Some(DialedIn { hub, .. }) = &dialed_in {
            hub.goodbye();
        }
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
            hub.finish();
            drop(stop);
        }
        tasks.close();
        tasks.wait().await;
        store.close().await;
        result
    }
}

async fn start_engine(
    config: &Config,
    store: &OpenStore,
    network: &dyn Network,
) -> Result<Engine, Failure> {
    let started = Engine::start(parts::engine_config(config), store.store(), network).await;
    let remedy = "look at the store's folder and the log before this";
    started.map_err(|error| Failure::new(Code::LoadFailed, error, remedy))
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
