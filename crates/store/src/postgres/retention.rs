//! Retention: finding events that a snapshot covers and entities that nobody writes, and removing
//! such events.
//!
//! # Why no slot is locked
//! A statement sees one state of the tables, and in it a snapshot that covers what it removes. Whatever
//! is committed meanwhile, the snapshot only gives way to a newer one, or to the end of its generation;
//! neither makes those events needed again. The last event stays, and the number that the next one
//! must have is taken from it. So a trim needs no ownership, hinders no commit, and is refused to
//! nobody: a Firn that was deposed, or a person at a shell, can do no harm with it.

use firn_model::id::{EntityKey, StorageName};
use tokio_postgres::Row;

use super::read::{column, key_of};
use super::{Inner, names, value};
use crate::ReadError;
use crate::entity::Timestamp;
use crate::replica::WriteError;
use crate::retention::{Covered, Keep, Page, TRIM_EVENTS_MAX, Trim};

/// One storage name after the other, each found by the index.
const STORAGES: (&str, &str) = (
    "storages",
    "\
WITH RECURSIVE s(storage) AS (
  (SELECT storage FROM firn_entities ORDER BY storage LIMIT 1)
  UNION ALL
  SELECT (SELECT x.storage FROM firn_entities x WHERE x.storage > s.storage
    ORDER BY x.storage LIMIT 1) FROM s WHERE s.storage IS NOT NULL)
SELECT e.storage, e.id, e.full_key FROM s JOIN LATERAL (SELECT storage, id, full_key
  FROM firn_entities x WHERE x.storage = s.storage ORDER BY x.id LIMIT 1) e ON true",
);

/// Every entity that is looked at, with the first and the last event that may go, if any may. Of those
/// that are kept for a time, the last is found by halves: events follow each other in time, but for a
/// clock that was set back; then it is one of those at which the time passes. So a page of long
/// histories takes a few reads of each.
pub(super) const COVERED: (&str, &str) = (
    "covered",
    "\
SELECT e.storage, e.id, e.full_key, f.number,
  CASE WHEN $5::int8 IS NULL THEN least(s.event - $4::int8, l.number - 1) ELSE h.before END
FROM (SELECT * FROM firn_entities WHERE storage = $1 AND id >= $2 ORDER BY id LIMIT $3) e
LEFT JOIN LATERAL (SELECT event FROM firn_states y WHERE y.storage = e.storage AND y.id = e.id
  AND y.kind = 'snapshot' AND y.generation = e.generation AND e.deleted_until IS NULL) s ON true
LEFT JOIN LATERAL (SELECT number FROM firn_events x WHERE x.storage = e.storage AND x.id = e.id
  AND x.generation = e.generation ORDER BY x.number LIMIT 1) f ON s.event IS NOT NULL
LEFT JOIN LATERAL (SELECT number FROM firn_events x WHERE x.storage = e.storage AND x.id = e.id
  AND x.generation = e.generation ORDER BY x.number DESC LIMIT 1) l ON s.event IS NOT NULL
LEFT JOIN LATERAL (WITH RECURSIVE b(before, since) AS (
    SELECT f.number - 1, least(s.event, l.number - 1) + 1 WHERE $5::int8 IS NOT NULL
  UNION ALL
    SELECT CASE WHEN m.at < $5::int8 THEN m.number ELSE b.before END,
      CASE WHEN m.at < $5::int8 THEN b.since ELSE m.number END
    FROM b CROSS JOIN LATERAL (SELECT (b.before + b.since) / 2 AS number, (SELECT v.at
      FROM firn_events v WHERE v.storage = e.storage AND v.id = e.id
        AND v.generation = e.generation AND v.number = (b.before + b.since) / 2) AS at) m
    WHERE b.since - b.before > 1)
  SELECT before FROM b WHERE since - before <= 1) h ON true
ORDER BY e.id",
);

/// Every entity that is looked at, and whether it is alive and was not written since.
const UNWRITTEN: (&str, &str) = (
    "unwritten",
    "\
SELECT e.storage, e.id, e.full_key, coalesce((e.has_state OR e.has_events)
  AND e.deleted_until IS NULL AND greatest(e.changed_at, l.at) < $4, false)
FROM (SELECT * FROM firn_entities WHERE storage = $1 AND id >= $2 ORDER BY id LIMIT $3) e
LEFT JOIN LATERAL (SELECT at FROM firn_events x WHERE x.storage = e.storage AND x.id = e.id
  AND x.generation = e.generation ORDER BY x.number DESC LIMIT 1) l ON e.has_events
ORDER BY e.id",
);

const TRIM: (&str, &str) = (
    "trim events",
    "\
DELETE FROM firn_events t USING (SELECT v.storage, v.id, v.generation, v.number
  FROM unnest($1::text[], $2::text[], $3::int8[]) AS r(storage, id, through)
  JOIN LATERAL (SELECT generation FROM firn_entities x WHERE x.storage = r.storage AND x.id = r.id
    AND x.deleted_until IS NULL) e ON true
  JOIN LATERAL (SELECT event FROM firn_states y WHERE y.storage = r.storage AND y.id = r.id
    AND y.kind = 'snapshot' AND y.generation = e.generation) s ON true
  JOIN LATERAL (SELECT number FROM firn_events z WHERE z.storage = r.storage AND z.id = r.id
    AND z.generation = e.generation ORDER BY z.number DESC LIMIT 1) l ON true
  JOIN LATERAL (SELECT w.storage, w.id, w.generation, w.number FROM firn_events w
    WHERE w.storage = r.storage AND w.id = r.id AND w.generation = e.generation
      AND w.number <= least(r.through, s.event, l.number - 1) ORDER BY w.number LIMIT $4) v ON true) d
WHERE t.storage = d.storage AND t.id = d.id AND t.generation = d.generation
  AND t.number = d.number RETURNING 1",
);

impl Inner {
    pub(super) async fn storages(&self) -> Result<Vec<StorageName>, ReadError> {
        let rows = self.rows(STORAGES, &[]).await?;
        rows.iter()
            .map(|row| Ok(key_of(row, [0, 1, 2])?.storage))
            .collect()
    }

    pub(super) async fn covered(
        &self,
        storage: &StorageName,
        keep: Keep,
        after: Option<&str>,
        most: usize,
    ) -> Result<Page<Covered>, ReadError> {
        let look = Look::of(storage, after, most);
        let (last, since) = match keep {
            Keep::Last(count) => (value::count(count), None),
            Keep::Since(since) => (0, Some(value::time(since))),
        };
        let parameters = [
            &look.storage as _,
            &look.from as _,
            &look.limit as _,
            &last as _,
            &since as _,
        ];
        let rows = self.rows(COVERED, &parameters).await?;
        let mut events = 0;
        look.page(&rows, |key, row| {
            let (first, through): (Option<i64>, Option<i64>) = (column(row, 3)?, column(row, 4)?);
            let covered = first
                .zip(through)
                .filter(|(first, through)| first <= through);
            let Some((first, through)) = covered else {
                return Ok((None, false));
            };
            let covered = Covered {
                key,
                first: value::number(first),
                through: value::number(through),
            };
            events += covered.count().min(TRIM_EVENTS_MAX);
            Ok((Some(covered), events >= TRIM_EVENTS_MAX))
        })
    }

    pub(super) async fn unwritten(
        &self,
        storage: &StorageName,
        since: Timestamp,
        after: Option<&str>,
        most: usize,
    ) -> Result<Page<EntityKey>, ReadError> {
        let look = Look::of(storage, after, most);
        let since = value::time(since);
        let parameters = [
            &look.storage as _,
            &look.from as _,
            &look.limit as _,
            &since as _,
        ];
        let rows = self.rows(UNWRITTEN, &parameters).await?;
        look.page(&rows, |key, row| {
            let is_unwritten: bool = column(row, 3)?;
            Ok((is_unwritten.then_some(key), false))
        })
    }

    pub(super) async fn trim(&self, trims: &[Trim]) -> Result<(), WriteError> {
        let storages: Vec<String> = trims
            .iter()
            .map(|trim| names::storage(&trim.key.storage))
            .collect();
        let ids: Vec<String> = trims.iter().map(|trim| names::id(&trim.key.id)).collect();
        let through: Vec<i64> = trims
            .iter()
            .map(|trim| value::count(trim.through))
            .collect();
        let most = value::count(TRIM_EVENTS_MAX);
        let trimmed = self.rows(TRIM, &[&storages, &ids, &through, &most]).await;
        trimmed.map(drop).map_err(|error| WriteError::Unknown {
            cause: error.to_string(),
        })
    }
}

/// Which entities are looked at.
struct Look {
    storage: String,
    /// The form of the first id. That of the last page's last is left out of what is found.
    from: String,
    skips_first: bool,
    limit: i64,
}

impl Look {
    fn of(storage: &StorageName, after: Option<&str>, most: usize) -> Self {
        let limit = i64::try_from(most).unwrap_or(i64::MAX);
        Self {
            storage: names::storage(storage),
            from: after.map(names::id).unwrap_or_default(),
            skips_first: after.is_some(),
            limit: limit.saturating_add(i64::from(after.is_some())),
        }
    }

    /// What `found` makes of each entity, until it says that it is enough.
    fn page<T>(
        &self,
        rows: &[Row],
        mut found: impl FnMut(EntityKey, &Row) -> Result<(Option<T>, bool), ReadError>,
    ) -> Result<Page<T>, ReadError> {
        let mut page = Page {
            found: Vec::new(),
            damaged: Vec::new(),
            next: None,
        };
        let mut last = None;
        for row in rows {
            let id: &str = column(row, 1)?;
            if self.skips_first && id == self.from {
                continue;
            }
            let key = key_of(row, [0, 1, 2])?;
            last = Some(key.id.to_string());
            let (one, is_enough) = found(key, row)?;
            page.found.extend(one);
            if is_enough {
                page.next = last;
                return Ok(page);
            }
        }
        if i64::try_from(rows.len()).is_ok_and(|count| count >= self.limit) {
            page.next = last;
        }
        Ok(page)
    }
}
