//! Generates messages and method constants from the contract.

fn main() -> Result<(), firn_sdk_build::Error> {
    firn_sdk_build::compile(&["counter.proto"], &["proto"])
}
