//! The real Firn beside a function that the test plays: the exact messages in both directions, as
//! the protocols of the families fix them.
//!
//! Everything goes through the public port and the function's own port; nothing of Firn is called.

mod action;
mod careful;
mod entity;
mod event_sourced;
mod hops;
mod passivation;
mod value;
mod world;
