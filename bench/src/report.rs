//! What came out: lines for people as it comes, JSON at the end.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::figure::Figure;
use crate::machine::Machine;

/// All figures of a run.
pub(crate) struct Report {
    machine: Machine,
    figures: Vec<(&'static str, Figure)>,
}

impl Report {
    /// A report without figures.
    pub(crate) fn new(machine: Machine) -> Self {
        Self {
            machine,
            figures: Vec::new(),
        }
    }

    /// Prints on what is measured.
    pub(crate) fn begin(&self) {
        let machine = &self.machine;
        let changed = if machine.is_changed {
            " and changes"
        } else {
            ""
        };
        println!(
            "commit {:.10}{changed}, {} cores, {:.0} GB, Linux {}, a flush takes {:.3} ms, load {} before",
            machine.commit,
            machine.cores,
            machine.memory_bytes as f64 / 1e9,
            machine.kernel,
            machine.flush_ms,
            machine.load_before,
        );
        println!("medians; absolute times are those of this machine, ratios are of one run\n");
    }

    /// Takes a figure and prints it.
    pub(crate) fn add(&mut self, case: &'static str, figure: Figure) {
        println!("{figure}");
        for (name, value) in &figure.details {
            let value = match value {
                Value::String(text) => text.clone(),
                Value::Number(number) => shown(number.as_f64().unwrap_or_default()),
                other => other.to_string(),
            };
            println!("         {name}: {value}");
        }
        self.figures.push((case, figure));
    }

    /// Prints how many figures hold.
    pub(crate) fn end(&self) {
        let verdicts = || self.figures.iter().filter_map(|(_, it)| it.holds());
        let (kept, all) = (verdicts().filter(|it| *it).count(), verdicts().count());
        println!("\n{kept} of {all} promised figures hold");
    }

    /// Whether every figure that is promised holds.
    pub(crate) fn holds(&self) -> bool {
        let mut figures = self.figures.iter();
        figures.all(|(_, figure)| figure.holds() != Some(false))
    }

    /// Writes everything as JSON.
    pub(crate) fn write(&self, file: &Path) -> Result<()> {
        let figures = self.figures.iter().map(|(case, figure)| {
            let mut value = serde_json::to_value(figure)?;
            value["case"] = json!(case);
            value["holds"] = json!(figure.holds());
            Ok(value)
        });
        let figures: Vec<Value> = figures.collect::<Result<_, serde_json::Error>>()?;
        let all = json!({ "machine": self.machine, "figures": figures });
        fs::write(file, serde_json::to_string_pretty(&all)? + "\n")
            .with_context(|| format!("cannot write {}", file.display()))
    }
}

/// Three digits that mean something.
fn shown(number: f64) -> String {
    match number.abs() {
        0.0 => "0".to_owned(),
        size if size < 1.0 => format!("{number:.3}"),
        size if size < 100.0 && number.fract() != 0.0 => format!("{number:.1}"),
        _ => format!("{number:.0}"),
    }
}
