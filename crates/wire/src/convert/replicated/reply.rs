//! What a function answers, as far as the layouts have it in common.

use firn_model::decision::Answer;
use firn_model::replicated::StreamedMessage;

use super::Out;
use crate::convert::instance::{self, StreamFailure};
use crate::convert::{Violation, parts};
use crate::superset::{ClientAction, CrdtStreamedMessage, Failure};

/// What the caller gets.
pub(super) fn answer(action: Option<ClientAction>) -> Result<Answer, Violation> {
    let mut answer = parts::answer(action)?;
    if let Answer::Failure(failure) = &mut answer {
        // A restart replays events; a replicated entity has none.
        failure.restart = false;
    }
    Ok(answer)
}

pub(super) fn streamed(message: CrdtStreamedMessage) -> Result<Out, Violation> {
    Ok(Out::Streamed(StreamedMessage {
        command: message.command_id,
        answer: answer(message.client_action)?,
        effects: parts::effects(message.side_effects)?,
        ends: message.end_stream,
    }))
}

pub(super) fn failure(failure: Failure) -> Out {
    let StreamFailure {
        command_id,
        mut failure,
    } = instance::stream_failure(failure);
    failure.restart = false;
    Out::Failure(StreamFailure {
        command_id,
        failure,
    })
}
