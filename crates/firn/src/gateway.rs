//! Between the edge and the engine: the edge's calls go to the dispatcher.

use std::sync::Arc;

use firn_edge::{Backend, MessageStream, ReplyStream};
use firn_model::call::{Call, CallHead, Reply};
use firn_model::contract::Contract;
use firn_model::status::Status;
use firn_runtime::engine::Engine;
use futures_util::future::BoxFuture;

/// The engine as the edge sees it.
pub(crate) struct Gateway(pub(crate) Arc<Engine>);

impl Backend for Gateway {
    fn contract(&self) -> Option<Arc<Contract>> {
        self.0.contract()
    }

    fn unary(&self, call: Call) -> BoxFuture<'static, Result<Reply, Status>> {
        Box::pin(self.0.dispatcher().clone().unary(call))
    }

    fn streamed(&self, head: CallHead, messages: MessageStream) -> ReplyStream {
        self.0.dispatcher().clone().streamed(head, messages)
    }
}
