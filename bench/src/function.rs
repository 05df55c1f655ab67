//! A function in this process: one value entity, in the words of Kalix, that can be watched.
//!
//! It notes when it answered the discovery call, how many entities are active, and how many of
//! those that were opened had a state. It answers every command and changes nothing.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use firn_testkit::function::declare::{Answer, Declaration};
use firn_wire::dialect::KALIX;
use firn_wire::superset::client_action::Action;
use firn_wire::superset::value_entity_stream_in::Message as In;
use firn_wire::superset::value_entity_stream_out::Message as Out;
use firn_wire::superset::{
    Any, ClientAction, ProxyInfo, Reply, Spec, UserFunctionError, ValueEntityReply,
    ValueEntityStreamIn, ValueEntityStreamOut,
};
use futures_util::stream::{Stream, try_unfold};
use prost::Message;
use tokio::task::JoinHandle;
use tonic::body::Body;
use tonic::server::Grpc;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;
use tower::service_fn;

/// The name that its entities are stored under.
pub(crate) const STORAGE: &str = "register";

/// Its method: reads the entity.
pub(crate) const PATH: &str = "/bench.Register/Get";

/// The type of its state, and of what its method gives.
pub(crate) const KEPT: &str = "type.googleapis.com/bench.Kept";

const PROTO: &str = r#"
syntax = "proto3";
package bench;
import "google/api/annotations.proto";
import "kalix/annotations.proto";
message Get { string id = 1 [(kalix.field).entity_key = true]; }
message Kept { bytes value = 1; }
service Register {
  rpc Get(bench.Get) returns (Kept) {
    option (google.api.http) = { get: "/register/{id}" };
  }
}
"#;

/// A request of its method.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Get {
    #[prost(string, tag = "1")]
    pub(crate) id: String,
}

/// The running function; it ends with this value.
pub(crate) struct Function {
    pub(crate) address: SocketAddr,
    watched: Arc<Watched>,
    serving: JoinHandle<()>,
}

/// What is watched.
struct Watched {
    spec: Spec,
    answered: Mutex<Option<Instant>>,
    active: AtomicUsize,
    opened_with_state: AtomicUsize,
}

impl Function {
    /// Starts it on a free port, with a contract of at least so many bytes of descriptors.
    pub(crate) fn start(descriptor_bytes: usize) -> Result<Self> {
        let incoming = TcpIncoming::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        let address = incoming.local_addr()?;
        let incoming = incoming.with_nodelay(Some(true));
        let watched = Arc::new(Watched {
            spec: spec(descriptor_bytes)?,
            answered: Mutex::default(),
            active: AtomicUsize::new(0),
            opened_with_state: AtomicUsize::new(0),
        });
        let shared = watched.clone();
        let serving = tokio::spawn(async move {
            let route = service_fn(move |call| route(shared.clone(), call));
            let server = tonic::transport::Server::builder();
            if let Err(error) = server.serve_with_incoming(route, incoming).await {
                eprintln!("the function of the bench failed: {error}");
            }
        });
        Ok(Self {
            address,
            watched,
            serving,
        })
    }

    /// The size of its descriptors.
    pub(crate) fn descriptor_bytes(&self) -> usize {
        self.watched.spec.proto.len()
    }

    /// When it first answered the discovery call.
    pub(crate) fn answered(&self) -> Result<Instant> {
        let answered = self.watched.answered.lock();
        let answered = *answered.unwrap_or_else(PoisonError::into_inner);
        answered.context("nobody asked the function what it declares")
    }

    /// How many entities are active.
    pub(crate) fn active(&self) -> usize {
        self.watched.active.load(Ordering::Acquire)
    }

    /// How many entities were opened with a state.
    pub(crate) fn opened_with_state(&self) -> usize {
        self.watched.opened_with_state.load(Ordering::Acquire)
    }
}

impl Drop for Function {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// What it declares: its entity, and messages that nobody uses up to the wanted size.
fn spec(descriptor_bytes: usize) -> Result<Spec> {
    let mut proto = PROTO.to_owned();
    let mut messages = 0;
    loop {
        let spec = declare(&proto)?;
        let size = spec.proto.len();
        if size >= descriptor_bytes {
            return Ok(spec);
        }
        // About as large as they come out; the loop goes on if it was too little.
        let missing = (descriptor_bytes - size).div_ceil(500);
        for _ in 0..missing {
            messages += 1;
            writeln!(
                proto,
                "message Address{messages} {{
                  string street = 1;
                  string house_number = 2;
                  int32 postal_code = 3;
                  repeated string inhabitants = 4;
                  map<string, int64> visits = 5;
                }}"
            )?;
        }
    }
}

fn declare(proto: &str) -> Result<Spec> {
    let declaration = Declaration::new(&KALIX, proto).value("bench.Register", STORAGE);
    match declaration.answer() {
        Answer::Message(message) => Ok(Spec::decode(message)?),
        other => bail!("a declaration is a message, not {other:?}"),
    }
}

/// One call, by its path.
async fn route(
    watched: Arc<Watched>,
    call: http::Request<Body>,
) -> Result<http::Response<Body>, Infallible> {
    let path = call.uri().path();
    Ok(if path == KALIX.discovery.discover {
        unary(call, |_: ProxyInfo| {
            let mut answered = watched.answered.lock();
            let answered = answered.as_mut().unwrap_or_else(|it| it.get_mut());
            answered.get_or_insert_with(Instant::now);
            watched.spec.clone()
        })
        .await
    } else if path == KALIX.discovery.report_error {
        let report = |it: UserFunctionError| eprintln!("the proxy says: {}", it.message);
        unary(call, report).await
    } else if KALIX.discovery.proxy_terminated == Some(path) {
        unary(call, |()| ()).await
    } else if KALIX.value.is_some_and(|value| value.handle == path) {
        let handle = |call: Request<_>| {
            let stream = stream(call.into_inner(), Active::new(watched.clone()));
            async { Ok(Response::new(stream)) }
        };
        let mut grpc = Grpc::new(ProstCodec::default());
        grpc.streaming(service_fn(handle), call).await
    } else {
        Status::unimplemented(format!("no method {path}")).into_http()
    })
}

/// A call with one request and one answer.
pub(crate) async fn unary<Question, Reply>(
    call: http::Request<Body>,
    reply: impl Fn(Question) -> Reply,
) -> http::Response<Body>
where
    Question: Message + Default + 'static,
    Reply: Message + 'static,
{
    let reply = |question: Request<Question>| {
        let reply = reply(question.into_inner());
        async { Ok(Response::new(reply)) }
    };
    let mut grpc = Grpc::new(ProstCodec::default());
    grpc.unary(service_fn(reply), call).await
}

/// An entity that is active as long as this lives.
struct Active(Arc<Watched>);

impl Active {
    fn new(watched: Arc<Watched>) -> Self {
        watched.active.fetch_add(1, Ordering::AcqRel);
        Self(watched)
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.0.active.fetch_sub(1, Ordering::AcqRel);
    }
}

/// The stream of one entity: answers every command, ends when the proxy does.
fn stream(
    messages: Streaming<ValueEntityStreamIn>,
    active: Active,
) -> impl Stream<Item = Result<ValueEntityStreamOut, Status>> + Send {
    try_unfold((messages, active), |(mut messages, active)| async {
        while let Some(message) = messages.message().await? {
            match message.message {
                Some(In::Init(init)) => {
                    let state = init.state.and_then(|state| state.value);
                    let has_state = state.is_some_and(|state| !state.value.is_empty());
                    let count = usize::from(has_state);
                    active
                        .0
                        .opened_with_state
                        .fetch_add(count, Ordering::AcqRel);
                }
                Some(In::Command(command)) => {
                    return Ok(Some((answer(command.id), (messages, active))));
                }
                None => {}
            }
        }
        Ok(None)
    })
}

fn answer(command_id: i64) -> ValueEntityStreamOut {
    let reply = Reply {
        payload: Some(Any {
            type_url: Bytes::from_static(KEPT.as_bytes()),
            value: Bytes::new(),
        }),
        metadata: None,
    };
    let reply = ValueEntityReply {
        command_id,
        client_action: Some(ClientAction {
            action: Some(Action::Reply(reply)),
        }),
        ..ValueEntityReply::default()
    };
    ValueEntityStreamOut {
        message: Some(Out::Reply(reply)),
    }
}
