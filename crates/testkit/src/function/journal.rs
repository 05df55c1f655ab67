//! Everything that a scripted function was asked, in order.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use firn_wire::superset::{ProxyInfo, UserFunctionError};
use http::HeaderMap;
use tokio::sync::watch;

use super::WAIT;

/// Something that was asked of the function.
#[derive(Debug, Clone)]
#[expect(clippy::large_enum_variant, reason = "a test holds few")]
pub enum Record {
    /// It was asked what it declares, in its own dialect.
    Discovered {
        /// What the proxy said about itself.
        info: ProxyInfo,
        /// The headers of the call.
        headers: HeaderMap,
    },
    /// It was asked what it declares in another dialect.
    Probed(String),
    /// It was told about an error of its own.
    Reported(UserFunctionError),
    /// It was asked whether it is alive.
    HealthChecked,
    /// It was told that the proxy ends.
    ProxyTerminated,
    /// A stream or action call was opened at this path.
    Opened(String),
    /// The proxy half-closed it.
    HalfClosed(String),
    /// The proxy reset it.
    Reset(String),
    /// A path that its protocol does not name.
    Unknown(String),
}

/// The records of a function.
pub(super) struct Journal {
    records: Mutex<Vec<Record>>,
    count: watch::Sender<usize>,
}

impl Journal {
    pub(super) fn new() -> Self {
        Self {
            records: Mutex::default(),
            count: watch::Sender::new(0),
        }
    }

    pub(super) fn add(&self, record: Record) {
        let mut records = self.lock();
        records.push(record);
        self.count.send_replace(records.len());
    }

    pub(super) fn records(&self) -> Vec<Record> {
        self.lock().clone()
    }

    pub(super) async fn wait_for<T>(&self, what: &str, look: impl Fn(&[Record]) -> Option<T>) -> T {
        let mut count = self.count.subscribe();
        let found = async {
            loop {
                count.borrow_and_update();
                if let Some(found) = look(&self.lock()) {
                    return found;
                }
                // The sender lives as long as this journal.
                let _ = count.changed().await;
            }
        };
        match tokio::time::timeout(WAIT, found).await {
            Ok(found) => found,
            Err(_) => panic!("waited {WAIT:?} for {what}; {self}"),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Record>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Display for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "the function was asked:")?;
        for record in self.lock().iter() {
            writeln!(f, "  {record:?}")?;
        }
        Ok(())
    }
}
