//! Generates what is committed under `src/generated/` from `proto/`, and fails when it is stale.
//!
//! `REGENERATE=1 cargo test -p cart --test generated` writes the files anew.

use std::error::Error;
use std::fs;
use std::path::Path;

#[test]
fn generated_files_are_fresh() -> Result<(), Box<dyn Error>> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let contracts = here.join("../../proto");
    let roots = [
        here.join("proto"),
        contracts.clone(),
        contracts.join("kalix"),
    ];
    let mut compiler = protox::Compiler::new(roots)?;
    compiler.include_imports(true).include_source_info(true);
    compiler.open_files(["shop/cart.proto", "shop/cart_events.proto"])?;
    hold("descriptors.bin", &compiler.encode_file_descriptor_set())?;

    let mut files = compiler.file_descriptor_set();
    files.file.retain(|file| file.package() == "shop");
    for file in &mut files.file {
        // Messages are all that is needed; the service is served by its descriptors.
        file.service.clear();
    }
    let module = prost_build::Module::from_protobuf_package_name("shop");
    let files = files.file.into_iter().map(|file| (module.clone(), file));
    let code = prost_build::Config::new()
        .enable_type_names()
        .generate(files.collect())?;
    hold("shop.rs", code[&module].as_bytes())
}

/// Writes `fresh` when asked to, otherwise holds the committed file against it.
fn hold(name: &str, fresh: &[u8]) -> Result<(), Box<dyn Error>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("src/generated")
        .join(name);
    if std::env::var_os("REGENERATE").is_some() {
        fs::write(&path, fresh)?;
    }
    assert!(
        fs::read(&path).is_ok_and(|committed| committed == fresh),
        "{name} is stale: run `REGENERATE=1 cargo test -p cart --test generated`"
    );
    Ok(())
}
