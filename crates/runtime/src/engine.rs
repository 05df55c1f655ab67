//! The engine: lanes, committer and dispatcher put together, started and drained.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use firn_model::contract::Contract;
use firn_model::id::{Replica, Slot};
use firn_store::{Clock, Head, IncarnateError, ReadError, Store};
use futures_executor::block_on;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use tracing::info;

use crate::committer::{self, Written};
use crate::dispatch::Dispatcher;
use crate::driver::{self, Driver, INBOX_COMMANDS, Message, OpenStreams};
use crate::lane::{self, Input, Lane};
use crate::link::Link;
use crate::metrics::{Commits, Metrics};
use crate::replicated;
use crate::replicated::driver::{self as replicas, Pending};
use crate::replicated::network::{Membership, Network};
use crate::streams::{Owner, Streams};
use crate::timers::Alarm;
use crate::vigil::processors;
use crate::waits::Waits;

/// How an engine is set up.
#[derive(Debug, Clone)]
pub struct Config {
    /// How many lanes serve; a slot belongs to the lane with its number modulo this.
    pub lanes: NonZeroUsize,
    /// How many entity streams may be open, whatever the SDK would bear. A stream takes about
    /// 24 KB here, so this bounds memory too.
    pub streams_max: usize,
    /// How many entities may be in memory where they need no stream each.
    pub entities_max: usize,
    /// The bounds of each lane.
    pub lane: lane::Config,
    /// The wall clock: when timers are due, and what is stored of times.
    pub clock: Clock,
    /// How long a change of replicated data that was acknowledged may be in memory only.
    pub write_behind: Duration,
    /// Under which name this node keeps its replicas in the store. One process at a time has it.
    pub node: String,
}

/// A function with its contract, as it is served now.
pub struct Served {
    /// What it declares.
    pub contract: Arc<Contract>,
    /// How it is reached.
    pub link: Arc<dyn Link>,
    /// What its entities are connected by.
    pub streams: EntityStreams,
}

/// What the entities of a function are connected by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntityStreams {
    /// A stream each, of which the SDK bears so many, if it has a limit.
    Own(Option<usize>),
    /// One connection for all: they are bounded by memory alone.
    Shared,
}

/// Why an engine could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The store could not be read.
    #[error(transparent)]
    Store(#[from] ReadError),
    /// The node got no incarnation.
    #[error(transparent)]
    Incarnation(#[from] IncarnateError),
    /// A thread could not be started, or ended.
    #[error("a thread could not be started: {0}")]
    Thread(#[from] std::io::Error),
}

/// A running engine. Dropping it ends it at once; [`Engine::drain`] ends it in order.
pub struct Engine {
    config: Config,
    dispatcher: Arc<Dispatcher>,
    served: watch::Sender<Option<Arc<Served>>>,
    contracts: watch::Sender<Option<Arc<Contract>>>,
    streams: Arc<Streams>,
    commits: Arc<Commits>,
    inboxes: Arc<[mpsc::UnboundedSender<Message>]>,
    machines: Arc<[mpsc::UnboundedSender<replicas::Message>]>,
    me: Replica,
    pending: Arc<[Pending]>,
    membership: watch::Receiver<Arc<Membership>>,
    lanes: TaskTracker,
    /// Brings what other nodes send to the machines; ends with the engine.
    router: tokio::task::JoinHandle<()>,
    tasks: TaskTracker,
    committers: Vec<JoinHandle<()>>,
    stop: DropGuard,
}

impl Engine {
    /// Starts an engine on a store: takes the node's next incarnation, joins the network with it,
    /// and reads the heads of all slots and what is left in the outbox.
    ///
    /// # Errors
    /// [`StartError`] if the store cannot be read or written, or a thread cannot be started.
    pub async fn start(
        config: Config,
        store: Arc<dyn Store>,
        network: &dyn Network,
    ) -> Result<Self, StartError> {
        let me = incarnate(store.clone(), config.node.clone()).await?;
        let lanes = config.lanes.get();
        let mut heads = by_lane(store.heads().await?, lanes);
        let (inboxes, receivers): (Vec<_>, Vec<_>) =
            (0..lanes).map(|_| mpsc::unbounded_channel()).unzip();
        let inboxes: Arc<[_]> = inboxes.into();
        let told = inboxes.clone();
        let commits = Arc::new(Commits::new());
        let (committer, committers) =
            committer::start(&store, &commits, processors(), move |written| {
                let mut by_lane: Vec<Vec<Written>> = told.iter().map(|_| Vec::new()).collect();
                for written in written {
                    by_lane[written.slot.share_of(told.len())].push(written);
                }
                for (lane, written) in told.iter().zip(by_lane) {
                    if !written.is_empty() {
                        let _ = lane.send(Message::Written(written));
                    }
                }
            })?;
        let (served, watching) = watch::channel(None);
        let (machines, machine_receivers): (Vec<_>, Vec<_>) =
            (0..lanes).map(|_| mpsc::unbounded_channel()).unzip();
        let machines: Arc<[_]> = machines.into();
        let owners = owners(&inboxes, &machines);
        let streams = Arc::new(Streams::new(config.streams_max, owners));
        let (lane_tasks, tasks) = (TaskTracker::new(), TaskTracker::new());
        let stop = CancellationToken::new();
        let (commands, command_receivers): (Vec<_>, Vec<_>) =
            (0..lanes).map(|_| mpsc::channel(INBOX_COMMANDS)).unzip();
        let pending: Arc<[Pending]> = (0..lanes).map(|_| Pending::default()).collect();
        let (replica_commands, replica_receivers): (Vec<_>, Vec<_>) =
            (0..lanes).map(|_| mpsc::channel(INBOX_COMMANDS)).unzip();
        let dispatcher = Arc::new(Dispatcher {
            replicas: replicas::Handle {
                commands: replica_commands,
                inboxes: machines.clone(),
                store: store.clone(),
                calls: AtomicU64::new(1),
            },
            commands,
            inboxes: inboxes.clone(),
            served: watching.clone(),
            runtime: Handle::current(),
            tasks: tasks.clone(),
            quiet: CancellationToken::new(),
            stop: stop.clone(),
            command_timeout: config.lane.command_timeout,
            waits: Waits::default(),
            last_action: AtomicU64::new(0),
            me,
            clock: config.clock.clone(),
            alarm: Alarm::default(),
        });
        // From here on everything ends with this guard.
        let stopping = stop.clone().drop_guard();
        let receivers = command_receivers.into_iter().zip(receivers);
        for (index, (commands, inbox)) in receivers.enumerate() {
            let driver = Driver {
                index,
                lane: Lane::new(
                    config.lane.clone(),
                    heads.remove(&index).unwrap_or_default(),
                ),
                commands,
                inbox,
                lanes: inboxes.clone(),
                store: store.clone(),
                committer: committer.clone(),
                commits: Vec::new(),
                // Where others serve too, each look would wake one of them.
                stays_awake: Handle::current().metrics().num_workers() == 1,
                stay: None,
                streams: streams.clone(),
                dispatcher: dispatcher.clone(),
                served: watching.clone(),
                tasks: tasks.clone(),
                stop: stop.clone(),
                open: OpenStreams::default(),
                outputs: Vec::new(),
            };
            lane_tasks.spawn(driver.run());
        }
        let endpoint = network.join(me);
        let membership = endpoint.membership.clone();
        let setup = replicas::Setup {
            config: replicated::Config {
                lane: config.lane.clone(),
                write_behind: config.write_behind,
                ..replicated::Config::default()
            },
            me,
            commands: replica_receivers,
            inboxes: machine_receivers,
            machines: machines.clone(),
            endpoint,
            store: store.clone(),
            streams: streams.clone(),
            dispatcher: dispatcher.clone(),
            served: watching,
            pending: pending.clone(),
        };
        let router = setup.spawn(&lane_tasks);
        let left = dispatcher.recover_outbox(&*store).await?;
        if left > 0 {
            info!(
                effects = left,
                "delivering effects that an earlier run left"
            );
        }
        dispatcher.spawn({
            let (dispatcher, store) = (dispatcher.clone(), store.clone());
            async move { dispatcher.clean_tombstones(&*store).await }
        });
        dispatcher.spawn({
            let (dispatcher, store) = (dispatcher.clone(), store.clone());
            let retention = config.lane.retention.clone();
            async move { dispatcher.retain(store, &retention).await }
        });
        dispatcher.spawn({
            let dispatcher = dispatcher.clone();
            async move { dispatcher.watch_timers(&*store).await }
        });
        Ok(Self {
            config,
            dispatcher,
            served,
            contracts: watch::Sender::new(None),
            streams,
            commits,
            inboxes,
            machines,
            me,
            pending,
            membership,
            lanes: lane_tasks,
            router,
            tasks,
            committers,
            stop: stopping,
        })
    }

    /// Where calls go.
    pub fn dispatcher(&self) -> &Arc<Dispatcher> {
        &self.dispatcher
    }

    /// As whom this node changes its replicas.
    pub fn replica(&self) -> Replica {
        self.me
    }

    /// Tells what is still to be done about changes of replicated entities.
    pub fn unfinished(&self) -> Unfinished {
        Unfinished(self.pending.clone())
    }

    /// Tells what it is doing.
    pub fn metrics(&self) -> Metrics {
        Metrics {
            commits: self.commits.clone(),
            streams: self.streams.clone(),
        }
    }

    /// The nodes that hold replicas, as this node knows them.
    pub fn membership(&self) -> watch::Receiver<Arc<Membership>> {
        self.membership.clone()
    }

    /// The contract served now, and each that follows.
    pub fn contracts(&self) -> watch::Receiver<Option<Arc<Contract>>> {
        self.contracts.subscribe()
    }

    /// The contract served now.
    pub fn contract(&self) -> Option<Arc<Contract>> {
        self.served
            .borrow()
            .as_ref()
            .map(|served| served.contract.clone())
    }

    /// Serves this function from now on. Instances of an earlier one end with their streams.
    pub fn serve(&self, served: Served) {
        // Before anybody can call: an SDK with few threads is never given more streams.
        self.streams.set_cap(match served.streams {
            EntityStreams::Own(sdk) => self.config.streams_max.min(sdk.unwrap_or(usize::MAX)),
            EntityStreams::Shared => self.config.entities_max,
        });
        for inbox in self.inboxes.iter() {
            let _ = inbox.send(Message::Input(Input::Contract(served.contract.clone())));
        }
        self.contracts.send_replace(Some(served.contract.clone()));
        self.served.send_replace(Some(Arc::new(served)));
    }

    /// Completes the answers of streamed commands, now and from now on, so that their callers go.
    pub fn complete_streams(&self) {
        for inbox in self.machines.iter() {
            let complete = replicated::Input::CompleteStreams;
            let _ = inbox.send(replicas::Message::Input(complete));
        }
    }

    /// Takes no more commands, finishes those that were accepted, and stops. Gives whether all of
    /// them ended within the grace; what did not is cut off. Nothing acknowledged is lost then, but
    /// for changes that are written behind and were not yet.
    pub async fn drain(mut self, grace: Duration) -> bool {
        let until = Instant::now() + grace;
        // Effects that are under way end; those that wait to be tried again are left to the next
        // run, which finds them in the outbox.
        self.dispatcher.quiet.cancel();
        self.tasks.close();
        let quiet = timeout_at(until, self.tasks.wait()).await.is_ok();
        for inbox in self.inboxes.iter() {
            let _ = inbox.send(Message::Input(Input::Drain));
        }
        for inbox in self.machines.iter() {
            let drain = replicated::Input::Drain;
            let _ = inbox.send(replicas::Message::Input(drain));
        }
        self.lanes.close();
        let ended = timeout_at(until, self.lanes.wait()).await.is_ok();
        drop(self.stop);
        self.lanes.wait().await;
        self.tasks.wait().await;
        let _ = self.router.await;
        for committer in self.committers.drain(..) {
            // Every lane has dropped its sender, so it ends once it has written all.
            let _ = tokio::task::spawn_blocking(move || committer.join()).await;
        }
        quiet && ended
    }
}

/// What is still to be done about changes of replicated entities, at any time. Whoever was answered
/// before and finds nothing has nothing to lose.
#[derive(Debug, Clone)]
pub struct Unfinished(Arc<[Pending]>);

impl Unfinished {
    /// How many entities have changes that are not written yet.
    pub fn unwritten(&self) -> usize {
        let count = |it: &Pending| it.unwritten.load(Ordering::Acquire);
        self.0.iter().map(count).sum()
    }

    /// How many entities there are of which members may lack something, counted for each member.
    pub fn unconfirmed(&self) -> usize {
        let count = |it: &Pending| it.unconfirmed.load(Ordering::Acquire);
        self.0.iter().map(count).sum()
    }
}

/// The heads of the slots that each lane owns.
fn by_lane(heads: Vec<(Slot, Head)>, lanes: usize) -> HashMap<usize, Vec<(Slot, Head)>> {
    let mut owned: HashMap<usize, Vec<(Slot, Head)>> = HashMap::new();
    for (slot, head) in heads {
        let lane = slot.share_of(lanes);
        owned.entry(lane).or_default().push((slot, head));
    }
    owned
}

/// Everything that opens streams: the lanes, then the machines of replicas.
fn owners(
    lanes: &Arc<[mpsc::UnboundedSender<Message>]>,
    machines: &Arc<[mpsc::UnboundedSender<replicas::Message>]>,
) -> Vec<Owner> {
    let lanes = lanes
        .iter()
        .cloned()
        .map(|lane| -> Owner { Box::new(move |word| lane.send(driver::message_of(word)).is_ok()) });
    let machines = machines.iter().cloned().map(|machine| -> Owner {
        Box::new(move |word| machine.send(replicas::message_of(word)).is_ok())
    });
    lanes.chain(machines).collect()
}

/// Takes the next incarnation of a node; the store blocks while it writes.
async fn incarnate(store: Arc<dyn Store>, node: String) -> Result<Replica, StartError> {
    let taking = tokio::task::spawn_blocking(move || block_on(store.incarnate(&node)));
    match taking.await {
        Ok(taken) => Ok(taken?),
        Err(ended) => Err(StartError::Thread(std::io::Error::other(ended))),
    }
}
