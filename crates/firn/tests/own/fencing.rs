//! A commit that is refused while more is on the way: nothing of the dead incarnation is ever seen
//! again, on whichever connection (R26, R45, design 3.2).
//!
//! The parts are put together in this process, so that the test can be the other owner who writes
//! into the slot.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use firn_link::v1::hub::{Event, Hub};
use firn_link::v1::port::{self, Port};
use firn_model::call::{Call, CallHead, Reply};
use firn_model::code::Code;
use firn_model::contract::Contract;
use firn_model::id::{EntityKey, Epoch, SlotSequence, StorageName};
use firn_model::metadata::Metadata;
use firn_model::status::Status;
use firn_runtime::dispatch::Dispatcher;
use firn_runtime::engine::{Config, Engine, EntityStreams, Served};
use firn_runtime::lane;
use firn_runtime::replicated::network::Alone;
use firn_store::memory::Memory;
use firn_store::{Change, Clock, Commit, Outcome, Store, Timestamp};
use firn_testkit::caller::request;
use firn_testkit::function::within;
use firn_testkit::own::message::{close, closed, decided, history};
use firn_testkit::own::{Connection, Dial};
use firn_wire::convert::parts::payload;
use prost::Message as _;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::world::{JOURNAL, kept, opening, whole};

struct Node {
    engine: Engine,
    store: Arc<dyn Store>,
    hub: Arc<Hub>,
    events: mpsc::UnboundedReceiver<Event>,
    dial: Dial,
    _stop: DropGuard,
}

impl Node {
    async fn start() -> Self {
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

    /// A process of the function connects; the first one brings the contract.
    async fn join(&mut self) -> Connection {
        let Self {
            engine,
            hub,
            events,
            dial,
            ..
        } = self;
        let serve = async {
            loop {
                match events.recv().await.expect("an event") {
                    Event::Serving {
                        contract, served, ..
                    } => {
                        engine.serve(Served {
                            contract,
                            link: hub.clone(),
                            streams: EntityStreams::Shared,
                        });
                        served.send(()).expect("somebody who waits");
                    }
                    Event::Joined { .. } => break,
                    other => panic!("{other:?}"),
                }
            }
        };
        let contract = whole();
        let (function, ()) = tokio::join!(
            Connection::joined(dial, &contract),
            within("word that it joined", serve)
        );
        function
    }

    fn call(&self, text: &str) -> JoinHandle<Result<Reply, Status>> {
        let dispatcher: Arc<Dispatcher> = self.engine.dispatcher().clone();
        let contract = self.engine.contract().expect("a contract");
        let method = contract.method("/model.Journal/Process").expect("a method");
        let head = CallHead {
            method: method.clone(),
            metadata: Metadata::default(),
            deadline: None,
            idempotency_key: None,
        };
        let message = request("a", text).encode_to_vec().into();
        tokio::spawn(dispatcher.unary(Call { head, message }))
    }

    /// Somebody else writes into the slot: an event of the same entity, and so many more commits that
    /// nothing which is on its way fits behind them.
    async fn intrude(&self, event: &str) {
        let key = EntityKey::new(StorageName::new("model.Journal"), "a");
        let slot = key.slot();
        let commit = |sequence| {
            let sequence = SlotSequence(sequence);
            Commit::empty(slot, Epoch::default(), sequence, Timestamp(1))
        };
        let mut first = commit(1);
        first.key = Some(key);
        first.change = Some(Change::Append {
            first: 1,
            events: vec![payload(kept(event)).expect("a payload")],
            snapshot: None,
            deleted_until: None,
        });
        let batch = std::iter::once(first).chain((2..20).map(commit)).collect();
        let outcomes = self.store.commit(batch).await;
        assert_eq!(outcomes[0].outcome, Outcome::Landed);
    }
}

async fn refused(call: JoinHandle<Result<Reply, Status>>) {
    let status = within("an answer", call)
        .await
        .expect("a task")
        .expect_err("a refusal");
    assert_eq!(status.firn, Some(Code::CommitRefused), "{status}");
}

async fn answered(call: JoinHandle<Result<Reply, Status>>) {
    within("an answer", call)
        .await
        .expect("a task")
        .expect("a reply");
}

#[tokio::test]
async fn refused_commit_leaves_nothing_of_its_incarnation_on_any_connection() {
    let mut node = Node::start().await;
    let mut first = node.join().await;
    let mut calls = Vec::new();
    for text in ["1", "2", "3"] {
        calls.push(node.call(text));
        // The next is sent before this one is decided.
        first.command().await;
    }
    let mut second = node.join().await;
    node.intrude("I").await;
    first.send(decided(1).append(&[kept("X")], None).leaving(1));
    first.send(decided(2).append(&[kept("Y")], None).leaving(2));
    for call in calls {
        refused(call).await;
    }
    first.expect(close(1)).await;
    // Sent before the word reached it: void, and no reason to complain.
    first.send(decided(3).append(&[kept("Z")], None).leaving(3));

    let call = node.call("4");
    let intruder = history("a", None, &[kept("I")]);
    let asked = request("a", "4");
    second
        .expect(opening(1, JOURNAL, 1, &asked, intruder))
        .await;
    second.send(decided(1).append(&[kept("W")], None).leaving(2));
    answered(call).await;

    first.send(closed(1));
    drop(second);
    let left = async { while !matches!(node.events.recv().await, Some(Event::Left { .. })) {} };
    within("the end of a connection", left).await;
    let call = node.call("5");
    let stored = history("a", None, &["I", "W"].map(kept));
    let asked = request("a", "5");
    first.expect(opening(4, JOURNAL, 2, &asked, stored)).await;
    first.send(decided(4).leaving(2));
    answered(call).await;
}
