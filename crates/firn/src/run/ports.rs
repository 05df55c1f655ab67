//! Ports: taken before anything else starts, and what others call them.

use std::io;
use std::net::SocketAddr;

use firn_edge::{BindError, Bound, Edge};
use firn_link::Identification;
use firn_link::v1::port::{self, Port};
use firn_model::code::Code;
use tokio::net::TcpListener;

use super::parts;
use crate::exit::Failure;
use crate::settings::Config;

/// The ports of a proxy, which do not answer yet.
pub(super) struct Ports {
    /// Where clients come in.
    pub(super) edge: Bound,
    /// Health, and what is asked about entities.
    pub(super) admin: TcpListener,
    /// Where functions dial in, if they may.
    pub(super) functions: Option<Port>,
}

impl Ports {
    /// Takes all of them.
    ///
    /// # Errors
    /// [`Failure`] that names the first that cannot be taken, and the setting to change.
    pub(super) async fn take(
        config: &Config,
        identification: &Identification,
    ) -> Result<Self, Failure> {
        let edge = Edge::bind(parts::edge_config(config, identification))
            .await
            .map_err(client_port_refused)?;
        let admin = TcpListener::bind(config.admin)
            .await
            .map_err(|error| admin_port_refused(config, &error))?;
        let functions = match config.family.dials_in() {
            true => Some(
                Port::bind(parts::port_config(config, edge.local_addr()))
                    .await
                    .map_err(function_port_refused)?,
            ),
            false => None,
        };
        Ok(Self {
            edge,
            admin,
            functions,
        })
    }
}

fn client_port_refused(error: BindError) -> Failure {
    let code = error.code();
    Failure::new(code, error, remedy(code, "--listen"))
}

fn admin_port_refused(config: &Config, error: &io::Error) -> Failure {
    let code = code(error);
    let cause = format!("cannot listen on {}: {error}", config.admin);
    Failure::new(code, cause, remedy(code, "--admin"))
}

fn function_port_refused(error: port::BindError) -> Failure {
    let (code, remedy) = match &error {
        port::BindError::Listen { source, .. } => {
            let code = code(source);
            (code, remedy(code, "--function-listen"))
        }
        port::BindError::Tls { .. } => (
            Code::BadSetting,
            "give --function-tls-cert and --function-tls-key a chain and its key in PEM".to_owned(),
        ),
    };
    Failure::new(code, error, remedy)
}

fn code(error: &io::Error) -> Code {
    match error.kind() {
        io::ErrorKind::AddrInUse => Code::PortTaken,
        _ => Code::ListenFailed,
    }
}

/// What to do about an address that the system refuses.
fn remedy(code: Code, flag: &str) -> String {
    match code {
        Code::PortTaken => {
            format!("stop the other process, or choose another address with {flag}")
        }
        _ => format!(
            "choose an address of this machine, and a port that this user may take, with {flag}"
        ),
    }
}

/// Where a function can call Firn back.
pub(super) fn advertised(config: &Config, listening: SocketAddr) -> (String, u16) {
    config.advertise.clone().unwrap_or_else(|| {
        let ip = listening.ip();
        let host = match ip.is_unspecified() {
            true => "127.0.0.1".to_owned(),
            false => ip.to_string(),
        };
        (host, listening.port())
    })
}

/// How a function on this machine writes the address of the function port.
pub(super) fn dialed(address: &port::Address, config: &Config) -> String {
    match address {
        port::Address::Unix(_) => address.to_string(),
        port::Address::Tcp(at) => {
            let scheme = match config.function_tls {
                Some(_) => "https",
                None => "http",
            };
            let host = match at.ip().is_unspecified() {
                true => "127.0.0.1".to_owned(),
                false if at.is_ipv6() => format!("[{}]", at.ip()),
                false => at.ip().to_string(),
            };
            format!("{scheme}://{host}:{}", at.port())
        }
    }
}
