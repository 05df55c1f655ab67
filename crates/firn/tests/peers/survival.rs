//! State outlives idle times, the end of Firn and the end of the function.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::json;
use tonic::Code;

use crate::cart::{self, contents, item, items};
use crate::rig::{LEAVES, Rig, eventually};
use crate::sdk::{Sdk, Slow, Values};
use crate::values;

/// The most that a refusal may take while the function is away: nothing was sent, so nobody waits.
const AT_ONCE: Duration = Duration::from_secs(2);

/// An entity that leaves memory comes back as it was, also across snapshots.
pub(crate) async fn of_idle_times(sdk: &'static Sdk) {
    let args = [
        "--passivate-after",
        "300ms",
        "--log",
        "info,firn_runtime=debug",
    ];
    let mut rig = Rig::start_with(sdk, &args).await;
    for round in 1..=4 {
        rig.ok("Cart.AddItems", items("idle", &["pen", "pen", "ink"]))
            .await;
        rig.firn.wait_for_log_times(LEAVES, round);
    }
    let expected = contents([("pen", 8), ("ink", 4)]);
    assert_eq!(cart::look(&rig, "idle").await, expected);
}

/// What was acknowledged is there after Firn was killed, and again after it was stopped in order.
pub(crate) async fn of_a_killed_firn(sdk: &'static Sdk) {
    let mut rig = Rig::start(sdk).await;
    for round in 0..4 {
        let products = ["pen", "ink", if round % 2 == 0 { "cap" } else { "pad" }];
        rig.ok("Cart.AddItems", items("kept", &products)).await;
    }
    rig.ok("KeyValue.Set", values::set("gone", "soon")).await;
    rig.ok("KeyValue.Delete", json!({ "key": "gone" })).await;
    rig.ok("KeyValue.Set", values::set("kept", "still here"))
        .await;

    rig.firn.kill();
    rig.start_firn_again().await;
    let expected = contents([("pen", 4), ("ink", 4), ("cap", 2), ("pad", 2)]);
    assert_eq!(cart::look(&rig, "kept").await, expected);
    if sdk.values != Values::Forgotten {
        let kept = values::look(&rig, "kept").await;
        assert_eq!(kept.as_deref(), Some("still here"));
        assert_eq!(values::look(&rig, "gone").await, None);
    }

    rig.ok("Cart.AddItem", item("kept", "map", 7)).await;
    let status = rig.firn.stop();
    assert!(status.success(), "{status}");
    rig.peer.start_again();
    rig.start_firn_again().await;
    let expected = contents([("pen", 4), ("ink", 4), ("cap", 2), ("pad", 2), ("map", 7)]);
    assert_eq!(cart::look(&rig, "kept").await, expected);
}

/// While the function is away callers are told at once; when it is back, so is the state.
pub(crate) async fn of_a_killed_function(sdk: &'static Sdk) {
    let mut rig = Rig::start(sdk).await;
    rig.ok("Cart.AddItem", item("left", "pen", 2)).await;
    rig.ok("Cart.AddItems", items("left", &["a", "b", "c", "d", "e"]))
        .await;

    if sdk.slow == Slow::Alone {
        cut_off_a_command(&rig).await;
    }
    rig.peer.kill();
    rig.firn
        .wait_for_log("the connection to the function ended");
    let asked = Instant::now();
    let refused = rig.fails("Cart.AddItem", item("left", "pen", 1)).await;
    assert_eq!(refused.code(), Code::Unavailable, "{refused:?}");
    let answer = rig.http(http::Method::GET, "/carts/left", None).await;
    assert_eq!(answer.status(), 503, "{}", answer.text());
    assert!(asked.elapsed() < AT_ONCE, "{:?}", asked.elapsed());

    rig.peer.start_again();
    eventually("the function", async || {
        match rig.call("Cart.AddItem", item("left", "pen", 1)).await {
            Ok(_) => Some(()),
            Err(status) => {
                assert_eq!(status.code(), Code::Unavailable, "{status:?}");
                None
            }
        }
    })
    .await;
    let one_each = [("a", 1), ("b", 1), ("c", 1), ("d", 1), ("e", 1), ("pen", 3)];
    assert_eq!(cart::look(&rig, "left").await, contents(one_each));
}

/// Kills the function while it works on a command: the caller is told at once that its fate is not
/// known, in the status that all families have for it.
async fn cut_off_a_command(rig: &Rig) {
    rig.ok("KeyValue.Set", values::set("slow", "one")).await;
    let minute = json!({ "key": "slow", "millis": 60_000 });
    let (status, ()) = tokio::join!(
        async { rig.fails("KeyValue.Slow", minute.clone()).await },
        async {
            // The function has the command when it has answered others that came after it.
            for round in 0..10 {
                let add = item("other", "pen", round + 1);
                rig.ok("Cart.AddItem", add).await;
            }
            rig.peer.signal(Signal::KILL);
        }
    );
    assert_eq!(status.code(), Code::Unknown, "{status:?}");
}
