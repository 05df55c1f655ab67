//! The project that `firn new` writes: it builds, passes its own tests, and runs behind the real Firn.
//! Its dependencies are built once more, so it belongs to the integration tests.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use firn_sdk::testing::Firn;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::Command;

/// What `{{sdk}}` stands for when the SDK is taken from a folder.
fn from_folder(sdk: &Path) -> String {
    let sdk = sdk.display();
    format!(
        "[dependencies.firn-sdk]\npath = \"{sdk}\"\n\n\
         [build-dependencies.firn-sdk-build]\npath = \"{sdk}/build\"\n"
    )
}

fn repository() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.join("../..").canonicalize().unwrap()
}

fn files_below(folder: &Path, below: &Path, found: &mut BTreeSet<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files_below(&path, below, found);
        } else {
            found.insert(path.strip_prefix(below).unwrap().to_owned());
        }
    }
}

/// Makes a project, as `firn new` does.
fn project(into: &Path) {
    let sdk = repository().join("sdk/rust");
    let template = sdk.join("template");
    let mut files = BTreeSet::new();
    files_below(&template, &template, &mut files);
    for file in files {
        let text = fs::read_to_string(template.join(&file)).unwrap();
        let text = text.replace("{{name}}", "hello-firn");
        let text = text.replace("{{sdk}}", &from_folder(&sdk));
        assert!(
            !text.contains("{{"),
            "{} has another placeholder",
            file.display()
        );
        let path = into.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    // The versions that are tested here, without asking a registry.
    fs::copy(repository().join("Cargo.lock"), into.join("Cargo.lock")).unwrap();
}

fn cargo(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO"));
    command
        .args(arguments)
        .arg("--offline")
        .current_dir(folder)
        .env(
            "CARGO_TARGET_DIR",
            Path::new(env!("CARGO_TARGET_TMPDIR")).join("template"),
        );
    command
}

/// An HTTP/1.0 request, whose answer ends with its connection.
async fn http(server: &str, request: &str) -> String {
    let mut stream = TcpStream::connect(server).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn a_new_project_counts() {
    let folder = tempfile::tempdir().unwrap();
    project(folder.path());
    let tests = cargo(folder.path(), &["test", "--quiet"])
        .output()
        .await
        .unwrap();
    let said = String::from_utf8_lossy(&tests.stderr);
    assert!(tests.status.success(), "{said}");

    let firn = Firn::start().await.unwrap();
    let mut running = cargo(folder.path(), &["run", "--quiet"])
        .env("FIRN_ADDRESS", firn.functions())
        .kill_on_drop(true)
        .process_group(0)
        .spawn()
        .unwrap();
    tokio::select! {
        () = firn.serving() => {}
        ended = running.wait() => panic!("it ended: {ended:?}"),
    }
    let post = "POST /counters/a/increase HTTP/1.0\r\ncontent-type: application/json\r\n\
                content-length: 9\r\n\r\n{\"by\": 2}";
    let answer = http(firn.clients(), post).await;
    assert!(answer.contains("{\"value\":\"2\"}"), "{answer}");
    let answer = http(firn.clients(), "GET /counters/a HTTP/1.0\r\n\r\n").await;
    assert!(answer.contains("{\"value\":\"2\"}"), "{answer}");
    // Cargo has become the program, or waits for it; both are of this group.
    let group = format!("-{}", running.id().unwrap());
    let stopped = Command::new("kill")
        .args(["-TERM", "--", &group])
        .status()
        .await;
    assert!(stopped.unwrap().success());
    running.wait().await.unwrap();
}
