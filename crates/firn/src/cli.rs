//! The command line: what a person may type, and the help they read.

use std::io;
use std::process::ExitCode;

use clap::{Arg, ArgAction, ArgMatches, Command};
use clap_complete::{Shell, generate};

use crate::settings::{self, Mode};

/// The whole command line.
pub(crate) fn command() -> Command {
    Command::new("firn")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Runs stateful functions: brings each message together with its state")
        .long_about(
            "Firn stands beside a function written in any language, brings each message together \
             with its state, and stores what comes out. Functions are written with its SDKs for \
             Rust, TypeScript and Python; those written for Cloudstate, Akka Serverless and Kalix \
             run unmodified.",
        )
        .after_help(
            "To begin:\n  firn help new                a new project that firn dev runs\n  \
             firn dev -- node index.js    a function that you have",
        )
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(crate::new::command())
        .subcommand(dev())
        .subcommand(proxy())
        .subcommand(call())
        .subcommand(crate::client::bench::command(server()))
        .subcommand(entity())
        .subcommand(describe())
        .subcommand(crate::explain::command())
        .subcommand(crate::store_cmd::command())
        .subcommand(crate::tck::command())
        .subcommand(completions_command())
        .mut_subcommands(without_values)
}

/// What the environment holds is no part of the help: some of it is secret.
fn without_values(command: Command) -> Command {
    let command = command.mut_args(|arg| arg.hide_env_values(true));
    command.mut_subcommands(without_values)
}

fn dev() -> Command {
    Command::new("dev")
        .about("Runs a function on this machine, with its state in .firn/")
        .long_about(
            "Starts COMMAND as the function, restarts it when it ends, finds out its protocol by \
             itself and serves it. Without a COMMAND it runs the one of firn.toml in the current \
             folder; without that, it waits for a function. Functions of firn.v1 dial in at \
             FIRN_ADDRESS, others are dialed at HOST and PORT. State is kept in .firn/data and is \
             there again the next time.",
        )
        .args(settings::args(Mode::Dev))
        .arg(
            Arg::new("command")
                .value_name("COMMAND")
                .num_args(0..)
                .last(true)
                .action(ArgAction::Append)
                .help("Starts the function; it finds its addresses in FIRN_ADDRESS, HOST and PORT"),
        )
        .after_help(
            "Examples:\n  firn dev -- node index.js\n  firn dev --function 127.0.0.1:8081\n  \
             firn dev --store memory: -- ./my-function",
        )
}

fn proxy() -> Command {
    Command::new("proxy")
        .about("Serves a function in production: logs as JSON, ends if its contract is refused")
        .args(settings::args(Mode::Proxy))
        .after_help("Exit codes: 0 stopped in order, 1 failed, 2 wrong usage, 3 contract refused.")
}

/// A host and a port as they are given; what looks like a URL is refused, before it is taken for the
/// name of a host.
fn host_and_port(given: &str) -> Result<String, String> {
    match given.contains('/') {
        true => Err("a host and a port are wanted, as 127.0.0.1:9000, and no URL".to_owned()),
        false => Ok(given.to_owned()),
    }
}

/// Where a client command asks.
fn server() -> Arg {
    Arg::new("server")
        .long("server")
        .short('s')
        .value_name("HOST:PORT")
        .env("FIRN_SERVER")
        .default_value("127.0.0.1:9000")
        .value_parser(host_and_port)
        .help("The client port of Firn")
}

/// Where an inspecting command asks.
pub(crate) fn admin() -> Arg {
    Arg::new("admin")
        .long("admin")
        .short('a')
        .value_name("HOST:PORT")
        .env("FIRN_ADMIN")
        .default_value("127.0.0.1:9002")
        .value_parser(host_and_port)
        .help("The admin port of Firn")
}

fn json() -> Arg {
    Arg::new("json")
        .long("json")
        .action(ArgAction::SetTrue)
        .help("Prints JSON for machines instead of text for people")
}

fn call() -> Command {
    Command::new("call")
        .about("Calls a method: JSON in, JSON out, by reflection")
        .arg(server())
        .arg(
            Arg::new("method")
                .value_name("METHOD")
                .required(true)
                .help("package.Service/Method; package.Service.Method is understood too"),
        )
        .arg(
            Arg::new("json")
                .value_name("JSON")
                .default_value("{}")
                .help("The request; - reads it from the input, one JSON text for each message"),
        )
        .arg(
            Arg::new("header")
                .long("header")
                .short('H')
                .value_name("NAME: VALUE")
                .action(ArgAction::Append)
                .help("A header to send; may be repeated"),
        )
        .arg(
            Arg::new("timeout")
                .long("timeout")
                .value_name("SECONDS")
                .value_parser(seconds)
                .help("How long to wait for the answer at most"),
        )
        .after_help(
            "Example:\n  firn call shop.Cart/AddItem '{\"cartId\": \"alice\", \"quantity\": 1}'",
        )
}

fn seconds(text: &str) -> Result<f64, String> {
    let seconds = text
        .parse()
        .ok()
        .filter(|of: &f64| of.is_finite() && *of > 0.0);
    seconds.ok_or_else(|| "expected seconds above 0, for example 2.5".to_owned())
}

fn entity() -> Command {
    let storage = Arg::new("storage")
        .value_name("COMPONENT")
        .required(true)
        .help("The component: its service or the name its data is stored under");
    let id = Arg::new("id")
        .value_name("ID")
        .required(true)
        .help("The entity's id");
    let after = Arg::new("after").long("after");
    let limit = Arg::new("limit")
        .long("limit")
        .value_name("COUNT")
        .default_value("50")
        .value_parser(clap::value_parser!(u32).range(1..=1000))
        .help("How many at most, up to 1000");
    Command::new("entity")
        .about("Looks at entities: which there are, their state, their events")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(
            Command::new("list")
                .about("Lists the ids of a component's entities")
                .arg(admin())
                .arg(json())
                .arg(storage.clone())
                .arg(after.clone().value_name("ID").help("Begin after this id"))
                .arg(limit.clone()),
        )
        .subcommand(
            Command::new("get")
                .about("Shows an entity's stored state, decoded by the contract")
                .arg(admin())
                .arg(json())
                .arg(storage.clone())
                .arg(id.clone())
                .arg(
                    Arg::new("at")
                        .long("at")
                        .value_name("NUMBER")
                        .value_parser(clap::value_parser!(u64))
                        .help("As of this event: the snapshot before it and the events up to it"),
                ),
        )
        .subcommand(
            Command::new("events")
                .about("Shows an entity's events, decoded by the contract")
                .arg(admin())
                .arg(json())
                .arg(storage)
                .arg(id)
                .arg(
                    after
                        .value_name("NUMBER")
                        .value_parser(clap::value_parser!(u64))
                        .help("Begin after this event"),
                )
                .arg(limit),
        )
}

fn describe() -> Command {
    Command::new("describe")
        .about("Shows the contract: components, methods, HTTP routes, and what is not served")
        .arg(admin())
        .arg(json())
}

fn completions_command() -> Command {
    Command::new("completions")
        .about("Prints completions for a shell")
        .arg(
            Arg::new("shell")
                .value_name("SHELL")
                .required(true)
                .value_parser(clap::value_parser!(Shell))
                .help("The shell"),
        )
}

/// Prints the completions for a shell.
pub(crate) fn completions(flags: &ArgMatches) -> ExitCode {
    if let Some(shell) = flags.get_one::<Shell>("shell") {
        generate(*shell, &mut command(), "firn", &mut io::stdout());
    }
    ExitCode::SUCCESS
}

#[cfg(test)]
mod tests {
    #[test]
    fn command_line_is_consistent() {
        super::command().debug_assert();
    }
}
