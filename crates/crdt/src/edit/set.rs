//! Changes of sets.

use std::collections::BTreeMap;

use firn_model::payload::Payload;
use firn_model::replicated::SetDelta;

use super::{ApplyError, Data, Edit};
use crate::dot::Dots;
use crate::element::Element;

impl Edit<'_> {
    pub(super) fn set(&mut self, mut data: Data<'_>, change: &SetDelta) -> Result<(), ApplyError> {
        if change.cleared {
            self.clear(&mut data);
        }
        let (old, new) = data.parts();
        for payload in &change.removed {
            self.remove_element(old, new, payload);
        }
        self.add_all(data, &change.added)
    }

    /// Adds elements, each under a dot of its own, also those that are there: so they survive a
    /// removal elsewhere that did not see this.
    pub(super) fn add_all(
        &mut self,
        mut data: Data<'_>,
        added: &[Payload],
    ) -> Result<(), ApplyError> {
        let (old, new) = data.parts::<BTreeMap<Element, Dots>>();
        for payload in added {
            let element = Element::from(payload);
            let seen = self.living(
                old.and_then(|old| old.get(&element)),
                new.get(&element).unwrap_or(&Dots::default()),
            );
            self.kill_all(seen.iter());
            new.insert(element, Dots::from(self.mint()));
        }
        Ok(())
    }

    fn remove_element(
        &mut self,
        old: Option<&BTreeMap<Element, Dots>>,
        new: &mut BTreeMap<Element, Dots>,
        payload: &Payload,
    ) {
        let element = Element::from(payload);
        let before = old.and_then(|old| old.get(&element));
        let seen = self.living(before, new.get(&element).unwrap_or(&Dots::default()));
        if !seen.is_empty() {
            self.kill_all(seen.iter());
            new.insert(element, Dots::default());
        }
    }

    /// Kills all that the data holds.
    pub(super) fn clear(&mut self, data: &mut Data<'_>) {
        *data.whole = true;
        let mut killed = Vec::new();
        if let Some(old) = data.old {
            old.dots(&mut |dot| killed.push(dot));
        }
        self.kill_all(killed);
        *data.new = crate::entry::Store::new(data.data_type);
    }
}
