//! The `firn` program as a library: reads the command line, then serves or asks.
//!
//! The binary is [`command_line`] and nothing else. [`embed`] runs a proxy within another process,
//! which is how tests have several of them on one network.

mod admin;
mod cli;
mod client;
mod contract_json;
pub mod embed;
mod exit;
mod explain;
mod gateway;
mod new;
mod project;
mod run;
mod settings;
mod store;
mod store_cmd;
mod tck;
mod telemetry;

use std::process::ExitCode;

use project::Project;
use settings::Mode;

/// Does what the command line of this process says; gives the exit code.
pub fn command_line() -> ExitCode {
    let matches = match cli::command().try_get_matches() {
        Ok(matches) => matches,
        Err(error) => return exit::usage(error),
    };
    let env = |name: &str| std::env::var(name).ok();
    match matches.subcommand() {
        Some(("dev", flags)) => serve(Mode::Dev, flags, &env),
        Some(("proxy", flags)) => serve(Mode::Proxy, flags, &env),
        Some(("call", flags)) => client::call::run(flags),
        Some(("bench", flags)) => client::bench::run(flags),
        Some(("entity", flags)) => client::entity::run(flags),
        Some(("describe", flags)) => client::describe::run(flags),
        Some(("store", flags)) => store_cmd::run(flags, &env),
        Some(("new", flags)) => new::run(flags),
        Some(("explain", flags)) => explain::run(flags),
        Some(("tck", flags)) => tck::run(flags),
        Some(("completions", flags)) => cli::completions(flags),
        _ => unreachable!("clap refuses a missing and an unknown command"),
    }
}

fn serve(mode: Mode, flags: &clap::ArgMatches, env: &dyn Fn(&str) -> Option<String>) -> ExitCode {
    let (config, project) = match settings::gather(mode, flags, env) {
        Ok(gathered) => gathered,
        Err(faults) => return exit::faults(&faults),
    };
    let command = flags.try_get_many::<String>("command").ok().flatten();
    let command: Vec<String> = command.unwrap_or_default().cloned().collect();
    let project = match (mode, command.is_empty()) {
        (Mode::Dev, true) => project,
        // What was typed stands for the whole project; production starts nothing.
        _ => Project {
            command,
            ..Project::default()
        },
    };
    telemetry::start(&config);
    run::run(config, project)
}
