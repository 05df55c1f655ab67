//! The schema and its versions.
//!
//! The version stands in a row that is locked while migrations run, so of several processes that
//! start at once one migrates and the others find it done. Each migration is one file and never
//! changes once it was released. What the tables mean is in `docs/stores/postgres.md`.

use std::borrow::Cow;

use tokio_postgres::Error;
use tokio_postgres::error::SqlState;

use super::connection::Session;
use super::error::OpenError;
use super::url::told;

/// Every migration in order; the version of a schema is how many of them it has had.
pub(super) const MIGRATIONS: &[&str] = &[
    include_str!("schema/0001.sql"),
    include_str!("schema/0002.sql"),
];

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
    bring(session, migrate, MIGRATIONS).await
}

/// Brings the schema to the version that these migrations come to, or finds that it has it.
pub(super) async fn bring(
    session: &Session,
    migrate: Migrate,
    migrations: &[&str],
) -> Result<(), OpenError> {
    let known = version_of(migrations);
    let found = version(session)
        .await
        .map_err(|error| OpenError::statement(&error))?;
    if found > known {
        return Err(OpenError::SchemaNewer { found, known });
    }
    if found == known {
        return Ok(());
    }
    match migrate {
        Migrate::Check => Err(OpenError::SchemaOlder { found, known }),
        Migrate::Auto => run(session, migrations).await,
    }
}

fn version_of(migrations: &[&str]) -> i32 {
    i32::try_from(migrations.len()).unwrap_or(i32::MAX)
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

async fn run(session: &Session, migrations: &[&str]) -> Result<(), OpenError> {
    let client = session.client();
    let failed = |error: &Error| failed(error, version_of(migrations));
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
    match migrated(session, migrations).await {
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
async fn migrated(session: &Session, migrations: &[&str]) -> Result<(), OpenError> {
    let client = session.client();
    let known = version_of(migrations);
    let failed = |error: &Error| failed(error, known);
    let lock = "SELECT version FROM firn_schema WHERE one = 1 FOR UPDATE";
    let row = client
        .query_one(lock, &[])
        .await
        .map_err(|error| failed(&error))?;
    let found: i32 = row.get(0);
    if found > known {
        return Err(OpenError::SchemaNewer { found, known });
    }
    let version = client
        .query_one("SELECT version()", &[])
        .await
        .map_err(|error| failed(&error))?;
    let version: String = version.get(0);
    for migration in migrations
        .iter()
        .skip(usize::try_from(found).unwrap_or_default())
    {
        client
            .batch_execute(&for_server(migration, &version))
            .await
            .map_err(|error| failed(&error))?;
    }
    let advance = "UPDATE firn_schema SET version = $1 WHERE one = 1";
    client
        .execute(advance, &[&known])
        .await
        .map_err(|error| failed(&error))?;
    Ok(())
}

/// A migration as this server takes it. CockroachDB makes no columns with `COLLATE "C"`, and orders text
/// by its bytes without it.
fn for_server<'a>(migration: &'a str, version: &str) -> Cow<'a, str> {
    match version.starts_with("CockroachDB") {
        true => Cow::Owned(migration.replace(" COLLATE \"C\"", "")),
        false => Cow::Borrowed(migration),
    }
}

fn is_twice(error: &Error) -> bool {
    matches!(
        error.code(),
        Some(
            &SqlState::UNIQUE_VIOLATION | &SqlState::DUPLICATE_TABLE | &SqlState::DUPLICATE_OBJECT
        )
    )
}

fn failed(error: &Error, known: i32) -> OpenError {
    match OpenError::statement(error) {
        read_only @ OpenError::ReadOnly { .. } => read_only,
        _ => OpenError::MigrationFailed {
            known,
            cause: told(error),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn collations_are_left_out_for_a_server_that_takes_none() {
        let made = "CREATE TABLE t (id text COLLATE \"C\" NOT NULL, other text COLLATE \"C\")";
        let check = |version, expected| assert_eq!(for_server(made, version), expected);
        check("PostgreSQL 15.18 on x86_64-pc-linux-gnu", made);
        check(
            "CockroachDB CCL v24.1.0 (x86_64-pc-linux-gnu, built 2024/05/15)",
            "CREATE TABLE t (id text NOT NULL, other text)",
        );
        for migration in MIGRATIONS {
            assert!(!for_server(migration, "CockroachDB").contains("COLLATE"));
        }
    }
}
