//! Judges a function of these families: plays the proxy that dials it.
//!
//! # Where what is
//! - `run`: the order of the checks; `rig`: the connection, discovery, and what checks are written with.
//! - `entity`: a stream of an entity, with the referee; `action`: calls of an action.
//! - `checks`, `workload`: what is checked.

mod action;
mod checks;
mod entity;
mod rig;
mod run;
mod workload;

#[cfg(test)]
mod tests;

pub use run::{FunctionOptions, list_functions, run_function};
