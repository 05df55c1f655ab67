//! Actors (R54).

use firn_testkit::caller::request;
use firn_testkit::own::declare::component;
use firn_testkit::own::message::{decided, empty};
use firn_wire::superset::Any;
use firn_wire::v1::message::mutation::Mutation;
use firn_wire::v1::message::opening::State;
use firn_wire::v1::message::{Actor, Component, Contract, Durability, Model, Opening};

use crate::world::{World, command, kept, of, opening};

fn actor(state: Any, tags: &[(&str, &str)]) -> Actor {
    let tags = tags.iter();
    Actor {
        state: Some(state),
        tags: tags
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect(),
    }
}

fn holding(state: Any, tags: &[(&str, &str)]) -> Opening {
    Opening {
        state: Some(State::Actor(actor(state, tags))),
        ..empty("a")
    }
}

fn actors(durability: Durability) -> Contract {
    of(vec![Component {
        id: vec!["id".to_owned()],
        state: "model.Kept".to_owned(),
        durability: durability.into(),
        ..component(Model::Actor, "model.Register", &["Process"])
    }])
}

#[tokio::test]
async fn state_and_tags_are_there_again_after_a_kill() {
    let contract = actors(Durability::Commit);
    let (mut world, mut function) = World::serving_with(&contract, &[]).await;
    let asked = request("a", "x");
    let caller = world.call("Register/Process", "a", "x");
    function.expect(opening(1, 0, 1, &asked, empty("a"))).await;
    let first = actor(kept("one"), &[("old", "gone")]);
    let second = actor(kept("two"), &[("colour", "blue"), ("empty", "")]);
    function.send(
        decided(1)
            .changing(Mutation::Actor(first))
            .saying("1")
            .leaving(1),
    );
    caller.replies("1").await;
    let caller = world.call("Register/Process", "a", "x");
    function.expect(command(2, 0, 1, &asked)).await;
    function.send(
        decided(2)
            .changing(Mutation::Actor(second))
            .saying("2")
            .leaving(2),
    );
    caller.replies("2").await;

    let mut function = world.kill_and_start_again(&contract).await;
    let caller = world.call("Register/Process", "a", "x");
    let held = holding(kept("two"), &[("colour", "blue"), ("empty", "")]);
    function.expect(opening(1, 0, 1, &asked, held)).await;
    function.send(decided(1).delete().saying("3").leaving(1));
    caller.replies("3").await;

    let mut function = world.kill_and_start_again(&contract).await;
    let _caller = world.call("Register/Process", "a", "x");
    function.expect(opening(1, 0, 1, &asked, empty("a"))).await;
}

/// The commit is under way when the answer leaves, and what comes next builds on it.
#[tokio::test]
async fn actors_that_are_written_behind_are_served_like_others() {
    let contract = actors(Durability::WriteBehind);
    let (mut world, mut function) = World::serving_with(&contract, &[]).await;
    let asked = request("a", "x");
    for number in 1..=20 {
        let caller = world.call("Register/Process", "a", "x");
        let got = function.command().await;
        assert_eq!((got.id, got.incarnation), (number, 1));
        let state = actor(kept(&number.to_string()), &[]);
        function.send(
            decided(number)
                .changing(Mutation::Actor(state))
                .saying("ok")
                .leaving(number),
        );
        caller.replies("ok").await;
    }
    // An orderly end writes everything.
    drop(function);
    assert!(world.firn.stop().success());
    let mut function = world.kill_and_start_again(&contract).await;
    let _caller = world.call("Register/Process", "a", "x");
    let held = holding(kept("20"), &[]);
    function.expect(opening(1, 0, 1, &asked, held)).await;
}
