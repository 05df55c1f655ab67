//! Encodings: fixtures of what is stored, round trips, and damage.

use std::num::NonZeroU32;

use firn_model::id::{Incarnation, NodeId, Replica};
use firn_model::payload::Payload;
use firn_model::replicated::{Clock, Delta, EntriesDelta, MapDelta, SetDelta, Votes, Write};
use proptest::collection::vec;
use proptest::prelude::*;

use super::{DecodeError, VERSION};
use crate::tests::cluster::{Cluster, steps};
use crate::{Context, Gap, Patch, State};
use firn_model::limit::MAP_DEPTH_MAX;

fn replica(node: u64, incarnation: u32) -> Replica {
    Replica {
        node: NodeId(node),
        incarnation: Incarnation(NonZeroU32::new(incarnation).unwrap()),
    }
}

fn payload(value: &str) -> Payload {
    Payload::new("t", value.as_bytes().to_vec())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes(hex: &str) -> Vec<u8> {
    let hex: Vec<u8> = hex.bytes().filter(|byte| *byte != b' ').collect();
    let digits = hex.chunks(2).map(|two| std::str::from_utf8(two).unwrap());
    digits
        .map(|two| u8::from_str_radix(two, 16).unwrap())
        .collect()
}

/// A map with something of every type.
fn full() -> Delta {
    let write = |value, clock| Write {
        value: payload(value),
        clock,
    };
    let set = || SetDelta {
        added: vec![payload("x"), payload("y")],
        ..SetDelta::default()
    };
    let deltas = [
        Delta::GrowCounter(300),
        Delta::Counter(-2),
        Delta::GrowSet(vec![payload("x")]),
        Delta::Set(set()),
        Delta::Flag(true),
        Delta::Register(write("v", Clock::Custom(-1))),
        Delta::Map(MapDelta::default()),
        Delta::Vote(Votes {
            own: true,
            ..Votes::default()
        }),
        Delta::CounterMap(EntriesDelta {
            updated: vec![(payload("k"), 1)],
            ..EntriesDelta::default()
        }),
        Delta::RegisterMap(EntriesDelta {
            updated: vec![(payload("k"), write("v", Clock::Custom(7)))],
            ..EntriesDelta::default()
        }),
        Delta::MultiMap(EntriesDelta {
            updated: vec![(payload("k"), set())],
            ..EntriesDelta::default()
        }),
    ];
    let key = |place| payload(&char::from(b'a' + place).to_string());
    let added = (0..).zip(deltas).map(|(place, delta)| (key(place), delta));
    Delta::Map(MapDelta {
        added: added.collect(),
        ..MapDelta::default()
    })
}

/// States and patches, each with what version 1 makes of it.
fn fixtures() -> Vec<(Patch, &'static str)> {
    let mut state = State::default();
    let one = replica(1, 1);
    let first = state.apply(one, 0, &full()).unwrap().patch;
    let all = Patch::from(state.clone());
    let removed = MapDelta {
        removed: vec![payload("k")],
        updated: vec![(payload("b"), Delta::Counter(1))],
        ..MapDelta::default()
    };
    let known = state.context().clone();
    let second = state.apply(replica(2, 3), 0, &Delta::Map(removed)).unwrap();
    state.close(NodeId(1), replica(1, 2).incarnation);
    state.close_for_ever(NodeId(9));
    vec![
        (State::default().into(), NOTHING_V1),
        (State::default().delete(), DELETED_V1),
        (first, FIRST_V1),
        (all, ALL_V1),
        (second.patch, SECOND_V1),
        (state.since(&known).unwrap(), LACKING_V1),
        (state.into(), CLOSED_V1),
    ]
}

/// What version 1 stores. A later version must still read it; it may never change.
#[test]
fn stored_forms_are_fixed() {
    for (patch, stored) in fixtures() {
        assert_eq!(hex(&patch.encode()), stored.replace(' ', ""));
        assert_eq!(Patch::decode(&bytes(stored)), Ok(patch));
    }
    let mut context = State::decode(&bytes(CLOSED_V1)).unwrap().context().clone();
    context.union(
        &[5, 6, 9]
            .map(|seq| crate::Dot {
                replica: replica(4, 300),
                seq,
            })
            .into_iter()
            .collect(),
    );
    assert_eq!(hex(&context.encode()), CONTEXT_V1.replace(' ', ""));
    assert_eq!(Context::decode(&bytes(CONTEXT_V1)), Ok(context));
    assert_eq!(hex(&Context::EVERYTHING.encode()), "010100");
    assert_eq!(hex(&Context::default().encode()), "010101");
}

const NOTHING_V1: &str = "010201000001";
const DELETED_V1: &str = "010200000001";
const FIRST_V1: &str = concat!(
    "010202000000000000000100010101001a000002070100010b00017401610201010002010003d8040001",
    "620202010004010005030001630203010006010001780100070001640204010008020001780100090001",
    "7901000a000165020501000b01000c000166020601000d01000e01000176000167020701000f00000168",
    "02080100100100110100016902090100120100016b02020100130100140200016a020a0100150100016b",
    "02060100160100170e00017600016b020b0100180100016b02040100190200017801001a00017901001b",
);
const ALL_V1: &str = concat!(
    "010202000000000000000100010101001a000003070100010b00017401610201010002010003d8040001",
    "620202010004010005030001630203010006010001780100070001640204010008020001780100090001",
    "7901000a000165020501000b01000c000166020601000d01000e01000176000167020701000f00000168",
    "02080100100100110100016902090100120100016b02020100130100140200016a020a0100150100016b",
    "02060100160100170e00017600016b020b0100180100016b02040100190200017801001a00017901001b",
);
const SECOND_V1: &str = concat!(
    "010203000000000000000100010102030013030000000000000002000103010001010002030013030002",
    "070002000174016202020101010101020200016b01",
);
const LACKING_V1: &str = concat!(
    "0102040000000000000001010000000000000000020001030100010000000000000009ffffffff0f0000",
    "01010000000000000001010200020112030700010001740162020201000101000202",
);
const CLOSED_V1: &str = concat!(
    "0102040000000000000001010000000000000000020001030100010000000000000009ffffffff0f0000",
    "0003070101000000000000000101010a00017401610201010102010103d8040001620202010001020105",
    "0300020200016302030101060100017801010700016402040101080200017801010900017901010a0001",
    "65020501010b01010c000166020601010d01010e01000176000167020701010f00000168020801011001",
    "01110100016902090101120100016b02020101130101140200016a020a0101150100016b020601011601",
    "01170e000176",
);
const CONTEXT_V1: &str = concat!(
    "01010500000000000000010100000000000000000200010301000100000000000000040001ac02020401",
    "02000000000000000009ffffffff0f00",
);

/// Every shorter piece and every longer one is refused: the bytes say how long they are.
#[test]
fn lengths_are_exact() {
    for (patch, _) in fixtures() {
        let bytes = patch.encode();
        for length in 0..bytes.len() {
            assert!(Patch::decode(&bytes[..length]).is_err(), "{length}");
        }
        let longer = [&bytes[..], &[0, 0]].concat();
        assert_eq!(Patch::decode(&longer), Err(DecodeError::Long(2)));
        let context = patch.context().encode();
        for length in 0..context.len() {
            assert!(Context::decode(&context[..length]).is_err(), "{length}");
        }
    }
}

#[test]
fn what_no_writer_writes_is_refused() {
    let check = |text: &str, expected: DecodeError| {
        let decoded = Patch::decode(&bytes(text));
        assert_eq!(
            decoded.map(|patch| hex(&patch.encode())),
            Err(expected),
            "{text}"
        );
    };
    let invalid = DecodeError::Invalid;
    let (short, order) = (DecodeError::Short, DecodeError::Order);
    check("", short("a number"));
    check("02", DecodeError::Version(VERSION + 1));
    check("0101", DecodeError::Kind(1));
    check("0102", short("a number"));
    check("01028100", invalid("a number"));
    check(&format!("0102{}01", "ff".repeat(18)), invalid("a number"));
    check(
        &format!("0102{}01", "ff".repeat(9) + "7f"),
        invalid("a number"),
    );
    let node = |node: u64, rest: &str| format!("{node:016x} {rest}");
    check(
        &format!("0102 02 {}", node(1, "00 00")),
        invalid("a node without dots"),
    );
    check("0102 02 0000", short("a node"));
    check(
        &format!("0102 02 {}", node(1, "ff ff ff ff 7f")),
        invalid("a closed incarnation"),
    );
    let one = node(1, "00 01 01 01 00 04");
    check(&format!("0102 03 {one} {one}"), order("nodes"));
    check(
        &format!("0102 02 {}", node(1, "02 01 01 01 00 04")),
        invalid("a run that is closed"),
    );
    check(
        &format!("0102 02 {}", node(1, "00 01 00 01 00 04")),
        invalid("an incarnation"),
    );
    check(
        &format!("0102 02 {}", node(1, "00 01 01 00")),
        invalid("a run without dots"),
    );
    check(
        &format!("0102 02 {}", node(1, "00 01 01 02 00 04 00 00")),
        invalid("a span"),
    );
    // One replica with five dots is known from here on.
    let check = |rest: &str, expected| check(&format!("0102 02 {one} {rest}"), expected);
    check("02 00 01 00 00 00 01 00 01", order("replicas"));
    check(
        &format!("01 01 {} 01 01 00 00", node(1, "")),
        invalid("the place of a replica"),
    );
    check(
        &format!("01 02 {} 01 01 00 00", node(2, "")),
        invalid("the place of a replica"),
    );
    check("01 00 01 05 00 00 00", invalid("what is said of a dot"));
    check(
        "01 00 01 00 00 01 00 01 00 00 00",
        invalid("what is said of a dot"),
    );
    let check = |rest: &str, expected| check(&format!("00 00 {rest}"), expected);
    check("02 0c", invalid("a type"));
    check("02 05 01 00 06 00", invalid("what is said of a dot"));
    check("02 05 01 00 00 00", invalid("the number of a dot"));
    check("02 05 02 00 02 00 01", order("dots"));
    check("04 05 01 00 01 00 05 01 00 02 00", order("types"));
    check("03 05 00 00", invalid("a slot that is named in vain"));
    check(
        "03 04 01 00 01 01 00 01 74 01 61 00",
        invalid("an element that is named in vain"),
    );
    check(
        "03 07 01 00 01 01 00 01 74 01 61 00",
        invalid("an entry that is named in vain"),
    );
    check(
        "03 07 01 00 01 01 00 01 74 01 61 03",
        invalid("an entry that is named in vain"),
    );
    check("02 01 00 01 00 01 01", invalid("a share"));
    check(
        &format!("02 02 00 01 00 01 {}01", "ff".repeat(15)),
        invalid("a share"),
    );
    check(
        &format!("02 06 00 01 00 01 {}01", "ff".repeat(9) + "ff"),
        invalid("a stamp"),
    );
    check(
        "02 06 00 02 00 02 00 00 00 00 00 01 00 00 00",
        order("dots"),
    );
    check("02 08 00 01 00 01 02", invalid("a vote"));
    check(
        "02 09 00 01 00 01 74 01 61 02 05 00 00",
        invalid("the type of a value"),
    );
    check(
        "02 04 00 02 00 01 74 01 61 00 00 01 61 00",
        order("elements"),
    );
    check("02 04 00 01 00 01 ff 01 61 00", invalid("a type URL"));
    check(
        "02 04 00 01 01 01 74 01 61 00",
        invalid("the place of a type URL"),
    );
    check(
        "02 04 00 02 00 01 74 01 61 00 01 01 74 01 62 00",
        invalid("the place of a type URL"),
    );
    check("02 04 00 01 00 05 74", short("a text"));
    let maps =
        |deep| "02 07 00 01 00 01 74 00 ".to_owned() + &"02 07 00 01 00 00 ".repeat(deep - 1);
    check(&(maps(MAP_DEPTH_MAX) + "02 07 00 00"), DecodeError::TooDeep);
    check(
        &(maps(MAP_DEPTH_MAX) + "02 05 00 00 00"),
        DecodeError::Long(1),
    );
    // Of a state that is only part of one.
    let part = State::decode(&bytes(FIRST_V1));
    assert_eq!(part, Err(invalid("a state that is part of one only")));
    assert_eq!(Context::decode(&bytes(FIRST_V1)), Err(DecodeError::Kind(2)));
}

/// Claims of very many dots cost no more than others.
#[test]
fn long_spans_are_no_burden() {
    let most = "ffffffffffffffff3f";
    let patch = |killed: &str| {
        let one = format!("{:016x} 00 01 01 01 00 {most}", 1);
        bytes(&format!("0102 02 {one} {killed} 00 00"))
    };
    let patch = |killed: &str| Patch::decode(&patch(killed)).unwrap();
    let (mut all, killed) = (patch("00"), patch(&format!("01 00 01 00 {most}")));
    all.merge(killed.clone());
    assert_eq!(all, patch("00"));
    assert_eq!(State::default().merge(killed), Err(Gap));
    let mut state = State::default();
    assert_eq!(state.merge(all), Ok(true));
}

/// Whatever is accepted has the one form that is written.
fn survives(bytes: &[u8]) {
    if let Ok(patch) = Patch::decode(bytes) {
        assert_eq!(patch.encode(), bytes);
        let mut state = State::default();
        let _ = state.merge(patch);
        let _ = state.value(NodeId(1), &[NodeId(1)].into());
    }
    if let Ok(context) = Context::decode(bytes) {
        assert_eq!(context.encode(), bytes);
    }
}

#[test]
fn any_bytes_are_survived() {
    bolero::check!().for_each(|bytes: &[u8]| {
        survives(bytes);
        for kind in [1, 2] {
            survives(&[&[VERSION, kind], bytes].concat());
        }
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn damage_is_survived((_, steps) in steps(20), damage in vec((any::<u16>(), any::<u8>()), 1..4)) {
        let cluster = Cluster::after(&steps);
        let states = cluster.nodes.iter().map(|node| node.state.encode());
        let patches = cluster.patches.iter().map(Patch::encode);
        let contexts = cluster.patches.iter().map(|patch| patch.context().encode());
        for bytes in states.chain(patches).chain(contexts) {
            survives(&bytes);
            let mut bytes = bytes.to_vec();
            let length = bytes.len();
            for (at, value) in &damage {
                bytes[usize::from(*at) % length] = *value;
            }
            survives(&bytes);
        }
    }
}
