//! The checks of a proxy that dials the function, by subject, in the order in which they run.
//!
//! A check drives both ends for a while and returns the first fault. Entities are new for each.

mod action;
pub(super) mod data;
mod discovery;
mod events;
mod failures;
mod front;
mod hops;
mod lives;
mod value;
mod workload;

use super::world::World;
use crate::checks::{Result, Running};
use crate::families::dialect::Family;

/// One check.
#[derive(Clone, Copy)]
pub(super) struct Check {
    /// `group/what_the_proxy_does`.
    pub(super) name: &'static str,
    pub(super) requirements: &'static [&'static str],
    pub(super) run: for<'a> fn(&'a mut World) -> Running<'a>,
    /// What it needs beyond a proxy.
    pub(super) needs: Needs,
    /// Of which families it is.
    families: &'static [Family],
}

/// What not every run can give a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Needs {
    Nothing,
    /// A way to kill and start the proxy. Such a check begins with whatever is there.
    Restart,
}

const ALL: &[Family] = &[Family::Cloudstate, Family::AkkaServerless, Family::Kalix];
const CLOUDSTATE: &[Family] = &[Family::Cloudstate];
const KALIX: &[Family] = &[Family::Kalix];
/// Those that came after Cloudstate.
const LATER: &[Family] = &[Family::AkkaServerless, Family::Kalix];

const fn check(
    name: &'static str,
    requirements: &'static [&'static str],
    run: for<'a> fn(&'a mut World) -> Running<'a>,
) -> Check {
    Check {
        name,
        requirements,
        run,
        needs: Needs::Nothing,
        families: ALL,
    }
}

const fn only(families: &'static [Family], check: Check) -> Check {
    Check { families, ..check }
}

const fn restarts(check: Check) -> Check {
    Check {
        needs: Needs::Restart,
        ..check
    }
}

/// The checks of a family, in order.
pub(super) fn of(family: Family) -> Vec<Check> {
    let mut all = [
        discovery::CHECKS,
        value::CHECKS,
        events::CHECKS,
        failures::CHECKS,
        action::CHECKS,
        hops::CHECKS,
        data::CHECKS,
        front::CHECKS,
        lives::CHECKS,
        workload::CHECKS,
    ]
    .concat();
    all.retain(|check| check.families.contains(&family));
    all
}
