//! The functions that are connected, as the engine's link.
//!
//! # How it works
//! Connections that declare the same contract are one function; the contracts of all functions are
//! served as one. An entity's incarnation begins on the connection of its function that has least to
//! do, and stays there; when that ends, the next incarnation begins on another (R17, R92).
//!
//! A contract that is new is read beside those that are known, one after the other (`newcomer`), while
//! everything else goes on; what comes of it is put in its place at once.

mod newcomer;

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use bytes::Bytes;
use firn_model::code::Code;
use firn_model::contract::{Contract, Finding, Weight};
use firn_model::status::Status;
use firn_runtime::calls::Calls;
use firn_runtime::link::{
    ActionAnswer, ActionCall, AnswerStream, End, EntityStream, EventSink, Link, MessageStream,
    Opening, ReplicaEvent, ReplicaOpening, ReplicaSink, ReplicaStream, StreamEvent,
};
use firn_wire::v1::contract::{self, Declaration, Declared};
use firn_wire::v1::message::{Hello, notice::Severity};
use futures_util::future::BoxFuture;
use futures_util::{StreamExt, stream};
use tokio::sync::{mpsc, oneshot};
use tokio_util::task::TaskTracker;
use tracing::warn;

use self::newcomer::{Beside, Other, Others, beside};
use super::calls::OpenCalls;
use super::places::Places;
use super::session::{Limits, Session};
use super::{action, entity};
use crate::watch::Check;

/// What became of the functions.
#[derive(Debug)]
pub enum Event {
    /// This is what they declare together from now on, and they are connected.
    Serving {
        /// The contract.
        contract: Arc<Contract>,
        /// Whether a function was there before with another one.
        changed: bool,
        /// To be told once the contract is served: the newcomer is welcomed then, so that it can
        /// call what it declares.
        served: oneshot::Sender<()>,
    },
    /// A function's contract was refused.
    Refused {
        /// Everything that is wrong with it.
        findings: Vec<Finding>,
    },
    /// A process of a function has connected, or one more.
    Joined {
        /// Who it says it is.
        process: String,
        /// How many connections there are now.
        connections: usize,
    },
    /// A connection has ended.
    Left {
        /// Who it said it is.
        process: String,
        /// How many connections are left.
        connections: usize,
    },
}

/// The connected functions.
pub struct Hub {
    functions: RwLock<Functions>,
    /// Held by the newcomer whose turn it is. Nobody else adds functions or removes them.
    joining: tokio::sync::Mutex<()>,
    /// Where the next search begins among many connections.
    search: AtomicUsize,
    /// How many connections take something new.
    open: AtomicUsize,
    check: Check,
    calls: Arc<dyn Calls>,
    pub(crate) tasks: TaskTracker,
    events: mpsc::UnboundedSender<Event>,
    told: Mutex<HashSet<String>>,
}

#[derive(Default)]
struct Functions {
    all: Vec<Function>,
    /// Whose a service is.
    by_service: HashMap<String, usize>,
    /// What is to be said about the contracts that are served.
    warnings: Vec<Finding>,
    /// Why nobody may join any more.
    closed: Option<Finding>,
    /// Whether Firn is to end.
    is_ending: bool,
}

/// One function: everything that is connected and declares the same.
struct Function {
    declaration: Arc<Declaration>,
    places: Places,
    connections: Vec<Arc<Connection>>,
}

/// One connection of a function.
pub(crate) struct Connection {
    session: Mutex<Session>,
    pub(crate) calls: OpenCalls,
    pub(crate) process: String,
    /// Whether something new may begin here.
    is_open: AtomicBool,
}

impl Connection {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Session> {
        // Nothing in a session panics halfway; if it did, the others' entities must go on.
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is served from now on.
struct New {
    contract: Arc<Contract>,
    changed: bool,
}

/// A connection that was taken in.
pub(crate) struct Joined {
    pub(crate) connection: Arc<Connection>,
    /// Comes once its contract is served, if that is new.
    pub(crate) served: Option<oneshot::Receiver<()>>,
}

/// Among how many connections the one with least to do is looked for. With more the search would cost
/// more than it wins.
const PICK_AMONG: usize = 8;

/// How many different things are told to a function while Firn runs.
const TOLD_MAX: usize = 500;

impl Hub {
    /// A hub that nobody has joined yet. Contracts are refused with what `check` finds; what becomes
    /// of the functions is told as events.
    pub fn new(
        check: Check,
        calls: Arc<dyn Calls>,
        tasks: TaskTracker,
    ) -> (Arc<Self>, mpsc::UnboundedReceiver<Event>) {
        let (events, receiver) = mpsc::unbounded_channel();
        let hub = Self {
            functions: RwLock::default(),
            joining: tokio::sync::Mutex::default(),
            search: AtomicUsize::new(0),
            open: AtomicUsize::new(0),
            check,
            calls,
            tasks,
            events,
            told: Mutex::default(),
        };
        (Arc::new(hub), receiver)
    }

    fn read(&self) -> RwLockReadGuard<'_, Functions> {
        // What is written is put in its place as a whole, so what is read is whole.
        self.functions
            .read()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Functions> {
        self.functions
            .write()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// What of the contracts works otherwise than a person may expect (R18).
    pub(crate) fn warnings(&self) -> Vec<Finding> {
        self.read().warnings.clone()
    }

    /// From now on nobody may join, for this reason.
    pub fn close(&self, why: Finding) {
        self.write().closed = Some(why);
    }

    /// Says to every function that Firn is to end, also to those that join from now on.
    pub fn goodbye(&self) {
        let mut functions = self.write();
        functions.is_ending = true;
        functions.each(Session::goodbye);
    }

    /// Ends every connection: Firn ends.
    pub fn finish(&self) {
        self.read().each(Session::finish);
    }

    /// Takes a connection in.
    ///
    /// # Errors
    /// Everything that is wrong with its contract.
    pub(crate) async fn join(&self, hello: Hello, limits: Limits) -> Result<Joined, Vec<Finding>> {
        let process = hello.info.as_ref().map(process).unwrap_or_default();
        let declaration = Arc::new(Declaration {
            info: contract::info(hello.info),
            contract: hello.contract.unwrap_or_default(),
        });
        let _turn = self.joining.lock().await;
        self.read()
            .check_open()
            .map_err(|why| self.refused(vec![why]))?;
        let read = match self.others(&declaration) {
            Some(others) => Some(self.read_with(declaration.clone(), others).await?),
            None => None,
        };
        // From here on nothing waits.
        let mut functions = self.write();
        functions
            .check_open()
            .map_err(|why| self.refused(vec![why]))?;
        let new = read.map(|read| functions.take_in(declaration.clone(), read));
        let is_ending = functions.is_ending;
        let function = functions
            .declaring(&declaration)
            .expect("a newcomer was taken in, and nobody else changes what is known in its turn");
        let mut session = Session::new(limits, function.places.clone());
        if is_ending {
            session.goodbye();
        }
        let connection = Arc::new(Connection {
            session: Mutex::new(session),
            calls: OpenCalls::new(self.calls.clone(), self.tasks.clone()),
            process: process.clone(),
            is_open: AtomicBool::new(true),
        });
        function.connections.push(connection.clone());
        self.open.fetch_add(1, Ordering::Relaxed);
        let connections = functions.connections();
        // Told last: whoever hears of it may send something here at once.
        let served = new.map(|New { contract, changed }| {
            let (served, is_served) = oneshot::channel();
            self.tell(Event::Serving {
                contract,
                changed,
                served,
            });
            is_served
        });
        self.tell(Event::Joined {
            process,
            connections,
        });
        Ok(Joined { connection, served })
    }

    /// What else is known, for a newcomer; `None` for one more process of a function that is.
    fn others(&self, newcomer: &Declaration) -> Option<Others> {
        let functions = self.read();
        let is_known = functions.all.iter().any(|it| it.declares(newcomer));
        let others = |function: &Function| Other {
            declaration: function.declaration.clone(),
            is_connected: !function.connections.is_empty(),
        };
        (!is_known).then(|| functions.all.iter().map(others).collect())
    }

    /// Reads what a newcomer declares beside the others. It takes long, and happens where it keeps
    /// nobody waiting.
    async fn read_with(
        &self,
        newcomer: Arc<Declaration>,
        others: Others,
    ) -> Result<Beside, Vec<Finding>> {
        let check = self.check.clone();
        let reading = move || beside(&newcomer, others, &check);
        let read = match tokio::task::spawn_blocking(reading).await {
            Ok(read) => read,
            Err(ended) => match ended.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The runtime ends, and this with it.
                Err(_) => std::future::pending().await,
            },
        };
        read.map_err(|findings| self.refused(findings))
    }

    fn refused(&self, findings: Vec<Finding>) -> Vec<Finding> {
        self.tell(Event::Refused {
            findings: findings.clone(),
        });
        findings
    }

    /// Nothing new begins on a connection any more.
    pub(crate) fn retire(&self, connection: &Connection) {
        if connection.is_open.swap(false, Ordering::Relaxed) {
            self.open.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// A connection has ended.
    pub(crate) fn leave(&self, connection: &Arc<Connection>) {
        self.retire(connection);
        let mut functions = self.write();
        for function in &mut functions.all {
            function
                .connections
                .retain(|other| !Arc::ptr_eq(other, connection));
        }
        let connections = functions.connections();
        self.tell(Event::Left {
            process: connection.process.clone(),
            connections,
        });
    }

    /// The connection on which something new of a service begins: the one with least to do, of many
    /// the one among [`PICK_AMONG`].
    fn pick(&self, service: &str) -> Option<Arc<Connection>> {
        let functions = self.read();
        let connections = &functions.of(service)?.connections;
        let from = match connections.len() {
            0..=PICK_AMONG => 0,
            many => self.search.fetch_add(1, Ordering::Relaxed) % many,
        };
        let (before, behind) = connections.split_at(from);
        let open = behind.iter().chain(before);
        let open = open.filter(|connection| connection.is_open.load(Ordering::Relaxed));
        let mut open = open.take(PICK_AMONG);
        let first = open.next()?;
        let Some(second) = open.next() else {
            return Some(first.clone());
        };
        let all = [first, second].into_iter().chain(open);
        all.min_by_key(|connection| connection.lock().load())
            .cloned()
    }

    fn tell(&self, event: Event) {
        // Whoever listened has stopped; nobody needs to know any more.
        let _ = self.events.send(event);
    }
}

impl Functions {
    /// Whether anybody may join.
    fn check_open(&self) -> Result<(), Finding> {
        match &self.closed {
            None => Ok(()),
            Some(why) => Err(why.clone()),
        }
    }

    /// Takes a newcomer in that was read beside the others.
    fn take_in(&mut self, declaration: Arc<Declaration>, read: Beside) -> New {
        let Beside { declared, stay } = read;
        let before = self.all.len();
        let mut stay = stay.into_iter();
        self.all.retain(|_| stay.next().unwrap_or(true));
        let changed = self.all.len() < before;
        self.all.push(Function {
            declaration,
            places: Places::default(),
            connections: Vec::new(),
        });
        let Declared {
            contract,
            functions: places,
        } = declared;
        for (function, places) in self.all.iter_mut().zip(places) {
            function.places = places.into_iter().collect();
        }
        self.by_service = by_service(&self.all);
        self.warnings = contract.warnings.clone();
        New {
            contract: Arc::new(contract),
            changed,
        }
    }

    fn declaring(&mut self, declaration: &Declaration) -> Option<&mut Function> {
        let mut all = self.all.iter_mut();
        all.find(|function| function.declares(declaration))
    }

    fn each(&self, act: impl Fn(&mut Session)) {
        for function in &self.all {
            for connection in &function.connections {
                act(&mut connection.lock());
            }
        }
    }

    fn connections(&self) -> usize {
        self.all
            .iter()
            .map(|function| function.connections.len())
            .sum()
    }

    fn of(&self, service: &str) -> Option<&Function> {
        self.all.get(*self.by_service.get(service)?)
    }
}

impl Function {
    fn declares(&self, declaration: &Declaration) -> bool {
        self.declaration.contract == declaration.contract
    }
}

fn by_service(functions: &[Function]) -> HashMap<String, usize> {
    let services = |(index, function): (usize, &Function)| -> Vec<(String, usize)> {
        let components = function.declaration.contract.components.iter();
        components
            .map(|component| (component.service.clone(), index))
            .collect()
    };
    functions.iter().enumerate().flat_map(services).collect()
}

/// How a process is named in the log.
fn process(info: &firn_wire::v1::message::Info) -> String {
    match info.process.is_empty() {
        true => info.name.clone(),
        false => format!("{} ({})", info.name, info.process),
    }
}

const NOBODY: &str = "no process of the function is connected";

impl Link for Hub {
    fn is_up(&self) -> bool {
        self.open.load(Ordering::Relaxed) > 0
    }

    fn open(&self, opening: Opening, events: EventSink) -> Box<dyn EntityStream> {
        match self.pick(&opening.component.service) {
            Some(connection) => entity::open(connection, opening, events),
            None => {
                events(StreamEvent::Ended(nobody()));
                Box::new(entity::Nothing)
            }
        }
    }

    fn open_replica(&self, opening: ReplicaOpening, events: ReplicaSink) -> Box<dyn ReplicaStream> {
        match self.pick(&opening.component.service) {
            Some(connection) => entity::open_replica(connection, opening, events),
            None => {
                events(ReplicaEvent::Ended(nobody()));
                Box::new(entity::Nothing)
            }
        }
    }

    fn act(
        &self,
        call: ActionCall,
        message: Bytes,
    ) -> BoxFuture<'static, Result<ActionAnswer, Status>> {
        let Some(connection) = self.pick(&call.method.component.service) else {
            return Box::pin(async { Err(action::unavailable()) });
        };
        if call.method.streams_in() || call.method.streams_out() {
            let tasks = self.tasks.clone();
            return Box::pin(action::stream_of_one(connection, call, message, tasks));
        }
        Box::pin(action::unary(connection, call, message))
    }

    fn act_streamed(&self, call: ActionCall, messages: MessageStream) -> AnswerStream {
        match self.pick(&call.method.component.service) {
            Some(connection) => action::streamed(connection, call, messages, self.tasks.clone()),
            None => stream::once(async { Err(action::unavailable()) }).boxed(),
        }
    }

    fn report(&self, weight: Weight, finding: Finding) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.len() >= TOLD_MAX || !told.insert(finding.to_string()) {
            return;
        }
        drop(told);
        warn!(code = %finding.code, "{}", finding.text);
        let severity = match weight {
            Weight::Error => Severity::Error,
            Weight::Warning => Severity::Warning,
        };
        let functions = self.read();
        let service = finding.service.as_deref().unwrap_or_default();
        let connections = functions.of(service).map(|function| &function.connections);
        for connection in connections.into_iter().flatten() {
            connection.lock().tell(&finding, severity, 0);
        }
    }
}

fn nobody() -> End {
    End::Unreachable {
        cause: NOBODY.to_owned(),
    }
}

/// Why a function of this protocol is not taken where another is served.
pub fn another_family(family: &str) -> Finding {
    Finding {
        code: Code::ContractTaken,
        text: format!("this Firn serves a function that it dials, of the family {family}"),
        service: None,
        location: None,
    }
}

#[cfg(test)]
mod tests {
    use firn_model::call::Reply;
    use firn_runtime::calls::OwnCall;
    use firn_testkit::own::declare::{action, contract};
    use firn_testkit::own::message::hello;

    use super::*;

    struct NoCalls;

    impl Calls for NoCalls {
        fn call(&self, _: OwnCall) -> BoxFuture<'static, Result<Reply, Status>> {
            Box::pin(std::future::pending())
        }
    }

    const LIMITS: Limits = Limits {
        chunk_bytes: 1000,
        frame_bytes: 1000,
        frame_bytes_theirs: 1000,
        commands: 1,
        request_messages: 1,
        reply_messages: 1,
        calls: 1,
    };

    /// A function with one action.
    fn doing(package: &str) -> Hello {
        let (file, service) = (format!("{package}.proto"), format!("{package}.Doing"));
        let text = format!(
            "syntax = \"proto3\"; package {package}; message Request {{}}
             service Doing {{ rpc One(Request) returns (Request); }}"
        );
        let action = action(&service, &["One"]);
        hello(&contract(&[(&file, &text)], vec![action]))
    }

    #[tokio::test]
    async fn newcomer_that_is_read_keeps_nobody_waiting() {
        let (reads, mut is_read) = mpsc::unbounded_channel();
        let (go_on, may_go_on) = std::sync::mpsc::channel();
        let may_go_on = Mutex::new(may_go_on);
        let check = move |contract: &Contract| {
            if contract.components.len() == 2 {
                reads.send(()).unwrap();
                may_go_on.lock().unwrap().recv().unwrap();
            }
            Vec::new()
        };
        let (hub, _events) = Hub::new(Arc::new(check), Arc::new(NoCalls), TaskTracker::new());
        assert!(hub.join(doing("a"), LIMITS).await.is_ok());
        let joining = tokio::spawn({
            let hub = hub.clone();
            async move { hub.join(doing("b"), LIMITS).await.is_ok() }
        });
        is_read.recv().await.unwrap();
        assert!(hub.pick("a.Doing").is_some());
        assert!(hub.pick("b.Doing").is_none());
        go_on.send(()).unwrap();
        assert!(joining.await.unwrap());
        assert!(hub.pick("b.Doing").is_some());
    }

    #[tokio::test]
    async fn many_processes_share_the_work() {
        let (hub, _events) = Hub::new(
            Arc::new(|_: &Contract| Vec::new()),
            Arc::new(NoCalls),
            TaskTracker::new(),
        );
        let mut processes = Vec::new();
        for _ in 0..5 * PICK_AMONG {
            let Ok(joined) = hub.join(doing("a"), LIMITS).await else {
                panic!("refused")
            };
            processes.push(joined.connection);
        }
        let mut picked = HashSet::new();
        for _ in &processes {
            let connection = hub.pick("a.Doing").unwrap();
            assert!(picked.insert(Arc::as_ptr(&connection)));
        }
        for connection in &processes[1..] {
            hub.retire(connection);
        }
        let last = hub.pick("a.Doing").unwrap();
        assert!(Arc::ptr_eq(&last, &processes[0]));
    }
}
