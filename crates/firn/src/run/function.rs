//! The function that Firn starts itself.

mod child;

use std::path::PathBuf;
use std::sync::Arc;

use firn_model::code::Code;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::exit::Failure;
use crate::settings::{Config, StoreUrl};
use child::{Child, end_left_behind};

/// Starts the function as a child, if there is a command for it. Gives a future that ends only if
/// it cannot be started. What an earlier run left behind has ended by then, so it is never taken
/// for the new one.
pub(super) async fn start(
    config: &Config,
    dial: Option<String>,
    command: Vec<String>,
    tasks: &TaskTracker,
    stop: &CancellationToken,
    started: Arc<Notify>,
) -> impl Future<Output = Failure> + use<> {
    let (failed, failure) = tokio::sync::oneshot::channel();
    if !command.is_empty() {
        let (host, port) = config
            .function
            .rsplit_once(':')
            .unwrap_or(("127.0.0.1", "8080"));
        let folder = match &config.store {
            StoreUrl::Embedded(data) => data.parent().map(PathBuf::from).unwrap_or_default(),
            StoreUrl::Memory => PathBuf::from(".firn"),
        };
        let record = folder.join("function.pid");
        end_left_behind(&record).await;
        let child = Child {
            command: command.clone(),
            host: host.to_owned(),
            port: port.to_owned(),
            dial: dial.unwrap_or_default(),
            token: config.function_token.clone(),
            record,
            started,
        };
        let run = child.run(stop.clone());
        tasks.spawn(async move {
            if let Err(error) = run.await {
                let cause = format!("{}: {error}", command.join(" "));
                let remedy = "check the command after --, and that it is on the PATH";
                let _ = failed.send(Failure::new(Code::CommandNotStarted, cause, remedy));
            }
        });
    }
    async move {
        match failure.await {
            Ok(failure) => failure,
            Err(_) => std::future::pending().await,
        }
    }
}
