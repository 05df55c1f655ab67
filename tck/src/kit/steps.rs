//! Requests, steps and what comes of them, in short.

use prost::Message as _;

use crate::connection::{Entity, Judge, NewCommand};
use crate::fault::Fault;
use crate::oracle::Asked;
use crate::proto::model::{Fail, Nothing, Reply, Request, Step, step};
use crate::proto::v1::{self, Decision, Metadata, decision};
use crate::service::Service;
use crate::show;

/// A request of these steps.
pub(crate) fn request(id: &str, steps: Vec<step::Step>) -> Request {
    let steps = steps.into_iter().map(|one| Step { step: Some(one) });
    Request {
        id: id.to_owned(),
        steps: steps.collect(),
    }
}

/// A command of an entity, or `Unary` of the action.
pub(crate) fn process(entity: &Entity, steps: Vec<step::Step>) -> NewCommand {
    NewCommand {
        service: entity.service,
        method: if entity.service == Service::Action {
            "Unary"
        } else {
            "Process"
        },
        asked: Asked::Steps(request(&entity.id, steps)),
        headers: Metadata::default(),
        judge: Judge::Steps,
    }
}

pub(crate) fn set(text: &str) -> step::Step {
    step::Step::Set(text.into())
}

pub(crate) fn append(text: &str) -> step::Step {
    step::Step::Append(text.into())
}

pub(crate) fn delete() -> step::Step {
    step::Step::Delete(Nothing {})
}

pub(crate) fn hang() -> step::Step {
    step::Step::Hang(Nothing {})
}

pub(crate) fn fail(code: i32, message: &str, details: &[&str]) -> step::Step {
    step::Step::Fail(Fail {
        code,
        message: message.into(),
        details: details.iter().map(|&one| one.to_owned()).collect(),
    })
}

pub(crate) fn two(id: &str, steps: Vec<step::Step>) -> crate::proto::model::Target {
    crate::proto::model::Target {
        target: Some(crate::proto::model::target::Target::Two(request(id, steps))),
    }
}

pub(crate) fn value(id: &str, steps: Vec<step::Step>) -> crate::proto::model::Target {
    crate::proto::model::Target {
        target: Some(crate::proto::model::target::Target::Value(request(
            id, steps,
        ))),
    }
}

/// The reply of a decision.
pub(crate) fn reply_of(decision: &Decision) -> Result<Reply, Fault> {
    match &decision.answer {
        Some(decision::Answer::Reply(bytes)) => Reply::decode(bytes.clone())
            .map_err(|error| Fault::new("R23", "a Reply", error.to_string())),
        _ => Err(Fault::new("R23", "a reply", show::decision(decision))),
    }
}

/// The failure of a decision.
pub(crate) fn failure_of(decision: &Decision) -> Result<v1::Failure, Fault> {
    match &decision.answer {
        Some(decision::Answer::Failure(failure)) => Ok(failure.clone()),
        _ => Err(Fault::new("R23", "a failure", show::decision(decision))),
    }
}
