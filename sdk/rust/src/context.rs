//! What a handler gets beside its request.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prost::Message;
use tokio::time::Instant;

use crate::calls::{Cancelled, Client};
use crate::component::Model;
use crate::method::{Answer, Effect, Target, duration};
use crate::wire::{self, timer};
use crate::{Any, Failure, Metadata, Storable};

/// What a handler works with: the entity, the caller's headers, and what is to happen beside the
/// reply. `M` is the component: `Context<EventSourced<Contents>>` for one that is built with
/// `EventSourced::<Contents>`.
///
/// Nothing that is asked for here happens before the handler has returned its reply. If it returns a
/// failure instead, nothing happens at all.
pub struct Context<M: Model> {
    pub(crate) request: RequestInfo,
    pub(crate) pending: Pending,
    /// Of a streamed call: the same, shared with its replies.
    pub(crate) shared: Option<Arc<Mutex<Sendable>>>,
    pub(crate) data: Box<M::Data>,
}

/// What is known of the command.
#[derive(Debug)]
pub(crate) struct RequestInfo {
    pub(crate) service: &'static str,
    pub(crate) entity_id: Arc<str>,
    pub(crate) metadata: Metadata,
    pub(crate) deadline: Option<Instant>,
    pub(crate) cancelled: Cancelled,
    pub(crate) client: Client,
}

/// What the decision has beside the answer and the mutation.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    pub(crate) sendable: Sendable,
    pub(crate) timers: Vec<wire::Timer>,
}

/// What also a reply of a stream can have.
#[derive(Debug, Default)]
pub(crate) struct Sendable {
    pub(crate) metadata: Metadata,
    pub(crate) effects: Vec<wire::Effect>,
}

impl<M: Model> std::fmt::Debug for Context<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context")
            .field("request", &self.request)
            .finish_non_exhaustive()
    }
}

impl<M: Model> Context<M> {
    /// The id of the entity, as people write it; empty in an action.
    #[must_use]
    pub fn entity_id(&self) -> &str {
        &self.request.entity_id
    }

    /// The headers of the request that the component lists in `headers`.
    #[must_use]
    pub fn metadata(&self) -> &Metadata {
        &self.request.metadata
    }

    /// Changes the headers of the reply; in a streamed call, of the first reply.
    pub fn reply_metadata(&mut self, change: impl FnOnce(&mut Metadata)) {
        self.sendable(|sendable| change(&mut sendable.metadata));
    }

    /// How long the caller still waits; none if it did not say. Zero if that is over.
    #[must_use]
    pub fn remaining(&self) -> Option<Duration> {
        let deadline = self.request.deadline?;
        Some(deadline.saturating_duration_since(Instant::now()))
    }

    /// Becomes ready when nobody waits for the answer any more. The handler should end then; effects
    /// that it asked for still count.
    #[must_use]
    pub fn cancelled(&self) -> Cancelled {
        self.request.cancelled.clone()
    }

    /// Lets another method answer. To be returned: `Ok(context.forward(cart::GET_CART.with(…)))`.
    #[must_use = "a forward is what the handler returns"]
    pub fn forward<Res>(&self, target: Target<Res>) -> Answer<Res> {
        Answer::Forward(target)
    }

    /// Has something done once the decision is durable: a call with [`Method::with`], also with
    /// [`Target::wait`] or [`Target::after`].
    ///
    /// [`Method::with`]: crate::Method::with
    pub fn effect(&mut self, effect: impl Into<Effect>) {
        let Effect(effect) = effect.into();
        self.sendable(|sendable| sendable.effects.push(effect));
    }

    /// Sends a message to a topic once the decision is durable.
    pub fn publish(&mut self, topic: &str, message: &impl Storable) {
        self.effect(Effect::publish(topic, message, Metadata::default()));
    }

    /// Calls a method through Firn and waits for its reply. An entity's call waits first until all
    /// that its handler may have seen is durable (R71).
    ///
    /// # Errors
    /// What the method fails with, or UNAVAILABLE if the connection is lost meanwhile.
    ///
    /// # Cancel safety
    /// Dropped, it tells Firn that nobody waits; the call may have been applied.
    pub fn call<Res: Message + Default>(
        &self,
        target: Target<Res>,
    ) -> impl Future<Output = Result<Res, Failure>> + Send + use<Res, M> {
        let client = self.request.client.clone();
        async move { client.call(target).await }
    }

    /// Calls through Firn on behalf of this command: to be given to other code.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.request.client
    }

    fn sendable(&mut self, change: impl FnOnce(&mut Sendable)) {
        match &self.shared {
            Some(shared) => change(&mut shared.lock().unwrap_or_else(PoisonError::into_inner)),
            None => change(&mut self.pending.sendable),
        }
    }
}

impl<M: crate::component::Timed> Context<M> {
    /// Sets a timer of this entity, in place of one of the same name: after so long, Firn calls this
    /// method of the entity's own component. It survives restarts of everything.
    ///
    /// # Panics
    /// If the target is a method of another component; the caller gets INTERNAL then.
    pub fn timer<Res>(&mut self, name: &str, after: Duration, call: Target<Res>) {
        self.schedule(name, after, call, false);
    }

    /// The same, again and again.
    ///
    /// # Panics
    /// As [`Context::timer`].
    pub fn timer_repeated<Res>(&mut self, name: &str, every: Duration, call: Target<Res>) {
        self.schedule(name, every, call, true);
    }

    /// Cancels a timer, if it is set.
    pub fn cancel_timer(&mut self, name: &str) {
        self.pending.timers.push(wire::Timer {
            name: name.to_owned(),
            action: Some(timer::Action::Cancel(timer::Unset {})),
        });
    }

    fn schedule<Res>(&mut self, name: &str, after: Duration, call: Target<Res>, repeat: bool) {
        assert!(
            call.service == self.request.service,
            "the timer {name:?} calls {}, but timers call methods of their own component, {}",
            call.service,
            self.request.service
        );
        self.pending.timers.push(wire::Timer {
            name: name.to_owned(),
            action: Some(timer::Action::Set(timer::Schedule {
                after: Some(duration(after)),
                method: call.method.to_owned(),
                message: call.message,
                repeat,
            })),
        });
    }
}

/// What a model makes of its data when the handler has returned its reply.
#[derive(Debug, Default)]
pub struct Conclusion {
    /// What changes.
    pub mutation: Option<wire::mutation::Mutation>,
    /// The version that it leaves (R24).
    pub version: u64,
}

/// Whether an entity can go on after a failed handler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Undone {
    /// Its state is what it was before.
    Whole,
    /// It is ahead, so the incarnation has to go.
    Ahead,
}

/// The state that an opening brings, and what it is called where it is wrong.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("the state cannot be read: {0}")]
    State(#[from] crate::UnpackError),
    #[error("an event of type {0:?} is not declared: add `.event(…)` for it")]
    UnknownEvent(String),
    #[error("the opening is of another model")]
    OtherModel,
    #[error("the data is a {found}, not a {expected:?}")]
    OtherData {
        expected: crate::DataType,
        found: &'static str,
    },
}

/// A helper of models: the state that an `Any` holds.
pub(crate) fn read<S: Storable>(state: Option<&Any>) -> Result<Option<S>, OpenError> {
    Ok(state.map(Any::unpack).transpose()?)
}
