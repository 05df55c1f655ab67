use firn_model::contract::Location;

use super::*;
use crate::testing::{FILE, contract};

/// A service with these methods, and messages to bind to.
fn with_methods(methods: &str) -> String {
    format!(
        r#"syntax = "proto3";
package shop;
import "google/api/annotations.proto";
import "google/protobuf/struct.proto";
import "google/protobuf/timestamp.proto";
service Carts {{ {methods} }}
message Request {{
  string id = 1;
  Inner inner = 2;
  repeated string tags = 3;
  map<string, string> labels = 4;
  Color color = 5;
  google.protobuf.Timestamp at = 6;
  google.protobuf.Struct any = 7;
}}
message Inner {{ string id = 1; Inner inner = 2; }}
message Reply {{ string text = 1; }}
enum Color {{ RED = 0; }}
"#
    )
}

/// A method `Get` with one rule.
fn with_rule(rule: &str) -> String {
    with_methods(&format!(
        "rpc Get(Request) returns (Reply) {{ option (google.api.http) = {{ {rule} }}; }}"
    ))
}

#[test]
fn rules_are_legal_or_say_why_not() {
    let check = |rule: &str, fault: Option<&str>| {
        let result = compile(&contract(&with_rule(rule)));
        let Some(fault) = fault else {
            assert!(result.is_ok(), "{rule}: {result:?}");
            return;
        };
        let findings = result.expect_err(rule);
        assert_eq!(findings.len(), 1, "{rule}: {findings:?}");
        assert_eq!(findings[0].code, Code::HttpRuleIllegal);
        assert!(findings[0].text.contains(fault), "{rule}: {}", findings[0]);
    };
    check(r#"get: "/carts/{id}""#, None);
    check(r#"get: "/carts/{inner.inner.id=a/*/b/**}""#, None);
    check(r#"get: "/carts/{color}/{at}""#, None);
    check(r#"post: "/carts" body: "*" response_body: "text""#, None);
    check(r#"post: "/carts" body: "tags""#, None);
    check(r#"delete: "/carts" body: "labels""#, None);
    check(
        r#"custom: { kind: "REPORT" path: "/carts" } body: "*""#,
        None,
    );
    check(r#"custom: { kind: "*" path: "/carts" } body: "*""#, None);
    check(r#"selector: "shop.Carts.Get" get: "/carts""#, None);
    check(r#"get: "/a" additional_bindings { get: "/b" }"#, None);

    check(r#"body: "*""#, Some("names no verb"));
    check(
        r#"selector: "shop.Carts.Put" get: "/carts""#,
        Some("selector"),
    );
    check(r#"get: "carts""#, Some("does not begin with /"));
    check(r#"get: "/carts/{nothing}""#, Some("names no field"));
    check(r#"get: "/carts/{id.more}""#, Some("not a single message"));
    check(r#"get: "/carts/{tags}""#, Some("is repeated"));
    check(r#"get: "/carts/{labels}""#, Some("is a map"));
    check(r#"get: "/carts/{inner}""#, Some("without a text form"));
    check(r#"get: "/carts/{any}""#, Some("without a text form"));
    check(r#"get: "/carts/{id}/{id}""#, Some("twice"));
    check(
        r#"get: "/carts" body: "*""#,
        Some("GET requests do not have"),
    );
    check(
        r#"custom: { kind: "HEAD" path: "/a" } body: "*""#,
        Some("HEAD requests"),
    );
    check(
        r#"custom: { kind: "NO VERB" path: "/a" }"#,
        Some("custom verb"),
    );
    check(r#"custom: { kind: "" path: "/a" }"#, Some("custom verb"));
    check(
        r#"post: "/carts" body: "nothing""#,
        Some("no field of shop.Request"),
    );
    check(
        r#"get: "/carts" response_body: "nothing""#,
        Some("no field of shop.Reply"),
    );
    check(
        r#"get: "/a" additional_bindings { get: "/b" additional_bindings { get: "/c" } }"#,
        Some("additional bindings of its own"),
    );
}

#[test]
fn findings_name_rule_method_and_place() {
    let text = with_rule("\nget: \"/carts/{nothing}\"\n");
    let findings = compile(&contract(&text)).unwrap_err();
    let expected = Finding {
        code: Code::HttpRuleIllegal,
        text: "the HTTP rule `GET /carts/{nothing}` of /shop.Carts/Get has the variable nothing, \
               which names no field of shop.Request: \"nothing\""
            .to_owned(),
        service: Some("shop.Carts".to_owned()),
        location: Some(Location {
            file: FILE.to_owned(),
            line: 5,
            column: findings[0].location.as_ref().unwrap().column,
        }),
    };
    assert_eq!(findings, [expected]);
}

#[test]
fn rules_that_cannot_be_told_apart_are_refused() {
    let check = |first: &str, second: &str, refused: bool| {
        let text = with_methods(&format!(
            "rpc A(Request) returns (Reply) {{ option (google.api.http) = {{ {first} }}; }}
             rpc B(Request) returns (Reply) {{ option (google.api.http) = {{ {second} }}; }}"
        ));
        let result = compile(&contract(&text));
        let codes = result.map_or_else(|f| f.iter().map(|f| f.code).collect(), |_| Vec::new());
        let expected = if refused {
            vec![Code::HttpRuleTwice]
        } else {
            vec![]
        };
        assert_eq!(codes, expected, "{first} and {second}");
    };
    check(r#"get: "/a/{id}""#, r#"get: "/a/{inner.id}""#, true);
    check(r#"get: "/a/{id=*}""#, r#"get: "/a/*""#, true);
    check(r#"get: "/{id=a/*}""#, r#"get: "/a/{id}""#, true);
    check(
        r#"get: "/a" additional_bindings { get: "/a" }"#,
        r#"get: "/b""#,
        true,
    );
    check(r#"get: "/a/{id}:x""#, r#"get: "/a/{inner.id}:x""#, true);
    check(r#"get: "/a/{id}""#, r#"put: "/a/{id}""#, false);
    check(r#"get: "/a/{id}""#, r#"get: "/a/{id}:x""#, false);
    check(r#"get: "/a/{id}""#, r#"get: "/a/{id=**}""#, false);
    check(r#"get: "/a/{id}""#, r#"get: "/a/b""#, false);
    check(r#"get: "/a""#, r#"custom: { kind: "*" path: "/a" }"#, false);
}

#[test]
fn requests_find_the_later_rule_first_and_verbs_before_all() {
    let rule = |name: &str, rule: &str| {
        format!(
            "rpc {name}(Request) returns (Reply) {{ option (google.api.http) = {{ {rule} }}; }}"
        )
    };
    let text = with_methods(
        &[
            rule("Me", r#"get: "/users/me""#),
            rule("Get", r#"get: "/users/{id}""#),
            rule("Cancel", r#"post: "/users/{id}:cancel""#),
            rule("Post", r#"post: "/users/{id}""#),
            rule(
                "Any",
                r#"custom: { kind: "*" path: "/any" } additional_bindings { put: "/put" }"#,
            ),
            rule("Head", r#"custom: { kind: "HEAD" path: "/put" }"#),
            "rpc Plain(Request) returns (Reply);".to_owned(),
        ]
        .concat(),
    );
    let table = compile(&contract(&text)).unwrap();
    assert_eq!(table.len(), 7);
    let check = |verb: &str, path: &str, expected: &str| {
        let verb = http::Method::from_bytes(verb.as_bytes()).unwrap();
        let found = match table.find(&verb, path) {
            Found::Binding(binding, values) => {
                format!("{} {}", binding.method.name, values.join(","))
            }
            Found::OtherVerbs(verbs) => {
                let verbs: Vec<&str> = verbs.iter().map(http::Method::as_str).collect();
                verbs.join("|")
            }
            Found::Nothing => String::new(),
        };
        assert_eq!(found.trim(), expected, "{verb} {path}");
    };
    check("GET", "/users/7", "Get 7");
    check("GET", "/users/me", "Get me");
    check("HEAD", "/users/7", "Get 7");
    check("POST", "/users/7:cancel", "Cancel 7");
    check("POST", "/users/7:stop", "Post 7:stop");
    check("PUT", "/users/7", "GET|HEAD|POST");
    check("BREW", "/any", "Any");
    check("PUT", "/put", "Any");
    check("HEAD", "/put", "Head");
    check("GET", "/put", "HEAD|PUT");
    check("POST", "/shop.Carts/Plain", "Plain");
    check("POST", "/shop.Carts/Get", "Get");
    check("GET", "/shop.Carts/Plain", "POST");
    check("GET", "/nothing", "");
}
