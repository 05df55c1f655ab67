//! Calls of an action.
//!
//! A unary request is one [`command`]. A stream of requests begins with a [`head`], which names the
//! method and has no payload; every message of the client follows as an [`item`].

use firn_model::decision::{Answer, Decision, Mutation};
use firn_model::metadata::Metadata;
use firn_model::payload::Payload;
use firn_model::policy::Headers;

use super::{Violation, parts};
use crate::superset::action_response::Response;
use crate::superset::{ActionCommand, ActionResponse};

/// What is called, and with which headers.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// The full name of the component's gRPC service.
    pub service: &'a str,
    /// The method's name without its service.
    pub name: &'a str,
    /// The client's headers.
    pub metadata: &'a Metadata,
    /// Which of them reach the function.
    pub headers: &'a Headers,
}

/// The only request of a call.
pub fn command(target: Target<'_>, payload: Payload) -> ActionCommand {
    ActionCommand {
        payload: Some(parts::any(payload)),
        ..head(target)
    }
}

/// The first message of a stream of requests.
pub fn head(target: Target<'_>) -> ActionCommand {
    ActionCommand {
        service_name: target.service.to_owned(),
        name: target.name.to_owned(),
        payload: None,
        metadata: parts::headers(target.headers, target.metadata),
    }
}

/// A later message of a stream of requests.
pub fn item(payload: Payload) -> ActionCommand {
    ActionCommand {
        payload: Some(parts::any(payload)),
        ..ActionCommand::default()
    }
}

/// Reads one answer of the function. None of its alternatives set is legal: [`Answer::Nothing`].
///
/// # Errors
/// [`Violation::TypeUrl`] if a type URL is not text.
pub fn read(response: ActionResponse) -> Result<Decision, Violation> {
    let answer = match response.response {
        Some(Response::Reply(it)) => Answer::Reply(parts::reply(it)?),
        Some(Response::Forward(it)) => Answer::Forward(parts::forward(it)?),
        Some(Response::Failure(it)) => Answer::Failure(parts::failure(it)),
        None => Answer::Nothing,
    };
    Ok(Decision {
        answer,
        mutation: Mutation::Nothing,
        effects: parts::effects(response.side_effects)?,
        timers: Vec::new(),
    })
}
