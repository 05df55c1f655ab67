//! The cases of tailing a slot. Their names are the promises.

use firn_model::id::{EntityKey, Slot, SlotSequence};
use futures_util::future::join;

use super::subject::{START, Subject, append, key, later, payload, payloads, slot, yield_once};
use crate::commit::{Change, Commit};
use crate::{Store, Tailed};

pub(super) async fn tail(store: &dyn Store, slot: Slot) -> Vec<Tailed> {
    tail_from(store, slot, SlotSequence(0)).await
}

/// Page by page, to the end.
async fn tail_from(store: &dyn Store, slot: Slot, mut after: SlotSequence) -> Vec<Tailed> {
    let mut changes = Vec::new();
    loop {
        let page = store.tail(slot, after, 3).await;
        let page = page.expect("the slot can be tailed");
        let Some(last) = page.last() else {
            return changes;
        };
        after = last.sequence;
        changes.extend(page);
    }
}

/// A second entity in the slot of the first.
fn neighbour(of: &EntityKey, storage: &str) -> EntityKey {
    (0..)
        .map(|number: u32| key(storage, &number.to_string()))
        .find(|key| key.slot() == of.slot() && key != of)
        .expect("slots are finite")
}

pub(super) async fn tails_show_every_change_once(mut subject: Subject) {
    let sourced = key("log", "a");
    let value = neighbour(&sourced, "value");
    let deleted = Change::Append {
        first: 4,
        events: payloads(&["4"]),
        snapshot: None,
        deleted_until: Some(later(START)),
    };
    let with_snapshot = Change::Append {
        first: 2,
        events: payloads(&["2", "3"]),
        snapshot: Some(payload("after 3")),
        deleted_until: None,
    };
    let batch = vec![
        subject.change(&sourced, append(1, &["1"])),
        subject.change(&value, Change::Set(payload("old"))),
        subject.change(&sourced, with_snapshot),
        subject.next(sourced.slot()),
        subject.change(&value, Change::Set(payload("new"))),
        subject.change(&sourced, deleted.clone()),
    ];
    subject.land(batch).await;
    subject.reopen().await;
    let seen = |changes: Vec<Tailed>| -> Vec<(u64, EntityKey, Change)> {
        let change = |tailed: Tailed| (tailed.sequence.0, tailed.key, tailed.change);
        changes.into_iter().map(change).collect()
    };
    let expected = vec![
        (1, sourced.clone(), append(1, &["1"])),
        (3, sourced.clone(), append(2, &["2", "3"])),
        (5, value.clone(), Change::Set(payload("new"))),
        (6, sourced.clone(), deleted),
    ];
    let changes = tail(subject.store(), sourced.slot()).await;
    assert!(changes.iter().all(|tailed| tailed.at == START));
    assert_eq!(seen(changes), expected);
    let rest = tail_from(subject.store(), sourced.slot(), SlotSequence(5)).await;
    assert_eq!(seen(rest), expected[3..]);

    subject.apply(&value, Change::Delete { until: None }).await;
    subject.apply(&sourced, Change::Clean).await;
    subject.reopen().await;
    let changes = tail(subject.store(), sourced.slot()).await;
    assert_eq!(
        seen(changes),
        [
            (7, value, Change::Delete { until: None }),
            (8, sourced, Change::Clean)
        ]
    );
    let nothing = tail(subject.store(), slot(0)).await;
    assert_eq!(nothing, []);
}

pub(super) async fn tails_show_marks_without_events(mut subject: Subject) {
    let sourced = key("log", "a");
    let mark = Change::Append {
        first: 3,
        events: Vec::new(),
        snapshot: None,
        deleted_until: Some(later(START)),
    };
    subject.apply(&sourced, append(1, &["1", "2"])).await;
    subject.apply(&sourced, mark.clone()).await;
    // A later grace is not that of the mark.
    let again = Change::Append {
        first: 3,
        events: payloads(&["3"]),
        snapshot: None,
        deleted_until: Some(later(later(START))),
    };
    subject.apply(&sourced, again.clone()).await;
    subject.reopen().await;
    let changes = tail(subject.store(), sourced.slot()).await.into_iter();
    let changes: Vec<(u64, Change)> = changes
        .map(|tailed| (tailed.sequence.0, tailed.change))
        .collect();
    let expected = [(1, append(1, &["1", "2"])), (2, mark), (3, again)];
    assert_eq!(changes, expected);
}

pub(super) async fn tails_have_no_gap_while_others_write(mut subject: Subject) {
    const COMMITS: u64 = 200;
    let sourced = key("log", "a");
    let value = neighbour(&sourced, "value");
    let batches: Vec<Vec<Commit>> = (1..=COMMITS)
        .map(|number| {
            vec![
                subject.change(&sourced, append(number, &["event"])),
                subject.change(&value, Change::Set(payload(&number.to_string()))),
            ]
        })
        .collect();
    let write = async {
        for batch in batches {
            subject.land(batch).await;
            yield_once().await;
        }
    };
    let mut last_event = 0;
    let follow = async {
        let mut after = SlotSequence(0);
        while last_event < COMMITS {
            yield_once().await;
            for tailed in tail_from(subject.store(), sourced.slot(), after).await {
                assert!(tailed.sequence > after, "in order, and once");
                after = tailed.sequence;
                if let Change::Append { first, .. } = tailed.change {
                    assert_eq!(first, last_event + 1, "without a gap");
                    last_event = first;
                }
            }
        }
    };
    join(follow, write).await;
    let changes = tail(subject.store(), sourced.slot()).await;
    assert_eq!(changes.len() as u64, COMMITS + 1);
}
