//! Actions, in every shape of call.

use bytes::Bytes;
use firn_testkit::client;
use futures_util::stream;
use http::{Method, header};
use prost_reflect::MethodDescriptor;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};

use crate::cart::{self, contents};
use crate::rig::{Rig, eventually};
use crate::sdk::Sdk;
use crate::values;

/// Everything that comes on a stream: the answers, and how it ends.
async fn all(method: &MethodDescriptor, mut answers: Streaming<Bytes>) -> (Vec<Value>, Status) {
    let mut found = Vec::new();
    loop {
        match answers.message().await {
            Ok(Some(answer)) => found.push(client::decode(method, answer)),
            Ok(None) => return (found, Status::ok("")),
            Err(status) => return (found, status),
        }
    }
}

/// Numbers as proto3 JSON has 64 bit ones.
fn number(value: i64) -> Value {
    json!({ "value": value.to_string() })
}

/// Calls a method that streams answers, with one request.
async fn streamed_out(rig: &Rig, method: &str, request: Value) -> (Vec<Value>, Status) {
    match rig.stream(method, stream::iter([request])).await {
        Ok(answers) => all(&rig.method(method), answers).await,
        Err(status) => (Vec::new(), status),
    }
}

/// One request and one reply, or a stream of replies: what every SDK with actions can do.
pub(crate) async fn answer_one_request(rig: &Rig) {
    let sum = rig
        .ok("Tools.Add", json!({ "left": "2", "right": "40" }))
        .await;
    assert_eq!(sum, number(42));
    let body = json!({ "left": 2, "right": "-3" });
    let sum = rig.http_ok(Method::POST, "/tools/add", Some(body)).await;
    assert_eq!(sum, number(-1));
    let sum = rig.http_ok(Method::GET, "/tools/add/20/22", None).await;
    assert_eq!(sum, number(42));

    let (counted, end) = streamed_out(rig, "Tools.Count", number(3)).await;
    assert_eq!(counted, [number(1), number(2), number(3)]);
    assert_eq!(end.code(), Code::Ok, "{end:?}");

    let lines = rig.http(Method::GET, "/tools/count/3", None).await;
    assert_eq!(lines.status(), 200, "{}", lines.text());
    let read = |line: &str| serde_json::from_str::<Value>(line).expect("JSON");
    let counted: Vec<Value> = lines.text().lines().map(read).collect();
    assert_eq!(counted, [number(1), number(2), number(3)]);

    let request = http::Request::get("/tools/count/2").header(header::ACCEPT, "text/event-stream");
    let events = rig
        .http_request(request.body(Bytes::new()).expect("a request"))
        .await;
    assert_eq!(events.header("content-type"), "text/event-stream");
    let counted: Vec<Value> = events
        .text()
        .split("\n\n")
        .filter_map(|event| event.strip_prefix("data: ").map(read))
        .collect();
    assert_eq!(counted, [number(1), number(2)]);
}

/// Streams of requests, with one reply or a stream of replies.
pub(crate) async fn take_streams(rig: &Rig) {
    let numbers = stream::iter([number(1), number(2), number(39)]);
    let answers = rig.stream("Tools.Sum", numbers).await.expect("a sum");
    let (sum, end) = all(&rig.method("Tools.Sum"), answers).await;
    assert_eq!(sum, [number(42)], "{end:?}");

    // Each text comes back while the stream is open: nothing waits for its end.
    let (texts, requests) = mpsc::channel(1);
    texts.send(json!({ "text": "a" })).await.expect("open");
    let echo = rig.method("Tools.Echo");
    let mut answers = rig
        .stream("Tools.Echo", ReceiverStream::new(requests))
        .await
        .expect("an echo");
    for text in ["a", "b", "c"] {
        if text != "a" {
            texts.send(json!({ "text": text })).await.expect("open");
        }
        let answer = answers.message().await.expect("an answer").expect("open");
        assert_eq!(client::decode(&echo, answer), json!({ "text": text }));
    }
    drop(texts);
    let (rest, end) = all(&echo, answers).await;
    assert_eq!((rest.len(), end.code()), (0, Code::Ok), "{end:?}");

    let body = "{\"value\":1}\n{\"value\":2}\n{\"value\":3}\n";
    let request = http::Request::post("/peers.Tools/Sum")
        .header(header::CONTENT_TYPE, "application/x-ndjson")
        .body(Bytes::from(body))
        .expect("a request");
    let answer = rig.http_request(request).await;
    assert_eq!(answer.status(), 200, "{}", answer.text());
    assert_eq!(answer.json(), number(6));
}

/// A failure ends a call with its text, after the replies before it.
pub(crate) async fn fail(rig: &Rig) {
    let request = json!({ "description": "no luck" });
    rig.fails_with("Tools.Fail", request.clone(), "no luck")
        .await;
    let answer = rig.http(Method::POST, "/tools/fail", Some(request)).await;
    let expected = (rig.sdk.failure)("no luck");
    assert_eq!((answer.status(), answer.text()), (500, expected.as_str()));

    let (counted, end) = streamed_out(rig, "Tools.CountThenFail", number(2)).await;
    assert_eq!(counted, [number(1), number(2)], "{end:?}");
    assert_eq!(end.message(), (rig.sdk.failure)("failed after counting"));
    assert_eq!(end.code(), Code::Unknown);
}

/// An action that throws fails its call, and the function is as well as before.
pub(crate) async fn crash(rig: &Rig) {
    let crash = rig.fails("Tools.Crash", json!({})).await;
    assert_eq!(crash.code(), rig.sdk.action_crash, "{crash:?}");
    rig.ok("Tools.Add", json!({ "left": 1, "right": 1 })).await;
}

/// A failure with a code has that code over gRPC, and the status that stands for it over HTTP.
pub(crate) async fn fail_with_codes(rig: &Rig) {
    let request = json!({ "description": "twice", "code": 6 });
    let status = rig.fails("Tools.Fail", request.clone()).await;
    assert_eq!(
        (status.code(), status.message()),
        (Code::AlreadyExists, "twice")
    );
    let answer = rig.http(Method::POST, "/tools/fail", Some(request)).await;
    assert_eq!((answer.status(), answer.text()), (409, "twice"));
}

/// A forward answers in the action's place, by gRPC and HTTP, also with a failure.
pub(crate) async fn forward(rig: &Rig) {
    let item = json!({ "cartId": "via", "productId": "pen", "name": "Pen", "quantity": 2 });
    rig.ok("Tools.AddItemVia", item).await;
    let body = json!({ "productId": "ink", "name": "Ink", "quantity": 1 });
    let path = "/tools/carts/via/items";
    rig.http_ok(Method::POST, path, Some(body)).await;
    assert_eq!(
        cart::look(rig, "via").await,
        contents([("pen", 2), ("ink", 1)])
    );
    let none = json!({ "cartId": "via", "productId": "pen", "name": "Pen", "quantity": 0 });
    rig.fails_with("Tools.AddItemVia", none, "quantity must be positive")
        .await;

    rig.ok("KeyValue.Set", values::set("via", "found")).await;
    let answer = rig.ok("Tools.GetVia", json!({ "key": "via" })).await;
    assert_eq!(answer, json!({ "value": "found", "found": true }));
    let answer = rig.http_ok(Method::GET, "/tools/values/via", None).await;
    assert_eq!(answer, json!({ "value": "found", "found": true }));
}

/// An action calls another component through Firn, with the client that the SDK makes.
pub(crate) async fn call_back(rig: &Rig) {
    rig.ok("KeyValue.Set", values::set("back", "called")).await;
    let answer = rig.ok("Tools.GetByClient", json!({ "key": "back" })).await;
    assert_eq!(answer["value"], "called");
}

/// A method that declares that everybody may call it is open; another one is refused, because its
/// rule is not enforced yet.
pub(crate) async fn are_guarded(rig: &Rig, guarded: &str) {
    rig.ok("Tools.Open", json!({})).await;
    rig.http_ok(Method::GET, "/tools/open", None).await;
    let status = rig.fails(&format!("Tools.{guarded}"), json!({})).await;
    assert_eq!(status.code(), Code::PermissionDenied, "{status:?}");
    let answer = rig.http(Method::GET, "/tools/closed", None).await;
    assert_eq!(answer.status(), 403, "{}", answer.text());
}

/// A request that makes the action set a value by a side effect.
fn remember(key: &str, value: &str, synchronous: bool) -> Value {
    json!({ "key": key, "value": value, "synchronous": synchronous })
}

/// A synchronous effect of an action is seen as soon as its reply is there.
pub(crate) async fn cause_a_synchronous_effect(rig: &Rig) {
    let answer = rig
        .ok("Tools.Remember", remember("sync", "first", true))
        .await;
    assert_eq!(answer["text"], "remembered sync");
    assert_eq!(values::look(rig, "sync").await.as_deref(), Some("first"));
    let body = remember("sync", "second", true);
    rig.http_ok(Method::POST, "/tools/remember", Some(body))
        .await;
    assert_eq!(values::look(rig, "sync").await.as_deref(), Some("second"));
}

/// Several effects of one reply; the asynchronous ones come soon.
pub(crate) async fn cause_effects(rig: &Rig) {
    cause_a_synchronous_effect(rig).await;
    rig.ok("Tools.Remember", remember("later", "soon", false))
        .await;
    eventually("the asynchronous effect", async || {
        values::look(rig, "later").await
    })
    .await;
    rig.ok("Tools.RememberTwice", remember("two", "both", true))
        .await;
    assert_eq!(values::look(rig, "two.sync").await.as_deref(), Some("both"));
    eventually("the asynchronous effect", async || {
        values::look(rig, "two.async").await
    })
    .await;
    let failing = remember("failed", "all the same", true);
    rig.fails_with("Tools.FailAndRemember", failing, "failed with an effect")
        .await;
    let found = values::look(rig, "failed").await;
    assert_eq!(found.as_deref(), Some("all the same"));
}

/// Listed headers reach the action, others do not; what it sets itself reaches the caller.
pub(crate) async fn pass_headers(rig: &Rig) {
    let headers = [("x-peer-one", "1"), ("x-peer-two", "2"), ("x-other", "3")];
    let answer = rig
        .call_with("Tools.GetHeaders", json!({}), &headers)
        .await
        .expect("headers");
    let seen = answer.get_ref()["headers"].as_array().expect("a list");
    let ours: Vec<&Value> = seen
        .iter()
        .filter(|header| {
            header["key"]
                .as_str()
                .is_some_and(|key| key.starts_with("x-"))
        })
        .collect();
    let expected = [
        &json!({ "key": "x-peer-one", "value": "1" }),
        &json!({ "key": "x-peer-two", "value": "2" }),
    ];
    assert_eq!(ours, expected, "{seen:?}");
    let reply = answer.metadata().get("x-peer-reply");
    assert_eq!(reply.and_then(|value| value.to_str().ok()), Some("seen"));

    let request = http::Request::get("/tools/headers").header("x-peer-two", "two");
    let answer = rig
        .http_request(request.body(Bytes::new()).expect("a request"))
        .await;
    assert_eq!(answer.header("x-peer-reply"), "seen");
    assert!(answer.text().contains("\"two\""), "{}", answer.text());
}

/// Everything that an SDK with whole actions can do.
pub(crate) async fn do_everything(sdk: &'static Sdk) {
    let rig = Rig::start(sdk).await;
    answer_one_request(&rig).await;
    take_streams(&rig).await;
    fail(&rig).await;
    forward(&rig).await;
    cause_effects(&rig).await;
    pass_headers(&rig).await;
    crash(&rig).await;
    values::see_listed_headers(&rig).await;
}
