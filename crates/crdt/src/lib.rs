//! Replicated data: types whose replicas change at the same time and agree when they have heard of
//! each other.
//!
//! A replicated entity is a [`State`] on every node that was asked for it. A function's change goes
//! in with [`State::apply`], which gives a [`Patch`] for the peers; they take it in with
//! [`State::merge`]. Patches may be lost, repeated and reordered. Replicas that compare their
//! [`Context`]s find out what is missing, and [`State::since`] gives it. [`State::value`] and
//! [`difference`] turn states into what functions understand.
//!
//! Pure: no I/O, no clock, no randomness, no protocol. Equal states encode to equal bytes.
//!
//! Delta-state replicated data types in the causal style: Almeida, Shoker and Baquero, "Delta state
//! replicated data types" (2018); the sets as in Bieniusa and others, "An optimized conflict-free
//! replicated set" (2012).
//!
//! # What functions can rely on
//! - **Counters**: every change counts once. In a map, a removal takes away what it saw; of a
//!   replica that changes the counter at the same time, all that this replica added stays.
//! - **Sets**: an addition wins over a removal that did not see it. Grow-only sets only add.
//! - **Flags** are on once anybody switched them on.
//! - **Registers**: the greatest stamp wins; then the lower node; then its later write.
//! - **Maps**: keys as in sets, an update counts as an addition; values each by their own type.
//!   Where replicas create values of different types at the same time, both are kept and the
//!   [`DataType`](firn_model::replicated::DataType) that comes first is shown; so too for entities.
//! - **Votes**: one for each node, the latest; only those of members count.
//! - **Deleted** is for ever and wins over everything.
//!
//! # Reading order
//! `dot` and `context` say what was seen; `entry` is the tree of what lives, made of `dotted` values
//! and `element`s; `state` puts both together, and `join` is why that works. `edit` makes changes,
//! `since` finds what a peer lacks, `retire` prunes; `value` and `difference` read.

mod context;
mod difference;
mod dot;
mod dotted;
mod edit;
mod element;
mod encoding;
mod entry;
mod join;
mod retire;
mod since;
mod spans;
mod state;
mod value;

pub use context::Context;
pub use difference::{Difference, difference};
pub use dot::Dot;
pub use edit::{Applied, ApplyError};
pub use encoding::DecodeError;
pub use retire::RetireError;
pub use state::{Gap, Patch, Presence, State};
pub use value::View;

#[cfg(test)]
mod tests;
