//! Streams of replicated entities, over a real connection to a function that the test plays.

mod support;

use bytes::Bytes;
use firn_link::Function;
use firn_model::decision::{Answer, Failure};
use firn_model::id::EntityId;
use firn_model::metadata::Metadata;
use firn_model::replicated::{
    CancelAnswer, Change, Consistency, Delta, EntriesDelta, Reply, StateAction, StreamedMessage,
};
use firn_runtime::link::{
    End, EntityCommand, Link, ReplicaCommand, ReplicaEvent, ReplicaOpening, ReplicaStream,
};
use firn_testkit::function::declare::Declaration;
use firn_testkit::function::entity::{In, Stream};
use firn_testkit::function::journal::Record;
use firn_testkit::function::message::{any_bytes, command, failure, metadata, reply};
use firn_testkit::function::replica::{
    replica_delete, replica_delta, replica_init, replica_value, stream_cancelled, streamed,
};
use firn_testkit::function::{self, within};
use firn_wire::dialect::{
    AKKA_SERVERLESS_A, AKKA_SERVERLESS_B, CLOUDSTATE, CLOUDSTATE_01, Dialect, Family as Dialects,
    KALIX,
};
use tokio::sync::mpsc;
use tokio_util::sync::DropGuard;

/// Every layout, and with it every stream that there is.
const DIALECTS: [&Dialect; 5] = [
    &KALIX,
    &AKKA_SERVERLESS_B,
    &AKKA_SERVERLESS_A,
    &CLOUDSTATE,
    &CLOUDSTATE_01,
];

/// Those with streamed commands.
const STREAMED: [&Dialect; 2] = [&CLOUDSTATE, &CLOUDSTATE_01];

/// A function with one replicated entity, and the link to it.
struct World {
    dialect: &'static Dialect,
    function: function::Function,
    link: Function,
    _connected: DropGuard,
}

/// One stream, from both sides.
struct Talk {
    ours: Box<dyn ReplicaStream>,
    events: mpsc::UnboundedReceiver<ReplicaEvent>,
    theirs: Stream,
}

fn declaration(dialect: &'static Dialect) -> Declaration {
    let (options, key) = match dialect.family {
        Dialects::Cloudstate => ("cloudstate/entity_key.proto", "(.cloudstate.entity_key)"),
        Dialects::AkkaServerless => (
            "akkaserverless/annotations.proto",
            "(akkaserverless.field).entity_key",
        ),
        Dialects::Kalix => ("kalix/annotations.proto", "(kalix.field).entity_key"),
    };
    let proto = format!(
        "syntax = \"proto3\"; package t; import \"{options}\"; \
         message R {{ string id = 1 [{key} = true]; }} service S {{ rpc M(R) returns (R); }}"
    );
    Declaration::new(dialect, &proto).replicated("t.S", "s")
}

impl World {
    async fn of(dialect: &'static Dialect) -> Self {
        let function = function::Function::start(&declaration(dialect));
        let (link, connected) = support::linked(&function).await;
        Self {
            dialect,
            function,
            link,
            _connected: connected,
        }
    }

    /// Opens a stream; what the link makes of it comes to the receiver.
    fn open(
        &self,
        value: Option<Delta>,
    ) -> (
        Box<dyn ReplicaStream>,
        mpsc::UnboundedReceiver<ReplicaEvent>,
    ) {
        let (sender, events) = mpsc::unbounded_channel();
        let opening = ReplicaOpening {
            component: self.link.contract().components[0].clone(),
            id: EntityId::single("e"),
            value,
        };
        let sink = move |event| {
            // The test may have ended.
            let _ = sender.send(event);
        };
        (self.link.open_replica(opening, Box::new(sink)), events)
    }

    /// Opens a stream, and is there when it opens.
    async fn talk(&self, value: Option<Delta>) -> Talk {
        let (ours, events) = self.open(value.clone());
        let mut theirs = self.function.entity().await;
        theirs
            .expect(replica_init(self.dialect, "t.S", "e", value))
            .await;
        Talk {
            ours,
            events,
            theirs,
        }
    }

    fn command(&self, number: i64) -> ReplicaCommand {
        let contract = self.link.contract();
        ReplicaCommand {
            number,
            command: EntityCommand {
                method: contract.method("/t.S/M").expect("a method").clone(),
                message: Bytes::from_static(b"\x0a\x01e"),
                metadata: None,
                deadline: std::time::Instant::now(),
                hops: 0,
            },
            streamed: false,
        }
    }
}

impl Talk {
    async fn event(&mut self) -> ReplicaEvent {
        within("an event", self.events.recv())
            .await
            .expect("an event")
    }

    async fn end(&mut self) -> End {
        match self.event().await {
            ReplicaEvent::Ended(end) => end,
            other => panic!("expected the end, but there came {other:?}"),
        }
    }
}

/// The command of [`World::command`] as the function sees it.
fn asked(number: i64) -> firn_wire::superset::Command {
    command("e", number, "M", any_bytes("t.R", &b"\x0a\x01e"[..]))
}

fn changed(delta: Delta) -> Change {
    Change {
        action: StateAction::Update(Ok(delta)),
        consistency: Consistency::Local,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_comes_after_the_word_that_firn_ends() {
    let world = World::of(&KALIX).await;
    let mut theirs = Vec::new();
    let mut ours = Vec::new();
    for number in 0..64 {
        let mut talk = world.talk(None).await;
        talk.ours.command(world.command(1));
        talk.theirs.expect(asked(1)).await;
        talk.theirs.reply(reply(1));
        talk.event().await;
        if number % 2 == 0 {
            talk.ours.half_close();
            talk.theirs.expect_half_close().await;
        }
        theirs.push(talk.theirs);
        ours.push(talk.ours);
    }
    drop(ours);
    world.link.terminate().await;
    for stream in &mut theirs {
        stream.expect_reset().await;
    }
    let last = world.function.journal().pop();
    assert!(matches!(last, Some(Record::ProxyTerminated)), "{last:?}");
}

#[tokio::test]
async fn several_commands_may_be_open_and_are_answered_in_any_order() {
    for dialect in DIALECTS {
        let world = World::of(dialect).await;
        let mut talk = world.talk(Some(Delta::Counter(2))).await;
        talk.ours.command(world.command(1));
        talk.ours.command(world.command(2));
        talk.theirs.expect(asked(1)).await;
        talk.theirs.expect(asked(2)).await;
        talk.theirs.reply(reply(2).updating(Delta::Counter(-3)));
        talk.theirs.reply(reply(1).deleting());
        let replied = |command, change| {
            ReplicaEvent::Replied(Reply {
                command,
                answer: Answer::Nothing,
                effects: Vec::new(),
                change: Some(change),
                streamed: false,
            })
        };
        let updated = replied(2, changed(Delta::Counter(-3)));
        assert_eq!(talk.event().await, updated);
        let deleted = Change {
            action: StateAction::Delete,
            consistency: Consistency::Local,
        };
        assert_eq!(talk.event().await, replied(1, deleted));
    }
}

#[tokio::test]
async fn headers_that_are_let_through_are_sent() {
    let world = World::of(&KALIX).await;
    let mut talk = world.talk(None).await;
    let mut command = world.command(1);
    let mut headers = Metadata::default();
    headers.push_text("a", "b");
    command.command.metadata = Some(headers);
    talk.ours.command(command);
    let mut expected = asked(1);
    expected.metadata = Some(metadata(&[("a", "b")]));
    talk.theirs.expect(expected).await;
}

#[tokio::test]
async fn function_without_a_value_is_sent_one_before_changes() {
    for dialect in DIALECTS {
        let world = World::of(dialect).await;
        let mut talk = world.talk(None).await;
        talk.ours.delta(Delta::Counter(1));
        talk.ours.delta(Delta::Counter(2));
        let first = replica_value(dialect, Delta::Counter(1));
        talk.theirs.expect(first).await;
        let second = replica_delta(dialect, Delta::Counter(2));
        talk.theirs.expect(second).await;
    }
}

#[tokio::test]
async fn function_that_made_a_value_is_sent_changes() {
    for dialect in DIALECTS {
        let world = World::of(dialect).await;
        let mut talk = world.talk(None).await;
        talk.ours.command(world.command(1));
        talk.theirs.expect(asked(1)).await;
        talk.theirs.reply(reply(1).creating(Delta::Counter(1)));
        talk.event().await;
        talk.ours.delta(Delta::Counter(2));
        let change = replica_delta(dialect, Delta::Counter(2));
        talk.theirs.expect(change).await;
    }
}

#[tokio::test]
async fn streamed_command_goes_on_until_it_is_cancelled() {
    for dialect in STREAMED {
        let world = World::of(dialect).await;
        let mut talk = world.talk(None).await;
        talk.ours.command(ReplicaCommand {
            streamed: true,
            ..world.command(1)
        });
        talk.theirs.expect(streamed(asked(1))).await;
        talk.theirs.reply(reply(1).streamed());
        assert!(
            matches!(talk.event().await, ReplicaEvent::Replied(reply) if reply.streamed),
            "{dialect:?}"
        );
        talk.theirs.stream(reply(1));
        let message = |ends| {
            ReplicaEvent::Streamed(StreamedMessage {
                command: 1,
                answer: Answer::Nothing,
                effects: Vec::new(),
                ends,
            })
        };
        assert_eq!(talk.event().await, message(false));
        talk.ours.cancel(1);
        talk.theirs.expect(stream_cancelled(dialect, "e", 1)).await;
        talk.theirs
            .answer_cancel(reply(1).creating(Delta::Counter(4)));
        let answer = ReplicaEvent::CancelAnswered(CancelAnswer {
            command: 1,
            effects: Vec::new(),
            change: Some(changed(Delta::Counter(4))),
        });
        assert_eq!(talk.event().await, answer);
        talk.theirs.stream(reply(1).last());
        assert_eq!(talk.event().await, message(true));
    }
}

#[tokio::test]
async fn there_is_nothing_to_cancel_without_streamed_commands() {
    for dialect in [&KALIX, &AKKA_SERVERLESS_A] {
        let world = World::of(dialect).await;
        let mut talk = world.talk(None).await;
        talk.ours.cancel(1);
        talk.ours.command(world.command(2));
        talk.theirs.expect(asked(2)).await;
    }
}

#[tokio::test]
async fn failures_name_their_command_or_none() {
    for dialect in DIALECTS {
        let world = World::of(dialect).await;
        let mut talk = world.talk(None).await;
        for (id, expected) in [(3, Some(3)), (0, None)] {
            talk.theirs.fail(failure(id, "no"));
            let failed = ReplicaEvent::Failed {
                command: expected,
                failure: Failure {
                    text: "no".into(),
                    code: None,
                    details: Vec::new(),
                    restart: false,
                },
            };
            assert_eq!(talk.event().await, failed);
        }
    }
}

#[tokio::test]
async fn deletion_and_half_close_end_the_stream() {
    for dialect in DIALECTS {
        let world = World::of(dialect).await;
        let mut talk = world.talk(Some(Delta::Counter(1))).await;
        talk.ours.delete();
        talk.ours.half_close();
        talk.theirs.expect(replica_delete(dialect)).await;
        talk.theirs.expect_half_close().await;
        talk.theirs.complete();
        assert_eq!(talk.end().await, End::Completed);
    }
}

#[tokio::test]
async fn dropped_stream_is_reset_and_not_half_closed() {
    for dialect in DIALECTS {
        let world = World::of(dialect).await;
        let mut talk = world.talk(None).await;
        drop(talk.ours);
        talk.theirs.expect_reset().await;
        // Who dropped it knows.
        assert_eq!(within("nothing", talk.events.recv()).await, None);
    }
}

#[tokio::test]
async fn function_that_ends_its_side_is_told() {
    for dialect in DIALECTS {
        let world = World::of(dialect).await;
        let mut talk = world.talk(None).await;
        talk.theirs.end(2, "broken");
        let end = talk.end().await;
        assert!(
            matches!(&end, End::Terminated { cause } if cause.contains("broken")),
            "{end:?}"
        );
    }
}

#[tokio::test]
async fn message_that_holds_nothing_ends_the_stream() {
    for dialect in DIALECTS {
        let world = World::of(dialect).await;
        let mut talk = world.talk(None).await;
        talk.theirs.send_bytes(Bytes::new());
        let end = talk.end().await;
        assert!(matches!(end, End::WrongMessage { .. }), "{end:?}");
        drop(talk.ours);
        talk.theirs.expect_reset().await;
    }
}

#[tokio::test]
async fn value_of_another_family_is_not_sent() {
    for (dialect, value) in [
        (&KALIX, Delta::GrowCounter(1)),
        (&CLOUDSTATE, Delta::CounterMap(EntriesDelta::default())),
        (&CLOUDSTATE_01, Delta::MultiMap(EntriesDelta::default())),
    ] {
        let world = World::of(dialect).await;
        let (mut ours, mut events) = world.open(Some(value.clone()));
        ours.command(world.command(1));
        let expected = format!("a {} is kept", value.data_type());
        let end = within("the end", events.recv()).await;
        assert!(
            matches!(&end, Some(ReplicaEvent::Ended(End::Terminated { cause })) if cause.starts_with(&expected)),
            "{end:?}"
        );
        // Nor as a change.
        let mut talk = world.talk(None).await;
        talk.ours.delta(value);
        let end = talk.end().await;
        assert!(
            matches!(&end, End::Terminated { cause } if cause.starts_with(&expected)),
            "{end:?}"
        );
        talk.theirs.expect_reset().await;
    }
}

#[tokio::test]
async fn function_that_does_not_read_is_given_up() {
    let world = World::of(&CLOUDSTATE).await;
    let mut talk = world.talk(Some(Delta::Counter(0))).await;
    // Nothing leaves before this test waits.
    for _ in 0..10_000 {
        talk.ours.delta(Delta::Counter(1));
    }
    let end = talk.end().await;
    assert!(
        matches!(&end, End::Terminated { cause } if cause.contains("does not take")),
        "{end:?}"
    );
    loop {
        match talk.theirs.next().await {
            In::Old(_) => {}
            In::Reset => break,
            other => panic!("expected a reset, but there came {other:?}"),
        }
    }
}

#[tokio::test]
async fn function_that_is_gone_cannot_be_reached() {
    let world = World::of(&KALIX).await;
    let mut talk = world.talk(None).await;
    world.function.go_away();
    let end = talk.end().await;
    assert!(matches!(end, End::Terminated { .. }), "{end:?}");
    while world.link.is_up() {
        tokio::task::yield_now().await;
    }
    let (_ours, mut events) = world.open(None);
    let end = within("the end", events.recv()).await;
    assert!(
        matches!(end, Some(ReplicaEvent::Ended(End::Unreachable { .. }))),
        "{end:?}"
    );
}
