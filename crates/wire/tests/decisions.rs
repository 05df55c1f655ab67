//! Decisions of firn.v1, as the engine takes them: what fits an entity, and what is refused.

use std::sync::Arc;
use std::time::Duration;

use firn_model::code::Code;
use firn_model::contract::Contract;
use firn_model::contract::Kind;
use firn_model::decision::{Decision, Schedule, Tags, TimerChange};
use firn_model::limit::{DELAY_MAX, TIMERS_MAX};
use firn_model::payload::Payload;
use firn_model::policy::Durability;
use firn_wire::superset::Any;
use firn_wire::v1::contract::{self, Declaration, Shape};
use firn_wire::v1::convert::State;
use firn_wire::v1::convert::{self, Known, Unfit};
use firn_wire::v1::message::mutation::Mutation;
use firn_wire::v1::message::opening::State as Opening;
use firn_wire::v1::message::timer::{Action, Schedule as Set, Unset};
use firn_wire::v1::message::{self as wire, Model, effect::Effect};
use protox::file::{ChainFileResolver, File, FileResolver, GoogleFileResolver};

const PROTO: &str = r#"
    syntax = "proto3";
    package t;
    message Request { string id = 1; string text = 2; }
    message State { string text = 1; }
    service Note {
        rpc Do(Request) returns (Request);
        rpc Unserved(Request) returns (Request);
    }
    service Robot { rpc Do(Request) returns (Request); }
    service Act { rpc Do(Request) returns (Request); }
    service Flag { rpc Do(Request) returns (Request); }
"#;

struct Text;

impl FileResolver for Text {
    fn open_file(&self, name: &str) -> Result<File, protox::Error> {
        match name {
            "t.proto" => File::from_source(name, PROTO),
            _ => Err(protox::Error::file_not_found(name)),
        }
    }
}

/// A function with an entity of each kind that matters here.
struct Function {
    contract: Contract,
    shapes: Vec<Arc<Shape>>,
}

impl Function {
    fn new() -> Self {
        let mut resolver = ChainFileResolver::new();
        resolver.add(GoogleFileResolver::new());
        resolver.add(Text);
        let mut compiler = protox::Compiler::with_file_resolver(resolver);
        compiler.include_imports(true);
        compiler.open_file("t.proto").expect("it compiles");
        let component = |service: &str, model: Model| wire::Component {
            service: service.into(),
            model: model as i32,
            methods: vec![wire::Method {
                name: "Do".into(),
                id: Vec::new(),
            }],
            ..wire::Component::default()
        };
        let note = wire::Component {
            id: vec!["id".into()],
            state: "t.State".into(),
            ..component("t.Note", Model::Value)
        };
        let flag = wire::Component {
            id: vec!["id".into()],
            data: wire::DataType::Flag as i32,
            ..component("t.Flag", Model::Replicated)
        };
        let robot = wire::Component {
            id: vec!["id".into()],
            state: "t.State".into(),
            durability: wire::Durability::WriteBehind as i32,
            ..component("t.Robot", Model::Actor)
        };
        let contract = wire::Contract {
            descriptors: compiler.encode_file_descriptor_set().into(),
            components: vec![note, component("t.Act", Model::Action), flag, robot],
        };
        let declaration = Declaration {
            info: contract::info(None),
            contract,
        };
        let declared = contract::read(&[&declaration]).expect("a contract");
        let places = declared.functions.into_iter().flatten();
        Self {
            contract: declared.contract,
            shapes: places.map(|place| place.shape).collect(),
        }
    }

    /// A decision on note `a` at version 3.
    fn decide(&self, decision: wire::Decision) -> Result<Decision, Unfit> {
        let method = self.contract.method("/t.Note/Do").expect("a method");
        let known = Known {
            id: "a",
            version: 3,
        };
        let decision = wire::Decision {
            version: 3,
            ..decision
        };
        let read = convert::read_decision(decision, method, &self.shapes[0], known);
        read.map(|(decision, version)| {
            assert_eq!(version, 3);
            decision
        })
    }

    fn timers(&self, timers: Vec<wire::Timer>) -> Result<Vec<TimerChange>, Unfit> {
        let decision = wire::Decision {
            timers,
            ..wire::Decision::default()
        };
        Ok(self.decide(decision)?.timers)
    }

    #[track_caller]
    fn refuses(&self, timer: wire::Timer, expected: &Unfit) {
        let refused = self.timers(vec![timer]).expect_err("it does not fit");
        assert_eq!(refused, *expected);
        assert_eq!(refused.code(), Code::MutationUnfit);
    }
}

/// A decision on robot `a` at version 3 that leaves this one.
fn act(mutation: Mutation, leaves: u64) -> Result<Decision, Unfit> {
    let function = Function::new();
    let method = function.contract.method("/t.Robot/Do").expect("a method");
    let decision = wire::Decision {
        mutation: Some(wire::Mutation {
            mutation: Some(mutation),
        }),
        version: leaves,
        ..wire::Decision::default()
    };
    let known = Known {
        id: "a",
        version: 3,
    };
    let read = convert::read_decision(decision, method, &function.shapes[3], known);
    read.map(|(decision, _)| decision)
}

fn state(name: &str) -> Any {
    Any {
        type_url: format!("type.googleapis.com/{name}").into(),
        value: Default::default(),
    }
}

fn actor(tags: impl IntoIterator<Item = (String, String)>) -> wire::Actor {
    wire::Actor {
        state: Some(state("t.State")),
        tags: tags.into_iter().collect(),
    }
}

#[test]
fn actors_set_their_state_with_their_tags() {
    let tag = || [("colour".to_owned(), "blue".to_owned())];
    let read = act(Mutation::Actor(actor(tag())), 4).expect("it fits");
    let firn_model::decision::Mutation::Actor { state: set, tags } = read.mutation else {
        panic!("{:?}", read.mutation)
    };
    assert_eq!(set.type_url, "type.googleapis.com/t.State");
    assert_eq!(tags, tag().into());
    // Tags alone are possible, and so is nothing at all.
    let without = wire::Actor {
        state: None,
        ..actor(tag())
    };
    assert!(act(Mutation::Actor(without), 4).is_ok());
    assert!(act(Mutation::Delete(wire::Delete {}), 4).is_ok());
    let versions = act(Mutation::Actor(actor(tag())), 3);
    assert_eq!(versions, Err(Unfit::Version { theirs: 3, ours: 4 }));
}

#[test]
fn actors_that_cannot_be_are_refused() {
    let refuses = |mutation, expected| {
        let refused = act(mutation, 4).expect_err("it does not fit");
        assert_eq!(refused, expected);
        assert_eq!(refused.code(), Code::MutationUnfit);
    };
    let many = |count: usize| (0..count).map(|tag| (tag.to_string(), String::new()));
    assert!(act(Mutation::Actor(actor(many(64))), 4).is_ok());
    refuses(Mutation::Actor(actor(many(65))), Unfit::Tags(65));
    let long = |bytes| [("t".to_owned(), "x".repeat(bytes))];
    assert!(act(Mutation::Actor(actor(long(1024))), 4).is_ok());
    refuses(
        Mutation::Actor(actor(long(1025))),
        Unfit::TagBytes("t".into()),
    );
    let foreign = wire::Actor {
        state: Some(state("t.Request")),
        ..wire::Actor::default()
    };
    let unknown = Unfit::Type {
        what: "the state",
        type_url: "type.googleapis.com/t.Request".into(),
    };
    refuses(Mutation::Actor(foreign), unknown);
    let of_value = Unfit::Model {
        kind: Kind::Actor,
        mutation: "a new state",
    };
    refuses(Mutation::Set(state("t.State")), of_value);
}

#[test]
fn actors_open_with_what_was_set() {
    let opening = |state, tags| {
        let opening = convert::opening(Kind::Actor, "a", State::Actor(state, tags));
        assert_eq!((opening.version, opening.entity_id.as_str()), (0, "a"));
        opening.state
    };
    assert_eq!(opening(None, Tags::new()), None);
    let tags: Tags = [("k".to_owned(), "v".to_owned())].into();
    let stored = Payload::new("type.googleapis.com/t.State", "");
    let Some(Opening::Actor(whole)) = opening(Some(stored), tags.clone()) else {
        panic!("an actor")
    };
    assert_eq!((whole.state, &whole.tags), (Some(state("t.State")), &tags));
    let Some(Opening::Actor(alone)) = opening(Some(Payload::default()), tags.clone()) else {
        panic!("an actor")
    };
    assert_eq!((alone.state, alone.tags), (None, tags));
}

#[test]
fn actors_say_when_they_are_durable() {
    let function = Function::new();
    let durability = |path| {
        let method = function.contract.method(path).expect("a method");
        method.component.policies.durability
    };
    assert_eq!(durability("/t.Robot/Do"), Durability::WriteBehind);
    assert_eq!(durability("/t.Note/Do"), Durability::Commit);
}

/// A request for a note.
fn request(id: &str) -> Vec<u8> {
    let mut bytes = vec![0x0a, id.len() as u8];
    bytes.extend(id.as_bytes());
    bytes
}

fn duration(time: Duration) -> Option<prost_types::Duration> {
    Some(time.try_into().expect("it fits"))
}

fn timer(name: &str, set: Set) -> wire::Timer {
    wire::Timer {
        name: name.into(),
        action: Some(Action::Set(set)),
    }
}

fn cancelled(name: &str) -> wire::Timer {
    wire::Timer {
        name: name.into(),
        action: Some(Action::Cancel(Unset {})),
    }
}

fn set(after: Duration) -> Set {
    Set {
        after: duration(after),
        method: "Do".into(),
        message: request("a").into(),
        repeat: false,
    }
}

const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn timers_are_read_in_their_order() {
    let function = Function::new();
    let later = wire::Timer {
        name: "of a later version".into(),
        action: None,
    };
    let timers = vec![cancelled("s"), later, timer("t", set(MINUTE))];
    let read = function.timers(timers).expect("they fit");
    let [
        TimerChange::Cancel { name: first },
        TimerChange::Set { name, schedule },
    ] = &read[..]
    else {
        panic!("{read:?}")
    };
    assert_eq!((first.as_str(), name.as_str()), ("s", "t"));
    let Schedule {
        after,
        call,
        repeats,
    } = schedule;
    assert_eq!((*after, *repeats), (MINUTE, false));
    assert_eq!(call.path(), "/t.Note/Do");
    assert_eq!(call.payload.bytes, request("a"));
}

#[test]
fn timers_that_cannot_be_are_refused() {
    let function = Function::new();
    let refuses = |set: Set, expected| function.refuses(timer("t", set), &expected);
    refuses(set(DELAY_MAX + Duration::from_nanos(1)), Unfit::Delay);
    let negative = prost_types::Duration {
        seconds: 0,
        nanos: -1,
    };
    refuses(
        Set {
            after: Some(negative),
            ..set(MINUTE)
        },
        Unfit::Delay,
    );
    for after in [Duration::ZERO, Duration::from_micros(9_999)] {
        let often = Set {
            repeat: true,
            ..set(after)
        };
        refuses(often, Unfit::Repeat(after));
    }
    for method in ["", "Unserved", "/t.Note/Do", "None"] {
        let elsewhere = Set {
            method: method.into(),
            ..set(MINUTE)
        };
        let (name, method) = ("t".to_owned(), method.to_owned());
        refuses(elsewhere, Unfit::TimerMethod { name, method });
    }
    for message in [request("b"), request(""), Vec::new(), vec![0xff]] {
        let to_another = Set {
            message: message.into(),
            ..set(MINUTE)
        };
        refuses(to_another, Unfit::TimerTarget("t".into()));
    }
    let long = "x".repeat(257);
    function.refuses(cancelled(""), &Unfit::TimerName(0));
    function.refuses(cancelled(&long), &Unfit::TimerName(257));
}

#[test]
fn timers_at_their_bounds_are_served() {
    let function = Function::new();
    let often = Set {
        repeat: true,
        ..set(Duration::from_millis(10))
    };
    let at_once = Set {
        after: None,
        ..set(MINUTE)
    };
    let mut timers = vec![
        timer("often", often),
        timer("at once", at_once),
        timer(&"x".repeat(256), set(DELAY_MAX)),
    ];
    timers.resize(TIMERS_MAX, cancelled("c"));
    assert_eq!(function.timers(timers.clone()).map(|it| it.len()), Ok(64));
    timers.push(cancelled("one more"));
    assert_eq!(function.timers(timers), Err(Unfit::Timers(65)));
}

#[test]
fn failures_set_no_timer() {
    let function = Function::new();
    let failure = wire::Failure {
        code: 9,
        ..wire::Failure::default()
    };
    let decision = wire::Decision {
        answer: Some(wire::decision::Answer::Failure(failure)),
        timers: vec![cancelled("")],
        ..wire::Decision::default()
    };
    assert_eq!(
        function.decide(decision).map(|it| it.timers),
        Ok(Vec::new())
    );
}

#[test]
fn what_is_no_entity_with_commits_has_no_timers() {
    let function = Function::new();
    let decision = || wire::Decision {
        timers: vec![cancelled("t")],
        ..wire::Decision::default()
    };
    let act = function.contract.method("/t.Act/Do").expect("a method");
    let refused = convert::read_action(decision(), act).expect_err("no timers");
    assert_eq!(
        refused.to_string(),
        "its component is of kind action, which cannot answer with timers"
    );
    let flag = function.contract.method("/t.Flag/Do").expect("a method");
    let refused = convert::read_replicated(decision(), flag, &function.shapes[2]);
    assert_eq!(refused.expect_err("no timers").code(), Code::MutationUnfit);
}

#[test]
fn effects_may_have_a_delay_and_are_then_not_waited_for() {
    let read = |wait, delay| {
        let call = wire::CallEffect {
            target: Some(wire::Target::default()),
            wait,
            delay,
        };
        let effect = wire::Effect {
            effect: Some(Effect::Call(call)),
        };
        let effects = convert::read_effects(vec![effect])?;
        Ok::<_, Unfit>((effects[0].synchronous, effects[0].delay))
    };
    assert_eq!(read(true, None), Ok((true, None)));
    assert_eq!(read(false, duration(MINUTE)), Ok((false, Some(MINUTE))));
    assert_eq!(
        read(false, duration(Duration::ZERO)),
        Ok((false, Some(Duration::ZERO)))
    );
    assert_eq!(read(true, duration(MINUTE)), Err(Unfit::DelayedWait));
    assert_eq!(read(false, duration(DELAY_MAX + MINUTE)), Err(Unfit::Delay));
}
