//! Calls that a function makes through Firn, beside its answers.

use std::sync::Arc;
use std::time::Duration;

use firn_model::call::Reply;
use firn_model::decision::Forward;
use firn_model::status::Status;
use futures_util::future::BoxFuture;

use crate::dispatch::Dispatcher;

/// A call of a function.
#[derive(Debug, Clone)]
pub struct OwnCall {
    /// What is called.
    pub target: Forward,
    /// How long the function waits for the answer at most; `None` leaves it to the setting.
    pub timeout: Option<Duration>,
}

/// Carries out the calls of functions. Dropping what it returns gives the call up.
pub trait Calls: Send + Sync + 'static {
    /// Calls a method with one message for one reply.
    fn call(&self, call: OwnCall) -> BoxFuture<'static, Result<Reply, Status>>;
}

impl Calls for Arc<Dispatcher> {
    fn call(&self, call: OwnCall) -> BoxFuture<'static, Result<Reply, Status>> {
        Box::pin(self.clone().called(call))
    }
}
