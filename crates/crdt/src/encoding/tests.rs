//! Encodings: round trips, fixtures of what is stored, and damage.
