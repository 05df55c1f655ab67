//! PyPI `akkaserverless` 0.1.13.

use crate::rig::Rig;
use crate::sdk::AKKASERVERLESS_PYTHON;
use crate::{cart, crowd, survival, tools};

#[tokio::test(flavor = "multi_thread")]
async fn cart_serves_grpc_and_http() {
    cart::serves_grpc_and_http(&AKKASERVERLESS_PYTHON).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn state_outlives_idle_times() {
    survival::of_idle_times(&AKKASERVERLESS_PYTHON).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn state_outlives_a_killed_firn() {
    survival::of_a_killed_firn(&AKKASERVERLESS_PYTHON).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn state_outlives_a_killed_function() {
    survival::of_a_killed_function(&AKKASERVERLESS_PYTHON).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_entities_are_served_at_once() {
    crowd::is_served(&AKKASERVERLESS_PYTHON).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn actions_answer_stream_fail_and_forward() {
    let rig = Rig::start(&AKKASERVERLESS_PYTHON).await;
    tools::answer_one_request(&rig).await;
    tools::take_streams(&rig).await;
    tools::fail(&rig).await;
    tools::crash(&rig).await;
    tools::forward(&rig).await;
    tools::cause_a_synchronous_effect(&rig).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_values_are_warned_about() {
    let rig = Rig::start(&AKKASERVERLESS_PYTHON).await;
    let log = rig.firn.log();
    assert!(
        log.contains("ignores the stored state of peers.KeyValue"),
        "{log}"
    );
    assert!(log.contains("FIRN-2016"), "{log}");
    assert!(rig.peer.log().contains("FIRN-2016"), "{}", rig.peer.log());
}
