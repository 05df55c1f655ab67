//! Changes of counters.

use firn_model::replicated::DataType;

use super::{ApplyError, Data, Edit};
use crate::dot::Dot;
use crate::dotted::Dotted;
use crate::value::counter::{range, total};

impl Edit<'_> {
    pub(super) fn grow(&mut self, data: Data<'_>, increment: u64) -> Result<(), ApplyError> {
        if i64::try_from(increment).is_err() {
            return Err(ApplyError::NegativeIncrement(increment));
        }
        self.add(data, increment.into())
    }

    pub(super) fn count(&mut self, data: Data<'_>, change: i64) -> Result<(), ApplyError> {
        self.add(data, change.into())
    }

    /// Replaces this replica's share by one that is greater by `change`.
    ///
    /// Others' shares stay as they are, so a removal that did not see this change removes those and
    /// leaves this one, with all that this replica had added before.
    fn add(&mut self, mut data: Data<'_>, change: i128) -> Result<(), ApplyError> {
        let data_type = data.data_type;
        let (old, new) = data.parts();
        let shares: Dotted<i128> = self.values(old, new);
        self.check(data_type, total(&shares), change)?;
        if change == 0 {
            return Ok(());
        }
        let own = shares.iter().filter(|(dot, _)| self.is_own(*dot));
        let (dots, values): (Vec<Dot>, Vec<i128>) = own.copied().unzip();
        self.kill_all(dots);
        let share = values.into_iter().sum::<i128>() + change;
        *new = [(self.mint(), share)].into_iter().collect();
        Ok(())
    }

    /// Whether a share is this replica's own, or of a former incarnation and for it to take in.
    ///
    /// The latter only once all former incarnations are closed: one that is not may have taken in the
    /// shares of those before it, without anybody knowing yet.
    pub(crate) fn is_own(&self, dot: Dot) -> bool {
        let (me, Dot { replica, .. }) = (self.me, dot);
        replica == me || (replica.node == me.node && replica < me && self.former_closed())
    }

    /// Whether all former incarnations of this replica are closed.
    pub(crate) fn former_closed(&self) -> bool {
        self.context.is_closed(self.me.node, self.me.incarnation)
    }

    /// Checks that the change leads to a value in the range of the type. Concurrent changes can lead
    /// out of it; then the value stays at the end of the range until enough has come back, and
    /// whatever does not lead further away is accepted.
    fn check(&mut self, data_type: DataType, old: i128, change: i128) -> Result<(), ApplyError> {
        let range = range(data_type);
        let (new, clamp) = (old + change, |value: i128| {
            value.clamp(*range.start(), *range.end())
        });
        let outwards = (new > *range.end() && change > 0) || (new < *range.start() && change < 0);
        if outwards {
            return Err(ApplyError::Overflow(data_type));
        }
        self.diverged |= clamp(old) + change != clamp(new);
        Ok(())
    }
}
