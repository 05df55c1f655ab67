//! Actions: code without state.

use std::sync::Arc;

use prost::Message;

use crate::Failure;
use crate::component::{Behaviour, Declaration, Model};
use crate::context::{Conclusion, OpenError, Undone};
use crate::handler::{AsyncHandler, StreamHandler};
use crate::method::{Answer, Method, Service, StreamBoth, StreamIn, StreamOut};
use crate::streams::Requests;
use crate::wire::{self, opening};

/// Stateless code. Its commands run side by side.
#[derive(Debug)]
pub enum Action {}

impl Action {
    /// Declares the action that serves a service.
    pub fn component(service: Service) -> Declaration<Self> {
        Declaration::new(service, wire::Model::Action)
    }
}

impl Declaration<Action> {
    /// Handles a method that streams replies, with
    /// `async fn(request, &mut Context<Action>, Replies<reply>) -> Result<(), Failure>`.
    ///
    /// # Panics
    /// As [`Declaration::on`].
    pub fn on_stream_out<Req, Res, E, H>(
        self,
        method: Method<Req, Res, StreamOut>,
        handler: H,
    ) -> Self
    where
        Req: Message + Default + 'static,
        Res: Message + 'static,
        E: Into<Failure>,
        H: for<'a> StreamHandler<'a, Req, Res, Action, Output = Result<(), E>>,
    {
        self.add_stream_out(method, handler)
    }

    /// Handles a method that streams requests, with
    /// `async fn(Requests<request>, &mut Context<Action>) -> Result<reply, Failure>`.
    ///
    /// # Panics
    /// As [`Declaration::on`].
    pub fn on_stream_in<Req, Res, A, E, H>(
        self,
        method: Method<Req, Res, StreamIn>,
        handler: H,
    ) -> Self
    where
        Req: Message + Default + 'static,
        Res: Message + 'static,
        A: Into<Answer<Res>>,
        E: Into<Failure>,
        H: for<'a> AsyncHandler<'a, Requests<Req>, Action, Output = Result<A, E>>,
    {
        self.add_stream_in(method, handler)
    }

    /// Handles a method that streams both, with
    /// `async fn(Requests<request>, &mut Context<Action>, Replies<reply>) -> Result<(), Failure>`.
    ///
    /// # Panics
    /// As [`Declaration::on`].
    pub fn on_stream_both<Req, Res, E, H>(
        self,
        method: Method<Req, Res, StreamBoth>,
        handler: H,
    ) -> Self
    where
        Req: Message + Default + 'static,
        Res: Message + 'static,
        E: Into<Failure>,
        H: for<'a> StreamHandler<'a, Requests<Req>, Res, Action, Output = Result<(), E>>,
    {
        self.add_stream_both(method, handler)
    }
}

impl Model for Action {}

impl Behaviour for Action {
    type Held = ();
    type Data = ();
    type Rules = ();

    fn open(_: &Arc<()>, _: u64, _: Option<opening::State>) -> Result<(), OpenError> {
        Ok(())
    }

    fn lend(_: Box<()>, _: bool) -> (Option<Box<()>>, Box<()>) {
        (None, Box::new(()))
    }

    fn give_back(_: Box<()>) -> Option<Box<()>> {
        None
    }

    fn conclude((): &mut ()) -> Conclusion {
        Conclusion::default()
    }

    fn undo((): &mut ()) -> (Undone, u64) {
        (Undone::Whole, 0)
    }
}
