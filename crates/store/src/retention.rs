//! What of a store's contents is looked for to be removed, and how that is told.

use std::collections::BTreeSet;

use firn_model::id::EntityKey;

use crate::entity::Timestamp;

/// How many events one [`Trim`] removes at most: few enough to hold nobody up. What is left of an
/// entity goes with the next.
pub const TRIM_EVENTS_MAX: u64 = 1024;

/// Which of the events that a snapshot covers are kept all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// The last so many before the snapshot.
    Last(u64),
    /// Those that were committed then or later, and what follows them.
    Since(Timestamp),
}

/// Events of an entity that a snapshot covers and nobody wants to keep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Covered {
    /// The entity.
    pub key: EntityKey,
    /// The number of the first.
    pub first: u64,
    /// The number of the last.
    pub through: u64,
}

/// A way through the entities of a component that trims what may go, a page at a time.
///
/// What it is given is looked at after [`after`](Self::after); what it gives is trimmed, and then the
/// page is looked at again: what is there from the same event on is stuck, as a store leaves alone what
/// it finds damaged. The page is trimmed again while there is more of it than goes at once, but for what
/// is stuck.
#[derive(Debug, Default)]
pub struct Pass {
    after: Option<String>,
    /// After which id it goes on once the page is done.
    next: Option<String>,
    /// What of the page is being trimmed.
    trimming: Vec<Covered>,
    /// Entities of the page of which something went.
    begun: BTreeSet<EntityKey>,
    /// Entities of the page of which nothing goes.
    stuck: BTreeSet<EntityKey>,
    done: Done,
}

/// What a way through the entities of a component has done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Done {
    /// How many events went.
    pub events: u64,
    /// Of how many entities.
    pub entities: u64,
    /// Of how many entities nothing went that should have.
    pub stuck: u64,
    /// One of those.
    pub stuck_at: Option<EntityKey>,
    /// Whether everything was looked at.
    pub is_all: bool,
}

impl Pass {
    /// After which id is to be looked.
    pub fn after(&self) -> Option<&str> {
        self.after.as_deref()
    }

    /// What has been done.
    pub fn done(&self) -> &Done {
        &self.done
    }

    /// What of a page is to be trimmed now; nothing if there is nothing in it, or the next page comes.
    pub fn on(&mut self, mut page: Page<Covered>) -> Vec<Trim> {
        let trimmed = std::mem::take(&mut self.trimming);
        let is_again = !trimmed.is_empty();
        let mut is_more = false;
        for key in std::mem::take(&mut page.damaged) {
            self.is_stuck(key);
        }
        for covered in trimmed {
            if page.still_has(&covered) {
                self.is_stuck(covered.key);
                continue;
            }
            is_more |= covered.count() > TRIM_EVENTS_MAX;
            self.done.events += covered.count().min(TRIM_EVENTS_MAX);
            self.done.entities += u64::from(self.begun.insert(covered.key));
        }
        if !is_again || is_more {
            page.found.retain(|it| !self.stuck.contains(&it.key));
            self.next = page.next;
            self.trimming = page.found;
        }
        if self.trimming.is_empty() {
            self.after = self.next.take();
            self.done.is_all = self.after.is_none();
            self.begun.clear();
            self.stuck.clear();
        }
        self.trimming.iter().map(Covered::trim).collect()
    }
}

impl Pass {
    fn is_stuck(&mut self, key: EntityKey) {
        // A page that is looked at again names it again.
        if self.stuck.insert(key.clone()) {
            self.done.stuck += 1;
            self.done.stuck_at.get_or_insert(key);
        }
    }
}

impl Page<Covered> {
    fn still_has(&self, covered: &Covered) -> bool {
        let mut found = self.found.iter();
        found.any(|it| it.key == covered.key && it.first == covered.first)
    }
}

impl Covered {
    /// How many they are.
    pub fn count(&self) -> u64 {
        (self.through + 1).saturating_sub(self.first)
    }

    /// What removes them, or the first of them.
    pub fn trim(&self) -> Trim {
        Trim {
            key: self.key.clone(),
            through: self.through,
        }
    }
}

/// Removes events of an entity, oldest first, up to a number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trim {
    /// The entity.
    pub key: EntityKey,
    /// The number of the last event that goes.
    pub through: u64,
}

/// A part of what was looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// What was found.
    pub found: Vec<T>,
    /// Entities of which it cannot be said, as something of them is damaged.
    pub damaged: Vec<EntityKey>,
    /// The id after which to go on; `None` if there is nothing more to look at.
    pub next: Option<String>,
}

#[cfg(test)]
mod tests {
    use firn_model::id::StorageName;

    use super::*;

    /// A store of one component: of each entity its first event and the last that is covered, and
    /// whether it can be trimmed.
    struct Entities(Vec<(EntityKey, u64, u64, bool)>);

    impl Entities {
        fn look(&self, after: Option<&str>) -> Page<Covered> {
            let rest = self.0.iter().filter(|it| Some(&*it.0.id) > after);
            let page: Vec<_> = rest.take(2).collect();
            let covered = page.iter().filter(|it| it.1 <= it.2);
            let found = covered.map(|(key, first, through, _)| Covered {
                key: key.clone(),
                first: *first,
                through: *through,
            });
            Page {
                found: found.collect(),
                damaged: Vec::new(),
                next: page.get(1).map(|it| it.0.id.to_string()),
            }
        }

        fn trim(&mut self, trim: &Trim) {
            let found = self.0.iter_mut().find(|it| it.0 == trim.key);
            let (_, first, through, can) = found.expect("an entity that was found");
            if *can {
                *first = (*first + TRIM_EVENTS_MAX).min(*through + 1);
            }
        }
    }

    fn pass(entities: &[(&str, u64, bool)]) -> Done {
        let entities = entities.iter().map(|(id, count, can)| {
            let key = EntityKey::new(StorageName::new("log"), *id);
            (key, 1, *count, *can)
        });
        let mut store = Entities(entities.collect());
        let mut pass = Pass::default();
        for _ in 0..100 {
            for trim in pass.on(store.look(pass.after())) {
                store.trim(&trim);
            }
            if pass.done().is_all {
                let left = store.0.iter().find(|it| it.3 && it.1 <= it.2);
                assert_eq!(left, None);
                return pass.done().clone();
            }
        }
        panic!("it does not end: {:?}", pass.done());
    }

    #[test]
    fn everything_goes_but_what_is_stuck() {
        let done = |events, entities, stuck: &[&str]| Done {
            events,
            entities,
            stuck: stuck.len() as u64,
            stuck_at: (stuck.first()).map(|id| EntityKey::new(StorageName::new("log"), *id)),
            is_all: true,
        };
        assert_eq!(pass(&[]), done(0, 0, &[]));
        assert_eq!(pass(&[("a", 0, true), ("b", 3, true)]), done(3, 1, &[]));
        let max = TRIM_EVENTS_MAX;
        let long = [("a", max, true), ("b", 3 * max + 1, true), ("c", 1, true)];
        assert_eq!(pass(&long), done(4 * max + 2, 3, &[]));
        let stuck = [("a", 5, false), ("b", 2 * max, true), ("c", 7, true)];
        assert_eq!(pass(&stuck), done(2 * max + 7, 2, &["a"]));
        let stuck = [("a", 9 * max, false), ("b", 3 * max, false), ("c", 7, true)];
        assert_eq!(pass(&stuck), done(7, 1, &["a", "b"]));
        let stuck = [("a", 9, true), ("b", 0, false), ("c", 3 * max, false)];
        assert_eq!(pass(&stuck), done(9, 1, &["c"]));
    }

    #[test]
    fn what_is_damaged_is_stuck_and_counted_once() {
        let key = |id| EntityKey::new(StorageName::new("log"), id);
        let page = |found: &[&'static str]| Page {
            found: Vec::from_iter(found.iter().map(|id| Covered {
                key: key(*id),
                first: 1,
                through: 3,
            })),
            damaged: vec![key("a")],
            next: None,
        };
        let mut pass = Pass::default();
        assert_eq!(pass.on(page(&["b"])).len(), 1);
        assert_eq!(pass.on(page(&[])), []);
        let done = Done {
            events: 3,
            entities: 1,
            stuck: 1,
            stuck_at: Some(key("a")),
            is_all: true,
        };
        assert_eq!(*pass.done(), done);
    }
}
