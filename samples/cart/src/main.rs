//! The cart as a process.
//!
//! It listens on `HOST`:`PORT`, by default 127.0.0.1:8080; `firn dev` dials it there.

use std::env;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use anyhow::{Context as _, Result};
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main]
async fn main() -> Result<()> {
    let address = SocketAddr::new(
        setting("HOST", IpAddr::V4(Ipv4Addr::LOCALHOST))?,
        setting("PORT", 8080)?,
    );
    let mut terminated = signal(SignalKind::terminate())?;
    println!("cart: serving on {address}");
    tokio::select! {
        served = cart::serve(address) => served.with_context(|| format!("cannot serve on {address}")),
        _ = terminated.recv() => Ok(()),
        stopped = tokio::signal::ctrl_c() => Ok(stopped?),
    }
}

/// A setting from the environment, or its default.
fn setting<T>(name: &str, default: T) -> Result<T>
where
    T: std::str::FromStr<Err: std::error::Error + Send + Sync + 'static>,
{
    match env::var(name) {
        Ok(text) => text
            .parse()
            .with_context(|| format!("{name}={text:?} is not valid")),
        Err(_) => Ok(default),
    }
}
