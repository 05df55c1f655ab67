//! meaning.
