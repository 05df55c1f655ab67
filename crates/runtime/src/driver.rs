//! The driver of a lane: feeds the machine, carries its outputs out.
//!
//! One task for each lane. Commands come through a bounded inbox, so that a lane that cannot keep
//! up slows its callers. What answers the lane's own outputs comes through a second inbox that
//! never makes its sender wait; it holds at most what the lane itself has asked for, answers
//! included, and a few other events of each open stream.
//!
//! # Fate
//! It ends by itself when it was told to drain and the machine is empty, and at once when its engine
//! is dropped: what was not acknowledged by then never is.

use std::pin::pin;
use std::sync::Arc;
use std::time::SystemTime;

use bytestring::ByteString;
use firn_model::id::{EffectId, EntityKey, Slot};
use firn_store::{Commit, Head, ReadError, Store, Timestamp};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::yield_now;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use crate::committer::{self, Written};
use crate::dispatch::Dispatcher;
use crate::engine::Served;
use crate::lane::{Command, Input, Known, Lane, Now, Output, Settled, Ticket};
use crate::link::{End, EntityStream, Opening, StreamEvent};
use crate::outbox::Backoff;
use crate::refusal::Refusal;
use crate::streams::{Streams, Word};
use crate::vigil::Stay;

/// Commands that may wait for a lane's attention before their senders wait.
pub(crate) const INBOX_COMMANDS: usize = 1024;

/// Inputs taken in a row before their outputs are looked at by the others: keeps one busy lane from
/// holding its thread.
const INPUTS_IN_A_ROW: usize = 64;

/// Where the answer to a command goes.
#[derive(Debug)]
pub(crate) struct ReplyTo {
    pub(crate) caller: oneshot::Sender<Result<Settled, Refusal>>,
    /// How many forwards and effects led to the command.
    pub(crate) hops: u32,
}

/// What comes to a driver beside commands.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly every message is an input"
)]
pub(crate) enum Message {
    /// For the machine.
    Input(Input<ReplyTo>),
    /// What became of commits of a batch.
    Written(Vec<Written>),
    /// Somebody waits for a stream; if nobody here is idle, so many others are asked.
    MakeRoom {
        /// Owners of streams that were not asked yet.
        others: usize,
    },
}

/// What a word about streams means to a lane.
pub(crate) fn message_of(word: Word) -> Message {
    match word {
        Word::Granted(ticket) => Message::Input(Input::Granted(ticket)),
        Word::RoomEnough => Message::Input(Input::RoomEnough),
        Word::MakeRoom { others } => Message::MakeRoom { others },
    }
}

/// What a driver works with.
pub(crate) struct Driver {
    pub(crate) index: usize,
    pub(crate) lane: Lane<ReplyTo>,
    pub(crate) commands: mpsc::Receiver<Command<ReplyTo>>,
    pub(crate) inbox: mpsc::UnboundedReceiver<Message>,
    pub(crate) lanes: Arc<[mpsc::UnboundedSender<Message>]>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) committer: committer::Sender,
    /// The commits of this turn.
    pub(crate) commits: Vec<Commit>,
    /// Whether outcomes that come soon are waited for awake.
    pub(crate) stays_awake: bool,
    /// Set while one is: that of the last commit that was handed over, until any comes.
    pub(crate) stay: Option<Stay>,
    pub(crate) streams: Arc<Streams>,
    pub(crate) dispatcher: Arc<Dispatcher>,
    pub(crate) served: watch::Receiver<Option<Arc<Served>>>,
    pub(crate) tasks: TaskTracker,
    pub(crate) stop: CancellationToken,
    pub(crate) open: OpenStreams,
    /// Empty but for its room: what the machine wants is carried out before its next input.
    pub(crate) outputs: Vec<Output<ReplyTo>>,
}

/// The open streams, each at the place that its instance has in the machine. The machine lets go of one
/// before the instance opens another, or leaves its place.
#[derive(Default)]
pub(crate) struct OpenStreams(Vec<Option<OpenStream>>);

/// The stream of one life of an instance.
struct OpenStream {
    life: u64,
    stream: Box<dyn EntityStream>,
}

impl OpenStreams {
    fn insert(&mut self, ticket: Ticket, stream: Box<dyn EntityStream>) {
        if self.0.len() <= ticket.index {
            self.0.resize_with(ticket.index + 1, || None);
        }
        let life = ticket.life;
        self.0[ticket.index] = Some(OpenStream { life, stream });
    }

    fn get_mut(&mut self, ticket: Ticket) -> Option<&mut Box<dyn EntityStream>> {
        let open = self.0.get_mut(ticket.index)?.as_mut()?;
        (open.life == ticket.life).then_some(&mut open.stream)
    }

    fn remove(&mut self, ticket: Ticket) -> Option<Box<dyn EntityStream>> {
        let place = self.0.get_mut(ticket.index)?;
        let open = place.take_if(|open| open.life == ticket.life)?;
        Some(open.stream)
    }
}

impl Driver {
    /// Runs until drained.
    pub(crate) async fn run(mut self) {
        let mut draining = false;
        // Set for when the machine needs it, or earlier: the need moves with every command, and an
        // early wake costs less than setting the timer anew for each.
        let mut timer = pin!(sleep_until(Instant::now()));
        let mut set_for = None;
        loop {
            let wake = self.lane.next_wake().map(Instant::from_std);
            if let Some(wake) = wake
                && set_for.is_none_or(|set_for| wake < set_for)
            {
                timer.as_mut().reset(wake);
                set_for = Some(wake);
            }
            tokio::select! {
                biased;
                () = self.stop.cancelled() => break,
                message = self.inbox.recv() => match message {
                    Some(message) => draining |= self.take(message),
                    None => break,
                },
                Some(command) = self.commands.recv() => self.feed(Input::Command(command), 0),
                () = timer.as_mut(), if set_for.is_some() => {
                    set_for = None;
                    self.feed(Input::Wake, 0);
                }
                // Others go on meanwhile, also those that wait for a socket.
                () = yield_now(), if self.stay.is_some() => {
                    self.stay = self.stay.filter(|stay| stay.goes_on());
                }
            }
            for _ in 0..INPUTS_IN_A_ROW {
                if let Ok(message) = self.inbox.try_recv() {
                    draining |= self.take(message);
                } else if let Ok(command) = self.commands.try_recv() {
                    self.feed(Input::Command(command), 0);
                } else {
                    break;
                }
            }
            if !self.commits.is_empty() {
                let stay = self.committer.send(std::mem::take(&mut self.commits));
                self.stay = stay.filter(|_| self.stays_awake);
            }
            if draining && self.lane.is_empty() {
                break;
            }
        }
        debug!(lane = self.index, "lane ended");
    }

    /// Takes a message; gives whether it was the word to drain.
    fn take(&mut self, message: Message) -> bool {
        match message {
            Message::Input(input) => {
                let drain = matches!(input, Input::Drain);
                if let Input::Stream(ticket, StreamEvent::Ended(_)) = &input {
                    self.open.remove(*ticket);
                }
                self.feed(input, 0);
                drain
            }
            Message::Written(written) => {
                self.stay = None;
                for Written {
                    slot,
                    last,
                    outcome,
                } in written
                {
                    let committed = Input::Committed {
                        slot,
                        last,
                        outcome,
                    };
                    self.feed(committed, 0);
                }
                false
            }
            Message::MakeRoom { others } => {
                self.feed(Input::MakeRoom, others);
                false
            }
        }
    }

    /// Gives the machine one input and carries out what it wants.
    fn feed(&mut self, input: Input<ReplyTo>, others: usize) {
        let now = Now {
            instant: Instant::now().into_std(),
            wall: self.dispatcher.clock.now(),
        };
        let mut outputs = std::mem::take(&mut self.outputs);
        outputs.extend(self.lane.on(now, input));
        for output in outputs.drain(..) {
            self.carry_out(output, others);
        }
        self.outputs = outputs;
    }

    fn carry_out(&mut self, output: Output<ReplyTo>, others: usize) {
        match output {
            Output::Answer(reply, result) => {
                // The caller may have gone. Then nobody wants the answer, but the effects are
                // committed.
                if let Err(Ok(settled)) = reply.caller.send(result) {
                    self.dispatcher.orphaned(settled.effects, reply.hops);
                }
            }
            Output::Orphaned { effects, hops } => self.dispatcher.orphaned(effects, hops),
            Output::Commit(commit) => self.commits.push(*commit),
            Output::Send(ticket, command) => {
                if let Some(stream) = self.open.get_mut(ticket) {
                    stream.command(command);
                }
            }
            Output::RequestSnapshot(ticket) => {
                if let Some(stream) = self.open.get_mut(ticket) {
                    stream.request_snapshot();
                }
            }
            Output::Pass(ticket, number) => {
                if let Some(stream) = self.open.get_mut(ticket) {
                    stream.pass(number);
                }
            }
            Output::HalfClose(ticket) => {
                if let Some(stream) = self.open.get_mut(ticket) {
                    debug!(lane = self.index, "an entity stream is half-closed");
                    stream.half_close();
                }
            }
            Output::Reset(ticket) => drop(self.open.remove(ticket)),
            Output::ReleaseStream => self.streams.release(),
            Output::AcquireStream(ticket) => self.acquire(ticket),
            Output::Open(ticket, opening) => self.open_stream(ticket, *opening),
            Output::Load(ticket, key, replay) => {
                let (store, reply) = (self.store.clone(), self.lanes[self.index].clone());
                self.tasks.spawn(async move {
                    let result = store.load(&key, replay).await;
                    let _ = reply.send(Message::Input(Input::Loaded(ticket, result)));
                });
            }
            Output::Look {
                ticket,
                key,
                record,
                received,
            } => {
                let (store, reply) = (self.store.clone(), self.lanes[self.index].clone());
                self.tasks.spawn(async move {
                    let result = look(&*store, &key, record, received).await;
                    let _ = reply.send(Message::Input(Input::Looked(ticket, result)));
                });
            }
            Output::LookTimer { id, turn } => {
                let (store, reply) = (self.store.clone(), self.lanes[self.index].clone());
                self.tasks.spawn(async move {
                    let result = store.timer(&id).await;
                    let _ = reply.send(Message::Input(Input::TimerLooked { id, turn, result }));
                });
            }
            Output::TimerDone { id, told } => self.dispatcher.alarm.done(id, told),
            Output::Armed(due) => self.dispatcher.alarm.armed(due),
            Output::Resolve(slot) => {
                let (store, reply) = (self.store.clone(), self.lanes[self.index].clone());
                let stop = self.stop.clone();
                self.tasks.spawn(async move {
                    tokio::select! {
                        biased;
                        () = stop.cancelled() => {}
                        head = resolve(&*store, slot) => {
                            let _ = reply.send(Message::Input(Input::Resolved(slot, head)));
                        }
                    }
                });
            }
            Output::NoRoom => {
                if let Some(others) = others.checked_sub(1) {
                    self.streams.ask_next(self.index, others);
                }
            }
            Output::Report { key, text } => warn!(entity = %key, "{text}"),
        }
    }

    fn acquire(&mut self, ticket: Ticket) {
        if self.streams.acquire(self.index, ticket) {
            let _ = self.lanes[self.index].send(Message::Input(Input::Granted(ticket)));
        }
    }

    fn open_stream(&mut self, ticket: Ticket, opening: Opening) {
        let reply = self.lanes[self.index].clone();
        let served = self.served.borrow().clone();
        let Some(served) = served else {
            let end = End::Unreachable {
                cause: "no function was discovered".to_owned(),
            };
            let event = StreamEvent::Ended(end);
            let _ = reply.send(Message::Input(Input::Stream(ticket, event)));
            return;
        };
        let sink = Box::new(move |event| {
            let _ = reply.send(Message::Input(Input::Stream(ticket, event)));
        });
        debug!(lane = self.index, id = %opening.id, "an entity stream opens");
        let stream = served.link.open(opening, sink);
        self.open.insert(ticket, stream);
    }
}

/// The wall clock, for what is stored. The lane itself never reads a clock.
pub(crate) fn wall_clock() -> Timestamp {
    SystemTime::now().into()
}

async fn look(
    store: &dyn Store,
    key: &EntityKey,
    record: Option<(Arc<str>, ByteString)>,
    received: Option<EffectId>,
) -> Result<Known, ReadError> {
    let record = match record {
        Some((method, idempotency_key)) => {
            store.reply_record(key, &method, &idempotency_key).await?
        }
        None => None,
    };
    let received = match received {
        Some(effect) => store.was_received(key.slot(), effect).await?,
        None => false,
    };
    Ok(Known { record, received })
}

/// Asks the store for the head of a slot until it answers.
async fn resolve(store: &dyn Store, slot: Slot) -> Head {
    let mut pause = Backoff::default();
    loop {
        match store.heads().await {
            Ok(heads) => {
                let found = heads.into_iter().find(|(candidate, _)| *candidate == slot);
                return found.map(|(_, head)| head).unwrap_or_default();
            }
            Err(error) => warn!(%slot, %error, "the outcome of a commit is not known yet"),
        }
        pause.wait().await;
    }
}
