//! Replicas and runs of nodes: round trips, fixtures of what is stored, and damage.

use firn_model::id::{EffectId, EntityKey, SLOTS, Slot, SlotSequence, StorageName};
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::encoding::{VERSION, encode};
use crate::rows::value::{NodeRow, ReplicaRow, ReplicaStateRow};

fn slots() -> impl Strategy<Value = Slot> {
    (0..SLOTS).prop_map(|number| Slot::new(number).unwrap())
}

fn effect_ids() -> impl Strategy<Value = EffectId> {
    (slots(), any::<u64>(), any::<u32>()).prop_map(|(slot, sequence, index)| EffectId {
        slot,
        sequence: SlotSequence(sequence),
        index,
    })
}

fn writes() -> impl Strategy<Value = ReplicaWrite> {
    let key = (".{0,4}", ".{0,4}")
        .prop_map(|(storage, id)| EntityKey::new(StorageName::new(storage), id));
    let below = (slots(), any::<u64>().prop_map(SlotSequence));
    let receipts = (vec(effect_ids(), 0..3), vec(below, 0..3));
    (
        key,
        any::<u64>(),
        vec(any::<u8>(), 0..40),
        any::<bool>(),
        receipts,
    )
        .prop_map(|(key, at, state, deleted, receipts)| ReplicaWrite {
            key,
            at: Timestamp(at),
            state: state.into(),
            deleted,
            received: receipts.0,
            receipts_below: receipts.1,
        })
}

fn runs() -> impl Strategy<Value = Run> {
    (".{0,9}", any::<u64>(), any::<NonZeroU32>()).prop_map(|(name, node, incarnation)| Run {
        name,
        replica: Replica {
            node: NodeId(node),
            incarnation: Incarnation(incarnation),
        },
    })
}

fn replica_bytes(node: NodeId, write: &ReplicaWrite) -> Bytes {
    let mut bytes = Vec::new();
    encode_replica(node, write, &mut bytes);
    bytes.into()
}

fn run_bytes(run: &Run) -> Bytes {
    let mut bytes = Vec::new();
    encode_run(run, &mut bytes);
    bytes.into()
}

proptest! {
    #[test]
    fn replicas_come_back(node: u64, write in writes()) {
        let node = NodeId(node);
        prop_assert_eq!(decode_replica(replica_bytes(node, &write)), Ok((node, write)));
    }

    #[test]
    fn runs_come_back(run in runs()) {
        prop_assert_eq!(decode_run(run_bytes(&run)), Ok(run));
    }

    #[test]
    fn damage_is_survived(
        write in writes(),
        run in runs(),
        damage in vec((any::<u16>(), any::<u8>()), 1..4),
        length: u16,
    ) {
        for bytes in [replica_bytes(NodeId(1), &write), run_bytes(&run)] {
            let mut damaged = bytes.to_vec();
            for (at, value) in &damage {
                damaged[usize::from(*at) % bytes.len()] = *value;
            }
            for bytes in [damaged.into(), bytes.slice(..usize::from(length) % bytes.len())] {
                let _ = decode_replica(bytes.clone());
                let _ = decode_run(bytes);
            }
        }
    }
}

/// A write with something in every field.
fn full() -> ReplicaWrite {
    let effect = |sequence| EffectId {
        slot: Slot::new(2).unwrap(),
        sequence: SlotSequence(sequence),
        index: 4,
    };
    ReplicaWrite {
        key: EntityKey::new(StorageName::new("likes"), "a"),
        at: Timestamp(1),
        state: Bytes::from_static(b"state"),
        deleted: true,
        received: vec![effect(3), effect(5)],
        receipts_below: vec![(Slot::new(6).unwrap(), SlotSequence(7))],
    }
}

fn run() -> Run {
    Run {
        name: "n".to_owned(),
        replica: Replica {
            node: NodeId(0x0102),
            incarnation: Incarnation(NonZeroU32::new(3).unwrap()),
        },
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What version 1 stores. A later version must still read it; it may never change.
#[test]
fn stored_forms_are_fixed() {
    let replica = replica_bytes(NodeId(0x0102), &full());
    assert_eq!(hex(&replica), REPLICA_V1);
    assert_eq!(hex(&run_bytes(&run())), RUN_V1);
    let row = ReplicaRow {
        at: 1,
        deleted: true,
        full_key: None,
    };
    assert_eq!(hex(&encode(&row)), "0108011001");
    let row = ReplicaStateRow {
        state: Bytes::from_static(b"state"),
    };
    assert_eq!(hex(&encode(&row)), "010a057374617465");
    let row = NodeRow {
        name: "n".to_owned(),
        node: 0x0102,
        incarnation: 3,
    };
    assert_eq!(hex(&encode(&row)), RUN_V1);
}

const REPLICA_V1: &str = concat!(
    "01090201000000000000120a0a056c696b6573120161180122057374617465280132060802100318",
    "0432060802100518043a0408061007",
);

const RUN_V1: &str = "010a016e1102010000000000001803";

#[test]
fn unknown_fields_are_skipped() {
    let mut bytes = replica_bytes(NodeId(1), &full()).to_vec();
    bytes.extend([0xc0, 0x3e, 1]);
    assert_eq!(decode_replica(bytes.into()), Ok((NodeId(1), full())));
    let mut bytes = run_bytes(&run()).to_vec();
    bytes.extend([0xc0, 0x3e, 1]);
    assert_eq!(decode_run(bytes.into()), Ok(run()));
}

#[test]
fn what_was_never_written_is_refused() {
    let mut bytes = replica_bytes(NodeId(1), &full()).to_vec();
    bytes[0] = VERSION + 1;
    let decoded = decode_replica(bytes.into());
    assert_eq!(decoded, Err(Fault::Version(VERSION + 1)));
    let nothing = Bytes::from_static(&[VERSION]);
    let fault = Fault::Field("the entity of a replica");
    assert_eq!(decode_replica(nothing.clone()), Err(fault));
    assert_eq!(decode_run(nothing), Err(Fault::Field("an incarnation")));
    // A slot that does not exist.
    let bytes = [&[VERSION, 0x12, 0, 0x3a, 4][..], &[0x08, 0xff, 0xff, 0x03]].concat();
    assert_eq!(decode_replica(bytes.into()), Err(Fault::Field("a slot")));
}
