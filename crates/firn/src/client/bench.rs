//! `firn bench`: loads a method and says how long its calls took.
//!
//! The calls are those of `firn call`: JSON, by reflection. They are made by [`firn_load`] over
//! connections of their own; what the load itself cost is told with the rest.

mod report;
mod requests;

use std::fs::File;
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use firn_load::{Error, Fault, Load, Outcome, Request, Target};
use firn_model::code::Code;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue};

use self::report::Report;
use self::requests::Requests;
use super::{call, reflection, unreachable};
use crate::exit::Failure;
use crate::settings::duration;

/// The command's flags.
pub(crate) fn command(server: Arg) -> Command {
    Command::new("bench")
        .about("Loads a method: how many calls a second, and how long they take")
        .long_about(
            "Loads a method: how many calls a second, and how long they take. With --in-flight, the \
             next call begins when one has ended. With --rate, calls begin on a schedule, and each \
             counts from when it was due, so that what waits for a slow server is not left out.",
        )
        .arg(server)
        .arg(
            Arg::new("method")
                .value_name("METHOD")
                .required(true)
                .help("package.Service/Method; it takes and gives one message"),
        )
        .arg(
            Arg::new("request")
                .value_name("JSON")
                .default_value("{}")
                .help(
                    // clap takes an n alone in braces for the end of a line.
                    "The request; {n%1000} in it is the number of the call modulo 1000, and n alone \
                     in braces the number itself, from 0",
                ),
        )
        .arg(
            Arg::new("header")
                .long("header")
                .short('H')
                .value_name("NAME: VALUE")
                .action(ArgAction::Append)
                .help("A header to send with each call; may be repeated"),
        )
        .arg(
            Arg::new("in-flight")
                .long("in-flight")
                .value_name("COUNT")
                .default_value("64")
                .value_parser(value_parser!(u32).range(1..=100_000))
                .help("So many calls at once"),
        )
        .arg(
            Arg::new("rate")
                .long("rate")
                .value_name("CALLS")
                .conflicts_with("in-flight")
                .value_parser(rate)
                .help("So many calls begin in a second, whatever became of those before"),
        )
        .arg(
            Arg::new("duration")
                .long("duration")
                .value_name("DURATION")
                .default_value("10s")
                .value_parser(duration)
                .help("How long calls are measured"),
        )
        .arg(
            Arg::new("warm")
                .long("warm")
                .value_name("DURATION")
                .default_value("2s")
                .value_parser(none_or_some)
                .help("How long calls are made before it is measured; 0 for none"),
        )
        .arg(
            Arg::new("connections")
                .long("connections")
                .value_name("COUNT")
                .default_value("4")
                .value_parser(value_parser!(u32).range(1..=10_000))
                .help("Over so many connections"),
        )
        .arg(
            Arg::new("json")
                .long("json")
                .value_name("FILE")
                .help("Also writes what was measured to a file as JSON; - prints it instead of the table"),
        )
        .after_help(
            "Examples:\n  firn bench shop.Cart/AddItem '{\"cartId\": \"cart-{n%1000}\", \
             \"productId\": \"tea\", \"quantity\": 1}'\n  \
             firn bench shop.Cart/GetCart '{\"cartId\": \"alice\"}' --rate 1000 --duration 1m\n\n\
             Exit codes: 0 every call was answered, 1 a call failed or none was answered, 2 wrong usage.",
        )
}

fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok();
    let rate = rate.filter(|rate: &f64| (0.001..=10_000_000.0).contains(rate));
    rate.ok_or_else(|| "expected calls in a second, from 0.001 to 10000000".to_owned())
}

/// A duration, or none at all.
fn none_or_some(text: &str) -> Result<Duration, String> {
    match text {
        "0" | "0s" => Ok(Duration::ZERO),
        text => duration(text),
    }
}

/// Runs the command.
pub(crate) fn run(flags: &ArgMatches) -> ExitCode {
    // The load takes as many processors as it gets, so that it is not what is measured.
    super::run_on(
        &mut tokio::runtime::Builder::new_multi_thread(),
        bench(flags),
    )
}

async fn bench(flags: &ArgMatches) -> Result<(), Failure> {
    let server = flags.get_one::<String>("server").map_or("", String::as_str);
    let given = flags.get_one::<String>("method").map_or("", String::as_str);
    let text = flags
        .get_one::<String>("request")
        .map_or("{}", String::as_str);
    let (service, method) = call::split(given)?;
    let headers = headers(flags)?;
    let json = Sink::open(flags.get_one::<String>("json"))?;
    let channel = call::connect(server).await?;
    let method = reflection::method(channel, service, method).await?;
    if method.is_client_streaming() || method.is_server_streaming() {
        let text = format!(
            "{} has a stream; firn bench makes single calls",
            method.full_name()
        );
        return Err(call::wrong(text));
    }
    let path = format!("/{}/{}", method.parent_service().full_name(), method.name());
    let path = PathAndQuery::try_from(path).map_err(call::wrong)?;
    let requests = Requests::new(method.clone(), text)?;
    let target = Target::trying(server, move |number| {
        let message = requests.message(number);
        let message = message.map_err(|failure| Fault::Unmade(failure.cause))?;
        Ok(Request::grpc_encoded(&path, &message).headers(headers.clone()))
    });
    let count = |name: &str| flags.get_one::<u32>(name).copied().unwrap_or(1);
    let connections = count("connections");
    let load = load(flags, count("in-flight"));
    let outcome = target
        .connections(connections as usize)
        .run(&load, &[])
        .await
        .map_err(|error| ended(server, error))?;
    let report = Report {
        server,
        method: given,
        connections,
        outcome: &outcome,
    };
    match json {
        Sink::Nowhere => print!("{report}"),
        Sink::Output => println!("{:#}", report.json()),
        Sink::File(file, name) => {
            print!("{report}");
            serde_json::to_writer_pretty(file, &report.json())
                .map_err(|error| unwritable(&name, error))?;
        }
    }
    succeeded(&outcome)
}

fn load(flags: &ArgMatches, in_flight: u32) -> Load {
    let time = |name: &str| flags.get_one::<Duration>(name).copied().unwrap_or_default();
    let (warm, measured) = (time("warm"), time("duration"));
    match flags.get_one::<f64>("rate") {
        Some(rate) => Load::open(*rate, warm, measured),
        None => Load::closed(in_flight as usize, warm, measured),
    }
}

fn headers(flags: &ArgMatches) -> Result<HeaderMap, Failure> {
    let mut headers = HeaderMap::new();
    for header in flags.get_many::<String>("header").into_iter().flatten() {
        let (name, value) = call::header(header)?;
        let name = HeaderName::from_str(name).map_err(call::wrong)?;
        headers.append(name, HeaderValue::from_str(value).map_err(call::wrong)?);
    }
    Ok(headers)
}

/// Why a load came to nothing, as a person reads it.
fn ended(server: &str, error: Error) -> Failure {
    match error {
        Error::Ended(Fault::Unmade(cause)) => call::wrong(cause),
        Error::Ended(fault) => unreachable(server, "--server", fault),
        Error::Unanswered { .. } => Failure::new(
            Code::CommandTimeout,
            error,
            "look into the function for a handler that hangs, or ask for less with --in-flight or --rate",
        ),
        Error::Timer(_) => own(
            &error,
            "allow it more open files, as with ulimit -n, or ask over fewer --connections",
        ),
        // Its own process, or whatever the load says beyond this.
        other => own(
            &other,
            "run it where it may read /proc of its own process: it tells what the load costs",
        ),
    }
}

/// A failure on this side, which no code stands for.
fn own(error: &Error, remedy: &str) -> Failure {
    Failure {
        code: None,
        cause: error.to_string(),
        remedy: remedy.to_owned(),
        exit: crate::exit::FAILED,
    }
}

/// Whether all calls were answered; what failed most often says why not.
fn succeeded(outcome: &Outcome) -> Result<(), Failure> {
    let failed = outcome.failed();
    if let Some(most) = outcome.failures.first() {
        let all = failed + outcome.calls;
        let cause = format!(
            "{failed} of {all} calls failed, most with {}",
            report::failure(most)
        );
        let code = most.code.as_deref().and_then(|code| {
            let number = code.strip_prefix("FIRN-")?.parse().ok()?;
            Code::from_number(number)
        });
        return Err(match code {
            Some(code) => Failure::new(code, cause, format!("firn explain {code} says what to do")),
            None => Failure::chosen(cause),
        });
    }
    if outcome.calls == 0 {
        let cause = "no call was answered while it was measured".to_owned();
        return Err(Failure::new(
            Code::CommandTimeout,
            cause,
            "measure longer with --duration, or ask for less with --in-flight or --rate",
        ));
    }
    Ok(())
}

/// Where JSON goes.
enum Sink {
    Nowhere,
    Output,
    File(File, String),
}

impl Sink {
    /// Makes the file before anything is measured: a load that cannot be kept is not begun.
    fn open(name: Option<&String>) -> Result<Self, Failure> {
        match name.map(String::as_str) {
            None => Ok(Self::Nowhere),
            Some("-") => Ok(Self::Output),
            Some(name) => match File::create(name) {
                Ok(file) => Ok(Self::File(file, name.to_owned())),
                Err(error) => Err(unwritable(name, error)),
            },
        }
    }
}

fn unwritable(name: &str, error: impl std::fmt::Display) -> Failure {
    Failure {
        exit: crate::exit::USAGE,
        ..Failure::new(
            Code::ReportUnwritable,
            format!("cannot write {name}: {error}"),
            "name a file in a folder that you may write to, or - for the output",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_load_that_came_to_nothing_says_why() {
        let ended = |error| ended("localhost:9000", error);
        let lost = ended(Error::Ended(Fault::Lost("gone".to_owned())));
        assert_eq!(lost.code, Some(Code::ServerUnreachable));
        // A Firn answers, and something else is the matter.
        let unanswered = ended(Error::Unanswered { count: 7 });
        assert_eq!(unanswered.code, Some(Code::CommandTimeout));
        let cause = "7 calls were not answered within 75s after the load";
        assert_eq!(unanswered.cause, cause);
        let unseen = ended(Error::Process {
            name: "load".to_owned(),
            error: std::io::Error::other("no /proc"),
        });
        assert_eq!(unseen.code, None);
        assert_eq!(unseen.cause, "cannot look at load: no /proc");
        assert!(!unseen.remedy.contains("function"), "{}", unseen.remedy);
    }
}
