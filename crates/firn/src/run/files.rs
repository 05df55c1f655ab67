//! How many files this process may have open. Each connection is one, and clients decide how many they
//! make: they are never given those that Firn needs for itself.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::debug;

/// Which part of the files is kept from clients: one in so many. It is for the store, for functions
/// and for the admin port.
const KEPT: u64 = 4;

/// Asks for as many files as this process may have: systems let programs that do not ask have few.
pub(super) fn ask_for_all() {
    let limit = getrlimit(Resource::Nofile);
    let all = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, all) {
        debug!(%error, "the number of open files stays as it is");
    }
}

/// How many connections clients may have, if it is not `wanted`.
pub(super) fn for_clients(wanted: usize) -> usize {
    let Some(files) = getrlimit(Resource::Nofile).current else {
        return wanted;
    };
    let bearable = files - files / KEPT;
    usize::try_from(bearable).map_or(wanted, |bearable| wanted.min(bearable))
}
