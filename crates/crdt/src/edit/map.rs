//! Changes of maps.

use std::collections::BTreeMap;

use firn_model::limit::MAP_DEPTH_MAX;
use firn_model::payload::Payload;
use firn_model::replicated::{DataType, Delta, EntriesDelta, MapDelta};

use super::{ApplyError, Data, Edit, Place};
use crate::dot::Dots;
use crate::element::Element;
use crate::entry::Entry;

/// A map's entries.
type Entries = BTreeMap<Element, Entry>;

impl Edit<'_> {
    pub(super) fn map(&mut self, mut data: Data<'_>, change: &MapDelta) -> Result<(), ApplyError> {
        self.enter(&mut data, change.cleared)?;
        let (old, new) = data.parts::<Entries>();
        for key in &change.removed {
            self.remove_key(old, new, &Element::from(key));
        }
        for (key, delta) in &change.updated {
            self.update(old, new, key, delta)?;
        }
        for (key, delta) in &change.added {
            self.add_key(old, new, key, delta)?;
        }
        self.depth -= 1;
        Ok(())
    }

    /// Changes a map whose values are all of one type, each value with `edit`.
    pub(super) fn uniform_map<T>(
        &mut self,
        mut data: Data<'_>,
        change: &EntriesDelta<T>,
        data_type: DataType,
        edit: impl Fn(&mut Self, Data<'_>, &T) -> Result<(), ApplyError>,
    ) -> Result<(), ApplyError> {
        self.enter(&mut data, change.cleared)?;
        let (old, new) = data.parts::<Entries>();
        for key in &change.removed {
            self.remove_key(old, new, &Element::from(key));
        }
        for (key, change) in &change.updated {
            let key = Element::from(key);
            let mut place = Place {
                old: old.and_then(|old| old.get(&key)),
                new: new.entry(key).or_default(),
            };
            self.refresh(&mut place, data_type);
            edit(self, place.data(data_type), change)?;
        }
        self.depth -= 1;
        Ok(())
    }

    fn enter(&mut self, data: &mut Data<'_>, cleared: bool) -> Result<(), ApplyError> {
        self.depth += 1;
        if self.depth > MAP_DEPTH_MAX {
            return Err(ApplyError::TooDeep);
        }
        if cleared {
            self.clear(data);
        }
        Ok(())
    }

    fn remove_key(&mut self, old: Option<&Entries>, new: &mut Entries, key: &Element) {
        let before = old.and_then(|old| old.get(key));
        if before.is_none() && !new.contains_key(key) {
            return;
        }
        let entry = new.entry(key.clone()).or_default();
        self.kill(before, entry);
    }

    /// Kills all that an entry holds.
    fn kill(&mut self, old: Option<&Entry>, new: &mut Entry) {
        let mut killed = Vec::new();
        if let Some(old) = old {
            old.dots(&mut |dot| killed.push(dot));
        }
        self.kill_all(killed);
        *new = Entry {
            whole: true,
            slots: Vec::new(),
        };
    }

    /// Changes a value; what is not there or is of another type stays as it is.
    fn update(
        &mut self,
        old: Option<&Entries>,
        new: &mut Entries,
        key: &Payload,
        delta: &Delta,
    ) -> Result<(), ApplyError> {
        let (key, data_type) = (Element::from(key), delta.data_type());
        let old = old.and_then(|old| old.get(&key));
        let shown = self.shown(old, new.get(&key).unwrap_or(&Entry::default()));
        if shown != Some(data_type) {
            self.diverged = true;
            return Ok(());
        }
        let new = new.entry(key).or_default();
        self.change(Place { old, new }, delta)
    }

    /// Changes a value from what is there, or from the empty value if that is nothing, or something
    /// of another type.
    fn add_key(
        &mut self,
        old: Option<&Entries>,
        new: &mut Entries,
        key: &Payload,
        delta: &Delta,
    ) -> Result<(), ApplyError> {
        let key = Element::from(key);
        let old = old.and_then(|old| old.get(&key));
        let new = new.entry(key).or_default();
        let shown = self.shown(old, new);
        if shown.is_some_and(|shown| shown != delta.data_type()) {
            self.kill(old, new);
        }
        self.change(Place { old, new }, delta)
    }

    fn change(&mut self, mut place: Place<'_>, delta: &Delta) -> Result<(), ApplyError> {
        let data_type = delta.data_type();
        self.refresh(&mut place, data_type);
        self.data(place.data(data_type), delta)
    }

    /// Renews the presence of a key's value, so that it survives a removal that did not see this.
    fn refresh(&mut self, place: &mut Place<'_>, data_type: DataType) {
        let old = place.old.and_then(|entry| entry.slot(data_type));
        let new = place.new.slot_mut(data_type);
        let seen = self.living(old.map(|slot| &slot.presence), &new.presence);
        self.kill_all(seen.iter());
        new.presence = Dots::from(self.mint());
    }
}
