//! A client's request and what comes back, free of any transport.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use bytestring::ByteString;

use crate::contract::Method;
use crate::metadata::Metadata;
use crate::payload::Payload;

/// What is known of a call before its messages: enough to route it.
#[derive(Debug, Clone)]
pub struct CallHead {
    /// The method that is called.
    pub method: Arc<Method>,
    /// The request's headers, without those that are Firn's own business.
    pub metadata: Metadata,
    /// When the caller stops waiting.
    pub deadline: Option<Instant>,
    /// The caller's idempotency key, if it sent one.
    pub idempotency_key: Option<ByteString>,
}

/// A unary call: a head and its one message.
#[derive(Debug, Clone)]
pub struct Call {
    /// What is called, and how.
    pub head: CallHead,
    /// The request message, encoded as the method's input type.
    pub message: Bytes,
}

/// One answer for the caller.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reply {
    /// The response message.
    pub payload: Payload,
    /// Headers for the caller; of a stream only the first reply's are used.
    pub metadata: Metadata,
}
