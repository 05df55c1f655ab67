//! What was acknowledged: how far the rows must be before they may be read.

use std::sync::atomic::{AtomicU64, Ordering};

use firn_model::id::{SLOTS, Slot};

/// The last records whose outcome was given: of each slot, and of all.
///
/// A read of one slot need not wait for what others have written meanwhile.
pub(super) struct Acknowledged {
    slots: Box<[AtomicU64]>,
    all: AtomicU64,
}

impl Acknowledged {
    /// All records up to this one.
    pub(super) fn new(reached: u64) -> Self {
        Self {
            slots: (0..SLOTS).map(|_| AtomicU64::new(0)).collect(),
            all: AtomicU64::new(reached),
        }
    }

    /// The outcomes of these slots were given, up to a record.
    pub(super) fn advance(&self, slots: &[Slot], last: u64) {
        for slot in slots {
            self.slots[usize::from(slot.number())].store(last, Ordering::Release);
        }
        self.all.store(last, Ordering::Release);
    }

    /// The last record of a slot, or before it.
    pub(super) fn of_slot(&self, slot: Slot) -> u64 {
        self.slots[usize::from(slot.number())].load(Ordering::Acquire)
    }

    /// The last record of all.
    pub(super) fn of_all(&self) -> u64 {
        self.all.load(Ordering::Acquire)
    }
}
