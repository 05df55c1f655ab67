//! What the settings say is kept: entities that nobody writes, and events that a snapshot covers.

use std::io::Write;
use std::process::{Command, Output};
use std::time::Duration;

use firn_testkit::caller::{headers, request};
use firn_testkit::own::Connection;
use firn_testkit::own::message::{decided, empty, hello, history};
use firn_wire::v1::message::Refusal;
use firn_wire::v1::message::firn_frame::Frame;
use tempfile::NamedTempFile;
use tonic::Code;

use crate::world::{JOURNAL, REGISTER, World, kept, opening, whole};

/// A file with settings.
fn settings(text: &str) -> NamedTempFile {
    let mut file = NamedTempFile::new().expect("a file");
    file.write_all(text.as_bytes()).expect("settings");
    file
}

async fn serving(settings: &NamedTempFile) -> (World, Connection) {
    let path = settings.path().to_str().expect("a path of text");
    World::serving_with(&whole(), &["--config", path]).await
}

fn firn(world: &World, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_firn"));
    command.args(args).current_dir(world.firn.folder());
    command.env_clear().output().expect("the binary runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("text")
}

/// What `firn entity` says of a component of the model; it must succeed.
fn entity(world: &World, command: &str, args: &[&str]) -> Output {
    let admin = world.firn.admin.to_string();
    let output = firn(
        world,
        &[&["entity", command, "--admin", &admin], args].concat(),
    );
    assert!(output.status.success(), "{}", text(&output.stderr));
    output
}

/// Waits until what a command says is as it should be.
async fn until(mut look: impl FnMut() -> bool) {
    let waiting = async {
        while !look() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(60), waiting).await;
    waited.expect("it comes in time");
}

/// Event A to D of the journal `a`, with a snapshot at C.
async fn write_journal(world: &World, function: &mut Connection) {
    let caller = world.call("Journal/Process", "a", "");
    function.command().await;
    let events = ["A", "B", "C"].map(kept);
    function.send(
        decided(1)
            .append(&events, Some(kept("ABC")))
            .saying("1")
            .leaving(3),
    );
    caller.replies("1").await;
    let caller = world.call("Journal/Process", "a", "");
    function.command().await;
    function.send(decided(2).append(&[kept("D")], None).saying("2").leaving(4));
    caller.replies("2").await;
}

#[tokio::test]
async fn entities_that_nobody_writes_are_gone_after_their_time() {
    let settings = settings(
        "retain-every = \"50ms\"\n\
         [retention.\"model.Register\"]\nttl = \"300ms\"\n\
         [retention.\"model.Journal\"]\nttl = \"300ms\"\n",
    );
    let (mut world, mut function) = serving(&settings).await;
    write_journal(&world, &mut function).await;
    let caller = world.call("Register/Process", "a", "");
    function.command().await;
    function.send(decided(3).set(kept("one")).saying("3").leaving(1));
    caller.replies("3").await;
    let mut function = world.kill_and_start_again(&whole()).await;
    for component in ["model.Register", "model.Journal"] {
        until(|| entity(&world, "list", &[component]).stdout.is_empty()).await;
    }
    let asked = request("a", "");
    let caller = world.call("Register/Process", "a", "");
    function
        .expect(opening(1, REGISTER, 1, &asked, empty("a")))
        .await;
    function.send(decided(1).saying("empty"));
    caller.replies("empty").await;
    let _caller = world.call("Journal/Process", "a", "");
    let nothing = history("a", None, &[]);
    function
        .expect(opening(2, JOURNAL, 2, &asked, nothing))
        .await;
}

#[tokio::test]
async fn events_before_the_snapshot_are_gone_and_a_version_of_them_is_told_apart() {
    let settings = settings("retain-events = \"1\"\nretain-every = \"50ms\"\n");
    let (mut world, mut function) = serving(&settings).await;
    write_journal(&world, &mut function).await;
    let trimmed = "events up to 2 were trimmed (FIRN-5050)\n";
    until(|| {
        let events = entity(&world, "events", &["model.Journal", "a"]);
        text(&events.stderr) == trimmed && text(&events.stdout).lines().count() == 2
    })
    .await;
    let admin = world.firn.admin.to_string();
    let get = ["entity", "get", "--admin", &admin, "--at"];
    let gone = firn(&world, &[&get[..], &["2", "model.Journal", "a"]].concat());
    assert_eq!(gone.status.code(), Some(1));
    assert_eq!(
        text(&gone.stderr),
        "error FIRN-5050: version 2 of a of model.Journal was trimmed; the oldest that is left is 3\n  \
         try: ask for a later version; firn entity events shows the events that are left\n"
    );
    for version in ["3", "4"] {
        entity(&world, "get", &["--at", version, "model.Journal", "a"]);
    }
    let mut function = world.kill_and_start_again(&whole()).await;
    let _caller = world.call("Journal/Process", "a", "");
    let folded = history("a", Some((3, kept("ABC"))), &[kept("D")]);
    function
        .expect(opening(1, JOURNAL, 1, &request("a", ""), folded))
        .await;
}

#[tokio::test]
async fn what_cannot_be_kept_so_is_refused() {
    for (settings_text, why) in [
        (
            "[retention.\"model.Count\"]\nttl = \"1h\"\n",
            "it is replicated",
        ),
        (
            "[retention.\"model.Register\"]\nevents = 1\n",
            "it has no events",
        ),
        (
            "[retention.\"model.Doing\"]\nttl = \"1h\"\n",
            "it keeps nothing",
        ),
    ] {
        let settings = settings(settings_text);
        let path = settings.path().to_str().expect("a path of text");
        let world = World::alone_with(&["--config", path]).await;
        let opened = Connection::open(&world.dial(), headers(&[])).await;
        let mut function = opened.expect("a call that goes on");
        function.send(hello(&whole()));
        let Frame::Refusal(Refusal { findings }) = function.next().await else {
            panic!("not refused: {settings_text}");
        };
        assert_eq!(findings[0].code, "FIRN-2026");
        assert!(findings[0].text.contains(why), "{}", findings[0].text);
        assert_eq!(
            findings[0].remedy,
            "correct [retention] in the settings of Firn"
        );
        function
            .is_refused(Code::FailedPrecondition, "FIRN-2026")
            .await;
    }
}

/// `firn store trim` on a store that no Firn has open, which is whole afterwards.
#[tokio::test]
async fn stopped_store_is_trimmed() {
    let (mut world, mut function) = World::serving().await;
    write_journal(&world, &mut function).await;
    world.firn.kill();
    let store = |args: &[&str]| {
        let output = firn(
            &world,
            &[&["store"], args, &["--store", "embedded:data"]].concat(),
        );
        let said = [output.stdout, output.stderr].concat();
        (output.status.code(), text(&said))
    };
    let named = ["trim", "--component", "model.Journal"];
    let refused = |args: &[&str], why: &str| {
        let (code, said) = store(&[&["trim"], args].concat());
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains("FIRN-1001") && said.contains(why), "{said}");
    };
    refused(&named[1..], "nothing says which events need not be kept");
    // A component may need all its events, which the store does not know.
    refused(&["--before", "0"], "--component");
    refused(&["--retain-events", "0"], "--component");
    // Rules by the name of a service are not understood, so none is applied.
    let settings = settings(
        "retain-events = 0\n\
         [retention.\"other.Journal\"]\nevents = \"all\"\n\
         [retention.\"model.Journal\"]\nevents = 0\n",
    );
    let path = settings.path().to_str().expect("a path of text");
    for args in [&["--dry-run"][..], &named[1..]] {
        refused(&[args, &["--config", path]].concat(), "other.Journal");
    }
    let removed = |done: &str| {
        format!("model.Journal: 3 events of 1 entities {done}\n3 events of 1 entities {done}\n")
    };
    let dry = store(&["trim", "--before", "0", "--dry-run"]);
    assert_eq!(dry, (Some(0), removed("would be removed")));
    let nothing = store(&[&named[..], &["--before", "1h"]].concat());
    assert_eq!(
        nothing,
        (Some(0), "0 events of 0 entities removed\n".to_owned())
    );
    // A name that is mistyped, or that of a service, is told with those that there are.
    let other = ["--before", "0", "--component", "other.Journal"];
    for args in [&other[..], &[&other[..], &["--dry-run"]].concat()] {
        refused(args, "model.Journal");
    }
    let done = store(&[&named[..], &["--before", "0", "--config", path]].concat());
    assert_eq!(done, (Some(0), removed("removed")));
    let (code, said) = store(&["check"]);
    assert_eq!(code, Some(0), "{said}");
    let mut function = world.kill_and_start_again(&whole()).await;
    let _caller = world.call("Journal/Process", "a", "");
    let folded = history("a", Some((3, kept("ABC"))), &[kept("D")]);
    function
        .expect(opening(1, JOURNAL, 1, &request("a", ""), folded))
        .await;
}

#[tokio::test]
async fn empty_store_has_nothing_to_trim() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = format!("embedded:{}", folder.path().display());
    let made = firn_store::embedded::Embedded::open(folder.path(), Default::default(), |fatal| {
        panic!("{fatal}");
    });
    drop(made.expect("a store"));
    let output = Command::new(env!("CARGO_BIN_EXE_firn"))
        .args(["store", "trim", "--before", "30d", "--dry-run"])
        .args(["--store", &store])
        .current_dir(folder.path())
        .env_clear()
        .output()
        .expect("the binary runs");
    assert!(output.status.success(), "{}", text(&output.stderr));
    let said = "0 events of 0 entities would be removed\n";
    assert_eq!(text(&output.stdout), said);
}
