//! Calls of actions: four shapes, chosen by the streaming of the user's method.

use bytes::Bytes;
use firn_model::code::Code;
use firn_model::decision::{Answer, Decision};
use firn_model::payload::Payload;
use firn_model::policy::Headers;
use firn_model::status::{GrpcCode, Status};
use firn_runtime::link::{ActionAnswer, ActionCall, AnswerStream, MessageStream};
use firn_wire::convert::action::{self, Target};
use firn_wire::superset::{ActionCommand, ActionResponse};
use futures_util::stream::{self, BoxStream, StreamExt};

use crate::connection::{Connection, Cut};

/// Calls a unary action.
///
/// The first message is the answer and the call is over with it: some SDKs send a failure and then
/// neither end the call nor say anything more, others send a second, empty message.
pub(crate) async fn unary(
    connection: Connection,
    path: &'static str,
    call: ActionCall,
    message: Bytes,
) -> Result<ActionAnswer, Status> {
    let request = action::command(target(&call), payload(&call, message));
    let requests = stream::once(async { Ok(request) });
    let answered = connection
        .streaming::<ActionCommand, ActionResponse>(path, requests)
        .await;
    let mut responses = answered
        .map_err(|status| told(&connection, &status))?
        .into_inner();
    match responses.message().await {
        Ok(Some(response)) => read(response),
        Ok(None) => Err(silent()),
        Err(status) => Err(told(&connection, &status)),
    }
}

/// The function ended a call without an answer.
fn silent() -> Status {
    Status::refused(
        GrpcCode::Unknown,
        Code::NoReply,
        "the function gave no reply",
    )
}

/// Calls an action that streams with one message, and takes the first answer that says something.
pub(crate) async fn stream_of_one(
    connection: Connection,
    path: &'static str,
    call: ActionCall,
    message: Bytes,
) -> Result<ActionAnswer, Status> {
    let messages = stream::once(async { Ok(message) }).boxed();
    let mut answers = streamed(connection, path, call, messages);
    let mut effects = Vec::new();
    while let Some(next) = answers.next().await.transpose()? {
        effects.extend(next.effects);
        if next.answer != Answer::Nothing {
            let answer = next.answer;
            return Ok(ActionAnswer { answer, effects });
        }
    }
    let answer = Answer::Nothing;
    Ok(ActionAnswer { answer, effects })
}

/// Calls an action that streams.
pub(crate) fn streamed(
    connection: Connection,
    path: &'static str,
    call: ActionCall,
    messages: MessageStream,
) -> AnswerStream {
    let answers = async move {
        let requests = match requests(&call, messages).await {
            Ok(requests) => requests,
            Err(status) => return failed(status),
        };
        match connection
            .streaming::<ActionCommand, ActionResponse>(path, requests)
            .await
        {
            Ok(response) => {
                let responses = response.into_inner();
                // Where one answer is declared the first one counts, as in a unary call.
                let most = if call.method.streams_out() {
                    usize::MAX
                } else {
                    1
                };
                responses
                    .take(most)
                    .map(move |response| match response {
                        Ok(response) => read(response),
                        Err(status) => Err(told(&connection, &status)),
                    })
                    .boxed()
            }
            Err(status) => failed(told(&connection, &status)),
        }
    };
    stream::once(answers).flatten().boxed()
}

/// What is sent: one command with its payload, or a head and then one item for each message.
async fn requests(
    call: &ActionCall,
    mut messages: MessageStream,
) -> Result<BoxStream<'static, Result<ActionCommand, Cut>>, Status> {
    if !call.method.streams_in() {
        let message = match messages.next().await {
            Some(message) => message?,
            None => {
                return Err(Status::refused(
                    GrpcCode::InvalidArgument,
                    Code::PayloadMalformed,
                    "the request holds no message",
                ));
            }
        };
        let command = action::command(target(call), payload(call, message));
        return Ok(stream::once(async { Ok(command) }).boxed());
    }
    let head = action::head(target(call));
    let type_url = call.method.input_url.clone();
    let items = messages.map(move |message| match message {
        Ok(bytes) => Ok(action::item(Payload {
            type_url: type_url.clone(),
            bytes,
        })),
        Err(_) => Err(Cut),
    });
    Ok(stream::once(async { Ok(head) }).chain(items).boxed())
}

fn target(call: &ActionCall) -> Target<'_> {
    Target {
        service: &call.method.component.service,
        name: &call.method.name,
        metadata: &call.metadata,
        headers: &Headers::All,
    }
}

fn payload(call: &ActionCall, bytes: Bytes) -> Payload {
    Payload {
        type_url: call.method.input_url.clone(),
        bytes,
    }
}

fn read(response: ActionResponse) -> Result<ActionAnswer, Status> {
    match action::read(response) {
        Ok(Decision {
            answer, effects, ..
        }) => Ok(ActionAnswer { answer, effects }),
        Err(violation) => Err(Status::refused(
            GrpcCode::Internal,
            Code::ProtocolViolated,
            format!("the function broke its protocol: {violation}"),
        )),
    }
}

/// The status of a failed call for the caller: the function's own code passes.
fn told(connection: &Connection, status: &tonic::Status) -> Status {
    let code = GrpcCode::from_number(status.code() as i32).unwrap_or(GrpcCode::Unknown);
    if connection.is_open() {
        return Status::refused(code, Code::FunctionFailed, status.message());
    }
    Status::refused(
        GrpcCode::Unavailable,
        Code::FunctionFailed,
        "the function went away; the call may have run",
    )
}

fn failed(status: Status) -> BoxStream<'static, Result<ActionAnswer, Status>> {
    stream::once(async { Err(status) }).boxed()
}
