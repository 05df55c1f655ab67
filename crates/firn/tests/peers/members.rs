//! Replicated entities on several proxies in this process, each with its own function, joined by a
//! network that the tests can disturb.

use std::net::SocketAddr;
use std::sync::Arc;

use firn::embed::Embedded;
use firn_runtime::replicated::network::InProcess;
use firn_testkit::client::{self, Client};
use firn_testkit::peer::Peer;
use firn_testkit::reflection;
use http::Method;
use prost_reflect::DescriptorPool;
use serde_json::{Value, json};
use tempfile::TempDir;
use tonic::Status;

use crate::replicated::lean;
use crate::replicated::stories::{self, Story};
use crate::rig::eventually;
use crate::sdk::{AKKASERVERLESS_NODE, CLOUDSTATE_NODE, KALIX_NODE, Sdk};

/// One proxy with its function and its data.
struct Member {
    proxy: Option<Embedded>,
    peer: Peer,
    data: TempDir,
    client: Client,
    pool: DescriptorPool,
}

impl Member {
    async fn start(sdk: &'static Sdk, network: &InProcess) -> Self {
        let peer = Peer::start(sdk.peer, sdk.environment);
        let data = tempfile::tempdir().expect("a folder");
        let proxy = proxy(&data, peer.address(), network).await;
        let (client, pool) = connect(proxy.address).await;
        Self {
            proxy: Some(proxy),
            peer,
            data,
            client,
            pool,
        }
    }

    /// Ends it without a word.
    async fn kill(&mut self) {
        self.proxy.take().expect("a proxy").kill().await;
    }

    /// Starts it again on the same data.
    async fn start_again(&mut self, network: &InProcess) {
        let proxy = proxy(&self.data, self.peer.address(), network).await;
        (self.client, self.pool) = connect(proxy.address).await;
        self.proxy = Some(proxy);
    }

    async fn call(&self, name: &str, request: Value) -> Result<Value, Status> {
        let (service, method) = name.split_once('.').expect("Service.Method");
        let service = self
            .pool
            .get_service_by_name(&format!("peers.{service}"))
            .unwrap_or_else(|| panic!("no service of {name}"));
        let method = service
            .methods()
            .find(|candidate| candidate.name() == method)
            .unwrap_or_else(|| panic!("no method {name}"));
        self.client.call(&method, request).await
    }

    async fn ok(&self, name: &str, request: Value) -> Value {
        let answer = self.call(name, request.clone()).await;
        answer.unwrap_or_else(|status| panic!("{name} {request}: {status:?}"))
    }

    async fn look(&self, story: &Story) -> Value {
        let read = format!("{}.{}", story.service, story.read);
        lean(self.ok(&read, story.request(&json!({}))).await)
    }
}

async fn proxy(data: &TempDir, function: SocketAddr, network: &InProcess) -> Embedded {
    let store = format!("embedded:{}", data.path().display());
    let function = function.to_string();
    let flags = [
        "--listen",
        "127.0.0.1:0",
        "--admin",
        "127.0.0.1:0",
        "--function-listen",
        "127.0.0.1:0",
        "--store",
        &store,
        "--function",
        &function,
    ];
    let start = async || {
        // A killed one may hold its folder for a moment longer.
        Embedded::start(&flags, Arc::new(network.clone()))
            .await
            .ok()
    };
    eventually("the proxy", start).await
}

async fn connect(address: SocketAddr) -> (Client, DescriptorPool) {
    let client = Client::connect(address).await;
    let pool = eventually("the function's contract", async || {
        let services = reflection::services(&client).await.ok()?;
        let served = services.iter().any(|service| service.starts_with("peers."));
        if !served {
            return None;
        }
        reflection::descriptors(&client, &services).await.ok()
    })
    .await;
    (client, pool)
}

/// Some proxies that are members of one network.
struct Members {
    network: InProcess,
    all: Vec<Member>,
    stories: Vec<Story>,
}

impl Members {
    async fn start(sdk: &'static Sdk, count: usize) -> Self {
        let network = InProcess::default();
        let mut all = Vec::new();
        for _ in 0..count {
            all.push(Member::start(sdk, &network).await);
        }
        let services = all[0].peer.description().services.iter();
        let served: Vec<&str> = services
            .filter_map(|service| service.name.strip_prefix("peers."))
            .collect();
        let stories = stories::of(sdk, &served);
        Self {
            network,
            all,
            stories,
        }
    }

    /// Waits until all that was changed is written, and known to all members.
    async fn settle(&self) {
        for member in &self.all {
            let admin = member.proxy.as_ref().expect("a proxy").admin;
            let settled = async || {
                let answer = client::json(admin, Method::GET, "/v1/replicas", None).await;
                let replicas = answer.json();
                (replicas["unwritten"] == 0 && replicas["unconfirmed"] == 0).then_some(())
            };
            eventually("agreement", settled).await;
        }
    }

    /// Waits until every member holds this.
    async fn all_hold(&self, story: &Story, holds: &Value) {
        for (number, member) in self.all.iter().enumerate() {
            let what = format!("{} {}: {holds} at member {number}", story.service, story.id);
            let held = async || (member.look(story).await == *holds).then_some(());
            eventually(&what, held).await;
        }
    }
}

/// Every story is played by all members in turn, and all of them see each of its steps; then they are
/// ended without a word, one after the other, and still agree.
async fn play_every_story(sdk: &'static Sdk, count: usize) {
    let mut members = Members::start(sdk, count).await;
    members.network.disturb(Some(count as u64));
    // Votes are counted over members, and their stories are those of one.
    members
        .stories
        .retain(|story| story.id != "vote" && story.id != "of-votes");
    let longest = members.stories.iter().map(|story| story.steps.len()).max();
    for number in 0..longest.expect("stories") {
        let member = &members.all[number % count];
        let steps = members.stories.iter();
        let steps = steps.filter_map(|story| Some((story, story.steps.get(number)?)));
        let taken = steps.map(async |(story, step)| {
            let method = format!("{}.{}", story.service, step.method);
            member.ok(&method, story.request(&step.request)).await;
            members.all_hold(story, &step.holds).await;
        });
        futures_util::future::join_all(taken).await;
        // A write that loses is known by nothing else, and what does not know it cannot remove it.
        members.settle().await;
    }
    let network = members.network.clone();
    for number in 0..count {
        members.all[number].kill().await;
        members.all[number].start_again(&network).await;
    }
    for story in &members.stories {
        let last = story.steps.last().expect("steps");
        members.all_hold(story, &last.holds).await;
    }
}

/// Commands that each member gets at the same time as the others.
const AT_ONCE: usize = 15;

/// Changes made at the same time on all members add up, also when some cannot hear each other.
async fn change_at_once(sdk: &'static Sdk, count: usize) {
    let members = Members::start(sdk, count).await;
    let nodes: Vec<_> = members
        .all
        .iter()
        .map(|member| member.proxy.as_ref().expect("a proxy").node)
        .collect();
    members.network.cut(nodes[0], nodes[count - 1]);
    let mut calls = Vec::new();
    for (number, member) in members.all.iter().enumerate() {
        for at in 0..AT_ONCE {
            calls.push(async move {
                let one = json!({ "id": "busy", "amount": 1 });
                member.ok("Counters.Add", one).await;
                let own = format!("{number:02}-{at:02}");
                let element = json!({ "id": "busy", "elements": [own] });
                member.ok("Sets.Add", element).await;
            });
        }
    }
    futures_util::future::join_all(calls).await;
    members.network.heal();
    let total = json!({ "amount": (count * AT_ONCE).to_string() });
    let mut elements: Vec<String> = (0..count)
        .flat_map(|number| (0..AT_ONCE).map(move |at| format!("{number:02}-{at:02}")))
        .collect();
    elements.sort();
    let busy = json!({ "id": "busy" });
    for member in &members.all {
        let counted =
            async || (member.ok("Counters.Get", busy.clone()).await == total).then_some(());
        eventually("the sum", counted).await;
        let elements = json!({ "elements": elements });
        let collected =
            async || (member.ok("Sets.Get", busy.clone()).await == elements).then_some(());
        eventually("the union", collected).await;
    }
}

/// Each member has a vote; one that leaves has none any more.
async fn vote(sdk: &'static Sdk) {
    let mut members = Members::start(sdk, 3).await;
    let vote = |vote: bool| json!({ "id": "v", "vote": vote });
    for (member, yes) in members.all.iter().zip([true, true, false]) {
        member.ok("Votes.Vote", vote(yes)).await;
    }
    let count = |own: bool, yes: i32, voters: i32| json!({ "vote": own, "votesFor": yes, "voters": voters });
    let sees = async |member: &Member, expected: Value| {
        let seen = async || {
            let votes = member.ok("Votes.Get", json!({ "id": "v" })).await;
            (votes == expected).then_some(())
        };
        eventually(&expected.to_string(), seen).await;
    };
    sees(&members.all[0], count(true, 2, 3)).await;
    sees(&members.all[2], count(false, 2, 3)).await;
    let mut leaving = members.all.remove(1);
    let node = leaving.proxy.as_ref().expect("a proxy").node;
    leaving.kill().await;
    members.network.remove(node);
    sees(&members.all[0], count(true, 1, 2)).await;
    sees(&members.all[1], count(false, 1, 2)).await;
}

/// What one member deletes is deleted on all of them, for ever.
async fn delete(sdk: &'static Sdk) {
    let mut members = Members::start(sdk, 2).await;
    let topic = json!({ "topic": "t" });
    let like = json!({ "topic": "t", "amount": 1 });
    for member in &members.all {
        member.ok("Likes.Like", like.clone()).await;
    }
    members.all[0].ok("Likes.Forget", topic.clone()).await;
    let network = members.network.clone();
    for round in 0..2 {
        for member in &members.all {
            let refused = async || {
                let refused = member.call("Likes.Like", like.clone()).await.err()?;
                (refused.message() == "Entity deleted").then_some(())
            };
            eventually("the deletion", refused).await;
        }
        if round == 0 {
            members.all[1].kill().await;
            members.all[1].start_again(&network).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kalix_node_two_play_every_story() {
    play_every_story(&KALIX_NODE, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kalix_node_three_play_every_story() {
    play_every_story(&KALIX_NODE, 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kalix_node_three_change_at_once() {
    change_at_once(&KALIX_NODE, 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kalix_node_votes_are_those_of_members() {
    vote(&KALIX_NODE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kalix_node_deleted_on_one_is_deleted_on_all() {
    delete(&KALIX_NODE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn akkaserverless_node_two_play_every_story() {
    play_every_story(&AKKASERVERLESS_NODE, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn akkaserverless_node_three_play_every_story() {
    play_every_story(&AKKASERVERLESS_NODE, 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn akkaserverless_node_three_change_at_once() {
    change_at_once(&AKKASERVERLESS_NODE, 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn akkaserverless_node_votes_are_those_of_members() {
    vote(&AKKASERVERLESS_NODE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn akkaserverless_node_deleted_on_one_is_deleted_on_all() {
    delete(&AKKASERVERLESS_NODE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cloudstate_node_two_play_every_story() {
    play_every_story(&CLOUDSTATE_NODE, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cloudstate_node_three_play_every_story() {
    play_every_story(&CLOUDSTATE_NODE, 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cloudstate_node_three_change_at_once() {
    change_at_once(&CLOUDSTATE_NODE, 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cloudstate_node_votes_are_those_of_members() {
    vote(&CLOUDSTATE_NODE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cloudstate_node_deleted_on_one_is_deleted_on_all() {
    delete(&CLOUDSTATE_NODE).await;
}
