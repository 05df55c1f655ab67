//! edits.
