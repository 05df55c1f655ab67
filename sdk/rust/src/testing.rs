//! A real Firn for integration tests: on free ports, with a store in memory and a folder of its own.
//!
//! ```no_run
//! # async fn example(function: firn_sdk::Function) -> Result<(), Box<dyn std::error::Error>> {
//! let firn = firn_sdk::testing::Firn::start().await?;
//! let running = function.address(firn.functions()).start()?;
//! firn.serving().await;
//! // Call it at firn.clients(), with any gRPC or HTTP client.
//! # Ok(())
//! # }
//! ```

use std::env;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader, Lines};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// How long a start may take: far more than it ever does.
const PATIENCE: Duration = Duration::from_secs(30);

/// Why there is no Firn.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The binary cannot be started.
    #[error("cannot start {}: {cause}; name the firn binary in FIRN_BIN", binary.display())]
    Binary {
        /// What was tried.
        binary: PathBuf,
        /// Why it did not start.
        cause: std::io::Error,
    },
    /// Its folder cannot be made.
    #[error("no folder for firn: {0}")]
    Folder(std::io::Error),
    /// It ended, or did not say that it is up.
    #[error("firn did not come up; it said:\n{log}")]
    NotUp {
        /// Its log.
        log: String,
    },
}

/// What it has said: a contract is served, and a connection can be sent commands.
#[derive(Debug, Default, Clone, Copy)]
struct Seen {
    serving: bool,
    connected: bool,
}

/// A running Firn. It is killed, by its own process id, when this is dropped.
#[derive(Debug)]
pub struct Firn {
    child: Child,
    _folder: TempDir,
    // Reads what it logs, so that it never waits for a reader.
    _readers: JoinSet<()>,
    serving: watch::Receiver<Seen>,
    functions: String,
    clients: String,
    admin: String,
}

impl Firn {
    /// Starts the binary in `FIRN_BIN`, or `firn` on the `PATH`, and waits until it is up.
    ///
    /// # Errors
    /// If it does not come up.
    pub async fn start() -> Result<Self, StartError> {
        Self::start_with(&[]).await
    }

    /// The same with further arguments of `firn proxy`.
    ///
    /// # Errors
    /// If it does not come up.
    pub async fn start_with(arguments: &[&str]) -> Result<Self, StartError> {
        let folder = tempfile::tempdir().map_err(StartError::Folder)?;
        let function_listen: &[&str] = if arguments.contains(&"--function-listen") {
            &[]
        } else {
            &["--function-listen", "127.0.0.1:0"]
        };
        let binary = env::var_os("FIRN_BIN").map_or_else(|| PathBuf::from("firn"), PathBuf::from);
        let mut child = Command::new(&binary)
            .current_dir(folder.path())
            .arg("proxy")
            .args(["--family", "firn", "--store", "memory:"])
            .args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"])
            .args(function_listen)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|cause| StartError::Binary { binary, cause })?;
        let mut out = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        let mut err = BufReader::new(child.stderr.take().expect("it is piped")).lines();
        let mut log = String::new();
        let up = tokio::time::timeout(PATIENCE, up(&mut out, &mut err, &mut log)).await;
        let Ok(Some(up)) = up else {
            return Err(StartError::NotUp { log });
        };
        let (serves, serving) = watch::channel(Seen::default());
        let mut readers = JoinSet::new();
        readers.spawn(drain(out, serves.clone()));
        readers.spawn(drain(err, serves));
        let address = |name: &str| up[name].as_str().unwrap_or_default().to_owned();
        Ok(Self {
            child,
            _folder: folder,
            _readers: readers,
            serving,
            functions: function_address(&address("functions"), arguments),
            clients: address("clients"),
            admin: address("admin"),
        })
    }

    /// Kills it and waits for its end, so that its addresses are free again.
    ///
    /// # Errors
    /// If the process cannot be killed.
    pub async fn kill(mut self) -> std::io::Result<()> {
        self.child.kill().await
    }

    /// Waits until it serves a function.
    pub async fn serving(&self) {
        let mut serving = self.serving.clone();
        // It may have ended; whoever calls it then is told.
        let _ = serving
            .wait_for(|seen| seen.serving && seen.connected)
            .await;
    }

    /// Where functions dial in: for [`Function::address`](crate::Function::address).
    #[must_use]
    pub fn functions(&self) -> &str {
        &self.functions
    }

    /// Where clients come in, as `host:port`: gRPC, gRPC-Web and HTTP/JSON.
    #[must_use]
    pub fn clients(&self) -> &str {
        &self.clients
    }

    /// The admin port, as `host:port`.
    #[must_use]
    pub fn admin(&self) -> &str {
        &self.admin
    }
}

/// What a function dials.
fn function_address(listens: &str, arguments: &[&str]) -> String {
    let tls = arguments.contains(&"--function-tls-cert");
    match (listens.starts_with("unix:"), tls) {
        (true, _) => listens.to_owned(),
        (false, true) => format!("https://{listens}"),
        (false, false) => format!("http://{listens}"),
    }
}

/// Waits for the line that says that it is up.
async fn up<A, B>(out: &mut Lines<A>, err: &mut Lines<B>, log: &mut String) -> Option<Value>
where
    A: tokio::io::AsyncBufRead + Unpin,
    B: tokio::io::AsyncBufRead + Unpin,
{
    let (mut out_open, mut err_open) = (true, true);
    while out_open || err_open {
        let line = tokio::select! {
            line = out.next_line(), if out_open => {
                let line = line.ok().flatten();
                out_open = line.is_some();
                line
            }
            line = err.next_line(), if err_open => {
                let line = line.ok().flatten();
                err_open = line.is_some();
                line
            }
        };
        let Some(line) = line else { continue };
        log.push_str(&line);
        log.push('\n');
        let said = serde_json::from_str::<Value>(&line).ok();
        if let Some(said) = said.filter(|said| said["message"] == "Firn is up") {
            return Some(said);
        }
    }
    None
}

/// Reads on, and tells when it says that it serves a function.
async fn drain(mut lines: Lines<BufReader<impl AsyncRead + Unpin>>, serves: watch::Sender<Seen>) {
    while let Ok(Some(line)) = lines.next_line().await {
        let said = serde_json::from_str::<Value>(&line).unwrap_or_default();
        let message = said["message"].as_str().unwrap_or_default();
        serves.send_modify(|seen| match message {
            "a function has connected" => seen.connected = true,
            _ if message.starts_with("serving ") => seen.serving = true,
            _ => {}
        });
    }
}
