//! The checks, by subject, in the order in which they run.
//!
//! A check is a function that plays Firn for a while and returns the first fault. What it leaves open
//! is closed after it, which is part of the check. Entities are new for each check.

mod action;
mod actor;
mod beginning;
mod calls;
mod chunks;
mod closing;
mod data;
mod ending;
mod events;
mod flow;
mod value;
mod watch;

use std::pin::Pin;

use crate::fault::Fault;
use crate::kit::Kit;

pub(crate) use data::{elsewhere, steps as data_steps};

pub(crate) type Result<T = ()> = std::result::Result<T, Fault>;
pub(crate) type Running<'a> = Pin<Box<dyn Future<Output = Result> + 'a>>;

/// One check.
#[derive(Clone, Copy)]
pub(crate) struct Check {
    /// `group/what_the_function_does`.
    pub(crate) name: &'static str,
    pub(crate) requirements: &'static [&'static str],
    pub(crate) run: for<'a> fn(&'a mut Kit) -> Running<'a>,
    /// What it needs beyond a function.
    pub(crate) needs: Needs,
}

/// What not every run can give a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Needs {
    Nothing,
    /// A token in the options.
    Token,
    /// A way to stop the function.
    Stop,
}

const fn check(
    name: &'static str,
    requirements: &'static [&'static str],
    run: for<'a> fn(&'a mut Kit) -> Running<'a>,
) -> Check {
    Check {
        name,
        requirements,
        run,
        needs: Needs::Nothing,
    }
}

/// All checks, in order. The workload is not among them.
pub(crate) fn all() -> Vec<Check> {
    [
        beginning::CHECKS,
        action::CHECKS,
        value::CHECKS,
        events::CHECKS,
        actor::CHECKS,
        data::CHECKS,
        watch::CHECKS,
        calls::CHECKS,
        chunks::CHECKS,
        flow::CHECKS,
        closing::CHECKS,
        ending::CHECKS,
    ]
    .concat()
}

fn ensure(
    holds: bool,
    requirement: &'static str,
    expected: impl Into<String>,
    came: impl Into<String>,
) -> Result {
    if holds {
        Ok(())
    } else {
        Err(Fault::new(requirement, expected, came))
    }
}
