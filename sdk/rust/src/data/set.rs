//! Sets.

use std::collections::BTreeSet;
use std::marker::PhantomData;

use super::{DataType, Element, Piece, ReplicatedData, known, other, taken};
use crate::Any;
use crate::context::OpenError;
use crate::wire::{self, delta::Delta};

/// Elements, with what was changed and how to take it back.
#[derive(Debug, Clone, Default)]
struct Elements {
    elements: BTreeSet<Any>,
    pending: Option<Box<Pending>>,
}

#[derive(Debug, Clone, Default)]
struct Pending {
    /// All that was there, if it was cleared.
    cleared: Option<BTreeSet<Any>>,
    removed: BTreeSet<Any>,
    added: BTreeSet<Any>,
}

impl Elements {
    fn add(&mut self, element: Any) -> bool {
        if !self.elements.insert(element.clone()) {
            return false;
        }
        let pending = self.pending.get_or_insert_default();
        if !pending.removed.remove(&element) {
            pending.added.insert(element);
        }
        true
    }

    fn remove(&mut self, element: &Any) -> bool {
        let Some(element) = self.elements.take(element) else {
            return false;
        };
        let pending = self.pending.get_or_insert_default();
        if !pending.added.remove(&element) {
            pending.removed.insert(element);
        }
        true
    }

    fn clear(&mut self) {
        self.undo();
        if !self.elements.is_empty() {
            let cleared = std::mem::take(&mut self.elements);
            self.pending.get_or_insert_default().cleared = Some(cleared);
        }
    }

    fn undo(&mut self) {
        let Some(pending) = self.pending.take() else {
            return;
        };
        match pending.cleared {
            Some(before) => self.elements = before,
            None => {
                self.elements.retain(|it| !pending.added.contains(it));
                self.elements.extend(pending.removed);
            }
        }
    }
}

/// A set of elements.
#[derive(Debug, Clone)]
pub struct Set<T> {
    elements: Elements,
    of: PhantomData<fn() -> T>,
}

impl<T> Default for Set<T> {
    fn default() -> Self {
        Self {
            elements: Elements::default(),
            of: PhantomData,
        }
    }
}

impl<T: Element> Set<T> {
    /// Adds an element; tells whether it is new.
    pub fn add(&mut self, element: &T) -> bool {
        self.elements.add(element.to_any())
    }

    /// Removes an element; tells whether it was there.
    pub fn remove(&mut self, element: &T) -> bool {
        self.elements.remove(&element.to_any())
    }

    /// Removes all elements.
    pub fn clear(&mut self) {
        self.elements.clear();
    }

    /// Whether the element is there.
    #[must_use]
    pub fn contains(&self, element: &T) -> bool {
        self.elements.elements.contains(&element.to_any())
    }

    /// How many elements there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.elements.elements.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.elements.elements.is_empty()
    }

    /// The elements, in the order of their encodings.
    pub fn iter(&self) -> impl Iterator<Item = T> {
        self.elements.elements.iter().map(known)
    }

    pub(super) fn apply_set(&mut self, delta: wire::SetDelta) -> Result<(), OpenError> {
        let elements = &mut self.elements.elements;
        if delta.cleared {
            elements.clear();
        }
        for element in &delta.removed {
            elements.remove(element);
        }
        for element in &delta.added {
            elements.insert(taken::<T>(element)?);
        }
        Ok(())
    }

    pub(super) fn redo_set(&mut self, delta: &wire::SetDelta) {
        if delta.cleared {
            self.elements.clear();
        }
        for element in &delta.removed {
            self.elements.remove(element);
        }
        for element in &delta.added {
            self.elements.add(element.clone());
        }
    }

    pub(super) fn take_set(&mut self) -> Option<wire::SetDelta> {
        let pending = *self.elements.pending.take()?;
        let delta = wire::SetDelta {
            cleared: pending.cleared.is_some(),
            removed: pending.removed.into_iter().collect(),
            added: pending.added.into_iter().collect(),
        };
        (delta != wire::SetDelta::default()).then_some(delta)
    }

    pub(super) fn whole_set(&self) -> wire::SetDelta {
        wire::SetDelta {
            added: self.elements.elements.iter().cloned().collect(),
            ..wire::SetDelta::default()
        }
    }
}

impl<T: Element> ReplicatedData for Set<T> {
    const TYPE: DataType = DataType::Set;
}

impl<T: Element> Piece for Set<T> {
    type Delta = Delta;

    fn apply(&mut self, delta: Delta) -> Result<(), OpenError> {
        match delta {
            Delta::Set(delta) => self.apply_set(delta),
            found => Err(other(Self::TYPE, &found)),
        }
    }

    fn take_delta(&mut self) -> Option<Delta> {
        self.take_set().map(Delta::Set)
    }

    fn whole(&self) -> Delta {
        Delta::Set(self.whole_set())
    }

    fn undo(&mut self) {
        self.elements.undo();
    }

    fn redo(&mut self, delta: &Delta) {
        if let Delta::Set(delta) = delta {
            self.redo_set(delta);
        }
    }
}

/// A set that only grows.
#[derive(Debug, Clone)]
pub struct GrowSet<T> {
    set: Set<T>,
}

impl<T> Default for GrowSet<T> {
    fn default() -> Self {
        Self {
            set: Set::default(),
        }
    }
}

impl<T: Element> GrowSet<T> {
    /// Adds an element; tells whether it is new.
    pub fn add(&mut self, element: &T) -> bool {
        self.set.add(element)
    }

    /// Whether the element is there.
    #[must_use]
    pub fn contains(&self, element: &T) -> bool {
        self.set.contains(element)
    }

    /// How many elements there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.set.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.set.is_empty()
    }

    /// The elements, in the order of their encodings.
    pub fn iter(&self) -> impl Iterator<Item = T> {
        self.set.iter()
    }
}

impl<T: Element> ReplicatedData for GrowSet<T> {
    const TYPE: DataType = DataType::GrowSet;
}

impl<T: Element> Piece for GrowSet<T> {
    type Delta = Delta;

    fn apply(&mut self, delta: Delta) -> Result<(), OpenError> {
        let elements = match delta {
            Delta::GrowSet(elements) => elements.elements,
            found => return Err(other(Self::TYPE, &found)),
        };
        self.set.apply_set(wire::SetDelta {
            added: elements,
            ..wire::SetDelta::default()
        })
    }

    fn take_delta(&mut self) -> Option<Delta> {
        let delta = self.set.take_set()?;
        Some(Delta::GrowSet(wire::Elements {
            elements: delta.added,
        }))
    }

    fn whole(&self) -> Delta {
        Delta::GrowSet(wire::Elements {
            elements: self.set.whole_set().added,
        })
    }

    fn undo(&mut self) {
        self.set.undo();
    }

    fn redo(&mut self, delta: &Delta) {
        if let Delta::GrowSet(added) = delta {
            for element in &added.elements {
                self.set.elements.add(element.clone());
            }
        }
    }
}
