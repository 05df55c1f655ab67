//! Replicated entities, of every data type that an SDK has.

pub(crate) mod stories;

use std::time::Duration;

use bytes::Bytes;
use firn_testkit::client;
use futures_util::stream;
use http::Method;
use prost_reflect::MethodDescriptor;
use serde_json::{Value, json};
use tonic::{Code, Status, Streaming};

use crate::rig::{Rig, eventually};
use crate::sdk::Sdk;
use crate::values;
use stories::{Step, Story};

/// Arguments that let entities leave memory soon.
const LEAVE_SOON: [&str; 2] = ["--passivate-after", "300ms"];

/// Commands that one entity gets at the same time.
const BUSY: usize = 20;

/// Entities of every data type, which go through their stories side by side.
struct Cast {
    stories: Vec<Story>,
    /// How many steps they have taken.
    taken: usize,
}

impl Cast {
    /// Those that the function has.
    fn of(rig: &Rig) -> Self {
        let services = rig.peer.description().services.iter();
        let served: Vec<&str> = services
            .filter_map(|service| service.name.strip_prefix("peers."))
            .collect();
        let stories = stories::of(rig.sdk, &served);
        assert!(!stories.is_empty());
        Self { stories, taken: 0 }
    }

    /// Each holds what its last step left, and takes the next one, if it has one. Gives how many were
    /// looked at.
    async fn go_on(&mut self, rig: &Rig) -> usize {
        let at = self.taken;
        let there = self.stories.iter().filter(|it| at <= it.steps.len());
        let mut count = 0;
        for story in there {
            if let Some(last) = at.checked_sub(1).map(|last| &story.steps[last]) {
                let held = look(rig, story).await;
                assert_eq!(held, last.holds, "{} {}", story.service, story.id);
            }
            if let Some(step) = story.steps.get(at) {
                take(rig, story, step).await;
            }
            count += 1;
        }
        self.taken += 1;
        count
    }

    /// Takes the steps that are left.
    async fn finish(&mut self, rig: &Rig) {
        while self.go_on(rig).await > 0 {}
    }
}

/// Takes a step and sees what came of it.
async fn take(rig: &Rig, story: &Story, step: &Step) {
    let method = format!("{}.{}", story.service, step.method);
    let reply = rig.ok(&method, story.request(&step.request)).await;
    if !story.replies_too_soon() {
        assert_eq!(lean(reply), step.holds, "{method} {}", step.request);
    }
    let held = look(rig, story).await;
    assert_eq!(held, step.holds, "after {method} {}", step.request);
}

/// How many entities the function has been told to let go.
fn let_go(rig: &Rig) -> usize {
    rig.peer.log().matches("Stream terminating").count()
}

/// Waits until it has been told so for that many.
async fn wait_until_let_go(rig: &Rig, count: usize) {
    let what = format!("the end of {count} streams");
    eventually(&what, async || (let_go(rig) >= count).then_some(())).await;
}

/// What an entity holds.
async fn look(rig: &Rig, story: &Story) -> Value {
    let read = format!("{}.{}", story.service, story.read);
    lean(rig.ok(&read, story.request(&json!({}))).await)
}

/// An answer without the maps that are empty.
pub(crate) fn lean(mut answer: Value) -> Value {
    if let Value::Object(fields) = &mut answer {
        fields.retain(|_, value| {
            *value = lean(value.take());
            value.as_object().is_none_or(|fields| !fields.is_empty())
        });
    }
    answer
}

/// Entities come back as they were each time that they have left memory.
pub(crate) async fn outlive_idle_times(sdk: &'static Sdk) {
    let rig = Rig::start_with(sdk, &LEAVE_SOON).await;
    let mut cast = Cast::of(&rig);
    let mut left = 0;
    loop {
        let active = cast.go_on(&rig).await;
        if active == 0 {
            break;
        }
        left += active;
        wait_until_let_go(&rig, left).await;
    }
}

/// Entities come back as they were when the function was killed, when Firn was stopped, and when Firn
/// was killed after it had written.
pub(crate) async fn outlive_function_and_firn(sdk: &'static Sdk) {
    let mut rig = Rig::start(sdk).await;
    let mut cast = Cast::of(&rig);
    cast.go_on(&rig).await;

    rig.peer.kill();
    rig.firn
        .wait_for_log("the connection to the function ended");
    start_function_again(&mut rig).await;
    cast.go_on(&rig).await;

    let status = rig.firn.stop();
    assert!(status.success(), "{status}");
    rig.start_firn_again().await;
    cast.go_on(&rig).await;

    wait_until_written(&rig).await;
    rig.firn.kill();
    rig.start_firn_again().await;
    cast.finish(&rig).await;
}

/// Waits until nothing is in memory only.
async fn wait_until_written(rig: &Rig) {
    eventually("the last write", async || {
        let replicas = client::json(rig.firn.admin, Method::GET, "/v1/replicas", None).await;
        (replicas.json()["unwritten"] == 0).then_some(())
    })
    .await;
}

/// Starts a killed function again and waits until it answers.
async fn start_function_again(rig: &mut Rig) {
    rig.peer.start_again();
    eventually("the function", async || {
        rig.call("KeyValue.Get", json!({ "key": "k" })).await.ok()
    })
    .await;
}

/// What a majority must have before the reply is there when Firn is killed right after it.
pub(crate) async fn of_a_majority_outlive_a_killed_firn(sdk: &'static Sdk) {
    let mut rig = Rig::start(sdk).await;
    for likes in 1..=4 {
        let like = json!({ "topic": "kept", "amount": 1 });
        let liked = rig.ok("Likes.Like", like).await;
        assert_eq!(liked["likes"], likes.to_string());
        rig.firn.kill();
        rig.start_firn_again().await;
    }
    let kept = rig.ok("Likes.GetLikes", json!({ "topic": "kept" })).await;
    assert_eq!(kept["likes"], "4");
    rig.ok("Likes.Forget", json!({ "topic": "kept" })).await;
    rig.firn.kill();
    rig.start_firn_again().await;
    is_deleted(&rig, "Likes.GetLikes", json!({ "topic": "kept" })).await;
}

/// Deleted entities take no commands any more, also after Firn was stopped.
pub(crate) async fn stay_deleted(sdk: &'static Sdk) {
    let mut rig = Rig::start(sdk).await;
    like(&rig, "other", 1).await;

    let mut cast = Cast::of(&rig);
    cast.stories.retain(|story| story.delete.is_some());
    cast.go_on(&rig).await;
    for story in &cast.stories {
        let delete = story.delete.expect("a method that deletes");
        let method = format!("{}.{delete}", story.service);
        rig.ok(&method, story.request(&json!({}))).await;
    }
    are_deleted(&rig, &cast).await;

    let status = rig.firn.stop();
    assert!(status.success(), "{status}");
    rig.start_firn_again().await;
    are_deleted(&rig, &cast).await;
    let other = rig.ok("Likes.GetLikes", json!({ "topic": "other" })).await;
    assert_eq!(other["likes"], "1");
}

/// Neither reads nor changes reach the entities.
async fn are_deleted(rig: &Rig, cast: &Cast) {
    for story in &cast.stories {
        let read = format!("{}.{}", story.service, story.read);
        is_deleted(rig, &read, story.request(&json!({}))).await;
        let step = &story.steps[0];
        let change = format!("{}.{}", story.service, step.method);
        is_deleted(rig, &change, story.request(&step.request)).await;
    }
}

async fn is_deleted(rig: &Rig, method: &str, request: Value) {
    let refused = rig.fails(method, request).await;
    assert_eq!(
        (refused.code(), refused.message()),
        (Code::Unknown, "Entity deleted"),
        "{method}"
    );
}

/// Counters are served over HTTP as declared; they fail, forward and cause effects like others.
pub(crate) async fn are_served_like_others(sdk: &'static Sdk) {
    let rig = Rig::start(sdk).await;
    let amount = |amount: &str| json!({ "amount": amount });
    let five = Some(json!({ "amount": 5 }));
    let added = rig.http_ok(Method::POST, "/counters/c", five).await;
    assert_eq!(added, amount("5"));
    let read = rig.http_ok(Method::GET, "/counters/c", None).await;
    assert_eq!(read, amount("5"));
    let elements = json!({ "id": "s", "elements": ["x"] });
    rig.ok("Sets.Add", elements).await;
    let elements = rig.http_ok(Method::GET, "/sets/s", None).await;
    assert_eq!(elements, json!(["x"]));

    let one = json!({ "id": "c", "amount": 1 });
    let noted = rig.ok("Counters.AddAndNote", one.clone()).await;
    assert_eq!(noted, amount("6"));
    let note = values::look(&rig, "counter-c").await;
    assert_eq!(note.as_deref(), Some("6"));
    let forwarded = rig.ok("Counters.GetNote", json!({ "id": "c" })).await;
    assert_eq!(forwarded["value"], "6");

    let text = "failed after the update";
    rig.fails_with("Counters.AddThenFail", one, text).await;

    // A handler that throws: there is no set to collect in.
    let count = json!({ "id": "m", "key": "k", "amount": 1 });
    rig.ok("Maps.Count", count).await;
    let collect = json!({ "id": "m", "key": "k", "elements": ["x"] });
    let crash = rig.fails("Maps.Collect", collect).await;
    assert_eq!(crash.code(), Code::Unknown, "{crash:?}");
    let kept = rig.http_ok(Method::GET, "/maps/m", None).await;
    assert_eq!(kept["counters"], json!({ "k": "1" }));

    // Many at once for one entity.
    let one = json!({ "id": "busy", "amount": 1 });
    let calls = (0..BUSY).map(|_| rig.ok("Counters.Add", one.clone()));
    futures_util::future::join_all(calls).await;
    let read = rig.ok("Counters.Get", json!({ "id": "busy" })).await;
    assert_eq!(read, amount(&BUSY.to_string()));

    rig.http_ok(Method::DELETE, "/counters/c", None).await;
    let answer = rig.http(Method::GET, "/counters/c", None).await;
    assert_eq!((answer.status(), answer.text()), (500, "Entity deleted"));
}

/// A call that streams the likes of a topic.
struct Watch {
    method: MethodDescriptor,
    answers: Streaming<Bytes>,
}

impl Watch {
    async fn open(rig: &Rig, method: &str, request: Value) -> Self {
        let answers = rig
            .stream(method, stream::iter([request]))
            .await
            .expect("a stream");
        let method = rig.method(method);
        Self { method, answers }
    }

    /// The next likes, until the stream ends.
    async fn next(&mut self) -> Result<Option<String>, Status> {
        let answer = self.answers.message().await?;
        let likes = |answer| client::decode(&self.method, answer)["likes"].take();
        let text = |likes: Value| likes.as_str().expect("likes").to_owned();
        Ok(answer.map(likes).map(text))
    }

    /// Waits until there are so many likes.
    async fn sees(&mut self, likes: &str) {
        let seen =
            async { while self.next().await.expect("likes").expect("an open stream") != likes {} };
        tokio::time::timeout(firn_testkit::process::PATIENCE, seen)
            .await
            .unwrap_or_else(|_| panic!("{likes} likes did not come"));
    }
}

async fn like(rig: &Rig, topic: &str, amount: i64) {
    let request = json!({ "topic": topic, "amount": amount });
    rig.ok("Likes.Like", request).await;
}

/// Those who watch an entity are told of what others change, until they have enough or leave.
pub(crate) async fn are_watched(sdk: &'static Sdk) {
    let rig = Rig::start_with(sdk, &LEAVE_SOON).await;
    let topic = json!({ "topic": "w" });
    like(&rig, "w", 1).await;
    let mut watch = Watch::open(&rig, "Likes.Watch", topic.clone()).await;
    watch.sees("1").await;
    like(&rig, "w", 1).await;
    watch.sees("2").await;

    let until = json!({ "topic": "w", "likes": 5 });
    let mut until = Watch::open(&rig, "Likes.WatchUntil", until).await;
    until.sees("2").await;
    like(&rig, "w", 2).await;
    until.sees("4").await;
    watch.sees("4").await;
    like(&rig, "w", 2).await;
    until.sees("6").await;
    assert_eq!(until.next().await.expect("an end"), None);
    let note = values::look(&rig, "likes-w").await;
    assert_eq!(note.as_deref(), Some("enough"));

    // An entity that is watched stays in memory when others leave.
    like(&rig, "v", 1).await;
    wait_until_let_go(&rig, 1).await;
    like(&rig, "w", 1).await;
    watch.sees("7").await;

    // One who stays is one like, which goes with him.
    let mut stay = Watch::open(&rig, "Likes.Stay", topic.clone()).await;
    stay.sees("8").await;
    watch.sees("8").await;
    drop(stay);
    watch.sees("7").await;
}

/// Those who leave a stream that the function does not care to know of keep nobody waiting: others
/// watch on, and the entity leaves memory after the last of them.
pub(crate) async fn are_left_by_watchers(sdk: &'static Sdk) {
    let rig = Rig::start_with(sdk, &LEAVE_SOON).await;
    let topic = json!({ "topic": "w" });
    let mut watch = Watch::open(&rig, "Likes.Watch", topic.clone()).await;
    let mut other = Watch::open(&rig, "Likes.Watch", topic.clone()).await;
    like(&rig, "w", 1).await;
    watch.sees("1").await;
    other.sees("1").await;
    drop(other);
    for likes in 2..=16 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        like(&rig, "w", 1).await;
        watch.sees(&likes.to_string()).await;
    }
    assert_eq!(let_go(&rig), 0);
    drop(watch);
    wait_until_let_go(&rig, 1).await;
    let likes = rig.ok("Likes.GetLikes", topic).await;
    assert_eq!(likes["likes"], "16");
}

/// A watch ends with the function, and with Firn.
pub(crate) async fn are_watched_to_the_end(sdk: &'static Sdk) {
    let mut rig = Rig::start(sdk).await;
    let topic = json!({ "topic": "w" });
    like(&rig, "w", 3).await;
    let mut watch = Watch::open(&rig, "Likes.Watch", topic.clone()).await;
    watch.sees("3").await;
    rig.peer.kill();
    let end = watch.next().await.expect_err("an end");
    assert_eq!(end.code(), Code::Unknown, "{end:?}");

    start_function_again(&mut rig).await;
    let mut watch = Watch::open(&rig, "Likes.Watch", topic.clone()).await;
    watch.sees("3").await;
    let status = rig.firn.stop();
    assert!(status.success(), "{status}");
    while let Ok(Some(_)) = watch.next().await {}
    rig.start_firn_again().await;
    let likes = rig.ok("Likes.GetLikes", topic).await;
    assert_eq!(likes["likes"], "3");
}
