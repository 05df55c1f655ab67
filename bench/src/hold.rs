//! What replicated data takes in memory, measured in a process of its own.
//!
//! The process notes what the system says it has in use, makes the data one change after the other,
//! and looks again. So all is counted that goes with it: headers and rounding of the allocator (the
//! system's, as in `firn`), room that nodes of trees leave unused, and holes between allocations. The
//! page tables of the system are not.

use anyhow::{Result, bail};
use firn_crdt::State;
use firn_model::id::{Incarnation, NodeId, Replica};
use firn_model::payload::Payload;
use firn_model::replicated::{Delta, SetDelta};

use crate::rig::own_memory;

/// How many elements the set has.
pub(crate) const ELEMENTS: u64 = 1_000_000;

/// How many times an element is added and removed.
pub(crate) const PAIRS: u64 = 10_000;

/// How many entities have that done to them: one alone is less than a page.
pub(crate) const PAIRED: u64 = 200;

/// Elements of one set; the share of each, its own bytes not counted.
pub(crate) const ASCENDING: &str = "set-in-order";
pub(crate) const SCATTERED: &str = "set-scattered";

/// Entities in which an element came and went many times; the share of each.
pub(crate) const EMPTIED: &str = "emptied-sets";

/// Makes something and gives the bytes of each of its parts.
pub(crate) fn run(name: &str) -> Result<f64> {
    match name {
        ASCENDING => elements(0..ELEMENTS),
        SCATTERED => elements(scattered(ELEMENTS)),
        EMPTIED => emptied(),
        other => bail!("nobody holds {other}"),
    }
}

fn elements(numbers: impl Iterator<Item = u64>) -> Result<f64> {
    let me = replica(1);
    let mut set = State::default();
    let mut own = 0;
    // What a first change sets up once is not an element's.
    add(&mut set, me, ELEMENTS)?;
    let before = own_memory(std::process::id())?;
    for number in numbers {
        own += add(&mut set, me, number)?;
    }
    let grown = own_memory(std::process::id())? - before;
    drop(set);
    Ok((grown - own as f64) / ELEMENTS as f64)
}

fn emptied() -> Result<f64> {
    let mut sets = Vec::with_capacity(PAIRED as usize);
    sets.push(come_and_gone(PAIRS)?);
    let before = own_memory(std::process::id())?;
    for _ in 0..PAIRED {
        sets.push(come_and_gone(PAIRS)?);
    }
    let grown = own_memory(std::process::id())? - before;
    drop(sets);
    Ok(grown / PAIRED as f64)
}

/// A set to which one element was added, and removed again, so many times.
pub(crate) fn come_and_gone(pairs: u64) -> Result<State> {
    let me = replica(1);
    let mut set = State::default();
    let removal = Delta::Set(SetDelta {
        removed: vec![element(0)],
        ..SetDelta::default()
    });
    for _ in 0..pairs {
        add(&mut set, me, 0)?;
        set.apply(me, 0, &removal)?;
    }
    Ok(set)
}

/// Adds an element to a set, as a function does; gives the element's own bytes.
pub(crate) fn add(set: &mut State, me: Replica, number: u64) -> Result<usize> {
    let element = element(number);
    let own = element.type_url.len() + element.bytes.len();
    let change = SetDelta {
        added: vec![element],
        ..SetDelta::default()
    };
    set.apply(me, 0, &Delta::Set(change))?;
    Ok(own)
}

/// An element: 32 bytes of type URL, 8 to 23 bytes of value. All lengths are equally frequent, so
/// that rounding to 16 bytes costs what it does on average. They are in order of their numbers.
pub(crate) fn element(number: u64) -> Payload {
    const TYPE_URL: &str = "type.googleapis.com/bench.Member";
    let mut value = number.to_be_bytes().to_vec();
    value.resize(8 + number as usize % 16, b'.');
    Payload::new(TYPE_URL, value)
}

/// The numbers below this one, all over the place.
pub(crate) fn scattered(below: u64) -> impl Iterator<Item = u64> {
    // A power of 3, so it has no factor in common with powers of ten.
    const STEP: u64 = 387_420_489;
    (0..below).map(move |index| index * STEP % below)
}

/// A replica of the node with this number.
pub(crate) fn replica(node: u64) -> Replica {
    Replica {
        node: NodeId(node),
        incarnation: Incarnation::FIRST,
    }
}
