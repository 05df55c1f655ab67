//! The way of a newcomer: `firn new`, `firn dev`, `firn call`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use firn_testkit::client::json;
use firn_testkit::function::within;
use firn_testkit::process::Process;
use http::Method;
use rustix::process::Signal;
use serde_json::json;
use tempfile::TempDir;

use crate::language::{Language, PATIENCE, firn, root, run};

/// A command as a newcomer gives it. What is compiled is the project's own, and gone with its folder.
fn newcomer(program: &str) -> Command {
    let mut command = Command::new(program);
    command
        .env_remove("CARGO_TARGET_DIR")
        .env("CARGO_INCREMENTAL", "0");
    command
}

/// The client port that a Firn took, from its log.
fn clients(log: &str) -> Option<String> {
    let (_, after) = log.split_once("clients=")?;
    Some(after.split_whitespace().next()?.to_owned())
}

fn firn_in(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(firn());
    command.args(arguments).current_dir(folder);
    command.output().expect("firn")
}

/// A project in this folder, by `firn new`.
fn made(language: Language, flag: &str, folder: &Path) -> PathBuf {
    let sdk = language.folder().display().to_string();
    let made = firn_in(folder, &["new", "counter", "--lang", flag, "--sdk", &sdk]);
    assert!(made.status.success(), "{made:?}");
    let project = folder.join("counter");
    // The same versions as everywhere here.
    let _ = fs::copy(root().join("Cargo.lock"), project.join("Cargo.lock"));
    project
}

async fn new_project_runs_at_once(language: Language, flag: &str) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let project = made(language, flag, folder.path());
    let mut command = newcomer(firn());
    command
        .args(["dev", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"])
        .args(["--function-listen", "127.0.0.1:0"])
        .current_dir(&project);
    let log = folder.path().join("log");
    let mut dev = Process::start("firn dev", &mut command, &log);
    dev.wait_for_within(PATIENCE, "word that it serves", |process| {
        process.log().contains("serving demo.Counter").then_some(())
    });
    let address = clients(&dev.log()).expect("an address");

    let request = r#"{"counterId": "a", "by": 2}"#;
    let call = [
        "call",
        "--server",
        &address,
        "demo.Counter/Increase",
        request,
    ];
    let called = firn_in(&project, &call);
    assert!(called.status.success(), "{called:?}\n{}", dev.log());
    let server = address.parse().expect("an address");
    let path = "/counters/a/increase";
    let answer = json(server, Method::POST, path, Some(json!({"by": 3})));
    let answer = within("an answer", answer).await;
    assert_eq!(answer.json(), json!({"value": "5"}), "{}", answer.text());
    let answer = within("an answer", json(server, Method::GET, "/counters/a", None)).await;
    assert_eq!(answer.json(), json!({"value": "5"}), "{}", answer.text());

    // A function that is left alone would dial forever.
    dev.signal(Signal::TERM);
    assert!(dev.wait().success(), "{}", dev.log());

    // What is there is never written over.
    let again = firn_in(folder.path(), &["new", "counter", "--lang", flag]);
    let said = String::from_utf8_lossy(&again.stderr);
    assert!(said.contains("FIRN-1009"), "{said}");
    folder
}

#[tokio::test]
async fn rust_project_runs_at_once_and_passes_its_own_tests() {
    let folder = new_project_runs_at_once(Language::Rust, "rust").await;
    // Those of the other languages are among their SDK's own tests.
    let mut command = newcomer("cargo");
    command.args(["test", "--quiet"]);
    command.current_dir(folder.path().join("counter"));
    run("the project's own tests", command);
}

#[tokio::test]
async fn typescript_project_runs_at_once() {
    new_project_runs_at_once(Language::TypeScript, "ts").await;
}

#[tokio::test]
async fn python_project_runs_at_once() {
    new_project_runs_at_once(Language::Python, "python").await;
}
