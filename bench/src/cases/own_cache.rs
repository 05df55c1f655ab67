//! What a function on firn.v1 keeps of its entities: memory beside their state, and the bound.
//!
//! Entities are filled with a state of 100 bytes, one after the other, until the SDK's cache has as
//! many as it holds, which is 100,000 unless said otherwise; then as many more, for which the first
//! ones have to go.

use anyhow::Result;

use super::{AddItem, megabytes};
use crate::figure::{Bound, Figure, Unit};
use crate::load::{self, Client};
use crate::own::{self, STATE_BYTES};
use crate::rig::{Dialer, Firn, Programs, own_memory};

/// How many entities the SDK keeps on a connection.
const KEPT: u64 = 100_000;

/// The first of them, while buffers get their size.
const FIRST: u64 = 1000;

/// What those in the cache may take beside their state, and how much more twice as many may take.
const BESIDE_MB_MAX: f64 = 100.0;
const GROWTH_MAX: f64 = 1.25;

/// Firn itself lets go of nothing meanwhile.
const ALL_ACTIVE: &[&str] = &["--passivate-after", "1h", "--max-streams", "1000000"];

pub(super) async fn run(programs: &Programs) -> Result<Vec<Figure>> {
    let folder = programs.folder()?;
    let mut firn = Firn::start_own(programs, folder.path(), ALL_ACTIVE);
    firn.up().await?;
    let function = Dialer::own(programs, firn.functions)?;
    firn.serving().await?;
    let client = Client::connect(firn.clients).await?;
    let fill = async |from, to| -> Result<f64> {
        load::each(&client, own::FILL, (from..to).map(AddItem::to), 64).await?;
        own_memory(function.id())
    };
    let (first, kept) = (
        programs.effort.entities(FIRST),
        programs.effort.entities(KEPT),
    );
    let before = fill(0, first).await?;
    let full = fill(first, kept).await?;
    let of_firn = own_memory(firn.id())?;
    let twice = fill(kept, 2 * kept).await?;
    firn.stop().await?;
    let entities = (kept - first) as f64;
    let beside = full - before - entities * STATE_BYTES as f64;
    let beside_all = beside * kept as f64 / entities;
    Ok(vec![
        Figure::new(
            "firn.v1, memory of 100,000 cached entities beside their state",
            Unit::Megabytes,
            vec![megabytes(beside_all)],
        )
        .bound(Bound::AtMost(BESIDE_MB_MAX))
        .detail("for each, B", beside / entities)
        .detail("the function before, MB", megabytes(before))
        .detail("the function with 100,000, MB", megabytes(full))
        .detail("Firn with 100,000 active, MB", megabytes(of_firn)),
        Figure::new(
            "firn.v1, memory after 200,000 entities over that after 100,000",
            Unit::Ratio,
            vec![twice / full],
        )
        .bound(Bound::AtMost(GROWTH_MAX))
        .detail("the function after 200,000, MB", megabytes(twice)),
    ])
}
