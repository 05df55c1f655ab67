//! Functions of Cloudstate, Akka Serverless and Kalix: servers that the proxy dials, with a stream for
//! each active entity.
//!
//! Requests, states and deltas are turned into those of firn.v1 and back, so the steps mean what
//! [`crate::oracle`] says, values are what [`crate::data`] has, and one workload serves all.
//!
//! # Where what is
//! - `dialect`: in what the families differ; `contract`: what a function declares.
//! - `wire`: the messages; `stream`: which of them come on a stream; `delta`: replicated data;
//!   `convert`: to firn.v1 and back.
//! - `function`: judges a function, with one of its own to be judged by in `answer`.

#[cfg(test)]
mod answer;
pub(crate) mod contract;
pub(crate) mod convert;
pub(crate) mod delta;
pub(crate) mod dialect;
mod function;
pub(crate) mod stream;

pub use dialect::Family;
pub use function::{FunctionOptions, list_functions, run_function};

/// The messages: `tck/proto/firn/tck/families/wire.proto`.
#[expect(
    unreachable_pub,
    reason = "generated code knows nothing of where it is included"
)]
pub(crate) mod wire {
    include!("generated/firn.tck.families.rs");
}
