//! What the SDK tells: to people by default, to a program that wants it.

use crate::Code;
use crate::wire;

/// Something that Firn says is wrong, or soon may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The stable code, for example `FIRN-2006`.
    pub code: String,
    /// What is wrong.
    pub text: String,
    /// What to do about it.
    pub remedy: String,
    /// The service it is about; empty if none.
    pub service: String,
    /// Where in the files of the contract; empty if not known.
    pub location: String,
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.code, self.text)?;
        if !self.location.is_empty() {
            write!(f, " ({})", self.location)?;
        }
        if !self.remedy.is_empty() {
            write!(f, "; {}", self.remedy)?;
        }
        Ok(())
    }
}

impl From<wire::Finding> for Finding {
    fn from(finding: wire::Finding) -> Self {
        Self {
            code: finding.code,
            text: finding.text,
            remedy: finding.remedy,
            service: finding.service,
            location: finding.location,
        }
    }
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// It works, but probably not as meant.
    Warning,
    /// Something was refused.
    Error,
}

/// What became of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectionEvent<'a> {
    /// Firn serves the function.
    Connected {
        /// The version of Firn.
        firn: &'a str,
        /// Where clients come in.
        client_address: &'a str,
    },
    /// It was lost, or could not be made; it is dialed again.
    Lost {
        /// Why.
        cause: &'a str,
    },
    /// It ended in order.
    Ended,
}

/// A handler, for hooks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Handler<'a> {
    /// The full name of the service.
    pub service: &'a str,
    /// The method.
    pub method: &'a str,
    /// The id of the entity; empty in an action.
    pub entity_id: &'a str,
}

/// Hears what happens. Every method has a default: what a person should know is logged through
/// [`tracing`], the rest does nothing. The methods run inline and must be quick.
pub trait Hook: Send + Sync + 'static {
    /// Firn refused something, or warns.
    fn finding(&self, finding: &Finding, severity: Severity) {
        let Finding {
            code,
            text,
            remedy,
            service,
            location,
        } = finding;
        match severity {
            Severity::Warning => tracing::warn!(code, remedy, service, location, "{text}"),
            Severity::Error => tracing::error!(code, remedy, service, location, "{text}"),
        }
    }

    /// Something became of a connection.
    fn connection(&self, event: ConnectionEvent<'_>) {
        match event {
            ConnectionEvent::Connected {
                firn,
                client_address,
            } => tracing::info!(firn, client_address, "connected to Firn"),
            ConnectionEvent::Lost { cause } => {
                tracing::warn!(cause, "no connection to Firn; dialing again");
            }
            ConnectionEvent::Ended => tracing::info!("the connection to Firn ended"),
        }
    }

    /// A handler panicked, or the code that reads state did. The caller is told INTERNAL, without
    /// this detail.
    fn crashed(&self, handler: Handler<'_>, detail: &str) {
        let Handler {
            service,
            method,
            entity_id,
        } = handler;
        tracing::error!(service, method, entity_id, detail, "a handler failed");
    }

    /// A command is about to be handled.
    fn before(&self, _handler: Handler<'_>) {}

    /// A command was decided: with a failure's code, or none.
    fn after(&self, _handler: Handler<'_>, _failure: Option<Code>) {}
}

/// The defaults: logs through [`tracing`].
#[derive(Debug, Clone, Copy, Default)]
pub struct Log;

impl Hook for Log {}
