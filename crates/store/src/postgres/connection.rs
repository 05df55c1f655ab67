//! Connections: how they are made, and what is known of one.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Config, Error, NoTls, Row, Statement};

use super::metrics::{Busy, Open};
use super::tls::{Security, Tls};
use super::url::Url;

/// How long the making of a connection may take, log-in included, unless `connect_timeout` in the URL
/// says so of each host. Otherwise hosts have equal shares of it, as one that stands still says
/// nothing, and the next may be the one that has taken over from it.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(5);

/// What every connection wants of its server: reads and writes as the statements are made for, no
/// transaction that keeps rows locked when its client has gone without a word, and plans that hold for
/// tables of any size, as they are made once. What says how to plan is left out where it is unknown.
const SETTINGS: &str = "\
SET default_transaction_isolation = 'read committed';
SET client_min_messages = 'error';
SET idle_in_transaction_session_timeout = '5s';
SELECT set_config(w.name, w.value, false)
FROM (VALUES ('enable_seqscan', 'off'), ('enable_mergejoin', 'off'), ('jit', 'off'),
  ('plan_cache_mode', 'force_generic_plan')) AS w(name, value)
WHERE w.name IN (SELECT name FROM pg_settings)";

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    /// The server did not answer in time.
    #[error("no answer in time")]
    Silent,
    /// What TLS needs cannot be read.
    #[error("{0}")]
    Tls(io::Error),
    /// It was refused, by the server or on the way.
    #[error(transparent)]
    Refused(#[from] Error),
}

/// A connection, and the statements that it has prepared.
pub(super) struct Session {
    client: Client,
    /// Carries its bytes; ends with this value.
    carrier: JoinHandle<()>,
    statements: Mutex<HashMap<Name, Statement>>,
    /// Counts it, if it is one of those that serve; what carries it tells when it ends.
    counted: Arc<OnceLock<Open>>,
}

/// What a prepared statement is known by: what it does, and which parts it has.
type Name = (&'static str, u32);

impl Session {
    /// Connects to the first host that lets it in, within the runtime that is current.
    pub(super) async fn connect(url: &Url) -> Result<Self, ConnectError> {
        let hosts = url.hosts();
        let share = CONNECT_TIME_MAX / u32::try_from(hosts.len()).unwrap_or(u32::MAX);
        let mut failed = ConnectError::Silent;
        for host in &hosts {
            let limit = host.get_connect_timeout().copied().unwrap_or(share);
            match timeout(limit, Self::connected(host, url.tls.as_ref())).await {
                Ok(Ok(session)) => return Ok(session),
                Ok(Err(error)) => failed = error,
                Err(_) => failed = ConnectError::Silent,
            }
        }
        Err(failed)
    }

    async fn connected(host: &Config, security: Option<&Security>) -> Result<Self, ConnectError> {
        let counted = Arc::new(OnceLock::new());
        let (client, carrier) = match security {
            None => {
                let (client, connection) = host.connect(NoTls).await?;
                (client, tokio::spawn(ended(connection, counted.clone())))
            }
            Some(security) => {
                let tls = Tls::new(security).map_err(ConnectError::Tls)?;
                let (client, connection) = host.connect(tls).await?;
                (client, tokio::spawn(ended(connection, counted.clone())))
            }
        };
        let session = Self {
            client,
            carrier,
            statements: Mutex::default(),
            counted,
        };
        session.client.batch_execute(SETTINGS).await?;
        Ok(session)
    }

    /// This one, counted until it is lost or dropped.
    pub(super) fn counted(self, open: Open) -> Self {
        let open = self.counted.get_or_init(|| open);
        if self.is_lost() {
            // It ended before that could be noted.
            open.over();
        }
        self
    }

    /// Counts it among those that have something to do, for as long as this is held.
    pub(super) fn busy(&self) -> Option<Busy<'_>> {
        self.counted.get().map(Open::busy)
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// Whether it is known to be lost.
    pub(super) fn is_lost(&self) -> bool {
        self.client.is_closed()
    }

    /// The statement with this name, prepared from its text the first time.
    pub(super) async fn prepared(
        &self,
        name: Name,
        sql: impl FnOnce() -> String,
    ) -> Result<Statement, Error> {
        let statements = || {
            self.statements
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
        };
        let known = statements().get(&name).cloned();
        if let Some(known) = known {
            return Ok(known);
        }
        let statement = self.client.prepare(&sql()).await?;
        statements().insert(name, statement.clone());
        Ok(statement)
    }

    /// Runs a statement that has one form only, known by its name.
    pub(super) async fn query(
        &self,
        (name, sql): (&'static str, &'static str),
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Error> {
        let _busy = self.busy();
        let statement = self.prepared((name, 0), || sql.to_owned()).await?;
        self.client.query(&statement, parameters).await
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.carrier.abort();
        if let Some(open) = self.counted.get() {
            open.over();
        }
    }
}

/// Carries a connection to its end. Why it ended is told to whoever uses it then.
async fn ended(connection: impl Future<Output = Result<(), Error>>, counted: Arc<OnceLock<Open>>) {
    let _ = connection.await;
    if let Some(open) = counted.get() {
        open.over();
    }
}
