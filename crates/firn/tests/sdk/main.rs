//! Our SDKs in every language: their own tests, the conformance kit, the sample that all of them
//! have, and the project that `firn new` writes.
//!
//! The languages are set up before by `cargo xtask test`: `sdk/<name>/sdk.toml` says how.

mod conformance;
mod language;
mod own;
mod proxy;
mod sample;
mod template;
