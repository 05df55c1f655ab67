//! Messages that the backend does not read, or not yet: flow control holds them back, and the connection
//! goes on.

use firn_testkit::http2::{Client, FRAME_BYTES};

use crate::backend::Server;
use crate::client::frame;

const SLOW: &str = "/test.Echo/Slow";

/// The numbers of this many streams.
fn streams(count: u32) -> impl Iterator<Item = u32> {
    (0..count).map(|index| 2 * index + 1)
}

/// Clients send each message in a DATA frame of its own; here all wait before the first is read.
async fn small_messages_wait(calls: u32, messages: usize) {
    let message = [0x10, 1];
    let server = Server::start().await;
    let mut client = Client::connect(server.address).await;
    for call in streams(calls) {
        client.call(call, SLOW);
        for _ in 0..messages {
            client.message(call, &message);
        }
    }
    client.taken().await;
    server.fake.may_read.add_permits(calls as usize);
    for call in streams(calls) {
        client.end(call);
        let answer = client.answer(call).await;
        assert_eq!(answer, frame(0, &message.repeat(messages)), "of {call}");
    }
}

#[tokio::test]
async fn small_messages_of_a_stream_wait_until_they_are_read() {
    small_messages_wait(1, 35_000).await;
}

#[tokio::test]
async fn small_messages_of_many_streams_wait_until_they_are_read() {
    small_messages_wait(1000, 100).await;
}

#[tokio::test]
async fn streams_that_are_not_read_hold_up_no_others() {
    let server = Server::start().await;
    let mut client = Client::connect(server.address).await;
    let frames = client.window_of_stream() / FRAME_BYTES;
    let in_frame = vec![0; FRAME_BYTES - frame(0, &[]).len()];
    for call in streams(20) {
        client.call(call, SLOW);
        for _ in 0..frames {
            client.message(call, &in_frame);
        }
    }
    let left = client
        .window_of_connection()
        .checked_sub(20 * frames * FRAME_BYTES);
    assert!(left > Some(FRAME_BYTES), "{left:?} bytes may still be sent");
    client.taken().await;
    let other = 41;
    client.call(other, "/test.Echo/Unary");
    client.message(other, &in_frame);
    client.end(other);
    assert_eq!(client.answer(other).await, frame(0, &in_frame));
}
