//! The model services of the conformance kit (`tck/README.md`), on the public API of the SDK.
//!
//! `tck ADDRESS`, with `host:port` or `unix:path`.

mod action;
mod entities;
mod replicated;
mod steps;

use firn_sdk::{Function, RunError};

/// What `firn-sdk-build` generated from the contract.
#[expect(unreachable_pub, reason = "generated")]
mod model {
    firn_sdk::include_proto!("firn.tck.v1");
}

/// How many entities are held, over all components.
const INCARNATIONS: usize = 64;

#[tokio::main]
async fn main() -> Result<(), RunError> {
    let address = std::env::args().nth(1).unwrap_or_default();
    let address = if address.starts_with("unix:") {
        address
    } else {
        format!("http://{address}")
    };
    let function = Function::new("tck", env!("CARGO_PKG_VERSION"))
        .address(address)
        .incarnations(INCARNATIONS)
        .add(action::component())
        .add(entities::value())
        .add(entities::value_two())
        .add(entities::event_sourced())
        .add(entities::actor());
    replicated::add(function).run().await
}
