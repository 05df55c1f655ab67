//! gRPC-Web over HTTP/1.1 and HTTP/2, and calls from other origins.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use firn_edge::{Config, Origins};

use crate::backend::{Fake, Server, config};
use crate::client::{Answer, frame, request, send, send_h2};

const BINARY: &str = "application/grpc-web+proto";
const TEXT: &str = "application/grpc-web-text+proto";

/// The messages of a binary body, and its trailers.
fn frames(mut body: &[u8]) -> (Vec<Vec<u8>>, String) {
    let (mut messages, mut trailers) = (Vec::new(), String::new());
    while let [flags, a, b, c, d, rest @ ..] = body {
        let (content, rest) = rest.split_at(u32::from_be_bytes([*a, *b, *c, *d]) as usize);
        match flags {
            0 => messages.push(content.to_vec()),
            0x80 => trailers.push_str(std::str::from_utf8(content).unwrap()),
            other => panic!("flags {other}"),
        }
        body = rest;
    }
    assert!(body.is_empty());
    (messages, trailers)
}

/// Base64 whose parts may be padded each.
fn from_text(text: &str) -> Vec<u8> {
    let groups = text.as_bytes().chunks(4);
    groups
        .flat_map(|group| BASE64_STANDARD.decode(group).unwrap())
        .collect()
}

#[tokio::test]
async fn both_modes_work_over_both_versions() {
    let server = Server::start().await;
    for over_h2 in [false, true] {
        let call = async |path: &str, content_type: &str, body: Bytes| -> Answer {
            let request = request("POST", path, &[("content-type", content_type)], body);
            match over_h2 {
                true => send_h2(server.address, request).await,
                false => send(server.address, request).await,
            }
        };
        let answer = call("/test.Echo/Out", BINARY, frame(0, b"a")).await;
        assert_eq!(
            (answer.status.as_u16(), answer.header("content-type")),
            (200, BINARY)
        );
        let (messages, trailers) = frames(&answer.body);
        assert_eq!(messages, [b"a", b"a", b"a"]);
        assert_eq!(trailers, "grpc-status:0\r\n");

        let text = BASE64_STANDARD.encode(frame(0, b"ab"));
        let answer = call("/test.Echo/Unary", TEXT, text.into()).await;
        assert_eq!(answer.header("content-type"), TEXT);
        let (messages, trailers) = frames(&from_text(answer.text()));
        assert_eq!(messages, [b"ab"]);
        assert_eq!(trailers, "grpc-status:0\r\n");

        let answer = call("/test.Fail/Refused", BINARY, frame(0, b"")).await;
        let (messages, trailers) = frames(&answer.body);
        assert!(messages.is_empty());
        let expected =
            "grpc-status:8\r\ngrpc-message:the mailbox is full\r\nfirn-code:FIRN-3014\r\n";
        assert_eq!(trailers, expected);

        let answer = call("/test.Echo/Unary", TEXT, Bytes::from_static(b"!!!!")).await;
        let (_, trailers) = frames(&from_text(answer.text()));
        assert!(trailers.contains("firn-code:FIRN-3002"), "{trailers}");
    }
}

#[tokio::test]
async fn response_is_in_the_mode_that_is_accepted() {
    let server = Server::start().await;
    let check = async |content_type: &str, accept: &str, expected: &str| {
        let body = match content_type {
            TEXT => BASE64_STANDARD.encode(frame(0, b"a")).into(),
            _ => frame(0, b"a"),
        };
        let headers = [("content-type", content_type), ("accept", accept)];
        let answer = server
            .send("POST", "/test.Echo/Unary", &headers, body)
            .await;
        assert_eq!(answer.header("content-type"), expected);
    };
    check(BINARY, "application/grpc-web-text", TEXT).await;
    check(TEXT, "application/grpc-web", BINARY).await;
    check(TEXT, "*/*", TEXT).await;
    check(BINARY, "application/json, */*", BINARY).await;
}

#[tokio::test]
async fn built_in_services_answer_web_clients() {
    let server = Server::start().await;
    let headers = [("content-type", BINARY)];
    let answer = server
        .send(
            "POST",
            "/grpc.health.v1.Health/Check",
            &headers,
            frame(0, b""),
        )
        .await;
    let (messages, _) = frames(&answer.body);
    assert_eq!(messages, [[8, 1]]);
}

#[tokio::test]
async fn pages_of_any_origin_may_call_by_default() {
    let server = Server::start().await;
    let preflight = [
        ("origin", "https://a.example"),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "x-grpc-web,content-type"),
    ];
    let answer = server
        .send("OPTIONS", "/test.Echo/Unary", &preflight, "")
        .await;
    assert_eq!(answer.status, 204);
    assert_eq!(answer.header("access-control-allow-origin"), "*");
    assert_eq!(answer.header("access-control-allow-methods"), "POST");
    assert_eq!(
        answer.header("access-control-allow-headers"),
        "x-grpc-web,content-type"
    );

    let headers = [("origin", "https://a.example")];
    let answer = server.send("GET", "/part/text", &headers, "").await;
    assert_eq!(answer.header("access-control-allow-origin"), "*");
    let exposed = answer.header("access-control-expose-headers");
    assert!(
        exposed.contains("firn-code") && exposed.contains("grpc-status"),
        "{exposed}"
    );
    assert_eq!(
        server
            .get("/part/text")
            .await
            .header("access-control-allow-origin"),
        ""
    );
}

#[tokio::test]
async fn other_origins_are_left_out_when_some_are_listed() {
    let listed = Origins::Listed(vec!["https://a.example".parse().unwrap()]);
    let config = Config {
        allowed_origins: listed,
        ..config()
    };
    let server = Server::start_with(config, Fake::new()).await;
    let check = async |origin: &str, status: u16, allowed: &str, vary: &str| {
        let preflight = [
            ("origin", origin),
            ("access-control-request-method", "POST"),
        ];
        let answer = server
            .send("OPTIONS", "/test.Echo/Unary", &preflight, "")
            .await;
        assert_eq!(answer.status.as_u16(), status);
        assert_eq!(answer.header("access-control-allow-origin"), allowed);
        assert_eq!(answer.header("vary"), vary);
    };
    check("https://a.example", 204, "https://a.example", "origin").await;
    check("https://b.example", 405, "", "").await;
}
