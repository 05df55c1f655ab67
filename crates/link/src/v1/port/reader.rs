//! What comes on a call, given to its session.

use std::sync::Arc;

use firn_model::code::Code;
use firn_wire::v1::message::FunctionBatch;
use tonic::{Status, Streaming};
use tracing::warn;

use super::status::{broken, illegal};
use crate::v1::hub::{Connection, Hub};
use crate::v1::session::{Broken, Todo};

/// Reads what a function sends, at all times (R84).
pub(super) struct Reader {
    pub(super) hub: Arc<Hub>,
    pub(super) connection: Arc<Connection>,
}

impl Reader {
    pub(super) async fn run(
        self,
        first: FunctionBatch,
        mut batches: Streaming<FunctionBatch>,
    ) -> Result<(), Status> {
        self.take(first)?;
        while let Some(batch) = next_batch(&mut batches).await? {
            self.take(batch)?;
        }
        Ok(())
    }

    fn take(&self, batch: FunctionBatch) -> Result<(), Status> {
        let mut todo = Vec::new();
        let result = {
            let mut session = self.connection.lock();
            let mut frames = batch.frames.into_iter();
            frames.try_for_each(|frame| session.take(frame, &mut todo))
        };
        for todo in todo {
            match todo {
                Todo::Call(call) => self.connection.begin_call(call),
                Todo::CancelCall(id) => self.connection.cancel_call(id),
                Todo::Leave => self.hub.retire(&self.connection),
            }
        }
        result.map_err(|error| {
            warn!(code = %error.code, "a function's connection is ended: {}", error.text);
            broken(&error)
        })
    }
}

/// The next batch; one that cannot be decoded is the function's fault, not ours.
pub(super) async fn next_batch(
    batches: &mut Streaming<FunctionBatch>,
) -> Result<Option<FunctionBatch>, Status> {
    batches
        .message()
        .await
        .map_err(|status| match status.code() {
            tonic::Code::Internal => illegal(status.message()),
            tonic::Code::OutOfRange | tonic::Code::ResourceExhausted => broken(&Broken {
                code: Code::FrameTooLarge,
                text: status.message().to_owned(),
            }),
            _ => status,
        })
}
