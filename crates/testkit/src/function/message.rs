//! The messages of a script: what is expected and what is sent, in few words.
//!
//! What the proxy sends is compared as a whole message, so a field that should be absent and is
//! there, or empty and should be absent, fails the test.

use std::time::Duration;

use bytes::Bytes;
use firn_model::replicated::{Consistency, Delta};
use firn_wire::superset::client_action::Action;
use firn_wire::superset::{
    self, Any, ClientAction, EventSourcedInit, EventSourcedReply, EventSourcedSnapshot,
    EventSourcedStreamOut, Failure, Forward, Metadata, MetadataEntry, SideEffect,
    ValueEntityAction, ValueEntityDelete, ValueEntityInit, ValueEntityInitState, ValueEntityReply,
    ValueEntityStreamOut, ValueEntityUpdate, event_sourced_stream_out, metadata_entry,
    value_entity_action, value_entity_stream_out,
};
use prost::Message;

use super::entity::In;
use super::replica::Change;

/// A message as a typed value.
pub fn any(type_name: &str, message: &impl Message) -> Any {
    any_bytes(type_name, message.encode_to_vec())
}

/// Bytes as a typed value of a message.
pub fn any_bytes(type_name: &str, value: impl Into<Bytes>) -> Any {
    Any {
        type_url: Bytes::from(format!("type.googleapis.com/{type_name}")),
        value: value.into(),
    }
}

/// Headers of text.
pub fn metadata(entries: &[(&str, &str)]) -> Metadata {
    let entries = entries.iter().map(|(key, value)| MetadataEntry {
        key: (*key).to_owned(),
        value: Some(metadata_entry::Value::StringValue((*value).to_owned())),
    });
    Metadata {
        entries: entries.collect(),
    }
}

/// The opening of a value entity; the wrapper of the state is always there.
pub fn value_init(service: &str, entity_id: &str, state: Option<Any>) -> In {
    In::ValueInit(ValueEntityInit {
        service_name: service.to_owned(),
        entity_id: entity_id.to_owned(),
        state: Some(ValueEntityInitState { value: state }),
    })
}

/// The opening of an event sourced entity, with the snapshot and its number, if there is one.
pub fn events_init(service: &str, entity_id: &str, snapshot: Option<(i64, Any)>) -> In {
    let snapshot = snapshot.map(|(snapshot_sequence, snapshot)| EventSourcedSnapshot {
        snapshot_sequence,
        snapshot: Some(snapshot),
    });
    In::EventsInit(EventSourcedInit {
        service_name: service.to_owned(),
        entity_id: entity_id.to_owned(),
        snapshot,
    })
}

/// A replayed event.
pub fn event(sequence: i64, payload: Any) -> In {
    In::Event(superset::EventSourcedEvent {
        sequence,
        payload: Some(payload),
    })
}

/// A command without headers.
pub fn command(entity_id: &str, id: i64, name: &str, payload: Any) -> superset::Command {
    superset::Command {
        entity_id: entity_id.to_owned(),
        id,
        name: name.to_owned(),
        payload: Some(payload),
        streamed: false,
        metadata: None,
    }
}

/// A call of another method.
pub fn forward(service: &str, method: &str, payload: Any) -> Forward {
    Forward {
        service_name: service.to_owned(),
        command_name: method.to_owned(),
        payload: Some(payload),
        metadata: None,
    }
}

/// A further call.
pub fn effect(call: Forward, synchronous: bool) -> SideEffect {
    SideEffect {
        service_name: call.service_name,
        command_name: call.command_name,
        payload: call.payload,
        synchronous,
        metadata: call.metadata,
    }
}

/// A failure with a text.
pub fn failure(command_id: i64, description: &str) -> Failure {
    Failure {
        command_id,
        description: description.to_owned(),
        ..Failure::default()
    }
}

/// An answer to a command of any kind of entity.
#[derive(Debug, Clone, Default)]
pub struct Reply {
    /// The command.
    pub command_id: i64,
    /// What the caller gets.
    pub client_action: Option<ClientAction>,
    /// What else is to be done.
    pub side_effects: Vec<SideEffect>,
    /// Value entities: what becomes of the state.
    pub state_action: Option<ValueEntityAction>,
    /// Event sourced entities: what is appended.
    pub events: Vec<Any>,
    /// Event sourced entities: the state after the events.
    pub snapshot: Option<Any>,
    /// Event sourced entities of Kalix: the entity is deleted.
    pub delete: Option<Duration>,
    /// Replicated entities: what becomes of the value.
    pub change: Option<Change>,
    /// Replicated entities of Cloudstate: how many replicas must hold the change.
    pub consistency: Consistency,
    /// Replicated entities of Cloudstate: more messages may follow.
    pub streamed: bool,
    /// Replicated entities of Cloudstate: no more messages follow.
    pub ends: bool,
}

/// An answer to a command that says nothing yet.
pub fn reply(command_id: i64) -> Reply {
    Reply {
        command_id,
        ..Reply::default()
    }
}

impl Reply {
    /// The caller gets this message.
    pub fn with(self, payload: Any) -> Self {
        self.with_headers(payload, None)
    }

    /// The caller gets this message and these headers.
    pub fn with_headers(self, payload: Any, metadata: Option<Metadata>) -> Self {
        let payload = Some(payload);
        self.action(Action::Reply(superset::Reply { payload, metadata }))
    }

    /// Another method answers the caller.
    pub fn forward(self, forward: Forward) -> Self {
        self.action(Action::Forward(forward))
    }

    /// The caller gets a failure.
    pub fn failing(self, text: &str) -> Self {
        self.failing_with(failure(0, text))
    }

    /// The caller gets this failure.
    pub fn failing_with(self, failure: Failure) -> Self {
        self.action(Action::Failure(failure))
    }

    fn action(mut self, action: Action) -> Self {
        self.client_action = Some(ClientAction {
            action: Some(action),
        });
        self
    }

    /// One more effect.
    pub fn effect(mut self, effect: SideEffect) -> Self {
        self.side_effects.push(effect);
        self
    }

    /// The state becomes this.
    pub fn update(mut self, value: Any) -> Self {
        let value = Some(value);
        self.state_action = Some(ValueEntityAction {
            action: Some(value_entity_action::Action::Update(ValueEntityUpdate {
                value,
            })),
        });
        self
    }

    /// The state is removed.
    pub fn remove(mut self) -> Self {
        let delete = ValueEntityDelete::default();
        self.state_action = Some(ValueEntityAction {
            action: Some(value_entity_action::Action::Delete(delete)),
        });
        self
    }

    /// These events are appended.
    pub fn events(mut self, events: impl IntoIterator<Item = Any>) -> Self {
        self.events.extend(events);
        self
    }

    /// The state after the events.
    pub fn snapshot(mut self, snapshot: Any) -> Self {
        self.snapshot = Some(snapshot);
        self
    }

    /// The replicated value is made, as a change from the empty one.
    pub fn creating(self, value: Delta) -> Self {
        self.changing(Change::Create(value))
    }

    /// The replicated value changes.
    pub fn updating(self, delta: Delta) -> Self {
        self.changing(Change::Update(delta))
    }

    /// The replicated entity is deleted.
    pub fn deleting(self) -> Self {
        self.changing(Change::Delete)
    }

    /// This becomes of the replicated entity.
    pub fn changing(mut self, change: Change) -> Self {
        self.change = Some(change);
        self
    }

    /// So many replicas must hold the change.
    pub fn confirmed_by(mut self, consistency: Consistency) -> Self {
        self.consistency = consistency;
        self
    }

    /// More messages may follow.
    pub fn streamed(mut self) -> Self {
        self.streamed = true;
        self
    }

    /// No more messages follow.
    pub fn last(mut self) -> Self {
        self.ends = true;
        self
    }

    pub(super) fn value(self) -> ValueEntityStreamOut {
        let reply = ValueEntityReply {
            command_id: self.command_id,
            client_action: self.client_action,
            side_effects: self.side_effects,
            state_action: self.state_action,
        };
        ValueEntityStreamOut {
            message: Some(value_entity_stream_out::Message::Reply(reply)),
        }
    }

    pub(super) fn event_sourced(self) -> EventSourcedStreamOut {
        let reply = EventSourcedReply {
            command_id: self.command_id,
            client_action: self.client_action,
            side_effects: self.side_effects,
            events: self.events,
            snapshot: self.snapshot,
            delete: self.delete.map(|time| superset::Duration {
                seconds: i64::try_from(time.as_secs()).expect("a time below an age"),
                nanos: i32::try_from(time.subsec_nanos()).expect("below a thousand million"),
            }),
        };
        EventSourcedStreamOut {
            message: Some(event_sourced_stream_out::Message::Reply(reply)),
        }
    }
}
