//! npm `cloudstate` 0.0.3.

use crate::rig::Rig;
use crate::sdk::CLOUDSTATE_NODE;
use crate::{cart, crowd, replicated, survival, tools, values};

#[tokio::test(flavor = "multi_thread")]
async fn cart_serves_grpc_and_http() {
    cart::serves_grpc_and_http(&CLOUDSTATE_NODE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn values_are_set_read_and_deleted() {
    values::are_set_read_and_deleted(&CLOUDSTATE_NODE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn state_outlives_idle_times() {
    survival::of_idle_times(&CLOUDSTATE_NODE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn state_outlives_a_killed_firn() {
    survival::of_a_killed_firn(&CLOUDSTATE_NODE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn state_outlives_a_killed_function() {
    survival::of_a_killed_function(&CLOUDSTATE_NODE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_entities_are_served_at_once() {
    crowd::is_served(&CLOUDSTATE_NODE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stateless_functions_answer_one_request() {
    let rig = Rig::start(&CLOUDSTATE_NODE).await;
    tools::answer_one_request(&rig).await;
    tools::crash(&rig).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replicated_data_outlives_idle_times() {
    replicated::outlive_idle_times(&CLOUDSTATE_NODE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replicated_data_outlives_function_and_firn() {
    replicated::outlive_function_and_firn(&CLOUDSTATE_NODE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replicated_entities_stay_deleted() {
    replicated::stay_deleted(&CLOUDSTATE_NODE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replicated_entities_are_served_like_others() {
    replicated::are_served_like_others(&CLOUDSTATE_NODE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replicated_entities_are_watched() {
    replicated::are_watched(&CLOUDSTATE_NODE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replicated_entities_are_watched_to_the_end() {
    replicated::are_watched_to_the_end(&CLOUDSTATE_NODE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replicated_entities_are_left_by_watchers() {
    replicated::are_left_by_watchers(&CLOUDSTATE_NODE).await;
}
