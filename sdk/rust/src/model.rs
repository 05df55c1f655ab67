//! The state models.

pub(crate) mod action;
pub(crate) mod actor;
pub(crate) mod event_sourced;
pub(crate) mod replicated;
pub(crate) mod value;
