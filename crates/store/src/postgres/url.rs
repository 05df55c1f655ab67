//! The URL of a database.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use firn_model::code::Code;
use tokio_postgres::Config;
use tokio_postgres::config::Host;

use super::tls::Security;

/// How long a connection may be silent before it is asked whether it is still there.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(5);

/// How long the system goes on with bytes that nobody confirms before the connection is lost.
const UNCONFIRMED_MAX: Duration = Duration::from_secs(20);

/// Where a database is and how to get in. Shown without its password.
#[derive(Clone)]
pub struct Url {
    pub(super) config: Config,
    pub(super) tls: Option<Security>,
}

/// Why a text is no URL of a database. It never shows a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct UrlError(String);

impl UrlError {
    /// The stable code.
    pub fn code(&self) -> Code {
        Code::DatabaseUrl
    }
}

impl Url {
    /// Reads `postgres://USER:PASSWORD@HOST:PORT/DATABASE?PARAMETERS`. The parameters are those of
    /// PostgreSQL's own clients, `sslmode` (`disable`, `require`, `verify-full`) and `sslrootcert`
    /// among them.
    ///
    /// # Errors
    /// [`UrlError`], which tells what is wrong.
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        let (place, query) = text.split_once('?').unwrap_or((text, ""));
        let mut mode = None;
        let mut roots = None;
        let mut others = Vec::new();
        for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
            match parameter.split_once('=') {
                Some(("sslmode", value)) => mode = Some(value),
                Some(("sslrootcert", value)) => roots = Some(PathBuf::from(value)),
                _ => others.push(parameter),
            }
        }
        let tls = security(mode, roots)?;
        let own = if tls.is_some() { "require" } else { "disable" };
        let text = format!("{place}?sslmode={own}&{}", others.join("&"));
        let mut config: Config = text
            .trim_end_matches('&')
            .parse()
            .map_err(|error: tokio_postgres::Error| UrlError(told(&error)))?;
        if config.get_hosts().is_empty() {
            return Err(UrlError("it names no host".to_owned()));
        }
        if config.get_user().is_none() {
            return Err(UrlError("it names no user".to_owned()));
        }
        if config.get_application_name().is_none() {
            config.application_name("firn");
        }
        config.keepalives_idle(KEEPALIVE_AFTER);
        config.tcp_user_timeout(UNCONFIRMED_MAX);
        Ok(Self { config, tls })
    }
}

fn security(mode: Option<&str>, roots: Option<PathBuf>) -> Result<Option<Security>, UrlError> {
    match (mode, roots) {
        (None | Some("disable"), None) => Ok(None),
        (Some("require"), None) => Ok(Some(Security::Encrypted)),
        (Some("verify-full"), roots) => Ok(Some(Security::Verified(roots))),
        (None | Some("disable" | "require"), Some(_)) => Err(UrlError(
            "sslrootcert is of use with sslmode=verify-full only".to_owned(),
        )),
        (Some(other), _) => Err(UrlError(format!(
            "sslmode is {other:?}; expected disable, require or verify-full"
        ))),
    }
}

/// What an error of the library says, its causes included.
pub(super) fn told(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        cause = inner.source();
    }
    text
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let config = &self.config;
        write!(f, "postgres://{}@", config.get_user().unwrap_or_default())?;
        let ports = config.get_ports();
        for (place, host) in config.get_hosts().iter().enumerate() {
            let comma = if place > 0 { "," } else { "" };
            match host {
                Host::Tcp(name) => write!(f, "{comma}{name}")?,
                Host::Unix(path) => write!(f, "{comma}{}", path.display())?,
            }
            if let Some(port) = ports.get(place).or(ports.first()) {
                write!(f, ":{port}")?;
            }
        }
        write!(f, "/{}", config.get_dbname().unwrap_or_default())
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl PartialEq for Url {
    fn eq(&self, other: &Self) -> bool {
        self.config == other.config && self.tls == other.tls
    }
}

impl Eq for Url {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_and_shown_without_their_password() {
        let url = Url::parse("postgres://firn:secret@db.example:5433/state").unwrap();
        assert_eq!(url.to_string(), "postgres://firn@db.example:5433/state");
        assert_eq!(format!("{url:?}"), url.to_string());
        assert_eq!(url.tls, None);
        assert_eq!(url.config.get_password(), Some(&b"secret"[..]));
        let check = |parameters: &str, expected| {
            let url = Url::parse(&format!("postgres://u@h/d?{parameters}")).unwrap();
            assert_eq!(url.tls, expected, "{parameters}");
        };
        check("sslmode=disable", None);
        check(
            "sslmode=require&connect_timeout=3",
            Some(Security::Encrypted),
        );
        check("sslmode=verify-full", Some(Security::Verified(None)));
        let roots = Some(PathBuf::from("/ca.pem"));
        check(
            "sslmode=verify-full&sslrootcert=/ca.pem",
            Some(Security::Verified(roots)),
        );
    }

    #[test]
    fn faults_say_what_is_wrong_and_no_password() {
        let check = |text: &str, expected: &str| {
            let error = Url::parse(text).unwrap_err();
            assert_eq!(error.code(), Code::DatabaseUrl);
            let fault = error.to_string();
            assert!(fault.contains(expected), "{fault}");
            assert!(!fault.contains("secret"), "{fault}");
        };
        check("postgres://u:secret@h/d?sslmode=maybe", "sslmode");
        check("postgres://u:secret@h/d?sslrootcert=/ca.pem", "sslrootcert");
        check("postgres://u:secret@h/d?colour=blue", "colour");
        check("postgres://u:secret@h:port/d", "port");
        check("postgres:///d?user=u", "host");
        check("postgres://h/d", "user");
    }
}
