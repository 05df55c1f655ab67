//! The conformance kit: judges a function, in any language, from outside.
//!
//! [`run`] plays Firn at an address. The function under test is a program with the model services of
//! `proto/firn/tck/v1/model.proto`; it dials in, and the kit checks that it keeps the requirements of
//! `proto/firn/v1/README.md`, one [`Outcome`] for each check.
//!
//! [`run_proxy`] is the other side: it plays functions and clients around a Firn, and judges that.
//!
//! The crate knows nothing of Firn's own crates: it reads the protocol anew, so that a mistake there
//! is not made here again.
//!
//! # Where what is
//! - `run`: the order of the checks, their time, their report in `report`.
//! - `checks`, `workload`: what is checked, written with `kit`.
//! - `connection`: Firn's side of a connection and the referee over all that comes on it; `oracle`:
//!   what steps mean; `record` and `data`: the store.
//! - `wire`: gRPC.
//! - `proxy`: the other side.
//! - `families`: functions of Cloudstate, Akka Serverless and Kalix.

mod fault;
mod report;
mod run;

mod checks;
mod connection;
mod data;
mod families;
mod kit;
mod oracle;
mod proto;
mod proxy;
mod record;
mod service;
mod show;
mod wire;
mod workload;

#[cfg(test)]
mod tests;

pub use families::{Family, FunctionOptions, list_functions, run_function};
pub use fault::Fault;
pub use proxy::{
    FamilyProxyOptions, Proxy, ProxyOptions, list_family_proxy, list_proxy, run_family_proxy,
    run_proxy,
};
pub use report::{Outcome, Output, Silent, Summary, Text, Verdict};
pub use run::{COMMANDS_DEFAULT, Options, TIMEOUT_DEFAULT, list, run};
