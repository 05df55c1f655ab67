//! The first frames of a connection.

use bytes::Bytes;
use firn_testkit::caller::headers;
use firn_testkit::own::message::{call, decided, hello, target};
use firn_testkit::own::{CONNECT, Connection};
use firn_wire::v1::message::firn_frame::Frame;
use firn_wire::v1::message::{
    FunctionBatch, FunctionFrame, Goodbye, Hello, Welcome, function_frame,
};
use prost::Message;
use tonic::Code;

use crate::world::{REGISTER, World, opening, whole};
use firn_testkit::caller::request;
use firn_testkit::own::message::empty;

/// R4, R5: what Firn grants.
#[tokio::test]
async fn welcome_says_what_firn_grants() {
    let mut world = World::alone().await;
    let function = world.join(&whole()).await;
    let expected = Welcome {
        minor: 0,
        firn: env!("CARGO_PKG_VERSION").to_owned(),
        calls: 1024,
        call_messages: 16,
        frame_bytes: 12 << 20,
        chunk_bytes: 64 << 10,
        client_address: world.firn.clients.to_string(),
    };
    assert_eq!(function.welcome, expected);
}

/// R5: the lower of both minor versions is spoken.
#[tokio::test]
async fn function_of_a_later_minor_version_is_taken() {
    let world = World::alone().await;
    let later = Hello {
        minor: 7,
        ..hello(&whole())
    };
    let function = Connection::joined_with(&world.dial(), later).await;
    assert_eq!(function.welcome.minor, 0);
}

/// R2, R83: FIRN-3040.
#[tokio::test]
async fn first_frame_must_be_a_hello() {
    let world = World::alone().await;
    let unknown = FunctionBatch {
        frames: vec![FunctionFrame { frame: None }],
    };
    let decision = FunctionBatch {
        frames: vec![FunctionFrame {
            frame: Some(function_frame::Frame::Decision(decided(1).0)),
        }],
    };
    for batch in [FunctionBatch::default(), unknown, decision] {
        let opened = Connection::open(&world.dial(), headers(&[])).await;
        let function = opened.expect("a call that goes on");
        function.send_bytes(batch.encode_to_vec());
        let status = function
            .is_refused(Code::InvalidArgument, "FIRN-3040")
            .await;
        assert_eq!(status.message(), "the first frame is no Hello");
    }
    let opened = Connection::open(&world.dial(), headers(&[])).await;
    let mut function = opened.expect("a call that goes on");
    function.half_close();
    function
        .is_refused(Code::InvalidArgument, "FIRN-3040")
        .await;
}

/// R2, R83: also in the same batch as the first.
#[tokio::test]
async fn second_hello_ends_the_connection() {
    let world = World::alone().await;
    let function = Connection::joined(&world.dial(), &whole()).await;
    function.send(hello(&whole()));
    function
        .is_refused(Code::InvalidArgument, "FIRN-3040")
        .await;

    let opened = Connection::open(&world.dial(), headers(&[])).await;
    let mut function = opened.expect("a call that goes on");
    let twice = || function_frame::Frame::Hello(hello(&whole()));
    function.send_all([twice(), twice()]);
    assert!(matches!(function.next().await, Frame::Welcome(_)));
    function
        .is_refused(Code::InvalidArgument, "FIRN-3040")
        .await;
}

/// R3: FIRN-2025, and nothing is looked at.
#[tokio::test]
async fn token_is_needed_where_one_is_set() {
    let mut world = World::alone_with(&["--function-token", "secret"]).await;
    let wrong = [
        None,
        Some(""),
        Some("secret"),
        Some("Bearer "),
        Some("Bearer secre"),
        Some("Bearer secret2"),
        Some("Bearer Secret"),
        Some("Basic secret"),
    ];
    for token in wrong {
        let sent: Vec<_> = token.map(|it| ("authorization", it)).into_iter().collect();
        let opened = Connection::open(&world.dial(), headers(&sent)).await;
        let status = opened.err().expect("a refusal");
        assert_eq!(status.code(), Code::Unauthenticated, "{token:?}");
        assert_eq!(status.metadata().get("firn-code").unwrap(), "FIRN-2025");
        assert_eq!(status.message(), "the token is missing or wrong");
    }
    let right = headers(&[("authorization", "Bearer secret")]);
    let opened = Connection::open(&world.dial(), right).await;
    let mut function = opened.expect("a call that goes on");
    function.send(hello(&whole()));
    assert!(matches!(function.next().await, Frame::Welcome(_)));
    world.firn.wait_until_serving();
    assert!(
        !world.firn.log().contains("refused"),
        "{}",
        world.firn.log()
    );
}

/// A message with a field that nobody knows.
fn with_unknown_field(message: &impl Message) -> Vec<u8> {
    // Field 1999, four bytes.
    [message.encode_to_vec(), vec![0xfa, 0x7c, 4, 1, 2, 3, 4]].concat()
}

/// Bytes as a field of a message.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![number << 3 | 2];
    prost::encoding::encode_varint(content.len() as u64, &mut bytes);
    bytes.extend_from_slice(content);
    bytes
}

/// R6: what a later minor version adds is passed over, around what is known.
#[tokio::test]
async fn unknown_frames_and_fields_are_ignored() {
    let mut world = World::alone().await;
    let opened = Connection::open(&world.dial(), headers(&[])).await;
    let mut function = opened.expect("a call that goes on");
    let hello = field(1, &with_unknown_field(&hello(&whole())));
    // A batch of a frame of an unknown kind after the Hello.
    let unknown = vec![0xfa, 0x7c, 0];
    function.send_bytes([field(1, &hello), field(1, &unknown)].concat());
    assert!(matches!(function.next().await, Frame::Welcome(_)));
    world.firn.wait_until_serving();

    let caller = world.call("Register/Process", "a", "x");
    let asked = request("a", "x");
    function
        .expect(opening(1, REGISTER, 1, &asked, empty("a")))
        .await;
    let decision = field(2, &with_unknown_field(&decided(1).saying("done").0));
    let batch = [
        field(1, &unknown),
        field(1, &[decision, unknown.clone()].concat()),
        field(1, &unknown),
    ];
    function.send_bytes(batch.concat());
    caller.replies("done").await;
}

/// R8: frames of a batch count in order.
#[tokio::test]
async fn frames_of_the_first_batch_count_after_the_hello() {
    let world = World::alone().await;
    let opened = Connection::open(&world.dial(), headers(&[])).await;
    let mut function = opened.expect("a call that goes on");
    let nowhere = target("no.Service", "Method", &request("a", ""));
    function.send_all([
        function_frame::Frame::Hello(hello(&whole())),
        function_frame::Frame::Call(call(1, 0, nowhere)),
        function_frame::Frame::Goodbye(Goodbye {}),
    ]);
    assert!(matches!(function.next().await, Frame::Welcome(_)));
    assert_eq!(function.call_result().await.id, 1);
    function.ends().await;
}

/// The function port has one method.
#[tokio::test]
async fn other_methods_are_unimplemented() {
    let world = World::alone().await;
    let channel = world.dial().channel().await.expect("a connection");
    let client = firn_testkit::client::Client::over(channel);
    assert_eq!(CONNECT, "/firn.v1.Functions/Connect");
    for path in ["/firn.v1.Functions/Other", "/model.Register/Process"] {
        let request = tonic::Request::new(tokio_stream::once(Bytes::new()));
        let status = client.stream(path, request).await.expect_err("a refusal");
        assert_eq!(status.code(), Code::Unimplemented);
    }
}
