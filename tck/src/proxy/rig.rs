//! What checks are written with: functions and clients around a proxy.
//!
//! The kit holds both ends of each request. Functions are either *seats*, which play the model services
//! by themselves while something is waited for, or are played frame by frame by a check.

use prost::Message as _;
use tokio::time::{Duration, sleep};

use super::client::{Answer, Call, Came, Client};
use super::function::{Event, Function, Log};
use super::player::{Key, Player, Seat, TICKET, ticket_of};
use super::run::Proxy;
use crate::checks::Result;
use crate::fault::Fault;
use crate::kit::request;
use crate::proto::MODEL_DESCRIPTORS;
use crate::proto::model::{DataRequest, DataStep, Reply, data_step, step};
use crate::proto::v1::function_frame::Frame;
use crate::proto::v1::{Closed, Contract, Decision, Goodbye, Hello, Info, Method, decision};
use crate::service::Service;
use crate::show;

/// How long to wait before trying again what the other side is not ready for.
const RETRY_PAUSE: Duration = Duration::from_millis(20);

/// See the module.
pub(crate) struct Rig {
    pub(crate) clients: String,
    pub(crate) functions: String,
    pub(crate) token: Option<String>,
    pub(crate) proxy: Option<Box<dyn Proxy>>,
    pub(crate) seed: u64,
    pub(crate) commands: u32,
    pub(crate) log: Log,
    pub(crate) player: Player,
    pub(crate) seats: Vec<Seat>,
    client: Option<Client>,
    last_entity: u64,
    last_ticket: u64,
    /// What entities of this run are called, so that a second run does not meet the first.
    prefix: String,
    waiting: String,
}

/// A request under way.
pub(crate) struct Pending {
    pub(crate) ticket: u64,
    pub(crate) call: Call,
    answer: Answer,
}

impl Pending {
    fn take(&mut self, came: Came) -> Option<Answer> {
        match came {
            Came::Headers(headers) => self.answer.headers = headers,
            Came::Message(message) => self.answer.messages.push(message),
            Came::End(end) => {
                self.answer.end = end;
                return Some(self.answer.clone());
            }
        }
        None
    }
}

/// The contract of the model services.
pub(crate) fn contract() -> Contract {
    let mut components = Vec::new();
    for service in Service::all() {
        let mut component = service.component();
        component.headers = vec![TICKET.into(), "x-tck".into(), "x-tck-bin".into()];
        for name in service.methods() {
            component.methods.push(Method {
                name: (*name).to_owned(),
                id: Vec::new(),
            });
        }
        components.push(component);
    }
    Contract {
        descriptors: MODEL_DESCRIPTORS.into(),
        components,
    }
}

/// Hello with a contract.
pub(crate) fn hello(contract: Contract) -> Hello {
    Hello {
        info: Some(Info {
            name: "conformance kit".into(),
            sdk: "none".into(),
            process: "kit".into(),
            ..Info::default()
        }),
        contract: Some(contract),
        frame_bytes: 32 << 20,
        ..Hello::default()
    }
}

impl Rig {
    pub(crate) fn new(clients: String, functions: String, seed: u64) -> Self {
        Self {
            clients,
            functions,
            token: None,
            proxy: None,
            seed,
            commands: 0,
            log: Log::default(),
            player: Player::default(),
            seats: Vec::new(),
            client: None,
            last_entity: 0,
            last_ticket: 0,
            prefix: format!("{:x}", crate::workload::random_seed() & 0xff_ffff),
            waiting: "the beginning".into(),
        }
    }

    /// Says what is waited for.
    pub(crate) fn wait_for(&mut self, what: &str) {
        what.clone_into(&mut self.waiting);
    }

    pub(crate) fn waiting(&self) -> String {
        self.waiting.clone()
    }

    /// An entity that no check had before.
    pub(crate) fn entity(&mut self, service: Service) -> Key {
        self.last_entity += 1;
        (service, format!("{}-{}", self.prefix, self.last_entity))
    }

    // -----------------------------------------------------------------------------------------
    // Connections

    /// Drops all connections without a word.
    pub(crate) fn cut(&mut self) {
        self.seats.clear();
        self.client = None;
    }

    /// A connection that has sent nothing yet.
    pub(crate) async fn open(&mut self, name: &'static str) -> Result<Function> {
        self.wait_for("a connection to the function port");
        loop {
            let token = self.token.as_deref();
            let opened = Function::open(&self.functions, token, name, self.log.clone());
            match opened.await {
                Ok(function) => return Ok(function),
                // It may be starting: the time of the check ends this.
                Err(_) => sleep(RETRY_PAUSE).await,
            }
        }
    }

    /// The client's connection.
    pub(crate) async fn client(&mut self) -> Result<&Client> {
        if self.client.is_none() {
            self.wait_for("a connection to the client port");
            let client = loop {
                match Client::connect(&self.clients).await {
                    Ok(client) => break client,
                    Err(_) => sleep(RETRY_PAUSE).await,
                }
            };
            self.client = Some(client);
        }
        Ok(self.client.as_ref().expect("it is there"))
    }

    /// One more process that plays the model services.
    pub(crate) async fn seat(&mut self, name: &'static str, hello: Hello) -> Result {
        let contract = hello.contract.clone().unwrap_or_default();
        let mut function = self.open(name).await?;
        function.join(hello).await?;
        self.seats.push(Seat::new(function, &contract));
        Ok(())
    }

    /// Serves the model services with one process, if none does.
    pub(crate) async fn ready(&mut self) -> Result {
        if self.seats.is_empty() {
            self.seat("one", hello(contract())).await?;
            self.served().await?;
        }
        Ok(())
    }

    /// Waits until requests arrive.
    pub(crate) async fn served(&mut self) -> Result {
        loop {
            self.wait_for("the model services to be served");
            let pending = self.begin(Service::Action, "Unary", vec![]).await?;
            let answer = self.answer(pending).await?;
            match answer.end.status {
                0 => return Ok(()),
                12 | 14 => sleep(RETRY_PAUSE).await,
                _ => return Err(Fault::new("R4", "a reply", format!("{:?}", answer.end))),
            }
            self.client = None;
        }
    }

    /// Lets all seats leave in order (R90).
    pub(crate) async fn leave(&mut self) -> Result {
        while let Some(mut seat) = self.seats.pop() {
            self.wait_for("the end of a connection after Goodbye");
            seat.function.send(Frame::Goodbye(Goodbye {})).await;
            loop {
                let event = seat.function.event().await?;
                if seat.take(&mut self.player, event).await?.is_some() {
                    break;
                }
            }
        }
        Ok(())
    }

    /// A function that the check plays, with nobody beside it, that is served.
    pub(crate) async fn play(&mut self) -> Result<Function> {
        self.play_with(hello(contract())).await
    }

    /// The same with another Hello.
    pub(crate) async fn play_with(&mut self, hello: Hello) -> Result<Function> {
        self.leave().await?;
        let mut function = self.open("played").await?;
        function.join(hello).await?;
        self.is_served(&mut function).await?;
        Ok(function)
    }

    /// Waits until requests arrive at a function that is played.
    pub(crate) async fn is_served(&mut self, function: &mut Function) -> Result {
        loop {
            let mut pending = self.begin(Service::Action, "Unary", vec![]).await?;
            loop {
                tokio::select! {
                    biased;
                    command = function.command("a command") => {
                        let command = command?;
                        // One of an earlier check may come again.
                        let own = ticket_of(command.metadata.as_ref()) == Some(pending.ticket);
                        let version = command.opening.map_or(0, |opening| opening.version);
                        let decision = Decision { version, ..saying(command.id, "") };
                        function.send(Frame::Decision(decision)).await;
                        if own {
                            pending.call.answer().await;
                            return Ok(());
                        }
                    }
                    _ = pending.call.next() => break,
                }
            }
            sleep(RETRY_PAUSE).await;
        }
    }

    /// Lets a played function go in order.
    pub(crate) async fn dismiss(&mut self, mut function: Function) -> Result {
        self.wait_for("the end of a connection after Goodbye");
        function.send(Frame::Goodbye(Goodbye {})).await;
        loop {
            use crate::proto::v1::firn_frame::Frame as Received;
            match function.event().await? {
                Event::End(end) if end.status == 0 => return Ok(()),
                Event::End(end) => {
                    return Err(Fault::new("R90", "the end with OK", format!("{end:?}")));
                }
                Event::Frame(Received::Close(close)) => {
                    let incarnation = close.incarnation;
                    function.send(Frame::Closed(Closed { incarnation })).await;
                }
                Event::Frame(_) => {}
            }
        }
    }

    /// Kills the proxy and starts it again. The seats are gone.
    pub(crate) fn restart(&mut self) -> Result {
        self.cut();
        let proxy = self.proxy.as_mut().expect("the check needs it");
        let failed = |error: std::io::Error| Fault::new("R26", "a start", error.to_string());
        proxy.kill().map_err(failed)?;
        proxy.start().map_err(failed)
    }

    // -----------------------------------------------------------------------------------------
    // Requests

    /// Begins a request of a method with headers.
    pub(crate) async fn begin_with(
        &mut self,
        service: Service,
        method: &str,
        message: Option<Vec<u8>>,
        headers: &[(&str, &str)],
    ) -> Result<Pending> {
        self.last_ticket += 1;
        let ticket = self.last_ticket;
        let mut all = vec![(TICKET.to_owned(), ticket.to_string())];
        let given = headers.iter();
        all.extend(given.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let path = format!("/{}/{method}", service.name());
        let client = self.client().await?;
        let mut call = client.begin(&path, &all);
        if let Some(message) = message {
            call.send(message.into()).await;
            call.half_close();
        }
        self.log.add(&format!("client: {ticket} {path}"));
        Ok(Pending {
            ticket,
            call,
            answer: Answer {
                headers: http::HeaderMap::new(),
                messages: Vec::new(),
                end: super::client::End {
                    status: 0,
                    message: String::new(),
                    code: String::new(),
                    details: None,
                },
            },
        })
    }

    /// Begins a request of the action.
    pub(crate) async fn begin(
        &mut self,
        service: Service,
        method: &str,
        steps: Vec<step::Step>,
    ) -> Result<Pending> {
        let message = request("", steps).encode_to_vec();
        self.begin_with(service, method, Some(message), &[]).await
    }

    /// Begins a request of an entity.
    pub(crate) async fn begin_entity(
        &mut self,
        key: &Key,
        steps: Vec<step::Step>,
    ) -> Result<Pending> {
        let message = request(&key.1, steps).encode_to_vec();
        self.begin_with(key.0, "Process", Some(message), &[]).await
    }

    /// Begins a request of a replicated entity, which more than half of the members must have.
    pub(crate) async fn begin_data(
        &mut self,
        key: &Key,
        method: &str,
        steps: Vec<data_step::Step>,
    ) -> Result<Pending> {
        let steps = steps.into_iter().map(|one| DataStep { step: Some(one) });
        let message = DataRequest {
            id: key.1.clone(),
            steps: steps.collect(),
            consistency: 1,
        };
        let message = Some(message.encode_to_vec());
        self.begin_with(key.0, method, message, &[]).await
    }

    /// What comes next at any seat. Cancel-safe.
    pub(crate) async fn event(&mut self) -> Result<(usize, Event)> {
        let seats = self.seats.iter_mut().enumerate();
        let waits = seats
            .map(|(place, seat)| Box::pin(async move { (place, seat.function.event().await) }));
        let waits: Vec<_> = waits.collect();
        if waits.is_empty() {
            return std::future::pending().await;
        }
        let (place, event) = first(waits).await;
        Ok((place, event?))
    }

    /// Answers it. Not cancel-safe: a decision would be lost.
    pub(crate) async fn take(&mut self, (place, event): (usize, Event)) -> Result {
        let seat = &mut self.seats[place];
        if seat.take(&mut self.player, event).await?.is_some() {
            self.seats.remove(place);
        }
        Ok(())
    }

    /// One frame of any seat, which is answered.
    pub(crate) async fn step(&mut self) -> Result {
        let event = self.event().await?;
        self.take(event).await
    }

    /// What comes of a request, while the seats are played. It is held against what was decided.
    pub(crate) async fn answer(&mut self, mut pending: Pending) -> Result<Answer> {
        self.wait_for(&format!("the answer to request {}", pending.ticket));
        loop {
            let event = tokio::select! {
                biased;
                came = pending.call.next() => match pending.take(came) {
                    None => continue,
                    Some(answer) => {
                        self.judge(pending.ticket, &answer)?;
                        return Ok(answer);
                    }
                },
                event = self.event() => event?,
            };
            self.take(event).await?;
        }
    }

    /// The next message of a streamed call, while the seats are played.
    pub(crate) async fn hears(&mut self, pending: &mut Pending) -> Result<bytes::Bytes> {
        self.wait_for(&format!("a reply to request {}", pending.ticket));
        loop {
            let event = tokio::select! {
                biased;
                came = pending.call.next() => match came {
                    Came::Headers(_) => continue,
                    Came::Message(message) => return Ok(message),
                    Came::End(end) => {
                        return Err(Fault::new("R60", "a reply", format!("{end:?}")));
                    }
                },
                event = self.event() => event?,
            };
            self.take(event).await?;
        }
    }

    /// What is there of a request already.
    pub(crate) fn poll(&mut self, pending: &mut Pending) -> Result<Option<Answer>> {
        while let Some(came) = pending.call.waiting() {
            if let Some(answer) = pending.take(came) {
                self.judge(pending.ticket, &answer)?;
                return Ok(Some(answer));
            }
        }
        Ok(None)
    }

    /// Holds what a client heard against what was decided.
    pub(crate) fn judge(&mut self, ticket: u64, answer: &Answer) -> Result {
        let end = &answer.end;
        self.log.add(&format!("client: {ticket} ends with {end:?}"));
        let Some(sent) = self.player.sent(ticket) else {
            return match end.status {
                // Of a stream there need not be a decision that it knows of.
                0 if answer.messages.len() == 1 => Err(Fault::new(
                    "R20",
                    "a reply after a decision",
                    format!("request {ticket} was answered without one that counts"),
                )),
                _ => Ok(()),
            };
        };
        let decision = sent.decision.clone();
        let matches = match &decision.answer {
            Some(decision::Answer::Reply(reply)) if end.status == 0 => answer.messages == [reply],
            Some(decision::Answer::Failure(failure)) if end.code.is_empty() => {
                // A lost connection and a caller that gave up are no answers.
                i32::from(end.status) == failure.code && end.message == failure.message
                    || matches!(end.status, 1 | 4 | 14)
            }
            Some(decision::Answer::Failure(_)) => true,
            _ => true,
        };
        if !matches {
            let came = format!("{end:?}, {} messages", answer.messages.len());
            return Err(Fault::new("R23", show::decision(&decision), came));
        }
        if end.status == 0 || end.code.is_empty() && end.status != 14 {
            self.player.acknowledge(ticket);
        }
        Ok(())
    }

    /// A request of an entity, and its reply.
    pub(crate) async fn ask(&mut self, key: &Key, steps: Vec<step::Step>) -> Result<Reply> {
        let pending = self.begin_entity(key, steps).await?;
        let answer = self.answer(pending).await?;
        reply_of(&answer)
    }

    /// A request of a replicated entity, which must be answered.
    pub(crate) async fn ask_data(
        &mut self,
        key: &Key,
        steps: Vec<data_step::Step>,
    ) -> Result<Answer> {
        let pending = self.begin_data(key, "Process", steps).await?;
        let answer = self.answer(pending).await?;
        ok(&answer)?;
        Ok(answer)
    }
}

/// The first of several that is ready.
async fn first<T>(mut waits: Vec<std::pin::Pin<Box<impl Future<Output = T>>>>) -> T {
    std::future::poll_fn(|context| {
        for wait in &mut waits {
            if let std::task::Poll::Ready(done) = wait.as_mut().poll(context) {
                return std::task::Poll::Ready(done);
            }
        }
        std::task::Poll::Pending
    })
    .await
}

/// The end of a call must be OK.
pub(crate) fn ok(answer: &Answer) -> Result {
    match answer.end.status {
        0 => Ok(()),
        _ => Err(Fault::new("R23", "OK", format!("{:?}", answer.end))),
    }
}

/// The one reply of a call.
pub(crate) fn reply_of(answer: &Answer) -> Result<Reply> {
    ok(answer)?;
    let one = match answer.messages.as_slice() {
        [one] => Reply::decode(one.clone()).ok(),
        _ => None,
    };
    one.ok_or_else(|| Fault::new("R23", "one Reply", format!("{answer:?}")))
}

/// The end of a call must be this status with this code.
pub(crate) fn refused(
    answer: &Answer,
    requirement: &'static str,
    status: u16,
    code: &str,
) -> Result {
    let end = &answer.end;
    if end.status == status && end.code == code {
        return Ok(());
    }
    let expected = format!("status {status} with {code}");
    Err(Fault::new(requirement, expected, format!("{end:?}")))
}

/// A decision that replies with a text.
pub(crate) fn saying(command: u64, text: &str) -> Decision {
    let reply = Reply {
        text: text.to_owned(),
        ..Reply::default()
    };
    Decision {
        command,
        answer: Some(decision::Answer::Reply(reply.encode_to_vec().into())),
        ..Decision::default()
    }
}
