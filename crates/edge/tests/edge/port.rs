//! The port: taking it, bad connections, shutting down.

use std::time::Duration;

use firn_edge::{Config, Edge};
use firn_model::code::Code;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::backend::{Fake, Server, config, next};
use crate::client::{frame, open, request, send_h2};

#[tokio::test]
async fn address_in_use_is_told_with_its_code() {
    let first = Edge::bind(config()).await.unwrap();
    assert_ne!(first.local_addr().port(), 0);
    let taken = Config {
        listen: first.local_addr(),
        ..config()
    };
    let error = Edge::bind(taken).await.unwrap_err();
    assert_eq!(error.code(), Code::PortTaken);
    let elsewhere = Config {
        listen: "192.0.2.1:9".parse().unwrap(),
        ..config()
    };
    let error = Edge::bind(elsewhere).await.unwrap_err();
    assert_eq!(error.code(), Code::ListenFailed);
}

#[tokio::test]
async fn broken_connections_do_not_end_the_port() {
    let server = Server::start().await;
    for junk in [
        &b"\x16\x03\x01"[..],
        b"NOT HTTP\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\njunk",
        b"",
    ] {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(junk).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut rest = Vec::new();
        // Whatever it says, it hangs up; a reset is as good.
        let _ = stream.read_to_end(&mut rest).await;
    }
    assert_eq!(server.get("/").await.status, 200);
}

#[tokio::test]
async fn large_headers_are_refused() {
    let server = Server::start_with(
        Config {
            header_bytes_max: 8192,
            ..config()
        },
        Fake::new(),
    )
    .await;
    let large = "x".repeat(20_000);
    let answer = server.send("GET", "/", &[("x-large", &large)], "").await;
    assert_eq!(answer.status, 431);
}

#[tokio::test]
async fn open_requests_finish_before_the_port_closes() {
    let server = Server::start().await;
    let mut response = open(server.address, request("GET", "/hang", &[], "")).await;
    use http_body_util::BodyExt as _;
    assert!(response.frame().await.unwrap().is_ok());
    server.stop.cancel();
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert!(!server.task.is_finished());
    drop(response);
    next(&server.fake.dropped).await;
    server.task.await.unwrap();
}

#[tokio::test]
async fn requests_that_outlast_the_grace_are_cut_off() {
    let grace = Duration::from_millis(20);
    let server = Server::start_with(
        Config {
            shutdown_grace: grace,
            ..config()
        },
        Fake::new(),
    )
    .await;
    let response = open(server.address, request("GET", "/hang", &[], "")).await;
    server.stop.cancel();
    server.task.await.unwrap();
    next(&server.fake.dropped).await;
    drop(response);
}

#[tokio::test]
async fn calls_that_outlast_the_grace_are_cut_off() {
    let shutdown_grace = Duration::from_millis(20);
    let config = Config {
        shutdown_grace,
        ..config()
    };
    let server = Server::start_with(config, Fake::new()).await;
    let address = server.address;
    let call = async move {
        let headers = [("content-type", "application/grpc")];
        let request = request("POST", "/test.Fail/Hang", &headers, frame(0, b""));
        send_h2(address, request).await
    };
    let call = tokio::spawn(call);
    next(&server.fake.started).await;
    server.stop.cancel();
    server.task.await.unwrap();
    next(&server.fake.dropped).await;
    assert!(call.await.is_err(), "a call that is cut off has no answer");
}

#[tokio::test]
async fn idle_connections_close_at_once() {
    let server = Server::start().await;
    let _silent = TcpStream::connect(server.address).await.unwrap();
    let client = server.grpc().await;
    server.stop.cancel();
    server.task.await.unwrap();
    drop(client);
}
