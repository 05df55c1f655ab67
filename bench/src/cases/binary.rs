//! The size of the program, as it is built for release.

use anyhow::Result;

use super::megabytes;
use crate::figure::{Bound, Figure, Unit};
use crate::rig::Programs;

#[expect(clippy::unused_async, reason = "a case like the others")]
pub(super) async fn run(programs: &Programs) -> Result<Vec<Figure>> {
    let bytes = programs.firn.metadata()?.len();
    let figure = Figure::new(
        "size of the program",
        Unit::Megabytes,
        vec![megabytes(bytes as f64)],
    );
    Ok(vec![figure.bound(Bound::AtMost(40.0))])
}
