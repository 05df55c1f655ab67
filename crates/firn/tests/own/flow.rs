//! How much is open at once (R80).

use firn_testkit::caller::request;
use firn_testkit::own::Connection;
use firn_testkit::own::message::{closed, credit, decided, hello};
use firn_wire::v1::message::Hello;

use crate::world::{World, whole};

/// R80: decisions give credit back, and Credit adds to it.
#[tokio::test]
async fn commands_wait_for_credit() {
    let world = World::alone().await;
    let two_at_once = Hello {
        commands: 2,
        ..hello(&whole())
    };
    let mut function = Connection::joined_with(&world.dial(), two_at_once).await;
    let mut world = world;
    world.firn.wait_until_serving();
    let mut callers = Vec::new();
    for number in 1..=2 {
        callers.push(world.call("Register/Process", &number.to_string(), ""));
        assert_eq!(function.command().await.id, number);
    }
    let waiting = [
        world.call("Doing/Unary", "", ""),
        world.call("Doing/Unary", "", ""),
        world.call("Doing/Unary", "", ""),
        world.call("Doing/Unary", "", ""),
    ];
    // Nothing comes but what is asked for.
    function.send(decided(99));
    function.notice("FIRN-3031", 99).await;
    function.send(decided(1).saying("first"));
    callers.remove(0).replies("first").await;
    assert_eq!(function.command().await.id, 3);
    function.send(decided(99));
    function.notice("FIRN-3031", 99).await;
    function.send(credit(0, 1));
    assert_eq!(function.command().await.id, 4);
    function.send(decided(99));
    function.notice("FIRN-3031", 99).await;
    // Closed gives back what is open of its incarnation; it is sent again behind the others.
    function.send(closed(2));
    for number in 5..=6 {
        assert_eq!(function.command().await.id, number);
        function.send(decided(number).saying("ok"));
    }
    for number in [3, 4] {
        function.send(decided(number).saying("ok"));
    }
    for caller in waiting {
        caller.replies("ok").await;
    }
    let again = function.command().await;
    assert_eq!(
        again.message,
        prost::Message::encode_to_vec(&request("2", ""))
    );
    function.send(decided(again.id).saying("second"));
    callers.remove(0).replies("second").await;
}
