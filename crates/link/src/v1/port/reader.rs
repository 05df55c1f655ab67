//! What comes on a call, given to its session.

use firn_model::code::Code;
use firn_wire::v1::message::FunctionBatch;
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};
use tracing::warn;

use super::END_WAIT;
use super::ending::{EndOnDrop, Ending};
use super::status::{broken, illegal};
use crate::v1::session::{Broken, LOOK_EVERY, Todo};

/// Reads what a function sends, at all times (R84).
pub(super) struct Reader {
    pub(super) end: EndOnDrop,
    /// Cancelled when the function does not take the end of its call.
    pub(super) overdue: CancellationToken,
}

impl Reader {
    /// Reads until the function's side ends or breaks the rules, then ends the session. It is aborted
    /// once the function has taken that.
    pub(super) async fn run(self, first: FunctionBatch, batches: Streaming<FunctionBatch>) {
        let EndOnDrop(ending) = &self.end;
        let read = self.read(first, batches).await;
        ending.end(read.err());
        tokio::time::sleep(END_WAIT).await;
        self.overdue.cancel();
    }

    async fn read(
        &self,
        first: FunctionBatch,
        mut batches: Streaming<FunctionBatch>,
    ) -> Result<(), Status> {
        self.take(first)?;
        let mut looks = tokio::time::interval(LOOK_EVERY);
        looks.tick().await;
        loop {
            tokio::select! {
                biased;
                _ = looks.tick() => {
                    let EndOnDrop(ending) = &self.end;
                    let owed = ending.connection.lock().look();
                    owed.map_err(broken_off)?;
                }
                batch = next_batch(&mut batches) => match batch? {
                    Some(batch) => self.take(batch)?,
                    None => return Ok(()),
                },
            }
        }
    }

    fn take(&self, batch: FunctionBatch) -> Result<(), Status> {
        let EndOnDrop(ending) = &self.end;
        let Ending {
            hub, connection, ..
        } = &**ending;
        let mut todo = Vec::new();
        let result = {
            let mut session = connection.lock();
            let mut frames = batch.frames.into_iter();
            frames.try_for_each(|frame| session.take(frame, &mut todo))
        };
        for todo in todo {
            match todo {
                Todo::Call(call) => connection.begin_call(call),
                Todo::CancelCall(id) => connection.cancel_call(id),
                Todo::Leave => hub.retire(connection),
            }
        }
        result.map_err(broken_off)
    }
}

/// The connection cannot go on, and the operator is to know.
fn broken_off(error: Broken) -> Status {
    warn!(code = %error.code, "a function's connection is ended: {}", error.text);
    broken(&error)
}

/// The next batch; one that cannot be decoded is the function's fault, not ours. Cancel-safe.
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
