//! Measures whole processes: a real Firn, a real function, a real client; and replicated data.
//!
//! # Reading order
//! [`cases`] holds what is measured, a module for each case, and `effort` says how much of it is done;
//! `rig` starts the processes and reads what the system knows about them, `load` keeps a server busy;
//! `function`, `tally`, `own` and `echo` are the servers of this program, `filling` fills stores and
//! `hold` memory; `database`, `peers` and `restate` are what Firn is held against. `figure`,
//! `measurement` and `budget` are what came out, `report`, `page` and `plot` show it, `machine` says on
//! what. [`mod@counts`]
//! guards the instructions of the hot path.
//!
//! # Invariants
//! - Every process is started here, on a free port and in a folder of its own, and is ended with
//!   this program, also when it is interrupted.
//! - Everything waits without blocking, so that an interrupt is seen at once.

mod budget;
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
mod measurement;
mod own;
mod page;
mod peers;
mod plot;
mod profile;
mod report;
mod restate;
mod rig;
mod tally;

use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, anyhow, bail};
use futures_util::FutureExt as _;
use tokio::signal::unix::{SignalKind, signal};

use crate::cases::Case;
use crate::effort::Effort;
use crate::report::Report;
use crate::rig::Programs;

const HELP: &str = "\
Measures whole processes of Firn. `cargo xtask bench` builds what this needs and runs it.

Usage: firn-bench [CASE…] [--json FILE] [--plots FOLDER] [--brief]
       firn-bench --from FILE [--from FILE…] [--plots FOLDER]
       firn-bench --list
       firn-bench counts [--record] [--profiles FOLDER]

  CASE            measures this case alone; --list shows what there is
  --json FILE     also writes everything that was measured to a file
  --plots FOLDER  also draws it: rate against latency, of the case curve, and processor time by place
  --from FILE     measures nothing: prints what --json wrote as tables in Markdown, those of
                  docs/performance.md. Of several files each case is taken from the last that has it;
                  --plots draws the last file
  --brief         only shows that cases run: little is done, and no figure is judged
  counts          the instructions of the hot path, held against the record; --record makes it anew,
                  --profiles keeps what callgrind wrote, for callgrind_annotate
";

/// What is measured, and where it goes.
struct Figures {
    cases: Vec<&'static Case>,
    effort: Effort,
    json: Option<PathBuf>,
    plots: Option<PathBuf>,
}

/// What the command line asks for.
enum Task {
    Figures(Figures),
    Show {
        files: Vec<PathBuf>,
        plots: Option<PathBuf>,
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
    Ok(match arguments {
        ["--list"] => Task::List,
        ["counts", rest @ ..] => Task::Counts(counts_options(rest)?),
        ["serve", "echo"] => Task::Echo,
        ["serve", "own"] => Task::Own,
        ["serve", "tally"] => Task::Tally,
        ["hold", name] => Task::Hold((*name).to_owned()),
        ["help" | "--help" | "-h"] => Task::Help,
        rest => figures_options(rest)?,
    })
}

fn figures_options(mut rest: &[&str]) -> Result<Task> {
    let mut files = Vec::new();
    let mut asked = Figures {
        cases: Vec::new(),
        effort: Effort::Full,
        json: None,
        plots: None,
    };
    while let [first, after @ ..] = rest {
        rest = after;
        match *first {
            "--json" | "--plots" | "--from" => {
                let [path, after @ ..] = rest else {
                    bail!("{first} needs a path");
                };
                rest = after;
                let path = PathBuf::from(path);
                match *first {
                    "--json" => asked.json = Some(path),
                    "--plots" => asked.plots = Some(path),
                    _ => files.push(path),
                }
            }
            "--brief" => asked.effort = Effort::Brief,
            flag if flag.starts_with('-') => bail!("there is no {flag}"),
            name => {
                let named = cases::named(name);
                if named.is_empty() {
                    bail!("there is no case {name}");
                }
                asked.cases.extend(named);
            }
        }
    }
    if !files.is_empty() {
        let is_more = !asked.cases.is_empty() || asked.json.is_some();
        if is_more || asked.effort == Effort::Brief {
            bail!("--from measures nothing, and goes with --plots alone");
        }
        return Ok(Task::Show {
            files,
            plots: asked.plots,
        });
    }
    let fits = |case: &Case| asked.effort == Effort::Full || case.has_brief;
    if let Some(case) = asked.cases.iter().find(|case| !fits(case)) {
        bail!("the case {} has no brief run", case.name);
    }
    if asked.cases.is_empty() {
        asked.cases = cases::ALL.iter().filter(|case| fits(case)).collect();
    }
    Ok(Task::Figures(asked))
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
            for case in cases::LONG {
                println!("{:12} {}; only when named", case.name, case.about);
            }
            let promised = cases::PROMISED.join(", ");
            println!("{:12} in one run: {promised}", cases::PROMISES);
        }
        Task::Counts(options) => {
            return counts::run(&Programs::find(Effort::Full)?, &options).await;
        }
        Task::Echo => echo::serve().await?,
        Task::Own => own::serve().await?,
        Task::Tally => tally::serve().await?,
        Task::Hold(name) => println!("{}", hold::run(&name)?),
        Task::Figures(asked) => return figures(asked).await,
        Task::Show { files, plots } => {
            let runs = files.iter().map(|file| Report::read(file));
            let runs: Vec<Report> = runs.collect::<Result<_>>()?;
            print!("{}", page::tables(&runs));
            if let (Some(folder), Some(run)) = (plots, runs.last()) {
                run.draw(&folder)?;
            }
        }
    }
    Ok(true)
}

async fn figures(asked: Figures) -> Result<bool> {
    let programs = Programs::find(asked.effort)?;
    peers::prepare(&programs, asked.cases.iter().map(|case| case.name)).await?;
    let mut report = Report::new(machine::look(&programs)?, asked.effort);
    report.begin();
    for case in &asked.cases {
        // What a case starts may be missing, which is a panic there; others go on.
        let figures = AssertUnwindSafe(case.run(&programs)).catch_unwind().await;
        match figures.unwrap_or_else(|_| Err(anyhow!("it panicked"))) {
            Ok(figures) => report.add(case.name, figures),
            Err(error) => report.fail(case.name, &error),
        }
    }
    report.end();
    if let Some(file) = &asked.json {
        report.write(file)?;
    }
    if let Some(folder) = &asked.plots {
        report.draw(folder)?;
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
