//! A Restate server with a virtual object on its SDK for Rust, each in a process of its own.
//!
//! The server is one node on its own log and its own metadata, as its documentation has it for a single
//! node. What is written here beside the settings of a case is where it listens and keeps its data, and
//! that it does not call home.

use std::fs;
use std::net::SocketAddr;
use std::process::Command;

use anyhow::{Result, bail, ensure};
use firn_load::{Client, Request, Watched};
use firn_testkit::process::Process;
use rustix::process::Signal;
use serde_json::json;
use tempfile::TempDir;

use crate::peers::Peers;
use crate::rig::{Programs, Server, free_address, tried, until};

/// The name of the virtual object, as it says itself.
const OBJECT: &str = "Counter";

/// Where deployments are registered, at the admin port.
const DEPLOYMENTS: &str = "/deployments";

/// A running Restate.
pub(crate) struct Restate {
    process: Process,
    counter: Server,
    /// Where clients come in.
    pub(crate) ingress: SocketAddr,
    _folder: TempDir,
}

impl Restate {
    /// Starts one with these settings, lines of its configuration file, and waits until it serves the
    /// object.
    pub(crate) async fn start(programs: &Programs, settings: &[&str]) -> Result<Self> {
        let peers = Peers::of(programs);
        let server = peers.restate_server().await?;
        let mut counter = Command::new(&peers.restate_counter);
        let counter = Server::start(programs, "restate-counter", &mut counter).await?;
        let folder = programs.folder()?;
        let [ingress, admin, fabric] = [(); 3].map(|()| free_address());
        let file = folder.path().join("restate.toml");
        let data = folder.path().join("data");
        let mut text = settings.join("\n");
        text += &format!(
            r#"
base-dir = {data:?}
node-name = "bench"
listen-mode = "tcp"
bind-ip = "127.0.0.1"
bind-port = {fabric}
disable-telemetry = true
[admin]
bind-port = {admin}
[ingress]
bind-port = {ingress}
"#,
            data = data.display().to_string(),
            fabric = fabric.port(),
            admin = admin.port(),
            ingress = ingress.port(),
        );
        fs::write(&file, text)?;
        let mut command = Command::new(server);
        command.arg("--no-logo").arg("--config-file").arg(&file);
        // Settings of the environment would go before those of the file.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("RESTATE_") {
                command.env_remove(name);
            }
        }
        let log = folder.path().join("log");
        let mut restate = Self {
            process: Process::start("restate-server", &mut command, &log),
            counter,
            ingress,
            _folder: folder,
        };
        match restate.register(admin).await {
            Ok(()) => Ok(restate),
            Err(error) => match restate.process.ended() {
                Some(status) => bail!("Restate ended with {status}:\n{}", restate.process.log()),
                None => Err(error.context(restate.process.log())),
            },
        }
    }

    /// Tells it of the object, and waits until that answers.
    async fn register(&self, admin: SocketAddr) -> Result<()> {
        let deployment = json!({ "uri": format!("http://{}/", self.counter.address) });
        let path = DEPLOYMENTS.parse()?;
        tried("the registration with Restate", || {
            let request = Request::json(&path, deployment.to_string());
            async move { Client::connect(admin).await?.send(request).await }
        })
        .await?;
        let path = add("nobody");
        let body = r#"{"cartId":"nobody","productId":"","name":"","quantity":0}"#;
        tried("the first call through Restate", || {
            let request = path.parse().map(|path| Request::json(&path, body));
            let ingress = self.ingress;
            async move { anyhow::Ok(Client::connect(ingress).await?.send(request?).await?) }
        })
        .await
    }

    /// Its processes by their names, the server first.
    pub(crate) fn processes(&self) -> Vec<Watched> {
        vec![
            Watched::new("Restate", self.process.id()),
            self.counter.watched("function"),
        ]
    }

    /// Asks it to stop and waits until it has; the object goes as well.
    pub(crate) async fn stop(mut self) -> Result<()> {
        self.process.signal(Signal::TERM);
        let ended = until("the end of Restate", || self.process.ended()).await?;
        let log = self.process.log();
        ensure!(ended.success(), "Restate ended with {ended}:\n{log}");
        Ok(())
    }
}

/// The path of the method that adds to an object's sum.
pub(crate) fn add(key: &str) -> String {
    format!("/{OBJECT}/{key}/add")
}
