//! Generates what is committed under `src/generated/`, and fails when it is stale.
//!
//! `FIRN_REGENERATE=1 cargo test -p firn-tck --test generated` writes the files anew.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use prost::Message as _;
use prost_types::{FieldDescriptorProto, FileDescriptorSet};

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
    hold("model.bin", &descriptors(file, vec![root])?)
}

#[test]
fn messages_are_those_of_the_families() -> Result<()> {
    let file = "firn/tck/families/wire.proto";
    let root = folder().join("proto");
    check(file, root, "firn.tck.families", "firn.tck.families.rs")
}

/// The families with the folders of their protocols.
const FAMILIES: [&str; 3] = ["cloudstate", "akkaserverless", "kalix"];

fn of_family(family: &str) -> Result<Vec<u8>> {
    let file = format!("firn/tck/{family}/v1/model.proto");
    let root = folder().join("proto");
    descriptors(&file, vec![root, folder().join("../proto").join(family)])
}

#[test]
fn descriptors_are_those_of_the_families() -> Result<()> {
    for family in FAMILIES {
        hold(&format!("{family}.bin"), &of_family(family)?)?;
    }
    Ok(())
}

/// The kit reads and writes the messages of all families as those of `firn.tck.v1`.
#[test]
fn messages_of_the_families_are_those_of_firn() -> Result<()> {
    let root = folder().join("proto");
    let own = descriptors("firn/tck/v1/model.proto", vec![root])?;
    let own = messages(&own, "firn.tck.v1")?;
    for family in FAMILIES {
        let package = format!("firn.tck.{family}.v1");
        let theirs = messages(&of_family(family)?, &package)?;
        assert!(theirs.len() > 10, "{family}: {theirs:?}");
        for (message, fields) in theirs {
            for field in fields {
                assert!(
                    own[&message].contains(&field),
                    "{package}.{message}: {field:?}"
                );
            }
        }
    }
    Ok(())
}

type Field = (String, i32, i32, i32, String);

/// Name, number, type, label and type's name of the fields of each message of a package.
fn messages(files: &[u8], package: &str) -> Result<BTreeMap<String, BTreeSet<Field>>> {
    let files = FileDescriptorSet::decode(files)?;
    let files = files.file.iter().filter(|file| file.package() == package);
    let field = |field: &FieldDescriptorProto| {
        let type_name = field.type_name().replace(&format!(".{package}."), "");
        let (name, number) = (field.name().to_owned(), field.number());
        (
            name,
            number,
            field.r#type() as i32,
            field.label() as i32,
            type_name,
        )
    };
    Ok(files
        .flat_map(|file| &file.message_type)
        .map(|one| (one.name().to_owned(), one.field.iter().map(field).collect()))
        .collect())
}

/// A file with its imports. Decoded and encoded again it would lose its options that are extensions.
fn descriptors(file: &str, roots: Vec<PathBuf>) -> Result<Vec<u8>> {
    let mut compiler = protox::Compiler::new(roots)?;
    compiler.include_imports(true).include_source_info(false);
    compiler.open_files([file])?;
    Ok(compiler.encode_file_descriptor_set())
}
