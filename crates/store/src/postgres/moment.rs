//! The tables as they are at one moment, whoever writes meanwhile: read from beginning to end, a few
//! rows at a time.

use tokio_postgres::{Error, Row};

use super::connection::Session;
use super::url::{Url, told};
use crate::ReadError;

/// How many rows are fetched at once: few enough for memory, however large states are.
const FETCH: &str = "FETCH 64 FROM firn_moment";

/// Repeatable read sees one state of everything, from its first statement on.
const BEGIN: &str = "\
BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SELECT 1 FROM firn_schema";

/// A connection and a transaction that sees one state of everything.
pub(super) struct Moment {
    session: Session,
    /// Whether rows of a statement are under way.
    is_open: bool,
}

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
            is_open: false,
        })
    }

    /// The next rows of a statement; none at its end, after which another may follow.
    pub(super) async fn rows(&mut self, sql: &str) -> Result<Vec<Row>, ReadError> {
        let rows = self.try_rows(sql).await;
        rows.map_err(|error| unavailable(&error))
    }

    async fn try_rows(&mut self, sql: &str) -> Result<Vec<Row>, Error> {
        let client = self.session.client();
        if !self.is_open {
            let cursor = format!("DECLARE firn_moment NO SCROLL CURSOR FOR {sql}");
            client.batch_execute(&cursor).await?;
            self.is_open = true;
        }
        let rows = client.query(FETCH, &[]).await?;
        if rows.is_empty() {
            client.batch_execute("CLOSE firn_moment").await?;
            self.is_open = false;
        }
        Ok(rows)
    }
}

fn unavailable(error: &Error) -> ReadError {
    ReadError::Unavailable { cause: told(error) }
}
