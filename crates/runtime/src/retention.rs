//! Retention: which events go once a snapshot covers them, and which entities go when nobody writes
//! them any more.
//!
//! # How it works
//! Now and then the service goes through the components that something is said of, a page of entities
//! at a time. Events it removes itself: what a snapshot covers is in nobody's way, whoever owns the
//! entity. Of an entity that was not written for as long as its component says, it tells the lane, like
//! of a tombstone whose grace is over; the lane loads it, finds out whether that is still so, and
//! deletes it. A command that comes for such an entity finds the same, whether the service has been
//! there or not: an entity is never served beyond its time.
//!
//! # Fate
//! It begins with the first contract and ends when the engine drains. A trim that is under way then is
//! waited for. What fails is logged and tried again with the next look.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use firn_model::contract::{Component, Kind};
use firn_model::id::EntityKey;
use firn_model::policy::Replay;
use firn_store::{Keep, Pass, ReadError, Store, Timestamp, WriteError};
use futures_executor::block_on;
use tracing::warn;

use crate::dispatch::Dispatcher;
use crate::lane::Input;

/// How many entities are looked at at once.
const PAGE: usize = 256;

/// Between two pages that gave something to do: callers come first.
const PAUSE: Duration = Duration::from_millis(200);

/// Which events are kept that a snapshot covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Events {
    /// All of them.
    #[default]
    All,
    /// Those that are no older than this.
    For(Duration),
    /// The last so many before the snapshot.
    Last(u64),
}

/// What is kept of a component.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rule {
    /// Its events; `None` leaves that to [`Retention::events`].
    pub events: Option<Events>,
    /// How long an entity is kept that nobody writes; `None` for ever.
    pub ttl: Option<Duration>,
}

/// What is kept of what is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retention {
    /// The events of components of which nothing else is said. Default all, since 0.1.
    pub events: Events,
    /// Components by the name of their service or of their storage. Default none, since 0.1.
    pub components: BTreeMap<String, Rule>,
    /// How long to wait between two looks at everything. Default 10 min, since 0.1.
    pub every: Duration,
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            events: Events::All,
            components: BTreeMap::new(),
            every: Duration::from_secs(600),
        }
    }
}

impl Events {
    /// What a store is asked to keep at this time; `None` for everything.
    pub fn keep(self, now: Timestamp) -> Option<Keep> {
        match self {
            Self::All => None,
            Self::For(age) => {
                let age = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
                Some(Keep::Since(Timestamp(now.0.saturating_sub(age))))
            }
            Self::Last(count) => Some(Keep::Last(count)),
        }
    }
}

impl Retention {
    /// How long an entity of this component is kept that nobody writes.
    pub fn ttl_of(&self, component: &Component) -> Option<Duration> {
        self.rule_of(component).and_then(|rule| rule.ttl)
    }

    /// Why what is said of a component cannot be done, if it cannot.
    pub fn misfit(&self, component: &Component) -> Option<&'static str> {
        let rule = self.rule_of(component)?;
        let sets_events = rule.events.is_some_and(|events| events != Events::All);
        if component.kind == Kind::Replicated {
            return Some(
                "it is replicated: its data is on every node, and no one of them may delete it for \
                 all; delete its entities by a command",
            );
        }
        if !component.kind.is_entity() {
            return Some("it keeps nothing");
        }
        if sets_events && component.kind != Kind::EventSourced {
            return Some("it has no events; ttl works for it");
        }
        if sets_events && component.policies.replay == Replay::AllEvents {
            return Some("its SDK cannot begin with a snapshot, so it needs all events");
        }
        None
    }

    fn rule_of(&self, component: &Component) -> Option<&Rule> {
        if self.components.is_empty() {
            return None;
        }
        let by_service = self.components.get(&*component.service);
        by_service.or_else(|| self.components.get(component.storage.as_str()))
    }

    /// Which events of a component are kept.
    fn events_of(&self, component: &Component) -> Events {
        let is_fit = component.kind == Kind::EventSourced
            && component.policies.replay == Replay::FromSnapshot;
        match self.rule_of(component).and_then(|rule| rule.events) {
            _ if !is_fit => Events::All,
            Some(events) => events,
            None => self.events,
        }
    }

    /// The names of which none of these components has one.
    fn unknown(&self, components: &[Arc<Component>]) -> Vec<&str> {
        let names = self.components.keys().map(String::as_str);
        let is_known = |name: &&str| {
            let mut components = components.iter();
            components.any(|it| *name == &*it.service || *name == it.storage.as_str())
        };
        names.filter(|name| !is_known(name)).collect()
    }

    fn is_nothing(&self) -> bool {
        self.events == Events::All && self.components.is_empty()
    }
}

/// Why the service could not go on.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Write(#[from] WriteError),
    #[error(
        "events of {entities} entities cannot be removed, such as of {entity}; see what firn store check says"
    )]
    Stuck { entities: u64, entity: EntityKey },
    #[error(
        "of {entities} entities it cannot be read when they were written, such as of {entity}; see what firn store check says"
    )]
    Damaged { entities: u64, entity: EntityKey },
}

impl Dispatcher {
    /// Removes what need not be kept, from when a function is known until the engine is drained.
    pub(crate) async fn retain(&self, store: Arc<dyn Store>, retention: &Retention) {
        if retention.is_nothing() {
            return;
        }
        let retaining = async {
            let mut served = self.served.clone();
            let mut unknown = Vec::new();
            loop {
                let found = served.wait_for(Option::is_some).await;
                let Some(contract) = found
                    .ok()
                    .and_then(|served| served.as_ref().map(|served| served.contract.clone()))
                else {
                    return;
                };
                let still = retention.unknown(&contract.components);
                if still != unknown {
                    unknown = still;
                    for name in &unknown {
                        warn!(
                            name,
                            "[retention] names what is no component of the function"
                        );
                    }
                }
                for component in &contract.components {
                    self.retain_of(&store, retention, component).await;
                }
                tokio::time::sleep(retention.every).await;
            }
        };
        tokio::select! {
            biased;
            () = self.quiet.cancelled() => {}
            () = retaining => {}
        }
    }

    /// Removes what need not be kept of a component: its events and its entities, neither of which
    /// waits for the other.
    async fn retain_of(
        &self,
        store: &Arc<dyn Store>,
        retention: &Retention,
        component: &Component,
    ) {
        if retention.misfit(component).is_some() {
            return;
        }
        let service = &component.service;
        if let Some(keep) = retention.events_of(component).keep(self.clock.now())
            && let Err(error) = self.trim(store, component, keep).await
        {
            warn!(component = %service, %error, "events that need not be kept are not removed");
        }
        if let Some(ttl) = retention.ttl_of(component)
            && let Err(error) = self.find_unwritten(&**store, component, ttl).await
        {
            warn!(component = %service, %error, "entities that nobody writes are not removed");
        }
    }

    async fn trim(
        &self,
        store: &Arc<dyn Store>,
        component: &Component,
        keep: Keep,
    ) -> Result<(), Trouble> {
        let mut pass = Pass::default();
        while !pass.done().is_all {
            let storage = &component.storage;
            let page = store.covered(storage, keep, pass.after(), PAGE).await?;
            let trims = pass.on(page);
            if trims.is_empty() {
                continue;
            }
            let writing = store.clone();
            let trimming = move || block_on(writing.trim(trims));
            // Among the engine's tasks: a drain waits for it, also if this look ends before.
            let trimming = self.tasks.spawn_blocking_on(trimming, &self.runtime);
            match trimming.await {
                Ok(trimmed) => trimmed?,
                Err(_) => return Ok(()),
            }
            tokio::time::sleep(PAUSE).await;
        }
        let done = pass.done();
        if let Some(entity) = &done.stuck_at {
            let entities = done.stuck;
            return Err(Trouble::Stuck {
                entities,
                entity: entity.clone(),
            });
        }
        Ok(())
    }

    async fn find_unwritten(
        &self,
        store: &dyn Store,
        component: &Component,
        ttl: Duration,
    ) -> Result<(), Trouble> {
        let ttl = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
        let mut after: Option<String> = None;
        let (mut entities, mut damaged) = (0, None);
        loop {
            let since = Timestamp(self.clock.now().0.saturating_sub(ttl));
            let storage = &component.storage;
            let page = store.unwritten(storage, since, after.as_deref(), PAGE);
            let page = page.await?;
            entities += page.damaged.len() as u64;
            damaged = damaged.or(page.damaged.into_iter().next());
            if !page.found.is_empty() {
                for key in page.found {
                    self.tell(key.slot(), Input::Expired(key));
                }
                tokio::time::sleep(PAUSE).await;
            }
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        match damaged {
            None => Ok(()),
            Some(entity) => Err(Trouble::Damaged { entities, entity }),
        }
    }
}
