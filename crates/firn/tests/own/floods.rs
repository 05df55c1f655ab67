//! Functions that send without end, or read nothing: what they harm is their own connection.

use std::net::TcpStream;

use firn_testkit::caller::{Call, request};
use firn_testkit::own::message::{call, credit, decided, hello, target};
use firn_testkit::own::{Connection, Dial};
use firn_wire::v1::message::Chunk;
use firn_wire::v1::message::function_frame::Frame;
use tonic::Code;

use crate::world::{World, whole};

/// More than a played function's transport takes unless it reads.
const MORE_THAN_A_WINDOW: usize = 8 << 20;

/// An entity and an action are served.
async fn serves(world: &World, function: &mut Connection) {
    for method in ["Register/Process", "Doing/Unary"] {
        let caller = world.call(method, "served", "");
        let command = function.command().await;
        function.send(decided(command.id).saying("ok"));
        caller.replies("ok").await;
    }
}

/// A function begins to take a large command, and reads nothing more. Gives who asked.
async fn reads_no_more(world: &World, function: &mut Connection) -> Call {
    let text = "x".repeat(MORE_THAN_A_WINDOW);
    let large = world.call("Register/Process", "large", &text);
    while function.pieces() == 0 {
        let caller = world.call("Doing/Unary", "", "");
        let command = function.command().await;
        function.send(decided(command.id).saying("ok"));
        caller.replies("ok").await;
    }
    large
}

/// R80: grants add up to no more than there can be.
#[tokio::test]
async fn grants_without_end_grant_what_there_is() {
    let (world, mut function) = World::serving().await;
    let talk = world.call("Doing/Out", "", "");
    let streamed = function.command().await.id;
    for _ in 0..100 {
        let grants = [
            credit(0, u32::MAX),
            credit(streamed, u32::MAX),
            credit(77, 1),
        ];
        let grants = grants.map(Frame::Credit).into_iter().cycle();
        function.send_all(grants.take(1000));
    }
    serves(&world, &mut function).await;
    function.send(decided(streamed));
    drop(talk);
}

/// R81: what never ends is kept up to the limit, and what is empty takes no room.
#[tokio::test]
async fn pieces_without_end_keep_nobody_waiting() {
    let (world, mut function) =
        World::serving_with(&whole(), &["--max-message-bytes", "65536"]).await;
    let piece = |transfer, bytes| {
        Frame::Chunk(Chunk {
            transfer,
            data: vec![0; bytes].into(),
            ..Chunk::default()
        })
    };
    for _ in 0..100 {
        function.send_all((0..1000).map(|_| piece(1, 0)));
        function.send_all((0..8).map(|_| piece(2, 60_000)));
    }
    // What was thrown away is said once.
    function.notice("FIRN-3039", 0).await;
    serves(&world, &mut function).await;
}

/// R83: FIRN-3040. What was open ends with the connection.
#[tokio::test]
async fn second_hello_ends_the_connection() {
    let (world, mut function) = World::serving().await;
    let caller = world.call("Doing/Unary", "", "");
    function.command().await;
    function.send(hello(&whole()));
    caller.is_refused(Code::Unavailable, "FIRN-3025").await;
    function
        .is_refused(Code::InvalidArgument, "FIRN-3040")
        .await;
}

/// R83: the end counts at once, also where nobody reads of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connection_that_breaks_the_rules_and_reads_nothing_is_over() {
    let (mut world, mut first) = World::serving().await;
    let large = reads_no_more(&world, &mut first).await;
    let caller = world.call("Register/Process", "a", "");
    first.command().await;
    let mut second = world.join(&whole()).await;
    first.send(hello(&whole()));
    // What it had is served elsewhere.
    let mut ids = Vec::new();
    for _ in 0..2 {
        let command = second.command().await;
        ids.push(command.opening.expect("an opening").entity_id);
        second.send(decided(command.id).saying("second"));
    }
    ids.sort();
    assert_eq!(ids, ["a", "large"]);
    caller.replies("second").await;
    large.replies("second").await;
    // Its transport is cut off: nothing less reaches it.
    world.firn.wait_for_log("a function has gone");
    while first.frame().await.is_ok_and(|frame| frame.is_some()) {}
}

/// R84: FIRN-3040. Answers pile up for nobody.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn function_that_calls_without_end_and_reads_nothing_is_cut_off() {
    let (mut world, mut first) = World::serving().await;
    let large = reads_no_more(&world, &mut first).await;
    let mut second = world.join(&whole()).await;
    let calls = 4 * u64::from(first.welcome.calls);
    let nobody = target("model.Nobody", "Process", &request("a", ""));
    for id in 1..=calls {
        first.send(call(id, 0, nobody.clone()));
    }
    world.firn.wait_for_log("the function does not read");
    let command = second.command().await;
    assert_eq!(command.opening.expect("an opening").entity_id, "large");
    second.send(decided(command.id).saying("second"));
    large.replies("second").await;
    serves(&world, &mut second).await;
}

/// Connections that say nothing take nobody's place.
#[tokio::test]
async fn connections_without_number_are_borne() {
    let world = World::alone().await;
    let Dial::Tcp(address) = world.dial() else {
        panic!("no port")
    };
    let silent: Vec<TcpStream> = (0..500)
        .map(|_| TcpStream::connect(address).expect("a connection"))
        .collect();
    let mut world = world;
    let mut functions = Vec::new();
    for _ in 0..100 {
        functions.push(world.join(&whole()).await);
    }
    // Each gets something to do.
    let mut callers = Vec::new();
    for number in 0..functions.len() {
        callers.push(world.call("Register/Process", &number.to_string(), ""));
    }
    for function in &mut functions {
        let command = function.command().await;
        function.send(decided(command.id).saying("ok"));
    }
    for caller in callers {
        caller.replies("ok").await;
    }
    drop(silent);
}
