//! cost.
