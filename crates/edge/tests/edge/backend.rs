//! A backend whose methods are named for what they do.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use firn_edge::{Backend, Bound, Config, Edge, MessageStream, ReplyStream};
use firn_model::call::{Call, CallHead, Reply};
use firn_model::code::Code;
use firn_model::contract::Contract;
use firn_model::metadata::{Entry, Metadata, Value};
use firn_model::payload::Payload;
use firn_model::status::{GrpcCode, Status};
use futures_util::future::BoxFuture;
use futures_util::{FutureExt as _, StreamExt as _, stream};
use std::net::{Ipv4Addr, SocketAddr};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::contract::{contract, contract_with};

/// The function's proto file.
pub(crate) const PROTO: &str = r#"
syntax = "proto3";
package test;
import "google/api/annotations.proto";
import "google/api/httpbody.proto";
import "google/protobuf/duration.proto";
import "google/protobuf/field_mask.proto";
import "google/protobuf/timestamp.proto";
import "google/protobuf/wrappers.proto";

service Echo {
  rpc Unary(Note) returns (Note);
  rpc In(stream Note) returns (Note) { option (google.api.http) = { post: "/in" body: "*" }; }
  rpc Out(Note) returns (stream Note) { option (google.api.http) = { get: "/out/{text}" }; }
  rpc Both(stream Note) returns (stream Note) { option (google.api.http) = { post: "/both/{text}" body: "inner" }; }
  rpc None(Note) returns (stream Note) { option (google.api.http) = { get: "/none" }; }
  rpc Swallow(stream Note) returns (Note);
  rpc Slow(stream Note) returns (Note);
}

service Fail {
  rpc Chosen(Note) returns (Note) { option (google.api.http) = { get: "/fail/{text}" }; }
  rpc Refused(Note) returns (Note);
  rpc Detailed(Note) returns (Note);
  rpc Later(Note) returns (stream Note) { option (google.api.http) = { get: "/later" }; }
  rpc Rubbish(Note) returns (Note);
  rpc Hang(Note) returns (Note);
  rpc HangOut(Note) returns (stream Note) { option (google.api.http) = { get: "/hang" }; }
  rpc GuardedCall(Note) returns (Note) { option (google.api.http) = { get: "/guarded" }; }
}

service Rules {
  rpc Get(Note) returns (Note) { option (google.api.http) = {
    get: "/notes/{text}"
    additional_bindings { get: "/notes/{inner.text=of/*/**}" }
    additional_bindings { get: "/count/{count}" }
    additional_bindings { get: "/color/{color}" }
    additional_bindings { get: "/at/{at}" }
  }; }
  rpc Query(Note) returns (Note) { option (google.api.http) = { get: "/query" }; }
  rpc Put(Note) returns (Note) { option (google.api.http) = {
    put: "/notes/{text}" body: "*"
    additional_bindings { patch: "/notes/{text}" body: "inner" }
    additional_bindings { post: "/notes/{text}:tag" body: "tags" }
    additional_bindings { custom { kind: "REPORT" path: "/notes" } body: "*" }
  }; }
  rpc Part(Note) returns (Note) { option (google.api.http) = {
    get: "/part/text" response_body: "text"
    additional_bindings { get: "/part/tags" response_body: "tags" }
    additional_bindings { get: "/part/inner" response_body: "inner" }
    additional_bindings { get: "/part/big" response_body: "big" }
  }; }
  rpc Page(google.api.HttpBody) returns (google.api.HttpBody) { option (google.api.http) = { post: "/page" body: "*" }; }
  rpc Wrapped(Upload) returns (Upload) { option (google.api.http) = { post: "/upload/{name}" body: "file" response_body: "file" }; }
  rpc Download(Note) returns (stream google.api.HttpBody) { option (google.api.http) = { get: "/download" }; }
  rpc UploadStream(stream google.api.HttpBody) returns (stream google.api.HttpBody) { option (google.api.http) = { post: "/raw" body: "*" }; }
}

message Note {
  string text = 1;
  int32 count = 2;
  repeated string tags = 3;
  Inner inner = 4;
  Color color = 5;
  bytes data = 6;
  bool flag = 7;
  double ratio = 8;
  uint64 big = 9;
  google.protobuf.Timestamp at = 10;
  google.protobuf.Duration after = 11;
  google.protobuf.FieldMask mask = 12;
  google.protobuf.Int64Value maybe = 13;
  google.protobuf.BoolValue maybe_flag = 14;
  map<string, int32> numbers = 15;
  repeated Color colors = 16;
  optional string perhaps = 17;
  oneof one { string left = 18; int32 right = 19; }
  string snake_case = 20;
}
message Inner { string text = 1; Inner inner = 2; repeated int32 counts = 3; }
message Upload { string name = 1; google.api.HttpBody file = 2; }
enum Color { RED = 0; GREEN = 1; }
"#;

/// Answers by the name of the method, and remembers what it was asked.
pub(crate) struct Fake {
    pub(crate) contract: Mutex<Option<Arc<Contract>>>,
    /// The heads of all calls.
    pub(crate) heads: Mutex<Vec<CallHead>>,
    /// Metadata of every reply.
    pub(crate) metadata: Mutex<Metadata>,
    /// A permit for each call that hangs.
    pub(crate) started: Arc<Semaphore>,
    /// A permit for each call that hung and was dropped.
    pub(crate) dropped: Arc<Semaphore>,
    /// A permit for each slow call that may begin to read.
    pub(crate) may_read: Arc<Semaphore>,
}

impl Fake {
    pub(crate) fn new() -> Self {
        Self {
            contract: Mutex::new(Some(Arc::new(contract(PROTO)))),
            heads: Mutex::default(),
            metadata: Mutex::default(),
            started: Arc::new(Semaphore::new(0)),
            dropped: Arc::new(Semaphore::new(0)),
            may_read: Arc::new(Semaphore::new(0)),
        }
    }

    /// With another policy for what HTTP clients see of failures.
    pub(crate) fn with_policies(policies: firn_model::policy::Policies) -> Self {
        let fake = Self::new();
        *fake.contract.lock().unwrap() = Some(Arc::new(contract_with(PROTO, policies)));
        fake
    }

    /// Replies with these headers from now on.
    pub(crate) fn reply_with(&self, entries: &[(&'static str, Value)]) {
        let entries = entries.iter().map(|(key, value)| Entry {
            key: (*key).into(),
            value: value.clone(),
        });
        self.metadata.lock().unwrap().entries = entries.collect();
    }

    pub(crate) fn last_head(&self) -> CallHead {
        self.heads.lock().unwrap().last().unwrap().clone()
    }

    fn reply(&self, bytes: Bytes) -> Reply {
        Reply {
            payload: Payload::new("", bytes),
            metadata: self.metadata.lock().unwrap().clone(),
        }
    }

    fn hang(&self) -> Hanging {
        self.started.add_permits(1);
        Hanging(Arc::clone(&self.dropped))
    }
}

/// Tells when it is dropped.
struct Hanging(Arc<Semaphore>);

impl Drop for Hanging {
    fn drop(&mut self) {
        self.0.add_permits(1);
    }
}

/// Tells when a hung call was dropped.
pub(crate) async fn next(permits: &Semaphore) {
    permits.acquire().await.unwrap().forget();
}

fn chosen() -> Status {
    Status::chosen(GrpcCode::NotFound, "no such note")
}

impl Backend for Fake {
    fn contract(&self) -> Option<Arc<Contract>> {
        self.contract.lock().unwrap().clone()
    }

    fn unary(&self, call: Call) -> BoxFuture<'static, Result<Reply, Status>> {
        let name = Arc::clone(&call.head.method.name);
        self.heads.lock().unwrap().push(call.head);
        let reply = self.reply(call.message);
        match &*name {
            "Chosen" => async { Err(chosen()) }.boxed(),
            "Detailed" => {
                let mut status = chosen();
                // An Inner whose text is "look elsewhere".
                let detail = b"\x0a\x0elook elsewhere".to_vec();
                status.details = vec![Payload::new("type.googleapis.com/test.Inner", detail)];
                async { Err(status) }.boxed()
            }
            "Refused" => {
                let status = Status::refused(
                    GrpcCode::ResourceExhausted,
                    Code::MailboxFull,
                    "the mailbox is full",
                );
                async { Err(status) }.boxed()
            }
            "Rubbish" => {
                let reply = self.reply(Bytes::from_static(&[0xff]));
                async { Ok(reply) }.boxed()
            }
            "Hang" => {
                let hanging = self.hang();
                async move {
                    let _hanging = hanging;
                    std::future::pending().await
                }
                .boxed()
            }
            _ => async { Ok(reply) }.boxed(),
        }
    }

    fn streamed(&self, head: CallHead, mut messages: MessageStream) -> ReplyStream {
        let name = Arc::clone(&head.method.name);
        self.heads.lock().unwrap().push(head);
        let metadata = self.metadata.lock().unwrap().clone();
        let reply = move |bytes| Reply {
            payload: Payload::new("", bytes),
            metadata: metadata.clone(),
        };
        match &*name {
            // All messages one after the other are one merged message.
            "In" | "Slow" => {
                let may_read = (&*name == "Slow").then(|| Arc::clone(&self.may_read));
                let all = async move {
                    if let Some(may_read) = may_read {
                        next(&may_read).await;
                    }
                    let mut all = Vec::new();
                    while let Some(message) = messages.next().await {
                        all.extend_from_slice(&message?);
                    }
                    Ok(reply(Bytes::from(all)))
                };
                stream::once(all).boxed()
            }
            "Swallow" => messages.filter_map(async |_| None).boxed(),
            "None" => stream::empty().boxed(),
            // The one message three times.
            "Out" | "Download" => messages
                .flat_map(move |message| {
                    let reply = message.map(&reply);
                    stream::iter(vec![reply; 3])
                })
                .boxed(),
            "Later" => {
                let replies = messages.map(move |message| message.map(&reply));
                replies.chain(stream::iter([Err(chosen())])).boxed()
            }
            "HangOut" => {
                let hanging = self.hang();
                let replies = messages.map(move |message| {
                    let _hanging = &hanging;
                    message.map(&reply)
                });
                replies.chain(stream::pending()).boxed()
            }
            _ => messages.map(move |message| message.map(&reply)).boxed(),
        }
    }
}

/// An edge in front of a [`Fake`].
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) fake: Arc<Fake>,
    pub(crate) stop: CancellationToken,
    pub(crate) task: JoinHandle<()>,
}

/// The settings of tests: any free port of this machine.
pub(crate) fn config() -> Config {
    Config {
        listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        ..Config::default()
    }
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::start_with(config(), Fake::new()).await
    }

    pub(crate) async fn start_with(config: Config, fake: Fake) -> Self {
        let bound: Bound = Edge::bind(config).await.unwrap();
        let address = bound.local_addr();
        let fake = Arc::new(fake);
        let stop = CancellationToken::new();
        let stopped = stop.clone().cancelled_owned();
        let task = tokio::spawn(bound.serve(Arc::clone(&fake) as Arc<dyn Backend>, stopped));
        Self {
            address,
            fake,
            stop,
            task,
        }
    }
}
