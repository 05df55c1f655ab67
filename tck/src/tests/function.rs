//! A small function with the model services, right unless a [`Quirk`] makes it wrong.
//!
//! It runs on one thread, so that what is aborted does nothing any more.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::pending;
use std::rc::Rc;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use prost::Message as _;
use tokio::net::UnixStream;
use tokio::sync::{Notify, Semaphore, mpsc, oneshot};
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::{Duration, sleep};

use super::entity::{self, Inbox, Incarnation};
use super::quirk::Quirk;
use super::steps::{Stop, Turn};
use crate::proto::MODEL_DESCRIPTORS;
use crate::proto::model::{Called, Reply, Request};
use crate::proto::v1::firn_frame::Frame as Sent;
use crate::proto::v1::function_frame::Frame;
use crate::proto::v1::{
    self, Call, CallResult, Chunk, Closed, Contract, Credit, Decision, Failure, FirnBatch,
    FirnFrame, FunctionBatch, FunctionFrame, Goodbye, Hello, Info, Method, Target, Welcome,
    call_result, decision,
};
use crate::service::{Service, streams};

/// How many incarnations it holds.
const HELD_MAX: usize = 64;
/// How much it puts into one batch.
const BATCH_BYTES: usize = 512 << 10;

/// Serves until the thread ends. Says Goodbye when told to.
pub(super) async fn serve(path: String, quirk: Quirk, goodbye: Rc<Notify>) {
    let mut pause = Duration::from_millis(50);
    let mut first = true;
    let mut dials = 0;
    let remembered = Rc::new(RefCell::new(Memory::new()));
    loop {
        if !first {
            sleep(pause).await;
        }
        first = false;
        dials += 1;
        let grows = quirk != Quirk::PausesStay;
        if let Ok(stream) = UnixStream::connect(&path).await {
            match connect(stream, quirk, &goodbye, Rc::clone(&remembered), dials).await {
                Some(End::Welcomed) => pause = Duration::from_millis(50),
                Some(End::Refused) if quirk == Quirk::GivesUpRefused => return,
                Some(End::Stopped) => return,
                _ if grows => pause = (pause * 2).min(Duration::from_secs(2)),
                _ => {}
            }
        } else if grows {
            pause = (pause * 2).min(Duration::from_millis(200));
        }
    }
}

/// What the quirk that remembers has seen, whatever the connection.
pub(super) type Memory = BTreeMap<(Service, String), entity::Text>;

enum End {
    Welcomed,
    Refused,
    Stopped,
}

/// One connection, as all of its tasks see it.
pub(super) struct Conn {
    pub(super) quirk: Quirk,
    out: mpsc::UnboundedSender<FunctionFrame>,
    pub(super) services: Vec<Service>,
    welcome: RefCell<Welcome>,
    pub(super) incarnations: RefCell<BTreeMap<u64, Incarnation>>,
    /// Of actions.
    running: RefCell<BTreeMap<u64, JoinHandle<()>>>,
    streams: RefCell<BTreeMap<u64, Rc<Stream>>>,
    /// Of commands of entities, told when their callers go.
    pub(super) cancels: RefCell<BTreeMap<u64, Rc<Notify>>>,
    calls: RefCell<BTreeMap<u64, oneshot::Sender<CallResult>>>,
    call_credit: Semaphore,
    last_call: Cell<u64>,
    received: Cell<u64>,
    clock: Cell<u64>,
    /// For the quirk that serves one command at a time.
    pub(super) one_at_a_time: tokio::sync::Mutex<()>,
    /// For the quirk that remembers.
    pub(super) remembered: Rc<RefCell<Memory>>,
}

/// A streamed call.
pub(super) struct Stream {
    messages: mpsc::UnboundedSender<v1::Message>,
    pub(super) credit: Semaphore,
}

fn contract(quirk: Quirk, dials: usize) -> Contract {
    let mut components = Vec::new();
    for service in Service::all() {
        let mut component = service.component();
        for name in service.methods() {
            component.methods.push(Method {
                name: (*name).to_owned(),
                id: Vec::new(),
            });
        }
        if quirk == Quirk::SnapshotOption && service == Service::Events {
            component.snapshot_every = 6;
        }
        components.push(component);
    }
    if quirk == Quirk::ContractVaries {
        let count = components.len();
        components.rotate_left(dials % count);
    }
    if quirk == Quirk::ComponentMissing {
        components.pop();
    }
    let mut descriptors = Bytes::from_static(MODEL_DESCRIPTORS);
    if quirk == Quirk::DescriptorsCut {
        let mut set =
            prost_types::FileDescriptorSet::decode(MODEL_DESCRIPTORS).expect("it was generated");
        set.file[0].message_type[1].field.pop();
        descriptors = set.encode_to_vec().into();
    }
    Contract {
        descriptors,
        components,
    }
}

async fn connect(
    stream: UnixStream,
    quirk: Quirk,
    goodbye: &Rc<Notify>,
    remembered: Rc<RefCell<Memory>>,
    dials: usize,
) -> Option<End> {
    let mut builder = h2::client::Builder::new();
    builder
        .initial_window_size(64 << 20)
        .initial_connection_window_size(64 << 20);
    let (mut client, connection) = builder.handshake::<_, Bytes>(stream).await.ok()?;
    let driver = spawn_local(async move {
        let _ = connection.await;
    });
    let request = http::Request::post("http://localhost/firn.v1.Functions/Connect")
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    let request = match quirk {
        Quirk::TokenForgotten => request,
        _ => request.header("authorization", "Bearer secret"),
    };
    let (response, mut body) = client.send_request(request.body(()).ok()?, false).ok()?;
    let contract = contract(quirk, dials);
    let services = contract.components.iter();
    let services = services.map(|one| {
        let mut all = Service::all();
        all.find(|service| service.name() == one.service)
            .unwrap_or(Service::Action)
    });
    let services = services.collect();
    let hello = Hello {
        minor: 0,
        info: Some(Info {
            name: "model".into(),
            sdk: "none".into(),
            process: "1".into(),
            ..Info::default()
        }),
        contract: Some(contract),
        commands: if quirk == Quirk::FewCommands { 8 } else { 0 },
        call_messages: if quirk == Quirk::FewCommands { 1 } else { 0 },
        ..Hello::default()
    };
    let (out, frames) = mpsc::unbounded_channel();
    let conn = Rc::new(Conn {
        quirk,
        out,
        services,
        welcome: RefCell::new(Welcome {
            chunk_bytes: 1 << 20,
            ..Welcome::default()
        }),
        incarnations: RefCell::default(),
        running: RefCell::default(),
        streams: RefCell::default(),
        cancels: RefCell::default(),
        calls: RefCell::default(),
        call_credit: Semaphore::new(0),
        last_call: Cell::new(0),
        received: Cell::new(0),
        clock: Cell::new(0),
        one_at_a_time: tokio::sync::Mutex::default(),
        remembered,
    });
    let mut response = Some(response);
    let mut early = None;
    if quirk == Quirk::HeadersAwaited {
        early = Some(response.take()?.await.ok()?);
    }
    if quirk == Quirk::CreditBeforeHello {
        conn.send(Frame::Credit(Credit::default()));
    }
    conn.send(Frame::Hello(hello));
    let writer = spawn_local({
        let conn = Rc::clone(&conn);
        async move { write(&conn, frames, &mut body).await }
    });
    let answer = match (early, response) {
        (Some(answer), _) => answer,
        (None, Some(response)) => response.await.ok()?,
        (None, None) => return None,
    };
    let end = read(&conn, answer.into_body(), goodbye).await;
    conn.abort_all();
    writer.abort();
    driver.abort();
    end
}

/// Reads what comes until the call ends.
async fn read(conn: &Rc<Conn>, mut body: h2::RecvStream, goodbye: &Rc<Notify>) -> Option<End> {
    let mut end = None;
    let mut stopping = false;
    let mut buffer = BytesMut::new();
    let mut transfers: BTreeMap<u64, (usize, Vec<u8>)> = BTreeMap::new();
    loop {
        let is_full = |one: &Incarnation| one.open.get() > 5;
        let stops = conn.quirk == Quirk::ReadsNoMore;
        if stops && conn.incarnations.borrow().values().any(is_full) {
            return pending().await;
        }
        let data = tokio::select! {
            () = goodbye.notified(), if !stopping => {
                stopping = true;
                if conn.quirk != Quirk::NoGoodbye {
                    conn.send(Frame::Goodbye(Goodbye {}));
                }
                continue;
            }
            data = body.data() => data,
        };
        let gives_up = match &data {
            None => conn.quirk == Quirk::GivesUpEnded,
            Some(Err(_)) => conn.quirk == Quirk::GivesUpLost,
            Some(Ok(_)) => false,
        };
        let Some(Ok(data)) = data else {
            return if stopping || gives_up {
                Some(End::Stopped)
            } else {
                end
            };
        };
        body.flow_control().release_capacity(data.len()).ok()?;
        buffer.put_slice(&data);
        while buffer.len() >= 5 {
            let length = u32::from_be_bytes([buffer[1], buffer[2], buffer[3], buffer[4]]) as usize;
            if buffer.len() < 5 + length {
                break;
            }
            buffer.advance(5);
            let Ok(batch) = FirnBatch::decode(buffer.split_to(length)) else {
                return match conn.quirk {
                    Quirk::GivesUpDamaged => Some(End::Stopped),
                    _ => end,
                };
            };
            for frame in batch.frames {
                match frame.frame {
                    Some(Sent::Welcome(_)) if conn.quirk == Quirk::MinorOneOnly => {
                        return Some(End::Stopped);
                    }
                    Some(Sent::Notice(_)) if conn.quirk == Quirk::NoticesEnd => return end,
                    Some(Sent::Goodbye(_)) if conn.quirk == Quirk::GoodbyeEnds => return end,
                    Some(Sent::Welcome(welcome)) => {
                        conn.call_credit.add_permits(welcome.calls as usize);
                        conn.welcome.replace(welcome);
                        end = Some(End::Welcomed);
                    }
                    Some(Sent::Refusal(_)) => end = Some(End::Refused),
                    Some(Sent::Chunk(chunk)) => {
                        let (count, bytes) = transfers.entry(chunk.transfer).or_default();
                        *count += 1;
                        if conn.quirk != Quirk::ChunkLost || *count != 3 {
                            bytes.extend_from_slice(&chunk.data);
                        }
                        if chunk.last {
                            let (_, bytes) = transfers.remove(&chunk.transfer)?;
                            let whole = FirnFrame::decode(bytes.as_slice()).ok()?;
                            conn.take(whole.frame?);
                        }
                    }
                    Some(frame) => conn.take(frame),
                    None if conn.quirk == Quirk::UnknownFrameEnds => return end,
                    None => {}
                }
            }
        }
    }
}

/// Writes frames, large ones in pieces.
async fn write(
    conn: &Rc<Conn>,
    mut frames: mpsc::UnboundedReceiver<FunctionFrame>,
    body: &mut h2::SendStream<Bytes>,
) {
    let mut transfer = 0;
    while let Some(frame) = frames.recv().await {
        let mut all = vec![frame];
        while let Ok(frame) = frames.try_recv() {
            all.push(frame);
        }
        if conn.quirk == Quirk::DecisionsReversed {
            all.reverse();
        }
        if conn.quirk == Quirk::SmallOvertake {
            all.sort_by_key(prost::Message::encoded_len);
        }
        let mut pieces = Vec::new();
        for frame in all {
            let limit = conn.welcome.borrow().chunk_bytes as usize;
            let limit = if conn.quirk == Quirk::ChunksTooLarge {
                2 * limit
            } else {
                limit
            };
            if frame.encoded_len() <= limit || conn.quirk == Quirk::NoChunks {
                pieces.push(frame);
                continue;
            }
            transfer += 1;
            let subject = match &frame.frame {
                Some(Frame::Decision(one)) => one.command,
                Some(Frame::Reply(one)) => one.command,
                Some(Frame::Call(one)) => one.id,
                _ => 0,
            };
            let subject = if conn.quirk == Quirk::NoSubject {
                0
            } else {
                subject
            };
            let bytes = Bytes::from(frame.encode_to_vec());
            let count = bytes.len().div_ceil(limit);
            let chunks = (0..count).map(|place| Chunk {
                transfer,
                data: bytes.slice(place * limit..((place + 1) * limit).min(bytes.len())),
                last: place + 1 == count,
                subject,
            });
            let chunks: Vec<_> = chunks
                .map(|chunk| FunctionFrame {
                    frame: Some(Frame::Chunk(chunk)),
                })
                .collect();
            if conn.quirk == Quirk::SmallOvertake {
                // The first goes at once, the rest when all else is gone.
                let mut chunks = chunks.into_iter();
                pieces.splice(0..0, chunks.next());
                pieces.extend(chunks);
            } else {
                pieces.extend(chunks);
            }
        }
        for batch in batches(pieces, conn.quirk) {
            if conn.quirk == Quirk::ClosedOvertakes {
                // Long enough for what follows to be asked for; that goes first then.
                sleep(Duration::from_millis(20)).await;
                while let Ok(small) = frames.try_recv() {
                    let frames = vec![small];
                    put(body, &FunctionBatch { frames }.encode_to_vec()).await;
                }
            }
            if put(body, &batch.encode_to_vec()).await.is_none() {
                return;
            }
        }
    }
}

fn batches(frames: Vec<FunctionFrame>, quirk: Quirk) -> Vec<FunctionBatch> {
    let mut batches = vec![FunctionBatch::default()];
    let mut bytes = 0;
    for frame in frames {
        let length = frame.encoded_len() + 8;
        if bytes + length > BATCH_BYTES && quirk != Quirk::BatchesTooLarge {
            batches.push(FunctionBatch::default());
            bytes = 0;
        }
        bytes += length;
        if let Some(batch) = batches.last_mut() {
            batch.frames.push(frame);
        }
    }
    batches.retain(|batch| !batch.frames.is_empty());
    batches
}

async fn put(body: &mut h2::SendStream<Bytes>, message: &[u8]) -> Option<()> {
    let mut bytes = BytesMut::new();
    bytes.put_u8(0);
    bytes.put_u32(u32::try_from(message.len()).ok()?);
    bytes.put_slice(message);
    let mut bytes = bytes.freeze();
    while !bytes.is_empty() {
        body.reserve_capacity(bytes.len());
        let capacity = std::future::poll_fn(|context| body.poll_capacity(context))
            .await?
            .ok()?;
        let part = bytes.split_to(capacity.min(bytes.len()));
        body.send_data(part, false).ok()?;
    }
    Some(())
}

pub(super) fn failure(code: i32, message: &str) -> decision::Answer {
    decision::Answer::Failure(Failure {
        code,
        message: message.to_owned(),
        details: Vec::new(),
    })
}

impl Conn {
    pub(super) fn send(&self, frame: Frame) {
        let _ = self.out.send(FunctionFrame { frame: Some(frame) });
    }

    /// Sends a decision, or a failure if it is too large. Whether it was sent as it is.
    pub(super) fn decide(&self, decision: Decision) -> bool {
        let limit = self.welcome.borrow().frame_bytes;
        let command = decision.command;
        let frame = Frame::Decision(decision);
        let length = FunctionFrame {
            frame: Some(frame.clone()),
        }
        .encoded_len();
        if length as u64 > limit && self.quirk != Quirk::FramesTooLarge {
            self.send(Frame::Decision(Decision {
                command,
                answer: Some(failure(8, "the decision is too large")),
                ..Decision::default()
            }));
            return false;
        }
        self.send(frame);
        true
    }

    pub(super) fn tick(&self) -> u64 {
        self.clock.set(self.clock.get() + 1);
        self.clock.get()
    }

    fn abort_all(&self) {
        for incarnation in self.incarnations.borrow().values() {
            incarnation.abort();
        }
        for task in self.running.borrow().values() {
            task.abort();
        }
    }

    fn take(self: &Rc<Self>, frame: Sent) {
        if matches!(frame, Sent::Command(_)) {
            self.received.set(self.received.get() + 1);
            if self.quirk == Quirk::CommandsLeak && self.received.get() > 1_500 {
                return;
            }
        }
        match frame {
            Sent::Command(command) if command.incarnation == 0 => self.take_action(command),
            Sent::Command(command) => entity::take(self, command),
            Sent::Message(message) => {
                let stream = self.streams.borrow().get(&message.command).cloned();
                if let Some(stream) = stream {
                    let _ = stream.messages.send(message);
                }
            }
            Sent::Cancel(cancel) => self.cancel(cancel.id),
            Sent::Change(change)
                if self.quirk == Quirk::LateChangesAnswered
                    && !self.incarnations.borrow().contains_key(&change.incarnation) =>
            {
                let incarnation = change.incarnation;
                self.send(Frame::Closed(Closed { incarnation }));
            }
            Sent::Change(change) => entity::change(self, change),
            Sent::Close(close) => entity::close(self, close.incarnation),
            Sent::Credit(credit)
                if credit.command == 0 && self.quirk == Quirk::CallCreditForgotten => {}
            Sent::Credit(credit) if credit.command == 0 => {
                self.call_credit.add_permits(credit.amount as usize);
            }
            Sent::Credit(credit) => {
                if let Some(stream) = self.streams.borrow().get(&credit.command) {
                    stream.credit.add_permits(credit.amount as usize);
                }
            }
            Sent::CallResult(mut result) => {
                if self.quirk == Quirk::CallsMixedUp
                    && let Some(first) = self.calls.borrow().keys().next()
                {
                    result.id = *first;
                }
                if self.quirk == Quirk::LateResultsAnswered
                    && !self.calls.borrow().contains_key(&result.id)
                {
                    self.decide(Decision::default());
                }
                if let Some(waiting) = self.calls.borrow_mut().remove(&result.id) {
                    self.call_credit.add_permits(1);
                    let _ = waiting.send(result);
                }
            }
            _ => {}
        }
    }

    fn cancel(&self, command: u64) {
        if self.quirk == Quirk::CancelIgnored {
            return;
        }
        if let Some(cancel) = self.cancels.borrow().get(&command) {
            cancel.notify_one();
        }
        let task = self.running.borrow_mut().remove(&command);
        let watch = entity::cancel(self, command) || self.quirk == Quirk::LateCancelsAnswered;
        if task.is_some() || watch {
            if let Some(task) = task {
                task.abort();
            }
            self.streams.borrow_mut().remove(&command);
            self.send(Frame::Decision(Decision {
                command,
                answer: Some(failure(1, "cancelled")),
                ..Decision::default()
            }));
        }
    }

    /// Begins the stream of a call that streams.
    pub(super) fn stream(
        &self,
        command: u64,
    ) -> (Rc<Stream>, mpsc::UnboundedReceiver<v1::Message>) {
        let (messages, receiver) = mpsc::unbounded_channel();
        let credit = match self.quirk {
            Quirk::ReplyCreditIgnored => Semaphore::MAX_PERMITS / 2,
            _ => self.welcome.borrow().call_messages as usize,
        };
        let stream = Rc::new(Stream {
            messages,
            credit: Semaphore::new(credit),
        });
        self.streams
            .borrow_mut()
            .insert(command, Rc::clone(&stream));
        (stream, receiver)
    }

    pub(super) fn end_stream(&self, command: u64) {
        self.streams.borrow_mut().remove(&command);
    }

    fn take_action(self: &Rc<Self>, command: v1::Command) {
        let conn = Rc::clone(self);
        let id = command.id;
        let method = Service::Action.methods()[command.method as usize];
        let (stream, messages) = self.stream(id);
        let task = spawn_local(async move {
            conn.run_action(command, method, &stream, messages).await;
            conn.running.borrow_mut().remove(&id);
            conn.end_stream(id);
        });
        self.running.borrow_mut().insert(id, task);
    }

    async fn run_action(
        self: &Rc<Self>,
        command: v1::Command,
        method: &'static str,
        stream: &Rc<Stream>,
        mut messages: mpsc::UnboundedReceiver<v1::Message>,
    ) {
        let _turn = match self.quirk {
            Quirk::OneAtATime => Some(self.one_at_a_time.lock().await),
            _ => None,
        };
        let (streams_requests, streams_replies) = streams(method);
        let mut turn = Turn::new(&command, streams_replies.then_some(stream));
        let mut stopped = None;
        if streams_requests {
            let mut end = false;
            while !end && stopped.is_none() {
                let Some(message) = messages.recv().await else {
                    break;
                };
                end = message.end;
                if let Some(message) = message.message {
                    let request = Request::decode(message).unwrap_or_default();
                    if self.quirk == Quirk::TurnForgotten {
                        turn = Turn::new(&command, streams_replies.then_some(stream));
                    }
                    stopped = turn.run(self, &request).await.err();
                    if self.quirk != Quirk::NoMessageCredit {
                        self.send(Frame::Credit(Credit {
                            command: command.id,
                            amount: 1,
                        }));
                    }
                }
            }
        } else {
            let request = Request::decode(command.message.clone()).unwrap_or_default();
            stopped = turn.run(self, &request).await.err();
        }
        let mut decision = match stopped {
            Some(stop) => stop.decision(command.id, self.quirk),
            None => turn.decision(&command, self.quirk),
        };
        let ends_without = streams_replies && self.quirk != Quirk::EndAnswered;
        if ends_without && matches!(decision.answer, Some(decision::Answer::Reply(_))) {
            decision.answer = None;
        }
        self.decide(decision);
    }

    /// Calls through Firn.
    pub(super) async fn call(&self, command: u64, target: Target) -> Called {
        if self.quirk != Quirk::CallCreditIgnored {
            let Ok(permit) = self.call_credit.acquire().await else {
                return pending().await;
            };
            permit.forget();
        }
        let id = self.last_call.get() + 1;
        self.last_call.set(id);
        let (sender, receiver) = oneshot::channel();
        self.calls.borrow_mut().insert(id, sender);
        self.send(Frame::Call(Call {
            id,
            command: if self.quirk == Quirk::CallOfNobody {
                0
            } else {
                command
            },
            target: Some(target),
            timeout_ms: 0,
        }));
        let Ok(result) = receiver.await else {
            return pending().await;
        };
        match result.result {
            Some(call_result::Result::Reply(reply)) => Called {
                reply: Some(Reply::decode(reply).unwrap_or_default()),
                ..Called::default()
            },
            Some(call_result::Result::Failure(failure)) => Called {
                reply: None,
                code: failure.code,
                message: match self.quirk {
                    Quirk::CallFailureLost => String::new(),
                    _ => failure.message,
                },
                details: failure
                    .details
                    .iter()
                    .filter_map(crate::proto::text_of)
                    .collect(),
            },
            None => Called::default(),
        }
    }

    /// Lets go of those idle longest.
    pub(super) fn evict(&self) {
        if self.quirk == Quirk::HoldsAll {
            return;
        }
        loop {
            let mut incarnations = self.incarnations.borrow_mut();
            if incarnations.len() <= HELD_MAX {
                return;
            }
            let idle = incarnations
                .iter()
                .filter(|(_, one)| one.open.get() == 0 || self.quirk == Quirk::LetsGoOfBusy);
            let used = |one: &(&u64, &Incarnation)| match self.quirk {
                Quirk::LetsGoOfNewest => u64::MAX - one.1.used.get(),
                _ => one.1.used.get(),
            };
            let Some(oldest) = idle.min_by_key(used).map(|(id, _)| *id) else {
                return;
            };
            if let Some(one) = incarnations.remove(&oldest) {
                one.abort();
            }
            drop(incarnations);
            self.send(Frame::Closed(Closed {
                incarnation: oldest,
            }));
        }
    }

    /// Where commands of an entity go.
    pub(super) fn inbox(&self, incarnation: u64) -> Option<Inbox> {
        let incarnations = self.incarnations.borrow();
        let one = incarnations.get(&incarnation)?;
        one.used.set(self.tick());
        Some(one.inbox.clone())
    }
}

/// A task that never ends, for handlers that hang.
pub(super) async fn hang() -> Stop {
    pending().await
}
