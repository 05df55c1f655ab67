//! pruning.
