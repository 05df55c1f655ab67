//! The schema and its versions.
//!
//! The version stands in a row that is locked while migrations run, so of several processes that
//! start at once one migrates and the others find it done. Each migration is one file and never
//! changes once it was released. What the tables mean is in `docs/stores/postgres.md`.

use tokio_postgres::Error;
use tokio_postgres::error::SqlState;

use super::connection::Session;
use super::error::OpenError;
use super::url::told;

/// Every migration in order; the version of a schema is how many of them it has had.
const MIGRATIONS: &[&str] = &[include_str!("schema/0001.sql")];

/// The version that this Firn needs.
pub(super) const VERSION: i32 = MIGRATIONS.len() as i32;

/// The oldest server that is served, as `server_version_num` counts.
const SERVER_VERSION_MIN: i32 = 13_00_00;

/// Whether the schema may be changed at the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Migrate {
    /// It is made, and brought to the version that is needed.
    #[default]
    Auto,
    /// It must have the version that is needed.
    Check,
}

const VERSION_TABLE: &str = "\
CREATE TABLE IF NOT EXISTS firn_schema (
    one     int4 PRIMARY KEY CHECK (one = 1),
    version int4 NOT NULL
)";

const VERSION_ROW: &str = "\
INSERT INTO firn_schema (one, version) VALUES (1, 0) ON CONFLICT (one) DO NOTHING";

/// Checks server and schema, and migrates if that is allowed and needed.
pub(super) async fn prepare(session: &Session, migrate: Migrate) -> Result<(), OpenError> {
    check_server(session).await?;
    let found = version(session)
        .await
        .map_err(|error| OpenError::statement(&error))?;
    if found > VERSION {
        return Err(newer(found));
    }
    if found == VERSION {
        return Ok(());
    }
    match migrate {
        Migrate::Check => Err(OpenError::SchemaOlder {
            found,
            known: VERSION,
        }),
        Migrate::Auto => run(session).await,
    }
}

async fn check_server(session: &Session) -> Result<(), OpenError> {
    let asked = "SELECT current_setting('server_version_num')::int4, \
                 current_setting('server_version'), current_setting('server_encoding')";
    let row = session.client().query_one(asked, &[]).await;
    let row = row.map_err(|error| OpenError::statement(&error))?;
    let (number, version): (i32, String) = (row.get(0), row.get(1));
    if number < SERVER_VERSION_MIN {
        let cause = format!("the server has version {version}");
        return Err(OpenError::Unfit { cause });
    }
    match row.get(2) {
        "UTF8" => Ok(()),
        other => Err(OpenError::Unfit {
            cause: format!("its encoding is {other}"),
        }),
    }
}

/// The version of the schema; 0 if there is none.
async fn version(session: &Session) -> Result<i32, Error> {
    let found = session
        .client()
        .query_opt("SELECT version FROM firn_schema", &[])
        .await;
    match found {
        Ok(row) => row.map_or(Ok(0), |row| row.try_get(0)),
        Err(error) if error.code() == Some(&SqlState::UNDEFINED_TABLE) => Ok(0),
        Err(error) => Err(error),
    }
}

async fn run(session: &Session) -> Result<(), OpenError> {
    let client = session.client();
    let made = client.batch_execute(VERSION_TABLE).await;
    if let Err(error) = made {
        // Another process may have made it at the same moment.
        if version(session).await.is_err() || !is_twice(&error) {
            return Err(failed(&error));
        }
    }
    client
        .batch_execute(VERSION_ROW)
        .await
        .map_err(|error| failed(&error))?;
    client
        .batch_execute("BEGIN")
        .await
        .map_err(|error| failed(&error))?;
    match migrated(session).await {
        Ok(()) => client
            .batch_execute("COMMIT")
            .await
            .map_err(|error| failed(&error)),
        Err(error) => {
            // The first error is the one to tell.
            let _ = client.batch_execute("ROLLBACK").await;
            Err(error)
        }
    }
}

/// Brings the schema to this version while its row is locked.
async fn migrated(session: &Session) -> Result<(), OpenError> {
    let client = session.client();
    let lock = "SELECT version FROM firn_schema WHERE one = 1 FOR UPDATE";
    let row = client
        .query_one(lock, &[])
        .await
        .map_err(|error| failed(&error))?;
    let found: i32 = row.get(0);
    if found > VERSION {
        return Err(newer(found));
    }
    for migration in MIGRATIONS
        .iter()
        .skip(usize::try_from(found).unwrap_or_default())
    {
        client
            .batch_execute(migration)
            .await
            .map_err(|error| failed(&error))?;
    }
    let advance = "UPDATE firn_schema SET version = $1 WHERE one = 1";
    client
        .execute(advance, &[&VERSION])
        .await
        .map_err(|error| failed(&error))?;
    Ok(())
}

fn is_twice(error: &Error) -> bool {
    matches!(
        error.code(),
        Some(
            &SqlState::UNIQUE_VIOLATION | &SqlState::DUPLICATE_TABLE | &SqlState::DUPLICATE_OBJECT
        )
    )
}

fn newer(found: i32) -> OpenError {
    OpenError::SchemaNewer {
        found,
        known: VERSION,
    }
}

fn failed(error: &Error) -> OpenError {
    match OpenError::statement(error) {
        read_only @ OpenError::ReadOnly { .. } => read_only,
        _ => OpenError::MigrationFailed {
            known: VERSION,
            cause: told(error),
        },
    }
}
