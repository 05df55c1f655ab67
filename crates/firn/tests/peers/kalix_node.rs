//! npm `@kalix-io/kalix-javascript-sdk` 1.1.0.

use crate::rig::Rig;
use crate::sdk::KALIX_NODE;
use crate::{cart, crowd, replicated, survival, tickets, tools, values};

#[tokio::test(flavor = "multi_thread")]
async fn cart_serves_grpc_and_http() {
    cart::serves_grpc_and_http(&KALIX_NODE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn values_are_set_read_and_deleted() {
    values::are_set_read_and_deleted(&KALIX_NODE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn actions_do_everything() {
    tools::do_everything(&KALIX_NODE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn state_outlives_idle_times() {
    survival::of_idle_times(&KALIX_NODE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn state_outlives_a_killed_firn() {
    survival::of_a_killed_firn(&KALIX_NODE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn state_outlives_a_killed_function() {
    survival::of_a_killed_function(&KALIX_NODE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_entities_are_served_at_once() {
    crowd::is_served(&KALIX_NODE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_values_are_given_up() {
    values::are_given_up(&KALIX_NODE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn codes_keys_and_access_are_as_declared() {
    let rig = Rig::start(&KALIX_NODE).await;
    tools::fail_with_codes(&rig).await;
    values::fail_with_codes(&rig).await;
    tools::call_back(&rig).await;
    tools::are_guarded(&rig, "Closed").await;
    tickets::have_generated_keys(&rig).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replicated_data_outlives_idle_times() {
    replicated::outlive_idle_times(&KALIX_NODE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replicated_data_outlives_function_and_firn() {
    replicated::outlive_function_and_firn(&KALIX_NODE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replicated_data_of_a_majority_outlives_a_killed_firn() {
    replicated::of_a_majority_outlive_a_killed_firn(&KALIX_NODE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replicated_entities_stay_deleted() {
    replicated::stay_deleted(&KALIX_NODE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replicated_entities_are_served_like_others() {
    replicated::are_served_like_others(&KALIX_NODE).await;
}
