//! Generates the contract of the bench's function on firn.v1.

fn main() -> Result<(), firn_sdk_build::Error> {
    firn_sdk_build::compile(&["bench/own.proto"], &["proto"])
}
