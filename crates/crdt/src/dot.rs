//! Dots: the names of single changes.

use firn_model::id::Replica;

/// One change of an entity: the `seq`-th that a replica made to it, counted from 1.
///
/// Whatever is alive in a state is there under a dot of its own, and no dot is ever given twice, so a
/// dot says all about what it names: where it is and what it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Dot {
    /// Who made the change.
    pub replica: Replica,
    /// Which of its changes of this entity it is.
    pub seq: u64,
}

/// A set of dots; nearly always of one, so one costs no allocation.
#[derive(Debug, Clone)]
pub(crate) enum Dots {
    One(Dot),
    /// None, or several in ascending order.
    Many(Box<[Dot]>),
}

impl Default for Dots {
    fn default() -> Self {
        Self::Many(Box::default())
    }
}

impl PartialEq for Dots {
    fn eq(&self, other: &Self) -> bool {
        self.as_slice() == other.as_slice()
    }
}

impl Eq for Dots {}

impl FromIterator<Dot> for Dots {
    fn from_iter<I: IntoIterator<Item = Dot>>(dots: I) -> Self {
        let mut dots: Vec<Dot> = dots.into_iter().collect();
        dots.sort_unstable();
        dots.dedup();
        match dots[..] {
            [dot] => Self::One(dot),
            _ => Self::Many(dots.into()),
        }
    }
}

impl Dots {
    /// The dots in ascending order.
    pub(crate) fn as_slice(&self) -> &[Dot] {
        match self {
            Self::One(dot) => std::slice::from_ref(dot),
            Self::Many(dots) => dots,
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Dot> {
        self.as_slice().iter().copied()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.as_slice().is_empty()
    }

    pub(crate) fn contains(&self, dot: Dot) -> bool {
        self.as_slice().contains(&dot)
    }

    /// Keeps the dots that `keep` accepts and tells whether any went.
    pub(crate) fn retain(&mut self, keep: impl Fn(Dot) -> bool) -> bool {
        if self.iter().all(&keep) {
            return false;
        }
        *self = self.iter().filter(|dot| keep(*dot)).collect();
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An element of a set costs its tree node's share of this.
    #[test]
    fn dots_are_as_small_as_one_dot() {
        assert_eq!((size_of::<Dot>(), size_of::<Dots>()), (24, 24));
    }
}
