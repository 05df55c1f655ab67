//! What can be a handler.
//!
//! An asynchronous handler borrows its context while it waits, which plain `Fn` bounds cannot say
//! together with `Send`. The traits here can; every fitting `async fn` has them, nobody implements
//! them by hand.

use crate::Failure;
use crate::component::Model;
use crate::context::Context;
use crate::streams::Replies;

/// `async fn(request, &mut Context<M>) -> Result<reply, failure>`.
pub trait AsyncHandler<'a, Req, M: Model>: Send + Sync + 'static {
    /// What it returns in the end.
    type Output;
    /// What it returns at once.
    type Future: Future<Output = Self::Output> + Send + 'a;

    /// Begins to handle a request.
    fn call(&self, request: Req, context: &'a mut Context<M>) -> Self::Future;
}

impl<'a, F, Fut, Req, M> AsyncHandler<'a, Req, M> for F
where
    M: Model,
    F: Fn(Req, &'a mut Context<M>) -> Fut + Send + Sync + 'static,
    Fut: Future + Send + 'a,
{
    type Output = Fut::Output;
    type Future = Fut;

    fn call(&self, request: Req, context: &'a mut Context<M>) -> Fut {
        self(request, context)
    }
}

/// `async fn(request, &mut Context<M>, Replies<reply>) -> Result<(), failure>`.
pub trait StreamHandler<'a, Req, Res, M: Model>: Send + Sync + 'static {
    /// What it returns in the end.
    type Output;
    /// What it returns at once.
    type Future: Future<Output = Self::Output> + Send + 'a;

    /// Begins to handle a request.
    fn call(
        &self,
        request: Req,
        context: &'a mut Context<M>,
        replies: Replies<Res>,
    ) -> Self::Future;
}

impl<'a, F, Fut, Req, Res, M> StreamHandler<'a, Req, Res, M> for F
where
    M: Model,
    F: Fn(Req, &'a mut Context<M>, Replies<Res>) -> Fut + Send + Sync + 'static,
    Fut: Future + Send + 'a,
{
    type Output = Fut::Output;
    type Future = Fut;

    fn call(
        &self,
        request: Req,
        context: &'a mut Context<M>,
        replies: Replies<Res>,
    ) -> Self::Future {
        self(request, context, replies)
    }
}

/// What a handler made of its command.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// A reply.
    Reply(bytes::Bytes),
    /// A forward.
    Forward(crate::wire::Target),
    /// The end of a stream.
    End,
}

/// What comes of a handler.
pub(crate) type Handled = Result<Outcome, Failure>;
