//! One call of an action, in the hands of a test.

use firn_wire::superset::action_response::Response;
use firn_wire::superset::{
    ActionCommand, ActionResponse, Any, Failure, Forward, Metadata, Reply, SideEffect,
};
use http::HeaderMap;
use prost::Message;

use super::call::{self, Inbound};
use super::entity::decode;

/// What the proxy does on a call.
#[derive(Debug, Clone, PartialEq)]
pub enum In {
    /// Sends a message.
    Message(ActionCommand),
    /// Half-closes the call.
    HalfClose,
    /// Resets the call.
    Reset,
    /// Loses or closes the connection.
    Gone,
}

/// A call of an action, of any of the four shapes. Dropping it breaks the call.
#[derive(Debug)]
pub struct Call(call::Call);

impl Call {
    pub(super) fn new(call: call::Call) -> Self {
        Self(call)
    }

    /// The path that was called, which tells the shape.
    pub fn path(&self) -> &str {
        &self.0.path
    }

    /// The headers of the call itself.
    pub fn headers(&self) -> &HeaderMap {
        &self.0.headers
    }

    /// What the proxy does next.
    ///
    /// # Panics
    /// If it does nothing in time, or what it sends is not of its protocol.
    pub async fn next(&mut self) -> In {
        match self.0.next().await {
            Inbound::Message(message) => In::Message(decode(message)),
            Inbound::HalfClose => In::HalfClose,
            Inbound::Reset => In::Reset,
            Inbound::Gone => In::Gone,
        }
    }

    /// Expects a message.
    ///
    /// # Panics
    /// If something else comes, or nothing in time.
    pub async fn message(&mut self) -> ActionCommand {
        match self.next().await {
            In::Message(message) => message,
            other => panic!("expected a message, but there came {other:?}"),
        }
    }

    /// Expects exactly this next.
    ///
    /// # Panics
    /// If something else comes, or nothing in time.
    pub async fn expect(&mut self, expected: In) {
        let came = self.next().await;
        assert_eq!(came, expected, "(what came, what was expected)");
    }

    /// Sends an answer.
    pub fn send(&self, response: &ActionResponse) {
        self.0.send(response.encode_to_vec().into());
    }

    /// Sends an answer and completes the call.
    pub fn answer(&self, response: &ActionResponse) {
        self.send(response);
        self.complete();
    }

    /// Completes the call.
    pub fn complete(&self) {
        self.0.end(0, "");
    }

    /// Ends the call with a gRPC status.
    pub fn end(&self, code: i32, text: &str) {
        self.0.end(code, text);
    }
}

/// An answer with a message.
pub fn reply(payload: Any) -> ActionResponse {
    reply_with_headers(payload, None)
}

/// An answer with a message and headers.
pub fn reply_with_headers(payload: Any, metadata: Option<Metadata>) -> ActionResponse {
    response(Response::Reply(Reply {
        payload: Some(payload),
        metadata,
    }))
}

/// An answer that another method gives.
pub fn forwarded(forward: Forward) -> ActionResponse {
    response(Response::Forward(forward))
}

/// An answer that is a failure.
pub fn failed(failure: Failure) -> ActionResponse {
    response(Response::Failure(failure))
}

/// An answer that says nothing.
pub fn nothing() -> ActionResponse {
    ActionResponse::default()
}

/// The same answer with effects.
pub fn with_effects(
    response: ActionResponse,
    effects: impl IntoIterator<Item = SideEffect>,
) -> ActionResponse {
    ActionResponse {
        side_effects: effects.into_iter().collect(),
        ..response
    }
}

fn response(response: Response) -> ActionResponse {
    ActionResponse {
        side_effects: Vec::new(),
        response: Some(response),
    }
}
