//! A virtual object on the SDK of Restate: keeps a sum, adds to it, and gives it back.
//!
//! Serves at `HOST`:`PORT`, until it is asked to stop.

#![expect(
    missing_docs,
    reason = "the macro of the SDK makes methods without any"
)]

use std::env;

use anyhow::{Context as _, Result};
use firn_bench_peers::Item;
use restate_sdk::prelude::*;
use tokio::net::TcpSocket;

/// Where the sum is kept.
const SUM: &str = "sum";

/// Connections that may wait to be accepted; a Restate makes a few.
const CONNECTIONS_QUEUED: u32 = 64;

struct Counter;

#[restate_sdk::object]
impl Counter {
    #[handler]
    async fn add(
        &self,
        context: ObjectContext<'_>,
        Json(item): Json<Item>,
    ) -> Result<Json<i64>, HandlerError> {
        let sum = context.get::<i64>(SUM).await?.unwrap_or_default() + i64::from(item.quantity);
        context.set(SUM, sum);
        Ok(Json(sum))
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let of = |name: &str| env::var(name).with_context(|| format!("{name} is not set"));
    let address = format!("{}:{}", of("HOST")?, of("PORT")?);
    // The SDK leaves Nagle's algorithm on, which makes single calls wait 40 ms. On Linux connections
    // inherit from the socket that they were accepted at.
    let socket = TcpSocket::new_v4()?;
    socket.set_nodelay(true)?;
    socket.set_reuseaddr(true)?;
    socket.bind(address.parse()?)?;
    let listener = socket.listen(CONNECTIONS_QUEUED)?;
    HttpServer::new(Endpoint::builder().bind(Counter).build())
        .serve(listener)
        .await;
    Ok(())
}
