//! Contracts, read from small proto files that are compiled here.

use std::num::NonZeroUsize;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use firn_model::code::Code;
use firn_model::contract::{Finding, FunctionInfo, Kind, Unenforced};
use firn_model::key::{Key, KeyField, KeyKind};
use firn_model::policy::{
    Delete, EmptyAnswer, FailureMutation, Headers, OpenCommands, Policies, Replay, StreamFailure,
    UnnamedFailure,
};
use firn_model::replicated::Consistency;
use firn_wire::contract::{Declared, read, streams_max};
use firn_wire::dialect::{self, Dialect, Family};
use firn_wire::superset::component::ComponentSettings;
use firn_wire::superset::entity_settings::SpecificSettings;
use firn_wire::superset::passivation_strategy::Strategy;
use firn_wire::superset::{
    Component, Entity, EntitySettings, EntitySpec, PassivationStrategy, ReplicatedEntitySettings,
    ServiceInfo, Spec, TimeoutPassivationStrategy,
};
use prost::Message;
use prost_reflect::prost_types::FileDescriptorProto;
use protox::file::{
    ChainFileResolver, File, FileResolver, GoogleFileResolver, IncludeFileResolver,
};

const EVENT_SOURCED: &str = "kalix.component.eventsourcedentity.EventSourcedEntities";
const VALUE: &str = "kalix.component.valueentity.ValueEntities";
const ACTION: &str = "kalix.component.action.Actions";
const REPLICATED: &str = "kalix.component.replicatedentity.ReplicatedEntities";

/// A function under construction: its proto files, and how it is declared.
#[derive(Clone)]
struct Function {
    dialect: &'static Dialect,
    texts: Texts,
    components: Vec<Component>,
    service_info: ServiceInfo,
}

/// Proto files by name and text.
#[derive(Clone, Default)]
struct Texts(Vec<(String, String)>);

impl FileResolver for Texts {
    fn open_file(&self, name: &str) -> Result<File, protox::Error> {
        match self.0.iter().find(|(known, _)| known == name) {
            Some((_, text)) => File::from_source(name, text),
            None => Err(protox::Error::file_not_found(name)),
        }
    }
}

/// A set of file descriptors whose files stay bytes, so that no option is lost.
#[derive(Message)]
struct Files {
    #[prost(bytes = "vec", repeated, tag = "1")]
    file: Vec<Vec<u8>>,
}

impl Function {
    fn new(dialect: &'static Dialect, version: (i32, i32)) -> Self {
        Self {
            dialect,
            texts: Texts::default(),
            components: Vec::new(),
            service_info: ServiceInfo {
                protocol_major_version: version.0,
                protocol_minor_version: version.1,
                ..ServiceInfo::default()
            },
        }
    }

    fn kalix() -> Self {
        Self::new(&dialect::KALIX, (1, 1))
    }

    fn akka_serverless() -> Self {
        Self::new(&dialect::AKKA_SERVERLESS_B, (0, 7))
    }

    fn cloudstate() -> Self {
        Self::new(&dialect::CLOUDSTATE, (0, 2))
    }

    /// A Kalix function of one component and one file.
    fn of(component_type: &str, body: &str) -> Self {
        Self::kalix()
            .file(body)
            .component(component_type, "t.S", "s")
    }

    /// The file `t.proto` of package `t`, with the family's options imported.
    fn file(self, body: &str) -> Self {
        let options = match self.dialect.family {
            Family::Kalix => "kalix/annotations.proto",
            Family::AkkaServerless => "akkaserverless/annotations.proto",
            Family::Cloudstate => "cloudstate/entity_key.proto",
        };
        let head = format!("syntax = \"proto3\"; package t; import \"{options}\";");
        self.text("t.proto", &format!("{head}\n{body}"))
    }

    fn text(mut self, name: &str, text: &str) -> Self {
        self.texts.0.push((name.to_owned(), text.to_owned()));
        self
    }

    fn component(mut self, component_type: &str, service: &str, storage: &str) -> Self {
        let timeout = TimeoutPassivationStrategy { timeout: 100 };
        let settings = EntitySettings {
            entity_type: storage.to_owned(),
            forward_headers: vec!["x-one".to_owned()],
            passivation_strategy: Some(PassivationStrategy {
                strategy: Some(Strategy::Timeout(timeout)),
            }),
            ..EntitySettings::default()
        };
        self.components.push(Component {
            component_type: component_type.to_owned(),
            service_name: service.to_owned(),
            component_settings: Some(ComponentSettings::Entity(settings)),
        });
        self
    }

    /// The last component has settings of a replicated entity, with this write consistency.
    fn write_consistency(mut self, write_consistency: i32) -> Self {
        let last = self.components.last_mut().unwrap();
        let Some(ComponentSettings::Entity(settings)) = &mut last.component_settings else {
            panic!("{last:?} has no settings");
        };
        settings.specific_settings = Some(SpecificSettings::ReplicatedEntity(
            ReplicatedEntitySettings { write_consistency },
        ));
        self
    }

    fn sdk(mut self, name: &str, runtime: &str) -> Self {
        self.service_info.support_library_name = name.to_owned();
        self.service_info.support_library_version = "1.2".to_owned();
        self.service_info.service_runtime = runtime.to_owned();
        self
    }

    /// The compiled files with what they import, in the order in which they need each other.
    fn files(&self) -> Vec<Vec<u8>> {
        let proto = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proto");
        let roots: &[&str] = match self.dialect.family {
            Family::Kalix => &["kalix", "."],
            Family::AkkaServerless => &["akkaserverless", "."],
            Family::Cloudstate if self.service_info.protocol_minor_version == 0 => {
                &["cloudstate01", "."]
            }
            Family::Cloudstate => &["cloudstate", "."],
        };
        let mut resolver = ChainFileResolver::new();
        resolver.add(self.texts.clone());
        for root in roots {
            resolver.add(IncludeFileResolver::new(proto.join(root)));
        }
        resolver.add(GoogleFileResolver::new());
        let mut compiler = protox::Compiler::with_file_resolver(resolver);
        compiler.include_imports(true).include_source_info(true);
        let names = self.texts.0.iter().map(|(name, _)| name);
        compiler.open_files(names).unwrap();
        let set = compiler.encode_file_descriptor_set();
        Files::decode(set.as_slice()).unwrap().file
    }

    /// The answer to the discovery call, with these files.
    fn answer(&self, files: Vec<Vec<u8>>) -> Bytes {
        let proto = Files { file: files }.encode_to_vec().into();
        let service_info = Some(self.service_info.clone());
        let answer = match self.dialect.family {
            Family::Cloudstate => {
                let entities = self.components.iter().map(entity).collect();
                EntitySpec {
                    proto,
                    entities,
                    service_info,
                }
                .encode_to_vec()
            }
            _ => {
                let components = self.components.clone();
                Spec {
                    proto,
                    components,
                    service_info,
                }
                .encode_to_vec()
            }
        };
        answer.into()
    }

    fn read_with(&self, files: Vec<Vec<u8>>) -> Result<Declared, Vec<Finding>> {
        read(self.dialect, self.answer(files))
    }

    fn read(&self) -> Result<Declared, Vec<Finding>> {
        self.read_with(self.files())
    }

    fn declared(&self) -> Declared {
        self.read().unwrap()
    }

    fn faults(&self) -> Vec<Finding> {
        self.read().unwrap_err()
    }

    fn refused_with(&self, expected: &[Code]) {
        let codes: Vec<Code> = self.faults().iter().map(|fault| fault.code).collect();
        assert_eq!(codes, expected, "{:?}", self.faults());
    }

    fn warned_with(&self, expected: &[Code]) {
        let warnings = self.declared().contract.warnings;
        let codes: Vec<Code> = warnings.iter().map(|warning| warning.code).collect();
        assert_eq!(codes, expected, "{warnings:?}");
    }

    fn key(&self) -> Key {
        let declared = self.declared();
        declared.contract.method("/t.S/M").unwrap().key.clone()
    }

    fn policies(&self) -> Policies {
        self.declared().contract.components[0].policies.clone()
    }
}

/// The same component in the words of Cloudstate.
fn entity(component: &Component) -> Entity {
    let Some(ComponentSettings::Entity(settings)) = component.component_settings.clone() else {
        panic!("{component:?} has no settings");
    };
    Entity {
        entity_type: component.component_type.clone(),
        service_name: component.service_name.clone(),
        persistence_id: settings.entity_type,
        passivation_strategy: settings.passivation_strategy,
    }
}

fn keys(fields: &[(&[u32], &str, KeyKind)]) -> Key {
    let fields = fields.iter().map(|(path, name, kind)| KeyField {
        path: path.to_vec(),
        name: (*name).to_owned(),
        kind: *kind,
    });
    Key::Fields(fields.collect())
}

const KEYED: &str = "message R { string id = 1 [(kalix.field).entity_key = true]; } \
                     service S { rpc M(R) returns (R); }";

mod served {
    use super::*;

    #[test]
    fn every_kind_of_component() {
        let body = format!(
            "{KEYED} message P {{}} service V {{ rpc M(R) returns (R); }} \
             service D {{ rpc M(R) returns (R); }} service A {{ rpc M(stream P) returns (stream R); }}"
        );
        let function = Function::kalix()
            .file(&body)
            .component(EVENT_SOURCED, "t.S", "events")
            .component(VALUE, "t.V", "")
            .component(REPLICATED, "t.D", "data")
            .component(ACTION, "t.A", "unused")
            .sdk("sdk", "node v20");
        let Declared { contract, dialect } = function.declared();
        assert_eq!(*dialect, dialect::KALIX);
        assert_eq!(contract.family, "kalix");
        assert_eq!(contract.info.sdk, "sdk 1.2");
        assert_eq!(contract.warnings, []);
        let components: Vec<_> = contract
            .components
            .iter()
            .map(|it| (&*it.service, it.kind, it.storage.as_str()))
            .collect();
        assert_eq!(
            components,
            [
                ("t.S", Kind::EventSourced, "events"),
                ("t.V", Kind::Value, "t.V"),
                ("t.D", Kind::Replicated, "data"),
                ("t.A", Kind::Action, "t.A"),
            ]
        );
        let method = contract.method("/t.A/M").unwrap();
        assert_eq!(method.key, Key::None);
        assert!(method.streams_in() && method.streams_out());
        assert_eq!(&*method.input_url, "type.googleapis.com/t.P");
        assert_eq!(&*method.output_url, "type.googleapis.com/t.R");
        assert_eq!(contract.methods().count(), 4);
    }

    #[test]
    fn settings_of_a_replicated_entity_do_not_make_one() {
        // One SDK sends them for every entity and view.
        let function = Function::of(VALUE, KEYED).write_consistency(0);
        assert_eq!(function.declared().contract.components[0].kind, Kind::Value);
    }

    #[test]
    fn replicated_entities_of_cloudstate_may_stream_replies() {
        let body = "message R { string id = 1 [(.cloudstate.entity_key) = true]; } \
                    service S { rpc M(R) returns (stream R); rpc N(R) returns (R); }";
        for version in [(0, 0), (0, 2)] {
            let function = Function::new(&dialect::CLOUDSTATE, version)
                .file(body)
                .component("cloudstate.crdt.Crdt", "t.S", "s");
            let contract = function.declared().contract;
            let component = &contract.components[0];
            assert_eq!(component.kind, Kind::Replicated);
            assert_eq!(component.storage.as_str(), "s");
            assert!(contract.method("/t.S/M").unwrap().streams_out());
        }
    }

    #[test]
    fn action_without_settings() {
        let mut function = Function::of(ACTION, KEYED);
        function.components[0].component_settings = None;
        assert_eq!(function.key(), Key::None);
        assert_eq!(function.policies().headers, Headers::Listed(vec![]));
    }

    #[test]
    fn components_that_are_not_served_do_not_stop_the_others() {
        let body = format!(
            "{KEYED} service V {{ rpc M(R) returns (R); }} service W {{ rpc M(R) returns (R); }}"
        );
        let function = Function::kalix()
            .file(&body)
            .component(VALUE, "t.S", "s")
            .component("kalix.component.view.Views", "t.V", "s")
            .component("kalix.component.workflow.WorkflowEntities", "t.W", "w");
        function.warned_with(&[Code::NotServedYet; 2]);
        let contract = function.declared().contract;
        assert!(contract.method("/t.S/M").is_some());
        assert!(contract.method("/t.V/M").is_none());
        assert_eq!(contract.warnings[1].service.as_deref(), Some("t.W"));
    }

    #[test]
    fn eventing_is_warned_of() {
        let body = "message R {} service S { \
                    rpc M(R) returns (R) { option (kalix.method).eventing.in.topic = \"x\"; } \
                    rpc N(R) returns (R) { option (kalix.method).eventing.out.topic = \"x\"; } }";
        Function::of(ACTION, body).warned_with(&[Code::EventingNotServed]);
        let body = "message R {} service S { \
                    option (kalix.service).eventing.in.event_sourced_entity = \"x\"; \
                    rpc M(R) returns (R); }";
        let function = Function::of(ACTION, body);
        function.warned_with(&[Code::EventingNotServed]);
        assert!(function.declared().contract.method("/t.S/M").is_some());

        let body = "import \"cloudstate/eventing.proto\"; message R {} service S { \
                    rpc M(R) returns (R) { option (cloudstate.eventing).in.topic = \"x\"; } }";
        Function::cloudstate()
            .file(body)
            .component("cloudstate.action.ActionProtocol", "t.S", "")
            .warned_with(&[Code::EventingNotServed]);
        let body = "import \"cloudstate/eventing.proto\"; message R {} service S { \
                    rpc M(R) returns (R) { option (cloudstate.eventing).in = \"x\"; } }";
        Function::new(&dialect::CLOUDSTATE, (0, 0))
            .file(body)
            .component("cloudstate.function.StatelessFunction", "t.S", "")
            .warned_with(&[Code::EventingNotServed]);
    }

    #[test]
    fn python_value_entities_of_akka_serverless_are_warned_of() {
        let body = "message R { string id = 1 [(akkaserverless.field).entity_key = true]; } \
                    service S { rpc M(R) returns (R); }";
        let function = Function::akka_serverless()
            .file(body)
            .component(
                "akkaserverless.component.valueentity.ValueEntities",
                "t.S",
                "s",
            )
            .sdk("akkaserverless-python-sdk", "Python 3.9");
        function.warned_with(&[Code::SdkDefect]);
        function
            .sdk("akkaserverless-javascript-sdk", "node")
            .warned_with(&[]);
    }
}

mod keys {
    use super::*;

    fn kalix(fields: &str) -> Function {
        let body = format!(
            "enum E {{ Z = 0; }} \
             message N {{ string x = 1; int64 b = 3 [(kalix.field).entity_key = true]; \
                          string a = 2 [(kalix.field).entity_key = true]; }} \
             message R {{ {fields} }} service S {{ rpc M(R) returns (R); }}"
        );
        Function::of(VALUE, &body)
    }

    #[test]
    fn types_that_name_an_entity() {
        let check = |kind: &str, expected| {
            let function = kalix(&format!("{kind} k = 7 [(kalix.field).entity_key = true];"));
            assert_eq!(function.key(), keys(&[(&[7], "k", expected)]), "{kind}");
        };
        check("string", KeyKind::String);
        check("bool", KeyKind::Bool);
        check("int32", KeyKind::Signed);
        check("int64", KeyKind::Signed);
        check("E", KeyKind::Signed);
        check("uint32", KeyKind::Unsigned);
        check("uint64", KeyKind::Unsigned);
        check("sint32", KeyKind::ZigZag);
        check("sint64", KeyKind::ZigZag);
        check("fixed32", KeyKind::Fixed32);
        check("sfixed32", KeyKind::SignedFixed32);
        check("fixed64", KeyKind::Fixed64);
        check("sfixed64", KeyKind::SignedFixed64);
    }

    #[test]
    fn types_that_do_not() {
        let check = |kind: &str| {
            let field = format!("{kind} k = 7 [(kalix.field).entity_key = true];");
            kalix(&field).refused_with(&[Code::KeyType]);
        };
        check("float");
        check("double");
        check("bytes");
        check("repeated string");
        check("repeated N");
        check("map<string, string>");
    }

    #[test]
    fn several_fields_count_in_the_order_they_are_written() {
        let function = kalix(
            "string b = 2 [(kalix.field).entity_key = true]; string x = 3; \
             int32 a = 1 [(kalix.field).entity_key = true];",
        );
        assert_eq!(
            function.key(),
            keys(&[(&[2], "b", KeyKind::String), (&[1], "a", KeyKind::Signed)])
        );
    }

    #[test]
    fn a_message_is_a_key_if_fields_of_it_are() {
        let function = kalix("N n = 4 [(kalix.field).entity_key = true];");
        assert_eq!(
            function.key(),
            keys(&[
                (&[4, 3], "n.b", KeyKind::Signed),
                (&[4, 2], "n.a", KeyKind::String)
            ])
        );
        kalix("R r = 4 [(kalix.field).entity_key = true];").refused_with(&[Code::KeyType]);
        let unmarked = "message U { string a = 1; } message R { U u = 1 \
                        [(kalix.field).entity_key = true]; } service S { rpc M(R) returns (R); }";
        Function::of(VALUE, unmarked).refused_with(&[Code::KeyMissing]);
    }

    #[test]
    fn workflow_key_is_a_key_too() {
        let function = kalix("string k = 1 [(kalix.field).workflow_key = true];");
        assert_eq!(function.key(), keys(&[(&[1], "k", KeyKind::String)]));
    }

    #[test]
    fn later_options_are_read_by_their_names() {
        let annotations = "syntax = \"proto3\"; package kalix; \
            import \"google/protobuf/descriptor.proto\"; \
            message FieldOptions { bool id = 9; } \
            message IdGenerator { enum Algorithm { NONE = 0; UUID = 1; } Algorithm algorithm = 4; } \
            message MethodOptions { IdGenerator id_generator = 8; } \
            extend google.protobuf.FieldOptions { FieldOptions field = 1080; } \
            extend google.protobuf.MethodOptions { MethodOptions method = 1080; }";
        let read = |body: &str| {
            Function::of(VALUE, body)
                .text("kalix/annotations.proto", annotations)
                .key()
        };
        let key = read(
            "message R { string k = 1 [(kalix.field).id = true]; } \
             service S { rpc M(R) returns (R); }",
        );
        assert_eq!(key, keys(&[(&[1], "k", KeyKind::String)]));
        let key = read(
            "message R { string k = 1; } service S { rpc M(R) returns (R) \
             { option (kalix.method).id_generator.algorithm = UUID; } }",
        );
        assert_eq!(key, Key::Generated);
    }

    #[test]
    fn generated_keys_need_no_field_and_allow_none() {
        let body = |option: &str, field: &str| {
            format!(
                "message R {{ string k = 1 {field}; }} service S {{ rpc M(R) returns (R) \
                 {{ option (kalix.method).{option}.key_generator = VERSION_4_UUID; }} }}"
            )
        };
        assert_eq!(
            Function::of(VALUE, &body("entity", "")).key(),
            Key::Generated
        );
        assert_eq!(
            Function::of(VALUE, &body("workflow", "")).key(),
            Key::Generated
        );
        let both = body("entity", "[(kalix.field).entity_key = true]");
        Function::of(VALUE, &both).refused_with(&[Code::KeyAndGenerator]);
    }

    #[test]
    fn akka_serverless_has_an_old_and_a_new_option() {
        let key = |fields: &str| {
            let body = format!(
                "import \"akkaserverless/legacy_entity_key.proto\"; \
                 message R {{ {fields} }} service S {{ rpc M(R) returns (R); }}"
            );
            Function::akka_serverless()
                .file(&body)
                .component(
                    "akkaserverless.component.valueentity.ValueEntities",
                    "t.S",
                    "s",
                )
                .key()
        };
        let expected = keys(&[(&[1], "k", KeyKind::String)]);
        assert_eq!(
            key("string k = 1 [(akkaserverless.field).entity_key = true];"),
            expected
        );
        assert_eq!(
            key("string k = 1 [(akkaserverless.legacy_entity_key) = true];"),
            expected
        );
    }

    #[test]
    fn cloudstate_options_are_read_by_number() {
        let entity = "cloudstate.eventsourced.EventSourced";
        let body = |import: &str, option: &str| {
            format!(
                "import \"{import}\"; message R {{ string k = 1 [({option}) = true]; }} \
                 service S {{ rpc M(R) returns (R); }}"
            )
        };
        let expected = keys(&[(&[1], "k", KeyKind::String)]);
        let new = body("google/protobuf/empty.proto", "cloudstate.entity_key");
        let function = Function::cloudstate()
            .file(&new)
            .component(entity, "t.S", "s");
        assert_eq!(function.key(), expected);
        // Without the file that declares the option it is still there, by its number.
        let undeclared: Vec<Vec<u8>> = function
            .files()
            .into_iter()
            .filter_map(without_options)
            .collect();
        let declared = function.read_with(undeclared).unwrap();
        assert!(
            declared
                .contract
                .pool
                .get_extension_by_name("cloudstate.entity_key")
                .is_none()
        );
        assert_eq!(declared.contract.method("/t.S/M").unwrap().key, expected);

        let legacy = body(
            "cloudstate/legacy_entity_key.proto",
            "cloudstate.legacy_entity_key",
        );
        let function = Function::cloudstate()
            .file(&legacy)
            .component(entity, "t.S", "s");
        assert_eq!(function.key(), expected);
        let old = Function::new(&dialect::CLOUDSTATE, (0, 0))
            .file(&new)
            .component(entity, "t.S", "s");
        assert_eq!(old.key(), expected);
        assert_eq!(*old.declared().dialect, dialect::CLOUDSTATE_01);
    }

    /// Drops the option files, and the imports of them in others.
    fn without_options(file: Vec<u8>) -> Option<Vec<u8>> {
        /// All of a file but its imports stays as it is.
        const IMPORT: u8 = 3 << 3 | 2;
        let name = FileDescriptorProto::decode(file.as_slice())
            .unwrap()
            .name()
            .to_owned();
        if name.starts_with("cloudstate/") {
            return None;
        }
        let import = b"cloudstate/entity_key.proto";
        let bytes = [&[IMPORT, import.len() as u8], &import[..]].concat();
        Some(match file.windows(bytes.len()).position(|it| it == bytes) {
            Some(at) => [&file[..at], &file[at + bytes.len()..]].concat(),
            None => file,
        })
    }

    #[test]
    fn nested_keys_are_not_known_to_cloudstate() {
        let body = "message N { string a = 1 [(cloudstate.entity_key) = true]; } \
                    message R { N n = 1 [(cloudstate.entity_key) = true]; } \
                    service S { rpc M(R) returns (R); }";
        Function::cloudstate()
            .file(body)
            .component("cloudstate.valueentity.ValueEntity", "t.S", "s")
            .refused_with(&[Code::KeyType]);
    }
}

mod access {
    use super::*;

    fn unenforced(service: &str, method: &str, policy: Option<&str>) -> Option<Unenforced> {
        let body = format!(
            "message R {{ string id = 1 [(kalix.field).entity_key = true]; }} \
             service S {{ {service} rpc M(R) returns (R) {{ {method} }} }}"
        );
        let mut function = Function::of(VALUE, &body);
        if let Some(policy) = policy {
            let text = format!(
                "syntax = \"proto3\"; package t; import \"kalix/annotations.proto\"; \
                 option (kalix.file).acl = {policy};"
            );
            function = function.text("t/my_kalix_policy.proto", &text);
        }
        function
            .declared()
            .contract
            .method("/t.S/M")
            .unwrap()
            .unenforced
    }

    const OPEN: &str = "{ allow: { principal: ALL } }";
    const INTERNET: &str = "{ allow: { principal: INTERNET } }";
    const NOBODY: &str = "{ deny_code: 5 }";
    const ALL_BUT: &str = "{ allow: { principal: ALL }, deny: { service: \"x\" } }";

    #[test]
    fn the_nearest_rule_counts() {
        let method = |acl: &str| format!("option (kalix.method).acl = {acl};");
        let service = |acl: &str| format!("option (kalix.service).acl = {acl};");
        let acl = Some(Unenforced::Acl);
        assert_eq!(unenforced("", "", None), None);
        for (rule, expected) in [(OPEN, None), (INTERNET, acl), (NOBODY, acl), (ALL_BUT, acl)] {
            assert_eq!(unenforced("", &method(rule), None), expected, "{rule}");
            assert_eq!(unenforced(&service(rule), "", None), expected, "{rule}");
            assert_eq!(unenforced("", "", Some(rule)), expected, "{rule}");
        }
        assert_eq!(
            unenforced(&service(INTERNET), &method(OPEN), Some(NOBODY)),
            None
        );
        assert_eq!(unenforced(&service(OPEN), "", Some(NOBODY)), None);
        assert_eq!(unenforced(&service(OPEN), &method(INTERNET), None), acl);
    }

    #[test]
    fn tokens_are_a_rule_if_they_are_used() {
        let jwt =
            |option: &str| unenforced("", &format!("option (kalix.method).jwt = {option};"), None);
        assert_eq!(jwt("{ validate: BEARER_TOKEN }"), Some(Unenforced::Jwt));
        assert_eq!(jwt("{ sign: MESSAGE }"), Some(Unenforced::Jwt));
        assert_eq!(jwt("{ bearer_token_issuer: \"i\" }"), None);
    }
}

mod refused {
    use super::*;

    #[test]
    fn answer_that_is_no_message() {
        let faults = read(&dialect::KALIX, Bytes::from_static(b"\xff")).unwrap_err();
        assert_eq!(faults[0].code, Code::DiscoveryFailed);
    }

    #[test]
    fn nothing_declared() {
        Function::kalix()
            .file(KEYED)
            .refused_with(&[Code::NothingDeclared]);
    }

    #[test]
    fn service_that_is_not_described() {
        Function::kalix()
            .file(KEYED)
            .component(VALUE, "t.T", "s")
            .refused_with(&[Code::ServiceUndeclared]);
    }

    #[test]
    fn unknown_component_type_names_the_known_ones() {
        let function = Function::of("kalix.component.new.News", KEYED);
        function.refused_with(&[Code::ComponentTypeUnknown]);
        let text = &function.faults()[0].text;
        assert!(text.contains("News") && text.contains(VALUE), "{text}");
        // The names of one family are unknown to another.
        let function = Function::of("cloudstate.valueentity.ValueEntity", KEYED);
        function.refused_with(&[Code::ComponentTypeUnknown]);
    }

    #[test]
    fn every_fault_is_told_at_once_with_its_place() {
        let body = "message R { string id = 1; }\n\
                    service S {\n\
                    \x20 rpc M(R) returns (R);\n\
                    \x20 rpc N(stream R) returns (R);\n\
                    \x20 rpc O(R) returns (stream R); }";
        let function = Function::of(VALUE, body).component(VALUE, "t.T", "s");
        function.refused_with(&[
            Code::KeyMissing,
            Code::StreamingEntity,
            Code::StreamingEntity,
            Code::ServiceUndeclared,
            Code::StorageNameTwice,
        ]);
        let place = function.faults()[0].location.clone().unwrap();
        assert_eq!((&*place.file, place.line, place.column), ("t.proto", 3, 2));
    }

    #[test]
    fn streams_that_a_replicated_entity_cannot_have() {
        let service = "service S { rpc M(stream R) returns (R); rpc N(stream R) returns (stream R); \
                       rpc O(R) returns (stream R); }";
        let twice = [Code::StreamingEntity; 2];
        let body = "message R { string id = 1 [(.cloudstate.entity_key) = true]; }";
        Function::cloudstate()
            .file(&format!("{body} {service}"))
            .component("cloudstate.crdt.Crdt", "t.S", "s")
            .refused_with(&twice);
        let body = "message R { string id = 1 [(kalix.field).entity_key = true]; }";
        Function::of(REPLICATED, &format!("{body} {service}"))
            .refused_with(&[Code::StreamingEntity; 3]);
    }

    #[test]
    fn place_of_a_key_field() {
        let body = "message R {\n  bytes id = 1 [(kalix.field).entity_key = true]; }\n\
                    service S { rpc M(R) returns (R); }";
        let place = Function::of(VALUE, body).faults()[0]
            .location
            .clone()
            .unwrap();
        assert_eq!((place.line, place.column), (2, 2));
    }

    #[test]
    fn service_declared_twice() {
        Function::of(VALUE, KEYED)
            .component(ACTION, "t.S", "x")
            .refused_with(&[Code::ServiceTwice]);
    }

    #[test]
    fn two_components_with_one_storage() {
        let body = format!("{KEYED} service T {{ rpc M(R) returns (R); }}");
        let two = |component_type: &str, storage: &str| {
            Function::of(VALUE, &body).component(component_type, "t.T", storage)
        };
        two(EVENT_SOURCED, "s").refused_with(&[Code::StorageNameTwice]);
        two("kalix.component.workflow.WorkflowEntities", "s")
            .refused_with(&[Code::StorageNameTwice]);
        two(REPLICATED, "s").refused_with(&[Code::StorageNameTwice]);
        two(ACTION, "s").warned_with(&[]);
        two(EVENT_SOURCED, "other").warned_with(&[]);
        // The name of a service is the storage name of a component without one.
        two(EVENT_SOURCED, "").warned_with(&[]);
        Function::kalix()
            .file(&body)
            .component(VALUE, "t.S", "t.T")
            .component(VALUE, "t.T", "")
            .refused_with(&[Code::StorageNameTwice]);
    }

    #[test]
    fn versions() {
        let code = |dialect, version| match Function::new(dialect, version).read_with(vec![]) {
            Ok(_) => None,
            Err(faults) => Some(faults[0].code).filter(|code| *code != Code::NothingDeclared),
        };
        let check = |dialect, served: &[(i32, i32)], refused: &[(i32, i32)]| {
            for version in served {
                assert_eq!(code(dialect, *version), None, "{version:?}");
            }
            for version in refused {
                assert_eq!(
                    code(dialect, *version),
                    Some(Code::ProtocolVersion),
                    "{version:?}"
                );
            }
        };
        check(
            &dialect::KALIX,
            &[(1, 0), (1, 1), (1, 7)],
            &[(0, 0), (0, 7), (2, 0)],
        );
        check(
            &dialect::AKKA_SERVERLESS_B,
            &[(0, 7), (0, 8), (0, 10)],
            &[(1, 0)],
        );
        check(
            &dialect::CLOUDSTATE,
            &[(0, 0), (0, 1), (0, 2)],
            &[(0, 3), (1, 0), (-1, 2)],
        );
    }
}

mod descriptors {
    use super::*;

    /// A file without anything but imports.
    fn file(name: &str, imports: &[&str]) -> Vec<u8> {
        FileDescriptorProto {
            name: Some(name.to_owned()),
            dependency: imports.iter().map(|&import| import.to_owned()).collect(),
            ..FileDescriptorProto::default()
        }
        .encode_to_vec()
    }

    fn texts(files: Vec<Vec<u8>>) -> Vec<String> {
        let faults = Function::kalix().read_with(files).unwrap_err();
        assert!(
            faults
                .iter()
                .all(|fault| fault.code == Code::DescriptorsUnlinkable)
        );
        faults.into_iter().map(|fault| fault.text).collect()
    }

    #[test]
    fn order_and_repetition_do_not_matter() {
        let function = Function::of(VALUE, KEYED).text(
            "a.proto",
            "syntax = \"proto3\"; import \"t.proto\"; message A { t.R r = 1; }",
        );
        let files = function.files();
        for turn in 0..files.len() {
            let mut files = files.clone();
            files.rotate_left(turn);
            files.extend(files.clone());
            files.reverse();
            let declared = function.read_with(files).unwrap();
            assert!(declared.contract.method("/t.S/M").is_some());
            assert!(declared.contract.pool.get_message_by_name("A").is_some());
        }
    }

    #[test]
    fn well_known_and_option_files_are_added() {
        let body = format!(
            "import \"google/api/annotations.proto\"; import \"google/protobuf/timestamp.proto\"; \
             import \"google/api/httpbody.proto\"; {KEYED} \
             message T {{ google.protobuf.Timestamp at = 1; google.api.HttpBody body = 2; }}"
        );
        let check = |function: Function| {
            let mut files = function.files();
            files.retain(|file| {
                FileDescriptorProto::decode(file.as_slice()).unwrap().name() == "t.proto"
            });
            assert_eq!(files.len(), 1);
            function.read_with(files).unwrap()
        };
        let kalix = check(Function::of(VALUE, &body));
        assert_eq!(
            kalix.contract.method("/t.S/M").unwrap().key,
            keys(&[(&[1], "id", KeyKind::String)])
        );
        for (function, component_type, field) in [
            (
                Function::akka_serverless(),
                "akkaserverless.component.valueentity.ValueEntities",
                "(akkaserverless.field).entity_key",
            ),
            (
                Function::cloudstate(),
                "cloudstate.valueentity.ValueEntity",
                "(cloudstate.entity_key)",
            ),
        ] {
            let body = body.replace("(kalix.field).entity_key", field);
            check(function.file(&body).component(component_type, "t.S", "s"));
        }
    }

    #[test]
    fn missing_import_names_the_way_to_it() {
        let files = vec![file("a", &["b", "c"]), file("b", &["d"]), file("c", &["e"])];
        assert_eq!(
            texts(files),
            [
                "an imported file is missing: a -> b -> d",
                "an imported file is missing: a -> c -> e"
            ]
        );
    }

    #[test]
    fn circular_import_names_the_circle() {
        let files = vec![file("a", &["b"]), file("b", &["c"]), file("c", &["a"])];
        assert_eq!(texts(files), ["the imports are circular: a -> b -> c -> a"]);
        assert_eq!(
            texts(vec![file("a", &["a"])]),
            ["the imports are circular: a -> a"]
        );
    }

    #[test]
    fn long_chains_of_imports_are_no_danger() {
        let name = |number: usize| format!("{number:06}");
        let chain = (0..20_000).map(|number| file(&name(number), &[&name(number + 1)]));
        assert_eq!(texts(chain.collect()).len(), 1);
    }

    #[test]
    fn type_that_is_not_there() {
        let body = "message R { string id = 1; } message Q { R r = 1; }";
        let function = Function::of(VALUE, body);
        let mut files = function.files();
        let last = files.last_mut().unwrap();
        let at = last.windows(4).rposition(|it| it == b".t.R").unwrap();
        last[at..at + 4].copy_from_slice(b".t.X");
        let text = texts(files).concat();
        assert!(text.contains("t.X"), "{text}");
    }

    #[test]
    fn editions_are_refused() {
        let newer = FileDescriptorProto {
            name: Some("n.proto".to_owned()),
            syntax: Some("editions".to_owned()),
            ..FileDescriptorProto::default()
        };
        let expected = "n.proto has syntax \"editions\"; proto2 and proto3 can be linked";
        assert_eq!(texts(vec![newer.encode_to_vec()]), [expected]);
    }

    #[test]
    fn damaged_descriptors_are_survived() {
        let body = format!(
            "{KEYED} enum E {{ A = 0; B = 1; }} message O {{ oneof o {{ E e = 1; }} map<string, E> m = 2; }}"
        );
        let function = Function::of(VALUE, &body);
        let mut files = function.files();
        let own = files.pop().unwrap();
        let head = files;
        bolero::check!()
            .with_type::<(u16, u8)>()
            .for_each(|(at, byte)| {
                let mut own = own.clone();
                let at = usize::from(*at) % own.len();
                own[at] = *byte;
                let _ = function.read_with(head.iter().cloned().chain([own]).collect());
            });
    }

    #[test]
    fn any_answer_is_survived() {
        bolero::check!().for_each(|bytes: &[u8]| {
            for dialect in dialect::PROBES {
                let _ = read(dialect, Bytes::copy_from_slice(bytes));
            }
        });
    }
}

mod dialects {
    use super::*;

    #[test]
    fn generations_of_akka_serverless() {
        let body = "message R { string id = 1 [(akkaserverless.field).entity_key = true]; } \
                    service S { rpc M(R) returns (R); }";
        let function = Function::akka_serverless().file(body).component(
            "akkaserverless.component.valueentity.ValueEntities",
            "t.S",
            "s",
        );
        assert_eq!(*function.declared().dialect, dialect::AKKA_SERVERLESS_B);
        let first = "syntax = \"proto3\"; package akkaserverless; \
            import \"google/protobuf/descriptor.proto\"; \
            message FieldOptions { bool entity_key = 1; } \
            message FileOptions { string value_entity = 2; } \
            extend google.protobuf.FieldOptions { FieldOptions field = 1080; }";
        let first = function
            .clone()
            .text("akkaserverless/annotations.proto", first);
        assert_eq!(*first.declared().dialect, dialect::AKKA_SERVERLESS_A);
        // Without the file, the SDK tells.
        let without = |function: &Function| {
            let mut files = function.files();
            files.retain(|file| {
                !FileDescriptorProto::decode(file.as_slice())
                    .unwrap()
                    .name()
                    .contains('/')
            });
            *function.read_with(files).unwrap().dialect
        };
        assert_eq!(without(&function), dialect::AKKA_SERVERLESS_B);
        let javascript = function.sdk("@lightbend/akkaserverless-javascript-sdk", "node");
        assert_eq!(without(&javascript), dialect::AKKA_SERVERLESS_A);
    }

    #[test]
    fn generations_of_cloudstate() {
        let dialect = |version, component_type: &str| {
            let body = "message R { string id = 1 [(cloudstate.entity_key) = true]; } \
                        service S { rpc M(R) returns (R); }";
            let function = Function::new(&dialect::CLOUDSTATE, version);
            *function
                .file(body)
                .component(component_type, "t.S", "s")
                .declared()
                .dialect
        };
        let event_sourced = "cloudstate.eventsourced.EventSourced";
        assert_eq!(dialect((0, 2), event_sourced), dialect::CLOUDSTATE);
        assert_eq!(dialect((0, 0), event_sourced), dialect::CLOUDSTATE_01);
        assert_eq!(
            dialect((0, 0), "cloudstate.function.StatelessFunction"),
            dialect::CLOUDSTATE_01
        );
        // An SDK of the new dialect that reports no version.
        assert_eq!(
            dialect((0, 0), "cloudstate.valueentity.ValueEntity"),
            dialect::CLOUDSTATE
        );
    }

    #[test]
    fn cap_of_streams() {
        let cap = |dialect, runtime: &str, processors| {
            let info = FunctionInfo {
                runtime: runtime.to_owned(),
                ..FunctionInfo::default()
            };
            streams_max(dialect, &info, NonZeroUsize::new(processors).unwrap())
        };
        assert_eq!(cap(&dialect::CLOUDSTATE_01, "Python 3.7", 4), Some(9));
        assert_eq!(cap(&dialect::AKKA_SERVERLESS_B, "Python 3.9", 4), Some(3));
        assert_eq!(cap(&dialect::AKKA_SERVERLESS_B, "Python 3.9", 1), Some(1));
        assert_eq!(cap(&dialect::AKKA_SERVERLESS_A, "node v14", 4), None);
        assert_eq!(cap(&dialect::KALIX, "Python 3.9", 4), None);
    }
}

mod policies {
    use super::*;

    fn of(function: Function, key: &str, component_type: &str) -> Policies {
        let body = format!(
            "message R {{ string id = 1 [{key} = true]; }} service S {{ rpc M(R) returns (R); }}"
        );
        let function = function.file(&body).component(component_type, "t.S", "s");
        function.policies()
    }

    fn kalix(component_type: &str) -> Policies {
        of(
            Function::kalix(),
            "(kalix.field).entity_key",
            component_type,
        )
    }

    fn akka_serverless(component: &str) -> Policies {
        let component_type = format!("akkaserverless.component.{component}");
        let key = "(akkaserverless.field).entity_key";
        of(Function::akka_serverless(), key, &component_type)
    }

    fn cloudstate(component: &str) -> Policies {
        let component_type = format!("cloudstate.{component}");
        of(
            Function::cloudstate(),
            "(cloudstate.entity_key)",
            &component_type,
        )
    }

    const DECLARED: Option<Duration> = Some(Duration::from_millis(100));

    #[test]
    fn of_kalix() {
        let value = kalix(VALUE);
        assert_eq!(value.failure_mutation, FailureMutation::Drop);
        assert!(matches!(value.delete, Delete::Tombstone(_)));
        assert_eq!(
            value.passivate_after, None,
            "honoured for replicated entities only"
        );
        assert_eq!(value.headers, Headers::Listed(vec!["x-one".to_owned()]));
        assert_eq!(value.snapshot_every, None);
        assert_eq!(value.empty_answer, EmptyAnswer::EmptyMessage);
        assert_eq!(kalix(EVENT_SOURCED).snapshot_every, Some(100));
        assert_eq!(kalix(ACTION).empty_answer, EmptyAnswer::NotFound);
        assert!(!value.texts.pass_on);
        assert_eq!(value.unnamed_failure, UnnamedFailure::EndsInstance);
        let replicated = kalix(REPLICATED);
        assert_eq!(replicated.passivate_after, DECLARED);
        assert_eq!(replicated.open_commands, OpenCommands::One);
        assert_eq!(replicated.empty_answer, EmptyAnswer::EmptyMessage);
    }

    #[test]
    fn write_consistency_is_in_the_settings() {
        let check = |number, expected| {
            let function = Function::of(REPLICATED, KEYED).write_consistency(number);
            assert_eq!(function.policies().write_consistency, expected);
        };
        check(0, Consistency::Local);
        check(1, Consistency::Majority);
        check(2, Consistency::All);
        // More than anything known.
        check(3, Consistency::All);
        check(-1, Consistency::All);
        let unset = kalix(REPLICATED).write_consistency;
        assert_eq!(unset, Consistency::Local);
    }

    #[test]
    fn texts_of_the_jvm_are_passed_on() {
        let function = Function::of(VALUE, KEYED).sdk("kalix-java-sdk", "JVM 17");
        assert!(function.policies().texts.pass_on);
    }

    #[test]
    fn of_akka_serverless() {
        let value = akka_serverless("valueentity.ValueEntities");
        assert_eq!(value.delete, Delete::Plain);
        assert_eq!(value.passivate_after, DECLARED);
        assert_eq!(value.failure_mutation, FailureMutation::Drop);
        let event_sourced = akka_serverless("eventsourcedentity.EventSourcedEntities");
        assert_eq!(event_sourced.snapshot_every, None);
        let replicated = akka_serverless("replicatedentity.ReplicatedEntities");
        assert_eq!(replicated.passivate_after, DECLARED);
        assert_eq!(replicated.open_commands, OpenCommands::One);
        assert_eq!(replicated.unnamed_failure, UnnamedFailure::EndsInstance);
        let action = akka_serverless("action.Actions");
        assert_eq!(action.empty_answer, EmptyAnswer::EmptyMessage);
    }

    #[test]
    fn of_cloudstate() {
        let event_sourced = cloudstate("eventsourced.EventSourced");
        assert_eq!(event_sourced.failure_mutation, FailureMutation::Keep);
        assert_eq!(event_sourced.passivate_after, DECLARED);
        assert_eq!(event_sourced.headers, Headers::None);
        assert_eq!(event_sourced.replay, Replay::FromSnapshot);
        assert_eq!(event_sourced.texts.failure, "Unexpected entity failure");
        assert_eq!(event_sourced.texts.queued, "Entity terminated");
        let value = cloudstate("valueentity.ValueEntity");
        assert_eq!(value.texts.reply, "Unexpected Value entity reply");
        assert_eq!(value.texts.queued, "Value entity terminated");
        assert_eq!(value.stream_failure, StreamFailure::EndsInstance);
        assert_eq!(value.unnamed_failure, UnnamedFailure::EndsInstance);
        let replicated = cloudstate("crdt.Crdt");
        assert_eq!(replicated.passivate_after, DECLARED);
        assert_eq!(replicated.headers, Headers::None);
        assert_eq!(replicated.open_commands, OpenCommands::Many);
        assert_eq!(replicated.write_consistency, Consistency::Local);
        assert_eq!(replicated.stream_failure, StreamFailure::FailsCommand);
        assert_eq!(replicated.unnamed_failure, UnnamedFailure::Ignored);
        assert_eq!(replicated.texts.termination, "Entity terminating");
        assert_eq!(replicated.texts.queued, "Entity terminating");
        assert_eq!(cloudstate("action.ActionProtocol").headers, Headers::All);
    }

    #[test]
    fn old_python_entities_replay_all_events() {
        let replay = |version, runtime| {
            let function = Function::new(&dialect::CLOUDSTATE, version).sdk("cloudstate", runtime);
            of(
                function,
                "(cloudstate.entity_key)",
                "cloudstate.eventsourced.EventSourced",
            )
            .replay
        };
        assert_eq!(replay((0, 0), "Python 3.7"), Replay::AllEvents);
        assert_eq!(replay((0, 0), "node v12"), Replay::FromSnapshot);
        assert_eq!(replay((0, 2), "Python 3.9"), Replay::FromSnapshot);
        let akka_serverless = |runtime| {
            let function = Function::akka_serverless().sdk("akkaserverless", runtime);
            let component_type = "akkaserverless.component.eventsourcedentity.EventSourcedEntities";
            of(
                function,
                "(akkaserverless.field).entity_key",
                component_type,
            )
            .replay
        };
        assert_eq!(akka_serverless("Python 3.9"), Replay::AllEvents);
        assert_eq!(akka_serverless("node v14"), Replay::FromSnapshot);
    }
}
