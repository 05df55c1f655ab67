//! Connections that are lost, servers that stop: outcomes are found out.

use firn_testkit::postgres::{Cut, Rule};

use super::*;
use crate::postgres::lasts::Lasts;

/// Commits one event after the other while `trouble` does what it does before each. Every commit
/// must land, once.
async fn commits_land(store: &Postgres, count: u64, mut trouble: impl FnMut(u64)) {
    let a = key("a");
    for number in 0..count {
        trouble(number);
        let head = Head {
            sequence: SlotSequence(number),
            ..Head::default()
        };
        assert_eq!(
            commit_one(store, append(&a, head)).await,
            Outcome::Landed,
            "{number}"
        );
    }
    assert_eq!(numbers(store, &a).await, Vec::from_iter(1..=count));
}

/// Behind a proxy; the first commit goes through, so that there is a connection.
async fn by_proxy(server: &Server) -> (Cut, Postgres) {
    let url = server.fresh();
    let schema = url.rsplit("%3D").next().expect("a schema");
    let cut = Cut::before(server.address());
    let store = open(&server.url_of(cut.address, schema)).await;
    (cut, store)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_whose_answer_was_lost_lands_once() {
    let server = server();
    let (cut, store) = by_proxy(&server).await;
    commits_land(&store, 12, |number| {
        if number % 2 == 1 {
            cut.rule(Rule::LoseAnswer);
        }
    })
    .await;
    assert_eq!(cut.cut_count(), 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_whose_request_was_cut_lands_once() {
    let server = server();
    let (cut, store) = by_proxy(&server).await;
    let mut after = 0;
    commits_land(&store, 24, |number| {
        if number > 0 {
            cut.rule(Rule::CutRequestAfter(after));
            after += 70;
        }
    })
    .await;
    assert!(cut.cut_count() > 5, "{} were cut", cut.cut_count());
}

/// The same with statements that travel in a transaction: they remove something too.
#[tokio::test(flavor = "multi_thread")]
async fn a_cut_transaction_lands_whole() {
    let server = server();
    let (cut, store) = by_proxy(&server).await;
    let a = key("a");
    let effect = |sequence| EffectId {
        slot: a.slot(),
        sequence: SlotSequence(sequence),
        index: 0,
    };
    let call = firn_model::decision::Forward {
        service: "s".into(),
        method: "m".into(),
        payload: payload("effect"),
        metadata: Default::default(),
    };
    for number in 0..20u64 {
        let head = Head {
            sequence: SlotSequence(number),
            ..Head::default()
        };
        let mut commit = append(&a, head);
        commit.effects = vec![firn_model::decision::Effect {
            call: call.clone(),
            synchronous: false,
            delay: None,
        }];
        commit.delivered = (number > 0).then(|| effect(number)).into_iter().collect();
        match number % 3 {
            1 => cut.rule(Rule::LoseAnswer),
            2 => cut.rule(Rule::CutRequestAfter(100 * number as usize)),
            _ => {}
        }
        assert_eq!(
            commit_one(&store, commit).await,
            Outcome::Landed,
            "{number}"
        );
    }
    cut.rule(Rule::Pass);
    assert_eq!(numbers(&store, &a).await, Vec::from_iter(1..=20));
    let left: Vec<u64> = store
        .outbox(None, 99)
        .await
        .expect("an outbox")
        .iter()
        .map(|pending| pending.id.sequence.0)
        .collect();
    assert_eq!(
        left,
        [20],
        "each delivered effect went with the commit that said so"
    );
    assert!(cut.cut_count() > 6);
}

/// What a connection that was given up still has in its buffers comes too late.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_sent_before_a_slot_was_settled_is_refused() {
    let server = server();
    let store = fresh(&server).await;
    let a = key("a");
    let first = append(&a, Head::default());
    let slots = divide(vec![first.clone()], usize::MAX).remove(0);
    let batch = batch::Batch::of(&slots, &Values::default(), &Lasts::default(), |_| 0);
    // It goes on with what follows before the old connection's statement arrives.
    let mut writer = store.inner.writers[usize::from(a.slot().number()) % 2]
        .lock()
        .await;
    writer.doubt(a.slot());
    drop(writer);
    let heads = store.heads().await.expect("heads can be read");
    assert_eq!(heads, []);
    let late = Session::connect(&store.inner.url)
        .await
        .expect("a connection");
    let rows = write::commit(&late, &batch, 77)
        .await
        .expect("it is answered");
    assert!(rows.iter().all(|row| !row.has_landed), "{rows:?}");
    assert_eq!(commit_one(&store, first).await, Outcome::Landed);
    assert_eq!(numbers(&store, &a).await, [1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_stand_still_or_end_lose_nothing() {
    let mut server = Server::start();
    let store = fresh(&server).await;
    let a = key("a");
    let at = |number| Head {
        sequence: SlotSequence(number),
        ..Head::default()
    };
    for number in 0..9 {
        let commit = append(&a, at(number));
        match number % 3 {
            0 => {
                server.freeze();
                let committing = commit_one(&store, commit);
                let thawing = async {
                    sleep(Duration::from_millis(300)).await;
                    server.thaw();
                };
                let (outcome, ()) = tokio::join!(committing, thawing);
                assert_eq!(outcome, Outcome::Landed);
            }
            1 => {
                server.kill();
                server.start_again();
                assert_eq!(commit_one(&store, commit).await, Outcome::Landed);
            }
            _ => {
                server.shut_down();
                let committing = commit_one(&store, commit);
                let starting = tokio::task::spawn_blocking(move || {
                    server.start_again();
                    server
                });
                let (outcome, started) = tokio::join!(committing, starting);
                server = started.expect("it starts");
                assert_eq!(outcome, Outcome::Landed);
            }
        }
    }
    assert_eq!(numbers(&store, &a).await, Vec::from_iter(1..=9));
}

/// What cannot be stored is refused alone: others of its batch land.
#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_cannot_be_stored_harms_nobody_else() {
    let server = server();
    let url = server.fresh();
    let store = open(&url).await;
    let schema = url.rsplit("%3D").next().expect("a schema");
    server.sql(&format!(
        "ALTER TABLE {schema}.firn_events ADD CHECK (type <> 'poison')"
    ));
    let (good, bad) = (key("good"), key("bad"));
    let mut poison = append(&bad, Head::default());
    poison.change = Some(Change::Append {
        first: 1,
        events: vec![Payload::new("poison", "")],
        snapshot: None,
        deleted_until: None,
    });
    let batch = vec![append(&good, Head::default()), poison];
    for outcome in store.commit(batch).await {
        let landed = outcome.outcome == Outcome::Landed;
        assert_eq!(landed, outcome.slot == good.slot(), "{outcome:?}");
    }
    assert_eq!(numbers(&store, &good).await, [1]);
    assert!(numbers(&store, &bad).await.is_empty());
}
