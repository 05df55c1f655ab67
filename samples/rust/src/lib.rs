//! Two components on firn-sdk: a shopping cart, event sourced, and a leaderboard, replicated.

pub mod cart;
pub mod leaderboard;

use firn_sdk::Function;

/// What `firn-sdk-build` generated from `shop/*.proto`.
#[expect(missing_docs, reason = "the contract says what each is")]
pub mod shop {
    firn_sdk::include_proto!("shop");
}

/// What `firn-sdk-build` generated from `board/leaderboard.proto`.
#[expect(missing_docs, reason = "the contract says what each is")]
pub mod board {
    firn_sdk::include_proto!("board");
}

// region: function
/// The function with both.
pub fn function() -> Function {
    Function::new("samples", env!("CARGO_PKG_VERSION"))
        .add(cart::component())
        .add(leaderboard::component())
}
// endregion: function
