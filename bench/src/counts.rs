//! The guard: how many instructions a command takes in Firn, counted by callgrind, against a record.
//!
//! A fixed scenario for each path that is hot: a real Firn under `valgrind --tool=callgrind`, a real
//! function beside it, and a fixed number of calls in flight, so that neither other work on the machine
//! nor its speed changes what is counted. One in flight pays for every wake-up alone, many share them.
//! The kernel is not in the counts; what Firn asks of it is seen by `perf` alone.
//!
//! The record, `bench/counts.toml`, is read at run time and has a part for each architecture. A count
//! above it by more than [`GROWTH_MAX`] fails; one below it by as much asks to be recorded, so that what
//! was won is not lost unseen. Where an architecture has no record, it is said, and nothing fails.

use std::collections::BTreeMap;
use std::env::consts::ARCH;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use tokio::time::timeout;

use crate::cases::AddItem;
use crate::load::Client;
use crate::own;
use crate::rig::{Dialer, Firn, Programs, Server};

/// By how much a count may differ from the record, of 1. Two counts of one build differ by up to 0.03
/// with one call in flight, as threads do not wake each other the same way each time.
const GROWTH_MAX: f64 = 0.05;

/// Calls before anything is counted: connections, entities and caches are then there.
const WARM: u64 = 400;

/// Calls that are counted.
const COUNTED: u64 = 1000;

/// Entities that are called in turns, so that none is loaded while it is counted.
const ENTITIES: u64 = 100;

/// How long a scenario may take: many times what it does.
const PATIENCE: Duration = Duration::from_secs(180);

/// Connections of the client.
const CONNECTIONS: usize = 4;

/// What is counted.
struct Scenario {
    name: &'static str,
    about: &'static str,
    function: Function,
    path: &'static str,
    in_flight: usize,
}

/// Who answers.
#[derive(Clone, Copy)]
enum Function {
    /// This program, on firn.v1.
    Own,
    /// The cart, on the protocol of Kalix.
    Kalix,
}

const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "action",
        about: "firn.v1, an action",
        function: Function::Own,
        path: own::ECHO,
        in_flight: 1,
    },
    Scenario {
        name: "action-many",
        about: "the same, 64 in flight",
        function: Function::Own,
        path: own::ECHO,
        in_flight: 64,
    },
    Scenario {
        name: "read-many",
        about: "firn.v1, a value entity not changed, 64 in flight",
        function: Function::Own,
        path: own::READ,
        in_flight: 64,
    },
    Scenario {
        name: "event",
        about: "firn.v1, one event and its commit",
        function: Function::Own,
        path: own::ADD,
        in_flight: 1,
    },
    Scenario {
        name: "event-many",
        about: "the same, 64 in flight",
        function: Function::Own,
        path: own::ADD,
        in_flight: 64,
    },
    Scenario {
        name: "kalix-event",
        about: "Kalix, one event and its commit",
        function: Function::Kalix,
        path: crate::cases::ADD_ITEM,
        in_flight: 1,
    },
];

/// The counts by scenario: instructions for each call.
type Counts = BTreeMap<String, u64>;

/// Those of each architecture.
type Record = BTreeMap<String, Counts>;

/// What is done with the counts.
#[derive(Debug, Clone, Default)]
pub(crate) struct Options {
    /// The record is made anew.
    pub(crate) record: bool,
    /// Where to keep what callgrind wrote, for `callgrind_annotate`.
    pub(crate) profiles: Option<PathBuf>,
}

/// Counts every scenario and holds it against the record, or makes the record anew. Gives whether
/// all counts are within it.
pub(crate) async fn run(programs: &Programs, options: &Options) -> Result<bool> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("counts.toml");
    let mut counted = Counts::new();
    for scenario in SCENARIOS {
        let count = timeout(
            PATIENCE,
            scenario.count(programs, options.profiles.as_deref()),
        )
        .await
        .map_err(anyhow::Error::from)
        .flatten()
        .with_context(|| format!("{} was not counted", scenario.name))?;
        counted.insert(scenario.name.to_owned(), count);
    }
    let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
    let mut record: Record = toml::from_str(&text).with_context(|| file.display().to_string())?;
    if options.record {
        record.insert(ARCH.to_owned(), counted);
        fs::write(&file, written(&record))?;
        println!("recorded in {}", file.display());
        return Ok(true);
    }
    let recorded = record.get(ARCH);
    let (mut passed, mut failed) = (0, 0);
    for scenario in SCENARIOS {
        let verdict = Verdict::of(
            counted[scenario.name],
            recorded.map(|it| it.get(scenario.name)),
        );
        match verdict.holds() {
            true => passed += 1,
            false => failed += 1,
        }
        println!("{:12} {:50} {verdict}", scenario.name, scenario.about);
    }
    println!("{passed} passed, {failed} failed");
    Ok(failed == 0)
}

/// A count beside its record.
#[derive(Debug, PartialEq)]
enum Verdict {
    Holds { count: u64, recorded: u64 },
    Grown { count: u64, recorded: u64 },
    Shrunk { count: u64, recorded: u64 },
    Unknown { count: u64 },
    OtherMachine { count: u64 },
}

impl Verdict {
    /// Of a count and its record, in what is recorded of this architecture.
    fn of(count: u64, recorded: Option<Option<&u64>>) -> Self {
        let recorded = match recorded {
            Some(Some(recorded)) => *recorded,
            Some(None) => return Self::Unknown { count },
            None => return Self::OtherMachine { count },
        };
        let ratio = count as f64 / recorded as f64;
        if ratio > 1.0 + GROWTH_MAX {
            Self::Grown { count, recorded }
        } else if ratio < 1.0 - GROWTH_MAX {
            Self::Shrunk { count, recorded }
        } else {
            Self::Holds { count, recorded }
        }
    }

    fn holds(&self) -> bool {
        !matches!(self, Self::Grown { .. } | Self::Unknown { .. })
    }
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (Self::Holds { count, .. }
        | Self::Grown { count, .. }
        | Self::Shrunk { count, .. }
        | Self::Unknown { count }
        | Self::OtherMachine { count }) = self;
        write!(f, "{count:8} instructions")?;
        let change = |recorded: &u64| (*count as f64 / *recorded as f64 - 1.0) * 100.0;
        match self {
            Self::Holds { recorded, .. } => write!(f, "  holds ({:+.1} %)", change(recorded)),
            Self::Grown { recorded, .. } => write!(
                f,
                "  FAILS: {:+.1} % over the record; mend it, or record it in the same change \
                 with `cargo xtask counts --record` and say why",
                change(recorded)
            ),
            Self::Shrunk { recorded, .. } => write!(
                f,
                "  holds ({:+.1} %): record it with `cargo xtask counts --record`",
                change(recorded)
            ),
            Self::Unknown { .. } => write!(f, "  FAILS: it has no record"),
            Self::OtherMachine { .. } => write!(f, "  is not held: there is no record for {ARCH}"),
        }
    }
}

/// The record as a file.
fn written(record: &Record) -> String {
    let mut text = String::from(
        "# Instructions of Firn for each call, without the kernel's, by architecture.\n\
         # Written by `cargo xtask counts --record`.\n",
    );
    for (architecture, counts) in record {
        text += &format!("\n[{architecture}]\n");
        for scenario in SCENARIOS {
            if let Some(count) = counts.get(scenario.name) {
                text += &format!("# {}\n{} = {count}\n", scenario.about, scenario.name);
            }
        }
    }
    text
}

/// What callgrind, with these flags, wrote about so many calls to a program of Firn, durable events over
/// firn.v1, 64 in flight.
pub(crate) async fn profile_of_events(
    programs: &Programs,
    program: (&Path, &[&str]),
) -> Result<String> {
    let name = "event-many";
    let scenario = SCENARIOS.iter().find(|it| it.name == name);
    let scenario = scenario.with_context(|| format!("no {name}"))?;
    let folder = programs.folder()?;
    let profiled = scenario.profile(programs, program, folder.path());
    let dump = timeout(PATIENCE, profiled).await??;
    fs::read_to_string(&dump).with_context(|| dump.display().to_string())
}

impl Scenario {
    /// The instructions of one call: the mean of many.
    async fn count(&self, programs: &Programs, profiles: Option<&Path>) -> Result<u64> {
        let folder = programs.folder()?;
        let program = (programs.firn.as_path(), &[][..]);
        let dump = self.profile(programs, program, folder.path()).await?;
        if let Some(folder) = profiles {
            fs::create_dir_all(folder)?;
            fs::copy(&dump, folder.join(self.name))?;
        }
        Ok(total(&dump)? / COUNTED)
    }

    /// Has the calls made to a program under callgrind, with flags for that; gives what it wrote.
    async fn profile(
        &self,
        programs: &Programs,
        program: (&Path, &[&str]),
        folder: &Path,
    ) -> Result<PathBuf> {
        let counts = folder.join("counts");
        let firn;
        let _function;
        match self.function {
            Function::Own => {
                let mut started = Firn::start_counted(program, folder, &counts, None);
                started.up().await?;
                _function = Running::Dialer(Dialer::own(programs, started.functions)?);
                started.serving().await?;
                firn = started;
            }
            Function::Kalix => {
                let cart = Server::cart(programs).await?;
                let mut started = Firn::start_counted(program, folder, &counts, Some(cart.address));
                _function = Running::Server(cart);
                started.serving().await?;
                firn = started;
            }
        }
        let mut clients = Vec::new();
        for _ in 0..CONNECTIONS.min(self.in_flight) {
            clients.push(Client::connect(firn.clients).await?);
        }
        self.call(&clients, 0..WARM).await?;
        control(&["--zero"], firn.id())?;
        self.call(&clients, WARM..WARM + COUNTED).await?;
        control(&["--dump"], firn.id())?;
        firn.kill();
        Ok(dump(&counts))
    }

    async fn call(&self, clients: &[Client], numbers: std::ops::Range<u64>) -> Result<()> {
        let calls = numbers.zip(clients.iter().cloned().cycle());
        stream::iter(calls)
            .map(|(number, client)| async move {
                let message = AddItem::to(number % ENTITIES);
                client.call(self.path, &message).await
            })
            .buffer_unordered(self.in_flight)
            .try_collect()
            .await
    }
}

/// A function that lives as long as this.
#[expect(dead_code, reason = "they are only held")]
enum Running {
    Dialer(Dialer),
    Server(Server),
}

/// Tells callgrind in a running process something.
fn control(words: &[&str], process: u32) -> Result<()> {
    let output = Command::new("callgrind_control")
        .args(words)
        .arg(process.to_string())
        .output()
        .context("callgrind_control comes with valgrind")?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(
        output.status.success() && text.contains("OK"),
        "callgrind_control {}: {text}{}",
        words.join(" "),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

/// Where the first dump that was asked for is.
fn dump(counts: &Path) -> PathBuf {
    let mut name = counts.as_os_str().to_owned();
    name.push(".1");
    name.into()
}

/// The instructions in a dump of callgrind.
fn total(file: &Path) -> Result<u64> {
    let text = fs::read_to_string(file).with_context(|| file.display().to_string())?;
    let total = text
        .lines()
        .find_map(|line| line.strip_prefix("totals: "))
        .with_context(|| format!("no totals in {}", file.display()))?;
    Ok(total.trim().parse()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_fails_and_what_was_won_is_told() {
        for (count, recorded, expected) in [
            (100, Some(100), true),
            (105, Some(100), true),
            (106, Some(100), false),
            (94, Some(100), true),
            (100, None, false),
        ] {
            let verdict = Verdict::of(count, Some(recorded.as_ref()));
            assert_eq!(verdict.holds(), expected, "{verdict:?}");
        }
        let shrunk = Verdict::of(94, Some(Some(&100))).to_string();
        assert!(shrunk.contains("record it"), "{shrunk}");
        let elsewhere = Verdict::of(100, None);
        assert!(elsewhere.holds(), "{elsewhere:?}");
    }

    #[test]
    fn every_scenario_has_a_record() {
        let text = include_str!("../counts.toml");
        let record: Record = toml::from_str(text).unwrap();
        let mut scenarios: Vec<&str> = SCENARIOS.iter().map(|it| it.name).collect();
        scenarios.sort_unstable();
        for counts in record.values() {
            let names: Vec<&str> = counts.keys().map(String::as_str).collect();
            assert_eq!(names, scenarios);
        }
        assert_eq!(written(&record), text);
    }
}
