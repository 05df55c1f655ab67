//! Clients that speak HTTP and JSON.

use firn_testkit::caller::request;
use firn_testkit::function::message::any;
use firn_testkit::own::message::{decided, empty};
use serde_json::json;
use tonic::Code;

use crate::world::{REGISTER, World, opening};

#[tokio::test]
async fn json_comes_in_by_rule_and_by_name() {
    let (world, mut function) = World::serving().await;
    for (number, path, body) in [
        (1, "/model/register/a%20b", r#"{"text":"x"}"#),
        (2, "/model.Register/Process", r#"{"id":"a b","text":"x"}"#),
    ] {
        let post = world.post(path, body);
        let play = async {
            let command = function.command().await;
            assert_eq!((command.id, command.component), (number, REGISTER));
            assert_eq!(
                command.message,
                prost::Message::encode_to_vec(&request("a b", "x"))
            );
            function.send(decided(number).saying("done"));
        };
        let (answer, ()) = tokio::join!(post, play);
        assert_eq!(
            (answer.status(), answer.text()),
            (200, r#"{"message":"done"}"#)
        );
    }
}

/// R13: FIRN-3041.
#[tokio::test]
async fn id_that_is_too_long_is_refused() {
    let (world, mut function) = World::serving().await;
    for (bytes, fits) in [(1024, true), (1025, false), (5 << 20, false)] {
        let id = "x".repeat(bytes);
        let caller = world.call("Register/Process", &id, "");
        if fits {
            let command = function.command().await;
            assert_eq!(command.opening, Some(empty(&id)));
            function.send(decided(command.id).saying("ok"));
            caller.replies("ok").await;
        } else {
            caller.is_refused(Code::InvalidArgument, "FIRN-3041").await;
        }
    }
}

#[tokio::test]
async fn failures_are_http_statuses_with_all_that_the_function_said() {
    let (world, mut function) = World::serving().await;
    let post = world.post("/model/register/a", "{}");
    let play = async {
        function
            .expect(opening(1, REGISTER, 1, &request("a", ""), empty("a")))
            .await;
        let detail = any("model.Request", &request("b", "try"));
        function.send(decided(1).failing(Code::NotFound, "nobody", &[detail]));
    };
    let (answer, ()) = tokio::join!(post, play);
    assert_eq!((answer.status(), answer.header("firn-code")), (404, ""));
    let detail = json!({"@type": "type.googleapis.com/model.Request", "id": "b", "text": "try"});
    assert_eq!(
        answer.json(),
        json!({"code": 5, "message": "nobody", "details": [detail]})
    );
    // R24: Firn's own come with their code.
    let post = world.post("/model/register/a", "{}");
    let play = async {
        assert_eq!(function.command().await.id, 2);
        function.send(decided(2).leaving(9));
    };
    let (answer, ()) = tokio::join!(post, play);
    assert_eq!(
        (answer.status(), answer.header("firn-code")),
        (500, "FIRN-3033")
    );
    assert_eq!(answer.json()["details"][0]["reason"], "FIRN-3033");
}
