//! Encodings: round trips, fixtures of what is stored, and damage.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use firn_model::call::Reply;
use firn_model::code::Code;
use firn_model::decision::{Effect, Forward};
use firn_model::id::{EffectId, EntityKey, Epoch, SLOTS, Slot, SlotSequence, StorageName};
use firn_model::metadata::{Entry, Metadata, Value};
use firn_model::payload::Payload;
use firn_model::status::{GrpcCode, Status};
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;

use super::record::{decode_commit, encode_commit};
use super::row;
use super::{Fault, VERSION, decode, encode};
use crate::commit::{Change, Commit, ReplyRecord, StoredAnswer};
use crate::entity::Timestamp;
use crate::rows::value::{AppendKind, ChangeKind, ChangeRow, EntityRow, EventRow, SetKind};
use crate::timer::{Timer, TimerName, TimerWrite};

fn slots() -> impl Strategy<Value = Slot> {
    (0..SLOTS).prop_map(|number| Slot::new(number).unwrap())
}

fn keys() -> impl Strategy<Value = EntityKey> {
    (".{0,4}", ".{0,4}").prop_map(|(storage, id)| EntityKey::new(StorageName::new(storage), id))
}

fn payloads() -> impl Strategy<Value = Payload> {
    (".{0,8}", vec(any::<u8>(), 0..40)).prop_map(|(url, bytes)| Payload::new(url, bytes))
}

fn metadata() -> impl Strategy<Value = Metadata> {
    let text = ".{0,4}".prop_map(|text| Value::Text(text.into()));
    let binary = vec(any::<u8>(), 0..4).prop_map(|bytes| Value::Binary(bytes.into()));
    let entry = (".{0,4}", prop_oneof![text, binary]).prop_map(|(key, value)| Entry {
        key: key.into(),
        value,
    });
    vec(entry, 0..3).prop_map(|entries| Metadata { entries })
}

fn forwards() -> impl Strategy<Value = Forward> {
    (".{0,4}", ".{0,4}", payloads(), metadata()).prop_map(|(service, method, payload, metadata)| {
        Forward {
            service,
            method,
            payload,
            metadata,
        }
    })
}

fn times() -> impl Strategy<Value = Timestamp> {
    any::<u64>().prop_map(Timestamp)
}

fn changes() -> impl Strategy<Value = Change> {
    let append = (
        any::<u64>(),
        vec(payloads(), 0..3),
        option::of(payloads()),
        option::of(times()),
    );
    prop_oneof![
        payloads().prop_map(Change::Set),
        option::of(times()).prop_map(|until| Change::Delete { until }),
        append.prop_map(|(first, events, snapshot, deleted_until)| Change::Append {
            first,
            events,
            snapshot,
            deleted_until,
        }),
        (any::<u64>(), payloads())
            .prop_map(|(sequence, payload)| Change::Snapshot { sequence, payload }),
        Just(Change::Clean),
    ]
}

fn statuses() -> impl Strategy<Value = Status> {
    (
        proptest::sample::select(&GrpcCode::ALL[..]),
        ".{0,9}",
        option::of(proptest::sample::select(Code::ALL)),
        vec(payloads(), 0..3),
    )
        .prop_map(|(code, message, firn, details)| Status {
            code,
            message,
            details,
            firn,
        })
}

fn records() -> impl Strategy<Value = ReplyRecord> {
    let reply =
        (payloads(), metadata()).prop_map(|(payload, metadata)| Reply { payload, metadata });
    let answer = prop_oneof![
        reply.prop_map(StoredAnswer::Reply),
        forwards().prop_map(StoredAnswer::Forward),
        statuses().prop_map(StoredAnswer::Failure),
    ];
    (".{0,9}", ".{0,9}", any::<u128>(), times(), answer).prop_map(
        |(method, idempotency_key, request_hash, expires, answer)| ReplyRecord {
            method,
            idempotency_key,
            request_hash,
            expires,
            answer,
        },
    )
}

fn effect_ids() -> impl Strategy<Value = EffectId> {
    (slots(), any::<u64>(), any::<u32>()).prop_map(|(slot, sequence, index)| EffectId {
        slot,
        sequence: SlotSequence(sequence),
        index,
    })
}

fn timer_writes() -> impl Strategy<Value = TimerWrite> {
    let name = prop_oneof![
        ".{0,4}".prop_map(|name| TimerName::Own(name.into())),
        effect_ids().prop_map(TimerName::Delayed),
    ];
    let repeat = option::of(any::<u32>().prop_map(|ms| Duration::from_millis(ms.into())));
    let timer = (times(), forwards(), repeat, any::<u32>());
    (name, option::of(timer)).prop_map(|(name, timer)| TimerWrite {
        name,
        timer: timer.map(|(due, call, repeat, hops)| Timer {
            due,
            call,
            repeat,
            hops,
        }),
    })
}

fn commits() -> impl Strategy<Value = Commit> {
    let effect = (forwards(), any::<bool>()).prop_map(|(call, synchronous)| Effect {
        call,
        synchronous,
        delay: None,
    });
    let head = (slots(), any::<u64>(), any::<u64>(), times());
    let contents = (
        option::of(keys()),
        option::of(changes()),
        vec(effect, 0..3),
        any::<u32>(),
        option::of(records()),
    );
    let receipts = (
        option::of(effect_ids()),
        option::of((slots(), any::<u64>().prop_map(SlotSequence))),
        vec(effect_ids(), 0..3),
    );
    let timers = vec(timer_writes(), 0..3);
    let tags = btree_map(".{0,4}", ".{0,4}", 0..3);
    (head, contents, receipts, timers, tags).prop_map(|(head, contents, receipts, timers, tags)| {
        let (slot, epoch, sequence, at) = head;
        let (key, change, effects, hops, reply_record) = contents;
        let (received, receipts_below, delivered) = receipts;
        Commit {
            slot,
            epoch: Epoch(epoch),
            sequence: SlotSequence(sequence),
            at,
            key,
            change,
            tags,
            effects,
            timers,
            hops,
            reply_record,
            received,
            receipts_below,
            delivered,
        }
    })
}

fn encoded(commit: &Commit) -> Bytes {
    let mut bytes = Vec::new();
    encode_commit(commit, &mut bytes);
    bytes.into()
}

proptest! {
    #[test]
    fn commits_come_back(commit in commits()) {
        prop_assert_eq!(decode_commit(encoded(&commit)), Ok(commit));
    }

    #[test]
    fn rows_written_directly_are_those_of_their_messages(
        (key, at, place) in (keys(), times(), (slots(), any::<u64>())),
        (payload, generation) in (payloads(), any::<u64>()),
        (first, count, until) in (any::<u64>(), any::<u64>(), option::of(any::<u64>())),
    ) {
        let (slot, sequence) = (place.0, SlotSequence(place.1));
        let event = EventRow {
            at: at.0,
            slot: slot.number().into(),
            sequence: sequence.0,
            payload: Some((&payload).into()),
        };
        prop_assert_eq!(row::event(at, (slot, sequence), &payload), encode(&event));
        let appended = ChangeKind::Append(AppendKind { first, count, deleted_until: until });
        for kind in [appended, ChangeKind::Set(SetKind {})] {
            let change = ChangeRow {
                key: Some((&key).into()),
                at: at.0,
                generation,
                kind: Some(kind.clone()),
            };
            prop_assert_eq!(row::change(&key, at, generation, &kind), encode(&change));
        }
    }

    #[test]
    fn damaged_commits_are_survived(commit in commits(), damage in vec((any::<u16>(), any::<u8>()), 1..4)) {
        let mut bytes = encoded(&commit).to_vec();
        let length = bytes.len();
        for (at, value) in damage {
            bytes[usize::from(at) % length] = value;
        }
        let _ = decode_commit(bytes.into());
    }

    #[test]
    fn shortened_commits_are_survived(commit in commits(), length in any::<u16>()) {
        let bytes = encoded(&commit);
        let _ = decode_commit(bytes.slice(..usize::from(length) % bytes.len()));
    }
}

/// A commit with something in every field.
fn full() -> Commit {
    let effect = EffectId {
        slot: Slot::new(2).unwrap(),
        sequence: SlotSequence(3),
        index: 4,
    };
    let mut metadata = Metadata::default();
    metadata.push_text("k", "v");
    let call = Forward {
        service: "s".into(),
        method: "m".into(),
        payload: Payload::new("t", vec![1]),
        metadata: metadata.clone(),
    };
    Commit {
        slot: Slot::new(1).unwrap(),
        epoch: Epoch(2),
        sequence: SlotSequence(3),
        at: Timestamp(4),
        key: Some(EntityKey::new(StorageName::new("cart"), "a")),
        change: Some(Change::Append {
            first: 5,
            events: vec![Payload::new("t", vec![6])],
            snapshot: Some(Payload::new("t", vec![7])),
            deleted_until: Some(Timestamp(8)),
        }),
        effects: vec![Effect {
            call,
            synchronous: true,
            delay: None,
        }],
        tags: BTreeMap::new(),
        timers: Vec::new(),
        hops: 9,
        reply_record: Some(ReplyRecord {
            method: "m".into(),
            idempotency_key: "i".into(),
            request_hash: 10,
            expires: Timestamp(11),
            answer: StoredAnswer::Failure(Status::refused(GrpcCode::NotFound, Code::NoReply, "n")),
        }),
        received: Some(effect),
        receipts_below: Some((Slot::new(5).unwrap(), SlotSequence(6))),
        delivered: vec![effect],
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What version 1 stores. A later version must still read it; it may never change.
#[test]
fn stored_forms_are_fixed() {
    assert_eq!(hex(&encoded(&full())), COMMIT_V1);
    assert_eq!(decode_commit(encoded(&full())), Ok(full()));
    let entity = EntityRow {
        generation: 1,
        last_event: 2,
        has_state: true,
        snapshot: Some(3),
        deleted_until: Some(4),
        newest_change: Some(5),
        full_key: None,
        records: None,
        trimmed: 0,
    };
    assert_eq!(
        hex(&encode(&entity)),
        "010801100218012003280430 05".replace(' ', "")
    );
    let event = EventRow {
        at: 1,
        slot: 2,
        sequence: 3,
        payload: Some((&Payload::new("t", vec![4])).into()),
    };
    assert_eq!(hex(&encode(&event)), "0108011002180322060a0174120104");
}

const COMMIT_V1: &str = concat!(
    "0108011002180320042a090a04636172741201614214080512060a01741201061a060a0174120107",
    "20085a1a0a160a017312016d1a060a017412010122060a016b120176100160096a240a016d120169",
    "1a100000000000000000000000000000000a200b3a08080512016e18d01772060802100318047a04",
    "08051006820106080210031804",
);

/// What a Firn stores that knows timers, as the other fixture.
#[test]
fn stored_timers_are_fixed() {
    let mut commit = full();
    let call = commit.effects[0].call.clone();
    let effect = commit.delivered[0];
    commit.timers = vec![
        TimerWrite {
            name: TimerName::Own("n".into()),
            timer: Some(Timer {
                due: Timestamp(1),
                call,
                repeat: Some(Duration::from_millis(2)),
                hops: 3,
            }),
        },
        TimerWrite {
            name: TimerName::Delayed(effect),
            timer: None,
        },
    ];
    let stored = hex(&encoded(&commit));
    assert_eq!(stored.strip_prefix(COMMIT_V1), Some(TIMERS_V1));
    assert_eq!(decode_commit(encoded(&commit)), Ok(commit));
}

const TIMERS_V1: &str = concat!(
    "8a01250a030a016e121e080112160a017312016d1a060a017412010122060a016b12017618022003",
    "8a010a0a081206080210031804",
);

/// What a Firn stores that knows tags, as the other fixture.
#[test]
fn stored_tags_are_fixed() {
    let mut commit = full();
    commit.tags = [("k".to_owned(), "v".to_owned())].into();
    let stored = hex(&encoded(&commit));
    assert_eq!(stored.strip_prefix(COMMIT_V1), Some("9201060a016b120176"));
    assert_eq!(decode_commit(encoded(&commit)), Ok(commit));
}

#[test]
fn unknown_fields_are_skipped() {
    let mut bytes = encoded(&full()).to_vec();
    bytes.extend([0xc0, 0x3e, 1]);
    assert_eq!(decode_commit(bytes.into()), Ok(full()));
}

#[test]
fn other_versions_are_refused() {
    let mut bytes = encoded(&full()).to_vec();
    bytes[0] = VERSION + 1;
    let decoded = decode_commit(bytes.into());
    assert_eq!(decoded, Err(Fault::Version(VERSION + 1)));
    assert_eq!(decode::<EntityRow>(Bytes::new()), Err(Fault::Empty));
    let malformed = decode::<EntityRow>(Bytes::from_static(&[VERSION, 0x08]));
    assert!(matches!(malformed, Err(Fault::Malformed(_))));
    // A slot that does not exist.
    let bytes = Bytes::from_static(&[VERSION, 0x08, 0xff, 0xff, 0x03]);
    assert_eq!(decode_commit(bytes), Err(Fault::Field("a slot")));
}
