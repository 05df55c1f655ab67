//! The handshake: who Firn is, and what it found wrong with a function.

use firn_model::contract::{Finding, Weight};

use crate::dialect::{Dialect, Family, Introduction};
use crate::superset::user_function_error::{Severity, SourceLocation};
use crate::superset::{ProxyInfo, UserFunctionError};

/// Who asks a function what it declares.
#[derive(Debug, Clone, Copy)]
pub struct Asker<'a> {
    /// The name of this proxy.
    pub name: &'a str,
    /// Its version.
    pub version: &'a str,
    /// Whether this is a developer's machine: the function then does not wait for the proxy's end.
    pub dev_mode: bool,
    /// Under which host the function can call back.
    pub host: &'a str,
    /// Under which port it can.
    pub port: u16,
    /// Whether names that only the oldest dialect knows are offered too.
    pub offer_old_names: bool,
}

/// The question for a function of this dialect. Fields that a family lacks are left unset.
pub fn proxy_info(dialect: &Dialect, asker: Asker<'_>) -> ProxyInfo {
    let mut info = ProxyInfo {
        protocol_major_version: dialect.announced.major,
        protocol_minor_version: dialect.announced.minor,
        proxy_name: asker.name.to_owned(),
        proxy_version: asker.version.to_owned(),
        supported_entity_types: offered(dialect, asker.offer_old_names),
        ..ProxyInfo::default()
    };
    if dialect.introduction != Introduction::Name {
        info.dev_mode = asker.dev_mode;
    }
    if dialect.introduction == Introduction::Address {
        // Under both names: SDKs differ in which one they read, and some do not fall back.
        info.proxy_hostname = asker.host.to_owned();
        info.internal_proxy_hostname = asker.host.to_owned();
        info.proxy_port = asker.port.into();
    }
    info
}

fn offered(dialect: &Dialect, old_names: bool) -> Vec<String> {
    let extra: &[&str] = if old_names {
        dialect.offered_if_asked
    } else {
        &[]
    };
    let names = dialect.offered.iter().chain(extra);
    names.map(|&name| name.to_owned()).collect()
}

/// The report of a finding to a function of this dialect. Fields that a family lacks are left unset;
/// what they would say is in the text.
pub fn report(dialect: &Dialect, finding: &Finding, weight: Weight) -> UserFunctionError {
    let warning = match weight {
        Weight::Error => "",
        Weight::Warning => "Warning: ",
    };
    match dialect.family {
        Family::Cloudstate => UserFunctionError {
            message: format!("{warning}{finding}"),
            ..UserFunctionError::default()
        },
        Family::AkkaServerless => UserFunctionError {
            message: format!("{warning}{}", finding.text),
            ..in_fields(finding)
        },
        Family::Kalix => UserFunctionError {
            message: finding.text.clone(),
            severity: match weight {
                Weight::Error => Severity::Error.into(),
                Weight::Warning => Severity::Warning.into(),
            },
            ..in_fields(finding)
        },
    }
}

/// Code and place, which these SDKs print themselves.
fn in_fields(finding: &Finding) -> UserFunctionError {
    let location = finding.location.as_ref().map(|at| SourceLocation {
        file_name: at.file.clone(),
        start_line: signed(at.line),
        start_col: signed(at.column),
        end_line: signed(at.line),
        end_col: signed(at.column.saturating_add(1)),
        proto_path: Vec::new(),
    });
    UserFunctionError {
        code: finding.code.to_string(),
        source_locations: location.into_iter().collect(),
        ..UserFunctionError::default()
    }
}

fn signed(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}
