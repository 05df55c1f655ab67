//! The timers that are due: found in the store as their time comes, and given to their lanes.
//!
//! # How it works
//! The service sleeps until the earliest time that it knows, from the store or from a lane that has
//! just set a timer. Then it reads a page of what is due, earliest first, and tells the lanes, which
//! fire what still stands and say when they are done. So at most a page or two are in memory, however
//! many are due, also after a long time without a process.
//!
//! Nothing depends on what the service knows: a timer that it tells a lane twice, or that is gone,
//! is found out by the lane.
//!
//! # Fate
//! It begins with the first contract and ends when the engine drains. What is due then is found by
//! the next run.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use firn_store::{ReadError, Store, TimerId, Timestamp};
use tokio::sync::Notify;
use tracing::warn;

use crate::dispatch::Dispatcher;
use crate::lane::Input;

/// How many timers are read at once, and how many the lanes may have in hand before more are read:
/// enough to keep the committer busy, few enough to cost no memory.
const PAGE: usize = 1024;

/// The longest sleep, so that a wall clock that was set forward is noticed.
const SLEEP_MAX: Duration = Duration::from_secs(60);

/// How long to wait after the store could not be read.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// What the lanes tell the service.
#[derive(Debug, Default)]
pub(crate) struct Alarm {
    told: Mutex<Told>,
    rung: Notify,
}

#[derive(Debug, Default)]
struct Told {
    /// The earliest time of timers that were set.
    armed: Option<Timestamp>,
    /// Timers that the lanes were told of and are done with, and whether the store could tell how
    /// they stand. No more than that many are in hand.
    done: Vec<(TimerId, bool)>,
}

impl Alarm {
    /// Timers were set of which the first is due then.
    pub(crate) fn armed(&self, due: Timestamp) {
        self.tell(|told| told.armed = Some(told.armed.map_or(due, |earlier| earlier.min(due))));
    }

    /// A lane is done with a timer.
    pub(crate) fn done(&self, id: TimerId, told: bool) {
        self.tell(|all| all.done.push((id, told)));
    }

    fn tell(&self, tell: impl FnOnce(&mut Told)) {
        tell(&mut self.told.lock().unwrap_or_else(PoisonError::into_inner));
        self.rung.notify_one();
    }

    fn take(&self) -> Told {
        std::mem::take(&mut self.told.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What the service knows.
struct Watch {
    /// When to look into the store next; `None` if it holds no timer.
    next: Option<Timestamp>,
    /// Not before this time, since the store could not be read.
    not_before: Timestamp,
    /// What the lanes have in hand.
    in_hand: HashSet<TimerId>,
    /// What was found due meanwhile: a timer that repeats may be set anew, and late already, before
    /// its lane has said that it is done.
    again: HashSet<TimerId>,
}

impl Watch {
    fn learn(&mut self, told: Told, now: Timestamp) {
        for (id, was_told) in told.done {
            self.in_hand.remove(&id);
            if self.again.remove(&id) {
                self.next = Some(now);
            }
            if !was_told {
                self.next = Some(now);
                self.not_before = now.plus(RETRY_AFTER);
            }
        }
        if let Some(armed) = told.armed {
            self.next = Some(self.next.map_or(armed, |next| next.min(armed)));
        }
    }

    /// A timer is due; gives whether its lane is to be told now.
    fn found(&mut self, id: &TimerId) -> bool {
        let is_new = self.in_hand.insert(id.clone());
        if !is_new {
            self.again.insert(id.clone());
        }
        is_new
    }

    /// How long to sleep; `None` if it is time to look.
    fn sleep(&self, now: Timestamp) -> Option<Duration> {
        let next = self.next.map(|next| next.max(self.not_before));
        let is_full = self.in_hand.len() > PAGE / 2;
        match next {
            // The lanes ring when they have room.
            Some(next) if next <= now && is_full => Some(SLEEP_MAX),
            Some(next) if next <= now => None,
            Some(next) => Some(Duration::from_millis(next.0 - now.0).min(SLEEP_MAX)),
            None => Some(SLEEP_MAX),
        }
    }
}

impl Dispatcher {
    /// Gives timers to their lanes as they come due, from when a function is known until the engine
    /// is drained.
    pub(crate) async fn watch_timers(&self, store: &dyn Store) {
        let watching = async {
            let mut served = self.served.clone();
            if served.wait_for(Option::is_some).await.is_err() {
                return;
            }
            let mut watch = Watch {
                next: Some(Timestamp::default()),
                not_before: Timestamp::default(),
                in_hand: HashSet::new(),
                again: HashSet::new(),
            };
            loop {
                let now = self.clock.now();
                watch.learn(self.alarm.take(), now);
                match watch.sleep(now) {
                    Some(sleep) => {
                        let _ = tokio::time::timeout(sleep, self.alarm.rung.notified()).await;
                    }
                    None => self.look_for_timers(store, &mut watch, now).await,
                }
            }
        };
        tokio::select! {
            biased;
            () = self.quiet.cancelled() => {}
            () = watching => {}
        }
    }

    async fn look_for_timers(&self, store: &dyn Store, watch: &mut Watch, now: Timestamp) {
        if let Err(error) = self.tell_due(store, watch, now).await {
            warn!(%error, "timers that are due cannot be looked for");
            watch.not_before = now.plus(RETRY_AFTER);
        }
    }

    /// Tells the lanes what is due of the first page, and when to look again.
    async fn tell_due(
        &self,
        store: &dyn Store,
        watch: &mut Watch,
        now: Timestamp,
    ) -> Result<(), ReadError> {
        // One that is not due yet says when the next is.
        let until = Timestamp(u64::MAX);
        let page = store.due_timers(until, None, PAGE).await?;
        watch.next = match page.len() {
            PAGE => Some(now),
            _ => None,
        };
        for timer in page {
            if timer.due > now {
                watch.next = Some(timer.due);
                break;
            }
            if watch.found(&timer.id) {
                self.tell(timer.id.key.slot(), Input::Due(timer.id));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU64;

    use firn_model::id::{EntityKey, StorageName};
    use firn_store::TimerName;

    use super::*;

    fn id(number: usize) -> TimerId {
        TimerId {
            key: EntityKey::new(StorageName::new("s"), number.to_string()),
            name: TimerName::Own("t".into()),
        }
    }

    fn watch(next: Option<NonZeroU64>, in_hand: usize) -> Watch {
        Watch {
            next: next.map(|next| Timestamp(next.get())),
            not_before: Timestamp(0),
            in_hand: (0..in_hand).map(id).collect(),
            again: HashSet::new(),
        }
    }

    const NOW: Timestamp = Timestamp(100_000);

    #[test]
    fn it_sleeps_until_the_next_timer_and_never_long() {
        let check = |next, in_hand, sleeps| {
            assert_eq!(watch(NonZeroU64::new(next), in_hand).sleep(NOW), sleeps);
        };
        check(0, 0, Some(SLEEP_MAX));
        check(1, 0, None);
        check(NOW.0, PAGE / 2, None);
        check(NOW.0, PAGE / 2 + 1, Some(SLEEP_MAX));
        check(NOW.0 + 250, 0, Some(Duration::from_millis(250)));
        check(NOW.0 + 600_000, 0, Some(SLEEP_MAX));
    }

    #[test]
    fn it_learns_of_earlier_timers_and_of_room() {
        let mut watch = watch(NonZeroU64::new(NOW.0 + 500), PAGE);
        let armed = |due| Told {
            armed: Some(Timestamp(due)),
            done: Vec::new(),
        };
        watch.learn(armed(NOW.0 + 700), NOW);
        assert_eq!(watch.sleep(NOW), Some(Duration::from_millis(500)));
        watch.learn(armed(NOW.0), NOW);
        assert_eq!(watch.sleep(NOW), Some(SLEEP_MAX));
        let done = (0..PAGE).map(|number| (id(number), true)).collect();
        watch.learn(Told { armed: None, done }, NOW);
        assert_eq!(watch.sleep(NOW), None);
    }

    #[test]
    fn it_pauses_when_the_store_cannot_tell() {
        let mut watch = watch(None, 1);
        let done = vec![(id(0), false)];
        watch.learn(Told { armed: None, done }, NOW);
        assert_eq!(watch.sleep(NOW), Some(RETRY_AFTER));
        assert_eq!(watch.sleep(NOW.plus(RETRY_AFTER)), None);
        assert!(watch.in_hand.is_empty());
    }

    /// A timer that repeats is late again before its lane is done with the time before.
    #[test]
    fn timer_that_is_due_while_it_is_in_hand_is_looked_for_again() {
        let mut watch = watch(None, 0);
        assert!(watch.found(&id(0)));
        assert!(!watch.found(&id(0)));
        assert_eq!(watch.sleep(NOW), Some(SLEEP_MAX));
        let done = vec![(id(0), true)];
        watch.learn(Told { armed: None, done }, NOW);
        assert_eq!(watch.sleep(NOW), None);
        watch.next = None;
        assert!(watch.found(&id(0)));
        assert!(watch.again.is_empty());
    }

    #[test]
    fn words_of_the_lanes_add_up() {
        let alarm = Alarm::default();
        for due in [3, 1, 2] {
            alarm.armed(Timestamp(due));
        }
        alarm.done(id(1), true);
        let told = alarm.take();
        assert_eq!(
            (told.armed, told.done),
            (Some(Timestamp(1)), vec![(id(1), true)])
        );
        assert_eq!(alarm.take().armed, None);
    }
}
