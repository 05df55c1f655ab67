//! The URL of a database.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use firn_model::code::Code;
use tokio_postgres::Config;
use tokio_postgres::config::{Host, LoadBalanceHosts};

use super::tls::Security;

/// How long a connection may be silent before it is asked whether it is still there.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(5);

/// The parameter that says otherwise.
const KEEPALIVES_IDLE: &str = "keepalives_idle=";

/// How long the system goes on with bytes that nobody confirms before the connection is lost.
const UNCONFIRMED_MAX: Duration = Duration::from_secs(20);

/// How a URL begins.
const SCHEMES: [&str; 2] = ["postgres://", "postgresql://"];

/// What to do about a URL that is of another form.
const SHAPE: &str = "write postgres://USER:PASSWORD@HOST:PORT/DATABASE, parameters behind ?";

/// What to do about a password that is not escaped.
const ESCAPE: &str = "write @ as %40 in user and password, / as %2F and ? as %3F";

/// Where a database is and how to get in. Shown without its password.
#[derive(Clone)]
pub struct Url {
    pub(super) config: Config,
    pub(super) tls: Option<Security>,
}

/// Why a text is no URL of a database. It never shows a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{fault}")]
pub struct UrlError {
    fault: String,
    remedy: &'static str,
}

impl UrlError {
    /// The stable code.
    pub fn code(&self) -> Code {
        Code::DatabaseUrl
    }

    /// What to do about it, in one line.
    pub fn remedy(&self) -> &'static str {
        self.remedy
    }
}

impl UrlError {
    fn new(fault: impl Into<String>, remedy: &'static str) -> Self {
        let fault = fault.into();
        Self { fault, remedy }
    }

    /// Something is missing, or the library cannot read it.
    fn misshapen(fault: impl Into<String>) -> Self {
        Self::new(fault, SHAPE)
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
        if !SCHEMES.iter().any(|scheme| place.starts_with(scheme)) {
            return Err(UrlError::misshapen("a URL begins with postgres://"));
        }
        if place.matches('@').count() > 1 {
            // What follows upon the first would be taken, and shown, as a host.
            return Err(UrlError::new("it names a host with @ in it", ESCAPE));
        }
        if !place.contains('@') && query.contains('@') {
            return Err(UrlError::new(
                "its parameters begin before its host",
                ESCAPE,
            ));
        }
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
            .map_err(|error: tokio_postgres::Error| UrlError::misshapen(told(&error)))?;
        if config.get_hosts().is_empty() {
            return Err(UrlError::misshapen("it names no host"));
        }
        let has_at = |host: &Host| matches!(host, Host::Tcp(name) if name.contains('@'));
        if config.get_hosts().iter().any(has_at) {
            return Err(UrlError::new("it names a host with @ in it", ESCAPE));
        }
        let hosts = config.get_hosts().len();
        for (what, count) in [
            ("ports", config.get_ports().len()),
            ("addresses", config.get_hostaddrs().len()),
        ] {
            let is_shared = what == "ports" && count == 1;
            if count > 0 && count != hosts && !is_shared {
                let fault = format!("it names {hosts} hosts and {count} {what}");
                return Err(UrlError::new(fault, "name as many as there are hosts"));
            }
        }
        if config.get_user().is_none() {
            return Err(UrlError::misshapen("it names no user"));
        }
        if config.get_application_name().is_none() {
            config.application_name("firn");
        }
        if !others
            .iter()
            .any(|other| other.starts_with(KEEPALIVES_IDLE))
        {
            config.keepalives_idle(KEEPALIVE_AFTER);
        }
        if config.get_tcp_user_timeout().is_none() {
            config.tcp_user_timeout(UNCONFIRMED_MAX);
        }
        Ok(Self { config, tls })
    }

    /// The same way in, to each of the hosts alone, in the order in which they are to be tried.
    pub(super) fn hosts(&self) -> Vec<Config> {
        let count = self.config.get_hosts().len().max(1);
        let mut places: Vec<usize> = (0..count).collect();
        if self.config.get_load_balance_hosts() == LoadBalanceHosts::Random {
            // Without a random number the first is as good as any.
            places.rotate_left(getrandom::u64().map_or(0, |drawn| drawn as usize % count));
        }
        places.into_iter().map(|place| self.host(place)).collect()
    }

    fn host(&self, place: usize) -> Config {
        let all = &self.config;
        let mut one = Config::new();
        match all.get_hosts().get(place) {
            Some(Host::Tcp(name)) => one.host(name),
            Some(Host::Unix(path)) => one.host_path(path),
            None => &mut one,
        };
        if let Some(address) = all.get_hostaddrs().get(place) {
            one.hostaddr(*address);
        }
        if let Some(port) = all.get_ports().get(place).or(all.get_ports().first()) {
            one.port(*port);
        }
        if let Some(user) = all.get_user() {
            one.user(user);
        }
        if let Some(password) = all.get_password() {
            one.password(password);
        }
        if let Some(name) = all.get_dbname() {
            one.dbname(name);
        }
        if let Some(options) = all.get_options() {
            one.options(options);
        }
        if let Some(name) = all.get_application_name() {
            one.application_name(name);
        }
        if let Some(limit) = all.get_connect_timeout() {
            one.connect_timeout(*limit);
        }
        if let Some(limit) = all.get_tcp_user_timeout() {
            one.tcp_user_timeout(*limit);
        }
        if let Some(interval) = all.get_keepalives_interval() {
            one.keepalives_interval(interval);
        }
        if let Some(retries) = all.get_keepalives_retries() {
            one.keepalives_retries(retries);
        }
        one.keepalives(all.get_keepalives())
            .keepalives_idle(all.get_keepalives_idle())
            .ssl_mode(all.get_ssl_mode())
            .ssl_negotiation(all.get_ssl_negotiation())
            .target_session_attrs(all.get_target_session_attrs())
            .channel_binding(all.get_channel_binding())
            .load_balance_hosts(all.get_load_balance_hosts());
        one
    }
}

fn security(mode: Option<&str>, roots: Option<PathBuf>) -> Result<Option<Security>, UrlError> {
    match (mode, roots) {
        (None | Some("disable"), None) => Ok(None),
        (Some("require"), None) => Ok(Some(Security::Encrypted)),
        (Some("verify-full"), roots) => Ok(Some(Security::Verified(roots))),
        (None | Some("disable" | "require"), Some(_)) => Err(UrlError::new(
            "sslrootcert is of use with sslmode=verify-full only",
            "add sslmode=verify-full, or leave sslrootcert out",
        )),
        (Some(other), _) => Err(UrlError::new(
            format!("sslmode is {other:?}"),
            "write sslmode=disable, require or verify-full",
        )),
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

    /// Nothing that the URL says is left out on the way to one of its hosts.
    #[test]
    fn hosts_are_reached_with_all_that_the_url_says() {
        let all = "keepalives=0&keepalives_idle=7&keepalives_interval=8&keepalives_retries=9\
                   &tcp_user_timeout=10&connect_timeout=11&application_name=shop&options=-cjit%3Doff\
                   &target_session_attrs=read-write&channel_binding=disable&load_balance_hosts=random\
                   &sslnegotiation=direct&sslmode=require";
        for parameters in ["", all] {
            let text = format!("postgres://u:secret@h:1/d?{parameters}");
            let url = Url::parse(&text).unwrap();
            assert_eq!(url.hosts(), [url.config], "{parameters}");
        }
        let url = Url::parse("postgres://u@one:1,%2Frun:2,three:3/d").unwrap();
        let hosts: Vec<_> = url
            .hosts()
            .iter()
            .map(|host| (host.get_hosts().to_vec(), host.get_ports().to_vec()))
            .collect();
        let tcp = |name: &str| vec![Host::Tcp(name.to_owned())];
        assert_eq!(
            hosts,
            [
                (tcp("one"), vec![1]),
                (vec![Host::Unix("/run".into())], vec![2]),
                (tcp("three"), vec![3])
            ]
        );
        let idle = |parameters: &str| {
            let url = Url::parse(&format!("postgres://u@h/d?{parameters}")).unwrap();
            let config = url.config;
            (
                config.get_keepalives_idle(),
                config.get_tcp_user_timeout().copied(),
            )
        };
        assert_eq!(idle(""), (KEEPALIVE_AFTER, Some(UNCONFIRMED_MAX)));
        let said = (Duration::from_secs(90), Some(Duration::from_secs(60)));
        assert_eq!(idle("keepalives_idle=90&tcp_user_timeout=60"), said);
    }

    #[test]
    fn faults_say_what_is_wrong_and_no_password() {
        let check = |text: &str, expected: &str| {
            let error = Url::parse(text).unwrap_err();
            assert_eq!(error.code(), Code::DatabaseUrl);
            assert!(!error.remedy().is_empty());
            let fault = error.to_string();
            assert!(fault.contains(expected), "{fault}");
            assert!(!fault.contains("secret"), "{fault}");
        };
        check("postgres://u:secret@h/d?sslmode=maybe", "sslmode");
        check("postgres://u:secret@h/d?sslrootcert=/ca.pem", "sslrootcert");
        check("postgres://u:secret@h/d?colour=blue", "colour");
        check("postgres://u:secret@h:port/d", "port");
        check("postgres://u@h:1,i:2/d?port=3", "2 hosts and 3 ports");
        check(
            "postgres://u@h,i/d?hostaddr=127.0.0.1",
            "2 hosts and 1 addresses",
        );
        check(
            "postgres://u@h/d?password=secret&sslmode=maybe",
            "sslmode is \"maybe\"",
        );
        check("postgres:/h?password=secret", "begins with postgres://");
        check("postgresql:u:secret@h/d", "begins with postgres://");
        for text in [
            "postgres://u:a@secret@h/d",
            "postgres://u:a@secret@h,i:2/d?sslmode=require",
            "postgres://u:a@secret,secret@h/d",
            "postgres://u:a@h/d?host=b@secret",
        ] {
            check(text, "a host with @");
            assert!(Url::parse(text).unwrap_err().remedy().contains("%40"));
        }
        check("postgres://u:a?secret=secret@h/d", "before its host");
        check("postgres:///d?user=u", "host");
        check("postgres://h/d", "user");
    }
}
