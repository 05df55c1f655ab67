//! Who waits for whom: calls that would wait for themselves are refused instead.
//!
//! # How it works
//! A function that handles a command may call others and wait. An entity serves one command at a
//! time, so while its handler waits, nothing else of it goes on. `Waits` holds an edge from each
//! entity, or action, whose handler waits to the one it waits for. A new edge that would close a
//! circle is not taken: whoever is on the circle would wait for ever, also when the edges belong to
//! different requests.
//!
//! # Not here
//! Replicated entities serve several commands at once and are on no circle. Circles through other
//! nodes of a cluster are not seen; such a call ends with its deadline.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use firn_model::id::EntityKey;

/// Somebody whose handler may wait.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Waiter {
    /// An entity, whatever command it handles.
    Entity(EntityKey),
    /// One call of an action.
    Action {
        /// Which call.
        number: u64,
        /// The gRPC path of its method, for people.
        path: Arc<str>,
    },
}

impl fmt::Display for Waiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Entity(key) => write!(f, "{key}"),
            Self::Action { path, .. } => f.write_str(path),
        }
    }
}

/// The circle that a call would close, from the one that calls back to itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Circle(Vec<Waiter>);

impl fmt::Display for Circle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for waiter in &self.0 {
            write!(f, "{waiter} -> ")?;
        }
        match self.0.first() {
            Some(first) => write!(f, "{first}"),
            None => Ok(()),
        }
    }
}

/// All edges. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Waits(Arc<Mutex<Edges>>);

/// From each waiter to those it waits for; one may be there more than once.
type Edges = HashMap<Waiter, Vec<Waiter>>;

/// An edge, as long as it is held.
#[derive(Debug)]
pub(crate) struct Wait {
    waits: Waits,
    from: Waiter,
    to: Waiter,
}

impl Waits {
    /// Notes that `from` waits for `to` from now on.
    ///
    /// # Errors
    /// The circle that this would close; nothing is noted then.
    pub(crate) fn enter(&self, from: Waiter, to: Waiter) -> Result<Wait, Circle> {
        let mut edges = self.lock();
        if let Some(path) = path(&edges, &to, &from) {
            return Err(Circle(path));
        }
        edges.entry(from.clone()).or_default().push(to.clone());
        drop(edges);
        Ok(Wait {
            waits: self.clone(),
            from,
            to,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Edges> {
        // The map is whole between two operations.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        let mut edges = self.waits.lock();
        if let Some(to) = edges.get_mut(&self.from) {
            if let Some(index) = to.iter().position(|to| *to == self.to) {
                to.swap_remove(index);
            }
            if to.is_empty() {
                edges.remove(&self.from);
            }
        }
    }
}

/// A way along the edges from `from` to `to`, both included. Depth first, each waiter once.
fn path(edges: &Edges, from: &Waiter, to: &Waiter) -> Option<Vec<Waiter>> {
    let mut seen = HashSet::new();
    let mut way: Vec<(&Waiter, std::slice::Iter<'_, Waiter>)> = Vec::new();
    let next = |waiter| edges.get(waiter).map(|to| to.iter()).unwrap_or_default();
    seen.insert(from);
    way.push((from, next(from)));
    while let Some((waiter, after)) = way.last_mut() {
        if *waiter == to {
            return Some(way.iter().map(|(waiter, _)| (*waiter).clone()).collect());
        }
        match after.next() {
            Some(waiter) if seen.insert(waiter) => {
                let after = next(waiter);
                way.push((waiter, after));
            }
            Some(_) => {}
            None => {
                way.pop();
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use firn_model::id::StorageName;

    use super::*;

    fn entity(id: &str) -> Waiter {
        Waiter::Entity(EntityKey::new(StorageName::new("e"), id))
    }

    fn action(number: u64) -> Waiter {
        Waiter::Action {
            number,
            path: "/t.A/Do".into(),
        }
    }

    #[test]
    fn entity_that_calls_itself_is_a_circle() {
        let refused = Waits::default().enter(entity("a"), entity("a"));
        assert_eq!(refused.unwrap_err().to_string(), "e/a -> e/a");
    }

    #[test]
    fn circle_is_found_through_actions_and_named() {
        let waits = Waits::default();
        let _one = waits.enter(entity("a"), action(1)).unwrap();
        let _two = waits.enter(action(1), entity("b")).unwrap();
        let refused = waits.enter(entity("b"), entity("a")).unwrap_err();
        assert_eq!(refused.to_string(), "e/a -> /t.A/Do -> e/b -> e/a");
    }

    #[test]
    fn waits_that_have_ended_are_forgotten() {
        let waits = Waits::default();
        let one = waits.enter(entity("a"), entity("b")).unwrap();
        let again = waits.enter(entity("a"), entity("b")).unwrap();
        drop(one);
        assert!(waits.enter(entity("b"), entity("a")).is_err());
        drop(again);
        assert!(waits.enter(entity("b"), entity("a")).is_ok());
        assert!(waits.lock().is_empty());
    }

    #[test]
    fn many_may_wait_for_one() {
        let waits = Waits::default();
        let held: Vec<Wait> = (0..9)
            .map(|number| waits.enter(action(number), entity("a")).unwrap())
            .collect();
        assert!(waits.enter(entity("a"), entity("b")).is_ok());
        drop(held);
    }
}
