//! Stateful functions for [Firn](https://firn.dev): entities, actions, actors and replicated data.
//!
//! A function declares components; Firn brings each command together with the state it needs, and
//! stores what comes out. The contract is a `.proto` file, from which `firn-sdk-build` generates, in
//! a build script, messages and a constant for each method that knows its types. So a handler that
//! does not fit its method does not compile.
//!
//! ```
//! # mod shop {
//! #     #[derive(Clone, PartialEq, firn_sdk::prost::Message)]
//! #     pub struct Increase { #[prost(string, tag = "1")] pub id: String, #[prost(int64, tag = "2")] pub by: i64 }
//! #     #[derive(Clone, PartialEq, firn_sdk::prost::Message)]
//! #     pub struct Number { #[prost(int64, tag = "1")] pub value: i64 }
//! #     impl firn_sdk::prost::Name for Number {
//! #         const NAME: &'static str = "Number";
//! #         const PACKAGE: &'static str = "shop";
//! #     }
//! #     pub mod counter {
//! #         pub const SERVICE: firn_sdk::Service = firn_sdk::Service::new("shop.Counter", b"");
//! #         pub const INCREASE: firn_sdk::Method<super::Increase, super::Number> =
//! #             firn_sdk::Method::new("shop.Counter", "Increase");
//! #     }
//! # }
//! use firn_sdk::{Context, Failure, Function, ValueEntity};
//! use shop::{Increase, Number, counter};
//!
//! fn increase(request: Increase, counter: &mut Context<ValueEntity<Number>>) -> Result<Number, Failure> {
//!     let mut number = counter.state().cloned().unwrap_or_default();
//!     number.value += request.by;
//!     counter.set(number.clone());
//!     Ok(number)
//! }
//!
//! let function = Function::new("counter", "1.0.0").add(
//!     ValueEntity::<Number>::component(counter::SERVICE)
//!         .id("id")
//!         .on(counter::INCREASE, increase),
//! );
//! // function.run().await
//! ```
//!
//! | component | is declared with | its handlers get |
//! |---|---|---|
//! | action | [`Action`] | [`Context<Action>`](Context) |
//! | value entity | [`ValueEntity<S>`](ValueEntity) | state, set, delete |
//! | event sourced entity | [`EventSourced<S>`](EventSourced) | state, emit, delete |
//! | replicated entity | [`Replicated<D>`](Replicated) | data, which is one of the types of [`data`] |
//! | actor | [`Actor<S>`](Actor) | state, set, tags, delete |
//!
//! A handler is a plain function ([`Declaration::on`]), which runs inline and costs nothing beside
//! itself, or an `async fn` ([`Declaration::on_async`]), which may wait for something, such as a
//! [call](Context::call) through Firn. One that fails, or panics, changes nothing and causes nothing.
//!
//! Components are built, not derived: each is one expression that names its service, its options and,
//! for each method, a function. That a handler fits its method is checked by the types of the generated
//! constants, so there is no macro between the two, and every name in it can be looked up.
//!
//! State may be newer than what is durable when a handler sees it; nothing leaves Firn before it is.
//! A handler may run more than once for one command, of which one counts. What it does outside of
//! Firn is not held back and not undone.
//!
//! [`kit`] tests components without Firn, and `testing` (a feature) with a real one.

// In the order of a command's way: the contract, the connection, the session, the handler.
mod address;
mod any;
mod assembly;
mod cache;
mod calls;
mod component;
mod connection;
mod context;
pub mod data;
mod failure;
mod function;
mod handler;
mod hook;
pub mod kit;
mod metadata;
mod method;
mod model;
mod outbox;
mod session;
mod streams;
#[cfg(feature = "testing")]
pub mod testing;

/// The messages of `firn.v1`, for tests that play Firn.
#[expect(missing_docs, reason = "generated, where the protocol has no comment")]
pub mod protocol {
    include!("generated/firn.v1.rs");
}

pub(crate) use protocol as wire;

pub use address::{Address, AddressError};
pub use any::{Any, Storable, UnpackError};
pub use calls::{Cancelled, Client};
pub use component::{Component, Declaration, Entity, Model, Timed};
pub use context::Context;
pub use data::DataType;
pub use failure::{Code, Failure};
pub use function::{Function, RunError, Running};
pub use handler::{AsyncHandler, StreamHandler};
pub use hook::{ConnectionEvent, Finding, Handler, Hook, Log, Severity};
pub use metadata::Metadata;
pub use method::{Answer, Effect, Method, Service, StreamBoth, StreamIn, StreamOut, Target, Unary};
pub use model::action::Action;
pub use model::actor::{Actor, Durability};
pub use model::event_sourced::EventSourced;
pub use model::replicated::{Consistency, Replicated};
pub use model::value::ValueEntity;
pub use streams::{Replies, Requests};

// Generated code names them through this crate, so that a function needs no dependency on its own
// and cannot have another version.
pub use prost;
pub use prost_types;

/// Brings in what `firn-sdk-build` generated for a package.
///
/// ```text
/// mod shop {
///     firn_sdk::include_proto!("shop");
/// }
/// ```
#[macro_export]
macro_rules! include_proto {
    ($package:literal) => {
        include!(concat!(env!("OUT_DIR"), "/", $package, ".rs"));
    };
}
