//! Sweeping: removing rows that no reader can see any more, a little at a time.
//!
//! Two kinds of rows go that way: reply records that have expired, and events of generations that have
//! ended. Nothing depends on it but room, so it is done beside the commits and may be late. Any
//! process may do it, also several at once; those with a lease do, because they live long and make
//! what is swept. Who takes no slots only looks, and is not to change anything.

use std::time::Duration;

use tokio::time::sleep;

use super::Inner;
use super::value;
use crate::ReadError;

/// How many rows one statement removes at most: enough to keep up with commits, few enough to hold
/// nobody up.
const SWEEP_ROWS_MAX: i64 = 2_000;

/// How long to wait before looking again when there was little to remove.
const SWEEP_EVERY: Duration = Duration::from_secs(10);

/// How long to wait between two statements that remove much.
const SWEEP_PAUSE: Duration = Duration::from_millis(100);

const EXPIRED: (&str, &str) = (
    "expired",
    "\
DELETE FROM firn_replies t USING (SELECT storage, id, life, command FROM firn_replies
  WHERE expires <= $1 ORDER BY expires LIMIT $2) r
WHERE t.storage = r.storage AND t.id = r.id AND t.life = r.life AND t.command = r.command
  AND t.expires <= $1 RETURNING 1",
);

/// Events of an entity's ended generations.
const ENDED: (&str, &str) = (
    "ended",
    "\
DELETE FROM firn_events t USING (SELECT v.storage, v.id, v.generation, v.number
  FROM (SELECT storage, id, generation FROM firn_entities WHERE swept < generation
    ORDER BY storage, id LIMIT 100) e
  JOIN LATERAL (SELECT * FROM firn_events x WHERE x.storage = e.storage AND x.id = e.id
    AND x.generation < e.generation LIMIT $1) v ON true LIMIT $1) r
WHERE t.storage = r.storage AND t.id = r.id AND t.generation = r.generation
  AND t.number = r.number RETURNING 1",
);

/// Notes entities of which no ended generation is left.
const SWEPT: (&str, &str) = (
    "swept",
    "\
UPDATE firn_entities e SET swept = s.generation
FROM (SELECT storage, id, generation FROM firn_entities WHERE swept < generation
  ORDER BY storage, id LIMIT 100) s
WHERE e.storage = s.storage AND e.id = s.id AND e.generation = s.generation
  AND NOT EXISTS (SELECT 1 FROM firn_events v WHERE v.storage = e.storage AND v.id = e.id
    AND v.generation < e.generation) RETURNING 1",
);

impl Inner {
    /// Sweeps until it is dropped.
    pub(super) async fn sweep_on(&self) {
        loop {
            sleep(SWEEP_EVERY).await;
            loop {
                match self.sweep().await {
                    Ok(removed) if removed >= SWEEP_ROWS_MAX as usize => sleep(SWEEP_PAUSE).await,
                    Ok(_) => break,
                    Err(error) => {
                        tracing::debug!(%error, "nothing was swept");
                        break;
                    }
                }
            }
        }
    }

    /// Removes some of what nobody can see; gives how many rows.
    pub(super) async fn sweep(&self) -> Result<usize, ReadError> {
        let now = value::time(self.clock.now());
        let expired = self.rows(EXPIRED, &[&now, &SWEEP_ROWS_MAX]).await?;
        let ended = self.rows(ENDED, &[&SWEEP_ROWS_MAX]).await?;
        let swept = self.rows(SWEPT, &[]).await?;
        Ok(expired.len() + ended.len() + swept.len())
    }
}
