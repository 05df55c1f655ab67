//! A peer with a Firn beside it, and the clients that a test drives it with.

use std::time::Duration;

use bytes::Bytes;
use firn_testkit::client::{self, Answer, Client};
use firn_testkit::firn::{Firn, Setup};
use firn_testkit::peer::Peer;
use firn_testkit::process::PATIENCE;
use firn_testkit::reflection;
use futures_util::{Stream, StreamExt};
use http::Method;
use prost_reflect::{DescriptorPool, MethodDescriptor};
use serde_json::Value;
use tonic::metadata::{MetadataKey, MetadataMap};
use tonic::{Code, Request, Response, Status, Streaming};

use crate::sdk::Sdk;

/// How often a test looks again for what comes by itself.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// What Firn's log says when an entity leaves memory.
pub(crate) const LEAVES: &str = "an entity stream is half-closed";

/// A peer with a Firn beside it.
pub(crate) struct Rig {
    pub(crate) sdk: &'static Sdk,
    pub(crate) firn: Firn,
    pub(crate) peer: Peer,
    pub(crate) pool: DescriptorPool,
    grpc: Client,
}

impl Rig {
    /// Starts both and waits until the function is served.
    pub(crate) async fn start(sdk: &'static Sdk) -> Self {
        Self::start_with(sdk, &[]).await
    }

    /// The same, with arguments for Firn.
    pub(crate) async fn start_with(sdk: &'static Sdk, args: &[&str]) -> Self {
        let peer = Peer::start(sdk.peer, sdk.environment);
        let mut firn = Firn::serving(Setup {
            binary: env!("CARGO_BIN_EXE_firn").into(),
            function: peer.address(),
            args: args.iter().map(|arg| (*arg).to_owned()).collect(),
        });
        firn.wait_until_serving();
        let grpc = Client::connect(firn.clients).await;
        let services = reflection::services(&grpc).await.expect("reflection");
        let pool = reflection::descriptors(&grpc, &services)
            .await
            .expect("descriptors");
        Self {
            sdk,
            firn,
            peer,
            pool,
            grpc,
        }
    }

    /// Starts a killed Firn again on the same data and waits until it serves.
    pub(crate) async fn start_firn_again(&mut self) {
        self.firn.start_again();
        self.firn.wait_until_serving();
        self.grpc = Client::connect(self.firn.clients).await;
    }

    /// The method `Service.Method` of the package `peers`.
    pub(crate) fn method(&self, name: &str) -> MethodDescriptor {
        let (service, method) = name.split_once('.').expect("Service.Method");
        let service = self
            .pool
            .get_service_by_name(&format!("peers.{service}"))
            .unwrap_or_else(|| panic!("reflection knows no service of {name}"));
        service
            .methods()
            .find(|candidate| candidate.name() == method)
            .unwrap_or_else(|| panic!("reflection knows no method {name}"))
    }

    /// Calls a unary method over gRPC.
    pub(crate) async fn call(&self, method: &str, request: Value) -> Result<Value, Status> {
        self.grpc.call(&self.method(method), request).await
    }

    /// Calls a unary method over gRPC with headers; gives the answer with its headers.
    pub(crate) async fn call_with(
        &self,
        method: &str,
        request: Value,
        headers: &[(&str, &str)],
    ) -> Result<Response<Value>, Status> {
        let mut metadata = MetadataMap::new();
        for (name, value) in headers {
            let name = MetadataKey::from_bytes(name.as_bytes()).expect("a header name");
            metadata.append(name, value.parse().expect("a header value"));
        }
        let method = self.method(method);
        self.grpc.call_with(&method, request, metadata).await
    }

    /// The answer to a unary call over gRPC that works.
    pub(crate) async fn ok(&self, method: &str, request: Value) -> Value {
        self.call(method, request.clone())
            .await
            .unwrap_or_else(|status| panic!("{method} {request}: {status:?}"))
    }

    /// The status of a unary call over gRPC that fails.
    pub(crate) async fn fails(&self, method: &str, request: Value) -> Status {
        match self.call(method, request.clone()).await {
            Ok(answer) => panic!("{method} {request} did not fail but gave {answer}"),
            Err(status) => status,
        }
    }

    /// Checks that a call fails as the function chose: its text, and the status that its family has
    /// for failures without one.
    pub(crate) async fn fails_with(&self, method: &str, request: Value, text: &str) {
        let status = self.fails(method, request).await;
        assert_eq!(status.message(), (self.sdk.failure)(text), "{method}");
        assert_eq!(status.code(), Code::Unknown, "{method}");
    }

    /// Opens a call that streams, with these requests as JSON.
    pub(crate) async fn stream(
        &self,
        method: &str,
        requests: impl Stream<Item = Value> + Send + 'static,
    ) -> Result<Streaming<Bytes>, Status> {
        let method = self.method(method);
        let encoded = {
            let method = method.clone();
            requests.map(move |request| client::encode(&method, request))
        };
        let request = Request::new(encoded);
        let response = self.grpc.stream(&client::path(&method), request).await?;
        Ok(response.into_inner())
    }

    /// Calls any path over gRPC with an empty message.
    pub(crate) async fn raw(&self, path: &str) -> Result<Streaming<Bytes>, Status> {
        let request = Request::new(futures_util::stream::iter([Bytes::new()]));
        Ok(self.grpc.stream(path, request).await?.into_inner())
    }

    /// Sends JSON over HTTP, or nothing.
    pub(crate) async fn http(&self, method: Method, path: &str, body: Option<Value>) -> Answer {
        client::json(self.firn.clients, method, path, body).await
    }

    /// Sends any request over HTTP.
    pub(crate) async fn http_request(&self, request: http::Request<Bytes>) -> Answer {
        client::http(self.firn.clients, request)
            .await
            .expect("an answer")
    }

    /// The JSON of an HTTP request that works.
    pub(crate) async fn http_ok(&self, method: Method, path: &str, body: Option<Value>) -> Value {
        let answer = self.http(method, path, body).await;
        assert_eq!(answer.status(), 200, "{path}: {}", answer.text());
        answer.json()
    }
}

/// Waits for what comes by itself.
pub(crate) async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let found = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    };
    tokio::time::timeout(PATIENCE, found)
        .await
        .unwrap_or_else(|_| panic!("{what} did not come"))
}
