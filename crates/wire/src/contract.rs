//! Contracts: what a function declares, read from its answer to the discovery call.
