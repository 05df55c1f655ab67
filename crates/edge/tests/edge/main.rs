//! The edge over real sockets, in front of a backend that does as it is told.

mod backend;
mod client;
mod contract;

mod builtin;
mod grpc;
mod http;
mod parameters;
mod port;
mod streams;
mod unread;
mod web;
