//! Proxies of Cloudstate, Akka Serverless and Kalix, which dial the function.
//!
//! [`run_family_proxy`] plays a function with the services of `proto/proxy/model.proto` and clients of
//! it, and holds the proxy to the requirements of `families.md`.
//!
//! # Where what is
//! - `run`: the order of the checks, the proxy's start and end.
//! - `checks`: what is checked, written with `world`.
//! - `host`: the function's port; `stream`: what comes on it, for entities and actions.
//! - `message`: the messages of entities; `contract`: what is declared.

mod checks;
mod contract;
mod host;
mod http;
mod ledger;
mod message;
mod player;
mod reflection;
mod run;
mod stream;
mod world;

pub use run::{FamilyProxyOptions, list_family_proxy, run_family_proxy};
