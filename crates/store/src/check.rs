//! What a check of a store finds.

use std::fmt;

use firn_model::id::EntityKey;

/// What is told while a store is checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// What was found.
    Finding(Finding),
    /// How many rows were looked at so far.
    Rows(u64),
}

/// Something in a store that is damaged, or contradicts something else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Where: the row, or the file.
    pub place: String,
    /// The entity that it is of, where that can be said: what is lost of one shows in many rows.
    pub entity: Option<EntityKey>,
    /// What is wrong with it.
    pub fault: String,
    /// Whether it can be put right without guessing.
    pub repair: Repair,
}

/// Whether a [`Finding`] can be put right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repair {
    /// It cannot: something is lost.
    Impossible,
    /// It can, and was not: nobody asked for it.
    Possible,
    /// It was.
    Done,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let repair = match self.repair {
            Repair::Impossible => "cannot be repaired",
            Repair::Possible => "can be repaired",
            Repair::Done => "repaired",
        };
        write!(f, "{}: {} ({repair})", self.place, self.fault)
    }
}

/// What a check has looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Checked {
    /// How many rows.
    pub rows: u64,
    /// How many of them gave a finding.
    pub findings: u64,
    /// How many findings were repaired.
    pub repaired: u64,
}
