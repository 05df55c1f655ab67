//! Maven `io.kalix:kalix-java-sdk-protobuf` 1.4.1.

use http::Method;
use serde_json::json;
use tonic::Code;

use crate::rig::Rig;
use crate::sdk::KALIX_JAVA;
use crate::{cart, crowd, replicated, survival, tickets, tools, values};

#[tokio::test(flavor = "multi_thread")]
async fn cart_serves_grpc_and_http() {
    cart::serves_grpc_and_http(&KALIX_JAVA).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn values_are_set_read_and_deleted() {
    values::are_set_read_and_deleted(&KALIX_JAVA).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn actions_do_everything() {
    tools::do_everything(&KALIX_JAVA).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn state_outlives_idle_times() {
    survival::of_idle_times(&KALIX_JAVA).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn state_outlives_a_killed_firn() {
    survival::of_a_killed_firn(&KALIX_JAVA).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn state_outlives_a_killed_function() {
    survival::of_a_killed_function(&KALIX_JAVA).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_entities_are_served_at_once() {
    crowd::is_served(&KALIX_JAVA).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn codes_keys_access_and_deletion_are_as_declared() {
    let rig = Rig::start(&KALIX_JAVA).await;
    tools::fail_with_codes(&rig).await;
    values::fail_with_codes(&rig).await;
    tools::crash(&rig).await;
    tools::call_back(&rig).await;
    tools::are_guarded(&rig, "Restricted").await;
    tickets::have_generated_keys(&rig).await;
    discarded_cart_takes_nothing(&rig).await;
}

/// An event sourced entity that was deleted can be read and takes no events any more.
async fn discarded_cart_takes_nothing(rig: &Rig) {
    rig.ok("Cart.AddItem", cart::item("d", "pen", 1)).await;
    rig.http_ok(Method::DELETE, "/carts/d", None).await;
    let refused = rig.fails("Cart.AddItem", cart::item("d", "pen", 1)).await;
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused:?}");
    let answer = rig.ok("Cart.GetCart", json!({ "cartId": "d" })).await;
    assert_eq!(answer["checkedOut"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_values_are_given_up() {
    values::are_given_up(&KALIX_JAVA).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replicated_data_outlives_function_and_firn() {
    replicated::outlive_function_and_firn(&KALIX_JAVA).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replicated_entities_stay_deleted() {
    replicated::stay_deleted(&KALIX_JAVA).await;
}
