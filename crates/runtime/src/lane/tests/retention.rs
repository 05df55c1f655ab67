//! Entities that nobody writes: deleted when their time is over, and not before.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use firn_model::decision::{Decision, Mutation};
use firn_store::{Change, Entity, Timestamp};

use super::bench::{Bench, append, payload, read};
use crate::lane::{Config, Input, Output, Ticket};
use crate::retention::{Retention, Rule};

const TTL: Duration = Duration::from_secs(10);

const DELETE: Option<Change> = Some(Change::Delete { until: None });

fn bench() -> Bench {
    let rule = Rule {
        events: None,
        ttl: Some(TTL),
    };
    let names = ["t.Cart", "t.Note"].map(|name| (name.to_owned(), rule));
    let retention = Retention {
        components: BTreeMap::from(names),
        ..Retention::default()
    };
    let config = Config {
        retention: Arc::new(retention),
        passivate_after: TTL * 10,
        ..Config::default()
    };
    Bench::with(firn_testkit::policies::careful(), config)
}

fn written(at: Timestamp) -> Entity {
    Entity {
        state: Some(payload("s")),
        changed_at: Some(at),
        ..Entity::default()
    }
}

fn loading(bench: &mut Bench) -> Ticket {
    bench.take(|output| match output {
        Output::Load(ticket, ..) => Some(*ticket),
        _ => None,
    })
}

#[test]
fn entity_whose_time_is_over_begins_again_when_a_command_comes() {
    let mut bench = bench();
    bench.note("a", 1);
    let ticket = loading(&mut bench);
    let at = Timestamp(bench.now().wall.0 - 10_000);
    bench.on(Input::Loaded(ticket, Ok(written(at))));
    let commit = bench.commit();
    assert_eq!(commit.change, DELETE);
    bench.land(&commit);
    // The delete is a change too, and nothing to delete again.
    bench.load(Entity {
        changed_at: Some(Timestamp(1)),
        ..Entity::default()
    });
    bench.sent();
}

#[test]
fn entity_in_its_time_is_served() {
    let mut bench = bench();
    bench.note("a", 1);
    let at = Timestamp(bench.now().wall.0 - 9_999);
    bench.load(written(at));
    bench.sent();
    // One of which nothing is said lives for ever.
    bench.robot("a", 2);
    bench.load(written(Timestamp(1)));
    bench.sent();
}

#[test]
fn reads_do_not_keep_an_entity_and_writes_do() {
    let mut bench = bench();
    bench.cart("a", 1);
    let ticket = bench.load(Entity::default());
    bench.sent();
    bench.decide(ticket, append(&["event"]));
    let commit = bench.commit();
    bench.land(&commit);
    for reply in 2..=3 {
        bench.pass(TTL / 2 - Duration::from_millis(1));
        bench.cart("a", reply);
        bench.sent();
        bench.decide(ticket, read());
    }
    bench.pass(Duration::from_millis(2));
    bench.cart("a", 4);
    assert!(bench.sent_all().is_empty(), "it begins again");
    let half_closed = |output: &Output<u32>| matches!(output, Output::HalfClose(_));
    assert!(bench.has(half_closed));
}

#[test]
fn entity_that_was_found_in_the_store_is_deleted_and_forgotten() {
    let mut bench = bench();
    bench.note("a", 1);
    let ticket = bench.load(Entity::default());
    bench.sent();
    let set = Decision {
        mutation: Mutation::Set(payload("s")),
        ..read()
    };
    bench.decide(ticket, set);
    let commit = bench.commit();
    bench.land(&commit);
    let key = commit.key.expect("an entity");
    // It is in memory, where a command will find out.
    bench.on(Input::Expired(key.clone()));
    assert!(!bench.has(|output| matches!(output, Output::Load(..))));
    let mut bench = self::bench();
    bench.on(Input::Expired(key.clone()));
    let ticket = loading(&mut bench);
    let now = bench.now().wall;
    bench.on(Input::Loaded(ticket, Ok(written(now))));
    assert_eq!(bench.lane.active(), 0, "somebody has written it meanwhile");
    bench.on(Input::Expired(key));
    let ticket = loading(&mut bench);
    bench.on(Input::Loaded(ticket, Ok(written(Timestamp(1)))));
    let commit = bench.commit();
    assert_eq!(commit.change, DELETE);
    bench.land(&commit);
    assert_eq!(bench.lane.active(), 0);
}
