//! The client port: HTTP/JSON, probes and reflection, as a conformance suite looks at them.

use bytes::Bytes;
use firn_testkit::function::Function;
use firn_testkit::function::action;
use firn_testkit::function::message::reply;
use firn_wire::dialect::{AKKA_SERVERLESS_B, CLOUDSTATE, Dialect, KALIX};
use prost::{Message, Oneof};
use tonic::Code;

use crate::world::{World, asked, request, said, whole};

const DIALECTS: [&Dialect; 3] = [&CLOUDSTATE, &AKKA_SERVERLESS_B, &KALIX];

/// Sends JSON to a path while the next entity takes the command and says this.
async fn exchange(world: &World, path: &str, body: &str, say: &str) -> String {
    let script = async {
        let mut stream = world.function.entity().await;
        stream.expect_some_init().await;
        let command = stream.expect_some_command().await;
        assert_eq!(command.payload, Some(asked("a", "x")));
        stream.reply(reply(1).with(said(say)));
        stream
    };
    let (answer, _stream) = tokio::join!(world.post(path, body), script);
    assert_eq!(answer.status(), 200, "{answer:?}");
    assert_eq!(answer.header("content-type"), "application/json");
    answer.text().to_owned()
}

#[tokio::test]
async fn json_is_exact_to_the_byte() {
    for dialect in DIALECTS {
        let world = World::of(&whole(dialect)).await;
        let text = exchange(&world, "/model/journal/a", r#"{"text":"x"}"#, "").await;
        assert_eq!(text, r#"{"message":""}"#);
        // The path wins over the body.
        let body = r#"{"id":"b","text":"x"}"#;
        let text = exchange(&world, "/model/register/a", body, "a \"b\"\n").await;
        assert_eq!(text, r#"{"message":"a \"b\"\n"}"#);
    }
}

#[tokio::test]
async fn method_without_a_rule_is_at_its_name() {
    for dialect in DIALECTS {
        let world = World::of(&whole(dialect)).await;
        let body = r#"{"id":"a","text":"x"}"#;
        for service in ["JournalTwo", "RegisterTwo"] {
            let path = format!("/model.{service}/Call");
            let text = exchange(&world, &path, body, "two").await;
            assert_eq!(text, r#"{"message":"two"}"#);
        }
    }
}

#[tokio::test]
async fn replies_of_a_stream_are_lines_or_events() {
    for dialect in DIALECTS {
        let world = World::of(&whole(dialect)).await;
        for (accept, expected) in [
            (
                "application/json",
                "{\"message\":\"1\"}\n{\"message\":\"2\"}\n",
            ),
            (
                "text/event-stream",
                "data: {\"message\":\"1\"}\n\ndata: {\"message\":\"2\"}\n\n",
            ),
        ] {
            let script = async {
                let mut action = world.function.action().await;
                let command = action.message().await;
                assert_eq!(command.payload, Some(asked("a", "x")));
                action.send(&action::reply(said("1")));
                action.answer(&action::reply(said("2")));
            };
            let path = "/model/doing/a/out?text=x";
            let headers = [("accept", accept)];
            let get = world.http("GET", path, &headers, "");
            let (answer, ()) = tokio::join!(get, script);
            assert_eq!(answer.text(), expected);
            assert_eq!(answer.header("content-type"), accept);
        }
    }
}

#[tokio::test]
async fn malformed_json_is_the_clients_fault() {
    let world = World::of(&whole(&CLOUDSTATE)).await;
    for body in ["{", r#"{"text":1}"#, r#"{"other":"x"}"#] {
        let answer = world.post("/model/journal/a", body).await;
        assert_eq!(answer.status(), 400, "{body}: {answer:?}");
    }
}

#[tokio::test]
async fn probes_are_answered_with_and_without_a_function() {
    let function = Function::away(&whole(&CLOUDSTATE));
    let mut world = World::waiting(function, &[]).await;
    for round in 0..2 {
        let answer = world.http("GET", "/", &[], "").await;
        assert_eq!(answer.status(), 200);
        let answer = world
            .http("GET", "/", &[("k-network-probe", "queue")], "")
            .await;
        assert_eq!((answer.status(), answer.text()), (200, "queue"));
        let answer = world
            .http("GET", "/any/path", &[("K-Network-Probe", "queue")], "")
            .await;
        assert_eq!((answer.status(), answer.text()), (200, "queue"));
        let answer = world
            .http("GET", "/", &[("k-network-probe", "x")], "")
            .await;
        assert_eq!(answer.status(), 400);
        if round == 0 {
            world.function.come_back();
            world.firn.wait_until_serving();
        }
    }
    let answer = world.http("GET", "/nowhere", &[], "").await;
    assert_eq!(answer.status(), 404);
}

#[tokio::test]
async fn unknown_method_is_refused_with_the_nearest_name() {
    let world = World::of(&whole(&CLOUDSTATE)).await;
    let call = world.call("Jornal/Process", request("a", ""));
    let status = call.outcome().await.expect_err("a refusal");
    assert_eq!(status.code(), Code::Unimplemented);
    assert!(
        status.message().contains("/model.Journal/Process"),
        "{status:?}"
    );
}

#[derive(Clone, PartialEq, Message)]
struct Question {
    #[prost(string, tag = "1")]
    host: String,
    #[prost(oneof = "Wanted", tags = "3, 4, 7")]
    wanted: Option<Wanted>,
}

#[derive(Clone, PartialEq, Oneof)]
enum Wanted {
    #[prost(string, tag = "3")]
    File(String),
    #[prost(string, tag = "4")]
    Symbol(String),
    #[prost(string, tag = "7")]
    Services(String),
}

#[derive(Clone, PartialEq, Message)]
struct Reflected {
    #[prost(string, tag = "1")]
    valid_host: String,
    #[prost(message, optional, tag = "2")]
    original_request: Option<Question>,
    #[prost(oneof = "Found", tags = "4, 6")]
    found: Option<Found>,
}

#[derive(Clone, PartialEq, Oneof)]
enum Found {
    #[prost(message, tag = "4")]
    Files(Files),
    #[prost(message, tag = "6")]
    Services(Services),
}

#[derive(Clone, PartialEq, Message)]
struct Files {
    #[prost(bytes = "bytes", repeated, tag = "1")]
    files: Vec<Bytes>,
}

#[derive(Clone, PartialEq, Message)]
struct Services {
    #[prost(message, repeated, tag = "1")]
    services: Vec<Service>,
}

#[derive(Clone, PartialEq, Message)]
struct Service {
    #[prost(string, tag = "1")]
    name: String,
}

#[tokio::test]
async fn reflection_lists_itself_and_what_is_served_and_echoes_the_question() {
    const PATH: &str = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo";
    let world = World::of(&whole(&CLOUDSTATE)).await;
    let ask = |wanted: Wanted| Question {
        host: "a.host".to_owned(),
        wanted: Some(wanted),
    };
    let questions = [
        ask(Wanted::Services("anything".to_owned())),
        ask(Wanted::Symbol("no.Such".to_owned())),
        ask(Wanted::Symbol("model.Journal".to_owned())),
        ask(Wanted::File("model.proto".to_owned())),
    ];
    let messages: Vec<Bytes> = questions.iter().map(|q| q.encode_to_vec().into()).collect();
    let stream = tonic::Request::new(tokio_stream::iter(messages));
    let response = world.client().stream(PATH, stream).await.expect("answers");
    let mut stream = response.into_inner();
    let mut found = Vec::new();
    for question in &questions {
        let message = stream
            .message()
            .await
            .expect("an answer")
            .expect("an answer");
        let answer = Reflected::decode(message).expect("an answer");
        assert_eq!(answer.valid_host, "a.host");
        assert_eq!(answer.original_request.as_ref(), Some(question));
        found.push(answer.found.expect("something"));
    }
    // It ends with the client.
    assert!(stream.message().await.expect("an end").is_none());
    let names = [
        "grpc.reflection.v1alpha.ServerReflection",
        "model.Doing",
        "model.DoingTwo",
        "model.Journal",
        "model.JournalTwo",
        "model.Register",
        "model.RegisterTwo",
    ];
    let services = names.map(|name| Service {
        name: name.to_owned(),
    });
    let services = services.to_vec();
    assert_eq!(found[0], Found::Services(Services { services }));
    assert_eq!(found[1], Found::Files(Files { files: Vec::new() }));
    for found in &found[2..] {
        let Found::Files(files) = found else {
            panic!("{found:?}");
        };
        assert!(!files.files.is_empty());
    }
}
