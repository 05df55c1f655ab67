//! What counters show.

use std::ops::RangeInclusive;

use firn_model::replicated::DataType;

use crate::dotted::Dotted;

/// The range of a counter's values.
pub(crate) fn range(data_type: DataType) -> RangeInclusive<i128> {
    match data_type {
        DataType::GrowCounter => 0..=u64::MAX.into(),
        _ => i64::MIN.into()..=i64::MAX.into(),
    }
}

/// The sum of all shares. Concurrent changes can lead it out of the range of the values.
pub(crate) fn total(shares: &Dotted<i128>) -> i128 {
    shares.iter().map(|(_, share)| share).sum()
}

/// The value of a grow-only counter, at the end of the range if it is beyond it.
pub(crate) fn grown(shares: &Dotted<i128>) -> u64 {
    total(shares).clamp(0, u64::MAX.into()) as u64
}

/// The value of a counter, at an end of the range if it is beyond it.
pub(crate) fn counted(shares: &Dotted<i128>) -> i64 {
    total(shares).clamp(i64::MIN.into(), i64::MAX.into()) as i64
}
