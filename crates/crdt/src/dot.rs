//! Dots: the names of single changes.

use firn_model::id::{Incarnation, NodeId, Replica};

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
///
/// Every element of a set has one of these. So a single dot lies in it in pieces, which with a number
/// of 32 bits take less than a [`Dot`]; it is read one by one, not as a slice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Dots(Form);

/// Equal sets have the same form.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Form {
    /// One dot, if its number is not too large.
    One {
        node: NodeId,
        incarnation: Incarnation,
        seq: u32,
    },
    /// None, or all others in ascending order.
    Many(Option<Box<Box<[Dot]>>>),
}

impl Default for Dots {
    fn default() -> Self {
        Self(Form::Many(None))
    }
}

impl From<Dot> for Dots {
    fn from(dot: Dot) -> Self {
        Self(match u32::try_from(dot.seq) {
            Ok(seq) => Form::One {
                node: dot.replica.node,
                incarnation: dot.replica.incarnation,
                seq,
            },
            Err(_) => Form::Many(Some(Box::new(Box::new([dot])))),
        })
    }
}

impl FromIterator<Dot> for Dots {
    fn from_iter<I: IntoIterator<Item = Dot>>(dots: I) -> Self {
        let mut dots: Vec<Dot> = dots.into_iter().collect();
        dots.sort_unstable();
        dots.dedup();
        match dots[..] {
            [] => Self::default(),
            [dot] => Self::from(dot),
            _ => Self(Form::Many(Some(Box::new(dots.into())))),
        }
    }
}

impl Dots {
    /// The dots in ascending order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Dot> {
        let (one, many) = match &self.0 {
            Form::One {
                node,
                incarnation,
                seq,
            } => {
                let replica = Replica {
                    node: *node,
                    incarnation: *incarnation,
                };
                let seq = u64::from(*seq);
                (Some(Dot { replica, seq }), None)
            }
            Form::Many(dots) => (None, dots.as_deref()),
        };
        one.into_iter()
            .chain(many.into_iter().flat_map(|dots| dots.iter().copied()))
    }

    pub(crate) fn len(&self) -> usize {
        match &self.0 {
            Form::One { .. } => 1,
            Form::Many(dots) => dots.as_ref().map_or(0, |dots| dots.len()),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn contains(&self, dot: Dot) -> bool {
        self.iter().any(|other| other == dot)
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
    fn dots_are_smaller_than_one_dot() {
        assert_eq!((size_of::<Dot>(), size_of::<Dots>()), (24, 16));
    }

    #[test]
    fn dots_are_sets() {
        let replica = |node| Replica {
            node: NodeId(node),
            incarnation: Incarnation::FIRST,
        };
        let dot = |(node, seq)| Dot {
            replica: replica(node),
            seq,
        };
        const LAST_SMALL: u64 = u32::MAX as u64;
        for (put, expected) in [
            (&[][..], &[][..]),
            (&[(1, 1)], &[(1, 1)]),
            (&[(1, LAST_SMALL)], &[(1, LAST_SMALL)]),
            (&[(1, LAST_SMALL + 1)], &[(1, LAST_SMALL + 1)]),
            (&[(1, 2), (1, 2)], &[(1, 2)]),
            (&[(2, 1), (1, 1 << 62), (2, 1)], &[(1, 1 << 62), (2, 1)]),
        ] {
            let dots: Dots = put.iter().copied().map(dot).collect();
            let expected: Vec<Dot> = expected.iter().copied().map(dot).collect();
            assert_eq!(dots.iter().collect::<Vec<_>>(), expected);
            assert_eq!(dots.len(), expected.len());
            assert_eq!(dots.is_empty(), expected.is_empty());
            assert!(expected.iter().all(|dot| dots.contains(*dot)));
            assert!(!dots.contains(dot((3, 1))));
            let again: Dots = expected.iter().copied().collect();
            assert_eq!(dots, again);
            if let [dot] = expected[..] {
                assert_eq!(dots, Dots::from(dot));
            }
        }
    }
}
