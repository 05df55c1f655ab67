//! Maven `io.cloudstate:cloudstate-java-support` 0.5.2.

use crate::sdk::CLOUDSTATE_JAVA;
use crate::{cart, crowd, replicated, survival, values};

#[tokio::test(flavor = "multi_thread")]
async fn cart_serves_grpc_and_http() {
    cart::serves_grpc_and_http(&CLOUDSTATE_JAVA).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn values_are_set_read_and_deleted() {
    values::are_set_read_and_deleted(&CLOUDSTATE_JAVA).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn state_outlives_idle_times() {
    survival::of_idle_times(&CLOUDSTATE_JAVA).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn state_outlives_a_killed_firn() {
    survival::of_a_killed_firn(&CLOUDSTATE_JAVA).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn state_outlives_a_killed_function() {
    survival::of_a_killed_function(&CLOUDSTATE_JAVA).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_entities_are_served_at_once() {
    crowd::is_served(&CLOUDSTATE_JAVA).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replicated_data_outlives_function_and_firn() {
    replicated::outlive_function_and_firn(&CLOUDSTATE_JAVA).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replicated_entities_stay_deleted() {
    replicated::stay_deleted(&CLOUDSTATE_JAVA).await;
}
