//! Spans: sets of numbers from 1 on, as runs of them.
//!
//! A set is a sorted slice of [`Span`]s that neither touch nor overlap, so equal sets are equal
//! slices. One that ends at [`LAST`] goes on for ever.

use std::cmp;

/// The last number there is; a dot never has it.
pub(crate) const LAST: u64 = u64::MAX;

/// Numbers from `first` to `last`, both within.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) first: u64,
    pub(crate) last: u64,
}

/// Every number.
pub(crate) const ALL: &[Span] = &[Span {
    first: 1,
    last: LAST,
}];

/// Whether the set goes on for ever.
pub(crate) fn endless(spans: &[Span]) -> bool {
    spans.last().is_some_and(|span| span.last == LAST)
}

pub(crate) fn contains(spans: &[Span], number: u64) -> bool {
    let place = spans.partition_point(|span| span.last < number);
    spans.get(place).is_some_and(|span| span.first <= number)
}

/// Whether `spans` holds all that `others` holds.
pub(crate) fn covers(spans: &[Span], others: &[Span]) -> bool {
    others.iter().all(|other| {
        let place = spans.partition_point(|span| span.last < other.first);
        spans
            .get(place)
            .is_some_and(|span| span.first <= other.first && other.last <= span.last)
    })
}

/// What either holds.
pub(crate) fn union(left: &[Span], right: &[Span]) -> Vec<Span> {
    let mut union = Vec::with_capacity(cmp::max(left.len(), right.len()));
    let (mut left, mut right) = (left, right);
    loop {
        let (next, rest) = match (left.split_first(), right.split_first()) {
            (Some((l, rest)), Some((r, _))) if l.first <= r.first => (l, (rest, right)),
            (_, Some((r, rest))) => (r, (left, rest)),
            (Some((l, rest)), None) => (l, (rest, right)),
            (None, None) => return union,
        };
        push(&mut union, *next);
        (left, right) = rest;
    }
}

/// Adds a span that begins no earlier than the last one of `spans`.
pub(crate) fn push(spans: &mut Vec<Span>, next: Span) {
    match spans.last_mut() {
        Some(last) if next.first <= last.last.saturating_add(1) => {
            last.last = cmp::max(last.last, next.last);
        }
        _ => spans.push(next),
    }
}

/// `spans` without the numbers in `holes`, which ascend.
pub(crate) fn without(spans: &[Span], holes: &[u64]) -> Vec<Span> {
    let mut rest = Vec::with_capacity(spans.len());
    let mut holes = holes;
    for &Span { mut first, last } in spans {
        holes = &holes[holes.partition_point(|hole| *hole < first)..];
        while let Some((&hole, later)) = holes.split_first().filter(|(hole, _)| **hole <= last) {
            if first < hole {
                rest.push(Span {
                    first,
                    last: hole - 1,
                });
            }
            first = hole + 1;
            holes = later;
        }
        if first <= last {
            rest.push(Span { first, last });
        }
    }
    rest
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::collection::btree_set;
    use proptest::prelude::*;

    use super::*;

    fn spans(numbers: &BTreeSet<u64>) -> Vec<Span> {
        let mut spans = Vec::new();
        for &number in numbers {
            let one = Span {
                first: number,
                last: number,
            };
            push(&mut spans, one);
        }
        spans
    }

    fn numbers() -> impl Strategy<Value = BTreeSet<u64>> {
        btree_set(1..30_u64, 0..25)
    }

    proptest! {
        #[test]
        fn spans_are_sets(left in numbers(), right in numbers()) {
            let (l, r) = (spans(&left), spans(&right));
            prop_assert_eq!(union(&l, &r), spans(&(&left | &right)));
            prop_assert_eq!(covers(&l, &r), left.is_superset(&right));
            let holes: Vec<u64> = right.iter().copied().collect();
            prop_assert_eq!(without(&l, &holes), spans(&(&left - &right)));
            for number in 1..30 {
                prop_assert_eq!(contains(&l, number), left.contains(&number));
            }
        }
    }

    #[test]
    fn endless_spans_end_nowhere() {
        let from = |first| Span { first, last: LAST };
        assert_eq!(union(ALL, &[from(7)]), ALL);
        assert!(endless(ALL) && contains(ALL, LAST) && covers(ALL, &[from(7)]));
        let holed = without(ALL, &[1, 5]);
        assert_eq!(holed, [Span { first: 2, last: 4 }, from(6)]);
        assert!(endless(&holed) && !covers(&holed, ALL));
        assert_eq!(union(&holed, &[Span { first: 1, last: 5 }]), ALL);
    }
}
