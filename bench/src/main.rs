//! Measures whole processes: a real Firn, a real function, a real client; and replicated data.
//!
//! # Reading order
//! [`cases`] holds what is measured, a module for each case; `rig` starts the processes and reads
//! what the system knows about them, `load` keeps a server busy, `function`, `tally`, `own` and
//! `echo` are the servers of this program, `hold` fills memory; `figure` and `report` say what came out,
//! `machine` on what. [`mod@counts`] guards the instructions of the hot path.
//!
//! # Invariants
//! - Every process is started here, on a free port and in a folder of its own, and is ended with
//!   this program, also when it is interrupted.
//! - Everything waits without blocking, so that an interrupt is seen at once.

mod cases;
mod counts;
mod database;
mod echo;
mod effort;
mod figure;
mod filling;
mod function;
mod hold;
mod load;
mod machine;
mod own;
mod report;
mod rig;
mod tally;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use tokio::signal::unix::{SignalKind, signal};

use crate::cases::Case;
use crate::effort::Effort;
use crate::rig::Programs;

const HELP: &str = "\
Measures whole processes of Firn. `cargo xtask bench` builds what this needs and runs it.

Usage: firn-bench figures [CASE…] [--json FILE] [--brief]
       firn-bench figures --list
       firn-bench counts [--record] [--profiles FOLDER]

  figures      the figures to hold: size, memory, start, discovery, throughput, replicated data, …
  CASE         measures this case alone; --list shows what there is
  counts       the instructions of the hot path, held against the record; --record makes it anew,
               --profiles keeps what callgrind wrote, for callgrind_annotate
  --json FILE  also writes everything that was measured to a file
  --brief      only shows that the cases of firn.v1 run: little is done, and no figure is judged
";

/// What the command line asks for.
enum Task {
    Figures {
        cases: Vec<&'static Case>,
        json: Option<PathBuf>,
        effort: Effort,
    },
    List,
    Counts(counts::Options),
    Echo,
    Own,
    Tally,
    Hold(String),
    Help,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let task = match read(&arguments) {
        Ok(task) => task,
        Err(fault) => {
            eprint!("error: {fault:#}\n\n{HELP}");
            return ExitCode::from(2);
        }
    };
    let done = tokio::select! {
        biased;
        stopped = stopped() => stopped,
        done = run(task) => done,
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

fn read(arguments: &[&str]) -> Result<Task> {
    let mut rest = match arguments {
        ["figures", "--list"] => return Ok(Task::List),
        ["figures", rest @ ..] => rest,
        ["counts", rest @ ..] => return Ok(Task::Counts(counts_options(rest)?)),
        ["echo"] => return Ok(Task::Echo),
        ["own"] => return Ok(Task::Own),
        ["tally"] => return Ok(Task::Tally),
        ["hold", name] => return Ok(Task::Hold((*name).to_owned())),
        [] | ["help" | "--help" | "-h"] => return Ok(Task::Help),
        other => bail!("unknown: {}", other.join(" ")),
    };
    let (mut cases, mut json, mut effort) = (Vec::new(), None, Effort::Full);
    while let [first, after @ ..] = rest {
        rest = after;
        if *first == "--json" {
            let [file, after @ ..] = rest else {
                bail!("--json needs a file");
            };
            json = Some(PathBuf::from(file));
            rest = after;
        } else if *first == "--brief" {
            effort = Effort::Brief;
        } else {
            cases.push(cases::named(first).with_context(|| format!("there is no case {first}"))?);
        }
    }
    let fits = |case: &Case| effort == Effort::Full || case.has_brief;
    if let Some(case) = cases.iter().find(|case| !fits(case)) {
        bail!("the case {} has no brief run", case.name);
    }
    if cases.is_empty() {
        cases.extend(cases::ALL.iter().filter(|case| fits(case)));
    }
    Ok(Task::Figures {
        cases,
        json,
        effort,
    })
}

fn counts_options(mut rest: &[&str]) -> Result<counts::Options> {
    let mut options = counts::Options::default();
    loop {
        rest = match rest {
            [] => return Ok(options),
            ["--record", rest @ ..] => {
                options.record = true;
                rest
            }
            ["--profiles", folder, rest @ ..] => {
                options.profiles = Some(PathBuf::from(folder));
                rest
            }
            other => bail!("unknown: {}", other.join(" ")),
        }
    }
}

/// Does the task; gives whether every figure holds.
async fn run(task: Task) -> Result<bool> {
    match task {
        Task::Help => print!("{HELP}"),
        Task::List => {
            for case in cases::ALL {
                println!("{:12} {}", case.name, case.about);
            }
        }
        Task::Counts(options) => {
            return counts::run(&Programs::find(Effort::Full)?, &options).await;
        }
        Task::Echo => echo::serve().await?,
        Task::Own => own::serve().await?,
        Task::Tally => tally::serve().await?,
        Task::Hold(name) => println!("{}", hold::run(&name)?),
        Task::Figures {
            cases,
            json,
            effort,
        } => return figures(&cases, json, effort).await,
    }
    Ok(true)
}

async fn figures(cases: &[&'static Case], json: Option<PathBuf>, effort: Effort) -> Result<bool> {
    let programs = Programs::find(effort)?;
    let mut report = report::Report::new(machine::look(&programs)?);
    report.begin();
    for case in cases {
        let figures = case.run(&programs).await;
        for mut figure in figures.with_context(|| format!("the case {} failed", case.name))? {
            figure.bound = figure.bound.filter(|_| effort == Effort::Full);
            report.add(case.name, figure);
        }
    }
    report.end();
    if let Some(file) = json {
        report.write(&file)?;
    }
    Ok(report.holds())
}

/// Ends with an error once somebody asks this program to stop.
async fn stopped() -> Result<bool> {
    let mut term = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = term.recv() => {}
        _ = interrupt.recv() => {}
    }
    bail!("stopped by hand")
}
