//! A function that the test plays itself: it speaks any of the dialects, and says what it is told.
//!
//! A [`Function`] listens on a free port and answers the discovery call with what it was given to
//! [`declare`]. Every entity stream and every call of an action that the proxy opens comes to the
//! test as a handle: [`entity::Stream`] and [`action::Call`]. With it the test says exactly which
//! message must come next, and what goes back. Everything else that is called is in the
//! [`journal`].
//!
//! # How it works
//! It stands on `h2` itself, with a runtime and thread of its own, so that a test may block. A gRPC
//! server library would hide what is to be seen here: whether the proxy half-closed a stream or
//! reset it, whether headers went out, what was called that is in no protocol. The runtime has one
//! thread and wakes tasks in order, so that the journal has what came on a connection in order.
//!
//! # Not here
//! Sleeping: every expectation waits for what it expects, up to [`WAIT`], and a panic says what came
//! instead.

pub mod action;
mod call;
pub mod declare;
pub mod entity;
pub mod journal;
pub mod message;
pub mod replica;
mod server;

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use firn_wire::superset::UserFunctionError;
use tokio::runtime::{Builder, Handle};
use tokio::sync::{Mutex, mpsc, oneshot};

use crate::function::call::Call;
use crate::function::declare::{Answer, Declaration};
use crate::function::journal::Record;
use crate::function::server::Server;

/// How long an expectation waits: far longer than anything takes, also on a busy machine.
pub const WAIT: Duration = Duration::from_secs(20);

/// Waits for something that must happen.
///
/// # Panics
/// If it does not within [`WAIT`].
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(WAIT, future).await {
        Ok(value) => value,
        Err(_) => panic!("waited {WAIT:?} for {what}: it did not come"),
    }
}

/// A scripted function. Dropping it ends all its connections.
pub struct Function {
    address: SocketAddr,
    server: Arc<Server>,
    entities: Mutex<mpsc::UnboundedReceiver<Call>>,
    actions: Mutex<mpsc::UnboundedReceiver<Call>>,
    runtime: Handle,
    /// Ends its thread when it is dropped.
    _over: oneshot::Sender<()>,
}

impl Function {
    /// Starts a function on a free port.
    ///
    /// # Panics
    /// If it cannot listen.
    pub fn start(declaration: &Declaration) -> Self {
        let listener = bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
        let function = Self::new(declaration, listener.local_addr().expect("an address"));
        function.listen(listener);
        function
    }

    /// A function with an address where nobody listens yet.
    ///
    /// # Panics
    /// If the system has no free port.
    pub fn away(declaration: &Declaration) -> Self {
        let port = crate::process::free_port();
        Self::new(declaration, SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
    }

    fn new(declaration: &Declaration, address: SocketAddr) -> Self {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let handle = runtime.handle().clone();
        let (over, is_over) = oneshot::channel::<()>();
        std::thread::spawn(move || runtime.block_on(is_over));
        let (entity_sender, entities) = mpsc::unbounded_channel();
        let (action_sender, actions) = mpsc::unbounded_channel();
        Self {
            address,
            server: Arc::new(Server::new(declaration, entity_sender, action_sender)),
            entities: Mutex::new(entities),
            actions: Mutex::new(actions),
            runtime: handle,
            _over: over,
        }
    }

    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops listening and cuts every connection, as a process that is killed does.
    pub fn go_away(&self) {
        self.server.stop();
    }

    /// Listens again, or at last, at its address.
    ///
    /// # Panics
    /// If the address is taken.
    pub fn come_back(&self) {
        self.listen(bind(self.address));
    }

    fn listen(&self, listener: std::net::TcpListener) {
        let stop = self.server.start();
        self.runtime
            .spawn(self.server.clone().listen(listener, stop));
    }

    /// From now on it declares this.
    pub fn declare(&self, declaration: &Declaration) {
        self.server.answer_with(declaration.answer());
    }

    /// From now on it answers the discovery call like this.
    pub fn answer_discovery(&self, answer: Answer) {
        self.server.answer_with(answer);
    }

    /// Everything it was asked so far, in order.
    pub fn journal(&self) -> Vec<Record> {
        self.server.journal.records()
    }

    /// Waits until the journal gives something.
    ///
    /// # Panics
    /// If it does not in time.
    pub async fn wait_for<T>(&self, what: &str, look: impl Fn(&[Record]) -> Option<T>) -> T {
        self.server.journal.wait_for(what, look).await
    }

    /// Waits for a report of an error that holds this text, and gives the whole report.
    pub async fn report(&self, text: &str) -> UserFunctionError {
        self.wait_for(&format!("a report of {text:?}"), |records| {
            records.iter().find_map(|record| match record {
                Record::Reported(error) if error.message.contains(text) => Some(error.clone()),
                _ => None,
            })
        })
        .await
    }

    /// The reports of errors so far that hold this text.
    pub fn reports_with(&self, text: &str) -> Vec<UserFunctionError> {
        let records = self.journal().into_iter();
        records
            .filter_map(|record| match record {
                Record::Reported(error) if error.message.contains(text) => Some(error),
                _ => None,
            })
            .collect()
    }

    /// The next entity stream that is opened.
    ///
    /// # Panics
    /// If none is in time.
    pub async fn entity(&self) -> entity::Stream {
        let call = self.next(&self.entities, "an entity stream").await;
        entity::Stream::new(call, self.server.dialect())
    }

    /// The next call of an action.
    ///
    /// # Panics
    /// If none comes in time.
    pub async fn action(&self) -> action::Call {
        action::Call::new(self.next(&self.actions, "a call of an action").await)
    }

    async fn next(&self, calls: &Mutex<mpsc::UnboundedReceiver<Call>>, what: &str) -> Call {
        let mut calls = calls.lock().await;
        match tokio::time::timeout(WAIT, calls.recv()).await {
            Ok(Some(call)) => call,
            _ => panic!("waited {WAIT:?} for {what}; {}", self.server.journal),
        }
    }
}

/// Binds an address; one that was just given up may take a moment.
fn bind(address: SocketAddr) -> std::net::TcpListener {
    let until = std::time::Instant::now() + WAIT;
    loop {
        match std::net::TcpListener::bind(address) {
            Ok(listener) => {
                listener.set_nonblocking(true).expect("a socket option");
                return listener;
            }
            Err(error) if std::time::Instant::now() > until => panic!("{address}: {error}"),
            Err(_) => std::thread::sleep(Duration::from_millis(5)),
        }
    }
}

impl Drop for Function {
    fn drop(&mut self) {
        self.server.stop();
    }
}
