//! Calls of actions in their four shapes.

use firn_testkit::function::action::{
    Call, In, failed, forwarded, nothing, reply, reply_with_headers, with_effects,
};
use firn_testkit::function::message::{effect, failure, forward, metadata, reply as answer};
use firn_wire::dialect::{AKKA_SERVERLESS_B, CLOUDSTATE, CLOUDSTATE_01, Dialect, Family, KALIX};
use firn_wire::superset::{ActionCommand, Metadata, metadata_entry::Value};
use tonic::Code;

use crate::world::{World, asked, headers, request, said, whole};

const DIALECTS: [&Dialect; 4] = [&CLOUDSTATE, &CLOUDSTATE_01, &AKKA_SERVERLESS_B, &KALIX];

/// Takes the headers out of a command: Cloudstate's are all of the client's, which differ; the others
/// list theirs, and here none.
fn without_headers(dialect: &Dialect, mut command: ActionCommand) -> ActionCommand {
    match dialect.family {
        Family::Cloudstate => assert!(command.metadata.take().is_some(), "no headers"),
        Family::AkkaServerless | Family::Kalix => {
            assert_eq!(command.metadata.take(), Some(Metadata::default()));
        }
    }
    command
}

/// The only message of a call with one request.
fn whole_command(name: &str, id: &str) -> ActionCommand {
    ActionCommand {
        service_name: "model.Doing".to_owned(),
        name: name.to_owned(),
        payload: Some(asked(id, "")),
        metadata: None,
    }
}

/// The first message of a call with a stream of requests.
fn head(name: &str) -> ActionCommand {
    ActionCommand {
        payload: None,
        ..whole_command(name, "")
    }
}

/// A later one.
fn item(id: &str) -> ActionCommand {
    ActionCommand {
        payload: Some(asked(id, "")),
        ..ActionCommand::default()
    }
}

async fn expect_head(dialect: &Dialect, call: &mut Call, expected: ActionCommand) {
    let came = call.message().await;
    assert_eq!(without_headers(dialect, came), expected);
}

#[tokio::test]
async fn unary_call_is_one_message_with_everything_in_it() {
    for dialect in DIALECTS {
        let world = World::of(&whole(dialect)).await;
        let call = world.call("Doing/Unary", request("a", ""));
        let mut action = world.function.action().await;
        assert_eq!(action.path(), dialect.action.unary);
        expect_head(dialect, &mut action, whole_command("Unary", "a")).await;
        action.expect(In::HalfClose).await;
        let back = metadata(&[("x-one", "1"), ("x-two", "2"), ("x-one", "3")]);
        action.answer(&reply_with_headers(said("ok"), Some(back)));
        let answered = call.answered().await;
        let ones: Vec<_> = answered.headers.get_all("x-one").iter().collect();
        assert_eq!(ones, ["1", "3"]);
        assert_eq!(answered.headers.get("x-two").unwrap(), "2");
    }
}

#[tokio::test]
async fn streamed_in_call_begins_with_a_head_and_ends_with_the_client() {
    for dialect in DIALECTS {
        let world = World::of(&whole(dialect)).await;
        let mut talk = world.talk("Doing/In");
        talk.say(request("a", "")).await;
        let mut action = world.function.action().await;
        assert_eq!(action.path(), dialect.action.streamed_in);
        expect_head(dialect, &mut action, head("In")).await;
        action.expect(In::Message(item("a"))).await;
        talk.say(request("b", "")).await;
        action.expect(In::Message(item("b"))).await;
        talk.half_close();
        action.expect(In::HalfClose).await;
        action.answer(&reply(said("both")));
        talk.hears("both").await;
        talk.ends().await;
    }
}

#[tokio::test]
async fn streamed_out_call_goes_on_until_the_function_ends_it() {
    for dialect in DIALECTS {
        let world = World::of(&whole(dialect)).await;
        let mut talk = world.talk("Doing/Out");
        talk.say(request("a", "")).await;
        talk.half_close();
        let mut action = world.function.action().await;
        assert_eq!(action.path(), dialect.action.streamed_out);
        expect_head(dialect, &mut action, whole_command("Out", "a")).await;
        action.expect(In::HalfClose).await;
        for text in ["one", "two"] {
            action.send(&reply(said(text)));
            talk.hears(text).await;
        }
        // Nothing is sent for an answer without a response.
        action.send(&nothing());
        action.send(&reply(said("three")));
        talk.hears("three").await;
        action.complete();
        talk.ends().await;
    }
}

#[tokio::test]
async fn streams_in_both_directions_do_not_wait_for_each_other() {
    for dialect in DIALECTS {
        let world = World::of(&whole(dialect)).await;
        let mut talk = world.talk("Doing/Both");
        talk.say(request("a", "")).await;
        let mut action = world.function.action().await;
        assert_eq!(action.path(), dialect.action.streamed);
        expect_head(dialect, &mut action, head("Both")).await;
        action.expect(In::Message(item("a"))).await;
        action.send(&reply(said("A")));
        talk.hears("A").await;
        talk.say(request("b", "")).await;
        action.expect(In::Message(item("b"))).await;
        action.send(&reply(said("B")));
        talk.hears("B").await;
        talk.half_close();
        action.expect(In::HalfClose).await;
        action.send(&reply(said("last")));
        action.complete();
        talk.hears("last").await;
        talk.ends().await;
    }
}

#[tokio::test]
async fn actions_of_cloudstate_see_all_headers() {
    let world = World::of(&whole(&CLOUDSTATE)).await;
    let sent = headers(&[
        ("x-one", "1"),
        ("x-one", "2"),
        ("authorization", "Bearer t"),
    ]);
    let _call = world.call_with("Doing/Unary", request("a", ""), sent);
    let command = world.function.action().await.message().await;
    let entries = command.metadata.expect("headers").entries.into_iter();
    let ones: Vec<_> = entries.filter(|entry| entry.key == "x-one").collect();
    let values: Vec<_> = ones.into_iter().filter_map(|entry| entry.value).collect();
    assert_eq!(
        values,
        ["1", "2"].map(|text| Value::StringValue(text.to_owned()))
    );
}

#[tokio::test]
async fn failure_of_a_unary_call_is_the_callers() {
    for dialect in DIALECTS {
        let world = World::of(&whole(dialect)).await;
        let call = world.call("Doing/Unary", request("a", ""));
        let action = world.function.action().await;
        action.answer(&failed(failure(0, "no")));
        call.fails(Code::Unknown, "no").await;
    }
}

#[tokio::test]
async fn failure_in_a_stream_ends_the_call_on_both_sides() {
    for dialect in DIALECTS {
        let world = World::of(&whole(dialect)).await;
        let mut talk = world.talk("Doing/Both");
        talk.say(request("a", "")).await;
        let mut action = world.function.action().await;
        action.message().await;
        action.message().await;
        action.send(&reply(said("yes")));
        talk.hears("yes").await;
        action.send(&failed(failure(0, "no")));
        // What an SDK writes after its failure reaches nobody.
        action.send(&reply(said("never")));
        talk.fails(Code::Unknown, "no").await;
        action.expect(In::Reset).await;
    }
}

#[tokio::test]
async fn status_of_the_function_passes_with_its_code() {
    for dialect in DIALECTS {
        let world = World::of(&whole(dialect)).await;
        let call = world.call("Doing/Unary", request("a", ""));
        let action = world.function.action().await;
        action.end(5, "nowhere");
        call.fails(Code::NotFound, "nowhere").await;

        let mut talk = world.talk("Doing/Out");
        talk.say(request("a", "")).await;
        talk.half_close();
        let action = world.function.action().await;
        action.send(&reply(said("one")));
        action.end(11, "enough");
        talk.hears("one").await;
        talk.fails(Code::OutOfRange, "enough").await;
    }
}

#[tokio::test]
async fn cancelled_call_is_cancelled_at_the_function_and_never_looks_complete() {
    for dialect in DIALECTS {
        let world = World::of(&whole(dialect)).await;
        let call = world.call("Doing/Unary", request("a", ""));
        let mut action = world.function.action().await;
        action.message().await;
        action.expect(In::HalfClose).await;
        call.cancel();
        action.expect(In::Reset).await;

        for method in ["Doing/In", "Doing/Both"] {
            let talk = world.talk(method);
            talk.say(request("a", "")).await;
            let mut action = world.function.action().await;
            action.message().await;
            action.message().await;
            talk.cancel();
            action.expect(In::Reset).await;
        }

        let mut talk = world.talk("Doing/Out");
        talk.say(request("a", "")).await;
        talk.half_close();
        let mut action = world.function.action().await;
        action.message().await;
        action.expect(In::HalfClose).await;
        action.send(&reply(said("one")));
        talk.hears("one").await;
        talk.cancel();
        action.expect(In::Reset).await;
    }
}

#[tokio::test]
async fn unanswered_call_times_out() {
    for dialect in DIALECTS {
        let world = World::with(&whole(dialect), &["--command-timeout", "1s"]).await;
        let call = world.call("Doing/Unary", request("a", ""));
        let mut action = world.function.action().await;
        let status = call.outcome().await.expect_err("a timeout");
        assert_eq!(status.code(), Code::DeadlineExceeded, "{status:?}");
        action.message().await;
        action.expect(In::HalfClose).await;
        action.expect(In::Reset).await;
    }
}

#[tokio::test]
async fn unary_answer_that_says_nothing_is_what_the_family_says() {
    for dialect in DIALECTS {
        let world = World::of(&whole(dialect)).await;
        let call = world.call("Doing/Unary", request("a", ""));
        world.function.action().await.answer(&nothing());
        match dialect.family {
            Family::Cloudstate => {
                let status = call.outcome().await.expect_err("no reply");
                assert_eq!(status.code(), Code::Unknown);
            }
            Family::AkkaServerless => call.replies("").await,
            Family::Kalix => {
                let status = call.outcome().await.expect_err("ignored");
                assert_eq!(status.code(), Code::NotFound);
            }
        }
    }
}

#[tokio::test]
async fn forwards_and_effects_in_a_stream_keep_their_place() {
    for dialect in DIALECTS {
        let world = World::of(&whole(dialect)).await;
        let mut talk = world.talk("Doing/Out");
        talk.say(request("a", "")).await;
        talk.half_close();
        let action = world.function.action().await;
        action.send(&forwarded(forward(
            "model.DoingTwo",
            "Call",
            asked("f", ""),
        )));
        let with_effect = with_effects(
            reply(said("after its effect")),
            [effect(
                forward("model.DoingTwo", "Call", asked("e", "")),
                true,
            )],
        );
        action.send(&with_effect);
        action.complete();
        for (id, text) in [("f", "forwarded"), ("e", "nobody hears it")] {
            let mut two = world.function.action().await;
            let command = two.message().await;
            assert_eq!(command.service_name, "model.DoingTwo");
            assert_eq!(command.payload, Some(asked(id, "")));
            two.answer(&reply(said(text)));
        }
        talk.hears("forwarded").await;
        talk.hears("after its effect").await;
        talk.ends().await;
    }
}

#[tokio::test]
async fn forward_to_a_streamed_method_is_a_stream_of_one() {
    let world = World::of(&whole(&CLOUDSTATE)).await;
    for (method, path) in [
        ("In", CLOUDSTATE.action.streamed_in),
        ("Out", CLOUDSTATE.action.streamed_out),
        ("Both", CLOUDSTATE.action.streamed),
    ] {
        let call = world.call("Journal/Process", request(method, ""));
        let mut stream = world.function.entity().await;
        stream.expect_some_init().await;
        stream.expect_some_command().await;
        stream.reply(answer(1).forward(forward("model.Doing", method, asked("f", ""))));
        let mut action = world.function.action().await;
        assert_eq!(action.path(), path);
        let first = action.message().await;
        assert_eq!(
            (first.service_name, first.name),
            ("model.Doing".into(), method.into())
        );
        if method == "Out" {
            assert_eq!(first.payload, Some(asked("f", "")));
        } else {
            assert_eq!(first.payload, None);
            action
                .expect(In::Message(ActionCommand {
                    payload: Some(asked("f", "")),
                    ..ActionCommand::default()
                }))
                .await;
        }
        action.expect(In::HalfClose).await;
        action.answer(&reply(said("forwarded")));
        call.replies("forwarded").await;
    }
}
