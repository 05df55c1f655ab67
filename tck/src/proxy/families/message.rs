//! What goes over the stream of an entity, in both directions, whatever its kind and family.

use bytes::Bytes;
use prost::Message;
use prost_types::Any;

use crate::families::dialect::{Dialect, Family, Kind};
use crate::families::stream::{self, Out};
use crate::families::wire;
use crate::proto::TYPE_URL;

/// What a proxy sends.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum In {
    Init {
        service: String,
        id: String,
        begins: Begins,
    },
    /// A replayed event.
    Event(i64, Any),
    Command(wire::Command),
    /// The number of a request for a snapshot (Kalix).
    SnapshotRequest(i64),
    /// The value of a replicated entity (Cloudstate 0.1).
    Whole(Bytes),
    /// A change of a replicated entity that others made.
    Delta(Bytes),
    /// A replicated entity was deleted by others.
    Delete,
    /// The caller of this streamed command has gone (Cloudstate).
    Cancelled(i64),
    HalfClose,
    /// The call or its connection broke.
    Broken,
}

/// What an entity begins with.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Begins {
    /// The field is not there.
    Absent,
    /// Of a value entity.
    State(Option<Any>),
    /// Of an event sourced entity.
    Snapshot(i64, Any),
    /// Of a replicated entity: a delta.
    Data(Bytes),
}

impl Begins {
    /// What an entity begins with of which nothing is stored.
    pub(super) fn empty(kind: Kind) -> Self {
        match kind {
            Kind::Value => Self::State(None),
            Kind::Action | Kind::Events | Kind::Data => Self::Absent,
        }
    }
}

/// A message that holds nothing else than what is known of it.
fn exact<M: Message + Default + std::fmt::Debug>(bytes: &Bytes) -> Result<M, String> {
    let message = M::decode(bytes.clone()).map_err(|error| error.to_string())?;
    match message.encoded_len() == bytes.len() {
        true => Ok(message),
        false => Err(format!("a message with other fields than {message:?}")),
    }
}

impl In {
    /// Reads what came, which must hold nothing that the kit does not know.
    pub(super) fn read(dialect: Dialect, kind: Kind, bytes: &Bytes) -> Result<Self, String> {
        let came = stream::In::decode(dialect, kind, bytes)?;
        if came.encode(dialect, kind).len() != bytes.len() {
            return Err(format!("a message with other fields than {came:?}"));
        }
        Ok(match came {
            stream::In::Init(one) => init(kind, one)?,
            stream::In::Event(event) => {
                Self::Event(event.sequence, event.payload.unwrap_or_default())
            }
            stream::In::Command(command) => Self::Command(plain(dialect, command)),
            stream::In::Whole(value) => Self::Whole(value),
            stream::In::Change(delta) => Self::Delta(delta),
            stream::In::Deleted => Self::Delete,
            stream::In::Cancelled(one) => Self::Cancelled(one.id),
            stream::In::SnapshotRequest(one) => Self::SnapshotRequest(one.request_id),
        })
    }

    /// For people.
    pub(super) fn show(&self) -> String {
        match self {
            Self::Init {
                service,
                id,
                begins,
            } => {
                let begins = match begins {
                    Begins::Absent => "nothing".to_owned(),
                    Begins::State(None) => "an empty state".to_owned(),
                    Begins::State(Some(state)) => format!("state {}", show_any(state)),
                    Begins::Snapshot(number, state) => {
                        format!("snapshot {number} {}", show_any(state))
                    }
                    Begins::Data(delta) => format!("data {delta:?}"),
                };
                format!("init of {id:?} of {service} with {begins}")
            }
            Self::Event(number, event) => format!("event {number} {}", show_any(event)),
            Self::Command(command) => {
                let metadata = command.metadata.as_ref().map(show_metadata);
                let payload = command.payload.as_ref().map(show_any);
                format!(
                    "command {} {} of {:?} {}{}{}",
                    command.id,
                    command.name,
                    command.entity_id,
                    payload.unwrap_or_else(|| "without a payload".to_owned()),
                    if command.streamed { ", streamed" } else { "" },
                    metadata.map_or(String::new(), |all| format!(", metadata {all}")),
                )
            }
            Self::SnapshotRequest(number) => format!("snapshot request {number}"),
            Self::Whole(value) => format!("value {value:?}"),
            Self::Delta(delta) => format!("delta {delta:?}"),
            Self::Delete => "delete".to_owned(),
            Self::Cancelled(number) => format!("cancellation of {number}"),
            Self::HalfClose => "the end of the proxy's side".to_owned(),
            Self::Broken => "a reset".to_owned(),
        }
    }
}

fn init(kind: Kind, init: wire::Init) -> Result<In, String> {
    let begins = match (kind, init.state) {
        (_, None) => Begins::Absent,
        (Kind::Events, Some(state)) => {
            let snapshot: wire::Snapshot = exact(&state)?;
            let state = snapshot.snapshot.unwrap_or_default();
            Begins::Snapshot(snapshot.snapshot_sequence, state)
        }
        (Kind::Data, Some(delta)) => Begins::Data(delta),
        (_, Some(state)) => Begins::State(exact::<wire::ValueInitState>(&state)?.value),
    };
    Ok(In::Init {
        service: init.service_name,
        id: init.entity_id,
        begins,
    })
}

/// Without what a proxy may add of its own, where the family lets it.
fn plain(dialect: Dialect, mut command: wire::Command) -> wire::Command {
    if dialect.family() != Family::Cloudstate {
        command.metadata = command.metadata.and_then(own);
    }
    command
}

/// The entries that come from the caller; none if there is none.
pub(super) fn own(mut metadata: wire::Metadata) -> Option<wire::Metadata> {
    let added = |key: &str| key.starts_with("_kalix-") || key.starts_with("trace");
    metadata.entries.retain(|entry| !added(&entry.key));
    (!metadata.entries.is_empty()).then_some(metadata)
}

/// An `Any`, short.
pub(super) fn show_any(any: &Any) -> String {
    let name = any.type_url.strip_prefix(TYPE_URL).unwrap_or(&any.type_url);
    let name = name.strip_prefix("firn.tck.proxy.").unwrap_or(name);
    let value = Bytes::copy_from_slice(&any.value);
    crate::show::at_most(&format!("{name}({value:?})"), 200)
}

/// Metadata, short.
pub(super) fn show_metadata(metadata: &wire::Metadata) -> String {
    use wire::metadata_entry::Value;
    let entry = |entry: &wire::MetadataEntry| match &entry.value {
        Some(Value::StringValue(text)) => format!("{}: {text}", entry.key),
        Some(Value::BytesValue(bytes)) => format!("{}: {bytes:?}", entry.key),
        None => entry.key.clone(),
    };
    let all: Vec<String> = metadata.entries.iter().map(entry).collect();
    format!("[{}]", all.join(", "))
}

/// What a function answers to a command, whatever its kind.
#[derive(Clone, Debug, Default)]
pub(super) struct Reply {
    pub(super) command: i64,
    pub(super) action: Option<wire::client_action::Action>,
    pub(super) effects: Vec<wire::SideEffect>,
    pub(super) state: Option<wire::ValueAction>,
    pub(super) events: Vec<Any>,
    pub(super) snapshot: Option<Any>,
    /// Events are deleted after so many seconds (Kalix).
    pub(super) delete_after: Option<i64>,
    pub(super) change: Option<wire::StateAction>,
    pub(super) streamed: bool,
}

impl Reply {
    /// To a command, saying nothing.
    pub(super) fn to(command: i64) -> Self {
        Self {
            command,
            ..Self::default()
        }
    }

    /// Answers with this message.
    pub(super) fn with(self, payload: Any) -> Self {
        self.with_headers(payload, &[])
    }

    /// Answers with this message and these headers.
    pub(super) fn with_headers(mut self, payload: Any, headers: &[(&str, &str)]) -> Self {
        let metadata = (!headers.is_empty()).then(|| metadata(headers));
        self.action = Some(wire::client_action::Action::Reply(wire::Answer {
            payload: Some(payload),
            metadata,
        }));
        self
    }

    pub(super) fn failing(self, text: &str) -> Self {
        self.failing_with(failure(0, text))
    }

    pub(super) fn failing_with(mut self, failure: wire::Failure) -> Self {
        self.action = Some(wire::client_action::Action::Failure(failure));
        self
    }

    pub(super) fn forwarding(mut self, forward: wire::Forward) -> Self {
        self.action = Some(wire::client_action::Action::Forward(forward));
        self
    }

    pub(super) fn effect(mut self, effect: wire::SideEffect) -> Self {
        self.effects.push(effect);
        self
    }

    /// The state becomes this.
    pub(super) fn update(mut self, state: Any) -> Self {
        let update = wire::ValueUpdate { value: Some(state) };
        self.state = Some(wire::ValueAction {
            action: Some(wire::value_action::Action::Update(update)),
        });
        self
    }

    /// Nothing remains of the state.
    pub(super) fn remove(mut self) -> Self {
        let delete = wire::ValueDelete::default();
        self.state = Some(wire::ValueAction {
            action: Some(wire::value_action::Action::Delete(delete)),
        });
        self
    }

    pub(super) fn events(mut self, events: impl IntoIterator<Item = Any>) -> Self {
        self.events.extend(events);
        self
    }

    pub(super) fn snapshot(mut self, snapshot: Any) -> Self {
        self.snapshot = Some(snapshot);
        self
    }

    /// The replicated data changes by this.
    pub(super) fn change(mut self, delta: Bytes) -> Self {
        self.change = Some(wire::StateAction {
            action: Some(wire::state_action::Action::Update(delta)),
            ..wire::StateAction::default()
        });
        self
    }

    /// The replicated entity is deleted.
    pub(super) fn delete(mut self) -> Self {
        self.change = Some(wire::StateAction {
            action: Some(wire::state_action::Action::Delete(wire::Empty {})),
            ..wire::StateAction::default()
        });
        self
    }

    /// More replies follow (Cloudstate).
    pub(super) fn streamed(mut self) -> Self {
        self.streamed = true;
        self
    }

    fn client_action(&self) -> Option<wire::ClientAction> {
        let action = Some(self.action.clone()?);
        Some(wire::ClientAction { action })
    }

    /// As the reply on a stream of this kind.
    pub(super) fn out(&self, kind: Kind) -> Out {
        let (command_id, client_action) = (self.command, self.client_action());
        let side_effects = self.effects.clone();
        match kind {
            Kind::Action | Kind::Value => Out::Value(wire::ValueReply {
                command_id,
                client_action,
                side_effects,
                state_action: self.state.clone(),
            }),
            Kind::Events => Out::Events(wire::EventSourcedReply {
                command_id,
                client_action,
                side_effects,
                events: self.events.clone(),
                snapshot: self.snapshot.clone(),
                delete: self
                    .delete_after
                    .map(|seconds| prost_types::Duration { seconds, nanos: 0 }),
            }),
            Kind::Data => Out::Data(wire::ReplicatedReply {
                command_id,
                client_action,
                side_effects,
                state_action: self.change.clone(),
                streamed: self.streamed,
            }),
        }
    }

    /// As a further message of a streamed command (Cloudstate).
    pub(super) fn streaming(&self, end_stream: bool) -> Out {
        Out::Streamed(wire::StreamedMessage {
            command_id: self.command,
            client_action: self.client_action(),
            side_effects: self.effects.clone(),
            end_stream,
        })
    }

    /// As the answer to a cancellation (Cloudstate).
    pub(super) fn cancelled(&self) -> Out {
        Out::Cancelled(wire::StreamCancelledResponse {
            command_id: self.command,
            side_effects: self.effects.clone(),
            state_action: self.change.clone(),
        })
    }
}

pub(super) fn failure(command_id: i64, description: &str) -> wire::Failure {
    wire::Failure {
        command_id,
        description: description.to_owned(),
        ..wire::Failure::default()
    }
}

/// A failure with a status of its own (Kalix, Akka Serverless).
pub(super) fn failure_with(code: i32, description: &str) -> wire::Failure {
    wire::Failure {
        grpc_status_code: code,
        ..failure(0, description)
    }
}

/// Text headers.
pub(super) fn metadata(headers: &[(&str, &str)]) -> wire::Metadata {
    use wire::metadata_entry::Value;
    let entry = |(key, value): &(&str, &str)| wire::MetadataEntry {
        key: (*key).to_owned(),
        value: Some(Value::StringValue((*value).to_owned())),
    };
    wire::Metadata {
        entries: headers.iter().map(entry).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_fields_are_seen() {
        let command = wire::Command {
            id: 1,
            ..wire::Command::default()
        };
        let mut bytes = command.encode_to_vec();
        let read = |bytes: &[u8]| {
            let message = stream::field(2, bytes.to_vec());
            In::read(Dialect::Kalix, Kind::Value, &message)
        };
        assert_eq!(read(&bytes), Ok(In::Command(command)));
        bytes.extend([0x78, 1]);
        assert!(read(&bytes).is_err());
    }
}
