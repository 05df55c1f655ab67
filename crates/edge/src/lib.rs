//! Where clients come in: gRPC, gRPC-Web and HTTP/JSON on one port.

mod backend;

pub use backend::{Backend, MessageStream, ReplyStream};
