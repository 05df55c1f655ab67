//! The model services as the kit plays them, and what Firn must have of their entities.
//!
//! Every decision leaves a state, and every opening must bring one: the newest that was answered to a
//! client, or a later one that was decided and perhaps written. So durability, fencing and what happens
//! once are judged without knowing what is inside of Firn. Requests carry a *ticket* in a header, so
//! that what a client hears is held against what was decided for it.

use std::collections::{BTreeMap, VecDeque};

use prost::Message as _;

use super::function::{Event, Function};
use crate::fault::Fault;
use crate::oracle::{Asked, Circumstances, decide};
use crate::proto::model::{Called, DataRequest, Reply, Request, data_step, step};
use crate::proto::text_of;
use crate::proto::v1::firn_frame::Frame as Received;
use crate::proto::v1::function_frame::Frame;
use crate::proto::v1::metadata::entry;
use crate::proto::v1::{
    self, Call, Closed, Command, Credit, Decision, Metadata, call_result, decision,
};
use crate::record::Record;
use crate::service::{Service, streams, to_target};
use crate::show;

/// The header that names a request.
pub(crate) const TICKET: &str = "x-tck-ticket";

/// An entity.
pub(crate) type Key = (Service, String);

/// What Firn may have of an entity: the oldest is sure, each later one was decided.
struct Truth {
    states: VecDeque<(u64, Record)>,
}

/// A decision for a ticket.
#[derive(Clone)]
pub(crate) struct Sent {
    key: Option<Key>,
    /// The state that the handler left, or saw.
    serial: u64,
    pub(crate) decision: Decision,
    changed: bool,
}

/// What is known of all entities and requests.
#[derive(Default)]
pub(crate) struct Player {
    truths: BTreeMap<Key, Truth>,
    sent: BTreeMap<u64, Sent>,
    /// How often each ticket came.
    pub(crate) came: BTreeMap<u64, u32>,
    last_serial: u64,
}

/// A command that is handled.
struct Busy {
    command: Command,
    asked: Asked,
    called: Vec<Called>,
    call: Option<u64>,
}

struct Live {
    key: Key,
    record: Record,
    serial: u64,
    queue: VecDeque<Command>,
    busy: Option<Busy>,
    watches: Vec<u64>,
}

/// A call whose replies stream, or whose requests do.
#[derive(Default)]
struct Stream {
    left: u32,
    replies: VecDeque<Reply>,
    values: VecDeque<bytes::Bytes>,
    sent: u64,
    steps: Vec<crate::proto::model::Step>,
    end: Option<Decision>,
}

/// A connection on which the services are played.
pub(crate) struct Seat {
    pub(crate) function: Function,
    services: Vec<Service>,
    live: BTreeMap<u64, Live>,
    actions: BTreeMap<u64, Busy>,
    streams: BTreeMap<u64, Stream>,
    last_call: u64,
}

impl Player {
    fn truth(&mut self, key: &Key) -> &mut Truth {
        self.truths.entry(key.clone()).or_insert_with(|| Truth {
            states: VecDeque::from([(0, Record::new(key.0))]),
        })
    }

    /// The newest state that was decided.
    pub(crate) fn newest(&mut self, key: &Key) -> Record {
        let truth = self.truth(key);
        truth.states.back().expect("never empty").1.clone()
    }

    /// What was decided for a request.
    pub(crate) fn sent(&self, ticket: u64) -> Option<&Sent> {
        self.sent.get(&ticket)
    }

    /// A client has heard of a decision: what its handler saw, and left, is durable (R26).
    pub(crate) fn acknowledge(&mut self, ticket: u64) {
        let Some(sent) = self.sent.get(&ticket) else {
            return;
        };
        let serial = sent.serial;
        if let Some(key) = sent.key.clone() {
            let truth = self.truth(&key);
            while truth.states.get(1).is_some_and(|(next, _)| *next <= serial) {
                truth.states.pop_front();
            }
        }
    }

    /// Finds the state that an opening brings among those that may be. What was decided after it is
    /// void.
    fn open(&mut self, key: &Key, opened: &Record) -> Result<u64, Fault> {
        let truth = self.truth(key);
        let found = truth.states.iter().rposition(|(_, one)| one.is_as(opened));
        let Some(place) = found else {
            let all = truth.states.iter();
            let all: Vec<_> = all.map(|(_, one)| state_of(one)).collect();
            return Err(Fault::new(
                "R26",
                show::short(&format!("{} {:?} as one of {all:?}", key.0.name(), key.1)),
                show::short(&state_of(opened)),
            ));
        };
        truth.states.truncate(place + 1);
        truth.states.drain(..place);
        let serial = truth.states[0].0;
        self.sent
            .retain(|_, sent| sent.key.as_ref() != Some(key) || sent.serial <= serial);
        Ok(serial)
    }
}

fn state_of(record: &Record) -> String {
    match record.service {
        Service::Data(_) => format!("{:?}", record.data()),
        _ => format!("{:?} {:?}", record.state(), record.tags),
    }
}

pub(crate) fn ticket_of(metadata: Option<&Metadata>) -> Option<u64> {
    let entries = metadata.map_or(&[][..], |metadata| &metadata.entries);
    let entry = entries.iter().find(|entry| entry.key == TICKET)?;
    match &entry.value {
        Some(entry::Value::Text(text)) => text.parse().ok(),
        _ => None,
    }
}

fn hangs(asked: &Asked) -> bool {
    match asked {
        Asked::Steps(request) => {
            let mut steps = request.steps.iter();
            steps.any(|one| matches!(one.step, Some(step::Step::Hang(_))))
        }
        Asked::Data(request) => {
            let mut steps = request.steps.iter();
            steps.any(|one| matches!(one.step, Some(data_step::Step::Hang(_))))
        }
    }
}

fn called(result: &v1::CallResult) -> Called {
    match &result.result {
        Some(call_result::Result::Reply(reply)) => Called {
            reply: Some(Reply::decode(reply.clone()).unwrap_or_default()),
            ..Called::default()
        },
        Some(call_result::Result::Failure(failure)) => Called {
            code: failure.code,
            message: failure.message.clone(),
            details: failure.details.iter().filter_map(text_of).collect(),
            ..Called::default()
        },
        None => Called::default(),
    }
}

impl Seat {
    pub(crate) fn new(function: Function, contract: &v1::Contract) -> Self {
        let service = |name: &str| Service::all().find(|one| one.name() == name);
        let services = contract.components.iter();
        let services = services.map(|one| service(&one.service).unwrap_or(Service::Action));
        Self {
            services: services.collect(),
            function,
            live: BTreeMap::new(),
            actions: BTreeMap::new(),
            streams: BTreeMap::new(),
            last_call: 0,
        }
    }

    /// Whether a command is being handled.
    pub(crate) fn is_idle(&self) -> bool {
        self.actions.is_empty() && self.live.values().all(|live| live.busy.is_none())
    }

    /// Takes a frame and answers it. The end of the connection comes back.
    pub(crate) async fn take(
        &mut self,
        player: &mut Player,
        event: Event,
    ) -> Result<Option<super::client::End>, Fault> {
        let frame = match event {
            Event::End(end) => return Ok(Some(end)),
            Event::Frame(frame) => frame,
        };
        match frame {
            Received::Command(command) if command.incarnation == 0 => {
                self.action(player, command).await?;
            }
            Received::Command(command) => self.entity(player, command).await?,
            Received::Message(message) => self.message(player, message).await?,
            Received::Close(close) => {
                self.live.remove(&close.incarnation);
                let incarnation = close.incarnation;
                self.function
                    .send(Frame::Closed(Closed { incarnation }))
                    .await;
            }
            Received::Cancel(cancel) => self.cancel(cancel.id).await,
            Received::CallResult(result) => self.result(player, &result).await?,
            Received::Credit(credit) => {
                if let Some(stream) = self.streams.get_mut(&credit.command) {
                    stream.left += credit.amount;
                    self.pump(credit.command).await;
                }
            }
            Received::Change(change) => {
                if let (Some(live), Some(v1::change::Change::Delta(delta))) =
                    (self.live.get_mut(&change.incarnation), &change.change)
                {
                    let mut data = live.record.data();
                    let misfit = |came| Fault::new("R52", "a change that fits", came);
                    data.apply(delta).map_err(misfit)?;
                    live.record.data = Some(data);
                }
            }
            _ => {}
        }
        Ok(None)
    }

    /// Lets go of an incarnation that is idle (R42). Whether there was one.
    pub(crate) async fn let_go(&mut self, key: &Key) -> bool {
        let idle = |(id, live): (&u64, &Live)| {
            let is_idle = live.busy.is_none() && live.queue.is_empty() && live.watches.is_empty();
            (live.key == *key && is_idle).then_some(*id)
        };
        let Some(incarnation) = self.live.iter().find_map(idle) else {
            return false;
        };
        self.live.remove(&incarnation);
        self.function
            .send(Frame::Closed(Closed { incarnation }))
            .await;
        true
    }

    async fn entity(&mut self, player: &mut Player, mut command: Command) -> Result<(), Fault> {
        let incarnation = command.incarnation;
        let service = self.services[command.component as usize];
        if let Some(opening) = command.opening.take() {
            let key = (service, opening.entity_id.clone());
            let record = Record::of(service, &opening)?;
            let serial = player.open(&key, &record)?;
            let live = Live {
                key,
                record,
                serial,
                queue: VecDeque::new(),
                busy: None,
                watches: Vec::new(),
            };
            self.live.insert(incarnation, live);
        }
        // R42: what crosses Closed is passed over.
        let Some(live) = self.live.get_mut(&incarnation) else {
            return Ok(());
        };
        if matches!(service, Service::Data(_)) && command.method == 1 {
            live.watches.push(command.id);
            let value = live.record.data().value().encode_to_vec().into();
            let stream = Stream {
                left: self.function.welcome.call_messages,
                values: VecDeque::from([value]),
                ..Stream::default()
            };
            let id = command.id;
            self.streams.insert(id, stream);
            self.pump(id).await;
            return Ok(());
        }
        live.queue.push_back(command);
        self.go_on(player, incarnation).await
    }

    /// Handles what waits for an incarnation, as far as it can.
    async fn go_on(&mut self, player: &mut Player, incarnation: u64) -> Result<(), Fault> {
        loop {
            let Some(live) = self.live.get_mut(&incarnation) else {
                return Ok(());
            };
            if live.busy.is_none() {
                let Some(command) = live.queue.pop_front() else {
                    return Ok(());
                };
                let misfit = |error: prost::DecodeError| {
                    Fault::new("R20", "the client's request", error.to_string())
                };
                let message = command.message.clone();
                let (asked, id) = match live.key.0 {
                    Service::Data(_) => {
                        let request = DataRequest::decode(message).map_err(misfit)?;
                        let id = request.id.clone();
                        (Asked::Data(request), id)
                    }
                    _ => {
                        let request = Request::decode(message).map_err(misfit)?;
                        let id = request.id.clone();
                        (Asked::Steps(request), id)
                    }
                };
                if id != live.key.1 {
                    let expected = format!("commands of {:?}", live.key.1);
                    return Err(Fault::new("R13", expected, format!("one of {id:?}")));
                }
                if let Some(ticket) = ticket_of(command.metadata.as_ref()) {
                    *player.came.entry(ticket).or_default() += 1;
                    let is_data = matches!(live.key.0, Service::Data(_));
                    if player.sent(ticket).is_some_and(|sent| sent.changed) && !is_data {
                        let came = format!("request {ticket} once more, on the state it left");
                        return Err(Fault::new("R27", "one decision of a command", came));
                    }
                }
                live.busy = Some(Busy {
                    command,
                    asked,
                    called: Vec::new(),
                    call: None,
                });
            }
            let busy = live.busy.as_mut().expect("it was set");
            if hangs(&busy.asked) {
                return Ok(());
            }
            if let Some(call) = next_call(busy, &mut self.last_call) {
                self.function.send(Frame::Call(call)).await;
                return Ok(());
            }
            if busy.call.is_some() {
                return Ok(());
            }
            let busy = live.busy.take().expect("it was set");
            let metadata = busy.command.metadata.unwrap_or_default();
            let with = Circumstances {
                entity_id: &live.key.1,
                called: &busy.called,
                headers: &metadata,
            };
            let (decision, after) = decide(&live.record, &busy.asked, &with, busy.command.id)?;
            let changed = decision.mutation.is_some() && !after.is_as(&live.record);
            if decision.mutation.is_some() {
                player.last_serial += 1;
                live.serial = player.last_serial;
                let state = (live.serial, after.clone());
                player.truth(&live.key).states.push_back(state);
            }
            live.record = after;
            let value = live.record.data().value().encode_to_vec();
            if let Some(ticket) = ticket_of(Some(&metadata)) {
                let sent = Sent {
                    key: Some(live.key.clone()),
                    serial: live.serial,
                    decision: decision.clone(),
                    changed,
                };
                player.sent.insert(ticket, sent);
            }
            let watches = match changed {
                true => live.watches.clone(),
                false => Vec::new(),
            };
            self.function.send(Frame::Decision(decision)).await;
            for watch in watches {
                if let Some(stream) = self.streams.get_mut(&watch) {
                    stream.values.push_back(value.clone().into());
                }
                self.pump(watch).await;
            }
        }
    }

    async fn action(&mut self, player: &mut Player, command: Command) -> Result<(), Fault> {
        let method = Service::Action.methods()[command.method as usize];
        let id = command.id;
        if let Some(ticket) = ticket_of(command.metadata.as_ref()) {
            *player.came.entry(ticket).or_default() += 1;
        }
        let request = Request::decode(command.message.clone())
            .map_err(|error| Fault::new("R20", "the client's request", error.to_string()))?;
        let (requests, replies) = streams(method);
        if requests || replies {
            let left = self.function.welcome.call_messages;
            let stream = Stream {
                left,
                ..Stream::default()
            };
            self.streams.insert(id, stream);
        }
        let busy = Busy {
            command,
            asked: Asked::Steps(request.clone()),
            called: Vec::new(),
            call: None,
        };
        self.actions.insert(id, busy);
        if requests {
            return Ok(());
        }
        if replies {
            self.replies(id, &request);
            if hangs(&Asked::Steps(request)) {
                self.pump(id).await;
                return Ok(());
            }
        }
        self.finish(player, id).await
    }

    /// Queues what `send` steps say.
    fn replies(&mut self, id: u64, request: &Request) {
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        for step in &request.steps {
            let Some(step::Step::Send(send)) = &step.step else {
                continue;
            };
            for _ in 0..send.times {
                stream.sent += 1;
                stream.replies.push_back(Reply {
                    text: send.text.clone(),
                    count: stream.sent,
                    ..Reply::default()
                });
            }
        }
    }

    async fn message(&mut self, player: &mut Player, message: v1::Message) -> Result<(), Fault> {
        let id = message.command;
        let Some(busy) = self.actions.get_mut(&id) else {
            return Ok(());
        };
        let method = Service::Action.methods()[busy.command.method as usize];
        if let Some(bytes) = message.message {
            let request = Request::decode(bytes)
                .map_err(|error| Fault::new("R60", "the client's request", error.to_string()))?;
            if streams(method).1 {
                self.replies(id, &request);
            }
            if let Some(stream) = self.streams.get_mut(&id) {
                stream.steps.extend(request.steps);
            }
            let credit = Credit {
                command: id,
                amount: 1,
            };
            self.function.send(Frame::Credit(credit)).await;
        }
        self.pump(id).await;
        if !message.end {
            return Ok(());
        }
        let steps = self.streams.get_mut(&id).map(|one| one.steps.clone());
        if let Some(busy) = self.actions.get_mut(&id) {
            busy.asked = Asked::Steps(Request {
                id: String::new(),
                steps: steps.unwrap_or_default(),
            });
        }
        self.finish(player, id).await
    }

    /// Goes on with an action until it has to wait, or has its decision.
    async fn finish(&mut self, player: &mut Player, id: u64) -> Result<(), Fault> {
        let Some(busy) = self.actions.get_mut(&id) else {
            return Ok(());
        };
        if hangs(&busy.asked) {
            return Ok(());
        }
        if let Some(call) = next_call(busy, &mut self.last_call) {
            self.function.send(Frame::Call(call)).await;
            return Ok(());
        }
        if busy.call.is_some() {
            return Ok(());
        }
        let busy = self.actions.remove(&id).expect("it is there");
        let metadata = busy.command.metadata.unwrap_or_default();
        let with = Circumstances {
            entity_id: "",
            called: &busy.called,
            headers: &metadata,
        };
        let record = Record::new(Service::Action);
        let (mut decision, _) = decide(&record, &busy.asked, &with, id)?;
        let method = Service::Action.methods()[busy.command.method as usize];
        let replies = streams(method).1;
        if replies && matches!(decision.answer, Some(decision::Answer::Reply(_))) {
            decision.answer = None;
        }
        if let Some(ticket) = ticket_of(Some(&metadata)) {
            let sent = Sent {
                key: None,
                serial: 0,
                decision: decision.clone(),
                changed: false,
            };
            player.sent.insert(ticket, sent);
        }
        match self.streams.get_mut(&id) {
            Some(stream) if replies => {
                stream.end = Some(decision);
                self.pump(id).await;
            }
            _ => {
                self.streams.remove(&id);
                self.function.send(Frame::Decision(decision)).await;
            }
        }
        Ok(())
    }

    /// Sends the replies of a call as far as there is credit, and its end behind them.
    async fn pump(&mut self, id: u64) {
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        let mut frames = Vec::new();
        while stream.left > 0 {
            let reply = stream.replies.pop_front();
            let reply = reply.map(|reply| reply.encode_to_vec().into());
            let Some(message) = reply.or_else(|| stream.values.pop_front()) else {
                break;
            };
            stream.left -= 1;
            frames.push(Frame::Reply(v1::Reply {
                command: id,
                message,
                ..v1::Reply::default()
            }));
        }
        if stream.replies.is_empty()
            && stream.values.is_empty()
            && let Some(decision) = stream.end.take()
        {
            frames.push(Frame::Decision(decision));
            self.streams.remove(&id);
        }
        for frame in frames {
            self.function.send(frame).await;
        }
    }

    async fn cancel(&mut self, id: u64) {
        self.actions.remove(&id);
        let stream = self.streams.remove(&id);
        let mut was_open = stream.is_some();
        for live in self.live.values_mut() {
            live.watches.retain(|watch| *watch != id);
            let is_it = |busy: &Busy| busy.command.id == id;
            if live.busy.as_ref().is_some_and(is_it) {
                live.busy = None;
                was_open = true;
            }
        }
        if was_open || !self.function.is_answered(id) {
            let failure = v1::Failure {
                code: 1,
                message: "cancelled".into(),
                ..v1::Failure::default()
            };
            let decision = Decision {
                command: id,
                answer: Some(decision::Answer::Failure(failure)),
                ..Decision::default()
            };
            self.function.send(Frame::Decision(decision)).await;
        }
    }

    async fn result(&mut self, player: &mut Player, result: &v1::CallResult) -> Result<(), Fault> {
        let called = called(result);
        let is_it = |busy: &&mut Busy| busy.call == Some(result.id);
        for (id, live) in &mut self.live {
            if let Some(busy) = live.busy.as_mut().filter(is_it) {
                busy.called.push(called);
                busy.call = None;
                let id = *id;
                return self.go_on(player, id).await;
            }
        }
        for (id, busy) in &mut self.actions {
            if busy.call == Some(result.id) {
                busy.called.push(called);
                busy.call = None;
                let id = *id;
                return self.finish(player, id).await;
            }
        }
        Ok(())
    }
}

/// The next call that a handler makes, if it does not wait for one already.
fn next_call(busy: &mut Busy, last_call: &mut u64) -> Option<Call> {
    if busy.call.is_some() {
        return None;
    }
    let calls = busy.asked.calls();
    let target = calls.get(busy.called.len()).copied();
    let target = target.and_then(to_target)?;
    *last_call += 1;
    busy.call = Some(*last_call);
    Some(Call {
        id: *last_call,
        command: busy.command.id,
        target: Some(target),
        timeout_ms: 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::model::State;

    fn state(text: &str) -> Record {
        let mut record = Record::new(Service::Value);
        record.state = Some(State {
            text: text.to_owned(),
            count: 1,
        });
        record
    }

    /// A player that decided "one" and "two" for tickets 1 and 2 of an entity.
    fn decided(key: &Key) -> Player {
        let mut player = Player::default();
        for (serial, text) in (1..).zip(["one", "two"]) {
            player.truth(key).states.push_back((serial, state(text)));
            let sent = Sent {
                key: Some(key.clone()),
                serial,
                decision: Decision::default(),
                changed: true,
            };
            player.sent.insert(serial, sent);
        }
        player
    }

    /// R26: what was answered must be there; what was only decided may be, and is void if not.
    #[test]
    fn lost_state_is_found() {
        let key = (Service::Value, "a".to_owned());
        let may = ["", "one", "two"];
        for (acknowledged, known) in [(0, 0), (1, 1), (2, 2)] {
            for (place, text) in may.iter().enumerate() {
                let mut player = decided(&key);
                player.acknowledge(acknowledged);
                let opened = match *text {
                    "" => Record::new(Service::Value),
                    text => state(text),
                };
                let found = player.open(&key, &opened);
                assert_eq!(found.is_ok(), place >= known, "{acknowledged} {text}");
                let counts = found.is_ok() && place >= 2;
                assert_eq!(player.sent(2).is_some_and(|_| found.is_ok()), counts);
            }
        }
        let mut player = decided(&key);
        let fault = player.open(&key, &state("never")).expect_err("a fault");
        assert_eq!(fault.requirement, "R26");
    }
}
