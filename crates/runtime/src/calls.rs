//! Calls that a function makes through Firn, beside its answers.

use std::sync::Arc;
use std::time::Duration;

use firn_model::call::Reply;
use firn_model::decision::Forward;
use firn_model::status::Status;
use futures_util::future::BoxFuture;

use crate::dispatch::Dispatcher;
use crate::waits::Waiter;

/// A call of a function.
#[derive(Debug, Clone)]
pub struct OwnCall {
    /// What is called.
    pub target: Forward,
    /// How long the function waits for the answer at most; `None` leaves it to the setting.
    pub timeout: Option<Duration>,
    /// Whose handler makes it; `None` outside of any.
    pub within: Option<Within>,
}

/// The handler that makes a call.
#[derive(Debug, Clone)]
pub struct Within {
    /// Whose it is: nothing else of that one goes on meanwhile.
    pub waiter: Waiter,
    /// How many forwards, effects and calls led to it.
    pub hops: u32,
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
