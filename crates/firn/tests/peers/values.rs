//! Values under keys: a value entity, or an event sourced one where the SDK has no other.

use std::time::{Duration, Instant};

use http::Method;
use serde_json::{Value, json};
use tonic::Code;

use crate::rig::{Rig, eventually};
use crate::sdk::{Effects, Sdk, Values};

/// A request to set a value.
pub(crate) fn set(key: &str, value: &str) -> Value {
    json!({ "key": key, "value": value })
}

/// The value under a key, by gRPC.
pub(crate) async fn look(rig: &Rig, key: &str) -> Option<String> {
    let answer = rig.ok("KeyValue.Get", json!({ "key": key })).await;
    let value = answer["value"].as_str().expect("a text").to_owned();
    let found = answer["found"].as_bool().expect("a boolean");
    found.then_some(value)
}

/// Values are set, read and deleted, by gRPC and by HTTP.
pub(crate) async fn are_set_read_and_deleted(sdk: &'static Sdk) {
    let rig = Rig::start(sdk).await;
    assert_eq!(look(&rig, "k").await, None);
    rig.ok("KeyValue.Set", set("k", "one")).await;
    assert_eq!(look(&rig, "k").await.as_deref(), Some("one"));
    let body = json!({ "value": "two" });
    rig.http_ok(Method::PUT, "/values/k", Some(body)).await;
    let read = rig.http_ok(Method::GET, "/values/k", None).await;
    assert_eq!(read, json!({ "value": "two", "found": true }));
    let text = rig.http_ok(Method::GET, "/values/k/text", None).await;
    assert_eq!(text, json!("two"));

    rig.fails_with(
        "KeyValue.SetThenFail",
        set("k", "three"),
        "failed after the update",
    )
    .await;
    let fail = json!({ "key": "k", "description": "no luck" });
    rig.fails_with("KeyValue.Fail", fail, "no luck").await;
    let crash = rig.fails("KeyValue.Crash", json!({ "key": "k" })).await;
    assert_eq!(crash.code(), Code::Unknown, "{crash:?}");
    assert_eq!(look(&rig, "k").await.as_deref(), Some("two"));

    rig.http_ok(Method::DELETE, "/values/k", None).await;
    assert_eq!(look(&rig, "k").await, None);
    if sdk.values == Values::KeptOrDeletedForGood {
        let refused = rig.fails("KeyValue.Set", set("k", "four")).await;
        assert_eq!(refused.code(), Code::FailedPrecondition, "{refused:?}");
        let body = json!({ "value": "four" });
        let answer = rig.http(Method::PUT, "/values/k", Some(body)).await;
        assert_eq!(answer.status(), 400, "{}", answer.text());
        assert_eq!(look(&rig, "k").await, None);
    } else {
        rig.ok("KeyValue.Set", set("k", "four")).await;
        assert_eq!(look(&rig, "k").await.as_deref(), Some("four"));
    }
    forward_and_cause_effects(&rig).await;
}

/// An entity forwards to another one and sets others by side effects; a synchronous effect is seen
/// as soon as the reply is there.
async fn forward_and_cause_effects(rig: &Rig) {
    rig.ok("KeyValue.Set", set("there", "elsewhere")).await;
    let pair = json!({ "key": "here", "other": "there" });
    let other = rig.ok("KeyValue.GetOther", pair).await;
    assert_eq!(other["value"], "elsewhere");

    rig.ok("KeyValue.SetAndCopy", set("o", "original")).await;
    assert_eq!(look(rig, "o").await.as_deref(), Some("original"));
    if rig.sdk.effects == Effects::Sent {
        assert_eq!(look(rig, "o.sync").await.as_deref(), Some("original"));
        eventually("the asynchronous copy", async || look(rig, "o.async").await).await;
        rig.ok("Cart.CheckoutAndNote", json!({ "cartId": "c" }))
            .await;
        assert_eq!(look(rig, "cart-c").await.as_deref(), Some("checked out"));
    }
}

/// Headers that the component lists reach the entity, others do not.
pub(crate) async fn see_listed_headers(rig: &Rig) {
    let headers = [("x-peer-one", "1"), ("x-peer-three", "3")];
    let answer = rig
        .call_with("KeyValue.GetHeaders", json!({ "key": "h" }), &headers)
        .await
        .expect("headers");
    let seen = &answer.get_ref()["headers"];
    assert_eq!(seen, &json!([{ "key": "x-peer-one", "value": "1" }]));
}

/// A failure with a code has that code over gRPC, and the status that stands for it over HTTP.
pub(crate) async fn fail_with_codes(rig: &Rig) {
    let fail = json!({ "key": "k", "description": "nothing there", "code": 5 });
    let status = rig.fails("KeyValue.Fail", fail.clone()).await;
    assert_eq!(
        (status.code(), status.message()),
        (Code::NotFound, "nothing there")
    );
    let answer = rig
        .http(Method::POST, "/values/k/fail", Some(fail_body(&fail)))
        .await;
    assert_eq!((answer.status(), answer.text()), (404, "nothing there"));
}

/// The request without its key, which is in the path.
fn fail_body(request: &Value) -> Value {
    json!({ "description": request["description"], "code": request["code"] })
}

/// A value that takes longer than the command timeout is given up, with its outcome unknown; its
/// entity goes on from what is stored, and so does the command that waited behind it.
pub(crate) async fn are_given_up(sdk: &'static Sdk) {
    // Far longer than any other command takes on a busy machine, and far shorter than the slow one.
    let rig = Rig::start_with(sdk, &["--command-timeout", "4s"]).await;
    rig.ok("KeyValue.Set", set("slow", "there")).await;
    let slow = json!({ "key": "slow", "millis": 60_000 });
    let status = rig.fails("KeyValue.Slow", slow.clone()).await;
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status:?}");
    assert_eq!(look(&rig, "slow").await.as_deref(), Some("there"));

    // Over HTTP too, and a caller may wait less than that.
    let path = "/peers.KeyValue/Slow";
    let answer = rig.http(Method::POST, path, Some(slow.clone())).await;
    assert_eq!(answer.status(), 504, "{}", answer.text());
    let impatient = [("grpc-timeout", "100m")];
    let asked = Instant::now();
    // The client's own clock may be first, and says the call was cancelled.
    let ended = rig.call_with("KeyValue.Slow", slow, &impatient).await;
    let code = ended.expect_err("a deadline").code();
    assert!(matches!(code, Code::DeadlineExceeded | Code::Cancelled));
    assert!(asked.elapsed() < Duration::from_secs(4));
    assert_eq!(look(&rig, "slow").await.as_deref(), Some("there"));
}
