//! An engine with functions that dial in, put together in this process: for what a test must do that
//! nobody outside can.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use firn_link::v1::hub::{Event, Hub};
use firn_link::v1::port::{self, Port};
use firn_model::call::{Call, CallHead, Reply};
use firn_model::contract::Contract;
use firn_model::metadata::Metadata;
use firn_model::status::Status;
use firn_runtime::engine::{Config, Engine, EntityStreams, Served};
use firn_runtime::lane;
use firn_runtime::replicated::network::Alone;
use firn_store::memory::Memory;
use firn_store::{Clock, Store};
use firn_testkit::caller::request;
use firn_testkit::function::within;
use firn_testkit::own::{Connection, Dial};
use firn_wire::v1::message as wire;
use prost::Message as _;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

/// The parts of a Firn.
pub(crate) struct Node {
    engine: Engine,
    pub(crate) store: Arc<dyn Store>,
    hub: Arc<Hub>,
    events: mpsc::UnboundedReceiver<Event>,
    dial: Dial,
    _stop: DropGuard,
}

/// A function whose contract is not served yet. It is welcomed when it is.
pub(crate) struct Newcomer {
    contract: Arc<Contract>,
    served: oneshot::Sender<()>,
}

/// The answer to a call.
pub(crate) type Answering = JoinHandle<Result<Reply, Status>>;

impl Node {
    pub(crate) async fn start() -> Self {
        let store: Arc<dyn Store> = Arc::new(Memory::default());
        let config = Config {
            lanes: NonZeroUsize::MIN,
            streams_max: 10,
            entities_max: 10,
            lane: lane::Config::default(),
            write_behind: Duration::from_millis(1),
            clock: Clock::default(),
            node: "test".to_owned(),
        };
        let engine = Engine::start(config, store.clone(), &Alone).await;
        let engine = engine.expect("an engine");
        let calls = Arc::new(engine.dispatcher().clone());
        let (hub, events) = Hub::new(
            Arc::new(|_: &Contract| Vec::new()),
            calls,
            TaskTracker::new(),
        );
        let port = Port::bind(port::Config {
            listen: port::Address::Tcp(([127, 0, 0, 1], 0).into()),
            token: None,
            tls: None,
            frame_bytes_max: 1 << 20,
            client_address: String::new(),
            version: "test",
        });
        let port = port.await.expect("a port");
        let port::Address::Tcp(address) = port.address().clone() else {
            panic!("no TCP address")
        };
        let stop = CancellationToken::new();
        tokio::spawn(port.serve(hub.clone(), stop.clone()));
        Self {
            engine,
            store,
            hub,
            events,
            dial: Dial::Tcp(address),
            _stop: stop.drop_guard(),
        }
    }

    /// A process of a function dials in. What it declares is served as soon as it is there, if it is
    /// new.
    pub(crate) async fn join(&mut self, contract: &wire::Contract) -> Connection {
        let dialing = self.dial(contract);
        loop {
            match self.event().await {
                Event::Serving {
                    contract, served, ..
                } => self.serve(Newcomer { contract, served }),
                Event::Joined { .. } => break,
                other => panic!("{other:?}"),
            }
        }
        within("a welcome", dialing).await.expect("a task")
    }

    /// A process of a function dials in.
    pub(crate) fn dial(&self, contract: &wire::Contract) -> JoinHandle<Connection> {
        let (dial, contract) = (self.dial.clone(), contract.clone());
        tokio::spawn(async move { Connection::joined(&dial, &contract).await })
    }

    /// The next function that dials in with something new.
    pub(crate) async fn newcomer(&mut self) -> Newcomer {
        match self.event().await {
            Event::Serving {
                contract, served, ..
            } => Newcomer { contract, served },
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn serve(&self, Newcomer { contract, served }: Newcomer) {
        self.engine.serve(Served {
            contract,
            link: self.hub.clone(),
            streams: EntityStreams::Shared,
        });
        served.send(()).expect("somebody who waits");
    }

    /// Waits until a connection is known to have ended.
    pub(crate) async fn left(&mut self) {
        while !matches!(self.event().await, Event::Left { .. }) {}
    }

    async fn event(&mut self) -> Event {
        let event = within("word of the hub", self.events.recv()).await;
        event.expect("a hub")
    }

    /// Calls a method, `Service/Method` of the model, as it is served now.
    pub(crate) fn call(&self, method: &str, id: &str, text: &str) -> Answering {
        let contract = self.engine.contract().expect("a contract");
        let method = contract.method(&format!("/model.{method}"));
        let head = CallHead {
            method: method.expect("a method").clone(),
            metadata: Metadata::default(),
            deadline: None,
            idempotency_key: None,
        };
        let message = request(id, text).encode_to_vec().into();
        let dispatcher = self.engine.dispatcher().clone();
        tokio::spawn(dispatcher.unary(Call { head, message }))
    }
}

/// Waits for the refusal of a call.
pub(crate) async fn refused(call: Answering) -> Status {
    let answer = within("an answer", call).await.expect("a task");
    answer.expect_err("a refusal")
}

/// Waits for the reply to a call.
pub(crate) async fn answered(call: Answering) -> Reply {
    let answer = within("an answer", call).await.expect("a task");
    answer.expect("a reply")
}
