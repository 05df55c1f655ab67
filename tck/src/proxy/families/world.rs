//! What checks are written with: a function and clients around a proxy.
//!
//! A check holds both ends of each request. It plays the function itself, message by message; entities
//! are new for each check, so what others left behind is nobody's.

use bytes::Bytes;
use prost::Message as _;
use tokio::time::{Duration, sleep};

use super::contract::{Contract, Text, asked, full, kind_of, request, said};
use super::host::{Heard, Host};
use super::message::{Begins, In, Reply};
use super::stream::{Acting, Stream, acted, init};
use crate::checks::Result;
use crate::families::dialect::{Dialect, Family};
use crate::families::wire;
use crate::fault::Fault;
use crate::proxy::client::{Answer, Call, Came, Client, End};
use crate::proxy::function::Log;
use crate::proxy::run::Proxy;

/// How long to wait before trying again what the other side is not ready for.
const RETRY_PAUSE: Duration = Duration::from_millis(20);

/// See the module.
pub(super) struct World {
    pub(super) dialect: Dialect,
    pub(super) clients: String,
    pub(super) proxy: Option<Box<dyn Proxy>>,
    pub(super) seed: u64,
    pub(super) commands: u32,
    pub(super) log: Log,
    pub(super) host: Host,
    client: Option<Client>,
    /// Streams that nobody has asked for yet.
    streams: Vec<Stream>,
    /// Whether requests reach the function.
    served: bool,
    last_entity: u64,
    /// What entities of this run are called, so that a second run does not meet the first.
    prefix: String,
    waiting: String,
}

/// An entity: its service, short, and its id.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) service: &'static str,
    pub(super) id: String,
}

impl Key {
    pub(super) fn method(&self) -> &'static str {
        method(self.service)
    }

    /// A forward or an effect to it.
    pub(super) fn forward(&self, text: &str) -> wire::Forward {
        forward(self.service, self.method(), &self.id, text)
    }

    pub(super) fn effect(&self, text: &str, synchronous: bool) -> wire::SideEffect {
        effect(self.forward(text), synchronous)
    }

    /// A command to it, as it comes on its stream.
    pub(super) fn command(&self, number: i64, text: &str) -> In {
        self.command_with(number, text, None)
    }

    pub(super) fn command_with(
        &self,
        number: i64,
        text: &str,
        metadata: Option<wire::Metadata>,
    ) -> In {
        In::Command(wire::Command {
            entity_id: self.id.clone(),
            id: number,
            name: self.method().to_owned(),
            payload: Some(asked(&self.id, text)),
            streamed: false,
            metadata,
        })
    }

    /// The first message of its stream.
    pub(super) fn init(&self, begins: Begins) -> In {
        init(&full(self.service), &self.id, begins)
    }

    /// What it begins with when nothing is stored.
    pub(super) fn nothing(&self) -> Begins {
        Begins::empty(kind_of(self.service))
    }
}

/// The method of a service that the checks use.
fn method(service: &str) -> &'static str {
    match service {
        "Act" => "Unary",
        "ActTwo" | "ValueTwo" | "EventsTwo" | "Untyped" | "Keyless" => "Call",
        _ => "Process",
    }
}

pub(super) fn forward(service: &str, method: &str, id: &str, text: &str) -> wire::Forward {
    wire::Forward {
        service_name: full(service),
        command_name: method.to_owned(),
        payload: Some(asked(id, text)),
        metadata: None,
    }
}

pub(super) fn effect(to: wire::Forward, synchronous: bool) -> wire::SideEffect {
    wire::SideEffect {
        service_name: to.service_name,
        command_name: to.command_name,
        payload: to.payload,
        synchronous,
        metadata: to.metadata,
    }
}

/// A request of a client under way.
pub(super) struct Asked {
    pub(super) call: Call,
    pub(super) answer: Answer,
    name: String,
    log: Log,
}

impl Asked {
    /// Takes what came. True at the end.
    pub(super) fn take(&mut self, came: Came) -> bool {
        self.log.add(&match &came {
            Came::Headers(_) => format!("client: {} has headers", self.name),
            Came::Message(message) => format!("client: {} hears {message:?}", self.name),
            Came::End(end) => format!("client: {} ends with {end:?}", self.name),
        });
        match came {
            Came::Headers(headers) => self.answer.headers = headers,
            Came::Message(message) => self.answer.messages.push(message),
            Came::End(end) => {
                self.answer.end = end;
                return true;
            }
        }
        false
    }

    /// All that came of it, at its end.
    pub(super) async fn answer(mut self) -> Answer {
        loop {
            let came = self.call.next().await;
            if self.take(came) {
                return self.answer;
            }
        }
    }

    /// It must be answered with one message of this text.
    pub(super) async fn replies(self, requirement: &'static str, text: &str) -> Result<Answer> {
        let answer = self.answer().await;
        if answer.end.status == 0 && texts(&answer) == [text] {
            return Ok(answer);
        }
        let expected = format!("the reply {text:?}");
        Err(Fault::new(requirement, expected, show(&answer)))
    }

    /// It must fail with this status and this text.
    pub(super) async fn fails(
        self,
        requirement: &'static str,
        status: u16,
        text: &str,
    ) -> Result<Answer> {
        let answer = self.answer().await;
        let end = &answer.end;
        if end.status == status && end.message == text && answer.messages.is_empty() {
            return Ok(answer);
        }
        let expected = format!("status {status} with {text:?}");
        Err(Fault::new(requirement, expected, show(&answer)))
    }

    /// It must fail with this status, whatever the text.
    pub(super) async fn fails_with(self, requirement: &'static str, status: u16) -> Result<Answer> {
        let answer = self.answer().await;
        if answer.end.status == status && answer.messages.is_empty() {
            return Ok(answer);
        }
        let expected = format!("status {status}");
        Err(Fault::new(requirement, expected, show(&answer)))
    }

    /// It must fail in some way.
    pub(super) async fn refused(self, requirement: &'static str) -> Result<Answer> {
        let answer = self.answer().await;
        if answer.end.status != 0 && answer.messages.is_empty() {
            return Ok(answer);
        }
        Err(Fault::new(requirement, "a failure", show(&answer)))
    }

    /// Nothing must have come of it yet.
    pub(super) fn is_silent(&mut self, requirement: &'static str) -> Result {
        while let Some(came) = self.call.waiting() {
            if !matches!(came, Came::Headers(_)) {
                let came = format!("{came:?}");
                return Err(Fault::new(requirement, "no answer yet", came));
            }
        }
        Ok(())
    }

    /// The next message must have this text.
    pub(super) async fn hears(&mut self, requirement: &'static str, text: &str) -> Result {
        loop {
            let came = self.call.next().await;
            let came = match came {
                Came::Headers(headers) => {
                    self.answer.headers = headers;
                    continue;
                }
                Came::Message(message) if text_of(&message) == text => return Ok(()),
                other => other,
            };
            let expected = format!("the reply {text:?}");
            return Err(Fault::new(requirement, expected, format!("{came:?}")));
        }
    }

    /// It must end in order, without another message.
    pub(super) async fn ends(self, requirement: &'static str) -> Result {
        let answer = self.answer().await;
        if answer.end.status == 0 && answer.messages.is_empty() {
            return Ok(());
        }
        Err(Fault::new(requirement, "the end with OK", show(&answer)))
    }

    /// Sends one more message.
    pub(super) async fn say(&mut self, id: &str, text: &str) {
        self.call.send(request(id, text).into()).await;
    }
}

/// The text of a response.
pub(super) fn text_of(message: &Bytes) -> String {
    Text::decode(message.clone()).map_or_else(|error| error.to_string(), |text| text.text)
}

/// The texts of an answer.
pub(super) fn texts(answer: &Answer) -> Vec<String> {
    answer.messages.iter().map(text_of).collect()
}

pub(super) fn show(answer: &Answer) -> String {
    let texts = texts(answer);
    format!("{:?} with the replies {texts:?}", answer.end)
}

impl World {
    pub(super) fn new(dialect: Dialect, clients: String, function: String, seed: u64) -> Self {
        let log = Log::default();
        Self {
            dialect,
            clients,
            proxy: None,
            seed,
            commands: 0,
            host: Host::new(function, dialect, log.clone()),
            log,
            client: None,
            streams: Vec::new(),
            served: false,
            last_entity: 0,
            prefix: format!("{:x}", crate::workload::random_seed() & 0xff_ffff),
            waiting: "the beginning".into(),
        }
    }

    pub(super) fn is(&self, family: Family) -> bool {
        self.dialect.family() == family
    }

    /// Says what is waited for.
    pub(super) fn wait_for(&mut self, what: &str) {
        what.clone_into(&mut self.waiting);
    }

    pub(super) fn waiting(&self) -> String {
        self.waiting.clone()
    }

    /// An entity that no check had before.
    pub(super) fn key(&mut self, service: &'static str) -> Key {
        self.last_entity += 1;
        let id = format!("{}-{}", self.prefix, self.last_entity);
        Key { service, id }
    }

    // -----------------------------------------------------------------------------------------
    // The proxy and the function

    /// Begins anew with whatever there is: nothing of before is looked at any more.
    pub(super) fn forget(&mut self) {
        self.streams.clear();
        self.host.forget();
    }

    /// Drops all connections without a word.
    pub(super) async fn cut(&mut self) {
        self.streams.clear();
        self.client = None;
        self.host.go().await;
        self.served = false;
    }

    /// The client's connection.
    pub(super) async fn client(&mut self) -> Result<&Client> {
        if self.client.is_none() {
            self.wait_for("a connection to the client port");
            let client = loop {
                match Client::connect(&self.clients).await {
                    Ok(client) => break client,
                    // It may be starting: the time of the check ends this.
                    Err(_) => sleep(RETRY_PAUSE).await,
                }
            };
            self.client = Some(client);
        }
        Ok(self.client.as_ref().expect("it is there"))
    }

    /// The function listens, with the whole contract.
    pub(super) async fn come(&mut self) -> Result {
        if self.host.is_there() {
            return Ok(());
        }
        self.host.declare(Contract::whole(self.dialect).encode());
        self.listen().await
    }

    /// The function listens, with whatever was declared.
    pub(super) async fn listen(&mut self) -> Result {
        let came = self.host.come().await;
        came.map_err(|error| Fault::new("F101", "a port for the function", error.to_string()))
    }

    /// Waits until requests reach the function.
    pub(super) async fn ready(&mut self) -> Result {
        self.come().await?;
        while !self.served {
            self.wait_for("requests to reach the function");
            let path = format!("/{}/Unary", full("Act"));
            let client = self.client().await?;
            let mut call = client.begin(&path, &[]);
            call.send(request("ready", "").into()).await;
            call.half_close();
            let end = self.probe(call).await?;
            match end.status {
                0 => self.served = true,
                _ => {
                    self.client = None;
                    sleep(RETRY_PAUSE).await;
                }
            }
        }
        Ok(())
    }

    /// Whether a call is refused now, before the function is served. A proxy that does not listen
    /// refuses it, too.
    pub(super) async fn early(&mut self, path: &str) -> Result<bool> {
        self.wait_for("a refusal while nothing is served");
        let Ok(client) = Client::connect(&self.clients).await else {
            return Ok(true);
        };
        let mut call = client.begin(path, &[]);
        call.send(request("early", "").into()).await;
        call.half_close();
        Ok(self.probe(call).await?.status != 0)
    }

    /// Waits until requests reach the function that has come again.
    pub(super) async fn served_again(&mut self) -> Result {
        self.served = false;
        self.ready().await
    }

    /// Answers whatever action is called until the call ends.
    async fn probe(&mut self, mut call: Call) -> Result<End> {
        loop {
            let opened = tokio::select! {
                biased;
                came = call.next() => match came {
                    Came::End(end) => return Ok(end),
                    _ => continue,
                },
                opened = self.host.action() => opened,
            };
            let mut acting = Acting::new(opened, self.log.clone());
            acting.next().await?;
            acting.answer(acted(said("ready"))).await;
        }
    }

    /// Kills the proxy and starts it again.
    pub(super) async fn restart(&mut self) -> Result {
        self.kill()?;
        self.start()?;
        self.ready().await
    }

    pub(super) fn kill(&mut self) -> Result {
        self.streams.clear();
        self.client = None;
        self.served = false;
        let proxy = self.proxy.as_mut().expect("the check needs it");
        let failed = |error: std::io::Error| Fault::new("F116", "an end", error.to_string());
        proxy.kill().map_err(failed)
    }

    pub(super) fn start(&mut self) -> Result {
        let proxy = self.proxy.as_mut().expect("the check needs it");
        let failed = |error: std::io::Error| Fault::new("F116", "a start", error.to_string());
        proxy.start().map_err(failed)
    }

    /// The function is gone, and comes again.
    pub(super) async fn lose_function(&mut self) -> Result {
        self.streams.clear();
        self.host.go().await;
        self.served = false;
        self.ready().await
    }

    // -----------------------------------------------------------------------------------------
    // Requests

    /// Begins a call of a method of the model.
    pub(super) async fn begin(
        &mut self,
        service: &str,
        method: &str,
        message: Option<Vec<u8>>,
        headers: &[(&str, &str)],
    ) -> Result<Asked> {
        self.ready().await?;
        let path = format!("/{}/{method}", full(service));
        let given = headers.iter();
        let all: Vec<(String, String)> = given
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let log = self.log.clone();
        let mut call = self.client().await?.begin(&path, &all);
        if let Some(message) = message {
            call.send(message.into()).await;
            call.half_close();
        }
        log.add(&format!("client: calls {service}/{method}"));
        self.wait_for(&format!("what comes of {service}/{method}"));
        Ok(Asked {
            call,
            answer: Answer {
                headers: http::HeaderMap::new(),
                messages: Vec::new(),
                end: End {
                    status: 0,
                    message: String::new(),
                    code: String::new(),
                    details: None,
                },
            },
            name: format!("{service}/{method}"),
            log,
        })
    }

    /// Sends a command to an entity.
    pub(super) async fn ask(&mut self, key: &Key, text: &str) -> Result<Asked> {
        self.ask_with(key, text, &[]).await
    }

    /// Sends a command to an entity with headers.
    pub(super) async fn ask_with(
        &mut self,
        key: &Key,
        text: &str,
        headers: &[(&str, &str)],
    ) -> Result<Asked> {
        let message = Some(request(&key.id, text));
        self.begin(key.service, key.method(), message, headers)
            .await
    }

    /// The stream of an entity, once it is there, with nothing of it read.
    pub(super) async fn stream(&mut self, key: &Key) -> Result<Stream> {
        self.wait_for(&format!("a stream for {}/{}", key.service, key.id));
        let service = full(key.service);
        loop {
            let mut waiting = self.streams.iter();
            if let Some(at) = waiting.position(|stream| stream.is_of(&service, &key.id)) {
                return Ok(self.streams.remove(at));
            }
            let opened = self.host.entity().await;
            let stream = Stream::begin(self.dialect, opened, self.log.clone()).await?;
            self.streams.push(stream);
        }
    }

    /// Whether an entity has a stream already, after whatever was under way had its time.
    pub(super) async fn is_called(&mut self, key: &Key) -> Result<bool> {
        let before = self.waiting();
        self.pass().await?;
        while let Some(opened) = self.host.entity_already() {
            let stream = Stream::begin(self.dialect, opened, self.log.clone()).await?;
            self.streams.push(stream);
        }
        self.wait_for(&before);
        let service = full(key.service);
        let mut waiting = self.streams.iter();
        Ok(waiting.any(|stream| stream.is_of(&service, &key.id)))
    }

    /// The next stream, of whatever entity.
    pub(super) async fn any_stream(&mut self) -> Result<Stream> {
        if !self.streams.is_empty() {
            return Ok(self.streams.remove(0));
        }
        self.wait_for("a stream of an entity");
        let opened = self.host.entity().await;
        Stream::begin(self.dialect, opened, self.log.clone()).await
    }

    /// The stream of an entity, which begins with this.
    pub(super) async fn opened(&mut self, key: &Key, begins: Begins) -> Result<Stream> {
        let mut stream = self.stream(key).await?;
        let requirement = match &begins {
            Begins::Absent | Begins::State(None) => "F130",
            Begins::State(_) => "F131",
            Begins::Snapshot(..) => "F133",
            Begins::Data(_) => "F140",
        };
        stream.expect(requirement, key.init(begins)).await?;
        self.wait_for("what comes next");
        Ok(stream)
    }

    /// A new entity with its first command open, `first`.
    pub(super) async fn open(&mut self, key: &Key) -> Result<(Asked, Stream)> {
        let call = self.ask(key, "first").await?;
        let mut stream = self.opened(key, key.nothing()).await?;
        stream.expect("F111", key.command(1, "first")).await?;
        Ok((call, stream))
    }

    /// A new entity without an open command: its first was answered.
    pub(super) async fn idle(&mut self, key: &Key) -> Result<Stream> {
        let (call, mut stream) = self.open(key).await?;
        stream.reply(Reply::to(1).with(said("idle"))).await;
        call.replies("F117", "idle").await?;
        Ok(stream)
    }

    /// The next command of an entity that is in memory, with this number.
    pub(super) async fn next(
        &mut self,
        key: &Key,
        stream: &mut Stream,
        number: i64,
    ) -> Result<Asked> {
        let text = format!("command {number}");
        let call = self.ask(key, &text).await?;
        stream.expect("F111", key.command(number, &text)).await?;
        Ok(call)
    }

    /// The next command of an entity begins a new stream with this, and is answered.
    pub(super) async fn again(&mut self, key: &Key, begins: Begins) -> Result<Stream> {
        self.replayed(key, begins, &[]).await
    }

    /// The same with events that are replayed.
    pub(super) async fn replayed(
        &mut self,
        key: &Key,
        begins: Begins,
        events: &[(i64, prost_types::Any)],
    ) -> Result<Stream> {
        let call = self.ask(key, "again").await?;
        let mut stream = self.opened(key, begins).await?;
        for (number, event) in events {
            let event = In::Event(*number, event.clone());
            stream.expect("F132", event).await?;
        }
        stream.expect("F122", key.command(1, "again")).await?;
        stream.reply(Reply::to(1).with(said("again"))).await;
        call.replies("F117", "again").await?;
        Ok(stream)
    }

    /// The next call of an action.
    pub(super) async fn action(&mut self) -> Result<Acting> {
        self.wait_for("a call of the action");
        let opened = self.host.action().await;
        self.wait_for("what comes next");
        Ok(Acting::new(opened, self.log.clone()))
    }

    /// A call of an action that comes whole, and is answered with this text.
    pub(super) async fn act(&mut self, service: &str, id: &str, text: &str, say: &str) -> Result {
        let mut acting = self.action().await?;
        let expected = wire::ActionCommand {
            service_name: full(service),
            name: method(service).to_owned(),
            payload: Some(asked(id, text)),
            metadata: None,
        };
        acting.command("F150", expected).await?;
        acting.answer(acted(said(say))).await;
        Ok(())
    }

    /// A report whose message or code contains a text.
    pub(super) async fn report(&mut self, text: &str) -> Result<wire::UserFunctionError> {
        self.wait_for(&format!("a report that says {text:?}"));
        loop {
            match self.host.heard().await {
                Heard::Report(report) if report.message.contains(text) => return Ok(report),
                _ => {}
            }
        }
    }

    /// Lets a request pass whole, so that what was sent before has had its time.
    pub(super) async fn pass(&mut self) -> Result {
        let path = "ActTwo";
        let call = self.begin(path, "Call", Some(request("pass", "")), &[]);
        let call = call.await?;
        self.act(path, "pass", "", "passed").await?;
        call.replies("F150", "passed").await?;
        Ok(())
    }
}
