//! The real Firn beside a function that the test plays on Firn's own protocol, firn.v1: the exact
//! frames in both directions.
//!
//! The tests cite the requirements of `proto/firn/v1/README.md` as R1, R2, …. Everything goes through
//! the client port and the function port; nothing of Firn is called.

mod actions;
mod actors;
mod beginning;
mod calls;
mod chunks;
mod contracts;
mod decisions;
mod ending;
mod events;
mod fencing;
mod floods;
mod flow;
mod incarnations;
mod node;
mod replaced;
mod replicas;
mod requests;
mod retention;
mod sockets;
mod timers;
mod values;
mod world;
