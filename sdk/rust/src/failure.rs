//! How calls fail.

use std::fmt;

use crate::wire;
use crate::{Any, Storable};

/// The status codes of gRPC, without OK.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(i32)]
pub enum Code {
    /// The caller does not wait any more.
    Cancelled = 1,
    /// Nothing is known of the cause.
    Unknown = 2,
    /// The request is wrong, whatever the state.
    InvalidArgument = 3,
    /// It took too long; the outcome is not known.
    DeadlineExceeded = 4,
    /// There is no such thing.
    NotFound = 5,
    /// There is such a thing already.
    AlreadyExists = 6,
    /// The caller may not do it.
    PermissionDenied = 7,
    /// Something is used up.
    ResourceExhausted = 8,
    /// The state does not allow it.
    FailedPrecondition = 9,
    /// Something else came first; try again.
    Aborted = 10,
    /// Outside of what there is.
    OutOfRange = 11,
    /// There is no such method.
    Unimplemented = 12,
    /// A mistake in the program.
    Internal = 13,
    /// Nobody is there to answer; try again.
    Unavailable = 14,
    /// Data is lost or damaged.
    DataLoss = 15,
    /// Who calls is not known.
    Unauthenticated = 16,
}

impl Code {
    const ALL: [Self; 16] = [
        Self::Cancelled,
        Self::Unknown,
        Self::InvalidArgument,
        Self::DeadlineExceeded,
        Self::NotFound,
        Self::AlreadyExists,
        Self::PermissionDenied,
        Self::ResourceExhausted,
        Self::FailedPrecondition,
        Self::Aborted,
        Self::OutOfRange,
        Self::Unimplemented,
        Self::Internal,
        Self::Unavailable,
        Self::DataLoss,
        Self::Unauthenticated,
    ];

    /// The code of a number; [`Code::Unknown`] for one that is none.
    #[must_use]
    pub fn from_number(number: i32) -> Self {
        let index = usize::try_from(number.wrapping_sub(1)).ok();
        let code = index.and_then(|index| Self::ALL.get(index));
        code.copied().unwrap_or(Self::Unknown)
    }
}

/// A failure, as the caller gets it. A handler that returns one changes nothing and causes nothing.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{code:?}: {message}")]
pub struct Failure {
    /// The status code.
    pub code: Code,
    /// The text.
    pub message: String,
    /// Details, as `google.rpc.Status` has them.
    pub details: Vec<Any>,
}

/// `fn name(message)`: a failure with this code.
macro_rules! constructors {
    ($($(#[$doc:meta])* $name:ident = $code:ident,)*) => {
        impl Failure {
            $(
                $(#[$doc])*
                #[must_use]
                pub fn $name(message: impl fmt::Display) -> Self {
                    Self::new(Code::$code, message)
                }
            )*
        }
    };
}

constructors! {
    /// The request is wrong, whatever the state.
    invalid_argument = InvalidArgument,
    /// There is no such thing.
    not_found = NotFound,
    /// There is such a thing already.
    already_exists = AlreadyExists,
    /// The caller may not do it.
    permission_denied = PermissionDenied,
    /// Something is used up.
    resource_exhausted = ResourceExhausted,
    /// The state does not allow it.
    failed_precondition = FailedPrecondition,
    /// A mistake in the program.
    internal = Internal,
    /// Nobody is there to answer; try again.
    unavailable = Unavailable,
    /// There is no such method.
    unimplemented = Unimplemented,
    /// The caller does not wait any more.
    cancelled = Cancelled,
}

impl Failure {
    /// A failure without details.
    #[must_use]
    pub fn new(code: Code, message: impl fmt::Display) -> Self {
        Self {
            code,
            message: message.to_string(),
            details: Vec::new(),
        }
    }

    /// Adds a detail.
    #[must_use]
    pub fn detail(mut self, detail: &impl Storable) -> Self {
        self.details.push(Any::pack(detail));
        self
    }

    pub(crate) fn into_wire(self) -> wire::Failure {
        wire::Failure {
            code: self.code as i32,
            message: self.message,
            details: self.details,
        }
    }

    pub(crate) fn from_wire(failure: wire::Failure) -> Self {
        Self {
            code: Code::from_number(failure.code),
            message: failure.message,
            details: failure.details,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_grpc() {
        for (index, code) in (1..).zip(Code::ALL) {
            assert_eq!(code as i32, index);
            assert_eq!(Code::from_number(index), code);
        }
        for odd in [0, 17, -1, i32::MIN] {
            assert_eq!(Code::from_number(odd), Code::Unknown);
        }
    }
}
