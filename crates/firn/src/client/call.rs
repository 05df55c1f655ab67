//! `firn call`: JSON in, JSON out, by reflection.

use std::io::{self, IsTerminal, Read, Write};
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

use bytes::{Buf, Bytes};
use clap::ArgMatches;
use firn_model::code::Code;
use http::uri::PathAndQuery;
use prost::Message;
use prost_reflect::{DeserializeOptions, DynamicMessage, MethodDescriptor, SerializeOptions};
use serde_json::Value;
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::metadata::{MetadataKey, MetadataValue};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status, TimeoutExpired};

use super::{reflection, unreachable};
use crate::exit::Failure;

/// The largest answer that is taken: whatever the server lets through.
const ANSWER_BYTES_MAX: usize = usize::MAX;

/// Runs the command.
pub(crate) fn run(flags: &ArgMatches) -> ExitCode {
    super::run(async {
        let server = flags.get_one::<String>("server").map_or("", String::as_str);
        let path = flags.get_one::<String>("method").map_or("", String::as_str);
        let (service, method) = split(path)?;
        let channel = connect(server).await?;
        let method = reflection::method(channel.clone(), service, method).await?;
        let text = request_text(flags)?;
        let messages = messages(&method, &text)?;
        let (timeout, request) = request(flags, messages)?;
        exchange(channel, &method, request, timeout).await
    })
}

pub(super) fn wrong(cause: impl std::fmt::Display) -> Failure {
    let remedy = "firn describe shows the methods and their types";
    Failure::new(Code::BadRequestText, cause, remedy)
}

/// `package.Service/Method`, `/package.Service/Method` or `package.Service.Method`.
pub(super) fn split(path: &str) -> Result<(&str, &str), Failure> {
    let path = path.trim_start_matches('/');
    path.split_once('/')
        .or_else(|| path.rsplit_once('.'))
        .filter(|(service, method)| !service.is_empty() && !method.is_empty())
        .ok_or_else(|| {
            wrong(format!(
                "{path:?} names no method; write package.Service/Method"
            ))
        })
}

/// Connects to the client port.
pub(super) async fn connect(server: &str) -> Result<Channel, Failure> {
    let lost = |error: &dyn std::fmt::Display| unreachable(server, "--server", error);
    let endpoint =
        Endpoint::from_shared(format!("http://{server}")).map_err(|error| lost(&error))?;
    endpoint.connect().await.map_err(|error| {
        // tonic hides the operating system's words behind its own.
        let cause = std::error::Error::source(&error).map_or_else(|| error.to_string(), source);
        lost(&cause)
    })
}

/// The innermost cause of an error.
fn source(error: &(dyn std::error::Error + 'static)) -> String {
    match error.source() {
        Some(inner) => source(inner),
        None => error.to_string(),
    }
}

fn request_text(flags: &ArgMatches) -> Result<String, Failure> {
    let text = flags.get_one::<String>("json").map_or("{}", String::as_str);
    if text != "-" {
        return Ok(text.to_owned());
    }
    let mut input = String::new();
    io::stdin().read_to_string(&mut input).map_err(wrong)?;
    Ok(input)
}

/// The request's messages: one, or as many as the text holds where the method takes a stream.
pub(super) fn messages(method: &MethodDescriptor, text: &str) -> Result<Vec<Bytes>, Failure> {
    let mut messages = Vec::new();
    for value in serde_json::Deserializer::from_str(text).into_iter::<Value>() {
        let value = value.map_err(|error| wrong(format!("the request is not JSON: {error}")))?;
        let options = DeserializeOptions::new().deny_unknown_fields(true);
        let message = DynamicMessage::deserialize_with_options(method.input(), value, &options)
            .map_err(|error| {
                wrong(format!(
                    "the request is no {}: {error}",
                    method.input().full_name()
                ))
            })?;
        messages.push(message.encode_to_vec().into());
    }
    if !method.is_client_streaming() && messages.len() != 1 {
        let text = format!(
            "{} takes one message, not {}",
            method.full_name(),
            messages.len()
        );
        return Err(wrong(text));
    }
    Ok(messages)
}

/// Name and value of a header.
pub(super) fn header(text: &str) -> Result<(&str, &str), Failure> {
    let (name, value) = text
        .split_once(':')
        .ok_or_else(|| wrong(format!("{text:?} is no header; write NAME: VALUE")))?;
    Ok((name.trim(), value.trim()))
}

type Requests = futures_util::stream::Iter<std::vec::IntoIter<Bytes>>;

/// The request, and how long its answers are waited for.
fn request(
    flags: &ArgMatches,
    messages: Vec<Bytes>,
) -> Result<(Option<Duration>, Request<Requests>), Failure> {
    let mut request = Request::new(futures_util::stream::iter(messages));
    for header in flags.get_many::<String>("header").into_iter().flatten() {
        let (name, value) = self::header(header)?;
        let name = MetadataKey::from_str(&name.to_ascii_lowercase()).map_err(wrong)?;
        let value = MetadataValue::from_str(value).map_err(wrong)?;
        request.metadata_mut().append(name, value);
    }
    let seconds = flags.get_one::<f64>("timeout").copied();
    let timeout = seconds.map(Duration::try_from_secs_f64).transpose();
    let timeout = timeout.map_err(wrong)?;
    if let Some(timeout) = timeout {
        request.set_timeout(timeout);
    }
    Ok((timeout, request))
}

/// Calls, and prints each answer as it comes.
async fn exchange(
    channel: Channel,
    method: &MethodDescriptor,
    request: Request<Requests>,
    timeout: Option<Duration>,
) -> Result<(), Failure> {
    let mut grpc = Grpc::new(channel).max_decoding_message_size(ANSWER_BYTES_MAX);
    grpc.ready().await.map_err(wrong)?;
    let path = format!("/{}/{}", method.parent_service().full_name(), method.name());
    let path = PathAndQuery::try_from(path).map_err(wrong)?;
    let answers = grpc
        .streaming(request, path, Raw)
        .await
        .map_err(|status| failed(&status, timeout))?;
    let mut answers = answers.into_inner();
    loop {
        let answer = answers.message().await;
        match answer.map_err(|status| failed(&status, timeout))? {
            Some(answer) => print(method, answer)?,
            None => return Ok(()),
        }
    }
}

/// The failure of a call, as a person reads it.
fn failed(status: &Status, timeout: Option<Duration>) -> Failure {
    if let Some(timeout) = timeout
        && is_own_timeout(status)
    {
        return Failure::new(
            Code::CommandTimeout,
            format!("no reply came within {timeout:?}; the command may have been applied"),
            "give it longer with --timeout; if that does not help, look into the log of Firn for a \
             store or a function that does not answer",
        );
    }
    let code = status
        .metadata()
        .get("firn-code")
        .and_then(|code| code.to_str().ok()?.strip_prefix("FIRN-")?.parse().ok())
        .and_then(Code::from_number);
    let text = format!("{:?}: {}", status.code(), status.message());
    match code {
        Some(code) => Failure::new(code, text, format!("firn explain {code} says what to do")),
        None => Failure::chosen(text),
    }
}

/// Whether the wait was given up on this side, which no word of the server says.
fn is_own_timeout(status: &Status) -> bool {
    let mut cause = std::error::Error::source(status);
    while let Some(error) = cause {
        if error.is::<TimeoutExpired>() {
            return true;
        }
        cause = error.source();
    }
    false
}

fn print(method: &MethodDescriptor, answer: Bytes) -> Result<(), Failure> {
    let message = DynamicMessage::decode(method.output(), answer).map_err(wrong)?;
    let options = SerializeOptions::new().skip_default_fields(false);
    let mut line = Vec::new();
    if io::stdout().is_terminal() {
        let mut json = serde_json::Serializer::pretty(&mut line);
        message
            .serialize_with_options(&mut json, &options)
            .map_err(wrong)?;
    } else {
        let mut json = serde_json::Serializer::new(&mut line);
        message
            .serialize_with_options(&mut json, &options)
            .map_err(wrong)?;
    }
    line.push(b'\n');
    io::stdout().write_all(&line).map_err(wrong)
}

/// Messages as the bytes they are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        bytes::BufMut::put(buffer, item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// FIRN-3016. A function may say the same words; then they are its own.
    #[test]
    fn own_timeout_is_told_from_what_a_server_says() {
        let timeout = Some(Duration::from_secs(4));
        let own = Status::from_error(Box::new(TimeoutExpired(())));
        let failure = failed(&own, timeout);
        assert_eq!(failure.code, Some(Code::CommandTimeout));
        assert!(failure.cause.starts_with("no reply came within 4s"));
        assert!(failure.remedy.contains("--timeout"));
        let said = failed(&Status::cancelled("Timeout expired"), timeout);
        assert_eq!(said.code, None);
        assert_eq!(said.cause, "Cancelled: Timeout expired");
    }

    #[test]
    fn method_names_are_understood_in_three_forms() {
        let check = |path, expected| assert_eq!(split(path).ok(), expected);
        check("shop.Cart/AddItem", Some(("shop.Cart", "AddItem")));
        check("/shop.Cart/AddItem", Some(("shop.Cart", "AddItem")));
        check("shop.Cart.AddItem", Some(("shop.Cart", "AddItem")));
        check("AddItem", None);
        check("shop.Cart/", None);
    }
}
