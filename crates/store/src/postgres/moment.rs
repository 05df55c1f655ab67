//! The tables as they are at one moment, whoever writes meanwhile: read from beginning to end, a few
//! rows at a time.

use std::pin::Pin;

use futures_util::StreamExt as _;
use futures_util::stream::Fuse;
use tokio_postgres::{Error, Row, RowStream};

use super::connection::Session;
use super::url::{Url, told};
use crate::ReadError;
use crate::archive::BATCH_BYTES;

/// Repeatable read sees one state of everything, from its first statement on. It locks nothing that
/// others write, and whoever takes the rows may be slow.
const BEGIN: &str = "\
BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;
SET LOCAL idle_in_transaction_session_timeout = 0; SELECT 1 FROM firn_schema";

/// A connection and a transaction that sees one state of everything.
pub(super) struct Moment {
    session: Session,
    /// The rows of a statement that are under way. What is not taken of them makes the server wait.
    rows: Option<Pin<Box<Fuse<RowStream>>>>,
}

/// No statement takes parameters.
const NONE: [&str; 0] = [];

impl Moment {
    pub(super) async fn of(url: &Url) -> Result<Self, ReadError> {
        let session = Session::connect(url).await;
        let session = session.map_err(|error| ReadError::Unavailable {
            cause: told(&error),
        })?;
        let begun = session.client().batch_execute(BEGIN).await;
        begun.map_err(|error| unavailable(&error))?;
        Ok(Self {
            session,
            rows: None,
        })
    }

    /// Settings for its statements, which hold as long as it does.
    pub(super) async fn plan(&self, settings: &str) -> Result<(), ReadError> {
        let set = self.session.client().batch_execute(settings).await;
        set.map_err(|error| unavailable(&error))
    }

    /// The next rows of a statement, about [`BATCH_BYTES`] of them; none at its end, after which
    /// another may follow.
    pub(super) async fn rows(&mut self, sql: &str) -> Result<Vec<Row>, ReadError> {
        let rows = self.try_rows(sql).await;
        rows.map_err(|error| unavailable(&error))
    }

    async fn try_rows(&mut self, sql: &str) -> Result<Vec<Row>, Error> {
        let rows = match &mut self.rows {
            Some(rows) => rows,
            none => {
                let rows = self.session.client().query_raw(sql, NONE).await?;
                none.insert(Box::pin(rows.fuse()))
            }
        };
        let (mut taken, mut bytes) = (Vec::new(), 0);
        while bytes < BATCH_BYTES
            && let Some(row) = rows.next().await
        {
            let row = row?;
            bytes += row.raw_size_bytes();
            taken.push(row);
        }
        if taken.is_empty() {
            self.rows = None;
        }
        Ok(taken)
    }
}

fn unavailable(error: &Error) -> ReadError {
    ReadError::Unavailable { cause: told(error) }
}
