//! What functions declare: each refusal, and functions side by side.

use firn_testkit::caller::{headers, request};
use firn_testkit::own::Connection;
use firn_testkit::own::declare::{action, component, contract, replicated, value};
use firn_testkit::own::message::{decided, empty, hello};
use firn_wire::v1::message::firn_frame::Frame;
use firn_wire::v1::message::{
    Component, Contract, DataType, Durability, Finding, Method, Model, Refusal,
};
use prost::Message;
use prost_types::{FileDescriptorProto, FileDescriptorSet};
use tonic::Code;

use crate::world::{
    MODEL, OTHER, REGISTER, World, command, count, doing, journal, of, opening, other, register,
    whole,
};

/// Dials with a contract that is refused, and gives what was found.
async fn refused(world: &World, contract: &Contract) -> Vec<Finding> {
    let opened = Connection::open(&world.dial(), headers(&[])).await;
    let mut function = opened.expect("a call that goes on");
    function.send(hello(contract));
    let Frame::Refusal(Refusal { findings }) = function.next().await else {
        panic!("not refused: {:?}", contract.components);
    };
    for finding in &findings {
        assert!(!finding.text.is_empty() && !finding.remedy.is_empty());
    }
    let code = findings[0].code.clone();
    function.is_refused(Code::FailedPrecondition, &code).await;
    findings
}

fn codes(findings: &[Finding]) -> Vec<&str> {
    findings.iter().map(|it| it.code.as_str()).collect()
}

/// A component of the model with a change.
fn with(mut component: Component, change: impl FnOnce(&mut Component)) -> Component {
    change(&mut component);
    component
}

fn without_file(mut contract: Contract, name: &str) -> Contract {
    let mut set = FileDescriptorSet::decode(&*contract.descriptors).expect("a set");
    set.file.retain(|file| file.name() != name);
    contract.descriptors = set.encode_to_vec().into();
    contract
}

/// R4, R10 to R16: each rule with its code. All of it at one Firn, which goes on.
#[tokio::test]
async fn contract_is_refused_with_what_is_wrong() {
    let mut world = World::alone().await;
    let named = |id: &[&str]| {
        let id = id.iter().map(|&name| name.to_owned()).collect();
        with(
            Component {
                id,
                ..value("model.Paired", &["Process"], "model.Kept")
            },
            |_| {},
        )
    };
    let cases = [
        // R11, R12, R16.
        ("FIRN-2004", value("model.Missing", &[], "model.Kept")),
        (
            "FIRN-2005",
            component(Model::Unspecified, "model.Register", &[]),
        ),
        ("FIRN-2005", with(register(), |it| it.model = 6)),
        ("FIRN-2021", action("model.Doing", &["Unary", "Missing"])),
        ("FIRN-2021", action("model.Doing", &["Unary", "Unary"])),
        (
            "FIRN-2023",
            with(register(), |it| it.state = "model.Missing".into()),
        ),
        (
            "FIRN-2023",
            with(register(), |it| it.state = ".model.Kept".into()),
        ),
        (
            "FIRN-2023",
            with(journal(), |it| it.events.push("Kept".into())),
        ),
        // R13.
        ("FIRN-2006", with(journal(), |it| it.id.clear())),
        ("FIRN-2006", named(&["missing"])),
        ("FIRN-2006", named(&["left", "right.missing"])),
        ("FIRN-2006", named(&["left.number"])),
        ("FIRN-2020", named(&["right"])),
        ("FIRN-2020", named(&["left", "right.rest"])),
        // R14.
        (
            "FIRN-2007",
            with(count(), |it| {
                it.service = "model.Doing".into();
                it.methods = component(Model::Replicated, "", &["In"]).methods;
            }),
        ),
        ("FIRN-2007", value("model.Count", &["Watch"], "model.Kept")),
        // R15.
        ("FIRN-2022", with(doing(), |it| it.id.push("id".into()))),
        (
            "FIRN-2022",
            with(doing(), |it| it.methods[0].id.push("id".into())),
        ),
        ("FIRN-2022", with(doing(), |it| it.storage = "doing".into())),
        (
            "FIRN-2022",
            with(doing(), |it| it.passivate_after = seconds(1)),
        ),
        (
            "FIRN-2022",
            with(doing(), |it| it.state = "model.Kept".into()),
        ),
        ("FIRN-2022", with(register(), |it| it.state.clear())),
        (
            "FIRN-2022",
            with(register(), |it| it.events.push("model.Kept".into())),
        ),
        ("FIRN-2022", with(register(), |it| it.snapshot_every = 3)),
        (
            "FIRN-2022",
            with(register(), |it| it.data = DataType::Set.into()),
        ),
        ("FIRN-2022", with(register(), |it| it.consistency = 1)),
        (
            "FIRN-2022",
            with(register(), |it| {
                it.durability = Durability::WriteBehind.into();
            }),
        ),
        (
            "FIRN-2022",
            with(register(), |it| it.passivate_after = seconds(0)),
        ),
        (
            "FIRN-2022",
            with(register(), |it| it.passivate_after = seconds(-1)),
        ),
        ("FIRN-2022", with(journal(), |it| it.events.clear())),
        (
            "FIRN-2022",
            with(journal(), |it| {
                it.snapshot_every = 2;
                it.state.clear();
            }),
        ),
        ("FIRN-2022", with(count(), |it| it.data = 0)),
        ("FIRN-2022", with(count(), |it| it.data = 99)),
        (
            "FIRN-2022",
            with(count(), |it| it.state = "model.Kept".into()),
        ),
    ];
    for (code, component) in cases {
        let findings = refused(&world, &of(vec![component.clone()])).await;
        let mut found = codes(&findings);
        // An option of a component may be wrong at each of its methods.
        found.dedup();
        assert_eq!(found, [code], "{component:?}: {findings:?}");
        assert_eq!(findings[0].service, component.service, "{findings:?}");
    }
    let whole_contracts = [
        // R10.
        (
            "FIRN-2003",
            Contract {
                descriptors: vec![0xff].into(),
                ..whole()
            },
        ),
        ("FIRN-2012", of(Vec::new())),
        ("FIRN-2012", Contract::default()),
        (
            "FIRN-2013",
            of(vec![
                register(),
                with(register(), |it| it.storage = "two".into()),
            ]),
        ),
        (
            "FIRN-2010",
            of(vec![
                register(),
                with(journal(), |it| {
                    it.storage = "model.Register".into();
                }),
            ]),
        ),
    ];
    for (code, contract) in whole_contracts {
        let findings = refused(&world, &contract).await;
        assert_eq!(codes(&findings), [code], "{findings:?}");
    }
    // All at once.
    let wrong = vec![
        with(register(), |it| it.id.clear()),
        with(journal(), |it| it.events.clear()),
        value("model.Missing", &[], "model.Kept"),
    ];
    let mut all = refused(&world, &of(wrong)).await;
    all.sort_by(|one, other| one.code.cmp(&other.code));
    assert_eq!(
        codes(&all),
        ["FIRN-2004", "FIRN-2006", "FIRN-2006", "FIRN-2022"]
    );
    assert_eq!(all[1].location, "model.proto:31:3");
    world
        .firn
        .wait_for_log("the contract is refused: FIRN-2004");
    // Nobody minds afterwards.
    world.join(&whole()).await;
}

/// A function that is refused comes again and again.
#[tokio::test]
async fn refusal_is_said_once() {
    let mut world = World::alone().await;
    let wrong = of(vec![with(register(), |it| it.id.clear())]);
    for _ in 0..3 {
        refused(&world, &wrong).await;
    }
    // What is said of it comes after what was said before.
    world.join(&whole()).await;
    let log = world.firn.log();
    let said = log.matches("model.Register.Process has no key").count();
    assert_eq!(said, 1, "{log}");
}

fn seconds(seconds: i64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos: 0 })
}

/// R10: files of Google may be left out.
#[tokio::test]
async fn well_known_files_may_be_left_out() {
    let mut world = World::alone().await;
    let mut contract = whole();
    for name in [
        "google/api/annotations.proto",
        "google/api/http.proto",
        "google/protobuf/descriptor.proto",
    ] {
        let set = |contract: &Contract| FileDescriptorSet::decode(&*contract.descriptors);
        let had = set(&contract).expect("a set").file.len();
        contract = without_file(contract, name);
        assert_eq!(set(&contract).expect("a set").file.len(), had - 1);
    }
    world.join(&contract).await;
}

/// R10: an import that nobody has.
#[tokio::test]
async fn missing_import_is_named() {
    let world = World::alone().await;
    let mut set = FileDescriptorSet::decode(&*whole().descriptors).expect("a set");
    let imports = FileDescriptorProto {
        name: Some("more.proto".to_owned()),
        dependency: vec!["nowhere.proto".to_owned()],
        ..FileDescriptorProto::default()
    };
    set.file.push(imports);
    let contract = Contract {
        descriptors: set.encode_to_vec().into(),
        ..whole()
    };
    let findings = refused(&world, &contract).await;
    assert_eq!(codes(&findings), ["FIRN-2003"]);
    assert!(findings[0].text.contains("nowhere.proto"), "{findings:?}");
}

/// R11: what is not listed is UNIMPLEMENTED, and places are those of the list.
#[tokio::test]
async fn only_listed_methods_are_served() {
    let listed = value("model.Register", &["Other"], "model.Kept");
    let (world, mut function) = World::serving_with(&of(vec![doing(), listed]), &[]).await;
    world
        .call("Register/Process", "a", "")
        .is_refused(Code::Unimplemented, "FIRN-3001")
        .await;
    let caller = world.call("Register/Other", "a", "x");
    let asked = request("a", "x");
    function.expect(opening(1, 1, 1, &asked, empty("a"))).await;
    function.send(decided(1).saying("ok"));
    caller.replies("ok").await;
}

/// R13: an id of several parts, also nested ones, and one that a method has of its own.
#[tokio::test]
async fn ids_have_parts() {
    let paired = Component {
        id: vec!["missing".to_owned()],
        methods: vec![Method {
            name: "Process".to_owned(),
            id: vec!["left".to_owned(), "right.number".to_owned()],
        }],
        ..value("model.Paired", &[], "model.Kept")
    };
    let (world, mut function) = World::serving_with(&of(vec![paired]), &[]).await;
    // left = "a-b", right.number = 7; left = "a", right.number = 0, which nobody wrote.
    let pairs = [
        (&b"\x0a\x03a-b\x12\x02\x08\x07"[..], "a-b-7"),
        (&b"\x0a\x01a"[..], "a-0"),
    ];
    for (pair, shown) in pairs {
        let _caller = world.call_bytes("/model.Paired/Process", pair, headers(&[]));
        let command = function.command().await;
        assert_eq!(command.message, pair);
        assert_eq!(command.opening.expect("an opening").entity_id, shown);
    }
}

/// R17: other services and files are served side by side.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn functions_that_share_nothing_are_served_side_by_side() {
    let (mut world, mut first) = World::serving().await;
    let mut second = Connection::joined(&world.dial(), &other()).await;
    world.firn.wait_for_log("other.Register (value entity)");
    let asked = request("a", "x");
    let one = world.call("Register/Process", "a", "x");
    first
        .expect(opening(1, REGISTER, 1, &asked, empty("a")))
        .await;
    let path = "/other.Register/Process";
    let two = world.call_bytes(path, asked.encode_to_vec(), headers(&[]));
    second.expect(opening(1, 0, 1, &asked, empty("a"))).await;
    second.send(decided(1).saying("second"));
    two.replies("second").await;
    first.send(decided(1).saying("first"));
    one.replies("first").await;

    // Calls go from one to the other by their own places.
    drop(second);
    world.firn.wait_for_log("a function has gone");
    let message = asked.encode_to_vec();
    world
        .call_bytes(path, message, headers(&[]))
        .is_refused(Code::Unavailable, "FIRN-3018")
        .await;
    let again = world.call("Register/Process", "a", "x");
    first.expect(command(2, REGISTER, 1, &asked)).await;
    first.send(decided(2).saying("still"));
    again.replies("still").await;
}

/// R17: FIRN-2024, each way to share.
#[tokio::test]
async fn contract_that_shares_with_another_is_refused() {
    let (world, _function) = World::serving().await;
    let service = with(register(), |it| it.storage = "of its own".into());
    let renamed = |storage: &str| {
        let register = value("other.Register", &["Process"], "other.Response");
        with(register, |it| it.storage = storage.to_owned())
    };
    let storage = contract(&[OTHER], vec![renamed("model.Register")]);
    let changed = MODEL
        .1
        .replace("message Kept {", "message More {}\nmessage Kept {");
    let file = contract(
        &[("model.proto", &changed), OTHER],
        vec![renamed("of its own")],
    );
    for contract in [of(vec![service]), storage, file] {
        let findings = refused(&world, &contract).await;
        assert_eq!(codes(&findings), ["FIRN-2024"], "{findings:?}");
    }
    // An action keeps nothing, so it shares no storage.
    let action = with(action("other.Register", &["Process"]), |_| {});
    Connection::joined(&world.dial(), &contract(&[OTHER], vec![action])).await;
}

/// R17: the same contract, byte by byte, is one more process.
#[tokio::test]
async fn processes_of_a_function_share_its_entities() {
    let (mut world, mut first) = World::serving().await;
    let mut second = world.join(&whole()).await;
    let mut at = Vec::new();
    for id in ["a", "b", "c", "d"] {
        let caller = world.call("Register/Process", id, "");
        let (name, function, number) = match at.len() % 2 {
            0 => ("first", &mut first, 1 + at.len() as u64 / 2),
            _ => ("second", &mut second, 1 + at.len() as u64 / 2),
        };
        // The one with least to do; of equals, the one that was there before.
        let asked = request(id, "");
        function
            .expect(opening(number, REGISTER, number, &asked, empty(id)))
            .await;
        function.send(decided(number).saying(name));
        caller.replies(name).await;
        at.push(name);
    }
}

/// R17, FIRN-2019: a function that has gone makes room for its next version, and data stays.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn function_is_replaced_after_it_has_gone() {
    let (mut world, function) = World::serving().await;
    let next = of(vec![with(register(), |it| it.methods.truncate(1))]);
    assert_eq!(codes(&refused(&world, &next).await), ["FIRN-2024"]);
    drop(function);
    world.firn.wait_for_log("a function has gone");
    let mut function = Connection::joined(&world.dial(), &next).await;
    world.firn.wait_for_log("FIRN-2019");
    world.firn.wait_for_log_times("serving ", 2);
    world
        .call("Journal/Process", "a", "")
        .is_refused(Code::Unimplemented, "FIRN-3001")
        .await;
    let caller = world.call("Register/Process", "a", "");
    let asked = request("a", "");
    function
        .expect(opening(1, REGISTER, 1, &asked, empty("a")))
        .await;
    function.send(decided(1).saying("next"));
    caller.replies("next").await;
}

/// R15: an entity may say where else its id is, and a replicated one what it is.
#[tokio::test]
async fn options_that_belong_are_taken() {
    let world = World::alone().await;
    let all = vec![
        with(register(), |it| {
            it.storage = "kept".to_owned();
            it.passivate_after = seconds(5);
            it.headers = vec!["x-one".to_owned()];
        }),
        with(journal(), |it| it.snapshot_every = 100),
        with(
            replicated("model.Count", &["Process", "Watch"], DataType::MultiMap),
            |it| it.consistency = 2,
        ),
        doing(),
    ];
    Connection::joined(&world.dial(), &of(all)).await;
}
