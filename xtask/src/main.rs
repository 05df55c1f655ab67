//! The tasks of this repository: `cargo xtask test`, `cargo xtask demo`, `cargo xtask bench`,
//! `cargo xtask counts`, `cargo xtask newcomer`, `cargo xtask tidy`.
//!
//! # Reading order
//! [`suites`] is the table of all tests and runs them, after [`setup`] has looked at the language
//! toolchains and prepared the peers; [`tidy`] holds the project's rules that a program can check;
//! [`demo`] shows what Firn does; [`newcomer`] times the first steps with it; [`build`] makes
//! optimised programs, of which the bench is one; [`mod@counts`] guards what a command costs; [`process`]
//! starts and ends other programs.

mod build;
mod counts;
mod demo;
mod newcomer;
mod outcome;
mod process;
mod setup;
mod suites;
mod tidy;

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use crate::build::Profile;

const HELP: &str = "\
Tasks of the Firn repository.

Usage: cargo xtask <TASK>

  test [SUITE…] [--list]   runs all suites, or those named; --list shows what there is
  demo [--once]            shows a function surviving a kill of its proxy, then stays up to be
                           tried; --once ends instead
  bench [CASE…] [--json FILE] [--plots FOLDER] [--brief]
                           measures the figures to hold, on programs as they are released;
                           --list shows the cases, --brief only shows that they run
  bench --from FILE [--from FILE…] [--plots FOLDER]
                           measures nothing: shows what --json wrote as tables for a page
  counts [--record] [--profiles FOLDER]
                           counts the instructions of the hot path and holds them against
                           bench/counts.toml; --record makes that anew, --profiles keeps what
                           callgrind wrote
  newcomer [rust|ts|python…]
                           times the way from `firn new` to the first reply, with empty caches
  tidy                     checks the project's rules alone
  help                     shows this text
";

/// Wrong usage, as for `firn` itself.
const EXIT_USAGE: u8 = 2;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments.as_slice() {
        ["test", rest @ ..] => return test(rest),
        ["bench", rest @ ..] => bench(&root(), rest),
        ["counts", rest @ ..] => counts(&root(), rest),
        ["newcomer", languages @ ..] => newcomer::run(&root(), languages),
        ["tidy"] => suites::tidy_alone(&root()),
        ["demo"] => demo::run(&root(), demo::Afterwards::StayUp),
        ["demo", "--once"] => demo::run(&root(), demo::Afterwards::End),
        [] | ["help" | "--help" | "-h"] => {
            print!("{HELP}");
            Ok(true)
        }
        other => return usage(&format!("unknown: {}", other.join(" "))),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn test(arguments: &[&str]) -> ExitCode {
    if arguments == ["--list"] {
        suites::list();
        return ExitCode::SUCCESS;
    }
    match suites::named(arguments) {
        Ok(chosen) if suites::run(&root(), &chosen) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(fault) => usage(&fault),
    }
}

/// Hands on to the program that measures. It is not waited for but takes this one's place, so that
/// it gets the signals itself.
fn bench(root: &Path, arguments: &[&str]) -> anyhow::Result<bool> {
    let programs = build::programs(root, Profile::Release, &["firn", "cart", "firn-bench"])?;
    if arguments.contains(&"stages") {
        build::programs(root, Profile::Staged, &["firn"])?;
    }
    let mut bench = Command::new(programs.join("firn-bench"));
    Err(bench.args(arguments).exec().into())
}

/// The same for the program that counts.
fn counts(root: &Path, arguments: &[&str]) -> anyhow::Result<bool> {
    Err(counts::command(root, arguments)?.exec().into())
}

fn usage(fault: &str) -> ExitCode {
    eprint!("error: {fault}\n\n{HELP}");
    ExitCode::from(EXIT_USAGE)
}

/// The folder of the repository.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the manifest of xtask lies one folder below the repository")
        .to_owned()
}
