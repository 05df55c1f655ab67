//! The suites of `cargo xtask test`: what each runs, and the account of all of them.
//!
//! Everything runs from one debug build of the whole workspace: each call of cargo selects the
//! whole workspace, so that dependencies keep the same features and nothing is built twice. Only what
//! counts instructions is built otherwise.

mod cargo;

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::outcome::{Counts, Outcome};
use crate::process::StopAsked;
use crate::setup::{self, Need};
use crate::tidy;

/// One suite.
pub(crate) struct Suite {
    name: &'static str,
    about: &'static str,
    needs: &'static [Need],
    work: Work,
    /// How long it may take before it is ended as failed.
    limit: Duration,
}

/// What a suite runs.
enum Work {
    /// The project's rules, in this program.
    Tidy,
    /// All tests of the workspace whose target no other suite names, and the doc tests.
    Rest,
    /// The integration test targets of these names (`tests/<name>.rs`, or a folder), in every package
    /// that has one.
    Targets(&'static [&'static str]),
    /// The instructions of the hot path, against their record.
    Counts,
}

/// All suites, in the order they run: those that fail fastest come first.
///
/// A new integration test target belongs to `unit` until a suite names it here.
const SUITES: &[Suite] = &[
    Suite {
        name: "tidy",
        about: "the project's rules that a program can check",
        needs: &[],
        work: Work::Tidy,
        limit: minutes(1),
    },
    Suite {
        name: "unit",
        about: "unit, property and component tests, short fuzzing, doc tests",
        needs: &[Need::Postgres],
        work: Work::Rest,
        limit: minutes(25),
    },
    Suite {
        name: "sequences",
        about: "exact messages between the real process and a function that the test plays",
        needs: &[],
        work: Work::Targets(&["sequences"]),
        limit: minutes(10),
    },
    Suite {
        name: "sdk",
        about: "our SDKs: their own tests, the conformance kit, samples, templates, and the bench in brief",
        needs: &[Need::Sdks],
        work: Work::Targets(&["sdk", "brief"]),
        limit: minutes(20),
    },
    Suite {
        name: "own",
        about: "exact frames of our own protocol between the real process and a function that the test plays",
        needs: &[],
        work: Work::Targets(&["own"]),
        limit: minutes(10),
    },
    Suite {
        name: "crash",
        about: "the real process killed at random moments under load",
        needs: &[],
        work: Work::Targets(&["crash"]),
        limit: minutes(10),
    },
    Suite {
        name: "counts",
        about: "the instructions of a command, held against bench/counts.toml",
        needs: &[Need::Valgrind],
        work: Work::Counts,
        limit: minutes(10),
    },
    Suite {
        name: "stores",
        about: "the real process on real databases that stop, fill up, or are wanted by two",
        needs: &[Need::Postgres],
        work: Work::Targets(&["stores"]),
        limit: minutes(15),
    },
    Suite {
        name: "peers",
        about: "functions on the published SDKs, driven through the public port, and the bench in brief on one of them",
        needs: &[Need::Peers],
        work: Work::Targets(&["peers"]),
        limit: minutes(20),
    },
];

const fn minutes(count: u64) -> Duration {
    Duration::from_secs(60 * count)
}

/// What became of one suite.
struct Account {
    suite: &'static str,
    outcome: Outcome,
    took: Duration,
}

/// Prints the suites.
pub(crate) fn list() {
    for suite in SUITES {
        println!("{:9} {}", suite.name, suite.about);
    }
}

/// The suites with these names, in their own order; all of them when no name is given.
///
/// # Errors
/// A name that no suite has.
pub(crate) fn named(names: &[&str]) -> Result<Vec<&'static Suite>, String> {
    let known: Vec<&str> = SUITES.iter().map(|suite| suite.name).collect();
    if let Some(unknown) = names.iter().find(|name| !known.contains(name)) {
        return Err(format!(
            "no suite {unknown}; there are {}",
            known.join(", ")
        ));
    }
    let chosen = |suite: &&Suite| names.is_empty() || names.contains(&suite.name);
    Ok(SUITES.iter().filter(chosen).collect())
}

/// Runs the suites and prints the account. Returns whether everything passed.
///
/// The last line is always `N passed, N failed`.
pub(crate) fn run(root: &Path, suites: &[&'static Suite]) -> bool {
    let started = Instant::now();
    let stop = StopAsked::watch();
    let mut accounts = Vec::new();
    let mut built = None;
    for suite in suites {
        println!("== {}: {}", suite.name, suite.about);
        let started = Instant::now();
        let outcome = match &stop {
            Ok(stop) => run_one(root, suite, stop, &mut built),
            Err(error) => Outcome::failed(&format!("signals cannot be watched: {error:#}")),
        };
        accounts.push(Account {
            suite: suite.name,
            outcome,
            took: started.elapsed(),
        });
        if stop.as_ref().is_ok_and(StopAsked::now) {
            break;
        }
    }
    close(&accounts, started.elapsed())
}

/// Runs the rules alone, for quick answers while writing.
pub(crate) fn tidy_alone(root: &Path) -> Result<bool> {
    Ok(tidy::run(root)?.counts.failed == 0)
}

fn run_one(root: &Path, suite: &Suite, stop: &StopAsked, built: &mut Option<bool>) -> Outcome {
    if let Err(error) = setup::prepare(root, suite.needs) {
        return Outcome::failed(&format!("{error:#}"));
    }
    let mut is_built = || *built.get_or_insert_with(|| cargo::build(root));
    let outcome = match suite.work {
        Work::Tidy => tidy::run(root),
        Work::Counts => cargo::instructions(root, suite.limit, stop),
        Work::Rest | Work::Targets(_) if !is_built() => {
            return Outcome::failed("the workspace does not build");
        }
        Work::Rest => cargo::rest(root, &named_elsewhere(), suite.limit, stop),
        Work::Targets(targets) => cargo::targets(root, targets, suite.limit, stop),
    };
    match outcome {
        Ok(outcome) if outcome.counts == Counts::default() => Outcome::failed("nothing ran"),
        Ok(outcome) => outcome,
        Err(error) => Outcome::failed(&format!("{error:#}")),
    }
}

/// The targets that suites name.
fn named_elsewhere() -> Vec<&'static str> {
    let targets = |suite: &'static Suite| match suite.work {
        Work::Targets(targets) => targets,
        Work::Tidy | Work::Rest | Work::Counts => &[],
    };
    SUITES.iter().flat_map(targets).copied().collect()
}

/// Prints what failed once more, where it is found at once, and the counts.
fn close(accounts: &[Account], took: Duration) -> bool {
    for Account { suite, outcome, .. } in accounts {
        if outcome.failures.is_empty() {
            continue;
        }
        println!("\n== {suite}: what failed");
        for line in shortened(&outcome.failures) {
            println!("  {line}");
        }
    }
    println!();
    for account in accounts {
        let Counts { passed, failed } = account.outcome.counts;
        let seconds = account.took.as_secs_f64();
        println!(
            "{:9} {passed:6} passed {failed:4} failed {seconds:8.1} s",
            account.suite
        );
    }
    let total = accounts.iter().fold(Counts::default(), |sum, account| {
        sum.plus(account.outcome.counts)
    });
    let Counts { passed, failed } = total;
    println!(
        "{:9} {passed:6} passed {failed:4} failed {:8.1} s",
        "total",
        took.as_secs_f64()
    );
    println!("{passed} passed, {failed} failed");
    failed == 0 && passed > 0
}

/// The first and last lines of what failed: all of it stands above.
fn shortened(failures: &[String]) -> impl Iterator<Item = &str> {
    let cut = failures.len() > FAILED_FIRST + FAILED_LAST;
    let (first, last) = match cut {
        true => (FAILED_FIRST, FAILED_LAST),
        false => (failures.len(), 0),
    };
    let (first, last) = (&failures[..first], &failures[failures.len() - last..]);
    let between = cut.then_some("[...]");
    let lines = first.iter().map(String::as_str).chain(between);
    lines.chain(last.iter().map(String::as_str))
}

/// Lines of a suite's failures that are shown once more, from the beginning and from the end, where
/// the names of the tests stand.
const FAILED_FIRST: usize = 40;
const FAILED_LAST: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_lines_the_first_and_last_are_repeated() {
        let lines: Vec<String> = (0..100).map(|n| n.to_string()).collect();
        let short: Vec<&str> = shortened(&lines).collect();
        assert_eq!(short.len(), FAILED_FIRST + 1 + FAILED_LAST);
        assert_eq!((short[0], short[60]), ("0", "99"));
        assert_eq!(shortened(&lines[..60]).count(), 60);
    }

    #[test]
    fn suites_are_found_by_name_and_keep_their_order() {
        let names = |chosen: Vec<&Suite>| chosen.iter().map(|s| s.name).collect::<Vec<_>>();
        assert_eq!(
            named(&["crash", "tidy"]).map(names),
            Ok(vec!["tidy", "crash"])
        );
        assert_eq!(named(&[]).map(|all| all.len()), Ok(SUITES.len()));
        assert!(
            named(&["crush"])
                .err()
                .is_some_and(|fault| fault.contains("crash"))
        );
    }
}
