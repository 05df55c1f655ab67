//! From the moment that a function with a large contract answered, to the first reply.

use std::time::Instant;

use anyhow::Result;

use crate::figure::{Bound, Figure, Unit};
use crate::function::{self, Function, Get};
use crate::load::Client;
use crate::rig::{Firn, Programs, tried};

/// How large the contract is.
const DESCRIPTOR_BYTES: usize = 130_000;

/// How often, the first time not counted.
const RUNS: usize = 12;

pub(super) async fn run(programs: &Programs) -> Result<Vec<Figure>> {
    let mut times = Vec::new();
    let mut descriptor_bytes = 0;
    for run in 0..RUNS {
        let function = Function::start(DESCRIPTOR_BYTES)?;
        let folder = programs.folder()?;
        let firn = Firn::start(programs, folder.path(), function.address, &[]);
        let client = tried("a connection", || Client::connect(firn.clients)).await?;
        let get = Get {
            id: "one".to_owned(),
        };
        tried("a reply", || client.call(function::PATH, &get)).await?;
        let took = Instant::now() - function.answered()?;
        firn.kill();
        descriptor_bytes = function.descriptor_bytes();
        if run > 0 {
            times.push(took.as_secs_f64() * 1e3);
        }
    }
    let figure = Figure::new(
        "discovery of a large contract to first reply",
        Unit::Milliseconds,
        times,
    );
    Ok(vec![
        figure
            .bound(Bound::AtMost(50.0))
            .detail("descriptors, bytes", descriptor_bytes),
    ])
}
