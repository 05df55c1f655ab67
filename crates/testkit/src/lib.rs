//! What tests share: contracts from a few lines of proto, real processes on free ports, clients.
//!
//! Only ever a dev-dependency of crates; the bench starts its processes with it too.

pub mod caller;
pub mod client;
pub mod contract;
pub mod firn;
pub mod function;
pub mod http2;
pub mod metrics;
pub mod own;
pub mod peer;
pub mod policies;
pub mod postgres;
pub mod process;
pub mod reflection;
