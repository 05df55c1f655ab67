//! The handshake: what the function is told about Firn and about itself.

use firn_testkit::firn::Firn;
use firn_testkit::function::Function;
use firn_testkit::function::declare::{Declaration, Declared};
use firn_testkit::function::journal::Record;
use firn_testkit::function::message::reply;
use firn_wire::dialect::{AKKA_SERVERLESS_B, CLOUDSTATE, Dialect, Family, KALIX};
use firn_wire::superset::{IdentificationInfo, ProxyInfo};

use crate::world::{World, model, request, said, setup, whole};

/// What the function was told, and which other dialects it was asked for.
fn handshake(function: &Function) -> (Vec<ProxyInfo>, Vec<String>) {
    let (mut told, mut probed) = (Vec::new(), Vec::new());
    for record in function.journal() {
        match record {
            Record::Discovered { info, .. } => told.push(info),
            Record::Probed(path) => probed.push(path),
            Record::Unknown(path) => panic!("{path} is in no protocol"),
            _ => {}
        }
    }
    (told, probed)
}

fn types(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

fn info(dialect: &Dialect) -> ProxyInfo {
    ProxyInfo {
        protocol_major_version: dialect.announced.major,
        protocol_minor_version: dialect.announced.minor,
        proxy_name: "firn".to_owned(),
        proxy_version: env!("CARGO_PKG_VERSION").to_owned(),
        ..ProxyInfo::default()
    }
}

/// Uses the world a little, so that all is said that is ever said.
async fn use_it(world: &World) {
    let call = world.call("Journal/Process", request("a", ""));
    let mut stream = world.function.entity().await;
    stream.expect_some_init().await;
    stream.expect_some_command().await;
    stream.reply(reply(1).with(said("ok")));
    call.replies("ok").await;
}

#[tokio::test]
async fn cloudstate_is_offered_the_four_types_of_its_version_once() {
    let mut declaration = whole(&CLOUDSTATE);
    declaration.answers_404 = true;
    let world = World::of(&declaration).await;
    use_it(&world).await;
    let (told, probed) = handshake(&world.function);
    let expected = ProxyInfo {
        protocol_major_version: 0,
        protocol_minor_version: 2,
        supported_entity_types: types(&[
            "cloudstate.action.ActionProtocol",
            "cloudstate.eventsourced.EventSourced",
            "cloudstate.valueentity.ValueEntity",
            "cloudstate.crdt.Crdt",
        ]),
        ..info(&CLOUDSTATE)
    };
    assert_eq!(told, [expected]);
    assert_eq!(
        probed,
        [
            "/kalix.protocol.Discovery/Discover",
            "/akkaserverless.protocol.Discovery/Discover"
        ]
    );
}

#[tokio::test]
async fn named_family_is_asked_at_once() {
    for dialect in [&CLOUDSTATE, &AKKA_SERVERLESS_B, &KALIX] {
        let args = ["--family", dialect.family.name()];
        let world = World::with(&whole(dialect), &args).await;
        use_it(&world).await;
        let (told, probed) = handshake(&world.function);
        assert_eq!((told.len(), probed.len()), (1, 0));
    }
}

#[tokio::test]
async fn old_names_are_offered_by_setting() {
    let world = World::with(&whole(&CLOUDSTATE), &["--old-names", "true"]).await;
    let (told, _) = handshake(&world.function);
    let offered = &told[0].supported_entity_types;
    assert_eq!(offered.len(), 5);
    assert!(offered.contains(&"cloudstate.function.StatelessFunction".to_owned()));
}

#[tokio::test]
async fn akka_serverless_is_told_its_own_version() {
    let world = World::of(&whole(&AKKA_SERVERLESS_B)).await;
    let (told, probed) = handshake(&world.function);
    let expected = ProxyInfo {
        protocol_minor_version: 7,
        supported_entity_types: types(&[
            "akkaserverless.component.action.Actions",
            "akkaserverless.component.eventsourcedentity.EventSourcedEntities",
            "akkaserverless.component.valueentity.ValueEntities",
            "akkaserverless.component.replicatedentity.ReplicatedEntities",
        ]),
        ..info(&AKKA_SERVERLESS_B)
    };
    assert_eq!(told, [expected]);
    assert_eq!(probed, ["/kalix.protocol.Discovery/Discover"]);
}

#[tokio::test]
async fn kalix_is_told_where_and_how_to_call_back() {
    let world = World::of(&whole(&KALIX)).await;
    let (told, probed) = handshake(&world.function);
    let identification = told[0].identification_info.clone().expect("identification");
    let IdentificationInfo {
        self_identification_header: header,
        self_identification_token: token,
        ..
    } = identification.clone();
    assert_eq!(header, "x-firn-identification");
    assert!(token.len() >= 32, "{token}");
    let expected = ProxyInfo {
        supported_entity_types: types(&[
            "kalix.component.action.Actions",
            "kalix.component.eventsourcedentity.EventSourcedEntities",
            "kalix.component.valueentity.ValueEntities",
            "kalix.component.replicatedentity.ReplicatedEntities",
        ]),
        proxy_hostname: "127.0.0.1".to_owned(),
        internal_proxy_hostname: "127.0.0.1".to_owned(),
        proxy_port: world.firn.clients.port().into(),
        identification_info: Some(identification),
        ..info(&KALIX)
    };
    assert_eq!(told, [expected]);
    assert_eq!(probed.len(), 0);
}

#[tokio::test]
async fn descriptors_may_come_in_disorder() {
    for dialect in [&CLOUDSTATE, &AKKA_SERVERLESS_B, &KALIX] {
        let declaration = whole(dialect);
        let function = Function::start(&declaration);
        function.answer_discovery(declaration.answer_in_disorder());
        let world = World::beside(function, &[]).await;
        use_it(&world).await;
    }
}

#[tokio::test]
async fn what_is_not_served_yet_is_said_and_the_rest_runs() {
    for dialect in [&AKKA_SERVERLESS_B, &KALIX] {
        let mut declaration = whole(dialect).component(Declared {
            service: "model.Configured".to_owned(),
            component_type: dialect.unserved_others[0].to_owned(),
            storage: Some("configured".to_owned()),
            ..Declared::default()
        });
        declaration.fails_reports = true;
        let world = World::of(&declaration).await;
        let report = world.function.report("model.Configured").await;
        let (start, severity) = match dialect.family {
            Family::Kalix => ("model.Configured", 2),
            Family::AkkaServerless | Family::Cloudstate => ("Warning: model.Configured", 0),
        };
        assert!(report.message.starts_with(start), "{report:?}");
        let code = (report.code.as_str(), report.severity);
        assert_eq!(code, ("FIRN-2014", severity));
        use_it(&world).await;
        let call = world.call("Configured/Process", request("a", ""));
        let status = call.outcome().await.expect_err("a refusal");
        assert_eq!(status.code(), tonic::Code::Unimplemented);
    }
}

/// A contract that is refused with this code: it is reported, never served, and Firn ends.
async fn is_refused(declaration: &Declaration, code: &str) {
    let function = Function::start(declaration);
    let mut firn = Firn::start(setup(&function, &[]));
    let dialect = declaration.dialect;
    let (message, field) = match dialect.family {
        Family::Cloudstate => (code, ""),
        Family::AkkaServerless | Family::Kalix => ("", code),
    };
    let report = function.report(message).await;
    assert_eq!(report.code, field, "{report:?}");
    let severity = i32::from(dialect.family == Family::Kalix);
    assert_eq!(report.severity, severity);
    assert_eq!(firn.wait().code(), Some(3), "{}", firn.log());
    assert!(firn.log().contains(code), "{}", firn.log());
    assert!(!firn.log().contains("serving "), "{}", firn.log());
}

#[tokio::test]
async fn faulty_contract_is_reported_and_never_served() {
    for dialect in [&CLOUDSTATE, &KALIX] {
        let empty = || Declaration::new(dialect, &model(dialect));
        is_refused(&empty(), "FIRN-2012").await;
        is_refused(&whole(dialect).action("model.Missing"), "FIRN-2004").await;
        let unknown = |it: &mut Declared| it.component_type = "no.Such".to_owned();
        is_refused(&whole(dialect).last(unknown), "FIRN-2005").await;
        let streaming = empty().event_sourced("model.Doing", "doing");
        is_refused(&streaming, "FIRN-2007").await;
        let keyless = empty().value("model.Keyless", "keyless");
        is_refused(&keyless, "FIRN-2006").await;
        let twice = whole(dialect).value("model.Configured", "journal");
        is_refused(&twice, "FIRN-2010").await;
        let mut version = whole(dialect);
        version.info.protocol_major_version = 7;
        is_refused(&version, "FIRN-2011").await;
    }
}

#[tokio::test]
async fn illegal_http_rule_is_reported_and_never_served() {
    for dialect in [&CLOUDSTATE, &KALIX] {
        for rule in [
            r#"get: "no-slash""#,
            r#"get: "/x/{missing}""#,
            r#"get: "/x/{id}" body: "*" selector: "other""#,
            r#"post: "/x" body: "missing""#,
            r#"custom: { kind: "x y", path: "/x" }"#,
        ] {
            let text = model(dialect).replace(r#"get: "/model/doing/{id}/out""#, rule);
            let declaration = Declaration::new(dialect, &text).action("model.Doing");
            is_refused(&declaration, "FIRN-2008").await;
        }
    }
}
