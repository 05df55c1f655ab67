//! Of PostgreSQL.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::pin::pin;
use std::time::Instant;

use anyhow::{Result, bail, ensure};
use firn_store::postgres::{self, Postgres, Url};
use futures_util::TryStreamExt as _;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Row};

use super::{Archive, BATCH, Figure, Programs, ROUNDS, Times, fill};
use crate::database::{self, Database};

/// How many entities there are: so many that an export takes some tenths of a second, beside which the
/// start of a process, log-in and the look at the schema are nothing.
const ENTITIES: u64 = 45_000;

/// How often everything is imported, which takes seconds.
const IMPORTS: usize = 3;

/// The tables that have rows.
const TABLES: [&str; 4] = ["firn_slots", "firn_entities", "firn_states", "firn_events"];

/// Those to which rows are added. The rows of the slots are there from the beginning, and so few are
/// changed that the bare one leaves them as they are.
const FILLED: [&str; 3] = ["firn_entities", "firn_states", "firn_events"];

pub(super) async fn run(programs: &Programs) -> Result<Vec<Figure>> {
    let database = Database::start(programs).await?;
    let folder = programs.folder()?;
    let url = database.fresh();
    let store = open(&url).await?;
    fill(&store, programs.effort.entities(ENTITIES)).await?;
    store.close().await;
    drop(store);
    let client = database::connect(&url).await?;
    // What the server does by itself after so many rows, before anything is measured.
    client.batch_execute("VACUUM ANALYZE").await?;
    let (mut exports, mut imports) = (Times::default(), Times::default());
    for round in 0..programs.effort.rounds(ROUNDS) {
        let start = Instant::now();
        exports.rows = scan(&client).await?;
        exports.bare.push(start.elapsed().as_secs_f64());
        let file = Archive::of(&folder);
        let took = file.command(programs, "export", &url).await?;
        exports.firn.push(took);
        if round >= IMPORTS {
            continue;
        }
        let rows = all(&client).await?;
        imports.rows = rows.iter().map(|(_, rows)| rows.len()).sum();
        let space = Space::of(&database);
        // Makes the tables.
        open(&space.url).await?.close().await;
        imports.bare.push(insert(&space, &rows).await?);
        drop(rows);
        space.remove().await?;
        let space = Space::of(&database);
        let took = file.command(programs, "import", &space.url).await?;
        imports.firn.push(took);
        space.remove().await?;
    }
    Ok(vec![
        exports.figure("exporting from PostgreSQL: rate over a bare scan's"),
        imports.figure("importing into PostgreSQL: rate over bare inserts"),
    ])
}

async fn open(url: &str) -> Result<Postgres> {
    let config = postgres::Config::new(Url::parse(url)?);
    Ok(Postgres::open(config, |_| {}).await?)
}

/// A place in the database for tables of its own.
struct Space {
    url: String,
}

impl Space {
    fn of(database: &Database) -> Self {
        Self {
            url: database.fresh(),
        }
    }

    /// Removes its tables, so that no disk is full and no vacuum comes upon them.
    async fn remove(self) -> Result<()> {
        let client = database::connect(&self.url).await?;
        let row = client.query_one("SELECT current_schema()", &[]).await?;
        let schema: &str = row.try_get(0)?;
        let remove = format!("DROP SCHEMA {schema} CASCADE; CHECKPOINT");
        Ok(client.batch_execute(&remove).await?)
    }
}

/// Reads every column of the tables that have rows; gives how many rows there are.
async fn scan(client: &Client) -> Result<usize> {
    let mut count = 0;
    for table in TABLES {
        let none: [&str; 0] = [];
        let all = format!("SELECT * FROM {table}");
        let mut rows = pin!(client.query_raw(&all, none).await?);
        while rows.try_next().await?.is_some() {
            count += 1;
        }
    }
    Ok(count)
}

/// All rows of the tables that are filled.
async fn all(client: &Client) -> Result<Vec<(&'static str, Vec<Row>)>> {
    let mut tables = Vec::new();
    for table in FILLED {
        let all = format!("SELECT * FROM {table}");
        tables.push((table, client.query(&all, &[]).await?));
    }
    Ok(tables)
}

/// Inserts rows over one connection, durably at the end; gives the seconds that it took. Before it
/// begins, they are as statements take them.
async fn insert(space: &Space, tables: &[(&'static str, Vec<Row>)]) -> Result<f64> {
    let client = database::connect(&space.url).await?;
    let mut statements = Vec::new();
    for (table, rows) in tables {
        for rows in rows.chunks(BATCH) {
            statements.push((*table, columns(rows)?));
        }
    }
    let start = Instant::now();
    client.batch_execute("BEGIN").await?;
    let mut prepared = HashMap::new();
    for (table, columns) in &statements {
        let statement = match prepared.entry(*table) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => new.insert(client.prepare(&text(table, columns)).await?),
        };
        let parameters: Vec<_> = columns.iter().map(Column::parameter).collect();
        client.execute(&*statement, &parameters).await?;
    }
    client.batch_execute("COMMIT").await?;
    Ok(start.elapsed().as_secs_f64())
}

/// The statement that takes rows of a table as arrays.
fn text(table: &str, columns: &[Column]) -> String {
    let arrays = (1..).zip(columns);
    let arrays = arrays.map(|(number, column)| format!("${number}::{}[]", column.kind()));
    let arrays: Vec<String> = arrays.collect();
    format!(
        "INSERT INTO {table} SELECT * FROM unnest({})",
        arrays.join(",")
    )
}

/// A column of some rows.
enum Column {
    Bool(Vec<Option<bool>>),
    Int(Vec<Option<i32>>),
    Big(Vec<Option<i64>>),
    Text(Vec<Option<String>>),
    Bytes(Vec<Option<Vec<u8>>>),
}

impl Column {
    fn kind(&self) -> &'static str {
        match self {
            Self::Bool(_) => "bool",
            Self::Int(_) => "int4",
            Self::Big(_) => "int8",
            Self::Text(_) => "text",
            Self::Bytes(_) => "bytea",
        }
    }

    fn parameter(&self) -> &(dyn ToSql + Sync) {
        match self {
            Self::Bool(column) => column,
            Self::Int(column) => column,
            Self::Big(column) => column,
            Self::Text(column) => column,
            Self::Bytes(column) => column,
        }
    }
}

/// Rows as columns.
fn columns(rows: &[Row]) -> Result<Vec<Column>> {
    fn column<'a, T: tokio_postgres::types::FromSql<'a>>(
        rows: &'a [Row],
        at: usize,
    ) -> Result<Vec<Option<T>>> {
        rows.iter().map(|row| Ok(row.try_get(at)?)).collect()
    }
    ensure!(!rows.is_empty(), "there are no rows");
    let types = rows[0].columns().iter().map(|column| column.type_());
    let columns = types.enumerate().map(|(at, of)| {
        Ok(match *of {
            Type::BOOL => Column::Bool(column(rows, at)?),
            Type::INT4 => Column::Int(column(rows, at)?),
            Type::INT8 => Column::Big(column(rows, at)?),
            Type::TEXT => Column::Text(column(rows, at)?),
            Type::BYTEA => Column::Bytes(column(rows, at)?),
            _ => bail!("a column is of the type {of}"),
        })
    });
    columns.collect()
}
