//! Akka Serverless and Kalix, where they differ from Cloudstate.

use std::time::Duration;

use bytes::Bytes;
use firn_testkit::function::action::reply as acted;
use firn_testkit::function::entity::{In, Stream};
use firn_testkit::function::message::{
    any, command, event, events_init, failure, metadata, reply, value_init,
};
use firn_wire::dialect::{AKKA_SERVERLESS_B, Dialect, Family, KALIX};
use firn_wire::superset::{Any, Command, Failure, Metadata};
use prost::Message;
use tonic::Code;

use crate::world::{Call, ONE_WAITS, World, asked, headers, kept, request, said, text, whole};

const DIALECTS: [&Dialect; 2] = [&AKKA_SERVERLESS_B, &KALIX];

fn bare(command: Command) -> In {
    In::Command(Command {
        metadata: Some(Metadata::default()),
        ..command
    })
}

/// Entity `a` of a service with its first command open.
async fn open(world: &World, service: &str) -> (Call, Stream) {
    open_id(world, service, "a").await
}

async fn open_id(world: &World, service: &str, id: &str) -> (Call, Stream) {
    let call = world.call(&format!("{service}/Process"), request(id, ""));
    let mut stream = world.function.entity().await;
    stream.expect_some_init().await;
    let first = command(id, 1, "Process", asked(id, ""));
    stream.expect(bare(first)).await;
    (call, stream)
}

/// What entity `a` of a service begins with after a kill.
async fn stored(world: &mut World, service: &str) -> Vec<In> {
    world.kill_and_start_again().await;
    let _call = world.call(&format!("{service}/Process"), request("a", ""));
    let mut stream = world.function.entity().await;
    let mut came = Vec::new();
    loop {
        match stream.next().await {
            In::Command(_) => return came,
            other => came.push(other),
        }
    }
}

#[tokio::test]
async fn failure_beats_everything_that_comes_with_it() {
    for dialect in DIALECTS {
        let mut world = World::of(&whole(dialect)).await;
        let (call, stream) = open(&world, "Register").await;
        stream.reply(reply(1).update(kept("never")).failing("no"));
        call.fails(Code::Unknown, "no").await;
        let (call, mut stream) = open(&world, "Journal").await;
        stream.reply(
            reply(1)
                .events([kept("never")])
                .snapshot(kept("never"))
                .failing("no"),
        );
        call.fails(Code::Unknown, "no").await;
        // The next event is the first.
        let call = world.call("Journal/Process", request("a", ""));
        stream.expect_some_command().await;
        stream.reply(reply(2).events([kept("A")]).with(said("A")));
        call.replies("A").await;
        assert_eq!(
            stored(&mut world, "Register").await,
            [value_init("model.Register", "a", None)]
        );
        assert_eq!(
            stored(&mut world, "Journal").await,
            [events_init("model.Journal", "a", None), event(1, kept("A"))]
        );
    }
}

#[tokio::test]
async fn function_chooses_the_status() {
    for dialect in DIALECTS {
        let world = World::of(&whole(dialect)).await;
        for service in ["Register", "Journal"] {
            let (call, mut stream) = open(&world, service).await;
            let chosen = Failure {
                grpc_status_code: 5,
                ..failure(0, "nowhere")
            };
            stream.reply(reply(1).failing_with(chosen.clone()));
            call.fails(Code::NotFound, "nowhere").await;
            let path = format!("/model.{service}/Process");
            let script = async {
                stream.expect_some_command().await;
                stream.reply(reply(2).failing_with(chosen));
            };
            let (answer, ()) = tokio::join!(world.post(&path, r#"{"id":"a"}"#), script);
            assert_eq!((answer.status(), answer.text()), (404, "nowhere"));
        }
    }
}

#[tokio::test]
async fn failure_that_names_the_command_fails_it_alone() {
    for dialect in DIALECTS {
        let world = World::with(&whole(dialect), ONE_WAITS).await;
        for service in ["Register", "Journal"] {
            let method = format!("{service}/Process");
            let (call, stream) = open(&world, service).await;
            let waiting = world.queue(&method, request("a", "second")).await;
            stream.fail(Failure {
                grpc_status_code: 12,
                ..failure(1, "unknown command")
            });
            call.fails(Code::Unimplemented, "unknown command").await;
            stream.expect_end().await;
            let mut stream = world.function.entity().await;
            stream.expect_some_init().await;
            let second = command("a", 1, "Process", asked("a", "second"));
            stream.expect(bare(second)).await;
            stream.reply(reply(1).with(said("kept")));
            waiting.replies("kept").await;
        }
    }
}

/// What a function does with a stream.
type Act = fn(Stream);

#[tokio::test]
async fn failed_instance_keeps_what_was_not_sent() {
    let broken: [(&str, Act); 5] = [
        ("the function failed the entity", |stream| {
            stream.fail(failure(0, "a detail"));
            std::mem::forget(stream);
        }),
        ("the function ended the entity's stream", |stream| {
            stream.complete();
        }),
        ("the function ended the entity's stream", |stream| {
            stream.end(13, "a detail");
        }),
        (
            "the function answered something that was not asked",
            |stream| {
                stream.reply(reply(9));
                std::mem::forget(stream);
            },
        ),
        ("the function sent an illegal message", |stream| {
            stream.send_bytes(Bytes::new());
            std::mem::forget(stream);
        }),
    ];
    for dialect in DIALECTS {
        let world = World::with(&whole(dialect), ONE_WAITS).await;
        for service in ["Register", "Journal"] {
            for (number, (text, act)) in broken.into_iter().enumerate() {
                let id = number.to_string();
                let method = format!("{service}/Process");
                let (call, stream) = open_id(&world, service, &id).await;
                let waiting = world.queue(&method, request(&id, "second")).await;
                act(stream);
                call.fails(Code::Unknown, text).await;
                let mut stream = world.function.entity().await;
                stream.expect_some_init().await;
                let second = command(&id, 1, "Process", asked(&id, "second"));
                stream.expect(bare(second)).await;
                stream.reply(reply(1).with(said("kept")));
                waiting.replies("kept").await;
            }
        }
    }
}

#[tokio::test]
async fn sdk_that_hides_details_is_quoted() {
    let mut declaration = whole(&KALIX);
    declaration.info.service_runtime = "OpenJDK 17".to_owned();
    let world = World::of(&declaration).await;
    let (call, stream) = open(&world, "Register").await;
    stream.fail(failure(0, "Unexpected error [1234]"));
    call.fails(Code::Unknown, "Unexpected error [1234]").await;
}

#[tokio::test]
async fn answer_without_an_action_is_an_empty_message() {
    for dialect in DIALECTS {
        let world = World::of(&whole(dialect)).await;
        for service in ["Register", "Journal"] {
            let (call, stream) = open(&world, service).await;
            stream.reply(reply(1));
            call.replies("").await;
        }
    }
}

#[tokio::test]
async fn output_of_any_type_is_the_payload_itself() {
    for dialect in DIALECTS {
        let world = World::of(&whole(dialect).action("model.Untyped")).await;
        let call = world.call("Untyped/Call", request("a", ""));
        let json = Any {
            type_url: Bytes::from(format!("{}thing", dialect.json_prefix)),
            value: Bytes::from_static(b"\x0a\x02{}"),
        };
        world.function.action().await.answer(&acted(json.clone()));
        let answered = call.answered().await;
        assert_eq!(answered.messages, [Bytes::from(json.encode_to_vec())]);
    }
}

#[tokio::test]
async fn listed_headers_reach_the_function_and_no_others() {
    let listed = ["X-One", "x-bin", "_kalix-src", "x-firn-identification"];
    for dialect in DIALECTS {
        let declaration = whole(dialect)
            .last(|it| it.forward_headers = listed.map(str::to_owned).to_vec())
            .value("model.Configured", "configured")
            .last(|it| it.forward_headers = listed.map(str::to_owned).to_vec());
        let world = World::of(&declaration).await;
        for method in ["RegisterTwo/Call", "Configured/Process"] {
            let sent = headers(&[
                ("x-one", "1"),
                ("x-two", "2"),
                ("x-one", "3"),
                ("_kalix-src", "self"),
                ("x-firn-identification", "a guess"),
            ]);
            let call = world.call_with(method, request("a", ""), sent);
            let mut stream = world.function.entity().await;
            stream.expect_some_init().await;
            let command = stream.expect_some_command().await;
            let expected = metadata(&[("x-one", "1"), ("x-one", "3")]);
            assert_eq!(command.metadata, Some(expected));
            stream.reply(reply(1).with(said("")));
            call.replies("").await;
        }
    }
}

#[tokio::test]
async fn snapshot_without_events_is_ignored_and_reported() {
    for dialect in DIALECTS {
        let mut world = World::of(&whole(dialect)).await;
        let (call, stream) = open(&world, "Journal").await;
        stream.reply(reply(1).snapshot(kept("early")).with(said("ok")));
        call.replies("ok").await;
        let report = world.function.report("snapshot").await;
        assert_eq!(report.code, "FIRN-3021");
        assert_eq!(
            stored(&mut world, "Journal").await,
            [events_init("model.Journal", "a", None)]
        );
    }
}

#[tokio::test]
async fn only_kalix_is_asked_for_snapshots() {
    for dialect in DIALECTS {
        let mut world = World::of(&whole(dialect)).await;
        let (call, mut stream) = open(&world, "Journal").await;
        let events = (1..=100).map(|number| kept(&number.to_string()));
        stream.reply(reply(1).events(events).with(said("ok")));
        call.replies("ok").await;
        let next = world.call("Journal/Process", request("a", "next"));
        if dialect.family == Family::Kalix {
            let In::SnapshotRequest(request) = stream.next().await else {
                panic!("not asked for a snapshot");
            };
            stream.snapshot(request, Some(kept("hundred")));
        }
        stream.expect_some_command().await;
        stream.reply(
            reply(if dialect.family == Family::Kalix {
                3
            } else {
                2
            })
            .with(said("on")),
        );
        next.replies("on").await;
        let came = stored(&mut world, "Journal").await;
        if dialect.family == Family::Kalix {
            let snapshot = Some((100, kept("hundred")));
            assert_eq!(came, [events_init("model.Journal", "a", snapshot)]);
        } else {
            assert_eq!(came.len(), 101);
        }
    }
}

#[tokio::test]
async fn deleted_value_refuses_changes_in_kalix_and_begins_anew_in_akka_serverless() {
    for dialect in DIALECTS {
        let mut world = World::of(&whole(dialect)).await;
        let (call, stream) = open(&world, "Register").await;
        stream.reply(reply(1).update(kept("one")).with(said("")));
        call.replies("").await;
        let call = world.call("Register/Process", request("a", ""));
        let mut stream = stream;
        stream.expect_some_command().await;
        stream.reply(reply(2).remove().with(said("gone")));
        call.replies("gone").await;
        let call = world.call("Register/Process", request("a", ""));
        stream.expect_some_command().await;
        stream.reply(reply(3).update(kept("two")).with(said("written")));
        let expected = match dialect.family {
            Family::Kalix => {
                let status = call.outcome().await.expect_err("a refusal");
                assert_eq!(status.code(), Code::FailedPrecondition);
                assert_eq!(status.metadata().get("firn-code").unwrap(), "FIRN-3023");
                None
            }
            _ => {
                call.replies("written").await;
                Some(kept("two"))
            }
        };
        assert_eq!(
            stored(&mut world, "Register").await,
            [value_init("model.Register", "a", expected)]
        );
    }
}

#[tokio::test]
async fn deleted_journal_refuses_events_until_it_is_cleaned_up() {
    let mut world = World::of(&whole(&KALIX)).await;
    let (call, mut stream) = open(&world, "Journal").await;
    let mut gone = reply(1).events([kept("A"), kept("B")]).with(said("gone"));
    gone.delete = Some(Duration::from_secs(3600));
    stream.reply(gone);
    call.replies("gone").await;
    // Commands still run, events are refused.
    let call = world.call("Journal/Process", request("a", ""));
    stream.expect_some_command().await;
    stream.reply(reply(2).with(said("still here")));
    call.replies("still here").await;
    let call = world.call("Journal/Process", request("a", ""));
    stream.expect_some_command().await;
    stream.reply(reply(3).events([kept("C")]).with(said("x")));
    let status = call.outcome().await.expect_err("a refusal");
    assert_eq!(status.metadata().get("firn-code").unwrap(), "FIRN-3023");
    let came = stored(&mut world, "Journal").await;
    assert_eq!(
        came,
        [
            events_init("model.Journal", "a", None),
            event(1, kept("A")),
            event(2, kept("B"))
        ]
    );
}

#[tokio::test]
async fn journal_that_was_cleaned_up_is_a_new_entity() {
    let mut world = World::of(&whole(&KALIX)).await;
    let (call, stream) = open(&world, "Journal").await;
    let mut gone = reply(1).events([kept("A")]).with(said("gone"));
    gone.delete = Some(Duration::ZERO);
    stream.reply(gone);
    call.replies("gone").await;
    let came = stored(&mut world, "Journal").await;
    assert_eq!(came, [events_init("model.Journal", "a", None)]);
    let (call, stream) = open_after_kill(&mut world).await;
    stream.reply(reply(1).events([kept("first")]).with(said("again")));
    call.replies("again").await;
    let came = stored(&mut world, "Journal").await;
    assert_eq!(
        came,
        [
            events_init("model.Journal", "a", None),
            event(1, kept("first"))
        ]
    );
}

async fn open_after_kill(world: &mut World) -> (Call, Stream) {
    world.kill_and_start_again().await;
    open(world, "Journal").await
}

#[tokio::test]
async fn function_chooses_the_http_status() {
    let world = World::of(&whole(&KALIX)).await;
    let script = async {
        let action = world.function.action().await;
        let chosen = metadata(&[("_kalix-http-code", "202"), ("x-one", "1")]);
        action.answer(&firn_testkit::function::action::reply_with_headers(
            said("taken"),
            Some(chosen),
        ));
    };
    let (answer, ()) = tokio::join!(world.post("/model/doing", "{}"), script);
    assert_eq!(
        (answer.status(), answer.text()),
        (202, r#"{"message":"taken"}"#)
    );
    assert_eq!(answer.header("x-one"), "1");
    assert_eq!(answer.header("_kalix-http-code"), "");
}

#[tokio::test]
async fn generated_key_names_a_new_entity_for_each_call() {
    #[derive(Clone, PartialEq, Message)]
    struct Bare {
        #[prost(string, tag = "2")]
        text: String,
    }
    let world = World::of(&whole(&KALIX).value("model.Generated", "generated")).await;
    let mut ids = Vec::new();
    for _ in 0..2 {
        // The field that other methods have as key is unknown to this one.
        let call = world.call("Generated/Create", request("", "x"));
        let mut stream = world.function.entity().await;
        let id = stream.expect_some_init().await;
        let payload = any(
            "model.Bare",
            &Bare {
                text: "x".to_owned(),
            },
        );
        stream
            .expect(bare(command(&id, 1, "Create", payload)))
            .await;
        stream.reply(reply(1).with(said(&id)));
        let answered = call.answered().await;
        assert_eq!(text(&answered.messages[0]), id);
        let parts: Vec<usize> = id.split('-').map(str::len).collect();
        assert_eq!(parts, [8, 4, 4, 4, 12], "{id}");
        assert_eq!(&id[14..15], "4", "{id}");
        ids.push(id);
    }
    assert_ne!(ids[0], ids[1]);
}
