//! firn-wire
