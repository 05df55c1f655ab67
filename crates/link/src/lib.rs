//! The connection to a function that Firn dials: Cloudstate, Akka Serverless and Kalix.
//!
//! One [`Function`] is one connection to one process, with the contract it declared. The engine
//! sees it as a [`firn_runtime::link::Link`]; [`watch::Watch`] finds functions, keeps the connection
//! and tells what becomes of it.
//!
//! # Reading order
//! [`watch`] is the life of a connection, `connection` one TCP connection with its end noticed
//! (`preface` finds out what it bears),
//! `discovery` the handshake, [`function`] the link itself, `stream` what its streams have in common,
//! `entity` and `session` those with one command at a time, `replica` those of replicated entities,
//! `action` its calls of actions, `report` what the function is told about itself.
//!
//! # Invariants
//! - It knows no store and decides nothing about state.
//! - No call or stream is made that the function's protocol does not name.

mod action;
mod connection;
mod discovery;
mod entity;
pub mod function;
mod preface;
mod replica;
mod report;
mod session;
mod stream;
pub mod v1;
pub mod watch;

pub use discovery::{Asker, DiscoverError, Family, Identification};
pub use function::Function;
