//! `/metrics`: what Firn is doing, as OpenMetrics text.
//!
//! The parts count; here are the names, and what people are told of each. `docs/metrics.md` says the
//! same, and a test holds both together.
//!
//! # Cost
//! Everything is read when somebody asks, and nothing waits for that. Sizes take a look at files, by
//! this process or by the database, so they are looked up at most every [`SIZES_EVERY`].

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use firn_runtime::engine::Unfinished;
use firn_runtime::metrics::Metrics as Engine;
use firn_store::embedded::{self, Embedded};
use firn_store::metrics::Distribution;
use firn_store::postgres::{self, Postgres, Use};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};
use tokio::sync::Mutex;
use tokio::time::Instant;
use tracing::debug;

use super::Shared;

/// How often sizes are looked up at most.
const SIZES_EVERY: Duration = Duration::from_secs(30);

/// What everything begins with.
const PREFIX: &str = "firn";

/// Asks the parts for their numbers.
pub(crate) struct Metrics {
    engine: Engine,
    unfinished: Unfinished,
    store: Measured,
    sizes: Mutex<Sizes>,
}

/// A store that tells more of itself than all do.
pub(crate) enum Measured {
    /// Nothing.
    Memory,
    /// A folder.
    Embedded(Arc<Embedded>),
    /// A database.
    Postgres(Arc<Postgres>),
}

/// What the store takes, when it was last looked up.
#[derive(Default)]
struct Sizes {
    asked: Option<Instant>,
    found: Option<Found>,
}

#[derive(Clone, Copy)]
enum Found {
    Embedded(embedded::Sizes),
    Postgres(u64),
}

/// All metrics as they are at one moment.
#[derive(Debug, Default)]
struct Page(Vec<Metric>);

#[derive(Debug)]
struct Metric {
    name: &'static str,
    unit: Option<Unit>,
    help: &'static str,
    value: Value,
}

#[derive(Debug)]
enum Value {
    Counter(u64),
    /// By the value of the label with this name.
    Counters(&'static str, Vec<(&'static str, u64)>),
    Gauge(u64),
    /// By the value of the label with this name.
    Gauges(&'static str, Vec<(&'static str, u64)>),
    Histogram(Distribution),
    Info(&'static str, &'static str),
}

impl Metrics {
    /// Of these parts.
    pub(crate) fn new(engine: Engine, unfinished: Unfinished, store: Measured) -> Self {
        Self {
            engine,
            unfinished,
            store,
            sizes: Mutex::default(),
        }
    }

    async fn page(&self, is_ready: bool) -> Page {
        let mut page = Page::default();
        page.info(
            "build",
            "The version of Firn",
            ("version", env!("CARGO_PKG_VERSION")),
        );
        page.gauge(
            "ready",
            "1 while the function is connected and Firn is not stopping, else 0",
            u64::from(is_ready),
        );
        self.engine(&mut page);
        match &self.store {
            Measured::Memory => {}
            Measured::Embedded(store) => embedded(&mut page, &store.metrics()),
            Measured::Postgres(store) => postgres(&mut page, &store.metrics()),
        }
        match self.sizes().await {
            Some(Found::Embedded(sizes)) => {
                page.gauge(
                    "store_log_segments",
                    "Segments of the log",
                    sizes.log_segments,
                );
                page.bytes(
                    "store_log",
                    "What the log takes on the disk",
                    sizes.log_bytes,
                );
                page.bytes(
                    "store_size",
                    "What the store takes on the disk, its log included",
                    sizes.log_bytes + sizes.rows_bytes,
                );
            }
            Some(Found::Postgres(bytes)) => page.bytes(
                "store_size",
                "What the tables take in the database, with their indexes",
                bytes,
            ),
            None => {}
        }
        page
    }

    fn engine(&self, page: &mut Page) {
        let entities = self.engine.entities();
        page.gauge(
            "entities_open",
            "Entities in memory, connected to the function",
            entities.open as u64,
        );
        page.gauge(
            "entities_open_max",
            "Entities that may be open at once",
            entities.max as u64,
        );
        page.gauge(
            "entities_waiting",
            "Entities that wait for others to leave memory",
            entities.waiting as u64,
        );
        page.gauge(
            "replicas_unwritten",
            "Replicated entities with changes that are not written yet",
            self.unfinished.unwritten() as u64,
        );
        page.gauge(
            "replicas_unconfirmed",
            "Replicated entities of which members may lack something, counted for each member",
            self.unfinished.unconfirmed() as u64,
        );
        let commits = self.engine.commits();
        page.push(
            "store_batch_commits",
            None,
            "Commits that were handed to the store together",
            Value::Histogram(commits.batch_commits),
        );
        page.push(
            "store_batch",
            Some(Unit::Bytes),
            "Payload of those commits, roughly",
            Value::Histogram(commits.batch_bytes),
        );
        page.push(
            "store_commit",
            Some(Unit::Seconds),
            "Time until the store told what became of them",
            Value::Histogram(commits.times),
        );
        let outcomes = vec![
            ("landed", commits.landed),
            ("refused", commits.refused),
            ("not_written", commits.not_written),
            ("unknown", commits.unknown),
        ];
        page.push(
            "store_commits",
            None,
            "Commits by what became of them",
            Value::Counters("outcome", outcomes),
        );
    }

    /// What the store takes, as it was told not long ago.
    async fn sizes(&self) -> Option<Found> {
        let mut sizes = self.sizes.lock().await;
        let is_old = |asked: Instant| asked.elapsed() >= SIZES_EVERY;
        if sizes.asked.is_none_or(is_old) {
            sizes.found = match &self.store {
                Measured::Memory => None,
                Measured::Embedded(store) => {
                    let store = store.clone();
                    let looked = tokio::task::spawn_blocking(move || store.sizes()).await;
                    found(looked.map_err(|error| error.to_string())).map(Found::Embedded)
                }
                Measured::Postgres(store) => found(Ok(store.size().await)).map(Found::Postgres),
            };
            sizes.asked = Some(Instant::now());
        }
        sizes.found
    }
}

/// What was looked up, if it was found.
fn found<T, E: fmt::Display>(looked: Result<Result<T, E>, String>) -> Option<T> {
    match looked {
        Ok(Ok(found)) => return Some(found),
        Ok(Err(error)) => debug!(%error, "the size of the store is not known"),
        Err(error) => debug!(%error, "the size of the store is not known"),
    }
    None
}

fn embedded(page: &mut Page, metrics: &embedded::Metrics) {
    page.push(
        "store_flush",
        Some(Unit::Seconds),
        "Time of a durable write: a write of the log with its flush",
        Value::Histogram(metrics.flushes.clone()),
    );
    page.gauge(
        "store_backlog_writes",
        "Commits and replicas that are durable in the log and wait for the rows",
        metrics.backlog_writes,
    );
    page.bytes(
        "store_backlog",
        "Log that waits for the rows",
        metrics.backlog_bytes,
    );
}

fn postgres(page: &mut Page, metrics: &postgres::Metrics) {
    page.push(
        "store_flush",
        Some(Unit::Seconds),
        "Time of a durable write: a statement that writes commits, with its answer",
        Value::Histogram(metrics.flushes.clone()),
    );
    let by_use = |read: fn(&postgres::Connections) -> u64| {
        let connections = metrics.connections.iter();
        connections
            .map(|(used, connections)| (name_of(*used), read(connections)))
            .collect()
    };
    page.push(
        "store_connections",
        None,
        "Connections that are open",
        Value::Gauges("use", by_use(|it| it.open)),
    );
    page.push(
        "store_connections_busy",
        None,
        "Connections with a statement under way",
        Value::Gauges("use", by_use(|it| it.busy)),
    );
    page.push(
        "store_connections_max",
        None,
        "Connections that there may be",
        Value::Gauges("use", by_use(|it| it.max)),
    );
    page.push(
        "store_connects",
        None,
        "Connections that were made: all beyond the first ones took the place of lost ones",
        Value::Counters("use", by_use(|it| it.made)),
    );
    page.push(
        "store_connect_failures",
        None,
        "Connections that could not be made",
        Value::Counters("use", by_use(|it| it.failed)),
    );
    let Some(lease) = &metrics.lease else { return };
    page.gauge(
        "store_lease_slots",
        "Slots that this Firn has taken, of 16,384",
        lease.slots,
    );
    page.gauge(
        "store_lease_runs",
        "1 while the lease of the slots runs for sure, else 0",
        u64::from(lease.runs),
    );
    page.push(
        "store_lease_renewals",
        None,
        "Renewals of the lease",
        Value::Counter(lease.renewed),
    );
    page.push(
        "store_lease_renewal_failures",
        None,
        "Renewals of the lease that failed; each is tried again at once",
        Value::Counter(lease.failed),
    );
}

/// How the use of a connection is written.
fn name_of(used: Use) -> &'static str {
    match used {
        Use::Commits => "commits",
        Use::Reads => "reads",
        Use::Replicas => "replicas",
    }
}

impl Page {
    fn push(&mut self, name: &'static str, unit: Option<Unit>, help: &'static str, value: Value) {
        self.0.push(Metric {
            name,
            unit,
            help,
            value,
        });
    }

    fn gauge(&mut self, name: &'static str, help: &'static str, value: u64) {
        self.push(name, None, help, Value::Gauge(value));
    }

    fn bytes(&mut self, name: &'static str, help: &'static str, value: u64) {
        self.push(name, Some(Unit::Bytes), help, Value::Gauge(value));
    }

    fn info(
        &mut self,
        name: &'static str,
        help: &'static str,
        (label, value): (&'static str, &'static str),
    ) {
        self.push(name, None, help, Value::Info(label, value));
    }

    fn text(self) -> Result<String, fmt::Error> {
        let mut registry = Registry::with_prefix(PREFIX);
        registry.register_collector(Box::new(self));
        let mut text = String::new();
        text::encode(&mut text, &registry)?;
        Ok(text)
    }
}

impl Collector for Page {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for metric in &self.0 {
            metric.encode(&mut encoder)?;
        }
        Ok(())
    }
}

impl Metric {
    fn encode(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let kind = match &self.value {
            Value::Counter(_) | Value::Counters(..) => MetricType::Counter,
            Value::Gauge(_) | Value::Gauges(..) => MetricType::Gauge,
            Value::Histogram(_) => MetricType::Histogram,
            Value::Info(..) => MetricType::Info,
        };
        let unit = self.unit.as_ref();
        let mut encoder = encoder.encode_descriptor(self.name, self.help, unit, kind)?;
        match &self.value {
            Value::Counter(value) => encoder.encode_counter::<NoLabelSet, _, u64>(value, None),
            Value::Gauge(value) => encoder.encode_gauge(value),
            Value::Counters(label, values) => values.iter().try_for_each(|(of, value)| {
                let labels = [(*label, *of)];
                let mut encoder = encoder.encode_family(&labels)?;
                encoder.encode_counter::<NoLabelSet, _, u64>(value, None)
            }),
            Value::Gauges(label, values) => values.iter().try_for_each(|(of, value)| {
                let labels = [(*label, *of)];
                encoder.encode_family(&labels)?.encode_gauge(value)
            }),
            Value::Histogram(seen) => {
                let (count, buckets) = (seen.count(), &seen.buckets);
                encoder.encode_histogram::<NoLabelSet>(seen.sum, count, buckets, None)
            }
            Value::Info(label, value) => encoder.encode_info(&[(*label, *value)]),
        }
    }
}

/// What OpenMetrics text is called.
const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

pub(super) async fn metrics(State(shared): State<Shared>) -> Response {
    let page = shared.metrics.page(shared.is_ready()).await;
    // Writing to memory does not fail.
    let text = page.text().unwrap_or_default();
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response()
}
