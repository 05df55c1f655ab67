//! What a function may dial: TLS, and sockets in the file system. Plain TCP is what all others do.

use std::path::{Path, PathBuf};
use std::process::Command;

use firn_testkit::caller::headers;
use firn_testkit::own::{Connection, Dial};

use crate::world::{World, setup, whole};

fn pem(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/own/tls");
    folder.join(name)
}

/// Text of a path.
fn text(path: &Path) -> &str {
    path.to_str().expect("a path that is text")
}

#[tokio::test]
async fn function_dials_with_tls() {
    let (certificate, key) = (pem("certificate.pem"), pem("key.pem"));
    let files = [
        "--function-tls-cert",
        text(&certificate),
        "--function-tls-key",
    ];
    let world = World::alone_with(&[&files[..], &[text(&key)]].concat()).await;
    let Dial::Tcp(address) = world.dial() else {
        panic!("no port: {}", world.firn.functions);
    };
    let tls = Dial::Tls {
        address,
        certificate,
    };
    Connection::joined(&tls, &whole()).await;
    // Plain text gets nothing.
    assert!(world.dial().channel().await.is_err() || is_cut_off(&world.dial()).await);
    // Who dials without a word about TLS keeps nobody else waiting.
    Connection::joined(&tls, &whole()).await;
}

/// Whether nothing comes of a call.
async fn is_cut_off(dial: &Dial) -> bool {
    Connection::open(dial, headers(&[])).await.is_err()
}

/// FIRN-1001: the files are read before anything is served.
#[test]
fn files_that_are_no_certificate_are_refused() {
    let (certificate, key) = (pem("certificate.pem"), pem("key.pem"));
    for (certificate, key) in [(&key, &key), (&certificate, &certificate)] {
        let output = Command::new(&setup(&[]).binary)
            .arg("proxy")
            .args(["--family", "firn", "--store", "memory:"])
            .args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"])
            .args(["--function-listen", "127.0.0.1:0"])
            .args(["--function-tls-cert", text(certificate)])
            .args(["--function-tls-key", text(key)])
            .output()
            .expect("an end");
        let said = String::from_utf8_lossy(&output.stderr).into_owned()
            + &String::from_utf8_lossy(&output.stdout);
        assert!(!output.status.success());
        assert!(
            said.contains("FIRN-1001") && said.contains("for TLS"),
            "{said}"
        );
    }
}

#[tokio::test]
async fn function_dials_a_socket_in_the_file_system() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("firn.sock");
    let listen = format!("unix:{}", path.display());
    let args = ["--function-listen", listen.as_str()];
    let mut world = World::alone_with(&args).await;
    assert_eq!(world.firn.functions, listen);
    world.join(&whole()).await;

    // What a killed run has left is taken for what it is.
    world.firn.kill();
    assert!(path.exists());
    let _function = world.kill_and_start_again(&whole()).await;

    // A second Firn does not take the place of one that runs.
    let second = Command::new(&setup(&[]).binary)
        .arg("proxy")
        .args(["--family", "firn", "--store", "memory:"])
        .args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"])
        .args(args)
        .output()
        .expect("an end");
    let said = String::from_utf8_lossy(&second.stderr).into_owned()
        + &String::from_utf8_lossy(&second.stdout);
    assert!(said.contains("FIRN-1004"), "{said}");
    Connection::joined(&world.dial(), &whole()).await;

    // An orderly end leaves nothing.
    assert!(world.firn.stop().success());
    assert!(!path.exists());
}

/// A file that is no socket is nobody's to remove.
#[test]
fn file_in_the_way_is_left_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("notes.txt");
    std::fs::write(&path, "mine").expect("a file");
    let output = Command::new(&setup(&[]).binary)
        .arg("proxy")
        .args(["--family", "firn", "--store", "memory:"])
        .args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"])
        .args(["--function-listen", &format!("unix:{}", path.display())])
        .output()
        .expect("an end");
    assert!(!output.status.success());
    assert_eq!(std::fs::read_to_string(&path).expect("the file"), "mine");
}
