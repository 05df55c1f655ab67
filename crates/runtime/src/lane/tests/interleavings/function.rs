//! What a function decides.

use std::time::Duration;

use bytes::Bytes;
use firn_model::decision::{
    Answer, Append, Decision, Effect, Forward, Mutation, Schedule, TimerChange,
};
use firn_model::payload::Payload;
use firn_model::policy::{FailureMutation, Policies};

use crate::lane::tests::bench::{effect, failure, read};

/// What a function may decide about this command.
pub(super) fn decision(id: u32, is_cart: bool, how: u32) -> Decision {
    let text = Payload::new("n", Bytes::from(id.to_string()));
    let mutation = match how % 8 {
        0 | 1 => Mutation::Nothing,
        2 => Mutation::Delete { grace: None },
        _ if is_cart => Mutation::Append(Append {
            events: vec![text],
            ..Append::default()
        }),
        _ => Mutation::Set(text),
    };
    let answer = match (how / 8) % 8 {
        0 => failure(false),
        1 => failure(true),
        _ => read().answer,
    };
    let count = if is_cart { (how / 64) % 3 } else { 0 };
    let effects: Vec<Effect> = (0..count).map(|_| effect("t.Note", "Do")).collect();
    Decision {
        answer,
        mutation,
        effects: effects.into_iter().chain(delayed(id, how)).collect(),
        timers: timers(id, how),
    }
}

/// What a timer calls that was set by this command.
fn tick(id: u32) -> Forward {
    Forward {
        payload: Payload::new(TICK, Bytes::from(id.to_string())),
        ..effect("t.Note", "Do").call
    }
}

/// The type of what timers send.
pub(super) const TICK: &str = "tick";

/// The timers that a decision sets or cancels: few names, so that they meet.
fn timers(id: u32, how: u32) -> Vec<TimerChange> {
    let set = |name: &str, after, repeats| TimerChange::Set {
        name: name.to_owned(),
        schedule: Schedule {
            after: Duration::from_secs(after),
            call: tick(id),
            repeats,
        },
    };
    let cancel = |name: &str| TimerChange::Cancel {
        name: name.to_owned(),
    };
    let after = u64::from(how / 65_536 % 50);
    match how / 8192 % 8 {
        1 | 2 => vec![set("t", after, false)],
        3 => vec![cancel("t"), cancel("r")],
        4 => vec![set("r", 20 + after, true)],
        5 => vec![cancel("t"), set("u", after, false)],
        _ => Vec::new(),
    }
}

fn delayed(id: u32, how: u32) -> Option<Effect> {
    let delay = Duration::from_secs(u64::from(how / 65_536 % 50));
    (how / 8192 % 8 == 6).then(|| Effect {
        call: tick(id),
        synchronous: false,
        delay: Some(delay),
    })
}

/// Whether a decision sets a timer that is kept. Effects are kept beside every answer.
pub(super) fn arms(policies: &Policies, decision: &Decision) -> bool {
    let sets = |change: &TimerChange| matches!(change, TimerChange::Set { .. });
    decision.timers.iter().any(sets) && keeps(policies, decision)
        || decision.effects.iter().any(|it| it.delay.is_some())
}

/// Whether the mutation of a decision is kept.
pub(super) fn keeps(policies: &Policies, decision: &Decision) -> bool {
    match &decision.answer {
        Answer::Failure(failure) => {
            !failure.restart && policies.failure_mutation == FailureMutation::Keep
        }
        _ => true,
    }
}
