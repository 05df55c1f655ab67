//! The SDKs for TypeScript and Python beside bare unary echoes on their languages' gRPC libraries.
//!
//! What counts is how many commands a second of the function's processor time takes: the rate of
//! both depends on what else runs. Functions and echoes are those of the benches of the SDKs; here
//! the functions stand behind a real Firn, and all are loaded in turns by the same load.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Result;
use prost::Message;

use crate::echo;
use crate::figure::{Bound, Figure, Unit, median};
use crate::load::{self, Load, Outcome};
use crate::measurement::Measurement;
use crate::rig::{Dialer, Firn, Programs, Server, done};

/// How often each is loaded.
const ROUNDS: usize = 3;

/// How many entities are written to.
const ENTITIES: u64 = 1000;

/// How many times as many commands as the bare echo a function must take.
const OVER_ECHO_MIN: f64 = 2.0;

const LOAD: Load = Load {
    connections: 4,
    in_flight: 64,
    // The compiler of the language has to see the code first.
    warm: Duration::from_millis(1500),
    measured: Duration::from_secs(3),
};

/// A message with the field numbers that types declared in code have (R100).
#[derive(Clone, PartialEq, Message)]
struct Ping {
    #[prost(string, tag = "21034592")]
    id: String,
    #[prost(string, tag = "236094")]
    text: String,
}

/// The message of the bench in Python.
#[derive(Clone, PartialEq, Message)]
struct Info {
    #[prost(string, tag = "1")]
    name: String,
}

pub(super) async fn run(programs: &Programs) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    let folder = set_up(programs, "typescript").await?;
    let program = |role: &str| {
        let mut command = Command::new("node");
        command
            .current_dir(&folder)
            .args(["dist/bench/echo.js", role]);
        command
    };
    let language = Language {
        name: "TypeScript",
        bare: program("bare"),
        function: program("sdk"),
        durable: "/bench.Events/Add",
        message: |number| Ping {
            id: format!("entity-{:06}", number % ENTITIES),
            text: "hello, hello, hello, hello, hello".to_owned(),
        },
    };
    figures.extend(language.measure(programs).await?);
    let folder = set_up(programs, "python").await?;
    let program = |role: &str| {
        let mut command = Command::new(folder.join(".venv/bin/python"));
        command
            .current_dir(&folder)
            .args(["bench/echo.py", "serve", role]);
        command
    };
    let language = Language {
        name: "Python",
        bare: program("bare"),
        function: program("sdk"),
        durable: "/bench.Counter/Count",
        message: |number| Info {
            name: format!("entity-{:025}", number % ENTITIES),
        },
    };
    figures.extend(language.measure(programs).await?);
    Ok(figures)
}

/// Runs the set-up of an SDK; gives its folder.
async fn set_up(programs: &Programs, language: &str) -> Result<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../sdk")
        .join(language);
    let logs = programs.folder()?;
    let mut set_up = Command::new("./setup");
    done(
        &format!("the set-up of the SDK for {language}"),
        set_up.current_dir(&folder),
        &logs.path().join("log"),
    )
    .await?;
    Ok(folder)
}

/// A language: its programs, and what they are asked.
struct Language<M> {
    name: &'static str,
    bare: Command,
    function: Command,
    /// The method that stores an event.
    durable: &'static str,
    message: fn(u64) -> M,
}

impl<M: Message + 'static> Language<M> {
    async fn measure(mut self, programs: &Programs) -> Result<Vec<Figure>> {
        let bare = Server::start(programs, "bare", &mut self.bare).await?;
        let folder = programs.folder()?;
        let mut firn = Firn::start_own(programs, folder.path(), &[]);
        firn.up().await?;
        let function = Dialer::start(programs, self.name, &mut self.function, firn.functions)?;
        firn.serving().await?;
        let (mut echoes, mut actions, mut durables) = (Vec::new(), Vec::new(), Vec::new());
        let load = programs.effort.load(LOAD);
        for _ in 0..programs.effort.rounds(ROUNDS) {
            for (server, path, process, outcomes) in [
                (bare.address, echo::PATH, bare.watched("echo"), &mut echoes),
                (
                    firn.clients,
                    echo::PATH,
                    function.watched("function"),
                    &mut actions,
                ),
                (
                    firn.clients,
                    self.durable,
                    function.watched("function"),
                    &mut durables,
                ),
            ] {
                outcomes.push(load::run(server, path, self.message, load, &[process]).await?);
            }
        }
        firn.stop().await?;
        let over = |what: &str, outcomes: &[Outcome]| {
            let rounds = echoes.iter().zip(outcomes);
            let samples = rounds.map(|(echo, it)| echo.processor_us[0] / it.processor_us[0]);
            let measured = |name: &str, outcomes: &[Outcome]| {
                let name = format!("{}, {name}", self.name);
                Measurement::of(name, &outcomes.iter().collect::<Vec<_>>())
            };
            let (of_echo, of_function) = (measured("echo", &echoes), measured(what, outcomes));
            let what = format!(
                "{}: {what} for a second of processor time, over a bare echo's",
                self.name
            );
            Figure::new(what, Unit::Ratio, samples.collect())
                .detail("function", line(outcomes))
                .detail("echo", line(&echoes))
                .measured(of_function)
                .measured(of_echo)
        };
        Ok(vec![
            over("actions", &actions).bound(Bound::AtLeast(OVER_ECHO_MIN)),
            over("durable events", &durables),
        ])
    }
}

/// The absolute values: those of this machine in this hour.
fn line(outcomes: &[Outcome]) -> String {
    let of =
        |value: &dyn Fn(&Outcome) -> f64| median(&outcomes.iter().map(value).collect::<Vec<f64>>());
    format!(
        "{:.0}/s, {:.0} for a second of processor time",
        of(&|it| it.rate),
        of(&|it| 1e6 / it.processor_us[0]),
    )
}
