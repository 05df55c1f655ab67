//! Holds the families' wire contracts against the superset and against the table of dialects.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use firn_wire::dialect::{self, Dialect};
use prost_reflect::{DescriptorPool, FieldDescriptor, FileDescriptor, Kind, MessageDescriptor};

/// Compiles files below include roots of `proto/`.
fn compile(roots: &[&str], files: &[String]) -> DescriptorPool {
    let proto = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proto");
    let mut roots: Vec<PathBuf> = roots.iter().map(|root| proto.join(root)).collect();
    roots.push(proto);
    let mut compiler = protox::Compiler::new(roots).unwrap();
    compiler.include_imports(true).open_files(files).unwrap();
    compiler.descriptor_pool()
}

/// Every `.proto` file below an include root, by import path.
fn files(root: &str) -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../proto")
        .join(root);
    let mut found = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "proto") {
                let name = path.strip_prefix(&root).unwrap();
                found.push(name.to_str().unwrap().to_owned());
            }
        }
    }
    found.sort();
    found
}

fn superset() -> DescriptorPool {
    compile(&["superset"], &["firn/superset.proto".to_owned()])
}

fn families() -> Vec<(&'static str, DescriptorPool)> {
    vec![
        ("cloudstate", compile(&["cloudstate"], &files("cloudstate"))),
        (
            "cloudstate01",
            compile(&["cloudstate01", "cloudstate"], &files("cloudstate01")),
        ),
        (
            "akkaserverless",
            compile(&["akkaserverless"], &files("akkaserverless")),
        ),
        (
            "akkaserverless-a",
            compile(
                &["akkaserverless-a", "akkaserverless"],
                &files("akkaserverless-a"),
            ),
        ),
        ("kalix", compile(&["kalix"], &files("kalix"))),
    ]
}

/// Files of a family that the superset does not stand for, by the end of their names.
const NOT_IN_SUPERSET: &[&str] = &[
    // Options in the function's own files: read through the function's descriptors.
    "annotations.proto",
    "/acl.proto",
    "akkaserverless/component.proto",
    "kalix/component.proto",
    "entity_key.proto",
    "eventing.proto",
    "/jwt.proto",
    "keygenerator.proto",
    "json_schema.proto",
    "views.proto",
    // Not served yet.
    "/view.proto",
    "workflow_entity.proto",
    "timers.proto",
];

fn is_in_superset(file: &FileDescriptor) -> bool {
    !file.name().starts_with("google/")
        && !NOT_IN_SUPERSET.iter().any(|end| file.name().ends_with(end))
}

/// The counterpart of a family's message.
fn counterpart(
    superset: &DescriptorPool,
    family: &str,
    message: &MessageDescriptor,
) -> Option<MessageDescriptor> {
    let package = message.package_name();
    let name = message
        .full_name()
        .strip_prefix(package)?
        .strip_prefix('.')?;
    let name = common_name(family, name);
    superset.get_message_by_name(&format!("firn.superset.{name}"))
}

/// The name that a message or enum of a family has in the superset: some were renamed within the
/// families, and those of replicated data kept their names and changed their numbers.
fn common_name<'a>(family: &str, name: &'a str) -> &'a str {
    match (family, name) {
        (_, "FunctionCommand") => "ActionCommand",
        (_, "FunctionReply") => "ActionResponse",
        (_, "EntityPassivationStrategy") => "PassivationStrategy",
        (_, "PNCounterDelta") => "ReplicatedCounterDelta",
        (_, "ORSetDelta") => "ReplicatedSetDelta",
        (_, "LWWRegisterDelta" | "LWWRegisterState") => "ReplicatedRegisterDelta",
        (_, "FlagState") => "FlagDelta",
        (_, "CrdtDelete") => "ReplicatedEntityDelete",
        (_, "CrdtClock") => "ReplicatedEntityClock",
        (_, "CrdtWriteConsistency") => "ReplicatedWriteConsistency",
        ("cloudstate01", "CrdtStreamIn") => "CrdtStreamIn01",
        ("cloudstate01", "CrdtStreamOut") => "CrdtStreamOut01",
        ("cloudstate01", "CrdtInit") => "CrdtInit01",
        ("cloudstate01", "CrdtState") => "CrdtState01",
        ("cloudstate01", "CrdtDelta") => "CrdtDelta01",
        ("cloudstate01", "CrdtReply") => "CrdtReply01",
        ("cloudstate01", "CrdtStateAction") => "CrdtStateAction01",
        ("cloudstate01", "CrdtStreamCancelledResponse") => "CrdtStreamCancelledResponse01",
        ("cloudstate01", "ORMapState") => "ORMapState01",
        ("cloudstate01", "ORMapEntry") => "ORMapEntry01",
        ("cloudstate01", "ORMapDelta") => "ORMapDelta01",
        ("cloudstate01", "ORMapEntryDelta") => "ORMapEntryDelta01",
        ("akkaserverless-a", "ReplicatedEntityStreamIn") => "CrdtStreamIn",
        ("akkaserverless-a", "ReplicatedEntityStreamOut") => "CrdtUnaryStreamOut",
        ("akkaserverless-a", "ReplicatedEntityInit") => "CrdtInit",
        ("akkaserverless-a", "ReplicatedEntityDelta") => "CrdtDelta",
        ("akkaserverless-a", "ReplicatedMapDelta") => "ORMapDelta",
        ("akkaserverless-a", "ReplicatedMapEntryDelta") => "ORMapEntryDelta",
        ("akkaserverless-a", "ReplicatedEntityReply") => "CrdtReply",
        ("akkaserverless-a", "ReplicatedEntityStateAction") => "CrdtStateAction",
        (_, other) => other,
    }
}

/// The name that a field of a family has in the superset.
fn common_field<'a>(family: &str, field: &'a FieldDescriptor) -> &'a str {
    match (family, field.parent_message().name(), field.name()) {
        ("akkaserverless-a", "ReplicatedEntityDelta", "counter") => "pncounter",
        ("akkaserverless-a", "ReplicatedEntityDelta", "replicated_set") => "orset",
        ("akkaserverless-a", "ReplicatedEntityDelta", "register") => "lwwregister",
        ("akkaserverless-a", "ReplicatedEntityDelta", "replicated_map") => "ormap",
        // Akka Serverless and Kalix kept the message, and have nowhere to put it.
        (_, "StreamCancelled", "component_id") => "entity_id",
        (_, _, other) => other,
    }
}

/// What two fields must have in common to be read for each other.
fn shape(family: &str, field: &FieldDescriptor) -> String {
    let kind = match field.kind() {
        Kind::Message(message) if field.is_map() => format!("map {}", message.name()),
        Kind::Message(message) => format!("message {}", common_name(family, message.name())),
        Kind::Enum(kind) => format!("enum {}", common_name(family, kind.name())),
        other => format!("{other:?}"),
    };
    let oneof = field
        .containing_oneof()
        .map(|oneof| oneof.name().to_owned());
    format!(
        "{} {:?} {kind} {oneof:?}",
        common_field(family, field),
        field.cardinality()
    )
}

#[test]
fn every_family_is_a_subset_of_the_superset() {
    let superset = superset();
    let mut used = BTreeSet::new();
    for (family, pool) in families() {
        for message in pool
            .all_messages()
            .filter(|it| is_in_superset(&it.parent_file()))
        {
            if message.is_map_entry() {
                continue;
            }
            let whole = counterpart(&superset, family, &message)
                .unwrap_or_else(|| panic!("{family}: {} has no counterpart", message.full_name()));
            for field in message.fields() {
                let place = format!("{family}: {}", field.full_name());
                let same = whole.get_field(field.number());
                let same = same.unwrap_or_else(|| panic!("{place} is not in the superset"));
                assert_eq!(shape(family, &field), shape("superset", &same), "{place}");
                used.insert(same.full_name().to_owned());
            }
        }
    }
    let well_known = ["firn.superset.Any.", "firn.superset.Duration."];
    for message in superset.all_messages().filter(|it| !it.is_map_entry()) {
        for field in message.fields() {
            let name = field.full_name();
            let known = used.contains(name) || well_known.iter().any(|it| name.starts_with(it));
            assert!(known, "{name} is in no family");
        }
    }
}

#[test]
fn reserved_numbers_of_a_family_are_its_own() {
    let (_, kalix) = families().pop().unwrap();
    let failure = kalix
        .get_message_by_name("kalix.component.Failure")
        .unwrap();
    // The one number that a family reserved and the superset still reads: a Kalix function never
    // sends it.
    assert!(failure.get_field(3).is_none());
    let whole = superset()
        .get_message_by_name("firn.superset.Failure")
        .unwrap();
    assert_eq!(whole.get_field(3).unwrap().name(), "restart");
}

#[test]
fn own_messages_stand_for_the_well_known_ones() {
    let superset = superset();
    let (_, kalix) = families().pop().unwrap();
    let check = |ours: &str, theirs: &str| {
        let ours = superset.get_message_by_name(ours).unwrap();
        let theirs = kalix.get_message_by_name(theirs).unwrap();
        for (ours, theirs) in ours.fields().zip(theirs.fields()) {
            assert_eq!(ours.number(), theirs.number());
            assert_eq!(ours.kind().wire_type(), theirs.kind().wire_type());
        }
    };
    check("firn.superset.Any", "google.protobuf.Any");
    check("firn.superset.Duration", "google.protobuf.Duration");
}

/// Whether the pool has a method at a gRPC path.
fn has_method(pool: &DescriptorPool, path: &str) -> bool {
    let (service, method) = path.trim_start_matches('/').split_once('/').unwrap();
    pool.get_service_by_name(service)
        .is_some_and(|service| service.methods().any(|it| it.name() == method))
}

#[test]
fn dialects_name_what_their_families_have() {
    let pools = families();
    let pool = |name: &str| &pools.iter().find(|(family, _)| *family == name).unwrap().1;
    let check = |dialect: &Dialect, pool: &DescriptorPool| {
        let discovery = dialect.discovery;
        let action = dialect.action;
        let entities = [
            Some(dialect.event_sourced),
            dialect.value,
            Some(dialect.replicated),
        ];
        let paths = [discovery.discover, discovery.report_error]
            .into_iter()
            .chain(discovery.health_check)
            .chain(discovery.proxy_terminated)
            .chain([
                action.unary,
                action.streamed_in,
                action.streamed_out,
                action.streamed,
            ])
            .chain(entities.into_iter().flatten().map(|entity| entity.handle));
        for path in paths {
            assert!(has_method(pool, path), "{path} of {dialect:?}");
        }
        for name in dialect.known().chain(dialect.offered.iter().copied()) {
            assert!(
                pool.get_service_by_name(name).is_some(),
                "{name} of {dialect:?}"
            );
        }
    };
    check(&dialect::KALIX, pool("kalix"));
    check(&dialect::AKKA_SERVERLESS_B, pool("akkaserverless"));
    check(&dialect::AKKA_SERVERLESS_A, pool("akkaserverless"));
    check(&dialect::CLOUDSTATE, pool("cloudstate"));
    let old = compile(
        &["cloudstate01", "cloudstate"],
        &[
            "cloudstate/function.proto",
            "cloudstate/crdt.proto",
            "cloudstate/event_sourced.proto",
        ]
        .map(str::to_owned),
    );
    let offered = dialect::CLOUDSTATE_01.offered_if_asked;
    check(
        &Dialect {
            offered,
            ..dialect::CLOUDSTATE_01
        },
        &old,
    );
}

#[test]
fn everything_else_compiles() {
    let common: Vec<String> = ["google", "grpc"]
        .into_iter()
        .flat_map(|folder| {
            files(folder)
                .into_iter()
                .map(move |file| format!("{folder}/{file}"))
        })
        .collect();
    assert_eq!(common.len(), 6, "{common:?}");
    compile(&[], &common);
}
