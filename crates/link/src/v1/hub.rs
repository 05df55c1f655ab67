//! The functions that are connected, as the engine's link.
//!
//! # How it works
//! Connections that declare the same contract are one function; the contracts of all functions are
//! served as one. An entity's incarnation begins on the connection of its function that has least to
//! do, and stays there; when that ends, the next incarnation begins on another (R17, R92).

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
    declaration: Declaration,
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
    pub(crate) fn join(&self, hello: Hello, limits: Limits) -> Result<Joined, Vec<Finding>> {
        let process = hello.info.as_ref().map(process).unwrap_or_default();
        let declaration = Declaration {
            info: contract::info(hello.info),
            contract: hello.contract.unwrap_or_default(),
        };
        let mut functions = self.write();
        let (index, new) = match self.find_or_read(&mut functions, declaration) {
            Ok(found) => found,
            Err(findings) => {
                self.tell(Event::Refused {
                    findings: findings.clone(),
                });
                return Err(findings);
            }
        };
        let is_ending = functions.is_ending;
        let function = &mut functions.all[index];
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

    /// The place of the function with this declaration, which is new or was there before.
    fn find_or_read(
        &self,
        functions: &mut Functions,
        declaration: Declaration,
    ) -> Result<(usize, Option<New>), Vec<Finding>> {
        if let Some(why) = &functions.closed {
            return Err(vec![why.clone()]);
        }
        let mut present = functions.all.iter();
        let same = |function: &Function| function.declaration.contract == declaration.contract;
        if let Some(index) = present.position(same) {
            return Ok((index, None));
        }
        // What is wrong with it alone is said first, and without the others' names.
        contract::read(&[&declaration])?;
        let connected = functions.declarations(|function| !function.connections.is_empty());
        let faults = contract::taken(&declaration, &connected);
        if !faults.is_empty() {
            return Err(faults);
        }
        // One that has gone makes room for what replaces it.
        let stays = |function: &Function| {
            !function.connections.is_empty()
                || contract::taken(&declaration, &[&function.declaration]).is_empty()
        };
        let mut all = functions.declarations(stays);
        let changed = all.len() < functions.all.len();
        all.push(&declaration);
        let Declared {
            contract,
            functions: places,
        } = contract::read(&all)?;
        let faults = (self.check)(&contract);
        if !faults.is_empty() {
            return Err(faults);
        }
        functions.all.retain(stays);
        functions.all.push(Function {
            declaration,
            places: Places::default(),
            connections: Vec::new(),
        });
        for (function, places) in functions.all.iter_mut().zip(places) {
            function.places = places.into_iter().collect();
        }
        functions.by_service = by_service(&functions.all);
        functions.warnings = contract.warnings.clone();
        let new = New {
            contract: Arc::new(contract),
            changed,
        };
        Ok((functions.all.len() - 1, Some(new)))
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

    /// The connection on which something new of a service begins: the one with least to do.
    fn pick(&self, service: &str) -> Option<Arc<Connection>> {
        let functions = self.read();
        let function = functions.of(service)?;
        let open = function.connections.iter();
        let mut open = open.filter(|connection| connection.is_open.load(Ordering::Relaxed));
        let first = open.next()?;
        let load = |connection: &Connection| connection.lock().load();
        let Some(second) = open.next() else {
            return Some(first.clone());
        };
        let all = [first, second].into_iter().chain(open);
        all.min_by_key(|connection| load(connection)).cloned()
    }

    fn tell(&self, event: Event) {
        // Whoever listened has stopped; nobody needs to know any more.
        let _ = self.events.send(event);
    }
}

impl Functions {
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

    fn declarations(&self, which: impl Fn(&Function) -> bool) -> Vec<&Declaration> {
        let chosen = self.all.iter().filter(|function| which(function));
        chosen.map(|function| &function.declaration).collect()
    }

    fn of(&self, service: &str) -> Option<&Function> {
        self.all.get(*self.by_service.get(service)?)
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
