//! Making batches of rows ahead of whoever takes them.

use std::io;
use std::thread::{self, JoinHandle};

use tokio::sync::mpsc;

use super::Row;

/// How many batches are made ahead: enough that neither side waits for the other, and a few
/// megabytes.
const AHEAD: usize = 2;

/// Batches that a thread of its own makes, which ends with this value.
pub(crate) struct Ahead<E> {
    /// `None` once nothing is wanted any more.
    batches: Option<mpsc::Receiver<Result<Vec<Row>, E>>>,
    maker: Option<JoinHandle<()>>,
}

impl<E: Send + 'static> Ahead<E> {
    /// Makes batches until one is empty or fails.
    pub(crate) fn start(
        name: &str,
        mut make: impl FnMut() -> Result<Vec<Row>, E> + Send + 'static,
    ) -> io::Result<Self> {
        let (sender, batches) = mpsc::channel(AHEAD);
        let maker = thread::Builder::new().name(name.into());
        let maker = maker.spawn(move || {
            loop {
                let batch = make();
                let is_last = batch.as_ref().map_or(true, Vec::is_empty);
                if sender.blocking_send(batch).is_err() || is_last {
                    return;
                }
            }
        })?;
        Ok(Self {
            batches: Some(batches),
            maker: Some(maker),
        })
    }

    /// The next rows; none at the end, which is a batch like others, so a thread that panics is no
    /// end, but what `lost` says.
    pub(crate) async fn next(&mut self, lost: impl FnOnce() -> E) -> Result<Vec<Row>, E> {
        let Some(batches) = &mut self.batches else {
            return Ok(Vec::new());
        };
        let batch = batches.recv().await;
        let batch = batch.unwrap_or_else(|| Err(lost()));
        // What failed goes on to fail: it is not the end.
        if batch.as_ref().is_ok_and(Vec::is_empty) {
            self.batches = None;
        }
        batch
    }
}

impl<E> Drop for Ahead<E> {
    fn drop(&mut self) {
        self.batches = None;
        if let Some(maker) = self.maker.take() {
            // It makes one more batch at most. Its panic was seen as a failure.
            let _ = maker.join();
        }
    }
}
