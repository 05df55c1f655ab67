//! The edge's settings.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use firn_model::limit;
use http::{HeaderName, HeaderValue};

/// How many requests may be open on one HTTP/2 connection unless the settings say otherwise.
pub(crate) const STREAMS_MAX: u32 = 1024;

/// What the edge needs to know before it starts. Every field has a default.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where to listen; port 0 takes any free one. Default `0.0.0.0:9000`.
    pub listen: SocketAddr,
    /// Whether methods with access rules that Firn does not enforce are served all the same.
    /// Default no.
    pub dev: bool,
    /// The largest message taken from a client, in bytes, after decompression. Default 12 MiB.
    pub message_bytes_max: usize,
    /// The largest header section of a request, in bytes, at least 8192. Default 32 KiB: four
    /// times what common servers take, since tokens travel in headers.
    pub header_bytes_max: u32,
    /// Requests that may be open on one HTTP/2 connection. Default 1024; a client with more waits.
    pub streams_max: u32,
    /// Connections that may be open at once; more wait in the system's queue. Default 10,000.
    pub connections_max: usize,
    /// How long open requests may go on after the edge was told to stop. Default 10 s.
    pub shutdown_grace: Duration,
    /// Request headers that never reach a function: the identification headers that Firn itself
    /// handed out. Default none.
    pub strip_headers: Vec<HeaderName>,
    /// Beginnings of names of request headers that never reach a function, in lower case: a client
    /// must not be able to pretend what only Firn may say. Default `_kalix-`.
    pub strip_prefixes: Vec<String>,
    /// Whose pages may call from a browser. Default all.
    pub allowed_origins: Origins,
}

/// Origins that a browser may call from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origins {
    /// All. Credentials that the browser keeps (cookies) are not sent along.
    Any,
    /// These, as the browser names them: `https://shop.example`.
    Listed(Vec<HeaderValue>),
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 9000)),
            dev: false,
            message_bytes_max: limit::MESSAGE_BYTES_MAX,
            header_bytes_max: 32 * 1024,
            streams_max: STREAMS_MAX,
            connections_max: 10_000,
            shutdown_grace: Duration::from_secs(10),
            strip_headers: Vec::new(),
            strip_prefixes: vec!["_kalix-".to_owned()],
            allowed_origins: Origins::Any,
        }
    }
}
