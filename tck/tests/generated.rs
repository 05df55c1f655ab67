//! Generates what is committed under `src/generated/`, and fails when it is stale.
//!
//! `FIRN_REGENERATE=1 cargo test -p firn-tck --test generated` writes the files anew.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use prost::Message as _;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn folder() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Writes `fresh` when asked to, otherwise holds the committed file against it.
fn hold(name: &str, fresh: &[u8]) -> Result<()> {
    let path = folder().join("src/generated").join(name);
    if std::env::var_os("FIRN_REGENERATE").is_some() {
        fs::write(&path, fresh)?;
    }
    assert!(
        fs::read(&path).is_ok_and(|committed| committed == fresh),
        "{name} is stale: run `FIRN_REGENERATE=1 cargo test -p firn-tck --test generated`"
    );
    Ok(())
}

fn check(file: &str, root: PathBuf, package: &str, name: &str) -> Result<()> {
    let files = protox::compile([file], [root])?;
    let module = prost_build::Module::from_protobuf_package_name(package);
    let mut code = prost_build::Config::new()
        .bytes(["."])
        .btree_map(["."])
        .generate(
            files
                .file
                .into_iter()
                .map(|file| (module.clone(), file))
                .collect(),
        )?;
    let code = code.remove(&module).ok_or("no code was generated")?;
    hold(name, code.as_bytes())
}

#[test]
fn messages_are_those_of_the_protocol() -> Result<()> {
    let root = folder().join("../proto");
    check("firn/v1/function.proto", root, "firn.v1", "firn.v1.rs")
}

#[test]
fn messages_are_those_of_the_model_services() -> Result<()> {
    let (file, root) = ("firn/tck/v1/model.proto", folder().join("proto"));
    check(file, root.clone(), "firn.tck.v1", "firn.tck.v1.rs")?;
    let mut compiler = protox::Compiler::new([root])?;
    compiler.include_imports(true).include_source_info(false);
    compiler.open_files([file])?;
    hold("model.bin", &compiler.file_descriptor_set().encode_to_vec())
}
