//! Per message: exact bytes, round trip, and damaged bytes.

use std::fmt::Debug;
use std::time::Duration;

use firn_model::call::Reply;
use firn_model::code::Code;
use firn_model::contract::{Finding, Location, Weight};
use firn_model::decision::{Answer, Append, Decision, Effect, Failure, Forward, Mutation};
use firn_model::metadata::{Entry, Metadata, Value};
use firn_model::payload::Payload;
use firn_model::policy::Headers;
use firn_model::status::GrpcCode;
use firn_wire::convert::action::{self, Target};
use firn_wire::convert::discovery::{Asker, proxy_info, report};
use firn_wire::convert::instance::{Command, Instance, Out, Snapshot, StreamFailure};
use firn_wire::convert::{Violation, event_sourced, instance, parts, value};
use firn_wire::dialect::{AKKA_SERVERLESS_B, CLOUDSTATE, KALIX};
use firn_wire::superset::{
    self, ActionCommand, ActionResponse, EventSourcedStreamIn, EventSourcedStreamOut,
    UserFunctionError, ValueEntityStreamIn, ValueEntityStreamOut,
};
use proptest::prelude::*;
use prost::Message;

const INSTANCE: Instance<'_> = Instance {
    service: "s.S",
    entity_id: "e",
};

fn payload(url: &'static str, bytes: &'static [u8]) -> Payload {
    Payload::new(url, bytes)
}

fn headers(entries: &[(&'static str, &'static str)]) -> Metadata {
    let mut metadata = Metadata::default();
    for (key, value) in entries {
        metadata.push_text(*key, *value);
    }
    metadata
}

fn command<'a>(metadata: &'a Metadata, headers: &'a Headers) -> Command<'a> {
    Command {
        entity_id: "e",
        id: 1,
        name: "M",
        payload: payload("t/P", &[8, 1]),
        metadata,
        headers,
    }
}

/// Holds a message against its bytes, and reads it back from them.
fn exact<M: Message + Default + PartialEq + Debug>(message: &M, bytes: &[u8]) {
    assert_eq!(message.encode_to_vec(), bytes, "{message:?}");
    assert_eq!(message.encoded_len(), bytes.len());
    assert_eq!(M::decode(bytes).unwrap(), *message);
}

mod to_the_function {
    use super::*;

    #[test]
    fn value_init_always_has_a_state() {
        let none = b"\x0a\x0a\x0a\x03s.S\x12\x01e\x1a\x00";
        exact(&value::init(INSTANCE, None), none);
        let some = b"\x0a\x11\x0a\x03s.S\x12\x01e\x1a\x07\x0a\x05\x0a\x03t/P";
        exact(&value::init(INSTANCE, Some(payload("t/P", b""))), some);
    }

    #[test]
    fn event_sourced_init_has_a_snapshot_only_if_there_is_one() {
        exact(
            &event_sourced::init(INSTANCE, None),
            b"\x0a\x08\x0a\x03s.S\x12\x01e",
        );
        let snapshot = event_sourced::init(INSTANCE, Some((5, payload("t/P", &[8, 1]))));
        exact(
            &snapshot,
            b"\x0a\x17\x0a\x03s.S\x12\x01e\x1a\x0d\x08\x05\x12\x09\x0a\x03t/P\x12\x02\x08\x01",
        );
    }

    #[test]
    fn event_has_its_sequence() {
        exact(
            &event_sourced::event(6, payload("t/P", &[8, 1])),
            b"\x12\x0d\x08\x06\x12\x09\x0a\x03t/P\x12\x02\x08\x01",
        );
    }

    #[test]
    fn command_without_headers_leaves_them_unset() {
        let metadata = headers(&[("a", "b")]);
        let bytes = b"\x0a\x01e\x10\x01\x1a\x01M\x22\x09\x0a\x03t/P\x12\x02\x08\x01";
        let event_sourced = event_sourced::command(command(&metadata, &Headers::None));
        exact(&event_sourced, &[b"\x1a\x13", &bytes[..]].concat());
        let value = value::command(command(&metadata, &Headers::None));
        exact(&value, &[b"\x12\x13", &bytes[..]].concat());
    }

    #[test]
    fn command_has_the_headers_that_its_policy_lets_through() {
        let mut metadata = headers(&[("A", "1"), ("b", "2"), ("_Kalix-src", "self"), ("a", "3")]);
        metadata.entries.push(Entry {
            key: "c-bin".into(),
            value: Value::Binary(vec![0, 255].into()),
        });
        let check = |policy: Headers, expected: Option<&[&str]>| {
            let keys = parts::headers(&policy, &metadata).map(|it| {
                let keys = it.entries.into_iter().map(|entry| entry.key);
                keys.collect::<Vec<_>>()
            });
            let expected = expected.map(|keys| keys.iter().map(|&key| key.to_owned()).collect());
            assert_eq!(keys, expected, "{policy:?}");
        };
        check(Headers::None, None);
        check(Headers::All, Some(&["A", "b", "a", "c-bin"]));
        check(
            Headers::Listed(vec!["a".into(), "_kalix-src".into()]),
            Some(&["A", "a"]),
        );
        check(Headers::Listed(vec![]), Some(&[]));
    }

    #[test]
    fn snapshot_request_has_its_number() {
        exact(&event_sourced::snapshot_request(3), b"\x22\x02\x08\x03");
    }

    #[test]
    fn action_stream_begins_with_a_head_and_goes_on_with_items() {
        let metadata = headers(&[("a", "b")]);
        let target = Target {
            service: "s.S",
            name: "M",
            metadata: &metadata,
            headers: &Headers::All,
        };
        let head = b"\x12\x03s.S\x1a\x01M\x2a\x08\x0a\x06\x0a\x01a\x12\x01b";
        exact(&action::head(target), head);
        let item = b"\x22\x09\x0a\x03t/P\x12\x02\x08\x01";
        exact(&action::item(payload("t/P", &[8, 1])), item);
        let whole = [&head[..8], item, &head[8..]].concat();
        exact(&action::command(target, payload("t/P", &[8, 1])), &whole);
    }

    #[test]
    fn introduction_has_what_the_family_knows() {
        let asker = Asker {
            name: "firn",
            version: "1",
            dev_mode: true,
            host: "h",
            port: 9,
            offer_old_names: false,
        };
        let cloudstate = proxy_info(&CLOUDSTATE, asker);
        assert_eq!(
            cloudstate.supported_entity_types,
            [
                "cloudstate.action.ActionProtocol",
                "cloudstate.eventsourced.EventSourced",
                "cloudstate.valueentity.ValueEntity",
                "cloudstate.crdt.Crdt"
            ]
        );
        assert_eq!(
            (
                cloudstate.protocol_major_version,
                cloudstate.protocol_minor_version
            ),
            (0, 2)
        );
        assert!(!cloudstate.dev_mode && cloudstate.proxy_port == 0);
        let old = Asker {
            offer_old_names: true,
            ..asker
        };
        let old = proxy_info(&CLOUDSTATE, old).supported_entity_types;
        assert_eq!(old.last().unwrap(), "cloudstate.function.StatelessFunction");

        let akka_serverless = proxy_info(&AKKA_SERVERLESS_B, asker);
        assert!(akka_serverless.dev_mode && akka_serverless.proxy_port == 0);
        let kalix = proxy_info(&KALIX, asker);
        assert!(kalix.dev_mode && kalix.proxy_port == 9);
        assert_eq!(
            (&*kalix.proxy_hostname, &*kalix.internal_proxy_hostname),
            ("h", "h")
        );
    }

    #[test]
    fn report_names_the_code_and_the_place() {
        let finding = Finding {
            code: Code::KeyMissing,
            text: "no key".into(),
            service: Some("s.S".into()),
            location: Some(Location {
                file: "s.proto".into(),
                line: 4,
                column: 2,
            }),
        };
        let error = report(&KALIX, &finding, Weight::Error);
        assert_eq!(error.message, "no key");
        assert_eq!(error.code, "FIRN-2006");
        let place = &error.source_locations[0];
        assert_eq!((place.start_line, place.start_col), (4, 2));
        assert_eq!(error.severity, 1);
        let warning = report(&KALIX, &finding, Weight::Warning);
        assert_eq!((warning.severity, warning.message.as_str()), (2, "no key"));
        // The others have no severity, and Cloudstate has no field but the text.
        let warning = report(&AKKA_SERVERLESS_B, &finding, Weight::Warning);
        assert_eq!(
            (warning.severity, warning.message.as_str()),
            (0, "Warning: no key")
        );
        let only_text = |message: &str| UserFunctionError {
            message: message.to_owned(),
            ..UserFunctionError::default()
        };
        assert_eq!(
            report(&CLOUDSTATE, &finding, Weight::Error),
            only_text("FIRN-2006 no key (s.proto:5)")
        );
        assert_eq!(
            report(&CLOUDSTATE, &finding, Weight::Warning),
            only_text("Warning: FIRN-2006 no key (s.proto:5)")
        );
    }
}

mod from_the_function {
    use super::*;

    fn value(bytes: &[u8]) -> Result<Out, Violation> {
        value::read(ValueEntityStreamOut::decode(bytes).unwrap())
    }

    fn event_sourced(bytes: &[u8]) -> Result<Out, Violation> {
        event_sourced::read(EventSourcedStreamOut::decode(bytes).unwrap())
    }

    fn replied(command_id: i64, answer: Answer, mutation: Mutation) -> Out {
        let decision = Decision {
            answer,
            mutation,
            effects: vec![],
            timers: vec![],
        };
        Out::Reply(instance::Reply {
            command_id,
            decision,
            snapshot_dropped: false,
        })
    }

    #[test]
    fn value_reply_updates_or_deletes() {
        let reply = Answer::Reply(Reply {
            payload: payload("t/P", &[8, 1]),
            metadata: headers(&[("a", "b")]),
        });
        assert_eq!(
            value(
                b"\x0a\x28\x08\x03\x12\x17\x0a\x15\x0a\x09\x0a\x03t/P\x12\x02\x08\x01\
                  \x12\x08\x0a\x06\x0a\x01a\x12\x01b\x22\x0b\x0a\x09\x0a\x07\x0a\x03t/S\x12\x00"
            ),
            Ok(replied(3, reply, Mutation::Set(payload("t/S", b""))))
        );
        let deleted = |grace| Ok(replied(3, Answer::Nothing, Mutation::Delete { grace }));
        assert_eq!(value(b"\x0a\x06\x08\x03\x22\x02\x12\x00"), deleted(None));
        let grace = Some(Duration::new(60, 5));
        let bytes = b"\x0a\x0c\x08\x03\x22\x08\x12\x06\x32\x04\x08\x3c\x10\x05";
        assert_eq!(value(bytes), deleted(grace));
        assert_eq!(
            value(b"\x0a\x02\x08\x03"),
            Ok(replied(3, Answer::Nothing, Mutation::Nothing))
        );
    }

    #[test]
    fn event_sourced_reply_appends() {
        let append = |append| Ok(replied(2, Answer::Nothing, Mutation::Append(append)));
        let event = b"\x22\x05\x0a\x03t/E";
        let snapshot = b"\x2a\x05\x0a\x03t/S";
        let reply = |parts: &[&[u8]]| {
            let body = [b"\x08\x02", &parts.concat()[..]].concat();
            event_sourced(&[&[0x0a, body.len() as u8], &body[..]].concat())
        };
        assert_eq!(
            reply(&[event, event, snapshot]),
            append(Append {
                events: vec![payload("t/E", b""); 2],
                snapshot: Some(payload("t/S", b"")),
                delete: None,
            })
        );
        assert_eq!(
            reply(&[b"\x32\x02\x08\x07"]),
            append(Append {
                delete: Some(Duration::from_secs(7)),
                ..Append::default()
            })
        );
        // A snapshot without events is not legal: dropped, and said so.
        let Ok(Out::Reply(only_snapshot)) = reply(&[snapshot]) else {
            panic!("no reply");
        };
        assert!(only_snapshot.snapshot_dropped);
        assert_eq!(only_snapshot.decision.mutation, Mutation::Nothing);
    }

    #[test]
    fn snapshot_reply_may_be_without_a_snapshot() {
        let snapshot = |snapshot| {
            Ok(Out::Snapshot(Snapshot {
                request_id: 9,
                snapshot,
            }))
        };
        assert_eq!(event_sourced(b"\x1a\x02\x08\x09"), snapshot(None));
        assert_eq!(
            event_sourced(b"\x1a\x09\x08\x09\x12\x05\x0a\x03t/S"),
            snapshot(Some(payload("t/S", b"")))
        );
    }

    #[test]
    fn failures_have_their_code_and_their_command() {
        let failed = |command_id, code| {
            let failure = Failure {
                text: "no".into(),
                code,
                details: Vec::new(),
                restart: false,
            };
            Ok(Out::Failure(StreamFailure {
                command_id,
                failure,
            }))
        };
        let check = |bytes: &[u8], expected| {
            assert_eq!(event_sourced(bytes), expected);
            assert_eq!(value(bytes), expected);
        };
        check(b"\x12\x04\x12\x02no", failed(None, None));
        check(
            b"\x12\x08\x08\x04\x12\x02no\x20\x0c",
            failed(Some(4), Some(GrpcCode::Unimplemented)),
        );
        // A number that gRPC does not know is no code.
        check(b"\x12\x06\x12\x02no\x20\x63", failed(None, None));
    }

    #[test]
    fn only_event_sourced_entities_restart() {
        let bytes = b"\x0a\x0b\x08\x04\x12\x07\x1a\x05\x12\x01x\x18\x01";
        let answer = |restart| {
            let failure = Failure {
                text: "x".into(),
                code: None,
                details: Vec::new(),
                restart,
            };
            Ok(replied(4, Answer::Failure(failure), Mutation::Nothing))
        };
        assert_eq!(event_sourced(bytes), answer(true));
        assert_eq!(value(bytes), answer(false));
    }

    #[test]
    fn effects_keep_their_order() {
        let effect = |method: &str, synchronous| Effect {
            call: Forward {
                service: "s.S".into(),
                method: method.into(),
                payload: payload("t/P", b""),
                metadata: Metadata::default(),
            },
            synchronous,
            delay: None,
        };
        let one = b"\x0a\x03s.S\x12\x01A\x1a\x05\x0a\x03t/P\x20\x01";
        let two = b"\x0a\x03s.S\x12\x01B\x1a\x05\x0a\x03t/P";
        let bytes = [
            &[0x22, one.len() as u8],
            &one[..],
            &[0x22, two.len() as u8],
            two,
        ]
        .concat();
        let decision = action::read(ActionResponse::decode(bytes.as_slice()).unwrap()).unwrap();
        assert_eq!(decision.answer, Answer::Nothing);
        assert_eq!(decision.effects, [effect("A", true), effect("B", false)]);
    }

    #[test]
    fn actions_reply_forward_or_fail() {
        let read = |bytes: &[u8]| action::read(ActionResponse::decode(bytes).unwrap()).unwrap();
        let forward = Forward {
            service: "s.S".into(),
            method: "M".into(),
            payload: payload("t/P", b""),
            metadata: Metadata::default(),
        };
        let bytes = b"\x1a\x0f\x0a\x03s.S\x12\x01M\x1a\x05\x0a\x03t/P";
        assert_eq!(read(bytes).answer, Answer::Forward(forward));
        let failure = Failure {
            text: "no".into(),
            code: Some(GrpcCode::NotFound),
            details: Vec::new(),
            restart: false,
        };
        assert_eq!(
            read(b"\x0a\x06\x12\x02no\x20\x05").answer,
            Answer::Failure(failure)
        );
        assert_eq!(read(b"\x12\x00").answer, Answer::Reply(Reply::default()));
    }

    #[test]
    fn broken_protocol_is_told_apart() {
        assert_eq!(value(b""), Err(Violation::NoContent));
        assert_eq!(event_sourced(b""), Err(Violation::NoContent));
        let no_action = Violation::NoStateAction { command_id: 3 };
        assert_eq!(value(b"\x0a\x04\x08\x03\x22\x00"), Err(no_action));
        let no_value = Violation::NoValue { command_id: 3 };
        assert_eq!(value(b"\x0a\x06\x08\x03\x22\x02\x0a\x00"), Err(no_value));
        let not_text = b"\x0a\x07\x22\x05\x0a\x03t/\xff";
        assert_eq!(event_sourced(not_text), Err(Violation::TypeUrl));
    }

    #[test]
    fn negative_times_count_as_none() {
        let bytes = b"\x0a\x0f\x32\x0d\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x10\x05";
        let Ok(Out::Reply(reply)) = event_sourced(bytes) else {
            panic!("no reply");
        };
        let append = Append {
            delete: Some(Duration::ZERO),
            ..Append::default()
        };
        assert_eq!(reply.decision.mutation, Mutation::Append(append));
    }

    #[test]
    fn payloads_are_not_copied() {
        let bytes = bytes::Bytes::from_static(b"\x0a\x0b\x22\x09\x0a\x03t/E\x12\x02\x08\x01");
        let out = EventSourcedStreamOut::decode(bytes.clone()).unwrap();
        let Ok(Out::Reply(reply)) = event_sourced::read(out) else {
            panic!("no reply");
        };
        let Mutation::Append(append) = reply.decision.mutation else {
            panic!("no events");
        };
        let event = &append.events[0];
        assert_eq!(event.bytes.as_ptr(), bytes[11..].as_ptr());
        assert_eq!(event.type_url.as_ptr(), bytes[6..].as_ptr());
    }
}

/// Reads bytes as any message of the function, whatever comes of it.
fn read_all(bytes: &[u8]) {
    if let Ok(out) = EventSourcedStreamOut::decode(bytes) {
        let _ = event_sourced::read(out);
    }
    if let Ok(out) = ValueEntityStreamOut::decode(bytes) {
        let _ = value::read(out);
    }
    if let Ok(response) = ActionResponse::decode(bytes) {
        let _ = action::read(response);
    }
}

/// A reply with everything in it, as bytes to damage.
fn full_reply() -> Vec<u8> {
    let any = superset::Any {
        type_url: "t/P".into(),
        value: vec![8, 1].into(),
    };
    let metadata = parts::headers(&Headers::All, &headers(&[("a", "b")]));
    let reply = superset::EventSourcedReply {
        command_id: 7,
        client_action: Some(superset::ClientAction {
            action: Some(superset::client_action::Action::Reply(superset::Reply {
                payload: Some(any.clone()),
                metadata: metadata.clone(),
            })),
        }),
        side_effects: vec![superset::SideEffect {
            service_name: "s.S".into(),
            command_name: "M".into(),
            payload: Some(any.clone()),
            synchronous: true,
            metadata,
        }],
        events: vec![any.clone(), any.clone()],
        snapshot: Some(any),
        delete: Some(superset::Duration {
            seconds: 1,
            nanos: 2,
        }),
    };
    let message = Some(superset::event_sourced_stream_out::Message::Reply(reply));
    EventSourcedStreamOut { message }.encode_to_vec()
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
    fn headers_come_back_as_they_went(entries in prop::collection::vec(("[a-z][a-z-]{0,8}", any::<Vec<u8>>(), any::<Option<String>>()), 0..6)) {
        let entries = entries.into_iter().map(|(key, bytes, text)| Entry {
            key: key.into(),
            value: text.map_or(Value::Binary(bytes.into()), |text| Value::Text(text.into())),
        });
        let metadata = Metadata { entries: entries.collect() };
        let sent = parts::headers(&Headers::All, &metadata).unwrap();
        let bytes = sent.encode_to_vec();
        prop_assert_eq!(bytes.len(), sent.encoded_len());
        let received = superset::Metadata::decode(bytes.as_slice()).unwrap();
        prop_assert_eq!(parts::metadata(Some(received)), metadata);
    }

    #[test]
    fn payloads_come_back_as_they_went(url in ".{0,20}", bytes in any::<Vec<u8>>(), sequence in 1..=i64::MAX as u64) {
        let payload = Payload::new(url, bytes);
        let any = parts::any(payload.clone());
        prop_assert_eq!(parts::payload(any), Ok(payload.clone()));
        let event = event_sourced::event(sequence, payload);
        prop_assert_eq!(EventSourcedStreamIn::decode(event.encode_to_vec().as_slice()).unwrap(), event);
    }

    #[test]
    fn what_is_sent_is_read_back(entity_id in ".{0,12}", id in 1_i64.., name in "[A-Z][a-z]{0,8}", bytes in any::<Vec<u8>>()) {
        let metadata = headers(&[("a", "b")]);
        let command = || Command {
            entity_id: &entity_id,
            id,
            name: &name,
            payload: Payload::new("t/P", bytes.clone()),
            metadata: &metadata,
            headers: &Headers::All,
        };
        let sent = event_sourced::command(command());
        prop_assert_eq!(EventSourcedStreamIn::decode(sent.encode_to_vec().as_slice()).unwrap(), sent);
        let sent = value::command(command());
        prop_assert_eq!(ValueEntityStreamIn::decode(sent.encode_to_vec().as_slice()).unwrap(), sent);
        let target = Target { service: &entity_id, name: &name, metadata: &metadata, headers: &Headers::All };
        let sent = action::command(target, Payload::new("t/P", bytes.clone()));
        prop_assert_eq!(ActionCommand::decode(sent.encode_to_vec().as_slice()).unwrap(), sent);
    }
}
