//! firn-link
