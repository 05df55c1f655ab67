//! The function that Firn starts itself: what sets it up, then its process.
//!
//! # Fate
//! A task runs both one after the other. Its failure ends Firn; it ends itself when it is told to
//! stop, and nothing that it started is left then. The set-up is told as soon as Firn is: nobody waits
//! for it. The function is told last, when nothing is asked of it any more.

mod child;
mod group;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use firn_model::code::Code;
use tokio::process::Command;
use tokio::sync::{Notify, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::info;

use crate::exit::Failure;
use crate::project::{Project, SetUp};
use crate::settings::{Config, StoreUrl};
use child::Child;
use group::{Group, end_left_behind};

/// A function to start, and what it needs to know.
pub(super) struct Start {
    project: Project,
    child: Child,
}

/// When what was started ends.
pub(super) struct Stop {
    /// Firn is told to stop: the set-up ends.
    pub(super) asked: CancellationToken,
    /// Firn has no commands left: the function ends.
    pub(super) drained: CancellationToken,
}

impl Start {
    /// What is to be started, if there is a command; the function dials at `dial`, and `started` is
    /// told whenever it will listen soon.
    pub(super) fn of(
        project: Project,
        config: &Config,
        dial: Option<String>,
        started: Arc<Notify>,
    ) -> Option<Self> {
        if project.command.is_empty() {
            return None;
        }
        let address = config.function.rsplit_once(':');
        let (host, port) = address.unwrap_or(("127.0.0.1", "8080"));
        let folder = match &config.store {
            StoreUrl::Embedded(data) => data.parent().map(PathBuf::from).unwrap_or_default(),
            StoreUrl::Memory | StoreUrl::Postgres(_) => PathBuf::from(".firn"),
        };
        let child = Child {
            command: project.command.clone(),
            host: host.to_owned(),
            port: port.to_owned(),
            dial: dial.unwrap_or_default(),
            token: config.function_token.clone(),
            record: folder.join("function.pid"),
            started,
        };
        Some(Self { project, child })
    }

    /// Starts it as one of `tasks`. What an earlier run left behind has ended by then, so it is never
    /// taken for the new one. Gives a future that ends only with a failure.
    pub(super) async fn run(
        self,
        tasks: &TaskTracker,
        stop: Stop,
    ) -> impl Future<Output = Failure> + use<> {
        end_left_behind(&self.child.record).await;
        let (failed, failure) = oneshot::channel();
        tasks.spawn(async move {
            if let Err(failure) = self.set_up_and_run(stop).await {
                let _ = failed.send(failure);
            }
        });
        async move {
            match failure.await {
                Ok(failure) => failure,
                Err(_) => std::future::pending().await,
            }
        }
    }

    async fn set_up_and_run(self, stop: Stop) -> Result<(), Failure> {
        let Self { project, child } = self;
        set_up(&project.set_up, &child.record, &stop.asked).await?;
        if stop.asked.is_cancelled() {
            return Ok(());
        }
        child.run(stop.drained).await.map_err(|error| {
            let cause = format!("{}: {error}", project.command.join(" "));
            let remedy = "check the command after --, or of firn.toml, and that it is on the PATH";
            Failure::new(Code::CommandNotStarted, cause, remedy)
        })
    }
}

/// Does what is to be done before the function is started for the first time.
async fn set_up(set_up: &SetUp, record: &Path, stop: &CancellationToken) -> Result<(), Failure> {
    let line = set_up.command.join(" ");
    let failed = |cause: String| {
        let remedy = "run it by hand and look at what it says; firn.toml names it";
        Failure::new(Code::SetUpFailed, format!("{line}: {cause}"), remedy)
    };
    let (Some((program, arguments)), false) = (set_up.command.split_first(), set_up.is_done())
    else {
        return Ok(());
    };
    info!("setting up: {line}");
    let mut command = Command::new(program);
    let ended = match Group::start(command.args(arguments), record) {
        Ok(group) => group.ended(stop).await,
        Err(error) => Err(error),
    };
    match ended {
        Ok(None) => Ok(()),
        Ok(Some(status)) if status.success() => set_up
            .write_down()
            .map_err(|error| failed(error.to_string())),
        Ok(Some(status)) => Err(failed(status.to_string())),
        Err(error) => Err(failed(error.to_string())),
    }
}
