//! Commands that ask a running Firn.

pub(crate) mod bench;
pub(crate) mod call;
pub(crate) mod describe;
pub(crate) mod entity;
pub(crate) mod http;
mod reflection;

use std::process::ExitCode;

use firn_model::code::Code;
use tokio::runtime::Builder;

use crate::exit::Failure;

/// Runs a client command to its end.
pub(crate) fn run(work: impl Future<Output = Result<(), Failure>>) -> ExitCode {
    run_on(&mut Builder::new_current_thread(), work)
}

/// The same on another kind of runtime.
fn run_on(runtime: &mut Builder, work: impl Future<Output = Result<(), Failure>>) -> ExitCode {
    let runtime = match runtime.enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            let remedy = "look at the limits of this process: ulimit -a";
            return Failure::new(Code::ServerUnreachable, error, remedy).print();
        }
    };
    match runtime.block_on(work) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.print(),
    }
}

/// There is a Firn, and no function yet.
fn not_connected(cause: String) -> Failure {
    let remedy = "start the function, or look into Firn's log for why it was refused";
    Failure::new(Code::FunctionUnavailable, cause, remedy)
}

/// Nobody answers at an address.
fn unreachable(address: &str, flag: &str, cause: impl std::fmt::Display) -> Failure {
    Failure::new(
        Code::ServerUnreachable,
        format!("no Firn answers at {address}: {cause}"),
        format!("start one with firn dev, or name another address with {flag}"),
    )
}
