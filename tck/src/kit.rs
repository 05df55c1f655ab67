//! What checks are written with: a Firn that is played step by step.
//!
//! [`Kit`] holds the port, the store and at most one connection. Whatever waits says first what it
//! waits for ([`Kit::waiting`]), so that a check that runs out of time can tell.

mod steps;

use std::collections::VecDeque;

use bytes::Bytes;
use prost::Message as _;

use crate::connection::{Connection, Entity, Event, Judge, NewCommand, Numbers, Store, frame};
use crate::fault::Fault;
use crate::oracle::Asked;
use crate::proto::model::{DataRequest, data_step, step};
use crate::proto::v1::firn_frame::Frame as Sent;
use crate::proto::v1::function_frame::Frame;
use crate::proto::v1::{
    self, Decision, FirnFrame, FunctionBatch, FunctionFrame, Hello, Metadata, Welcome,
};
use crate::service::Service;
use crate::show;
use crate::wire::{Incoming, Link, Port, Read};

pub(crate) use steps::{
    append, delete, fail, failure_of, hang, process, reply_of, request, set, two, value,
};

/// The highest minor version that the kit speaks.
pub(crate) const MINOR: u32 = 0;
/// Frames that are shown when a check fails.
const RECENT_FRAMES: usize = 16;
/// How much of a frame is shown then.
const FRAME_CHARACTERS: usize = 160;
/// How many round trips stand for "long enough to have sent what must not be sent".
const FENCE_ROUNDS: usize = 3;

/// A call that was taken and has said Hello.
pub(crate) struct Begun {
    pub(crate) link: Link,
    pub(crate) hello: Hello,
}

/// See the module.
pub(crate) struct Kit {
    port: Port,
    pub(crate) token: Option<String>,
    pub(crate) store: Store,
    /// How the function is stopped.
    pub(crate) stop: Option<Box<dyn FnMut() + Send>>,
    /// Of the random workload.
    pub(crate) seed: u64,
    /// How many commands the random workload has.
    pub(crate) commands: u32,
    link: Option<Link>,
    connection: Option<Connection>,
    numbers: Numbers,
    last_entity: u64,
    was_dialed: bool,
    /// What has come and was not looked at yet.
    unread: VecDeque<Read>,
    recent: VecDeque<String>,
    waiting: String,
}

/// What Firn grants unless a check is about it.
pub(crate) fn welcome() -> Welcome {
    Welcome {
        minor: MINOR,
        firn: "conformance kit".into(),
        calls: 64,
        call_messages: 16,
        frame_bytes: 32 << 20,
        chunk_bytes: 64 << 10,
        client_address: "localhost:9000".into(),
    }
}

impl Kit {
    pub(crate) fn new(port: Port, token: Option<String>) -> Self {
        Self {
            port,
            token,
            store: Store::new(),
            stop: None,
            seed: 0,
            commands: 0,
            link: None,
            connection: None,
            numbers: Numbers::default(),
            last_entity: 0,
            was_dialed: false,
            unread: VecDeque::new(),
            recent: VecDeque::new(),
            waiting: String::new(),
        }
    }

    // -----------------------------------------------------------------------------------------
    // Connections

    /// Waits until the function has dialed and said Hello, and checks how it did.
    pub(crate) async fn begin(&mut self) -> Result<Begun, Fault> {
        self.disconnect();
        loop {
            let mut link = self.dialed().await?.take();
            if let Some(hello) = self.hello(&mut link).await? {
                return Ok(Begun { link, hello });
            }
        }
    }

    /// Reads the Hello of a call that was taken.
    pub(crate) async fn begun(&mut self, mut link: Link) -> Result<Begun, Fault> {
        let ended = || Fault::new("R2", "Hello", "the end of the call");
        let hello = self.hello(&mut link).await?.ok_or_else(ended)?;
        Ok(Begun { link, hello })
    }

    /// Waits until the function has dialed; nothing of what it sends is looked at.
    pub(crate) async fn dialed(&mut self) -> Result<Incoming, Fault> {
        self.disconnect();
        self.wait_for("the function to dial");
        let gone = || Fault::new("R1", "a port that listens", "it is closed");
        let mut incoming = self.port.next().await.ok_or_else(gone)?;
        self.was_dialed = true;
        // Those before are of connections that were given up.
        while let Some(newer) = self.port.waiting() {
            incoming = newer;
        }
        if incoming.path != "/firn.v1.Functions/Connect" {
            let expected = "a call of /firn.v1.Functions/Connect";
            return Err(Fault::new("R1", expected, incoming.path));
        }
        let header = |name: &str| incoming.headers.get(name).and_then(|one| one.to_str().ok());
        let kind = header("content-type").unwrap_or("").to_owned();
        if !kind.starts_with("application/grpc") {
            let expected = "content-type application/grpc";
            return Err(Fault::new("R1", expected, kind));
        }
        if let Some(token) = &self.token {
            let expected = format!("Bearer {token}");
            let given = header("authorization").unwrap_or("none");
            if given != expected {
                let expected = format!("authorization: {expected}");
                return Err(Fault::new("R3", expected, given));
            }
        }
        Ok(incoming)
    }

    /// The Hello, or nothing if the call ended before: then it was an old one.
    async fn hello(&mut self, link: &mut Link) -> Result<Option<Hello>, Fault> {
        self.wait_for("Hello, without having sent response headers");
        let Read::Message(message) = link.read().await else {
            return Ok(None);
        };
        let batch = FunctionBatch::decode(message)
            .map_err(|error| Fault::new("R2", "Hello", error.to_string()))?;
        let frames: Vec<String> = batch.frames.iter().map(show::function_frame).collect();
        match batch.frames.into_iter().map(|one| one.frame).next() {
            Some(Some(Frame::Hello(hello))) if frames.len() == 1 => Ok(Some(hello)),
            _ => Err(Fault::new(
                "R2",
                "Hello alone, before anything",
                frames.join("; "),
            )),
        }
    }

    /// Welcomes the function; from here on the connection is the kit's.
    pub(crate) async fn welcome(&mut self, begun: Begun, welcome: Welcome) -> Result<(), Fault> {
        let minor = welcome.minor.min(begun.hello.minor);
        let welcome = Welcome { minor, ..welcome };
        self.link = Some(begun.link);
        let connection = Connection::new(begun.hello, welcome.clone(), self.numbers);
        self.connection = Some(connection);
        self.send(vec![frame(Sent::Welcome(welcome))]).await
    }

    /// A connection with this Welcome, begun anew.
    pub(crate) async fn fresh(&mut self, with: Welcome) -> Result<(), Fault> {
        let begun = self.begin().await?;
        self.welcome(begun, with).await
    }

    /// Any connection that works.
    pub(crate) async fn ready(&mut self) -> Result<(), Fault> {
        if self.connection.is_some() {
            return Ok(());
        }
        self.fresh(welcome()).await
    }

    /// Cuts the connection, if there is one.
    pub(crate) fn disconnect(&mut self) {
        if let Some(connection) = self.connection.take() {
            self.numbers = connection.numbers();
        }
        self.unread.clear();
        if let Some(link) = self.link.take() {
            link.cut();
        }
    }

    /// Whether the function has ever dialed.
    pub(crate) fn was_dialed(&self) -> bool {
        self.was_dialed
    }

    /// The call itself.
    pub(crate) fn link(&mut self) -> Result<&mut Link, Fault> {
        self.link.as_mut().ok_or_else(no_connection)
    }

    /// Ends the call with a status; the connection below lives on.
    pub(crate) fn end(&mut self, status: u16, message: &'static str, code: &'static str) {
        if let Some(connection) = self.connection.take() {
            self.numbers = connection.numbers();
        }
        if let Some(mut link) = self.link.take() {
            link.end(status, message, code);
        }
    }

    /// The machine of the connection.
    pub(crate) fn on(&mut self) -> Result<&mut Connection, Fault> {
        self.connection.as_mut().ok_or_else(no_connection)
    }

    // -----------------------------------------------------------------------------------------
    // Frames

    fn note(&mut self, line: String) {
        if self.recent.len() == RECENT_FRAMES {
            self.recent.pop_front();
        }
        self.recent
            .push_back(show::at_most(&line, FRAME_CHARACTERS));
    }

    /// Says what is waited for.
    pub(crate) fn wait_for(&mut self, what: &str) {
        what.clone_into(&mut self.waiting);
    }

    /// What was waited for last.
    pub(crate) fn waiting(&self) -> String {
        self.waiting.clone()
    }

    /// The newest frames in both directions.
    pub(crate) fn recent(&self) -> Vec<String> {
        self.recent.iter().cloned().collect()
    }

    /// Forgets the frames of the check before.
    pub(crate) fn forget_recent(&mut self) {
        self.recent.clear();
    }

    /// Sends frames in as few batches as may be, after what was to be sent before.
    pub(crate) async fn send(&mut self, frames: Vec<FirnFrame>) -> Result<(), Fault> {
        let connection = self.on()?;
        let mut all = std::mem::take(&mut connection.outbox);
        all.extend(frames);
        let lines: Vec<String> = all.iter().map(show::firn_frame).collect();
        let batches = self.on()?.batches(all);
        if !batches.is_empty() {
            for line in lines {
                self.note(format!("kit: {line}"));
            }
        }
        for batch in batches {
            self.send_bytes(&batch.encode_to_vec()).await?;
        }
        Ok(())
    }

    /// Sends one message, whatever is in it.
    pub(crate) async fn send_bytes(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        self.wait_for("the function to read what is sent (R84)");
        let sent = self.link()?.send(bytes).await;
        sent.map_err(|error| Fault::new("R84", "a function that reads", error.to_string()))
    }

    /// Sends what is to be sent.
    pub(crate) async fn flush(&mut self) -> Result<(), Fault> {
        self.send(Vec::new()).await
    }

    /// Reads what comes next from the function into the events of the connection.
    async fn read(&mut self) -> Result<(), Fault> {
        self.flush_if_any().await?;
        let read = match self.unread.pop_front() {
            Some(read) => read,
            None => self.link()?.read().await,
        };
        self.take(read)?;
        self.flush_if_any().await
    }

    async fn flush_if_any(&mut self) -> Result<(), Fault> {
        if self.on()?.outbox.is_empty() {
            return Ok(());
        }
        let waiting = self.waiting();
        let sent = self.flush().await;
        self.waiting = waiting;
        sent
    }

    fn take(&mut self, read: Read) -> Result<(), Fault> {
        match read {
            Read::Message(message) => {
                if let Ok(batch) = FunctionBatch::decode(message.clone()) {
                    for one in &batch.frames {
                        self.note(format!("function: {}", show::function_frame(one)));
                    }
                }
                let connection = self.connection.as_mut().ok_or_else(no_connection)?;
                connection.take(message, &mut self.store)
            }
            Read::End => {
                self.note("function: ends its side".to_owned());
                let end = Event::Ended("the function ended its side".to_owned());
                self.on()?.events.push_back(end);
                Ok(())
            }
            Read::Broken(why) => {
                self.note(format!("function: {why}"));
                self.on()?.events.push_back(Event::Ended(why));
                Ok(())
            }
        }
    }

    /// Reads what is there already.
    pub(crate) async fn read_waiting(&mut self) -> Result<(), Fault> {
        while let Some(read) = self.unread.pop_front() {
            self.take(read)?;
        }
        while let Some(read) = self.link()?.waiting() {
            self.take(read)?;
        }
        self.flush_if_any().await
    }

    /// Waits for the first event that `pick` takes. It gives others back.
    pub(crate) async fn wait<T>(
        &mut self,
        what: &str,
        pick: impl Fn(&Event) -> Option<T>,
    ) -> Result<T, Fault> {
        loop {
            self.wait_for(what);
            let events = &mut self.on()?.events;
            let found = events
                .iter()
                .enumerate()
                .find_map(|(at, event)| Some((at, pick(event)?)));
            if let Some((at, taken)) = found {
                events.remove(at);
                return Ok(taken);
            }
            let ended = events.iter().find_map(|event| match event {
                Event::Ended(why) => Some(why.clone()),
                _ => None,
            });
            if let Some(why) = ended {
                return Err(Fault::new(
                    "R1",
                    what,
                    format!("the end of the connection: {why}"),
                ));
            }
            self.read().await?;
        }
    }

    /// Waits until a frame has begun to come in pieces, or something else has come.
    pub(crate) async fn first_chunk(&mut self) -> Result<(), Fault> {
        self.wait_for("a frame in chunks");
        while !self.on()?.is_transferring() && self.on()?.events.is_empty() {
            self.read().await?;
        }
        Ok(())
    }

    /// The next event, whatever it is.
    pub(crate) async fn next(&mut self, what: &str) -> Result<Event, Fault> {
        loop {
            self.wait_for(what);
            if let Some(event) = self.on()?.events.pop_front() {
                return Ok(event);
            }
            self.read().await?;
        }
    }

    // -----------------------------------------------------------------------------------------
    // Commands

    /// An entity that no check had before.
    pub(crate) fn entity(&mut self, service: Service) -> Entity {
        self.last_entity += 1;
        Entity {
            service,
            id: format!("e{}", self.last_entity),
        }
    }

    /// Puts a command into the outbox. The ticket names its answer.
    pub(crate) fn put(&mut self, entity: &Entity, steps: Vec<step::Step>) -> Result<u64, Fault> {
        let new = process(entity, steps);
        let connection = self.connection.as_mut().ok_or_else(no_connection)?;
        connection.process(entity, new, &self.store)
    }

    /// Puts a command of a replicated entity into the outbox.
    pub(crate) fn put_data(
        &mut self,
        entity: &Entity,
        steps: Vec<data_step::Step>,
    ) -> Result<u64, Fault> {
        self.put_data_of(entity, "Process", steps, 0)
    }

    /// The same with the method and the consistency.
    pub(crate) fn put_data_of(
        &mut self,
        entity: &Entity,
        method: &'static str,
        steps: Vec<data_step::Step>,
        consistency: u32,
    ) -> Result<u64, Fault> {
        let steps = steps
            .into_iter()
            .map(|one| crate::proto::model::DataStep { step: Some(one) });
        let new = NewCommand {
            service: entity.service,
            method,
            asked: Asked::Data(DataRequest {
                id: entity.id.clone(),
                steps: steps.collect(),
                consistency,
            }),
            headers: Metadata::default(),
            judge: Judge::Steps,
        };
        let connection = self.connection.as_mut().ok_or_else(no_connection)?;
        connection.process(entity, new, &self.store)
    }

    /// Puts a command of the action into the outbox.
    pub(crate) fn put_action(
        &mut self,
        method: &'static str,
        steps: Vec<step::Step>,
    ) -> Result<u64, Fault> {
        let mut new = process(&ACTION, steps);
        new.method = method;
        self.on()?.action(new)
    }

    /// Sends a command and waits for its decision, which is judged by its steps.
    pub(crate) async fn ask(
        &mut self,
        entity: &Entity,
        steps: Vec<step::Step>,
    ) -> Result<Decision, Fault> {
        let ticket = self.put(entity, steps)?;
        self.decision(ticket).await
    }

    /// The same for a replicated entity.
    pub(crate) async fn ask_data(
        &mut self,
        entity: &Entity,
        steps: Vec<data_step::Step>,
    ) -> Result<Decision, Fault> {
        let ticket = self.put_data(entity, steps)?;
        self.decision(ticket).await
    }

    /// The same for `Unary` of the action.
    pub(crate) async fn ask_action(&mut self, steps: Vec<step::Step>) -> Result<Decision, Fault> {
        let ticket = self.put_action("Unary", steps)?;
        self.decision(ticket).await
    }

    /// Leaves the decision of a command to the check, instead of its steps.
    pub(crate) fn judged_here(&mut self, ticket: u64) -> Result<(), Fault> {
        if let Some(open) = self.on()?.open.get_mut(&ticket) {
            open.judge = Judge::Check;
        }
        Ok(())
    }

    /// Stops the function, if there is a way to.
    pub(crate) fn stop(&mut self) {
        if let Some(stop) = &mut self.stop {
            stop();
        }
    }

    /// Waits for the decision of a command.
    pub(crate) async fn decision(&mut self, ticket: u64) -> Result<Decision, Fault> {
        let what = format!("the decision of command {ticket}");
        let pick = |event: &Event| match event {
            Event::Decision {
                ticket: of,
                decision,
            } if *of == ticket => Some(decision.clone()),
            _ => None,
        };
        self.wait(&what, pick).await
    }

    /// Waits for a reply of a streamed call.
    pub(crate) async fn reply(&mut self, ticket: u64) -> Result<v1::Reply, Fault> {
        let what = format!("a Reply of command {ticket}");
        let pick = |event: &Event| match event {
            Event::Reply { ticket: of, reply } if *of == ticket => Some(reply.clone()),
            _ => None,
        };
        self.wait(&what, pick).await
    }

    /// Whether a reply of a call has come already.
    pub(crate) fn has_reply(&mut self, ticket: u64) -> Result<bool, Fault> {
        let events = &self.on()?.events;
        let is_one =
            |event: &Event| matches!(event, Event::Reply { ticket: of, .. } if *of == ticket);
        Ok(events.iter().any(is_one))
    }

    /// Waits for a call of the function. Calls must be left to the check.
    pub(crate) async fn call(&mut self) -> Result<v1::Call, Fault> {
        let pick = |event: &Event| match event {
            Event::Call(call) => Some(call.clone()),
            _ => None,
        };
        self.wait("a Call", pick).await
    }

    /// Waits for Closed of an incarnation. Says whether the kit had asked for it.
    pub(crate) async fn closed(&mut self, incarnation: u64) -> Result<bool, Fault> {
        let what = format!("Closed {incarnation}");
        let pick = |event: &Event| match event {
            Event::Closed {
                incarnation: of,
                asked,
                ..
            } if *of == incarnation => Some(*asked),
            _ => None,
        };
        self.wait(&what, pick).await
    }

    /// Closes the incarnation of an entity and waits until the function has.
    pub(crate) async fn close(&mut self, entity: &Entity) -> Result<(), Fault> {
        if let Some(incarnation) = self.on()?.close(entity) {
            self.closed(incarnation).await?;
        }
        Ok(())
    }

    /// A message of a streamed call. Waits for credit.
    pub(crate) async fn message(
        &mut self,
        ticket: u64,
        steps: Option<Vec<step::Step>>,
        end: bool,
    ) -> Result<(), Fault> {
        let message = steps.map(|steps| Bytes::from(request("", steps).encode_to_vec()));
        if message.is_some() {
            loop {
                let open = self.on()?.open.get_mut(&ticket);
                match open {
                    Some(open) if open.messages_left > 0 => {
                        open.messages_left -= 1;
                        break;
                    }
                    None => break,
                    Some(_) => {
                        let what = format!("Credit for messages of command {ticket}");
                        let pick = |event: &Event| match event {
                            Event::MessageCredit { ticket: of, .. } if *of == ticket => Some(()),
                            _ => None,
                        };
                        self.wait(&what, pick).await?;
                    }
                }
            }
        }
        let command = ticket;
        self.send(vec![frame(Sent::Message(v1::Message {
            command,
            message,
            end,
        }))])
        .await
    }

    /// Lets pass as much as lets the function do what it must not do.
    pub(crate) async fn fence(&mut self) -> Result<(), Fault> {
        for _ in 0..FENCE_ROUNDS {
            self.ask_action(vec![append("fence")]).await?;
        }
        Ok(())
    }

    /// As [`Self::fence`], but what comes is left unread: what the kit sends next crosses it.
    pub(crate) async fn blind_fence(&mut self) -> Result<(), Fault> {
        for _ in 0..FENCE_ROUNDS {
            let ticket = self.put_action("Unary", vec![append("fence")])?;
            self.flush().await?;
            if !self.on()?.outbox.is_empty() {
                // Without credit nothing can cross.
                self.decision(ticket).await?;
                continue;
            }
            self.wait_for(&format!("the decision of command {ticket}"));
            let is_it = |frame: &FunctionFrame| match &frame.frame {
                Some(Frame::Decision(decision)) => decision.command == ticket,
                _ => false,
            };
            let mut came = false;
            while !came {
                let read = self.link()?.read().await;
                came = match &read {
                    Read::Message(message) => FunctionBatch::decode(message.clone())
                        .is_ok_and(|batch| batch.frames.iter().any(is_it)),
                    Read::End | Read::Broken(_) => true,
                };
                self.unread.push_back(read);
            }
        }
        Ok(())
    }

    /// Closes and cancels all that is open, and waits until nothing is.
    pub(crate) async fn settle(&mut self) -> Result<(), Fault> {
        if self.connection.is_none() {
            return Ok(());
        }
        self.on()?.answers_calls = true;
        self.on()?.grants_replies = true;
        loop {
            self.on()?.close_all();
            if self.on()?.is_idle() {
                break;
            }
            let things = self.on()?.open_things();
            self.next(&format!("the end of all that is open: {things}"))
                .await?;
        }
        self.flush_if_any().await?;
        self.on()?.events.clear();
        Ok(())
    }
}

fn no_connection() -> Fault {
    Fault::new("R1", "a connection", "none")
}

/// Stands for the action, which has no entities.
const ACTION: Entity = Entity {
    service: Service::Action,
    id: String::new(),
};
