//! How calls end that were refused or cannot go on: a status, with the code in a trailer.

use firn_model::code::Code;
use tonic::Status;

use crate::v1::session::Broken;

/// Adds a code to what the function hears.
pub(super) fn add_code(status: &mut Status, code: Code) {
    if let Ok(value) = code.to_string().parse() {
        status.metadata_mut().insert("firn-code", value);
    }
}

/// A frame that is not legal where it came (R83).
pub(super) fn illegal(text: &str) -> Status {
    broken(&Broken {
        code: Code::FrameIllegal,
        text: text.to_owned(),
    })
}

/// A call that cannot go on.
pub(super) fn broken(broken: &Broken) -> Status {
    let mut status = Status::invalid_argument(&broken.text);
    add_code(&mut status, broken.code);
    status
}
