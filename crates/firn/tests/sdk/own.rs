//! The SDKs' own tests, and those that start this Firn. The Rust SDK's own are among the unit tests.

use std::process::Command;

use crate::language::{Language, firn, root, run};

fn tests_of(language: Language) {
    run("its own tests", language.command("tests"));
}

fn integration_of(language: Language) {
    let mut command = language.command("integration");
    command.env("FIRN_BIN", firn());
    run("its tests with Firn", command);
}

#[test]
fn typescript_passes_its_own_tests() {
    tests_of(Language::TypeScript);
}

#[test]
fn typescript_passes_its_tests_with_firn() {
    integration_of(Language::TypeScript);
}

#[test]
fn python_passes_its_own_tests() {
    tests_of(Language::Python);
}

#[test]
fn python_passes_its_tests_with_firn() {
    integration_of(Language::Python);
}

#[test]
fn rust_passes_its_tests_with_firn() {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // Of the whole workspace, so that its dependencies are those that are built already.
    command
        .args([
            "test",
            "--workspace",
            "--features",
            "samples-rust/integration",
        ])
        .args(["--test", "integration"])
        .env("FIRN_BIN", firn())
        .current_dir(root());
    run("its tests with Firn", command);
}
