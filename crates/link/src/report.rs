//! Reports: what a function is told about itself.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use firn_model::contract::{Finding, Weight};
use firn_wire::convert::discovery;
use firn_wire::dialect::Dialect;
use firn_wire::superset::UserFunctionError;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use crate::connection::Connection;
use crate::stream::cause;

/// How long the function may take to answer a call of the discovery service that nobody waits for.
pub(crate) const COURTESY: Duration = Duration::from_secs(5);

/// How many different things a function is told while it is connected. What it is told about calls
/// may hold text of its own, so this bounds memory; who has heard so many knows that much is wrong.
const TOLD_MAX: usize = 500;

/// Tells a function about itself. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Reporter {
    connection: Connection,
    dialect: &'static Dialect,
    tasks: TaskTracker,
    told: Arc<Mutex<HashSet<String>>>,
}

impl Reporter {
    pub(crate) fn new(
        connection: Connection,
        dialect: &'static Dialect,
        tasks: TaskTracker,
    ) -> Self {
        Self {
            connection,
            dialect,
            tasks,
            told: Arc::default(),
        }
    }

    /// Tells the operator and the function, if it was not told on this connection.
    pub(crate) fn report_once(&self, weight: Weight, finding: &Finding) {
        if self.is_news(finding) {
            warn!(code = %finding.code, "{}", finding.text);
            self.tell(weight, finding);
        }
    }

    /// Tells the function alone. The outcome is of no interest.
    pub(crate) fn tell(&self, weight: Weight, finding: &Finding) {
        let error = discovery::report(self.dialect, finding, weight);
        let (connection, path) = (self.connection.clone(), self.dialect.discovery.report_error);
        self.tasks.spawn(async move {
            let told = connection.unary::<UserFunctionError, ()>(path, error);
            if let Ok(Err(status)) = tokio::time::timeout(COURTESY, told).await {
                // One SDK always fails this call, after it has printed the text.
                debug!("the function did not take a report: {}", cause(&status));
            }
        });
    }

    fn is_news(&self, finding: &Finding) -> bool {
        // A set is whole between two operations.
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.len() < TOLD_MAX && told.insert(finding.to_string())
    }
}
