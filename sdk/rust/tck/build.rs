//! Generates the model services.

fn main() -> Result<(), firn_sdk_build::Error> {
    firn_sdk_build::compile(&["firn/tck/v1/model.proto"], &["../../../tck/proto"])
}
