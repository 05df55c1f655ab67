//! firn-runtime
