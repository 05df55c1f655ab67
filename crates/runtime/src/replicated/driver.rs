//! The driver of replicated entities: feeds the machine, carries its outputs out.
//!
//! One task for each machine, which holds the replicas of a part of the slots. Commands come through
//! a bounded inbox, so do messages of other nodes; what answers the machine's own outputs comes
//! through one that never makes its sender wait.
//!
//! # Fate
//! It ends by itself when it was told to drain and the machine is empty, and at once when its engine
//! is dropped: what was not written by then is lost, as write-behind says.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use firn_model::id::{EntityKey, NodeId, Replica};
use firn_store::{ReadError, ReplicaWrite, Store};
use futures_executor::block_on;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use super::network::{Endpoint, Membership, Message as PeerMessage, Outbound};
use super::told::Teller;
use super::{CallId, Command, Config, Input, Output, Page, Replicas};
use crate::dispatch::Dispatcher;
use crate::driver::wall_clock;
use crate::engine::Served;
use crate::lane::{Now, Settled, Ticket};
use crate::link::{End, ReplicaEvent, ReplicaOpening, ReplicaStream};
use crate::refusal::Refusal;
use crate::streams::{Streams, Word};

/// Messages of other nodes that may wait; the network holds or loses what is more.
const INBOX_PEERS: usize = 1024;

/// Keys read from the store at once.
const PAGE: usize = 256;

/// What comes to a driver beside commands.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly every message is an input"
)]
pub(crate) enum Message {
    /// For the machine.
    Input(Input),
    /// Somebody waits for a stream; if nobody here is idle, so many others are asked.
    MakeRoom {
        /// Owners of streams that were not asked yet.
        others: usize,
    },
}

/// Where the answers to a command go.
#[derive(Debug)]
pub(crate) enum Caller {
    /// One answer.
    One(oneshot::Sender<Result<Settled, Refusal>>),
    /// Many, until a last word.
    Many(Teller, EntityKey),
}

/// The way to the machines of a node.
pub(crate) struct Handle {
    pub(crate) commands: Vec<mpsc::Sender<(Command, Caller)>>,
    pub(crate) inboxes: Arc<[mpsc::UnboundedSender<Message>]>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) calls: AtomicU64,
}

impl Handle {
    /// The next number of a call.
    pub(crate) fn call(&self) -> CallId {
        CallId(self.calls.fetch_add(1, Ordering::Relaxed))
    }

    /// Which machine holds an entity.
    pub(crate) fn machine_of(&self, key: &EntityKey) -> usize {
        machine_of(key, self.commands.len())
    }

    /// Sends a command to its machine; `false` if that has ended.
    pub(crate) async fn send(&self, command: Command, caller: Caller) -> bool {
        let machine = self.machine_of(&command.key());
        self.commands[machine].send((command, caller)).await.is_ok()
    }

    /// The caller of a streamed command has gone.
    pub(crate) fn caller_gone(&self, key: EntityKey, call: CallId) {
        let machine = self.machine_of(&key);
        let gone = Input::CallerGone(key, call);
        let _ = self.inboxes[machine].send(Message::Input(gone));
    }
}

fn machine_of(key: &EntityKey, machines: usize) -> usize {
    usize::from(key.slot().number()) % machines
}

/// What a driver works with.
struct Driver {
    index: usize,
    /// As which owner of streams it is known.
    owner: usize,
    me: Replica,
    machine: Replicas,
    commands: mpsc::Receiver<(Command, Caller)>,
    peers: mpsc::Receiver<(Replica, PeerMessage)>,
    inbox: mpsc::UnboundedReceiver<Message>,
    membership: watch::Receiver<Arc<Membership>>,
    machines: Arc<[mpsc::UnboundedSender<Message>]>,
    store: Arc<dyn Store>,
    outbound: Arc<dyn Outbound>,
    streams: Arc<Streams>,
    dispatcher: Arc<Dispatcher>,
    served: watch::Receiver<Option<Arc<Served>>>,
    tasks: TaskTracker,
    stop: CancellationToken,
    open: HashMap<Ticket, Box<dyn ReplicaStream>>,
    callers: HashMap<CallId, Caller>,
    /// What each machine has still to do.
    pending: Arc<[Pending]>,
}

/// What a machine has still to do, for people to see.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    pub(crate) unwritten: AtomicUsize,
    pub(crate) unconfirmed: AtomicUsize,
}

impl Driver {
    /// Runs until drained.
    async fn run(mut self) {
        let mut draining = false;
        let mut alone = false;
        // The members are greeted before anybody asks for anything.
        self.feed(Input::Wake, 0);
        loop {
            let wake = self.machine.next_wake().map(Instant::from_std);
            tokio::select! {
                biased;
                () = self.stop.cancelled() => break,
                message = self.inbox.recv() => match message {
                    Some(message) => draining |= self.take(message),
                    None => break,
                },
                changed = self.membership.changed(), if !alone => match changed {
                    Ok(()) => {
                        let membership = self.membership.borrow_and_update().clone();
                        self.feed(Input::Members(membership), 0);
                    }
                    Err(_) => alone = true,
                },
                Some((from, message)) = self.peers.recv() => {
                    self.feed(Input::Peer(from, message), 0);
                }
                Some((command, caller)) = self.commands.recv() => {
                    self.callers.insert(command.call, caller);
                    self.feed(Input::Command(command), 0);
                }
                () = sleep_until(wake.unwrap_or_else(Instant::now)), if wake.is_some() => {
                    self.feed(Input::Wake, 0);
                }
            }
            if draining && self.machine.is_empty() {
                break;
            }
        }
        debug!(machine = self.index, "replicas ended");
    }

    /// Takes a message; gives whether it was the word to drain.
    fn take(&mut self, message: Message) -> bool {
        match message {
            Message::Input(input) => {
                let drain = matches!(input, Input::Drain);
                match &input {
                    Input::Stream(ticket, ReplicaEvent::Ended(_)) => {
                        self.open.remove(ticket);
                    }
                    Input::CallerGone(_, call) => {
                        self.callers.remove(call);
                    }
                    _ => {}
                }
                self.feed(input, 0);
                drain
            }
            Message::MakeRoom { others } => {
                self.feed(Input::MakeRoom, others);
                false
            }
        }
    }

    /// Gives the machine one input and carries out what it wants.
    fn feed(&mut self, input: Input, others: usize) {
        let now = Now {
            instant: Instant::now().into_std(),
            wall: wall_clock(),
        };
        let outputs: Vec<_> = self.machine.on(now, input).collect();
        // Before anybody is answered: who has an answer sees that its change is not written yet.
        let pending = &self.pending[self.index];
        let (unwritten, unconfirmed) = (self.machine.unwritten(), self.machine.unconfirmed());
        pending.unwritten.store(unwritten, Ordering::Release);
        pending.unconfirmed.store(unconfirmed, Ordering::Release);
        for output in outputs {
            self.carry_out(output, others);
        }
    }

    fn carry_out(&mut self, output: Output, others: usize) {
        match output {
            Output::Next(call, settled) => self.answer(call, settled),
            Output::End(call, result) => self.end(call, result),
            Output::Orphaned(effects) => self.dispatcher.orphaned(effects, 0),
            Output::Open(ticket, opening) => self.open_stream(ticket, *opening),
            Output::Send(ticket, command) => self.on(ticket, |stream| stream.command(*command)),
            Output::Delta(ticket, delta) => self.on(ticket, |stream| stream.delta(*delta)),
            Output::Cancel(ticket, number) => self.on(ticket, |stream| stream.cancel(number)),
            Output::Delete(ticket) => self.on(ticket, |stream| stream.delete()),
            Output::HalfClose(ticket) => {
                debug!(
                    machine = self.index,
                    "the stream of a replicated entity is half-closed"
                );
                self.on(ticket, |stream| stream.half_close());
            }
            Output::Reset(ticket) => drop(self.open.remove(&ticket)),
            Output::ReleaseStream => self.streams.release(),
            Output::AcquireStream(ticket) => self.acquire(ticket),
            Output::NoRoom => {
                if let Some(others) = others.checked_sub(1) {
                    self.streams.ask_next(self.owner, others);
                }
            }
            Output::Load(ticket, key) => self.load(ticket, key),
            Output::Save(writes) => self.save(writes),
            Output::List(member, after) => self.list(member, after),
            Output::Peer(to, message) => self.outbound.send(to, message),
            Output::Report { key, text } => warn!(entity = %key, "{text}"),
        }
    }

    fn on(&mut self, ticket: Ticket, act: impl FnOnce(&mut dyn ReplicaStream)) {
        if let Some(stream) = self.open.get_mut(&ticket) {
            act(&mut **stream);
        }
    }

    /// Gives a caller an answer.
    fn answer(&mut self, call: CallId, settled: Settled) {
        let unsent = match self.callers.remove(&call) {
            Some(Caller::One(caller)) => caller.send(Ok(settled)).err().and_then(Result::ok),
            Some(Caller::Many(caller, key)) => match caller.tell(settled) {
                None => {
                    self.callers.insert(call, Caller::Many(caller, key));
                    None
                }
                Some(settled) => {
                    // Gone, or too slow: its stream ends without a last word, which says so.
                    let gone = Input::CallerGone(key, call);
                    let _ = self.machines[self.index].send(Message::Input(gone));
                    Some(settled)
                }
            },
            None => Some(settled),
        };
        // Nobody wants the answer any more, but what it caused runs.
        if let Some(settled) = unsent {
            self.dispatcher.orphaned(settled.effects, 0);
        }
    }

    /// Gives a caller the last word.
    fn end(&mut self, call: CallId, result: Result<(), Refusal>) {
        match (self.callers.remove(&call), result) {
            (Some(Caller::One(caller)), Err(refusal)) => {
                let _ = caller.send(Err(refusal));
            }
            (Some(Caller::Many(caller, _)), result) => caller.end(result),
            (Some(Caller::One(_)) | None, _) => {}
        }
    }

    fn reply(&self) -> mpsc::UnboundedSender<Message> {
        self.machines[self.index].clone()
    }

    fn load(&self, ticket: Ticket, key: EntityKey) {
        let (store, reply, node) = (self.store.clone(), self.reply(), self.me.node);
        self.tasks.spawn(async move {
            let result = store.load_replica(node, &key).await;
            let _ = reply.send(Message::Input(Input::Loaded(ticket, result)));
        });
    }

    fn save(&self, writes: Vec<ReplicaWrite>) {
        let (store, reply, node) = (self.store.clone(), self.reply(), self.me.node);
        // The store blocks while it writes.
        self.tasks.spawn_blocking(move || {
            let result = block_on(store.save_replicas(node, writes));
            let result = result.map_err(|error| error.to_string());
            let _ = reply.send(Message::Input(Input::Saved(result)));
        });
    }

    fn list(&self, member: NodeId, after: Option<EntityKey>) {
        let (store, reply, node) = (self.store.clone(), self.reply(), self.me.node);
        let (index, machines) = (self.index, self.machines.len());
        self.tasks.spawn(async move {
            let page = page(&*store, node, after, |key| {
                machine_of(key, machines) == index
            });
            let _ = reply.send(Message::Input(Input::Listed(member, page.await)));
        });
    }

    fn acquire(&mut self, ticket: Ticket) {
        if self.streams.acquire(self.owner, ticket) {
            let _ = self.reply().send(Message::Input(Input::Granted(ticket)));
        }
    }

    fn open_stream(&mut self, ticket: Ticket, opening: ReplicaOpening) {
        let reply = self.reply();
        let sink = Box::new(move |event| {
            let _ = reply.send(Message::Input(Input::Stream(ticket, event)));
        });
        let served = self.served.borrow().clone();
        let Some(served) = served else {
            let cause = "no function was discovered".to_owned();
            return sink(ReplicaEvent::Ended(End::Unreachable { cause }));
        };
        debug!(id = %opening.id, "the stream of a replicated entity opens");
        let stream = served.link.open_replica(opening, sink);
        self.open.insert(ticket, stream);
    }
}

/// Reads some keys, and keeps those that a machine holds.
async fn page(
    store: &dyn Store,
    node: NodeId,
    after: Option<EntityKey>,
    holds: impl Fn(&EntityKey) -> bool,
) -> Result<Page, ReadError> {
    let mut keys = store.list_replicas(node, after.as_ref(), PAGE).await?;
    let next = keys.last().filter(|_| keys.len() == PAGE).cloned();
    keys.retain(holds);
    Ok(Page { keys, next })
}

/// Brings what other nodes send to the machines that it is for, until told to stop.
async fn route(
    mut inbound: mpsc::Receiver<(Replica, PeerMessage)>,
    machines: Vec<mpsc::Sender<(Replica, PeerMessage)>>,
    stop: CancellationToken,
) {
    let routing = async {
        while let Some((from, message)) = inbound.recv().await {
            match message.key().map(|key| machine_of(key, machines.len())) {
                // A machine that has ended wants nothing more.
                Some(machine) => drop(machines[machine].send((from, message)).await),
                None => {
                    for machine in &machines {
                        let _ = machine.send((from, message.clone())).await;
                    }
                }
            }
        }
    };
    tokio::select! {
        biased;
        () = stop.cancelled() => {}
        () = routing => {}
    }
}

/// What the machines of a node are made of: one for each inbox.
pub(crate) struct Setup {
    pub(crate) config: Config,
    pub(crate) me: Replica,
    pub(crate) commands: Vec<mpsc::Receiver<(Command, Caller)>>,
    pub(crate) inboxes: Vec<mpsc::UnboundedReceiver<Message>>,
    pub(crate) machines: Arc<[mpsc::UnboundedSender<Message>]>,
    pub(crate) endpoint: Endpoint,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) streams: Arc<Streams>,
    pub(crate) dispatcher: Arc<Dispatcher>,
    pub(crate) served: watch::Receiver<Option<Arc<Served>>>,
    pub(crate) pending: Arc<[Pending]>,
}

impl Setup {
    /// Starts the machines, and the task that brings them what other nodes send.
    pub(crate) fn spawn(self, machines: &TaskTracker) -> JoinHandle<()> {
        let (stop, tasks) = (self.dispatcher.stop.clone(), self.dispatcher.tasks.clone());
        let mut routes = Vec::new();
        let inboxes = self.commands.into_iter().zip(self.inboxes);
        for (index, (commands, inbox)) in inboxes.enumerate() {
            let (route, peers) = mpsc::channel(INBOX_PEERS);
            routes.push(route);
            let mut membership = self.endpoint.membership.clone();
            let members = membership.borrow_and_update().clone();
            let driver = Driver {
                index,
                // As owners of streams they come after the lanes, which are as many.
                owner: self.machines.len() + index,
                me: self.me,
                machine: Replicas::new(self.config.clone(), self.me, members, index == 0),
                commands,
                peers,
                inbox,
                membership,
                machines: self.machines.clone(),
                store: self.store.clone(),
                outbound: self.endpoint.outbound.clone(),
                streams: self.streams.clone(),
                dispatcher: self.dispatcher.clone(),
                served: self.served.clone(),
                tasks: tasks.clone(),
                stop: stop.clone(),
                open: HashMap::new(),
                callers: HashMap::new(),
                pending: self.pending.clone(),
            };
            machines.spawn(driver.run());
        }
        tokio::spawn(route(self.endpoint.inbound, routes, stop))
    }
}

/// What a word about streams means to a machine.
pub(crate) fn message_of(word: Word) -> Message {
    match word {
        Word::Granted(ticket) => Message::Input(Input::Granted(ticket)),
        Word::RoomEnough => Message::Input(Input::RoomEnough),
        Word::MakeRoom { others } => Message::MakeRoom { others },
    }
}
