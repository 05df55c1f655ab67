//! The streams of entities and the calls of actions, as a function has them.

use bytes::Bytes;
use prost::Message as _;
use prost_types::Any;

use super::host::{Opened, Shape};
use super::message::{self, Begins, In, Reply, own, show_any, show_metadata};
use crate::checks::Result;
use crate::families::dialect::{Dialect, Kind};
use crate::families::stream::Out;
use crate::families::wire;
use crate::fault::Fault;
use crate::proxy::function::Log;
use crate::wire::{Link, Read};

/// The stream of one entity.
pub(super) struct Stream {
    dialect: Dialect,
    pub(super) kind: Kind,
    link: Link,
    log: Log,
    /// What it began with, until somebody takes it.
    first: Option<In>,
    name: String,
}

impl Stream {
    /// Reads with what a stream begins.
    pub(super) async fn begin(dialect: Dialect, opened: Opened<Kind>, log: Log) -> Result<Self> {
        let mut stream = Self {
            dialect,
            kind: opened.what,
            link: opened.link,
            log,
            first: None,
            name: format!("{:?}", opened.what),
        };
        let first = stream.next().await?;
        if let In::Init { service, id, .. } = &first {
            stream.name = format!("{}/{id}", service.rsplit('.').next().unwrap_or_default());
        }
        stream.first = Some(first);
        Ok(stream)
    }

    /// Whether it is for this entity.
    pub(super) fn is_of(&self, service: &str, entity: &str) -> bool {
        matches!(&self.first, Some(In::Init { service: own, id, .. }) if own == service && id == entity)
    }

    /// What comes next. Cancel-safe.
    pub(super) async fn next(&mut self) -> Result<In> {
        if let Some(first) = self.first.take() {
            return Ok(first);
        }
        let read = self.link.read().await;
        self.came(read)
    }

    fn came(&mut self, read: Read) -> Result<In> {
        let came = match read {
            Read::Message(bytes) => In::read(self.dialect, self.kind, &bytes).map_err(|why| {
                let expected = "a message of the protocol, without other fields";
                Fault::new("F110", expected, format!("{why}: {bytes:?}"))
            })?,
            Read::End => In::HalfClose,
            Read::Broken(_) => In::Broken,
        };
        let line = format!("proxy: {} {}", self.name, came.show());
        self.log.add(&line);
        Ok(came)
    }

    /// Whether another command is there already.
    pub(super) fn has_more(&mut self) -> Result<bool> {
        if self.first.is_none()
            && let Some(read) = self.link.waiting()
        {
            self.first = Some(self.came(read)?);
        }
        Ok(matches!(self.first, Some(In::Command(_))))
    }

    /// The next must be this.
    pub(super) async fn expect(&mut self, requirement: &'static str, expected: In) -> Result {
        let came = self.next().await?;
        if came == expected {
            return Ok(());
        }
        Err(Fault::new(requirement, expected.show(), came.show()))
    }

    /// The next must be a command, whose number and content do not matter.
    pub(super) async fn command(&mut self, requirement: &'static str) -> Result<wire::Command> {
        match self.next().await? {
            In::Command(command) => Ok(command),
            came => Err(Fault::new(requirement, "a command", came.show())),
        }
    }

    /// The next must be the proxy's end of the stream; the function then ends its side.
    pub(super) async fn ends(mut self, requirement: &'static str) -> Result {
        self.expect(requirement, In::HalfClose).await?;
        self.complete();
        Ok(())
    }

    /// Nothing more is said on it, in whatever way the proxy ends its side.
    pub(super) async fn is_over(&mut self, requirement: &'static str) -> Result {
        loop {
            match self.next().await? {
                In::HalfClose | In::Broken => return Ok(()),
                // It may have crossed what the function did.
                In::SnapshotRequest(_) => {}
                came => {
                    let expected = "the end of the stream";
                    return Err(Fault::new(requirement, expected, came.show()));
                }
            }
        }
    }

    pub(super) async fn send(&mut self, bytes: &[u8]) {
        self.log
            .add(&format!("kit: {} {} bytes", self.name, bytes.len()));
        // A stream that is over already takes nothing, which is seen in what comes.
        let _ = self.link.send(bytes).await;
    }

    pub(super) async fn reply(&mut self, reply: Reply) {
        self.log.add(&format!("kit: {} {reply:?}", self.name));
        let out = reply.out(self.kind);
        self.say(&out).await;
    }

    /// Fails outside of a reply.
    pub(super) async fn fail(&mut self, failure: &wire::Failure) {
        self.log.add(&format!("kit: {} {failure:?}", self.name));
        self.say(&Out::Failure(failure.clone())).await;
    }

    /// Sends any message.
    pub(super) async fn say(&mut self, out: &Out) {
        let bytes = out.encode(self.dialect, self.kind);
        // A stream that is over already takes nothing, which is seen in what comes.
        let _ = self.link.send(&bytes).await;
    }

    /// Ends the function's side in order.
    pub(super) fn complete(&mut self) {
        self.end(0, "");
    }

    /// Ends it with a status.
    pub(super) fn end(&mut self, status: u16, text: &'static str) {
        self.log
            .add(&format!("kit: {} ends with {status}", self.name));
        self.link.end(status, text, "");
    }

    /// Ends an entity that nothing is open of, so that its next command finds what is stored.
    pub(super) async fn let_go(mut self, requirement: &'static str) -> Result {
        self.complete();
        self.is_over(requirement).await
    }
}

/// What comes on a call of an action.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum ActIn {
    Command(wire::ActionCommand),
    HalfClose,
    Broken,
}

impl ActIn {
    fn show(&self) -> String {
        match self {
            Self::Command(command) => {
                let payload = command.payload.as_ref().map(show_any);
                let metadata = command.metadata.as_ref().map(show_metadata);
                format!(
                    "{:?} {:?} {}{}",
                    command.service_name,
                    command.name,
                    payload.unwrap_or_else(|| "without a payload".to_owned()),
                    metadata.map_or(String::new(), |all| format!(", metadata {all}")),
                )
            }
            Self::HalfClose => "the end of the proxy's side".to_owned(),
            Self::Broken => "a reset".to_owned(),
        }
    }
}

/// One call of an action.
pub(super) struct Acting {
    pub(super) shape: Shape,
    link: Link,
    log: Log,
}

impl Acting {
    pub(super) fn new(opened: Opened<Shape>, log: Log) -> Self {
        Self {
            shape: opened.what,
            link: opened.link,
            log,
        }
    }

    /// What comes next, with its headers as they are. Cancel-safe.
    pub(super) async fn next(&mut self) -> Result<ActIn> {
        let came = match self.link.read().await {
            Read::Message(bytes) => {
                let shown = Bytes::clone(&bytes);
                let misfit = |error: prost::DecodeError| {
                    let came = format!("{error}: {shown:?}");
                    Fault::new("F150", "a command of an action", came)
                };
                ActIn::Command(wire::ActionCommand::decode(bytes).map_err(misfit)?)
            }
            Read::End => ActIn::HalfClose,
            Read::Broken(_) => ActIn::Broken,
        };
        self.log.add(&format!("proxy: action {}", came.show()));
        Ok(came)
    }

    /// The next must be this command, besides its headers, which are given back.
    pub(super) async fn command(
        &mut self,
        requirement: &'static str,
        expected: wire::ActionCommand,
    ) -> Result<Option<wire::Metadata>> {
        let came = self.next().await?;
        let mut plain = came.clone();
        let mut metadata = None;
        if let ActIn::Command(command) = &mut plain {
            metadata = command.metadata.take();
        }
        if plain == ActIn::Command(expected.clone()) {
            return Ok(metadata.and_then(own));
        }
        let expected = ActIn::Command(expected).show();
        Err(Fault::new(requirement, expected, came.show()))
    }

    /// The next must be this.
    pub(super) async fn expect(&mut self, requirement: &'static str, expected: ActIn) -> Result {
        let came = self.next().await?;
        if came == expected {
            return Ok(());
        }
        Err(Fault::new(requirement, expected.show(), came.show()))
    }

    pub(super) async fn send(&mut self, response: wire::ActionResponse) {
        self.log.add(&format!("kit: action {response:?}"));
        // A call that is over already takes nothing, which is seen in what comes.
        let _ = self.link.send(&response.encode_to_vec()).await;
    }

    /// Answers, and ends the call.
    pub(super) async fn answer(&mut self, response: wire::ActionResponse) {
        self.send(response).await;
        self.end(0, "");
    }

    pub(super) fn end(&mut self, status: u16, text: &'static str) {
        self.log.add(&format!("kit: action ends with {status}"));
        self.link.end(status, text, "");
    }
}

/// A response with a message.
pub(super) fn acted(payload: Any) -> wire::ActionResponse {
    acted_with(payload, &[])
}

/// A response with a message and headers.
pub(super) fn acted_with(payload: Any, headers: &[(&str, &str)]) -> wire::ActionResponse {
    let reply = wire::Answer {
        payload: Some(payload),
        metadata: (!headers.is_empty()).then(|| message::metadata(headers)),
    };
    wire::ActionResponse {
        response: Some(wire::action_response::Response::Reply(reply)),
        side_effects: Vec::new(),
    }
}

pub(super) fn act_failed(failure: wire::Failure) -> wire::ActionResponse {
    wire::ActionResponse {
        response: Some(wire::action_response::Response::Failure(failure)),
        side_effects: Vec::new(),
    }
}

pub(super) fn act_forwarded(forward: wire::Forward) -> wire::ActionResponse {
    wire::ActionResponse {
        response: Some(wire::action_response::Response::Forward(forward)),
        side_effects: Vec::new(),
    }
}

/// An entity's first message.
pub(super) fn init(service: &str, id: &str, begins: Begins) -> In {
    In::Init {
        service: service.to_owned(),
        id: id.to_owned(),
        begins,
    }
}
