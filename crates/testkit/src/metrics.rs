//! Metrics as a Firn serves them, and as their page lists them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use http::Method;

use crate::client::json;

/// The page that lists them all.
const PAGE: &str = include_str!("../../../docs/metrics.md");

/// What a metric is, as far as its page says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Metric {
    /// Its type.
    pub kind: String,
    /// The names of its labels.
    pub labels: BTreeSet<String>,
    /// What people are told of it.
    pub meaning: String,
}

/// The metrics of one moment.
#[derive(Debug, Default)]
pub struct Metrics {
    /// What they are, by name: as one asks for them, with the suffix of counters.
    pub described: BTreeMap<String, Metric>,
    /// Their values, by name with labels.
    values: BTreeMap<String, f64>,
}

/// The metrics that the page lists in these sections.
///
/// # Panics
/// If it has no such section.
pub fn documented(sections: &[&str]) -> BTreeMap<String, Metric> {
    let mut listed = BTreeMap::new();
    for section in sections {
        let title = format!("\n## {section}\n");
        let at = PAGE.find(&title).expect("a section");
        let text = &PAGE[at + title.len()..];
        let text = text.split("\n## ").next().unwrap_or_default();
        listed.extend(text.lines().filter_map(row));
    }
    listed
}

/// A row about a metric.
fn row(line: &str) -> Option<(String, Metric)> {
    let cells: Vec<&str> = line.split('|').map(str::trim).collect();
    let [_, name, kind, labels, meaning, _] = cells[..] else {
        return None;
    };
    let name = name.strip_prefix('`')?.strip_suffix('`')?;
    let labels = labels.split(',').map(|label| label.trim().replace('`', ""));
    let metric = Metric {
        kind: kind.to_owned(),
        labels: labels.filter(|label| !label.is_empty()).collect(),
        meaning: meaning.to_owned(),
    };
    Some((name.to_owned(), metric))
}

/// The metrics that a Firn serves on this admin port.
///
/// # Panics
/// If it answers anything else than OpenMetrics text.
pub async fn served(admin: SocketAddr) -> Metrics {
    let answer = json(admin, Method::GET, "/metrics", None).await;
    assert_eq!(answer.status(), 200, "{}", answer.text());
    assert_eq!(
        answer.header("content-type"),
        "application/openmetrics-text; version=1.0.0; charset=utf-8"
    );
    read(answer.text())
}

fn read(text: &str) -> Metrics {
    let text = text.strip_suffix("# EOF\n").expect("an end");
    let mut metrics = Metrics::default();
    let mut families: BTreeMap<&str, Metric> = BTreeMap::new();
    for line in text.lines() {
        let mut words = line.splitn(4, ' ');
        let first = words.next().unwrap_or_default();
        if first != "#" {
            metrics.sample(line);
            continue;
        }
        let (what, name, told) = (words.next(), words.next(), words.next());
        let family = families.entry(name.expect("a name")).or_default();
        let told = told.unwrap_or_default().to_owned();
        match what {
            Some("HELP") => family.meaning = told,
            Some("TYPE") => family.kind = told,
            _ => {}
        }
    }
    for (name, mut metric) in families {
        let name = match metric.kind.as_str() {
            "counter" => format!("{name}_total"),
            "info" => format!("{name}_info"),
            _ => name.to_owned(),
        };
        metric.labels = metrics.labels_of(&name);
        metrics.described.insert(name, metric);
    }
    metrics
}

impl Metrics {
    /// The value of a metric, written with its labels: `name{label="value"}`.
    ///
    /// # Panics
    /// If there is none.
    pub fn value(&self, name: &str) -> f64 {
        let value = self.values.get(name).copied();
        value.unwrap_or_else(|| panic!("no {name} among {:?}", self.values))
    }

    fn sample(&mut self, line: &str) {
        let (name, value) = line.rsplit_once(' ').expect("a value");
        self.values
            .insert(name.to_owned(), value.parse().expect("a number"));
    }

    fn labels_of(&self, name: &str) -> BTreeSet<String> {
        let of = |sample: &&String| sample.split('{').next() == Some(name);
        let labels = self.values.keys().filter(of).filter_map(|sample| {
            let labels = sample.split_once('{')?.1.strip_suffix('}')?;
            Some(
                labels
                    .split(',')
                    .filter_map(|label| label.split('=').next()),
            )
        });
        labels.flatten().map(str::to_owned).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_read() {
        let metrics = read(concat!(
            "# HELP a_b Some text\n# TYPE a_b counter\na_b_total{use=\"x\"} 3\n",
            "# HELP c_seconds Time\n# TYPE c_seconds histogram\n# UNIT c_seconds seconds\n",
            "c_seconds_sum 0.5\nc_seconds_bucket{le=\"+Inf\"} 1\n# EOF\n",
        ));
        let counter = &metrics.described["a_b_total"];
        assert_eq!(
            (&*counter.kind, &*counter.meaning),
            ("counter", "Some text")
        );
        assert_eq!(counter.labels, BTreeSet::from(["use".to_owned()]));
        assert!(metrics.described["c_seconds"].labels.is_empty());
        assert_eq!(metrics.value("a_b_total{use=\"x\"}"), 3.0);
    }

    #[test]
    fn rows_are_read() {
        let (name, metric) = row("| `a` | gauge | `use`, `b` | What |").expect("a row");
        assert_eq!(
            (&*name, &*metric.kind, metric.labels.len()),
            ("a", "gauge", 2)
        );
        assert_eq!(row("| value | what | callers |"), None);
        assert_eq!(row("|---|---|---|---|"), None);
    }
}
