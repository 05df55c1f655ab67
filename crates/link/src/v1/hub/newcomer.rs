//! What a newcomer declares, held against what is known: pure, and slow, as descriptors are linked.

use std::sync::Arc;

use firn_model::contract::Finding;
use firn_wire::v1::contract::{self, Declaration, Declared};

use crate::watch::Check;

/// The functions that are known when a newcomer comes, in their order.
pub(super) type Others = Vec<Other>;

pub(super) struct Other {
    pub(super) declaration: Arc<Declaration>,
    pub(super) is_connected: bool,
}

/// A newcomer's contract beside those of others.
pub(super) struct Beside {
    /// Of those that stay, in their order, and the newcomer.
    pub(super) declared: Declared,
    /// Which of the others stay.
    pub(super) stay: Vec<bool>,
}

/// Reads what a newcomer declares, and holds it against the others.
pub(super) fn beside(
    newcomer: &Declaration,
    others: Others,
    check: &Check,
) -> Result<Beside, Vec<Finding>> {
    // One that has gone makes room for what replaces it.
    let makes_room = |other: &Other| {
        !other.is_connected && !contract::taken(newcomer, &[&other.declaration]).is_empty()
    };
    let stay: Vec<bool> = others.iter().map(|other| !makes_room(other)).collect();
    let staying = others.iter().zip(&stay).filter(|(_, stays)| **stays);
    let mut all: Vec<&Declaration> = staying.map(|(other, _)| &*other.declaration).collect();
    if !all.is_empty() {
        // What is wrong with it alone is said first, and without the others' names.
        contract::read(&[newcomer])?;
        let connected = others.iter().filter(|other| other.is_connected);
        let connected: Vec<_> = connected.map(|other| &*other.declaration).collect();
        let faults = contract::taken(newcomer, &connected);
        if !faults.is_empty() {
            return Err(faults);
        }
    }
    all.push(newcomer);
    let declared = contract::read(&all)?;
    let faults = check(&declared.contract);
    match faults.is_empty() {
        true => Ok(Beside { declared, stay }),
        false => Err(faults),
    }
}
