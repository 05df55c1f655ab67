//! How long a command may take, as its function is told (R31).

use std::time::Instant;

/// What is left until a deadline, in milliseconds, at least one; 0 if there is none.
pub(crate) fn left_ms(deadline: Option<Instant>) -> u64 {
    let Some(deadline) = deadline else {
        return 0;
    };
    let now = tokio::time::Instant::now().into_std();
    let left = deadline.saturating_duration_since(now).as_millis();
    u64::try_from(left).unwrap_or(u64::MAX).max(1)
}
