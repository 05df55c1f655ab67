//! Durable commands on PostgreSQL beside bare inserts into the same server: ratios of one run.
//!
//! The command is that of the case `own`: one event among 1,000 entities over firn.v1 and the SDK for
//! Rust, one in ten with a snapshot, 64 in flight. The reference has eight connections and inserts
//! rows as Firn's own table of events has them, without its second index: 100 in one statement by
//! arrays, each statement a transaction that is flushed when it is answered. What 1,000 in a statement
//! reach is measured besides, and what 8 do, with which as many rows are in flight as commands. All are
//! loaded in turns.

use std::time::{Duration, SystemTime};

use anyhow::{Result, bail};
use firn_store::Timestamp;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_postgres::{Client, Statement};

use super::AddItem;
use crate::database::{self, Database};
use crate::figure::{Bound, Figure, Unit, median};
use crate::load::{self, Load, Outcome};
use crate::measurement::Measurement;
use crate::own;
use crate::rig::{Dialer, Firn, Programs, processor_time};

/// How often each is loaded.
const ROUNDS: usize = 5;

/// How many entities are written to.
const ENTITIES: u64 = 1000;

/// What commands must reach of the rate of bare inserts.
const RATE_MIN: f64 = 0.25;
const RATE_STRETCH: f64 = 0.35;

const LOAD: Load = Load {
    connections: 4,
    in_flight: 64,
    warm: Duration::from_secs(1),
    measured: Duration::from_secs(3),
};

/// Connections of the reference.
const CONNECTIONS: u64 = 8;

/// Rows of one statement of the reference.
const ROWS: usize = 100;

/// Rows of one statement that is shown besides: it spends less of its time on round trips and flushes,
/// but a row waits longer for its statement.
const ROWS_OF_LARGE: usize = 1000;

/// The same with which as many rows are in flight, over all connections, as there are commands.
const ROWS_OF_SMALL: usize = LOAD.in_flight / CONNECTIONS as usize;

const TABLE: &str = "\
CREATE TABLE journal (
    storage text COLLATE \"C\" NOT NULL,
    id text COLLATE \"C\" NOT NULL,
    generation int8 NOT NULL,
    number int8 NOT NULL,
    slot int4 NOT NULL,
    seq int8 NOT NULL,
    at int8 NOT NULL,
    type text NOT NULL,
    value bytea NOT NULL,
    PRIMARY KEY (storage, id, generation, number)
)";

const INSERT: &str = "\
INSERT INTO journal (storage, id, generation, number, slot, seq, at, type, value)
SELECT * FROM unnest($1::text[], $2::text[], $3::int8[], $4::int8[], $5::int4[], $6::int8[],
    $7::int8[], $8::text[], $9::bytea[])";

/// What came of both in one round.
struct Round {
    firn: Outcome,
    bare: Inserts,
    /// Rows in a second, in large and in small statements.
    large_rate: f64,
    small_rate: f64,
    /// The processor time of the database, in microseconds: of each command, and of each row.
    firn_database_us: f64,
    bare_database_us: f64,
}

pub(super) async fn run(programs: &Programs) -> Result<Vec<Figure>> {
    let database = Database::start(programs).await?;
    let mut bare = Bare::prepare(&database.fresh()).await?;
    let mut large = Bare::prepare(&database.fresh()).await?;
    let mut small = Bare::prepare(&database.fresh()).await?;
    let folder = programs.folder()?;
    let url = database.fresh();
    let mut firn = Firn::start_own(programs, folder.path(), &["--store", &url]);
    firn.up().await?;
    let function = Dialer::own(programs, firn.functions)?;
    firn.serving().await?;
    let load = programs.effort.load(LOAD);
    let processes = [firn.watched(), function.watched("function")];
    let message = |number| AddItem::to(number % ENTITIES);
    let whole = (load.warm + load.measured).as_secs_f64();
    let each = |used: Duration, rate: f64| used.as_secs_f64() * 1e6 / (rate * whole);
    let mut rounds = Vec::new();
    for round in 0..programs.effort.rounds(ROUNDS) {
        let (mut inserts, mut commands) = (None, None);
        // Who comes second may find what the first has left to do.
        for is_bare in [round % 2 == 0, round % 2 == 1] {
            let before = database.processor_time()?;
            let used = || anyhow::Ok(database.processor_time()? - before);
            if is_bare {
                let it = bare.run(load, ROWS).await?;
                inserts = Some((each(used()?, it.rate), it));
            } else {
                let it = load::run(firn.clients, own::ADD, message, load, &processes).await?;
                commands = Some((each(used()?, it.rate), it));
            }
        }
        let (bare_database_us, inserts) = inserts.expect("one of both");
        let (firn_database_us, commands) = commands.expect("the other");
        rounds.push(Round {
            firn_database_us,
            bare_database_us,
            firn: commands,
            bare: inserts,
            large_rate: large.run(load, ROWS_OF_LARGE).await?.rate,
            small_rate: small.run(load, ROWS_OF_SMALL).await?.rate,
        });
    }
    firn.stop().await?;
    Ok(vec![figure(&rounds)])
}

fn figure(rounds: &[Round]) -> Figure {
    let of = |value: fn(&Round) -> f64| -> Vec<f64> { rounds.iter().map(value).collect() };
    let mid = |value: fn(&Round) -> f64| median(&of(value));
    let processor = |round: &Round| {
        round.firn.own_processor_us
            + round.firn.processor_us.iter().sum::<f64>()
            + round.firn_database_us
    };
    let allowed: Vec<f64> = rounds
        .iter()
        .map(|round| (round.bare.own_processor_us + round.bare_database_us) / processor(round))
        .collect();
    Figure::new(
        "durable commands on PostgreSQL: rate over that of bare inserts",
        Unit::Ratio,
        of(|round| round.firn.rate / round.bare.rate),
    )
    .bound(Bound::AtLeast(RATE_MIN))
    .stretch(Bound::AtLeast(RATE_STRETCH))
    .detail(
        "the same by the processor time of all processes",
        median(&allowed),
    )
    .detail(
        "bare",
        format!(
            "{:.0} rows/s over {CONNECTIONS} connections, {ROWS} in each statement; processor for \
             each row: database {:.1} µs, client {:.1} µs",
            mid(|round| round.bare.rate),
            mid(|round| round.bare_database_us),
            mid(|round| round.bare.own_processor_us),
        ),
    )
    .detail(
        "bare, large statements",
        format!(
            "{:.0} rows/s, {ROWS_OF_LARGE} in each statement",
            mid(|round| round.large_rate)
        ),
    )
    .detail(
        "bare, as many rows in flight",
        format!(
            "{:.0} rows/s, {ROWS_OF_SMALL} in each statement; Firn's rate over it: {:.3}",
            mid(|round| round.small_rate),
            mid(|round| round.firn.rate / round.small_rate),
        ),
    )
    .detail(
        "Firn",
        format!(
            "{:.0}/s, p50 {:.3} ms, p99 {:.3} ms; processor for each call: database {:.1} µs, Firn \
             {:.1} µs, function {:.1} µs, load {:.1} µs",
            mid(|round| round.firn.rate),
            mid(|round| round.firn.time_ms(0.5)),
            mid(|round| round.firn.time_ms(0.99)),
            mid(|round| round.firn_database_us),
            mid(|round| round.firn.processor_us[0]),
            mid(|round| round.firn.processor_us[1]),
            mid(|round| round.firn.own_processor_us),
        ),
    )
    .detail("the server", database::SETTINGS.join(", "))
    .measured(Measurement::of(
        "durable commands on PostgreSQL",
        &rounds.iter().map(|round| &round.firn).collect::<Vec<_>>(),
    ))
}

/// What came of bare inserts.
struct Inserts {
    /// Rows in a second.
    rate: f64,
    /// The processor time of this process for each row, in microseconds.
    own_processor_us: f64,
}

/// The reference.
struct Bare {
    writers: Vec<Writer>,
}

/// One connection of it, and the entities that it has for itself.
struct Writer {
    client: Client,
    insert: Statement,
    first: u64,
    written: u64,
}

impl Bare {
    async fn prepare(url: &str) -> Result<Self> {
        database::connect(url).await?.batch_execute(TABLE).await?;
        let mut writers = Vec::new();
        for number in 0..CONNECTIONS {
            let client = database::connect(url).await?;
            client.batch_execute("SET synchronous_commit = on").await?;
            writers.push(Writer {
                insert: client.prepare(INSERT).await?,
                client,
                first: number * (ENTITIES / CONNECTIONS),
                written: 0,
            });
        }
        Ok(Self { writers })
    }

    /// Inserts for the time of a load, so many rows with each statement.
    async fn run(&mut self, load: Load, rows_each: usize) -> Result<Inserts> {
        let begin = Instant::now() + load.warm;
        let end = begin + load.measured;
        let own = || processor_time(std::process::id());
        let mut writing = JoinSet::new();
        for mut writer in self.writers.drain(..) {
            writing.spawn(async move {
                let rows = writer.run(begin, end, rows_each).await?;
                anyhow::Ok((writer, rows))
            });
        }
        tokio::time::sleep_until(begin).await;
        let before = own()?;
        tokio::time::sleep_until(end).await;
        let used = own()? - before;
        let mut rows = 0;
        while let Some(written) = writing.join_next().await {
            let (writer, count) = written??;
            self.writers.push(writer);
            rows += count;
        }
        if rows == 0 {
            bail!("nothing was inserted");
        }
        Ok(Inserts {
            rate: rows as f64 / load.measured.as_secs_f64(),
            own_processor_us: used.as_secs_f64() * 1e6 / rows as f64,
        })
    }
}

impl Writer {
    /// Inserts until the end; gives how many rows were durable since the beginning.
    async fn run(&mut self, begin: Instant, end: Instant, rows_each: usize) -> Result<u64> {
        let mut rows = 0;
        loop {
            self.insert(rows_each).await?;
            let now = Instant::now();
            if now >= end {
                return Ok(rows);
            }
            if now >= begin {
                rows += rows_each as u64;
            }
        }
    }

    async fn insert(&mut self, count: usize) -> Result<()> {
        let share = ENTITIES / CONNECTIONS;
        let numbers = self.written..self.written + count as u64;
        self.written = numbers.end;
        let at = Timestamp::from(SystemTime::now()).0 as i64;
        let ids: Vec<String> = numbers
            .clone()
            .map(|number| format!("cart-{:06}", self.first + number % share))
            .collect();
        let events: Vec<i64> = numbers
            .clone()
            .map(|number| (number / share) as i64 + 1)
            .collect();
        let slots: Vec<i32> = numbers.map(|number| (number % 16_384) as i32).collect();
        let values: Vec<&[u8]> = vec![&[8, 1]; count];
        self.client
            .execute(
                &self.insert,
                &[
                    &vec!["bench.own.Ledger"; count],
                    &ids,
                    &vec![0i64; count],
                    &events,
                    &slots,
                    &events,
                    &vec![at; count],
                    &vec!["type.googleapis.com/bench.own.Added"; count],
                    &values,
                ],
            )
            .await?;
        Ok(())
    }
}
