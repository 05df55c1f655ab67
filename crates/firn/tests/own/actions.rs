//! Actions in their four shapes, with credit both ways (R55, R60 to R62).

use firn_testkit::caller::request;
use firn_testkit::own::Connection;
use firn_testkit::own::message::{Framed, cancel, credit, decided, hello, reply, said};
use firn_wire::v1::message::firn_frame::Frame;
use firn_wire::v1::message::{Command, Hello, Message};
use prost::Message as _;
use tonic::Code;

use crate::world::{DOING, World, command, whole};

/// The places of the action's methods.
const UNARY: u32 = 0;
const IN: u32 = 1;
const OUT: u32 = 2;
const BOTH: u32 = 3;

/// A command of the action whose requests follow.
fn streamed(id: u64, method: u32) -> Command {
    Command {
        id,
        component: DOING,
        method,
        ..Command::default()
    }
}

/// A further request.
fn further(command: u64, text: &str) -> Frame {
    Frame::Message(Message {
        command,
        message: Some(request("", text).encode_to_vec().into()),
        end: false,
    })
}

/// The word that no more requests come.
fn no_more(command: u64) -> Frame {
    Frame::Message(Message {
        command,
        message: None,
        end: true,
    })
}

#[tokio::test]
async fn unary_calls_run_side_by_side() {
    let (world, mut function) = World::serving().await;
    let one = world.call("Doing/Unary", "a", "1");
    function
        .expect(command(1, DOING, 0, &request("a", "1")))
        .await;
    let two = world.call("Doing/Unary", "a", "2");
    function
        .expect(command(2, DOING, 0, &request("a", "2")))
        .await;
    function.send(decided(2).saying("two").with_headers(&[("x-one", "1")]));
    let answered = two.answered().await;
    assert_eq!(answered.headers.get("x-one").expect("a header"), "1");
    assert_eq!(answered.messages, [said("two")]);
    function.send(decided(1).failing(Code::NotFound, "nobody", &[]));
    one.fails(Code::NotFound, "nobody").await;
    // R23: nothing is an empty message.
    let three = world.call("Doing/Unary", "", "");
    assert_eq!(function.command().await.method, UNARY);
    function.send(decided(3));
    three.replies("").await;
}

/// R60: the requests follow, and the decision has the reply.
#[tokio::test]
async fn streamed_requests_get_one_reply() {
    let (world, mut function) = World::serving().await;
    let mut talk = world.talk("Doing/In");
    talk.say(request("", "1")).await;
    function.expect(streamed(1, IN)).await;
    function.expect(further(1, "1")).await;
    talk.say(request("", "2")).await;
    function.expect(further(1, "2")).await;
    talk.half_close();
    function.expect(no_more(1)).await;
    function.send(decided(1).saying("12"));
    talk.hears("12").await;
    talk.ends().await;
    // Without a request, and without a reply.
    let mut talk = world.talk("Doing/In");
    talk.half_close();
    function.expect(streamed(2, IN)).await;
    function.expect(no_more(2)).await;
    function.send(decided(2));
    talk.hears("").await;
    talk.ends().await;
}

/// R60: replies, and a decision that ends them.
#[tokio::test]
async fn streamed_replies_end_with_the_decision() {
    let (world, mut function) = World::serving().await;
    let asked = |id| Command {
        method: OUT,
        ..command(id, DOING, 0, &request("", "x"))
    };
    let mut talk = world.talk("Doing/Out");
    talk.say(request("", "x")).await;
    talk.half_close();
    function.expect(asked(1)).await;
    function.send(reply(1, "one"));
    talk.hears("one").await;
    function.send_all([reply(1, "two").framed(), decided(1).framed()]);
    talk.hears("two").await;
    talk.ends().await;
    let mut talk = world.talk("Doing/Out");
    talk.say(request("", "x")).await;
    talk.half_close();
    function.expect(asked(2)).await;
    let failing = decided(2).failing(Code::Aborted, "enough", &[]);
    function.send_all([reply(2, "one").framed(), failing.framed()]);
    talk.hears("one").await;
    talk.fails(Code::Aborted, "enough").await;
}

#[tokio::test]
async fn both_sides_stream_at_once() {
    let (world, mut function) = World::serving().await;
    let mut talk = world.talk("Doing/Both");
    talk.say(request("", "1")).await;
    function.expect(streamed(1, BOTH)).await;
    function.expect(further(1, "1")).await;
    for number in 2..10 {
        let text = number.to_string();
        function.send(reply(1, &text));
        talk.hears(&text).await;
        talk.say(request("", &text)).await;
        // Every eighth taken reply gives leave for as many more.
        if number == 9 {
            function.expect(credit(1, 8)).await;
        }
        function.expect(further(1, &text)).await;
        // R61: the first 16 requests need no more leave.
    }
    // The function may end before its caller does.
    function.send(decided(1));
    talk.ends().await;
}

/// R61: no more requests than the function granted.
#[tokio::test]
async fn requests_wait_for_credit() {
    let world = World::alone().await;
    let two_at_once = Hello {
        call_messages: 2,
        ..hello(&whole())
    };
    let mut function = Connection::joined_with(&world.dial(), two_at_once).await;
    let mut world = world;
    world.firn.wait_until_serving();
    let mut talk = world.talk("Doing/In");
    for text in ["1", "2", "3", "4", "5"] {
        talk.say(request("", text)).await;
    }
    talk.half_close();
    function.expect(streamed(1, IN)).await;
    function.expect(further(1, "1")).await;
    function.expect(further(1, "2")).await;
    // What Firn says in between is not the third: a notice would come behind it.
    function.send(decided(99));
    function.notice("FIRN-3031", 99).await;
    function.send(credit(1, 1));
    function.expect(further(1, "3")).await;
    function.send(decided(99));
    function.notice("FIRN-3031", 99).await;
    function.send(credit(1, 7));
    function.expect(further(1, "4")).await;
    function.expect(further(1, "5")).await;
    // The end costs nothing.
    function.expect(no_more(1)).await;
    function.send(decided(1).saying("ok"));
    talk.hears("ok").await;
    talk.ends().await;
}

/// R61: FIRN-3036. Other calls go on.
#[tokio::test]
async fn replies_without_credit_fail_the_call() {
    let (world, mut function) = World::serving().await;
    let mut talk = world.talk("Doing/Out");
    talk.say(request("", "")).await;
    talk.half_close();
    function.command().await;
    let granted = u64::from(function.welcome.call_messages);
    let too_many = (0..=granted).map(|number| reply(1, &number.to_string()).framed());
    function.send_all(too_many);
    for number in 0..granted {
        talk.hears(&number.to_string()).await;
    }
    talk.is_refused(Code::Internal, "FIRN-3036").await;
    function.expect(cancel(1)).await;
    function.notice("FIRN-3036", 1).await;
    function.send(decided(1));
    let caller = world.call("Doing/Unary", "", "");
    assert_eq!(function.command().await.id, 2);
    function.send(decided(2).saying("ok"));
    caller.replies("ok").await;
}

/// R62: the function is told, and its decision is still awaited.
#[tokio::test]
async fn callers_that_go_away_are_noticed() {
    let (world, mut function) = World::serving().await;
    let unary = world.call("Doing/Unary", "", "");
    function.command().await;
    unary.cancel();
    function.expect(cancel(1)).await;
    let talk = world.talk("Doing/Both");
    talk.say(request("", "1")).await;
    function.expect(streamed(2, BOTH)).await;
    function.expect(further(2, "1")).await;
    talk.cancel();
    function.expect(cancel(2)).await;
    // What comes after that is nobody's, and no fault.
    function.send_all([
        reply(2, "late").framed(),
        decided(2).framed(),
        decided(1).saying("late").framed(),
    ]);
    let caller = world.call("Doing/Unary", "", "");
    assert_eq!(function.command().await.id, 3);
    function.send(decided(3).saying("ok"));
    caller.replies("ok").await;
    function.send(decided(1));
    function.notice("FIRN-3031", 1).await;
}

/// R92: the caller of a stream is told that it broke off.
#[tokio::test]
async fn lost_connection_fails_streams() {
    let (world, mut function) = World::serving().await;
    let mut talk = world.talk("Doing/Both");
    talk.say(request("", "1")).await;
    function.command().await;
    function.send(reply(1, "one"));
    talk.hears("one").await;
    drop(function);
    talk.is_refused(Code::Unavailable, "FIRN-3025").await;
}
