//! firn.v1: functions that dial Firn.
//!
//! A function's process opens a connection on the function port and declares its contract; from
//! then on batches of frames for all of its entities go over that one stream. The specification is
//! `proto/firn/v1/README.md`; its requirements are cited as R1, R2, ….
//!
//! # Reading order
//! [`port`] listens and carries connections, [`hub`] knows which functions are connected and is the
//! engine's link, `entity` and `action` are what the engine holds of them; `session` is one
//! connection as a machine without I/O, `places` how it names methods, and `outbox` what of it is still
//! to be sent.
//!
//! # Invariants
//! - A session does no I/O and never waits. It is behind a lock that nobody holds across an await.
//! - Whatever a function sends, the others' entities go on.

mod action;
mod calls;
mod deadline;
mod entity;
pub mod hub;
mod outbox;
mod places;
pub mod port;
mod remedy;
mod session;
