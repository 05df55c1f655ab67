//! The parts of an open loop's time, usually seconds: what calls took that were due in each, and what the
//! host of the machine kept from it meanwhile. In a long load some parts are disturbed by the host nearly
//! always; those that it left alone say what the server does.

use std::time::Duration;

use crate::host::{self, Processors, STOLEN_MAX};
use crate::latency::Latency;

/// How long a part is, unless that makes too many.
const LENGTH: Duration = Duration::from_secs(1);

/// How many parts there are at most, which bounds the memory that they take.
const PARTS_MAX: u32 = 600;

/// For how many parts what the host did still shows: at 70 % of the highest rate it takes more than two
/// seconds until what a second of standstill has left is done.
const AFTERWARDS: usize = 3;

/// A part of the time.
#[derive(Debug, Clone)]
pub struct Part {
    /// What calls took that were due in it, to a hundredth.
    pub latency: Latency,
    /// The part of the processors' time, of 1, that the host of this machine gave to others; `None` if
    /// the system does not tell.
    pub stolen: Option<f64>,
}

/// What came of the parts that the host left alone: gave no more than [`STOLEN_MAX`] to others in them,
/// in the three before, and in the one after, in which calls may end.
#[derive(Debug, Clone)]
pub struct Undisturbed {
    /// What calls took that were due in them, to a hundredth.
    pub latency: Latency,
    /// How many there were.
    pub parts: usize,
}

impl Undisturbed {
    /// `None` if there is no such part, or the system did not tell.
    pub(crate) fn of(all: &[Part]) -> Option<Self> {
        let stolen: Vec<f64> = all.iter().map(|it| it.stolen).collect::<Option<_>>()?;
        let mut found = Self {
            latency: Latency::coarse(),
            parts: 0,
        };
        for (index, part) in all.iter().enumerate() {
            let from = index.saturating_sub(AFTERWARDS);
            let until = (index + 2).min(all.len());
            if stolen[from..until].iter().all(|it| *it <= STOLEN_MAX) {
                found.latency.merge(&part.latency);
                found.parts += 1;
            }
        }
        (found.parts > 0).then_some(found)
    }
}

/// How a time is divided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Division {
    measured: Duration,
    length: Duration,
    count: u32,
}

impl Division {
    /// Into parts of the same length; the last one has the rest besides.
    pub(crate) fn of(measured: Duration) -> Self {
        let length = LENGTH.max(measured / PARTS_MAX);
        let count = (measured.as_nanos() / length.as_nanos()).clamp(1, PARTS_MAX.into());
        Self {
            measured,
            length,
            count: count as u32,
        }
    }

    /// The ends of all parts, since the beginning.
    pub(crate) fn ends(self) -> impl Iterator<Item = Duration> {
        let inner = (1..self.count).map(move |index| self.length * index);
        inner.chain([self.measured])
    }

    /// Notes a latency for the part that has this moment, since the beginning.
    pub(crate) fn record(self, parts: &mut Vec<Latency>, due: Duration, took: Duration) {
        let index = (due.as_nanos() / self.length.as_nanos()) as usize;
        let index = index.min(self.count as usize - 1);
        if parts.len() <= index {
            parts.resize_with(index + 1, Latency::coarse);
        }
        parts[index].record(took);
    }
}

/// Adds the latencies of each part to those that there are.
pub(crate) fn merge(all: &mut Vec<Latency>, more: &[Latency]) {
    if all.len() < more.len() {
        all.resize_with(more.len(), Latency::coarse);
    }
    for (sum, latency) in all.iter_mut().zip(more) {
        sum.merge(latency);
    }
}

/// The parts, from their latencies and the looks at the processors at the beginning and at each end.
pub(crate) fn together(latencies: Vec<Latency>, looks: &[Option<Processors>]) -> Vec<Part> {
    let none = std::iter::repeat_with(Latency::coarse);
    let latencies = latencies.into_iter().chain(none);
    let stolen = looks.windows(2).map(|look| host::stolen(look[0], look[1]));
    stolen
        .zip(latencies)
        .map(|(stolen, latency)| Part { latency, stolen })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(stolen: &[f64]) -> Vec<Part> {
        let part = |(index, stolen): (usize, &f64)| {
            let mut latency = Latency::coarse();
            latency.record(Duration::from_millis(1 + index as u64));
            Part {
                latency,
                stolen: Some(*stolen),
            }
        };
        stolen.iter().enumerate().map(part).collect()
    }

    #[test]
    fn what_the_host_does_shows_before_and_after_it() {
        for (stolen, expected) in [
            (&[0.0; 4][..], 4),
            (&[STOLEN_MAX; 4], 4),
            (&[0.06, 0.0, 0.0, 0.0, 0.0, 0.0], 2),
            (&[0.0, 0.0, 0.06, 0.0, 0.0, 0.0], 1),
            (&[0.0, 0.0, 0.0, 0.0, 0.0, 0.06], 4),
        ] {
            let found = Undisturbed::of(&parts(stolen)).unwrap();
            assert_eq!(found.parts, expected, "{stolen:?}");
            assert_eq!(found.latency.count(), expected as u64);
        }
        let left = Undisturbed::of(&parts(&[0.5, 0.0, 0.0, 0.0, 0.0])).unwrap();
        assert!(left.latency.quantile_ms(0.0) >= 4.9, "the fifth alone");
        assert!(Undisturbed::of(&parts(&[0.0, 0.06])).is_none());
        let mut untold = parts(&[0.0; 3]);
        untold[1].stolen = None;
        assert!(Undisturbed::of(&untold).is_none());
        assert!(Undisturbed::of(&[]).is_none());
    }

    #[test]
    fn a_time_is_divided_into_seconds_or_six_hundred_parts() {
        let seconds = |it: f64| Duration::from_secs_f64(it);
        for (measured, ends) in [
            (0.05, &[0.05][..]),
            (1.0, &[1.0]),
            (2.5, &[1.0, 2.5]),
            (3.0, &[1.0, 2.0, 3.0]),
        ] {
            let found: Vec<Duration> = Division::of(seconds(measured)).ends().collect();
            let ends: Vec<Duration> = ends.iter().map(|it| seconds(*it)).collect();
            assert_eq!(found, ends);
        }
        let day = Division::of(seconds(86_400.0));
        let ends: Vec<Duration> = day.ends().collect();
        assert_eq!((ends.len(), ends[0]), (600, seconds(144.0)));
        assert_eq!(Division::of(Duration::MAX).ends().count(), 600);
    }

    #[test]
    fn a_latency_belongs_to_the_part_in_which_it_was_due() {
        let division = Division::of(Duration::from_millis(2500));
        let mut found = Vec::new();
        for due in [1900, 2499, 2600] {
            let due = Duration::from_millis(due);
            division.record(&mut found, due, Duration::from_millis(1));
        }
        division.record(&mut found, Duration::ZERO, Duration::from_millis(1));
        let counts: Vec<u64> = found.iter().map(Latency::count).collect();
        assert_eq!(counts, [1, 3]);
        let mut all = vec![Latency::coarse(); 3];
        merge(&mut all, &found);
        merge(&mut all, &found);
        let counts: Vec<u64> = all.iter().map(Latency::count).collect();
        assert_eq!(counts, [2, 6, 0]);
        // The end of a part says that it was, whether anything was due in it or not.
        assert_eq!(together(found, &[None; 5]).len(), 4);
    }
}
