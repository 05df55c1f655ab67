//! The engine: brings each command together with its entity's state, stores what comes out, and
//! lets nothing leave before it is durable.
//!
//! It knows no protocol, no socket and no database: functions are behind [`link::Link`], stores
//! behind [`firn_store::Store`].
//!
//! # Reading order
//! The way of a request: [`dispatch`] routes a call to the entity that `identity` finds, [`lane`] is the
//! pure machine that owns entities, `driver` feeds it and carries its outputs out, [`link`] is what it
//! asks of a function, [`replicated`] holds the replicas that this node has of replicated entities,
//! beside the lanes; `streams` caps the open streams, `committer` groups commits, `vigil` says when one
//! is waited for awake, `outbox` delivers effects, `timers` has those fired that are due, `tombstones`
//! has expired ones cleaned, `trace` remembers what led to one, [`waits`] who waits for whom, [`calls`]
//! are those of the function itself, [`few`] is a queue that is nearly always short, [`refusal`] says why
//! a call got no answer, [`metrics`] what is counted, [`engine`] puts all of it together.

pub mod calls;
mod committer;
pub mod dispatch;
mod driver;
pub mod engine;
pub mod few;
mod identity;
pub mod lane;
pub mod link;
pub mod metrics;
mod outbox;
pub mod refusal;
pub mod replicated;
mod reply;
pub mod retention;
mod streams;
mod timers;
mod tombstones;
mod trace;
mod vigil;
pub mod waits;
