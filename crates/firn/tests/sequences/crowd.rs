//! Many clients at once, and how many files a process may have open: each connection is one.

use std::net::SocketAddr;

use firn_testkit::function::action;
use firn_testkit::function::message::reply;
use firn_testkit::function::within;
use firn_wire::dialect::KALIX;
use futures_util::future::join_all;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::world::{World, request, said, whole};

/// What most systems let a process have open unless it asks for more.
const USUAL: &str = "-Sn 1024";

/// More than that.
const CROWD: usize = 2000;

/// Connections to Firn, of clients who say nothing.
async fn connect(clients: SocketAddr, count: usize) -> Vec<TcpStream> {
    // Their other ends are files of this process.
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let all = Rlimit {
        current: maximum,
        maximum,
    };
    setrlimit(Resource::Nofile, all).expect("as many files as there may be");
    let connect = || async { TcpStream::connect(clients).await.expect("a connection") };
    within("connections", join_all((0..count).map(|_| connect()))).await
}

/// Calls an action on a connection of its own.
async fn ask(mut connection: TcpStream) -> TcpStream {
    let body = r#"{"id":"a"}"#;
    let head = "POST /model.Doing/Unary HTTP/1.1\r\nhost: firn\r\ncontent-type: application/json";
    let request = format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    connection
        .write_all(request.as_bytes())
        .await
        .expect("sent");
    let mut answer = Vec::new();
    while !answer.ends_with(b"}") {
        assert_ne!(
            connection.read_buf(&mut answer).await.expect("an answer"),
            0
        );
    }
    let text = String::from_utf8_lossy(&answer);
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    connection
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_thousand_clients_are_served_at_once() {
    let world = World::with_files(&whole(&KALIX), USUAL).await;
    let connections = connect(world.firn.clients, CROWD).await;
    let asked = join_all(connections.into_iter().map(ask));
    let answered = async {
        for _ in 0..CROWD {
            let mut call = world.function.action().await;
            call.message().await;
            call.answer(&action::reply(said("ok")));
        }
    };
    let (held, ()) = within("answers", futures_util::future::join(asked, answered)).await;
    assert_eq!(held.len(), CROWD);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_who_take_every_connection_take_nothing_else() {
    let mut world = World::with_files(&whole(&KALIX), "-n 256").await;
    let crowd = connect(world.firn.clients, 300).await;
    // What Firn needs files for itself goes on: its function, and its store.
    world.function.go_away();
    world.function.come_back();
    world.firn.wait_for_log_times("serving ", 2);
    let call = world.call("Journal/Process", request("a", ""));
    let mut stream = world.function.entity().await;
    stream.expect_some_init().await;
    stream.expect_some_command().await;
    stream.reply(reply(1).with(said("ok")));
    call.replies("ok").await;
    // Whoever waits for a connection gets one when others leave.
    let waiting = TcpStream::connect(world.firn.clients).await;
    drop(crowd);
    let (_, ()) = within("an answer", async {
        let answered = async {
            let mut call = world.function.action().await;
            call.message().await;
            call.answer(&action::reply(said("ok")));
        };
        tokio::join!(ask(waiting.expect("a place in the queue")), answered)
    })
    .await;
}
