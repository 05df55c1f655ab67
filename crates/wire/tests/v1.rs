//! firn.v1: every kind of frame as exact bytes, changes of replicated data in both directions, what
//! is wrong with a contract, and bytes that are nothing.

use bytes::Bytes;
use firn_model::code::Code;
use firn_model::contract::{Finding, FunctionInfo};
use firn_model::limit::MAP_DEPTH_MAX;
use firn_model::payload::Payload;
use firn_model::replicated::{
    Clock, Consistency, DataType, Delta, EntriesDelta, InvalidDelta, MapDelta, SetDelta, Votes,
    Write,
};
use firn_wire::superset::Any;
use firn_wire::v1::contract::{Declaration, read, taken};
use firn_wire::v1::message::firn_frame::Frame as Out;
use firn_wire::v1::message::function_frame::Frame as In;
use firn_wire::v1::message::{self as wire, FirnFrame, FunctionBatch, FunctionFrame};
use firn_wire::v1::{chunk, convert, data};
use proptest::prelude::*;
use prost::Message;
use protox::file::{File, FileResolver};

/// A field that holds these bytes.
fn held(number: u8, content: impl AsRef<[u8]>) -> Vec<u8> {
    let content = content.as_ref();
    let mut bytes = vec![number << 3 | 2];
    prost::encoding::encode_varint(content.len() as u64, &mut bytes);
    bytes.extend_from_slice(content);
    bytes
}

/// A field that holds this number.
fn number(field: u8, value: u64) -> Vec<u8> {
    let mut bytes = vec![field << 3];
    prost::encoding::encode_varint(value, &mut bytes);
    bytes
}

fn all(fields: &[Vec<u8>]) -> Vec<u8> {
    fields.concat()
}

fn any(name: &str) -> Any {
    Any {
        type_url: Bytes::from(name.to_owned()),
        value: Bytes::from_static(b"\x08\x01"),
    }
}

/// The bytes of [`any`].
fn any_bytes(name: &str) -> Vec<u8> {
    all(&[held(1, name), held(2, b"\x08\x01")])
}

/// A message is these bytes, says how long it is, and comes back.
fn check<M: Message + Default + PartialEq + std::fmt::Debug>(message: &M, expected: &[u8]) {
    let encoded = message.encode_to_vec();
    assert_eq!(encoded, expected, "{message:?}");
    assert_eq!(message.encoded_len(), encoded.len());
    assert_eq!(&M::decode(encoded.as_slice()).unwrap(), message);
}

fn target() -> wire::Target {
    wire::Target {
        service: "s.S".to_owned(),
        method: "M".to_owned(),
        message: Bytes::from_static(b"m"),
        metadata: None,
    }
}

fn target_bytes() -> Vec<u8> {
    all(&[held(1, "s.S"), held(2, "M"), held(3, "m")])
}

fn metadata() -> Option<wire::Metadata> {
    use wire::metadata::entry::Value;

    let entry = |key: &str, value| wire::metadata::Entry {
        key: key.to_owned(),
        value: Some(value),
    };
    Some(wire::Metadata {
        entries: vec![
            entry("a", Value::Text("1".to_owned())),
            entry("b-bin", Value::Binary(Bytes::from_static(b"\xff"))),
        ],
    })
}

fn metadata_bytes() -> Vec<u8> {
    all(&[
        held(1, all(&[held(1, "a"), held(2, "1")])),
        held(1, all(&[held(1, "b-bin"), held(3, b"\xff")])),
    ])
}

/// A component with every option, and its bytes.
fn component() -> (wire::Component, Vec<u8>) {
    let component = wire::Component {
        service: "s.S".to_owned(),
        model: wire::Model::Actor.into(),
        methods: vec![wire::Method {
            name: "M".to_owned(),
            id: vec!["a.b".to_owned()],
        }],
        id: vec!["id".to_owned()],
        storage: "st".to_owned(),
        passivate_after: Some(prost_types::Duration {
            seconds: 2,
            nanos: 3,
        }),
        headers: vec!["*".to_owned()],
        events: vec!["s.E".to_owned()],
        state: "s.K".to_owned(),
        snapshot_every: 7,
        data: wire::DataType::MultiMap.into(),
        consistency: wire::Consistency::All.into(),
        durability: wire::Durability::WriteBehind.into(),
    };
    let bytes = all(&[
        held(1, "s.S"),
        number(2, 5),
        held(3, all(&[held(1, "M"), held(2, "a.b")])),
        held(4, "id"),
        held(5, "st"),
        held(6, all(&[number(1, 2), number(2, 3)])),
        held(7, "*"),
        held(8, "s.E"),
        held(9, "s.K"),
        number(10, 7),
        number(11, 11),
        number(12, 2),
        number(13, 1),
    ]);
    (component, bytes)
}

/// A decision with everything, and its bytes.
fn decision() -> (wire::Decision, Vec<u8>) {
    use wire::effect::Effect;
    use wire::timer::{Action, Schedule, Unset};

    let second = Some(prost_types::Duration {
        seconds: 1,
        nanos: 0,
    });
    let effect = |effect| wire::Effect {
        effect: Some(effect),
    };
    let timer = |name: &str, action| wire::Timer {
        name: name.to_owned(),
        action: Some(action),
    };
    let decision = wire::Decision {
        command: 300,
        answer: Some(wire::decision::Answer::Reply(Bytes::from_static(b"r"))),
        metadata: metadata(),
        mutation: Some(wire::Mutation {
            mutation: Some(wire::mutation::Mutation::Append(wire::Append {
                events: vec![any("t/E")],
                snapshot: Some(any("t/K")),
            })),
        }),
        effects: vec![
            effect(Effect::Call(wire::CallEffect {
                target: Some(target()),
                wait: true,
                delay: second,
            })),
            effect(Effect::Publish(wire::Publish {
                topic: "t".to_owned(),
                message: Some(any("t/P")),
                metadata: None,
            })),
        ],
        timers: vec![
            timer(
                "x",
                Action::Set(Schedule {
                    after: second,
                    method: "M".to_owned(),
                    message: Bytes::from_static(b"m"),
                    repeat: true,
                }),
            ),
            timer("y", Action::Cancel(Unset {})),
        ],
        version: 9,
    };
    let append = all(&[held(1, any_bytes("t/E")), held(2, any_bytes("t/K"))]);
    let call = all(&[held(1, target_bytes()), number(2, 1), held(3, number(1, 1))]);
    let publish = all(&[held(1, "t"), held(2, any_bytes("t/P"))]);
    let schedule = all(&[
        held(1, number(1, 1)),
        held(2, "M"),
        held(3, "m"),
        number(4, 1),
    ]);
    let bytes = all(&[
        number(1, 300),
        held(2, "r"),
        held(5, metadata_bytes()),
        held(6, held(3, append)),
        held(7, held(1, call)),
        held(7, held(2, publish)),
        held(8, all(&[held(1, "x"), held(2, schedule)])),
        held(8, all(&[held(1, "y"), held(3, b"")])),
        number(9, 9),
    ]);
    (decision, bytes)
}

#[test]
fn frames_of_the_function_are_these_bytes() {
    let (component, component_bytes) = component();
    let (decision, decision_bytes) = decision();
    let hello = wire::Hello {
        minor: 1,
        info: Some(wire::Info {
            name: "n".to_owned(),
            version: "v".to_owned(),
            runtime: "r".to_owned(),
            sdk: "s".to_owned(),
            process: "p".to_owned(),
        }),
        contract: Some(wire::Contract {
            descriptors: Bytes::from_static(b"d"),
            components: vec![component],
        }),
        commands: 2,
        call_messages: 3,
        frame_bytes: 4,
    };
    let info = ["n", "v", "r", "s", "p"];
    let info: Vec<Vec<u8>> = (1..).zip(info).map(|(at, it)| held(at, it)).collect();
    let cases = [
        (
            In::Hello(hello),
            held(
                1,
                all(&[
                    number(1, 1),
                    held(2, all(&info)),
                    held(3, all(&[held(1, "d"), held(2, component_bytes)])),
                    number(4, 2),
                    number(5, 3),
                    number(6, 4),
                ]),
            ),
        ),
        (In::Decision(decision), held(2, decision_bytes)),
        (
            In::Reply(wire::Reply {
                command: 1,
                message: Bytes::from_static(b"r"),
                metadata: metadata(),
                effects: vec![wire::Effect { effect: None }],
            }),
            held(
                3,
                all(&[
                    number(1, 1),
                    held(2, "r"),
                    held(3, metadata_bytes()),
                    held(4, b""),
                ]),
            ),
        ),
        (
            In::Credit(wire::Credit {
                command: 1,
                amount: 2,
            }),
            held(4, all(&[number(1, 1), number(2, 2)])),
        ),
        (In::Chunk(piece()), held(5, piece_bytes())),
        (
            In::Closed(wire::Closed { incarnation: 1 }),
            held(6, number(1, 1)),
        ),
        (
            In::Call(wire::Call {
                id: 1,
                command: 2,
                target: Some(target()),
                timeout_ms: 3,
            }),
            held(
                7,
                all(&[
                    number(1, 1),
                    number(2, 2),
                    held(3, target_bytes()),
                    number(4, 3),
                ]),
            ),
        ),
        (In::Cancel(wire::Cancel { id: 1 }), held(8, number(1, 1))),
        (In::Goodbye(wire::Goodbye {}), held(9, b"")),
    ];
    for (frame, expected) in cases {
        check(&FunctionFrame { frame: Some(frame) }, &expected);
    }
}

fn piece() -> wire::Chunk {
    wire::Chunk {
        transfer: 1,
        data: Bytes::from_static(b"d"),
        last: true,
        subject: 2,
    }
}

fn piece_bytes() -> Vec<u8> {
    all(&[number(1, 1), held(2, "d"), number(3, 1), number(4, 2)])
}

fn finding() -> wire::Finding {
    wire::Finding {
        code: "c".to_owned(),
        text: "t".to_owned(),
        remedy: "r".to_owned(),
        service: "s".to_owned(),
        location: "l".to_owned(),
    }
}

fn finding_bytes() -> Vec<u8> {
    let texts = ["c", "t", "r", "s", "l"];
    let texts: Vec<Vec<u8>> = (1..).zip(texts).map(|(at, it)| held(at, it)).collect();
    all(&texts)
}

#[test]
fn frames_of_firn_are_these_bytes() {
    let command = |opening| {
        Out::Command(wire::Command {
            id: 1,
            component: 2,
            method: 3,
            incarnation: 4,
            opening,
            message: Bytes::from_static(b"m"),
            metadata: metadata(),
            timeout_ms: 5,
        })
    };
    let command_bytes = |opening: &[u8]| {
        let before = [number(1, 1), number(2, 2), number(3, 3), number(4, 4)];
        let after = [held(6, "m"), held(7, metadata_bytes()), number(8, 5)];
        held(3, all(&[all(&before), opening.to_vec(), all(&after)]))
    };
    let mut cases = vec![
        (
            Out::Welcome(wire::Welcome {
                minor: 1,
                firn: "f".to_owned(),
                calls: 2,
                call_messages: 3,
                frame_bytes: 4,
                chunk_bytes: 5,
                client_address: "a".to_owned(),
            }),
            held(
                1,
                all(&[
                    number(1, 1),
                    held(2, "f"),
                    number(3, 2),
                    number(4, 3),
                    number(5, 4),
                    number(6, 5),
                    held(7, "a"),
                ]),
            ),
        ),
        (
            Out::Refusal(wire::Refusal {
                findings: vec![finding()],
            }),
            held(2, held(1, finding_bytes())),
        ),
        (command(None), command_bytes(b"")),
        (
            Out::Message(wire::Message {
                command: 1,
                message: Some(Bytes::new()),
                end: true,
            }),
            held(4, all(&[number(1, 1), held(2, b""), number(3, 1)])),
        ),
        (Out::Cancel(wire::Cancel { id: 1 }), held(5, number(1, 1))),
        (
            Out::Change(wire::Change {
                incarnation: 1,
                change: Some(wire::change::Change::Delta(data::write(Delta::Counter(-1)))),
            }),
            held(6, all(&[number(1, 1), held(2, number(2, 1))])),
        ),
        (
            Out::Change(wire::Change {
                incarnation: 1,
                change: Some(wire::change::Change::Deleted(wire::Delete {})),
            }),
            held(6, all(&[number(1, 1), held(3, b"")])),
        ),
        (
            Out::Close(wire::Close { incarnation: 1 }),
            held(7, number(1, 1)),
        ),
        (
            Out::Credit(wire::Credit {
                command: 1,
                amount: 2,
            }),
            held(8, all(&[number(1, 1), number(2, 2)])),
        ),
        (Out::Chunk(piece()), held(9, piece_bytes())),
        (
            Out::CallResult(wire::CallResult {
                id: 1,
                result: Some(wire::call_result::Result::Failure(wire::Failure {
                    code: 5,
                    message: "m".to_owned(),
                    details: vec![any("t/D")],
                })),
                metadata: None,
            }),
            held(
                10,
                all(&[
                    number(1, 1),
                    held(
                        3,
                        all(&[number(1, 5), held(2, "m"), held(3, any_bytes("t/D"))]),
                    ),
                ]),
            ),
        ),
        (
            Out::Notice(wire::Notice {
                finding: Some(finding()),
                severity: wire::notice::Severity::Error.into(),
                command: 3,
            }),
            held(
                11,
                all(&[held(1, finding_bytes()), number(2, 2), number(3, 3)]),
            ),
        ),
        (Out::Goodbye(wire::Goodbye {}), held(12, b"")),
    ];
    use wire::opening::State;
    let history = wire::History {
        snapshot: Some(any("t/K")),
        snapshot_version: 2,
        events: vec![any("t/E")],
    };
    let actor = wire::Actor {
        state: Some(any("t/K")),
        tags: [("k".to_owned(), "v".to_owned())].into(),
    };
    let states = [
        (None, Vec::new()),
        (Some(State::Value(any("t/K"))), held(3, any_bytes("t/K"))),
        (
            Some(State::History(history)),
            held(
                4,
                all(&[
                    held(1, any_bytes("t/K")),
                    number(2, 2),
                    held(3, any_bytes("t/E")),
                ]),
            ),
        ),
        (
            Some(State::Data(data::write(Delta::Flag(true)))),
            held(5, number(5, 1)),
        ),
        (
            Some(State::Actor(actor)),
            held(
                6,
                all(&[
                    held(1, any_bytes("t/K")),
                    held(2, all(&[held(1, "k"), held(2, "v")])),
                ]),
            ),
        ),
    ];
    for (state, bytes) in states {
        let opening = wire::Opening {
            entity_id: "e".to_owned(),
            version: 3,
            state,
        };
        let opening_bytes = held(5, all(&[held(1, "e"), number(2, 3), bytes]));
        cases.push((command(Some(opening)), command_bytes(&opening_bytes)));
    }
    for (frame, expected) in cases {
        check(&FirnFrame { frame: Some(frame) }, &expected);
    }
}

fn a() -> Payload {
    Payload::new("t/A", &b"\x08\x01"[..])
}

fn b() -> Payload {
    Payload::new("t/B", &b""[..])
}

fn b_bytes() -> Vec<u8> {
    held(1, "t/B")
}

/// A change that is these bytes, in both directions.
fn same(delta: Delta, expected: &[u8]) {
    let written = data::write(delta.clone());
    check(&written, expected);
    assert_eq!(data::read(written), Ok(delta));
}

#[test]
fn changes_of_every_type_are_these_bytes() {
    let a_bytes = || any_bytes("t/A");
    let write = |clock| Write { value: a(), clock };
    let set = SetDelta {
        cleared: true,
        removed: vec![a()],
        added: vec![b()],
    };
    let set_bytes = all(&[number(1, 1), held(2, a_bytes()), held(3, b_bytes())]);
    same(Delta::GrowCounter(300), &number(1, 300));
    same(Delta::Counter(-2), &number(2, 3));
    same(Delta::GrowSet(vec![a()]), &held(3, held(1, a_bytes())));
    same(Delta::Set(set.clone()), &held(4, &set_bytes));
    same(Delta::Flag(false), &number(5, 0));
    let clocks = [
        (Clock::Default, Vec::new()),
        (Clock::Reverse, number(2, 1)),
        (Clock::Custom(7), all(&[number(2, 2), number(3, 7)])),
        (
            Clock::CustomAutoIncrement(7),
            all(&[number(2, 3), number(3, 7)]),
        ),
    ];
    for (clock, bytes) in clocks {
        let expected = held(6, all(&[held(1, a_bytes()), bytes]));
        same(Delta::Register(write(clock)), &expected);
    }
    let entry = |bytes: Vec<u8>| all(&[held(1, a_bytes()), held(2, bytes)]);
    let map = MapDelta {
        cleared: true,
        removed: vec![b()],
        updated: vec![(a(), Delta::Counter(1))],
        added: vec![(a(), Delta::Flag(true))],
    };
    same(
        Delta::Map(map),
        &held(
            7,
            all(&[
                number(1, 1),
                held(2, b_bytes()),
                held(3, entry(number(2, 2))),
                held(4, entry(number(5, 1))),
            ]),
        ),
    );
    let votes = Votes {
        own: true,
        yes: 2,
        members: 3,
    };
    same(
        Delta::Vote(votes),
        &held(8, all(&[number(1, 1), number(2, 2), number(3, 3)])),
    );
    let head = || all(&[number(1, 1), held(2, b_bytes())]);
    let counters = EntriesDelta {
        cleared: true,
        removed: vec![b()],
        updated: vec![(a(), -1)],
    };
    let counter = all(&[held(1, a_bytes()), number(2, 1)]);
    same(
        Delta::CounterMap(counters),
        &held(9, all(&[head(), held(3, counter)])),
    );
    let registers = EntriesDelta {
        cleared: true,
        removed: vec![b()],
        updated: vec![(a(), write(Clock::Default))],
    };
    same(
        Delta::RegisterMap(registers),
        &held(10, all(&[head(), held(3, entry(held(1, a_bytes())))])),
    );
    let sets = EntriesDelta {
        cleared: true,
        removed: vec![b()],
        updated: vec![(a(), set)],
    };
    same(
        Delta::MultiMap(sets),
        &held(11, all(&[head(), held(3, entry(set_bytes))])),
    );
}

#[test]
fn changes_that_cannot_be_are_refused() {
    use wire::delta::Delta as Wire;

    let refused = |delta: Wire, expected: InvalidDelta| {
        let delta = wire::Delta { delta: Some(delta) };
        assert_eq!(data::read(delta), Err(expected));
    };
    let nothing = wire::Delta { delta: None };
    assert_eq!(data::read(nothing), Err(InvalidDelta::NoType));
    let set = |type_url: &'static [u8]| {
        Wire::GrowSet(wire::Elements {
            elements: vec![Any {
                type_url: Bytes::from_static(type_url),
                value: Bytes::new(),
            }],
        })
    };
    refused(set(b""), InvalidDelta::NoTypeUrl);
    refused(set(b"\xff"), InvalidDelta::TypeUrl);
    let register = |value, clock| {
        Wire::Register(wire::Write {
            value,
            clock,
            custom: 0,
        })
    };
    refused(register(None, 0), InvalidDelta::NoValue);
    refused(register(Some(any("t/A")), 9), InvalidDelta::Clock(9));
    let map = |entry| {
        Wire::Map(wire::MapDelta {
            added: vec![entry],
            ..wire::MapDelta::default()
        })
    };
    let (key, delta) = (Some(any("t/A")), Some(data::write(Delta::Flag(true))));
    let no_key = wire::MapEntry { key: None, delta };
    refused(map(no_key), InvalidDelta::NoKey);
    let no_delta = wire::MapEntry { key, delta: None };
    refused(map(no_delta), InvalidDelta::NoEntryDelta);
    let registers = wire::RegisterMapDelta {
        updated: vec![Default::default()],
        ..wire::RegisterMapDelta::default()
    };
    refused(Wire::RegisterMap(registers), InvalidDelta::NoEntryDelta);
    let sets = wire::MultiMapDelta {
        updated: vec![Default::default()],
        ..wire::MultiMapDelta::default()
    };
    refused(Wire::MultiMap(sets), InvalidDelta::NoEntryDelta);
    let counters = wire::CounterMapDelta {
        updated: vec![Default::default()],
        ..wire::CounterMapDelta::default()
    };
    refused(Wire::CounterMap(counters), InvalidDelta::NoKey);
}

#[test]
fn maps_in_maps_have_a_limit() {
    let nested = |depth: usize| {
        (0..depth).fold(Delta::Flag(true), |inner, _| {
            Delta::Map(MapDelta {
                added: vec![(a(), inner)],
                ..MapDelta::default()
            })
        })
    };
    let deepest = nested(MAP_DEPTH_MAX);
    assert_eq!(data::read(data::write(deepest.clone())), Ok(deepest));
    let deeper = data::write(nested(MAP_DEPTH_MAX + 1));
    assert_eq!(
        data::read(deeper),
        Err(InvalidDelta::TooDeep(MAP_DEPTH_MAX))
    );
}

#[test]
fn numbers_of_types_and_consistencies_are_known() {
    assert_eq!(data::data_type(0), None);
    assert_eq!(data::data_type(1), Some(DataType::GrowCounter));
    assert_eq!(data::data_type(11), Some(DataType::MultiMap));
    assert_eq!(data::data_type(12), None);
    let read = [0, 1, 2, 3].map(data::consistency);
    let (local, all) = (Consistency::Local, Consistency::All);
    assert_eq!(read, [local, Consistency::Majority, all, local]);
}

const PROTO: &str = r#"syntax = "proto3";
package p;
message Request { string id = 1; bytes raw = 2; Inner inner = 3; repeated string many = 4; }
message Inner { uint32 number = 1; }
message Kept { string value = 1; }
service Value {
  rpc One(Request) returns (Kept);
  rpc Two(Request) returns (Kept);
}
service Second {
  rpc One(Request) returns (Kept);
}
service Streams {
  rpc In(stream Request) returns (Kept);
  rpc Out(Request) returns (stream Kept);
}
"#;

fn descriptors(name: &str, text: &str) -> Bytes {
    struct One(String, String);
    impl FileResolver for One {
        fn open_file(&self, name: &str) -> Result<File, protox::Error> {
            match name == self.0 {
                true => File::from_source(name, &self.1),
                false => Err(protox::Error::file_not_found(name)),
            }
        }
    }
    let one = One(name.to_owned(), text.to_owned());
    let mut compiler = protox::Compiler::with_file_resolver(one);
    compiler.include_source_info(true);
    compiler.open_file(name).unwrap();
    compiler.encode_file_descriptor_set().into()
}

fn declared(components: Vec<wire::Component>) -> Declaration {
    Declaration {
        info: FunctionInfo::default(),
        contract: wire::Contract {
            descriptors: descriptors("p.proto", PROTO),
            components,
        },
    }
}

fn value() -> wire::Component {
    entity(wire::Model::Value, "p.Value", &["One"])
}

fn entity(model: wire::Model, service: &str, methods: &[&str]) -> wire::Component {
    let is_value = model == wire::Model::Value;
    let methods = methods.iter().map(|&name| wire::Method {
        name: name.to_owned(),
        id: Vec::new(),
    });
    wire::Component {
        service: service.to_owned(),
        model: model.into(),
        methods: methods.collect(),
        id: vec!["id".to_owned()],
        state: if is_value { "p.Kept" } else { "" }.to_owned(),
        ..wire::Component::default()
    }
}

/// A line and a column, from 0.
type Place = Option<(u32, u32)>;

/// What is found, as code, text, and place.
fn found(findings: &[Finding]) -> Vec<(Code, String, Place)> {
    let one = |it: &Finding| {
        let place = it.location.as_ref().map(|at| (at.line, at.column));
        (it.code, it.text.clone(), place)
    };
    findings.iter().map(one).collect()
}

#[test]
fn contracts_are_refused_with_cause_and_place() {
    let with = |change: fn(&mut wire::Component)| {
        let mut component = value();
        change(&mut component);
        vec![component]
    };
    let cases: Vec<(_, _, _, Place)> = vec![
        (
            vec![],
            Code::NothingDeclared,
            "the function declares no component",
            None,
        ),
        (
            with(|it| it.service = "p.Missing".to_owned()),
            Code::ServiceUndeclared,
            "service p.Missing is not in the descriptors",
            None,
        ),
        (
            vec![value(), value()],
            Code::ServiceTwice,
            "service p.Value is declared by two components",
            None,
        ),
        (
            with(|it| it.model = 77),
            Code::ComponentTypeUnknown,
            "p.Value is of model 77, which Firn does not know",
            None,
        ),
        (
            with(|it| it.methods[0].name = "Three".to_owned()),
            Code::MethodUndeclared,
            "p.Value has no method \"Three\", or it is listed twice",
            None,
        ),
        (
            vec![
                value(),
                wire::Component {
                    storage: "p.Value".to_owned(),
                    ..entity(wire::Model::Value, "p.Second", &["One"])
                },
            ],
            Code::StorageNameTwice,
            "components p.Value and p.Second would both keep their data under \"p.Value\"",
            None,
        ),
        (
            with(|it| it.id.clear()),
            Code::KeyMissing,
            "method p.Value.One has no key: mark a field of p.Request",
            Some((6, 2)),
        ),
        (
            with(|it| it.id = vec!["no".to_owned()]),
            Code::KeyMissing,
            "method p.Value.One names its entity by no, which p.Request does not have",
            Some((6, 2)),
        ),
        (
            with(|it| it.id = vec!["many".to_owned()]),
            Code::KeyType,
            "p.Request.many is to name the entity, but only single texts, integers, booleans and \
             enums can name an entity",
            Some((2, 65)),
        ),
        (
            vec![entity(wire::Model::Value, "p.Streams", &["Out"])],
            Code::StreamingEntity,
            "method p.Streams.Out of a value entity is streaming",
            Some((14, 2)),
        ),
        (
            with(|it| it.snapshot_every = 2),
            Code::OptionMisplaced,
            "snapshot_every is set for p.Value, which is of kind value entity and has none",
            None,
        ),
        (
            with(|it| it.state.clear()),
            Code::OptionMisplaced,
            "p.Value is a value entity and must say its state",
            None,
        ),
        (
            with(|it| it.state = "Kept".to_owned()),
            Code::MessageUndeclared,
            "p.Value names message Kept, which its descriptors do not hold",
            None,
        ),
    ];
    for (components, code, text, place) in cases {
        let findings = read(&[&declared(components)]).unwrap_err();
        assert_eq!(found(&findings), [(code, text.to_owned(), place)]);
    }
    let rubbish = Declaration {
        contract: wire::Contract {
            descriptors: Bytes::from_static(b"\xff"),
            ..declared(vec![value()]).contract
        },
        ..declared(Vec::new())
    };
    let findings = read(&[&rubbish]).unwrap_err();
    assert_eq!(findings[0].code, Code::DescriptorsUnlinkable);
}

#[test]
fn what_another_function_has_is_taken() {
    let first = declared(vec![value()]);
    let code = |newcomer: &Declaration| -> Vec<Code> {
        let findings = taken(newcomer, &[&first]);
        findings.iter().map(|finding| finding.code).collect()
    };
    let second = entity(wire::Model::Value, "p.Second", &["One"]);
    assert_eq!(code(&declared(vec![second.clone()])), []);
    assert_eq!(code(&first), [Code::ContractTaken]);
    let storage = wire::Component {
        storage: "p.Value".to_owned(),
        ..second
    };
    assert_eq!(
        code(&declared(vec![storage.clone()])),
        [Code::ContractTaken]
    );
    // An action keeps nothing.
    let action = wire::Component {
        model: wire::Model::Action.into(),
        ..storage
    };
    assert_eq!(code(&declared(vec![action])), []);
    let other = Declaration {
        contract: wire::Contract {
            descriptors: descriptors("p.proto", &PROTO.replace("uint32", "uint64")),
            components: Vec::new(),
        },
        ..declared(Vec::new())
    };
    assert_eq!(code(&other), [Code::ContractTaken]);
}

/// Everything that reads what a function sends.
fn read_all(bytes: &[u8]) {
    let frames = FunctionBatch::decode(bytes).unwrap_or_default().frames;
    let single = FunctionFrame::decode(bytes).ok();
    let mut assembler = chunk::Assembler::new(64);
    for frame in frames.into_iter().chain(single) {
        match frame.frame {
            Some(In::Hello(hello)) => {
                let declaration = Declaration {
                    info: FunctionInfo::default(),
                    contract: hello.contract.unwrap_or_default(),
                };
                let _ = read(&[&declaration]);
                let _ = taken(&declaration, &[&declared(vec![value()])]);
            }
            Some(In::Decision(decision)) => {
                let _ = convert::read_metadata(decision.metadata);
                let _ = convert::read_effects(decision.effects);
                let mutation = decision.mutation.and_then(|it| it.mutation);
                if let Some(wire::mutation::Mutation::Update(update)) = mutation {
                    let _ = data::read(update.delta.unwrap_or_default());
                }
            }
            Some(In::Chunk(piece)) => {
                let _ = assembler.take(piece);
            }
            _ => {}
        }
    }
    if let Ok(delta) = wire::Delta::decode(bytes) {
        let _ = data::read(delta);
    }
    let declaration = Declaration {
        info: FunctionInfo::default(),
        contract: wire::Contract {
            descriptors: Bytes::copy_from_slice(bytes),
            components: vec![value()],
        },
    };
    let _ = read(&[&declaration]);
}

#[test]
fn any_bytes_of_a_function_are_survived() {
    bolero::check!().for_each(read_all);
}

proptest! {
    #[test]
    fn damaged_frames_are_survived(
        which in 0..3_usize,
        at in proptest::arbitrary::any::<prop::sample::Index>(),
        byte in proptest::arbitrary::any::<u8>(),
        cut in proptest::arbitrary::any::<bool>(),
    ) {
        let frame = match which {
            0 => In::Decision(decision().0),
            1 => In::Chunk(piece()),
            _ => In::Hello(wire::Hello {
                contract: Some(declared(vec![component().0, value()]).contract),
                ..wire::Hello::default()
            }),
        };
        let frame = FunctionFrame { frame: Some(frame) };
        let mut bytes = FunctionBatch { frames: vec![frame] }.encode_to_vec();
        let at = at.index(bytes.len());
        if cut {
            bytes.truncate(at);
        } else {
            bytes[at] = byte;
        }
        read_all(&bytes);
    }
}
