//! Where clients come in: gRPC, gRPC-Web and HTTP/JSON on one port.
//!
//! [`Edge::bind`] takes the port, [`Bound::serve`] answers on it until it is told to stop. What is
//! served comes from the [`Backend`]: its contract makes the routes, its calls make the replies. The
//! edge knows no protocol family; where families differ it reads the component's policies.
//!
//! # The way of a request
//! A connection is accepted and owned by `server`; each request on it goes to `route`, which decides
//! in a fixed order what it is: `grpc` (and gRPC-Web, the same in another wrapping), `transcode`d
//! HTTP by the contract's [`rules`], one of the `builtin` services, or a probe. All of them read the
//! request's headers with `head`, call through `call` and answer with a `body`.
//!
//! # Invariants
//! - A message that came by gRPC is passed on as bytes: never decoded, copied at most once.
//! - Nothing is read from a client faster than the backend takes it, nor the other way round.
//! - A client that goes away drops the backend's future or stream.
//! - No lock is held across an await.

mod backend;
mod config;

mod server;

mod cors;
mod route;
mod state;

mod call;
mod head;

mod grpc;
pub mod rules;
mod transcode;

mod builtin;

mod body;
mod json;
mod metadata;

pub use backend::{Backend, MessageStream, ReplyStream};
pub use builtin::reflection::messages as reflection;
pub use config::{Config, Origins};
pub use server::{BindError, Bound, Edge};

#[cfg(test)]
#[path = "../tests/edge/contract.rs"]
mod testing;
