//! Timers and delays of decisions (R29).

use std::time::Duration;

use firn_model::contract::{Kind, Method};
use firn_model::decision::{Forward, Schedule, TimerChange};
use firn_model::key;
use firn_model::limit::{DELAY_MAX, TIMER_NAME_BYTES_MAX, TIMER_REPEAT_MIN, TIMERS_MAX};
use firn_model::metadata::Metadata;
use firn_model::payload::Payload;

use super::contract::Shape;
use super::convert::Unfit;
use super::message as wire;

/// How long something is to wait. Nothing said is no time at all.
///
/// # Errors
/// [`Unfit::Delay`] if it is negative or above [`DELAY_MAX`].
pub(super) fn delay(delay: Option<prost_types::Duration>) -> Result<Duration, Unfit> {
    let delay = Duration::try_from(delay.unwrap_or_default());
    delay
        .ok()
        .filter(|delay| *delay <= DELAY_MAX)
        .ok_or(Unfit::Delay)
}

/// Refuses timers of what has none.
pub(super) fn none(timers: &[wire::Timer], kind: Kind) -> Result<(), Unfit> {
    match timers {
        [] => Ok(()),
        _ => Err(Unfit::Model {
            kind,
            mutation: "timers",
        }),
    }
}

/// The changes of an entity's timers, by a decision on `method`. `id` is the stored form of its id.
///
/// # Errors
/// [`Unfit`] if a timer cannot be one of the entity's.
pub(super) fn changes(
    timers: Vec<wire::Timer>,
    method: &Method,
    shape: &Shape,
    id: &str,
) -> Result<Vec<TimerChange>, Unfit> {
    if timers.len() > TIMERS_MAX {
        return Err(Unfit::Timers(timers.len()));
    }
    let mut changes = Vec::with_capacity(timers.len());
    for wire::Timer { name, action } in timers {
        if name.is_empty() || name.len() > TIMER_NAME_BYTES_MAX {
            return Err(Unfit::TimerName(name.len()));
        }
        changes.push(match action {
            Some(wire::timer::Action::Set(set)) => {
                let schedule = schedule(set, &name, method, shape, id)?;
                TimerChange::Set { name, schedule }
            }
            Some(wire::timer::Action::Cancel(wire::timer::Unset {})) => {
                TimerChange::Cancel { name }
            }
            // Of a later version (R6).
            None => continue,
        });
    }
    Ok(changes)
}

fn schedule(
    set: wire::timer::Schedule,
    name: &str,
    method: &Method,
    shape: &Shape,
    id: &str,
) -> Result<Schedule, Unfit> {
    let after = delay(set.after)?;
    if set.repeat && after < TIMER_REPEAT_MIN {
        return Err(Unfit::Repeat(after));
    }
    let Some(fields) = shape.timed.get(&set.method) else {
        return Err(Unfit::TimerMethod {
            name: name.to_owned(),
            method: set.method,
        });
    };
    match key::entity_id(fields, &set.message) {
        Ok(named) if **named.stored() == *id => {}
        _ => return Err(Unfit::TimerTarget(name.to_owned())),
    }
    Ok(Schedule {
        after,
        call: Forward {
            service: method.component.service.to_string(),
            method: set.method,
            payload: Payload::new("", set.message),
            metadata: Metadata::default(),
        },
        repeats: set.repeat,
    })
}
