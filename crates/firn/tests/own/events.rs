//! Event sourced entities (R51).

use firn_testkit::caller::request;
use firn_testkit::own::message::{decided, history};
use firn_wire::superset::Any;

use crate::world::{JOURNAL, World, command, kept, opening, whole};

#[tokio::test]
async fn events_and_snapshot_are_there_again_after_a_kill() {
    let (mut world, mut function) = World::serving().await;
    let asked = request("a", "x");
    let caller = world.call("Journal/Process", "a", "x");
    let nothing = history("a", None, &[]);
    function
        .expect(opening(1, JOURNAL, 1, &asked, nothing))
        .await;
    function.send(
        decided(1)
            .append(&["A", "B"].map(kept), None)
            .saying("AB")
            .leaving(2),
    );
    caller.replies("AB").await;

    let mut function = world.kill_and_start_again(&whole()).await;
    let caller = world.call("Journal/Process", "a", "x");
    let two = history("a", None, &["A", "B"].map(kept));
    function.expect(opening(1, JOURNAL, 1, &asked, two)).await;
    let snapshot = Some(kept("ABC"));
    function.send(
        decided(1)
            .append(&[kept("C")], snapshot)
            .saying("ABC")
            .leaving(3),
    );
    caller.replies("ABC").await;
    let caller = world.call("Journal/Process", "a", "x");
    function.expect(command(2, JOURNAL, 1, &asked)).await;
    function.send(
        decided(2)
            .append(&[kept("D")], None)
            .saying("ABCD")
            .leaving(4),
    );
    caller.replies("ABCD").await;

    let mut function = world.kill_and_start_again(&whole()).await;
    let caller = world.call("Journal/Process", "a", "x");
    let folded = history("a", Some((3, kept("ABC"))), &[kept("D")]);
    function
        .expect(opening(1, JOURNAL, 1, &asked, folded))
        .await;
    function.send(decided(1).saying("ABCD").leaving(4));
    caller.replies("ABCD").await;
}

/// R24: after a delete events count from nothing.
#[tokio::test]
async fn delete_begins_a_new_generation() {
    let (mut world, mut function) = World::serving().await;
    let asked = request("a", "");
    let caller = world.call("Journal/Process", "a", "");
    function.command().await;
    let events: Vec<Any> = ["A", "B", "C"].map(kept).into();
    function.send(
        decided(1)
            .append(&events, Some(kept("ABC")))
            .saying("1")
            .leaving(3),
    );
    caller.replies("1").await;
    let caller = world.call("Journal/Process", "a", "");
    function.expect(command(2, JOURNAL, 1, &asked)).await;
    function.send(decided(2).delete().saying("2").leaving(0));
    caller.replies("2").await;
    // In the same incarnation the next generation begins with event 1.
    let caller = world.call("Journal/Process", "a", "");
    function.expect(command(3, JOURNAL, 1, &asked)).await;
    function.send(decided(3).append(&[kept("D")], None).saying("3").leaving(1));
    caller.replies("3").await;

    let mut function = world.kill_and_start_again(&whole()).await;
    let caller = world.call("Journal/Process", "a", "");
    let one = history("a", None, &[kept("D")]);
    function.expect(opening(1, JOURNAL, 1, &asked, one)).await;
    function.send(decided(1).delete().saying("4").leaving(0));
    caller.replies("4").await;

    let mut function = world.kill_and_start_again(&whole()).await;
    let _caller = world.call("Journal/Process", "a", "");
    let nothing = history("a", None, &[]);
    function
        .expect(opening(1, JOURNAL, 1, &asked, nothing))
        .await;
}

#[tokio::test]
async fn long_history_comes_in_one_opening() {
    let (mut world, mut function) = World::serving().await;
    let asked = request("a", "");
    let caller = world.call("Journal/Process", "a", "");
    function.command().await;
    let events: Vec<Any> = (0..5000).map(|number| kept(&number.to_string())).collect();
    function.send(decided(1).append(&events, None).saying("ok").leaving(5000));
    caller.replies("ok").await;
    let mut function = world.kill_and_start_again(&whole()).await;
    let _caller = world.call("Journal/Process", "a", "");
    let all = history("a", None, &events);
    function.expect(opening(1, JOURNAL, 1, &asked, all)).await;
    // R81: more than one piece holds.
    assert!(function.pieces() > 1);
}
