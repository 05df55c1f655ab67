//! What a decision causes: effects that run now, in the request's context, and those that wait.

use std::sync::Arc;
use std::time::Instant;

use firn_model::decision::Effect;
use firn_model::id::EntityKey;
use tokio::sync::oneshot;
use tracing::warn;

use super::{After, Dispatcher, Refused, Request, Source, unknown_target};
use crate::driver::ReplyTo;
use crate::lane::{Caused, Input, Keep, Origin};
use crate::refusal::Refusal;
use crate::trace::{Trace, Way};

impl Dispatcher {
    /// Runs effects in order; waits for the synchronous ones, though not beyond the deadline. They
    /// run to their end also if the caller goes away.
    pub(super) async fn effects(self: &Arc<Self>, effects: Vec<Caused>, after: &After) {
        if effects.is_empty() {
            return;
        }
        let waits = effects.iter().any(|caused| caused.effect.synchronous);
        let trace = after.trace.then(Way::Effect, &after.method);
        let run = self
            .clone()
            .in_order(effects, after.hops + 1, trace, after.deadline);
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
                .in_order(effects, hops + 1, Trace::default(), until);
            self.spawn(run);
        }
    }

    async fn in_order(
        self: Arc<Self>,
        effects: Vec<Caused>,
        hops: u32,
        trace: Trace,
        until: Instant,
    ) {
        for caused in effects {
            let synchronous = caused.effect.synchronous;
            let delivery = self.spawn(self.clone().deliver(caused, hops, trace.clone()));
            if synchronous {
                // Not waiting longer does not end the delivery.
                let _ = tokio::time::timeout_at(until.into(), delivery).await;
            }
        }
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
            // An effect that is waited for is waited for until the deadline, whoever is behind it.
            waiter: None,
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
