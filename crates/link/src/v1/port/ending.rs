//! The end of a call: once, whoever comes to it first.
//!
//! The reader comes to it when the function has ended its side or broken the rules, the body when
//! everything was sent, or when nobody takes it any more. What the engine holds of the connection ends
//! at once; the function hears why behind what was to be sent before.

use std::sync::{Arc, OnceLock};

use tonic::Status;

use crate::v1::hub::{Connection, Hub};

/// What is to end with a call.
pub(super) struct Ending {
    pub(super) hub: Arc<Hub>,
    pub(super) connection: Arc<Connection>,
    how: OnceLock<Option<Status>>,
}

impl Ending {
    pub(super) fn new(hub: Arc<Hub>, connection: Arc<Connection>) -> Self {
        Self {
            hub,
            connection,
            how: OnceLock::new(),
        }
    }

    /// Ends the session: with this status, or well.
    pub(super) fn end(&self, status: Option<Status>) {
        if self.how.set(status).is_err() {
            return;
        }
        self.hub.leave(&self.connection);
        self.connection.calls.end();
        self.connection
            .lock()
            .end("the connection to the function ended");
    }

    /// What the function is told at the end, if anything.
    pub(super) fn status(&self) -> Option<Status> {
        self.how.get().cloned().flatten()
    }
}

/// Ends a session, unless it has ended already.
pub(super) struct EndOnDrop(pub(super) Arc<Ending>);

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        self.0.end(None);
    }
}
