//! The kit's side: the connection, what discovery said, and the newest messages in both directions.

use std::cell::RefCell;
use std::collections::{BTreeSet, VecDeque};
use std::rc::Rc;

use bytes::Bytes;
use prost::Message;
use tokio::time::{Duration, sleep};

use super::action::Action;
use super::entity::Stream;
use crate::families::contract;
use crate::families::dialect::{Dialect, Family, Kind};
use crate::families::wire::{ProxyInfo, Spec};
use crate::fault::Fault;
use crate::oracle::Asked;
use crate::proto::model::{DataRequest, DataStep, Request, data_step, step};
use crate::proto::v1::Metadata;
use crate::proxy::Proxy;
use crate::proxy::client::{Answer, Client};
use crate::record::Record;
use crate::service::Service;
use crate::{kit, show};

/// How many messages are kept for the report of a fault.
const LOG_MAX: usize = 12;
/// How many characters of each are kept.
const LINE_MAX: usize = 240;
/// Between two attempts to reach a function that is starting.
const DIAL_PAUSE: Duration = Duration::from_millis(50);

/// The newest messages.
#[derive(Clone, Default)]
pub(crate) struct Log(Rc<RefCell<VecDeque<String>>>);

impl Log {
    pub(crate) fn put(&self, line: String) {
        let mut lines = self.0.borrow_mut();
        if lines.len() == LOG_MAX {
            lines.pop_front();
        }
        lines.push_back(show::at_most(&line, LINE_MAX));
    }

    pub(super) fn take(&self) -> Vec<String> {
        self.0.borrow_mut().drain(..).collect()
    }
}

/// What checks are written with.
pub(crate) struct Rig {
    pub(crate) family: Family,
    address: String,
    pub(crate) process: Option<Box<dyn Proxy>>,
    pub(crate) seed: u64,
    pub(crate) commands: u32,
    pub(super) log: Log,
    client: Option<Client>,
    was_dialed: bool,
    discovered: Option<(Dialect, Spec)>,
    /// The kinds whose streams the function did not end.
    lazy: BTreeSet<Kind>,
    names: u64,
}

impl Rig {
    pub(super) fn new(family: Family, address: String) -> Self {
        Self {
            family,
            address,
            process: None,
            seed: 0,
            commands: 0,
            log: Log::default(),
            client: None,
            was_dialed: false,
            discovered: None,
            lazy: BTreeSet::new(),
            names: 0,
        }
    }

    /// Dials until the function is there.
    pub(crate) async fn client(&mut self) -> &Client {
        while self.client.is_none() {
            match Client::connect(&self.address).await {
                Ok(client) => {
                    self.client = Some(client);
                    self.was_dialed = true;
                }
                Err(error) => {
                    self.log.put(format!("kit: cannot dial: {error}"));
                    sleep(DIAL_PAUSE).await;
                }
            }
        }
        self.client.as_ref().expect("it was just dialed")
    }

    /// Whether it was ever there.
    pub(super) fn was_dialed(&self) -> bool {
        self.was_dialed
    }

    /// Forgets the connection; the next use dials again.
    pub(crate) fn disconnect(&mut self) {
        self.client = None;
    }

    /// Makes a call of discovery.
    pub(crate) async fn call(&mut self, call: &str, message: Bytes) -> Answer {
        let path = self.family.discovery(call);
        self.log.put(format!("kit: {path}"));
        let mut call = self.client().await.begin(&path, &[]);
        call.send(message).await;
        call.half_close();
        call.answer().await
    }

    /// What a proxy of the family says of itself.
    pub(crate) fn introduction(&self) -> ProxyInfo {
        let (major, minor) = self.family.version();
        let dialect = match self.family {
            Family::Cloudstate => Dialect::Cloudstate02,
            Family::AkkaServerless => Dialect::AkkaServerlessB,
            Family::Kalix => Dialect::Kalix,
        };
        let kinds = [Kind::Action, Kind::Value, Kind::Events, Kind::Data];
        let mut info = ProxyInfo {
            protocol_major_version: major,
            protocol_minor_version: minor,
            proxy_name: "firn-tck".into(),
            proxy_version: env!("CARGO_PKG_VERSION").into(),
            supported_entity_types: kinds.map(|kind| dialect.component_type(kind)).into(),
            ..ProxyInfo::default()
        };
        if self.family == Family::Cloudstate {
            let old = Dialect::Cloudstate01.component_type(Kind::Action);
            info.supported_entity_types.push(old);
        } else {
            info.dev_mode = true;
        }
        if self.family == Family::Kalix {
            info.proxy_hostname = "127.0.0.1".into();
            info.internal_proxy_hostname = "127.0.0.1".into();
            info.proxy_port = 9000;
        }
        info
    }

    /// Asks what the function serves, again if its server is there before its services are.
    pub(crate) async fn discover(&mut self) -> Result<Spec, Fault> {
        loop {
            let info = self.introduction();
            let answer = self.call("Discover", info.encode_to_vec().into()).await;
            match (answer.end.status, answer.messages.first()) {
                (0, Some(spec)) => {
                    return Spec::decode(spec.clone()).map_err(|error| {
                        Fault::new("F1", "an answer to discovery", error.to_string())
                    });
                }
                (0, None) => return Err(Fault::new("F1", "an answer to discovery", "none")),
                (status, _) => {
                    let message = answer.end.message;
                    self.log
                        .put(format!("function: status {status} {message:?}"));
                    self.disconnect();
                    sleep(DIAL_PAUSE).await;
                }
            }
        }
    }

    /// What discovery said; asks only once.
    pub(crate) async fn ready(&mut self) -> Result<Dialect, Fault> {
        if self.discovered.is_none() {
            let spec = self.discover().await?;
            let dialect = contract::dialect(self.family, &spec)?;
            self.discovered = Some((dialect, spec));
        }
        let (dialect, _) = self.discovered.as_ref().expect("it was just asked");
        Ok(*dialect)
    }

    /// Whether the function has declared a service.
    pub(super) fn has(&self, service: Service) -> bool {
        let has = |(dialect, spec): &(Dialect, Spec)| {
            let name = dialect.service(service);
            spec.components.iter().any(|one| one.service_name == name)
        };
        self.discovered.as_ref().is_some_and(has)
    }

    /// The function's answer to discovery.
    pub(crate) async fn spec(&mut self) -> Result<Spec, Fault> {
        self.ready().await?;
        let (_, spec) = self.discovered.as_ref().expect("it is ready");
        Ok(spec.clone())
    }

    /// A name that no entity had.
    pub(crate) fn name(&mut self) -> String {
        self.names += 1;
        format!("e{}", self.names)
    }

    /// A stream of a new entity.
    pub(crate) async fn fresh(&mut self, service: Service) -> Result<Stream, Fault> {
        let name = self.name();
        self.open(&name, Record::new(service)).await
    }

    /// A stream of an entity of which the store has this.
    pub(crate) async fn open(&mut self, id: &str, record: Record) -> Result<Stream, Fault> {
        let dialect = self.ready().await?;
        let log = self.log.clone();
        let client = self.client().await;
        Ok(Stream::begin(client, dialect, id, record, log).await)
    }

    /// A stream on which nothing was sent yet.
    pub(crate) async fn bare(&mut self, service: Service) -> Result<Stream, Fault> {
        let dialect = self.ready().await?;
        let (name, log) = (self.name(), self.log.clone());
        let client = self.client().await;
        Ok(Stream::bare(
            client,
            dialect,
            &name,
            Record::new(service),
            log,
        ))
    }

    /// Ends a stream as a proxy does: waits a while for the function, unless it is known to be lazy.
    pub(crate) async fn leave(&mut self, stream: Stream) -> (String, Record) {
        let kind = stream.kind;
        if self.lazy.contains(&kind) {
            return stream.cut();
        }
        let (id, record, has_ended) = stream.leave().await;
        if !has_ended {
            self.lazy.insert(kind);
        }
        (id, record)
    }

    /// The same entity on a new stream.
    pub(crate) async fn reopen(&mut self, stream: Stream) -> Result<Stream, Fault> {
        let (id, record) = self.leave(stream).await;
        self.open(&id, record).await
    }

    /// Begins a call of the action.
    pub(crate) async fn action(
        &mut self,
        method: &'static str,
        headers: Metadata,
    ) -> Result<Action, Fault> {
        let dialect = self.ready().await?;
        let log = self.log.clone();
        let client = self.client().await;
        Ok(Action::begin(client, dialect, method, headers, log).await)
    }

    /// Kills the function and starts it again.
    pub(crate) async fn restart(&mut self) -> Result<(), Fault> {
        self.log
            .put("kit: kills the function and starts it again".into());
        self.disconnect();
        let process = self.process.as_mut();
        let restarted = process.map(|process| process.kill().and_then(|()| process.start()));
        if let Some(Err(error)) = restarted {
            let expected = "a function that can be killed and started";
            return Err(Fault::new("F1", expected, error.to_string()));
        }
        self.discover().await.map(|_| ())
    }

    /// What is shown when time is up.
    pub(super) fn waiting(&self) -> String {
        let last = self.log.0.borrow().back().cloned();
        let last = last.unwrap_or_else(|| "nothing".into());
        format!("an answer after: {}", show::short(&last))
    }
}

/// A request of these steps.
pub(crate) fn steps(id: &str, steps: Vec<step::Step>) -> Asked {
    Asked::Steps(kit::request(id, steps))
}

/// A request of these steps on replicated data.
pub(crate) fn data(id: &str, steps: Vec<data_step::Step>) -> Asked {
    Asked::Data(DataRequest {
        id: id.to_owned(),
        steps: steps
            .into_iter()
            .map(|step| DataStep { step: Some(step) })
            .collect(),
        consistency: 0,
    })
}

impl From<Request> for Asked {
    fn from(request: Request) -> Self {
        Self::Steps(request)
    }
}

impl From<DataRequest> for Asked {
    fn from(request: DataRequest) -> Self {
        Self::Data(request)
    }
}
