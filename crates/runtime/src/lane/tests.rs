//! The machine as data: inputs in, outputs out, no function and no store.

mod actors;
mod bench;
mod commands;
mod commits;
mod failures;
mod instances;
mod interleavings;
mod lost;
mod pipelining;
mod retention;
mod room;
mod timers;
