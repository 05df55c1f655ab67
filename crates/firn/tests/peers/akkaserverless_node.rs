//! npm `@lightbend/akkaserverless-javascript-sdk` 0.32.0.

use serde_json::json;

use crate::rig::Rig;
use crate::sdk::AKKASERVERLESS_NODE;
use crate::{cart, crowd, replicated, survival, tickets, tools, values};

#[tokio::test(flavor = "multi_thread")]
async fn cart_serves_grpc_and_http() {
    cart::serves_grpc_and_http(&AKKASERVERLESS_NODE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn values_are_set_read_and_deleted() {
    values::are_set_read_and_deleted(&AKKASERVERLESS_NODE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn actions_do_everything() {
    tools::do_everything(&AKKASERVERLESS_NODE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn state_outlives_idle_times() {
    survival::of_idle_times(&AKKASERVERLESS_NODE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn state_outlives_a_killed_firn() {
    survival::of_a_killed_firn(&AKKASERVERLESS_NODE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn state_outlives_a_killed_function() {
    survival::of_a_killed_function(&AKKASERVERLESS_NODE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_entities_are_served_at_once() {
    crowd::is_served(&AKKASERVERLESS_NODE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn legacy_keys_idle_times_and_empty_answers_are_as_declared() {
    let args = ["--log", "info,firn_runtime=debug"];
    let mut rig = Rig::start_with(&AKKASERVERLESS_NODE, &args).await;
    tickets::leave_by_their_own_option(&mut rig).await;
    // The SDK's way to say nothing is an empty message of the method's output type.
    let nothing = rig.ok("Tools.Nothing", json!({})).await;
    assert_eq!(nothing, json!({ "text": "" }));
    tools::crash(&rig).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_values_are_given_up() {
    values::are_given_up(&AKKASERVERLESS_NODE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replicated_data_outlives_idle_times() {
    replicated::outlive_idle_times(&AKKASERVERLESS_NODE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replicated_data_outlives_function_and_firn() {
    replicated::outlive_function_and_firn(&AKKASERVERLESS_NODE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replicated_data_of_a_majority_outlives_a_killed_firn() {
    replicated::of_a_majority_outlive_a_killed_firn(&AKKASERVERLESS_NODE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replicated_entities_stay_deleted() {
    replicated::stay_deleted(&AKKASERVERLESS_NODE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replicated_entities_are_served_like_others() {
    replicated::are_served_like_others(&AKKASERVERLESS_NODE).await;
}
