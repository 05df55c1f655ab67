//! The connections that read: each read takes one of them, and another try if it was lost.
//!
//! A connection that is lost is made anew by whoever needs it next. While that fails, those who wait
//! share the tries: between two there is a pause, which grows.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::Inner;
use super::connection::Session;
use super::error::Meaning;
use super::metrics::Use;
use super::url::told;
use super::writer::PAUSE_MAX;
use crate::ReadError;

/// Connections that read. Each serves many at once; several keep a large read from holding up all.
const READERS: usize = 2;

/// How long to wait before a read is tried again, and before the first connection after one that was
/// not made.
pub(super) const READ_PAUSE: Duration = Duration::from_millis(50);

// A read looks at each connection in turn, so it notices within a second that the server is back.
const _: () = assert!(PAUSE_MAX.as_millis() + READ_PAUSE.as_millis() * READERS as u128 <= 1_000);

/// The connections that read.
pub(super) struct Readers {
    readers: [Mutex<Reader>; READERS],
    next: AtomicUsize,
    /// How long a read is tried before the store is called unavailable.
    time: Duration,
}

/// One of them.
#[derive(Default)]
struct Reader {
    session: Option<Arc<Session>>,
    trouble: Option<Trouble>,
}

/// Why there is no connection, and until when nobody tries to make one.
struct Trouble {
    cause: String,
    until: Instant,
    pause: Duration,
}

impl Readers {
    /// The first is there, the others are made when they are needed. Reads are tried for `time`.
    pub(super) fn beginning_with(session: Session, time: Duration) -> Self {
        let first = Reader {
            session: Some(Arc::new(session)),
            trouble: None,
        };
        Self {
            readers: [Mutex::new(first), Mutex::default()],
            next: AtomicUsize::new(0),
            time,
        }
    }

    /// How many there may be.
    pub(super) fn max(&self) -> usize {
        self.readers.len()
    }
}

impl Reader {
    /// Notes that no connection could be made.
    fn failed(&mut self, cause: String) {
        let before = self.trouble.as_ref().map(|trouble| trouble.pause * 2);
        let pause = before.unwrap_or(READ_PAUSE).min(PAUSE_MAX);
        self.trouble = Some(Trouble {
            cause,
            until: Instant::now() + pause,
            pause,
        });
    }
}

impl Inner {
    /// Runs a statement over one of the connections that read, again if the connection was lost.
    pub(super) async fn rows(
        &self,
        statement: (&'static str, &'static str),
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, ReadError> {
        let until = Instant::now() + self.readers.time;
        let mut cause = "no answer in time".to_owned();
        loop {
            let turn = self.readers.next.fetch_add(1, Ordering::Relaxed) % READERS;
            let Ok(session) = timeout_at(until, self.reader(turn)).await else {
                return Err(ReadError::Unavailable { cause });
            };
            match session {
                Ok(session) => {
                    match timeout_at(until, session.query(statement, parameters)).await {
                        Ok(Ok(rows)) => return Ok(rows),
                        Ok(Err(error)) => {
                            cause = told(&error);
                            if Meaning::of(&error) == Meaning::Never {
                                return Err(ReadError::Unavailable { cause });
                            }
                        }
                        Err(_) => {
                            self.forget_reader(turn, &session);
                            return Err(ReadError::Unavailable { cause });
                        }
                    }
                }
                Err(told) => cause = told,
            }
            sleep(READ_PAUSE).await;
        }
    }

    /// One of the connections that read, made anew if it is known to be lost; not if that has failed
    /// just now.
    async fn reader(&self, turn: usize) -> Result<Arc<Session>, String> {
        let mut reader = self.readers.readers[turn].lock().await;
        if let Some(session) = reader.session.as_ref().filter(|it| !it.is_lost()) {
            return Ok(session.clone());
        }
        reader.session = None;
        if let Some(trouble) = reader.trouble.as_ref()
            && Instant::now() < trouble.until
        {
            return Err(trouble.cause.clone());
        }
        match self.counts.connect(&self.url, Use::Reads).await {
            Ok(session) => {
                reader.trouble = None;
                Ok(reader.session.insert(Arc::new(session)).clone())
            }
            Err(error) => {
                let cause = told(&error);
                reader.failed(cause.clone());
                Err(cause)
            }
        }
    }

    /// The network, or a pool, may have forgotten a connection that gives no answer in time. Others go
    /// on with what they have under way on it.
    fn forget_reader(&self, turn: usize, silent: &Arc<Session>) {
        // Who holds it makes it anew.
        if let Ok(mut reader) = self.readers.readers[turn].try_lock() {
            reader.session.take_if(|kept| Arc::ptr_eq(kept, silent));
        }
    }
}
