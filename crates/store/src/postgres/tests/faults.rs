//! Connections that are lost, servers that stop: outcomes are found out.

use firn_testkit::postgres::{Cut, Rule};
use tokio::time::timeout;

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
    reading_by_proxy_for(PATIENCE, server).await
}

async fn reading_by_proxy_for(read_time: Duration, server: &Server) -> (Cut, Postgres) {
    let url = server.fresh();
    let schema = url.rsplit("%3D").next().expect("a schema");
    let cut = Cut::before(server.address());
    let store = reading_for(read_time, &server.url_of(cut.address, schema)).await;
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

/// A pool between Firn and the server tells of a server that has gone in words of its own, as PgBouncer
/// does, and then the connection ends. Whether the commit has landed it does not know.
#[tokio::test(flavor = "multi_thread")]
async fn a_commit_whose_pool_has_lost_its_server_lands_once() {
    const GONE: &[u8] = b"E\0\0\0\x29SFATAL\0C08P01\0Mserver conn crashed?\0\0";
    let server = server();
    let (cut, store) = by_proxy(&server).await;
    commits_land(&store, 6, |number| {
        if number % 2 == 1 {
            cut.rule(Rule::AnswerInstead(GONE));
        }
    })
    .await;
    assert_eq!(cut.cut_count(), 3);
}

/// Many slots at once, of which each has an outcome of its own.
#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_was_cut_lands_once_in_each_slot() {
    const ROUNDS: u64 = 16;
    let server = server();
    let (cut, store) = by_proxy(&server).await;
    let keys: Vec<EntityKey> = (0..40).map(|number| key(&number.to_string())).collect();
    let stale = key("stale");
    for number in 0..ROUNDS {
        let at = |sequence| Head {
            sequence: SlotSequence(sequence),
            ..Head::default()
        };
        let mut batch: Vec<Commit> = keys.iter().map(|key| append(key, at(number))).collect();
        batch.push(append(&stale, at(number + 7)));
        match number % 4 {
            1 => cut.rule(Rule::LoseAnswer),
            3 => cut.rule(Rule::CutRequestAfter(number as usize * 400)),
            _ => {}
        }
        for SlotOutcome { slot, outcome } in store.commit(batch).await {
            let expected = match slot == stale.slot() {
                true => Outcome::Refused { head: at(0) },
                false => Outcome::Landed,
            };
            assert_eq!(outcome, expected, "{slot} in round {number}");
        }
    }
    cut.rule(Rule::Pass);
    for key in &keys {
        assert_eq!(numbers(&store, key).await, Vec::from_iter(1..=ROUNDS));
    }
    assert!(numbers(&store, &stale).await.is_empty());
    assert!(cut.cut_count() > 6, "{} were cut", cut.cut_count());
}

/// The commit that appends one event and has one effect, and says that the one before is delivered: what
/// removes something goes in a transaction of two statements.
fn with_effect(key: &EntityKey, number: u64) -> Commit {
    let head = Head {
        sequence: SlotSequence(number),
        ..Head::default()
    };
    let mut commit = append(key, head);
    commit.effects = vec![firn_model::decision::Effect {
        call: firn_model::decision::Forward {
            service: "s".into(),
            method: "m".into(),
            payload: payload("effect"),
            metadata: Default::default(),
        },
        synchronous: false,
        delay: None,
    }];
    let before = EffectId {
        slot: key.slot(),
        sequence: SlotSequence(number),
        index: 0,
    };
    commit.delivered = (number > 0).then_some(before).into_iter().collect();
    commit
}

/// The network forgets the connection just before the end of a transaction, whose server goes on to keep
/// the slot's row locked; not for longer than a commit is tried.
#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_whose_end_never_comes_gives_its_slot_up() {
    let server = server();
    let (cut, store) = by_proxy(&server).await;
    let a = key("a");
    assert_eq!(
        commit_one(&store, with_effect(&a, 0)).await,
        Outcome::Landed
    );
    cut.rule(Rule::ForgetBefore(b"Q\0\0\0\x0bCOMMIT"));
    assert_eq!(
        commit_one(&store, with_effect(&a, 1)).await,
        Outcome::Landed
    );
    assert_eq!(cut.cut_count(), 1);
    assert_eq!(numbers(&store, &a).await, [1, 2]);
}

/// A connection that stays open and gives no answers is not asked for ever.
#[tokio::test(flavor = "multi_thread")]
async fn connections_that_have_become_silent_are_not_read_from_again() {
    let server = server();
    let (cut, store) = reading_by_proxy_for(Config::READ_TIME, &server).await;
    let (a, b) = (key("a"), key("b"));
    for _ in 0..2 {
        assert!(numbers(&store, &a).await.is_empty());
    }
    cut.silence();
    let load = |key| store.load(key, Replay::AllEvents);
    let (one, other) = tokio::join!(load(&a), load(&b));
    for silent in [one, other] {
        assert!(
            matches!(silent, Err(ReadError::Unavailable { .. })),
            "{silent:?}"
        );
    }
    for _ in 0..2 {
        assert!(numbers(&store, &a).await.is_empty());
    }
}

/// No answer is there at once, so a store that does not wait for one has none.
#[tokio::test(flavor = "multi_thread")]
async fn a_read_is_tried_for_as_long_as_the_settings_say() {
    let server = server();
    let text = server.fresh();
    let loaded = async |time| {
        let store = reading_for(time, &text).await;
        store.load(&key("a"), Replay::AllEvents).await
    };
    assert!(loaded(PATIENCE).await.is_ok());
    let hasty = loaded(Duration::ZERO).await;
    let silent = ReadError::Unavailable {
        cause: "no answer in time".to_owned(),
    };
    assert_eq!(hasty, Err(silent));
}

/// The first of two hosts takes connections and says nothing, as a server does that stands still.
#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_says_nothing_does_not_keep_from_the_next() {
    let server = server();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let silent = listener.local_addr().expect("an address");
    let served = server.address();
    let text = server.fresh();
    let of_both = text.replace(&served.to_string(), &format!("{silent},{served}"));
    // As without a test: the silent one has its share of time, and no more.
    let opened = async |text: &str| {
        let url = Url::parse(text).expect("a URL");
        Postgres::open(Config::new(url), |_| {}).await
    };
    let store = opened(&of_both).await;
    let store = store.unwrap_or_else(|error| panic!("{error}"));
    let a = key("a");
    assert_eq!(
        commit_one(&store, append(&a, Head::default())).await,
        Outcome::Landed
    );
    assert_eq!(numbers(&store, &a).await, [1]);
    let refused = opened(&of_both.replace(&format!(",{served}"), "")).await;
    let refused = refused.err().expect("there is no other host").to_string();
    assert!(
        refused.ends_with("cannot be reached: no answer in time"),
        "{refused}"
    );
}

/// The same with statements that travel in a transaction: they remove something too.
#[tokio::test(flavor = "multi_thread")]
async fn a_cut_transaction_lands_whole() {
    let server = server();
    let (cut, store) = by_proxy(&server).await;
    let a = key("a");
    for number in 0..20u64 {
        let commit = with_effect(&a, number);
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
    let told = write::commit(&late, &batch, 77).await;
    let rows = told.expect("it is answered").slots;
    assert!(rows.values().all(|row| !row.has_landed), "{rows:?}");
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

/// While the server is away, what is lost is not counted, and tries become fewer however many wait.
#[tokio::test(flavor = "multi_thread")]
async fn connections_that_were_lost_are_not_counted_and_made_anew_with_pauses() {
    let mut server = Server::start();
    let store = reading_for(Config::READ_TIME, &server.fresh()).await;
    let a = key("a");
    assert_eq!(
        commit_one(&store, append(&a, Head::default())).await,
        Outcome::Landed
    );
    for _ in 0..2 {
        assert_eq!(numbers(&store, &a).await, [1]);
    }
    let open = || -> u64 {
        let counted = store.metrics().connections;
        counted.iter().map(|one| one.1.open).sum()
    };
    assert_eq!(open(), 3);
    server.shut_down();
    let noticed = async {
        while open() > 0 {
            sleep(Duration::from_millis(10)).await;
        }
    };
    let noticed = timeout(PATIENCE, noticed).await;
    noticed.expect("nobody counts them any more");
    let failed = || {
        let counted = store.metrics().connections;
        counted
            .iter()
            .find(|one| one.0 == Use::Reads)
            .map(|one| one.1.failed)
    };
    let asked = join_all((0..20).map(|_| store.load(&a, Replay::AllEvents))).await;
    let is_away = |answer: &Result<_, _>| matches!(answer, Err(ReadError::Unavailable { .. }));
    assert!(asked.iter().all(is_away));
    let tries = failed().expect("they are counted");
    assert!((2..40).contains(&tries), "{tries} tries in 5 s");
    server.start_again();
    assert_eq!(numbers(&store, &a).await, [1]);
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
