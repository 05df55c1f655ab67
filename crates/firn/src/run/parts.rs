//! What each part is told of the settings.

use std::net::SocketAddr;
use std::sync::Arc;

use firn_edge::Origins;
use firn_link::v1::port;
use firn_link::watch::{Check, Watch};
use firn_link::{Asker, Identification};
use firn_model::code::Code;
use firn_model::contract::Finding;
use firn_runtime::{engine, lane};
use http::HeaderName;
use tokio::sync::Notify;

use super::ports::advertised;
use super::{cannot_start, files};
use crate::exit::Failure;
use crate::settings::{Config, Mode};

/// The header by which a function's own calls are known. The name is ours to choose: the function
/// is told at discovery.
const IDENTIFICATION_HEADER: &str = "x-firn-identification";

/// The name of the only node that keeps data in an embedded store.
const NODE: &str = "local";

pub(super) fn engine_config(config: &Config) -> engine::Config {
    engine::Config {
        lanes: config.lanes,
        streams_max: config.max_streams,
        entities_max: config.max_entities,
        lane: lane::Config {
            mailbox_commands_max: config.mailbox,
            command_timeout: config.command_timeout,
            passivate_after: config.passivate_after,
            reply_record_ttl: config.idempotency_ttl,
            retention: config.retention.clone(),
            ..lane::Config::default()
        },
        clock: firn_store::Clock::system(),
        write_behind: config.write_behind,
        node: NODE.to_owned(),
    }
}

pub(super) fn edge_config(config: &Config, identification: &Identification) -> firn_edge::Config {
    let defaults = firn_edge::Config::default();
    firn_edge::Config {
        listen: config.listen,
        connections_max: files::for_clients(defaults.connections_max),
        dev: config.mode == Mode::Dev,
        message_bytes_max: config.max_message_bytes,
        shutdown_grace: config.drain_grace,
        strip_headers: HeaderName::try_from(&identification.header)
            .into_iter()
            .collect(),
        allowed_origins: match config.allow_origin.as_slice() {
            [] => Origins::Any,
            listed => Origins::Listed(listed.to_vec()),
        },
        ..defaults
    }
}

pub(super) fn watch(
    config: &Config,
    listening: SocketAddr,
    identification: Identification,
    hurry: Arc<Notify>,
) -> Watch {
    let (host, port) = advertised(config, listening);
    Watch {
        address: config.function.clone(),
        family: config.family,
        asker: Asker {
            version: env!("CARGO_PKG_VERSION"),
            dev_mode: config.mode == Mode::Dev,
            host,
            port,
            offer_old_names: config.old_names,
            identification,
        },
        message_bytes_max: config.max_message_bytes,
        check: check(config),
        hurry,
    }
}

/// What else may be wrong with a contract: its HTTP rules, and what the settings say is kept of its
/// components.
pub(super) fn check(config: &Config) -> Check {
    let retention = config.retention.clone();
    Arc::new(move |contract| {
        let mut findings = match firn_edge::rules::compile(contract) {
            Ok(_) => Vec::new(),
            Err(findings) => findings,
        };
        findings.extend(contract.components.iter().filter_map(|component| {
            let misfit = retention.misfit(component)?;
            let service = component.service.to_string();
            Some(Finding {
                code: Code::RetentionUnfit,
                text: format!("what [retention] says of {service} cannot be done: {misfit}"),
                service: Some(service),
                location: None,
            })
        }));
        findings
    })
}

pub(super) fn port_config(config: &Config, listening: SocketAddr) -> port::Config {
    let (host, port) = advertised(config, listening);
    port::Config {
        listen: config.function_listen.clone(),
        token: config.function_token.clone(),
        tls: config.function_tls.clone(),
        frame_bytes_max: config.max_message_bytes,
        client_address: format!("{host}:{port}"),
        version: env!("CARGO_PKG_VERSION"),
    }
}

/// A new secret for the function's own calls.
pub(super) fn identification() -> Result<Identification, Failure> {
    let mut secret = [0; 16];
    getrandom::fill(&mut secret).map_err(cannot_start)?;
    let token = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(Identification {
        header: IDENTIFICATION_HEADER.to_owned(),
        token,
    })
}
