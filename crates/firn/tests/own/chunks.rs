//! Frames in pieces, frames that are too large, and what is no frame (R81 to R83).

use bytes::Bytes;
use firn_testkit::caller::request;
use firn_testkit::own::Connection;
use firn_testkit::own::message::{Framed, call, close, closed, decided, empty, holding, target};
use firn_wire::superset::Any;
use firn_wire::v1::message::call_result::Result as Outcome;
use firn_wire::v1::message::firn_frame::Frame;
use firn_wire::v1::message::{Chunk, function_frame};
use tonic::Code;

use crate::world::{DOING, REGISTER, World, command, kept, opening, whole};

/// A state of so many bytes.
fn large(bytes: usize) -> Any {
    kept(&"x".repeat(bytes))
}

/// R81: a large state both ways, and small commands of other entities meanwhile.
#[tokio::test]
async fn large_state_travels_in_pieces() {
    let (mut world, mut function) = World::serving().await;
    let state = large(10 << 20);
    let asked = request("a", "");
    let caller = world.call("Register/Process", "a", "");
    function
        .expect(opening(1, REGISTER, 1, &asked, empty("a")))
        .await;
    let size = function.welcome.chunk_bytes as usize;
    let decision = decided(1).set(state.clone()).saying("large").leaving(1);
    let mut pieces = function.cut(decision, 1, size);
    assert!(pieces.len() > 160);
    let rest = pieces.split_off(80);
    function.send_all(pieces);
    // Half of it is on its way: others go on, also in pieces.
    for number in 2..=4 {
        let id = number.to_string();
        let other = world.call("Register/Process", &id, "");
        assert_eq!(function.command().await.id, number);
        let small = decided(number).set(large(1000)).saying("small").leaving(1);
        let pieces = function.cut(small, number, 100);
        assert!(pieces.len() > 10);
        function.send_all(pieces);
        other.replies("small").await;
    }
    assert!(!caller.is_over());
    for piece in rest {
        function.send(piece);
    }
    caller.replies("large").await;

    let mut function = world.kill_and_start_again(&whole()).await;
    let one = world.call("Register/Process", "a", "");
    // Behind it, since it is about the same incarnation.
    let two = world.call("Register/Process", "a", "");
    let held = holding("a", state);
    let mut first = None;
    for _ in 0..2 {
        let command = function.command().await;
        match &mut first {
            None => first = command.opening,
            Some(_) => assert_eq!(command.opening, None),
        }
        function.send(decided(command.id).saying("ok"));
    }
    assert!(first == Some(held), "another state");
    assert!(function.pieces() > 160);
    one.replies("ok").await;
    two.replies("ok").await;
}

/// R82: FIRN-3039. The subject fails, everything else goes on.
#[tokio::test]
async fn frame_above_the_limit_fails_its_subject() {
    let limit = ["--max-message-bytes", "200000"];
    let (world, mut function) = World::serving_with(&whole(), &limit).await;
    assert_eq!(function.welcome.frame_bytes, 200_000);
    let too_large = |number| {
        decided(number)
            .set(large(250_000))
            .saying("never")
            .leaving(1)
    };

    let caller = world.call("Register/Process", "a", "");
    function.command().await;
    let pieces = function.cut(too_large(1), 1, 64 << 10);
    function.send_all(pieces);
    function.notice("FIRN-3039", 1).await;
    function.expect(close(1)).await;
    function.send(closed(1));
    caller.is_refused(Code::Internal, "FIRN-3039").await;

    // In one piece it is as large.
    let caller = world.call("Register/Process", "a", "");
    function
        .expect(opening(2, REGISTER, 2, &request("a", ""), empty("a")))
        .await;
    function.send(too_large(2));
    function.notice("FIRN-3039", 2).await;
    function.expect(close(2)).await;
    function.send(closed(2));
    caller.is_refused(Code::Internal, "FIRN-3039").await;

    let caller = world.call("Doing/Unary", "", "");
    function
        .expect(command(3, DOING, 0, &request("", "")))
        .await;
    let pieces = function.cut(decided(3).saying(&"x".repeat(250_000)), 3, 64 << 10);
    function.send_all(pieces);
    function.notice("FIRN-3039", 3).await;
    caller.is_refused(Code::Internal, "FIRN-3039").await;

    // A call, whose number is that of an open command.
    let open = world.call("Doing/Unary", "", "");
    function
        .expect(command(4, DOING, 0, &request("", "")))
        .await;
    let big = request("", &"x".repeat(250_000));
    let big = call(4, 4, target("model.Doing", "Unary", &big));
    let pieces = function.cut(big, 4, 64 << 10);
    function.send_all(pieces);
    function.notice("FIRN-3039", 0).await;
    let result = function.call_result().await;
    assert_eq!(result.id, 4);
    let Some(Outcome::Failure(failure)) = result.result else {
        panic!("{result:?}");
    };
    assert!(failure.message.contains("FIRN-3039"), "{failure:?}");
    function.send(decided(4).saying("ok"));
    open.replies("ok").await;
}

/// R82: what is so large that it cannot be told what it is about.
#[tokio::test]
async fn batch_far_above_the_limit_ends_the_connection() {
    let (_world, function) = World::serving().await;
    function.send(decided(1).set(large(9 << 20)));
    function
        .is_refused(Code::InvalidArgument, "FIRN-3039")
        .await;
}

/// R83: FIRN-3040, each way. The function may dial again at once.
#[tokio::test]
async fn what_is_no_frame_ends_the_connection() {
    let world = World::alone().await;
    let chunk = |transfer, data: &[u8], last| {
        function_frame::Frame::Chunk(Chunk {
            transfer,
            data: Bytes::copy_from_slice(data),
            last,
            subject: 0,
        })
    };
    let join = || async { Connection::joined(&world.dial(), &whole()).await };
    for bytes in [&b"\xff\xff"[..], b"\x0a\x05\x12", b"\x0a\x02\x12\xff"] {
        let function = join().await;
        function.send_bytes(Bytes::copy_from_slice(bytes));
        function
            .is_refused(Code::InvalidArgument, "FIRN-3040")
            .await;
    }
    // A transfer that is no frame.
    let function = join().await;
    function.send_all([chunk(1, b"\xff", false), chunk(1, b"\xff", true)]);
    function
        .is_refused(Code::InvalidArgument, "FIRN-3040")
        .await;
    // A piece in pieces.
    let mut function = join().await;
    let inner = chunk(7, b"", true);
    let pieces = function.cut(inner, 0, 2);
    function.send_all(pieces);
    function
        .is_refused(Code::InvalidArgument, "FIRN-3040")
        .await;
    // More transfers than anybody may have.
    let function = join().await;
    function.send_all((0..17).map(|transfer| chunk(transfer, b"\x12", false)));
    function
        .is_refused(Code::InvalidArgument, "FIRN-3040")
        .await;
    // A Hello in pieces is a second one.
    let mut function = join().await;
    let again = firn_testkit::own::message::hello(&whole());
    let pieces = function.cut(again, 0, 100);
    function.send_all(pieces);
    function
        .is_refused(Code::InvalidArgument, "FIRN-3040")
        .await;
    join().await;
}

/// R83: what was decided before stays, and what was open goes to the next process.
#[tokio::test]
async fn entities_outlive_a_connection_that_broke() {
    let (world, mut function) = World::serving().await;
    let caller = world.call("Register/Process", "a", "");
    function.command().await;
    function.send(decided(1).set(kept("one")).saying("1").leaving(1));
    caller.replies("1").await;
    let mut other = Connection::joined(&world.dial(), &whole()).await;
    let open = world.call("Register/Process", "a", "");
    function.command().await;
    function.send_bytes(Bytes::from_static(b"\xff"));
    function
        .is_refused(Code::InvalidArgument, "FIRN-3040")
        .await;
    let held = holding("a", kept("one"));
    other
        .expect(opening(1, REGISTER, 1, &request("a", ""), held))
        .await;
    other.send(decided(1).saying("2"));
    open.replies("2").await;
}

/// R6: an empty frame in pieces is one of an unknown kind.
#[tokio::test]
async fn empty_transfer_is_passed_over() {
    let (world, mut function) = World::serving().await;
    let nothing = Chunk {
        transfer: 1,
        last: true,
        ..Chunk::default()
    };
    function.send(function_frame::Frame::Chunk(nothing));
    let caller = world.call("Doing/Unary", "", "");
    let Frame::Command(_) = function.next().await else {
        panic!("no command");
    };
    function.send_all([decided(1).saying("ok").framed()]);
    caller.replies("ok").await;
}
