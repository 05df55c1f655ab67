//! Logs: readable in development, JSON in production.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;

use crate::settings::{Config, Mode};

/// Starts logging to the error output.
pub(crate) fn start(config: &Config) {
    // The filter was checked with the other settings.
    let filter = EnvFilter::try_new(&config.log).unwrap_or_default();
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr);
    match config.mode {
        Mode::Dev => logs
            .compact()
            .with_target(false)
            .with_ansi(io::stderr().is_terminal())
            .init(),
        Mode::Proxy => logs.json().flatten_event(true).init(),
    }
}
