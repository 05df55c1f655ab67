//! Spans: sets of numbers from 1 on, as runs of them.
//!
//! A set is a sorted slice of [`Span`]s that neither touch nor overlap, so equal sets are equal
//! slices.

use std::cmp;

/// Numbers from `first` to `last`, both within.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) first: u64,
    pub(crate) last: u64,
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
        Some(last) if next.first <= last.last + 1 => {
            last.last = cmp::max(last.last, next.last);
        }
        _ => spans.push(next),
    }
}

/// What `spans` holds and `others` does not.
pub(crate) fn minus(spans: &[Span], others: &[Span]) -> Vec<Span> {
    let mut rest = Vec::new();
    let mut others = others;
    for &Span { mut first, last } in spans {
        others = &others[others.partition_point(|other| other.last < first)..];
        for other in others.iter().take_while(|other| other.first <= last) {
            if first < other.first {
                rest.push(Span {
                    first,
                    last: other.first - 1,
                });
            }
            first = other.last + 1;
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
            prop_assert_eq!(minus(&l, &r), spans(&(&left - &right)));
            for number in 1..30 {
                prop_assert_eq!(contains(&l, number), left.contains(&number));
            }
        }
    }
}
