//! The function that a proxy dials: a gRPC server, of which the checks play each call themselves.
//!
//! Discovery is answered here, with what was declared last. All else waits to be taken: streams of
//! entities, calls of actions, and what the proxy says besides.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use prost::Message as _;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::families::dialect::{Dialect, Family, Kind};
use crate::families::wire;
use crate::proxy::function::Log;
use crate::wire::{Incoming, Link, Port, Read};

/// Calls of one sort that nobody has taken: more than any check has open.
const CALLS_MAX: usize = 16_384;

const FAMILIES: [Family; 3] = [Family::Cloudstate, Family::AkkaServerless, Family::Kalix];

/// gRPC's number for a method that is not there.
const UNIMPLEMENTED: u16 = 12;

/// What a proxy says about itself and about the function.
#[derive(Clone, Debug)]
pub(super) enum Heard {
    /// It asked what is served.
    Discover(Box<wire::ProxyInfo>),
    /// It asked so in the words of another family.
    Probe,
    Report(wire::UserFunctionError),
    /// One of the other calls of the family's discovery.
    Other(String),
    /// Something that is in no protocol.
    Unknown(String),
}

/// A call of an entity or an action, which was not looked at yet.
pub(super) struct Opened<T> {
    pub(super) what: T,
    pub(super) link: Link,
}

/// A call of either sort.
pub(super) enum Came {
    Entity(Opened<Kind>),
    Action(Opened<Shape>),
}

/// What of a call of an action is streamed: requests, replies.
pub(super) type Shape = (bool, bool);

/// See the module.
pub(super) struct Host {
    address: String,
    dialect: Dialect,
    log: Log,
    spec: Arc<Mutex<Bytes>>,
    /// While it is there.
    inside: Option<Inside>,
}

struct Inside {
    entities: mpsc::Receiver<Opened<Kind>>,
    actions: mpsc::Receiver<Opened<Shape>>,
    heard: mpsc::Receiver<Heard>,
    stop: watch::Sender<bool>,
    /// Ends the port and all connections when it is dropped.
    task: JoinSet<()>,
}

/// What the serving task gives to.
#[derive(Clone)]
struct Desk {
    dialect: Dialect,
    log: Log,
    spec: Arc<Mutex<Bytes>>,
    entities: mpsc::Sender<Opened<Kind>>,
    actions: mpsc::Sender<Opened<Shape>>,
    heard: mpsc::Sender<Heard>,
}

impl Host {
    /// A function that is not there yet.
    pub(super) fn new(address: String, dialect: Dialect, log: Log) -> Self {
        Self {
            address,
            dialect,
            log,
            spec: Arc::default(),
            inside: None,
        }
    }

    /// What discovery is answered with from now on.
    pub(super) fn declare(&self, spec: Vec<u8>) {
        *self.spec.lock().unwrap_or_else(PoisonError::into_inner) = spec.into();
    }

    /// Listens.
    ///
    /// # Errors
    /// When the address cannot be listened at.
    pub(super) async fn come(&mut self) -> io::Result<()> {
        let mut port = Port::listen(&self.address).await?;
        let (entity, entities) = mpsc::channel(CALLS_MAX);
        let (action, actions) = mpsc::channel(CALLS_MAX);
        let (hear, heard) = mpsc::channel(CALLS_MAX);
        let desk = Desk {
            dialect: self.dialect,
            log: self.log.clone(),
            spec: Arc::clone(&self.spec),
            entities: entity,
            actions: action,
            heard: hear,
        };
        let mut task = JoinSet::new();
        let (stop, mut stopped) = watch::channel(false);
        task.spawn(async move {
            let mut calls = JoinSet::new();
            loop {
                tokio::select! {
                    biased;
                    _ = stopped.wait_for(|stopped| *stopped) => break,
                    incoming = port.next() => match incoming {
                        Some(incoming) => desk.take(incoming, &mut calls),
                        None => break,
                    },
                }
                while calls.try_join_next().is_some() {}
            }
            port.close().await;
        });
        self.inside = Some(Inside {
            entities,
            actions,
            heard,
            stop,
            task,
        });
        Ok(())
    }

    /// Is gone, as a process that was killed.
    pub(super) async fn go(&mut self) {
        if let Some(mut inside) = self.inside.take() {
            inside.stop.send_replace(true);
            while inside.task.join_next().await.is_some() {}
        }
    }

    pub(super) fn is_there(&self) -> bool {
        self.inside.is_some()
    }

    /// The next stream of an entity. Cancel-safe.
    pub(super) async fn entity(&mut self) -> Opened<Kind> {
        receive(self.inside.as_mut().map(|inside| &mut inside.entities)).await
    }

    /// A stream of an entity that is there already.
    pub(super) fn entity_already(&mut self) -> Option<Opened<Kind>> {
        self.inside.as_mut()?.entities.try_recv().ok()
    }

    /// A call of an action that is there already.
    pub(super) fn action_already(&mut self) -> Option<Opened<Shape>> {
        self.inside.as_mut()?.actions.try_recv().ok()
    }

    /// The next call of an action. Cancel-safe.
    pub(super) async fn action(&mut self) -> Opened<Shape> {
        receive(self.inside.as_mut().map(|inside| &mut inside.actions)).await
    }

    /// Whichever comes first. Cancel-safe.
    pub(super) async fn call(&mut self) -> Came {
        let Some(inside) = self.inside.as_mut() else {
            return std::future::pending().await;
        };
        tokio::select! {
            opened = receive(Some(&mut inside.entities)) => Came::Entity(opened),
            opened = receive(Some(&mut inside.actions)) => Came::Action(opened),
        }
    }

    /// What the proxy says next. Cancel-safe.
    pub(super) async fn heard(&mut self) -> Heard {
        receive(self.inside.as_mut().map(|inside| &mut inside.heard)).await
    }

    /// What it has said already.
    pub(super) fn heard_already(&mut self) -> Option<Heard> {
        self.inside.as_mut()?.heard.try_recv().ok()
    }

    /// Streams of entities and calls of actions that are there already.
    pub(super) fn forget(&mut self) {
        if let Some(inside) = &mut self.inside {
            while inside.entities.try_recv().is_ok() {}
            while inside.actions.try_recv().is_ok() {}
            while inside.heard.try_recv().is_ok() {}
        }
    }
}

async fn receive<T>(from: Option<&mut mpsc::Receiver<T>>) -> T {
    match from {
        Some(receiver) => match receiver.recv().await {
            Some(one) => one,
            None => std::future::pending().await,
        },
        None => std::future::pending().await,
    }
}

impl Desk {
    /// The kind of entity that a call of this path is for.
    fn kind(&self, path: &str) -> Option<Kind> {
        let kinds = [Kind::Value, Kind::Events, Kind::Data];
        kinds
            .into_iter()
            .find(|kind| path == self.dialect.stream(*kind))
    }

    /// What is streamed of an action's call of this path.
    fn shape(&self, path: &str) -> Option<Shape> {
        let shapes = [(false, false), (true, false), (false, true), (true, true)];
        shapes
            .into_iter()
            .find(|shape| path == self.dialect.action(*shape))
    }

    fn take(&self, incoming: Incoming, calls: &mut JoinSet<()>) {
        let path = incoming.path.clone();
        if let Some(what) = self.kind(&path) {
            let link = incoming.take();
            // Nobody to tell when the check is over.
            let _ = self.entities.try_send(Opened { what, link });
        } else if let Some(what) = self.shape(&path) {
            let link = incoming.take();
            // As above.
            let _ = self.actions.try_send(Opened { what, link });
        } else {
            calls.spawn(self.clone().answer(path, incoming));
        }
    }

    async fn answer(self, path: String, incoming: Incoming) {
        let mut link = incoming.take();
        let Read::Message(request) = link.read().await else {
            return;
        };
        self.log.add(&format!("proxy: {path}"));
        let family = self.dialect.family();
        let is = |call: &str| path == family.discovery(call);
        let (heard, reply) = if is("Discover") {
            let info = wire::ProxyInfo::decode(request).unwrap_or_default();
            let spec = self.spec.lock().unwrap_or_else(PoisonError::into_inner);
            (Heard::Discover(Box::new(info)), Some(spec.clone()))
        } else if is("ReportError") {
            let report = wire::UserFunctionError::decode(request).unwrap_or_default();
            self.log.add(&format!("proxy: reports {report:?}"));
            (Heard::Report(report), Some(Bytes::new()))
        } else if family != Family::Cloudstate && (is("HealthCheck") || is("ProxyTerminated")) {
            (Heard::Other(path), Some(Bytes::new()))
        } else if FAMILIES.iter().any(|one| path == one.discovery("Discover")) {
            (Heard::Probe, None)
        } else {
            (Heard::Unknown(path), None)
        };
        // A check that does not look need not hear of it.
        let _ = self.heard.try_send(heard);
        match reply {
            Some(reply) => {
                if link.send(&reply).await.is_ok() {
                    link.end(0, "", "");
                }
            }
            None => link.end(UNIMPLEMENTED, "no such method", ""),
        }
    }
}
