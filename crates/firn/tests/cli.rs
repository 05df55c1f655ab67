//! The command line as a person uses it: what it refuses, with which words and exit codes.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use firn_testkit::firn::{Firn, Setup};
use firn_testkit::process::{Process, free_port};
use rustix::process::Signal;
use serde_json::Value;

fn firn(folder: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_firn"));
    command.args(args).current_dir(folder).env_clear();
    command.output().expect("the binary runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("text")
}

/// Runs a command that is refused: its exit code and what it says about it.
fn refused(folder: &Path, args: &[&str]) -> (Option<i32>, String) {
    let output = firn(folder, args);
    assert!(
        output.stdout.is_empty(),
        "a refusal belongs on the error output"
    );
    (output.status.code(), text(&output.stderr))
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder")
}

/// A Firn with the cart behind it.
struct Shop {
    firn: Firn,
    cart: tokio::task::JoinHandle<()>,
}

impl Drop for Shop {
    fn drop(&mut self) {
        self.cart.abort();
    }
}

fn shop() -> Shop {
    let function = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
    let cart = tokio::spawn(async move {
        let _ = cart::serve(function).await;
    });
    let binary = PathBuf::from(env!("CARGO_BIN_EXE_firn"));
    let firn = Firn::serving(Setup {
        binary,
        function,
        args: Vec::new(),
    });
    Shop { firn, cart }
}

#[test]
fn all_faults_of_the_settings_are_told_at_once() {
    let folder = folder();
    std::fs::write(
        folder.path().join("firn.toml"),
        "mailbox = 0\nlisten_on = \"x\"\n",
    )
    .expect("a file");
    let args = [
        "proxy",
        "--config",
        "firn.toml",
        "--listen",
        "nowhere",
        "--store",
        "paper:",
        "--family",
        "x",
    ];
    let (code, said) = refused(folder.path(), &args);
    assert_eq!(code, Some(2));
    for part in [
        "FIRN-1001 --listen is \"nowhere\"",
        "FIRN-1001 --store is \"paper:\"",
        "FIRN-5005",
        "FIRN-1001 --family is \"x\"",
        "FIRN-1001 mailbox in firn.toml is \"0\"",
        "FIRN-1002 firn.toml: listen_on is not a setting",
    ] {
        assert!(said.contains(part), "{part:?} is missing in:\n{said}");
    }
}

#[test]
fn configuration_file_that_cannot_be_read_is_named() {
    let folder = folder();
    let (code, said) = refused(folder.path(), &["dev", "--config", "missing.toml"]);
    assert_eq!(code, Some(2));
    assert!(said.contains("FIRN-1003 missing.toml"), "{said}");
    std::fs::write(folder.path().join("bad.toml"), "listen = \n").expect("a file");
    let (_, said) = refused(folder.path(), &["dev", "--config", "bad.toml"]);
    assert!(
        said.contains("FIRN-1003 bad.toml") && said.contains("line 1"),
        "{said}"
    );
}

/// The file is read once: what is wrong with its project stands beside what is wrong with settings,
/// and nothing is shown of a secret.
#[test]
fn faults_of_a_project_are_told_with_all_others() {
    let folder = folder();
    let text = "command = \"node main.js\"\nset-up = [1]\nmailbox = 0\n\
                function-token = \"two\\nlines\"\n";
    std::fs::write(folder.path().join("firn.toml"), text).expect("a file");
    let (code, said) = refused(folder.path(), &["dev", "--lanes", "x", "--threads", "0"]);
    assert_eq!(code, Some(2));
    for part in [
        "FIRN-1001 command in firn.toml is not a list of texts",
        "FIRN-1001 set-up in firn.toml is not a list of texts",
        "FIRN-1001 mailbox in firn.toml is \"0\"",
        "FIRN-1001 function-token in firn.toml: a token is sent in a header",
        "FIRN-1001 --lanes is \"x\"",
        "FIRN-1001 --threads is \"0\"",
    ] {
        assert!(said.contains(part), "{part:?} is missing in:\n{said}");
    }
    assert!(!said.contains("lines\""), "{said}");
}

#[test]
fn unknown_flag_is_wrong_usage() {
    let folder = folder();
    let (code, said) = refused(folder.path(), &["dev", "--lisen", "127.0.0.1:1"]);
    assert_eq!(code, Some(2));
    assert!(
        said.contains("--listen"),
        "it names the nearest flag:\n{said}"
    );
}

#[test]
fn url_is_not_taken_for_a_host() {
    let folder = folder();
    for command in [
        &["call", "a.B/C", "--server"][..],
        &["bench", "a.B/C", "--server"],
        &["describe", "--admin"],
    ] {
        let (code, said) = refused(folder.path(), &[command, &["http://127.0.0.1:1"]].concat());
        assert_eq!(code, Some(2));
        assert!(said.contains("and no URL"), "{command:?}:\n{said}");
    }
}

#[test]
fn command_without_its_mark_is_told_of_it() {
    let folder = folder();
    let (code, said) = refused(folder.path(), &["dev", "node", "index.js"]);
    assert_eq!(code, Some(2));
    assert!(said.contains("tip: a command stands after --"), "{said}");
    let (_, said) = refused(folder.path(), &["describe", "x"]);
    assert!(!said.contains("after --"), "{said}");
}

/// What is secret is not, what is so by default in production is.
#[test]
fn help_shows_what_holds() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_firn"));
    command.args(["help", "proxy"]);
    let help = command.output().expect("the binary runs");
    assert!(text(&help.stdout).contains("0.0.0.0:9002"));
    let mut command = Command::new(env!("CARGO_BIN_EXE_firn"));
    command
        .args(["help", "call"])
        .env("FIRN_SERVER", "secret:1");
    let help = command.output().expect("the binary runs");
    assert!(!text(&help.stdout).contains("secret"));
}

#[test]
fn codes_are_explained() {
    let folder = folder();
    let page = firn(folder.path(), &["explain", "firn-1004"]);
    let said = text(&page.stdout);
    assert!(said.starts_with("# FIRN-1004: an address to listen on is already in use"));
    let (code, said) = refused(folder.path(), &["explain", "FIRN-9999"]);
    assert_eq!(code, Some(2));
    assert!(said.contains("there is no such code"), "{said}");
}

#[test]
fn environment_names_of_the_older_proxies_are_understood() {
    let folder = folder();
    let mut command = Command::new(env!("CARGO_BIN_EXE_firn"));
    command.arg("proxy").current_dir(folder.path()).env_clear();
    command
        .env("HTTP_PORT", "many")
        .env("USER_FUNCTION_PORT", "none");
    let output = command.output().expect("the binary runs");
    let said = text(&output.stderr);
    assert!(said.contains("HTTP_PORT is \"0.0.0.0:many\""), "{said}");
    assert!(
        said.contains("USER_FUNCTION_HOST and USER_FUNCTION_PORT is"),
        "{said}"
    );
}

#[test]
fn taken_port_is_one_line_of_cause_and_one_of_remedy() {
    let folder = folder();
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    for flag in ["--listen", "--admin"] {
        let other = if flag == "--listen" {
            "--admin"
        } else {
            "--listen"
        };
        let (code, said) = refused(
            folder.path(),
            &["dev", flag, &address, other, "127.0.0.1:0"],
        );
        assert_eq!(code, Some(1));
        let lines: Vec<&str> = said.lines().collect();
        let [cause, remedy] = lines.as_slice() else {
            panic!("two lines, not:\n{said}")
        };
        assert!(
            cause.contains("FIRN-1004") && cause.contains(&address),
            "{cause}"
        );
        assert!(remedy.contains(flag), "{remedy}");
    }
}

/// There is no other process to stop.
#[test]
fn address_of_another_machine_is_told_as_that() {
    let folder = folder();
    // TEST-NET-1: nobody has it.
    let (code, said) = refused(folder.path(), &["dev", "--listen", "192.0.2.1:9000"]);
    assert_eq!(code, Some(1));
    assert!(
        said.contains("error FIRN-1008: cannot listen on 192.0.2.1:9000"),
        "{said}"
    );
    assert!(
        said.contains("try: choose an address of this machine"),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn locked_data_folder_is_refused_and_left_alone() {
    let shop = shop();
    let store = format!("embedded:{}", shop.firn.folder().join("data").display());
    let args = [
        "proxy",
        "--listen",
        "127.0.0.1:0",
        "--admin",
        "127.0.0.1:0",
        "--function-listen",
        "127.0.0.1:0",
        "--store",
        &store,
    ];
    let (code, said) = refused(shop.firn.folder(), &args);
    assert_eq!(code, Some(1));
    assert!(said.contains("FIRN-5001"), "{said}");
}

#[test]
fn data_folder_that_is_no_folder_is_refused() {
    let folder = folder();
    std::fs::write(folder.path().join("file"), "").expect("a file");
    let args = [
        "proxy",
        "--listen",
        "127.0.0.1:0",
        "--admin",
        "127.0.0.1:0",
        "--function-listen",
        "127.0.0.1:0",
        "--store",
        "embedded:file/data",
    ];
    let (code, said) = refused(folder.path(), &args);
    assert_eq!(code, Some(1));
    assert!(said.contains("FIRN-5009"), "{said}");
}

#[test]
fn command_that_cannot_be_started_is_named() {
    let folder = folder();
    let args = [
        "dev",
        "--listen",
        "127.0.0.1:0",
        "--admin",
        "127.0.0.1:0",
        "--function-listen",
        "127.0.0.1:0",
        "--log",
        "off",
        "--",
        "./no-such",
    ];
    let (code, said) = refused(folder.path(), &args);
    assert_eq!(code, Some(1));
    assert!(
        said.contains("FIRN-1005") && said.contains("./no-such"),
        "{said}"
    );
}

/// `firn dev` on free ports in a folder whose `firn.toml` has this text.
fn project(text: &str) -> (tempfile::TempDir, Command) {
    let folder = folder();
    std::fs::write(folder.path().join("firn.toml"), text).expect("a file");
    let mut command = Command::new(env!("CARGO_BIN_EXE_firn"));
    command
        .args(["dev", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"])
        .args(["--function-listen", "127.0.0.1:0"])
        .current_dir(folder.path());
    (folder, command)
}

/// Signals that come at once are one: a terminal and what started Firn in it may both pass it on.
#[test]
fn signal_that_comes_twice_at_once_ends_firn_in_order() {
    // The loop ends a moment after it was told.
    let text = "command = [\"sh\", \"-c\", \"trap 'sleep 0.2; exit' TERM; touch started; \
                while :; do sleep 0.05; done\"]\n";
    let (folder, mut dev) = project(text);
    let mut dev = Process::start("firn dev", &mut dev, &folder.path().join("log"));
    let started = folder.path().join("started");
    dev.wait_for("a function", |_| started.exists().then_some(()));
    dev.signal(Signal::TERM);
    dev.wait_for("its word", |dev| {
        dev.log().contains("told to stop").then_some(())
    });
    dev.signal(Signal::TERM);
    assert_eq!(dev.wait().code(), Some(0), "{}", dev.log());
}

/// A second signal that is meant ends it at once.
#[test]
fn signal_that_comes_again_ends_firn() {
    // The loop ends with Firn, whatever it is told.
    let text = "command = [\"sh\", \"-c\", \"trap '' TERM; touch started; \
                while kill -0 $PPID; do sleep 0.05; done\"]\n";
    let (folder, mut dev) = project(text);
    let mut dev = Process::start("firn dev", &mut dev, &folder.path().join("log"));
    let started = folder.path().join("started");
    dev.wait_for("a function", |_| started.exists().then_some(()));
    let status = loop {
        dev.signal(Signal::TERM);
        if let Some(status) = dev.ended() {
            break status;
        }
    };
    assert_eq!(status.code(), Some(1), "{}", dev.log());
    assert!(dev.log().contains("told again"), "{}", dev.log());
}

/// FIRN-1011, with how it ended and when it is started again.
#[test]
fn function_that_ends_is_said() {
    let (folder, mut dev) = project("command = [\"sh\", \"-c\", \"exit 3\"]\n");
    let mut dev = Process::start("firn dev", &mut dev, &folder.path().join("log"));
    let expected = "the function ended (exit status: 3); starting it again in 0.2 s code=FIRN-1011";
    dev.wait_for("word of it", |dev| {
        dev.log().contains(expected).then_some(())
    });
    dev.signal(Signal::TERM);
    assert!(dev.wait().success(), "{}", dev.log());
}

/// Who starts Firn in an empty folder is told what it waits for; so is who asks it.
#[test]
fn firn_without_a_function_says_what_it_waits_for() {
    let (folder, mut dev) = project("");
    std::fs::remove_file(folder.path().join("firn.toml")).expect("a file");
    let log = folder.path().join("log");
    let mut dev = Process::start("firn dev", dev.args(["--function", "127.0.0.1:1"]), &log);
    let hint = dev.wait_for("a hint", |dev| {
        let log = dev.log();
        log.lines()
            .find(|line| line.contains("firn help dev"))
            .map(str::to_owned)
    });
    let expected = "waiting for a function, one to dial in at 127.0.0.1:";
    assert!(hint.contains(expected), "{hint}");
    assert!(hint.contains("or one to listen at 127.0.0.1:1;"), "{hint}");
    let log = dev.log();
    let at = |name: &str| {
        let (_, after) = log.split_once(name).expect("an address");
        after.split_whitespace().next().expect("an address")
    };
    let (clients, admin) = (at("clients="), at("admin="));
    for args in [
        &["call", "-s", clients, "a.B/C"][..],
        &["describe", "-a", admin],
        &["entity", "list", "-a", admin, "a.B"],
    ] {
        let (code, said) = refused(folder.path(), args);
        assert_eq!(code, Some(1));
        let expected =
            "error FIRN-3018: the function is not connected yet\n  try: start the function";
        assert!(said.starts_with(expected), "{said}");
    }
}

/// FIRN-1010: what the set-up said stands above, and nothing is started.
#[test]
fn set_up_that_fails_is_said() {
    let text = "command = [\"touch\", \"started\"]\nset-up = [\"false\"]\n";
    let (folder, mut dev) = project(text);
    let dev = dev.output().expect("the binary runs");
    let said = self::text(&dev.stderr);
    assert_eq!(dev.status.code(), Some(1), "{said}");
    let expected = "error FIRN-1010: false: exit status: 1";
    assert!(said.contains(expected), "{said}");
    assert!(!folder.path().join("started").exists());
}

#[test]
fn set_up_is_done_once() {
    let text = "set-up = [\"sh\", \"-c\", \"echo >> done\"]\ncommand = [\"touch\", \"started\"]\n";
    let (folder, mut dev) = project(text);
    for _ in 0..2 {
        let started = folder.path().join("started");
        let mut dev = Process::start("firn dev", &mut dev, &folder.path().join("log"));
        dev.wait_for("a function", |_| started.exists().then_some(()));
        dev.signal(Signal::TERM);
        assert!(dev.wait().success(), "{}", dev.log());
        std::fs::remove_file(started).expect("a file");
    }
    let done = std::fs::read_to_string(folder.path().join("done")).expect("a file");
    assert_eq!(done, "\n");
}

/// Firn ends in order, and nothing that the set-up started is left.
#[test]
fn set_up_that_hangs_ends_with_firn() {
    let text = "set-up = [\"sh\", \"-c\", \"sleep 600 & echo $! > sleeper; wait\"]\n\
                command = [\"touch\", \"started\"]\n";
    let (folder, mut dev) = project(text);
    let mut dev = Process::start("firn dev", &mut dev, &folder.path().join("log"));
    let sleeper = dev.wait_for("a set-up", |_| {
        let sleeper = std::fs::read_to_string(folder.path().join("sleeper")).ok()?;
        Some(sleeper.strip_suffix('\n')?.to_owned())
    });
    dev.signal(Signal::TERM);
    assert_eq!(dev.wait().code(), Some(0), "{}", dev.log());
    // A killed orphan may stay as a zombie for as long as its new parent leaves it.
    let stat = std::fs::read_to_string(format!("/proc/{sleeper}/stat"));
    assert!(stat.is_err() || stat.is_ok_and(|stat| stat.contains(") Z ")));
    assert!(!folder.path().join("started").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn call_speaks_json_and_shows_refusals_with_their_code() {
    let shop = shop();
    let server = shop.firn.clients.to_string();
    let call = |method: &str, json: &str| {
        let output = firn(
            shop.firn.folder(),
            &["call", "--server", &server, method, json],
        );
        (
            output.status.code(),
            text(&output.stdout),
            text(&output.stderr),
        )
    };
    let item = r#"{"cartId":"alice","productId":"p","name":"Pen","quantity":2}"#;
    assert_eq!(
        call("shop.Cart/AddItem", item),
        (Some(0), "{}\n".into(), String::new())
    );
    let (_, contents, _) = call("shop.Cart.GetCart", r#"{"cartId":"alice"}"#);
    let contents: Value = serde_json::from_str(&contents).expect("JSON");
    assert_eq!(contents["items"][0]["name"], "Pen");
    let refused = |method: &str, json: &str, parts: &[&str]| {
        let (code, out, said) = call(method, json);
        assert_eq!((code, out.as_str()), (Some(1), ""), "{said}");
        for part in parts {
            assert!(said.contains(part), "{part:?} is missing in:\n{said}");
        }
    };
    refused(
        "shop.Cart/GetCart",
        r#"{"cartId":""}"#,
        &["FIRN-3004", "cart_id"],
    );
    refused("shop.Cart/GetCrt", "{}", &["FIRN-3001", "GetCart"]);
    refused("shop.Basket/Get", "{}", &["FIRN-3001", "shop.Cart"]);
    refused(
        "shop.Cart/GetCart",
        r#"{"carId":"a"}"#,
        &["FIRN-1007", "carId"],
    );
    refused("shop.Cart/GetCart", "{", &["FIRN-1007"]);
    refused("GetCart", "{}", &["FIRN-1007", "package.Service/Method"]);
    refused(
        "shop.Cart/AddItem",
        r#"{"cartId":"a","productId":"p","quantity":-1}"#,
        &["error: InvalidArgument", "positive"],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn bench_loads_a_method_in_a_closed_and_in_an_open_loop() {
    let shop = shop();
    let (server, admin) = (shop.firn.clients.to_string(), shop.firn.admin.to_string());
    let item = r#"{"cartId":"cart-{n%7}","productId":"p","name":"{n}","quantity":1}"#;
    let bench = |args: &[&str]| {
        let short = ["--warm", "0s", "--duration", "300ms"];
        let args = [&["bench", "-s", &server, "shop.Cart/AddItem"], args, &short].concat();
        let output = firn(shop.firn.folder(), &args);
        let (out, said) = (text(&output.stdout), text(&output.stderr));
        (output.status.code(), out, said)
    };
    let closed = ["--in-flight", "3", "--connections", "1"];
    let (code, table, said) = bench(&[&[item][..], &closed, &["--json", "load.json"]].concat());
    assert_eq!((code, said.as_str()), (Some(0), ""), "{table}");
    let first = "shop.Cart/AddItem at";
    assert!(table.starts_with(first), "{table}");
    for part in [
        "3 in flight over 1 connection, 300ms measured\n",
        "failed      0\n",
        " p99.9 ",
    ] {
        assert!(table.contains(part), "{part:?} is missing in:\n{table}");
    }
    let report = std::fs::read(shop.firn.folder().join("load.json")).expect("a report");
    let report: Value = serde_json::from_slice(&report).expect("JSON");
    assert!(report["answered"].as_u64().is_some_and(|it| it > 0));
    assert_eq!(report["settings"]["inFlight"], 3);
    let carts = firn(
        shop.firn.folder(),
        &["entity", "list", "-a", &admin, "shop.Cart"],
    );
    assert_eq!(text(&carts.stdout).lines().count(), 7);

    let (code, json, said) = bench(&[item, "--rate", "100", "--json", "-"]);
    assert_eq!((code, said.as_str()), (Some(0), ""), "{json}");
    let report: Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(report["settings"]["rate"], 100.0);
    assert!(
        report["latencyMs"]["p50"]
            .as_f64()
            .is_some_and(|it| it > 0.0)
    );
}

/// FIRN-1012 and others: what is wrong is said before a call is made; what the function refuses is
/// counted and makes the command fail.
#[tokio::test(flavor = "multi_thread")]
async fn bench_says_what_is_wrong_and_counts_what_fails() {
    let shop = shop();
    let server = shop.firn.clients.to_string();
    let folder = shop.firn.folder();
    let get = "shop.Cart/GetCart";
    for (args, exit, expected) in [
        (&[get, "{}", "--rate", "0"][..], 2, "--rate"),
        (
            &[get, "{}", "--rate", "1", "--in-flight", "1"],
            2,
            "--in-flight",
        ),
        (&[get, "{}", "--duration", "0s"], 2, "--duration"),
        (&[get, "{}", "--json", "no/such/folder"], 2, "FIRN-1012"),
        (&[get, r#"{"cartId":"{n%0}"}"#], 1, "FIRN-1007"),
        (&[get, r#"{"carId":"a"}"#], 1, "FIRN-1007"),
        (&[get, "{}", "-H", "nothing"], 1, "FIRN-1007"),
        (&["shop.Cart/GetCrt"], 1, "FIRN-3001"),
    ] {
        let (code, said) = refused(folder, &[&["bench", "-s", &server], args].concat());
        assert_eq!(code, Some(exit), "{said}");
        assert!(said.contains(expected), "{expected} is missing in:\n{said}");
    }
    let short = ["--warm", "0s", "--duration", "200ms"];
    for (method, request, expected) in [
        (get, r#"{"cartId":""}"#, "error FIRN-3004: "),
        (
            "shop.Cart/AddItem",
            r#"{"cartId":"a","productId":"p","quantity":-1}"#,
            "error: ",
        ),
    ] {
        let args = [&["bench", "-s", &server, method, request][..], &short].concat();
        let output = firn(folder, &args);
        let (table, said) = (text(&output.stdout), text(&output.stderr));
        assert_eq!(output.status.code(), Some(1), "{table}{said}");
        assert!(table.contains("answered    0,"), "{table}");
        assert!(said.starts_with(expected), "{said}");
        assert!(
            said.contains("calls failed, most with INVALID_ARGUMENT"),
            "{said}"
        );
    }
}

#[test]
fn client_commands_say_when_nobody_answers() {
    let folder = folder();
    let nobody = format!("127.0.0.1:{}", free_port());
    for args in [
        &["call", "--server", &nobody, "a.B/C", "{}"][..],
        &["bench", "--server", &nobody, "a.B/C"],
        &["describe", "--admin", &nobody],
        &["entity", "list", "--admin", &nobody, "a.B"],
    ] {
        let (code, said) = refused(folder.path(), args);
        assert_eq!(code, Some(1));
        assert!(
            said.contains("FIRN-1006") && said.contains(&nobody),
            "{said}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn entities_are_shown_decoded_at_any_version() {
    let shop = shop();
    let (server, admin) = (shop.firn.clients.to_string(), shop.firn.admin.to_string());
    for product in 0..12 {
        let item =
            format!(r#"{{"cartId":"alice","productId":"p{product}","name":"n","quantity":1}}"#);
        firn(
            shop.firn.folder(),
            &["call", "-s", &server, "shop.Cart/AddItem", &item],
        );
    }
    let show = |args: &[&str]| {
        let output = firn(shop.firn.folder(), args);
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout)
    };
    let json = |args: &[&str]| -> Value { serde_json::from_str(&show(args)).expect("JSON") };
    assert_eq!(
        show(&["entity", "list", "-a", &admin, "shop.Cart"]),
        "alice\n"
    );
    let events = json(&[
        "entity",
        "events",
        "-a",
        &admin,
        "--json",
        "shop.Cart",
        "alice",
    ]);
    assert_eq!(events["events"].as_array().map(Vec::len), Some(12));
    assert_eq!(
        events["events"][3]["event"]["value"]["item"]["productId"],
        "p3"
    );
    let page = [
        "entity",
        "events",
        "-a",
        &admin,
        "--json",
        "--after",
        "10",
        "shop.Cart",
        "alice",
    ];
    assert_eq!(json(&page)["events"][0]["sequence"], 11);
    let newest = json(&[
        "entity",
        "get",
        "-a",
        &admin,
        "--json",
        "shop.Cart",
        "alice",
    ]);
    assert_eq!(newest["snapshot"]["sequence"], 10);
    assert_eq!(newest["events"].as_array().map(Vec::len), Some(2));
    let older = [
        "entity",
        "get",
        "-a",
        &admin,
        "--json",
        "--at",
        "4",
        "shop.Cart",
        "alice",
    ];
    let older = json(&older);
    assert_eq!(
        (&older["sequence"], &older["snapshot"]),
        (&Value::from(4), &Value::Null)
    );
    assert_eq!(older["events"].as_array().map(Vec::len), Some(4));
    let missing = firn(
        shop.firn.folder(),
        &["entity", "get", "-a", &admin, "shop.Cart", "bob"],
    );
    assert_eq!(missing.status.code(), Some(1));
    assert!(text(&missing.stderr).contains("no entity bob"));
    let described = show(&["describe", "-a", &admin]);
    for part in [
        "shop.Cart (event sourced entity)",
        "POST /carts/{cart_id}/items",
    ] {
        assert!(
            described.contains(part),
            "{part:?} is missing in:\n{described}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn word_to_stop_ends_in_order_with_exit_code_zero() {
    let mut shop = shop();
    assert_eq!(shop.firn.stop().code(), Some(0));
    assert!(shop.firn.log().contains("Firn has stopped"));
}

#[test]
fn completions_and_help_are_there() {
    let folder = folder();
    for shell in ["bash", "zsh", "fish"] {
        let output = firn(folder.path(), &["completions", shell]);
        assert!(text(&output.stdout).contains("describe"));
    }
    let help = text(&firn(folder.path(), &["help", "dev"]).stdout);
    for part in ["--listen", "FIRN_LISTEN", "USER_FUNCTION_HOST", "Examples:"] {
        assert!(help.contains(part), "{part:?} is missing in:\n{help}");
    }
}
