//! Server reflection: the function's descriptors for tools such as grpcurl.
//!
//! Versions v1 and v1alpha have the same messages under different names. What a client may ask is
//! answered from the contract's descriptors, and from those of the built-in services.
//!
//! The list of services holds the reflection service itself first, then those of the function,
//! sorted, and nothing else. An unknown symbol is answered with an empty list of files, not with an
//! error. Existing conformance tests hold a proxy to both.

mod files;
pub mod messages;

use std::sync::Arc;

use bytes::Bytes;
use firn_model::call::Reply;
use firn_model::status::{GrpcCode, Status};
use futures_util::StreamExt as _;

use self::files::Files;
use self::messages::{
    Answer, ErrorResponse, ExtensionNumbers, FileDescriptors, ListServices, Request, Response,
    Service, Wanted,
};
use crate::backend::{MessageStream, ReplyStream};
use crate::state::State;

/// Answers each request of a stream, until the client ends it or the edge stops.
pub(super) fn serve(
    state: &Arc<State>,
    service: &'static str,
    messages: MessageStream,
) -> ReplyStream {
    let stopping = state.draining.clone().cancelled_owned();
    let state = Arc::clone(state);
    messages
        .map(move |message| answer(&state, service, &message?))
        .take_until(stopping)
        .boxed()
}

fn answer(state: &State, service: &'static str, message: &Bytes) -> Result<Reply, Status> {
    let request: Request = super::decode(message)?;
    let contract = state.backend.contract();
    let files = Files::new(contract.as_deref());
    let answer = match &request.wanted {
        Some(Wanted::ListServices(_)) => list(service, contract.as_deref()),
        Some(Wanted::FileByFilename(name)) => match files.named(name) {
            Some(files) => Answer::Files(FileDescriptors { files }),
            None => not_found(&format!("there is no file {name}")),
        },
        Some(Wanted::FileContainingSymbol(symbol)) => {
            let files = files.with_symbol(symbol).unwrap_or_default();
            Answer::Files(FileDescriptors { files })
        }
        Some(Wanted::FileContainingExtension(of)) => {
            let number = u32::try_from(of.extension_number).unwrap_or_default();
            match files.with_extension(&of.containing_type, number) {
                Some(files) => Answer::Files(FileDescriptors { files }),
                None => not_found(&format!(
                    "{} has no extension {}",
                    of.containing_type, of.extension_number
                )),
            }
        }
        Some(Wanted::AllExtensionNumbersOfType(name)) => match files.extensions(name) {
            Some(numbers) => Answer::ExtensionNumbers(ExtensionNumbers {
                base_type_name: name.clone(),
                numbers,
            }),
            None => not_found(&format!("there is no message {name}")),
        },
        None => error(GrpcCode::InvalidArgument, "the request asks for nothing"),
    };
    Ok(super::reply(&Response {
        valid_host: request.host.clone(),
        original_request: Some(request),
        answer: Some(answer),
    }))
}

fn list(itself: &str, contract: Option<&firn_model::contract::Contract>) -> Answer {
    let components = contract.iter().flat_map(|contract| &contract.components);
    let mut names: Vec<String> = components.map(|c| c.service.to_string()).collect();
    names.sort();
    names.dedup();
    names.insert(0, itself.to_owned());
    let services = names.into_iter().map(|name| Service { name }).collect();
    Answer::Services(ListServices { services })
}

fn not_found(text: &str) -> Answer {
    error(GrpcCode::NotFound, text)
}

fn error(code: GrpcCode, text: &str) -> Answer {
    Answer::Error(ErrorResponse {
        code: code as i32,
        message: text.to_owned(),
    })
}
