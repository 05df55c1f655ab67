//! The real Firn beside a function that the test plays: the exact messages in both directions, as
//! the protocols of the families fix them.
//!
//! Everything goes through the public port and the function's own port; nothing of Firn is called.

mod action;
mod away;
mod careful;
mod crowd;
mod discovery;
mod ending;
mod entity;
mod event_sourced;
mod front;
mod hops;
mod old;
mod passivation;
mod replicated;
mod value;
mod world;
