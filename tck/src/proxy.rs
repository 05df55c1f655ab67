//! The other side: judges a proxy, which the kit surrounds.
//!
//! [`run_proxy`] plays functions with the model services at the function port and clients at the client
//! port, and holds the proxy to the requirements that bind Firn.
//!
//! # Where what is
//! - `run`: the order of the checks, the proxy's start and end.
//! - `checks`: what is checked, written with `rig`.
//! - `function`: a function's side of a connection, with the referee; `player`: the model services, and
//!   what must be in the store; `client`: gRPC.

mod checks;
pub(crate) mod client;
mod families;
mod function;
mod player;
mod rig;
mod run;

pub use families::{FamilyProxyOptions, list_family_proxy, run_family_proxy};
pub use run::{Proxy, ProxyOptions, list_proxy, run_proxy};
