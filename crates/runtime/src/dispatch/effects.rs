//! What a decision causes: effects that run now, in the request's context, and those that wait.

use std::sync::Arc;
use std::time::Instant;

use firn_model::decision::Effect;
use firn_model::id::EntityKey;
use tokio::sync::oneshot;
use tracing::warn;

use super::{After, Begun, Dispatcher, Refused, Request, Source, unknown_target};
use crate::driver::ReplyTo;
use crate::identity::{Occasion, entity_id};
use crate::lane::{Caused, Input, Keep, Origin};
use crate::refusal::Refusal;
use crate::trace::{Trace, Way};
use crate::waits::{Circle, Wait, Waiter};

impl Dispatcher {
    /// Runs effects in order; waits for the synchronous ones, though not beyond the deadline. They
    /// run to their end also if the caller goes away.
    pub(super) async fn effects(self: &Arc<Self>, effects: Vec<Caused>, after: &After) {
        if effects.is_empty() {
            return;
        }
        let waits = effects.iter().any(|caused| caused.effect.synchronous);
        let trace = after.trace.then(Way::Effect, &after.method);
        let waiter = after.waiter.clone();
        let run = self
            .clone()
            .in_order(effects, after.hops + 1, trace, after.deadline, waiter);
        let run = self.spawn(run);
        if waits {
            // It ends by itself, or with the engine.
            let _ = run.await;
        }
    }

    /// Runs the effects of a command whose caller has gone.
    pub(crate) fn orphaned(self: &Arc<Self>, effects: Vec<Caused>, hops: u32) {
        if !effects.is_empty() {
            let until = self.deadline(None);
            let run = self
                .clone()
                .in_order(effects, hops + 1, Trace::default(), until, None);
            self.spawn(run);
        }
    }

    async fn in_order(
        self: Arc<Self>,
        effects: Vec<Caused>,
        hops: u32,
        trace: Trace,
        until: Instant,
        waiter: Option<Waiter>,
    ) {
        for caused in effects {
            let wait = caused
                .effect
                .synchronous
                .then(|| self.wait_for_effect(&caused.effect, waiter.as_ref()));
            let (begun, has_begun) = oneshot::channel();
            let deliver = self
                .clone()
                .deliver(caused, hops, trace.clone(), Some(begun));
            let delivery = self.spawn(deliver);
            // One entity gets them in their order. What is dropped says so, too.
            let _ = has_begun.await;
            if let Some(Ok(_wait)) = wait {
                // Not waiting longer does not end the delivery.
                let _ = tokio::time::timeout_at(until.into(), delivery).await;
            }
        }
    }

    /// Notes that somebody waits for the end of an effect, as long as what this gives is held.
    ///
    /// # Errors
    /// The circle that this would close: the effect runs, and is not waited for.
    fn wait_for_effect(
        &self,
        effect: &Effect,
        waiter: Option<&Waiter>,
    ) -> Result<Option<Wait>, Circle> {
        let Some(waiter) = waiter else {
            return Ok(None);
        };
        let served = self.served.borrow().clone();
        let method = served.and_then(|served| served.contract.method(&effect.call.path()).cloned());
        let Some(method) = method.filter(|method| method.component.kind.serves_in_turn()) else {
            return Ok(None);
        };
        // One whose entity cannot be told is refused when it runs.
        let Ok(id) = entity_id(&method, &effect.call.payload.bytes, Occasion::default()) else {
            return Ok(None);
        };
        let key = EntityKey::new(method.component.storage.clone(), id.stored().clone());
        self.waits
            .enter(waiter.clone(), Waiter::Entity(key))
            .map(Some)
    }

    /// Makes those effects durable that have a delay, and gives the others.
    ///
    /// Those of entities with commits went with them already. Those of actions, and of replicated
    /// entities, have none: they get one in a slot that nobody else's call has a claim to, under the
    /// name of this run of the node, which no other run ever has, and a number.
    pub(super) async fn keep_delayed(
        &self,
        effects: Vec<Caused>,
        after: &After,
    ) -> Result<Vec<Caused>, Refused> {
        let (delayed, effects): (Vec<Caused>, Vec<Caused>) = effects
            .into_iter()
            .partition(|caused| caused.effect.delay.is_some());
        if delayed.is_empty() {
            return Ok(effects);
        }
        let component = &after.method.component;
        let id = format!("{}/{}", self.me, self.next_action());
        let key = EntityKey::new(component.storage.clone(), id);
        let (caller, kept) = oneshot::channel();
        let keep = Keep {
            key: key.clone(),
            effects: delayed.into_iter().map(|caused| caused.effect).collect(),
            hops: after.hops,
            reply: ReplyTo {
                caller,
                hops: after.hops,
            },
        };
        self.tell(key.slot(), Input::Keep(keep));
        let refusal = match tokio::time::timeout_at(after.deadline.into(), kept).await {
            Ok(Ok(Ok(_))) => return Ok(effects),
            Ok(Ok(Err(refusal))) => refusal,
            Ok(Err(_)) => Refusal::ShuttingDown,
            Err(_) => Refusal::CommitUnknown,
        };
        Err(Refused {
            status: refusal.status(component),
            again: refusal.delays_delivery(),
        })
    }

    /// Calls the method of an effect once.
    pub(crate) async fn cause(
        self: Arc<Self>,
        effect: &Effect,
        origin: Option<Origin>,
        hops: u32,
        trace: Trace,
        begun: Option<Begun>,
    ) -> Result<(), Refused> {
        let call = effect.call.clone();
        let again = |status| Refused {
            status,
            again: true,
        };
        let served = self.served_now().map_err(again)?;
        let method = match served.contract.method(&call.path()) {
            Some(method) => method.clone(),
            // It was known when it was stored: its function has not connected yet.
            None if origin.is_some() => return Err(again(unknown_target(&call))),
            None => self.target(&call, &trace)?,
        };
        let request = Request {
            method,
            message: call.payload.bytes,
            metadata: call.metadata,
            source: Source::Function,
            deadline: self.deadline(None),
            idempotency_key: None,
            origin,
            hops,
            trace,
            // Whoever waits for it is noted with the wait.
            waiter: None,
            begun,
        };
        match self.run(request).await {
            // A failure that the function chose is an answer.
            Err(refused) if !refused.again => {
                if refused.status.firn.is_some() {
                    warn!(to = effect.call.path(), error = %refused.status, "an effect failed");
                }
                Ok(())
            }
            Err(refused) => Err(refused),
            Ok(_) => Ok(()),
        }
    }
}
