//! The protocols of Cloudstate, Akka Serverless and Kalix: their messages, and what those mean in
//! the words of [`firn_model`].
//!
//! Pure: bytes and values in, values out. Carrying the messages over gRPC is the link's work.
//!
//! # How it works
//! The three families descend from each other and kept their field numbers. So there is one set of
//! messages ([`superset`]) for all of them; a [`dialect`] is the table of names, paths and numbers
//! in which they differ; [`convert`] turns messages into decisions and back without asking which
//! family it is; and [`contract`] reads what a function declares, the one place where the families
//! are told apart.
//!
//! # Not here
//! How replicas of replicated data agree: `firn-crdt`.

pub mod contract;
pub mod convert;
pub mod dialect;
pub mod v1;

/// The messages of all families in one: `proto/superset/firn/superset.proto`, generated.
#[rustfmt::skip]
#[expect(missing_docs, reason = "the proto file says what each field is for")]
#[expect(clippy::large_enum_variant, reason = "messages are taken apart at once, none is kept")]
pub mod superset {
    include!("generated/superset.rs");
}
