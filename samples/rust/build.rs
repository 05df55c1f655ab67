//! Generates messages and method constants from the contracts.

fn main() -> Result<(), firn_sdk_build::Error> {
    let files = [
        "shop/cart.proto",
        "shop/cart_events.proto",
        "board/leaderboard.proto",
    ];
    firn_sdk_build::compile(&files, &["../proto"])
}
