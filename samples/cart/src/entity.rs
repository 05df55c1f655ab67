//! The protocol of one entity's stream, without the stream: a message in, at most one out.
//!
//! The proxy sends `init` with the newest snapshot, then the events after it, then commands, each
//! after the last was answered. A new event is applied here and stored by the proxy; it is not sent
//! back. So this side and the store always count the same sequence numbers.

use bytes::Bytes;
use firn_wire::superset::client_action::Action;
use firn_wire::superset::{
    Any, ClientAction, Command, EventSourcedInit, EventSourcedReply, EventSourcedSnapshotReply,
    EventSourcedStreamIn, EventSourcedStreamOut, Failure, Reply,
    event_sourced_stream_in::Message as In, event_sourced_stream_out::Message as Out,
};
use prost::{DecodeError, Message, Name};
use tonic::Code;

use crate::cart::{self, Cart, Event, Refusal};
use crate::shop::{CheckedOut, CheckoutRequest, Contents, GetCartRequest, ItemAdded, ItemRemoved};

/// A snapshot goes with the reply whose event crosses a multiple of this.
const SNAPSHOT_EVERY: i64 = 10;

const URL_PREFIX: &str = "type.googleapis.com/";

/// One cart in memory.
#[derive(Debug, Default)]
pub(crate) struct Entity {
    cart: Cart,
    /// The number of the last event.
    sequence: i64,
}

/// What ends a stream: the proxy sent something that cannot be understood.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Broken {
    #[error("a message from the proxy is empty")]
    Empty,
    #[error("event type {0:?} is not known")]
    EventType(String),
    #[error(transparent)]
    Undecodable(#[from] DecodeError),
}

impl Entity {
    /// Takes one message of the proxy; gives the answer, if the message wants one.
    pub(crate) fn on(
        &mut self,
        message: EventSourcedStreamIn,
    ) -> Result<Option<EventSourcedStreamOut>, Broken> {
        let answer = match message.message.ok_or(Broken::Empty)? {
            In::Init(init) => {
                self.init(init)?;
                None
            }
            In::Event(event) => {
                self.cart
                    .apply(read_event(event.payload.unwrap_or_default())?);
                self.sequence = event.sequence;
                None
            }
            In::Command(command) => Some(Out::Reply(self.command(command)?)),
            In::SnapshotRequest(request) => Some(Out::SnapshotReply(EventSourcedSnapshotReply {
                request_id: request.request_id,
                snapshot: Some(any(self.cart.contents())),
            })),
        };
        Ok(answer.map(|message| EventSourcedStreamOut {
            message: Some(message),
        }))
    }

    fn init(&mut self, init: EventSourcedInit) -> Result<(), Broken> {
        let Some(snapshot) = init.snapshot else {
            return Ok(());
        };
        let state = snapshot.snapshot.unwrap_or_default();
        self.cart = Cart::restore(Contents::decode(state.value)?);
        self.sequence = snapshot.snapshot_sequence;
        Ok(())
    }

    fn command(&mut self, command: Command) -> Result<EventSourcedReply, Broken> {
        let mut reply = EventSourcedReply {
            command_id: command.id,
            ..EventSourcedReply::default()
        };
        let is_shown = matches!(&*command.name, "GetCart" | "Checkout");
        let payload = command.payload.unwrap_or_default().value;
        let action = match read_command(&command.name, payload)? {
            None => failure(Code::Unimplemented, format!("no method {:?}", command.name)),
            Some(command) => match self.cart.decide(command) {
                Err(refusal) => refused(&refusal),
                Ok(event) => {
                    if let Some(event) = event {
                        self.record(event, &mut reply);
                    }
                    let shown = is_shown.then(|| any(self.cart.contents()));
                    Action::Reply(Reply {
                        payload: Some(shown.unwrap_or_else(empty)),
                        metadata: None,
                    })
                }
            },
        };
        reply.client_action = Some(ClientAction {
            action: Some(action),
        });
        Ok(reply)
    }

    /// Applies a new event and puts it into the reply, with a snapshot if one is due.
    fn record(&mut self, event: Event, reply: &mut EventSourcedReply) {
        reply.events.push(write_event(&event));
        self.cart.apply(event);
        self.sequence += 1;
        if self.sequence % SNAPSHOT_EVERY == 0 {
            reply.snapshot = Some(any(self.cart.contents()));
        }
    }
}

fn read_command(name: &str, payload: Bytes) -> Result<Option<cart::Command>, Broken> {
    Ok(Some(match name {
        "AddItem" => cart::Command::AddItem(Message::decode(payload)?),
        "RemoveItem" => cart::Command::RemoveItem(Message::decode(payload)?),
        "GetCart" => GetCartRequest::decode(payload).map(|_| cart::Command::GetCart)?,
        "Checkout" => CheckoutRequest::decode(payload).map(|_| cart::Command::Checkout)?,
        _ => return Ok(None),
    }))
}

fn read_event(event: Any) -> Result<Event, Broken> {
    let url = String::from_utf8_lossy(&event.type_url);
    Ok(match url.strip_prefix(URL_PREFIX) {
        Some("shop.ItemAdded") => Event::ItemAdded(ItemAdded::decode(event.value)?),
        Some("shop.ItemRemoved") => Event::ItemRemoved(ItemRemoved::decode(event.value)?),
        Some("shop.CheckedOut") => Event::CheckedOut(CheckedOut::decode(event.value)?),
        _ => return Err(Broken::EventType(url.into_owned())),
    })
}

fn write_event(event: &Event) -> Any {
    match event {
        Event::ItemAdded(it) => any(it),
        Event::ItemRemoved(it) => any(it),
        Event::CheckedOut(it) => any(it),
    }
}

fn any<M: Message + Name>(message: &M) -> Any {
    Any {
        type_url: format!("{URL_PREFIX}{}", M::full_name()).into(),
        value: message.encode_to_vec().into(),
    }
}

fn empty() -> Any {
    Any {
        type_url: Bytes::from_static(b"type.googleapis.com/google.protobuf.Empty"),
        value: Bytes::new(),
    }
}

fn refused(refusal: &Refusal) -> Action {
    let code = match refusal {
        Refusal::Quantity(_) => Code::InvalidArgument,
        Refusal::NotInCart(_) => Code::NotFound,
        Refusal::Empty | Refusal::CheckedOut => Code::FailedPrecondition,
    };
    failure(code, refusal.to_string())
}

fn failure(code: Code, description: String) -> Action {
    Action::Failure(Failure {
        description,
        grpc_status_code: code.into(),
        ..Failure::default()
    })
}

#[cfg(test)]
mod tests {
    use firn_wire::superset::{EventSourcedEvent, EventSourcedSnapshot};

    use super::*;
    use crate::shop::AddItemRequest;

    fn add(entity: &mut Entity, id: i64) -> EventSourcedReply {
        let request = AddItemRequest {
            cart_id: "c".into(),
            product_id: format!("product {id}"),
            name: String::new(),
            quantity: 1,
        };
        command(entity, id, "AddItem", any(&request))
    }

    fn command(entity: &mut Entity, id: i64, name: &str, payload: Any) -> EventSourcedReply {
        let message = In::Command(Command {
            id,
            name: name.into(),
            payload: Some(payload),
            ..Command::default()
        });
        match send(entity, message).and_then(|out| out.message) {
            Some(Out::Reply(reply)) => reply,
            other => panic!("{other:?} is no reply"),
        }
    }

    fn send(entity: &mut Entity, message: In) -> Option<EventSourcedStreamOut> {
        let message = EventSourcedStreamIn {
            message: Some(message),
        };
        entity.on(message).unwrap()
    }

    #[test]
    fn every_tenth_event_brings_a_snapshot() {
        let mut entity = Entity::default();
        let with_snapshot: Vec<i64> = (1..=20)
            .filter(|id| add(&mut entity, *id).snapshot.is_some())
            .collect();
        assert_eq!(with_snapshot, [10, 20]);
    }

    #[test]
    fn replay_gives_the_same_cart_as_the_commands_did() {
        let mut first = Entity::default();
        let replies: Vec<_> = (1..=12).map(|id| add(&mut first, id)).collect();

        let mut second = Entity::default();
        let snapshot = EventSourcedSnapshot {
            snapshot_sequence: 10,
            snapshot: replies[9].snapshot.clone(),
        };
        let init = EventSourcedInit {
            snapshot: Some(snapshot),
            ..EventSourcedInit::default()
        };
        send(&mut second, In::Init(init));
        for (sequence, reply) in (11..).zip(&replies[10..]) {
            let payload = reply.events.first().cloned();
            send(
                &mut second,
                In::Event(EventSourcedEvent { sequence, payload }),
            );
        }
        assert_eq!(second.sequence, 12);
        assert_eq!(second.cart.contents(), first.cart.contents());
    }

    #[test]
    fn unknown_method_fails_its_command_only() {
        let mut entity = Entity::default();
        let reply = command(&mut entity, 7, "Nothing", Any::default());
        assert_eq!(reply.command_id, 7);
        assert!(reply.events.is_empty());
        let action = reply.client_action.unwrap().action.unwrap();
        assert!(matches!(action, Action::Failure(it) if it.grpc_status_code == 12));
        assert!(add(&mut entity, 8).events.len() == 1);
    }
}
