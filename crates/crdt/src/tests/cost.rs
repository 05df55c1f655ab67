//! What must stay small, and what must not be walked.

use std::collections::BTreeSet;

use firn_model::id::NodeId;
use firn_model::payload::Payload;
use firn_model::replicated::{Delta, EntriesDelta, SetDelta};

use super::changes::payload;
use super::cluster::replica;
use crate::State;
use crate::entry::Store;

fn numbered(number: usize) -> Payload {
    Payload::new("type.googleapis.com/a.B", number.to_be_bytes().to_vec())
}

fn adding(added: Vec<Payload>) -> Delta {
    Delta::Set(SetDelta {
        added,
        ..SetDelta::default()
    })
}

fn removing(removed: Vec<Payload>) -> Delta {
    Delta::Set(SetDelta {
        removed,
        ..SetDelta::default()
    })
}

/// A set of this size, made by one replica.
fn set(size: usize) -> State {
    let mut state = State::default();
    let delta = adding((0..size).map(numbered).collect());
    state.apply(replica(0, 1), 0, &delta).unwrap();
    state
}

/// Ten thousand times there and gone again leave nothing behind, here and elsewhere.
#[test]
fn what_comes_and_goes_leaves_nothing() {
    let (mut one, mut two) = (State::default(), State::default());
    for round in 0..10_000 {
        let me = replica(round % 2, 1);
        let state = if round % 2 == 0 { &mut one } else { &mut two };
        let added = state.apply(me, 0, &adding(vec![payload("a")])).unwrap();
        let removed = state.apply(me, 0, &removing(vec![payload("a")])).unwrap();
        let other = if round % 2 == 0 { &mut two } else { &mut one };
        for patch in [added.patch, removed.patch] {
            assert!(patch.encode().len() < 60);
            other.merge(patch).unwrap();
        }
    }
    assert_eq!(one.encode(), two.encode());
    assert!(one.encode().len() < 50, "{}", one.encode().len());
    assert!(matches!(&one.0.root.slots[0].store, Store::Set(elements) if elements.is_empty()));
}

#[test]
fn counters_do_not_grow_with_their_changes() {
    let mut state = State::default();
    for round in 0..10_000 {
        let delta = Delta::CounterMap(EntriesDelta {
            updated: vec![(payload("a"), 1)],
            ..EntriesDelta::default()
        });
        state.apply(replica(round % 3, 1), 0, &delta).unwrap();
    }
    assert!(state.encode().len() < 150, "{}", state.encode().len());
}

/// A patch speaks of what changed, not of what is there.
#[test]
fn patches_do_not_grow_with_the_state() {
    let mut state = set(1000);
    let mut other = state.clone();
    let changes = [
        adding(vec![numbered(5), numbered(5000)]),
        removing(vec![numbered(7)]),
    ];
    for delta in changes {
        let patch = state.apply(replica(0, 1), 0, &delta).unwrap().patch;
        assert!(patch.encode().len() < 100);
        other.merge(patch).unwrap();
    }
    let lacking = state.since(set(1000).context()).unwrap();
    assert!(lacking.encode().len() < 150, "{}", lacking.encode().len());
    let cleared = Delta::Set(SetDelta {
        cleared: true,
        ..SetDelta::default()
    });
    let patch = state.apply(replica(0, 1), 0, &cleared).unwrap().patch;
    assert!(patch.encode().len() < 60);
    other.merge(patch).unwrap();
    assert_eq!(other.encode(), state.encode());
}

/// Dots and type URLs cost little beside the elements' own bytes.
#[test]
fn sets_are_compact() {
    let state = set(10_000);
    let each = state.encode().len() as f64 / 10_000.0;
    assert!(each < 8.0 + 6.0, "{each} bytes for 8 of a value");
    let value = state.value(NodeId(1), &BTreeSet::new());
    assert_eq!(value, Some(adding((0..10_000).map(numbered).collect())));
}
