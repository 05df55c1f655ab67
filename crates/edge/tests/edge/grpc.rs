//! gRPC with tonic's client, and with bare frames for what it would not send.

use std::convert::Infallible;

use bytes::Bytes;
use firn_edge::Config;
use firn_model::metadata::Value;
use futures_util::{StreamExt as _, stream};
use http::uri::PathAndQuery;
use http_body_util::StreamBody;
use tonic::codec::CompressionEncoding;
use tonic::{Code, Request};

use crate::backend::{Fake, Server, config, next};
use crate::client::{Raw, firn_code, frame};

fn path(path: &'static str) -> PathAndQuery {
    PathAndQuery::from_static(path)
}

#[tokio::test]
async fn unary_calls_pass_messages_and_headers_both_ways() {
    let server = Server::start().await;
    server.fake.reply_with(&[
        ("X-Reply", Value::Text("yes".into())),
        ("x-bytes-bin", Value::Binary(Bytes::from_static(&[1, 2, 3]))),
        ("grpc-status", Value::Text("13".into())),
        ("_kalix-http-code", Value::Text("201".into())),
    ]);
    let mut client = server.grpc().await;
    let mut request = Request::new(Bytes::from_static(b"hello"));
    let headers = request.metadata_mut();
    headers.insert("x-one", "1".parse().unwrap());
    headers.insert("idempotency-key", "abc".parse().unwrap());
    headers.insert_bin("x-bin", tonic::metadata::MetadataValue::from_bytes(&[9]));
    client.ready().await.unwrap();
    let response = client
        .unary(request, path("/test.Echo/Unary"), Raw)
        .await
        .unwrap();
    assert_eq!(response.metadata().get("x-reply").unwrap(), "yes");
    let bytes = response.metadata().get_bin("x-bytes-bin").unwrap();
    assert_eq!(bytes.to_bytes().unwrap(), &[1, 2, 3][..]);
    assert!(response.metadata().get("_kalix-http-code").is_none());
    assert_eq!(response.into_inner(), "hello");

    let head = server.fake.last_head();
    assert_eq!(head.idempotency_key.as_deref(), Some("abc"));
    assert_eq!(head.metadata.text("x-one"), Some("1"));
    assert_eq!(head.metadata.text("idempotency-key"), None);
    assert_eq!(head.metadata.text("te"), None);
    let binary = head
        .metadata
        .entries
        .iter()
        .find(|e| &*e.key == "x-bin")
        .unwrap();
    assert_eq!(binary.value, Value::Binary(Bytes::from_static(&[9])));
    assert_eq!(head.deadline, None);
}

#[tokio::test]
async fn streams_flow_in_both_directions() {
    let server = Server::start().await;
    let mut client = server.grpc().await;
    let messages = || stream::iter([Bytes::from_static(b"a"), Bytes::from_static(b"b")]);

    client.ready().await.unwrap();
    let reply = client
        .client_streaming(Request::new(messages()), path("/test.Echo/In"), Raw)
        .await;
    assert_eq!(reply.unwrap().into_inner(), "ab");

    let message = Request::new(Bytes::from_static(b"x"));
    client.ready().await.unwrap();
    let replies = client
        .server_streaming(message, path("/test.Echo/Out"), Raw)
        .await;
    let replies: Vec<_> = replies
        .unwrap()
        .into_inner()
        .map(Result::unwrap)
        .collect()
        .await;
    assert_eq!(replies, ["x", "x", "x"]);

    // Each message is answered before the next one is sent.
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    let messages = tokio_stream::wrappers::ReceiverStream::new(receiver);
    sender.send(Bytes::from_static(b"1")).await.unwrap();
    client.ready().await.unwrap();
    let replies = client
        .streaming(Request::new(messages), path("/test.Echo/Both"), Raw)
        .await;
    let mut replies = replies.unwrap().into_inner();
    assert_eq!(replies.message().await.unwrap().unwrap(), "1");
    sender.send(Bytes::from_static(b"2")).await.unwrap();
    assert_eq!(replies.message().await.unwrap().unwrap(), "2");
    drop(sender);
    assert_eq!(replies.message().await.unwrap(), None);

    let message = Request::new(Bytes::new());
    client.ready().await.unwrap();
    let none = client
        .server_streaming(message, path("/test.Echo/None"), Raw)
        .await;
    assert_eq!(none.unwrap().into_inner().message().await.unwrap(), None);
}

#[tokio::test]
async fn failures_keep_their_status_text_and_code() {
    let server = Server::start().await;
    let mut client = server.grpc().await;
    let call = |name| (Request::new(Bytes::new()), path(name), Raw);

    let (request, to, codec) = call("/test.Fail/Chosen");
    client.ready().await.unwrap();
    let status = client.unary(request, to, codec).await.unwrap_err();
    assert_eq!(
        (status.code(), status.message()),
        (Code::NotFound, "no such note")
    );
    assert_eq!(firn_code(&status), "");

    let (request, to, codec) = call("/test.Fail/Refused");
    client.ready().await.unwrap();
    let status = client.unary(request, to, codec).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert_eq!(firn_code(&status), "FIRN-3014");

    let (request, to, codec) = call("/test.Fail/Later");
    client.ready().await.unwrap();
    let replies = client.server_streaming(request, to, codec).await.unwrap();
    let mut replies = replies.into_inner();
    assert!(replies.message().await.unwrap().is_some());
    let status = replies.message().await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);

    let messages = Request::new(stream::iter([Bytes::new()]));
    client.ready().await.unwrap();
    let status = client
        .client_streaming(messages, path("/test.Echo/Swallow"), Raw)
        .await;
    let status = status.unwrap_err();
    assert_eq!(
        (status.code(), firn_code(&status)),
        (Code::Unknown, "FIRN-3024")
    );
}

#[tokio::test]
async fn refusals_have_codes_and_say_what_to_do() {
    let server = Server::start_with(
        Config {
            message_bytes_max: 100,
            ..config()
        },
        Fake::new(),
    )
    .await;
    let check = async |to: &str, headers: &[(&str, &str)], body: Bytes, expected: [&str; 3]| {
        let answer = server.post_grpc(to, headers, body).await;
        let [status, code, text] = expected;
        assert_eq!(answer.status, 200, "{to}");
        assert_eq!(answer.header("content-type"), "application/grpc");
        assert_eq!(answer.header("grpc-status"), status, "{to} {headers:?}");
        assert_eq!(answer.header("firn-code"), code, "{to} {headers:?}");
        let message = answer.header("grpc-message");
        assert!(message.contains(text), "{message}");
    };
    let unary = "/test.Echo/Unary";
    let empty = || frame(0, b"");
    check(
        "/test.Echo/Unarry",
        &[],
        empty(),
        ["12", "FIRN-3001", "nearest name is /test.Echo/Unary"],
    )
    .await;
    check(
        "/x.Nothing/AtAll",
        &[],
        empty(),
        ["12", "FIRN-3001", "not a method"],
    )
    .await;
    let gzip = [("grpc-encoding", "br")];
    check(
        unary,
        &gzip,
        empty(),
        ["12", "FIRN-3026", "gzip or identity"],
    )
    .await;
    check(
        unary,
        &[],
        frame(1, b"x"),
        ["13", "FIRN-3026", "grpc-encoding"],
    )
    .await;
    let gzip = [("grpc-encoding", "gzip")];
    check(
        unary,
        &gzip,
        frame(1, b"x"),
        ["3", "FIRN-3002", "not valid gzip"],
    )
    .await;
    check(
        unary,
        &[("grpc-timeout", "soon")],
        empty(),
        ["3", "FIRN-3027", "grpc-timeout"],
    )
    .await;
    check(
        unary,
        &[("idempotency-key", "")],
        empty(),
        ["3", "FIRN-3027", "idempotency-key"],
    )
    .await;
    check(
        unary,
        &[],
        frame(0, &[0; 101]),
        [
            "8",
            "FIRN-3005",
            "100 bytes, the limit of --max-message-bytes",
        ],
    )
    .await;
    check(unary, &[], Bytes::new(), ["3", "FIRN-3002", "no message"]).await;
    check(
        unary,
        &[],
        Bytes::from_static(&[0, 0]),
        ["3", "FIRN-3002", "ends inside"],
    )
    .await;
    let two = [empty(), empty()].concat();
    check(unary, &[], two.into(), ["3", "FIRN-3002", "more than one"]).await;
    check(
        "/test.Fail/GuardedCall",
        &[],
        empty(),
        ["7", "FIRN-3010", "access control list"],
    )
    .await;
    // A stream breaks with the message that is wrong, whatever the backend makes of it.
    let too_large = frame(0, &[0; 101]);
    check(
        "/test.Echo/Swallow",
        &[],
        too_large,
        ["8", "FIRN-3005", "--max-message-bytes"],
    )
    .await;

    let answer = server
        .post_grpc(unary, &[("grpc-encoding", "br")], empty())
        .await;
    assert_eq!(answer.header("grpc-accept-encoding"), "identity,gzip");

    *server.fake.contract.lock().unwrap() = None;
    check(unary, &[], empty(), ["14", "FIRN-3018", "not connected"]).await;
}

#[tokio::test]
async fn requests_that_are_no_grpc_are_told_so_in_http() {
    let server = Server::start().await;
    let headers = [("content-type", "application/grpc")];
    let answer = server.send("POST", "/test.Echo/Unary", &headers, "").await;
    assert_eq!(
        (answer.status.as_u16(), answer.header("firn-code")),
        (415, "FIRN-3008")
    );
    assert!(answer.text().contains("gRPC needs HTTP/2"));
    let request = crate::client::request("GET", "/test.Echo/Unary", &headers, "");
    let answer = crate::client::send_h2(server.address, request).await;
    assert_eq!(
        (answer.status.as_u16(), answer.header("allow")),
        (405, "POST")
    );
    let headers = [("content-type", "application/grpc+json")];
    let answer = server
        .send("POST", "/test.Echo/Unary", &headers, "{}")
        .await;
    assert_eq!(
        (answer.status.as_u16(), answer.header("firn-code")),
        (415, "FIRN-3008")
    );
}

#[tokio::test]
async fn access_rules_are_not_looked_at_in_development() {
    let config = Config {
        dev: true,
        ..config()
    };
    let server = Server::start_with(config, Fake::new()).await;
    let answer = server
        .post_grpc("/test.Fail/GuardedCall", &[], frame(0, b""))
        .await;
    assert_eq!(answer.trailer("grpc-status"), "0");
}

#[tokio::test]
async fn deadline_ends_a_call_that_hangs() {
    let server = Server::start().await;
    let timeout = [("grpc-timeout", "1m")];
    for method in ["/test.Fail/Hang", "/test.Fail/HangOut"] {
        let answer = server.post_grpc(method, &timeout, frame(0, b"")).await;
        let [status, code] = match method {
            "/test.Fail/Hang" => [answer.header("grpc-status"), answer.header("firn-code")],
            _ => [answer.trailer("grpc-status"), answer.trailer("firn-code")],
        };
        assert_eq!([status, code], ["4", "FIRN-3016"], "{method}");
        next(&server.fake.dropped).await;
        assert!(server.fake.last_head().deadline.is_some());
    }
}

#[tokio::test]
async fn deadline_covers_a_request_that_never_completes() {
    let server = Server::start().await;
    let headers = [("content-type", "application/grpc"), ("grpc-timeout", "1m")];
    let request = crate::client::request("POST", "/test.Echo/Unary", &headers, "");
    let never: stream::Pending<Result<http_body::Frame<Bytes>, Infallible>> = stream::pending();
    let request = request.map(|_| StreamBody::new(never));
    let answer = crate::client::send_h2(server.address, request).await;
    assert_eq!(answer.header("grpc-status"), "4");
    assert_eq!(answer.header("firn-code"), "FIRN-3015");
}

#[tokio::test]
async fn callers_that_go_away_drop_the_call() {
    let server = Server::start().await;
    let mut client = server.grpc().await;
    client.ready().await.unwrap();
    let hang = client.unary(Request::new(Bytes::new()), path("/test.Fail/Hang"), Raw);
    tokio::select! {
        biased;
        () = next(&server.fake.started) => {}
        answer = hang => panic!("{answer:?}"),
    }
    next(&server.fake.dropped).await;

    let message = Request::new(Bytes::new());
    client.ready().await.unwrap();
    let replies = client
        .server_streaming(message, path("/test.Fail/HangOut"), Raw)
        .await;
    let mut replies = replies.unwrap().into_inner();
    assert!(replies.message().await.unwrap().is_some());
    drop(replies);
    next(&server.fake.dropped).await;
}

#[tokio::test]
async fn messages_are_compressed_as_agreed() {
    let server = Server::start().await;
    let client = server.grpc().await;
    let mut client = client
        .send_compressed(CompressionEncoding::Gzip)
        .accept_compressed(CompressionEncoding::Gzip);
    let large = Bytes::from(b"firn ".repeat(1000));
    client.ready().await.unwrap();
    let response = client
        .unary(Request::new(large.clone()), path("/test.Echo/Unary"), Raw)
        .await;
    let response = response.unwrap();
    assert_eq!(response.metadata().get("grpc-encoding").unwrap(), "gzip");
    assert_eq!(response.into_inner(), large);

    let accept = [("grpc-accept-encoding", "identity, gzip")];
    let answer = server
        .post_grpc("/test.Echo/Unary", &accept, frame(0, &large))
        .await;
    assert_eq!(answer.body[0], 1);
    assert!(answer.body.len() < large.len());
    let answer = server
        .post_grpc("/test.Echo/Unary", &[], frame(0, &large))
        .await;
    assert_eq!(answer.body, frame(0, &large));
    assert_eq!(answer.header("grpc-encoding"), "");
}

#[tokio::test]
async fn slow_readers_hold_the_backend_back() {
    let server = Server::start().await;
    let mut client = server.grpc().await;
    // More than all windows on the way hold: if nobody held it back, it would be read to its end.
    let piece = Bytes::from(vec![7; 1 << 20]);
    let sent = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counter = std::sync::Arc::clone(&sent);
    let messages = stream::iter(0..200).map(move |_| {
        counter.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        piece.clone()
    });
    client.ready().await.unwrap();
    let replies = client
        .streaming(Request::new(messages), path("/test.Echo/Both"), Raw)
        .await;
    let mut replies = replies.unwrap().into_inner();
    assert!(replies.message().await.unwrap().is_some());
    // Everyone but the reader gets plenty of turns: enough to take all of it, if nothing held it back.
    for _ in 0..20_000 {
        tokio::task::yield_now().await;
    }
    let taken = sent.load(std::sync::atomic::Ordering::SeqCst);
    assert!(taken < 100, "{taken} of 200 MiB were taken from the client");
    let mut rest = 1;
    while replies.message().await.unwrap().is_some() {
        rest += 1;
    }
    assert_eq!(rest, 200);
}
