//! What the edge needs behind it: a contract to route by, and somewhere to send calls.

use std::sync::Arc;

use bytes::Bytes;
use firn_model::call::{Call, CallHead, Reply};
use firn_model::contract::Contract;
use firn_model::status::Status;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;

/// The messages of a client that streams. An error item means that the client broke the stream.
pub type MessageStream = BoxStream<'static, Result<Bytes, Status>>;

/// The replies of a call that streams. Ends after the first error.
pub type ReplyStream = BoxStream<'static, Result<Reply, Status>>;

/// Serves calls.
///
/// Dropping a returned future or stream is the caller's cancellation.
pub trait Backend: Send + Sync + 'static {
    /// The contract served now; `None` until the function was discovered.
    ///
    /// The edge compares pointers to notice a change and to rebuild its routes.
    fn contract(&self) -> Option<Arc<Contract>>;

    /// A call with one message and one reply.
    fn unary(&self, call: Call) -> BoxFuture<'static, Result<Reply, Status>>;

    /// A call that streams in one direction or both.
    fn streamed(&self, head: CallHead, messages: MessageStream) -> ReplyStream;
}
