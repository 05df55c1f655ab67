//! Functions on the published SDKs, behind a real Firn, driven through its public port only.
//!
//! # How it works
//! A scenario ([`cart`], [`values`], [`tools`], [`tickets`], [`replicated`], [`survival`], [`crowd`])
//! is written once and run for every SDK that can take part; [`sdk`] is the table of what each can do
//! and how it words things. One module for each SDK says which scenarios it runs, and holds what only
//! that SDK has. [`conformance`] is apart: there the kit drives the functions, without a Firn.

mod cart;
mod conformance;
mod crowd;
mod members;
mod replicated;
mod rig;
mod sdk;
mod survival;
mod tickets;
mod tools;
mod values;

mod akkaserverless_node;
mod akkaserverless_python;
mod cloudstate_java;
mod cloudstate_node;
mod cloudstate_python;
mod kalix_java;
mod kalix_node;
