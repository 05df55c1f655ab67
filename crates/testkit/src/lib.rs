//! What tests share: contracts from a few lines of proto, policies of each family.
//!
//! Only ever a dev-dependency.

pub mod contract;
pub mod policies;
