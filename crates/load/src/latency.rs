//! How long calls took: a histogram that keeps three digits of every duration.

use std::time::Duration;

use hdrhistogram::Histogram;

/// Significant digits that are kept: a quantile is known to a thousandth of itself.
const DIGITS: u8 = 3;

/// The same where there are many histograms.
const FEW_DIGITS: u8 = 2;

/// The longest duration that is told from longer ones.
const LONGEST: Duration = Duration::from_secs(3600);

/// The durations of many calls.
#[derive(Debug, Clone)]
pub struct Latency(Histogram<u64>);

impl Default for Latency {
    fn default() -> Self {
        Self::with_digits(DIGITS)
    }
}

impl Latency {
    /// One that knows quantiles to a hundredth, and takes an eighth of the memory: some 25 KB.
    #[must_use]
    pub fn coarse() -> Self {
        Self::with_digits(FEW_DIGITS)
    }

    fn with_digits(digits: u8) -> Self {
        let histogram = Histogram::new(digits);
        let mut histogram = histogram.expect("a histogram may have up to five digits");
        histogram.auto(true);
        Self(histogram)
    }

    /// Takes one duration.
    pub fn record(&mut self, duration: Duration) {
        let nanoseconds = duration.min(LONGEST).as_nanos() as u64;
        let recorded = self.0.record(nanoseconds);
        recorded.expect("it grows as far as an hour");
    }

    /// Takes all that another has.
    pub fn merge(&mut self, other: &Self) {
        let merged = self.0.add(&other.0);
        merged.expect("one that grows has room for another");
    }

    /// How many durations there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// The duration, in milliseconds, that this part of the calls, of 1, took at most; 0 if there
    /// were none.
    #[must_use]
    pub fn quantile_ms(&self, part: f64) -> f64 {
        milliseconds(self.0.value_at_quantile(part))
    }

    /// The longest, in milliseconds.
    #[must_use]
    pub fn max_ms(&self) -> f64 {
        milliseconds(self.0.max())
    }

    /// The mean, in milliseconds.
    #[must_use]
    pub fn mean_ms(&self) -> f64 {
        self.0.mean() / 1e6
    }
}

fn milliseconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(milliseconds: impl IntoIterator<Item = u64>) -> Latency {
        let mut latency = Latency::default();
        for it in milliseconds {
            latency.record(Duration::from_millis(it));
        }
        latency
    }

    #[test]
    fn quantiles_are_known_to_a_thousandth() {
        let latency = of(1..=1000);
        for (part, expected) in [(0.5, 500.0), (0.99, 990.0), (0.999, 999.0), (1.0, 1000.0)] {
            let found = latency.quantile_ms(part);
            assert!((found / expected - 1.0).abs() <= 1e-3, "{part}: {found}");
        }
        assert_eq!(latency.count(), 1000);
        assert!((latency.max_ms() / 1000.0 - 1.0).abs() <= 1e-3);
        assert!((latency.mean_ms() / 500.5 - 1.0).abs() <= 1e-3);
    }

    #[test]
    fn coarse_ones_know_quantiles_to_a_hundredth() {
        let mut latency = Latency::coarse();
        (1..=1000).for_each(|it| latency.record(Duration::from_millis(it)));
        let found = latency.quantile_ms(0.999);
        assert!((found / 999.0 - 1.0).abs() <= 1e-2, "{found}");
        let mut all = of([5000]);
        all.merge(&latency);
        assert_eq!(all.count(), 1001);
    }

    #[test]
    fn nothing_took_no_time() {
        let latency = Latency::default();
        assert_eq!((latency.quantile_ms(0.99), latency.max_ms()), (0.0, 0.0));
    }

    #[test]
    fn several_are_one() {
        let mut latency = of([1, 2]);
        latency.merge(&of([60_000]));
        assert_eq!(latency.count(), 3);
        assert!(latency.max_ms() >= 60_000.0);
    }

    #[test]
    fn no_duration_is_too_long() {
        let mut latency = Latency::default();
        latency.record(Duration::MAX);
        latency.record(Duration::ZERO);
        assert_eq!(latency.count(), 2);
    }
}
