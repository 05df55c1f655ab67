//! Replicated entities: every message in every layout as exact bytes, in both directions, what a
//! function may get wrong, and round trips.
//!
//! Bytes are written as hexadecimal text. What is in brackets has its length in front, and `$a` and
//! `$b` stand for the payloads [`a`] and [`b`].

use firn_model::call::Reply as Called;
use firn_model::decision::{Answer, Effect, Failure, Forward};
use firn_model::limit::MAP_DEPTH_MAX;
use firn_model::metadata::Metadata;
use firn_model::payload::Payload;
use firn_model::policy::Headers;
use firn_model::replicated::{
    CancelAnswer, Change, Clock, Consistency, DataType, Delta, EntriesDelta, InvalidDelta,
    MapDelta, Reply, SetDelta, StateAction, StreamedMessage, Votes, Write,
};
use firn_wire::convert::Violation;
use firn_wire::convert::instance::{Command, Instance, StreamFailure};
use firn_wire::convert::replicated::{
    Layout, New, NoCounterpart, Old, OldUnary, Out, States, Streaming,
};
use proptest::prelude::*;
use prost::Message;

const INSTANCE: Instance<'_> = Instance {
    service: "s.S",
    entity_id: "e",
};

fn a() -> Payload {
    Payload::new("t/A", &b"\x08\x01"[..])
}

fn b() -> Payload {
    Payload::new("t/B", &b""[..])
}

/// The bytes that a text stands for.
fn bytes(text: &str) -> Vec<u8> {
    let text = text
        .replace("$a", "[0a [74 2f 41] 12 [08 01]]")
        .replace("$b", "[0a [74 2f 42]]");
    let mut open = vec![Vec::new()];
    let mut digit = None;
    for letter in text.chars().filter(|letter| *letter != ' ') {
        match (letter, digit) {
            ('[', _) => open.push(Vec::new()),
            (']', _) => {
                let content = open.pop().unwrap();
                let outer = open.last_mut().unwrap();
                outer.push(u8::try_from(content.len()).unwrap());
                outer.extend(content);
            }
            (_, None) => digit = letter.to_digit(16),
            (_, Some(high)) => {
                let byte = high * 16 + letter.to_digit(16).unwrap();
                open.last_mut().unwrap().push(u8::try_from(byte).unwrap());
                digit = None;
            }
        }
    }
    let [bytes] = <[_; 1]>::try_from(open).unwrap();
    bytes
}

/// A field that holds these bytes.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![number << 3 | 2];
    prost::encoding::encode_varint(content.len() as u64, &mut bytes);
    bytes.extend_from_slice(content);
    bytes
}

fn encoded<L: Layout>(message: &L::In) -> Vec<u8> {
    let bytes = message.encode_to_vec();
    assert_eq!(message.encoded_len(), bytes.len());
    bytes
}

fn read<L: Layout>(layout: &mut L, bytes: &[u8]) -> Result<Out, Violation> {
    layout.read(L::Out::decode(bytes).unwrap())
}

/// Where each layout has what differs only in its numbers.
trait Numbers: Layout {
    /// Of a change that is sent.
    const SENT: u8;
    /// Of a change in a state action.
    const UPDATE: u8;
    /// Of a deletion that is sent, with the field's wire type.
    const DELETED: u8;
    /// Of a deletion in a state action.
    const DELETE: u8;
    /// Of a command.
    const COMMAND: u8;
    /// Of a failure.
    const FAILURE: u8;

    /// A stream on which changes are sent as such.
    fn with_value() -> Self {
        Self::default()
    }
}

impl Numbers for New {
    const SENT: u8 = 2;
    const UPDATE: u8 = 1;
    const DELETED: u8 = 3;
    const DELETE: u8 = 2;
    const COMMAND: u8 = 4;
    const FAILURE: u8 = 2;
}

impl Numbers for Old {
    const SENT: u8 = 2;
    const UPDATE: u8 = 1;
    const DELETED: u8 = 3;
    const DELETE: u8 = 2;
    const COMMAND: u8 = 4;
    const FAILURE: u8 = 4;
}

impl Numbers for OldUnary {
    const SENT: u8 = 2;
    const UPDATE: u8 = 1;
    const DELETED: u8 = 3;
    const DELETE: u8 = 2;
    const COMMAND: u8 = 4;
    const FAILURE: u8 = 2;
}

impl Numbers for States {
    const SENT: u8 = 3;
    const UPDATE: u8 = 6;
    const DELETED: u8 = 4;
    const DELETE: u8 = 7;
    const COMMAND: u8 = 5;
    const FAILURE: u8 = 4;

    fn with_value() -> Self {
        let mut states = Self::default();
        states.init(INSTANCE, Some(Delta::Counter(0))).unwrap();
        states
    }
}

/// Number of a whole value in the state action of [`States`].
const CREATE: u8 = 5;

/// Number of a whole value that is sent to [`States`].
const STATE: u8 = 2;

/// A reply to command 7 with this state action.
fn reply_with(state_action: &[u8]) -> Vec<u8> {
    field(1, &[&[0x08, 7], &field(5, state_action)[..]].concat())
}

/// What a reply with this state action changes.
fn change<L: Layout>(layout: &mut L, state_action: &[u8]) -> Change {
    let reply = read(layout, &reply_with(state_action)).unwrap();
    let Out::Reply(reply) = reply else {
        panic!("{reply:?}");
    };
    assert_eq!((reply.command, &reply.answer), (7, &Answer::Nothing));
    reply.change.unwrap()
}

/// How a function's change is understood.
fn understood<L: Numbers>(delta: &[u8]) -> Result<Delta, InvalidDelta> {
    update(change(&mut L::default(), &field(L::UPDATE, delta)))
}

fn update(change: Change) -> Result<Delta, InvalidDelta> {
    assert_eq!(change.consistency, Consistency::Local);
    match change.action {
        StateAction::Update(update) => update,
        StateAction::Delete => panic!("a deletion"),
    }
}

fn added(elements: Vec<Payload>) -> Delta {
    Delta::Set(SetDelta {
        added: elements,
        ..SetDelta::default()
    })
}

fn write(value: Payload) -> Write {
    Write {
        value,
        clock: Clock::Default,
    }
}

fn register() -> Delta {
    Delta::Register(write(a()))
}

fn map() -> Delta {
    Delta::Map(MapDelta {
        cleared: true,
        removed: vec![b()],
        updated: vec![(a(), Delta::Counter(-1))],
        added: vec![(b(), Delta::Counter(2))],
    })
}

fn map_of(added: Vec<(Payload, Delta)>) -> Delta {
    Delta::Map(MapDelta {
        added,
        ..MapDelta::default()
    })
}

fn vote() -> Delta {
    Delta::Vote(Votes {
        own: true,
        yes: 2,
        members: 3,
    })
}

/// Holds a change against its bytes in one layout, in both directions.
fn both_ways<L: Numbers>(delta: &Delta, text: &str) {
    let bytes = bytes(text);
    let sent = L::with_value().delta(delta.clone()).unwrap();
    assert_eq!(encoded::<L>(&sent), field(L::SENT, &bytes), "{delta:?}");
    assert_eq!(understood::<L>(&bytes).as_ref(), Ok(delta), "{text}");
}

#[test]
fn texts_stand_for_bytes() {
    assert_eq!(bytes("12 [0aff [] [01]]"), b"\x12\x05\x0a\xff\x00\x01\x01");
    assert_eq!(
        bytes("$a$b"),
        b"\x09\x0a\x03t/A\x12\x02\x08\x01\x05\x0a\x03t/B"
    );
}

/// A set that is cleared, loses [`a`] and gets [`b`].
fn set() -> SetDelta {
    SetDelta {
        cleared: true,
        removed: vec![a()],
        added: vec![b()],
    }
}

#[test]
fn changes_of_the_new_layout() {
    let check = |delta: Delta, text: &str| both_ways::<New>(&delta, text);
    check(Delta::Counter(-3), "0a [08 05]");
    check(Delta::Counter(0), "0a []");
    let lowest = "0a [08 ff ff ff ff ff ff ff ff ff 01]";
    check(Delta::Counter(i64::MIN), lowest);
    check(Delta::Set(set()), "12 [08 01 12 $a 1a $b]");
    check(added(vec![]), "12 []");
    check(register(), "1a [0a $a]");
    check(
        map(),
        "22 [08 01 12 $b 1a [0a $a 12 [0a [08 01]]] 22 [0a $b 12 [0a [08 04]]]]",
    );
    check(
        map_of(vec![(a(), map_of(vec![(b(), added(vec![a()]))]))]),
        "22 [22 [0a $a 12 [22 [22 [0a $b 12 [12 [1a $a]]]]]]]",
    );
    check(
        Delta::CounterMap(EntriesDelta {
            cleared: true,
            removed: vec![b()],
            updated: vec![(a(), -1), (b(), 0)],
        }),
        "2a [08 01 12 $b 1a [0a $a 12 [08 01]] 1a [0a $b 12 []]]",
    );
    check(
        Delta::RegisterMap(EntriesDelta {
            cleared: false,
            removed: vec![a()],
            updated: vec![(b(), write(a()))],
        }),
        "32 [12 $a 1a [0a $b 12 [0a $a]]]",
    );
    check(
        Delta::MultiMap(EntriesDelta {
            cleared: false,
            removed: vec![],
            updated: vec![(b(), set())],
        }),
        "3a [1a [0a $b 12 [08 01 12 $a 1a $b]]]",
    );
    check(vote(), "42 [08 01 10 02 18 03]");
}

/// The changes that all old layouts write in the same way.
fn changes_of_old_layouts<L: Numbers>() {
    let check = |delta: Delta, text: &str| both_ways::<L>(&delta, text);
    check(Delta::Counter(-3), "12 [08 05]");
    check(Delta::Counter(0), "12 []");
    check(Delta::Set(set()), "22 [08 01 12 $a 1a $b]");
    check(register(), "2a [0a $a]");
    let smaller = MapDelta {
        cleared: true,
        removed: vec![b()],
        updated: vec![(a(), Delta::Counter(-1))],
        added: vec![],
    };
    check(
        Delta::Map(smaller),
        "3a [08 01 12 $b 1a [0a $a 12 [12 [08 01]]]]",
    );
    check(vote(), "42 [08 01 10 02 18 03]");
}

/// The changes of types that only Cloudstate has.
fn changes_of_cloudstate<L: Numbers>() {
    let check = |delta: Delta, text: &str| both_ways::<L>(&delta, text);
    check(Delta::GrowCounter(5), "0a [08 05]");
    let highest = "0a [08 ff ff ff ff ff ff ff ff ff 01]";
    check(Delta::GrowCounter(u64::MAX), highest);
    check(Delta::GrowSet(vec![a(), b()]), "1a [0a $a 0a $b]");
    check(Delta::Flag(true), "32 [08 01]");
    check(Delta::Flag(false), "32 []");
}

#[test]
fn changes_of_the_old_layout() {
    changes_of_old_layouts::<Old>();
    changes_of_old_layouts::<OldUnary>();
    changes_of_cloudstate::<Old>();
    let check = |delta: Delta, text: &str| {
        both_ways::<Old>(&delta, text);
        both_ways::<OldUnary>(&delta, text);
    };
    check(
        map(),
        "3a [08 01 12 $b 1a [0a $a 12 [12 [08 01]]] 22 [0a $b 12 [12 [08 04]]]]",
    );
    check(
        map_of(vec![(a(), map_of(vec![(b(), added(vec![a()]))]))]),
        "3a [22 [0a $a 12 [3a [22 [0a $b 12 [22 [1a $a]]]]]]]",
    );
}

#[test]
fn changes_of_the_layout_with_states() {
    changes_of_old_layouts::<States>();
    changes_of_cloudstate::<States>();
    let check = |delta: Delta, text: &str| both_ways::<States>(&delta, text);
    // New entries are whole values: no zigzag.
    check(
        map(),
        "3a [08 01 12 $b 1a [0a $a 12 [12 [08 01]]] 22 [0a $b 12 [12 [08 02]]]]",
    );
    check(
        map_of(vec![(a(), map_of(vec![(b(), Delta::Flag(true))]))]),
        "3a [22 [0a $a 12 [3a [0a [0a $b 12 [32 [08 01]]]]]]]",
    );
}

#[test]
fn whole_values_of_the_layout_with_states() {
    let check = |delta: Delta, text: &str| {
        let bytes = bytes(text);
        let sent = States::default().delta(delta.clone()).unwrap();
        assert_eq!(encoded::<States>(&sent), field(STATE, &bytes), "{delta:?}");
        let created = change(&mut States::default(), &field(CREATE, &bytes));
        assert_eq!(update(created), Ok(delta), "{text}");
    };
    check(Delta::GrowCounter(5), "0a [08 05]");
    check(Delta::Counter(-3), "12 [08 fd ff ff ff ff ff ff ff ff 01]");
    check(Delta::GrowSet(vec![a(), b()]), "1a [0a $a 0a $b]");
    check(added(vec![a(), b()]), "22 [0a $a 0a $b]");
    check(register(), "2a [0a $a]");
    check(Delta::Flag(true), "32 [08 01]");
    check(Delta::Flag(false), "32 []");
    check(
        map_of(vec![
            (a(), Delta::Counter(2)),
            (b(), map_of(vec![(a(), added(vec![]))])),
        ]),
        "3a [0a [0a $a 12 [12 [08 02]]] 0a [0a $b 12 [3a [0a [0a $a 12 [22 []]]]]]]",
    );
    check(vote(), "42 [08 02 10 03 18 01]");
}

#[test]
fn clocks_come_from_the_function_only() {
    let write = |clock| Delta::Register(Write { value: a(), clock });
    fn check<L: Numbers>(number: &str, delta: &Delta, clock: &str) {
        let content = bytes(&format!("{number} [0a $a {clock}]"));
        assert_eq!(understood::<L>(&content).as_ref(), Ok(delta));
        let sent = L::with_value().delta(delta.clone()).unwrap();
        let plain = bytes(&format!("{number} [0a $a]"));
        assert_eq!(encoded::<L>(&sent), field(L::SENT, &plain));
    }
    let clocks = [
        (Clock::Reverse, "10 01"),
        (Clock::Custom(5), "10 02 18 05"),
        (Clock::Custom(-1), "10 02 18 ff ff ff ff ff ff ff ff ff 01"),
        (Clock::CustomAutoIncrement(0), "10 03"),
        (Clock::CustomAutoIncrement(7), "10 03 18 07"),
    ];
    for (clock, text) in clocks {
        check::<New>("1a", &write(clock), text);
        check::<Old>("2a", &write(clock), text);
        check::<OldUnary>("2a", &write(clock), text);
        check::<States>("2a", &write(clock), text);
        let created = bytes(&format!("2a [0a $a {text}]"));
        let created = change(&mut States::default(), &field(CREATE, &created));
        assert_eq!(update(created), Ok(write(clock)));
    }
    // A number for a clock that takes none.
    let ignored = bytes("1a [0a $a 18 05]");
    assert_eq!(understood::<New>(&ignored), Ok(register()));
}

#[test]
fn votes_of_the_function_are_taken_as_they_are() {
    let negative = bytes("42 [10 ff ff ff ff ff ff ff ff ff 01]");
    let nobody = Delta::Vote(Votes::default());
    assert_eq!(understood::<New>(&negative), Ok(nobody.clone()));
    assert_eq!(understood::<Old>(&negative), Ok(nobody));
    let crowd = Delta::Vote(Votes {
        own: false,
        yes: u32::MAX,
        members: 0,
    });
    let sent = New.delta(crowd).unwrap();
    let most = field(2, &bytes("42 [10 ff ff ff ff 07]"));
    assert_eq!(encoded::<New>(&sent), most);
}

#[test]
fn type_that_a_layout_lacks_is_not_sent() {
    fn check<L: Layout>(delta: Delta, data_type: DataType) {
        let lacks = Some(NoCounterpart(data_type));
        let mut layout = L::default();
        assert_eq!(layout.init(INSTANCE, Some(delta.clone())).err(), lacks);
        assert_eq!(layout.delta(delta.clone()).err(), lacks);
        let inside = map_of(vec![(a(), delta)]);
        assert_eq!(layout.delta(inside).err(), lacks);
    }
    check::<New>(Delta::GrowCounter(1), DataType::GrowCounter);
    check::<New>(Delta::GrowSet(vec![]), DataType::GrowSet);
    check::<New>(Delta::Flag(true), DataType::Flag);
    let counters = || Delta::CounterMap(EntriesDelta::default());
    let registers = || Delta::RegisterMap(EntriesDelta::default());
    let sets = || Delta::MultiMap(EntriesDelta::default());
    check::<OldUnary>(Delta::GrowCounter(1), DataType::GrowCounter);
    check::<OldUnary>(Delta::GrowSet(vec![]), DataType::GrowSet);
    check::<OldUnary>(Delta::Flag(true), DataType::Flag);
    check::<OldUnary>(counters(), DataType::CounterMap);
    check::<Old>(counters(), DataType::CounterMap);
    check::<Old>(registers(), DataType::RegisterMap);
    check::<Old>(sets(), DataType::MultiMap);
    check::<States>(counters(), DataType::CounterMap);
    check::<States>(registers(), DataType::RegisterMap);
    check::<States>(sets(), DataType::MultiMap);
    let mut states = States::with_value();
    let lacks = Err(NoCounterpart(DataType::CounterMap));
    assert_eq!(states.delta(counters()), lacks);
}

mod invalid {
    use super::*;

    fn check<L: Numbers>(text: &str, expected: InvalidDelta) {
        assert_eq!(understood::<L>(&bytes(text)), Err(expected), "{text}");
    }

    /// The numbers of set, register and map in a layout.
    fn check_all<L: Numbers>(set: &str, register: &str, map: &str) {
        let check = |number: &str, text: &str, expected| {
            check::<L>(&format!("{number} {text}"), expected);
        };
        super::invalid::check::<L>("", InvalidDelta::NoType);
        let no_url = InvalidDelta::NoTypeUrl;
        check(set, "[12 []]", no_url);
        check(set, "[1a [12 [08 01]]]", no_url);
        check(register, "[0a []]", no_url);
        check(map, "[12 []]", no_url);
        check(map, "[1a [0a [] 12 [42 []]]]", no_url);
        check(set, "[1a [0a [ff]]]", InvalidDelta::TypeUrl);
        check(register, "[0a [0a [74 ff]]]", InvalidDelta::TypeUrl);
        check(register, "[]", InvalidDelta::NoValue);
        check(register, "[10 01]", InvalidDelta::NoValue);
        check(register, "[0a $a 10 04]", InvalidDelta::Clock(4));
        let below = "[0a $a 10 ff ff ff ff ff ff ff ff ff 01]";
        check(register, below, InvalidDelta::Clock(-1));
        for entries in ["1a", "22"] {
            check(map, &format!("[{entries} []]"), InvalidDelta::NoKey);
            let keyless = format!("[{entries} [12 [42 []]]]");
            check(map, &keyless, InvalidDelta::NoKey);
            let valueless = format!("[{entries} [0a $a]]");
            check(map, &valueless, InvalidDelta::NoEntryDelta);
            let typeless = format!("[{entries} [0a $a 12 []]]");
            check(map, &typeless, InvalidDelta::NoType);
        }
    }

    #[test]
    fn changes_are_told_apart() {
        check_all::<New>("12", "1a", "22");
        check_all::<Old>("22", "2a", "3a");
        check_all::<OldUnary>("22", "2a", "3a");
        check_all::<States>("22", "2a", "3a");
        check::<Old>("1a [0a []]", InvalidDelta::NoTypeUrl);
        // A type of another layout, or of none.
        check::<Old>("4a []", InvalidDelta::NoType);
        check::<New>("4a []", InvalidDelta::NoType);
    }

    #[test]
    fn special_maps_are_no_better() {
        for map in ["2a", "32", "3a"] {
            check::<New>(&format!("{map} [12 []]"), InvalidDelta::NoTypeUrl);
            check::<New>(&format!("{map} [1a []]"), InvalidDelta::NoKey);
            check::<New>(&format!("{map} [1a [0a $a]]"), InvalidDelta::NoEntryDelta);
        }
        check::<New>("32 [1a [0a $a 12 []]]", InvalidDelta::NoValue);
        check::<New>("3a [1a [0a $a 12 [12 []]]]", InvalidDelta::NoTypeUrl);
    }

    #[test]
    fn whole_values_are_told_apart() {
        let check = |text: &str, expected| {
            let created = change(&mut States::default(), &field(CREATE, &bytes(text)));
            assert_eq!(update(created), Err(expected), "{text}");
        };
        check("", InvalidDelta::NoType);
        check("1a [0a []]", InvalidDelta::NoTypeUrl);
        check("22 [0a [0a [ff]]]", InvalidDelta::TypeUrl);
        check("2a []", InvalidDelta::NoValue);
        check("2a [0a $a 10 09]", InvalidDelta::Clock(9));
        check("3a [0a []]", InvalidDelta::NoKey);
        check("3a [0a [0a $a]]", InvalidDelta::NoEntryDelta);
        check("3a [0a [0a $a 12 []]]", InvalidDelta::NoType);
    }

    #[test]
    fn action_that_says_nothing() {
        fn check<L: Layout>(consistency: Consistency, action: &[u8]) {
            let expected = Change {
                action: StateAction::Update(Err(InvalidDelta::NoType)),
                consistency,
            };
            assert_eq!(change(&mut L::default(), action), expected);
        }
        check::<New>(Consistency::Local, b"");
        check::<Old>(Consistency::Local, b"");
        check::<States>(Consistency::Local, b"");
        check::<Old>(Consistency::Majority, b"\x18\x01");
        check::<States>(Consistency::All, b"\x40\x02");
    }

    /// A map in a map in a map… with a vote in the last.
    fn nested(depth: usize, map: u8, entries: u8) -> Vec<u8> {
        let key = bytes("0a $a");
        (0..depth).fold(bytes("42 []"), |inside, _| {
            let entry = [&key[..], &field(2, &inside)].concat();
            field(map, &field(entries, &entry))
        })
    }

    #[test]
    fn maps_may_be_nested_so_deep_and_no_deeper() {
        fn check<L: Numbers>(map: u8) {
            for entries in [3, 4] {
                let deepest = nested(MAP_DEPTH_MAX, map, entries);
                assert!(understood::<L>(&deepest).is_ok());
                let deeper = nested(MAP_DEPTH_MAX + 1, map, entries);
                let too_deep = Err(InvalidDelta::TooDeep(MAP_DEPTH_MAX));
                assert_eq!(understood::<L>(&deeper), too_deep);
            }
        }
        check::<New>(4);
        check::<Old>(7);
        // Here a new entry is a whole value, which is nested in its own way.
        let created = |depth| {
            let state = nested(depth, 7, 1);
            update(change(&mut States::default(), &field(CREATE, &state)))
        };
        assert!(created(MAP_DEPTH_MAX).is_ok());
        let too_deep = Err(InvalidDelta::TooDeep(MAP_DEPTH_MAX));
        assert_eq!(created(MAP_DEPTH_MAX + 1), too_deep);
        let updated = nested(MAP_DEPTH_MAX + 1, 7, 3);
        assert_eq!(understood::<States>(&updated), too_deep);
    }

    #[test]
    fn whole_values_in_changes_count_with_the_maps_they_are_in() {
        // A whole value within changed maps.
        let mixed = |changed: usize, whole: usize| {
            let state = nested(whole, 7, 1);
            let entry = [&bytes("0a $a")[..], &field(2, &state)].concat();
            let innermost = field(7, &field(4, &entry));
            let delta = (1..changed).fold(innermost, |inside, _| {
                let entry = [&bytes("0a $a")[..], &field(2, &inside)].concat();
                field(7, &field(3, &entry))
            });
            understood::<States>(&delta)
        };
        assert!(mixed(8, MAP_DEPTH_MAX - 8).is_ok());
        let too_deep = Err(InvalidDelta::TooDeep(MAP_DEPTH_MAX));
        assert_eq!(mixed(9, MAP_DEPTH_MAX - 8), too_deep);
    }
}

mod towards_the_function {
    use super::*;

    fn command<'a>(metadata: &'a Metadata, headers: &'a Headers) -> Command<'a> {
        Command {
            entity_id: "e",
            id: 1,
            name: "M",
            payload: a(),
            metadata,
            headers,
        }
    }

    fn sent<L: Layout>(message: L::In, expected: &str) {
        assert_eq!(encoded::<L>(&message), bytes(expected));
    }

    #[test]
    fn opening_with_and_without_a_value() {
        let nothing = "0a [0a [732e53] 12 [65]]";
        fn empty<L: Layout>(expected: &str) {
            sent::<L>(L::default().init(INSTANCE, None).unwrap(), expected);
        }
        empty::<New>(nothing);
        empty::<Old>(nothing);
        empty::<OldUnary>(nothing);
        empty::<States>(nothing);
        fn counter<L: Layout>(expected: &str) {
            let value = Some(Delta::Counter(-3));
            sent::<L>(L::default().init(INSTANCE, value).unwrap(), expected);
        }
        counter::<New>("0a [0a [732e53] 12 [65] 1a [0a [08 05]]]");
        counter::<Old>("0a [0a [732e53] 12 [65] 1a [12 [08 05]]]");
        counter::<OldUnary>("0a [0a [732e53] 12 [65] 1a [12 [08 05]]]");
        let whole = "0a [0a [732e53] 12 [65] 1a [12 [08 fd ff ff ff ff ff ff ff ff 01]]]";
        counter::<States>(whole);
    }

    #[test]
    fn commands() {
        let none = Metadata::default();
        let unary = "0a [65] 10 01 1a [4d] 22 $a";
        fn check<L: Numbers>(metadata: &Metadata, streaming: Streaming, content: &str) {
            let number = L::COMMAND << 3 | 2;
            let command = command(metadata, &Headers::None);
            let message = L::default().command(command, streaming);
            sent::<L>(message, &format!("{number:02x} [{content}]"));
        }
        check::<New>(&none, Streaming::Unary, unary);
        check::<Old>(&none, Streaming::Unary, unary);
        check::<OldUnary>(&none, Streaming::Unary, unary);
        check::<States>(&none, Streaming::Unary, unary);
        let streamed = format!("{unary} 28 01");
        check::<Old>(&none, Streaming::Streamed, &streamed);
        check::<States>(&none, Streaming::Streamed, &streamed);
        // There is no such thing.
        check::<New>(&none, Streaming::Streamed, unary);
        check::<OldUnary>(&none, Streaming::Streamed, unary);
    }

    #[test]
    fn headers_of_a_command() {
        let mut metadata = Metadata::default();
        metadata.push_text("a", "b");
        let message = New.command(command(&metadata, &Headers::All), Streaming::Unary);
        let expected = "22 [0a [65] 10 01 1a [4d] 22 $a 32 [0a [0a [61] 12 [62]]]]";
        sent::<New>(message, expected);
    }

    #[test]
    fn deletions_and_cancellations() {
        fn deleted<L: Numbers>() {
            assert_eq!(encoded::<L>(&L::default().delete()), field(L::DELETED, b""));
        }
        deleted::<New>();
        deleted::<Old>();
        deleted::<OldUnary>();
        deleted::<States>();
        let cancelled = Old.stream_cancelled("e", 3).unwrap();
        sent::<Old>(cancelled, "2a [0a [65] 10 03]");
        let cancelled = States::default().stream_cancelled("e", 3).unwrap();
        sent::<States>(cancelled, "32 [0a [65] 10 03]");
        assert_eq!(New.stream_cancelled("e", 3), None);
        assert_eq!(OldUnary::default().stream_cancelled("e", 3), None);
    }

    /// Whether the next change is sent as a whole value.
    fn is_whole(states: &mut States) -> bool {
        let sent = encoded::<States>(&states.delta(Delta::Flag(true)).unwrap());
        match sent[0] >> 3 {
            2 => true,
            3 => false,
            other => panic!("field {other}"),
        }
    }

    #[test]
    fn function_without_a_value_is_sent_a_whole_one_first() {
        let mut states = States::default();
        states.init(INSTANCE, None).unwrap();
        assert!(is_whole(&mut states));
        assert!(!is_whole(&mut states));
        let mut states = States::default();
        states.init(INSTANCE, Some(Delta::Flag(false))).unwrap();
        assert!(!is_whole(&mut states));
    }

    #[test]
    fn function_that_made_a_value_is_sent_changes() {
        let check = |made: bool, out: &[u8]| {
            let mut states = States::default();
            states.init(INSTANCE, None).unwrap();
            read(&mut states, out).unwrap();
            assert_eq!(is_whole(&mut states), !made, "{out:02x?}");
        };
        check(true, &reply_with(&bytes("2a [32 [08 01]]")));
        check(true, &reply_with(&bytes("32 [32 [08 01]]")));
        check(true, &bytes("1a [08 07 1a [2a [32 [08 01]]]]"));
        // It holds also what nobody else understands.
        check(true, &reply_with(&bytes("2a []")));
        check(false, &reply_with(&bytes("40 01")));
        check(false, &bytes("0a [08 07]"));
        check(false, &bytes("1a [08 07]"));
        check(false, &bytes("22 [08 07]"));
    }

    #[test]
    fn value_that_could_not_be_sent_is_none() {
        let mut states = States::default();
        states.init(INSTANCE, None).unwrap();
        let unknown = Delta::CounterMap(EntriesDelta::default());
        assert!(states.delta(unknown).is_err());
        assert!(is_whole(&mut states));
    }
}

mod from_the_function {
    use super::*;

    const REPLY: &str = "12 [0a [0a $a]]";
    const EFFECT: &str = "[0a [732e53] 12 [4d] 1a $b 20 01]";

    fn answer() -> Answer {
        Answer::Reply(Called {
            payload: a(),
            metadata: Metadata::default(),
        })
    }

    fn effects() -> Vec<Effect> {
        vec![Effect {
            call: Forward {
                service: "s.S".into(),
                method: "M".into(),
                payload: b(),
                metadata: Metadata::default(),
            },
            synchronous: true,
            delay: None,
        }]
    }

    fn failed(restart: bool) -> Failure {
        Failure {
            text: "no".into(),
            code: None,
            details: Vec::new(),
            restart,
        }
    }

    fn check<L: Layout>(text: &str, expected: Out) {
        assert_eq!(
            read(&mut L::default(), &bytes(text)),
            Ok(expected),
            "{text}"
        );
    }

    #[test]
    fn replies() {
        fn each<L: Numbers>(counter: &str, may_stream: bool) {
            let update = L::UPDATE << 3 | 2;
            let text =
                format!("0a [08 07 {REPLY} 22 {EFFECT} 2a [{update:02x} [{counter} [08 02]]]");
            let mut reply = Reply {
                command: 7,
                answer: answer(),
                effects: effects(),
                change: Some(Change {
                    action: StateAction::Update(Ok(Delta::Counter(1))),
                    consistency: Consistency::Local,
                }),
                streamed: false,
            };
            check::<L>(&format!("{text}]"), Out::Reply(reply.clone()));
            reply.streamed = may_stream;
            check::<L>(&format!("{text} 30 01]"), Out::Reply(reply));
        }
        each::<New>("0a", false);
        each::<Old>("12", true);
        each::<OldUnary>("12", true);
        each::<States>("12", true);
    }

    #[test]
    fn reply_of_nothing() {
        fn each<L: Layout>() {
            let reply = Reply {
                command: 0,
                answer: Answer::Nothing,
                effects: vec![],
                change: None,
                streamed: false,
            };
            check::<L>("0a []", Out::Reply(reply));
        }
        each::<New>();
        each::<Old>();
        each::<OldUnary>();
        each::<States>();
    }

    #[test]
    fn deletions() {
        fn each<L: Numbers>() {
            let change = change(&mut L::default(), &field(L::DELETE, b""));
            let expected = Change {
                action: StateAction::Delete,
                consistency: Consistency::Local,
            };
            assert_eq!(change, expected);
        }
        each::<New>();
        each::<Old>();
        each::<OldUnary>();
        each::<States>();
    }

    #[test]
    fn consistency_is_in_the_replies_of_cloudstate() {
        let check = |number: u8, expected: Consistency| {
            let old = change(&mut Old, &[0x12, 0, 0x18, number]);
            let states = change(&mut States::default(), &[0x3a, 0, 0x40, number]);
            for change in [old, states] {
                assert_eq!(change.action, StateAction::Delete);
                assert_eq!(change.consistency, expected);
            }
        };
        check(0, Consistency::Local);
        check(1, Consistency::Majority);
        check(2, Consistency::All);
        // More than anything known.
        check(3, Consistency::All);
        check(127, Consistency::All);
    }

    #[test]
    fn streamed_messages_and_answers_to_cancellations() {
        let message = |answer, effects, ends| {
            Out::Streamed(StreamedMessage {
                command: 7,
                answer,
                effects,
                ends,
            })
        };
        let check = |text: &str, expected: Out| {
            check::<Old>(text, expected.clone());
            check::<States>(text, expected);
        };
        check(
            &format!("12 [08 07 {REPLY} 1a {EFFECT}]"),
            message(answer(), effects(), false),
        );
        check("12 [08 07 20 01]", message(Answer::Nothing, vec![], true));
        let failure = Answer::Failure(failed(false));
        check(
            "12 [08 07 12 [1a [12 [6e6f] 18 01]]]",
            message(failure, vec![], false),
        );
        let gone = |effects, change| {
            Out::CancelAnswer(CancelAnswer {
                command: 7,
                effects,
                change,
            })
        };
        check("1a [08 07]", gone(vec![], None));
        let change = Some(Change {
            action: StateAction::Update(Ok(Delta::Counter(-1))),
            consistency: Consistency::Majority,
        });
        let text = format!("1a [08 07 12 {EFFECT} 1a [0a [12 [08 01]] 18 01]]");
        super::from_the_function::check::<Old>(&text, gone(effects(), change.clone()));
        let text = format!("1a [08 07 12 {EFFECT} 1a [32 [12 [08 01]] 40 01]]");
        super::from_the_function::check::<States>(&text, gone(effects(), change));
    }

    #[test]
    fn failures_name_their_command_or_none() {
        fn each<L: Numbers>() {
            let number = L::FAILURE << 3 | 2;
            let failed = |command_id| {
                Out::Failure(StreamFailure {
                    command_id,
                    failure: failed(false),
                })
            };
            let text = format!("{number:02x} [08 04 12 [6e6f]]");
            check::<L>(&text, failed(Some(4)));
            // A replicated entity has nothing to restart from.
            let text = format!("{number:02x} [12 [6e6f] 18 01]");
            check::<L>(&text, failed(None));
        }
        each::<New>();
        each::<Old>();
        each::<OldUnary>();
        each::<States>();
    }

    #[test]
    fn broken_protocol_is_told_apart() {
        fn each<L: Layout>() {
            let read = |text: &str| read(&mut L::default(), &bytes(text));
            assert_eq!(read(""), Err(Violation::NoContent));
            let not_text = "0a [08 07 12 [0a [0a [0a [ff]]]]]";
            assert_eq!(read(not_text), Err(Violation::TypeUrl));
            let not_text = "0a [08 07 22 [1a [0a [ff]]]]";
            assert_eq!(read(not_text), Err(Violation::TypeUrl));
        }
        each::<New>();
        each::<Old>();
        each::<OldUnary>();
        each::<States>();
    }
}

fn payloads() -> impl Strategy<Value = Payload> {
    ("[a-z]{1,3}/[A-Z]", prop::collection::vec(any::<u8>(), 0..4))
        .prop_map(|(url, bytes)| Payload::new(url, bytes))
}

fn lists<T: std::fmt::Debug>(item: impl Strategy<Value = T>) -> impl Strategy<Value = Vec<T>> {
    prop::collection::vec(item, 0..3)
}

fn sets() -> impl Strategy<Value = SetDelta> {
    (any::<bool>(), lists(payloads()), lists(payloads())).prop_map(|(cleared, removed, added)| {
        SetDelta {
            cleared,
            removed,
            added,
        }
    })
}

fn entries<T: std::fmt::Debug>(
    value: impl Strategy<Value = T>,
) -> impl Strategy<Value = EntriesDelta<T>> {
    let updated = lists((payloads(), value));
    (any::<bool>(), lists(payloads()), updated).prop_map(|(cleared, removed, updated)| {
        EntriesDelta {
            cleared,
            removed,
            updated,
        }
    })
}

/// Changes of the types that all layouts have, and of these.
fn deltas(others: BoxedStrategy<Delta>) -> impl Strategy<Value = Delta> {
    let vote = (any::<bool>(), 0..9_u32, 0..9_u32);
    let single = prop_oneof![
        any::<i64>().prop_map(Delta::Counter),
        sets().prop_map(Delta::Set),
        payloads().prop_map(|value| Delta::Register(write(value))),
        vote.prop_map(|(own, yes, members)| Delta::Vote(Votes { own, yes, members })),
        others,
    ];
    single.prop_recursive(3, 24, 4, |inner| {
        let changed = lists((payloads(), inner.clone()));
        let added = lists((payloads(), inner));
        (any::<bool>(), lists(payloads()), changed, added).prop_map(
            |(cleared, removed, updated, added)| {
                Delta::Map(MapDelta {
                    cleared,
                    removed,
                    updated,
                    added,
                })
            },
        )
    })
}

fn new_deltas() -> impl Strategy<Value = Delta> {
    let others = prop_oneof![
        entries(any::<i64>()).prop_map(Delta::CounterMap),
        entries(payloads().prop_map(write)).prop_map(Delta::RegisterMap),
        entries(sets()).prop_map(Delta::MultiMap),
    ];
    deltas(others.boxed())
}

fn old_deltas() -> impl Strategy<Value = Delta> {
    let others = prop_oneof![
        any::<u64>().prop_map(Delta::GrowCounter),
        lists(payloads()).prop_map(Delta::GrowSet),
        any::<bool>().prop_map(Delta::Flag),
    ];
    deltas(others.boxed())
}

/// What a change makes of the empty value, as a change from it.
fn from_empty(delta: Delta) -> Delta {
    match delta {
        Delta::Set(set) => added(set.added),
        Delta::Map(map) => {
            let entries = map.added.into_iter();
            map_of(entries.map(|(key, it)| (key, from_empty(it))).collect())
        }
        other => other,
    }
}

/// The same with new entries as whole values.
fn with_states(delta: Delta) -> Delta {
    match delta {
        Delta::Map(map) => {
            let (updated, added) = (map.updated.into_iter(), map.added.into_iter());
            Delta::Map(MapDelta {
                updated: updated.map(|(key, it)| (key, with_states(it))).collect(),
                added: added.map(|(key, it)| (key, from_empty(it))).collect(),
                ..map
            })
        }
        other => other,
    }
}

/// Sends a change to a function that sends it back.
fn echoed<L: Numbers>(delta: Delta) -> Delta {
    let sent = L::with_value().delta(delta).unwrap().encode_to_vec();
    // Of one field, which is the change with its length.
    let update = [&[L::UPDATE << 3 | 2], &sent[1..]].concat();
    update_of::<L>(&update)
}

fn update_of<L: Layout>(state_action: &[u8]) -> Delta {
    update(change(&mut L::default(), state_action)).unwrap()
}

/// A reply with a change of every kind of trouble in it, as bytes to damage.
fn full_reply() -> Vec<u8> {
    let map = "08 01 12 $b 1a [0a $a 12 [3a [22 [0a $b 12 [2a [0a $a]]]]]]";
    let more = "22 [0a $b 12 [22 [08 01 12 $a 1a $b]]]";
    reply_with(&bytes(&format!("0a [3a [{map} {more}]]")))
}

fn read_all(bytes: &[u8]) {
    fn each<L: Layout>(bytes: &[u8]) {
        if let Ok(out) = L::Out::decode(bytes) {
            let _ = L::default().read(out);
        }
    }
    each::<New>(bytes);
    each::<Old>(bytes);
    each::<OldUnary>(bytes);
    each::<States>(bytes);
}

#[test]
fn any_bytes_of_a_function_are_survived() {
    bolero::check!().for_each(read_all);
}

proptest! {
    #[test]
    fn damaged_replies_are_survived(at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<bool>()) {
        let mut bytes = full_reply();
        let at = at.index(bytes.len());
        if cut {
            bytes.truncate(at);
        } else {
            bytes[at] = byte;
        }
        read_all(&bytes);
    }

    #[test]
    fn new_changes_come_back_as_they_went(delta in new_deltas()) {
        prop_assert_eq!(echoed::<New>(delta.clone()), delta);
    }

    #[test]
    fn old_changes_come_back_as_they_went(delta in old_deltas()) {
        prop_assert_eq!(&echoed::<Old>(delta.clone()), &delta);
        if OldUnary::default().delta(delta.clone()).is_ok() {
            prop_assert_eq!(&echoed::<OldUnary>(delta.clone()), &delta);
        }
        prop_assert_eq!(echoed::<States>(delta.clone()), with_states(delta.clone()));
        let sent = States::default().delta(delta.clone()).unwrap().encode_to_vec();
        let create = [&[CREATE << 3 | 2], &sent[1..]].concat();
        prop_assert_eq!(update_of::<States>(&create), from_empty(delta));
    }
}
