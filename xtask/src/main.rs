//! A cart.
fn main() {}
