//! HTTP/JSON: the default route, bodies, failures and refusals.

use firn_edge::Config;
use firn_model::metadata::Value;
use firn_model::policy::HttpErrors;

use crate::backend::{Fake, Server, config};
use crate::client::{request, send_h2};
use crate::contract::policies;

const JSON: [(&str, &str); 1] = [("content-type", "application/json")];

/// A note with one field set, as it is printed.
fn printed(field: &str) -> String {
    let text = r#"{"text":"","count":0,"tags":[],"color":"RED","data":"","flag":false,"ratio":0.0,"big":"0","numbers":{},"colors":[],"snakeCase":""}"#;
    if field.is_empty() {
        return text.to_owned();
    }
    let name = field.split(':').next().unwrap();
    let fields = text[1..text.len() - 1].split(',');
    let fields: Vec<_> = fields
        .map(|known| {
            if known.split(':').next() == Some(name) {
                field
            } else {
                known
            }
        })
        .collect();
    format!("{{{}}}", fields.join(","))
}

#[tokio::test]
async fn every_method_takes_json_at_its_path() {
    let server = Server::start().await;
    for body in ["{}", "", " \n"] {
        let answer = server.post_json("/test.Echo/Unary", body).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("content-type"), "application/json");
        assert_eq!(answer.text(), printed(""), "{body:?}");
    }
    let answer = server
        .post_json("/test.Echo/Unary", r#"{"text":"ü\u0041"}"#)
        .await;
    assert_eq!(answer.text(), printed(r#""text":"üA""#));
    let over_h2 = request("POST", "/test.Echo/Unary", &JSON, r#"{"count":7}"#);
    let answer = send_h2(server.address, over_h2).await;
    assert_eq!(answer.text(), printed(r#""count":7"#));
    for content_type in [
        "application/json; charset=utf-8",
        "APPLICATION/JSON",
        "application/x+json",
    ] {
        let headers = [("content-type", content_type)];
        let answer = server
            .send("POST", "/test.Echo/Unary", &headers, "{}")
            .await;
        assert_eq!(answer.status, 200, "{content_type}");
    }
    let answer = server.send("POST", "/test.Echo/Unary", &[], "{}").await;
    assert_eq!(answer.status, 200);
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let answer = server.send("POST", "/test.Echo/Unary", &form, "").await;
    assert_eq!(answer.status, 200, "an empty body has no type");
}

#[tokio::test]
async fn bodies_fill_the_message_or_a_field_of_it() {
    let server = Server::start().await;
    let check = async |verb: &str, path: &str, body: &str, expected: &str| {
        let answer = server.send(verb, path, &JSON, body.to_owned()).await;
        assert_eq!(answer.status, 200, "{verb} {path} {}", answer.text());
        let all: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        let expected: serde_json::Value = serde_json::from_str(expected).unwrap();
        for (name, value) in expected.as_object().unwrap() {
            assert_eq!(&all[name], value, "{verb} {path} {body}");
        }
    };
    check(
        "PUT",
        "/notes/a",
        r#"{"count":1}"#,
        r#"{"text":"a","count":1}"#,
    )
    .await;
    check("PUT", "/notes/a", r#"{"text":"b"}"#, r#"{"text":"a"}"#).await;
    check("PUT", "/notes/a?count=7", "", r#"{"text":"a","count":0}"#).await;
    let nested = r#"{"text":"a","count":3,"inner":{"text":"b","counts":[1]}}"#;
    check(
        "PATCH",
        "/notes/a?count=3",
        r#"{"text":"b","counts":[1]}"#,
        nested,
    )
    .await;
    check("PATCH", "/notes/a", "", r#"{"text":"a"}"#).await;
    check("PATCH", "/notes/a", "null", r#"{"text":"a"}"#).await;
    check(
        "POST",
        "/notes/a:tag",
        r#"["x","y"]"#,
        r#"{"text":"a","tags":["x","y"]}"#,
    )
    .await;
    check("REPORT", "/notes", r#"{"count":2}"#, r#"{"count":2}"#).await;
    // Names of both kinds, enums by name and number, and 64-bit numbers either way.
    let body =
        r#"{"snake_case":"a","color":"GREEN","colors":[1,"RED"],"big":"18446744073709551615"}"#;
    let expected = r#"{"snakeCase":"a","color":"GREEN","colors":["GREEN","RED"],"big":"18446744073709551615"}"#;
    check("REPORT", "/notes", body, expected).await;
    let body = r#"{"at":"2024-02-29T12:00:00Z","after":"1.500s","mask":"text,snakeCase","maybe":"5","maybeFlag":false,"perhaps":"","right":0,"data":"AQI="}"#;
    check("REPORT", "/notes", body, body).await;
}

#[tokio::test]
async fn responses_are_the_message_or_a_field_of_it() {
    let server = Server::start().await;
    let check = async |path: &str, expected: &str| {
        let answer = server.get(path).await;
        assert_eq!(answer.header("content-type"), "application/json");
        assert_eq!(answer.text(), expected, "{path}");
    };
    check("/part/text?text=a", r#""a""#).await;
    check("/part/text", r#""""#).await;
    check("/part/tags?tags=a&tags=b", r#"["a","b"]"#).await;
    check("/part/tags", "[]").await;
    check("/part/inner?inner.text=a", r#"{"text":"a","counts":[]}"#).await;
    check("/part/inner", r#"{"text":"","counts":[]}"#).await;
    check("/part/big?big=7", r#""7""#).await;
}

#[tokio::test]
async fn raw_bodies_pass_as_they_are() {
    let server = Server::start().await;
    let html = [("content-type", "text/html")];
    let answer = server.send("POST", "/page", &html, "<p>").await;
    assert_eq!(
        (answer.header("content-type"), answer.text()),
        ("text/html", "<p>")
    );
    let answer = server.send("POST", "/page", &[], "x").await;
    assert_eq!(answer.header("content-type"), "application/octet-stream");
    let answer = server.send("POST", "/upload/a", &html, "<b>").await;
    assert_eq!(
        (answer.header("content-type"), answer.text()),
        ("text/html", "<b>")
    );
}

#[tokio::test]
async fn replies_set_status_and_headers() {
    let server = Server::start().await;
    server.fake.reply_with(&[
        ("_kalix-http-code", Value::Text("201".into())),
        ("Location", Value::Text("/notes/1".into())),
        ("content-type", Value::Text("text/plain".into())),
    ]);
    let answer = server.post_json("/test.Echo/Unary", "{}").await;
    assert_eq!(answer.status, 201);
    assert_eq!(answer.header("location"), "/notes/1");
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(answer.header("_kalix-http-code"), "");
}

#[tokio::test]
async fn statuses_without_content_have_none() {
    let server = Server::start().await;
    for code in ["204", "304"] {
        server
            .fake
            .reply_with(&[("_kalix-http-code", Value::Text(code.into()))]);
        let over_h2 = request("POST", "/test.Echo/Unary", &JSON, "{}");
        let answer = send_h2(server.address, over_h2).await;
        assert_eq!(answer.status.as_str(), code);
        assert_eq!((answer.text(), answer.header("content-type")), ("", ""));
    }
}

#[tokio::test]
async fn head_is_get_without_the_body() {
    let server = Server::start().await;
    for h2 in [false, true] {
        let head = request("HEAD", "/part/text?text=abc", &[], "");
        let answer = match h2 {
            true => send_h2(server.address, head).await,
            false => crate::client::send(server.address, head).await,
        };
        assert_eq!((answer.status.as_u16(), answer.text()), (200, ""));
        assert_eq!(answer.header("content-length"), "5");
    }
}

/// Verb, path, headers and body of a request; status, code and a part of the text of its answer.
type Case<'c> = (
    &'c str,
    &'c str,
    &'c [(&'c str, &'c str)],
    &'c str,
    u16,
    &'c str,
    &'c str,
);

#[tokio::test]
async fn refusals_have_statuses_codes_and_texts() {
    let config = Config {
        message_bytes_max: 100,
        ..config()
    };
    let server = Server::start_with(config, Fake::new()).await;
    let unary = "/test.Echo/Unary";
    let large = "x".repeat(101);
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let gzip = [("content-encoding", "gzip")];
    let cases: &[Case] = &[
        (
            "GET",
            "/test.Echo/Unarry",
            &[],
            "",
            404,
            "FIRN-3006",
            "nearest name is /test.Echo/Unary",
        ),
        (
            "GET",
            "/nothing",
            &[],
            "",
            404,
            "FIRN-3006",
            "nothing is served at GET /nothing",
        ),
        (
            "GET",
            unary,
            &[],
            "",
            405,
            "FIRN-3007",
            "not served with GET, but with POST",
        ),
        (
            "POST",
            unary,
            &form,
            "a=b",
            415,
            "FIRN-3008",
            "send application/json",
        ),
        (
            "POST",
            unary,
            &gzip,
            "a=b",
            415,
            "FIRN-3026",
            "send it as it is",
        ),
        (
            "POST",
            unary,
            &JSON,
            &large,
            413,
            "FIRN-3005",
            "100 bytes, the limit of --max-message-bytes",
        ),
        (
            "POST",
            unary,
            &JSON,
            "{\n \"nope\": 1}",
            400,
            "FIRN-3003",
            "line 2 column 7",
        ),
        (
            "POST",
            unary,
            &JSON,
            "{\"inner\":{\"inner\":{\"text\":1}}}",
            400,
            "FIRN-3003",
            "field inner.inner.text",
        ),
        (
            "POST",
            unary,
            &JSON,
            "{\"colors\":[\"RED\",\"BLUE\"]}",
            400,
            "FIRN-3003",
            "field colors[1]",
        ),
        (
            "POST",
            unary,
            &JSON,
            "{} {}",
            400,
            "FIRN-3003",
            "trailing characters",
        ),
        ("POST", unary, &JSON, "[]", 400, "FIRN-3003", "test.Note"),
        (
            "POST",
            unary,
            &JSON,
            "{\"text\":\"",
            400,
            "FIRN-3003",
            "EOF",
        ),
        (
            "PATCH",
            "/notes/a",
            &JSON,
            "\n{\"nope\":1}",
            400,
            "FIRN-3003",
            "valid for test.Note.inner, line 2 column 7: unrecognized field name 'nope'",
        ),
        (
            "POST",
            "/notes/a:tag",
            &JSON,
            "{}",
            400,
            "FIRN-3003",
            "valid for test.Note.tags, line 1 column 2: invalid type: map, expected a list",
        ),
        (
            "POST",
            unary,
            &[("grpc-timeout", "x")],
            "",
            400,
            "FIRN-3027",
            "grpc-timeout",
        ),
        (
            "GET",
            "/guarded",
            &[],
            "",
            403,
            "FIRN-3010",
            "access control list",
        ),
        (
            "POST",
            "/test.Fail/Rubbish",
            &JSON,
            "",
            500,
            "FIRN-3022",
            "is not a test.Note",
        ),
    ];
    for (verb, path, headers, body, status, code, text) in cases {
        let answer = server.send(verb, path, headers, (*body).to_owned()).await;
        let found = (answer.status.as_u16(), answer.header("firn-code"));
        assert_eq!(
            found,
            (*status, *code),
            "{verb} {path} {body}: {}",
            answer.text()
        );
        assert!(answer.header("content-type").starts_with("text/plain"));
        assert!(answer.text().contains(text), "{}", answer.text());
        assert!(answer.text().contains(code), "{}", answer.text());
    }
    let answer = server.send("DELETE", "/notes/a", &[], "").await;
    assert_eq!(answer.header("allow"), "GET, HEAD, PATCH, PUT");
    *server.fake.contract.lock().unwrap() = None;
    let answer = server.get("/notes/a").await;
    assert_eq!(
        (answer.status.as_u16(), answer.header("firn-code")),
        (503, "FIRN-3018")
    );
}

#[tokio::test]
async fn failures_are_the_text_alone_with_a_status_by_policy() {
    let all_500 = policies_with(HttpErrors::PlainText500);
    for (fake, status) in [(Fake::new(), 404), (Fake::with_policies(all_500), 500)] {
        let server = Server::start_with(config(), fake).await;
        let answer = server.get("/fail/x").await;
        assert_eq!(answer.status.as_u16(), status);
        assert_eq!(answer.text(), "no such note");
        assert_eq!(answer.header("firn-code"), "");
        let answer = server.post_json("/test.Fail/Refused", "").await;
        assert_eq!(answer.status, 429);
        assert_eq!(answer.text(), "the mailbox is full");
        assert_eq!(answer.header("firn-code"), "FIRN-3014");
    }
}

/// Of a component, and of what belongs to nobody where all components are so.
#[tokio::test]
async fn failures_are_a_status_in_json_where_the_policy_says_so() {
    let fake = Fake::with_policies(policies_with(HttpErrors::Json));
    let server = Server::start_with(config(), fake).await;
    let check = async |verb, path, status: u16, code, expected: &str| {
        let answer = server.send(verb, path, &JSON, "").await;
        let found = (answer.status.as_u16(), answer.header("firn-code"));
        assert_eq!(found, (status, code), "{path} {}", answer.text());
        assert_eq!(answer.header("content-type"), "application/json");
        let firn = match code {
            "" => String::new(),
            code => format!(
                r#"{{"@type":"type.googleapis.com/google.rpc.ErrorInfo","domain":"firn","reason":"{code}"}}"#
            ),
        };
        let expected = expected.replace("FIRN", &firn);
        assert_eq!(answer.text(), format!("{expected}\n"), "{path}");
    };
    let chosen = r#"{"code":5,"message":"no such note","details":[]}"#;
    check("GET", "/fail/x", 404, "", chosen).await;
    let detailed = r#"{"code":5,"message":"no such note","details":[{"@type":"type.googleapis.com/test.Inner","counts":[],"text":"look elsewhere"}]}"#;
    check("POST", "/test.Fail/Detailed", 404, "", detailed).await;
    let full = r#"{"code":8,"message":"the mailbox is full","details":[FIRN]}"#;
    check("POST", "/test.Fail/Refused", 429, "FIRN-3014", full).await;
    let wrong = r#"{"code":3,"message":"the path variable count is \"x\": expected a 32-bit integer","details":[FIRN]}"#;
    check("GET", "/count/x", 400, "FIRN-3009", wrong).await;
    let nowhere = r#"{"code":5,"message":"nothing is served at GET /nowhere","details":[FIRN]}"#;
    check("GET", "/nowhere", 404, "FIRN-3006", nowhere).await;
    let verb = r#"{"code":12,"message":"/guarded is not served with PUT, but with GET, HEAD","details":[FIRN]}"#;
    check("PUT", "/guarded", 405, "FIRN-3007", verb).await;

    let answer = server.get("/later").await;
    let last = answer.text().lines().last().unwrap();
    assert_eq!(last, format!(r#"{{"error":{chosen}}}"#));
}

fn policies_with(http_errors: HttpErrors) -> firn_model::policy::Policies {
    firn_model::policy::Policies {
        http_errors,
        ..policies()
    }
}

#[tokio::test]
async fn functions_see_the_headers_of_http_requests() {
    let config = Config {
        strip_headers: vec![http::HeaderName::from_static("x-self")],
        ..config()
    };
    let server = Server::start_with(config, Fake::new()).await;
    let headers = [
        ("x-self", "token"),
        ("x-one", "1"),
        ("idempotency-key", "k"),
    ];
    server.send("POST", "/test.Echo/Unary", &headers, "").await;
    let head = server.fake.last_head();
    assert_eq!(head.metadata.text("x-one"), Some("1"));
    assert_eq!(head.metadata.text("x-self"), None);
    assert_eq!(head.idempotency_key.as_deref(), Some("k"));
}

#[tokio::test]
async fn routes_follow_the_contract() {
    let server = Server::start().await;
    assert_eq!(server.get("/part/text").await.status, 200);
    let other = r#"syntax = "proto3"; package other; import "google/api/annotations.proto";
        service One { rpc A(M) returns (M) { option (google.api.http) = { get: "/a" }; } }
        message M {}"#;
    let other = std::sync::Arc::new(crate::contract::contract(other));
    *server.fake.contract.lock().unwrap() = Some(other);
    assert_eq!(server.get("/part/text").await.status, 404);
    assert_eq!(server.get("/a").await.text(), "{}");
}
