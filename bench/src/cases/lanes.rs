//! What a second lane brings: durable commands through a Firn with two, beside one with a single one.
//!
//! Where load, function and Firn share few cores a second lane has none to run on, and the rate says
//! nothing: it is judged only where there are enough. What a command costs then tells at least what
//! a second lane takes.

use std::time::Duration;

use anyhow::Result;

use super::AddItem;
use super::served::Served;
use super::turns::{self, Turns};
use crate::figure::{Bound, Figure};
use crate::load::Load;
use crate::own;
use crate::rig::Programs;

/// How often each is loaded.
const ROUNDS: usize = 5;

/// How many entities are written to.
const ENTITIES: u64 = 1000;

/// What a second lane must bring, and the cores that it takes to say so: two for lanes, and as many
/// each for Firn's other threads, for the function and for the load.
const RATE_MIN: f64 = 1.6;
const CORES_MIN: usize = 8;

const LOAD: Load = Load {
    connections: 4,
    in_flight: 256,
    warm: Duration::from_millis(500),
    measured: Duration::from_secs(2),
};

pub(super) async fn run(programs: &Programs) -> Result<Vec<Figure>> {
    let one = Served::start(programs, &["--lanes", "1"]).await?;
    let two = Served::start(programs, &["--lanes", "2"]).await?;
    let spread = |number| AddItem::to(number % ENTITIES);
    let mut turns = Turns::default();
    let pair = (
        turns.add(two.side("two lanes", own::ADD, spread, LOAD)),
        turns.add(one.side("one lane", own::ADD, spread, LOAD)),
    );
    turns.rounds(programs.effort, ROUNDS).await?;
    one.stop().await?;
    two.stop().await?;
    let cores = std::thread::available_parallelism()?.get();
    let rate = turns
        .rate("two lanes: rate over that of one", pair)
        .detail("cores", cores);
    let rate = if cores >= CORES_MIN {
        rate.bound(Bound::AtLeast(RATE_MIN))
    } else {
        rate.detail("not judged", format!("that takes {CORES_MIN} cores"))
    };
    let cost = "two lanes: Firn's processor time over that of one";
    Ok(vec![rate, turns.ratio(cost, pair, turns::processor)])
}
