//! Delivery of effects: until somebody answers, across restarts.
//!
//! An effect on an entity is in its sender's commit, so it is known after a crash. It is called
//! until an answer comes (also a failure is one); its identity travels with it, and the receiver
//! stores that in the commit of the command, so a second delivery finds the first. An effect on an
//! action is there too where the action's policy says so; actions keep no receipts.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use firn_model::id::{EffectId, Slot, SlotSequence};
use firn_store::{Pending, Store};
use tokio::sync::Semaphore;
use tracing::{debug, warn};

use crate::dispatch::{Begun, Dispatcher};
use crate::lane::{Caused, Input, Origin};
use crate::trace::Trace;

/// Outbox entries read at once when recovering.
const RECOVERY_PAGE: usize = 512;

/// Recovered effects delivered at once: enough to use the function, few enough to leave room for
/// callers.
const RECOVERY_CONCURRENCY: usize = 64;

/// Pauses between attempts, doubling from 50 ms to 5 s.
#[derive(Debug)]
pub(crate) struct Backoff(Duration);

impl Default for Backoff {
    fn default() -> Self {
        Self(Duration::from_millis(50))
    }
}

impl Backoff {
    /// The longest pause: a function that comes back is noticed within that time.
    const PAUSE_MAX: Duration = Duration::from_secs(5);

    /// Waits, longer each time.
    pub(crate) async fn wait(&mut self) {
        tokio::time::sleep(self.0).await;
        self.0 = (self.0 * 2).min(Self::PAUSE_MAX);
    }
}

/// The lowest sequence with an open effect in each slot.
fn lowest_open(effects: impl Iterator<Item = EffectId>) -> HashMap<Slot, SlotSequence> {
    let mut lowest = HashMap::new();
    for effect in effects {
        lowest
            .entry(effect.slot)
            .and_modify(|sequence| *sequence = effect.sequence.min(*sequence))
            .or_insert(effect.sequence);
    }
    lowest
}

impl Dispatcher {
    /// Delivers an effect: once if it is not in the outbox, else until it is answered.
    ///
    /// `begun` is dropped once its command stands in the mailbox of its entity, or cannot for now.
    pub(crate) async fn deliver(
        self: Arc<Self>,
        caused: Caused,
        hops: u32,
        trace: Trace,
        mut begun: Option<Begun>,
    ) {
        let mut pause = Backoff::default();
        let mut origin = caused.origin;
        loop {
            let call =
                self.clone()
                    .cause(&caused.effect, origin, hops, trace.clone(), begun.take());
            let Err(refused) = call.await else { break };
            if origin.is_none() || !refused.again {
                warn!(to = caused.effect.call.path(), error = %refused.status, "an effect failed");
                break;
            }
            debug!(to = caused.effect.call.path(), error = %refused.status, "an effect waits");
            // From now on the receiver may have seen it: an unknown outcome is one of the reasons.
            origin = origin.map(|origin| Origin {
                redelivered: true,
                ..origin
            });
            tokio::select! {
                biased;
                // What is not delivered is found in the outbox by the next run.
                () = self.quiet.cancelled() => return,
                () = pause.wait() => {}
            }
        }
        if let Some(origin) = caused.origin {
            self.tell(origin.effect.slot, Input::Delivered(origin.effect));
        }
    }

    /// Finds the effects that an earlier run left behind and delivers them.
    ///
    /// Called once, before any command is taken, so that what is found is not under way already.
    pub(crate) async fn recover_outbox(
        self: &Arc<Self>,
        store: &dyn Store,
    ) -> Result<usize, firn_store::ReadError> {
        let mut found: Vec<Pending> = Vec::new();
        let mut after: Option<EffectId> = None;
        loop {
            let page = store.outbox(after, RECOVERY_PAGE).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.id);
            found.extend(page);
        }
        let count = found.len();
        let lowest_open = lowest_open(found.iter().map(|pending| pending.id));
        for pending in &found {
            self.tell(pending.id.slot, Input::Recovered(pending.id));
        }
        let permits = Arc::new(Semaphore::new(RECOVERY_CONCURRENCY));
        let dispatcher = self.clone();
        self.spawn(async move {
            for pending in found {
                let permit = tokio::select! {
                    biased;
                    // What is not delivered is found in the outbox by the next run.
                    () = dispatcher.quiet.cancelled() => return,
                    Ok(permit) = permits.clone().acquire_owned() => permit,
                };
                let origin = Origin {
                    effect: pending.id,
                    lowest_open: lowest_open[&pending.id.slot],
                    redelivered: true,
                };
                let caused = Caused {
                    effect: pending.effect,
                    origin: Some(origin),
                };
                let delivery =
                    dispatcher
                        .clone()
                        .deliver(caused, pending.hops + 1, Trace::default(), None);
                dispatcher.spawn(async move {
                    delivery.await;
                    drop(permit);
                });
            }
        });
        Ok(count)
    }
}
