//! `firn tck`: the conformance kit from the command line.

use std::io::{self, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Arg, ArgAction, ArgMatches, Command};
use firn_model::code::Code;
use firn_tck::{
    Family, FamilyProxyOptions, FunctionOptions, Options, Output, Proxy, ProxyOptions, Silent,
    Summary, Text,
};
use rustix::process::{Pid, Signal, kill_process};

use crate::exit::{FAILED, Failure};
use crate::settings::duration;

/// The command line of the kit.
pub(crate) fn command() -> Command {
    Command::new("tck")
        .about("Checks that a function, or a Firn, keeps the protocol firn.v1")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(function())
        .subcommand(proxy())
}

/// What both kits have.
fn judging(command: Command) -> Command {
    command
        .arg(
            Arg::new("family")
                .long("family")
                .value_name("FAMILY")
                .default_value("firn")
                .value_parser(["firn", "cloudstate", "akka-serverless", "kalix"])
                .help("What the function speaks"),
        )
        .arg(
            Arg::new("filter")
                .long("filter")
                .value_name("TEXT")
                .help("Only checks whose names contain this"),
        )
        .arg(
            Arg::new("seed")
                .long("seed")
                .value_name("NUMBER")
                .value_parser(clap::value_parser!(u64))
                .help("What the random workload is made from [default: a random number]"),
        )
        .arg(
            Arg::new("commands")
                .long("commands")
                .value_name("COUNT")
                .value_parser(clap::value_parser!(u32))
                .help("How many commands the random workload has [default: 5000]"),
        )
        .arg(
            Arg::new("timeout")
                .long("timeout")
                .value_name("DURATION")
                .default_value("20s")
                .value_parser(duration)
                .help("How long one check may take"),
        )
        .arg(
            Arg::new("format")
                .long("format")
                .value_name("FORMAT")
                .default_value("text")
                .value_parser(["text", "json", "junit"])
                .help("How the result is printed"),
        )
        .arg(
            Arg::new("list")
                .long("list")
                .action(ArgAction::SetTrue)
                .help("Prints the checks and what they cover, and runs none"),
        )
}

fn function() -> Command {
    judging(Command::new("function"))
        .about("Plays Firn to a function that serves the kit's model services")
        .long_about(
            "Listens at ADDRESS, lets a function of firn.v1 dial in, and checks what it does, one \
             line for each check with the requirements of proto/firn/v1/README.md that it covers. \
             Functions of the other families are dialed at ADDRESS, and the requirements are those \
             of tck/families.md; with COMMAND they are killed and started again. \
             The function serves the model services of tck/README.md; every SDK has such a program. \
             Ends with 0 if every check passed, and with 1 if one failed.",
        )
        .arg(
            Arg::new("address")
                .value_name("ADDRESS")
                .required_unless_present("list")
                .help(
                    "Where the function dials in, HOST:PORT or unix:PATH; or, of a family other than \
                     firn, where it listens, HOST:PORT",
                ),
        )
        .arg(
            Arg::new("token")
                .long("token")
                .value_name("TOKEN")
                .env("FIRN_TOKEN")
                .help("The token that the function sends; COMMAND gets it as FIRN_TOKEN"),
        )
        .arg(
            Arg::new("command")
                .value_name("COMMAND")
                .num_args(0..)
                .last(true)
                .action(ArgAction::Append)
                .help(
                    "Starts the function, with ADDRESS as its last argument; or, of a family other \
                     than firn, with HOST and PORT in its environment, of which port 0 is a free one",
                ),
        )
        .after_help(
            "Examples:\n  firn tck function 127.0.0.1:9001 -- node tck.js\n  \
             firn tck function 127.0.0.1:9001 --filter chunks --format junit > report.xml\n  \
             firn tck function 127.0.0.1:0 --family kalix -- node index.js",
        )
}

fn proxy() -> Command {
    judging(Command::new("proxy"))
        .about("Plays functions and clients to a Firn, or another proxy")
        .long_about(
            "Plays functions with the kit's model services, and their clients, around a Firn, and \
             checks what it does, one line for each check with the requirements of \
             proto/firn/v1/README.md that it covers; those of the other families, whose functions \
             the proxy dials, are in tck/families.md. With COMMAND it starts the proxy itself, kills \
             it and starts it again: in the arguments, {clients}, {functions} and {folder} stand for \
             the client port, the port of functions and a folder for data. Without one, a proxy must \
             run there, and checks that need to end it are left out. \
             Ends with 0 if every check passed, and with 1 if one failed.",
        )
        .arg(
            Arg::new("function-listen")
                .long("function-listen")
                .value_name("ADDRESS")
                .default_value("127.0.0.1:8080")
                .help(
                    "Where the proxy dials the kit's function, of a family other than firn: \
                     HOST:PORT; port 0 takes a free one",
                ),
        )
        .arg(
            Arg::new("address")
                .value_name("ADDRESS")
                .required_unless_present("list")
                .help("The client port: HOST:PORT; with COMMAND, port 0 takes a free one"),
        )
        .arg(
            Arg::new("functions")
                .long("functions")
                .value_name("ADDRESS")
                .default_value("127.0.0.1:9001")
                .help("Where the kit's functions dial the Firn: HOST:PORT, or unix:PATH"),
        )
        .arg(
            Arg::new("token")
                .long("token")
                .value_name("TOKEN")
                .env("FIRN_TOKEN")
                .help("The token that functions must send; COMMAND gets it as FIRN_FUNCTION_TOKEN"),
        )
        .arg(
            Arg::new("command")
                .value_name("COMMAND")
                .num_args(0..)
                .last(true)
                .action(ArgAction::Append)
                .help("Starts the proxy"),
        )
        .after_help(
            "Examples:\n  firn tck proxy 127.0.0.1:9000 --functions 127.0.0.1:9001\n  \
             firn tck proxy 127.0.0.1:0 --functions unix:functions -- firn proxy \
             --family firn --listen {clients} --function-listen {functions} \
             --store embedded:{folder}\n  \
             firn tck proxy 127.0.0.1:0 --family kalix --function-listen 127.0.0.1:0 -- \
             firn proxy --listen {clients} --function {functions} --store embedded:{folder}",
        )
}

/// Runs the kit.
pub(crate) fn run(flags: &ArgMatches) -> ExitCode {
    match flags.subcommand() {
        Some(("function", flags)) => judge(flags, Side::Function),
        Some(("proxy", flags)) => judge(flags, Side::Proxy),
        _ => unreachable!("clap refuses a missing and an unknown command"),
    }
}

/// What is judged.
#[derive(Clone, Copy)]
enum Side {
    Function,
    Proxy,
}

fn judge(flags: &ArgMatches, side: Side) -> ExitCode {
    if flags.get_flag("list") {
        let checks = match side {
            Side::Function => match family(flags) {
                None => firn_tck::list(),
                Some(family) => firn_tck::list_functions(family),
            },
            Side::Proxy => match family(flags) {
                None => firn_tck::list_proxy(),
                Some(family) => firn_tck::list_family_proxy(family),
            },
        };
        for (name, requirements) in checks {
            println!("{name} [{}]", requirements.join(" "));
        }
        return ExitCode::SUCCESS;
    }
    let format = flags.get_one::<String>("format").map(String::as_str);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let result = match runtime {
        Ok(runtime) => {
            let mut lines = Text(io::stdout());
            let output: &mut dyn Output = match format {
                Some("text") => &mut lines,
                _ => &mut Silent,
            };
            match side {
                Side::Function => runtime.block_on(judge_function(flags, output)),
                Side::Proxy => runtime.block_on(judge_proxy(flags, output)),
            }
        }
        Err(error) => Err(cannot_listen(error)),
    };
    match result {
        Err(failure) => failure.print(),
        Ok(summary) => {
            match format {
                Some("json") => println!("{}", summary.to_json()),
                Some("junit") => print!("{}", summary.to_junit()),
                _ => println!("{}", summary.line()),
            }
            // Whoever reads the report may have gone.
            let _ = io::stdout().flush();
            match summary.failed() {
                0 => ExitCode::SUCCESS,
                _ => ExitCode::from(FAILED),
            }
        }
    }
}

async fn judge_function(flags: &ArgMatches, output: &mut dyn Output) -> Result<Summary, Failure> {
    if let Some(family) = family(flags) {
        return judge_server(flags, family, output).await;
    }
    let text = |name: &str| flags.get_one::<String>(name).cloned();
    let address = text("address").unwrap_or_default();
    let mut options = Options::new(address.clone());
    options.token = text("token");
    options.filter = text("filter");
    options.seed = flags.get_one::<u64>("seed").copied();
    if let Some(commands) = flags.get_one::<u32>("commands") {
        options.commands = *commands;
    }
    if let Some(timeout) = flags.get_one::<Duration>("timeout") {
        options.timeout = *timeout;
    }
    let command: Vec<String> = flags
        .get_many::<String>("command")
        .unwrap_or_default()
        .cloned()
        .collect();
    // Killed when it is dropped, if the checks did not end it.
    let _function = match command.split_first() {
        None => None,
        Some((program, arguments)) => {
            let function = start(program, arguments, &address, options.token.as_deref())?;
            let id = function.id().and_then(|id| Pid::from_raw(id.cast_signed()));
            options.stop = Some(Box::new(move || {
                if let Some(id) = id {
                    // If it has ended by itself, the check says so.
                    let _ = kill_process(id, Signal::TERM);
                }
            }));
            Some(function)
        }
    };
    firn_tck::run(options, output).await.map_err(cannot_listen)
}

/// Judges a function that is dialed.
async fn judge_server(
    flags: &ArgMatches,
    family: Family,
    output: &mut dyn Output,
) -> Result<Summary, Failure> {
    let text = |name: &str| flags.get_one::<String>(name).cloned();
    let mut address = text("address").unwrap_or_default();
    let command: Vec<String> = flags
        .get_many::<String>("command")
        .unwrap_or_default()
        .cloned()
        .collect();
    if !command.is_empty() {
        address = free(address)?;
    }
    let mut options = FunctionOptions::new(family, address.clone());
    options.filter = text("filter");
    options.seed = flags.get_one::<u64>("seed").copied();
    if let Some(commands) = flags.get_one::<u32>("commands") {
        options.commands = *commands;
    }
    if let Some(timeout) = flags.get_one::<Duration>("timeout") {
        options.timeout = *timeout;
    }
    if !command.is_empty() {
        let (host, port) = address.rsplit_once(':').unwrap_or_default();
        options.process = Some(Box::new(Judged {
            command,
            environment: [("HOST", host), ("PORT", port)]
                .map(|(name, value)| (name, value.to_owned()))
                .into(),
            child: None,
        }));
    }
    let done = firn_tck::run_function(options, output).await;
    done.map_err(not_started)
}

fn not_started(error: io::Error) -> Failure {
    let remedy = "check the command after --, and that it is on the PATH";
    Failure::new(Code::CommandNotStarted, error, remedy)
}

/// The family of functions that a proxy dials; none for those of firn.v1, which dial it.
fn family(flags: &ArgMatches) -> Option<Family> {
    Family::named(flags.get_one::<String>("family")?)
}

/// An address whose port, if it is 0, is one that is free now.
fn free(address: String) -> Result<String, Failure> {
    if !address.ends_with(":0") {
        return Ok(address);
    }
    // It is free again when it is wanted.
    let port = std::net::TcpListener::bind(&address).and_then(|it| it.local_addr());
    port.map(|port| port.to_string()).map_err(cannot_listen)
}

async fn judge_proxy(flags: &ArgMatches, output: &mut dyn Output) -> Result<Summary, Failure> {
    let text = |name: &str| flags.get_one::<String>(name).cloned();
    let command: Vec<String> = flags
        .get_many::<String>("command")
        .unwrap_or_default()
        .cloned()
        .collect();
    let mut clients = text("address").unwrap_or_default();
    if !command.is_empty() {
        clients = free(clients)?;
    }
    let family = family(flags);
    let functions = match family {
        None => text("functions").unwrap_or_default(),
        Some(_) => free(text("function-listen").unwrap_or_default())?,
    };
    let folder = std::env::temp_dir().join(format!("firn-tck-{}", std::process::id()));
    let place = |argument: &String| {
        argument
            .replace("{clients}", &clients)
            .replace("{functions}", &functions)
            .replace("{folder}", &folder.display().to_string())
    };
    let token = text("token");
    let judged = || -> Box<dyn Proxy> {
        Box::new(Judged {
            command: command.iter().map(place).collect(),
            environment: token
                .iter()
                .map(|token| ("FIRN_FUNCTION_TOKEN", token.clone()))
                .collect(),
            child: None,
        })
    };
    let proxy = (!command.is_empty()).then(judged);
    let seed = flags.get_one::<u64>("seed").copied();
    let commands = flags.get_one::<u32>("commands").copied();
    let timeout = flags.get_one::<Duration>("timeout").copied();
    let done = match family {
        None => {
            let mut options = ProxyOptions::new(&clients, &functions);
            options.token = token.clone();
            options.filter = text("filter");
            options.seed = seed;
            options.commands = commands.unwrap_or(options.commands);
            options.timeout = timeout.unwrap_or(options.timeout);
            options.proxy = proxy;
            firn_tck::run_proxy(options, output).await
        }
        Some(family) => {
            let mut options = FamilyProxyOptions::new(family, &clients, &functions);
            options.filter = text("filter");
            options.seed = seed;
            options.commands = commands.unwrap_or(options.commands);
            options.timeout = timeout.unwrap_or(options.timeout);
            options.proxy = proxy;
            firn_tck::run_family_proxy(options, output).await
        }
    };
    // There is none if it was not asked for.
    let _ = std::fs::remove_dir_all(&folder);
    done.map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => cannot_listen(error),
        _ => not_started(error),
    })
}

/// A proxy or a function that the kit starts. It is killed when this is dropped.
struct Judged {
    command: Vec<String>,
    environment: Vec<(&'static str, String)>,
    child: Option<std::process::Child>,
}

impl Proxy for Judged {
    fn start(&mut self) -> io::Result<()> {
        let mut command = std::process::Command::new(&self.command[0]);
        command
            .args(&self.command[1..])
            .envs(self.environment.iter().cloned())
            .stdout(std::process::Stdio::null());
        self.child = Some(command.spawn()?);
        Ok(())
    }

    fn kill(&mut self) -> io::Result<()> {
        if let Some(mut child) = self.child.take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    fn stop(&mut self) -> io::Result<()> {
        let id = self.child.as_ref().map(std::process::Child::id);
        if let Some(id) = id.and_then(|id| Pid::from_raw(id.cast_signed())) {
            kill_process(id, Signal::TERM)?;
        }
        Ok(())
    }
}

impl Drop for Judged {
    fn drop(&mut self) {
        // What has gone already needs no end.
        let _ = self.kill();
    }
}

fn start(
    program: &str,
    arguments: &[String],
    address: &str,
    token: Option<&str>,
) -> Result<tokio::process::Child, Failure> {
    let mut command = tokio::process::Command::new(program);
    command
        .args(arguments)
        .arg(address)
        .kill_on_drop(true)
        .stdout(std::process::Stdio::null());
    if let Some(token) = token {
        command.env("FIRN_TOKEN", token);
    }
    command
        .spawn()
        .map_err(|error| not_started(io::Error::new(error.kind(), format!("{program}: {error}"))))
}

fn cannot_listen(error: io::Error) -> Failure {
    let code = match error.kind() {
        io::ErrorKind::AddrInUse => Code::PortTaken,
        _ => Code::ListenFailed,
    };
    Failure::new(
        code,
        error,
        "choose an address that is free, as HOST:PORT or unix:PATH",
    )
}
