//! The cases of slots: sequences, refusals, batches. Their names are the promises.

use std::collections::HashSet;

use firn_model::id::{EntityKey, Epoch, SLOTS, Slot, SlotSequence};

use super::effects::effect_id;
use super::subject::{Subject, append, key, numbered, outcomes, payload, slot, texts};
use crate::Store;
use crate::commit::{Change, Commit, Head, Outcome};

async fn heads(store: &dyn Store) -> Vec<(u16, u64)> {
    let heads = store.heads().await.expect("heads can be read").into_iter();
    let mut heads: Vec<_> = heads
        .map(|(slot, head)| (slot.number(), head.sequence.0))
        .collect();
    heads.sort_unstable();
    heads
}

pub(super) async fn sequences_are_contiguous(mut subject: Subject) {
    assert_eq!(heads(subject.store()).await, []);
    let batch = vec![
        subject.next(slot(3)),
        subject.next(slot(3)),
        subject.next(slot(7)),
    ];
    assert_eq!(
        outcomes(subject.store(), batch).await,
        [(3, Outcome::Landed), (7, Outcome::Landed)]
    );
    let third = subject.next(slot(3));
    subject.land(vec![third]).await;
    assert_eq!(heads(subject.store()).await, [(3, 3), (7, 1)]);
    subject.reopen().await;
    assert_eq!(heads(subject.store()).await, [(3, 3), (7, 1)]);
    let fourth = subject.next(slot(3));
    subject.land(vec![fourth]).await;
    assert_eq!(outcomes(subject.store(), Vec::new()).await, []);
}

pub(super) async fn refused_slots_leave_others_alone(mut subject: Subject) {
    let cart = key("cart", "a");
    subject.apply(&cart, Change::Set(payload("old"))).await;
    let slot_of_cart = cart.slot().number();
    let refused = |sequence| Outcome::Refused {
        head: Head {
            epoch: Epoch(0),
            sequence: SlotSequence(sequence),
        },
    };
    let at = subject.now();
    let mut wrong_epoch = Commit::empty(cart.slot(), Epoch(1), SlotSequence(2), at);
    wrong_epoch.key = Some(cart.clone());
    wrong_epoch.change = Some(Change::Set(payload("new")));
    let mut wrong_sequence = wrong_epoch.clone();
    (wrong_sequence.epoch, wrong_sequence.sequence) = (Epoch(0), SlotSequence(3));
    let mut repeated = wrong_sequence.clone();
    repeated.sequence = SlotSequence(1);
    for wrong in [wrong_epoch, wrong_sequence.clone(), repeated] {
        let other = subject.next(slot(1));
        let outcomes = outcomes(subject.store(), vec![wrong, other]).await;
        assert_eq!(outcomes, [(1, Outcome::Landed), (slot_of_cart, refused(1))]);
    }
    // A gap inside of a batch: the slot stands or falls as a whole.
    let mut fits = wrong_sequence.clone();
    fits.sequence = SlotSequence(2);
    let mut gap = wrong_sequence;
    gap.sequence = SlotSequence(4);
    let outcomes = outcomes(subject.store(), vec![fits, gap]).await;
    assert_eq!(outcomes, [(slot_of_cart, refused(1))]);
    subject.reopen().await;
    assert_eq!(subject.load(&cart).await.state, Some(payload("old")));
    assert_eq!(heads(subject.store()).await, [(1, 3), (slot_of_cart, 1)]);
}

pub(super) async fn broken_commits_are_refused(mut subject: Subject) {
    let cart = key("cart", "a");
    subject.apply(&cart, append(1, &["one", "two"])).await;
    let next = subject.next(cart.slot());
    let broken = [
        (Some(cart.clone()), append(2, &["again"])),
        (Some(cart.clone()), append(4, &["too early"])),
        (
            Some(cart.clone()),
            Change::Snapshot {
                sequence: 3,
                payload: payload("of the future"),
            },
        ),
        (None, Change::Set(payload("of nobody"))),
    ];
    for (key, change) in broken {
        let mut commit = next.clone();
        (commit.key, commit.change) = (key, Some(change));
        let outcomes = outcomes(subject.store(), vec![commit]).await;
        assert!(matches!(outcomes[..], [(_, Outcome::Refused { .. })]));
    }
    let mut misplaced = subject.next(neighbour_slot(cart.slot()));
    misplaced.key = Some(cart.clone());
    misplaced.change = Some(Change::Set(payload("elsewhere")));
    let refused = outcomes(subject.store(), vec![misplaced]).await;
    assert!(matches!(refused[..], [(_, Outcome::Refused { .. })]));
    let mut foreign = next.clone();
    foreign.delivered = vec![effect_id(neighbour_slot(cart.slot()), 1, 0)];
    let outcomes = outcomes(subject.store(), vec![foreign]).await;
    assert!(matches!(outcomes[..], [(_, Outcome::Refused { .. })]));
    subject.land(vec![next]).await;
    subject.reopen().await;
    let entity = subject.load(&cart).await;
    assert_eq!(texts(&entity), numbered(1, &["one", "two"]));
}

fn neighbour_slot(of: Slot) -> Slot {
    slot((of.number() + 1) % SLOTS)
}

pub(super) async fn many_slots_land_in_one_batch(mut subject: Subject) {
    const COUNT: usize = 2000;
    let keys: Vec<EntityKey> = (0..COUNT)
        .map(|number| key("many", &number.to_string()))
        .collect();
    let batch: Vec<Commit> = keys
        .iter()
        .map(|key| subject.change(key, append(1, &[&key.id])))
        .collect();
    let slots: HashSet<Slot> = batch.iter().map(|commit| commit.slot).collect();
    let outcomes = outcomes(subject.store(), batch).await;
    assert_eq!(outcomes.len(), slots.len());
    assert!(
        outcomes
            .iter()
            .all(|(_, outcome)| *outcome == Outcome::Landed)
    );
    subject.reopen().await;
    for key in &keys {
        assert_eq!(texts(&subject.load(key).await), numbered(1, &[&key.id]));
    }
}
