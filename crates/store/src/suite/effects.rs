//! The cases of effects: what is to be delivered, and what was received. Their names are the promises.

use bytes::Bytes;
use firn_model::decision::{Effect, Forward};
use firn_model::id::{EffectId, Slot, SlotSequence};
use firn_model::metadata::{Entry, Metadata, Value};

use super::subject::{Subject, key, payload, slot};
use crate::commit::Change;

pub(super) fn effect(number: u32) -> Effect {
    let mut metadata = Metadata::default();
    metadata.push_text("key", "value");
    metadata.entries.push(Entry {
        key: "key-bin".into(),
        value: Value::Binary(Bytes::from_static(&[0, 255])),
    });
    Effect {
        delay: None,
        call: Forward {
            service: "test.Service".into(),
            method: format!("Method{number}"),
            payload: payload(&number.to_string()),
            metadata,
        },
        synchronous: number.is_multiple_of(2),
    }
}

pub(super) fn effect_id(slot: Slot, sequence: u64, index: u32) -> EffectId {
    EffectId {
        slot,
        sequence: SlotSequence(sequence),
        index,
    }
}

pub(super) async fn outbox_holds_what_is_not_delivered(mut subject: Subject) {
    let cart = key("cart", "a");
    let other = key("other", "b");
    let mut both = subject.change(&cart, Change::Set(payload("one")));
    both.effects = vec![effect(0), effect(1)];
    both.hops = 3;
    let mut without_change = subject.next(other.slot());
    without_change.key = Some(other.clone());
    without_change.effects = vec![effect(2)];
    subject.land(vec![both, without_change]).await;
    subject.reopen().await;
    let outbox = async |subject: &Subject, after, limit| {
        let pending = subject.store().outbox(after, limit).await;
        pending.expect("the outbox can be read")
    };
    let all = outbox(&subject, None, 10).await;
    let mut expected = vec![
        (effect_id(cart.slot(), 1, 0), cart.clone(), effect(0), 3),
        (effect_id(cart.slot(), 1, 1), cart.clone(), effect(1), 3),
        (effect_id(other.slot(), 1, 0), other.clone(), effect(2), 0),
    ];
    expected.sort_by_key(|(id, ..)| *id);
    let seen: Vec<_> = all
        .iter()
        .cloned()
        .map(|pending| (pending.id, pending.sender, pending.effect, pending.hops))
        .collect();
    assert_eq!(seen, expected);
    assert_eq!(outbox(&subject, None, 1).await, all[..1]);
    assert_eq!(outbox(&subject, Some(all[0].id), 1).await, all[1..2]);
    assert_eq!(outbox(&subject, Some(all[2].id), 1).await, []);

    let mut delivered = subject.next(cart.slot());
    delivered.delivered = vec![effect_id(cart.slot(), 1, 0)];
    subject.land(vec![delivered.clone()]).await;
    // Twice does no harm.
    delivered.sequence = delivered.sequence.next();
    let _ = subject.next(cart.slot());
    subject.land(vec![delivered]).await;
    subject.reopen().await;
    let left: Vec<EffectId> = outbox(&subject, None, 10)
        .await
        .iter()
        .map(|pending| pending.id)
        .collect();
    let mut expected = [effect_id(cart.slot(), 1, 1), effect_id(other.slot(), 1, 0)];
    expected.sort();
    assert_eq!(left, expected);
}

pub(super) async fn receipts_stay_until_trimmed(mut subject: Subject) {
    let (receiver, sender, other) = (slot(1), slot(2), slot(16_383));
    let effects = [
        effect_id(sender, 5, 0),
        effect_id(sender, 5, 1),
        effect_id(sender, 7, 0),
        effect_id(other, 1, 0),
    ];
    for effect in effects {
        let mut commit = subject.next(receiver);
        commit.received = Some(effect);
        subject.land(vec![commit]).await;
    }
    let received = async |subject: &Subject, receiver: Slot| {
        let mut received = Vec::new();
        for effect in effects {
            let was_received = subject.store().was_received(receiver, effect).await;
            received.push(was_received.expect("receipts can be read"));
        }
        received
    };
    subject.reopen().await;
    assert_eq!(received(&subject, receiver).await, [true; 4]);
    assert_eq!(received(&subject, sender).await, [false; 4]);
    let trim = async |subject: &mut Subject, below: u64| {
        let mut commit = subject.next(receiver);
        commit.receipts_below = Some((sender, SlotSequence(below)));
        subject.land(vec![commit]).await;
        received(subject, receiver).await
    };
    assert_eq!(trim(&mut subject, 5).await, [true; 4]);
    assert_eq!(trim(&mut subject, 7).await, [false, false, true, true]);
    // Going back changes nothing.
    assert_eq!(trim(&mut subject, 6).await, [false, false, true, true]);
    subject.reopen().await;
    assert_eq!(trim(&mut subject, 8).await, [false, false, false, true]);
}
