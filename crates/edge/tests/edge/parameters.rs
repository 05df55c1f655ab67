//! Path variables and query parameters.

use crate::backend::Server;

/// What a request fills besides defaults; the fields that are asked for.
async fn filled(server: &Server, path: &str, fields: &[&str]) -> String {
    let answer = server.get(path).await;
    assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    let all: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    let values: Vec<String> = fields.iter().map(|field| all[*field].to_string()).collect();
    values.join(" ")
}

#[tokio::test]
async fn path_variables_are_decoded_and_parsed() {
    let server = Server::start().await;
    let check = async |path: &str, field: &str, expected: &str| {
        assert_eq!(filled(&server, path, &[field]).await, expected, "{path}");
    };
    check("/notes/a", "text", r#""a""#).await;
    check("/notes/", "text", r#""""#).await;
    check("/notes/a%2Fb%20c+d", "text", r#""a/b c d""#).await;
    check("/notes/a%2Bb:c", "text", r#""a+b:c""#).await;
    check("/notes/%C3%BC", "text", r#""ü""#).await;
    let nested = r#"{"counts":[],"text":"of/a/b%2Fc d"}"#;
    check("/notes/of/a/b%2Fc%20d", "inner", nested).await;
    check("/count/-7", "count", "-7").await;
    check("/color/GREEN", "color", r#""GREEN""#).await;
    check("/color/1", "color", r#""GREEN""#).await;
    check("/color/9", "color", "9").await;
    check(
        "/at/2024-02-29T12:00:00Z",
        "at",
        r#""2024-02-29T12:00:00Z""#,
    )
    .await;
    check("/notes/a?text=b&count=1", "text", r#""a""#).await;
    check("/notes/a?text=b&count=1", "count", "1").await;
}

#[tokio::test]
async fn query_parameters_fill_fields_of_every_kind() {
    let server = Server::start().await;
    let check = async |query: &str, field: &str, expected: &str| {
        let path = format!("/query?{query}");
        assert_eq!(filled(&server, &path, &[field]).await, expected, "{query}");
    };
    check("text=a+b%26", "text", r#""a b&""#).await;
    check("text", "text", r#""""#).await;
    check("&text=a&&count=1&", "text", r#""a""#).await;
    check("text=a=b", "text", r#""a=b""#).await;
    check("snake_case=a", "snakeCase", r#""a""#).await;
    check("snakeCase=a", "snakeCase", r#""a""#).await;
    check("tags=a&tags=&tags=b", "tags", r#"["a","","b"]"#).await;
    check("colors=RED&colors=1", "colors", r#"["RED","GREEN"]"#).await;
    check(
        "inner.inner.text=a&inner.text=b",
        "inner",
        r#"{"counts":[],"inner":{"counts":[],"text":"a"},"text":"b"}"#,
    )
    .await;
    check(
        "inner.counts=1&inner.counts=-2",
        "inner",
        r#"{"counts":[1,-2],"text":""}"#,
    )
    .await;
    check("data=AQI=", "data", r#""AQI=""#).await;
    check("data=-_8", "data", r#""+/8=""#).await;
    check("flag=TRUE", "flag", "true").await;
    check("ratio=1.5e3", "ratio", "1500.0").await;
    check("ratio=-Infinity", "ratio", r#""-Infinity""#).await;
    check(
        "big=18446744073709551615",
        "big",
        r#""18446744073709551615""#,
    )
    .await;
    check(
        "at=2024-02-29T12:00:00.5Z",
        "at",
        r#""2024-02-29T12:00:00.500Z""#,
    )
    .await;
    check("after=1.5s", "after", r#""1.500s""#).await;
    check("mask=text,snakeCase", "mask", r#""text,snakeCase""#).await;
    check("maybe=5", "maybe", r#""5""#).await;
    check("maybe.value=5", "maybe", r#""5""#).await;
    check("maybe_flag=false", "maybeFlag", "false").await;
    check("perhaps=", "perhaps", r#""""#).await;
    check("left=a", "left", r#""a""#).await;
}

#[tokio::test]
async fn parameters_that_fit_no_field_are_refused() {
    let server = Server::start().await;
    let check = async |path: &str, text: &str| {
        let answer = server.get(path).await;
        let found = (answer.status.as_u16(), answer.header("firn-code"));
        assert_eq!(found, (400, "FIRN-3009"), "{path}: {}", answer.text());
        assert!(answer.text().contains(text), "{path}: {}", answer.text());
    };
    check(
        "/count/many",
        "the path variable count is \"many\": expected a 32-bit integer",
    )
    .await;
    check("/count/2147483648", "expected a 32-bit integer").await;
    check("/color/BLUE", "expected a name or number of test.Color").await;
    check("/at/noon", "expected a time such as").await;
    check("/notes/%", "holds a %").await;
    check("/notes/%ff", "not UTF-8").await;
    check("/query?nope=1", "names no field of test.Note").await;
    check("/query?inner.nope=1", "names no field of test.Inner").await;
    check("/query?inner=1", "test.Inner has no text form").await;
    check("/query?numbers=1", "is a map").await;
    check("/query?numbers.a=1", "not a single message").await;
    check("/query?tags.a=1", "not a single message").await;
    check("/query?text=a&text=b", "is there twice").await;
    check("/query?big=-1", "expected an unsigned 64-bit integer").await;
    check("/query?flag=yes", "expected true or false").await;
    check("/query?ratio=much", "expected a number").await;
    check("/query?data=!", "expected base64").await;
    check("/query?after=soon", "expected a duration").await;
    check("/query?%zz=1", "holds a %").await;
    check("/query?text=%zz", "holds a %").await;
    let deep = format!("/query?{}text=1", "inner.".repeat(200));
    check(&deep, "messages deep").await;
}
