//! What the entities of the workload may have in store: the model that a proxy is held against.
//!
//! # How it works
//! Every state that the function decides has a number, its version, and is *possible* from then on. When
//! a caller hears of it, those before it are not possible any more. When an entity begins again, what it
//! begins with must be one of the possible ones, and those after it are void: what was decided and not
//! heard of may have been stored, or not.

use std::collections::{BTreeMap, BTreeSet};

use super::world::Key;
use crate::data::Data;
use crate::fault::Fault;

/// What an entity is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Of a value or an event sourced entity: the tickets that made it, in order.
    Tickets(String),
    /// Of a replicated one; none if it is not there.
    Data(Option<Data>),
}

/// What is known of one entity.
#[derive(Debug, Default)]
struct Known {
    /// With their versions, the oldest first.
    states: Vec<(u64, State)>,
    /// The first one that is possible.
    from: usize,
    /// The newest request that there was when the function last broke a stream of it.
    crashed: Option<u64>,
    /// Which stream decides.
    stream: u64,
}

/// What was decided about a ticket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Decided {
    /// This text, of the entity in this version.
    Reply(Key, u64, String),
    /// This text, beside a change that is kept if it has a version.
    Failure(Key, Option<u64>, String),
    /// Another ticket decides.
    Forward(u64),
    /// This text of an action.
    Acted(String),
    /// A failure of an action.
    ActFailed(String),
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    entities: BTreeMap<Key, Known>,
    decided: BTreeMap<u64, Decided>,
    /// Tickets of commands that have come.
    pub(super) seen: BTreeSet<u64>,
    /// The newest request.
    pub(super) newest: u64,
    last_version: u64,
    last_stream: u64,
    /// The first thing that was wrong.
    pub(super) fault: Option<Fault>,
}

impl Ledger {
    fn known(&mut self, key: &Key) -> &mut Known {
        self.entities.entry(key.clone()).or_default()
    }

    /// Something is wrong. Only the first counts.
    pub(super) fn blame(&mut self, fault: Fault) {
        self.fault.get_or_insert(fault);
    }

    /// A stream begins with this; gives its number.
    pub(super) fn begins(&mut self, key: &Key, state: State, empty: State) -> Result<u64, Fault> {
        self.last_stream += 1;
        let stream = self.last_stream;
        let version = self.last_version;
        let known = self.known(key);
        if known.states.is_empty() {
            known.states.push((version, empty));
        }
        known.stream = stream;
        let possible = &known.states[known.from..];
        let Some(at) = possible.iter().rposition(|(_, one)| *one == state) else {
            let expected = format!("{key:?} as one of {possible:?}");
            return Err(Fault::new("F116", expected, format!("{state:?}")));
        };
        known.from += at;
        known.states.truncate(known.from + 1);
        Ok(stream)
    }

    /// The function decides on a stream that an entity becomes this; gives its version. What is decided
    /// on an older stream counts nothing.
    pub(super) fn becomes(&mut self, key: &Key, stream: u64, state: State) -> u64 {
        self.last_version += 1;
        let version = self.last_version;
        let known = self.known(key);
        if known.stream == stream {
            known.states.push((version, state));
        }
        version
    }

    /// The version of the newest state.
    pub(super) fn version(&mut self, key: &Key) -> u64 {
        let known = self.known(key);
        known.states.last().map_or(0, |(version, _)| *version)
    }

    /// What a ticket is answered with.
    pub(super) fn decide(&mut self, ticket: u64, decided: Decided) {
        self.decided.insert(ticket, decided);
    }

    /// What decides about a ticket in the end.
    pub(super) fn decided(&self, ticket: u64) -> Option<&Decided> {
        let mut decided = self.decided.get(&ticket)?;
        while let Decided::Forward(next) = decided {
            decided = self.decided.get(next)?;
        }
        Some(decided)
    }

    /// A caller has heard of this version.
    pub(super) fn heard(&mut self, key: &Key, version: u64) -> Result<(), Fault> {
        let known = self.known(key);
        let mut states = known.states.iter();
        match states.position(|(one, _)| *one == version) {
            Some(at) => known.from = known.from.max(at),
            None if known.states[known.from].0 > version => {}
            None => {
                let expected = format!("{key:?} not to be told of what was not stored");
                let came = format!("version {version}, with {:?} in store", known.states);
                return Err(Fault::new("F117", expected, came));
            }
        }
        Ok(())
    }

    /// The function breaks a stream of this entity.
    pub(super) fn crashes(&mut self, key: &Key) {
        let newest = self.newest;
        self.known(key).crashed = Some(newest);
    }

    /// Whether the function has broken a stream of this entity since this request.
    pub(super) fn has_crashed(&mut self, key: &Key, since: u64) -> bool {
        self.known(key).crashed.is_some_and(|at| at >= since)
    }

    /// The proxy was killed: replicated data may be as it was at any time.
    pub(super) fn killed(&mut self) {
        for (key, known) in &mut self.entities {
            if key.service.starts_with("Data") {
                known.from = 0;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> Key {
        Key {
            service: "Value",
            id: "a".into(),
        }
    }

    fn state(text: &str) -> State {
        State::Tickets(text.into())
    }

    /// An entity of which "1" was heard, and "12" and "123" were decided.
    fn ledger() -> (Ledger, u64) {
        let mut ledger = Ledger::default();
        let stream = ledger.begins(&key(), state(""), state("")).expect("empty");
        let first = ledger.becomes(&key(), stream, state("1"));
        ledger.heard(&key(), first).expect("it was decided");
        ledger.becomes(&key(), stream, state("12"));
        let last = ledger.becomes(&key(), stream, state("123"));
        (ledger, last)
    }

    #[test]
    fn what_was_heard_or_decided_since_is_possible() {
        for text in ["1", "12", "123"] {
            let (mut ledger, _) = ledger();
            ledger
                .begins(&key(), state(text), state(""))
                .expect("possible");
        }
    }

    #[test]
    fn what_was_before_what_was_heard_is_lost() {
        for text in ["", "2", "1234"] {
            let (mut ledger, _) = ledger();
            let begins = ledger.begins(&key(), state(text), state(""));
            assert_eq!(begins.expect_err("a loss").requirement, "F116");
        }
    }

    #[test]
    fn nobody_hears_of_what_is_void() {
        let (mut ledger, last) = ledger();
        ledger
            .begins(&key(), state("1"), state(""))
            .expect("possible");
        let heard = ledger.heard(&key(), last);
        assert_eq!(heard.expect_err("void").requirement, "F117");
    }

    #[test]
    fn older_streams_decide_nothing() {
        let (mut ledger, _) = ledger();
        let old = ledger.last_stream;
        ledger
            .begins(&key(), state("12"), state(""))
            .expect("possible");
        ledger.becomes(&key(), old, state("12x"));
        let begins = ledger.begins(&key(), state("12x"), state(""));
        assert!(begins.is_err());
    }
}
