//! What goes wrong with a database: why it cannot be opened, and what an error of it means.

use firn_model::code::Code;
use tokio_postgres::Error;
use tokio_postgres::error::{DbError, Severity, SqlState};

use super::connection::ConnectError;
use super::url::{Url, told};
use crate::ReadError;
use crate::seal::VerifyError;

/// Why a database cannot be opened as a store. Nothing was changed, unless a variant says so.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The server does not answer, or takes no connections now.
    #[error("{url} cannot be reached: {cause}")]
    Unreachable {
        /// Where it should be.
        url: String,
        /// The library's own words.
        cause: String,
    },
    /// The server refuses the user, the password or the database.
    #[error("{url} refuses the log-in: {cause}")]
    LoginRefused {
        /// Where it is.
        url: String,
        /// The server's own words.
        cause: String,
    },
    /// No secure connection can be made.
    #[error("{url} gives no connection as secure as sslmode asks for: {cause}")]
    Insecure {
        /// Where it is.
        url: String,
        /// What is wrong.
        cause: String,
    },
    /// The server is older than Firn can use, or is set up in a way that it cannot.
    #[error("the database cannot hold a store: {cause}")]
    Unfit {
        /// What is wrong with it.
        cause: String,
    },
    /// The schema was made by a newer Firn.
    #[error("the schema has version {found}, this Firn knows {known} and older")]
    SchemaNewer {
        /// The version in the database.
        found: i32,
        /// The newest that is known.
        known: i32,
    },
    /// The schema is missing or older, and may not be changed.
    #[error("the schema has version {found} and {known} is needed, and it may not be changed here")]
    SchemaOlder {
        /// The version in the database; 0 if there is none.
        found: i32,
        /// The version that is needed.
        known: i32,
    },
    /// The schema could not be made or changed. What was begun was rolled back.
    #[error("the schema cannot be brought to version {known}: {cause}")]
    MigrationFailed {
        /// The version that is needed.
        known: i32,
        /// The server's own words.
        cause: String,
    },
    /// The database takes no writes.
    #[error("the database takes no writes: {cause}")]
    ReadOnly {
        /// The server's own words.
        cause: String,
    },
    /// Other processes own slots and go on renewing their leases.
    #[error("{slots} slots belong to {owner}, whose lease runs on")]
    Taken {
        /// The first of the owners.
        owner: String,
        /// How many slots are missing.
        slots: usize,
    },
    /// It was not filled to the end.
    #[error("the database was not filled to the end")]
    Unfinished,
    /// It is to be filled, and somebody has used it already.
    #[error("the database is not empty")]
    NotEmpty,
    /// The database is sealed otherwise than the keys that were given.
    #[error(transparent)]
    Keys(#[from] VerifyError),
    /// Something in it cannot be read.
    #[error("damaged record in {place}: {fault}")]
    Damaged {
        /// Which row.
        place: String,
        /// What is wrong with it.
        fault: String,
    },
    /// The slots were taken away in the middle. What was done so far stays.
    #[error(transparent)]
    Deposed(#[from] Deposed),
    /// The database answered with an error, or not in time.
    #[error("the database fails: {cause}")]
    Failed {
        /// Its own words.
        cause: String,
    },
}

impl OpenError {
    /// The stable code.
    pub fn code(&self) -> Code {
        match self {
            Self::Unreachable { .. } | Self::Failed { .. } => Code::DatabaseUnreachable,
            Self::LoginRefused { .. } => Code::DatabaseLogin,
            Self::Insecure { .. } => Code::DatabaseInsecure,
            Self::Unfit { .. } => Code::DatabaseUnfit,
            Self::SchemaNewer { .. } => Code::SchemaNewer,
            Self::SchemaOlder { .. } => Code::SchemaOlder,
            Self::MigrationFailed { .. } => Code::MigrationFailed,
            Self::ReadOnly { .. } => Code::DatabaseReadOnly,
            Self::Taken { .. } => Code::SlotsTaken,
            Self::Unfinished => Code::RestoreUnfinished,
            Self::NotEmpty => Code::StoreNotEmpty,
            Self::Keys(error) => error.code(),
            Self::Damaged { .. } => Code::RecordDamaged,
            Self::Deposed(deposed) => deposed.code(),
        }
    }

    /// What to do about it, in one line.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Unreachable { .. } => "look whether the server runs and host and port are right",
            Self::LoginRefused { .. } => {
                "look at user, password and database in the URL, and at the server's pg_hba.conf"
            }
            Self::Insecure { .. } => {
                "look at the server's ssl setting and certificate, and at sslmode and sslrootcert"
            }
            Self::Unfit { .. } => "use PostgreSQL 13 or newer and a database with encoding UTF8",
            Self::SchemaNewer { .. } => "start the Firn that made it, or a newer one",
            Self::SchemaOlder { .. } => {
                "start a Firn once with --migrate=auto, which is the default"
            }
            Self::MigrationFailed { .. } => {
                "give the user the right to create tables, or migrate as one that has it"
            }
            Self::ReadOnly { .. } => {
                "name the primary server; it may have changed after a failover"
            }
            Self::Taken { .. } => "stop the other Firn, or give this one a database of its own",
            Self::Unfinished => "repeat firn store import",
            Self::NotEmpty => "import into another database or schema, or remove this one first",
            Self::Keys(error) => error.remedy(),
            Self::Damaged { .. } => "see what firn store check says",
            Self::Deposed(deposed) => deposed.remedy(),
            Self::Failed { .. } => "look at the server's log",
        }
    }

    /// From a connection that was not made.
    pub(super) fn connect(url: &Url, error: &ConnectError) -> Self {
        let (url, cause) = (url.to_string(), told(error));
        let state = match error {
            ConnectError::Refused(error) => error.code(),
            ConnectError::Tls(_) => return Self::Insecure { url, cause },
            ConnectError::Silent => None,
        };
        let is_login = state.is_some_and(|state| {
            let class = &state.code()[..2];
            class == "28" || *state == SqlState::INVALID_CATALOG_NAME || class == "42"
        });
        if is_login {
            Self::LoginRefused { url, cause }
        } else if cause.contains("TLS") {
            Self::Insecure { url, cause }
        } else if cause.contains("password") || cause.contains("authentication") {
            Self::LoginRefused { url, cause }
        } else {
            Self::Unreachable { url, cause }
        }
    }

    /// From something that could not be read.
    pub(super) fn unread(error: ReadError) -> Self {
        match error {
            ReadError::Damaged { place, fault } => Self::Damaged { place, fault },
            ReadError::Unavailable { cause } => Self::Failed { cause },
        }
    }

    /// From a statement that failed.
    pub(super) fn statement(error: &Error) -> Self {
        let cause = told(error);
        match error.code() {
            Some(&SqlState::READ_ONLY_SQL_TRANSACTION) => Self::ReadOnly { cause },
            _ => Self::Failed { cause },
        }
    }
}

/// Another process has taken slots of this one, whose lease had run out. What this one goes on to
/// write in them is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("another Firn has taken the slots of this one, whose lease had run out")]
pub struct Deposed;

impl Deposed {
    /// The stable code.
    pub fn code(self) -> Code {
        Code::SlotsLost
    }

    /// What to do about it, in one line.
    pub fn remedy(self) -> &'static str {
        "find out why this Firn or the database stood still, and start it again"
    }
}

/// What an error of a statement means for what it was to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    /// The connection is gone: whether it was written is not known.
    Lost,
    /// It was not written, and repeating it is all there is to do: the database gave way to another
    /// transaction.
    Repeat,
    /// It was not written, and may be later: the database has trouble of its own.
    Later,
    /// It was not written and never will be, as it stands.
    Never,
}

impl Meaning {
    pub(super) fn of(error: &Error) -> Self {
        let Some(told) = error.as_db_error() else {
            return Self::Lost;
        };
        let state = told.code();
        match (state, &state.code()[..2]) {
            // Whoever ends a connection says so after the outcome was decided, whichever it was; it
            // may also be a pool, whose server has gone.
            _ if ends_connection(told) => Self::Lost,
            (&SqlState::T_R_STATEMENT_COMPLETION_UNKNOWN, _) | (_, "08") => Self::Lost,
            (&SqlState::T_R_SERIALIZATION_FAILURE | &SqlState::T_R_DEADLOCK_DETECTED, _) => {
                Self::Repeat
            }
            // What the batch itself holds: data, constraints, syntax, limits of the program.
            (_, "22" | "23" | "42" | "54") => Self::Never,
            _ => Self::Later,
        }
    }
}

/// Whether the connection ends with this error. A server may say so in its own language, too.
fn ends_connection(told: &DbError) -> bool {
    match told.parsed_severity() {
        Some(severity) => matches!(severity, Severity::Fatal | Severity::Panic),
        None => matches!(told.severity(), "FATAL" | "PANIC"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cause_has_a_code_and_a_remedy() {
        let (url, cause) = (|| "postgres://h".to_owned(), || "cause".to_owned());
        let check = |error: OpenError, code| {
            assert_eq!(error.code(), code, "{error}");
            assert!(!error.remedy().is_empty());
        };
        check(
            OpenError::Unreachable {
                url: url(),
                cause: cause(),
            },
            Code::DatabaseUnreachable,
        );
        check(
            OpenError::Failed { cause: cause() },
            Code::DatabaseUnreachable,
        );
        check(
            OpenError::LoginRefused {
                url: url(),
                cause: cause(),
            },
            Code::DatabaseLogin,
        );
        check(
            OpenError::Insecure {
                url: url(),
                cause: cause(),
            },
            Code::DatabaseInsecure,
        );
        check(OpenError::Unfit { cause: cause() }, Code::DatabaseUnfit);
        check(
            OpenError::SchemaNewer { found: 2, known: 1 },
            Code::SchemaNewer,
        );
        check(
            OpenError::SchemaOlder { found: 0, known: 1 },
            Code::SchemaOlder,
        );
        check(
            OpenError::MigrationFailed {
                known: 1,
                cause: cause(),
            },
            Code::MigrationFailed,
        );
        check(
            OpenError::ReadOnly { cause: cause() },
            Code::DatabaseReadOnly,
        );
        check(
            OpenError::Taken {
                owner: cause(),
                slots: 1,
            },
            Code::SlotsTaken,
        );
        check(
            OpenError::Damaged {
                place: cause(),
                fault: cause(),
            },
            Code::RecordDamaged,
        );
        check(Deposed.into(), Code::SlotsLost);
        check(OpenError::Unfinished, Code::RestoreUnfinished);
        check(OpenError::NotEmpty, Code::StoreNotEmpty);
        check(VerifyError::Unsealed.into(), Code::StoreUnsealed);
        assert_eq!(Deposed.code(), Code::SlotsLost);
    }
}
