//! `firn store` as an operator uses it: what it does, what it refuses, with which words, and that
//! nothing is lost on the way.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use firn_testkit::firn::{Firn, Setup};
use firn_testkit::process::free_port;
use serde_json::Value;

const A: &str = "a:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
const B: &str = "b:AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";

/// What is bought: the text that must not stand in anything that is sealed.
const ITEM: &str = "a pen with a name";

/// A Firn with a cart behind it.
struct Shop {
    firn: Firn,
    cart: tokio::task::JoinHandle<()>,
}

impl Drop for Shop {
    fn drop(&mut self) {
        self.cart.abort();
    }
}

fn shop(args: &[&str]) -> Shop {
    let function = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
    let cart = tokio::spawn(async move {
        let _ = cart::serve(function).await;
    });
    let firn = Firn::serving(Setup {
        binary: PathBuf::from(env!("CARGO_BIN_EXE_firn")),
        function,
        args: args.iter().map(ToString::to_string).collect(),
    });
    Shop { firn, cart }
}

impl Shop {
    fn folder(&self) -> &Path {
        self.firn.folder()
    }

    fn call(&self, method: &str, json: &str) -> Value {
        let server = self.firn.clients.to_string();
        let output = firn(
            self.folder(),
            &[],
            &["call", "--server", &server, method, json],
        );
        assert!(output.status.success(), "{}", text(&output.stderr));
        serde_json::from_slice(&output.stdout).expect("JSON")
    }

    fn buy(&self, cart: &str) {
        let json = format!(r#"{{"cartId":"{cart}","productId":"p","name":"{ITEM}","quantity":1}}"#);
        self.call("shop.Cart/AddItem", &json);
    }

    fn quantity(&self, cart: &str) -> Value {
        let contents = self.call("shop.Cart/GetCart", &format!(r#"{{"cartId":"{cart}"}}"#));
        contents["items"][0]["quantity"].clone()
    }

    fn backup(&self, file: &str) -> Output {
        let admin = self.firn.admin.to_string();
        firn(
            self.folder(),
            &[],
            &["store", "backup", "--admin", &admin, file],
        )
    }
}

fn firn(folder: &Path, env: &[(&str, &str)], args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_firn"));
    command.args(args).current_dir(folder).env_clear();
    command.envs(env.iter().copied());
    command.output().expect("the binary runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("text")
}

/// Runs `firn store` on the folder `data`; gives what it says if it succeeds.
fn store(folder: &Path, keys: &str, args: &[&str]) -> Result<String, String> {
    let env = [
        ("FIRN_ENCRYPTION_KEYS", keys),
        ("FIRN_STORE", "embedded:data"),
    ];
    let given = if keys.is_empty() { &env[1..] } else { &env[..] };
    let output = firn(folder, given, &[&["store"], args].concat());
    match output.status.code() {
        Some(0) => Ok(text(&output.stdout)),
        _ => Err(text(&output.stderr)),
    }
}

/// Runs `firn store`, which must be refused with a code.
fn refused(folder: &Path, keys: &str, args: &[&str], code: &str) -> String {
    let said = store(folder, keys, args).expect_err("it is refused");
    assert!(said.contains(code), "{code} is missing in:\n{said}");
    assert_eq!(said.lines().count(), 2, "a cause and a remedy:\n{said}");
    said
}

fn holds(file: &Path, text: &str) -> bool {
    let bytes = fs::read(file).expect("a file");
    bytes
        .windows(text.len())
        .any(|part| part == text.as_bytes())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_of_a_running_firn_restores_what_was_acknowledged_before_it() {
    let mut shop = shop(&[]);
    shop.buy("alice");
    shop.buy("bob");
    let taken = shop.backup("one.firn");
    assert!(taken.status.success(), "{}", text(&taken.stderr));
    shop.buy("alice");
    let again = shop.backup("one.firn");
    assert!(
        text(&again.stderr).contains("FIRN-5035"),
        "nothing is overwritten"
    );
    shop.firn.kill();
    let gone = shop.backup("two.firn");
    assert!(text(&gone.stderr).contains("FIRN-1006"));
    assert!(!shop.folder().join("two.firn").exists(), "no part is left");
    assert!(!shop.folder().join("two.firn.part").exists());
    fs::remove_dir_all(shop.folder().join("data")).expect("the disk is lost");
    store(shop.folder(), "", &["import", "one.firn"]).expect("an import");
    store(shop.folder(), "", &["check"]).expect("nothing to find");
    shop.firn.start_again();
    shop.firn.wait_until_serving();
    assert_eq!(shop.quantity("alice"), 1);
    assert_eq!(shop.quantity("bob"), 1);
    shop.buy("bob");
    assert_eq!(shop.quantity("bob"), 2, "it goes on from there");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_begun_with_changed_and_needed() {
    let mut shop = shop(&[]);
    shop.buy("alice");
    let folder = shop.folder().to_owned();
    for args in [&["export", "e.firn"][..], &["check"], &["rotate-keys"]] {
        let said = refused(&folder, A, args, "FIRN-5001");
        assert!(said.contains("a running Firn holds the store"), "{said}");
    }
    assert!(!folder.join("e.firn").exists());
    assert!(shop.firn.stop().success());
    refused(&folder, A, &["check"], "FIRN-5032");
    refused(&folder, "", &["rotate-keys"], "FIRN-1001");
    let said = store(&folder, A, &["rotate-keys"]).expect("a rotation");
    assert!(said.contains("sealed with key a"), "{said}");
    refused(&folder, "", &["check"], "FIRN-5030");
    refused(&folder, B, &["check"], "FIRN-5030");
    let wrong = B.replacen('b', "a", 1);
    refused(&folder, &wrong, &["check"], "FIRN-5031");
    store(&folder, &format!("{B},{A}"), &["rotate-keys"]).expect("a rotation");
    store(&folder, B, &["check"]).expect("the old key is not needed");
    store(&folder, B, &["export", "sealed.firn"]).expect("an export");
    assert!(!holds(&folder.join("sealed.firn"), ITEM));
    store(&folder, B, &["export", "--plain", "plain.firn"]).expect("an export");
    fs::rename(folder.join("data"), folder.join("before")).expect("a name");
    refused(&folder, "", &["import", "sealed.firn"], "FIRN-5030");
    refused(&folder, &wrong, &["import", "sealed.firn"], "FIRN-5030");
    refused(
        &folder,
        &A.replacen('a', "b", 1),
        &["import", "sealed.firn"],
        "FIRN-5031",
    );
    assert!(!folder.join("data").exists(), "nothing was changed");
    store(&folder, "", &["import", "plain.firn"]).expect("an import");
    shop.firn.start_again();
    shop.firn.wait_until_serving();
    assert_eq!(shop.quantity("alice"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sealed_firn_gives_sealed_backups() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("keys");
    fs::write(&file, format!("# the newest first\n{A}\n")).expect("a file");
    let given = file.to_str().expect("text");
    let mut shop = shop(&["--encryption-key-file", given]);
    shop.buy("alice");
    let taken = shop.backup("b.firn");
    assert!(taken.status.success(), "{}", text(&taken.stderr));
    shop.firn.kill();
    assert!(!holds(&shop.folder().join("b.firn"), ITEM));
    fs::remove_dir_all(shop.folder().join("data")).expect("the disk is lost");
    store(shop.folder(), A, &["import", "b.firn"]).expect("an import");
    shop.firn.start_again();
    shop.firn.wait_until_serving();
    assert_eq!(shop.quantity("alice"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_files_and_stores_are_refused_before_anything_is_changed() {
    let mut shop = shop(&[]);
    shop.buy("alice");
    assert!(shop.firn.stop().success());
    let folder = shop.folder().to_owned();
    let said = store(&folder, "", &["export", "good.firn"]).expect("an export");
    assert!(said.starts_with("exported "), "{said}");
    let rights = fs::metadata(folder.join("good.firn"))
        .expect("a file")
        .permissions();
    assert_eq!(rights.mode() & 0o777, 0o600, "it is its user's alone");
    let said = refused(&folder, "", &["export", "good.firn"], "FIRN-5035");
    assert!(said.contains("good.firn is there already"), "{said}");
    assert!(said.contains("a name that is not taken"), "{said}");
    refused(&folder, "", &["import", "good.firn"], "FIRN-5036");
    fs::rename(folder.join("data"), folder.join("before")).expect("a name");
    refused(&folder, "", &["export", "none.firn"], "FIRN-5009");
    assert!(!folder.join("none.firn").exists());
    let good = fs::read(folder.join("good.firn")).expect("a file");
    let mut flipped = good.clone();
    flipped[good.len() / 2] ^= 1;
    let mut newer = good.clone();
    newer[8] = 9;
    let bad: [(&[u8], &str); 4] = [
        (&good[..good.len() - 3], "FIRN-5033"),
        (&flipped, "FIRN-5033"),
        (b"#!/bin/sh\necho another file\n", "FIRN-5033"),
        (&newer, "FIRN-5033"),
    ];
    for (bytes, code) in bad {
        fs::write(folder.join("bad.firn"), bytes).expect("a file");
        refused(&folder, "", &["import", "bad.firn"], code);
        assert!(!folder.join("data").exists(), "nothing was changed");
    }
    refused(&folder, "", &["import", "missing.firn"], "FIRN-5035");
    // An import that did not come to its end, and its repetition.
    store(&folder, "", &["import", "good.firn"]).expect("an import");
    fs::write(folder.join("data").join("restoring"), "").expect("a file");
    refused(&folder, "", &["check"], "FIRN-5037");
    store(&folder, "", &["import", "good.firn"]).expect("an import");
    // A damaged row.
    let memory = ["--store", "memory:"];
    refused(
        &folder,
        "",
        &[&["check"][..], &memory].concat(),
        "FIRN-1001",
    );
    shop.firn.start_again();
    shop.firn.wait_until_serving();
    assert_eq!(shop.quantity("alice"), 1);
}

/// A name that is wrong must not become a store that is whole, since it is empty.
#[test]
fn only_stores_that_are_there_are_looked_at() {
    let place = tempfile::tempdir().expect("a folder");
    let folder = place.path();
    let commands = [
        &["check"][..],
        &["check", "--repair"],
        &["export", "e.firn"],
        &["rotate-keys"],
        &["trim", "--dry-run", "--before", "1"],
    ];
    for command in commands {
        let said = refused(folder, A, command, "FIRN-5009");
        assert!(said.contains("there is no data folder data"), "{said}");
        assert!(!folder.join("data").exists(), "{command:?} makes nothing");
    }
    fs::create_dir(folder.join("data")).expect("a folder");
    fs::write(folder.join("data").join("notes.txt"), "").expect("a file");
    for command in commands {
        let said = refused(folder, A, command, "FIRN-5009");
        assert!(said.contains("data is no data folder"), "{said}");
        let left = fs::read_dir(folder.join("data")).expect("a folder").count();
        assert_eq!(left, 1, "{command:?} makes nothing");
    }
}

#[test]
fn keys_that_cannot_be_used_are_refused_and_not_shown() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let secret = "k:c2VjcmV0";
    let said = store(folder, secret, &["check"]).expect_err("it is refused");
    assert!(said.contains("FIRN-1001"), "{said}");
    assert!(
        said.contains("FIRN_ENCRYPTION_KEYS: key 1 does not have 32 bytes"),
        "{said}"
    );
    assert!(!said.contains("c2Vj"), "{said}");
    let both = ["check", "--encryption-key-file", "keys"];
    let said = store(folder, A, &both).expect_err("it is refused");
    assert!(said.contains("both given"), "{said}");
    assert!(said.contains("try: leave one of them out"), "{said}");
    let said = store(folder, "", &both).expect_err("it is refused");
    assert!(said.contains("No such file"), "{said}");
}
