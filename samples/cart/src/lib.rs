//! A shopping cart: an event sourced entity that speaks the Kalix protocol, without an SDK.
//!
//! `cart` is the domain: commands in, events out, nothing else. `entity` speaks the protocol of one
//! entity's stream, `server` carries it over gRPC.

mod cart;
mod entity;
mod server;

/// The messages of `proto/shop/`.
#[rustfmt::skip]
#[expect(unreachable_pub, reason = "the generator knows no other visibility")]
mod shop {
    include!("generated/shop.rs");
}

pub use server::serve;

/// The cart's proto files with all they import, as a `google.protobuf.FileDescriptorSet`.
pub const DESCRIPTORS: &[u8] = include_bytes!("generated/descriptors.bin");
