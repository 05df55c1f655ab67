//! Connections: how they are made, and what is known of one.

use std::collections::HashMap;
use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Error, NoTls, Row, Statement};

use super::metrics::{Busy, Open};
use super::tls::Tls;
use super::url::Url;

/// How long the making of a connection may take, log-in included.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(5);

/// What every connection wants of its server: reads and writes as the statements are made for, and
/// plans that hold for tables of any size, as they are made once.
const SETTINGS: &str = "\
SET default_transaction_isolation = 'read committed';
SET client_min_messages = 'error';
SET bytea_output = 'hex';
SET enable_seqscan = off;
SET enable_mergejoin = off;
SET jit = off;
SET plan_cache_mode = 'force_generic_plan'";

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    /// The server did not answer in time.
    #[error("no answer within {} s", CONNECT_TIME_MAX.as_secs())]
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
    /// Counts it, if it is one of those that serve.
    counted: Option<Open>,
}

/// What a prepared statement is known by: what it does, and which parts it has.
type Name = (&'static str, u32);

impl Session {
    /// Connects, within the runtime that is current.
    pub(super) async fn connect(url: &Url) -> Result<Self, ConnectError> {
        match timeout(CONNECT_TIME_MAX, Self::connected(url)).await {
            Ok(connected) => connected,
            Err(_) => Err(ConnectError::Silent),
        }
    }

    async fn connected(url: &Url) -> Result<Self, ConnectError> {
        let (client, carrier) = match &url.tls {
            None => {
                let (client, connection) = url.config.connect(NoTls).await?;
                (client, tokio::spawn(ended(connection)))
            }
            Some(security) => {
                let tls = Tls::new(security).map_err(ConnectError::Tls)?;
                let (client, connection) = url.config.connect(tls).await?;
                (client, tokio::spawn(ended(connection)))
            }
        };
        let session = Self {
            client,
            carrier,
            statements: Mutex::default(),
            counted: None,
        };
        session.client.batch_execute(SETTINGS).await?;
        Ok(session)
    }

    /// This one, counted for as long as it lives.
    pub(super) fn counted(mut self, open: Open) -> Self {
        self.counted = Some(open);
        self
    }

    /// Counts it among those that have something to do, for as long as this is held.
    pub(super) fn busy(&self) -> Option<Busy<'_>> {
        self.counted.as_ref().map(Open::busy)
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
    }
}

/// Carries a connection to its end. Why it ended is told to whoever uses it then.
async fn ended(connection: impl Future<Output = Result<(), Error>>) {
    let _ = connection.await;
}
