//! A function that decides in place, and an engine around it.

#![allow(dead_code, reason = "each test file uses a part of it")]

mod tally;
pub(crate) mod unsure;

use std::collections::HashSet;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use firn_model::call::{Call, CallHead, Reply};
use firn_model::contract::{Contract, Finding, Kind, Weight};
use firn_model::decision::{Answer, Decision, Effect, Failure, Forward, Mutation};
use firn_model::id::NodeId;
use firn_model::metadata::Metadata;
use firn_model::payload::Payload;
use firn_model::policy::Policies;
use firn_model::status::{GrpcCode, Status};
use firn_runtime::dispatch::Dispatcher;
use firn_runtime::engine::{Config, Engine, EntityStreams, Served};
use firn_runtime::lane;
use firn_runtime::link::{
    ActionAnswer, ActionCall, AnswerStream, End, EntityCommand, EntityStream, EventSink, Link,
    MessageStream, Opening, ReplicaOpening, ReplicaSink, ReplicaStream, StreamEvent,
};
use firn_runtime::replicated::network::{Alone, InProcess, Network};
use firn_store::{Clock, Store};
use firn_testkit::contract::{Declared, contract};
use firn_testkit::policies;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;

const PROTO: &str = r#"
    syntax = "proto3";
    package t;
    import "google/protobuf/any.proto";
    message Request { string id = 1; string text = 2; }
    message Text { string text = 1; }
    service Cart {
        rpc Add(Request) returns (Text);
        rpc Events(Request) returns (Text);
        rpc Start(Request) returns (Text);
    }
    service Tally {
        rpc Add(Request) returns (Text);
        rpc Get(Request) returns (Text);
        rpc Watch(Request) returns (stream Text);
    }
    service Note { rpc Target(Request) returns (Text); }
    service Act {
        rpc Do(Request) returns (Text);
        rpc Typed(Request) returns (google.protobuf.Any);
    }
"#;

/// What the function is asked.
pub(crate) struct Asked {
    pub(crate) service: String,
    pub(crate) method: String,
    pub(crate) id: String,
    pub(crate) text: String,
    /// The entity's events so far.
    pub(crate) events: Vec<String>,
}

type Decide = Box<dyn Fn(&Asked) -> Decision + Send + Sync>;

/// The function, and what it saw.
pub(crate) struct Bench {
    function: Arc<Function>,
    pub(crate) contract: Arc<Contract>,
    pub(crate) is_up: Arc<AtomicBool>,
    /// What the lanes of the next engine are told.
    pub(crate) lane: lane::Config,
    ahead_ms: Arc<AtomicU64>,
}

struct Function {
    decide: Decide,
    seen: Mutex<Vec<(String, String)>>,
    reports: Mutex<Vec<String>>,
    refused: Mutex<HashSet<String>>,
    streams: Arc<AtomicUsize>,
    streams_max: AtomicUsize,
}

impl Bench {
    pub(crate) fn new(decide: impl Fn(&Asked) -> Decision + Send + Sync + 'static) -> Self {
        Self::with(policies::careful(), decide)
    }

    pub(crate) fn with(
        policies: Policies,
        decide: impl Fn(&Asked) -> Decision + Send + Sync + 'static,
    ) -> Self {
        let declare = |service, kind| Declared {
            service,
            kind,
            policies: policies.clone(),
        };
        let contract = contract(
            PROTO,
            vec![
                declare("t.Cart", Kind::EventSourced),
                declare("t.Note", Kind::Value),
                declare("t.Act", Kind::Action),
                declare("t.Tally", Kind::Replicated),
            ],
        );
        let function = Function {
            decide: Box::new(decide),
            seen: Mutex::default(),
            reports: Mutex::default(),
            refused: Mutex::default(),
            streams: Arc::default(),
            streams_max: AtomicUsize::default(),
        };
        Self {
            function: Arc::new(function),
            contract: Arc::new(contract),
            is_up: Arc::new(AtomicBool::new(true)),
            lane: lane::Config::default(),
            ahead_ms: Arc::default(),
        }
    }

    pub(crate) async fn engine(&self, store: Arc<dyn Store>) -> Running {
        self.start(store, 1000, &Alone).await
    }

    pub(crate) async fn engine_with_streams(
        &self,
        store: Arc<dyn Store>,
        streams_max: usize,
    ) -> Running {
        self.start(store, streams_max, &Alone).await
    }

    pub(crate) async fn engine_on(&self, store: Arc<dyn Store>, network: InProcess) -> Running {
        self.start(store, 1000, &network).await
    }

    async fn start(
        &self,
        store: Arc<dyn Store>,
        streams_max: usize,
        network: &dyn Network,
    ) -> Running {
        let config = Config {
            lanes: NonZeroUsize::new(2).expect("two"),
            streams_max,
            entities_max: streams_max,
            lane: self.lane.clone(),
            clock: self.clock(),
            write_behind: Duration::from_millis(20),
            node: "local".to_owned(),
        };
        let engine = Engine::start(config, store, network)
            .await
            .expect("an engine");
        let link = FakeLink {
            function: self.function.clone(),
            is_up: self.is_up.clone(),
        };
        engine.serve(Served {
            contract: self.contract.clone(),
            link: Arc::new(link),
            streams: EntityStreams::Own(None),
        });
        Running {
            contract: self.contract.clone(),
            engine,
        }
    }

    /// The system's clock, as far ahead as was asked for.
    fn clock(&self) -> Clock {
        let ahead = self.ahead_ms.clone();
        let system = Clock::system();
        Clock::new(move || {
            let ahead = Duration::from_millis(ahead.load(Ordering::Relaxed));
            system.now().plus(ahead)
        })
    }

    /// The wall clock of the next engine is that much later.
    pub(crate) fn pass(&self, time: Duration) {
        let millis = u64::try_from(time.as_millis()).expect("it fits");
        self.ahead_ms.fetch_add(millis, Ordering::Relaxed);
    }

    /// How often a method was called.
    pub(crate) fn calls(&self, method: &str) -> usize {
        let seen = self.function.seen.lock().expect("whole");
        seen.iter().filter(|(called, _)| called == method).count()
    }

    /// The texts of all calls in order.
    pub(crate) fn texts(&self) -> Vec<String> {
        let seen = self.function.seen.lock().expect("whole");
        seen.iter().map(|(_, text)| text.clone()).collect()
    }

    pub(crate) fn reports(&self) -> Vec<String> {
        self.function.reports.lock().expect("whole").clone()
    }

    pub(crate) fn streams_max(&self) -> usize {
        self.function.streams_max.load(Ordering::SeqCst)
    }

    /// Streams of this service cannot be opened from now on.
    pub(crate) fn refuse_streams_of(&self, service: &str) {
        self.function
            .refused
            .lock()
            .expect("whole")
            .insert(service.to_owned());
    }

    pub(crate) fn accept_streams(&self) {
        self.function.refused.lock().expect("whole").clear();
    }

    /// Waits until a method was called so often.
    pub(crate) async fn wait_for(&self, method: &str, calls: usize) {
        let called = async {
            while self.calls(method) < calls {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let patience = Duration::from_secs(30);
        tokio::time::timeout(patience, called)
            .await
            .expect("it is called in the end");
    }
}

/// A running engine with its function.
pub(crate) struct Running {
    contract: Arc<Contract>,
    engine: Engine,
}

impl Running {
    pub(crate) fn contract(&self) -> Arc<Contract> {
        self.contract.clone()
    }

    pub(crate) fn dispatcher(&self) -> Arc<Dispatcher> {
        self.engine.dispatcher().clone()
    }

    pub(crate) async fn ask(&self, path: &str, id: &str, text: &str) -> Result<String, Status> {
        ask(&self.contract, self.dispatcher(), path, id, text).await
    }

    pub(crate) async fn ask_with_key(
        &self,
        path: &str,
        id: &str,
        text: &str,
        key: &'static str,
    ) -> Result<String, Status> {
        let mut call = call(&self.contract, path, request(id, text));
        call.head.idempotency_key = Some(key.into());
        send(self.dispatcher(), call).await
    }

    pub(crate) async fn ask_until(
        &self,
        path: &str,
        id: &str,
        text: &str,
        deadline: Option<Instant>,
    ) -> Result<String, Status> {
        let mut call = call(&self.contract, path, request(id, text));
        call.head.deadline = deadline;
        send(self.dispatcher(), call).await
    }

    pub(crate) async fn ask_bytes(
        &self,
        path: &str,
        bytes: &'static [u8],
    ) -> Result<String, Status> {
        send(
            self.dispatcher(),
            call(&self.contract, path, Bytes::from_static(bytes)),
        )
        .await
    }

    pub(crate) fn node(&self) -> NodeId {
        self.engine.replica().node
    }

    /// Calls a method that streams its replies.
    pub(crate) fn watch(
        &self,
        path: &str,
        id: &str,
        text: &str,
    ) -> BoxStream<'static, Result<String, Status>> {
        let Call { head, message } = call(&self.contract, path, request(id, text));
        let messages = futures_util::stream::once(async { Ok(message) }).boxed();
        let replies = self.dispatcher().streamed(head, messages);
        let text = |reply: Reply| String::from_utf8_lossy(&reply.payload.bytes).into_owned();
        replies.map(move |reply| reply.map(text)).boxed()
    }

    pub(crate) async fn drain(self) -> bool {
        self.engine.drain(Duration::from_secs(30)).await
    }
}

pub(crate) async fn ask(
    contract: &Contract,
    dispatcher: Arc<Dispatcher>,
    path: &str,
    id: &str,
    text: &str,
) -> Result<String, Status> {
    send(dispatcher, call(contract, path, request(id, text))).await
}

fn call(contract: &Contract, path: &str, message: Bytes) -> Call {
    let method = contract.method(path).expect("a method").clone();
    let head = CallHead {
        method,
        metadata: Metadata::default(),
        deadline: None,
        idempotency_key: None,
    };
    Call { head, message }
}

async fn send(dispatcher: Arc<Dispatcher>, call: Call) -> Result<String, Status> {
    let reply = dispatcher.unary(call).await?;
    Ok(String::from_utf8_lossy(&reply.payload.bytes).into_owned())
}

/// A `t.Request`: both fields are short strings.
fn request(id: &str, text: &str) -> Bytes {
    let mut bytes = Vec::new();
    for (tag, value) in [(0x0a, id), (0x12, text)] {
        bytes.extend([tag, value.len() as u8]);
        bytes.extend(value.as_bytes());
    }
    bytes.into()
}

/// Id and text of a `t.Request`.
fn parse(message: &[u8]) -> (String, String) {
    let (id, rest) = message[2..].split_at(message[1].into());
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text");
    (text(id), text(&rest[2..]))
}

pub(crate) fn payload(text: &str) -> Payload {
    Payload::new("type.googleapis.com/t.Text", text.as_bytes().to_vec())
}

pub(crate) fn nothing() -> Decision {
    Decision {
        answer: Answer::Nothing,
        mutation: Mutation::Nothing,
        effects: Vec::new(),
        timers: Vec::new(),
    }
}

pub(crate) fn reply(text: &str) -> Decision {
    Decision {
        answer: firn_runtime::link::plain_reply(payload(text)),
        ..nothing()
    }
}

pub(crate) fn failure(text: &str) -> Decision {
    let failure = Failure {
        text: text.to_owned(),
        code: None,
        details: Vec::new(),
        restart: false,
    };
    Decision {
        answer: Answer::Failure(failure),
        ..nothing()
    }
}

/// No answer ever comes for this one.
pub(crate) fn hang() -> Decision {
    failure(HANG)
}

const HANG: &str = "hang";

/// The whole function goes away in the middle of this one.
pub(crate) fn die() -> Decision {
    failure(DIE)
}

const DIE: &str = "die";

/// The function lets go of the entity without looking at this one.
pub(crate) fn let_go() -> Decision {
    failure(LET_GO)
}

const LET_GO: &str = "let go";

fn is_failure(decision: &Decision, text: &str) -> bool {
    matches!(&decision.answer, Answer::Failure(failure) if failure.text == text)
}

pub(crate) fn target(service: &str, method: &str, id: &str, text: &str) -> Forward {
    Forward {
        service: service.to_owned(),
        method: method.to_owned(),
        payload: Payload::new("type.googleapis.com/t.Request", request(id, text)),
        metadata: Metadata::default(),
    }
}

pub(crate) fn forward(service: &str, method: &str, id: &str, text: &str) -> Decision {
    Decision {
        answer: Answer::Forward(target(service, method, id, text)),
        ..nothing()
    }
}

pub(crate) fn effect(
    service: &str,
    method: &str,
    id: &str,
    text: &str,
    synchronous: bool,
) -> Effect {
    Effect {
        call: target(service, method, id, text),
        synchronous,
        delay: None,
    }
}

struct FakeLink {
    function: Arc<Function>,
    is_up: Arc<AtomicBool>,
}

impl Function {
    fn ask(&self, service: &str, method: &str, message: &[u8], events: Vec<String>) -> Decision {
        let (id, text) = parse(message);
        self.seen
            .lock()
            .expect("whole")
            .push((method.to_owned(), text.clone()));
        let (service, method) = (service.to_owned(), method.to_owned());
        (self.decide)(&Asked {
            service,
            method,
            id,
            text,
            events,
        })
    }
}

impl Link for FakeLink {
    fn is_up(&self) -> bool {
        self.is_up.load(Ordering::Relaxed)
    }

    fn open(&self, opening: Opening, events: EventSink) -> Box<dyn EntityStream> {
        let service = opening.component.service.to_string();
        let open = self.function.streams.fetch_add(1, Ordering::SeqCst) + 1;
        self.function.streams_max.fetch_max(open, Ordering::SeqCst);
        if self
            .function
            .refused
            .lock()
            .expect("whole")
            .contains(&service)
        {
            events(StreamEvent::Ended(End::Unreachable {
                cause: "refused".to_owned(),
            }));
        }
        let text = |payload: &Payload| String::from_utf8_lossy(&payload.bytes).into_owned();
        let known = opening
            .entity
            .events
            .iter()
            .map(|event| text(&event.payload))
            .collect();
        let function = self.function.clone();
        Box::new(FakeStream {
            function,
            service,
            known,
            is_up: self.is_up.clone(),
            events,
        })
    }

    fn open_replica(&self, opening: ReplicaOpening, events: ReplicaSink) -> Box<dyn ReplicaStream> {
        tally::open(&opening, events)
    }

    fn act(
        &self,
        call: ActionCall,
        message: Bytes,
    ) -> BoxFuture<'static, Result<ActionAnswer, Status>> {
        let service = &call.method.component.service;
        let decision = self
            .function
            .ask(service, &call.method.name, &message, Vec::new());
        if is_failure(&decision, HANG) {
            return Box::pin(std::future::pending());
        }
        if is_failure(&decision, DIE) {
            self.is_up.store(false, Ordering::Relaxed);
            let status = Status::chosen(GrpcCode::Unavailable, "it died");
            return Box::pin(async { Err(status) });
        }
        let answer = ActionAnswer {
            answer: decision.answer,
            effects: decision.effects,
        };
        Box::pin(async { Ok(answer) })
    }

    fn act_streamed(&self, _call: ActionCall, _messages: MessageStream) -> AnswerStream {
        futures_util::stream::empty().boxed()
    }

    fn report(&self, _weight: Weight, finding: Finding) {
        let mut reports = self.function.reports.lock().expect("whole");
        reports.push(finding.to_string());
    }
}

struct FakeStream {
    function: Arc<Function>,
    service: String,
    known: Vec<String>,
    is_up: Arc<AtomicBool>,
    events: EventSink,
}

impl EntityStream for FakeStream {
    fn command(&mut self, command: EntityCommand) {
        if self
            .function
            .refused
            .lock()
            .expect("whole")
            .contains(&self.service)
        {
            return;
        }
        let method = &command.method.name;
        let decision =
            self.function
                .ask(&self.service, method, &command.message, self.known.clone());
        if is_failure(&decision, HANG) {
            return;
        }
        if is_failure(&decision, DIE) {
            self.is_up.store(false, Ordering::Relaxed);
            let cause = "it died".to_owned();
            return (self.events)(StreamEvent::Ended(End::Terminated { cause }));
        }
        if is_failure(&decision, LET_GO) {
            return (self.events)(StreamEvent::Ended(End::Released));
        }
        if let Mutation::Append(append) = &decision.mutation {
            let text = |payload: &Payload| String::from_utf8_lossy(&payload.bytes).into_owned();
            self.known.extend(append.events.iter().map(text));
        }
        (self.events)(StreamEvent::Decided(decision));
    }

    fn pass(&mut self, _number: u64) {}

    fn request_snapshot(&mut self) {
        (self.events)(StreamEvent::Snapshot(None));
    }

    fn half_close(&mut self) {
        (self.events)(StreamEvent::Ended(End::Completed));
    }
}

impl Drop for FakeStream {
    fn drop(&mut self) {
        self.function.streams.fetch_sub(1, Ordering::SeqCst);
    }
}
