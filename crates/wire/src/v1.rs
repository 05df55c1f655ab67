//! firn.v1, Firn's own protocol: its messages, and what those mean in the words of [`firn_model`].
//!
//! The specification is `proto/firn/v1/README.md`; its requirements are cited as R1, R2, ….
//!
//! # How it works
//! [`message`] is generated. [`contract`] reads what functions declare; [`convert`] turns decisions
//! into those of the model (`timer` reads their timers), and entities into what the function lacks;
//! [`data`] does so for
//! replicated values; [`chunk`] cuts frames that are too large for one piece, and puts them together
//! again.
//!
//! # Not here
//! Which frame is allowed when: that is the session's, in `firn-link`.

pub mod chunk;
pub mod contract;
pub mod convert;
pub mod data;
mod timer;

/// The messages: `proto/firn/v1/function.proto`, generated.
#[rustfmt::skip]
#[expect(missing_docs, reason = "the proto file says what each field is for")]
pub mod message {
    include!("generated/v1.rs");
}
