//! Generates what is committed under `src/generated/`, and fails when it is stale.
//!
//! `FIRN_REGENERATE=1 cargo test -p firn-wire --test generated` writes the files anew.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use prost::Message as _;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// The folder of wire contracts.
fn proto() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proto")
}

/// Writes `fresh` when asked to, otherwise holds the committed file against it.
fn hold(name: &str, fresh: &[u8]) -> Result<()> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("src/generated")
        .join(name);
    if std::env::var_os("FIRN_REGENERATE").is_some() {
        fs::write(&path, fresh)?;
    }
    assert!(
        fs::read(&path).is_ok_and(|committed| committed == fresh),
        "{name} is stale: run `FIRN_REGENERATE=1 cargo test -p firn-wire --test generated`"
    );
    Ok(())
}

#[test]
fn messages_are_those_of_the_superset() -> Result<()> {
    let files = protox::compile(["firn/superset.proto"], [proto().join("superset")])?;
    let module = prost_build::Module::from_protobuf_package_name("firn.superset");
    let mut code = prost_build::Config::new().bytes(["."]).generate(
        files
            .file
            .into_iter()
            .map(|file| (module.clone(), file))
            .collect(),
    )?;
    let code = code.remove(&module).ok_or("no code was generated")?;
    hold("superset.rs", code.as_bytes())
}

/// The messages of our own protocol; an `Any` keeps its bytes as they came.
#[test]
fn messages_are_those_of_firn_v1() -> Result<()> {
    let files = protox::compile(["firn/v1/function.proto"], [proto()])?;
    let module = prost_build::Module::from_protobuf_package_name("firn.v1");
    let modules = files.file.into_iter().map(|file| {
        let module = prost_build::Module::from_protobuf_package_name(file.package());
        (module, file)
    });
    let mut code = prost_build::Config::new()
        .bytes(["."])
        .btree_map(["."])
        .extern_path(".google.protobuf.Any", "crate::superset::Any")
        .generate(modules.collect())?;
    let code = code.remove(&module).ok_or("no code was generated")?;
    hold("v1.rs", code.as_bytes())
}

/// The option files of each family, which some functions leave out of their descriptors.
#[test]
fn built_in_files_are_those_of_the_families() -> Result<()> {
    let check = |name: &str, roots: &[&str], files: &[&str]| -> Result<()> {
        let roots: Vec<PathBuf> = roots.iter().map(|root| proto().join(root)).collect();
        let mut compiler = protox::Compiler::new(roots)?;
        compiler.include_imports(true).include_source_info(false);
        compiler.open_files(files)?;
        let mut files = compiler.file_descriptor_set();
        // Every family imports these; they are in one of the files only.
        files
            .file
            .retain(|file| name == "google.bin" || !file.name().starts_with("google/"));
        hold(name, &files.encode_to_vec())
    };
    let google = [
        "google/api/annotations.proto",
        "google/api/httpbody.proto",
        "google/protobuf/any.proto",
        "google/protobuf/api.proto",
        "google/protobuf/descriptor.proto",
        "google/protobuf/duration.proto",
        "google/protobuf/empty.proto",
        "google/protobuf/field_mask.proto",
        "google/protobuf/source_context.proto",
        "google/protobuf/struct.proto",
        "google/protobuf/timestamp.proto",
        "google/protobuf/type.proto",
        "google/protobuf/wrappers.proto",
    ];
    check("google.bin", &["."], &google)?;
    let keys = ["cloudstate/entity_key.proto", "cloudstate/eventing.proto"];
    let legacy = "cloudstate/legacy_entity_key.proto";
    check(
        "cloudstate.bin",
        &["cloudstate"],
        &[&keys[..], &[legacy]].concat(),
    )?;
    check("cloudstate01.bin", &["cloudstate01"], &keys)?;
    let akkaserverless = [
        "akkaserverless/annotations.proto",
        "akkaserverless/legacy_entity_key.proto",
    ];
    check("akkaserverless.bin", &["akkaserverless"], &akkaserverless)?;
    check("kalix.bin", &["kalix"], &["kalix/annotations.proto"])
}
