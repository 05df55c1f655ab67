//! Load: calls made in a closed loop or on a schedule, how long they took, and what they cost.
//!
//! # Reading order
//! [`load`] makes calls of any kind and says what came of it; `open` begins those of an open loop,
//! [`pacer`] decides when, `timer` wakes it; [`highest`] finds the highest rate that such a loop
//! sustains; [`latency`] holds how long calls took, [`part`] the same by parts of the time; [`usage`] reads
//! what processes used, `host` what the host of a virtual machine kept from them; [`client`] makes unary
//! calls over HTTP/2, gRPC or JSON, at little cost; [`target`] loads a server with them.
//!
//! # Invariants
//! - The latency of a call in an open loop counts from the moment it was due, whatever kept it from
//!   starting: a slow server is not asked less, and what waits is not left out.
//! - What the load itself costs, and what it could not do in time, is told with what it measured.

pub mod client;
pub mod highest;
mod host;
pub mod latency;
pub mod load;
mod open;
pub mod pacer;
pub mod part;
pub mod target;
mod timer;
pub mod usage;

pub use client::{Client, Fault, Request};
pub use highest::{KeptUp, Search};
pub use host::STOLEN_MAX;
pub use latency::Latency;
pub use load::{Error, Failure, Load, Outcome, Pace, run};
pub use part::{Part, Undisturbed};
pub use target::Target;
pub use usage::{Cost, Times, Watched};
