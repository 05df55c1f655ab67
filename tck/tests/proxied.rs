//! Generates the descriptors of the services behind which a proxy of the older families is judged,
//! and fails when they are stale.
//!
//! `FIRN_REGENERATE=1 cargo test -p firn-tck --test proxied` writes the files anew.

use std::error::Error;
use std::fs;
use std::path::Path;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// What a family writes in its own way.
struct Words {
    family: &'static str,
    options: &'static str,
    key: &'static str,
    /// What the family alone has.
    own: Option<&'static str>,
}

const FAMILIES: [Words; 3] = [
    Words {
        family: "cloudstate",
        options: "cloudstate/entity_key.proto",
        key: "(.cloudstate.entity_key)",
        own: None,
    },
    Words {
        family: "akkaserverless",
        options: "akkaserverless/annotations.proto",
        key: "(akkaserverless.field).entity_key",
        own: None,
    },
    Words {
        family: "kalix",
        options: "kalix/annotations.proto",
        key: "(kalix.field).entity_key",
        own: Some("generated.proto"),
    },
];

fn folder() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn text(name: &str) -> Result<String> {
    Ok(fs::read_to_string(folder().join("proto/proxy").join(name))?)
}

/// The services in the words of a family.
fn model(words: &Words) -> Result<String> {
    let own = words.own.map_or_else(|| Ok(String::new()), text)?;
    Ok(text("model.proto")?
        .replace("// GENERATED", &own)
        .replace("OPTIONS", words.options)
        .replace("ENTITY_KEY", words.key))
}

#[test]
fn descriptors_are_those_of_the_services_behind_a_proxy() -> Result<()> {
    const FILE: &str = "firn/tck/proxy/model.proto";
    for words in FAMILIES {
        let own = tempfile::tempdir()?;
        let file = own.path().join(FILE);
        fs::create_dir_all(file.parent().ok_or("a folder")?)?;
        fs::write(file, model(&words)?)?;
        let proto = folder().join("../proto");
        let roots = [own.path().to_owned(), proto.join(words.family), proto];
        let mut compiler = protox::Compiler::new(roots)?;
        compiler.include_imports(true).include_source_info(false);
        compiler.open_files([FILE])?;
        // Options that are extensions are kept only in the encoded form.
        let fresh = compiler.encode_file_descriptor_set();
        let name = format!("proxy.{}.bin", words.family);
        let path = folder().join("src/generated").join(&name);
        if std::env::var_os("FIRN_REGENERATE").is_some() {
            fs::write(&path, &fresh)?;
        }
        assert!(
            fs::read(&path).is_ok_and(|committed| committed == fresh),
            "{name} is stale: run `FIRN_REGENERATE=1 cargo test -p firn-tck --test proxied`"
        );
    }
    Ok(())
}
