//! How a connection ends in order (R90, R91).

use firn_testkit::caller::request;
use firn_testkit::own::message::{close, closed, decided, empty, holding, target};
use firn_wire::v1::message::Goodbye;
use rustix::process::Signal;
use tonic::Code;

use crate::world::{REGISTER, World, kept, opening, whole};

/// R90: what is open is finished, what is idle is closed, then the call ends well.
#[tokio::test]
async fn function_leaves_when_nothing_is_open() {
    let (mut world, mut first) = World::serving().await;
    let idle = world.call("Register/Process", "idle", "");
    first.command().await;
    first.send(decided(1).set(kept("one")).saying("idle").leaving(1));
    idle.replies("idle").await;
    let open = world.call("Register/Process", "open", "");
    first.command().await;
    let action = world.call("Doing/Unary", "", "");
    first.command().await;
    let mut second = world.join(&whole()).await;
    first.send(Goodbye {});
    first.expect(close(1)).await;
    first.send(closed(1));
    // Whoever comes now is served elsewhere.
    let caller = world.call("Register/Process", "idle", "");
    let held = holding("idle", kept("one"));
    second
        .expect(opening(1, REGISTER, 1, &request("idle", ""), held))
        .await;
    second.send(decided(1).saying("moved"));
    caller.replies("moved").await;
    let caller = world.call("Doing/Unary", "", "");
    assert_eq!(second.command().await.id, 2);
    second.send(decided(2).saying("there"));
    caller.replies("there").await;
    // What was open ends where it is.
    first.send(decided(2).saying("open"));
    open.replies("open").await;
    first.expect(close(2)).await;
    first.send(closed(2));
    first.send(decided(3).saying("acted"));
    action.replies("acted").await;
    first.ends().await;
}

/// R90: with nothing open, at once; afterwards nobody is there.
#[tokio::test]
async fn function_that_leaves_alone_is_gone() {
    let (world, function) = World::serving().await;
    function.send(Goodbye {});
    function.ends().await;
    world
        .call("Register/Process", "a", "")
        .is_refused(Code::Unavailable, "FIRN-3018")
        .await;
}

/// R91: Firn says so at once, finishes what it has accepted, also with further commands, and ends
/// the call.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn firn_says_goodbye_and_finishes() {
    let (mut world, mut function) = World::serving().await;
    let mut idle = world.join(&whole()).await;
    let caller = world.call("Register/Process", "a", "");
    function
        .expect(opening(1, REGISTER, 1, &request("a", ""), empty("a")))
        .await;
    world.firn.signal(Signal::TERM);
    function.expect(Goodbye {}).await;
    idle.expect(Goodbye {}).await;
    // Whoever comes now is welcome, and hears the same.
    let mut late = world.join(&whole()).await;
    late.expect(Goodbye {}).await;
    let asked = request("b", "");
    let forward = target("model.Register", "Process", &asked);
    function.send(decided(1).set(kept("one")).leaving(1).forward(forward));
    idle.expect(opening(1, REGISTER, 1, &asked, empty("b")))
        .await;
    idle.send(decided(1).saying("finished"));
    caller.replies("finished").await;
    for mut connection in [function, idle] {
        connection.expect(close(1)).await;
        connection.send(closed(1));
        connection.ends().await;
    }
    late.ends().await;
    assert!(world.firn.wait().success());
}
