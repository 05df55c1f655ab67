//! Rows: how writes become rows of an ordered map of bytes, and how rows become entities again.
//!
//! Every backend that is an ordered map shares this mapping. [`apply`] turns each [`Write`] into
//! puts and deletes, [`read`] and [`replicas`] answer the questions of [`crate::Store`], and none
//! does I/O: they see rows through [`View`] and write into an [`Overlay`], which the backend then
//! stores as one atomic batch.
//!
//! # How it works
//! [`key`] lays out the keys, [`value`] the values. An entity has one small row with what is known
//! of it ([`value::EntityRow`]); its state, its snapshot and each event have rows of their own, so
//! that appending an event never rewrites a large state and listing never reads one. Every change
//! also leaves a row under (slot, sequence) for those who tail the slot. The row of a value's change
//! does not repeat the state: only the newest change of a value is kept, and that *is* the state.
//! A replica has a small row and one for its state too, both under the node that writes them.
//!
//! # Invariants
//! - Applying a write reads only rows that earlier writes wrote, never a clock, so replaying the
//!   same writes gives the same rows. ([`sweep`] only removes rows that no reader can see.)
//! - The events of one generation of an entity have the numbers after `trimmed` to `last_event`
//!   without a gap; readers report a gap as damage.
//!
//! # Not here
//! Whether a commit may be written at all: see [`crate::fence`].

pub(crate) mod apply;
pub(crate) mod archive;
pub(crate) mod check;
pub(crate) mod events;
pub(crate) mod key;
pub(crate) mod known;
pub(crate) mod overlay;
pub(crate) mod read;
pub(crate) mod replicas;
pub(crate) mod retention;
pub(crate) mod sweep;
pub(crate) mod value;

pub(crate) use overlay::{Entry, Overlay, See, View};

#[cfg(doc)]
use crate::write::Write;
