//! A function that is not there, hangs, answers rubbish, or comes back as another one.

use std::time::Instant;

use bytes::Bytes;
use firn_testkit::firn::Firn;
use firn_testkit::function::declare::{Answer, Declaration};
use firn_testkit::function::message::{command, event, events_init, reply};
use firn_testkit::function::{Function, WAIT};
use firn_wire::dialect::{CLOUDSTATE, Dialect, KALIX};
use tonic::Code;

use crate::world::{ONE_WAITS, World, asked, kept, model, request, said, setup, whole};

/// A call gets UNAVAILABLE at once.
async fn is_unavailable(world: &World) {
    let begun = Instant::now();
    let call = world.call("Journal/Process", request("a", ""));
    let status = call.outcome().await.expect_err("nobody is there");
    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(status.metadata().get("firn-code").unwrap(), "FIRN-3018");
    assert!(begun.elapsed() < WAIT / 4);
    let answer = world.post("/model.Journal/Process", "{}").await;
    assert_eq!(
        (answer.status(), answer.header("firn-code")),
        (503, "FIRN-3018")
    );
}

/// Entity `a` is served and takes a command.
async fn is_served(world: &World) {
    let call = world.call("Journal/Process", request("a", ""));
    let mut stream = world.function.entity().await;
    stream.expect_some_init().await;
    let mut number = 0;
    while number == 0 {
        if let firn_testkit::function::entity::In::Command(command) = stream.next().await {
            number = command.id;
        }
    }
    assert_eq!(number, 1);
    stream.reply(reply(1).with(said("ok")));
    call.replies("ok").await;
}

/// A function that begins with this is waited for with one line of this code, and served once it
/// answers well.
async fn is_waited_for(dialect: &'static Dialect, begin: impl FnOnce(&Function), code: &str) {
    let declaration = whole(dialect);
    let function = Function::away(&declaration);
    begin(&function);
    let mut world = World::waiting(function, &[]).await;
    world.firn.wait_for_log(code);
    is_unavailable(&world).await;
    world.function.go_away();
    world.function.declare(&declaration);
    world.function.come_back();
    world.firn.wait_until_serving();
    is_served(&world).await;
    assert_eq!(
        world.firn.log().matches(code).count(),
        1,
        "{}",
        world.firn.log()
    );
}

#[tokio::test]
async fn function_that_is_not_up_yet_is_waited_for() {
    is_waited_for(&CLOUDSTATE, |_| {}, "FIRN-2001").await;
}

#[tokio::test]
async fn function_that_fails_the_discovery_call_is_waited_for() {
    let failing = |function: &Function| {
        function.answer_discovery(Answer::Failure {
            code: 13,
            text: "not ready".to_owned(),
        });
        function.come_back();
    };
    is_waited_for(&KALIX, failing, "FIRN-2002").await;
}

#[tokio::test]
async fn function_that_answers_rubbish_is_waited_for() {
    let rubbish = |function: &Function| {
        function.answer_discovery(Answer::Message(Bytes::from_static(b"\xff\xff\xff")));
        function.come_back();
    };
    is_waited_for(&CLOUDSTATE, rubbish, "FIRN-2002").await;
    is_waited_for(&KALIX, rubbish, "FIRN-2002").await;
}

#[tokio::test]
async fn server_that_speaks_no_family_is_waited_for() {
    let function = Function::start(&whole(&KALIX));
    let mut firn = Firn::start(setup(&function, &["--family", "cloudstate"]));
    firn.wait_for_log("FIRN-2018");
}

#[tokio::test]
async fn function_that_hangs_keeps_nobody_waiting() {
    let declaration = whole(&CLOUDSTATE);
    let function = Function::start(&declaration);
    function.answer_discovery(Answer::Never);
    let mut world = World::waiting(function, &[]).await;
    is_unavailable(&world).await;
    world.function.go_away();
    world.function.declare(&declaration);
    world.function.come_back();
    world.firn.wait_until_serving();
    is_served(&world).await;
}

#[tokio::test]
async fn function_that_goes_away_fails_what_it_had_and_comes_back() {
    for (dialect, text) in [
        (&CLOUDSTATE, "Unexpected entity termination"),
        (&KALIX, "the function ended the entity's stream"),
    ] {
        let mut world = World::with(&whole(dialect), ONE_WAITS).await;
        let call = world.call("Journal/Process", request("a", ""));
        let mut stream = world.function.entity().await;
        stream.expect_some_init().await;
        stream.expect_some_command().await;
        stream.reply(reply(1).events([kept("A")]).with(said("stored")));
        call.replies("stored").await;
        let open = world.call("Journal/Process", request("a", "open"));
        stream.expect_some_command().await;
        let waiting = world.queue("Journal/Process", request("a", "second")).await;
        world.function.go_away();
        open.fails(Code::Unknown, text).await;
        let status = waiting.outcome().await.expect_err("a failure");
        assert!(
            [Code::Unknown, Code::Unavailable].contains(&status.code()),
            "{status:?}"
        );
        world.firn.wait_for_log("FIRN-2001");
        is_unavailable(&world).await;
        world.function.come_back();
        world.firn.wait_for_log_times("serving ", 2);
        let call = world.call("Journal/Process", request("a", "again"));
        let mut stream = world.function.entity().await;
        stream.expect(events_init("model.Journal", "a", None)).await;
        stream.expect(event(1, kept("A"))).await;
        let command = stream.expect_some_command().await;
        assert_eq!(
            (command.id, command.payload),
            (1, Some(asked("a", "again")))
        );
        stream.reply(reply(1).with(said("A")));
        call.replies("A").await;
        assert!(
            !world.firn.log().contains("FIRN-2019"),
            "{}",
            world.firn.log()
        );
    }
}

#[tokio::test]
async fn function_may_come_back_with_another_contract() {
    let mut world = World::of(&whole(&CLOUDSTATE)).await;
    is_served(&world).await;
    world.function.go_away();
    let other = Declaration::new(&CLOUDSTATE, &model(&CLOUDSTATE))
        .event_sourced("model.Configured", "journal");
    world.function.declare(&other);
    world.function.come_back();
    world.firn.wait_for_log_times("serving ", 2);
    world.firn.wait_for_log("FIRN-2019");
    let call = world.call("Journal/Process", request("a", ""));
    let status = call.outcome().await.expect_err("a refusal");
    assert_eq!(status.code(), Code::Unimplemented);
    let call = world.call("Configured/Process", request("a", "x"));
    let mut stream = world.function.entity().await;
    stream
        .expect(events_init("model.Configured", "a", None))
        .await;
    stream
        .expect(command("a", 1, "Process", asked("a", "x")))
        .await;
    stream.reply(reply(1).with(said("ok")));
    call.replies("ok").await;
}

#[tokio::test]
async fn refused_contract_of_a_function_that_was_served_is_survived() {
    let declaration = whole(&CLOUDSTATE);
    let mut world = World::of(&declaration).await;
    is_served(&world).await;
    world.function.go_away();
    world
        .function
        .declare(&whole(&CLOUDSTATE).action("model.Missing"));
    world.function.come_back();
    world.function.report("FIRN-2004").await;
    world.firn.wait_for_log("the contract is refused");
    is_unavailable(&world).await;
    world.function.go_away();
    world.function.declare(&declaration);
    world.function.come_back();
    world.firn.wait_for_log_times("serving ", 2);
    is_served(&world).await;
    assert_eq!(world.function.reports_with("FIRN-2004").len(), 1);
}
