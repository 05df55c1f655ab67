//! The environment variables that users of the older proxies know.

use super::{Found, Sources};

/// The environment variables of the older proxies, for the help text; [`Sources::older`] reads them.
pub(super) fn older_names(setting: &str) -> &'static str {
    match setting {
        "listen" => ", HTTP_PORT",
        "function" => {
            ", USER_FUNCTION_HOST and USER_FUNCTION_PORT, USER_SERVICE_HOST and USER_SERVICE_PORT"
        }
        "function-listen" => ", PROXY_HTTP_PORT",
        _ => "",
    }
}

impl Sources<'_> {
    /// The environment variables that users of the older proxies know.
    pub(super) fn older(&self, name: &str) -> Option<Found> {
        let env = self.env;
        match name {
            "listen" => {
                let port = env("HTTP_PORT")?;
                Some(Found {
                    text: format!("0.0.0.0:{port}"),
                    origin: "HTTP_PORT".to_owned(),
                })
            }
            "function-listen" => {
                let port = env("PROXY_HTTP_PORT")?;
                Some(Found {
                    text: format!("127.0.0.1:{port}"),
                    origin: "PROXY_HTTP_PORT".to_owned(),
                })
            }
            "function" => ["USER_FUNCTION", "USER_SERVICE"].iter().find_map(|prefix| {
                let (host_name, port_name) = (format!("{prefix}_HOST"), format!("{prefix}_PORT"));
                let (host, port) = (env(&host_name), env(&port_name));
                if host.is_none() && port.is_none() {
                    return None;
                }
                let host = host.unwrap_or_else(|| "127.0.0.1".to_owned());
                let port = port.unwrap_or_else(|| "8080".to_owned());
                let origin = format!("{host_name} and {port_name}");
                Some(Found {
                    text: format!("{host}:{port}"),
                    origin,
                })
            }),
            _ => None,
        }
    }
}
