//! Runs `cargo test`, and what counts instructions; shows what it does, and counts.
//!
//! Cargo and the tests write into one pipe, so lines keep their order. Single tests that pass are
//! shown for named targets only, whose tests take long; everything else is shown when it matters.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, PipeReader};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::counts;
use crate::outcome::{Counts, Outcome};
use crate::process::{StopAsked, end_group, stop_group};

/// How often the limit and the wish to stop are looked at while the tests are silent.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Lines that may wait to be shown; more make the tests wait.
const LINES_QUEUED: usize = 1024;

/// The folders whose folders are packages.
const PACKAGES: &[&str] = &[".", "crates", "samples", "sdk", "sdk/rust"];

/// Builds everything that tests use: the programs that integration tests start, and the tests. In one
/// go: programs alone would be built with fewer features of their dependencies, and so a second time.
pub(crate) fn build(root: &Path) -> bool {
    let built = cargo(root)
        .args(["build", "--workspace", "--bins", "--tests", "--examples"])
        .status();
    built.is_ok_and(|status| status.success())
}

/// Runs all tests of the workspace except the targets `without`; then the doc tests.
pub(crate) fn rest(
    root: &Path,
    without: &[&str],
    limit: Duration,
    stop: &StopAsked,
) -> Result<Outcome> {
    let until = Instant::now() + limit;
    let mut command = cargo(root);
    command.args([
        "test",
        "--workspace",
        "--no-fail-fast",
        "--lib",
        "--bins",
        "--examples",
    ]);
    for target in integration_targets(root)? {
        if !without.contains(&target.as_str()) {
            command.args(["--test", &target]);
        }
    }
    let code = run(&mut command, Show::Targets, until, stop)?;
    let mut command = cargo(root);
    command.args(["test", "--workspace", "--no-fail-fast", "--doc"]);
    Ok(code.plus(run(&mut command, Show::Targets, until, stop)?))
}

/// Runs these integration test targets.
pub(crate) fn targets(
    root: &Path,
    targets: &[&str],
    limit: Duration,
    stop: &StopAsked,
) -> Result<Outcome> {
    let existing = integration_targets(root)?;
    if let Some(missing) = targets.iter().find(|target| !existing.contains(**target)) {
        bail!("no package has tests/{missing}.rs");
    }
    let mut command = cargo(root);
    command.args(["test", "--workspace", "--no-fail-fast"]);
    for target in targets {
        command.args(["--test", target]);
    }
    run(&mut command, Show::Tests, Instant::now() + limit, stop)
}

/// Counts the instructions of the hot path; each scenario counts as a test.
pub(crate) fn instructions(root: &Path, limit: Duration, stop: &StopAsked) -> Result<Outcome> {
    let mut command = counts::command(root, &[])?;
    run(&mut command, Show::Tests, Instant::now() + limit, stop)
}

/// Without backtraces: functions panic on purpose in many tests, and theirs would hide what matters.
fn cargo(root: &Path) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root).env("RUST_BACKTRACE", "0");
    command
}

/// The integration test targets that cargo finds by itself: `tests/<name>.rs` and
/// `tests/<name>/main.rs` of every package.
fn integration_targets(root: &Path) -> Result<BTreeSet<String>> {
    let mut targets = BTreeSet::new();
    for folder in PACKAGES {
        for package in fs::read_dir(root.join(folder))? {
            let package = package?.path();
            let Ok(files) = fs::read_dir(package.join("tests")) else {
                continue;
            };
            let with_features = with_features(&package);
            for file in files {
                let path = file?.path();
                let is_target = path.extension().is_some_and(|end| end == "rs")
                    || path.join("main.rs").exists();
                let name = path
                    .file_stem()
                    .map(|name| name.to_string_lossy().into_owned());
                if let Some(name) = name.filter(|name| is_target && !with_features.contains(name)) {
                    targets.insert(name);
                }
            }
        }
    }
    Ok(targets)
}

/// The test targets of a package that need features of their own: whoever starts them says which.
fn with_features(package: &Path) -> BTreeSet<String> {
    let text = fs::read_to_string(package.join("Cargo.toml")).unwrap_or_default();
    let manifest: toml::Table = text.parse().unwrap_or_default();
    let tests = manifest.get("test").and_then(toml::Value::as_array);
    let named = tests.into_iter().flatten().filter_map(|test| {
        test.get("required-features")?;
        Some(test.get("name")?.as_str()?.to_owned())
    });
    named.collect()
}

/// What is shown of tests that pass.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Show {
    /// One line for each test target.
    Targets,
    /// One line for each test.
    Tests,
}

/// Runs one command in a process group of its own, so that all of it can be ended.
fn run(command: &mut Command, show: Show, until: Instant, stop: &StopAsked) -> Result<Outcome> {
    let (output, input) = std::io::pipe()?;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(input.try_clone()?)
        .stderr(input)
        .process_group(0)
        .spawn()?;
    // The command keeps our ends of the pipe open; without this the last line never comes.
    command.stdout(Stdio::null()).stderr(Stdio::null());

    let lines = lines(output);
    let mut report = Report::new(show);
    loop {
        match lines.recv_timeout(LOOK_AGAIN) {
            Ok(line) => {
                if let Some(shown) = report.on(&line) {
                    println!("  {shown}");
                }
            }
            // Something that a test left behind may hold the pipe open for ever.
            Err(RecvTimeoutError::Timeout) if child.try_wait()?.is_some() => break,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        if stop.now() {
            stop_group(&mut child);
            bail!(
                "stopped by hand after {} tests",
                report.outcome.counts.passed
            );
        }
        if Instant::now() >= until {
            stop_group(&mut child);
            let over = Outcome::failed("ended, because its time was over");
            return Ok(report.outcome.plus(over));
        }
    }
    let status = child.wait()?;
    end_group(&mut child);
    if !status.success() && report.outcome.counts.failed == 0 {
        let ended = Outcome::failed(&format!("it ended with {status}"));
        return Ok(report.outcome.plus(ended));
    }
    Ok(report.outcome)
}

/// Reads lines on a thread of its own, so that reading can have a deadline.
fn lines(output: PipeReader) -> Receiver<String> {
    let (sender, receiver) = sync_channel(LINES_QUEUED);
    thread::spawn(move || {
        for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
            if sender
                .send(String::from_utf8_lossy(&line).into_owned())
                .is_err()
            {
                return;
            }
        }
    });
    receiver
}

/// What was learnt from the lines so far.
struct Report {
    show: Show,
    target: String,
    outcome: Outcome,
    /// Between a target's `failures:` and its result everything is shown.
    in_failures: bool,
}

impl Report {
    fn new(show: Show) -> Self {
        Self {
            show,
            target: String::new(),
            outcome: Outcome::default(),
            in_failures: false,
        }
    }

    /// Takes one line; gives what is to be shown of it.
    fn on(&mut self, line: &str) -> Option<String> {
        if let Some(target) = target(line) {
            self.target = target;
            return None;
        }
        if let Some((counts, rest)) = result(line) {
            self.in_failures = false;
            self.outcome.counts = self.outcome.counts.plus(counts);
            let Counts { passed, failed } = counts;
            let seen = passed + failed > 0;
            let target = match self.target.as_str() {
                "" => String::new(),
                target => format!("{target}: "),
            };
            return seen.then(|| format!("{target}{passed} passed, {failed} failed{rest}"));
        }
        if line == "failures:" && !self.in_failures {
            self.in_failures = true;
            self.outcome.failures.push(self.target.clone());
        }
        let is_test = line.starts_with("test ");
        let passed = is_test && line.ends_with("... ok");
        let noise = line.is_empty()
            || (line.starts_with("running ") && line.contains(" test"))
            || NOISE
                .iter()
                .any(|start| line.trim_start().starts_with(start));
        if self.in_failures || line.contains(COUNT_FAILS) {
            self.outcome.failures.push(line.to_owned());
        }
        let shown = self.in_failures || (!noise && (!passed || self.show == Show::Tests));
        shown.then(|| line.to_owned())
    }
}

/// What the line of a scenario says whose instructions are not within the record.
const COUNT_FAILS: &str = "  FAILS: ";

/// Lines of cargo that say only that it works.
const NOISE: &[&str] = &[
    "Compiling ",
    "Finished ",
    "Blocking waiting",
    "Fresh ",
    "Dirty ",
];

/// The name of the test target that cargo is about to run, from its own line.
fn target(line: &str) -> Option<String> {
    let line = line.trim_start();
    if let Some(package) = line.strip_prefix("Doc-tests ") {
        return Some(format!("{package} (doc tests)"));
    }
    let rest = line.strip_prefix("Running ")?;
    let (what, program) = rest.rsplit_once(" (")?;
    let file = program.trim_end_matches(')').rsplit('/').next()?;
    let (name, _hash) = file.rsplit_once('-')?;
    let what = what.trim_start_matches("unittests ");
    Some(format!("{name} ({what})"))
}

/// The counts in a closing line, of a test target or of what counts instructions, and the time that
/// it says it took.
fn result(line: &str) -> Option<(Counts, String)> {
    let rest = match line.strip_prefix("test result: ") {
        Some(rest) => rest,
        None => line.ends_with(" failed").then_some(line)?,
    };
    let number = |what: &str| -> Option<u64> {
        let before = rest.split(what).next()?;
        before.rsplit(' ').next()?.parse().ok()
    };
    let counts = Counts {
        passed: number(" passed")?,
        failed: number(" failed")?,
    };
    let took = rest.rsplit_once("finished in ");
    Some((
        counts,
        took.map_or(String::new(), |(_, took)| format!(" in {took}")),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "   Compiling firn-model v0.1.0
    Finished `test` profile in 0.09s
     Running unittests src/lib.rs (target/debug/deps/firn_model-a44e4157d6b01cb4)

running 2 tests
test id::tests::parts_never_collide ... ok
test key::tests::sums ... FAILED

failures:

---- key::tests::sums stdout ----
assertion failed

failures:
    key::tests::sums

test result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.05s
     Running tests/crash.rs (target/debug/deps/crash-a44e4157d6b01cb4)
test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.05s
error: 1 target failed:";

    fn shown(show: Show) -> (Vec<String>, Outcome) {
        let mut report = Report::new(show);
        let shown = OUTPUT.lines().filter_map(|line| report.on(line)).collect();
        (shown, report.outcome)
    }

    #[test]
    fn results_are_summed_and_named() {
        let (lines, outcome) = shown(Show::Targets);
        assert_eq!(
            outcome.counts,
            Counts {
                passed: 4,
                failed: 1
            }
        );
        assert!(lines.contains(&"firn_model (src/lib.rs): 1 passed, 1 failed in 0.05s".to_owned()));
        assert!(lines.contains(&"crash (tests/crash.rs): 3 passed, 0 failed in 1.05s".to_owned()));
    }

    #[test]
    fn what_counts_instructions_closes_with_its_counts() {
        let mut report = Report::new(Show::Tests);
        let line = "action  firn.v1, an action  88086 instructions  holds (+0.0 %)";
        assert_eq!(report.on(line).as_deref(), Some(line));
        let closing = "3 passed, 1 failed";
        assert_eq!(report.on(closing).as_deref(), Some(closing));
        let (passed, failed) = (3, 1);
        assert_eq!(report.outcome.counts, Counts { passed, failed });
        assert!(result("something has failed").is_none());
    }

    #[test]
    fn what_failed_is_kept_for_the_end() {
        let (_, outcome) = shown(Show::Targets);
        assert_eq!(outcome.failures[0], "firn_model (src/lib.rs)");
        assert!(outcome.failures.contains(&"assertion failed".to_owned()));
        assert!(!outcome.failures.iter().any(|line| line.contains("crash")));
        let mut report = Report::new(Show::Tests);
        let line = "action  firn.v1, an action  96086 instructions  FAILS: +9.1 % over the record";
        assert_eq!(report.on(line).as_deref(), Some(line));
        assert_eq!(report.outcome.failures, [line]);
    }

    #[test]
    fn failures_are_shown_in_full_and_passes_on_request() {
        let (lines, _) = shown(Show::Targets);
        assert!(lines.contains(&"assertion failed".to_owned()));
        assert!(lines.contains(&"error: 1 target failed:".to_owned()));
        assert!(
            !lines
                .iter()
                .any(|line| line.ends_with("... ok") || line.contains("Compiling"))
        );
        let (lines, _) = shown(Show::Tests);
        assert!(lines.iter().any(|line| line.ends_with("... ok")));
    }
}
