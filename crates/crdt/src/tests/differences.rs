//! differences.
