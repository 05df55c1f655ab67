//! A function that answers by itself, for the workload: what a request's text says is what is done.
//!
//! The text is a list of words, the first of which is the request's ticket. Each stream and each call has
//! a task of its own, as in a real function; what they decide is in the [`Ledger`] before it is sent.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prost::Message as _;
use tokio::task::JoinSet;

use super::checks::data::{changed, step, types_of};
use super::contract::{Request, Text, kept, kind_of, said};
use super::host::Opened;
use super::ledger::{Decided, Ledger, State};
use super::message::{Begins, In, Reply, failure};
use super::stream::{ActIn, Acting, Stream, act_failed, act_forwarded, acted};
use super::world::{Key, effect, forward};
use crate::checks::Result;
use crate::data::Data;
use crate::families::delta;
use crate::families::dialect::{Dialect, Family, Kind};
use crate::families::wire;
use crate::fault::Fault;
use crate::proto::v1::DataType;
use crate::proxy::function::Log;
use crate::workload::Random;

/// What a request asks for, after its ticket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Word {
    /// The ticket is added to the state; replicated data changes as the ticket says.
    Add,
    /// With a snapshot. Event sourced entities.
    Snapshot,
    /// Nothing remains. Value entities.
    Delete,
    /// The command is rejected, after whatever else.
    Fail,
    /// The stream fails instead of an answer.
    Crash,
    /// The function ends the stream instead of an answer.
    End,
    /// An effect with its ticket.
    Effect { key: Key, ticket: u64, wait: bool },
    /// Another one answers, with a ticket of its own.
    Forward { key: Key, ticket: u64 },
}

/// The services that words name.
pub(super) const SERVICES: [&str; 6] =
    ["Value", "ValueTwo", "Events", "EventsTwo", "Data", "ActTwo"];

/// A request's text.
pub(super) fn write(ticket: u64, words: &[Word]) -> String {
    let mut text = ticket.to_string();
    for word in words {
        text.push(' ');
        text.push_str(&match word {
            Word::Add => "add".to_owned(),
            Word::Snapshot => "snapshot".to_owned(),
            Word::Delete => "delete".to_owned(),
            Word::Fail => "fail".to_owned(),
            Word::Crash => "crash".to_owned(),
            Word::End => "end".to_owned(),
            Word::Effect { key, ticket, wait } => {
                format!("effect:{}:{}:{ticket}:{wait}", key.service, key.id)
            }
            Word::Forward { key, ticket } => {
                format!("forward:{}:{}:{ticket}", key.service, key.id)
            }
        });
    }
    text
}

/// The ticket and the words of a text.
pub(super) fn read(text: &str) -> Option<(u64, Vec<Word>)> {
    let mut parts = text.split(' ');
    let ticket = parts.next()?.parse().ok()?;
    let key = |service: &str, id: &str| {
        let service = SERVICES.into_iter().find(|one| *one == service)?;
        let id = id.to_owned();
        Some(Key { service, id })
    };
    let word = |part: &str| {
        let parts: Vec<&str> = part.split(':').collect();
        Some(match parts.as_slice() {
            ["add"] => Word::Add,
            ["snapshot"] => Word::Snapshot,
            ["delete"] => Word::Delete,
            ["fail"] => Word::Fail,
            ["crash"] => Word::Crash,
            ["end"] => Word::End,
            ["effect", service, id, ticket, wait] => Word::Effect {
                key: key(service, id)?,
                ticket: ticket.parse().ok()?,
                wait: *wait == "true",
            },
            ["forward", service, id, ticket] => Word::Forward {
                key: key(service, id)?,
                ticket: ticket.parse().ok()?,
            },
            _ => return None,
        })
    };
    let words = parts.map(word).collect::<Option<_>>()?;
    Some((ticket, words))
}

/// The type of data that an entity is, as its id says.
pub(super) fn type_of(dialect: Dialect, id: &str) -> DataType {
    let types: Vec<DataType> = types_of(dialect).collect();
    let number = id.rsplit('-').next().and_then(|one| one.parse().ok());
    types[number.unwrap_or(0_usize) % types.len()]
}

/// See the module.
pub(super) struct Player {
    dialect: Dialect,
    ledger: Arc<Mutex<Ledger>>,
    tasks: JoinSet<()>,
}

impl Player {
    pub(super) fn new(dialect: Dialect) -> Self {
        Self {
            dialect,
            ledger: Arc::default(),
            tasks: JoinSet::new(),
        }
    }

    pub(super) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        lock(&self.ledger)
    }

    /// All that is under way ends at once.
    pub(super) async fn stop(&mut self) {
        self.tasks.shutdown().await;
    }

    /// Serves the stream of an entity.
    pub(super) fn serve(&mut self, opened: Opened<Kind>, log: Log) {
        while self.tasks.try_join_next().is_some() {}
        let (dialect, ledger) = (self.dialect, Arc::clone(&self.ledger));
        self.tasks.spawn(async move {
            let served = async {
                let stream = Stream::begin(dialect, opened, log).await?;
                entity(dialect, &ledger, stream).await
            };
            if let Err(fault) = served.await {
                lock(&ledger).blame(fault);
            }
        });
    }

    /// Serves a call of an action.
    pub(super) fn act(&mut self, acting: Acting) {
        while self.tasks.try_join_next().is_some() {}
        let ledger = Arc::clone(&self.ledger);
        self.tasks.spawn(async move {
            if let Err(fault) = action(&ledger, acting).await {
                lock(&ledger).blame(fault);
            }
        });
    }
}

fn lock(ledger: &Mutex<Ledger>) -> MutexGuard<'_, Ledger> {
    ledger.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The request of a command.
fn request_of(payload: Option<&prost_types::Any>) -> Result<(Request, u64, Vec<Word>)> {
    let misfit = || Fault::new("F113", "a request of the workload", format!("{payload:?}"));
    let payload = payload.ok_or_else(misfit)?;
    let request = Request::decode(&*payload.value).map_err(|_| misfit())?;
    let (ticket, words) = read(&request.text).ok_or_else(misfit)?;
    Ok((request, ticket, words))
}

/// What an entity is made of while it is in memory.
struct Entity {
    dialect: Dialect,
    key: Key,
    kind: Kind,
    state: State,
    /// How many events there are.
    events: i64,
    number: u64,
}

impl Entity {
    fn empty(kind: Kind) -> State {
        match kind {
            Kind::Data => State::Data(None),
            _ => State::Tickets(String::new()),
        }
    }

    fn tickets(&self) -> &str {
        match &self.state {
            State::Tickets(text) => text,
            State::Data(_) => "",
        }
    }

    fn show(&self) -> String {
        match &self.state {
            State::Tickets(text) => text.clone(),
            State::Data(data) => format!("{data:?}"),
        }
    }
}

fn text_of(any: &prost_types::Any) -> Result<String> {
    let text = Text::decode(&*any.value);
    let misfit = |error: prost::DecodeError| Fault::new("F131", "what was kept", error.to_string());
    text.map(|text| text.text).map_err(misfit)
}

/// Reads the beginning of a stream, until its first command.
async fn begin(dialect: Dialect, stream: &mut Stream) -> Result<Option<(Entity, wire::Command)>> {
    let kind = stream.kind;
    let (service, id, begins) = match stream.next().await? {
        In::Init {
            service,
            id,
            begins,
        } => (service, id, begins),
        // Nothing came of it, as the proxy was killed.
        In::Broken => return Ok(None),
        came => return Err(Fault::new("F110", "the beginning", came.show())),
    };
    let short = service.rsplit('.').next().unwrap_or_default();
    let service = SERVICES.into_iter().find(|one| *one == short);
    let key = Key {
        service: service.unwrap_or("Value"),
        id,
    };
    if service.is_none_or(|service| kind_of(service) != kind) {
        return Err(Fault::new(
            "F110",
            "a service of the workload",
            format!("{key:?}"),
        ));
    }
    let mut events = 0;
    let mut state = match begins {
        Begins::State(Some(state)) => State::Tickets(text_of(&state)?),
        Begins::Snapshot(number, state) => {
            events = number;
            State::Tickets(text_of(&state)?)
        }
        Begins::Data(bytes) => {
            let misfit = |why| Fault::new("F140", "a value", why);
            let whole = delta::decode_whole(dialect, &bytes).map_err(misfit)?;
            State::Data(Some(Data::of(&whole).map_err(misfit)?))
        }
        Begins::State(None) | Begins::Absent => Entity::empty(kind),
    };
    loop {
        match stream.next().await? {
            In::Event(number, event) => {
                events += 1;
                if number != events {
                    let expected = format!("event {events} of {key:?}");
                    return Err(Fault::new("F132", expected, number.to_string()));
                }
                if let State::Tickets(text) = &mut state {
                    text.push_str(&text_of(&event)?);
                }
            }
            In::Command(command) => {
                let entity = Entity {
                    dialect,
                    key,
                    kind,
                    state,
                    events,
                    number: 0,
                };
                return Ok(Some((entity, command)));
            }
            In::SnapshotRequest(_) => {}
            // It had nothing to do any more.
            In::HalfClose | In::Broken => return Ok(None),
            came => return Err(Fault::new("F110", "events and commands", came.show())),
        }
    }
}

async fn entity(dialect: Dialect, ledger: &Mutex<Ledger>, mut stream: Stream) -> Result {
    let Some((mut entity, mut command)) = begin(dialect, &mut stream).await? else {
        return Ok(());
    };
    let (state, empty) = (entity.state.clone(), Entity::empty(entity.kind));
    entity.number = lock(ledger).begins(&entity.key, state, empty)?;
    let mut last = 0;
    loop {
        let is_cloudstate = dialect.family() == Family::Cloudstate;
        if command.id <= last || is_cloudstate && command.id != last + 1 {
            let expected = format!("command {} of {:?}", last + 1, entity.key);
            return Err(Fault::new("F111", expected, command.id.to_string()));
        }
        last = command.id;
        if command.entity_id != entity.key.id {
            return Err(Fault::new("F110", entity.key.id, command.entity_id));
        }
        let many = is_cloudstate && entity.kind == Kind::Data;
        if !many && stream.has_more()? {
            let expected = format!("one command of {:?} at a time", entity.key);
            return Err(Fault::new(
                "F112",
                expected,
                "another one before the answer",
            ));
        }
        if !entity.answer(ledger, &mut stream, &command).await? {
            return Ok(());
        }
        command = loop {
            match stream.next().await? {
                In::Command(command) => break command,
                In::SnapshotRequest(request_id) => {
                    let snapshot = Some(kept(entity.tickets()));
                    stream
                        .say(&crate::families::stream::Out::Snapshot(
                            wire::SnapshotReply {
                                request_id,
                                snapshot,
                            },
                        ))
                        .await;
                }
                In::HalfClose => {
                    stream.complete();
                    return Ok(());
                }
                In::Broken => return Ok(()),
                came => {
                    let expected = "commands, as nobody else changes it";
                    return Err(Fault::new("F141", expected, came.show()));
                }
            }
        };
    }
}

impl Entity {
    /// Answers a command. False if the stream is over.
    async fn answer(
        &mut self,
        ledger: &Mutex<Ledger>,
        stream: &mut Stream,
        command: &wire::Command,
    ) -> Result<bool> {
        let (_, ticket, words) = request_of(command.payload.as_ref())?;
        let mark = format!("<{ticket}>");
        if self.tickets().contains(&mark) {
            let expected = format!("request {ticket} of {:?} once", self.key);
            return Err(Fault::new("F154", expected, self.tickets().to_owned()));
        }
        lock(ledger).seen.insert(ticket);
        if words.contains(&Word::Crash) {
            lock(ledger).crashes(&self.key);
            stream.fail(&failure(command.id, "crash")).await;
            stream.complete();
            return Ok(false);
        }
        if words.contains(&Word::End) {
            lock(ledger).crashes(&self.key);
            stream.complete();
            return Ok(false);
        }
        let before = (self.state.clone(), self.events);
        let mut reply = Reply::to(command.id);
        let mut forwards = None;
        for word in &words {
            match word {
                Word::Add | Word::Snapshot => reply = self.add(reply, ticket, word),
                Word::Delete => {
                    self.state = State::Tickets(String::new());
                    reply = reply.remove();
                }
                Word::Effect { key, ticket, wait } => {
                    let text = write(*ticket, &[Word::Add]);
                    reply = reply.effect(effect(to(key, &text), *wait));
                }
                Word::Forward { key, ticket } => {
                    let text = write(*ticket, &[Word::Add]);
                    forwards = Some((*ticket, to(key, &text)));
                }
                Word::Fail | Word::Crash | Word::End => {}
            }
        }
        let fails = words.contains(&Word::Fail);
        let is_changed = before.0 != self.state;
        // What comes beside a failure is kept by Cloudstate alone.
        if fails && self.dialect.family() != Family::Cloudstate {
            (self.state, self.events) = before;
        }
        let is_kept = is_changed && (!fails || self.dialect.family() == Family::Cloudstate);
        let reply = {
            let mut ledger = lock(ledger);
            let version = match is_kept {
                true => ledger.becomes(&self.key, self.number, self.state.clone()),
                false => ledger.version(&self.key),
            };
            let (reply, decided) = if fails {
                let (version, reason) = (is_kept.then_some(version), "rejected");
                let decided = Decided::Failure(self.key.clone(), version, reason.to_owned());
                (reply.failing(reason), decided)
            } else if let Some((next, forward)) = forwards {
                (reply.forwarding(forward), Decided::Forward(next))
            } else {
                let shown = self.show();
                let reply = reply.with(said(&shown));
                (reply, Decided::Reply(self.key.clone(), version, shown))
            };
            ledger.decide(ticket, decided);
            reply
        };
        stream.reply(reply).await;
        Ok(true)
    }

    /// Adds a ticket.
    fn add(&mut self, reply: Reply, ticket: u64, word: &Word) -> Reply {
        let mark = format!("<{ticket}>");
        match &mut self.state {
            State::Tickets(text) => {
                text.push_str(&mark);
                match (self.kind, word) {
                    (Kind::Value, _) => reply.update(kept(text)),
                    (_, Word::Snapshot) => {
                        let snapshot = kept(text);
                        self.events += 1;
                        reply.events([kept(&mark)]).snapshot(snapshot)
                    }
                    _ => {
                        self.events += 1;
                        reply.events([kept(&mark)])
                    }
                }
            }
            State::Data(data) => {
                let data_type = type_of(self.dialect, &self.key.id);
                let step = step(&mut Random(ticket), self.dialect, data_type);
                let (after, change) = changed(data.as_ref(), data_type, &step);
                match change {
                    Some(change) => {
                        *data = Some(after);
                        reply.change(delta::encode(self.dialect, &change))
                    }
                    None => reply,
                }
            }
        }
    }
}

fn to(key: &Key, text: &str) -> wire::Forward {
    forward(key.service, key.method(), &key.id, text)
}

async fn action(ledger: &Mutex<Ledger>, mut acting: Acting) -> Result {
    let ActIn::Command(command) = acting.next().await? else {
        return Ok(());
    };
    // Whether it is served is asked with an action, too.
    let Ok((_, ticket, words)) = request_of(command.payload.as_ref()) else {
        acting.answer(acted(said("ready"))).await;
        return Ok(());
    };
    let mut response = acted(said(&ticket.to_string()));
    let mut decided = Decided::Acted(ticket.to_string());
    let mut effects = Vec::new();
    for word in &words {
        match word {
            Word::Forward { key, ticket } => {
                let text = write(*ticket, &[Word::Add]);
                response = act_forwarded(to(key, &text));
                decided = Decided::Forward(*ticket);
            }
            Word::Effect { key, ticket, wait } => {
                let text = write(*ticket, &[Word::Add]);
                effects.push(effect(to(key, &text), *wait));
            }
            Word::Fail => {
                response = act_failed(failure(0, "rejected"));
                decided = Decided::ActFailed("rejected".to_owned());
            }
            _ => {}
        }
    }
    response.side_effects = effects;
    {
        let mut ledger = lock(ledger);
        ledger.seen.insert(ticket);
        ledger.decide(ticket, decided);
    }
    acting.answer(response).await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_read_as_they_were_written() {
        let key = Key {
            service: "ValueTwo",
            id: "a-1".into(),
        };
        let words = [
            Word::Add,
            Word::Snapshot,
            Word::Delete,
            Word::Fail,
            Word::Crash,
            Word::End,
            Word::Effect {
                key: key.clone(),
                ticket: 7,
                wait: true,
            },
            Word::Forward { key, ticket: 8 },
        ];
        let text = write(3, &words);
        assert_eq!(read(&text), Some((3, words.to_vec())));
        assert_eq!(read("ready"), None);
        assert_eq!(read("3 nothing"), None);
    }
}
