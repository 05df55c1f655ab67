//! Values under dots: what counters, registers and votes are made of.

use crate::dot::Dot;

/// Values, each under its dot, in ascending order of dots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Dotted<T>(Vec<(Dot, T)>);

impl<T> Default for Dotted<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> FromIterator<(Dot, T)> for Dotted<T> {
    fn from_iter<I: IntoIterator<Item = (Dot, T)>>(values: I) -> Self {
        let mut values: Vec<_> = values.into_iter().collect();
        values.sort_unstable_by_key(|(dot, _)| *dot);
        Self(values)
    }
}

impl<T> IntoIterator for Dotted<T> {
    type Item = (Dot, T);
    type IntoIter = std::vec::IntoIter<(Dot, T)>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<T> Dotted<T> {
    pub(crate) fn iter(&self) -> impl Iterator<Item = &(Dot, T)> {
        self.0.iter()
    }

    pub(crate) fn dots(&self) -> impl Iterator<Item = Dot> {
        self.0.iter().map(|(dot, _)| *dot)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn contains(&self, dot: Dot) -> bool {
        self.0.binary_search_by_key(&dot, |(dot, _)| *dot).is_ok()
    }

    /// Puts a value under a new dot.
    pub(crate) fn insert(&mut self, dot: Dot, value: T) {
        let place = self.0.partition_point(|(other, _)| *other < dot);
        self.0.insert(place, (dot, value));
    }

    /// Keeps what is under dots that `keep` accepts and tells whether any went.
    pub(crate) fn retain(&mut self, keep: impl Fn(Dot) -> bool) -> bool {
        let before = self.0.len();
        self.0.retain(|(dot, _)| keep(*dot));
        self.0.len() < before
    }
}
