//! Single types of data, which are the same in every layout, and what maps are made of.

use bytestring::ByteString;
use firn_model::limit::MAP_DEPTH_MAX;
use firn_model::payload::Payload;
use firn_model::replicated::{Clock, InvalidDelta, SetDelta, Votes, Write};

use super::NoCounterpart;
use crate::convert::parts::any;
use crate::superset::{
    Any, ReplicatedEntityClock, ReplicatedRegisterDelta, ReplicatedSetDelta, VoteDelta,
};

/// What is read from the function.
pub(super) type Read<T> = Result<T, InvalidDelta>;

/// What is written to it.
pub(super) type Written<T> = Result<T, NoCounterpart>;

/// How many maps a value is inside of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Depth(usize);

impl Depth {
    /// In none.
    pub(super) const OUTSIDE: Self = Self(0);

    /// In one more.
    pub(super) fn deeper(self) -> Read<Self> {
        if self.0 == MAP_DEPTH_MAX {
            return Err(InvalidDelta::TooDeep(MAP_DEPTH_MAX));
        }
        Ok(Self(self.0 + 1))
    }
}

/// An element, a key or a value.
fn element(any: Any) -> Read<Payload> {
    if any.type_url.is_empty() {
        return Err(InvalidDelta::NoTypeUrl);
    }
    Ok(Payload {
        type_url: ByteString::try_from(any.type_url).map_err(|_| InvalidDelta::TypeUrl)?,
        bytes: any.value,
    })
}

pub(super) fn elements(elements: Vec<Any>) -> Read<Vec<Payload>> {
    elements.into_iter().map(element).collect()
}

pub(super) fn anys(elements: Vec<Payload>) -> Vec<Any> {
    elements.into_iter().map(any).collect()
}

/// The key and the value of a map entry.
pub(super) fn entry<D, T>(
    key: Option<Any>,
    value: Option<D>,
    read: impl FnOnce(D) -> Read<T>,
) -> Read<(Payload, T)> {
    let key = element(key.ok_or(InvalidDelta::NoKey)?)?;
    let value = read(value.ok_or(InvalidDelta::NoEntryDelta)?)?;
    Ok((key, value))
}

pub(super) fn set(delta: ReplicatedSetDelta) -> Read<SetDelta> {
    Ok(SetDelta {
        cleared: delta.cleared,
        removed: elements(delta.removed)?,
        added: elements(delta.added)?,
    })
}

pub(super) fn set_delta(delta: SetDelta) -> ReplicatedSetDelta {
    ReplicatedSetDelta {
        cleared: delta.cleared,
        removed: anys(delta.removed),
        added: anys(delta.added),
    }
}

pub(super) fn register(delta: ReplicatedRegisterDelta) -> Read<Write> {
    let custom = delta.custom_clock_value;
    let clock = match ReplicatedEntityClock::try_from(delta.clock) {
        Ok(ReplicatedEntityClock::DefaultUnspecified) => Clock::Default,
        Ok(ReplicatedEntityClock::Reverse) => Clock::Reverse,
        Ok(ReplicatedEntityClock::Custom) => Clock::Custom(custom),
        Ok(ReplicatedEntityClock::CustomAutoIncrement) => Clock::CustomAutoIncrement(custom),
        Err(_) => return Err(InvalidDelta::Clock(delta.clock)),
    };
    let value = element(delta.value.ok_or(InvalidDelta::NoValue)?)?;
    Ok(Write { value, clock })
}

/// How a write was stamped is of no concern to the function.
pub(super) fn register_delta(write: Write) -> ReplicatedRegisterDelta {
    ReplicatedRegisterDelta {
        value: Some(any(write.value)),
        ..ReplicatedRegisterDelta::default()
    }
}

/// Only the function's own vote counts: a number that cannot be is none.
pub(super) fn votes(delta: VoteDelta) -> Votes {
    Votes {
        own: delta.self_vote,
        yes: u32::try_from(delta.votes_for).unwrap_or(0),
        members: u32::try_from(delta.total_voters).unwrap_or(0),
    }
}

pub(super) fn vote_delta(votes: Votes) -> VoteDelta {
    VoteDelta {
        self_vote: votes.own,
        votes_for: i32::try_from(votes.yes).unwrap_or(i32::MAX),
        total_voters: i32::try_from(votes.members).unwrap_or(i32::MAX),
    }
}
