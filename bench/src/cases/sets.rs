//! Large replicated sets, in this process and in some that only hold them: what Firn's replicated
//! data types cost, without a Firn.

use std::time::Instant;

use anyhow::{Result, ensure};
use firn_crdt::State;
use rustix::time::{ClockId, clock_gettime};
use tokio::task::yield_now;

use crate::figure::{Bound, Figure, Unit, median};
use crate::hold::{self, PAIRS, add, replica};
use crate::rig::Programs;

/// How many elements each set has.
const ELEMENTS: u64 = 100_000;

/// How often each is measured, the first time not counted.
const ROUNDS: usize = 12;

/// How many elements are added in each round, to a set that has many.
const ADDED: u64 = 1000;

/// How often processes are started that hold something.
const HELD: usize = 3;

/// What an entity may take in which an element came and went many times.
const EMPTIED_BYTES_MAX: f64 = 4000.0;

pub(super) async fn run(programs: &Programs) -> Result<Vec<Figure>> {
    let mut times = Times::default();
    for round in 0..ROUNDS {
        let counted = times.round()?;
        if round > 0 {
            times.all.push(counted);
        }
        // Who wants to stop this program is heard in between.
        yield_now().await;
    }
    let encoded = hold::come_and_gone(PAIRS)?.encode().len();
    let mut figures = times.figures();
    figures.push(
        Figure::new(
            "a set after 10,000 additions and removals, encoded",
            Unit::Bytes,
            vec![encoded as f64],
        )
        .bound(Bound::AtMost(EMPTIED_BYTES_MAX)),
    );
    for (what, name, most) in [
        ("the same set in memory", hold::EMPTIED, EMPTIED_BYTES_MAX),
        (
            "memory for each of 1,000,000 elements, added in order",
            hold::ASCENDING,
            96.0,
        ),
        (
            "memory for each of 1,000,000 elements, added in disorder",
            hold::SCATTERED,
            96.0,
        ),
    ] {
        let mut samples = Vec::new();
        for _ in 0..HELD {
            samples.push(programs.held(name).await?);
        }
        figures.push(Figure::new(what, Unit::Bytes, samples).bound(Bound::AtMost(most)));
    }
    Ok(figures)
}

/// How long things took, round by round.
#[derive(Default)]
struct Times {
    all: Vec<Round>,
    encoded_bytes: usize,
}

struct Round {
    merge_ms: f64,
    /// Without the time in which the processor did something else.
    merge_processor_ms: f64,
    encode_ms: f64,
    decode_ms: f64,
    add_us: f64,
}

impl Times {
    fn round(&mut self) -> Result<Round> {
        let mut mine = set(1, 0)?;
        let theirs = set(2, ELEMENTS / 2)?;
        let start = Instant::now();
        let encoded = theirs.encode();
        let encode_ms = milliseconds(start);
        let start = Instant::now();
        let theirs = State::decode(&encoded)?;
        let decode_ms = milliseconds(start);
        let (start, used) = (Instant::now(), processor_ms());
        let is_news = mine.merge(theirs)?;
        let (merge_ms, merge_processor_ms) = (milliseconds(start), processor_ms() - used);
        ensure!(is_news, "the other set had nothing new");
        self.encoded_bytes = encoded.len();

        let mut large = State::decode(&encoded)?;
        let start = Instant::now();
        for number in hold::scattered(ELEMENTS).take(ADDED as usize) {
            // Half of them are there, which makes no difference: both kill and mint a dot.
            add(&mut large, replica(3), number)?;
        }
        let add_us = milliseconds(start) * 1e3 / ADDED as f64;
        Ok(Round {
            merge_ms,
            merge_processor_ms,
            encode_ms,
            decode_ms,
            add_us,
        })
    }

    fn figures(&self) -> Vec<Figure> {
        let of = |what: &str, unit, value: fn(&Round) -> f64| {
            Figure::new(what, unit, self.all.iter().map(value).collect())
        };
        let merge = of(
            "merging two sets of 100,000 elements, half in common",
            Unit::Milliseconds,
            |it| it.merge_ms,
        );
        let processor: Vec<f64> = self.all.iter().map(|it| it.merge_processor_ms).collect();
        let encode = of("encoding such a set", Unit::Milliseconds, |it| it.encode_ms);
        vec![
            merge
                .bound(Bound::AtMost(50.0))
                .detail("of it on the processor, ms", median(&processor)),
            encode.detail("bytes", self.encoded_bytes),
            of("decoding it", Unit::Milliseconds, |it| it.decode_ms),
            of("adding an element to it", Unit::Microseconds, |it| {
                it.add_us
            }),
        ]
    }
}

/// A set of a node, of elements from a number on. They came in disorder, one by one, so that it lies
/// in memory as one that is in use.
fn set(node: u64, first: u64) -> Result<State> {
    let mut set = State::default();
    for number in hold::scattered(ELEMENTS) {
        add(&mut set, replica(node), first + number)?;
    }
    Ok(set)
}

fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}

/// The processor time that this thread has used.
fn processor_ms() -> f64 {
    let used = clock_gettime(ClockId::ThreadCPUTime);
    used.tv_sec as f64 * 1e3 + used.tv_nsec as f64 / 1e6
}
