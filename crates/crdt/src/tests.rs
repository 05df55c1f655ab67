//! Properties: replicas that change, lose, repeat, restart and meet again.
//!
//! [`cluster`] runs steps on real states and checks each join against its definition; the others say
//! what has to hold afterwards.

mod changes;
pub(crate) mod cluster;
mod cost;
mod differences;
mod edits;
mod laws;
mod meaning;
mod model;
mod plain;
mod pruning;
