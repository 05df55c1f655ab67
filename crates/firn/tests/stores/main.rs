//! A real Firn on a real PostgreSQL: what is said before it serves, and what becomes of commands when
//! the database stops, fills up, takes no writes, or two Firns use it.

mod faults;
mod metrics;
mod operation;
mod owners;
mod refusals;
mod shop;
mod small;
