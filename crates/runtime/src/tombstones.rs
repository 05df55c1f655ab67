//! Tombstones that nobody touches again: found in the store when their grace is over, and cleaned by
//! the lanes that own them.

use std::time::Duration;

use firn_store::{ReadError, Store, Tombstone};
use tracing::warn;

use crate::dispatch::Dispatcher;
use crate::lane::Input;

/// How often the store is asked. Tombstones live for days, so nobody waits for this.
const EVERY: Duration = Duration::from_secs(60);

/// Tombstones sent to the lanes at once, each of which costs a load and a commit.
const PAGE: usize = 256;

/// Between two pages: callers come first.
const PAUSE: Duration = Duration::from_secs(1);

impl Dispatcher {
    /// Has expired tombstones cleaned, from when a function is known until the engine is drained.
    pub(crate) async fn clean_tombstones(&self, store: &dyn Store) {
        let cleaning = async {
            let mut served = self.served.clone();
            if served.wait_for(Option::is_some).await.is_err() {
                return;
            }
            loop {
                if let Err(error) = self.clean_expired(store).await {
                    warn!(%error, "expired tombstones cannot be looked for");
                }
                tokio::time::sleep(EVERY).await;
            }
        };
        tokio::select! {
            biased;
            () = self.quiet.cancelled() => {}
            () = cleaning => {}
        }
    }

    async fn clean_expired(&self, store: &dyn Store) -> Result<(), ReadError> {
        let mut after: Option<Tombstone> = None;
        loop {
            let page = store
                .tombstones(self.clock.now(), after.as_ref(), PAGE)
                .await?;
            let is_last = page.len() < PAGE;
            for tombstone in &page {
                let key = tombstone.key.clone();
                self.tell(key.slot(), Input::Expired(key));
            }
            if is_last {
                return Ok(());
            }
            after = page.into_iter().next_back();
            tokio::time::sleep(PAUSE).await;
        }
    }
}
