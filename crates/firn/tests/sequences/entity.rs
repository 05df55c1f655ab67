//! What event sourced and value entities of Cloudstate have in common: streams, numbers, and every
//! way to fail.

use bytes::Bytes;
use firn_testkit::function::entity::{In, Stream};
use firn_testkit::function::message::{
    any_bytes, command, events_init, failure, reply, value_init,
};
use firn_wire::dialect::CLOUDSTATE;
use firn_wire::superset::Failure;
use tonic::Code;

use crate::world::{Call, ONE_WAITS, World, asked, headers, request, said, whole};

/// A kind of entities of the model.
#[derive(Clone, Copy)]
struct Kind {
    service: &'static str,
    /// What the texts of its failures insert.
    word: &'static str,
    /// The text for a message that holds nothing.
    no_content: &'static str,
    /// The text for what waits behind a failed instance.
    queued: &'static str,
    init: fn(&str) -> In,
}

const KINDS: [Kind; 2] = [
    Kind {
        service: "Journal",
        word: "entity",
        no_content: "Unexpected entity message",
        queued: "Entity terminated",
        init: |id| events_init("model.Journal", id, None),
    },
    Kind {
        service: "Register",
        word: "Value entity",
        no_content: "Unexpected Value entity failure",
        queued: "Value entity terminated",
        init: |id| value_init("model.Register", id, None),
    },
];

impl Kind {
    fn method(self) -> String {
        format!("{}/Process", self.service)
    }

    fn text(self, what: &str) -> String {
        format!("Unexpected {} {what}", self.word)
    }

    /// An entity with its first command sent.
    async fn open(self, world: &World, id: &str) -> (Call, Stream) {
        let call = world.call(&self.method(), request(id, "first"));
        let mut stream = world.function.entity().await;
        stream.expect((self.init)(id)).await;
        stream
            .expect(command(id, 1, "Process", asked(id, "first")))
            .await;
        (call, stream)
    }

    /// An entity without an open command.
    async fn idle(self, world: &World, id: &str) -> Stream {
        let (call, stream) = self.open(world, id).await;
        stream.reply(reply(1).with(said("idle")));
        call.replies("idle").await;
        stream
    }

    /// Sees that the next command begins a new stream at number 1.
    async fn begins_again(self, world: &World, id: &str) {
        let (call, stream) = self.open(world, id).await;
        stream.reply(reply(1).with(said("again")));
        call.replies("again").await;
    }
}

/// The open command and the waiting one of each kind end like this after what the function does.
async fn ends_instance(what: &str, text: impl Fn(Kind) -> String, act: impl Fn(&Stream)) {
    let world = World::with(&whole(&CLOUDSTATE), ONE_WAITS).await;
    for kind in KINDS {
        let (call, stream) = kind.open(&world, what).await;
        let waiting = world.queue(&kind.method(), request(what, "second")).await;
        act(&stream);
        call.fails(Code::Unknown, &text(kind)).await;
        waiting.fails(Code::Unknown, kind.queued).await;
        kind.begins_again(&world, what).await;
    }
}

#[tokio::test]
async fn commands_count_from_one_on_each_stream_and_carry_no_headers() {
    let world = World::of(&whole(&CLOUDSTATE)).await;
    for kind in KINDS {
        let mut stream = kind.idle(&world, "a").await;
        for number in 2..5 {
            let sent = headers(&[("x-one", "1"), ("authorization", "Bearer t")]);
            let call = world.call_with(&kind.method(), request("a", "more"), sent);
            stream
                .expect(command("a", number, "Process", asked("a", "more")))
                .await;
            stream.reply(reply(number).with(said("ok")));
            call.replies("ok").await;
        }
        // Another entity has a stream and numbers of its own.
        kind.idle(&world, "b").await;
    }
}

#[tokio::test]
async fn an_id_may_hold_any_characters_but_not_be_empty() {
    let world = World::of(&whole(&CLOUDSTATE)).await;
    for kind in KINDS {
        for id in ["a/b|c d-ü", "\u{0}", "..", "%2F"] {
            kind.idle(&world, id).await;
        }
        let call = world.call(&kind.method(), request("", "x"));
        let status = call.outcome().await.expect_err("a refusal");
        assert_eq!(status.code(), Code::InvalidArgument);
        assert!(status.message().contains("id"), "{status:?}");
        assert_eq!(status.metadata().get("firn-code").unwrap(), "FIRN-3004");
    }
}

#[tokio::test]
async fn one_command_of_an_entity_is_open_at_a_time() {
    let world = World::with(&whole(&CLOUDSTATE), ONE_WAITS).await;
    for kind in KINDS {
        let (first, mut stream) = kind.open(&world, "a").await;
        let second = world.queue(&kind.method(), request("a", "second")).await;
        stream.reply(reply(1).with(said("one")));
        first.replies("one").await;
        stream
            .expect(command("a", 2, "Process", asked("a", "second")))
            .await;
        assert!(!second.is_over());
        stream.reply(reply(2).with(said("two")));
        second.replies("two").await;
    }
}

#[tokio::test]
async fn request_bytes_reach_the_function_as_they_came() {
    let world = World::of(&whole(&CLOUDSTATE)).await;
    // Fields out of order, one that the message does not have, and a default that is written out.
    let odd = b"\x12\x00\x0a\x01a\x9a\x06\x03abc";
    for kind in KINDS {
        let path = format!("/model.{}", kind.method());
        let client = world.client().clone();
        let sent = tonic::Request::new(tokio_stream::once(Bytes::from_static(odd)));
        let call = tokio::spawn(async move { client.stream(&path, sent).await });
        let mut stream = world.function.entity().await;
        stream.expect((kind.init)("a")).await;
        let payload = any_bytes("model.Request", &odd[..]);
        stream.expect(command("a", 1, "Process", payload)).await;
        stream.reply(reply(1).with(said("")));
        call.await.unwrap().expect("a reply");
    }
}

#[tokio::test]
async fn failure_in_a_reply_is_the_callers_alone() {
    let world = World::with(&whole(&CLOUDSTATE), ONE_WAITS).await;
    for kind in KINDS {
        let (call, mut stream) = kind.open(&world, "a").await;
        let waiting = world.queue(&kind.method(), request("a", "second")).await;
        stream.reply(reply(1).failing("no: 100% ünmöglich"));
        let status = call.fails(Code::Unknown, "no: 100% ünmöglich").await;
        assert!(status.metadata().get("firn-code").is_none(), "{status:?}");
        stream
            .expect(command("a", 2, "Process", asked("a", "second")))
            .await;
        stream.reply(reply(2).with(said("yes")));
        waiting.replies("yes").await;
    }
}

#[tokio::test]
async fn failure_of_the_open_command_ends_the_instance() {
    ends_instance(
        "a",
        |kind| kind.text("failure"),
        |stream| stream.fail(failure(1, "a detail that nobody may see")),
    )
    .await;
}

#[tokio::test]
async fn failure_without_a_command_ends_the_instance() {
    ends_instance(
        "a",
        |kind| kind.text("failure"),
        |stream| stream.fail(failure(0, "a detail that nobody may see")),
    )
    .await;
}

#[tokio::test]
async fn failure_of_a_command_that_is_not_open_ends_the_instance() {
    ends_instance(
        "a",
        |kind| kind.text("failure"),
        |stream| stream.fail(failure(7, "a detail that nobody may see")),
    )
    .await;
}

#[tokio::test]
async fn reply_to_a_command_that_is_not_open_ends_the_instance() {
    ends_instance(
        "a",
        |kind| kind.text("reply"),
        |stream| stream.reply(reply(2).with(said("x"))),
    )
    .await;
}

#[tokio::test]
async fn message_without_content_ends_the_instance() {
    ends_instance(
        "a",
        |kind| kind.no_content.to_owned(),
        |stream| stream.send_bytes(Bytes::new()),
    )
    .await;
}

#[tokio::test]
async fn message_that_cannot_be_read_ends_the_instance() {
    ends_instance(
        "a",
        |kind| kind.text("termination"),
        |stream| stream.send_bytes(Bytes::from_static(b"\xff\xff\xff")),
    )
    .await;
}

#[tokio::test]
async fn stream_that_the_function_completes_ends_the_instance() {
    ends_instance("a", |kind| kind.text("termination"), Stream::complete).await;
}

#[tokio::test]
async fn stream_that_the_function_fails_ends_the_instance() {
    ends_instance(
        "a",
        |kind| kind.text("termination"),
        |stream| stream.end(13, "a detail that nobody may see"),
    )
    .await;
}

#[tokio::test]
async fn stream_that_the_function_breaks_ends_the_instance() {
    let world = World::with(&whole(&CLOUDSTATE), ONE_WAITS).await;
    for kind in KINDS {
        let (call, stream) = kind.open(&world, "a").await;
        let waiting = world.queue(&kind.method(), request("a", "second")).await;
        stream.break_off();
        call.fails(Code::Unknown, &kind.text("termination")).await;
        waiting.fails(Code::Unknown, kind.queued).await;
        kind.begins_again(&world, "a").await;
    }
}

#[tokio::test]
async fn what_an_idle_entity_says_unasked_ends_its_instance() {
    let world = World::of(&whole(&CLOUDSTATE)).await;
    let unasked: [fn(&Stream); 6] = [
        |stream| stream.fail(failure(0, "x")),
        |stream| stream.fail(failure(1, "x")),
        |stream| stream.reply(reply(1).with(said("x"))),
        |stream| stream.send_bytes(Bytes::new()),
        |stream| stream.complete(),
        |stream| stream.end(2, "x"),
    ];
    for kind in KINDS {
        for act in unasked {
            let mut stream = kind.idle(&world, "a").await;
            act(&stream);
            // Over, in whatever way: nothing more is sent on it.
            let last = stream.next().await;
            assert!(matches!(last, In::Reset | In::HalfClose), "{last:?}");
        }
    }
}

#[tokio::test]
async fn failure_that_asks_for_a_restart_does_nothing_more_to_a_value_entity() {
    let world = World::of(&whole(&CLOUDSTATE)).await;
    let register = KINDS[1];
    let (call, mut stream) = register.open(&world, "a").await;
    stream.reply(reply(1).failing_with(Failure {
        restart: true,
        ..failure(0, "no")
    }));
    call.fails(Code::Unknown, "no").await;
    let call = world.call("Register/Process", request("a", "second"));
    stream
        .expect(command("a", 2, "Process", asked("a", "second")))
        .await;
    stream.reply(reply(2).with(said("yes")));
    call.replies("yes").await;
}

#[tokio::test]
async fn unanswered_command_times_out_and_the_entity_goes_on() {
    let world = World::with(&whole(&CLOUDSTATE), &["--command-timeout", "2s"]).await;
    for kind in KINDS {
        let (call, mut stream) = kind.open(&world, "a").await;
        let status = call.outcome().await.expect_err("a failure");
        assert_eq!(status.code(), Code::DeadlineExceeded);
        assert_eq!(status.metadata().get("firn-code").unwrap(), "FIRN-3016");
        stream.expect_reset().await;
        kind.begins_again(&world, "a").await;
    }
}

#[tokio::test]
async fn caller_that_goes_away_leaves_its_command_to_the_entity() {
    let world = World::of(&whole(&CLOUDSTATE)).await;
    for kind in KINDS {
        let (call, mut stream) = kind.open(&world, "a").await;
        call.cancel();
        let next = world.call(&kind.method(), request("a", "second"));
        stream.reply(reply(1).with(said("nobody hears it")));
        stream
            .expect(command("a", 2, "Process", asked("a", "second")))
            .await;
        stream.reply(reply(2).with(said("two")));
        next.replies("two").await;
    }
}

#[tokio::test]
async fn http_clients_get_500_and_the_text_alone() {
    let world = World::of(&whole(&CLOUDSTATE)).await;
    for kind in KINDS {
        let path = format!("/model.{}", kind.method());
        let texts = ["no: 100% ünmöglich".to_owned(), kind.text("failure")];
        let acts: [fn(&Stream); 2] = [
            |stream| stream.reply(reply(1).failing("no: 100% ünmöglich")),
            |stream| stream.fail(failure(1, "x")),
        ];
        for (id, (act, text)) in acts.iter().zip(texts).enumerate() {
            let body = format!("{{\"id\":\"http-{id}\"}}");
            let script = async {
                let mut stream = world.function.entity().await;
                stream.expect_some_init().await;
                stream.expect_some_command().await;
                act(&stream);
                stream
            };
            let (answer, _stream) = tokio::join!(world.post(&path, &body), script);
            assert_eq!((answer.status(), answer.text()), (500, text.as_str()));
            assert!(answer.header("content-type").starts_with("text/plain"));
        }
    }
}
