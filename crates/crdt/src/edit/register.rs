//! Writes to registers.

use firn_model::replicated::{Clock, Write};

use super::{ApplyError, Data, Edit};
use crate::dot::Dot;
use crate::dotted::Dotted;
use crate::element::Element;
use crate::entry::Written;
use crate::value::register::{precedence, winner};

impl Edit<'_> {
    /// Adds a write. It replaces all that were seen, but for the winner if that wins over it: a
    /// removal that saw the winner and not this write leaves this one.
    pub(super) fn write(&mut self, mut data: Data<'_>, write: &Write) -> Result<(), ApplyError> {
        let (old, new) = data.parts();
        let seen: Dotted<Written> = self.values(old, new);
        let current = winner(&seen);
        let written = Written {
            stamp: self.stamp(write.clock, current.map(|(_, written)| written.stamp)),
            value: Element::from(&write.value),
        };
        let dot = self.mint();
        let better =
            |other: &&(Dot, Written)| precedence(other.0, &other.1) > precedence(dot, &written);
        let better = current.filter(better);
        self.diverged |= better.is_some_and(|(_, other)| other.value != written.value);
        let stays = better.map(|(dot, _)| *dot);
        self.kill_all(seen.dots().filter(|dot| Some(*dot) != stays));
        new.retain(|dot| Some(dot) == stays);
        new.insert(dot, written);
        Ok(())
    }

    fn stamp(&self, clock: Clock, current: Option<i64>) -> i64 {
        let now = self.now_ms;
        match (clock, current) {
            (Clock::Default, None) => now,
            (Clock::Default, Some(current)) => now.max(current.saturating_add(1)),
            (Clock::Reverse, None) => now.saturating_neg(),
            (Clock::Reverse, Some(current)) => now.saturating_neg().min(current.saturating_sub(1)),
            (Clock::CustomAutoIncrement(number), Some(current)) if number <= current => {
                current.saturating_add(1)
            }
            (Clock::Custom(number) | Clock::CustomAutoIncrement(number), _) => number,
        }
    }
}
