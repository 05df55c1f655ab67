//! Failures as HTTP responses, in the shape that the component's policy says.
//!
//! As text, what the edge itself refuses is told in full: the text and the code, one line each. What
//! the backend answers is the component's: its text alone. As JSON both are a `google.rpc.Status`,
//! see [`rpc`]. The code of either is also in the header `firn-code`.

mod rpc;

use bytes::Bytes;
use firn_model::code::Code;
use firn_model::contract::Contract;
use firn_model::policy::HttpErrors;
use firn_model::status::{GrpcCode, Status};
use http::{HeaderValue, Method as Verb, Response, StatusCode, header};
use prost_reflect::DescriptorPool;
use serde_json::json;

use crate::body::Body;
use crate::grpc::status::{FIRN_CODE, firn_code};

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// A response for what the edge refuses.
pub(crate) fn refused(status: &Status, policy: HttpErrors) -> Response<Body> {
    let code = refused_with(status);
    match policy {
        HttpErrors::PlainText500 | HttpErrors::PlainText => {
            let mut text = format!("{}\n", status.message);
            if let Some(code) = status.firn {
                text.push_str(&format!("{code}: {}\n", code.title()));
            }
            response(code, status, TEXT, text)
        }
        // A refusal has no details of the function's, so no descriptors are needed.
        HttpErrors::Json => {
            let body = rpc::status(status, &DescriptorPool::new());
            response(code, status, JSON, format!("{body}\n"))
        }
    }
}

/// A response for a path that is known with other verbs only.
pub(crate) fn other_verbs(
    verb: &Verb,
    path: &str,
    verbs: &[Verb],
    policy: HttpErrors,
) -> Response<Body> {
    let names: Vec<&str> = verbs.iter().map(Verb::as_str).collect();
    let names = names.join(", ");
    let status = Status::refused(
        GrpcCode::Unimplemented,
        Code::VerbUnknown,
        format!("{path} is not served with {verb}, but with {names}"),
    );
    let mut response = refused(&status, policy);
    if let Ok(allow) = HeaderValue::try_from(names) {
        response.headers_mut().insert(header::ALLOW, allow);
    }
    response
}

/// A response for what the backend answers; `pool` describes the details.
pub(crate) fn failed(status: &Status, policy: HttpErrors, pool: &DescriptorPool) -> Response<Body> {
    match policy {
        // What the function chose is 500 whatever it was; what Firn found still tells the client
        // whether to send something else or to come again.
        HttpErrors::PlainText500 if status.firn.is_none() => {
            let code = StatusCode::INTERNAL_SERVER_ERROR;
            response(code, status, TEXT, status.message.clone())
        }
        HttpErrors::PlainText500 | HttpErrors::PlainText => {
            response(refused_with(status), status, TEXT, status.message.clone())
        }
        HttpErrors::Json => {
            let body = rpc::status(status, pool);
            response(refused_with(status), status, JSON, format!("{body}\n"))
        }
    }
}

/// A failure as a value in a stream, where there is neither status nor header left to tell it by.
pub(crate) fn in_stream(status: &Status, policy: HttpErrors, pool: &DescriptorPool) -> String {
    match policy {
        HttpErrors::Json => rpc::status(status, pool),
        HttpErrors::PlainText500 | HttpErrors::PlainText => {
            let mut error = json!({"code": status.code.name(), "message": status.message});
            if let Some(code) = status.firn {
                error["firnCode"] = code.to_string().into();
            }
            error.to_string()
        }
    }
}

/// The shape of what belongs to no component: JSON if every component of the contract has it.
pub(crate) fn common_shape(contract: &Contract) -> HttpErrors {
    let mut shapes = contract.components.iter().map(|c| c.policies.http_errors);
    match shapes.all(|shape| shape == HttpErrors::Json) {
        true => HttpErrors::Json,
        false => HttpErrors::PlainText,
    }
}

fn response(
    code: StatusCode,
    status: &Status,
    content_type: HeaderValue,
    text: String,
) -> Response<Body> {
    let mut response = Response::new(Body::whole(Bytes::from(text)));
    *response.status_mut() = code;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, content_type);
    if let Some(code) = firn_code(status) {
        headers.insert(FIRN_CODE, code);
    }
    response
}

/// The status of a failure: by Firn's code where HTTP has a word for it, else by the gRPC status.
fn refused_with(status: &Status) -> StatusCode {
    match status.firn {
        Some(Code::PathUnknown | Code::MethodUnknown) => StatusCode::NOT_FOUND,
        Some(Code::VerbUnknown) => StatusCode::METHOD_NOT_ALLOWED,
        Some(Code::ContentType | Code::EncodingUnsupported) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        Some(Code::MessageTooLarge) => StatusCode::PAYLOAD_TOO_LARGE,
        _ => from_grpc(status.code),
    }
}

/// The HTTP status that usually stands for a gRPC status.
fn from_grpc(code: GrpcCode) -> StatusCode {
    match code {
        GrpcCode::InvalidArgument | GrpcCode::FailedPrecondition | GrpcCode::OutOfRange => {
            StatusCode::BAD_REQUEST
        }
        GrpcCode::Unauthenticated => StatusCode::UNAUTHORIZED,
        GrpcCode::PermissionDenied => StatusCode::FORBIDDEN,
        GrpcCode::NotFound => StatusCode::NOT_FOUND,
        GrpcCode::AlreadyExists | GrpcCode::Aborted => StatusCode::CONFLICT,
        GrpcCode::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        // The client has gone; the number is the one that logs know for it.
        GrpcCode::Cancelled => StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST),
        GrpcCode::Unimplemented => StatusCode::NOT_IMPLEMENTED,
        GrpcCode::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        GrpcCode::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        GrpcCode::Unknown | GrpcCode::Internal | GrpcCode::DataLoss => {
            StatusCode::INTERNAL_SERVER_ERROR
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policy_decides_what_a_choice_of_the_function_looks_like() {
        let check = |code, firn: Option<Code>, policy, expected: u16| {
            let message = String::new();
            let status = Status {
                code,
                message,
                details: Vec::new(),
                firn,
            };
            assert_eq!(
                failed(&status, policy, &DescriptorPool::new())
                    .status()
                    .as_u16(),
                expected,
                "{status}"
            );
        };
        use GrpcCode as G;
        use HttpErrors::{Json, PlainText, PlainText500};
        check(G::NotFound, None, Json, 404);
        check(G::InvalidArgument, Some(Code::IdEmpty), Json, 400);
        check(G::Unknown, None, PlainText500, 500);
        check(G::NotFound, None, PlainText500, 500);
        check(G::InvalidArgument, Some(Code::IdEmpty), PlainText500, 400);
        check(G::Unknown, Some(Code::FunctionFailed), PlainText500, 500);
        check(
            G::Unavailable,
            Some(Code::FunctionUnavailable),
            PlainText500,
            503,
        );
        check(G::InvalidArgument, None, PlainText, 400);
        check(G::Unauthenticated, None, PlainText, 401);
        check(G::PermissionDenied, None, PlainText, 403);
        check(G::NotFound, None, PlainText, 404);
        check(G::AlreadyExists, None, PlainText, 409);
        check(G::Aborted, None, PlainText, 409);
        check(G::FailedPrecondition, None, PlainText, 400);
        check(G::OutOfRange, None, PlainText, 400);
        check(G::ResourceExhausted, None, PlainText, 429);
        check(
            G::ResourceExhausted,
            Some(Code::MessageTooLarge),
            PlainText,
            413,
        );
        check(G::Cancelled, None, PlainText, 499);
        check(G::Unknown, None, PlainText, 500);
        check(G::Internal, None, PlainText, 500);
        check(G::DataLoss, None, PlainText, 500);
        check(G::Unimplemented, None, PlainText, 501);
        check(G::Unavailable, None, PlainText, 503);
        check(G::DeadlineExceeded, None, PlainText, 504);
    }
}
