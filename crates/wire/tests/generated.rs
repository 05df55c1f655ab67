//! Generates what is committed under `src/generated/`, and fails when it is stale.
//!
//! `FIRN_REGENERATE=1 cargo test -p firn-wire --test generated` writes the files anew.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

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
