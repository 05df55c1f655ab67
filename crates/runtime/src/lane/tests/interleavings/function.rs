//! What a function decides.

use bytes::Bytes;
use firn_model::decision::{Answer, Append, Decision, Mutation};
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
    let effects = (0..count).map(|_| effect("t.Note", "Do")).collect();
    Decision {
        answer,
        mutation,
        effects,
    }
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
