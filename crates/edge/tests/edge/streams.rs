//! Streams over HTTP: lines, events, raw bytes.

use http_body_util::BodyExt as _;

use crate::backend::{Server, next};
use crate::client::{open, request};

const JSON: [(&str, &str); 1] = [("content-type", "application/json")];
const EVENTS: [(&str, &str); 1] = [("accept", "text/event-stream")];

/// The texts of notes, one per line or event.
fn texts(body: &str, before: &str, after: &str) -> Vec<String> {
    let parts = body.split_terminator(after);
    parts
        .map(|part| {
            let json = part.strip_prefix(before).unwrap();
            let note: serde_json::Value = serde_json::from_str(json).unwrap();
            note["text"].as_str().unwrap().to_owned()
        })
        .collect()
}

#[tokio::test]
async fn replies_are_one_json_object_per_line() {
    let server = Server::start().await;
    let answer = server.get("/out/a").await;
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(texts(answer.text(), "", "\n"), ["a", "a", "a"]);
    let answer = server.post_json("/test.Echo/Out", r#"{"text":"b"}"#).await;
    assert_eq!(texts(answer.text(), "", "\n"), ["b", "b", "b"]);
    let answer = server.get("/none").await;
    assert_eq!((answer.status.as_u16(), answer.text()), (200, ""));
}

#[tokio::test]
async fn replies_are_events_for_who_accepts_them() {
    let server = Server::start().await;
    let answer = server.send("GET", "/out/a", &EVENTS, "").await;
    assert_eq!(answer.header("content-type"), "text/event-stream");
    assert_eq!(answer.header("cache-control"), "no-cache");
    assert_eq!(texts(answer.text(), "data: ", "\n\n"), ["a", "a", "a"]);
}

#[tokio::test]
async fn first_reply_arrives_before_the_stream_ends_and_leaving_drops_it() {
    let server = Server::start().await;
    let mut response = open(server.address, request("GET", "/hang", &EVENTS, "")).await;
    let first = response
        .frame()
        .await
        .unwrap()
        .unwrap()
        .into_data()
        .unwrap();
    assert!(first.starts_with(b"data: {"));
    drop(response);
    next(&server.fake.dropped).await;
}

#[tokio::test]
async fn failures_after_the_first_reply_are_told_at_the_end() {
    let server = Server::start().await;
    let answer = server.get("/later").await;
    assert_eq!(answer.status, 200);
    let last = answer.text().lines().last().unwrap();
    assert_eq!(
        last,
        r#"{"error":{"code":"NOT_FOUND","message":"no such note"}}"#
    );
    let answer = server.send("GET", "/later", &EVENTS, "").await;
    let end = "event: error\ndata: {\"code\":\"NOT_FOUND\",\"message\":\"no such note\"}\n\n";
    assert!(answer.text().ends_with(end), "{}", answer.text());
}

#[tokio::test]
async fn requests_are_json_values_one_after_the_other() {
    let server = Server::start().await;
    let check = async |body: &str, expected: &[&str]| {
        let answer = server.post_json("/in", body).await;
        assert_eq!(answer.status, 200, "{body:?}: {}", answer.text());
        let note: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        let tags: Vec<&str> = note["tags"]
            .as_array()
            .unwrap()
            .iter()
            .map(|v| v.as_str().unwrap())
            .collect();
        assert_eq!(tags, expected, "{body:?}");
    };
    check("", &[]).await;
    check(r#"{"tags":["a"]}"#, &["a"]).await;
    check(
        "{\"tags\":[\"a\"]}\n{\"tags\":[\"b\"]}\r\n\n{\"tags\":[\"c\"]}",
        &["a", "b", "c"],
    )
    .await;
    check("{\n  \"tags\": [\"a\",\n \"}\"]\n}\n", &["a", "}"]).await;

    let answer = server
        .send("POST", "/both/x", &JSON, "{\"text\":\"a\"}{\"text\":\"b\"}")
        .await;
    let inner: Vec<String> = answer
        .text()
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .map(|note| format!("{}{}", note["text"], note["inner"]["text"]))
        .collect();
    assert_eq!(inner, [r#""x""a""#, r#""x""b""#]);
}

#[tokio::test]
async fn streams_that_break_are_refused_as_they_break() {
    let server = Server::start().await;
    let check = async |headers: &[(&str, &str)], body: &str, status: u16, code: &str| {
        let answer = server.send("POST", "/in", headers, body.to_owned()).await;
        let found = (answer.status.as_u16(), answer.header("firn-code"));
        assert_eq!(found, (status, code), "{body}: {}", answer.text());
    };
    check(&JSON, "{\"tags\":[\"a\"]}\n{\"nope\":1}", 400, "FIRN-3003").await;
    check(&JSON, "{\"tags\":[\"a\"]", 400, "FIRN-3003").await;
    check(&JSON, "{},", 400, "FIRN-3003").await;
    check(&[("content-type", "text/plain")], "{}", 415, "FIRN-3008").await;
}

#[tokio::test]
async fn raw_streams_pass_as_they_are() {
    let server = Server::start().await;
    let text = [("content-type", "text/plain")];
    let answer = server.send("POST", "/raw", &text, "hello").await;
    assert_eq!(
        (answer.header("content-type"), answer.text()),
        ("text/plain", "hello")
    );
    // The fake gives the note's bytes back: its first field reads as a content type.
    let answer = server.get("/download?text=text/css").await;
    assert_eq!(
        (answer.header("content-type"), answer.text()),
        ("text/css", "")
    );
    let answer = server.get("/download").await;
    assert_eq!(answer.header("content-type"), "application/octet-stream");
}
