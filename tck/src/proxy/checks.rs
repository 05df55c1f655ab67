//! The checks of a proxy, by subject, in the order in which they run.
//!
//! A check drives both ends for a while and returns the first fault. Entities are new for each.

mod beginning;
mod causes;
mod frames;
mod requests;
mod restart;

use super::rig::Rig;
use crate::checks::{Result, Running};

/// One check.
#[derive(Clone, Copy)]
pub(super) struct Check {
    /// `group/what_the_proxy_does`.
    pub(super) name: &'static str,
    pub(super) requirements: &'static [&'static str],
    pub(super) run: for<'a> fn(&'a mut Rig) -> Running<'a>,
    /// What it needs beyond a proxy.
    pub(super) needs: Needs,
}

/// What not every run can give a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Needs {
    Nothing,
    /// A token in the options.
    Token,
    /// A way to kill and start the proxy.
    Restart,
}

const fn check(
    name: &'static str,
    requirements: &'static [&'static str],
    run: for<'a> fn(&'a mut Rig) -> Running<'a>,
) -> Check {
    Check {
        name,
        requirements,
        run,
        needs: Needs::Nothing,
    }
}

/// All checks, in order.
pub(super) fn all() -> Vec<Check> {
    [
        beginning::CHECKS,
        requests::CHECKS,
        causes::CHECKS,
        frames::CHECKS,
        restart::CHECKS,
    ]
    .concat()
}
