//! Frames in a short form for people.

use std::fmt::Debug;

use prost::Message as _;

use crate::proto::model::{Reply, State, Value};
use crate::proto::unpack;
use crate::proto::v1::firn_frame::Frame as Sent;
use crate::proto::v1::function_frame::Frame;
use crate::proto::v1::{Decision, Failure, FirnFrame, FunctionFrame, decision, mutation};

/// How many characters of anything are shown.
const CHARACTERS_MAX: usize = 400;
/// How many bytes of a pad are shown.
const PAD_BYTES_MAX: usize = 8;

/// At most [`CHARACTERS_MAX`] characters.
pub(crate) fn short(text: &str) -> String {
    at_most(text, CHARACTERS_MAX)
}

/// At most so many characters.
pub(crate) fn at_most(text: &str, characters: usize) -> String {
    match text.char_indices().nth(characters) {
        Some((at, _)) => format!("{}… ({} bytes)", &text[..at], text.len()),
        None => text.to_owned(),
    }
}

/// Without the default values, which say nothing.
fn debug(value: &impl Debug) -> String {
    let text = format!("{value:?}");
    short(&text)
}

fn failure(failure: &Failure) -> String {
    let (code, message) = (failure.code, &failure.message);
    format!(
        "failure {code} {message:?}, {} details",
        failure.details.len()
    )
}

fn answer(decision: &Decision, reply: impl Fn(&bytes::Bytes) -> String) -> String {
    match &decision.answer {
        None => "no answer".into(),
        Some(decision::Answer::Reply(bytes)) => reply(bytes),
        Some(decision::Answer::Failure(one)) => failure(one),
        Some(decision::Answer::Forward(target)) => {
            format!("forward to {}/{}", target.service, target.method)
        }
    }
}

fn mutated(decision: &Decision) -> String {
    let mutation = decision
        .mutation
        .as_ref()
        .and_then(|one| one.mutation.as_ref());
    match mutation {
        None => "no mutation".into(),
        Some(mutation::Mutation::Set(any)) => match unpack::<State>(any, "State") {
            Some(state) => format!("set {}", debug(&state)),
            None => format!("set {}", debug(any)),
        },
        Some(mutation::Mutation::Delete(_)) => "delete".into(),
        Some(mutation::Mutation::Append(append)) => {
            let snapshot = if append.snapshot.is_some() {
                " and a snapshot"
            } else {
                ""
            };
            format!("{} events{snapshot}", append.events.len())
        }
        Some(mutation::Mutation::Update(update)) => debug(update),
        Some(mutation::Mutation::Actor(actor)) => debug(actor),
    }
}

fn whole(decision: &Decision, answer: &str) -> String {
    let mut text = format!(
        "Decision {}: {answer}, {}, version {}",
        decision.command,
        mutated(decision),
        decision.version
    );
    if !decision.effects.is_empty() {
        text += &format!(", {} effects", decision.effects.len());
    }
    if !decision.timers.is_empty() {
        text += &format!(", {} timers", decision.timers.len());
    }
    text
}

/// A reply of the text models, with as little of its padding as tells what it is.
pub(crate) fn reply(reply: &Reply) -> String {
    let shown = Reply {
        pad: reply.pad.slice(..reply.pad.len().min(PAD_BYTES_MAX)),
        ..reply.clone()
    };
    let text = debug(&shown);
    match reply.pad.len() {
        length if length > PAD_BYTES_MAX => format!("{text} with a pad of {length} bytes"),
        _ => text,
    }
}

/// A decision whose reply is of the text models.
pub(crate) fn decision(decision: &Decision) -> String {
    let shown = |bytes: &bytes::Bytes| match Reply::decode(bytes.clone()) {
        Ok(shown) => reply(&shown),
        Err(_) => format!("reply of {} bytes that is no Reply", bytes.len()),
    };
    whole(decision, &answer(decision, shown))
}

/// A decision whose reply is a value.
pub(crate) fn data_decision(decision: &Decision) -> String {
    let reply = |bytes: &bytes::Bytes| match Value::decode(bytes.clone()) {
        Ok(value) => debug(&value),
        Err(_) => format!("reply of {} bytes that is no Value", bytes.len()),
    };
    whole(decision, &answer(decision, reply))
}

/// A frame of the function.
pub(crate) fn function_frame(frame: &FunctionFrame) -> String {
    let Some(frame) = &frame.frame else {
        return "a frame of no known kind".into();
    };
    match frame {
        Frame::Hello(hello) => format!(
            "Hello minor {}, {} components",
            hello.minor,
            hello
                .contract
                .as_ref()
                .map_or(0, |one| one.components.len())
        ),
        Frame::Decision(one) => {
            let reply = |bytes: &bytes::Bytes| format!("reply of {} bytes", bytes.len());
            whole(one, &answer(one, reply))
        }
        Frame::Reply(reply) => format!("Reply {}: {} bytes", reply.command, reply.message.len()),
        Frame::Credit(credit) => format!("Credit {} for {}", credit.amount, credit.command),
        Frame::Chunk(chunk) => format!(
            "Chunk of transfer {}: {} bytes, subject {}{}",
            chunk.transfer,
            chunk.data.len(),
            chunk.subject,
            if chunk.last { ", the last" } else { "" }
        ),
        Frame::Closed(closed) => format!("Closed {}", closed.incarnation),
        Frame::Call(call) => {
            let target = call.target.clone().unwrap_or_default();
            format!(
                "Call {} of command {}: {}/{}",
                call.id, call.command, target.service, target.method
            )
        }
        Frame::Cancel(cancel) => format!("Cancel {}", cancel.id),
        Frame::Goodbye(_) => "Goodbye".into(),
    }
}

/// A frame of the kit.
pub(crate) fn firn_frame(frame: &FirnFrame) -> String {
    let Some(frame) = &frame.frame else {
        return "a frame of no known kind".into();
    };
    match frame {
        Sent::Command(command) => format!(
            "Command {}: component {} method {}, incarnation {}{}, {} bytes",
            command.id,
            command.component,
            command.method,
            command.incarnation,
            command
                .opening
                .as_ref()
                .map_or_else(String::new, |opening| format!(
                    " opened as {:?} at version {}",
                    opening.entity_id, opening.version
                )),
            command.message.len()
        ),
        Sent::Message(message) => format!(
            "Message of {}{}",
            message.command,
            if message.end { ", the end" } else { "" }
        ),
        Sent::Chunk(chunk) => format!(
            "Chunk of transfer {}: {} bytes",
            chunk.transfer,
            chunk.data.len()
        ),
        other => debug(other),
    }
}
