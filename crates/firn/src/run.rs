//! Serving: the life of the process that stands beside a function.
//!
//! # Reading order
//! [`proxy`] is all parts together: it starts them, lets them serve and drains them. It takes its
//! [`ports`] first, tells each of the [`parts`] its share of the settings, and then [`follow`]s what
//! becomes of the functions. [`function`] is the one that Firn starts itself, in development.
//! [`files`] are what the system gives to the process, [`signals`] how a person ends all of that.

mod files;
mod follow;
mod function;
mod parts;
mod ports;
mod proxy;
mod signals;

use std::future::pending;
use std::process::ExitCode;

use firn_model::code::Code;
use firn_runtime::replicated::network::Alone;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::info;

use crate::exit::Failure;
use crate::project::Project;
use crate::settings::{Config, Mode};
pub(crate) use proxy::Proxy;
use signals::Signals;

/// Serves until told to stop, with the function of `project` if that has a command; gives the exit
/// code.
pub(crate) fn run(config: Config, project: Project) -> ExitCode {
    files::ask_for_all();
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .worker_threads(config.threads.get())
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return cannot_start(error).print(),
    };
    match runtime.block_on(serve(config, project)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.print(),
    }
}

async fn serve(config: Config, project: Project) -> Result<(), Failure> {
    let stop = CancellationToken::new();
    let tasks = TaskTracker::new();
    // The function ends last: until then it has commands to finish.
    let drained = CancellationToken::new();
    let signals = Signals::new().map_err(cannot_start)?;
    let ended = CancellationToken::new();
    let signals = tokio::spawn(signals.watch(stop.clone(), ended.clone()));
    let proxy = Proxy::start(&config, &Alone, stop.clone()).await?;
    let started = proxy.hurry.clone();
    let dial = proxy
        .functions
        .as_ref()
        .map(|address| ports::dialed(address, &config));
    let stop = function::Stop {
        asked: stop,
        drained: drained.clone(),
    };
    let result = match function::Start::of(project, &config, dial, started) {
        Some(function) => {
            let failed = function.run(&tasks, stop).await;
            proxy.run(failed).await
        }
        None => {
            if config.mode == Mode::Dev {
                proxy.say_what_it_waits_for();
            }
            proxy.run(pending()).await
        }
    };
    drained.cancel();
    tasks.close();
    tasks.wait().await;
    ended.cancel();
    let _ = signals.await;
    info!("Firn has stopped");
    result
}

/// The system refuses what every program may have.
fn cannot_start(error: impl std::fmt::Display) -> Failure {
    Failure::new(
        Code::ListenFailed,
        error,
        "look at the limits of this process: ulimit -a",
    )
}
