//! Calls of a function through Firn: carried out by the engine, one task each (R70 to R74).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use firn_model::code::Code;
use firn_model::status::{GrpcCode, Status};
use firn_runtime::calls::{Calls, OwnCall};
use firn_wire::v1::convert;
use tokio::task::AbortHandle;
use tokio_util::task::TaskTracker;

use super::hub::Connection;
use super::session::Calling;

/// The calls of a function that are under way on a connection.
pub(crate) struct OpenCalls {
    calls: Arc<dyn Calls>,
    tasks: TaskTracker,
    open: Mutex<HashMap<u64, AbortHandle>>,
}

impl OpenCalls {
    pub(crate) fn new(calls: Arc<dyn Calls>, tasks: TaskTracker) -> Self {
        Self {
            calls,
            tasks,
            open: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, AbortHandle>> {
        // A map is whole between two operations.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives all of them up.
    pub(crate) fn end(&self) {
        for (_, task) in self.lock().drain() {
            task.abort();
        }
    }
}

impl Connection {
    /// Carries out a call.
    pub(crate) fn begin_call(self: &Arc<Self>, call: Calling) {
        let Calling {
            id,
            within,
            target,
            timeout_ms,
        } = call;
        let timeout = (timeout_ms > 0).then(|| Duration::from_millis(timeout_ms));
        let called = self.calls.calls.call(OwnCall {
            target: convert::read_target(target),
            timeout,
            within,
        });
        let connection = self.clone();
        // Held until the call is noted, so that its end finds it.
        let mut noted = self.calls.lock();
        let task = self.calls.tasks.spawn(async move {
            let result = called.await;
            let was_open = connection.calls.lock().remove(&id).is_some();
            if was_open {
                connection.lock().call_result(id, result);
            }
        });
        noted.insert(id, task.abort_handle());
    }

    /// What waited at the gate may go out.
    pub(crate) fn pass(self: &Arc<Self>, number: u64) {
        let call = self.lock().pass(number);
        if let Some(call) = call {
            self.begin_call(call);
        }
    }

    /// The function does not wait for a call any more.
    pub(crate) fn cancel_call(&self, id: u64) {
        let under_way = self.calls.lock().remove(&id);
        let mut session = self.lock();
        match under_way {
            Some(task) => task.abort(),
            None if session.pass(id).is_some() => {}
            None => return,
        }
        let status = Status::refused(
            GrpcCode::Cancelled,
            Code::FunctionFailed,
            "the function cancelled its call",
        );
        session.call_result(id, Err(status));
    }
}
