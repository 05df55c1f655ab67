//! A figure: what was measured, how often, and what it should be.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::budget::Budget;
use crate::measurement::Measurement;

/// What one measurement gave.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Figure {
    /// What was measured, in a few words.
    pub(crate) what: String,
    /// The value that counts, in `unit`: the median of `samples`, unless a case says otherwise.
    pub(crate) value: f64,
    /// Its unit.
    pub(crate) unit: Unit,
    /// What it should be, if anything is promised.
    pub(crate) bound: Option<Bound>,
    /// What is fought for beyond that.
    pub(crate) stretch: Option<Bound>,
    /// Every measurement, in the order they were made.
    pub(crate) samples: Vec<f64>,
    /// What else was seen, for people and for later comparison.
    pub(crate) details: Map<String, Value>,
    /// The loads that it comes from. They are reported by themselves: several figures may come from
    /// one.
    #[serde(skip)]
    pub(crate) measured: Vec<Measurement>,
    /// Where what it says goes, part by part; reported by themselves as well.
    #[serde(skip)]
    pub(crate) budgets: Vec<Budget>,
}

/// What a figure counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Unit {
    Microseconds,
    Milliseconds,
    Megabytes,
    Bytes,
    /// Times the reference that was measured in the same run.
    Ratio,
}

/// What a figure should be.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

impl Figure {
    /// A figure of these measurements.
    ///
    /// # Panics
    /// If there is none.
    pub(crate) fn new(what: impl Into<String>, unit: Unit, samples: Vec<f64>) -> Self {
        Self {
            what: what.into(),
            value: median(&samples),
            unit,
            bound: None,
            stretch: None,
            samples,
            details: Map::new(),
            measured: Vec::new(),
            budgets: Vec::new(),
        }
    }

    /// The same, with what it should be.
    pub(crate) fn bound(mut self, bound: Bound) -> Self {
        self.bound = Some(bound);
        self
    }

    /// The same, with what is fought for beyond what it should be.
    pub(crate) fn stretch(mut self, bound: Bound) -> Self {
        self.stretch = Some(bound);
        self
    }

    /// The same, with a load that it comes from.
    pub(crate) fn measured(mut self, measurement: Measurement) -> Self {
        self.measured.push(measurement);
        self
    }

    /// The same, with where it goes.
    pub(crate) fn budget(mut self, budget: Budget) -> Self {
        self.budgets.push(budget);
        self
    }

    /// The same without any promise.
    pub(crate) fn unjudged(self) -> Self {
        Self {
            bound: None,
            stretch: None,
            ..self
        }
    }

    /// The same, with one more thing that was seen.
    pub(crate) fn detail(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.details.insert(name.to_owned(), value.into());
        self
    }

    /// Whether it is as it should be; `None` if nothing is promised.
    pub(crate) fn holds(&self) -> Option<bool> {
        self.bound.map(|bound| bound.is_met(self.value))
    }

    /// Whether it is as good as is fought for; `None` if that is nothing beyond the promise.
    pub(crate) fn stretches(&self) -> Option<bool> {
        self.stretch.map(|bound| bound.is_met(self.value))
    }

    /// The smallest and the largest measurement.
    pub(crate) fn spread(&self) -> (f64, f64) {
        let samples = self.samples.iter().copied();
        samples.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), it| {
            (low.min(it), high.max(it))
        })
    }
}

impl Unit {
    /// A value in this unit.
    pub(crate) fn show(self, value: f64) -> String {
        let (places, name) = match self {
            Self::Bytes => (0, self.name()),
            Self::Ratio => (3, " ×"),
            _ => (1, self.name()),
        };
        // No "-0".
        format!("{:.places$}{name}", value + 0.0)
    }

    /// Its name behind a value; a ratio has none.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Microseconds => " µs",
            Self::Milliseconds => " ms",
            Self::Megabytes => " MB",
            Self::Bytes => " B",
            Self::Ratio => "",
        }
    }
}

impl Bound {
    fn is_met(self, value: f64) -> bool {
        match self {
            Self::AtMost(most) => value <= most,
            Self::AtLeast(least) => value >= least,
        }
    }

    /// The bound in a unit.
    pub(crate) fn show(self, unit: Unit) -> String {
        match self {
            Self::AtMost(most) => format!("≤ {}", unit.show(most)),
            Self::AtLeast(least) => format!("≥ {}", unit.show(least)),
        }
    }
}

/// What is said of it.
pub(crate) fn verdict(figure: &Figure) -> &'static str {
    match (figure.holds(), figure.stretches()) {
        (Some(false), _) => "FAILS",
        (_, Some(true)) => "stretch",
        (Some(true), _) => "holds",
        (None, _) => "",
    }
}

/// A figure as a line, with what it is in so many columns.
pub(crate) struct Line<'a>(pub(crate) &'a Figure, pub(crate) usize);

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(figure, width) = *self;
        let unit = figure.unit;
        let show = |bound: Option<Bound>| bound.map_or(String::new(), |it| it.show(unit));
        let (bound, stretch) = (show(figure.bound), show(figure.stretch));
        let value = unit.show(figure.value);
        let verdict = verdict(figure);
        write!(
            f,
            "{verdict:7}  {:width$} {value:>10}  {bound:11}  {stretch:11}",
            figure.what
        )?;
        let (low, high) = figure.spread();
        if figure.samples.len() > 1 {
            let count = figure.samples.len();
            let (low, high) = (unit.show(low), unit.show(high));
            write!(f, "  of {count}: {low} to {high}")?;
        }
        Ok(())
    }
}

/// The middle one; of an even number the mean of the middle two.
///
/// # Panics
/// If there is none.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() % 2 {
        0 => f64::midpoint(sorted[middle - 1], sorted[middle]),
        _ => sorted[middle],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_is_found() {
        for (values, expected) in [
            (&[3.0][..], 3.0),
            (&[3.0, 1.0], 2.0),
            (&[9.0, 1.0, 2.0], 2.0),
        ] {
            assert_eq!(median(values), expected, "{values:?}");
        }
    }

    #[test]
    fn a_bound_may_be_met_exactly() {
        let figure = |bound| Figure::new("it", Unit::Ratio, vec![2.0]).bound(bound);
        for (bound, expected) in [
            (Bound::AtMost(2.0), true),
            (Bound::AtMost(1.9), false),
            (Bound::AtLeast(2.0), true),
            (Bound::AtLeast(2.1), false),
        ] {
            assert_eq!(figure(bound).holds(), Some(expected), "{bound:?}");
        }
        assert_eq!(Figure::new("it", Unit::Ratio, vec![2.0]).holds(), None);
    }

    #[test]
    fn a_line_says_which_bound_is_met() {
        for (value, expected) in [(0.2, "FAILS"), (0.25, "holds"), (0.35, "stretch")] {
            let figure = Figure::new("it", Unit::Ratio, vec![value])
                .bound(Bound::AtLeast(0.25))
                .stretch(Bound::AtLeast(0.35));
            let line = Line(&figure, 10).to_string();
            assert!(line.starts_with(expected), "{line}");
            assert!(
                line.contains("≥ 0.250 ×") && line.contains("≥ 0.350 ×"),
                "{line}"
            );
        }
    }
}
