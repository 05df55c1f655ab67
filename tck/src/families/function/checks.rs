//! The checks, by subject, in the order in which they run. Entities are new for each.

mod action;
mod data;
mod discovery;
mod events;
mod restart;
mod streams;
mod value;
mod watch;

use std::pin::Pin;

use super::rig::Rig;
use crate::families::dialect::{Dialect, Family, Kind};
use crate::fault::Fault;
use crate::proto::v1::DataType;
use crate::service::Service;

pub(crate) use data::fits;

pub(crate) type Result<T = ()> = std::result::Result<T, Fault>;
pub(crate) type Running<'a> = Pin<Box<dyn Future<Output = Result> + 'a>>;

/// One check.
#[derive(Clone, Copy)]
pub(crate) struct Check {
    /// `group/what_the_function_does`.
    pub(crate) name: &'static str,
    pub(crate) requirements: &'static [&'static str],
    pub(crate) needs: Needs,
    pub(crate) run: for<'a> fn(&'a mut Rig) -> Running<'a>,
}

/// What not every dialect, and not every run, has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Needs {
    Nothing,
    /// A component.
    Service(Service),
    /// Metadata of actions.
    Metadata,
    /// Metadata of entities.
    EntityMetadata,
    /// A call for the health of a function.
    Health,
    /// Requests for snapshots.
    SnapshotRequests,
    /// Replicated entities that answer with a stream.
    StreamedCommands,
    /// A way to kill the function and to start it again.
    Process,
}

impl Needs {
    /// Why the check cannot be run, if it cannot.
    pub(crate) fn missing(self, dialect: Dialect, has_process: bool) -> Option<String> {
        let has = match self {
            Self::Nothing => true,
            // In the oldest dialect the value models are no value entities.
            Self::Service(service @ (Service::Value | Service::Two)) => {
                dialect.kind(service) == Some(Kind::Value)
            }
            Self::Service(service) => dialect.kind(service).is_some(),
            Self::Metadata => dialect.has_metadata(),
            Self::EntityMetadata => dialect.has_entity_metadata(),
            Self::Health => dialect.family() != Family::Cloudstate,
            Self::SnapshotRequests => dialect == Dialect::Kalix,
            Self::StreamedCommands => dialect.has_streamed_commands(),
            Self::Process if !has_process => {
                return Some("no way to start the function was given".into());
            }
            Self::Process => true,
        };
        (!has).then(|| format!("{} has no such thing", dialect.name()))
    }
}

const fn check(
    name: &'static str,
    requirements: &'static [&'static str],
    needs: Needs,
    run: for<'a> fn(&'a mut Rig) -> Running<'a>,
) -> Check {
    Check {
        name,
        requirements,
        needs,
        run,
    }
}

const VALUE: Needs = Needs::Service(Service::Value);
const EVENTS: Needs = Needs::Service(Service::Events);
const COUNTER: Needs = Needs::Service(Service::Data(DataType::Counter));

/// All checks, in order.
pub(crate) fn all() -> Vec<Check> {
    [
        discovery::CHECKS,
        action::CHECKS,
        value::CHECKS,
        events::CHECKS,
        data::CHECKS,
        watch::CHECKS,
        streams::CHECKS,
        restart::CHECKS,
        super::workload::CHECKS,
    ]
    .concat()
}

/// Those that any dialect of the family has, in order.
pub(crate) fn of(family: Family) -> Vec<Check> {
    let has = |check: &Check| {
        let mut dialects = family.dialects().iter();
        dialects.any(|dialect| check.needs.missing(*dialect, true).is_none())
    };
    all().into_iter().filter(has).collect()
}

fn ensure(
    holds: bool,
    requirement: &'static str,
    expected: impl Into<String>,
    came: impl Into<String>,
) -> Result {
    match holds {
        true => Ok(()),
        false => Err(Fault::new(requirement, expected, came)),
    }
}
