//! Replicated entities on one node: the value that the function has, and the value that is kept.

use std::time::Duration;

use bytes::Bytes;
use firn_model::payload::Payload;
use firn_model::replicated::{
    Clock, Consistency, Delta, EntriesDelta, MapDelta, SetDelta, Votes, Write,
};
use firn_testkit::function::action;
use firn_testkit::function::declare::Declaration;
use firn_testkit::function::entity::Stream;
use firn_testkit::function::message::{command, effect, failure, forward, reply};
use firn_testkit::function::replica::{Change, replica_init, stream_cancelled, streamed};
use firn_wire::dialect::{
    AKKA_SERVERLESS_A, AKKA_SERVERLESS_B, CLOUDSTATE, CLOUDSTATE_01, Deltas, Dialect, Family, KALIX,
};
use firn_wire::superset::{
    Any, Command, CrdtDelta, CrdtReply, CrdtStateAction, CrdtStreamOut, Metadata,
    ReplicatedSetDelta, crdt_delta, crdt_state_action, crdt_stream_out,
};
use rustix::process::Signal;
use tonic::Code;

use crate::world::{Call, Talk, World, asked, request, said, whole};

const DIALECTS: [&Dialect; 5] = [
    &CLOUDSTATE_01,
    &CLOUDSTATE,
    &AKKA_SERVERLESS_A,
    &AKKA_SERVERLESS_B,
    &KALIX,
];

/// Those in which many commands of an entity may be open, also streamed ones.
const CLOUDSTATES: [&Dialect; 2] = [&CLOUDSTATE_01, &CLOUDSTATE];

/// Those in which one may.
const OTHERS: [&Dialect; 2] = [&AKKA_SERVERLESS_A, &KALIX];

fn has(dialect: &'static Dialect) -> Declaration {
    whole(dialect).replicated("model.Data", "data")
}

/// With entities that leave memory as soon as nothing happens.
fn leaving(dialect: &'static Dialect) -> Declaration {
    has(dialect).last(|it| it.passivate_after = Some(Duration::from_millis(100)))
}

/// With methods that stream, and entities that leave memory as soon as nothing happens.
fn watched(dialect: &'static Dialect) -> Declaration {
    whole(dialect)
        .replicated("model.Watched", "watched")
        .last(|it| it.passivate_after = Some(Duration::from_millis(100)))
}

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

/// Expects a stream for an entity with this value.
async fn opened(world: &World, dialect: &Dialect, id: &str, value: Option<Delta>) -> Stream {
    let mut stream = world.function.entity().await;
    stream
        .expect(replica_init(dialect, "model.Data", id, value))
        .await;
    stream
}

/// Sends a command, which comes on this stream next.
async fn sent(world: &World, dialect: &Dialect, stream: &mut Stream, number: i64) -> Call {
    let text = number.to_string();
    let call = world.call("Data/Process", request("a", &text));
    let expected = command("a", number, "Process", asked("a", &text));
    stream.expect(bare(dialect, expected)).await;
    call
}

/// Entity `a`, which does not exist, with its first command open.
async fn begun(world: &World, dialect: &Dialect) -> (Call, Stream) {
    let call = world.call("Data/Process", request("a", "1"));
    let mut stream = opened(world, dialect, "a", None).await;
    let expected = command("a", 1, "Process", asked("a", "1"));
    stream.expect(bare(dialect, expected)).await;
    (call, stream)
}

/// Entity `a` as a counter of this value, with nothing open.
async fn counting(world: &World, dialect: &Dialect, value: i64) -> Stream {
    let (call, stream) = begun(world, dialect).await;
    let made = reply(1).creating(Delta::Counter(value));
    stream.reply(made.with(said("made")));
    call.replies("made").await;
    stream
}

/// Entity `a` comes into memory again with this value and its first command.
async fn comes_back(world: &World, dialect: &Dialect, value: Option<Delta>) {
    let call = world.call("Data/Process", request("a", "again"));
    let mut stream = opened(world, dialect, "a", value).await;
    let expected = command("a", 1, "Process", asked("a", "again"));
    stream.expect(bare(dialect, expected)).await;
    stream.reply(reply(1).with(said("again")));
    call.replies("again").await;
}

#[tokio::test]
async fn first_change_makes_the_value_and_it_is_there_after_leaving_memory() {
    for dialect in DIALECTS {
        let world = World::of(&leaving(dialect)).await;
        let stream = counting(&world, dialect, 2).await;
        stream.expect_end().await;
        comes_back(&world, dialect, Some(Delta::Counter(2))).await;
    }
}

#[tokio::test]
async fn entity_that_was_only_read_does_not_exist() {
    for dialect in DIALECTS {
        let world = World::of(&leaving(dialect)).await;
        let (call, stream) = begun(&world, dialect).await;
        stream.reply(reply(1).with(said("nothing there")));
        call.replies("nothing there").await;
        stream.expect_end().await;
        comes_back(&world, dialect, None).await;
    }
}

#[tokio::test]
async fn own_change_does_not_come_back() {
    for dialect in DIALECTS {
        let world = World::of(&leaving(dialect)).await;
        let mut stream = counting(&world, dialect, 2).await;
        for number in 2..5 {
            // It comes next: nothing is between.
            let call = sent(&world, dialect, &mut stream, number).await;
            stream.reply(reply(number).updating(Delta::Counter(-1)).with(said("ok")));
            call.replies("ok").await;
        }
        stream.expect_end().await;
        comes_back(&world, dialect, Some(Delta::Counter(-1))).await;
    }
}

#[tokio::test]
async fn value_outlives_the_function() {
    for dialect in DIALECTS {
        let mut world = World::of(&has(dialect)).await;
        let _stream = counting(&world, dialect, 7).await;
        world.function.go_away();
        world.firn.wait_for_log("FIRN-2001");
        world.function.come_back();
        world.firn.wait_for_log_times("serving ", 2);
        comes_back(&world, dialect, Some(Delta::Counter(7))).await;
    }
}

fn a() -> Payload {
    Payload::new("type.googleapis.com/model.Kept", &b"\x0a\x01a"[..])
}

fn b() -> Payload {
    Payload::new("p.cloudstate.io/string", &b"\x0a\x01b"[..])
}

fn written(clock: Clock) -> Write {
    Write { value: a(), clock }
}

fn set() -> SetDelta {
    SetDelta {
        added: vec![a()],
        ..SetDelta::default()
    }
}

fn entries<T>(value: T) -> EntriesDelta<T> {
    EntriesDelta {
        updated: vec![(b(), value)],
        ..EntriesDelta::default()
    }
}

fn map(value: Delta) -> Delta {
    Delta::Map(MapDelta {
        added: vec![(b(), value)],
        ..MapDelta::default()
    })
}

/// Values of every type that a dialect has.
fn values(dialect: &Dialect) -> Vec<Delta> {
    let register = || Delta::Register(written(Clock::Default));
    let mut values = vec![
        Delta::Counter(0),
        Delta::Counter(i64::MAX),
        Delta::Set(set()),
        Delta::Set(SetDelta::default()),
        register(),
        map(Delta::Counter(-5)),
        map(map(register())),
        map(Delta::Set(SetDelta::default())),
        Delta::Vote(Votes {
            own: true,
            yes: 1,
            members: 1,
        }),
    ];
    if dialect.family == Family::Cloudstate {
        values.extend([
            Delta::GrowCounter(9),
            Delta::GrowSet(vec![a()]),
            Delta::Flag(true),
            Delta::Flag(false),
            map(Delta::Flag(true)),
        ]);
    }
    if dialect.deltas == Deltas::New {
        values.extend([
            Delta::CounterMap(entries(-5)),
            Delta::RegisterMap(entries(written(Clock::Default))),
            Delta::MultiMap(entries(set())),
        ]);
    }
    values
}

#[tokio::test]
async fn value_of_any_type_is_kept() {
    for dialect in DIALECTS {
        let world = World::of(&leaving(dialect)).await;
        for (number, value) in values(dialect).into_iter().enumerate() {
            let id = format!("{number}");
            let call = world.call("Data/Process", request(&id, "x"));
            let mut stream = opened(&world, dialect, &id, None).await;
            stream.expect_some_command().await;
            stream.reply(reply(1).creating(value.clone()).with(said("made")));
            call.replies("made").await;
            stream.expect_end().await;
            let call = world.call("Data/Process", request(&id, "y"));
            let mut stream = opened(&world, dialect, &id, Some(value)).await;
            stream.expect_some_command().await;
            stream.reply(reply(1).with(said("there")));
            call.replies("there").await;
        }
    }
}

#[tokio::test]
async fn deleted_entity_is_gone_for_ever() {
    for dialect in DIALECTS {
        let world = World::of(&has(dialect)).await;
        let mut stream = counting(&world, dialect, 2).await;
        let call = sent(&world, dialect, &mut stream, 2).await;
        stream.reply(reply(2).deleting().with(said("gone")));
        // At once, whatever else is to be done.
        stream.expect_half_close().await;
        stream.complete();
        call.replies("gone").await;
        for _ in 0..2 {
            let call = world.call("Data/Process", request("a", "x"));
            let status = call.fails(Code::Unknown, "Entity deleted").await;
            assert_eq!(status.metadata().get("firn-code").unwrap(), "FIRN-3023");
        }
        // Nobody asks the function about it: the next stream is for another.
        let _call = world.call("Data/Process", request("b", "x"));
        opened(&world, dialect, "b", None).await;
    }
}

#[tokio::test]
async fn delete_ends_what_else_is_open() {
    for dialect in CLOUDSTATES {
        let world = World::of(&has(dialect)).await;
        let mut stream = counting(&world, dialect, 2).await;
        let deleting = sent(&world, dialect, &mut stream, 2).await;
        let open = sent(&world, dialect, &mut stream, 3).await;
        stream.reply(reply(2).deleting().with(said("gone")));
        stream.expect_half_close().await;
        deleting.replies("gone").await;
        open.fails(Code::Unknown, "Entity deleted").await;
    }
}

#[tokio::test]
async fn function_that_never_ends_its_side_is_reset() {
    let world = World::of(&leaving(&CLOUDSTATE_01)).await;
    let mut stream = counting(&world, &CLOUDSTATE_01, 2).await;
    stream.expect_half_close().await;
    stream.expect_reset().await;
    comes_back(&world, &CLOUDSTATE_01, Some(Delta::Counter(2))).await;
}

#[tokio::test]
async fn many_commands_may_be_open_with_cloudstate() {
    for dialect in CLOUDSTATES {
        let world = World::of(&has(dialect)).await;
        let mut stream = counting(&world, dialect, 2).await;
        let second = sent(&world, dialect, &mut stream, 2).await;
        let third = sent(&world, dialect, &mut stream, 3).await;
        stream.reply(reply(3).with(said("third")));
        third.replies("third").await;
        stream.reply(reply(2).with(said("second")));
        second.replies("second").await;
    }
}

#[tokio::test]
async fn one_command_is_open_with_the_others() {
    for dialect in OTHERS {
        let world = World::of(&has(dialect)).await;
        let mut stream = counting(&world, dialect, 2).await;
        let second = sent(&world, dialect, &mut stream, 2).await;
        let third = world.call("Data/Process", request("a", "3"));
        // A command of another entity comes; the third waits.
        let _other = world.call("Data/Process", request("b", "x"));
        opened(&world, dialect, "b", None).await;
        assert!(!third.is_over());
        stream.reply(reply(2).with(said("second")));
        second.replies("second").await;
        let expected = command("a", 3, "Process", asked("a", "3"));
        stream.expect(bare(dialect, expected)).await;
        stream.reply(reply(3).with(said("third")));
        third.replies("third").await;
    }
}

/// The command that was answered with something that cannot be fails, and the next begins on a new
/// stream with what was there before.
async fn fails_alone(world: &World, dialect: &Dialect, stream: Stream, call: Call, text: &str) {
    let status = call.outcome().await.expect_err("a refusal");
    assert_eq!(status.code(), Code::Unknown);
    assert_eq!(status.metadata().get("firn-code").unwrap(), "FIRN-3028");
    assert!(status.message().ends_with(text), "{status:?}");
    stream.expect_end().await;
    comes_back(world, dialect, Some(Delta::Counter(2))).await;
}

#[tokio::test]
async fn change_of_another_type_fails_its_command_only() {
    for dialect in DIALECTS {
        let world = World::of(&has(dialect)).await;
        let mut stream = counting(&world, dialect, 2).await;
        let call = sent(&world, dialect, &mut stream, 2).await;
        stream.reply(reply(2).updating(Delta::Set(set())).with(said("never")));
        fails_alone(&world, dialect, stream, call, "").await;
    }
}

#[tokio::test]
async fn change_that_says_nothing_fails_its_command_only() {
    for dialect in DIALECTS {
        let world = World::of(&has(dialect)).await;
        let mut stream = counting(&world, dialect, 2).await;
        let call = sent(&world, dialect, &mut stream, 2).await;
        stream.reply(reply(2).changing(Change::Nothing).with(said("never")));
        let text = "the delta is of no type of data";
        fails_alone(&world, dialect, stream, call, text).await;
    }
}

#[tokio::test]
async fn element_without_a_type_fails_its_command_only() {
    let world = World::of(&has(&CLOUDSTATE)).await;
    let mut stream = counting(&world, &CLOUDSTATE, 2).await;
    let call = sent(&world, &CLOUDSTATE, &mut stream, 2).await;
    let set = ReplicatedSetDelta {
        added: vec![Any {
            type_url: Bytes::new(),
            value: Bytes::from_static(b"x"),
        }],
        ..ReplicatedSetDelta::default()
    };
    let update = CrdtDelta {
        delta: Some(crdt_delta::Delta::Orset(set)),
    };
    let reply = CrdtReply {
        command_id: 2,
        state_action: Some(CrdtStateAction {
            action: Some(crdt_state_action::Action::Update(update)),
            ..CrdtStateAction::default()
        }),
        ..CrdtReply::default()
    };
    stream.send(&CrdtStreamOut {
        message: Some(crdt_stream_out::Message::Reply(reply)),
    });
    let text = "an element, key or value is no valid Any: it has no type URL";
    fails_alone(&world, &CLOUDSTATE, stream, call, text).await;
}

#[tokio::test]
async fn invalid_change_leaves_other_commands_alone() {
    for dialect in CLOUDSTATES {
        let world = World::of(&has(dialect)).await;
        let mut stream = counting(&world, dialect, 2).await;
        let wrong = sent(&world, dialect, &mut stream, 2).await;
        let right = sent(&world, dialect, &mut stream, 3).await;
        stream.reply(reply(2).updating(Delta::Flag(true)).with(said("never")));
        wrong.outcome().await.expect_err("a refusal");
        stream.reply(reply(3).updating(Delta::Counter(1)).with(said("right")));
        right.replies("right").await;
        // What the function holds is not known: it begins again.
        stream.expect_end().await;
        comes_back(&world, dialect, Some(Delta::Counter(3))).await;
    }
}

#[tokio::test]
async fn failure_that_names_a_command_fails_it_alone() {
    for dialect in DIALECTS {
        let world = World::of(&has(dialect)).await;
        let mut stream = counting(&world, dialect, 2).await;
        let call = sent(&world, dialect, &mut stream, 2).await;
        stream.fail(failure(2, "I cannot"));
        call.fails(Code::Unknown, "I cannot").await;
        // It may have changed its value before.
        stream.expect_end().await;
        comes_back(&world, dialect, Some(Delta::Counter(2))).await;
    }
}

#[tokio::test]
async fn failure_that_names_none_is_nothing_to_cloudstate() {
    for dialect in CLOUDSTATES {
        let mut world = World::of(&has(dialect)).await;
        let mut stream = counting(&world, dialect, 2).await;
        let call = sent(&world, dialect, &mut stream, 2).await;
        stream.fail(failure(0, "something is wrong"));
        world.firn.wait_for_log("something is wrong");
        stream.reply(reply(2).with(said("all the same")));
        call.replies("all the same").await;
    }
}

#[tokio::test]
async fn failure_that_names_none_ends_the_instance_of_the_others() {
    for dialect in OTHERS {
        let world = World::of(&has(dialect)).await;
        let mut stream = counting(&world, dialect, 2).await;
        let call = sent(&world, dialect, &mut stream, 2).await;
        stream.fail(failure(0, "something is wrong"));
        call.fails(Code::Unknown, "the function failed the entity")
            .await;
        stream.expect_reset().await;
        comes_back(&world, dialect, Some(Delta::Counter(2))).await;
    }
}

/// What the function does is against its protocol: all who wait are told, and the value stays.
async fn crashes(dialect: &'static Dialect, text: &str, misbehave: impl FnOnce(&Stream)) {
    let world = World::of(&has(dialect)).await;
    let mut stream = counting(&world, dialect, 2).await;
    let call = sent(&world, dialect, &mut stream, 2).await;
    let other = match dialect.family {
        Family::Cloudstate => Some(sent(&world, dialect, &mut stream, 3).await),
        Family::AkkaServerless | Family::Kalix => None,
    };
    misbehave(&stream);
    call.fails(Code::Unknown, text).await;
    if let Some(other) = other {
        other.fails(Code::Unknown, text).await;
    }
    stream.expect_reset().await;
    comes_back(&world, dialect, Some(Delta::Counter(2))).await;
}

#[tokio::test]
async fn reply_to_no_command_ends_the_instance() {
    let wrong = |stream: &Stream| stream.reply(reply(7).with(said("who?")));
    for dialect in CLOUDSTATES {
        crashes(dialect, "Entity terminating", wrong).await;
    }
    for dialect in OTHERS {
        let text = "the function answered something that was not asked";
        crashes(dialect, text, wrong).await;
    }
}

#[tokio::test]
async fn message_that_holds_nothing_ends_the_instance() {
    let empty = |stream: &Stream| stream.send_bytes(Bytes::new());
    for dialect in CLOUDSTATES {
        crashes(dialect, "Entity terminating", empty).await;
    }
    for dialect in OTHERS {
        crashes(dialect, "the function sent an illegal message", empty).await;
    }
}

#[tokio::test]
async fn stream_to_a_command_that_takes_none_ends_the_instance() {
    let streaming = |stream: &Stream| stream.reply(reply(2).streamed());
    for dialect in CLOUDSTATES {
        crashes(dialect, "Entity terminating", streaming).await;
    }
}

#[tokio::test]
async fn function_that_ends_the_stream_ends_the_instance() {
    for dialect in DIALECTS {
        let text = match dialect.family {
            Family::Cloudstate => "Entity terminating",
            Family::AkkaServerless | Family::Kalix => "the function ended the entity's stream",
        };
        for broken in [false, true] {
            let world = World::of(&has(dialect)).await;
            let mut stream = counting(&world, dialect, 2).await;
            let call = sent(&world, dialect, &mut stream, 2).await;
            match broken {
                true => stream.end(2, "broken"),
                false => stream.complete(),
            }
            call.fails(Code::Unknown, text).await;
            comes_back(&world, dialect, Some(Delta::Counter(2))).await;
        }
    }
}

#[tokio::test]
async fn failure_in_a_reply_is_the_callers() {
    for dialect in DIALECTS {
        let world = World::of(&has(dialect)).await;
        let mut stream = counting(&world, dialect, 2).await;
        let call = sent(&world, dialect, &mut stream, 2).await;
        stream.reply(reply(2).failing("no"));
        call.fails(Code::Unknown, "no").await;
        let call = sent(&world, dialect, &mut stream, 3).await;
        stream.reply(reply(3).with(said("yes")));
        call.replies("yes").await;
    }
}

#[tokio::test]
async fn answer_without_a_message() {
    for dialect in DIALECTS {
        let world = World::of(&has(dialect)).await;
        let (call, stream) = begun(&world, dialect).await;
        stream.reply(reply(1));
        match dialect.family {
            Family::Cloudstate => {
                call.fails(Code::Unknown, "the function gave no reply")
                    .await;
            }
            Family::AkkaServerless | Family::Kalix => call.replies("").await,
        }
    }
}

#[tokio::test]
async fn effects_come_before_the_answer_and_forwards_in_its_place() {
    for dialect in DIALECTS {
        let world = World::of(&has(dialect)).await;
        let mut stream = counting(&world, dialect, 2).await;
        let call = sent(&world, dialect, &mut stream, 2).await;
        let doing = || forward("model.DoingTwo", "Call", asked("a", "hop"));
        let changed = reply(2).updating(Delta::Counter(1));
        stream.reply(changed.effect(effect(doing(), true)).with(said("after")));
        let mut action = world.function.action().await;
        assert!(!call.is_over());
        action.message().await;
        action.answer(&action::reply(said("thrown away")));
        call.replies("after").await;

        let call = sent(&world, dialect, &mut stream, 3).await;
        stream.reply(reply(3).forward(doing()));
        let mut action = world.function.action().await;
        action.message().await;
        action.answer(&action::reply(said("in its place")));
        call.replies("in its place").await;
    }
}

#[tokio::test]
async fn other_components_reach_it() {
    for dialect in DIALECTS {
        let world = World::of(&has(dialect)).await;
        let call = world.call("DoingTwo/Call", request("a", "x"));
        let mut action = world.function.action().await;
        action.message().await;
        let to = forward("model.Data", "Process", asked("a", "hop"));
        action.answer(&action::forwarded(to));
        let mut stream = opened(&world, dialect, "a", None).await;
        let expected = command("a", 1, "Process", asked("a", "hop"));
        stream.expect(bare(dialect, expected)).await;
        let made = reply(1).creating(Delta::Counter(1));
        stream.reply(made.with(said("from there")));
        call.replies("from there").await;
    }
}

#[tokio::test]
async fn one_node_is_all_there_are() {
    for consistency in [Consistency::Majority, Consistency::All] {
        for dialect in DIALECTS {
            let declared = has(dialect).last(|it| it.write_consistency = Some(consistency));
            let world = World::of(&declared).await;
            let (call, stream) = begun(&world, dialect).await;
            let made = reply(1).creating(Delta::Counter(1));
            stream.reply(made.confirmed_by(consistency).with(said("safe")));
            call.replies("safe").await;
        }
    }
}

#[tokio::test]
async fn change_that_was_to_be_safe_survives_a_kill() {
    for dialect in [&CLOUDSTATE, &KALIX] {
        let declared = has(dialect).last(|it| it.write_consistency = Some(Consistency::Majority));
        let mut world = World::of(&declared).await;
        let (call, stream) = begun(&world, dialect).await;
        let made = reply(1).creating(Delta::Counter(5));
        stream.reply(made.confirmed_by(Consistency::Majority).with(said("safe")));
        call.replies("safe").await;
        world.kill_and_start_again().await;
        comes_back(&world, dialect, Some(Delta::Counter(5))).await;
    }
}

#[tokio::test]
async fn it_is_called_by_http_too() {
    let world = World::of(&has(&KALIX)).await;
    let answer = async { world.post("/model/data/a", r#"{"text": "1"}"#).await };
    let function = async {
        let mut stream = opened(&world, &KALIX, "a", None).await;
        stream.expect_some_command().await;
        stream.reply(reply(1).creating(Delta::Counter(1)).with(said("by HTTP")));
        stream
    };
    let (answer, _stream) = tokio::join!(answer, function);
    assert_eq!(answer.status(), 200);
    assert!(answer.text().contains("by HTTP"), "{}", answer.text());
}

/// A streamed command of entity `a`, which is open.
async fn watching(world: &World, dialect: &Dialect) -> (Talk, Stream) {
    let mut talk = world.talk("Watched/Watch");
    talk.say(request("a", "w")).await;
    talk.half_close();
    let mut stream = world.function.entity().await;
    let init = replica_init(dialect, "model.Watched", "a", None);
    stream.expect(init).await;
    let expected = command("a", 1, "Watch", asked("a", "w"));
    stream.expect(streamed(expected)).await;
    (talk, stream)
}

#[tokio::test]
async fn streamed_command_goes_on_until_the_function_ends_it() {
    for dialect in CLOUDSTATES {
        let world = World::of(&watched(dialect)).await;
        let (mut talk, stream) = watching(&world, dialect).await;
        let made = reply(1).creating(Delta::Counter(1));
        stream.reply(made.streamed().with(said("first")));
        talk.hears("first").await;
        stream.stream(reply(1).with(said("second")));
        talk.hears("second").await;
        stream.stream(reply(1).with(said("third")).last());
        talk.hears("third").await;
        talk.ends().await;
        // Nobody has gone, so nothing is cancelled.
        stream.expect_end().await;
    }
}

#[tokio::test]
async fn streamed_command_may_be_answered_once() {
    for dialect in CLOUDSTATES {
        let world = World::of(&watched(dialect)).await;
        let (mut talk, stream) = watching(&world, dialect).await;
        stream.reply(reply(1).with(said("only")));
        talk.hears("only").await;
        talk.ends().await;
        stream.expect_end().await;
    }
}

#[tokio::test]
async fn streamed_command_may_begin_and_end_in_silence() {
    for dialect in CLOUDSTATES {
        let world = World::of(&watched(dialect)).await;
        let (talk, stream) = watching(&world, dialect).await;
        stream.reply(reply(1).streamed());
        stream.stream(reply(1).last());
        talk.ends().await;
        stream.expect_end().await;
    }
}

#[tokio::test]
async fn failure_ends_a_streamed_command() {
    for dialect in CLOUDSTATES {
        let world = World::of(&watched(dialect)).await;
        let (mut talk, stream) = watching(&world, dialect).await;
        stream.reply(reply(1).streamed().with(said("first")));
        talk.hears("first").await;
        stream.stream(reply(1).failing("enough").last());
        talk.fails(Code::Unknown, "enough").await;
        stream.expect_end().await;
    }
}

#[tokio::test]
async fn crash_fails_a_streamed_command() {
    for dialect in CLOUDSTATES {
        let world = World::of(&watched(dialect)).await;
        let (mut talk, stream) = watching(&world, dialect).await;
        stream.reply(reply(1).streamed().with(said("first")));
        talk.hears("first").await;
        stream.complete();
        talk.fails(Code::Unknown, "Entity terminating").await;
    }
}

#[tokio::test]
async fn deletion_completes_a_streamed_command() {
    for dialect in CLOUDSTATES {
        let world = World::of(&watched(dialect)).await;
        let (mut talk, mut stream) = watching(&world, dialect).await;
        stream.reply(reply(1).streamed().with(said("first")));
        talk.hears("first").await;
        let call = world.call("Watched/Process", request("a", "x"));
        stream.expect_some_command().await;
        stream.reply(reply(2).deleting().with(said("gone")));
        stream.expect_half_close().await;
        call.replies("gone").await;
        talk.ends().await;
    }
}

#[tokio::test]
async fn stop_in_order_completes_a_streamed_command() {
    for dialect in CLOUDSTATES {
        // Nobody waits for the grace.
        let mut world = World::with(&watched(dialect), &["--drain-grace", "10m"]).await;
        let (mut talk, mut stream) = watching(&world, dialect).await;
        stream.reply(reply(1).streamed().with(said("first")));
        talk.hears("first").await;
        world.firn.signal(Signal::TERM);
        talk.ends().await;
        stream.expect(stream_cancelled(dialect, "a", 1)).await;
        stream.answer_cancel(reply(1));
        stream.expect_half_close().await;
        stream.complete();
        assert_eq!(world.firn.wait().code(), Some(0));
    }
}

#[tokio::test]
async fn streams_to_callers_keep_an_entity_in_memory() {
    for dialect in CLOUDSTATES {
        let world = World::of(&watched(dialect)).await;
        let (mut talk, stream) = watching(&world, dialect).await;
        stream.reply(reply(1).streamed().with(said("first")));
        talk.hears("first").await;
        // Another entity's whole idle time passes, twice.
        for _ in 0..2 {
            let call = world.call("Watched/Process", request("b", "x"));
            let mut other = world.function.entity().await;
            assert_eq!(other.expect_some_init().await, "b");
            other.expect_some_command().await;
            other.reply(reply(1).with(said("ok")));
            call.replies("ok").await;
            other.expect_end().await;
        }
        stream.stream(reply(1).with(said("still")).last());
        talk.hears("still").await;
        talk.ends().await;
    }
}

/// Entity `a` of the watched ones comes into memory again with this value.
async fn is_now(world: &World, dialect: &Dialect, value: Option<Delta>) {
    let call = world.call("Watched/Process", request("a", "x"));
    let mut stream = world.function.entity().await;
    let init = replica_init(dialect, "model.Watched", "a", value);
    stream.expect(init).await;
    stream.expect_some_command().await;
    stream.reply(reply(1).with(said("there")));
    call.replies("there").await;
}

#[tokio::test]
async fn function_hears_that_a_caller_has_gone_and_may_change_the_value() {
    for dialect in CLOUDSTATES {
        let world = World::of(&watched(dialect)).await;
        let (mut talk, mut stream) = watching(&world, dialect).await;
        let made = reply(1).creating(Delta::Counter(1));
        stream.reply(made.streamed().with(said("first")));
        talk.hears("first").await;
        talk.cancel();
        stream.expect(stream_cancelled(dialect, "a", 1)).await;
        // A message that crosses it is of no use any more.
        stream.stream(reply(1).with(said("too late")));
        let doing = forward("model.DoingTwo", "Call", asked("a", "gone"));
        let answer = reply(1).updating(Delta::Counter(4));
        stream.answer_cancel(answer.effect(effect(doing, false)));
        let mut action = world.function.action().await;
        action.message().await;
        action.answer(&action::reply(said("thrown away")));
        stream.expect_end().await;
        is_now(&world, dialect, Some(Delta::Counter(5))).await;
    }
}

#[tokio::test]
async fn caller_that_goes_before_the_first_answer_is_told_of_after_it() {
    for dialect in CLOUDSTATES {
        let world = World::of(&watched(dialect)).await;
        let (talk, mut stream) = watching(&world, dialect).await;
        talk.cancel();
        // Another command comes, and no cancellation.
        let call = world.call("Watched/Process", request("a", "x"));
        let came = stream.expect_some_command().await;
        assert_eq!((came.id, came.streamed), (2, false));
        stream.reply(reply(2).with(said("ok")));
        call.replies("ok").await;
        let made = reply(1).creating(Delta::Counter(1));
        stream.reply(made.streamed().with(said("nobody hears it")));
        stream.expect(stream_cancelled(dialect, "a", 1)).await;
        stream.answer_cancel(reply(1));
        stream.expect_end().await;
        is_now(&world, dialect, Some(Delta::Counter(1))).await;
    }
}
