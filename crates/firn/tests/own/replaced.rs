//! A function that is replaced while commands are on their way: they were asked by the contract
//! before, and go by their names (R17).
//!
//! The parts are put together in this process, so that the test can say when the newer contract is
//! served.

use bytes::Bytes;
use firn_model::code::Code;
use firn_model::status::GrpcCode;
use firn_testkit::caller::request;
use firn_testkit::own::message::{decided, empty};
use firn_wire::v1::message::Contract;
use prost::Message as _;

use crate::node::{Node, answered, refused};
use crate::world::{count, doing, journal, of, register, whole};

/// The methods of the model's entity, the other way round.
fn turned() -> Contract {
    let mut register = register();
    register.methods.reverse();
    of(vec![journal(), register, count(), doing()])
}

/// Without some of the methods.
fn reduced() -> Contract {
    let (mut register, mut doing) = (register(), doing());
    register.methods.truncate(1);
    doing.methods.drain(..1);
    of(vec![register, doing])
}

#[tokio::test]
async fn command_of_an_older_contract_goes_to_the_method_of_its_name() {
    let mut node = Node::start().await;
    drop(node.join(&whole()).await);
    node.left().await;
    let dialing = node.dial(&turned());
    let newcomer = node.newcomer().await;
    // Asked by the contract before: it is served still, and somebody is connected.
    let calls = [
        node.call("Register/Process", "a", "x"),
        node.call("Doing/Unary", "", "y"),
    ];
    node.serve(newcomer);
    let mut function = dialing.await.expect("a welcome");
    let mut places = Vec::new();
    for _ in 0..2 {
        let command = function.command().await;
        places.push((command.component, command.method, command.message));
    }
    places.sort();
    let asked = |id, text| Bytes::from(request(id, text).encode_to_vec());
    assert_eq!(places, [(1, 1, asked("a", "x")), (3, 0, asked("", "y"))]);
    for id in 1..=2 {
        function.send(decided(id).saying("ok"));
    }
    for call in calls {
        answered(call).await;
    }
}

#[tokio::test]
async fn command_of_a_method_that_is_gone_is_refused() {
    let mut node = Node::start().await;
    drop(node.join(&whole()).await);
    node.left().await;
    let dialing = node.dial(&reduced());
    let newcomer = node.newcomer().await;
    let calls = [
        node.call("Register/Other", "a", ""),
        node.call("Journal/Process", "a", ""),
        node.call("Count/Process", "a", ""),
        node.call("Doing/Unary", "", ""),
    ];
    for call in calls {
        let status = refused(call).await;
        assert_eq!(status.code, GrpcCode::Unavailable, "{status}");
        assert_eq!(status.firn, Some(Code::FunctionUnavailable), "{status}");
    }
    // Nothing of it reaches the function, which serves what it has.
    node.serve(newcomer);
    let mut function = dialing.await.expect("a welcome");
    let call = node.call("Register/Process", "a", "x");
    let command = function.command().await;
    assert_eq!((command.component, command.method), (0, 0));
    assert_eq!(command.opening, Some(empty("a")));
    function.send(decided(command.id).saying("ok"));
    answered(call).await;
}
