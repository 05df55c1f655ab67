//! Answers that nobody reads yet, because a caller is slow: flow control holds them back, and what else
//! goes on with the function is not held up.

mod support;

use bytes::Bytes;
use firn_link::Function;
use firn_model::decision::Answer;
use firn_model::metadata::Metadata;
use firn_runtime::link::{ActionCall, AnswerStream, Link};
use firn_testkit::function::action::{self, reply};
use firn_testkit::function::declare::Declaration;
use firn_testkit::function::message::any_bytes;
use firn_testkit::function::{self, within};
use firn_wire::dialect::KALIX;
use futures_util::{StreamExt, stream};
use tokio_util::sync::DropGuard;

/// The type of messages, whose bytes do not matter here.
const TYPE: &str = "t.R";

/// A function with one action, and the link to it.
struct World {
    function: function::Function,
    link: Function,
    _connected: DropGuard,
}

/// A call whose answer has begun: what Firn has of it, and what the function has.
struct Call {
    ours: AnswerStream,
    theirs: action::Call,
}

impl World {
    async fn new() -> Self {
        let proto = "syntax = \"proto3\"; package t; message R {} \
                     service S { rpc One(R) returns (R); rpc Many(R) returns (stream R); }";
        let function = function::Function::start(&Declaration::new(&KALIX, proto).action("t.S"));
        let (link, connected) = support::linked(&function).await;
        Self {
            function,
            link,
            _connected: connected,
        }
    }

    fn action(&self, path: &str) -> ActionCall {
        ActionCall {
            method: self.link.contract().method(path).expect("a method").clone(),
            metadata: Metadata::default(),
            deadline: None,
            number: 1,
            hops: 0,
        }
    }

    /// Begins a call, and reads the first of its answers.
    async fn call(&self) -> Call {
        let messages = stream::iter([Ok(Bytes::new())]).boxed();
        let mut ours = self.link.act_streamed(self.action("/t.S/Many"), messages);
        let answering = async {
            let theirs = self.function.action().await;
            theirs.send(&reply(any_bytes(TYPE, "first")));
            theirs
        };
        let (first, theirs) = tokio::join!(within("an answer", ours.next()), answering);
        assert!(matches!(first, Some(Ok(_))), "{first:?}");
        Call { ours, theirs }
    }

    /// Lets the function send small answers on many calls, and reads them when all have come.
    async fn small_answers_wait(&self, calls: usize, answers: usize) {
        let mut slow = Vec::new();
        for _ in 0..calls {
            slow.push(self.call().await);
        }
        for call in &slow {
            call.send(answers);
        }
        // The function sends of each call in turn: what is last of a longer one comes behind all others.
        let longer = self.call().await;
        longer.send(2 * answers);
        assert_eq!(longer.read().await, 2 * answers);
        for call in slow {
            assert_eq!(call.read().await, answers);
        }
    }
}

impl Call {
    fn send(&self, answers: usize) {
        for _ in 0..answers {
            self.theirs.send(&reply(any_bytes(TYPE, "x")));
        }
    }

    /// Ends the call, and counts the answers that were not read before.
    async fn read(self) -> usize {
        self.theirs.complete();
        let answers: Vec<_> = within("the answers", self.ours.collect()).await;
        for answer in &answers {
            assert!(answer.is_ok(), "{answer:?}");
        }
        answers.len()
    }
}

#[tokio::test]
async fn small_answers_of_slow_calls_wait_until_they_are_read() {
    World::new().await.small_answers_wait(20, 1000).await;
}

#[tokio::test]
async fn small_answers_of_many_calls_wait_until_they_are_read() {
    World::new().await.small_answers_wait(1000, 20).await;
}

#[tokio::test]
async fn slow_calls_hold_up_no_others() {
    let world = World::new().await;
    let mut slow = Vec::new();
    for _ in 0..100 {
        let call = world.call().await;
        // More than a stream takes.
        for _ in 0..5 {
            call.theirs.send(&reply(any_bytes(TYPE, vec![0; 16_000])));
        }
        slow.push(call);
    }
    let asked = world.link.act(world.action("/t.S/One"), Bytes::new());
    let answering = async {
        let theirs = world.function.action().await;
        theirs.answer(&reply(any_bytes(TYPE, "other")));
    };
    let (answered, ()) = tokio::join!(within("the other's answer", asked), answering);
    let answered = answered.expect("an answer").answer;
    assert!(
        matches!(&answered, Answer::Reply(it) if it.payload.bytes == "other"),
        "{answered:?}"
    );
}
