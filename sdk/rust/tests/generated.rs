//! Generates what is committed under `src/generated/`, and fails when it is stale.
//!
//! `FIRN_REGENERATE=1 cargo test -p firn-sdk --test generated` writes the file anew.

use std::error::Error;
use std::fs;
use std::path::Path;

#[test]
fn messages_are_those_of_the_protocol() -> Result<(), Box<dyn Error>> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files = protox::compile(["firn/v1/function.proto"], [here.join("../../proto")])?;
    let module = prost_build::Module::from_protobuf_package_name("firn.v1");
    let named = |file: prost_types::FileDescriptorProto| {
        let package = prost_build::Module::from_protobuf_package_name(file.package());
        (package, file)
    };
    let code = prost_build::Config::new()
        .bytes(["."])
        .btree_map(["."])
        // Payloads are not copied.
        .extern_path(".google.protobuf.Any", "crate::Any")
        .generate(files.file.into_iter().map(named).collect())?;
    let fresh = &code[&module];
    let path = here.join("src/generated/firn.v1.rs");
    if std::env::var_os("FIRN_REGENERATE").is_some() {
        fs::write(&path, fresh)?;
    }
    assert!(
        fs::read_to_string(&path).is_ok_and(|committed| committed == *fresh),
        "firn.v1.rs is stale: run `FIRN_REGENERATE=1 cargo test -p firn-sdk --test generated`"
    );
    Ok(())
}
