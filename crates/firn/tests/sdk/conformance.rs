//! The conformance kit against the model services of every SDK, from the command line.

use std::process::Command;

use crate::language::{Language, firn, run};

/// What the random workload is made from, so that a failure can be looked at again. The kit's own
/// tests take others.
const SEED: &str = "20261121";

fn judge(language: Language) {
    let folder = tempfile::tempdir().expect("a folder");
    let address = format!("unix:{}", folder.path().join("firn").display());
    let function = language.command("tck");
    let mut kit = Command::new(firn());
    kit.args(["tck", "function", &address, "--token", "swordfish"])
        .args(["--seed", SEED])
        .arg("--")
        .arg(function.get_program())
        .args(function.get_args())
        .current_dir(language.folder());
    run("the conformance kit", kit);
}

#[test]
fn rust_keeps_the_protocol() {
    judge(Language::Rust);
}

#[test]
fn typescript_keeps_the_protocol() {
    judge(Language::TypeScript);
}

#[test]
fn python_keeps_the_protocol() {
    judge(Language::Python);
}
