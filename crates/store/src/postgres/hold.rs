//! Having a database for oneself: transactions that are written only as long as an owner of slots is
//! still one.
//!
//! Whoever takes slots away removes the owner's row first. Here that row is locked in the transaction
//! that writes, so what is written comes before the slots have gone, or not at all.

use futures_util::future::join_all;
use tokio_postgres::Error;

use super::connection::Session;
use super::error::{Deposed, OpenError};
use super::statement::{Parameters, Rows};
use super::url::told;
use crate::ReadError;

const GUARD: &str = "SELECT 1 FROM firn_owners WHERE owner = $1 FOR UPDATE";

/// A connection that writes in the name of an owner.
pub(super) struct Hold {
    pub(super) session: Session,
    pub(super) owner: String,
}

/// Why nothing was written.
#[derive(Debug, thiserror::Error)]
pub(super) enum HoldError {
    /// The owner is one no more.
    #[error(transparent)]
    Lost(Deposed),
    /// The database refuses it, or the connection was lost.
    #[error("{}", told(.0))]
    Database(#[from] Error),
}

impl Hold {
    /// Begins a transaction that keeps the owner one until it ends.
    pub(super) async fn begin(&self) -> Result<(), HoldError> {
        let client = self.session.client();
        client.batch_execute("BEGIN").await?;
        match client.query_opt(GUARD, &[&self.owner]).await? {
            Some(_) => Ok(()),
            None => Err(HoldError::Lost(Deposed)),
        }
    }

    /// Ends the transaction.
    pub(super) async fn commit(&self) -> Result<(), HoldError> {
        Ok(self.session.client().batch_execute("COMMIT").await?)
    }

    /// Writes rows in one transaction, in their order; gives how many rows of tables that were. The
    /// statements are known by this name; a name has the same parts each time.
    pub(super) async fn write(
        &self,
        name: &'static str,
        rows: &[Rows<'_>],
    ) -> Result<u64, HoldError> {
        let mut statements = Vec::new();
        for (part, rows) in (0u32..).zip(rows).filter(|(_, rows)| !rows.is_empty()) {
            let statement = self.session.prepared((name, part), || rows.sql(1)).await?;
            let parameters: Parameters<'_> = rows.parameters().collect();
            statements.push((statement, parameters));
        }
        self.begin().await?;
        let client = self.session.client();
        let writing = statements
            .iter()
            .map(|(statement, parameters)| client.execute(statement, parameters));
        let written: Result<Vec<u64>, Error> = join_all(writing).await.into_iter().collect();
        let written = written?.iter().sum();
        self.commit().await?;
        Ok(written)
    }
}

impl From<HoldError> for OpenError {
    fn from(error: HoldError) -> Self {
        match error {
            HoldError::Lost(deposed) => Self::Deposed(deposed),
            HoldError::Database(error) => Self::statement(&error),
        }
    }
}

impl From<HoldError> for ReadError {
    fn from(error: HoldError) -> Self {
        Self::Unavailable {
            cause: error.to_string(),
        }
    }
}
