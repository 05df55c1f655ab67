//! What a command costs with a million entities in the store, beside one with a thousand.
//!
//! There are two Firns, each with its store; the entities that are used are a thousand in both, those
//! of the larger spread over all of it. Both are loaded in turns. What counts is Firn's processor
//! time, because nothing but that can grow with what is known.

use std::time::Duration;

use anyhow::Result;

use super::AddItem;
use super::filled::OWN;
use super::served::Served;
use super::turns::{self, Turns};
use crate::figure::{Bound, Figure};
use crate::load::Load;
use crate::own;
use crate::rig::Programs;

/// How often each is loaded.
const ROUNDS: usize = 5;

/// How many entities are used, and how many are known to one and the other.
const USED: u64 = 1000;
const FEW: u64 = 1000;
const MANY: u64 = 1_000_000;

/// How much more a command may cost.
const COST_MAX: f64 = 1.2;

const LOAD: Load = Load {
    connections: 4,
    in_flight: 64,
    warm: Duration::from_millis(500),
    measured: Duration::from_secs(2),
};

pub(super) async fn run(programs: &Programs) -> Result<Vec<Figure>> {
    let folders = (programs.folder()?, programs.folder()?);
    OWN.fill(folders.0.path(), FEW).await?;
    let filled = OWN
        .fill(folders.1.path(), programs.effort.entities(MANY))
        .await?;
    let few = Served::start_in(programs, folders.0.path(), &[]).await?;
    let many = Served::start_in(programs, folders.1.path(), &[]).await?;
    let near = |number| AddItem::to(number % USED);
    // In brief the most of them are new.
    let far = |number| AddItem::to(number % USED * (MANY / USED));
    let mut turns = Turns::resting();
    let reads = (
        turns.add(many.side("reads, 1,000,000 known", own::READ, far, LOAD)),
        turns.add(few.side("reads, 1,000 known", own::READ, near, LOAD)),
    );
    let updates = (
        turns.add(many.side("updates, 1,000,000 known", own::FILL, far, LOAD)),
        turns.add(few.side("updates, 1,000 known", own::FILL, near, LOAD)),
    );
    turns.rounds(programs.effort, ROUNDS).await?;
    few.stop().await?;
    many.stop().await?;
    let cost = |name: &str, pair| {
        let what = format!("{name} with 1,000,000 entities known: cost over that with 1,000");
        turns
            .ratio(what, pair, turns::processor)
            .bound(Bound::AtMost(COST_MAX))
    };
    Ok(vec![
        cost("a read", reads),
        cost("an update", updates).detail("filling the larger store, s", filled),
    ])
}
