//! The samples as a process. It dials Firn at `FIRN_ADDRESS`, by default `http://127.0.0.1:9001`.

use firn_sdk::RunError;
use tracing_subscriber::EnvFilter;

// region: main
#[tokio::main]
async fn main() -> Result<(), RunError> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).init();
    samples::function().run().await
}
// endregion: main
