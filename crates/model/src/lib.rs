//! The words of Firn as types: what a function declares, what a client asks, what a function
//! decides, and what can go wrong.
//!
//! Every other crate speaks in these types. They know no protocol, no socket, no clock and no
//! storage; converting from the wire is [`firn-wire`]'s work, storing is [`firn-store`]'s.
//!
//! [`firn-wire`]: https://docs.rs/firn-wire
//! [`firn-store`]: https://docs.rs/firn-store
//!
//! # Reading order
//! [`id`] names things, [`payload`] and [`metadata`] are what travels, [`contract`] is what a
//! function declares with its [`policy`], [`key`] finds the entity a request is for, [`call`] is a
//! client's request, [`decision`] the function's answer, [`status`] and [`code`] its failures, and
//! [`limit`] the bounds on all of it.

pub mod call;
pub mod code;
pub mod contract;
pub mod decision;
pub mod id;
pub mod key;
pub mod limit;
pub mod metadata;
pub mod payload;
pub mod policy;
pub mod replicated;
pub mod status;
