//! The streams of its entities.

use std::collections::BTreeMap;

use bytes::Bytes;
use prost::Message as _;

use super::quirk::Quirk;
use super::server::Server;
use crate::data::Data;
use crate::families::dialect::Kind;
use crate::families::function::entity::breaks;
use crate::families::stream::{In, Out};
use crate::families::{answer, convert, delta, wire};
use crate::oracle::{self, Asked, Circumstances};
use crate::proto::model::{self, DataRequest, State, Value, data_step, step};
use crate::proto::v1::delta::Delta as DeltaKind;
use crate::proto::v1::{self, DataType, Decision, Delta, Metadata, decision, mutation};
use crate::record::Record;
use crate::service::Service;
use crate::wire::{Link, Read};

/// The steps of a request on replicated data.
fn data_steps(request: &DataRequest) -> impl Iterator<Item = &data_step::Step> {
    request.steps.iter().filter_map(|one| one.step.as_ref())
}
pub(super) struct Entity<'a> {
    server: &'a Server,
    kind: Kind,
    link: Link,
    record: Record,
    id: String,
    /// Their last wills.
    watches: BTreeMap<i64, Vec<data_step::Step>>,
}

impl<'a> Entity<'a> {
    pub(super) fn new(server: &'a Server, kind: Kind, link: Link) -> Self {
        Self {
            server,
            kind,
            link,
            record: Record::new(Service::Action),
            id: String::new(),
            watches: BTreeMap::new(),
        }
    }

    fn has(&self, quirk: Quirk) -> bool {
        self.server.has(quirk)
    }

    async fn send(&mut self, out: &Out) {
        let bytes = out.encode(self.server.dialect, self.kind);
        // The kit may have gone.
        let _ = self.link.send(&bytes).await;
    }

    /// The end of a stream that was misused.
    async fn give_up(&mut self, command_id: i64, why: &str) {
        let failure = wire::Failure {
            command_id,
            description: why.to_owned(),
            ..wire::Failure::default()
        };
        self.send(&Out::Failure(failure)).await;
        self.link.end(0, "", "");
    }

    async fn next(&mut self) -> Option<In> {
        match self.link.read().await {
            Read::Message(message) => {
                let message = In::decode(self.server.dialect, self.kind, &message);
                Some(message.expect("a message of the protocol"))
            }
            Read::End => {
                match self.server.quirk {
                    Quirk::NeverEnds => std::future::pending().await,
                    Quirk::EndsBroken => self.link.end(2, "it broke", ""),
                    _ => self.link.end(0, "", ""),
                }
                None
            }
            Read::Broken(_) => None,
        }
    }

    pub(super) async fn run(&mut self) {
        let mut first = self.next().await;
        let init = match &first {
            Some(In::Init(init)) => init.clone(),
            Some(In::Command(command)) if self.has(Quirk::HeadlessAnswered) => {
                let init = wire::Init {
                    service_name: self.server.dialect.service(match self.kind {
                        Kind::Action | Kind::Value => Service::Value,
                        Kind::Events => Service::Events,
                        Kind::Data => Service::Data(DataType::Counter),
                    }),
                    entity_id: command.entity_id.clone(),
                    state: (self.kind == Kind::Value).then(Bytes::new),
                };
                first = Some(In::Command(command.clone()));
                init
            }
            Some(_) => return self.give_up(0, "not begun").await,
            None => return,
        };
        let dialect = self.server.dialect;
        let mut name = init.service_name.clone();
        if self.has(Quirk::AnyService) {
            name = name.replace("Nowhere", "");
        }
        let service = dialect.service_of(&name);
        let service = service.filter(|service| dialect.kind(*service) == Some(self.kind));
        let Some(service) = service else {
            return self.give_up(0, "no such service").await;
        };
        self.id = init.entity_id.clone();
        if self.has(Quirk::SpeaksFirst) {
            self.give_up(0, "hello").await;
            return;
        }
        let mut pending = match first {
            Some(In::Init(_)) => None,
            command => command,
        };
        let mut events = Vec::new();
        while pending.is_none() {
            match self.next().await {
                Some(In::Event(event)) => events.push(event),
                Some(other) => pending = Some(other),
                None => return,
            }
        }
        if self.has(Quirk::LaterEventsLost) && init.state.is_some() {
            events.clear();
        }
        let opening = answer::opening(dialect, self.kind, &init, &events);
        let opening = opening.expect("an opening");
        self.record = Record::of(service, &opening).expect("an opening that fits");
        if self.has(Quirk::StateIgnored) {
            self.record = Record::new(service);
        }
        if self.has(Quirk::StateShared) {
            let last = self.server.last.borrow().clone();
            if let Some(last) = last {
                self.record = last;
                self.record.service = service;
            }
        }
        while let Some(message) = pending {
            if !self.take(message).await {
                return;
            }
            pending = self.next().await;
        }
    }

    /// Takes a message and returns whether the stream goes on.
    async fn take(&mut self, message: In) -> bool {
        let dialect = self.server.dialect;
        match message {
            In::Init(_) | In::Event(_) if self.has(Quirk::SecondBeginningTaken) => true,
            In::Init(_) | In::Event(_) => {
                self.give_up(0, "begun already").await;
                false
            }
            In::Command(command) => self.command(command).await,
            In::Whole(_) | In::Change(_) if self.has(Quirk::ElsewhereIgnored) => true,
            In::Whole(bytes) => {
                let mut data = Record::new(self.record.service).data();
                let whole = delta::decode_whole(dialect, &bytes).expect("a value");
                data.apply(&whole).expect("it fits");
                self.record.data = Some(data);
                self.show(!self.has(Quirk::ElsewhereUnshown)).await;
                true
            }
            In::Change(bytes) => {
                let mut data = self.record.data();
                let change = delta::decode(dialect, &bytes).expect("a delta");
                data.apply(&change).expect("it fits");
                self.record.data = Some(data);
                self.show(!self.has(Quirk::ElsewhereUnshown)).await;
                true
            }
            In::Deleted if self.has(Quirk::DeleteBreaks) => {
                self.link.end(2, "gone", "");
                false
            }
            In::Deleted => {
                self.record.data = None;
                true
            }
            In::Cancelled(cancelled) => {
                self.cancelled(cancelled.id).await;
                true
            }
            In::SnapshotRequest(request) => {
                let mut state = self.record.state();
                if self.has(Quirk::StaleSnapshot) {
                    state = State::default();
                }
                let reply = wire::SnapshotReply {
                    request_id: request.request_id,
                    snapshot: Some(convert::payload(dialect, "State", &state)),
                };
                self.send(&Out::Snapshot(reply)).await;
                true
            }
        }
    }

    async fn command(&mut self, command: wire::Command) -> bool {
        let dialect = self.server.dialect;
        if self.has(Quirk::EndLosesOpen) {
            // Whether the proxy has ended its side already.
            if let Some(Read::End) = self.link.waiting() {
                self.link.end(0, "", "");
                return false;
            }
        }
        let is_known = matches!(command.name.as_str(), "Process" | "Watch");
        if !is_known && !self.has(Quirk::UnknownAnswered) {
            let failure = wire::Failure {
                command_id: command.id,
                description: "no such method".into(),
                ..wire::Failure::default()
            };
            self.send(&Out::Failure(failure)).await;
            return true;
        }
        let asked = answer::asked(dialect, self.kind, command.payload.as_ref());
        let asked = asked.expect("a request");
        if breaks(&asked) {
            if self.has(Quirk::CrashReplies) {
                let asked = without_end(&asked);
                return self.answer(&asked, &command).await;
            }
            self.give_up(command.id, "it broke").await;
            return false;
        }
        match &asked {
            Asked::Data(request) if command.streamed => {
                self.watch(request, command.id).await;
                true
            }
            asked => self.answer(asked, &command).await,
        }
    }

    async fn answer(&mut self, asked: &Asked, command: &wire::Command) -> bool {
        let server = self.server;
        let headers = command.metadata.as_ref().map(convert::metadata);
        let headers = headers.unwrap_or_default();
        let id = command.id.cast_unsigned();
        let before = self.record.clone();
        let mut decision = match asked {
            Asked::Steps(_) => {
                let with = Circumstances {
                    entity_id: &self.id,
                    called: &[],
                    headers: &headers,
                };
                let decided = oracle::decide(&self.record, asked, &with, id);
                let (decision, after) = decided.expect("it decides");
                self.record = after;
                decision
            }
            Asked::Data(request) => self.decide_data(request, id),
        };
        self.mistake(asked, &before, &mut decision);
        server.spoil(&mut decision);
        if self.has(Quirk::OddReply)
            && self.kind == Kind::Data
            && server.replies.get().is_multiple_of(40)
        {
            let wrong = Value {
                number: 999_999,
                text: "odd".into(),
                elements: vec!["odd".into()],
                on: true,
                entries: vec![model::ValueEntry::default()],
                ..Value::default()
            };
            decision.answer = Some(decision::Answer::Reply(wrong.encode_to_vec().into()));
            decision.mutation = None;
        }
        let mut out = answer::reply(server.dialect, &before, &decision);
        if let Out::Value(reply) = &mut out
            && self.has(Quirk::LookUpdates)
            && reply.state_action.is_none()
        {
            let state = convert::payload(server.dialect, "State", &self.record.state());
            reply.state_action = Some(wire::ValueAction {
                action: Some(wire::value_action::Action::Update(wire::ValueUpdate {
                    value: Some(state),
                })),
            });
        }
        if let Out::Data(reply) = &mut out
            && self.has(Quirk::SecondLost)
            && reply.command_id == 2
        {
            return true;
        }
        self.send(&out).await;
        let has_changed = self.record.data != before.data;
        self.show(has_changed && !self.has(Quirk::CommandsUnshown))
            .await;
        if self.has(Quirk::StateShared) {
            *server.last.borrow_mut() = Some(self.record.clone());
        }
        true
    }

    /// Makes mistakes about what a command changes.
    fn mistake(&mut self, asked: &Asked, before: &Record, decision: &mut Decision) {
        let mutation = decision
            .mutation
            .as_mut()
            .and_then(|one| one.mutation.as_mut());
        let failed = matches!(decision.answer, Some(decision::Answer::Failure(_)));
        match (self.server.quirk, mutation) {
            (Quirk::ChangeForgotten, _) => decision.mutation = None,
            (Quirk::EventsReversed, Some(mutation::Mutation::Append(append))) => {
                append.events.reverse();
            }
            (Quirk::NoSnapshots, Some(mutation::Mutation::Append(append))) => {
                append.snapshot = None;
            }
            (Quirk::EarlySnapshot, Some(mutation::Mutation::Append(append)))
                if append.snapshot.is_some() =>
            {
                append.snapshot = Some(crate::proto::any("State", &before.state()));
            }
            (Quirk::DeleteKeeps, Some(mutation::Mutation::Delete(_))) => {
                self.record = before.clone();
            }
            (Quirk::DeleteForgotten, Some(mutation::Mutation::Delete(_))) => {
                decision.mutation = None;
            }
            (Quirk::ConsistencyDropped, Some(mutation::Mutation::Update(update))) => {
                update.consistency = 0;
            }
            (Quirk::FirstStepOnly, Some(mutation::Mutation::Update(update))) => {
                let Asked::Data(request) = asked else { return };
                if let Some(first) = data_steps(request).next() {
                    update.delta = Some(before.data().change(first));
                }
            }
            (Quirk::ClocksDropped, Some(mutation::Mutation::Update(update))) => {
                if let Some(DeltaKind::Register(write)) =
                    update.delta.as_mut().and_then(|delta| delta.delta.as_mut())
                {
                    write.clock = 0;
                }
            }
            (Quirk::LookCreates, None) if self.kind == Kind::Data && !failed => {
                decision.mutation = update(Data::delta(&before.data()), 0);
            }
            (Quirk::FailureKeeps, _) if failed => {
                let (asked, id) = (without_end(asked), decision.command);
                match &asked {
                    Asked::Data(request) => drop(self.decide_data(request, id)),
                    asked => {
                        let with = Circumstances {
                            entity_id: "",
                            called: &[],
                            headers: &Metadata::default(),
                        };
                        let decided = oracle::decide(before, asked, &with, id);
                        self.record = decided.expect("it decides").1;
                    }
                }
            }
            _ => {}
        }
    }

    /// All steps are one change.
    fn decide_data(&mut self, request: &DataRequest, command: u64) -> Decision {
        let before = self.record.data();
        let mut after = before.clone();
        let (mut write, mut is_delete) = (None, false);
        for step in data_steps(request) {
            match step {
                data_step::Step::Fail(fail) => {
                    let failure = v1::Failure {
                        code: fail.code,
                        message: fail.message.clone(),
                        details: Vec::new(),
                    };
                    return Decision {
                        command,
                        answer: Some(decision::Answer::Failure(failure)),
                        ..Decision::default()
                    };
                }
                data_step::Step::Delete(_) => is_delete = true,
                data_step::Step::Write(wanted) => write = Some(oracle::write(wanted)),
                _ => {}
            }
            after.step(step);
        }
        if is_delete {
            after = Record::new(self.record.service).data();
        }
        let mutation = if is_delete {
            Some(v1::Mutation {
                mutation: Some(mutation::Mutation::Delete(v1::Delete {})),
            })
        } else if after != before || write.is_some() {
            let change = change(&before, &after, write, request);
            update(change, request.consistency.cast_signed())
        } else {
            None
        };
        if is_delete {
            self.record.data = None;
        } else if mutation.is_some() {
            self.record.data = Some(after.clone());
        }
        let value = after.value().encode_to_vec();
        Decision {
            command,
            answer: Some(decision::Answer::Reply(value.into())),
            mutation,
            ..Decision::default()
        }
    }

    // -----------------------------------------------------------------------------------------
    // Streamed commands

    fn shown(&self) -> wire::ClientAction {
        let value = self.record.data().value();
        let payload = convert::payload(self.server.dialect, "Value", &value);
        wire::ClientAction {
            action: Some(wire::client_action::Action::Reply(wire::Answer {
                payload: Some(payload),
                metadata: None,
            })),
        }
    }

    async fn watch(&mut self, request: &DataRequest, command_id: i64) {
        let fails = matches!(data_steps(request).next(), Some(data_step::Step::Fail(_)));
        if fails {
            let decision = self.decide_data(request, command_id.cast_unsigned());
            let out = answer::reply(self.server.dialect, &self.record, &decision);
            self.send(&out).await;
            if !self.has(Quirk::RejectedWatches) {
                return;
            }
        } else {
            let reply = wire::ReplicatedReply {
                command_id,
                client_action: Some(self.shown()),
                streamed: !self.has(Quirk::NotAccepted),
                ..wire::ReplicatedReply::default()
            };
            self.send(&Out::Data(reply)).await;
        }
        let will = data_steps(request).cloned().collect();
        self.watches.insert(command_id, will);
    }

    /// Shows the value to all who watch.
    async fn show(&mut self, really: bool) {
        if !really {
            return;
        }
        let is_over = matches!(self.record.data(), Data::Set(set) if set.is_empty())
            && !self.has(Quirk::WatchNeverEnds);
        let mut watches: Vec<i64> = self.watches.keys().copied().collect();
        if self.has(Quirk::FirstWatchOnly) {
            watches.truncate(1);
        }
        for command_id in watches {
            let message = wire::StreamedMessage {
                command_id,
                client_action: Some(self.shown()),
                end_stream: is_over,
                ..wire::StreamedMessage::default()
            };
            self.send(&Out::Streamed(message)).await;
        }
        if is_over {
            self.watches.clear();
        }
    }

    async fn cancelled(&mut self, command_id: i64) {
        let will = match self.server.quirk {
            Quirk::GoesOnCancelled => self.watches.get(&command_id).cloned(),
            _ => self.watches.remove(&command_id),
        };
        let mut request = DataRequest {
            id: self.id.clone(),
            ..DataRequest::default()
        };
        if !self.has(Quirk::WillForgotten) {
            let will = will.into_iter().flatten();
            request.steps = will
                .map(|step| model::DataStep { step: Some(step) })
                .collect();
        }
        let before = self.record.clone();
        let decision = self.decide_data(&request, command_id.cast_unsigned());
        let mutation = decision.mutation.and_then(|one| one.mutation);
        let state_action = mutation
            .as_ref()
            .and_then(|one| answer::state_action(self.server.dialect, &before, one));
        let response = wire::StreamCancelledResponse {
            command_id,
            state_action,
            ..wire::StreamCancelledResponse::default()
        };
        self.send(&Out::Cancelled(response)).await;
    }
}

/// The same request without the step that ends its handler.
fn without_end(asked: &Asked) -> Asked {
    let mut asked = asked.clone();
    match &mut asked {
        Asked::Steps(request) => request
            .steps
            .retain(|one| !matches!(one.step, Some(step::Step::Fail(_) | step::Step::Crash(_)))),
        Asked::Data(request) => request.steps.retain(|one| {
            !matches!(
                one.step,
                Some(data_step::Step::Fail(_) | data_step::Step::Crash(_))
            )
        }),
    }
    asked
}

fn update(delta: Delta, consistency: i32) -> Option<v1::Mutation> {
    Some(v1::Mutation {
        mutation: Some(mutation::Mutation::Update(v1::Update {
            delta: Some(delta),
            consistency,
        })),
    })
}

/// A delta that leads from one value to the other.
fn change(before: &Data, after: &Data, write: Option<v1::Write>, request: &DataRequest) -> Delta {
    let mut delta = after.delta();
    let kind = delta.delta.as_mut().expect("it has one");
    let is_new = before.value() == Value::default();
    match (kind, before) {
        (DeltaKind::GrowCounter(number), Data::GrowCounter(before)) => *number -= before,
        (DeltaKind::Counter(number), Data::Counter(before)) => *number -= before,
        (DeltaKind::Register(value), _) => *value = write.unwrap_or_default(),
        (DeltaKind::Set(delta), _) => delta.cleared = !is_new,
        (DeltaKind::Map(delta), _) => delta.cleared = !is_new,
        (DeltaKind::CounterMap(delta), _) => delta.cleared = !is_new,
        (DeltaKind::RegisterMap(delta), _) => {
            delta.cleared = !is_new;
            // One step has its clock.
            if let [one] = &request.steps[..]
                && let Some(step @ data_step::Step::At(_)) = &one.step
            {
                return written(before, step);
            }
        }
        (DeltaKind::MultiMap(delta), _) => delta.cleared = !is_new,
        _ => {}
    }
    delta
}

/// The delta of a step that writes to an entry.
fn written(before: &Data, step: &data_step::Step) -> Delta {
    let mut delta = before.change(step);
    if let data_step::Step::At(at) = step
        && let Some(data_step::Step::Write(wanted)) =
            at.step.as_ref().and_then(|one| one.step.as_ref())
        && let Some(DeltaKind::RegisterMap(delta)) = &mut delta.delta
    {
        for entry in &mut delta.updated {
            entry.write = Some(oracle::write(wanted));
        }
    }
    delta
}
