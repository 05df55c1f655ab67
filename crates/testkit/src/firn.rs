//! A real Firn on free ports and a private folder, which can be killed and started again.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::own::Dial;
use crate::process::Process;

/// How a Firn is started.
#[derive(Debug, Clone)]
pub struct Setup {
    /// The binary: `env!("CARGO_BIN_EXE_firn")` in its own tests.
    pub binary: PathBuf,
    /// Where the function is.
    pub function: SocketAddr,
    /// Further arguments.
    pub args: Vec<String>,
}

/// A running `firn proxy` with an embedded store in its folder, unless it is given another.
pub struct Firn {
    setup: Setup,
    ulimit: Option<String>,
    // Dropped before the folder, where its log is.
    process: Process,
    folder: TempDir,
    /// The client port.
    pub clients: SocketAddr,
    /// The admin port.
    pub admin: SocketAddr,
    /// Where functions dial in, as it says; empty if none may.
    pub functions: String,
}

impl Firn {
    /// Starts one and waits until it listens. The function may come later.
    ///
    /// # Panics
    /// If it does not come up.
    pub fn start(setup: Setup) -> Self {
        Self::start_with(setup, None)
    }

    /// Starts one as a process with limits, as the shell's `ulimit` takes them.
    ///
    /// # Panics
    /// If it does not come up.
    pub fn limited(setup: Setup, ulimit: &str) -> Self {
        Self::start_with(setup, Some(ulimit.to_owned()))
    }

    fn start_with(setup: Setup, ulimit: Option<String>) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let (process, up) = launch(&setup, ulimit.as_deref(), folder.path());
        Self {
            setup,
            ulimit,
            folder,
            process,
            clients: up.clients,
            admin: up.admin,
            functions: up.functions,
        }
    }

    /// Starts one and waits until it serves its function.
    ///
    /// # Panics
    /// If it does not come up.
    pub fn serving(setup: Setup) -> Self {
        let mut firn = Self::start(setup);
        firn.wait_until_serving();
        firn
    }

    /// Waits until it serves its function, since it was last started.
    pub fn wait_until_serving(&mut self) {
        self.wait_for_log("serving ");
    }

    /// Waits for a text in the log, since it was last started.
    pub fn wait_for_log(&mut self, text: &str) {
        let start = run_start(&self.process.log());
        self.process.wait_for(text, |process| {
            process.log()[start..].contains(text).then_some(())
        });
    }

    /// Waits until a text is in the log this many times, since it was last started.
    pub fn wait_for_log_times(&mut self, text: &str, times: usize) {
        let start = run_start(&self.process.log());
        self.process.wait_for(text, |process| {
            let found = process.log()[start..].matches(text).count();
            (found >= times).then_some(())
        });
    }

    /// Its log since it was last started.
    pub fn log(&self) -> String {
        let log = self.process.log();
        log[run_start(&log)..].to_owned()
    }

    /// Where functions dial in, without TLS.
    ///
    /// # Panics
    /// If none may.
    pub fn dial(&self) -> Dial {
        match self.functions.strip_prefix("unix:") {
            Some(path) => Dial::Unix(path.into()),
            None => Dial::Tcp(self.functions.parse().expect("an address")),
        }
    }

    /// Its folder; the data is in `data`.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Kills it without a word.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it again on the same folder, on new ports. More arguments may be given.
    pub fn start_again(&mut self) {
        self.process.kill();
        let (process, up) = launch(&self.setup, self.ulimit.as_deref(), self.folder.path());
        self.process = process;
        (self.clients, self.admin) = (up.clients, up.admin);
        self.functions = up.functions;
    }

    /// Asks it to stop in order and waits for its end.
    pub fn stop(&mut self) -> ExitStatus {
        self.process.signal(Signal::TERM);
        self.process.wait()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> ExitStatus {
        self.process.wait()
    }
}

/// What each run begins with in the log.
const RUN: &str = "--- a new run\n";

fn run_start(log: &str) -> usize {
    log.rfind(RUN).unwrap_or(0)
}

/// Where one listens.
struct Up {
    clients: SocketAddr,
    admin: SocketAddr,
    functions: String,
}

fn launch(setup: &Setup, ulimit: Option<&str>, folder: &Path) -> (Process, Up) {
    let log = folder.join("firn.log");
    let before = std::fs::read_to_string(&log).unwrap_or_default();
    std::fs::write(&log, before + RUN).expect("a log");
    let mut command = match ulimit {
        None => Command::new(&setup.binary),
        Some(ulimit) => {
            let mut command = Command::new("sh");
            let script = format!("ulimit {ulimit} && exec \"$0\" \"$@\"");
            command.arg("-c").arg(script).arg(&setup.binary);
            command
        }
    };
    command
        .current_dir(folder)
        .arg("proxy")
        .args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"])
        .args(["--function", &setup.function.to_string()])
        .args(&setup.args);
    if !setup.args.iter().any(|arg| arg == "--store") {
        let data = folder.join("data");
        command.args(["--store", &format!("embedded:{}", data.display())]);
    }
    if !setup.args.iter().any(|arg| arg == "--function-listen") {
        command.args(["--function-listen", "127.0.0.1:0"]);
    }
    let mut process = Process::start("firn", &mut command, &log);
    let up = process.wait_for("word that it is up", |process| {
        let log = process.log();
        log[run_start(&log)..].lines().find_map(addresses)
    });
    (process, up)
}

/// The addresses in the line that says that Firn is up.
fn addresses(line: &str) -> Option<Up> {
    let line: Value = serde_json::from_str(line).ok()?;
    let address = |name: &str| line[name].as_str()?.parse().ok();
    (line["message"] == "Firn is up").then_some(())?;
    Some(Up {
        clients: address("clients")?,
        admin: address("admin")?,
        functions: line["functions"].as_str().unwrap_or_default().to_owned(),
    })
}
