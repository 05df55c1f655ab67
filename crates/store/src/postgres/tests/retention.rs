//! What looking for events that may go costs.

use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::*;
use crate::postgres::retention::COVERED;
use crate::retention::Keep;

/// How many rows a statement looked at, as its explanation says, whether it took them or not.
fn looked_at(explained: &[Row]) -> u64 {
    let number = |line: &str, after: &str| -> Option<u64> {
        let (_, rest) = line.split_once(after)?;
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        digits.parse().ok()
    };
    let (mut looked, mut loops) = (0, 0);
    for row in explained {
        let line: &str = row.get(0);
        if line.contains("actual") {
            loops = number(line, "loops=").unwrap_or(0);
            looked += loops * number(line, "rows=").unwrap_or(0);
        }
        looked += loops * number(line, "Rows Removed by Filter: ").unwrap_or(0);
    }
    looked
}

#[tokio::test(flavor = "multi_thread")]
async fn finding_what_is_too_old_reads_few_of_the_events() {
    const COUNT: u64 = 4000;
    let server = server();
    let url = server.fresh();
    let store = open(&url).await;
    let long = key("long");
    let mut commit = append(&long, Head::default());
    commit.change = Some(Change::Append {
        first: 1,
        events: vec![payload("event"); COUNT as usize],
        snapshot: Some(payload("snapshot")),
        deleted_until: None,
    });
    assert_eq!(commit_one(&store, commit).await, Outcome::Landed);
    let schema = url.rsplit("%3D").next().expect("a schema");
    server.sql(&format!(
        "UPDATE {schema}.firn_events SET at = 10 * number; ANALYZE {schema}.firn_events"
    ));
    for (since, through) in [(35, 3), (COUNT * 5, COUNT / 2 - 1), (u64::MAX, COUNT - 1)] {
        let keep = Keep::Since(Timestamp(since));
        let found = store.covered(&long.storage, keep, None, 10).await;
        let found = found.expect("events can be looked for").found;
        assert_eq!((found[0].first, found[0].through), (1, through));
        let explain = format!("EXPLAIN (ANALYZE, COSTS OFF) {}", COVERED.1);
        let (storage, from, limit) = ("log", "", 10_i64);
        let (count, since) = (0_i64, Some(value::time(Timestamp(since))));
        let parameters: [&(dyn ToSql + Sync); 5] = [&storage, &from, &limit, &count, &since];
        let explained = store.inner.rows(("explain", explain.leak()), &parameters);
        let explained = store.run(explained).await.expect("an explanation");
        let looked = looked_at(&explained);
        assert!((1..300).contains(&looked), "{looked} rows since {since:?}");
    }
}
