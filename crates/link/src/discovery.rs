//! The handshake: finds out which family a function speaks, and reads what it declares.

use bytes::Bytes;
use firn_model::code::Code;
use firn_model::contract::Finding;
use firn_wire::contract::{self, Declared};
use firn_wire::convert::discovery;
use firn_wire::dialect::{self, Dialect, Introduction};
use firn_wire::superset::{IdentificationInfo, ProxyInfo};

use crate::connection::Connection;
use crate::stream::cause;

/// Who asks.
#[derive(Debug, Clone)]
pub struct Asker {
    /// The version of this Firn.
    pub version: &'static str,
    /// Whether it runs in development: functions then do not wait for its end.
    pub dev_mode: bool,
    /// Under which host a function can call it back.
    pub host: String,
    /// Under which port it can.
    pub port: u16,
    /// Whether names that only the oldest dialect knows are offered too.
    pub offer_old_names: bool,
    /// How a function proves that a call is its own, for families that have it.
    pub identification: Identification,
}

/// A header by which a function's own calls are known.
#[derive(Debug, Clone)]
pub struct Identification {
    /// The header's name.
    pub header: String,
    /// The value that only the function knows.
    pub token: String,
}

/// Which protocol family a function speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Find out by asking; it may dial in, too.
    Auto,
    /// Our own: the function dials in.
    Firn,
    /// Kalix.
    Kalix,
    /// Akka Serverless, both generations.
    AkkaServerless,
    /// Cloudstate, both dialects.
    Cloudstate,
}

impl Family {
    /// Every family with the name it has in settings.
    pub const NAMES: [(&'static str, Self); 5] = [
        ("auto", Self::Auto),
        ("firn", Self::Firn),
        ("kalix", Self::Kalix),
        ("akka-serverless", Self::AkkaServerless),
        ("cloudstate", Self::Cloudstate),
    ];

    /// Whether Firn dials the function.
    pub fn is_dialed(self) -> bool {
        self != Self::Firn
    }

    /// Whether the function may dial in.
    pub fn dials_in(self) -> bool {
        matches!(self, Self::Auto | Self::Firn)
    }

    /// The dialects to try, in order.
    fn probes(self) -> Vec<&'static Dialect> {
        let wanted = Self::NAMES
            .iter()
            .find(|(_, family)| *family == self)
            .map(|(name, _)| *name);
        dialect::PROBES
            .into_iter()
            .filter(|dialect| self == Self::Auto || Some(dialect.family.name()) == wanted)
            .collect()
    }
}

/// Why a function could not be discovered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DiscoverError {
    /// It answered with an error. It may be starting still; ask again.
    #[error("the function failed the discovery call: {cause}")]
    Failed {
        /// The status in words.
        cause: String,
    },
    /// It knows none of the discovery services.
    #[error("the function speaks none of the protocols {tried}")]
    UnknownFamily {
        /// The families that were tried, joined with commas.
        tried: String,
    },
    /// Its contract is not acceptable. Asking again does not help until it changes.
    #[error("the contract was refused: {} findings", findings.len())]
    Refused {
        /// Everything that is wrong with it.
        findings: Vec<Finding>,
        /// In which words to report it.
        dialect: &'static Dialect,
    },
}

impl DiscoverError {
    /// The stable code.
    pub fn code(&self) -> Code {
        match self {
            Self::Failed { .. } => Code::DiscoveryFailed,
            Self::UnknownFamily { .. } => Code::FamilyUnknown,
            Self::Refused { findings, .. } => findings
                .first()
                .map_or(Code::DiscoveryFailed, |finding| finding.code),
        }
    }
}

/// Asks a function what it declares.
pub(crate) async fn discover(
    connection: &Connection,
    asker: &Asker,
    family: Family,
) -> Result<Declared, DiscoverError> {
    let probes = family.probes();
    for dialect in &probes {
        let path = dialect.discovery.discover;
        let answer = connection.unary_raw(path, proxy_info(dialect, asker)).await;
        match answer {
            Ok(answer) => return read(dialect, answer),
            Err(status) if status.code() == tonic::Code::Unimplemented => {}
            Err(status) => {
                return Err(DiscoverError::Failed {
                    cause: cause(&status),
                });
            }
        }
    }
    let tried: Vec<&str> = probes.iter().map(|dialect| dialect.family.name()).collect();
    Err(DiscoverError::UnknownFamily {
        tried: tried.join(", "),
    })
}

fn read(dialect: &'static Dialect, answer: Bytes) -> Result<Declared, DiscoverError> {
    match contract::read(dialect, answer) {
        Ok(declared) => Ok(declared),
        // What is no answer at all may be a function that is not itself yet.
        Err(findings) if is_rubbish(&findings) => Err(DiscoverError::Failed {
            cause: findings[0].text.clone(),
        }),
        Err(findings) => Err(DiscoverError::Refused { findings, dialect }),
    }
}

fn is_rubbish(findings: &[Finding]) -> bool {
    matches!(findings, [only] if only.code == Code::DiscoveryFailed)
}

fn proxy_info(dialect: &Dialect, asker: &Asker) -> ProxyInfo {
    let mut info = discovery::proxy_info(
        dialect,
        discovery::Asker {
            name: "firn",
            version: asker.version,
            dev_mode: asker.dev_mode,
            host: &asker.host,
            port: asker.port,
            offer_old_names: asker.offer_old_names,
        },
    );
    if dialect.introduction == Introduction::Address {
        info.identification_info = Some(IdentificationInfo {
            self_identification_header: asker.identification.header.clone(),
            self_identification_token: asker.identification.token.clone(),
            ..IdentificationInfo::default()
        });
    }
    info
}
