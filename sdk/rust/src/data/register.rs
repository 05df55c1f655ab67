//! Registers.

use std::marker::PhantomData;

use super::{DataType, Element, Piece, ReplicatedData, known, other, taken};
use crate::Any;
use crate::context::OpenError;
use crate::wire::{self, delta::Delta, write};

/// How a write is stamped. The greatest stamp wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Clock {
    /// The wall clock, or one more than the current stamp: the last write wins.
    #[default]
    Default,
    /// The wall clock negated: the first write wins.
    Reverse,
    /// This number; a write with a smaller one than the current loses.
    Custom(i64),
    /// This number, or one more than the current stamp.
    CustomAutoIncrement(i64),
}

/// A value; of several writes, that with the greatest stamp wins.
#[derive(Debug, Clone)]
pub struct Register<T> {
    value: Option<Any>,
    pending: Option<Box<Pending>>,
    of: PhantomData<fn() -> T>,
}

#[derive(Debug, Clone)]
struct Pending {
    write: wire::Write,
    before: Option<Any>,
}

impl<T> Default for Register<T> {
    fn default() -> Self {
        Self {
            value: None,
            pending: None,
            of: PhantomData,
        }
    }
}

impl<T: Element> Register<T> {
    /// The value; none if nothing was written.
    #[must_use]
    pub fn get(&self) -> Option<T> {
        self.value.as_ref().map(known)
    }

    /// Writes a value, stamped with the wall clock.
    pub fn set(&mut self, value: &T) {
        self.set_with(value, Clock::Default);
    }

    /// Writes a value, stamped so.
    pub fn set_with(&mut self, value: &T, clock: Clock) {
        let value = value.to_any();
        let (clock, custom) = match clock {
            Clock::Default => (write::Clock::Default, 0),
            Clock::Reverse => (write::Clock::Reverse, 0),
            Clock::Custom(custom) => (write::Clock::Custom, custom),
            Clock::CustomAutoIncrement(custom) => (write::Clock::CustomAutoIncrement, custom),
        };
        let write = wire::Write {
            value: Some(value),
            clock: clock.into(),
            custom,
        };
        self.redo_write(&write);
    }

    pub(super) fn redo_write(&mut self, write: &wire::Write) {
        let before = std::mem::replace(&mut self.value, write.value.clone());
        let write = write.clone();
        match &mut self.pending {
            Some(pending) => pending.write = write,
            None => self.pending = Some(Box::new(Pending { write, before })),
        }
    }

    pub(super) fn apply_write(&mut self, write: &wire::Write) -> Result<(), OpenError> {
        if let Some(value) = &write.value {
            self.value = Some(taken::<T>(value)?);
        }
        Ok(())
    }

    pub(super) fn take_write(&mut self) -> Option<wire::Write> {
        self.pending.take().map(|pending| pending.write)
    }

    pub(super) fn whole_write(&self) -> wire::Write {
        wire::Write {
            value: self.value.clone(),
            ..wire::Write::default()
        }
    }
}

impl<T: Element> ReplicatedData for Register<T> {
    const TYPE: DataType = DataType::Register;
}

impl<T: Element> Piece for Register<T> {
    type Delta = Delta;

    fn apply(&mut self, delta: Delta) -> Result<(), OpenError> {
        match delta {
            Delta::Register(write) => self.apply_write(&write),
            found => Err(other(Self::TYPE, &found)),
        }
    }

    fn take_delta(&mut self) -> Option<Delta> {
        self.take_write().map(Delta::Register)
    }

    fn whole(&self) -> Delta {
        Delta::Register(self.whole_write())
    }

    fn undo(&mut self) {
        if let Some(pending) = self.pending.take() {
            self.value = pending.before;
        }
    }

    fn redo(&mut self, delta: &Delta) {
        if let Delta::Register(write) = delta {
            self.redo_write(write);
        }
    }
}
