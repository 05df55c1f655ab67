//! Calls of a function through Firn: carried out by the engine, one task each (R70 to R74).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use firn_model::code::Code;
use firn_model::status::{GrpcCode, Status};
use firn_runtime::calls::{Calls, OwnCall, Within};
use firn_wire::v1::convert;
use firn_wire::v1::message::Target;
use tokio::task::AbortHandle;
use tokio_util::task::TaskTracker;

use super::hub::Connection;

/// The calls that are under way on a connection. Dropping it ends them.
pub(crate) struct UnderWay {
    connection: Arc<Connection>,
    calls: Arc<dyn Calls>,
    tasks: TaskTracker,
    open: Arc<Mutex<HashMap<u64, AbortHandle>>>,
}

impl UnderWay {
    pub(crate) fn new(
        connection: Arc<Connection>,
        calls: Arc<dyn Calls>,
        tasks: TaskTracker,
    ) -> Self {
        Self {
            connection,
            calls,
            tasks,
            open: Arc::default(),
        }
    }

    /// Carries out a call.
    pub(crate) fn begin(&self, id: u64, within: Option<Within>, target: Target, timeout_ms: u64) {
        let timeout = (timeout_ms > 0).then(|| Duration::from_millis(timeout_ms));
        let call = self.calls.call(OwnCall {
            target: convert::read_target(target),
            timeout,
            within,
        });
        let (connection, open) = (self.connection.clone(), self.open.clone());
        // Held until the call is noted, so that its end finds it.
        let mut noted = lock(&self.open);
        let task = self.tasks.spawn(async move {
            let result = call.await;
            if lock(&open).remove(&id).is_some() {
                connection
                    .lock()
                    .call_result(id, result.as_ref().map(Clone::clone));
            }
        });
        noted.insert(id, task.abort_handle());
    }

    /// The function does not wait for a call any more.
    pub(crate) fn cancel(&self, id: u64) {
        let open = lock(&self.open).remove(&id);
        if let Some(task) = open {
            task.abort();
            let status = Status::refused(
                GrpcCode::Cancelled,
                Code::FunctionFailed,
                "the function cancelled its call",
            );
            self.connection.lock().call_result(id, Err(&status));
        }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        for (_, task) in lock(&self.open).drain() {
            task.abort();
        }
    }
}

fn lock(
    open: &Mutex<HashMap<u64, AbortHandle>>,
) -> std::sync::MutexGuard<'_, HashMap<u64, AbortHandle>> {
    // A map is whole between two operations.
    open.lock().unwrap_or_else(PoisonError::into_inner)
}
