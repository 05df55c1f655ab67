//! Forwards and effects of entities.

use firn_testkit::function::action;
use firn_testkit::function::entity::Stream;
use firn_testkit::function::message::{
    command, effect, event, events_init, failure, forward, metadata, reply,
};
use firn_wire::dialect::{AKKA_SERVERLESS_B, CLOUDSTATE, Dialect, Family, KALIX};
use firn_wire::superset::{Command, Metadata};
use tonic::Code;

use crate::world::{Call, World, asked, kept, request, said, whole};

const DIALECTS: [&Dialect; 3] = [&CLOUDSTATE, &AKKA_SERVERLESS_B, &KALIX];

/// A command as an entity of this dialect gets it, when nobody sent headers.
fn bare(dialect: &Dialect, command: Command) -> Command {
    let metadata = match dialect.family {
        Family::Cloudstate => None,
        Family::AkkaServerless | Family::Kalix => Some(Metadata::default()),
    };
    Command {
        metadata,
        ..command
    }
}

/// Entity `a` of the journal with its first command open.
async fn open(world: &World) -> (Call, Stream) {
    let call = world.call("Journal/Process", request("a", ""));
    let mut stream = world.function.entity().await;
    stream.expect_some_init().await;
    stream.expect_some_command().await;
    (call, stream)
}

/// The next entity that is called, with its first command open.
async fn next(world: &World, dialect: &Dialect, id: &str) -> Stream {
    let mut stream = world.function.entity().await;
    assert_eq!(stream.expect_some_init().await, id);
    let first = command(id, 1, "Call", asked(id, "hop"));
    stream.expect(bare(dialect, first)).await;
    stream
}

#[tokio::test]
async fn forward_answers_in_the_callers_place() {
    for dialect in DIALECTS {
        let world = World::of(&whole(dialect)).await;
        let (call, stream) = open(&world).await;
        stream.reply(reply(1).events([kept("A")]).forward(forward(
            "model.RegisterTwo",
            "Call",
            asked("b", "hop"),
        )));
        let other = next(&world, dialect, "b").await;
        assert!(!call.is_over());
        let back = metadata(&[("x-one", "1")]);
        other.reply(reply(1).with_headers(said("from b"), Some(back)));
        let answered = call.answered().await;
        assert_eq!(answered.headers.get("x-one").unwrap(), "1");
        assert_eq!(crate::world::text(&answered.messages[0]), "from b");
    }
}

#[tokio::test]
async fn failure_of_a_forward_is_the_callers() {
    for dialect in DIALECTS {
        let world = World::of(&whole(dialect)).await;
        let (call, stream) = open(&world).await;
        let to = forward("model.RegisterTwo", "Call", asked("b", "hop"));
        stream.reply(reply(1).forward(to));
        let other = next(&world, dialect, "b").await;
        other.reply(reply(1).failing("b says no"));
        call.fails(Code::Unknown, "b says no").await;
    }
}

#[tokio::test]
async fn forward_to_an_action_carries_the_forwards_own_headers() {
    for dialect in DIALECTS {
        let world = World::of(&whole(dialect)).await;
        let (call, stream) = open(&world).await;
        let mut to = forward("model.DoingTwo", "Call", asked("b", "hop"));
        to.metadata = Some(metadata(&[("x-own", "1")]));
        stream.reply(reply(1).forward(to));
        let mut action = world.function.action().await;
        let command = action.message().await;
        assert_eq!(command.metadata, Some(metadata(&[("x-own", "1")])));
        action.answer(&action::reply(said("done")));
        call.replies("done").await;
    }
}

#[tokio::test]
async fn entity_may_forward_to_itself() {
    for dialect in DIALECTS {
        let world = World::of(&whole(dialect)).await;
        let (call, mut stream) = open(&world).await;
        let to = forward("model.Journal", "Process", asked("a", "hop"));
        stream.reply(reply(1).forward(to));
        let second = command("a", 2, "Process", asked("a", "hop"));
        stream.expect(bare(dialect, second)).await;
        stream.reply(reply(2).with(said("me again")));
        call.replies("me again").await;
    }
}

#[tokio::test]
async fn circle_of_forwards_ends() {
    let world = World::of(&whole(&CLOUDSTATE)).await;
    let call = world.call("Doing/Unary", request("a", ""));
    let mut times = 0;
    while !call.is_over() {
        let action = tokio::select! {
            action = world.function.action() => action,
            () = async { while !call.is_over() { tokio::task::yield_now().await } } => break,
        };
        times += 1;
        let to = forward("model.Doing", "Unary", asked("a", ""));
        action.answer(&action::forwarded(to));
    }
    assert_eq!(times, 17);
    let status = call.outcome().await.expect_err("a refusal");
    assert_eq!(status.metadata().get("firn-code").unwrap(), "FIRN-3013");
}

#[tokio::test]
async fn synchronous_effects_run_in_order_before_the_answer() {
    for dialect in DIALECTS {
        let world = World::of(&whole(dialect)).await;
        let (call, mut stream) = open(&world).await;
        let to = |id| forward("model.RegisterTwo", "Call", asked(id, "hop"));
        stream.reply(
            reply(1)
                .events([kept("A")])
                .effect(effect(to("b"), true))
                .effect(effect(to("c"), true))
                .with(said("last")),
        );
        let first = next(&world, dialect, "b").await;
        assert!(!call.is_over());
        // The entity itself is free meanwhile.
        let again = world.call("Journal/Process", request("a", "again"));
        stream.expect_some_command().await;
        stream.reply(reply(2).with(said("free")));
        again.replies("free").await;
        first.reply(reply(1).with(said("nobody hears it")));
        // A failure of an effect is nobody's.
        let second = next(&world, dialect, "c").await;
        assert!(!call.is_over());
        second.reply(reply(1).failing("nobody hears this either"));
        call.replies("last").await;
    }
}

#[tokio::test]
async fn asynchronous_effect_is_not_waited_for() {
    for dialect in DIALECTS {
        let world = World::of(&whole(dialect)).await;
        let (call, stream) = open(&world).await;
        let to = forward("model.RegisterTwo", "Call", asked("b", "hop"));
        stream.reply(reply(1).effect(effect(to, false)).with(said("at once")));
        let other = next(&world, dialect, "b").await;
        call.replies("at once").await;
        other.reply(reply(1).with(said("late")));
    }
}

#[tokio::test]
async fn effects_run_whatever_the_answer_is() {
    for dialect in DIALECTS {
        let world = World::of(&whole(dialect)).await;
        let (call, stream) = open(&world).await;
        let to = forward("model.RegisterTwo", "Call", asked("b", "hop"));
        stream.reply(reply(1).effect(effect(to, true)).failing("no"));
        let other = next(&world, dialect, "b").await;
        assert!(!call.is_over());
        other.reply(reply(1).with(said("done")));
        call.fails(Code::Unknown, "no").await;

        let call = world.call("Doing/Unary", request("a", ""));
        let to = forward("model.DoingTwo", "Call", asked("c", ""));
        let with_effect =
            action::with_effects(action::failed(failure(0, "no")), [effect(to, true)]);
        world.function.action().await.answer(&with_effect);
        let two = world.function.action().await;
        assert!(!call.is_over());
        two.answer(&action::reply(said("done")));
        call.fails(Code::Unknown, "no").await;
    }
}

#[tokio::test]
async fn forward_to_nobody_fails_the_call_and_is_reported_with_its_way() {
    for dialect in DIALECTS {
        let world = World::of(&whole(dialect)).await;
        let (call, stream) = open(&world).await;
        let to = forward("model.RegisterTwo", "Call", asked("b", "hop"));
        stream.reply(reply(1).forward(to));
        let other = next(&world, dialect, "b").await;
        other.reply(reply(1).forward(forward("model.Nobody", "Nothing", asked("", ""))));
        let status = call.outcome().await.expect_err("a failure");
        assert_eq!(status.code(), Code::Internal);
        assert_eq!(status.metadata().get("firn-code").unwrap(), "FIRN-3020");
        let report = world.function.report("/model.Nobody/Nothing").await;
        let way = "forwarded from /model.RegisterTwo/Call\n  forwarded from /model.Journal/Process";
        assert!(report.message.contains(way), "{report:?}");
        match dialect.family {
            Family::Cloudstate => assert!(report.message.starts_with("FIRN-3020 "), "{report:?}"),
            Family::AkkaServerless | Family::Kalix => assert_eq!(report.code, "FIRN-3020"),
        }
    }
}

#[tokio::test]
async fn effect_on_nobody_is_reported_and_harms_nobody() {
    for dialect in DIALECTS {
        let world = World::of(&whole(dialect)).await;
        let (call, stream) = open(&world).await;
        let nobody = forward("model.Nobody", "Nothing", asked("", ""));
        stream.reply(
            reply(1)
                .effect(effect(nobody, true))
                .with(said("all the same")),
        );
        call.replies("all the same").await;
        let report = world.function.report("/model.Nobody/Nothing").await;
        let way = "side-effect of /model.Journal/Process";
        assert!(report.message.contains(way), "{report:?}");
    }
}

#[tokio::test]
async fn reply_of_another_type_is_what_the_family_says() {
    for dialect in DIALECTS {
        let world = World::of(&whole(dialect)).await;
        let (call, stream) = open(&world).await;
        stream.reply(reply(1).with(kept("of another type")));
        if dialect.family == Family::Cloudstate {
            call.replies("of another type").await;
            let report = world.function.report("/model.Journal/Process").await;
            assert!(report.message.starts_with("Warning: "), "{report:?}");
            continue;
        }
        let status = call.outcome().await.expect_err("a refusal");
        assert_eq!(status.code(), Code::Internal);
        assert_eq!(status.metadata().get("firn-code").unwrap(), "FIRN-3022");
        let report = world.function.report("/model.Journal/Process").await;
        assert_eq!(report.code, "FIRN-3022");
        assert!(!report.message.contains("FIRN-"), "{report:?}");
    }
}

#[tokio::test]
async fn effect_that_was_seen_is_stored_with_its_cause_and_delivered_again_after_a_kill() {
    for dialect in DIALECTS {
        let mut world = World::of(&whole(dialect)).await;
        let (call, stream) = open(&world).await;
        let to = forward("model.RegisterTwo", "Call", asked("b", "hop"));
        stream.reply(
            reply(1)
                .events([kept("A")])
                .effect(effect(to, false))
                .with(said("ok")),
        );
        next(&world, dialect, "b").await;
        world.kill_and_start_again().await;
        // The caller may have had its answer or not.
        let _ = call.outcome().await;
        let other = next(&world, dialect, "b").await;
        other.reply(reply(1).update(kept("once")).with(said("")));
        let _call = world.call("Journal/Process", request("a", ""));
        let mut stream = world.function.entity().await;
        stream.expect(events_init("model.Journal", "a", None)).await;
        stream.expect(event(1, kept("A"))).await;
    }
}
