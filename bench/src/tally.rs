//! A function in a process of its own, in the words of Kalix: a counter as a value entity; a counter
//! and a set as replicated entities, written behind or durable before the reply.
//!
//! They have the same method: it changes one thing and gives how much there is then.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::Arc;

use anyhow::{Result, bail};
use bytes::Bytes;
use firn_model::replicated::Consistency;
use firn_testkit::function::declare::{Answer, Declaration};
use firn_wire::dialect::KALIX;
use firn_wire::superset::client_action::Action;
use firn_wire::superset::replicated_entity_delta::Delta;
use firn_wire::superset::{
    Any, ClientAction, Command, ProxyInfo, ReplicatedCounterDelta, ReplicatedEntityDelta,
    ReplicatedEntityReply, ReplicatedEntityStateAction, ReplicatedEntityStreamIn,
    ReplicatedEntityStreamOut, ReplicatedSetDelta, Reply, Spec, UserFunctionError,
    ValueEntityAction, ValueEntityReply, ValueEntityStreamIn, ValueEntityStreamOut,
    ValueEntityUpdate, replicated_entity_state_action, replicated_entity_stream_in,
    replicated_entity_stream_out, value_entity_action, value_entity_stream_in,
    value_entity_stream_out,
};
use futures_util::stream::{Stream, try_unfold};
use prost::Message;
use tonic::body::Body;
use tonic::server::Grpc;
use tonic::{Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;
use tower::service_fn;

use crate::function::unary;

/// The method of the value entity.
pub(crate) const VALUE: &str = "/bench.Value/Change";

/// That of the replicated counter, and of the same with a durable write before each reply.
pub(crate) const COUNTER: &str = "/bench.Counter/Change";
pub(crate) const DURABLE_COUNTER: &str = "/bench.DurableCounter/Change";

/// That of the replicated set, and of the same with a durable write before each reply.
pub(crate) const SET: &str = "/bench.Set/Change";
pub(crate) const DURABLE_SET: &str = "/bench.DurableSet/Change";

const PROTO: &str = r#"
syntax = "proto3";
package bench;
import "kalix/annotations.proto";
message Change {
  string id = 1 [(kalix.field).entity_key = true];
  string member = 2;
}
message Size { int64 size = 1; }
service Value { rpc Change(bench.Change) returns (Size); }
service Counter { rpc Change(bench.Change) returns (Size); }
service DurableCounter { rpc Change(bench.Change) returns (Size); }
service Set { rpc Change(bench.Change) returns (Size); }
service DurableSet { rpc Change(bench.Change) returns (Size); }
"#;

/// A request.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Change {
    /// The entity.
    #[prost(string, tag = "1")]
    pub(crate) id: String,
    /// What a set gets, or loses if it has it; counters count.
    #[prost(string, tag = "2")]
    pub(crate) member: String,
}

/// What it gives, and the state of the value entity.
#[derive(Clone, Copy, PartialEq, Message)]
struct Size {
    #[prost(int64, tag = "1")]
    size: i64,
}

const SIZE: &str = "type.googleapis.com/bench.Size";

/// The type of a set's members: a primitive, as SDKs have it.
const MEMBER: &str = "type.kalix.io/string";

/// Serves on `HOST`:`PORT`, as the cart does.
pub(crate) async fn serve() -> Result<()> {
    let spec = Arc::new(spec()?);
    let route = service_fn(move |call| route(spec.clone(), call));
    let server = tonic::transport::Server::builder();
    Ok(server.serve(crate::echo::address()?, route).await?)
}

fn spec() -> Result<Spec> {
    let durable = |declaration: Declaration| {
        declaration.last(|last| last.write_consistency = Some(Consistency::Majority))
    };
    let declaration = Declaration::new(&KALIX, PROTO)
        .value("bench.Value", "value")
        .replicated("bench.Counter", "counter")
        .replicated("bench.Set", "set")
        .replicated("bench.DurableCounter", "durable-counter");
    let declaration = durable(declaration).replicated("bench.DurableSet", "durable-set");
    match durable(declaration).answer() {
        Answer::Message(message) => Ok(Spec::decode(message)?),
        other => bail!("a declaration is a message, not {other:?}"),
    }
}

/// One call, by its path.
async fn route(
    spec: Arc<Spec>,
    call: http::Request<Body>,
) -> Result<http::Response<Body>, Infallible> {
    let path = call.uri().path();
    Ok(if path == KALIX.discovery.discover {
        unary(call, |_: ProxyInfo| Spec::clone(&spec)).await
    } else if path == KALIX.discovery.report_error {
        let report = |it: UserFunctionError| eprintln!("the proxy says: {}", it.message);
        unary(call, report).await
    } else if KALIX.discovery.proxy_terminated == Some(path) {
        unary(call, |()| ()).await
    } else if KALIX.value.is_some_and(|value| value.handle == path) {
        entity::<Value>(call).await
    } else if path == KALIX.replicated.handle {
        entity::<Replicated>(call).await
    } else {
        Status::unimplemented(format!("no method {path}")).into_http()
    })
}

/// One entity: a message in, at most one out.
trait Entity: Default + Send + 'static {
    type In: Message + Default + 'static;
    type Out: Message + 'static;

    fn on(&mut self, message: Self::In) -> Result<Option<Self::Out>, Status>;
}

async fn entity<E: Entity>(call: http::Request<Body>) -> http::Response<Body> {
    let handle = |call: Request<_>| async { Ok(Response::new(stream::<E>(call.into_inner()))) };
    let mut grpc = Grpc::new(ProstCodec::default());
    grpc.streaming(service_fn(handle), call).await
}

fn stream<E: Entity>(
    messages: Streaming<E::In>,
) -> impl Stream<Item = Result<E::Out, Status>> + Send {
    try_unfold(
        (messages, E::default()),
        |(mut messages, mut entity)| async {
            while let Some(message) = messages.message().await? {
                if let Some(answer) = entity.on(message)? {
                    return Ok(Some((answer, (messages, entity))));
                }
            }
            Ok(None)
        },
    )
}

/// The value entity.
#[derive(Default)]
struct Value {
    count: i64,
}

impl Entity for Value {
    type In = ValueEntityStreamIn;
    type Out = ValueEntityStreamOut;

    fn on(&mut self, message: Self::In) -> Result<Option<Self::Out>, Status> {
        use value_entity_action::Action;
        use value_entity_stream_in::Message as In;
        use value_entity_stream_out::Message as Out;

        let command = match message.message {
            Some(In::Command(command)) => command,
            Some(In::Init(init)) => {
                let state = init.state.and_then(|it| it.value).unwrap_or_default();
                self.count = Size::decode(state.value).map_err(invalid)?.size;
                return Ok(None);
            }
            None => return Ok(None),
        };
        self.count += 1;
        let value = Some(size(self.count));
        let reply = ValueEntityReply {
            command_id: command.id,
            client_action: Some(answer(self.count)),
            state_action: Some(ValueEntityAction {
                action: Some(Action::Update(ValueEntityUpdate { value })),
            }),
            ..ValueEntityReply::default()
        };
        Ok(Some(ValueEntityStreamOut {
            message: Some(Out::Reply(reply)),
        }))
    }
}

/// A replicated entity; the first message of its stream says which it is.
enum Replicated {
    Counter(i64),
    Set(BTreeSet<Bytes>),
}

impl Default for Replicated {
    fn default() -> Self {
        Self::Counter(0)
    }
}

impl Entity for Replicated {
    type In = ReplicatedEntityStreamIn;
    type Out = ReplicatedEntityStreamOut;

    fn on(&mut self, message: Self::In) -> Result<Option<Self::Out>, Status> {
        use replicated_entity_state_action::Action;
        use replicated_entity_stream_in::Message as In;
        use replicated_entity_stream_out::Message as Out;

        let command = match message.message {
            Some(In::Command(command)) => command,
            Some(In::Init(init)) => {
                if init.service_name.ends_with("Set") {
                    *self = Self::Set(BTreeSet::new());
                }
                self.take(init.delta.unwrap_or_default());
                return Ok(None);
            }
            Some(In::Delta(delta)) => {
                self.take(delta);
                return Ok(None);
            }
            Some(In::Delete(_)) | None => return Ok(None),
        };
        let delta = self.change(&command)?;
        self.take(delta.clone());
        let reply = ReplicatedEntityReply {
            command_id: command.id,
            client_action: Some(answer(self.size())),
            state_action: Some(ReplicatedEntityStateAction {
                action: Some(Action::Update(delta)),
            }),
            ..ReplicatedEntityReply::default()
        };
        Ok(Some(ReplicatedEntityStreamOut {
            message: Some(Out::Reply(reply)),
        }))
    }
}

impl Replicated {
    /// The change that a command makes.
    fn change(&self, command: &Command) -> Result<ReplicatedEntityDelta, Status> {
        let delta = match self {
            Self::Counter(_) => Delta::Counter(ReplicatedCounterDelta { change: 1 }),
            Self::Set(members) => {
                let request = command.payload.clone().unwrap_or_default();
                let name = Change::decode(request.value).map_err(invalid)?.member;
                let value = name.encode_to_vec().into();
                let mut delta = ReplicatedSetDelta::default();
                let is_member = members.contains(&value);
                let changed = if is_member {
                    &mut delta.removed
                } else {
                    &mut delta.added
                };
                changed.push(any(MEMBER, value));
                Delta::ReplicatedSet(delta)
            }
        };
        Ok(ReplicatedEntityDelta { delta: Some(delta) })
    }

    fn take(&mut self, delta: ReplicatedEntityDelta) {
        match (self, delta.delta) {
            (Self::Counter(count), Some(Delta::Counter(delta))) => *count += delta.change,
            (Self::Set(members), Some(Delta::ReplicatedSet(delta))) => {
                for removed in delta.removed {
                    members.remove(&removed.value);
                }
                members.extend(delta.added.into_iter().map(|it| it.value));
            }
            _ => {}
        }
    }

    fn size(&self) -> i64 {
        match self {
            Self::Counter(count) => *count,
            Self::Set(members) => members.len() as i64,
        }
    }
}

fn answer(count: i64) -> ClientAction {
    let reply = Reply {
        payload: Some(size(count)),
        metadata: None,
    };
    ClientAction {
        action: Some(Action::Reply(reply)),
    }
}

fn size(size: i64) -> Any {
    any(SIZE, Size { size }.encode_to_vec().into())
}

fn any(type_url: &'static str, value: Bytes) -> Any {
    Any {
        type_url: Bytes::from_static(type_url.as_bytes()),
        value,
    }
}

fn invalid(error: prost::DecodeError) -> Status {
    Status::invalid_argument(error.to_string())
}
