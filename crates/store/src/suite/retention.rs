//! Retention: snapshots and trimming, and what nobody writes any more.

use std::time::Duration;

use firn_model::id::{EntityKey, SlotSequence, StorageName};
use firn_model::policy::Replay;
use futures_util::future::join;

use super::subject::{START, Subject, append, key, numbered, payload, payloads, texts, yield_once};
use crate::commit::Change;
use crate::entity::{Event, Timestamp};
use crate::retention::{Covered, Keep, Page, TRIM_EVENTS_MAX, Trim};

const MINUTE: Duration = Duration::from_secs(60);

async fn trim(subject: &Subject, key: &EntityKey, through: u64) {
    let trim = Trim {
        key: key.clone(),
        through,
    };
    let trimmed = subject.store().trim(vec![trim]).await;
    trimmed.expect("events can be trimmed");
}

fn snapshot(sequence: u64) -> Change {
    Change::Snapshot {
        sequence,
        payload: payload(&format!("snapshot at {sequence}")),
    }
}

/// The numbers of all events that are there.
async fn numbers(subject: &Subject, key: &EntityKey) -> Vec<u64> {
    let events = subject.store().events(key, 0, usize::MAX).await;
    let events: Vec<Event> = events.expect("events can be read");
    events.iter().map(|event| event.sequence).collect()
}

/// An entity with events in commits of two, and a snapshot after some of them.
async fn log(subject: &mut Subject, id: &str, commits: u64, snapshot_at: u64) -> EntityKey {
    let log = key("log", id);
    for number in 0..commits {
        subject
            .apply(&log, append(2 * number + 1, &["one", "two"]))
            .await;
        subject.advance(MINUTE);
    }
    if snapshot_at > 0 {
        subject.apply(&log, snapshot(snapshot_at)).await;
    }
    log
}

pub(super) async fn trimmed_events_are_gone_and_the_rest_loads(mut subject: Subject) {
    let log = log(&mut subject, "a", 4, 5).await;
    let other = key("log", "b");
    subject.apply(&other, append(1, &["one"])).await;
    trim(&subject, &log, 4).await;
    for _ in 0..2 {
        assert_eq!(numbers(&subject, &log).await, [5, 6, 7, 8]);
        for replay in [Replay::FromSnapshot, Replay::AllEvents] {
            let loaded = subject.store().load(&log, replay).await;
            let loaded = loaded.expect("it can be loaded");
            let sequence = loaded.snapshot.as_ref().map(|snapshot| snapshot.sequence);
            assert_eq!((sequence, loaded.last_event), (Some(5), 8));
            let events: Vec<u64> = loaded.events.iter().map(|event| event.sequence).collect();
            assert_eq!(events, [6, 7, 8]);
        }
        let after = subject.store().events(&log, 5, 2).await.expect("events");
        assert_eq!(after.first().map(|event| event.sequence), Some(6));
        assert_eq!(numbers(&subject, &other).await, [1]);
        subject.reopen().await;
    }
    subject.apply(&log, append(9, &["nine"])).await;
    trim(&subject, &log, 5).await;
    subject.reopen().await;
    assert_eq!(numbers(&subject, &log).await, [6, 7, 8, 9]);
}

pub(super) async fn trims_leave_what_loading_needs(mut subject: Subject) {
    let bare = log(&mut subject, "bare", 2, 0).await;
    trim(&subject, &bare, 4).await;
    assert_eq!(numbers(&subject, &bare).await, [1, 2, 3, 4]);
    let partly = log(&mut subject, "partly", 2, 2).await;
    trim(&subject, &partly, u64::MAX).await;
    assert_eq!(numbers(&subject, &partly).await, [3, 4]);
    // The last event stays, also if the snapshot covers it.
    let covered = log(&mut subject, "covered", 2, 4).await;
    trim(&subject, &covered, u64::MAX).await;
    assert_eq!(numbers(&subject, &covered).await, [4]);
    subject.reopen().await;
    let entity = subject.load(&covered).await;
    assert_eq!((texts(&entity), entity.last_event), (Vec::new(), 4));
    // A trim that comes late removes nothing again.
    trim(&subject, &covered, 2).await;
    subject.apply(&covered, append(5, &["five"])).await;
    assert_eq!(numbers(&subject, &covered).await, [4, 5]);
    let value = key("cart", "a");
    subject.apply(&value, Change::Set(payload("state"))).await;
    trim(&subject, &value, 1).await;
    trim(&subject, &key("cart", "nobody"), 1).await;
    assert_eq!(subject.load(&value).await.state, Some(payload("state")));
    // A deleted entity goes as a whole, when its grace is over.
    let deleted = log(&mut subject, "deleted", 2, 4).await;
    let until = Some(subject.now().plus(MINUTE));
    subject.apply(&deleted, Change::Delete { until }).await;
    trim(&subject, &deleted, 3).await;
    assert_eq!(numbers(&subject, &deleted).await, [1, 2, 3, 4]);
    assert_eq!(subject.store().trim(Vec::new()).await, Ok(()));
}

pub(super) async fn trims_remove_a_part_at_a_time(mut subject: Subject) {
    let log = key("log", "long");
    let count = TRIM_EVENTS_MAX + 10;
    let events = vec!["event"; count as usize];
    subject.apply(&log, append(1, &events)).await;
    subject.apply(&log, snapshot(count)).await;
    trim(&subject, &log, count - 1).await;
    let first = TRIM_EVENTS_MAX + 1;
    assert_eq!(
        numbers(&subject, &log).await,
        (first..=count).collect::<Vec<_>>()
    );
    subject.reopen().await;
    trim(&subject, &log, count - 1).await;
    assert_eq!(numbers(&subject, &log).await, [count]);
}

pub(super) async fn tails_show_what_was_not_trimmed(mut subject: Subject) {
    let log = log(&mut subject, "a", 3, 6).await;
    let tail = async |subject: &Subject| {
        let tail = subject.store().tail(log.slot(), SlotSequence(0), 10).await;
        let tail = tail.expect("changes can be read");
        tail.into_iter()
            .map(|tailed| (tailed.sequence.0, tailed.change))
            .collect::<Vec<_>>()
    };
    let whole = |first| append(first, &["one", "two"]);
    let all = [(1, whole(1)), (2, whole(3)), (3, whole(5))];
    assert_eq!(tail(&subject).await, all);
    // Of a change that was trimmed in part, the rest is shown.
    trim(&subject, &log, 3).await;
    for _ in 0..2 {
        assert_eq!(
            tail(&subject).await,
            [(2, append(4, &["two"])), (3, whole(5))]
        );
        subject.reopen().await;
    }
    trim(&subject, &log, 4).await;
    assert_eq!(tail(&subject).await, [(3, whole(5))]);
    trim(&subject, &log, 6).await;
    assert_eq!(tail(&subject).await, [(3, append(6, &["two"]))]);
    // What is deleted without events knows which event would have been the next.
    let until = Some(subject.now().plus(MINUTE));
    let mark = |first| Change::Append {
        first,
        events: Vec::new(),
        snapshot: None,
        deleted_until: until,
    };
    subject.apply(&log, mark(7)).await;
    subject.reopen().await;
    assert_eq!(
        tail(&subject).await,
        [(3, append(6, &["two"])), (5, mark(7))]
    );
}

pub(super) async fn trimmed_entities_begin_again(mut subject: Subject) {
    let log = log(&mut subject, "a", 3, 4).await;
    trim(&subject, &log, 4).await;
    subject.apply(&log, Change::Delete { until: None }).await;
    assert_eq!(numbers(&subject, &log).await, [] as [u64; 0]);
    subject.apply(&log, append(1, &["again", "and on"])).await;
    subject.reopen().await;
    let entity = subject.load(&log).await;
    assert_eq!(texts(&entity), numbered(1, &["again", "and on"]));
    assert_eq!(entity.snapshot, None);
    trim(&subject, &log, 2).await;
    assert_eq!(numbers(&subject, &log).await, [1, 2]);
}

pub(super) async fn trims_and_commits_do_not_disturb_each_other(mut subject: Subject) {
    const ROUNDS: u64 = 20;
    let logs: Vec<EntityKey> = (0..4).map(|id| key("log", &id.to_string())).collect();
    let mut commits = Vec::new();
    for round in 0..ROUNDS {
        let batch = logs.iter().map(|log| {
            subject.change(
                log,
                Change::Append {
                    first: 2 * round + 1,
                    events: payloads(&["one", "two"]),
                    snapshot: (round % 3 == 2).then(|| payload("snapshot")),
                    deleted_until: None,
                },
            )
        });
        commits.push(batch.collect::<Vec<_>>());
    }
    let writing = async {
        for batch in commits {
            subject.land(batch).await;
            yield_once().await;
        }
    };
    let trimming = async {
        for _ in 0..ROUNDS {
            let storage = StorageName::new("log");
            let found = subject.store().covered(&storage, Keep::Last(0), None, 10);
            let found = found.await.expect("events can be looked for").found;
            let trims = found.iter().map(Covered::trim).collect();
            let trimmed = subject.store().trim(trims).await;
            trimmed.expect("events can be trimmed");
            for log in &logs {
                let entity = subject.load(log).await;
                let snapshot = entity.snapshot.as_ref().map_or(0, |it| it.sequence);
                assert_eq!(entity.events.len() as u64, entity.last_event - snapshot);
            }
            yield_once().await;
        }
    };
    join(writing, trimming).await;
    subject.reopen().await;
    for log in &logs {
        trim(&subject, log, u64::MAX).await;
        // The last snapshot came with the eighteenth of the commits.
        assert_eq!(numbers(&subject, log).await, [37, 38, 39, 40]);
        assert_eq!(subject.load(log).await.last_event, 2 * ROUNDS);
    }
}

pub(super) async fn covered_events_are_found_by_what_is_kept(mut subject: Subject) {
    // Two events each minute; of the first two entities a snapshot covers six of eight, or all.
    let first = log(&mut subject, "a", 4, 6).await;
    let second = log(&mut subject, "b", 4, 8).await;
    log(&mut subject, "c", 4, 0).await;
    let value = key("log", "d");
    subject.apply(&value, Change::Set(payload("state"))).await;
    let storage = StorageName::new("log");
    let covered = |key: &EntityKey, first, through| Covered {
        key: key.clone(),
        first,
        through,
    };
    let look = async |subject: &Subject, keep: Keep, after: Option<&str>, limit: usize| {
        let found = subject.store().covered(&storage, keep, after, limit).await;
        found.expect("events can be looked for")
    };
    let of_first = |minutes: u32| Keep::Since(START.plus(MINUTE * minutes));
    let cases = [
        (
            Keep::Last(0),
            vec![covered(&first, 1, 6), covered(&second, 1, 7)],
        ),
        (
            Keep::Last(2),
            vec![covered(&first, 1, 4), covered(&second, 1, 6)],
        ),
        (Keep::Last(7), vec![covered(&second, 1, 1)]),
        (Keep::Last(u64::MAX), vec![]),
        (of_first(0), vec![]),
        (of_first(1), vec![covered(&first, 1, 2)]),
        (
            of_first(5),
            vec![covered(&first, 1, 6), covered(&second, 1, 2)],
        ),
        (
            of_first(60),
            vec![covered(&first, 1, 6), covered(&second, 1, 7)],
        ),
    ];
    for _ in 0..2 {
        for (keep, expected) in &cases {
            let page = look(&subject, *keep, None, 100).await;
            let all = Page {
                found: expected.clone(),
                damaged: Vec::new(),
                next: None,
            };
            assert_eq!(page, all, "{keep:?}");
        }
        subject.reopen().await;
    }
    // By pages of what is looked at.
    let page = look(&subject, Keep::Last(0), None, 1).await;
    assert_eq!(page.found, [covered(&first, 1, 6)]);
    assert_eq!(page.next.as_deref(), Some("a"));
    let page = look(&subject, Keep::Last(0), Some("a"), 2).await;
    assert_eq!(page.found, [covered(&second, 1, 7)]);
    assert_eq!(page.next.as_deref(), Some("c"));
    let page = look(&subject, Keep::Last(0), Some("c"), 2).await;
    assert_eq!(page.found, []);
    trim(&subject, &first, 3).await;
    let page = look(&subject, Keep::Last(0), None, 1).await;
    assert_eq!(page.found, [covered(&first, 4, 6)]);
    assert_eq!(page.found[0].count(), 3);
}

pub(super) async fn entities_are_found_by_their_last_change(mut subject: Subject) {
    let storage = StorageName::new("log");
    let long = "long".repeat(9 * 1024);
    let value = key("log", &long);
    subject.apply(&value, Change::Set(payload("state"))).await;
    let log = log(&mut subject, "a", 2, 4).await;
    trim(&subject, &log, 4).await;
    let deleted = key("log", "b");
    subject.apply(&deleted, Change::Set(payload("state"))).await;
    let until = Some(subject.now().plus(MINUTE * 100));
    subject.apply(&deleted, Change::Delete { until }).await;
    let gone = key("log", "c");
    subject.apply(&gone, append(1, &["one"])).await;
    subject.apply(&gone, Change::Delete { until: None }).await;
    let look = async |subject: &Subject, minutes: u32, after: Option<&str>, limit: usize| {
        let since = START.plus(MINUTE * minutes);
        let page = subject.store().unwritten(&storage, since, after, limit);
        page.await.expect("entities can be looked for")
    };
    for _ in 0..2 {
        for (minutes, expected) in [
            (0, vec![]),
            (1, vec![value.clone()]),
            (2, vec![log.clone(), value.clone()]),
        ] {
            let page = look(&subject, minutes, None, 10).await;
            assert_eq!((page.found, page.next), (expected, None), "{minutes}");
        }
        subject.reopen().await;
    }
    let page = look(&subject, 2, None, 1).await;
    assert_eq!((page.found.len(), page.next.as_deref()), (1, Some("a")));
    let page = look(&subject, 2, Some("a"), 3).await;
    assert_eq!(page.found, std::slice::from_ref(&value));
    assert_eq!(page.next.as_deref(), Some(&*long));
    assert_eq!(look(&subject, 2, Some(&long), 3).await.found, []);
    // Loading tells the same.
    let changed = async |subject: &Subject, key: &EntityKey| {
        let loaded = subject.store().load(key, Replay::FromSnapshot).await;
        loaded.expect("it can be loaded").changed_at
    };
    let at = |minutes: u32| Some(START.plus(MINUTE * minutes));
    assert_eq!(changed(&subject, &value).await, at(0));
    assert_eq!(changed(&subject, &log).await, at(1));
    assert_eq!(changed(&subject, &deleted).await, at(2));
    assert_eq!(changed(&subject, &key("log", "nobody")).await, None);
    subject.apply(&value, Change::Set(payload("newer"))).await;
    assert_eq!(changed(&subject, &value).await, at(2));
    let never = Timestamp(u64::MAX);
    let nothing = StorageName::new("nothing");
    let page = subject.store().unwritten(&nothing, never, None, 9).await;
    assert_eq!(page.expect("it can be looked for").found, []);
}

pub(super) async fn storage_names_are_told(mut subject: Subject) {
    assert_eq!(subject.store().storages().await, Ok(Vec::new()));
    let long = "name".repeat(300);
    for (storage, id) in [
        ("b", "1"),
        ("a", "\0"),
        (&*long, "1"),
        ("b", "2"),
        ("", "1"),
    ] {
        let entity = key(storage, id);
        subject.apply(&entity, Change::Set(payload("state"))).await;
    }
    subject.reopen().await;
    let storages = subject.store().storages().await.expect("they can be read");
    let mut names: Vec<&str> = storages.iter().map(StorageName::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["", "a", "b", &long]);
}
