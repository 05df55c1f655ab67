//! What an operator does with a store in a database, by the command: moves it, backs it up, checks it,
//! changes its keys; and what becomes of it when that is cut off.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use firn_testkit::client::Client;
use firn_testkit::firn::Firn;
use firn_testkit::postgres::{Cut, Postgres, Rule};

use crate::shop::{Function, Writer, contents, firn, item, method};

const A: &str = "a:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
const B: &str = "b:AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";

/// How many items a cart gets: with names so long that what is written of them takes several
/// transactions.
const ITEMS: usize = 12;

/// The tables of a test, and a folder for its files.
struct Place {
    server: Postgres,
    url: String,
    schema: String,
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let server = Postgres::start();
        let url = server.fresh();
        let schema = url.rsplit("%3D").next().expect("a schema").to_owned();
        let folder = tempfile::tempdir().expect("a folder");
        Self {
            server,
            url,
            schema,
            folder,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn sql(&self, sql: &str) -> String {
        let schema = &self.schema;
        self.server
            .sql(&format!("SET search_path = {schema}; {sql}"))
    }

    /// Lets whoever changes the last event of a cart wait for ever.
    fn stall(&self, change: &str) {
        self.sql(&format!(
            "CREATE FUNCTION stall() RETURNS trigger LANGUAGE plpgsql \
               AS 'BEGIN PERFORM pg_sleep(600); RETURN NEW; END'; \
             CREATE TRIGGER stall BEFORE {change} ON firn_events FOR EACH ROW \
               WHEN (NEW.number = {ITEMS}) EXECUTE FUNCTION stall()"
        ));
    }

    /// Lets each event that comes take a while, until what is given back is run.
    fn slow(&self) -> &'static str {
        self.sql(
            "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql \
               AS 'BEGIN PERFORM pg_sleep(0.3); RETURN NEW; END'; \
             CREATE TRIGGER slow BEFORE INSERT ON firn_events FOR EACH ROW EXECUTE FUNCTION slow()",
        );
        "DROP TRIGGER slow ON firn_events; DROP FUNCTION slow()"
    }

    /// Starts a command that comes to the stalled event, and kills it there.
    fn kill(&self, keys: &str, args: &[&str]) {
        let mut child = command(self.folder.path(), &self.url, keys, args)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the binary runs");
        let stalled = "FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
        while self.sql(&format!("SELECT count(*) {stalled}")) == "0" {
            let ended = child.try_wait().expect("a child");
            assert!(ended.is_none(), "it ended before: {ended:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
        child.kill().expect("it can be killed");
        child.wait().expect("it has ended");
        self.sql(&format!("SELECT pg_terminate_backend(pid) {stalled}"));
        self.sql("DROP TRIGGER stall ON firn_events; DROP FUNCTION stall()");
    }

    fn store(&self, keys: &str, args: &[&str]) -> Result<String, String> {
        store(self.folder.path(), &self.url, keys, args)
    }

    fn refused(&self, keys: &str, args: &[&str], code: &str) -> String {
        refused(self.folder.path(), &self.url, keys, args, code)
    }
}

fn command(folder: &Path, url: &str, keys: &str, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_firn"));
    command
        .current_dir(folder)
        .env_clear()
        .arg("store")
        .args(args);
    command.env("FIRN_STORE", url).env("FIRN_LEASE", "1s");
    if !keys.is_empty() {
        command.env("FIRN_ENCRYPTION_KEYS", keys);
    }
    command
}

/// Runs `firn store`; gives what it says.
fn store(folder: &Path, url: &str, keys: &str, args: &[&str]) -> Result<String, String> {
    let output = command(folder, url, keys, args).output();
    let output = output.expect("the binary runs");
    match output.status.code() {
        Some(0) => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        _ => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

fn refused(folder: &Path, url: &str, keys: &str, args: &[&str], code: &str) -> String {
    let said = store(folder, url, keys, args).expect_err("it is refused");
    assert!(said.contains(code), "{code} is missing in:\n{said}");
    assert_eq!(said.lines().count(), 2, "a cause and a remedy:\n{said}");
    assert!(!said.contains("not%20a%20secret"), "{said}");
    said
}

async fn fill(firn: &Firn) -> Vec<String> {
    let client = Client::connect(firn.clients).await;
    for number in 0..ITEMS {
        let mut large = item("a", &number.to_string());
        large["name"] = "n".repeat(200_000).into();
        let added = client.call(&method("AddItem"), large).await;
        added.unwrap_or_else(|refused| panic!("{refused:?}"));
    }
    contents(&client, "a").await
}

/// What is in the cart of a Firn, which must take one more item.
async fn holds(firn: &Firn, expected: &[String]) {
    let client = Client::connect(firn.clients).await;
    assert_eq!(contents(&client, "a").await, expected);
    let added = client.call(&method("AddItem"), item("b", "next")).await;
    added.unwrap_or_else(|refused| panic!("{refused:?}"));
}

/// To a database, which is cut off and killed on the way, and back, with other keys each time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_becomes_a_database_and_a_folder_again() {
    let place = Place::new();
    let function = Function::start();
    let data = format!("embedded:{}", place.path("data").display());
    let mut folder = firn(&function, &data, &["--encryption-keys", A]);
    let items = fill(&folder).await;
    assert!(folder.stop().success());
    let files = place.folder.path();
    store(files, &data, A, &["export", "one.firn"]).expect("an export");

    // Damaged files change nothing.
    let good = std::fs::read(place.path("one.firn")).expect("a file");
    std::fs::write(place.path("cut.firn"), &good[..good.len() - 3]).expect("a file");
    let both = format!("{B},{A}");
    place.refused(&both, &["import", "cut.firn"], "FIRN-5033");
    place.refused(B, &["import", "one.firn"], "FIRN-5030");
    let tables =
        "SELECT count(*) FROM information_schema.tables WHERE table_schema = current_schema()";
    assert_eq!(place.sql(tables), "0");

    // The connection is lost in the middle.
    let cut = Cut::before(place.server.address());
    let by_proxy = place.server.url_of(cut.address, &place.schema);
    cut.rule(Rule::CutRequestAfter(1_500_000));
    refused(
        files,
        &by_proxy,
        &both,
        &["import", "one.firn"],
        "FIRN-5004",
    );
    place.refused(&both, &["export", "none.firn"], "FIRN-5037");
    place.refused(&both, &["check", "--repair"], "FIRN-5037");
    place.refused(&both, &["rotate-keys"], "FIRN-5037");
    // The process is killed.
    place.stall("INSERT");
    place.kill(&both, &["import", "one.firn"]);
    let served = Command::new(env!("CARGO_BIN_EXE_firn"))
        .current_dir(files)
        .args(["proxy", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"])
        .args(["--function-listen", "127.0.0.1:0", "--store", &place.url])
        .args(["--encryption-keys", B])
        .output()
        .expect("the binary runs");
    let said = String::from_utf8_lossy(&served.stderr).into_owned();
    assert_eq!(served.status.code(), Some(1), "{said}");
    assert!(said.contains("FIRN-5037"), "{said}");

    // What takes long says how far it has come.
    let as_before = place.slow();
    let imported = command(files, &place.url, &both, &["import", "one.firn"]).output();
    let imported = imported.expect("the binary runs");
    place.sql(as_before);
    let told = String::from_utf8_lossy(&imported.stderr);
    assert!(imported.status.success(), "{told}");
    let said = String::from_utf8_lossy(&imported.stdout);
    assert!(said.starts_with("imported "), "{said}");
    let progress = |line: &str| line.starts_with("imported ") && line.ends_with(" %");
    assert!(told.lines().count() > 0, "nothing was told");
    assert!(told.lines().all(progress), "{told}");
    place.refused(&both, &["import", "one.firn"], "FIRN-5036");
    place.store(B, &["check"]).expect("nothing to find");
    let mut in_database = firn(&function, &place.url, &["--encryption-keys", B]);
    holds(&in_database, &items).await;
    // While it serves.
    place.store(B, &["export", "two.firn"]).expect("an export");
    place.refused(B, &["import", "two.firn"], "FIRN-5036");
    assert!(in_database.stop().success());

    let back = format!("embedded:{}", place.path("back").display());
    store(files, &back, B, &["import", "two.firn"]).expect("an import");
    store(files, &back, B, &["check"]).expect("nothing to find");
    let again = firn(&function, &back, &["--encryption-keys", B]);
    holds(&again, &items).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_of_a_firn_on_a_database_fills_another() {
    let place = Place::new();
    let function = Function::start();
    let first = firn(&function, &place.url, &[]);
    let items = fill(&first).await;
    let admin = first.admin.to_string();
    let said = place.store("", &["backup", "--admin", &admin, "b.firn"]);
    assert!(said.expect("a backup").starts_with("backed up"));
    let other = place.server.fresh();
    let files = place.folder.path();
    store(files, &other, "", &["import", "b.firn"]).expect("an import");
    let second = firn(&function, &other, &[]);
    holds(&second, &items).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_is_checked_and_repaired() {
    let place = Place::new();
    let function = Function::start();
    let mut serving = firn(&function, &place.url, &["--lease", "30s"]);
    let items = fill(&serving).await;
    let said = place.store("", &["check"]).expect("nothing to find");
    assert!(said.contains(" rows checked: nothing is wrong"), "{said}");
    let said = place.refused("", &["check", "--repair"], "FIRN-5019");
    assert!(said.contains("whose lease runs on"), "{said}");
    assert!(serving.stop().success());
    // An event of a generation that has ended, which sweeping has forgotten.
    place.sql(
        "UPDATE firn_entities SET generation = 1, swept = 1; \
         UPDATE firn_events SET generation = 1; UPDATE firn_states SET generation = 1; \
         INSERT INTO firn_events SELECT storage, id, 0, number, slot, seq, at, type, value, NULL \
           FROM firn_events WHERE number = 1",
    );
    let said = place.refused("", &["check"], "FIRN-5038");
    assert!(
        said.contains("1 findings are left in ") && said.contains("--repair"),
        "{said}"
    );
    let said = place
        .store("", &["check", "--repair"])
        .expect("it is repaired");
    assert!(said.contains("nothing removes it (repaired)"), "{said}");
    assert!(said.contains("1 findings, 1 of them repaired"), "{said}");
    place.store("", &["check"]).expect("nothing to find");
    serving.start_again();
    serving.wait_until_serving();
    holds(&serving, &items).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_of_a_database_are_begun_with_changed_and_killed_on_the_way() {
    let place = Place::new();
    let function = Function::start();
    let mut plain = firn(&function, &place.url, &["--lease", "30s"]);
    let items = fill(&plain).await;
    place.refused(A, &["rotate-keys"], "FIRN-5019");
    assert!(plain.stop().success());
    place.refused("", &["rotate-keys"], "FIRN-1001");
    place.refused(A, &["check"], "FIRN-5032");
    let said = place.store(A, &["rotate-keys"]).expect("a rotation");
    assert!(said.contains("sealed with key a"), "{said}");
    place.refused("", &["check"], "FIRN-5030");
    place.refused(&A.replacen("AAAA", "AgAA", 1), &["check"], "FIRN-5031");

    let both = format!("{B},{A}");
    place.stall("UPDATE");
    place.kill(&both, &["rotate-keys"]);
    let sealed = |id: &str| {
        place.sql(&format!(
            "SELECT count(*) FROM firn_events WHERE substring(value FROM 3 FOR 1) = '{id}'"
        ))
    };
    assert!(
        sealed("a") != "0" && sealed("b") != "0",
        "it was in the middle"
    );
    for key in [A, B] {
        place.refused(key, &["check"], "FIRN-5030");
    }
    place.store(&both, &["check"]).expect("both keys open it");
    place.store(&both, &["rotate-keys"]).expect("a rotation");
    assert_eq!(sealed("a"), "0");
    place
        .store(B, &["check"])
        .expect("the old key is not needed");
    let sealed = firn(&function, &place.url, &["--encryption-keys", B]);
    holds(&sealed, &items).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_is_trimmed_beside_a_firn_that_serves_from_it() {
    let place = Place::new();
    let function = Function::start();
    let mut serving = firn(&function, &place.url, &["--lease", "30s"]);
    let writer = Writer::start(serving.clients, "w").await;
    writer.goes_on(20).await;
    let storage = place.sql("SELECT DISTINCT storage FROM firn_entities");
    let trim = ["trim", "--before", "0", "--component", &storage];
    let events = "SELECT count(*) FROM firn_events WHERE number < 5";

    // The process is killed in the middle.
    place.sql(
        "CREATE FUNCTION stall() RETURNS trigger LANGUAGE plpgsql \
           AS 'BEGIN PERFORM pg_sleep(600); RETURN OLD; END'; \
         CREATE TRIGGER stall BEFORE DELETE ON firn_events FOR EACH ROW \
           WHEN (OLD.number = 3) EXECUTE FUNCTION stall()",
    );
    place.kill("", &trim);
    assert_eq!(place.sql(events), "4");
    place.store("", &["check"]).expect("nothing to find");

    let said = place.store("", &trim).expect("it is trimmed");
    assert!(said.contains(" of 1 entities removed"), "{said}");
    assert_eq!(place.sql(events), "0");
    writer.goes_on(20).await;
    place.store("", &trim).expect("it is trimmed again");
    assert!(writer.finish(serving.clients).await.is_empty());
    place.store("", &["check"]).expect("nothing to find");
    let items = contents(&Client::connect(serving.clients).await, "w").await;
    assert!(serving.stop().success());
    // What fails is told with its code.
    place.sql("ALTER TABLE firn_states RENAME TO away");
    place.refused("", &trim, "FIRN-5011");
    place.sql("ALTER TABLE away RENAME TO firn_states");
    serving.start_again();
    serving.wait_until_serving();
    let client = Client::connect(serving.clients).await;
    assert_eq!(contents(&client, "w").await, items);
}
