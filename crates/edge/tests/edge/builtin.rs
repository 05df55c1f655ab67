//! Reflection, health and probes.

use bytes::Bytes;
use futures_util::stream;
use http::uri::PathAndQuery;
use prost_reflect::prost::Message;
use prost_reflect::{DynamicMessage, ReflectMessage as _};
use prost_types::FileDescriptorProto;
use tonic::{Code, Request};

use crate::backend::{Fake, Server, config};
use crate::client::{Raw, firn_code};

const V1: &str = "grpc.reflection.v1.ServerReflection";
const V1ALPHA: &str = "grpc.reflection.v1alpha.ServerReflection";

/// Asks the reflection service by its own descriptors, in JSON.
async fn reflect(server: &Server, service: &str, requests: &[&str]) -> Vec<serde_json::Value> {
    let protos = concat!(env!("CARGO_MANIFEST_DIR"), "/../../proto");
    let package = service.trim_end_matches(".ServerReflection");
    let file = format!("{}/reflection.proto", package.replace('.', "/"));
    let pool = protox::Compiler::new([protos])
        .unwrap()
        .open_file(file)
        .unwrap()
        .descriptor_pool();
    let message = |name: &str| {
        pool.get_message_by_name(&format!("{package}.{name}"))
            .unwrap()
    };
    let requests: Vec<Bytes> = requests
        .iter()
        .map(|json| {
            let mut json = serde_json::Deserializer::from_str(json);
            let request =
                DynamicMessage::deserialize(message("ServerReflectionRequest"), &mut json);
            request.unwrap().encode_to_vec().into()
        })
        .collect();
    let path: PathAndQuery = format!("/{service}/ServerReflectionInfo").parse().unwrap();
    let mut client = server.grpc().await;
    let replies = client
        .streaming(Request::new(stream::iter(requests)), path, Raw)
        .await;
    let mut replies = replies.unwrap().into_inner();
    let mut answers = Vec::new();
    while let Some(reply) = replies.message().await.unwrap() {
        let reply = DynamicMessage::decode(message("ServerReflectionResponse"), reply).unwrap();
        assert_eq!(reply.descriptor().name(), "ServerReflectionResponse");
        answers.push(serde_json::to_value(reply).unwrap());
    }
    answers
}

/// The names of the files in an answer.
fn files(answer: &serde_json::Value) -> Vec<String> {
    use base64::Engine as _;
    let files = &answer["fileDescriptorResponse"]["fileDescriptorProto"];
    let files = files.as_array().cloned().unwrap_or_default();
    files
        .iter()
        .map(|file| {
            let bytes = base64::prelude::BASE64_STANDARD
                .decode(file.as_str().unwrap())
                .unwrap();
            FileDescriptorProto::decode(bytes.as_slice())
                .unwrap()
                .name()
                .to_owned()
        })
        .collect()
}

#[tokio::test]
async fn reflection_lists_itself_first_and_then_the_services_sorted() {
    let server = Server::start().await;
    for service in [V1, V1ALPHA] {
        let answers = reflect(&server, service, &[r#"{"host":"h","listServices":"*"}"#]).await;
        let names: Vec<&str> = answers[0]["listServicesResponse"]["service"]
            .as_array()
            .unwrap()
            .iter()
            .map(|service| service["name"].as_str().unwrap())
            .collect();
        assert_eq!(names, [service, "test.Echo", "test.Fail", "test.Rules"]);
        assert_eq!(answers[0]["validHost"], "h");
        let original = serde_json::json!({"host": "h", "listServices": "*"});
        assert_eq!(answers[0]["originalRequest"], original);
    }
}

#[tokio::test]
async fn reflection_finds_files_by_name_symbol_and_extension() {
    let server = Server::start().await;
    let check = async |request: &str, expected: &[&str]| {
        let answers = reflect(&server, V1, &[request]).await;
        let files = files(&answers[0]);
        let first: Vec<&str> = files.iter().take(1).map(String::as_str).collect();
        assert_eq!(first, expected, "{request}");
        if expected == ["test.proto"] {
            assert!(
                files.contains(&"google/api/http.proto".to_owned()),
                "{files:?}"
            );
            assert!(files.contains(&"google/protobuf/descriptor.proto".to_owned()));
        }
    };
    for symbol in [
        "test.Echo",
        ".test.Echo",
        "test.Echo.Unary",
        "test.Note",
        "test.Note.text",
        "test.Note.one",
        "test.Color",
        "test.RED",
        "test.Color.RED",
    ] {
        check(
            &format!(r#"{{"fileContainingSymbol":"{symbol}"}}"#),
            &["test.proto"],
        )
        .await;
    }
    check(r#"{"fileByFilename":"test.proto"}"#, &["test.proto"]).await;
    check(r#"{"fileContainingSymbol":"test.Nothing"}"#, &[]).await;
    check(r#"{"fileContainingSymbol":"test.Note.nothing"}"#, &[]).await;
    check(r#"{"fileContainingSymbol":"nothing"}"#, &[]).await;
    let extension = r#"{"fileContainingExtension":{"containingType":"google.protobuf.MethodOptions","extensionNumber":72295728}}"#;
    check(extension, &["google/api/annotations.proto"]).await;
    let own = format!(r#"{{"fileContainingSymbol":"{V1ALPHA}"}}"#);
    check(&own, &["grpc/reflection/v1alpha/reflection.proto"]).await;
    check(
        r#"{"fileContainingSymbol":"grpc.health.v1.Health"}"#,
        &["grpc/health/v1/health.proto"],
    )
    .await;
}

#[tokio::test]
async fn reflection_answers_one_request_after_the_other() {
    let server = Server::start().await;
    let requests = [
        r#"{"fileContainingSymbol":"test.Nothing"}"#,
        r#"{"fileByFilename":"nothing.proto"}"#,
        r#"{"fileContainingExtension":{"containingType":"test.Note","extensionNumber":7}}"#,
        r#"{"allExtensionNumbersOfType":"google.protobuf.MethodOptions"}"#,
        r#"{"allExtensionNumbersOfType":"test.Nothing"}"#,
        r#"{"host":"h"}"#,
    ];
    let answers = reflect(&server, V1ALPHA, &requests).await;
    assert_eq!(answers.len(), requests.len());
    // An unknown symbol is an empty list, and the stream goes on.
    assert!(answers[0]["fileDescriptorResponse"].is_object());
    assert_eq!(answers[1]["errorResponse"]["errorCode"], 5);
    assert_eq!(answers[2]["errorResponse"]["errorCode"], 5);
    let numbers = &answers[3]["allExtensionNumbersResponse"]["extensionNumber"];
    assert_eq!(numbers, &serde_json::json!([72295728]));
    assert_eq!(answers[4]["errorResponse"]["errorCode"], 5);
    assert_eq!(answers[5]["errorResponse"]["errorCode"], 3);
}

#[tokio::test]
async fn reflection_keeps_the_options_of_descriptors() {
    use base64::Engine as _;
    let server = Server::start().await;
    let answers = reflect(&server, V1, &[r#"{"fileByFilename":"test.proto"}"#]).await;
    let file = &answers[0]["fileDescriptorResponse"]["fileDescriptorProto"][0];
    let file = base64::prelude::BASE64_STANDARD
        .decode(file.as_str().unwrap())
        .unwrap();
    let rule = b"/notes/{text}:tag";
    assert!(file.windows(rule.len()).any(|part| part == rule));
}

async fn check_health(server: &Server, service: &str) -> Result<Bytes, tonic::Status> {
    let mut client = server.grpc().await;
    let path = PathAndQuery::from_static("/grpc.health.v1.Health/Check");
    let mut request = vec![10, u8::try_from(service.len()).unwrap()];
    request.extend_from_slice(service.as_bytes());
    let reply = client
        .unary(Request::new(request.into()), path, Raw)
        .await?;
    Ok(reply.into_inner())
}

#[tokio::test]
async fn health_is_serving_once_there_is_a_contract() {
    let server = Server::start().await;
    assert_eq!(check_health(&server, "").await.unwrap(), [8, 1][..]);
    assert_eq!(
        check_health(&server, "test.Echo").await.unwrap(),
        [8, 1][..]
    );
    let status = check_health(&server, "test.Nothing").await.unwrap_err();
    assert_eq!(
        (status.code(), firn_code(&status)),
        (Code::NotFound, "FIRN-3001")
    );
    *server.fake.contract.lock().unwrap() = None;
    assert_eq!(check_health(&server, "").await.unwrap(), [8, 2][..]);
}

#[tokio::test]
async fn watched_health_changes_with_contract_and_shutdown() {
    let fake = Fake::new();
    let contract = fake.contract.lock().unwrap().take();
    let server = Server::start_with(config(), fake).await;
    let mut client = server.grpc().await;
    let path = PathAndQuery::from_static("/grpc.health.v1.Health/Watch");
    let replies = client
        .server_streaming(Request::new(Bytes::new()), path, Raw)
        .await;
    let mut replies = replies.unwrap().into_inner();
    assert_eq!(replies.message().await.unwrap().unwrap(), [8, 2][..]);
    *server.fake.contract.lock().unwrap() = contract;
    assert_eq!(replies.message().await.unwrap().unwrap(), [8, 1][..]);
    server.stop.cancel();
    assert_eq!(replies.message().await.unwrap().unwrap(), [8, 2][..]);
    let status = replies.message().await.unwrap_err();
    assert_eq!(
        (status.code(), firn_code(&status)),
        (Code::Unavailable, "FIRN-3019")
    );
    server.task.await.unwrap();
}

#[tokio::test]
async fn probes_are_answered_with_and_without_a_function() {
    let server = Server::start().await;
    for _ in 0..2 {
        let answer = server.get("/").await;
        assert_eq!(
            (answer.status.as_u16(), answer.text()),
            (200, "Firn is listening.\n")
        );
        let answer = server
            .send("GET", "/x", &[("k-network-probe", "queue")], "")
            .await;
        assert_eq!((answer.status.as_u16(), answer.text()), (200, "queue"));
        let answer = server
            .send("GET", "/x", &[("k-network-probe", "other")], "")
            .await;
        assert_eq!(answer.status, 400);
        *server.fake.contract.lock().unwrap() = None;
    }
}
