//! Conversions between the messages of the wire and the words of the model.
//!
//! # How it works
//! [`event_sourced`], [`value`], [`replicated`] and [`action`] each build what is sent to a function
//! and read what comes back; what they share is in [`instance`] (streams of entities) and [`parts`]
//! (payloads, headers, effects). [`discovery`] builds the handshake. None of them asks for the family: fields
//! that a family lacks stay unset because its policies leave them so.
//!
//! # Invariants
//! - Payloads are never re-encoded, and their bytes are not copied.
//! - Whatever a function sends is either understood or a [`Violation`]; nothing panics.

pub mod action;
pub mod discovery;
pub mod event_sourced;
pub mod instance;
pub mod parts;
pub mod replicated;
pub mod value;

/// How a function broke its protocol with a message that could be decoded.
///
/// All of them end the stream they came on: what the function holds in memory is not known any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Violation {
    /// The message holds none of its alternatives; families have a text of their own for it.
    #[error("the message has no content")]
    NoContent,
    /// A reply says that the state changes, but not how.
    #[error("the state action in the reply to command {command_id} is neither update nor delete")]
    NoStateAction {
        /// The command that was answered.
        command_id: i64,
    },
    /// A reply replaces the state by nothing.
    #[error("the update in the reply to command {command_id} has no value")]
    NoValue {
        /// The command that was answered.
        command_id: i64,
    },
    /// A type URL is not text.
    #[error("a type URL is not UTF-8")]
    TypeUrl,
}
