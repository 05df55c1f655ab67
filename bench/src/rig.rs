//! The processes that are measured, and what the system knows about them.

use std::fs;
use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use firn_load::{Times, Watched};
use firn_testkit::process::{Process, free_port};
use rustix::process::Signal;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::time::sleep;

use crate::effort::Effort;
use crate::machine::kilobytes;

/// How long anything that is waited for may take: far more than it ever does.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often it is looked at: what is measured this way is known no better.
pub(crate) const LOOK: Duration = Duration::from_micros(500);

/// The programs, built together with this one.
pub(crate) struct Programs {
    pub(crate) firn: PathBuf,
    pub(crate) cart: PathBuf,
    /// How much is done for a figure.
    pub(crate) effort: Effort,
    bench: PathBuf,
    /// Where they are; folders for data are made here too, as the system's folder for temporary
    /// files may be in memory.
    beside: PathBuf,
}

impl Programs {
    /// Finds the programs beside this one.
    pub(crate) fn find(effort: Effort) -> Result<Self> {
        let bench = std::env::current_exe()?;
        let beside = bench.parent().context("no folder")?.to_owned();
        let programs = Self {
            firn: beside.join("firn"),
            cart: beside.join("cart"),
            effort,
            bench,
            beside,
        };
        for program in [&programs.firn, &programs.cart] {
            ensure!(
                program.is_file(),
                "{} is not there: `cargo xtask bench` builds it",
                program.display()
            );
        }
        Ok(programs)
    }

    /// What this program prints when it holds something in a process of its own.
    pub(crate) async fn held(&self, name: &str) -> Result<f64> {
        let folder = self.folder()?;
        let mut command = Command::new(&self.bench);
        command.args(["hold", name]);
        let mut process = Process::start(name, &mut command, &folder.path().join("log"));
        let ended = until(name, || process.ended()).await?;
        let log = process.log();
        ensure!(ended.success(), "{name} ended with {ended}:\n{log}");
        log.trim().parse().with_context(|| log.clone())
    }

    /// The target folder of cargo, in which the programs have a folder for their profile.
    pub(crate) fn target(&self) -> &Path {
        self.beside.parent().unwrap_or(&self.beside)
    }

    /// Firn with symbols, for profiles; `cargo xtask bench` builds it when the case `stages` is named.
    pub(crate) fn staged(&self) -> Option<PathBuf> {
        let program = self.target().join("staged").join("firn");
        program.is_file().then_some(program)
    }

    /// A folder for data that goes with its value.
    pub(crate) fn folder(&self) -> Result<TempDir> {
        Ok(tempfile::Builder::new()
            .prefix("bench-")
            .tempdir_in(&self.beside)?)
    }
}

/// A server of one port: the cart, the echo or the tally.
pub(crate) struct Server {
    process: Process,
    pub(crate) address: SocketAddr,
    _folder: TempDir,
}

impl Server {
    /// The cart, alone.
    pub(crate) async fn cart(programs: &Programs) -> Result<Self> {
        Self::start(programs, "cart", &mut Command::new(&programs.cart)).await
    }

    /// The reference: a bare tonic server.
    pub(crate) async fn echo(programs: &Programs) -> Result<Self> {
        let mut command = Command::new(&programs.bench);
        Self::start(programs, "echo", command.args(["serve", "echo"])).await
    }

    /// The function whose updates are compared.
    pub(crate) async fn tally(programs: &Programs) -> Result<Self> {
        let mut command = Command::new(&programs.bench);
        Self::start(programs, "tally", command.args(["serve", "tally"])).await
    }

    /// Starts one that listens on `HOST`:`PORT`.
    pub(crate) async fn start(
        programs: &Programs,
        name: &str,
        command: &mut Command,
    ) -> Result<Self> {
        let folder = programs.folder()?;
        let address = free_address();
        command
            .env("HOST", address.ip().to_string())
            .env("PORT", address.port().to_string());
        let mut process = Process::start(name, command, &folder.path().join("log"));
        let until = Instant::now() + PATIENCE;
        while TcpStream::connect(address).await.is_err() {
            if process.ended().is_some() {
                bail!("{name} ended:\n{}", process.log());
            }
            let log = || process.log();
            ensure!(Instant::now() < until, "{name} does not listen:\n{}", log());
            sleep(LOOK).await;
        }
        Ok(Self {
            process,
            address,
            _folder: folder,
        })
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// It, to be looked at while it is loaded.
    pub(crate) fn watched(&self, name: &str) -> Watched {
        Watched::new(name, self.id())
    }
}

/// A function on firn.v1, which dials Firn.
pub(crate) struct Dialer {
    process: Process,
    _folder: TempDir,
}

impl Dialer {
    /// The function of this program, on the SDK for Rust.
    pub(crate) fn own(programs: &Programs, firn: SocketAddr) -> Result<Self> {
        let mut command = Command::new(&programs.bench);
        Self::start(programs, "own", command.args(["serve", "own"]), firn)
    }

    /// Starts one that dials Firn there. It says so itself when it serves it.
    pub(crate) fn start(
        programs: &Programs,
        name: &str,
        command: &mut Command,
        firn: SocketAddr,
    ) -> Result<Self> {
        let folder = programs.folder()?;
        command.env("FIRN_ADDRESS", format!("http://{firn}"));
        Ok(Self {
            process: Process::start(name, command, &folder.path().join("log")),
            _folder: folder,
        })
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// It, to be looked at while it is loaded.
    pub(crate) fn watched(&self, name: &str) -> Watched {
        Watched::new(name, self.id())
    }
}

/// A running `firn proxy`.
pub(crate) struct Firn {
    process: Process,
    started: Instant,
    /// The client port.
    pub(crate) clients: SocketAddr,
    /// Where functions dial in.
    pub(crate) functions: SocketAddr,
    /// Where it tells about itself.
    admin: SocketAddr,
}

impl Firn {
    /// Starts one on a data folder, with further arguments, which dials a function. It is not up yet.
    pub(crate) fn start(
        programs: &Programs,
        folder: &Path,
        function: SocketAddr,
        arguments: &[&str],
    ) -> Self {
        let function = function.to_string();
        let dials = ["--function", &function];
        Self::run(programs, folder, &[&dials, arguments].concat())
    }

    /// The same for functions on firn.v1, which dial it.
    pub(crate) fn start_own(programs: &Programs, folder: &Path, arguments: &[&str]) -> Self {
        Self::run(
            programs,
            folder,
            &[&["--family", "firn"], arguments].concat(),
        )
    }

    /// A program of Firn under callgrind, which has flags besides and writes what it counted to a file. It dials the function, or
    /// waits for those on firn.v1 if there is none. How many threads it has does not depend on the
    /// machine; what its processor can do is the same on each, as valgrind says it.
    pub(crate) fn start_counted(
        (program, flags): (&Path, &[&str]),
        folder: &Path,
        counts: &Path,
        function: Option<SocketAddr>,
    ) -> Self {
        let mut command = Command::new("valgrind");
        command
            .args(["--tool=callgrind", "--quiet"])
            .args(flags)
            .arg(format!("--callgrind-out-file={}", counts.display()))
            .arg(program);
        let dialed = function.map(|function| function.to_string());
        let arguments: &[&str] = match &dialed {
            Some(function) => &["--threads", "2", "--function", function],
            None => &["--threads", "2", "--family", "firn"],
        };
        Self::run_as(command, folder, arguments)
    }

    fn run(programs: &Programs, folder: &Path, arguments: &[&str]) -> Self {
        Self::run_as(Command::new(&programs.firn), folder, arguments)
    }

    /// Runs the program of a command, with Firn's arguments.
    fn run_as(mut command: Command, folder: &Path, arguments: &[&str]) -> Self {
        let [clients, functions, admin] = [(); 3].map(|()| free_address());
        command
            .arg("proxy")
            .args(["--listen", &clients.to_string()])
            .args(["--admin", &admin.to_string()])
            .args(["--function-listen", &functions.to_string()])
            .args(arguments);
        if !arguments.contains(&"--store") {
            let folder = folder.join("data");
            command.arg(format!("--store=embedded:{}", folder.display()));
        }
        let log = folder.join("firn.log");
        // Each run is looked at alone; there may be no earlier one.
        let _ = fs::remove_file(&log);
        let started = Instant::now();
        Self {
            process: Process::start("firn", &mut command, &log),
            started,
            clients,
            functions,
            admin,
        }
    }

    /// It, to be looked at while it is loaded.
    pub(crate) fn watched(&self) -> Watched {
        Watched::new("Firn", self.id()).metrics(self.admin)
    }

    /// When it was started.
    pub(crate) fn started(&self) -> Instant {
        self.started
    }

    /// Waits until its log says that it is up.
    pub(crate) async fn up(&mut self) -> Result<()> {
        self.said("Firn is up").await
    }

    /// Waits until its log says that it serves its function.
    pub(crate) async fn serving(&mut self) -> Result<()> {
        self.said("\"serving ").await
    }

    /// Waits until its log says this.
    async fn said(&mut self, text: &str) -> Result<()> {
        let until = Instant::now() + PATIENCE;
        while !self.process.log().contains(text) {
            if let Some(status) = self.process.ended() {
                bail!("firn ended with {status}:\n{}", self.process.log());
            }
            ensure!(Instant::now() < until, "no {text}:\n{}", self.process.log());
            sleep(LOOK).await;
        }
        Ok(())
    }

    /// Asks it to stop and waits until it has.
    pub(crate) async fn stop(mut self) -> Result<()> {
        self.process.signal(Signal::TERM);
        let ended = until("the end of firn", || self.process.ended()).await?;
        ensure!(
            ended.success(),
            "firn ended with {ended}:\n{}",
            self.process.log()
        );
        Ok(())
    }

    /// Kills it without a word.
    pub(crate) fn kill(mut self) {
        self.process.kill();
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }
}

/// An address where nobody listens.
pub(crate) fn free_address() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()))
}

/// Runs a command until it ends well. What it writes goes to a file, and is told if it does not.
pub(crate) async fn done(name: &str, command: &mut Command, log: &Path) -> Result<()> {
    let mut process = Process::start(name, command, log);
    // It may download and compile: whoever waits for it ends it when that takes too long.
    let status = loop {
        match process.ended() {
            Some(status) => break status,
            None => sleep(LOOK).await,
        }
    };
    ensure!(
        status.success(),
        "{name} ended with {status}:\n{}",
        process.log()
    );
    Ok(())
}

/// Waits until there is something.
pub(crate) async fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> Result<T> {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return Ok(found);
        }
        ensure!(Instant::now() < until, "waited {PATIENCE:?} for {what}");
        sleep(LOOK).await;
    }
}

/// Tries until it works.
pub(crate) async fn tried<T, E: std::fmt::Display, F: Future<Output = Result<T, E>>>(
    what: &str,
    mut attempt: impl FnMut() -> F,
) -> Result<T> {
    let until = Instant::now() + PATIENCE;
    loop {
        match attempt().await {
            Ok(done) => return Ok(done),
            Err(error) if Instant::now() >= until => bail!("{what}: {error}"),
            Err(_) => sleep(LOOK).await,
        }
    }
}

/// The memory of a process that is in use and its own, in bytes: without pages of files, such as
/// the program itself.
pub(crate) fn own_memory(process: u32) -> Result<f64> {
    Ok(kilobytes(&format!("/proc/{process}/status"), "RssAnon")? as f64)
}

/// All memory of a process that is in use, in bytes.
pub(crate) fn memory(process: u32) -> Result<f64> {
    Ok(kilobytes(&format!("/proc/{process}/status"), "VmRSS")? as f64)
}

/// The processor time that a process has used.
pub(crate) fn processor_time(process: u32) -> Result<Duration> {
    Ok(Times::of(process)?.own())
}
