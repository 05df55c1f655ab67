//! A shopping cart: an event sourced entity that speaks the Kalix protocol, without an SDK.
//!
//! [`cart`] is the domain: commands in, events out, nothing else. [`entity`] speaks the protocol of
//! one entity's stream, [`server`] carries it over gRPC.
//!
//! It listens on `HOST`:`PORT`, by default 127.0.0.1:8080; `firn dev` dials it there.

mod cart;
mod entity;
mod server;

/// The messages of `proto/shop/`.
#[rustfmt::skip]
#[expect(unreachable_pub, reason = "the generator knows no other visibility")]
mod shop {
    include!("generated/shop.rs");
}

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
        served = server::serve(address) => served.with_context(|| format!("cannot serve on {address}")),
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
