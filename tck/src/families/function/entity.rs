//! A stream of an entity, as the proxy has it, and the referee over what comes on it.

use std::collections::BTreeMap;

use tokio::time::{Duration, timeout};

use super::rig::Log;
use crate::families::convert;
use crate::families::delta;
use crate::families::dialect::{Dialect, Kind};
use crate::families::stream::{In, Out};
use crate::families::wire;
use crate::fault::Fault;
use crate::oracle::{self, Asked, Circumstances};
use crate::proto::model::{data_step, step};
use crate::proto::v1::{Decision, Metadata, decision};
use crate::proxy::client::{Call, Came, Client, End};
use crate::record::Record;
use crate::show;

/// How long a function may take to end a stream after the proxy did, where that is not what is checked.
const GRACE: Duration = Duration::from_secs(1);

/// A stream, and what the store has of its entity.
pub(crate) struct Stream {
    pub(crate) dialect: Dialect,
    pub(crate) kind: Kind,
    pub(crate) id: String,
    pub(crate) record: Record,
    call: Call,
    log: Log,
    last: i64,
    /// Those that were not answered yet.
    open: BTreeMap<i64, Open>,
    /// It failed, so it may end.
    pub(crate) has_failed: bool,
}

struct Open {
    asked: Asked,
    headers: Metadata,
}

/// What comes of a stream.
#[derive(Debug)]
pub(crate) enum Heard {
    Out(Out),
    End(End),
}

impl Heard {
    /// In the short form for people.
    pub(super) fn show(&self, stream: &Stream) -> String {
        match self {
            Self::Out(out) => {
                let kind = match out {
                    Out::Failure(_) => "Failure of",
                    Out::Streamed(_) => "Message of",
                    Out::Cancelled(_) => "End of",
                    _ => "",
                };
                let decision = convert::decision(stream.dialect, &stream.record, out);
                match (decision, stream.kind) {
                    (Ok(decision), Kind::Data) => {
                        format!("{kind} {}", show::data_decision(&decision))
                    }
                    (Ok(decision), _) => format!("{kind} {}", show::decision(&decision)),
                    (Err(_), _) => show::short(&format!("{out:?}")),
                }
            }
            Self::End(end) => format!("the end: status {} {:?}", end.status, end.message),
        }
    }
}

impl Stream {
    /// Begins a stream with what the store has.
    pub(super) async fn begin(
        client: &Client,
        dialect: Dialect,
        id: &str,
        record: Record,
        log: Log,
    ) -> Self {
        let kind = convert::kind(dialect, record.service);
        let beginning = convert::begin(dialect, id, &record);
        let mut stream = Self::bare(client, dialect, id, record, log);
        stream.kind = kind;
        for message in &beginning {
            stream.send(message).await;
        }
        stream
    }

    /// A stream on which nothing was sent yet.
    pub(super) fn bare(
        client: &Client,
        dialect: Dialect,
        id: &str,
        record: Record,
        log: Log,
    ) -> Self {
        let kind = convert::kind(dialect, record.service);
        Self {
            dialect,
            kind,
            id: id.to_owned(),
            record,
            call: client.begin(&dialect.stream(kind), &[]),
            log,
            last: 0,
            open: BTreeMap::new(),
            has_failed: false,
        }
    }

    /// Sends a message.
    pub(crate) async fn send(&mut self, message: &In) {
        self.log.put(format!("kit: {}", brief(message)));
        let bytes = message.encode(self.dialect, self.kind);
        self.call.send(bytes).await;
    }

    /// The next command of the method, as the protocol has it.
    pub(crate) fn command(&mut self, method: &str, asked: &Asked) -> wire::Command {
        self.last += 1;
        wire::Command {
            entity_id: self.id.clone(),
            id: self.last,
            name: method.to_owned(),
            payload: Some(convert::request(self.dialect, asked)),
            streamed: false,
            metadata: None,
        }
    }

    /// Sends a request and returns the number of its command.
    pub(crate) async fn put(&mut self, asked: Asked) -> i64 {
        self.put_with(asked, Metadata::default()).await
    }

    /// Sends a request with metadata.
    pub(crate) async fn put_with(&mut self, asked: Asked, headers: Metadata) -> i64 {
        let mut command = self.command("Process", &asked);
        if self.dialect.has_entity_metadata() {
            command.metadata = Some(convert::to_metadata(&headers));
        }
        let id = command.id;
        self.open.insert(id, Open { asked, headers });
        self.send(&In::Command(command)).await;
        id
    }

    /// Sends a request that wants a stream of replies.
    pub(crate) async fn put_streamed(&mut self, asked: Asked) -> i64 {
        let mut command = self.command("Watch", &asked);
        command.streamed = true;
        let id = command.id;
        self.send(&In::Command(command)).await;
        id
    }

    /// What comes next. Cancel-safe.
    pub(crate) async fn hear(&mut self) -> Result<Heard, Fault> {
        loop {
            let heard = match self.call.next().await {
                Came::Headers(_) => continue,
                Came::End(end) => Heard::End(end),
                Came::Message(message) => {
                    let out = Out::decode(self.dialect, self.kind, &message);
                    Heard::Out(out.map_err(|came| {
                        Fault::new("F11", "a message that the protocol has", came)
                    })?)
                }
            };
            self.log
                .put(format!("function: {}", heard.show(self).trim_start()));
            return Ok(heard);
        }
    }

    /// What is there already.
    pub(crate) fn has_something(&mut self) -> Option<String> {
        match self.call.waiting()? {
            Came::Headers(_) => None,
            Came::Message(message) => Some(format!("a message of {} bytes", message.len())),
            Came::End(end) => Some(format!("the end, {end:?}")),
        }
    }

    /// The next answer to a command, judged and stored.
    pub(crate) async fn answer(&mut self) -> Result<(i64, Decision), Fault> {
        match self.hear().await? {
            Heard::Out(out) => self.judge(&out),
            end @ Heard::End(_) => Err(Fault::new(
                "F11",
                format!("the answers to {} commands", self.open.len()),
                end.show(self),
            )),
        }
    }

    /// Judges an answer, and stores what it changes.
    pub(crate) fn judge(&mut self, out: &Out) -> Result<(i64, Decision), Fault> {
        let decision = convert::decision(self.dialect, &self.record, out)?;
        let id = decision.command.cast_signed();
        let Some(open) = self.open.remove(&id) else {
            let open: Vec<_> = self.open.keys().collect();
            let came = format!("an answer to {id}: {}", show::short(&format!("{out:?}")));
            return Err(Fault::new(
                "F11",
                format!("answers to the open commands {open:?}"),
                came,
            ));
        };
        let failed = matches!(decision.answer, Some(decision::Answer::Failure(_)));
        if failed && (decision.mutation.is_some() || !decision.effects.is_empty()) {
            let came = show::short(&format!("{decision:?}"));
            return Err(Fault::new("F15", "nothing beside a failure", came));
        }
        if breaks(&open.asked) {
            let came = || show::short(&format!("{decision:?}"));
            self.has_failed = true;
            return match failed {
                true => Ok((id, decision)),
                false => Err(Fault::new("F16", "a failure", came())),
            };
        }
        if matches!(out, Out::Failure(_)) {
            // That is not how commands are rejected.
            self.has_failed = true;
        }
        let with = Circumstances {
            entity_id: &self.id,
            called: &[],
            headers: &open.headers,
        };
        let judged = oracle::check(&self.record, &open.asked, &with, &decision);
        judged.map_err(|fault| convert::fault(fault, self.kind))?;
        if !failed {
            let applied = self.record.apply(&decision);
            applied.map_err(|fault| convert::fault(fault, self.kind))?;
        }
        Ok((id, decision))
    }

    /// Sends a request and judges its answer.
    pub(crate) async fn ask(&mut self, asked: impl Into<Asked>) -> Result<Decision, Fault> {
        let asked = asked.into();
        if breaks(&asked) {
            return self.break_with(asked).await;
        }
        let id = self.put(asked).await;
        let (answered, decision) = self.answer().await?;
        if answered == id {
            Ok(decision)
        } else {
            Err(Fault::new(
                "F11",
                format!("the answer to {id}"),
                format!("to {answered}"),
            ))
        }
    }

    /// Sends a request that breaks its handler. The stream may end with it.
    async fn break_with(&mut self, asked: Asked) -> Result<Decision, Fault> {
        let id = self.put(asked).await;
        let broken = || Decision {
            command: id.cast_unsigned(),
            ..Decision::default()
        };
        match self.hear().await? {
            // Whatever the status is, the command failed.
            Heard::End(_) => {}
            // So it did if all of the stream is said to have failed.
            Heard::Out(Out::Failure(failure)) if failure.command_id == 0 => {}
            Heard::Out(out) => return self.judge(&out).map(|(_, decision)| decision),
        }
        self.open.remove(&id);
        self.has_failed = true;
        Ok(broken())
    }

    /// Tells the function of a change from elsewhere.
    pub(crate) async fn change(&mut self, step: &data_step::Step) {
        let before = self.record.data();
        let mut after = before.clone();
        after.step(step);
        let is_known = self.record.data.is_some();
        self.record.data = Some(after.clone());
        let message = match is_known {
            true => In::Change(delta::encode(self.dialect, &before.change(step))),
            // It has no value that could be changed.
            false => In::Whole(delta::encode_whole(self.dialect, &after.delta())),
        };
        self.send(&message).await;
    }

    /// Sends nothing any more.
    pub(crate) fn half_close(&mut self) {
        self.log
            .put(format!("kit: ends the stream of {:?}", self.id));
        self.call.half_close();
    }

    /// Ends the stream as the proxy does, without a look at how the function takes it: returns whether
    /// it ended it, too.
    pub(super) async fn leave(mut self) -> (String, Record, bool) {
        self.half_close();
        let ended = timeout(GRACE, async {
            while !matches!(self.call.next().await, Came::End(_)) {}
        });
        let has_ended = ended.await.is_ok();
        (self.id, self.record, has_ended)
    }

    /// What the store has, after the stream was cut.
    pub(super) fn cut(self) -> (String, Record) {
        (self.id, self.record)
    }

    /// Ends the stream and expects that the function does so, too.
    pub(crate) async fn end(mut self) -> Result<Record, Fault> {
        self.half_close();
        loop {
            match self.hear().await? {
                Heard::End(end) if end.status == 0 => return Ok(self.record),
                Heard::Out(out) if !self.open.is_empty() => {
                    self.judge(&out)?;
                }
                other => {
                    return Err(Fault::new(
                        "F13",
                        "the end, without an error",
                        other.show(&self),
                    ));
                }
            }
        }
    }

    /// How many commands are open.
    pub(crate) fn open(&self) -> usize {
        self.open.len()
    }
}

/// Whether the steps end in a handler that breaks.
pub(crate) fn breaks(asked: &Asked) -> bool {
    match asked {
        Asked::Steps(request) => {
            let mut steps = request.steps.iter().filter_map(|one| one.step.as_ref());
            let ends =
                |step: &&step::Step| matches!(step, step::Step::Fail(_) | step::Step::Crash(_));
            matches!(steps.find(ends), Some(step::Step::Crash(_)))
        }
        Asked::Data(request) => {
            let mut steps = request.steps.iter().filter_map(|one| one.step.as_ref());
            let ends = |step: &&data_step::Step| {
                matches!(step, data_step::Step::Fail(_) | data_step::Step::Crash(_))
            };
            matches!(steps.find(ends), Some(data_step::Step::Crash(_)))
        }
    }
}

fn brief(message: &In) -> String {
    let text = match message {
        In::Init(init) => format!(
            "beginning of {:?}, {}, {} bytes of state",
            init.entity_id,
            init.service_name,
            init.state.as_ref().map_or(0, bytes::Bytes::len)
        ),
        In::Command(command) => format!(
            "command {}: {}, {} bytes",
            command.id,
            command.name,
            command.payload.encoded_len_of()
        ),
        other => format!("{other:?}"),
    };
    show::short(&text)
}

/// The length of an optional message.
trait Length {
    fn encoded_len_of(&self) -> usize;
}

impl Length for Option<prost_types::Any> {
    fn encoded_len_of(&self) -> usize {
        self.as_ref().map_or(0, prost::Message::encoded_len)
    }
}
